"""What EventBridge starts: for one account or for every one, of a month named or meant."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any

from timbres.domain import clock
from timbres.domain.month import Month, month_of, parse_month
from timbres.errors import TimbresError
from timbres.repositories.accounts import Accounts

log = logging.getLogger("timbres")


def moment(wanted: dict[str, Any]) -> datetime:
    """Return when the run was due, in Mexico City; now, when the start does not say.

    A run that is delivered late, or again, so stays the same run.
    """
    text = wanted.get("scheduled_time")
    if not isinstance(text, str):
        return clock.now()
    return clock.from_local(text.replace("Z", "+00:00"))


def month(wanted: dict[str, Any]) -> Month:
    """Return the month meant: ``current`` or ``previous`` at the run's time, or YYYY-MM.

    Raises ``month-invalid``.
    """
    due = moment(wanted)
    name = wanted.get("month", "current")
    if name == "current":
        return month_of(due)
    if name == "previous":
        return month_of(due).previous()
    return parse_month(name, clock.now())


def each(
    accounts: Accounts,
    wanted: dict[str, Any],
    capability: str,
    one: Callable[[str], dict[str, Any]],
) -> dict[str, Any]:
    """Do ``one`` for the account named, or for every one that offers ``capability``.

    Returns ``{"done": {account: result}, "failed": {account: code}}``. For a named account
    an error is raised; of many, one that fails stops no other.
    """
    name = wanted.get("account")
    if name is not None:
        return {"done": {name: one(name)}, "failed": {}}
    done: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for name in accounts.names():
        try:
            if capability in accounts.get(name).pac.can:
                done[name] = one(name)
        except TimbresError as error:
            log.error(
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
