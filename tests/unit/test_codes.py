"""The error tables agree with every row of the PACs' pages."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.support.documented_codes import (
    AGREGAR_CONTRATO,
    FAILED,
    GET_TIMBRES,
    SALDOS,
    STATEMENT,
    Meaning,
    documented,
)

from timbres.errors import ProblemType
from timbres.handlers.problem_details import status_code
from timbres.pacs import errors as codes
from timbres.pacs.errors import ErrorTable, error_from_code, sanitize_message
from timbres.pacs.reachcore import error_codes as reachcore
from timbres.pacs.reading import error_of
from timbres.pacs.solucion_factible import error_codes as solucion_factible

TABLES: dict[str, ErrorTable] = {
    SALDOS: reachcore.ERRORS,
    STATEMENT: reachcore.STATEMENT_ERRORS,
    GET_TIMBRES: solucion_factible.ERRORS,
    AGREGAR_CONTRATO: solucion_factible.ERRORS,
}
ERROR_TABLES = (reachcore.ERRORS, reachcore.STATEMENT_ERRORS, solucion_factible.ERRORS)


def meaning_of(problem_type: ProblemType) -> Meaning:
    return Meaning(
        problem_type.code,
        status_code(problem_type.code),
        problem_type.may_have_taken_effect,
        problem_type.retryable,
        problem_type.retry_after is not None,
    )


def test_every_mapped_code_is_documented() -> None:
    assert [len(documented(operation)) for operation in TABLES] == [5, 6, 16, 17]
    for table in ERROR_TABLES:
        operations = [operation for operation, other in TABLES.items() if other is table]
        pages = {code for operation in operations for code in documented(operation)}
        assert set(table.by_code) - {"400-003"} == pages - {"400-003"}


PROTOCOL_ERROR = Meaning("pac-protocol-error", 502, may_have_taken_effect=True)
UNAVAILABLE = Meaning("pac-unavailable", 503, may_have_taken_effect=True, retry=True, wait=True)
TIMEOUT = Meaning("pac-timeout", 504, may_have_taken_effect=True, retry=True)


@pytest.mark.parametrize(
    ("problem_type", "meaning"),
    [
        (codes.UNREACHABLE, Meaning("pac-unreachable", 503, retry=True, wait=True)),
        (codes.TIMEOUT, TIMEOUT),
        (codes.PROTOCOL_ERROR, PROTOCOL_ERROR),
        (codes.CONTRADICTION, PROTOCOL_ERROR._replace(retry=True)),
    ],
)
def test_connection_errors(problem_type: ProblemType, meaning: Meaning) -> None:
    assert meaning_of(problem_type) == meaning


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        *((status, FAILED) for status in ("500", "501", "502", "504", "520", "599")),
        *((status, UNAVAILABLE) for status in ("200", "403", "503")),
        ("429", UNAVAILABLE._replace(may_have_taken_effect=False)),
        ("408", TIMEOUT),
        ("404", Meaning("pac-endpoint-not-found", 502)),
        *((status, PROTOCOL_ERROR) for status in ("401", "405")),
    ],
)
def test_http_statuses_of_every_pac(status: str, meaning: Meaning) -> None:
    error = error_from_code("libre", codes.HTTP_ERRORS, status, None)
    assert meaning_of(error.problem_type) == meaning


@pytest.mark.parametrize("table", ERROR_TABLES)
@pytest.mark.parametrize(
    "code",
    ["", "0", "-1", "199", "20", "200 ", "201", "204", "400", "400-004", "400-01", "403", "405",
     "415", "418", "429", "505", "599", "600", "606", "610", "613", "623", "634", "999", "5000",
     "abc"],
)  # fmt: skip
def test_an_undocumented_code_is_a_protocol_error(table: ErrorTable, code: str) -> None:
    error = error_from_code("pac", table, code, "algo")
    assert meaning_of(error.problem_type) == PROTOCOL_ERROR
    assert error.pac_message == "algo"
    assert code.strip() in error.detail


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
        ("ñ😀", "ñ😀"),
        ("x" * 1000, "x" * 300),
    ],
)
def test_messages_are_sanitized(message: str | None, expected: str | None) -> None:
    assert sanitize_message(message) == expected
    error = error_from_code("reachcore", reachcore.ERRORS, "500", message)
    assert error.pac_message == expected
    assert "None" not in error.detail


@pytest.mark.parametrize(
    ("content", "content_type", "error"),
    [
        ('{"Message": "Falla"}', "application/json", (None, "Falla")),
        ('{"ERRORS": [{"CODE": "400-002", "MESSAGE": "No"}]}', "", ("400-002", "No")),
        ("<html><title>Bad &amp; Gateway</title></html>", "text/html", (None, "Bad & Gateway")),
        ("<html><body>Falla</body></html>", "text/html", (None, None)),
        ("Falla", "text/plain; charset=utf-8", (None, "Falla")),
        ("Falla", "application/json", (None, None)),
    ],
)
def test_an_error_is_found_in_any_format(
    content: str, content_type: str, error: tuple[str | None, str | None]
) -> None:
    assert error_of(content.encode(), content_type) == error


@given(st.text(max_size=400))
def test_a_message_is_one_printable_line_of_limited_length(message: str) -> None:
    sanitized = sanitize_message(message)
    assert sanitized != ""
    if sanitized is not None:
        assert sanitized.isprintable()
        assert len(sanitized) <= 300
        assert sanitize_message(sanitized) == sanitized.strip() or len(sanitized) == 300


@given(st.text(max_size=50), st.none() | st.text(max_size=50), st.sampled_from(ERROR_TABLES))
@example("5\x1f0", None, reachcore.ERRORS)
def test_any_code_and_message_make_a_printable_detail(
    code: str, message: str | None, table: ErrorTable
) -> None:
    error = error_from_code("pac", table, code, message)
    assert error.detail.isprintable()
    assert (error.pac_code or "").isprintable()
