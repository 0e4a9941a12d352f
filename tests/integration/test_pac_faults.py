"""Everything a PAC can do wrong, as a caller of the API is told of it."""

from __future__ import annotations

import socket

import pytest
from local.sandboxes.reachcore import ReachcoreSandbox
from local.sandboxes.solucion_factible import SolucionFactibleSandbox
from tests.integration.harness import RC, RFC, RFC_NEW, SF, World, problem

BALANCE = f"/accounts/{RC}/balance"
STAMPS = f"/accounts/{SF}/stamps"


# ---------------------------------------------------------------------------- Reachcore

NOT_REGISTERED = (
    "El RFC proporcionado no pertenece a los RFC registrados en la cuenta a la que pertenece "
    "el API KEY."
)
BALANCE_SAYS = [
    ("400-001", 400, "month-invalid", 1, "'MesConsulta' se encuentra en un formato inválido."),
    ("400-002", 404, "issuer-not-registered", 1, NOT_REGISTERED),
    ("400-003", 400, "format-unsupported", 1, "El formato (formatoSolicitado) no está soportado"),
    ("401", 502, "pac-credentials-rejected", 1, "El API Key no es válido."),
    ("404", 502, "pac-endpoint-not-found", 1, "La URL no existe."),
    ("500", 502, "pac-error", 3, "Error de la plataforma Reachcore"),
]


@pytest.mark.parametrize(("said", "status", "code", "calls", "message"), BALANCE_SAYS)
def test_balance_what_the_pac_says_is_told_in_its_own_words(
    reader: World, said: str, status: int, code: str, calls: int, message: str
) -> None:
    reader.fault("saldos", "code", code=said, times=-1)

    answer = reader.get(BALANCE, month="2026-10")

    body = problem(answer, status, code)
    assert body["pac"] == {"name": "reachcore", "code": said, "message": message}
    assert message in body["detail"]
    assert len(reader.calls()) == calls
    assert "retry-after" not in answer.headers


@pytest.mark.parametrize("body", ["empty", "html"])
@pytest.mark.parametrize(
    ("said", "status", "code"),
    [
        ("400-001", 502, "pac-protocol-error"),
        ("401", 502, "pac-credentials-rejected"),
        ("404", 502, "pac-endpoint-not-found"),
        ("500", 502, "pac-error"),
    ],
)
def test_balance_an_error_without_its_documented_body(
    reader: World, said: str, status: int, code: str, body: str
) -> None:
    reader.fault("saldos", "code", code=said, body=body, times=-1)

    told = problem(reader.get(BALANCE, month="2026-10"), status, code)

    assert told["pac"]["name"] == "reachcore"
    assert told["pac"]["message"] is None


@pytest.mark.parametrize(
    ("fault", "status", "code", "calls"),
    [
        ("html-200", 502, "pac-protocol-error", 1),
        ("wrong-shape", 502, "pac-protocol-error", 1),
        ("empty-body", 502, "pac-protocol-error", 1),
        ("redirect", 502, "pac-protocol-error", 1),
        ("truncated", 504, "pac-timeout", 3),
        ("cut-before", 504, "pac-timeout", 3),
        ("cut-after", 504, "pac-timeout", 3),
    ],
)
def test_balance_answers_that_are_none(
    reader: World, fault: str, status: int, code: str, calls: int
) -> None:
    reader.fault("saldos", fault, times=-1)

    body = problem(reader.get(BALANCE, month="2026-10"), status, code)

    assert body["pac"] == {"name": "reachcore", "code": None, "message": None}
    assert reader.calls() == ["saldos"] * calls


def test_balance_a_failure_that_passes_is_not_seen(reader: World) -> None:
    reader.fault("saldos", "code", code="500")
    reader.fault("saldos", "cut-after")

    assert reader.get(BALANCE, month="2026-10").status == 200
    assert len(reader.calls()) == 3


def test_balance_a_pac_that_does_not_answer_in_time(reader: World) -> None:
    reader.fault("saldos", "slow", seconds=2.5, times=-1)

    answer = reader.call("balance", "GET", BALANCE, {"month": "2026-10"}, seconds=4)

    problem(answer, 504, "pac-timeout")


def test_balance_no_time_left_to_begin(reader: World) -> None:
    answer = reader.call("balance", "GET", BALANCE, {"month": "2026-10"}, seconds=3.2)

    problem(answer, 503, "out-of-time")
    assert answer.headers["retry-after"] == "5"
    assert reader.calls() == []


def test_balance_a_pac_that_cannot_be_reached(reader: World) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
        reader.create_account("nowhere-rc", reader.secret(RC, endpoint=endpoint))

        answer = reader.get("/accounts/nowhere-rc/balance", month="2026-10")

    body = problem(answer, 503, "pac-unreachable")
    assert answer.headers["retry-after"] == "60"
    assert body["pac"] == {"name": "reachcore", "code": None, "message": None}


