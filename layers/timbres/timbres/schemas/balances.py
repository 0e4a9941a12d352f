"""JSON of balances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from timbres.domain.balance import AccountBalance


def balance_to_dict(balance: AccountBalance) -> dict[str, Any]:
    """Return a balance; values that are not known are null.

    Amounts are stamps; ``by_issuer`` and ``movements_total`` are sums of consumption, ``by_kind``
    has every kind of movement. The ``rfc`` of a movement of the account itself is null.
    ``missing_days`` are the days without a count, if the daily counts are the source.
    """
    return _head(balance) | _movements(balance)


def months_to_dict(balances: Sequence[AccountBalance]) -> dict[str, Any]:
    """Return the totals of several months of one account, by month and by issuer."""
    names = ("month", "source", "as_of", "transactions", "movements_total", "consistent")
    items = []
    for balance in balances:
        whole = balance_to_dict(balance)
        kept = (*names, *(("missing_days",) if "missing_days" in whole else ()), "by_issuer")
        items.append({name: whole[name] for name in kept})
    first, last = str(balances[0].month), str(balances[-1].month)
    return {"account": balances[0].account, "from": first, "to": last, "months": items}


def _head(balance: AccountBalance) -> dict[str, Any]:
    summary, totals = balance.summary, balance.totals
    active = len(totals.rfcs) if balance.known else None
    consumed = totals.consumed if balance.known else None
    head: dict[str, Any] = {
        "account": balance.account,
        "pac": balance.pac,
        "month": str(balance.month),
        "source": "pac" if summary else "snapshots",
        "plan": summary.plan if summary else None,
        "as_of": balance.as_of.isoformat() if balance.as_of else None,
        "issuers": {
            "registered": summary.issuers.registered if summary else None,
            "authorized": summary.issuers.authorized if summary else None,
            "stamping": summary.issuers.active if summary else active,
        },
        "transactions": summary.transactions if summary else consumed,
        "movements_total": consumed,
        "consistent": balance.consistent,
    }
    if balance.missing_days is not None:
        head["missing_days"] = [
            {"date": day.isoformat(), "issuers": count or None}
            for day, count in balance.missing_days.items()
        ]
    return head


def _movements(balance: AccountBalance) -> dict[str, Any]:
    totals = balance.totals
    body: dict[str, Any] = {
        "by_issuer": [
            {"rfc": rfc or None, "amount": totals.by_issuer[rfc]}
            for rfc in sorted(totals.by_issuer, key=lambda rfc: rfc or "")
        ],
        "by_kind": [
            {"kind": kind, "amount": amount} for kind, amount in sorted(totals.by_kind.items())
        ],
        "movements": [
            {
                "rfc": movement.rfc or None,
                "date": movement.date.isoformat(),
                "kind": movement.kind,
                "amount": movement.amount,
            }
            for movement in balance.movements
        ],
        "truncated": totals.movements > len(balance.movements),
    }
    if body["truncated"]:
        body["report"] = {"month": str(balance.month), "kind": "consumption", "format": "csv"}
    return body
