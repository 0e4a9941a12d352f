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

_COLUMNS = ("rfc", "low_stamps")
# As a sheet writes it, with commas or without: 1,000 comes in quotes.
_NUMBER = re.compile(r"[0-9]{1,12}|[0-9]{1,3}(,[0-9]{3}){1,3}")

_Rows = Iterator[RawRow | InvalidRow]


def parse_json(text: str) -> IssuerImport:
    """Parse a JSON list of RFCs, or of objects with ``rfc`` and optionally ``low_stamps``.

    Raises ``body-invalid`` for anything but a list of 1 to 10,000.
    """
    expected = 'expected a JSON list such as ["A&D061009TY8"] or [{"rfc": …, "low_stamps": 100}]'
    try:
        rows = json.loads(text.removeprefix("\ufeff"), object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise _body_invalid(f"The body is no JSON: {expected}.") from None
    if not isinstance(rows, list):
        raise _body_invalid(f"The body is no list: {expected}.")
    return _import(_json_row(line, row) for line, row in enumerate(rows, 1))


def parse_csv(text: str) -> IssuerImport:
    """Parse a CSV: a column of RFCs and optionally one of ``low_stamps``.

    A first line ``rfc,low_stamps`` may name the columns; the delimiter is a comma or a
    semicolon. Raises ``body-invalid`` for no rows, or more than 10,000.
    """
    text = text.removeprefix("\ufeff")
    first = text.lstrip().partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=";" if ";" in first else ",")
    return _import(_csv_rows(reader))


PARSERS = {"application/json": parse_json, "text/csv": parse_csv}


def _import(rows: Iterable[RawRow | InvalidRow]) -> IssuerImport:
    parsed = IssuerImport.from_rows(_enforce_max_rows(rows))
    if not parsed.rows and not parsed.invalid:
        raise _body_invalid("The body has no rows: expected 1 or more.")
    return parsed


def _enforce_max_rows(rows: Iterable[RawRow | InvalidRow]) -> _Rows:
    for count, row in enumerate(rows, 1):
        if count > MAX_ROWS:
            raise _body_invalid(
                f"The body has more than {MAX_ROWS:,} rows: send them in several calls."
            )
        yield row


def _csv_rows(reader: Any) -> _Rows:
    columns: tuple[str, ...] = _COLUMNS
    begun = False
    for line, cells, problem in _csv_cells(reader):
        if problem:
            yield InvalidRow(line, "row", problem)
            continue
        if not any(cells):
            continue
        names = tuple(cell.lower() for cell in cells)
        if not begun and "rfc" in names:
            columns, begun = names, True
            if set(names) - set(_COLUMNS) or len(set(names)) < len(names):
                raise _body_invalid(
                    f"The first line names other columns than {', '.join(_COLUMNS)}, each once."
                )
            continue
        begun = True
        if len(cells) > len(columns):
            yield InvalidRow(line, "row", f"expected {', '.join(columns)}, no more")
            continue
        row = dict(zip(columns, cells, strict=False))
        yield RawRow(line, row.get("rfc", ""), _csv_number(row.get("low_stamps")))


def _csv_cells(reader: Any) -> Iterator[tuple[int, list[str], str | None]]:
    """Yield the line on which a row begins, its cells, and what is wrong with it or None."""
    while True:
        line = reader.line_num + 1
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            # The lines after it are read on.
            yield line, [], f"it is no CSV: {error}"
            continue
        broken = any("\n" in cell or "\r" in cell for cell in cells)
        problem = f"a quote opened in it ends in line {reader.line_num}, or never"
        yield line, cells, problem if broken else None


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
        return InvalidRow(line, "row", "it has a member twice")
    if not isinstance(row, dict):
        return InvalidRow(line, "row", "expected an RFC or an object")
    for name in row:
        if name not in _COLUMNS:
            detail = f"{quote_input(name)} is not known: expected {', '.join(_COLUMNS)}"
            return InvalidRow(line, "row", detail)
    return RawRow(line, row.get("rfc"), row.get("low_stamps", UNSET))


class _DuplicateMember:
    """An object with a member twice, not to be read as either of the two."""

    def __repr__(self) -> str:
        return "an object with a member twice"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _DuplicateMember:
    value = dict(pairs)
    return value if len(value) == len(pairs) else _DuplicateMember()


def _body_invalid(detail: str) -> TimbresError:
    return TimbresError(BODY_INVALID, detail, field="body")
