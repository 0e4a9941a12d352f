"""Text: input of a caller, quoted in errors."""

from __future__ import annotations

_MAX_QUOTED_LENGTH = 40


def quote_input(value: object) -> str:
    """Return ``value`` for an error text: quoted, printable, at most 40 characters of it."""
    text = value if isinstance(value, str) else repr(value)
    printable = "".join(c if c.isprintable() else "?" for c in text[:_MAX_QUOTED_LENGTH])
    return f"'{printable}'" + ("…" if len(text) > _MAX_QUOTED_LENGTH else "")
