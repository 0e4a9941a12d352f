"""Responses of Reachcore with a total that is not the sum of the movements."""

from __future__ import annotations

import json
from collections.abc import Sequence

from local.fake_pacs.fake_data import Movement

from tests.support.fake_stack import FakeStack


def contradict(
    stack: FakeStack, transactions: int, movements: Sequence[Movement] = (), times: int = -1
) -> None:
    """Let Reachcore return this total and these movements for a month."""
    response = {
        "TipoConsumo": "Postpago",
        "FechaActual": "2026-11-19T13:53:41",
        "Registrados": 5,
        "Autorizados": 4,
        "GeneraronTimbre": 2,
        "Transacciones": transactions,
        "Detalle": [
            {
                "RFC": movement.rfc,
                "Fecha": f"{movement.date}T00:00:00",
                "TipoMovimiento": movement.kind,
                "Monto": movement.amount,
            }
            for movement in movements
        ],
    }
    stack.pacs.fault("saldos", "wrong-shape", reply=json.dumps(response), times=times)
