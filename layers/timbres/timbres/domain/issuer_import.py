"""Roster: a list of issuers as a user writes it, JSON or CSV, read row by row."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from timbres.domain.rfc import Rfc, parse_issuer, shown
from timbres.errors import BODY_INVALID, TimbresError

MOST_ROWS = 10_000
# Unlike any number and unlike none: the row does not speak of it.
UNSAID = -1
_MOST_LOW = 999_999_999_999

_COLUMNS = ("rfc", "low_stamps")
_EXPECTED_NUMBER = (
    f"expected a whole number from 0 to {_MOST_LOW:,}, or nothing for the account's own"
)
# As a sheet writes it, with commas or without: 1,000 comes in quotes.
_NUMBER = re.compile(r"[0-9]{1,12}|[0-9]{1,3}(,[0-9]{3}){1,3}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One good row.

    ``low_stamps`` is the issuer's own threshold, None for the account's, ``UNSAID`` to leave
    it as it is.
    """

    rfc: Rfc
    low_stamps: int | None


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be kept: its line (CSV) or place in the list (JSON), from 1, and why."""

    line: int
    field: str
    detail: str


@dataclass(frozen=True, slots=True)
class Roster:
    """What was read: each issuer once, and every bad row."""

    entries: tuple[Entry, ...]
    bad: tuple[BadRow, ...]


def read_json(text: str) -> Roster:
    """Read a JSON list of RFCs, or of objects with ``rfc`` and, if wanted, ``low_stamps``.

    Raises ``body-invalid`` for anything but a list of 1 to 10,000.
    """
    expected = 'expected a JSON list such as ["A&D061009TY8"] or [{"rfc": …, "low_stamps": 100}]'
    try:
        rows = json.loads(text.removeprefix("\ufeff"), object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise TimbresError(
            BODY_INVALID, f"The body is no JSON: {expected}.", field="body"
        ) from None
    if not isinstance(rows, list):
        raise TimbresError(BODY_INVALID, f"The body is no list: {expected}.", field="body")
    return _read((line, *_json_row(row)) for line, row in enumerate(rows, 1))


def read_csv(text: str) -> Roster:
    """Read a CSV: a column of RFCs and, if wanted, one of ``low_stamps``.

    A first line ``rfc,low_stamps`` may name the columns; commas or semicolons part them.
    Raises ``body-invalid`` for no rows, or more than 10,000.
    """
    text = text.removeprefix("\ufeff")
    first = text.lstrip().partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=";" if ";" in first else ",")
    return _read(_csv_rows(reader))


Row = tuple[int, str | None, str | None, Any]


def _csv_rows(reader: Any) -> Iterator[Row]:
    """Yield line, field at fault (None for none), what is wrong or the RFC, and low_stamps."""
    columns: tuple[str, ...] = _COLUMNS
    begun = False
    for line, cells, wrong in _csv_cells(reader):
        if wrong:
            yield line, "row", wrong, None
            continue
        if not any(cells):
            continue
        names = tuple(cell.lower() for cell in cells)
        if not begun and "rfc" in names:
            columns, begun = names, True
            if set(names) - set(_COLUMNS) or len(set(names)) < len(names):
                raise TimbresError(
                    BODY_INVALID,
                    f"The first line names other columns than {', '.join(_COLUMNS)}, each once.",
                    field="body",
                )
            continue
        begun = True
        if len(cells) > len(columns):
            yield line, "row", f"expected {', '.join(columns)}, no more", None
            continue
        row = dict(zip(columns, cells, strict=False))
        yield line, None, row.get("rfc", ""), _csv_number(row.get("low_stamps"))


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
        wrong = f"a quote opened in it ends in line {reader.line_num}, or never"
        yield line, cells, wrong if broken else None


def _csv_number(cell: str | None) -> Any:
    if cell is None:
        return UNSAID
    if not cell:
        return None
    return int(cell.replace(",", "")) if _NUMBER.fullmatch(cell) else cell


def _json_row(row: Any) -> tuple[str | None, Any, Any]:
    if isinstance(row, str):
        return None, row, UNSAID
    if isinstance(row, _Twice):
        return "row", "it has a member twice", None
    if not isinstance(row, dict):
        return "row", "expected an RFC or an object", None
    for name in row:
        if name not in _COLUMNS:
            return "row", f"{shown(name)} is not known: expected {', '.join(_COLUMNS)}", None
    low = row.get("low_stamps", UNSAID)
    # What stands for "not said" inside is no number that a user may write.
    return None, row.get("rfc"), "-1" if low == UNSAID and "low_stamps" in row else low


def _read(rows: Iterable[tuple[int, str | None, Any, Any]]) -> Roster:
    entries: dict[Rfc, tuple[int, Entry]] = {}
    bad: list[BadRow] = []
    count = 0
    for line, field, value, low in rows:
        count += 1
        if count > MOST_ROWS:
            raise TimbresError(
                BODY_INVALID,
                f"The body has more than {MOST_ROWS:,} rows: send them in several calls.",
                field="body",
            )
        if field is not None:
            bad.append(BadRow(line, field, str(value)))
            continue
        try:
            rfc = parse_issuer(value)
        except TimbresError as error:
            bad.append(BadRow(line, "rfc", error.detail))
            continue
        if low is not None and not _is_low(low):
            bad.append(BadRow(line, "low_stamps", f"{shown(low)}: {_EXPECTED_NUMBER}"))
            continue
        first = entries.setdefault(rfc, (line, Entry(rfc, low)))
        if first[1].low_stamps != low:
            bad.append(BadRow(line, "low_stamps", f"{rfc} has another one in line {first[0]}"))
    if not count:
        raise TimbresError(BODY_INVALID, "The body has no rows: expected 1 or more.", field="body")
    return Roster(tuple(entry for _, entry in entries.values()), tuple(bad))


def _is_low(low: Any) -> bool:
    return isinstance(low, int) and not isinstance(low, bool) and UNSAID <= low <= _MOST_LOW


class _Twice:
    """An object with a member twice, not to be read as either of the two."""

    def __repr__(self) -> str:
        return "an object with a member twice"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Twice:
    value = dict(pairs)
    return value if len(value) == len(pairs) else _Twice()
