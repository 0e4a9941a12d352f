"""Reachcore's client against the fake Reachcore, over loopback HTTP."""

from __future__ import annotations

import hashlib
import json
from datetime import date
from typing import Any

import pytest
from local.fake_pacs.fake_data import ReachcoreState
from local.fake_pacs.reachcore import PATH, FakeReachcore
from tests.support.pac_cases import (
    ACME,
    KEY,
    MONTH,
    RFC,
    calls,
    expect_pac_error,
    fake_state,
    inject_fault,
    new_client,
    reachcore_account,
)
from tests.support.pac_servers import PacServer, respond_with

from timbres.deadline import Deadline
from timbres.domain.balance import IssuerCounts, Movement
from timbres.domain.rfc import Rfc
from timbres.pacs.base import PacClient

NOT_STAMPING = Rfc("ACM010203XY9")
OPERATIONS = ("saldos", "csv", "pdf")


@pytest.fixture
def state() -> ReachcoreState:
    return fake_state().reachcore


@pytest.fixture
def pac(state: ReachcoreState, pac_server: PacServer) -> FakeReachcore:
    """The fake PAC in its initial state."""
    fake_pac = FakeReachcore(state)
    pac_server.serve_app(fake_pac)
    return fake_pac


@pytest.fixture
def client(url: str, pac: FakeReachcore) -> PacClient:
    return new_client(reachcore_account(url))


def read(client: PacClient, operation: str = "saldos", rfc: Rfc | None = None) -> Any:
    """Read one operation: (summary, movements) of a balance, the bytes of a statement."""
    if operation == "saldos":
        with client.balance(MONTH, rfc, Deadline(5)) as month:
            return month.summary, list(month.movements())
    download = client.statement(MONTH, operation, Deadline(5))
    with download.file as file:
        content = file.read()
    assert download.size == len(content)
    assert download.sha256 == hashlib.sha256(content).hexdigest()
    return content


@pytest.mark.parametrize("fault", [None, "missing-comma"])
def test_a_balance_matches_the_state_of_the_pac(
    pac: FakeReachcore, client: PacClient, fault: str | None
) -> None:
    if fault:
        inject_fault(pac, "saldos", fault)

    summary, movements = read(client)

    account = next(account for account in pac.state_json()["accounts"] if account["name"] == ACME)
    assert movements == [
        Movement(row["rfc"], date.fromisoformat(row["date"]), row["kind"], row["amount"])
        for row in account["months"][str(MONTH)]["movements"]
    ]
    assert (summary.plan, summary.issuers) == ("postpaid", IssuerCounts(5, 4, 3))
    assert summary.transactions == sum(movement.amount for movement in movements) > 0
    assert str(summary.as_of.tzinfo) == "America/Mexico_City"


def test_the_request_is_the_documented_one(pac_server: PacServer, client: PacClient) -> None:
    read(client)
    read(client, rfc=RFC)
    read(client, "csv")
    read(client, "pdf")

    month = {"MesConsulta": "2026-10"}
    assert [(one["PATH_INFO"], json.loads(one["body"])) for one in pac_server.requests] == [
        (PATH, month),
        (PATH, {**month, "RFCConsulta": "A&D061009TY8"}),
        (f"{PATH}/csv", month),
        (f"{PATH}/pdf", month),
    ]
    for environ in pac_server.requests:
        assert (environ["REQUEST_METHOD"], environ["QUERY_STRING"]) == ("POST", "")
        assert environ["HTTP_RCAPIKEY"] == KEY
        assert environ["CONTENT_TYPE"] == "application/json"
        assert environ["HTTP_ACCEPT_ENCODING"] == "gzip, deflate"


# ---------------------------------------------------------------------------- statements


@pytest.mark.parametrize(("form", "rows"), [("csv", 0), ("csv", 20_000), ("pdf", 0), ("pdf", 500)])
def test_a_statement_arrives_byte_for_byte(
    state: ReachcoreState, pac: FakeReachcore, client: PacClient, form: str, rows: int
) -> None:
    state.load_bulk(ACME, str(MONTH), rows)

    content = read(client, form)

    assert [content] == pac.statements(str(MONTH), form)
    assert content.startswith(b"%PDF-" if form == "pdf" else b"Cuenta,")
    assert len(calls(pac, form)) == 1


