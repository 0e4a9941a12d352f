"""Issuer import: a user's list of issuers, checked row by row."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal, TypeAlias, TypeGuard

from timbres.domain.rfc import Rfc, parse_issuer
from timbres.domain.text import quote_input
from timbres.errors import TimbresError

MAX_LOW_STAMPS = 999_999_999_999
# The limit of a razón social in a CFDI 4.0 (Anexo 20, Nombre).
MAX_NAME_CHARACTERS = 254
_EXPECTED_NUMBER = (
    f"expected a whole number from 0 to {MAX_LOW_STAMPS:,}, or no value for the account's threshold"
)


class Unset(Enum):
    """The type of :data:`UNSET`, the value of a row without a column."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET
LowStamps: TypeAlias = int | Literal[Unset.UNSET] | None
Name: TypeAlias = str | Literal[Unset.UNSET] | None


@dataclass(frozen=True, slots=True)
class RawRow:
    """A parsed row: its line, from 1, and its unchecked values."""

    line: int
    rfc: object
    low_stamps: object
    name: object = UNSET


@dataclass(frozen=True, slots=True)
class IssuerRow:
    """A valid row.

    ``low_stamps`` is the issuer's threshold in stamps: None for the account's. ``name`` is its
    razón social, None for none. ``UNSET`` keeps the present value.
    """

    rfc: Rfc
    low_stamps: LowStamps = UNSET
    name: Name = UNSET


@dataclass(frozen=True, slots=True)
class InvalidRow:
    """An invalid row: its line (CSV) or index in the list (JSON), from 1, and the reason."""

    line: int
    field: str
    detail: str


@dataclass(frozen=True, slots=True)
class IssuerImport:
    """A checked list: each issuer once, and every invalid row."""

    rows: tuple[IssuerRow, ...]
    invalid: tuple[InvalidRow, ...]

    @classmethod
    def from_rows(cls, parsed: Iterable[RawRow | InvalidRow]) -> IssuerImport:
        """Return the import of parsed rows; if two rows contradict, the second is invalid."""
        rows: dict[Rfc, tuple[int, IssuerRow]] = {}
        invalid: list[InvalidRow] = []
        for raw in parsed:
            if isinstance(raw, InvalidRow):
                invalid.append(raw)
                continue
            row = _check(raw)
            if isinstance(row, InvalidRow):
                invalid.append(row)
                continue
            line, first = rows.setdefault(row.rfc, (raw.line, row))
            for field, text in (("low_stamps", "threshold"), ("name", "name")):
                if getattr(first, field) != getattr(row, field):
                    detail = f"{row.rfc} has a different {text} in line {line}"
                    invalid.append(InvalidRow(raw.line, field, detail))
        return cls(tuple(row for _, row in rows.values()), tuple(invalid))


def _check(raw: RawRow) -> IssuerRow | InvalidRow:
    try:
        rfc = parse_issuer(raw.rfc)
    except TimbresError as error:
        return InvalidRow(raw.line, "rfc", error.detail)
    low_stamps = raw.low_stamps
    if not _is_threshold(low_stamps):
        detail = f"{quote_input(low_stamps)}: {_EXPECTED_NUMBER}"
        return InvalidRow(raw.line, "low_stamps", detail)
    try:
        return IssuerRow(rfc, low_stamps, _parse_name(raw.name))
    except ValueError as error:
        return InvalidRow(raw.line, "name", f"{quote_input(raw.name)}: {error}")


def _parse_name(value: object) -> Name:
    """Return a name in NFC without outer blanks, None for an empty one. Raises ValueError."""
    if value is None or value is UNSET:
        return value
    name = unicodedata.normalize("NFC", value).strip() if isinstance(value, str) else "\n"
    if not name.isprintable() or len(name) > MAX_NAME_CHARACTERS:
        raise ValueError(
            f"expected a text of up to {MAX_NAME_CHARACTERS} characters without line breaks, or "
            "no value for none"
        )
    return name or None


def _is_threshold(value: object) -> TypeGuard[LowStamps]:
    if value is None or value is UNSET:
        return True
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_LOW_STAMPS
