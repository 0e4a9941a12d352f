"""The error tables agree with every row of the PACs' pages."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.support.documented_codes import (
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


def test_every_page_has_its_rows() -> None:
    counts = [page.table.strip().count("\n") + 1 for page in PAGES]
    assert counts == [6, 7, 6, 7, 17, 18]
    assert len(rows()) == sum(counts) - len(PAGES)


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row.operation}-{row.code}")
def test_every_documented_code_has_its_error(row: Row) -> None:
    error = error_from_code(row.pac, TABLES[row.operation], row.code, row.message)
    problem_type, meaning = error.problem_type, row.meaning
    assert (problem_type.code, status_code(problem_type.code)) == (meaning.code, meaning.status)
    assert problem_type.may_have_taken_effect == meaning.may_have_taken_effect
    assert problem_type.retryable == meaning.retry
    assert (problem_type.retry_after is not None) == meaning.wait
    assert (error.pac, error.pac_code, error.pac_message) == (row.pac, row.code, row.message)
    assert row.pac in error.detail
    assert row.message in error.detail


def test_every_mapped_code_is_documented() -> None:
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
    ("problem_type", "code", "status", "effect", "retry", "wait"),
    [
        (codes.UNREACHABLE, "pac-unreachable", 503, False, True, True),
        (codes.TIMEOUT, "pac-timeout", 504, True, True, False),
        (codes.PROTOCOL_ERROR, "pac-protocol-error", 502, True, False, False),
        (codes.CONTRADICTION, "pac-protocol-error", 502, True, True, False),
    ],
    ids=lambda value: getattr(value, "code", None),
)
def test_connection_errors(
    problem_type: ProblemType, code: str, status: int, effect: bool, retry: bool, wait: bool
) -> None:
    assert (problem_type.code, status_code(problem_type.code)) == (code, status)
    assert (problem_type.may_have_taken_effect, problem_type.retryable) == (effect, retry)
    assert (problem_type.retry_after is not None) == wait


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


@pytest.mark.parametrize(
    ("status", "code", "effect", "retry"),
    [
        *(
            (status, "pac-error", True, True)
            for status in ("500", "501", "502", "504", "520", "599")
        ),
        ("200", "pac-unavailable", True, True),
        ("403", "pac-unavailable", True, True),
        ("503", "pac-unavailable", True, True),
        ("429", "pac-unavailable", False, True),
        ("408", "pac-timeout", True, True),
        ("404", "pac-endpoint-not-found", False, False),
        ("401", "pac-protocol-error", True, False),
        ("405", "pac-protocol-error", True, False),
    ],
)
def test_http_statuses_of_every_pac(status: str, code: str, effect: bool, retry: bool) -> None:
    problem_type = error_from_code("libre", codes.HTTP_ERRORS, status, None).problem_type
    assert problem_type.code == code
    assert (problem_type.may_have_taken_effect, problem_type.retryable) == (effect, retry)


@pytest.mark.parametrize("code", ["504", "505", "520", "599"])
def test_solucion_factible_has_no_other_500s(code: str) -> None:
    error = error_from_code("solucion-factible", solucion_factible_codes.ERRORS, code, None)
    assert error.problem_type.code == "pac-protocol-error"


# ------------------------------------------------------------------- the PAC's messages


@pytest.mark.parametrize(
    ("message", "expected"),
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
def test_messages_are_sanitized(message: str | None, expected: str | None) -> None:
    assert sanitize_message(message) == expected
    error = error_from_code("reachcore", reachcore_codes.ERRORS, "500", message)
    assert error.pac_message == expected
    assert "None" not in error.detail


@given(st.text(max_size=400))
def test_a_message_is_one_printable_line_of_limited_length(message: str) -> None:
    sanitized = sanitize_message(message)
    assert sanitized != ""
    if sanitized is not None:
        assert sanitized.isprintable()
        assert len(sanitized) <= 300
        assert sanitize_message(sanitized) == sanitized.strip() or len(sanitized) == 300


@given(st.text(max_size=50), st.none() | st.text(max_size=50))
@example("5\x1f0", None)
def test_any_code_and_message_make_a_printable_detail(code: str, message: str | None) -> None:
    for pac, table in (
        ("reachcore", reachcore_codes.ERRORS),
        ("solucion-factible", solucion_factible_codes.ERRORS),
    ):
        error = error_from_code(pac, table, code, message)
        assert error.detail.isprintable()
        assert (error.pac_code or "").isprintable()


def test_a_protocol_error_names_the_problem() -> None:
    error = protocol_error("reachcore", "Detalle is missing or is not a list")
    assert error.problem_type.code == "pac-protocol-error"
    assert (error.pac, error.pac_code, error.pac_message) == ("reachcore", None, None)
    assert "Detalle is missing or is not a list" in error.detail
