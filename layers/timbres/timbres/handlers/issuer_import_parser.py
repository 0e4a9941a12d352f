"""Parses the bodies of an issuer import, JSON and CSV, row by row."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from timbres.domain.issuer_import import UNSET, InvalidRow, IssuerImport, RawRow
from timbres.domain.text import quote_input
from timbres.errors import BODY_INVALID, TimbresError

MAX_ROWS = 10_000

_COLUMNS = ("rfc", "low_stamps", "name")
# With or without thousands separators, as spreadsheets write it (1,000 in quotes).
_NUMBER = re.compile(r"[0-9]{1,12}|[0-9]{1,3}(,[0-9]{3}){1,3}")

_Rows = Iterator[RawRow | InvalidRow]


def parse_json(text: str) -> IssuerImport:
    """Parse a JSON list of RFCs, or of objects with ``rfc``, ``low_stamps`` and ``name``.

    The last two are optional. Raises ``body-invalid`` if it is not a list of 1 to 10,000 rows.
    """
    expected = 'expected a JSON list such as ["A&D061009TY8"] or [{"rfc": …, "low_stamps": 100}]'
    try:
        rows = json.loads(text.removeprefix("\ufeff"), object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise _body_invalid(f"The body is not valid JSON: {expected}.") from None
    if not isinstance(rows, list):
        raise _body_invalid(f"The body is not a JSON list: {expected}.")
    return _import(_json_row(line, row) for line, row in enumerate(rows, 1))


def parse_csv(text: str) -> IssuerImport:
    """Parse a CSV with a column of RFCs and optionally ``low_stamps`` and ``name``.

    A header is optional without names; the delimiter is a comma, a semicolon or a tab.
    Raises ``body-invalid`` if it does not have 1 to 10,000 rows.
    """
    text = text.removeprefix("\ufeff")
    first = text.lstrip().partition("\n")[0]
    delimiter = next((mark for mark in ";\t" if mark in first), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    return _import(_csv_rows(reader))


PARSERS = {"application/json": parse_json, "text/csv": parse_csv}


def _import(rows: Iterable[RawRow | InvalidRow]) -> IssuerImport:
    issuer_import = IssuerImport.from_rows(_enforce_max_rows(rows))
    if not issuer_import.rows and not issuer_import.invalid:
        raise _body_invalid("The body has no rows: expected 1 or more.")
    return issuer_import


def _enforce_max_rows(rows: Iterable[RawRow | InvalidRow]) -> _Rows:
    for count, row in enumerate(rows, 1):
        if count > MAX_ROWS:
            raise _body_invalid(
                f"The body has more than {MAX_ROWS:,} rows: send them in several requests."
            )
        yield row


def _csv_rows(reader: Any) -> _Rows:
    columns: tuple[str, ...] = _COLUMNS[:2]
    is_first = True
    for line, cells, problem in _csv_cells(reader):
        if problem:
            yield InvalidRow(line, "row", problem)
            continue
        if not any(cells):
            continue
        # Spreadsheets write empty cells at the end of a row.
        while len(cells) > len(columns) and not cells[-1]:
            cells.pop()
        names = tuple(cell.lower() for cell in cells)
        if is_first and "rfc" in names:
            while not names[-1]:
                names = names[:-1]
            columns, is_first = names, False
            if set(names) - set(_COLUMNS) or len(set(names)) < len(names):
                raise _body_invalid(
                    f"Invalid header: expected the columns {', '.join(_COLUMNS)}, each once."
                )
            continue
        is_first = False
        if len(cells) > len(columns):
            yield InvalidRow(line, "row", f"expected {', '.join(columns)}, no more")
            continue
        row = dict(zip(columns, cells, strict=False))
        name = row.get("name", UNSET)
        yield RawRow(line, row.get("rfc", ""), _csv_number(row.get("low_stamps")), name)


def _csv_cells(reader: Any) -> Iterator[tuple[int, list[str], str | None]]:
    """Yield the line on which a row begins, its cells, and its problem or None."""
    while True:
        line = reader.line_num + 1
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            # The reader can continue with the next line.
            yield line, [], f"not valid CSV: {error}"
            continue
        spans_lines = any("\n" in cell or "\r" in cell for cell in cells)
        problem = f"a quote opens here and closes in line {reader.line_num}, or never"
        yield line, cells, problem if spans_lines else None


def _csv_number(cell: str | None) -> object:
    if cell is None:
        return UNSET
    if not cell:
        return None
    return int(cell.replace(",", "")) if _NUMBER.fullmatch(cell) else cell


def _json_row(line: int, row: object) -> RawRow | InvalidRow:
    if isinstance(row, str):
        return RawRow(line, row, UNSET)
    if isinstance(row, _DuplicateMember):
        return InvalidRow(line, "row", "it has a duplicate member")
    if not isinstance(row, dict):
        return InvalidRow(line, "row", "expected an RFC or an object")
    for name in row:
        if name not in _COLUMNS:
            detail = f"{quote_input(name)} is not known: expected {', '.join(_COLUMNS)}"
            return InvalidRow(line, "row", detail)
    return RawRow(line, row.get("rfc"), row.get("low_stamps", UNSET), row.get("name", UNSET))


class _DuplicateMember:
    """An object with a duplicate member: it is not clear which value the caller means."""

    def __repr__(self) -> str:
        return "an object with a duplicate member"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _DuplicateMember:
    value = dict(pairs)
    return value if len(value) == len(pairs) else _DuplicateMember()


def _body_invalid(detail: str) -> TimbresError:
    return TimbresError(BODY_INVALID, detail, field="body")