# ------------------------------------------------------------------- Solución Factible

STAMPS_SAYS = [
    ("500", 502, "pac-error", 3, None),
    ("501", 503, "pac-unavailable", 3, "60"),
    ("502", 502, "pac-error", 3, None),
    ("503", 503, "pac-unavailable", 3, "60"),
    ("601", 502, "pac-credentials-rejected", 1, None),
    ("602", 502, "pac-credentials-rejected", 1, None),
    ("603", 502, "pac-credentials-rejected", 1, None),
    ("604", 502, "pac-credentials-rejected", 1, None),
    ("605", 502, "pac-credentials-rejected", 1, None),
    ("611", 502, "pac-rejected-request", 1, None),
    ("612", 502, "pac-rejected-request", 1, None),
    ("624", 409, "contract-duplicate", 1, None),
    ("630", 409, "account-stamps-exhausted", 1, None),
    ("631", 409, "issuer-stamps-exhausted", 1, None),
    ("632", 422, "transaction-limit-exceeded", 1, None),
    ("633", 409, "environment-mismatch", 1, None),
]


@pytest.mark.parametrize(("said", "status", "code", "calls", "wait"), STAMPS_SAYS)
def test_stamps_what_the_pac_says_is_told_in_its_own_words(
    reader: World, said: str, status: int, code: str, calls: int, wait: str | None
) -> None:
    reader.fault("getTimbres", "code", code=said, mensaje="Algo\n pasó", times=-1)

    answer = reader.get(STAMPS, rfc=RFC)

    body = problem(answer, status, code)
    assert body["pac"] == {"name": "solucion-factible", "code": said, "message": "Algo pasó"}
    assert answer.headers.get("retry-after") == wait
    assert reader.calls() == ["getTimbres"] * calls
    assert reader.stack.items("IssuersTable") == []


def test_the_tables_of_codes_are_whole() -> None:
    assert {row[0] for row in BALANCE_SAYS} == ReachcoreSandbox.rules.codes["saldos"]
    assert {row[0] for row in STAMPS_SAYS} == SolucionFactibleSandbox.rules.codes["getTimbres"] - {
        "200"
    }


def test_stamps_an_issuer_that_the_pac_does_not_know(reader: World) -> None:
    body = problem(reader.get(STAMPS, rfc=RFC_NEW), 502, "pac-rejected-request")

    assert body["pac"]["code"] == "611"
    assert RFC_NEW in body["pac"]["message"]
    assert reader.stack.items("IssuersTable") == []


@pytest.mark.parametrize(
    ("fault", "status", "code", "calls"),
    [
        ("html-200", 502, "pac-protocol-error", 1),
        ("wrong-shape", 502, "pac-protocol-error", 1),
        ("empty-body", 502, "pac-protocol-error", 1),
        ("redirect", 502, "pac-protocol-error", 1),
        ("dtd", 502, "pac-protocol-error", 1),
        ("missing-fields", 502, "pac-protocol-error", 1),
        ("empty-fields", 502, "pac-protocol-error", 1),
        ("nil-fields", 502, "pac-protocol-error", 1),
        ("soap-fault", 502, "pac-error", 3),
        ("truncated", 504, "pac-timeout", 3),
        ("cut-before", 504, "pac-timeout", 3),
        ("cut-after", 504, "pac-timeout", 3),
    ],
)
def test_stamps_answers_that_are_none(
    reader: World, fault: str, status: int, code: str, calls: int
) -> None:
    reader.fault("getTimbres", fault, times=-1)

    body = problem(reader.get(STAMPS, rfc=RFC), status, code)

    assert body["pac"]["name"] == "solucion-factible"
    assert reader.calls() == ["getTimbres"] * calls
    assert reader.stack.items("IssuersTable") == []


def test_stamps_a_failure_that_passes_is_not_seen(reader: World) -> None:
    reader.fault("getTimbres", "code", code="503")
    reader.fault("getTimbres", "cut-before")

    assert reader.get(STAMPS, rfc=RFC).status == 200


def test_stamps_a_pac_that_does_not_answer_in_time(reader: World) -> None:
    reader.fault("getTimbres", "slow", seconds=2.5, times=-1)

    problem(reader.call("stamp_count", "GET", STAMPS, {"rfc": RFC}, seconds=4), 504, "pac-timeout")


def test_stamps_a_pac_that_cannot_be_reached(reader: World) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
        reader.create_account("nowhere-sf", reader.secret(SF, endpoint=endpoint))

        answer = reader.get("/accounts/nowhere-sf/stamps", rfc=RFC)

    problem(answer, 503, "pac-unreachable")
    assert answer.headers["retry-after"] == "60"
