"""Reachcore's CSV statement: the documented sample and invalid files."""

from __future__ import annotations

import io
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.pac_cases import DOCUMENTED_CSV
from tests.support.pac_servers import memory_below

from timbres.domain.balance import IssuerCounts
from timbres.domain.month import Month
from timbres.errors import PacError
from timbres.pacs.reachcore.statement import Statement, read_statement

MIB = 1024 * 1024
OCTOBER = Month(2019, 10)
LINES = DOCUMENTED_CSV.splitlines()


def read(text: str | bytes) -> Statement:
    """Read a statement, whose file stays open."""
    file = io.BytesIO(text.encode() if isinstance(text, str) else text)
    try:
        return read_statement(file, OCTOBER)
    finally:
        assert not file.closed


def expect_rejection(text: str | bytes, *says: str) -> None:
    """Check that the error contains one of these texts, if any."""
    with pytest.raises(PacError) as caught:
        read(text)
    error = caught.value
    assert (error.pac, error.problem_type.code) == ("reachcore", "pac-protocol-error")
    assert not says or any(text in error.detail for text in says), error.detail


def with_line(place: int, line: str | None) -> str:
    lines = [*LINES]
    lines[place : place + 1] = [] if line is None else [line]
    return "\n".join(lines)


def with_account_date(place: int, day: str) -> str:
    cells = LINES[1].split(",")
    cells[place] = day
    return with_line(1, ",".join(cells))


def with_movement(
    *, rfc: str = "AAA010101AAA ", day: str = "10/17/2019", kind: str = "x", amount: str = "3"
) -> str:
    return f"{DOCUMENTED_CSV}{rfc},{day},{kind},{amount}\n"


# ---------------------------------------------------------------------------- the sample


@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", ["", "\n", "\n\n\n"])
def test_the_documented_sample(line_end: str, bom: str, last: str) -> None:
    statement = read(bom + (DOCUMENTED_CSV.strip() + last).replace("\n", line_end))

    assert (statement.account, statement.plan) == ("Pruebas", "Postpago")
    assert (statement.first_day, statement.last_day) == (date(2019, 10, 1), date(2019, 10, 31))
    assert statement.as_of.isoformat() == "2019-11-20T16:57:53-06:00"
    assert statement.issuers == IssuerCounts(registered=0, authorized=1, active=1)
    assert statement.transactions == 3
    assert statement.totals.by_issuer == {"AAA010101AAA": 3}
    assert statement.totals.by_kind == {"Consumo de timbre": 3}
    assert (statement.totals.movements, statement.totals.consumed) == (1, 3)


@pytest.mark.parametrize(
    "text",
    [
        DOCUMENTED_CSV.replace(",", " , ").replace("\n", " \n\n ,,\n"),
        "\n".join(line for line in LINES if line),
        DOCUMENTED_CSV.replace("AAA010101AAA ,", '"AAA010101AAA ",'),
        DOCUMENTED_CSV.replace(",", "\t"),
        "sep=;\r\n" + DOCUMENTED_CSV.replace(",", ";"),
    ],
    ids=["wide", "narrow", "quoted", "tabs", "sep"],
)
def test_blanks_blank_lines_quotes_and_delimiters_do_not_matter(text: str) -> None:
    assert read(text) == read(DOCUMENTED_CSV)


def test_quoted_cells_may_contain_the_delimiter_and_quotes() -> None:
    text = DOCUMENTED_CSV.replace("Pruebas", '"Pruebas, S.A. ""de"" C.V."')
    assert read(text).account == 'Pruebas, S.A. "de" C.V.'


@pytest.mark.parametrize(
    "day",
    ["10/17/2019 12:00:00 AM", "10/17/2019 11:59:59 PM", "17/10/2019 12:00:00 a. m.",
     "17/10/2019", "7/10/2019 0:00", "2019-10-17T00:00:00", "2019-10-17"],
)  # fmt: skip
def test_the_month_decides_the_order_of_a_date(day: str) -> None:
    read(with_movement(day=day))


