"""The one table of errors against every row of the PACs' pages."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.unit.documented_codes import (
    AGREGAR_CONTRATO,
    GET_TIMBRES,
    PAGES,
    SALDOS,
    STATEMENT,
    Row,
    documented,
    rows,
)

from timbres.errors import ProblemType
from timbres.handlers.problem_details import status_code
from timbres.pacs import errors as codes
from timbres.pacs.errors import error_from_code, protocol_error, sanitize_message
from timbres.pacs.reachcore import error_codes as reachcore_codes
from timbres.pacs.solucion_factible import error_codes as solucion_factible_codes

TABLES: dict[str, dict[str, ProblemType]] = {
    SALDOS: reachcore_codes.ERRORS,
    STATEMENT: reachcore_codes.STATEMENT_ERRORS,
    GET_TIMBRES: solucion_factible_codes.ERRORS,
    AGREGAR_CONTRATO: solucion_factible_codes.ERRORS,
}
PAC_OF = {page.operation: page.pac for page in PAGES}


def test_the_pages_are_all_there() -> None:
    counts = [page.table.strip().count("\n") + 1 for page in PAGES]
    assert counts == [6, 7, 6, 7, 17, 18]
    assert len(rows()) == sum(counts) - len(PAGES)


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row.operation}-{row.code}")
def test_every_documented_code_means_what_it_should(row: Row) -> None:
    error = error_from_code(row.pac, TABLES[row.operation], row.code, row.words)
    kind, meaning = error.problem_type, row.meaning
    assert (kind.code, status_code(kind.code)) == (meaning.code, meaning.status)
    assert kind.may_have_taken_effect == meaning.may_have_taken_effect
    assert kind.retryable == meaning.retry
    assert (kind.retry_after is not None) == meaning.wait
    assert (error.pac, error.pac_code, error.pac_message) == (row.pac, row.code, row.words)
    assert row.pac in error.detail
    assert row.words in error.detail


def test_no_row_is_of_our_own_making() -> None:
    assert set(reachcore_codes.ERRORS.by_code) | set(reachcore_codes.STATEMENT_ERRORS.by_code) == (
        documented(SALDOS) | documented(STATEMENT)
    )
    assert set(solucion_factible_codes.ERRORS.by_code) == documented(GET_TIMBRES) | documented(
        AGREGAR_CONTRATO
    )


def test_rejected_credentials_are_never_retried() -> None:
    rejected = [row for row in rows() if row.meaning.code == "pac-credentials-rejected"]
    assert {row.code for row in rejected} == {"401", "601", "602", "603", "604", "605"}
    assert not codes.CREDENTIALS_REJECTED.retryable


@pytest.mark.parametrize(
    ("kind", "code", "status", "effect", "retry", "wait"),
    [
        (codes.UNREACHABLE, "pac-unreachable", 503, False, True, True),
        (codes.TIMEOUT, "pac-timeout", 504, True, True, False),
        (codes.PROTOCOL_ERROR, "pac-protocol-error", 502, True, False, False),
        (codes.CONTRADICTION, "pac-protocol-error", 502, True, True, False),
    ],
    ids=lambda value: getattr(value, "code", None),
)
def test_what_a_connection_can_say(
    kind: ProblemType, code: str, status: int, effect: bool, retry: bool, wait: bool
) -> None:
    assert (kind.code, status_code(kind.code)) == (code, status)
    assert (kind.may_have_taken_effect, kind.retryable) == (effect, retry)
    assert (kind.retry_after is not None) == wait


@pytest.mark.parametrize("operation", TABLES)
@pytest.mark.parametrize(
    "code",
    ["", "0", "-1", "1", "199", "20", "200 ", "201", "204", "400", "400-004", "400-01", "403",
     "405", "415", "418", "429", "600", "606", "610", "613", "621", "623", "634", "700", "999",
     "5000", "50", "abc"],
)  # fmt: skip
def test_an_undocumented_code_is_a_protocol_error(operation: str, code: str) -> None:
    error = error_from_code(PAC_OF[operation], TABLES[operation], code, "algo")
    assert error.problem_type.code == "pac-protocol-error"
    assert error.problem_type.may_have_taken_effect
    assert not error.problem_type.retryable
    assert error.pac_message == "algo"
    assert code.strip() in error.detail


@pytest.mark.parametrize("code", ["501", "502", "503", "504", "520", "599"])
def test_a_gateway_in_front_of_reachcore_counts_as_its_500(code: str) -> None:
    error = error_from_code("reachcore", reachcore_codes.ERRORS, code, None)
    assert (error.problem_type.code, error.pac_code) == ("pac-error", code)
    assert error.problem_type.retryable


@pytest.mark.parametrize("code", ["504", "505", "520", "599"])
def test_solucion_factible_has_no_other_500s(code: str) -> None:
    error = error_from_code("solucion-factible", solucion_factible_codes.ERRORS, code, None)
    assert error.problem_type.code == "pac-protocol-error"


# ------------------------------------------------------------------- the PAC's own words


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (None, None),
        ("", None),
        (" \r\n\t ", None),
        ("\x00\x07\x1b", None),
        ("El RFC no está registrado.", "El RFC no está registrado."),
        ("  dos\r\n líneas\t y  más ", "dos líneas y más"),
        ("a\x00b\x1b[31mc\x7f", "ab[31mc"),
        ("dos\u2028tres\u2029cuatro\x85cinco", "dos tres cuatro cinco"),
        ("\u202egnirts\u202c \u200b\ufeffoculto", "gnirts oculto"),
        ("inyección\r\nX-Header: 1", "inyección X-Header: 1"),
        ("ñ😀", "ñ😀"),
        ("x" * 1000, "x" * 300),
    ],
)
def test_words_are_cleaned(words: str | None, shown: str | None) -> None:
    assert sanitize_message(words) == shown
    error = error_from_code("reachcore", reachcore_codes.ERRORS, "500", words)
    assert error.pac_message == shown
    assert "None" not in error.detail


@given(st.text(max_size=400))
def test_words_come_on_one_printable_line_of_bounded_length(words: str) -> None:
    shown = sanitize_message(words)
    assert shown != ""
    if shown is not None:
        assert shown.isprintable()
        assert len(shown) <= 300
        assert sanitize_message(shown) == shown.strip() or len(shown) == 300


@given(st.text(max_size=50), st.none() | st.text(max_size=50))
@example("5\x1f0", None)
def test_any_code_and_any_words_make_one_bounded_printable_line(
    code: str, words: str | None
) -> None:
    for pac, table in (
        ("reachcore", reachcore_codes.ERRORS),
        ("solucion-factible", solucion_factible_codes.ERRORS),
    ):
        error = error_from_code(pac, table, code, words)
        assert error.detail.isprintable()
        assert (error.pac_code or "").isprintable()


def test_a_protocol_error_says_what_is_off() -> None:
    error = protocol_error("reachcore", "Detalle is missing or is not a list")
    assert error.problem_type.code == "pac-protocol-error"
    assert (error.pac, error.pac_code, error.pac_message) == ("reachcore", None, None)
    assert "Detalle is missing or is not a list" in error.detail
