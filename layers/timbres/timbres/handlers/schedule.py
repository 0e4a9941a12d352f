"""What EventBridge starts: for one account or for every one, of a month named or meant."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any

from timbres.domain import clock
from timbres.domain.month import Month, month_of, parse_month
from timbres.errors import TimbresError
from timbres.repositories.accounts import AccountRepository

logger = logging.getLogger("timbres")


def scheduled_at(payload: dict[str, Any]) -> datetime:
    """Return when the run was due, in Mexico City; now, when the start does not say.

    A run that is delivered late, or again, so stays the same run.
    """
    text = payload.get("scheduled_time")
    if not isinstance(text, str):
        return clock.now()
    return clock.from_local(text.replace("Z", "+00:00"))


def resolve_month(payload: dict[str, Any]) -> Month:
    """Return the month meant: ``current`` or ``previous`` at the run's time, or YYYY-MM.

    Raises ``month-invalid``.
    """
    due = scheduled_at(payload)
    name = payload.get("month", "current")
    if name == "current":
        return month_of(due)
    if name == "previous":
        return month_of(due).previous()
    return parse_month(name, clock.now())


def for_each_account(
    accounts: AccountRepository,
    payload: dict[str, Any],
    capability: str,
    fn: Callable[[str], dict[str, Any]],
) -> dict[str, Any]:
    """Do ``one`` for the account named, or for every one that offers ``capability``.

    Returns ``{"done": {account: result}, "failed": {account: code}}``. For a named account
    an error is raised; of many, one that fails stops no other.
    """
    name = payload.get("account")
    if name is not None:
        return {"done": {name: fn(name)}, "failed": {}}
    done: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for name in accounts.list_names():
        try:
            if capability in accounts.get(name).pac.capabilities:
                done[name] = fn(name)
        except TimbresError as error:
            logger.error(
                "%s: %s",
                error.problem_type.code,
                error.detail,
                extra={
                    "account": name,
                    "run": capability,
                    "code": error.problem_type.code,
                    "pac_code": error.pac_code,
                },
            )
            failed[name] = error.problem_type.code
    return {"done": done, "failed": failed}
