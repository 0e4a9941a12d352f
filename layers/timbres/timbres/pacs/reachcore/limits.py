"""Limits on how much of a PAC's response is in memory at a time.

The complete response is on disk (:mod:`timbres.pacs.http`); these limits apply to its parts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from timbres.domain.rfc import normalize_rfc
from timbres.pacs.errors import protocol_error

# A movement has about 120 bytes, all other fields together about 200.
_MAX_ITEM_BYTES = 256 * 1024
MAX_RFCS = 1_000_000
MAX_KINDS = 1_000
# An RFC has 13 characters, "Consumo de timbre" 17; a text that is not an RFC is kept as received.
_MAX_TEXT_CHARACTERS = 100

T = TypeVar("T")


class ByteBudget:
    """Counts the bytes or characters read since the last complete movement."""

    def __init__(self, pac: str) -> None:
        self._pac = pac
        self._size = 0

    def consume(self, size: int) -> None:
        """Add ``size``. Raises ``pac-protocol-error`` if a movement cannot be that long."""
        self._size += size
        if self._size > _MAX_ITEM_BYTES:
            raise protocol_error(self._pac, "a part of it is too long to be a movement")

    def reset(self) -> None:
        """Restart the count after a complete movement."""
        self._size = 0


class DistinctValues(dict[Any, T]):
    """The distinct values of a field in one response; ``read`` converts each of them once.

    A caller may keep a sum per value in memory. Raises ``pac-protocol-error`` for more than
    ``maximum`` values, which ``name`` is a word for, and what ``read`` raises.
    """

    def __init__(self, pac: str, name: str, maximum: int, read: Callable[[Any], T]) -> None:
        super().__init__()
        self._pac, self._name, self._maximum, self._read = pac, name, maximum, read

    def __missing__(self, received: Any) -> T:
        value = self[received] = self._read(received)
        if len(self) > self._maximum:
            raise protocol_error(self._pac, f"it names more than {self._maximum:,} {self._name}")
        return value


def distinct_rfcs(pac: str, read: Callable[[Any], str]) -> DistinctValues[str | None]:
    """Return the RFCs in the texts that ``read`` returns; a text without an RFC is kept."""

    def read_rfc(received: Any) -> str | None:
        rfc = normalize_rfc(read(received)) or None
        if rfc is not None and not (is_short(rfc) and rfc.isprintable()):
            raise protocol_error(pac, "an RFC in it is not valid")
        return rfc

    return DistinctValues(pac, "RFCs", MAX_RFCS, read_rfc)


def distinct_kinds(pac: str, read: Callable[[Any], str]) -> DistinctValues[str]:
    """Return the kinds of movement that ``read`` returns."""

    def read_kind(received: Any) -> str:
        kind = read(received)
        if not is_short(kind):
            raise protocol_error(pac, "a kind of movement in it is too long")
        return kind

    return DistinctValues(pac, "kinds of movement", MAX_KINDS, read_kind)


def is_short(text: str) -> bool:
    """Return whether a text is within the limit of 100 characters."""
    return len(text) <= _MAX_TEXT_CHARACTERS
