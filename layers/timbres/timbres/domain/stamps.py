"""Stamps of one issuer, and the number of them that one contract may buy."""

from __future__ import annotations

from dataclasses import dataclass

from timbres.domain.text import quote_input
from timbres.errors import STAMPS_INVALID, TimbresError

# More in one contract than any issuer needs in years: a slip of the keyboard, not an order.
MAX_STAMPS = 1_000_000


@dataclass(frozen=True, slots=True)
class Stamps:
    """What a PAC says of one issuer, in stamps. None is what it did not say; never 0 for it.

    ``unlimited``: the issuer draws from the account without a limit; ``available`` is None then.

    Source: "Utilerias.getTimbres" (contratados, usados, disponibles).
    """

    contracted: int | None
    used: int | None
    available: int | None
    unlimited: bool = False


def parse_stamps(value: object, field: str = "stamps") -> int:
    """Return a number of stamps to buy, from a JSON value: an integer from 1 to 1,000,000.

    Raises ``stamps-invalid`` for anything else, 500.0 and "500" among it.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_STAMPS:
        raise TimbresError(
            STAMPS_INVALID,
            f"{quote_input(value)} is no number of stamps: expected a whole number "
            f"from 1 to {MAX_STAMPS}, written without decimals or quotes.",
            field=field,
        )
    return value
