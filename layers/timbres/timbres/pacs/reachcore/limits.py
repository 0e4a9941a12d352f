"""Limits on how much of a PAC's response is in memory at a time.

The complete response is on disk (:mod:`timbres.pacs.http`); these limits apply to its parts.
"""

from __future__ import annotations

from collections.abc import Iterator

from timbres.domain.balance import Movement
from timbres.pacs.errors import protocol_error

# A movement has about 120 bytes, all other fields together about 200.
_MAX_ITEM_BYTES = 256 * 1024
MAX_RFCS = 1_000_000
MAX_KINDS = 1_000
# An RFC has 13 characters, "Consumo de timbre" 17; a text that is not an RFC is kept as received.
_MAX_TEXT_CHARACTERS = 100


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


def enforce_limits(pac: str, movements: Iterator[Movement]) -> Iterator[Movement]:
    """Yield ``movements``; the caller may keep a sum per RFC and kind in memory.

    Raises ``pac-protocol-error`` for too many or too long RFCs or kinds of movement.
    """
    rfcs: set[str] = set()
    kinds: set[str] = set()
    for movement in movements:
        if movement.rfc is not None and movement.rfc not in rfcs:
            rfcs.add(movement.rfc)
            if len(movement.rfc) > _MAX_TEXT_CHARACTERS or not movement.rfc.isprintable():
                raise protocol_error(pac, "an RFC in it is not valid")
            if len(rfcs) > MAX_RFCS:
                raise protocol_error(pac, f"it names more than {MAX_RFCS:,} RFCs")
        if movement.kind not in kinds:
            kinds.add(movement.kind)
            if len(movement.kind) > _MAX_TEXT_CHARACTERS:
                raise protocol_error(pac, "a kind of movement in it is too long")
            if len(kinds) > MAX_KINDS:
                raise protocol_error(pac, f"it names more than {MAX_KINDS:,} kinds of movement")
        yield movement


def is_short(text: str) -> bool:
    """Return whether a text is within the limit of 100 characters."""
    return len(text) <= _MAX_TEXT_CHARACTERS
