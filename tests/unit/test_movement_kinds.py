"""Only `Consumo de timbre` is consumption; other movements are kept and shown by type."""

from __future__ import annotations

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
from timbres.schemas.balances import balance_to_dict

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
