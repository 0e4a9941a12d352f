"""Samples of consumption: October 2026 of two accounts and five RFCs, with gaps; and a year.

One RFC is in both accounts.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from timbres.domain.account import ALL_ACCOUNTS
from timbres.domain.account_stamps import Allotment
from timbres.domain.clock import MEXICO_CITY
from timbres.domain.consumption import (
    FROM_PAC,
    FROM_SNAPSHOTS,
    AccountStampsLine,
    Consumption,
    ContractLine,
    ExpiryLine,
    IssuerLine,
    MovementLine,
    Source,
    YearConsumption,
    YearLine,
    cost_of,
    round_days,
    sum_known,
)
from timbres.domain.month import Month, Year

MONTH = Month(2026, 10)
MONTH_DAYS = [date(2026, 10, number) for number in range(1, 32)]
COUNTED_AT = datetime(2026, 11, 1, 5, 0, 2, tzinfo=MEXICO_CITY)
GENERATED_AT = datetime(2026, 11, 1, 6, 0, 12, tzinfo=MEXICO_CITY)
RC, SF = "acme-rc", "acme-sf"
CALLER = "arn:aws:iam::111122223333:user/compras"
ROLE = "arn:aws:sts::111122223333:assumed-role/Tesoreria/ana.ruiz"

MOVEMENTS = tuple(
    MovementLine(account, rfc, date(2026, 10, day), kind, amount)
    for account, rfc, day, kind, amount in (
        (RC, "A&D061009TY8", 1, "Timbrado", 640),
        (RC, "A&D061009TY8", 2, "Timbrado", 702),
        (RC, "EKU9003173C9", 2, "Timbrado", 55),
        (RC, "A&D061009TY8", 15, "Cancelación, con aceptación", 3),
        (RC, "EKU9003173C9", 30, "Timbrado", 1),
        (RC, "XIA190128J61", 31, "Timbrado", 12),
        (SF, "ÑAN840101AB1", 1, "Conteo diario", 210),
        (SF, "ÑAN840101AB1", 2, "Conteo diario", 480),
        (SF, "A&D061009TY8", 15, "Conteo diario", 80),
        (SF, "NUE200229AB3", 15, "Conteo diario", 4),
        (SF, "ÑAN840101AB1", 31, "Conteo diario", 96),
    )
)
_READ_AT = datetime(2026, 11, 1, 5, 59, 58, tzinfo=MEXICO_CITY)
_MISSING_DAYS = tuple(date(2026, 10, day) for day in (3, 4, 9, 20, 21, 22))
_PAC = "Solución Factible"
SOURCES = (
    Source(RC, "Reachcore", FROM_PAC, "prepaid", _READ_AT, previous=1256),
    Source(SF, _PAC, FROM_SNAPSHOTS, None, COUNTED_AT, _MISSING_DAYS, previous=1052),
)


def counted(rfc: str, amount: int, previous: int | None, available: int, days: str) -> IssuerLine:
    """Return an issuer of acme-sf with its last count."""
    return IssuerLine(SF, rfc, amount, previous, available, Decimal(days), as_of=COUNTED_AT)


ISSUERS = (
    IssuerLine(RC, "A&D061009TY8", 1345, previous=1200),
    counted("ÑAN840101AB1", 786, 1048, 1214, "47.9"),
    counted("A&D061009TY8", 80, None, 20, "6.5"),
    IssuerLine(RC, "EKU9003173C9", 56, previous=0),
    IssuerLine(RC, "XIA190128J61", 12, previous=56),
    counted("NUE200229AB3", 4, 4, 0, "0.0"),
)
NAMES = {"A&D061009TY8": "Aceros & Derivados del Norte", "ÑAN840101AB1": "=Ñandú, S.A."}

_ON_5TH = datetime(2026, 10, 5, 9, 41, 7, tzinfo=MEXICO_CITY)
_ON_28TH = datetime(2026, 10, 28, 17, 2, 55, tzinfo=MEXICO_CITY)
_IDS = ("20261005T154107-5f0c2a", "20261028T230255-91be44")
CONTRACTS = (
    ContractLine(SF, "ÑAN840101AB1", 2000, "confirmed", CALLER, _ON_5TH, _IDS[0]),
    ContractLine(SF, "NUE200229AB3", 500, "needs-review", ROLE, _ON_28TH, _IDS[1]),
)
_COUNTS = (20_000, 11_050, 8950, Decimal("34.6"))
ACCOUNT_STAMPS = (AccountStampsLine(SF, *_COUNTS, COUNTED_AT, Allotment(1214, 0)),)

# Texts that start a formula, look like markup or a link, or break a line or a cell.
NASTY = (
    "=cmd|'/c calc'!A1", "+52 55 1234 5678", "-2+3", "@SUM(A1:A9)", "\t=1+1", "\r=1+1", "\n=1+1",
    "＝1+1", "http://example.com/a?b=c", "mailto:a@example.com", "<r><t>rich</t></r>",
    "<b>& 'quoted'</b>", 'comma, "quotes"; semicolon', "two\r\nlines", " blanks ", "_x0041_",
    "00123", "🧾 emoji", "zero\x00width\x7f\u200b", "half a pair: \ud83e",
    '=HYPERLINK("http://example.com")', "javascript:alert(1)", "txt.\u202egpj.exe\u2066", "",
)  # fmt: skip


def failing_movements() -> Iterator[MovementLine]:
    """Yield the movements of the small month, and fail."""
    yield from MOVEMENTS
    raise RuntimeError("the PAC's answer ends here")


def days_of(movements: Iterable[MovementLine], days: Iterable[date] = MONTH_DAYS) -> list[int]:
    """Return the stamps of each day."""
    by_day: Counter[date] = Counter()
    for line in movements:
        by_day[line.date] += line.amount
    return [by_day[day] for day in days]


def small_month(**changes: Any) -> Consumption:
    """Return the month of all accounts: 11 movements, 2,283 stamps, six days unknown."""
    amounts = zip(MONTH_DAYS, days_of(MOVEMENTS), strict=True)
    month = Consumption(
        account=ALL_ACCOUNTS,
        month=MONTH,
        generated_at=GENERATED_AT,
        sources=SOURCES,
        issuers=ISSUERS,
        days=tuple(None if day in _MISSING_DAYS else amount for day, amount in amounts),
        contracts=CONTRACTS,
        movements=lambda: iter(MOVEMENTS),
        account_stamps=ACCOUNT_STAMPS,
    )
    return replace(month, **changes)


def full_month() -> Consumption:
    """Return the month with next expiries and movements that are not consumption."""
    others = (
        MovementLine(RC, None, date(2026, 10, 2), "Compra de timbres", 500),  # language: keep
        MovementLine(RC, "A&D061009TY8", date(2026, 10, 9), "Ajuste", -7),
    )
    return small_month(
        expiries=(ExpiryLine(SF, "ÑAN840101AB1", 2000, date(2026, 12, 12)),),
        other_movements=lambda: iter(others),
    )


def _part(name: str, **changes: Any) -> Consumption:
    """Return the month with the issuers and movements of one account."""
    movements = [line for line in MOVEMENTS if line.account == name]
    issuers = tuple(issuer for issuer in ISSUERS if issuer.account == name)
    return small_month(issuers=issuers, movements=lambda: iter(movements), **changes)


def one_account() -> Consumption:
    """Return the month of the account whose PAC counts stamps."""
    days = days_of(line for line in MOVEMENTS if line.account == SF)
    return _part(SF, account=SF, sources=SOURCES[1:], days=tuple(days))


def month_with_problem(problem: str = "=El usuario está bloqueado (602)") -> Consumption:
    """Return the month without one account's figures, with its PAC's message as the reason."""
    failed = Source(SF, _PAC, FROM_SNAPSHOTS, None, None, problem=problem)
    return _part(RC, sources=(SOURCES[0], failed), contracts=())


def empty_month(*issuers: IssuerLine) -> Consumption:
    """Return a month of one account without consumption."""
    return small_month(
        account=RC,
        sources=SOURCES[:1],
        issuers=issuers,
        days=(0,) * 31,
        contracts=(),
        movements=lambda: iter(()),
        account_stamps=(),
    )


def month_without_figures() -> Consumption:
    """Return a month of all accounts, none of which has figures."""
    failed = Source(RC, _PAC, FROM_PAC, None, None, problem="el PAC falló.")
    return replace(
        empty_month(), account=ALL_ACCOUNTS, sources=(failed,), days=(None,) * len(MONTH_DAYS)
    )


def with_prices(report: Consumption, **prices: str) -> Consumption:
    """Return a month with names, and with prices by account: rc, sf."""
    by_account = {f"acme-{name}": Decimal(price) for name, price in prices.items()}

    def priced(line: IssuerLine) -> IssuerLine:
        cost = cost_of(line.amount, by_account.get(line.account))
        return replace(line, name=line.name or NAMES.get(line.rfc or ""), cost=cost)

    sources = (
        replace(source, stamp_price=by_account.get(source.account)) for source in report.sources
    )
    return replace(report, sources=tuple(sources), issuers=tuple(map(priced, report.issuers)))


def year(*, with_names: bool = False) -> YearConsumption:
    """Return 2026 until November: four RFCs, no figures of one account before March."""
    cost = Decimal("21.55") if with_names else None
    lines = (
        ("A&D061009TY8", (1100, 1205, 1310, 990, 1000, 1120, 1201, 1188, 1200, 1425, 310)),
        ("ÑAN840101AB1", (None, None, 700, 820, 790, 805, 990, 1010, 1048, 786, 112)),
        ("NUE200229AB3", (None, None, None, None, None, None, None, 3, 4, 4, 0)),
        (None, (0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0)),
    )
    return year_of(
        [YearLine(rfc, NAMES.get(rfc or "") if with_names else None, m, cost) for rfc, m in lines],
        datetime(2026, 11, 20, 9, 30, tzinfo=MEXICO_CITY),
        unknown_months=2,
        without_price=(SF,) if with_names else (),
    )


def year_of(
    lines: Sequence[YearLine], generated_at: datetime, unknown_months: int, **changes: Any
) -> YearConsumption:
    """Return 2026 with ``lines``; acme-sf has no figures of the first months."""
    reason = "no hay conteos de ese mes."
    return YearConsumption(
        account=ALL_ACCOUNTS,
        year=Year(2026),
        generated_at=generated_at,
        accounts=(RC, SF),
        lines=tuple(lines),
        months=tuple(map(sum_known, zip(*(line.months for line in lines), strict=True))),
        gaps=tuple((SF, Month(2026, n), reason) for n in range(1, unknown_months + 1)),
        **changes,
    )


_ACCOUNTS = (
    Source("acme-rc", "Reachcore", FROM_PAC, "postpaid", GENERATED_AT),
    Source("acme-servicios-sf", _PAC, FROM_SNAPSHOTS, None, GENERATED_AT),
    Source("acme-logistica-del-noroeste-produccion-sf", _PAC, FROM_SNAPSHOTS, None, GENERATED_AT),
    Source("acme-retail-rc", "Reachcore", FROM_PAC, "prepaid", GENERATED_AT),
)


def month_of(
    stamps: Iterable[tuple[IssuerLine, dict[date, int]]], sources: Sequence[Source]
) -> Consumption:
    """Return a month of issuers and their stamps by day, which give all sums and days left."""
    movements, issuers = list[MovementLine](), list[IssuerLine]()
    for line, by_day in stamps:
        for day, amount in by_day.items():
            movements.append(MovementLine(line.account, line.rfc, day, "Consumo de timbre", amount))
        issuer = replace(line, amount=sum(by_day.values()))
        if line.available is not None:
            days_left = round_days(line.available * 31 / issuer.amount)
            issuer = replace(issuer, days_left=days_left, as_of=COUNTED_AT)
        issuers.append(issuer)
    movements.sort(key=lambda line: (line.account, line.date, line.rfc or ""))
    previous = Counter[str]()
    for line in issuers:
        previous[line.account] += line.previous or 0
    return small_month(
        sources=tuple(replace(source, previous=previous[source.account]) for source in sources),
        issuers=tuple(issuers),
        days=tuple(days_of(movements)),
        movements=lambda: iter(movements),
    )


def busy_month(issuers: int = 40) -> Consumption:
    """Return a month of four accounts and many issuers; a few issuers consume most stamps."""
    rng = random.Random(7)

    def issuer(rank: int) -> tuple[IssuerLine, dict[date, int]]:
        letters = "".join(rng.choices("ABCDEFGHIJKLMNÑOPQRSTUVWXYZ&", k=3))
        rfc = f"{letters}{rng.randrange(70, 100)}0131{rng.randrange(4096):03X}"
        account, pace = _ACCOUNTS[rank % len(_ACCOUNTS)].account, max(960 / (rank + 1) ** 0.9, 1)
        by_day = {day: round(pace * rng.uniform(0.6, 1.4)) or 1 for day in MONTH_DAYS}
        line = IssuerLine(account, rfc, 0, rng.choice((None, 30, round(31 * pace))))
        if account.endswith("sf"):
            line = replace(line, available=round(31 * pace * rng.choice((0, 0.1, 0.3, 1.2, 7.5))))
        return line, by_day

    month = month_of(map(issuer, range(issuers)), _ACCOUNTS)
    return replace(month, issuers=tuple(sorted(month.issuers, key=lambda line: -line.amount)))
