"""Reachcore's CSV statement: the documented sample and invalid files."""

from __future__ import annotations

import io
import unicodedata
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from local.fake_pacs.fake_data import demo_state
from local.fake_pacs.statements import csv_statement

from timbres.domain.balance import IssuerCounts
from timbres.domain.month import Month
from timbres.errors import PacError
from timbres.pacs.reachcore.statement import Statement, read_statement

# The sample of the documentation, including the blank after the RFC.
DOCUMENTED = """Cuenta,TipoConsumo,FechaInicioConsulta,FechaFinConsulta,FechaActual
Pruebas,Postpago,2019-10-01T00:00:00,2019-10-31T00:00:00,2019-11-20T16:57:53

Estado de los RFC
Registrados,0
Autorizados,1
Generaron Timbre,1

Transacciones
Consumo de todos los RFC:,3

RFC,Fecha,Tipo movimiento,Monto
AAA010101AAA ,10/17/2019 12:00:00 AM,Consumo de timbre,3
"""
LINES = DOCUMENTED.splitlines()


def read(text: str | bytes) -> Statement:
    content = text.encode() if isinstance(text, str) else text
    return read_statement(io.BytesIO(content), Month(2019, 10))


def expect_rejection(text: str | bytes) -> str:
    with pytest.raises(PacError) as caught:
        read(text)
    assert caught.value.problem_type.code == "pac-protocol-error"
    assert caught.value.pac == "reachcore"
    return caught.value.detail


def with_line(place: int, line: str | None) -> str:
    lines = [*LINES]
    lines[place : place + 1] = [] if line is None else [line]
    return "\n".join(lines)


def with_movement(line: str) -> str:
    return DOCUMENTED + line + "\n"


# ---------------------------------------------------------------------------- the sample


@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", ["", "\n", "\n\n\n"])
def test_the_documented_sample(line_end: str, bom: str, last: str) -> None:
    text = bom + (DOCUMENTED.strip() + last).replace("\n", line_end)
    statement = read(text)
    assert statement.account == "Pruebas"
    assert statement.plan == "Postpago"
    assert (statement.first_day, statement.last_day) == (date(2019, 10, 1), date(2019, 10, 31))
    assert statement.as_of.isoformat() == "2019-11-20T16:57:53-06:00"
    assert statement.issuers == IssuerCounts(registered=0, authorized=1, active=1)
    assert statement.transactions == 3
    assert statement.totals.by_issuer == {"AAA010101AAA": 3}
    assert statement.totals.by_kind == {"Consumo de timbre": 3}
    assert (statement.totals.movements, statement.totals.consumed) == (1, 3)


def test_blanks_and_blank_lines_are_ignored() -> None:
    wide = DOCUMENTED.replace(",", " , ").replace("\n", " \n\n ,,\n")
    assert read(wide) == read(DOCUMENTED)
    narrow = "\n".join(line for line in LINES if line)
    assert read(narrow) == read(DOCUMENTED)


def test_quoted_cells_are_read() -> None:
    text = DOCUMENTED.replace("Pruebas", '"Pruebas, S.A. ""de"" C.V."').replace(
        "AAA010101AAA ,", '"AAA010101AAA ",'
    )
    assert read(text).account == 'Pruebas, S.A. "de" C.V.'
    assert read(text).totals == read(DOCUMENTED).totals


def test_a_month_without_movements() -> None:
    statement = read("\n".join(LINES[:-1]))
    assert statement.totals.movements == 0
    assert statement.totals.by_issuer == {}


@pytest.mark.parametrize(
    "day",
    ["10/17/2019 12:00:00 AM", "10/17/2019 11:59:59 PM", "17/10/2019 12:00:00 a. m.",
     "17/10/2019", "7/10/2019 0:00", "2019-10-17T00:00:00", "2019-10-17"],
)  # fmt: skip
def test_the_month_decides_the_order_of_a_date(day: str) -> None:
    read(with_movement(f"AAA010101AAA ,{day},Consumo de timbre,3"))


@pytest.mark.parametrize(
    "day",
    ["17/11/2019 12:00:00 AM", "10-17-2019 12:00:00 AM", "10/32/2019", "02/30/2019 12:00:00 AM",
     "10/17/19 12:00:00 AM", "", "ayer", "43755"],
)  # fmt: skip
def test_other_dates_are_rejected(day: str) -> None:
    expect_rejection(with_movement(f"AAA010101AAA ,{day},Consumo de timbre,3"))


def test_movements_add_up_by_issuer_and_kind() -> None:
    text = DOCUMENTED + (
        "AAA010101AAA ,10/18/2019 12:00:00 AM,Consumo de timbre,4\r\n"
        "A&D061009TY8 ,10/18/2019 12:00:00 AM,Ajuste,-2\r\n"
        "ÑAN840101AB1 ,10/18/2019 12:00:00 AM,Consumo de timbre,0\r\n"
    )
    totals = read(text).totals
    assert totals.by_issuer == {"AAA010101AAA": 7, "ÑAN840101AB1": 0}
    assert totals.by_kind == {"Consumo de timbre": 7, "Ajuste": -2}
    assert (totals.movements, totals.consumed) == (4, 7)


# --------------------------------------------------------------------------- invalid statements

SECTIONS = {
    0: "Cuenta",
    1: "account's line",
    3: "Estado de los RFC",
    4: "Registrados",
    5: "Autorizados",
    6: "Generaron Timbre",
    8: "Transacciones",
    9: "Consumo de todos los RFC:",
    11: "RFC",
}