@pytest.mark.parametrize(
    ("form", "content"),
    [
        ("csv", ""),
        ("csv", "%PDF-1.4\n%%EOF"),
        ("csv", '{"errors": [{"Code": "400-001", "Message": "x"}]}'),
        ("csv", "[" * 100_000),
        ("csv", "\r\n"),
        ("csv", "PK\x03\x04"),
        ("pdf", ""),
        ("pdf", "Cuenta,TipoConsumo"),
        ("pdf", "%%EOF"),
        ("pdf", "x" * 1024 + "%PDF-1.4\n%%EOF"),
    ],
)
def test_an_invalid_statement_is_rejected(
    pac: FakeReachcore, client: PacClient, form: str, content: str
) -> None:
    inject_fault(pac, form, "wrong-shape", reply=content)
    with expect_pac_error("pac-protocol-error") as errors:
        read(client, form)
    assert f"not a {form.upper()} file" in errors[0].detail
    assert len(calls(pac)) == 1


# --------------------------------------------------------------------- documented codes


LONG = "x" * 100_000
NO_ERRORS = [
    {"errors": []}, {"errors": {}}, {"errors": None}, {"errors": ["400-001"]},
    {"errors": [{"Message": "x"}]}, {"errors": [{"Code": None}]}, {"errors": [{"Code": ""}]},
    {"errors": [{"Code": float("nan")}]}, {"errors": [{"Code": 1.5}]}, [], "400-001",
    b"\xff\xfe", b"[" * 60_000, b'{"errors": [{"Code": "400-001"', LONG.encode(),
    b'{"errors": [{"Code": 1e400}]}', b'{"errors": ' + b"[" * 100_000,
]  # fmt: skip
OTHER_ERRORS = [
    *((400, body, "pac-protocol-error", "without errors") for body in NO_ERRORS),
    *((400, {"errors": [error]}, code, says) for error, code, says in (
        ({"Code": "400-999", "Message": "x"}, "pac-protocol-error", "400-999"),
        ({"Code": LONG, "Message": "x"}, "pac-protocol-error", "xxx"),
        ({"Code": " 400-001 "}, "month-invalid", "400-001"),
        ({"Code": "400-001", "Message": 7}, "month-invalid", "400-001"),
        ({"Code": "400-001", "Message": "a\nb\x1b" + "c" * 999}, "month-invalid", "a bccc"),
        ({"Code": "400-001", "Message": LONG}, "month-invalid", "xxx"),
        ({"Code": "400-001", "Message": "\ud800\0\u202e"}, "month-invalid", "400-001"))),
    (400, b'{"errors": [{"Code": %s}]}' % (b"9" * 4_000), "pac-protocol-error", "999"),
    (415, {}, "pac-protocol-error", "415"),
    (201, {}, "pac-protocol-error", "201"),
    *((status, body, code, str(status)) for body in (b"", b"<html><title>Mantenimiento</title>")
      for status, code in ((404, "pac-endpoint-not-found"), (500, "pac-error"),
                           (503, "pac-unavailable"))),
    (401, {"errors": [{"Code": "400-001", "Message": "x"}]}, "pac-credentials-rejected", "401"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "body", "code", "says"), OTHER_ERRORS, ids=range(len(OTHER_ERRORS))
)
def test_other_errors(
    pac_server: PacServer, client: PacClient, status: int, body: object, code: str, says: str
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body)
    pac_server.serve_app(respond_with(content, "application/json", status))
    for operation in OPERATIONS:
        with expect_pac_error(code) as errors:
            read(client, operation)
        assert says in errors[0].detail
        assert len(errors[0].detail) < 700
        assert len(errors[0].pac_message or "") <= 300
        assert len(errors[0].pac_code or "") <= 300
