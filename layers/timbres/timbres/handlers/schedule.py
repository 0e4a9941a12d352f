"""Payloads of schedules: their time, month and accounts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, time
from typing import Any

from timbres.domain import clock
from timbres.domain.month import Month, month_of, parse_month
from timbres.errors import TimbresError
from timbres.repositories.accounts import AccountRepository

logger = logging.getLogger("timbres")


def scheduled_at(payload: dict[str, Any]) -> datetime:
    """Return the time for which the payload was scheduled, in Mexico City; now if it has none.

    A payload that is delivered late or repeatedly therefore belongs to the same run. If it has a
    ``time`` such as ``05:00``, it belongs to that time of its day: a schedule repeats its start.
    Raises ValueError for an invalid time.
    """
    text = payload.get("scheduled_time")
    if not isinstance(text, str):
        return clock.now()
    due = clock.from_local(text.replace("Z", "+00:00"))
    if "time" not in payload:
        return due
    first = time.fromisoformat(payload["time"])
    return due.replace(hour=first.hour, minute=first.minute, second=0, microsecond=0)


def resolve_month(payload: dict[str, Any]) -> Month:
    """Return the payload's month: ``current`` or ``previous`` at its time, or YYYY-MM.

    Raises ``month-invalid``.
    """
    due = scheduled_at(payload)
    text = payload.get("month", "current")
    if text == "current":
        return month_of(due)
    if text == "previous":
        return month_of(due).previous()
    return parse_month(text, clock.now())


def for_each_account(
    account_repository: AccountRepository,
    payload: dict[str, Any],
    capability: str,
    fn: Callable[[str], dict[str, Any]],
) -> dict[str, Any]:
    """Call ``fn`` for the payload's account, or else for every account with ``capability``.

    Returns ``{"done": {account: result}, "failed": {account: code}}``. Raises the error of the
    payload's account; without one, an account that fails does not stop the others.
    """
    name = payload.get("account")
    if name is not None:
        return {"done": {name: fn(name)}, "failed": {}}
    done: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for name in account_repository.list_names():
        try:
            if capability in account_repository.get(name).pac.capabilities:
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