def test_movements_add_up_by_issuer_and_kind() -> None:
    movements = [
        "AAA010101AAA ,10/18/2019 12:00:00 AM,Consumo de timbre,4",
        "A&D061009TY8 ,10/18/2019 12:00:00 AM,Ajuste,-2",
        "ÑAN840101AB1 ,10/18/2019 12:00:00 AM,Consumo de timbre,0",
    ]
    totals = read(DOCUMENTED_CSV + "\r\n".join(movements)).totals

    assert totals.by_issuer == {"AAA010101AAA": 7, "ÑAN840101AB1": 0}
    assert totals.by_kind == {"Consumo de timbre": 7, "Ajuste": -2}
    assert (totals.movements, totals.consumed) == (4, 7)
    assert read("\n".join(LINES[:-1])).totals.movements == 0


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
NOT_NUMBERS = ["", "x", "1.5", "1e-3", "3 ½", "３", "1_0", "NaN", "--1", "9" * 5000]
INVALID = [
    *((with_line(place, line), name) for place, name in SECTIONS.items()
      for line in (None, "Otra cosa", "Otra,cosa,7", ";", LINES[-1])),
    *(("\n".join(LINES[:place]), name) for place, name in SECTIONS.items()),
    *((with_line(place, f"{SECTIONS[place]},{number}"), SECTIONS[place])
      for place in (4, 5, 6, 9) for number in NOT_NUMBERS),
    *((with_movement(amount=number), "a number") for number in NOT_NUMBERS[1:]),
    *((with_movement(day=day), "a date")
      for day in ("17/11/2019 12:00:00 AM", "10-17-2019 12:00:00 AM", "10/32/2019", "43755", "ayer",
                  "02/30/2019 12:00:00 AM", "10/17/19 12:00:00 AM")),
    *((DOCUMENTED_CSV + line, "a movement's line")
      for line in ("AAA010101AAA", "Total,3", "AAA010101AAA ,10/17/2019,Consumo de timbre")),
    *((with_movement(**{name: ""}), "a movement's line") for name in ("day", "kind", "amount")),
    *((with_movement(kind=kind, rfc=rfc), "a movement's line")
      for kind, rfc in (("Consumo, de timbre", "x"), ("Consumo de timbre", " "), ("x", '"x'))),
    (with_movement(amount="3,4"), "a movement's line"),
    *((with_account_date(place, day), "a date" if day or place < 4 else "account's line")
      for place in (2, 3, 4) for day in ("", "ayer", "11/12/2019", "2019-10-32T00:00:00")),
    (DOCUMENTED_CSV.replace("Pruebas", "x" * 101), "account's line"),
    (with_movement(rfc="x" * 101, kind="Consumo de timbre"), "an RFC in it is not valid"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "says"), INVALID, ids=range(len(INVALID)))
def test_the_error_names_the_first_missing_or_invalid_part(text: str, says: str) -> None:
    expect_rejection(text, says)


@pytest.mark.parametrize(
    "content",
    [b"", b"\n\n", b"\xff\xfe", DOCUMENTED_CSV.encode("utf-16-le"), b"%PDF-1.4", b"<html></html>",
     b"\x00" * 100, DOCUMENTED_CSV.replace("Pruebas", "Ñ").encode("latin-1"),
     b"sep=x\n" + DOCUMENTED_CSV.encode(), DOCUMENTED_CSV.encode() + b"\xff"],
    ids=range(10),
)  # fmt: skip
def test_other_content_is_rejected(content: bytes) -> None:
    expect_rejection(content)


BEGIN = DOCUMENTED_CSV.removesuffix(LINES[-1] + "\n")


@pytest.mark.parametrize(
    ("begin", "filler"),
    [
        *(("", filler) for filler in ("x", "Cuenta,", "\r", ",")),
        *(('"', filler) for filler in ("x", "x\n", '""')),
        *((BEGIN, filler) for filler in ("AAA010101AAA,", '"a\n",', "\x00", "\N{PILE OF POO}")),
        (BEGIN + '"', "AAA010101AAA\n"),
    ],
)
def test_an_endless_statement_is_rejected_early_with_little_memory(begin: str, filler: str) -> None:
    file = io.BytesIO((begin + filler * (2 * MIB // len(filler))).encode())
    with memory_below(8 * MIB), pytest.raises(PacError) as caught:
        read_statement(file, OCTOBER)

    assert caught.value.problem_type.code == "pac-protocol-error"
    assert file.tell() <= MIB


@given(st.integers(0, len(DOCUMENTED_CSV) - 1), st.text(max_size=2))
def test_a_modified_character_is_read_or_rejected(place: int, other: str) -> None:
    text = DOCUMENTED_CSV[:place] + other + DOCUMENTED_CSV[place + 1 :]
    content = text.encode("utf-8", "surrogatepass")
    try:
        statement = read(content)
    except PacError:
        expect_rejection(content)
    else:
        assert statement.totals.movements <= 1
