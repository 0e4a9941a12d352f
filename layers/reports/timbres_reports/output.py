"""What a report is written into."""

from __future__ import annotations

from typing import Protocol


class Output(Protocol):
    """A file, a pipe or an upload: bytes go in, in order, and nothing comes back."""

    def write(self, data: bytes, /) -> int:
        """Take ``data``; return its length in bytes."""
        ...
