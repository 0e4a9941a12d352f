"""Hostile balances and statements are rejected with little memory, at any length."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Callable
from functools import partial

import pytest
from tests.unit.test_reachcore_balance import MOVEMENT, RESPONSE
from tests.unit.test_statement_csv import DOCUMENTED

from timbres.deadline import Deadline
from timbres.domain.balance import sum_movements
from timbres.domain.month import Month
from timbres.errors import PacError, TimbresError
from timbres.pacs.http import HttpResponse
from timbres.pacs.reachcore import limits, statement
from timbres.pacs.reachcore.client import ReachcoreBalance
from timbres.services.balances import sum_and_take_first

MIB = 1024 * 1024
LENGTH = 4 * MIB
read_statement = partial(statement.read_statement, month=Month(2019, 10))
# The reader must stop here: the size of a movement plus the read-ahead buffer.
MAX_READ = MIB


def read_balance(file: io.BytesIO) -> None:
    sum_movements(
        ReachcoreBalance(HttpResponse(file, 200, "", len(file.getvalue()), "")).movements()
    )


def expect_rejection(read: Callable[[io.BytesIO], object], content: bytes) -> tuple[str, int]:
    """Return the error detail and the number of bytes read; check the memory in use."""
    file = io.BytesIO(content)
    tracemalloc.start()
    try:
        with pytest.raises(PacError) as caught:
            read(file)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.problem_type.code == "pac-protocol-error"
    assert len(caught.value.detail) < 300
    assert peak < 8 * MIB
    return caught.value.detail, file.tell()


def repeat(filler: bytes) -> bytes:
    return filler * (LENGTH // len(filler))


SUMMARY = json.dumps({**RESPONSE, "Detalle": []})[: -len("[]}")].encode()
MOVEMENT_JSON = json.dumps(MOVEMENT).encode()
OPEN_MOVEMENT = MOVEMENT_JSON[:-1] + b", "


@pytest.mark.parametrize(
    ("beginning", "filler"),
    [
        (SUMMARY + b'[{"TipoMovimiento": "', b"x"),
        (SUMMARY + b'[{"TipoMovimiento": "', b'\\"'),
        (SUMMARY + b'[{"', b"x"),
        (SUMMARY + b'[{"Monto": ', b"9"),
        (SUMMARY + b'[{"Monto": 0.', b"0"),
        (SUMMARY + b"[" + OPEN_MOVEMENT + b'"x": [', b"1, "),
        (SUMMARY + b"[" + OPEN_MOVEMENT + b'"x": {', b'"y": {}, '),
        (SUMMARY + b"[" + MOVEMENT_JSON, b" "),
        (b'{"TipoConsumo": "', b"x"),
        (b'{"Extra": [', b"{}, "),
        (b'{"', b"\\u0041"),
        (b"", b" "),
        (b"", b"["),
    ],
    ids=range(13),
)
def test_an_overlong_balance_is_rejected_early(beginning: bytes, filler: bytes) -> None:
    _, size = expect_rejection(read_balance, beginning + repeat(filler))
    assert size <= MAX_READ


def test_endless_fields_are_rejected_early() -> None:
    names = b", ".join(b'"%d": 1' % n for n in range(LENGTH // 32))
    for content in (SUMMARY + b"[{" + names + b"}]}", b"{" + names + b"}"):
        detail, read = expect_rejection(read_balance, content)
        assert "too long to be a movement" in detail
        assert read <= MAX_READ


BEFORE = "".join(DOCUMENTED.splitlines(keepends=True)[:-1]).encode()


@pytest.mark.parametrize(
    ("beginning", "filler"),
    [
        (b"", b"x"),
        (b"", b"Cuenta,"),
        (b"", b"\r"),
        (b"", b","),
        (b'"', b"x"),
        (b'"', b"x\n"),
        (b'"', b'""'),
        (BEFORE, b"AAA010101AAA,"),
        (BEFORE + b'"', b"AAA010101AAA\n"),
        (BEFORE, b'"a\n",'),
        (BEFORE, b"\x00"),
        (BEFORE, "\N{PILE OF POO}".encode()),
    ],
    ids=range(12),
)
def test_an_overlong_statement_is_rejected_early(beginning: bytes, filler: bytes) -> None:
    _, read = expect_rejection(read_statement, beginning + repeat(filler))
    assert read <= MAX_READ


def rows_of_json(rfc: str, kind: str) -> bytes:
    row = json.dumps({**MOVEMENT, "RFC": rfc, "TipoMovimiento": kind})
    return SUMMARY + b"[" + ", ".join(row % {"n": n} for n in range(300)).encode() + b"]}"


def rows_of_csv(rfc: str, kind: str) -> bytes:
    row = f"{rfc} ,10/17/2019 12:00:00 AM,{kind},3\n"
    return BEFORE + "".join(row % {"n": n} for n in range(300)).encode()


@pytest.mark.parametrize(
    ("read", "rows"),
    [(read_balance, rows_of_json), (read_statement, rows_of_csv)],
    ids=["balance", "statement"],
)
@pytest.mark.parametrize(
    ("rfc", "kind", "expected"),
    [
        ("%(n)d", "x", "more than 200 RFCs"),
        ("x", "%(n)d", "more than 100 kinds"),
        ("x" * 101, "x", "an RFC in it is not valid"),
        ("x\u202ey", "x", "an RFC in it is not valid"),
        ("x\u2028y", "x", "an RFC in it is not valid"),
        ("x", "x" * 101, "a kind of movement in it is too long"),
    ],
)
def test_rfcs_and_kinds_are_limited(
    read: Callable[[io.BytesIO], object],
    rows: Callable[[str, str], bytes],
    rfc: str,
    kind: str,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MAX_RFCS", 200)
    monkeypatch.setattr(limits, "MAX_KINDS", 100)
    read(io.BytesIO(rows("x" * 20, "y" * 100)))
    assert expected in expect_rejection(read, rows(rfc, kind))[0]


@pytest.mark.parametrize("name", ["TipoConsumo"])
def test_an_overlong_plan_is_rejected(name: str) -> None:
    assert (
        name
        in expect_rejection(read_balance, json.dumps({**RESPONSE, name: "x" * 101}).encode())[0]
    )


def test_reading_stops_at_the_deadline() -> None:
    content = json.dumps(RESPONSE).encode()
    balance = ReachcoreBalance(HttpResponse(io.BytesIO(content), 200, "", len(content), ""))
    with pytest.raises(TimbresError) as caught:
        sum_and_take_first(balance, Deadline(0))
    assert caught.value.problem_type.code == "out-of-time"
    assert "request one rfc" in caught.value.detail


def test_an_overlong_account_name_is_rejected() -> None:
    content = DOCUMENTED.replace("Pruebas", "x" * 101).encode()
    assert "account's line" in expect_rejection(read_statement, content)[0]