@pytest.mark.parametrize(("place", "name"), SECTIONS.items(), ids=SECTIONS.values())
@pytest.mark.parametrize("replacement", [None, "Otra cosa", "Otra,cosa,7", ";", LINES[-1]])
def test_the_error_names_a_missing_or_invalid_section(
    place: int, name: str, replacement: str | None
) -> None:
    detail = expect_rejection(with_line(place, replacement))
    if place == 1 and replacement is None:
        assert "account's line" in detail
    else:
        assert name in detail


@pytest.mark.parametrize(("place", "name"), SECTIONS.items(), ids=SECTIONS.values())
def test_the_error_names_the_first_missing_section(place: int, name: str) -> None:
    assert name in expect_rejection("\n".join(LINES[:place]))


@pytest.mark.parametrize("place", [4, 5, 6, 9])
@pytest.mark.parametrize("number", ["", "x", "1.5", "1,5x", "1e-3", "3 ½", "３", "1_0", "9" * 5000])
def test_a_total_is_a_whole_number(place: int, number: str) -> None:
    label = LINES[place].rpartition(",")[0]
    text = with_line(place, f"{label},{number}".replace(",5x", ".5"))
    assert label in expect_rejection(text)


@pytest.mark.parametrize("amount", ["", "x", "1.5", "1e-3", "３", "1_0", "NaN", "9" * 5000, "--1"])
def test_an_amount_is_a_whole_number(amount: str) -> None:
    expect_rejection(
        with_movement(f"AAA010101AAA ,10/17/2019 12:00:00 AM,Consumo de timbre,{amount}")
    )


@pytest.mark.parametrize(
    "line",
    ["AAA010101AAA", "AAA010101AAA ,10/17/2019 12:00:00 AM,Consumo de timbre",
     "AAA010101AAA ,10/17/2019 12:00:00 AM,Consumo de timbre,3,4",
     "AAA010101AAA ,10/17/2019 12:00:00 AM,Consumo, de timbre,3",
     " ,10/17/2019 12:00:00 AM,Consumo de timbre,3", "AAA010101AAA ,10/17/2019 12:00:00 AM,,3",
     "Total,3", '"AAA010101AAA ,10/17/2019 12:00:00 AM,Consumo de timbre,3'],
)  # fmt: skip
def test_an_invalid_movement_is_rejected(line: str) -> None:
    assert "movement" in expect_rejection(with_movement(line))


@pytest.mark.parametrize("place", [2, 3, 4])
@pytest.mark.parametrize("day", ["", "ayer", "11/12/2019", "2019-10-32T00:00:00"])
def test_an_invalid_date_of_the_account_is_rejected(place: int, day: str) -> None:
    cells = LINES[1].split(",")
    cells[place] = day
    detail = expect_rejection(with_line(1, ",".join(cells)))
    assert "date" in detail or (place == 4 and not day and "account's line" in detail)


@pytest.mark.parametrize(
    "content",
    [b"", b"\n\n", b"\xff\xfe", DOCUMENTED.encode("utf-16-le"), b"%PDF-1.4", b"<html></html>",
     b"\x00" * 100, b'"' + b"x" * 200_000, DOCUMENTED.replace("Pruebas", "Ñ").encode("latin-1"),
     b"sep=x\n" + DOCUMENTED.encode(), DOCUMENTED.encode() + b"\xff"],
    ids=range(11),
)  # fmt: skip
def test_other_content_is_rejected(content: bytes) -> None:
    expect_rejection(content)


@given(st.integers(0, len(DOCUMENTED) - 1), st.text(max_size=2))
def test_a_modified_character_is_read_or_rejected(place: int, other: str) -> None:
    text = DOCUMENTED[:place] + other + DOCUMENTED[place + 1 :]
    content = text.encode("utf-8", "surrogatepass")
    try:
        statement = read(content)
    except PacError:
        expect_rejection(content)
    else:
        assert statement.totals.movements <= 1


def test_the_file_stays_open() -> None:
    file = io.BytesIO(DOCUMENTED.encode())
    read_statement(file, Month(2019, 10))
    assert not file.closed
    invalid = io.BytesIO(b"nothing of the kind")
    with pytest.raises(PacError):
        read_statement(invalid, Month(2019, 10))
    assert not invalid.closed


# ---------------------------------------------------------------- the fake PAC's statement


@pytest.mark.parametrize("account", ["Acme Timbrado", "Norte Prepago"])
@pytest.mark.parametrize("month", ["2026-10", "2026-11", "2025-01"])
def test_a_statement_of_the_fake_pac_matches_its_state(account: str, month: str) -> None:
    keys: dict[str, Any] = {"acme_api_key": "a", "norte_api_key": "n"}
    state = demo_state(date(2026, 11, 19), **keys, username="u", password="p").reachcore
    as_of = datetime(2026, 11, 19, 19, 53, 41, tzinfo=UTC)
    balance = state.balance(account, month, None, as_of)
    content = b"".join(csv_statement(balance))
    statement = read_statement(io.BytesIO(content), Month.from_text(month))
    assert statement.account == account
    assert statement.plan == balance.plan.value
    assert f"{statement.first_day:%Y-%m}" == f"{statement.last_day:%Y-%m}" == month
    assert statement.issuers == IssuerCounts(
        balance.registered, balance.authorized, balance.stamping
    )
    assert statement.transactions == balance.transactions
    by_issuer: dict[str, int] = {}
    for row in balance.movements():
        name = unicodedata.normalize("NFC", row.rfc)
        by_issuer[name] = by_issuer.get(name, 0) + row.amount
    assert statement.totals.by_issuer == by_issuer
    assert statement.totals.movements == balance.rows
