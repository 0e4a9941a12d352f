"""Responses of Reachcore with a total that is not the sum of the movements."""

from __future__ import annotations

from collections.abc import Sequence

from local.fake_pacs.fake_data import Movement

from tests.support.fake_stack import FakeStack
from tests.support.further_cases import MOVEMENT, balance


def contradict(
    stack: FakeStack, transactions: int, movements: Sequence[Movement] = (), times: int = -1
) -> None:
    """Let Reachcore return this total and these movements for a month."""
    detail = [
        MOVEMENT
        | {"RFC": movement.rfc, "Fecha": f"{movement.date}T00:00:00", "Monto": movement.amount}
        | {"TipoMovimiento": movement.kind}
        for movement in movements
    ]
    reply = balance(Transacciones=transactions, Detalle=detail)
    stack.pacs.fault("saldos", "wrong-shape", reply=reply, times=times)
