"""Issuer import: a user's list of issuers, checked row by row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal, TypeAlias, TypeGuard

from timbres.domain.rfc import Rfc, parse_issuer
from timbres.domain.text import quote_input
from timbres.errors import TimbresError

MAX_LOW_STAMPS = 999_999_999_999
_EXPECTED_NUMBER = (
    f"expected a whole number from 0 to {MAX_LOW_STAMPS:,}, or no value for the account's threshold"
)


class Unset(Enum):
    """The type of :data:`UNSET`, the threshold of a row without this column."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET
LowStamps: TypeAlias = int | Literal[Unset.UNSET] | None


@dataclass(frozen=True, slots=True)
class RawRow:
    """A parsed row: its line, from 1, and its unchecked values."""

    line: int
    rfc: object
    low_stamps: object


@dataclass(frozen=True, slots=True)
class IssuerRow:
    """A valid row.

    ``low_stamps`` is the issuer's threshold in stamps: None for the account's, ``UNSET`` to keep
    the present one.
    """

    rfc: Rfc
    low_stamps: LowStamps


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
            if first.low_stamps != row.low_stamps:
                detail = f"{row.rfc} has a different threshold in line {line}"
                invalid.append(InvalidRow(raw.line, "low_stamps", detail))
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
    return IssuerRow(rfc, low_stamps)


def _is_threshold(value: object) -> TypeGuard[LowStamps]:
    if value is None or value is UNSET:
        return True
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_LOW_STAMPS
