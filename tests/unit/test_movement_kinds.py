"""Only `Consumo de timbre` is consumption; other movements are kept and shown by type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.report_samples import RC

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
from timbres.domain.consumption import MovementLine
from timbres.domain.month import Month
from timbres.schemas.balances import balance_to_dict

CONSUMPTION = "Consumo de timbre"
ADDED = "Compra de timbres"
RFC = "A&D061009TY8"
DAY = date(2026, 10, 2)
OTHERS = (
    MovementLine(RC, None, DAY, ADDED, 500),
    MovementLine(RC, RFC, date(2026, 10, 9), "Ajuste", -7),
)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (CONSUMPTION, True),
        ("consumo de timbre", True),
        ("CONSUMO DE TIMBRE", True),
        ("  Consumo \t de\n timbre ", True),
        (ADDED, False),
        ("Cancelación", False),
        ("Consumo de timbres", False),
        ("Consumo", False),
        ("No es consumo de timbre", False),
        ("", False),
    ],
)
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
    assert totals.movements == len(movements)
    assert totals.consumed == sum(movement.amount for movement in consumption)
    assert sum(totals.by_issuer.values()) == totals.consumed
    assert sum(totals.by_kind.values()) == sum(movement.amount for movement in movements)
    assert set(totals.by_issuer) == {movement.rfc for movement in consumption}
    assert set(totals.rfcs) == {movement.rfc for movement in consumption} - {None}
    assert set(totals.other_kinds) == {
        movement.kind for movement in movements if not is_consumption(movement.kind)
    }


def balance(movements: Sequence[Movement], transactions: int | None) -> AccountBalance:
    at = datetime(2026, 11, 1, tzinfo=MEXICO_CITY)
    summary_of_pac = None
    if transactions is not None:
        summary_of_pac = Summary(None, at, IssuerCounts(1, 1, 1), transactions)
    return AccountBalance(
        account=RC,
        pac="reachcore",
        month=Month(2026, 10),
        totals=sum_movements(movements),
        movements=movements,
        summary=summary_of_pac,
        as_of=at,
    )


@pytest.mark.parametrize("transactions", [3, None])
def test_a_balance_shows_other_kinds_without_counting_them(transactions: int | None) -> None:
    movements = [
        Movement(RFC, DAY, CONSUMPTION, 2),
        Movement(None, DAY, CONSUMPTION, 1),
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
    body = balance_to_dict(replace(balance([], None), totals=Totals(), known=False))
    assert (body["transactions"], body["movements_total"]) == (None, None)
    assert body["issuers"]["stamping"] is None


@pytest.mark.parametrize("nobody", [None, ""])
def test_consumption_of_nobody_is_no_issuer(nobody: str | None) -> None:
    movements = [Movement(nobody, DAY, CONSUMPTION, 2), Movement(RFC, DAY, CONSUMPTION, 1)]
    result = balance(movements, 3)
    assert result.totals.rfcs == [RFC]
    body = balance_to_dict(result)
    assert [line["rfc"] for line in body["by_issuer"]] == [None, RFC]
    assert [line["rfc"] for line in body["movements"]] == [None, RFC]
