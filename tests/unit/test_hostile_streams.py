"""A balance and a statement that mean harm: refused in little memory, however long they are."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Callable

import pytest
from tests.unit.test_reachcore_balance import ANSWER, MOVEMENT
from tests.unit.test_statement_csv import DOCUMENTED

from timbres.deadline import Deadline
from timbres.domain.balance import sum_movements
from timbres.errors import PacError, TimbresError
from timbres.pacs.http import HttpResponse
from timbres.pacs.reachcore import limits as bounds
from timbres.pacs.reachcore.client import ReachcoreBalance
from timbres.pacs.reachcore.statement import read_statement
from timbres.services.balances import _sum_and_take_first

MIB = 1024 * 1024
LENGTH = 4 * MIB
# Where the reader has to stop: what it holds of one movement, and what it reads ahead.
READ_AT_MOST = MIB


def summed(file: io.BytesIO) -> None:
    sum_movements(
        ReachcoreBalance(HttpResponse(file, 200, "", len(file.getvalue()), "")).movements()
    )


def refused(read: Callable[[io.BytesIO], object], content: bytes) -> tuple[str, int]:
    """Return why it was refused, and how far it was read, in little memory."""
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


def endless(again: bytes) -> bytes:
    return again * (LENGTH // len(again))


SUMMARY = json.dumps({**ANSWER, "Detalle": []})[: -len("[]}")].encode()
ONE = json.dumps(MOVEMENT).encode()
SHORT_OF_ONE = ONE[:-1] + b", "


@pytest.mark.parametrize(
    ("beginning", "again"),
    [
        (SUMMARY + b'[{"TipoMovimiento": "', b"x"),
        (SUMMARY + b'[{"TipoMovimiento": "', b'\\"'),
        (SUMMARY + b'[{"', b"x"),
        (SUMMARY + b'[{"Monto": ', b"9"),
        (SUMMARY + b'[{"Monto": 0.', b"0"),
        (SUMMARY + b"[" + SHORT_OF_ONE + b'"x": [', b"1, "),
        (SUMMARY + b"[" + SHORT_OF_ONE + b'"x": {', b'"y": {}, '),
        (SUMMARY + b"[" + ONE, b" "),
        (b'{"TipoConsumo": "', b"x"),
        (b'{"Extra": [', b"{}, "),
        (b'{"', b"\\u0041"),
        (b"", b" "),
        (b"", b"["),
    ],
    ids=range(13),
)
def test_a_balance_is_left_where_nothing_in_it_can_be_so_long(
    beginning: bytes, again: bytes
) -> None:
    _, read = refused(summed, beginning + endless(again))
    assert read <= READ_AT_MOST


def test_names_without_end_are_no_movement() -> None:
    names = b", ".join(b'"%d": 1' % n for n in range(LENGTH // 32))
    for content in (SUMMARY + b"[{" + names + b"}]}", b"{" + names + b"}"):
        detail, read = refused(summed, content)
        assert "too long to be a movement" in detail
        assert read <= READ_AT_MOST


BEFORE = "".join(DOCUMENTED.splitlines(keepends=True)[:-1]).encode()


@pytest.mark.parametrize(
    ("beginning", "again"),
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
def test_a_statement_is_left_where_nothing_in_it_can_be_so_long(
    beginning: bytes, again: bytes
) -> None:
    _, read = refused(read_statement, beginning + endless(again))
    assert read <= READ_AT_MOST


def rows_of_json(rfc: str, kind: str) -> bytes:
    row = json.dumps({**MOVEMENT, "RFC": rfc, "TipoMovimiento": kind})
    return SUMMARY + b"[" + ", ".join(row % {"n": n} for n in range(300)).encode() + b"]}"


def rows_of_csv(rfc: str, kind: str) -> bytes:
    row = f"{rfc} ,10/17/2019 12:00:00 AM,{kind},3\n"
    return BEFORE + "".join(row % {"n": n} for n in range(300)).encode()


@pytest.mark.parametrize(
    ("read", "rows"),
    [(summed, rows_of_json), (read_statement, rows_of_csv)],
    ids=["balance", "statement"],
)
@pytest.mark.parametrize(
    ("rfc", "kind", "says"),
    [
        ("%(n)d", "x", "more than 200 RFCs"),
        ("x", "%(n)d", "more than 100 kinds"),
        ("x" * 21, "x", "an RFC in it is not valid"),
        ("x\u202ey", "x", "an RFC in it is not valid"),
        ("x\u2028y", "x", "an RFC in it is not valid"),
        ("x", "x" * 101, "a kind of movement in it is too long"),
    ],
)
def test_what_is_summed_by_has_bounds(
    read: Callable[[io.BytesIO], object],
    rows: Callable[[str, str], bytes],
    rfc: str,
    kind: str,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bounds, "_MAX_RFCS", 200)
    monkeypatch.setattr(bounds, "_MAX_KINDS", 100)
    read(io.BytesIO(rows("x" * 20, "y" * 100)))
    assert says in refused(read, rows(rfc, kind))[0]


@pytest.mark.parametrize("name", ["TipoConsumo"])
def test_a_plan_is_a_word(name: str) -> None:
    assert name in refused(summed, json.dumps({**ANSWER, name: "x" * 101}).encode())[0]


def test_an_answer_is_read_for_as_long_as_there_is_time() -> None:
    content = json.dumps(ANSWER).encode()
    reading = ReachcoreBalance(HttpResponse(io.BytesIO(content), 200, "", len(content), ""))
    with pytest.raises(TimbresError) as caught:
        _sum_and_take_first(reading, Deadline(0))
    assert caught.value.problem_type.code == "out-of-time"
    assert "request one rfc" in caught.value.detail


def test_an_account_s_line_holds_words() -> None:
    content = DOCUMENTED.replace("Pruebas", "x" * 101).encode()
    assert "account's line" in refused(read_statement, content)[0]
