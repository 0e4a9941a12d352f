"""Balance: one account's consumption in one month."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any

from timbres.deadline import Deadline
from timbres.domain import clock
from timbres.domain.account import Account
from timbres.domain.balance import Movement, Totals, is_consistent, total
from timbres.domain.forecast import Snapshot
from timbres.domain.month import Month
from timbres.domain.monthly_consumption import CLOSING, month_of_snapshots
from timbres.domain.rfc import Rfc
from timbres.errors import DEADLINE_EXCEEDED, TimbresError
from timbres.pacs.base import MonthReading
from timbres.repositories.daily_counts import Snapshots
from timbres.repositories.issuers import Issuers
from timbres.services.pac_access import Access

# With more, an answer would near the 6 MB at which a Lambda's ends.
MOST_MOVEMENTS = 5_000

log = logging.getLogger("timbres")


def of_month(
    access: Access, account_name: str, month: Month, rfc: Rfc | None, deadline: Deadline
) -> dict[str, Any]:
    """Return an account's balance of a month, of all RFCs or one, as its PAC tells it.

    Totals are of all movements; of these themselves there are up to 5,000, the first, and
    ``truncated`` tells when there are more. Amounts are stamps; ``by_issuer`` counts
    every kind of movement, ``by_kind`` tells them apart. ``movements_total`` is the sum of
    the consumption; ``consistent`` says whether it agrees with ``transactions``, None where
    the PAC's documentation leaves that open.
    """
    account = access.account(account_name, "balance")
    with access.read(account, lambda pac: pac.balance(month, rfc, deadline)) as reading:
        totals, first = _walk(reading, deadline)
        summary = reading.summary
    consistent = is_consistent(summary.transactions, totals.consumed, one_issuer=rfc is not None)
    if consistent is False:
        log.warning(
            "the PAC's total differs from the consumption that it lists",
            extra={
                "account": account.name,
                "month": str(month),
                "transactions": summary.transactions,
                "movements_total": totals.consumed,
            },
        )
    head: dict[str, Any] = {
        "account": account.name,
        "pac": account.pac.name,
        "month": str(month),
        "source": "pac",
        "plan": summary.plan,
        "as_of": summary.as_of.isoformat(),
        "issuers": {
            "registered": summary.issuers.registered,
            "authorized": summary.issuers.authorized,
            "stamping": summary.issuers.stamping,
        },
        "transactions": summary.transactions,
        "movements_total": totals.consumed,
        "consistent": consistent,
    }
    return head | _lines(month, totals, first)


def of_snapshots(
    account: Account,
    snapshots: Snapshots,
    month: Month,
    rfc: Rfc | None,
    deadline: Deadline,
) -> dict[str, Any]:
    """Return an account's balance of a month as its daily snapshots tell it; no PAC is called.

    It has the shape of :func:`of_month`, what no PAC said null, and ``missing_days``: the
    days without a count, and of how many issuers. ``transactions`` is null where no
    consumption is known at all. Raises ``out-of-time`` for more than can be read at once.
    """
    first, last = month.first_day, month.last_day + CLOSING
    found = (
        snapshots.between(account.name, first, last)
        if rfc is None
        else ((rfc, one) for one in snapshots.history(account.name, rfc, first, last))
    )
    told = month_of_snapshots(month, _in_time(found, deadline), clock.now().date())
    totals = total(told.movements)
    head: dict[str, Any] = {
        "account": account.name,
        "pac": account.pac.name,
        "month": str(month),
        "source": "snapshots",
        "plan": None,
        "as_of": told.as_of.isoformat() if told.as_of else None,
        "issuers": {
            "registered": None,
            "authorized": None,
            "stamping": len(totals.by_issuer) if told.known else None,
        },
        "transactions": totals.amount if told.known else None,
        # The total is the sum itself: nothing is compared.
        "movements_total": totals.consumed if told.known else None,
        "consistent": None,
        "missing_days": [
            {"date": day.isoformat(), "issuers": count or None}
            for day, count in told.missing.items()
        ],
    }
    return head | _lines(month, totals, told.movements[:MOST_MOVEMENTS])


def _in_time(
    snapshots: Iterable[tuple[str, Snapshot]], deadline: Deadline
) -> Iterator[tuple[str, Snapshot]]:
    for n, one in enumerate(snapshots):
        if n % 1000 == 0 and deadline.left() < 1:
            raise _too_many("snapshots")
        yield one


def _too_many(what: str) -> TimbresError:
    return TimbresError(
        DEADLINE_EXCEEDED,
        f"The month has more {what} than an answer has time to read: ask for one rfc, "
        "or for a consumption report.",
    )


def _lines(month: Month, totals: Totals, first: list[Movement]) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "by_issuer": [
            {"rfc": rfc, "amount": amount} for rfc, amount in sorted(totals.by_issuer.items())
        ],
        "by_kind": [
            {"kind": kind, "amount": amount} for kind, amount in sorted(totals.by_kind.items())
        ],
        "movements": [
            {
                "rfc": movement.rfc,
                "date": movement.date.isoformat(),
                "kind": movement.kind,
                "amount": movement.amount,
            }
            for movement in first
        ],
        "truncated": totals.movements > len(first),
    }
    if answer["truncated"]:
        answer["report"] = {"month": str(month), "kind": "consumption", "format": "csv"}
    return answer


def learn(issuers: Issuers, balance: dict[str, Any]) -> None:
    """Remember the issuers that ``balance``, an answer as the API gives it, names."""
    issuers.learn(balance["account"], (line["rfc"] for line in balance["by_issuer"]), clock.now())


def _walk(reading: MonthReading, deadline: Deadline) -> tuple[Totals, list[Movement]]:
    totals = Totals()
    first: list[Movement] = []
    for movement in reading.movements():
        if totals.movements % 10_000 == 0 and deadline.left() <= 0:
            raise _too_many("movements")
        totals.add(movement)
        if len(first) < MOST_MOVEMENTS:
            first.append(movement)
    return totals, first
