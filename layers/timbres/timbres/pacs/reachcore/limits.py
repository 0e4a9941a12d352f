"""Bounds: how much of a PAC's answer is held in memory at once, whatever it sends.

An answer as a whole lies on disk (:mod:`timbres.pacs.http`); these are the bounds of its parts.
"""

from __future__ import annotations

from collections.abc import Iterator

from timbres.domain.balance import Movement
from timbres.pacs.errors import protocol_error

# A movement is some 120 bytes, everything around the movements some 200.
_MAX_ITEM_BYTES = 256 * 1024
_MAX_RFCS = 1_000_000
_MAX_KINDS = 1_000
# An RFC has 13 characters, "Consumo de timbre" 17.
_RFC_CHARACTERS = 20
_TEXT_CHARACTERS = 100


class ByteBudget:
    """What has been read since the last movement was whole, in bytes or characters."""

    def __init__(self, pac: str) -> None:
        self._pac = pac
        self._taken = 0

    def consume(self, size: int) -> None:
        """Count what was read. Raises ``pac-protocol-error`` when no movement can be so long."""
        self._taken += size
        if self._taken > _MAX_ITEM_BYTES:
            raise protocol_error(self._pac, "a part of it is too long to be a movement")

    def reset(self) -> None:
        """Begin anew: what was read so far has been understood."""
        self._taken = 0


def enforce_limits(pac: str, movements: Iterator[Movement]) -> Iterator[Movement]:
    """Yield ``movements``, whose RFCs and kinds whoever sums them holds in memory.

    Raises ``pac-protocol-error`` for more of either than a month can have, or longer ones.
    """
    rfcs: set[str] = set()
    kinds: set[str] = set()
    for movement in movements:
        if movement.rfc not in rfcs:
            rfcs.add(movement.rfc)
            if len(movement.rfc) > _RFC_CHARACTERS or not movement.rfc.isprintable():
                raise protocol_error(pac, "an RFC in it cannot be one")
            if len(rfcs) > _MAX_RFCS:
                raise protocol_error(pac, f"it names more than {_MAX_RFCS:,} RFCs")
        if movement.kind not in kinds:
            kinds.add(movement.kind)
            if len(movement.kind) > _TEXT_CHARACTERS:
                raise protocol_error(pac, "a kind of movement in it is longer than any")
            if len(kinds) > _MAX_KINDS:
                raise protocol_error(pac, f"it names more than {_MAX_KINDS:,} kinds of movement")
        yield movement


def is_short(text: str) -> bool:
    """Tell whether a text that is no RFC may be as long as it is."""
    return len(text) <= _TEXT_CHARACTERS
