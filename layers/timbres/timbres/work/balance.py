"""Balance: one account's consumption in one month."""

from __future__ import annotations

import logging
from typing import Any

from timbres.aws.issuers import Issuers
from timbres.deadline import Deadline
from timbres.domain import clock
from timbres.domain.balance import Movement, Totals
from timbres.domain.month import Month
from timbres.domain.rfc import Rfc
from timbres.pacs.base import MonthReading
from timbres.work.access import Access

# With more, an answer would near the 6 MB at which a Lambda's ends.
MOST_MOVEMENTS = 5_000

log = logging.getLogger("timbres")


def of_month(
    access: Access, account_name: str, month: Month, rfc: Rfc | None, deadline: Deadline
) -> dict[str, Any]:
    """Return an account's balance of a month, of all RFCs or one, as the API answers it.

    Totals are of all movements; of these themselves there are up to 5,000, the first, and
    ``truncated`` tells when there are more. Amounts are stamps; ``by_issuer`` counts
    every kind of movement, ``by_kind`` tells them apart.
    """
    account = access.account(account_name, "balance")
    with access.read(account, lambda pac: pac.balance(month, rfc, deadline)) as reading:
        totals, first = _walk(reading)
        summary = reading.summary
    if summary.transactions != totals.amount:
        log.warning(
            "the PAC's total differs from the sum of its movements",
            extra={
                "account": account.name,
                "month": str(month),
                "transactions": summary.transactions,
                "amount": totals.amount,
            },
        )
    answer: dict[str, Any] = {
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
    """Remember the issuers that a balance names."""
    issuers.learn(balance["account"], (line["rfc"] for line in balance["by_issuer"]), clock.now())


def _walk(reading: MonthReading) -> tuple[Totals, list[Movement]]:
    totals = Totals()
    first: list[Movement] = []
    for movement in reading.movements():
        totals.add(movement)
        if len(first) < MOST_MOVEMENTS:
            first.append(movement)
    return totals, first
