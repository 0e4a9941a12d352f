"""The form of what recurs, made once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

# RFCs, kinds and days are few; whatever a PAC sends instead must not fill the memory.
_MOST = 50_000

_Key = TypeVar("_Key")
_Form = TypeVar("_Form")


class Remembered(dict[_Key, _Form]):
    """The form of each key that is asked for; ``make`` makes it the first time."""

    def __init__(self, make: Callable[[_Key], _Form]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, key: _Key) -> _Form:
        if len(self) >= _MOST:
            self.clear()
        self[key] = form = self._make(key)
        return form
