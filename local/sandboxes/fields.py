"""Typed reading of the JSON that steers a sandbox, with errors that name the field."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date


class FieldError(Exception):
    """A field is missing, unknown or of the wrong type; the text says which."""


class Fields:
    """The fields of one JSON object, each read once; `end` complains about the rest."""

    def __init__(self, payload: object) -> None:
        """Take what the JSON said; anything but an object is an error."""
        if not isinstance(payload, Mapping):
            raise FieldError("send a JSON object")
        self._left: dict[str, object] = dict(payload)

    def text(self, name: str) -> str:
        """A required, non-empty string."""
        value = self.optional_text(name)
        if not value:
            raise FieldError(f"{name} is required")
        return value

    def optional_text(self, name: str) -> str | None:
        """A string, or None where the field is absent or null."""
        value = self._left.pop(name, None)
        if value is not None and not isinstance(value, str):
            raise FieldError(f"{name} must be a string")
        return value

    def code(self, name: str) -> str:
        """A required code, written as a string or as a whole number."""
        value = self._left.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            self._left[name] = str(value)
        return self.text(name)

    def integer(self, name: str) -> int:
        """A required whole number."""
        value = self.optional_integer(name)
        if value is None:
            raise FieldError(f"{name} is required")
        return value

    def optional_integer(self, name: str) -> int | None:
        """A whole number, or None where the field is absent or null."""
        value = self._left.pop(name, None)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise FieldError(f"{name} must be a whole number")
        return value

    def optional_number(self, name: str) -> float | None:
        """A number, or None where the field is absent or null."""
        value = self._left.pop(name, None)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise FieldError(f"{name} must be a number")
        return float(value)

    def optional_flag(self, name: str) -> bool | None:
        """True or false, or None where the field is absent or null."""
        value = self._left.pop(name, None)
        if value is not None and not isinstance(value, bool):
            raise FieldError(f"{name} must be true or false")
        return value

    def day(self, name: str) -> date:
        """A required date as `yyyy-mm-dd`."""
        value = self.text(name)
        try:
            return date.fromisoformat(value)
        except ValueError as error:
            raise FieldError(f"{name} must be a date as yyyy-mm-dd") from error

    def objects(self, name: str) -> list[Fields]:
        """A required list of JSON objects."""
        value = self._left.pop(name, None)
        if not isinstance(value, list):
            raise FieldError(f"{name} must be a list of JSON objects")
        return [Fields(item) for item in value]

    def end(self) -> None:
        """Complain about fields that nobody asked for."""
        if self._left:
            raise FieldError(f"unknown field: {', '.join(sorted(self._left))}")
