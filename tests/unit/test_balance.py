"""Balance: kinds, RFCs and amounts of its movements, its total, and the month of a schedule."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from datetime import date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timbres.domain.balance import (
    AccountBalance,
    IssuerCounts,
    Movement,
    Summary,
    Totals,
    is_consumption,
    sum_movements,
)
from timbres.domain.clock import MEXICO_CITY
from timbres.domain.month import Month
from timbres.domain.rfc import normalize_rfc, parse_rfc
from timbres.domain.text import parse_number
from timbres.errors import TimbresError
from timbres.handlers.http import json_response
from timbres.handlers.schedule import resolve_month
from timbres.schemas.balances import balance_to_dict
from timbres.services.balances import MAX_MOVEMENTS

CONSUMPTION, ADDED = "Consumo de timbre", "Compra de timbres"
RFC = "A&D061009TY8"
DAY = date(2026, 10, 2)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        *((kind, True) for kind in (CONSUMPTION, "consumo de timbre", "CONSUMO DE TIMBRE",
                                    "  Consumo \t de\n timbre ")),
        *((kind, False) for kind in (ADDED, "Cancelación", "Consumo de timbres", "Consumo",
                                     "No es consumo de timbre", "")),
    ],
)  # fmt: skip
def test_only_consumption_is_consumption(kind: str, expected: bool) -> None:
    assert is_consumption(kind) is expected


movement_lists = st.lists(
    st.builds(
        Movement,
        rfc=st.sampled_from([None, RFC, "ÑAN840101AB1", "a&d061009ty8", "no es un RFC"]),
        date=st.just(DAY),
        kind=st.sampled_from([CONSUMPTION, "CONSUMO  DE TIMBRE", ADDED, "Ajuste"]),
        amount=st.integers(-1000, 1000),
    )
)


@given(movement_lists)
def test_the_sums_keep_every_movement_and_separate_consumption(movements: list[Movement]) -> None:
    totals = sum_movements(movements)

    consumption = [movement for movement in movements if is_consumption(movement.kind)]
    others = {movement.kind for movement in movements if not is_consumption(movement.kind)}
    assert totals.movements == len(movements)
    assert totals.consumed == sum(movement.amount for movement in consumption)
    assert sum(totals.by_issuer.values()) == totals.consumed
    assert sum(totals.by_kind.values()) == sum(movement.amount for movement in movements)
    assert set(totals.by_issuer) == {movement.rfc for movement in consumption}
    assert set(totals.rfcs) == {movement.rfc for movement in consumption} - {None}
    assert set(totals.other_kinds) == others


def balance(
    movements: Sequence[Movement], transactions: int | None, *, known: bool = True
) -> AccountBalance:
    at = datetime(2026, 11, 1, tzinfo=MEXICO_CITY)
    return AccountBalance(
        account="acme-rc",
        pac="reachcore",
        month=Month(2026, 10),
        totals=sum_movements(movements) if known else Totals(),
        movements=movements,
        summary=transactions and Summary(None, at, IssuerCounts(1, 1, 1), transactions),
        as_of=at,
        known=known,
    )


@pytest.mark.parametrize("transactions", [3, None])
@pytest.mark.parametrize("nobody", [None, ""])
def test_a_balance_shows_other_kinds_and_consumption_of_nobody(
    transactions: int | None, nobody: str | None
) -> None:
    movements = [
        Movement(RFC, DAY, CONSUMPTION, 2),
        Movement(nobody, DAY, CONSUMPTION, 1),
        Movement(None, DAY, ADDED, 500),
        Movement(RFC, DAY, "Ajuste", -7),
    ]

    body = balance_to_dict(balance(movements, transactions))

    assert (body["transactions"], body["movements_total"], body["plan"]) == (3, 3, None)
    assert body["issuers"]["stamping"] == 1
    assert body["by_issuer"] == [{"rfc": None, "amount": 1}, {"rfc": RFC, "amount": 2}]
    assert body["by_kind"] == [
        {"kind": "Ajuste", "amount": -7},
        {"kind": ADDED, "amount": 500},
        {"kind": CONSUMPTION, "amount": 3},
    ]
    assert [line["rfc"] for line in body["movements"]] == [RFC, None, None, RFC]


def test_a_balance_without_known_consumption_has_no_total() -> None:
    body = balance_to_dict(balance([], None, known=False))
    assert (body["transactions"], body["movements_total"]) == (None, None)
    assert body["issuers"]["stamping"] is None


def test_the_longest_movements_fit_into_a_response() -> None:
    kind = "\N{PILE OF POO}" * 100
    movements = [Movement("\\" * 94 + f"{n:06}", DAY, kind, 1) for n in range(MAX_MOVEMENTS)]

    # Raises above the limit.
    json_response(200, balance_to_dict(balance(movements, 0)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A&D061009TY8", "A&D061009TY8"),
        ("a&d061009ty8 ", "A&D061009TY8"),
        ("A&amp;D061009TY8", "A&D061009TY8"),
        ("a&AMP;d061009ty8", "A&D061009TY8"),
        ("n\N{COMBINING TILDE}an840101ab1", "ÑAN840101AB1"),
        ("xaxx010101000", "XAXX010101000"),
        ("Publico en general", "Publico en general"),
        (" sin rfc\t", "sin rfc"),
        ("A&amp;D", "A&amp;D"),
        # Its upper case would be another issuer's RFC.
        ("ßA010101AAA", "ßA010101AAA"),
        ("A&amp;amp;D061009TY8", "A&amp;amp;D061009TY8"),
    ],
)
def test_an_rfc_from_a_pac_has_one_form_and_other_texts_stay(text: str, expected: str) -> None:
    assert normalize_rfc(text) == expected


@given(st.text(max_size=16) | st.from_regex(r"[A-Za-z&ñ]{3,4}[0-9]{6}[A-Za-z0-9]{3}"))
def test_callers_and_pacs_mean_the_same_issuer(text: str) -> None:
    try:
        rfc = parse_rfc(text)
    except TimbresError:
        assert normalize_rfc(text) == text.strip() or "&amp;" in text.casefold()
    else:
        assert normalize_rfc(text) == rfc
        assert normalize_rfc(unicodedata.normalize("NFD", text).replace("&", "&amp;")) == rfc
    assert normalize_rfc(normalize_rfc(text)) == normalize_rfc(text)


@given(
    st.integers(-(10**12), 10**12), st.sampled_from(["{}", " {} ", "{}.0", "{}e0", "{}.", "{}0e-1"])
)
def test_a_whole_number_in_any_notation(number: int, form: str) -> None:
    assert parse_number(form.format(number)) == number


@given(st.floats() | st.text(max_size=8) | st.booleans() | st.none())
def test_any_other_value_is_not_a_number(value: object) -> None:
    try:
        number = parse_number(value)
    except ValueError:
        return
    assert number == float(str(value))
    assert type(number) is int


@pytest.mark.parametrize(
    ("month", "due", "expected"),
    [
        ("current", "2026-11-01T05:30:00Z", "2026-10"),
        ("previous", "2026-11-01T05:30:00Z", "2026-09"),
        ("current", "2026-11-01T06:00:00Z", "2026-11"),
        ("previous", "2026-01-01T12:00:00Z", "2025-12"),
        ("2026-03", "2026-11-01T05:30:00Z", "2026-03"),
    ],
)
def test_the_month_of_a_schedule_is_that_of_its_due_time_in_mexico_city(
    month: str, due: str, expected: str
) -> None:
    assert str(resolve_month({"month": month, "scheduled_time": due})) == expected
