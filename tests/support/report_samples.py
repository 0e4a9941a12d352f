"""Samples of monthly consumption: October 2026 of two accounts and five issuers, with gaps."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta

from hypothesis import strategies as st

from timbres.domain.account import ALL_ACCOUNTS
from timbres.domain.clock import MEXICO_CITY
from timbres.domain.consumption import (
    FROM_PAC,
    FROM_SNAPSHOTS,
    Consumption,
    ContractLine,
    IssuerLine,
    MovementLine,
    Source,
)
from timbres.domain.month import Month

MONTH = Month(2026, 10)
GENERATED_AT = datetime(2026, 11, 1, 6, 0, 12, tzinfo=MEXICO_CITY)
RC, SF = "acme-rc", "acme-sf"
CALLER = "arn:aws:iam::111122223333:user/compras"
ROLE = "arn:aws:sts::111122223333:assumed-role/Tesoreria/ana.ruiz"

MOVEMENTS = (
    MovementLine(RC, "A&D061009TY8", date(2026, 10, 1), "Timbrado", 640),
    MovementLine(RC, "A&D061009TY8", date(2026, 10, 2), "Timbrado", 702),
    MovementLine(RC, "EKU9003173C9", date(2026, 10, 2), "Timbrado", 55),
    MovementLine(RC, "A&D061009TY8", date(2026, 10, 15), "Cancelación, con aceptación", 3),
    MovementLine(RC, "EKU9003173C9", date(2026, 10, 30), "Timbrado", 1),
    MovementLine(RC, "XIA190128J61", date(2026, 10, 31), "Timbrado", 12),
    MovementLine(SF, "ÑAN840101AB1", date(2026, 10, 1), "Conteo diario", 210),
    MovementLine(SF, "ÑAN840101AB1", date(2026, 10, 2), "Conteo diario", 480),
    MovementLine(SF, "NUE200229AB3", date(2026, 10, 15), "Conteo diario", 4),
    MovementLine(SF, "ÑAN840101AB1", date(2026, 10, 31), "Conteo diario", 96),
)

SOURCES = (
    Source(
        account=RC,
        pac="Reachcore",
        source=FROM_PAC,
        plan="prepaid",
        as_of=datetime(2026, 11, 1, 5, 59, 58, tzinfo=MEXICO_CITY),
    ),
    Source(
        account=SF,
        pac="Solución Factible",
        source=FROM_SNAPSHOTS,
        plan=None,
        as_of=datetime(2026, 10, 31, 23, 30, tzinfo=MEXICO_CITY),
        missing_days=tuple(date(2026, 10, day) for day in (3, 4, 9, 20, 21, 22)),
    ),
)

ISSUERS = (
    IssuerLine(RC, "A&D061009TY8", 1345, previous=1200),
    IssuerLine(SF, "ÑAN840101AB1", 786, previous=1048, available=1214, days_left=47.9),
    IssuerLine(RC, "EKU9003173C9", 56, previous=0),
    IssuerLine(RC, "XIA190128J61", 12),
    IssuerLine(SF, "NUE200229AB3", 4, previous=4, available=0, days_left=0.0),
)

CONTRACTS = (
    ContractLine(
        account=SF,
        rfc="ÑAN840101AB1",
        stamps=2000,
        status="confirmed",
        requested_by=CALLER,
        created_at=datetime(2026, 10, 5, 9, 41, 7, tzinfo=MEXICO_CITY),
        id="20261005T154107-5f0c2a",
    ),
    ContractLine(
        account=SF,
        rfc="NUE200229AB3",
        stamps=500,
        status="needs-review",
        requested_by=ROLE,
        created_at=datetime(2026, 10, 28, 17, 2, 55, tzinfo=MEXICO_CITY),
        id="20261028T230255-91be44",
    ),
)

# Texts that start a formula, look like markup or a link, or break a line or a cell.
NASTY = (
    "=cmd|'/c calc'!A1",
    "+52 55 1234 5678",
    "-2+3",
    "@SUM(A1:A9)",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    "＝1+1",
    "http://example.com/a?b=c",
    "mailto:a@example.com",
    "<r><t>rich</t></r>",
    "<b>& 'quoted'</b>",
    'comma, "quotes"; semicolon',
    "two\r\nlines",
    " blanks ",
    "_x0041_",
    "00123",
    "🧾 emoji",
    "zero\x00width\x7f\u200b",
    "half a pair: \ud83e",
    '=HYPERLINK("http://example.com")',
    "javascript:alert(1)",
    "txt.\u202egpj.exe\u2066",
    "",
)


def _days() -> tuple[int | None, ...]:
    """Return the total of each day, None for the days without counts."""
    known: list[int | None] = []
    for number in range(1, MONTH.last_day.day + 1):
        day = date(2026, 10, number)
        amounts = [movement.amount for movement in MOVEMENTS if movement.date == day]
        known.append(None if day in SOURCES[1].missing_days else sum(amounts))
    return tuple(known)


def small_month() -> Consumption:
    """Return the month of all accounts: 10 movements, 2,203 stamps, six days unknown."""
    return Consumption(
        account=ALL_ACCOUNTS,
        month=MONTH,
        generated_at=GENERATED_AT,
        sources=SOURCES,
        issuers=ISSUERS,
        days=_days(),
        contracts=CONTRACTS,
        previous_total=2252,
        movements=lambda: iter(MOVEMENTS),
    )


def month_with_problem() -> Consumption:
    """Return the month without one account's figures, with its PAC's message as the reason."""
    sources = (
        SOURCES[0],
        replace(
            SOURCES[1], as_of=None, missing_days=(), problem="=El usuario está bloqueado (602)"
        ),
    )
    return replace(
        small_month(),
        sources=sources,
        issuers=tuple(issuer for issuer in ISSUERS if issuer.account == RC),
        contracts=(),
        previous_total=None,
        movements=lambda: (movement for movement in MOVEMENTS if movement.account == RC),
    )


def empty_month() -> Consumption:
    """Return a month of one account without consumption."""
    return replace(
        small_month(),
        account=RC,
        sources=SOURCES[:1],
        issuers=(),
        days=(0,) * 31,
        contracts=(),
        previous_total=None,
        movements=lambda: iter(()),
    )


_LETTERS = "ABCDEFGHIJKLMNÑOPQRSTUVWXYZ&"
_ACCOUNTS = (
    ("acme-rc", "Reachcore", "postpaid"),
    ("acme-servicios-sf", "Solución Factible", None),
    ("acme-logistica-del-noroeste-produccion-sf", "Solución Factible", None),
    ("acme-retail-rc", "Reachcore", "prepaid"),
)
_CALLERS = (CALLER, ROLE, "arn:aws:iam::111122223333:user/maria.fernanda.hernandez-gutierrez")


def busy_month(issuers: int = 40, seed: int = 7) -> Consumption:
    """Return a month of four accounts and many issuers; a few issuers consume most stamps."""
    rng = random.Random(seed)
    movements: list[MovementLine] = []
    lines: list[IssuerLine] = []
    for rank in range(issuers):
        account, pac, _ = _ACCOUNTS[rank % len(_ACCOUNTS)]
        rfc = _random_rfc(rng)
        issuer_movements = list(_random_movements(rng, account, rfc, 24_000 / (rank + 1) ** 0.9))
        movements += issuer_movements
        amount = sum(movement.amount for movement in issuer_movements)
        lines.append(_random_line(rng, account, rfc, amount, pac))
    days = [0] * MONTH.last_day.day
    for movement in movements:
        days[movement.date.day - 1] += movement.amount
    movements.sort(key=lambda movement: (movement.account, movement.date))
    lines.sort(key=lambda line: -line.amount)
    return Consumption(
        account=ALL_ACCOUNTS,
        month=MONTH,
        generated_at=GENERATED_AT,
        sources=tuple(
            Source(
                name,
                pac,
                FROM_SNAPSHOTS if plan is None else FROM_PAC,
                plan,
                GENERATED_AT,
                missing_days=(date(2026, 10, 11),) if name == "acme-servicios-sf" else (),
            )
            for name, pac, plan in _ACCOUNTS
        ),
        issuers=tuple(lines),
        days=tuple(days),
        contracts=tuple(_random_contracts(rng, lines)),
        previous_total=sum(line.previous or 0 for line in lines),
        movements=lambda: iter(movements),
    )


def _random_rfc(rng: random.Random) -> str:
    letters = "".join(rng.choices(_LETTERS, k=rng.choice((3, 3, 3, 4))))
    born = f"{rng.randrange(70, 100)}{rng.randrange(1, 13):02d}{rng.randrange(1, 29):02d}"
    return f"{letters}{born}{''.join(rng.choices('ABCDEFGHJKLMN23456789', k=3))}"


def _random_movements(
    rng: random.Random, account: str, rfc: str, monthly: float
) -> Iterator[MovementLine]:
    for number in range(1, MONTH.last_day.day + 1):
        day = date(2026, 10, number)
        weight = (0.06 if day.weekday() == 6 else 0.4 if day.weekday() == 5 else 1.0) + (
            0.9 if number >= 29 else 0.0
        )
        amount = round(monthly / 25 * weight * rng.uniform(0.6, 1.4))
        if amount:
            yield MovementLine(account, rfc, day, "Consumo de timbre", amount)


def _random_line(rng: random.Random, account: str, rfc: str, amount: int, pac: str) -> IssuerLine:
    previous = round(amount * rng.uniform(0.7, 1.3)) if rng.random() < 0.9 else None
    if pac == "Reachcore":
        return IssuerLine(account, rfc, amount, previous)
    available = round(amount * rng.choice((0.0, 0.1, 0.3, 1.2, 4.0, 7.5)))
    days = available / (amount / 31) if amount else None
    return IssuerLine(account, rfc, amount, previous, available, days)


def _random_contracts(rng: random.Random, lines: Sequence[IssuerLine]) -> Iterator[ContractLine]:
    for number, line in enumerate(lines[: 3 * len(_ACCOUNTS) : 2]):
        yield ContractLine(
            line.account,
            line.rfc,
            rng.choice((500, 2_000, 10_000)),
            ("confirmed", "confirmed", "rejected", "confirmed", "needs-review", "confirmed")[
                number % 6
            ],
            _CALLERS[number % len(_CALLERS)],
            datetime(2026, 10, 2 + 4 * number, 9, 5 * number, tzinfo=MEXICO_CITY),
            f"0199c{number}{rng.getrandbits(104):026x}",
        )


_TEXTS = st.sampled_from(NASTY) | st.text(max_size=30)
_RFCS = st.sampled_from(["A&D061009TY8", "ÑAN840101AB1", "EKU9003173C9"]) | st.from_regex(
    r"[A-ZÑ&]{3,4}[0-9]{6}[A-Z0-9]{3}", fullmatch=True
)


@st.composite
def months(draw: st.DrawFn) -> Consumption:
    """Return a month of any movements, kinds, plans and problems; its totals agree."""
    month = Month(draw(st.integers(2011, 2099)), draw(st.integers(1, 12)))
    last = month.last_day.day
    movements = draw(
        st.lists(
            st.builds(
                MovementLine,
                account=st.sampled_from([RC, SF]),
                rfc=_RFCS,
                date=st.integers(0, last - 1).map(lambda n: month.first_day + timedelta(days=n)),
                kind=_TEXTS,
                amount=st.integers(0, 10**12),
            ),
            max_size=30,
        )
    )
    by_issuer, by_day = Counter[tuple[str, str]](), Counter[date]()
    for movement in movements:
        by_issuer[movement.account, movement.rfc] += movement.amount
        by_day[movement.date] += movement.amount
    maybe = st.none() | st.integers(0, 10**9)
    days = tuple(
        by_day.get(month.first_day + timedelta(days=n), draw(st.sampled_from([None, 0])))
        for n in range(last)
    )
    sources = st.builds(
        Source,
        account=st.sampled_from([RC, SF]),
        pac=st.sampled_from(["Reachcore", "Solución Factible"]) | _TEXTS,
        source=st.sampled_from([FROM_PAC, FROM_SNAPSHOTS]),
        plan=st.none() | st.sampled_from(["prepaid", "postpaid"]) | _TEXTS,
        as_of=st.none() | st.just(GENERATED_AT),
        problem=st.none() | _TEXTS,
    )
    contracts = st.builds(
        ContractLine,
        account=st.sampled_from([RC, SF]),
        rfc=_RFCS,
        stamps=st.integers(1, 10**6),
        status=st.sampled_from(["confirmed", "pending", "a third"]),
        requested_by=st.sampled_from([CALLER, ROLE]) | _TEXTS,
        created_at=st.just(GENERATED_AT),
        id=_TEXTS,
    )
    return Consumption(
        account=draw(st.sampled_from([ALL_ACCOUNTS, RC])),
        month=month,
        generated_at=GENERATED_AT,
        sources=tuple(draw(st.lists(sources, max_size=3))),
        issuers=tuple(
            IssuerLine(
                *issuer,
                amount,
                previous=draw(maybe),
                available=draw(maybe),
                days_left=draw(st.none() | st.floats(0, 10**6)),
            )
            for issuer, amount in by_issuer.most_common()
        ),
        days=days,
        contracts=tuple(draw(st.lists(contracts, max_size=3))),
        previous_total=draw(maybe),
        movements=lambda: iter(movements),
    )
