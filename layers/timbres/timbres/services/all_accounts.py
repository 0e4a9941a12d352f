"""Lists the items of all accounts in pages: one account after the other, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from timbres.deadline import Deadline
from timbres.domain.account import parse_account_name
from timbres.domain.text import quote_input
from timbres.errors import PARAMETER_INVALID, TimbresError

# Seconds before the deadline that are reserved for the response.
_RESERVE_SECONDS = 5.0

T = TypeVar("T")


def list_all_accounts(
    names: Iterable[str],
    list_page: Callable[[str, str | None, int], tuple[list[T], str | None]],
    after: str | None,
    limit: int,
    deadline: Deadline,
) -> tuple[list[T], str | None]:
    """Return up to ``limit`` items of the accounts ``names``, and the next page's cursor or None.

    ``list_page`` returns a page of one account, given its name, a cursor and a limit. A page may
    end early, at ``deadline``. Raises ``parameter-invalid`` for an invalid cursor.
    """
    first, cursor = _split(after)
    items: list[T] = []
    for name in names:
        if name < first:
            continue
        position = cursor if name == first else None
        while True:
            if len(items) >= limit or deadline.remaining() < _RESERVE_SECONDS:
                return items, f"{name}.{position or ''}"
            page, position = list_page(name, position, limit - len(items))
            items += page
            if position is None:
                break
    return items, None


def _split(after: str | None) -> tuple[str, str | None]:
    if after is None:
        return "", None
    name, dot, cursor = after.partition(".")
    try:
        if dot:
            return parse_account_name(name), cursor or None
    except TimbresError:
        pass
    raise TimbresError(
        PARAMETER_INVALID,
        f"{quote_input(after)} is not a valid cursor: expected the value of next from the "
        "previous page.",
        field="cursor",
    )
