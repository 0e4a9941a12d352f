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


def contradict_in_the_statement(stack: FakeStack, transactions: int, times: int = -1) -> None:
    """Let Reachcore return a CSV with this total that lists one stamp."""
    statement = f"""Cuenta,TipoConsumo,FechaInicioConsulta,FechaFinConsulta,FechaActual
Pruebas,Postpago,2026-10-01T00:00:00,2026-10-31T00:00:00,2026-11-19T13:53:41

Estado de los RFC
Registrados,5
Autorizados,4
Generaron Timbre,2

Transacciones
Consumo de todos los RFC:,{transactions}

RFC,Fecha,Tipo movimiento,Monto
AAA010101AAA ,10/17/2026 12:00:00 AM,Consumo de timbre,1
"""
    stack.pacs.fault("csv", "wrong-shape", reply=statement, times=times)
