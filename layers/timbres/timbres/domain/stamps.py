"""Stamps of one issuer, and the number of stamps of one contract."""

from __future__ import annotations

from dataclasses import dataclass

from timbres.domain.text import quote_input
from timbres.errors import STAMPS_INVALID, TimbresError

# No issuer needs more in years: a larger number is a typing error.
MAX_STAMPS = 1_000_000


@dataclass(frozen=True, slots=True)
class Stamps:
    """A PAC's counts of one issuer, in stamps; None, never 0, if the PAC did not return a count.

    ``unlimited``: the issuer draws from the account without a limit; ``available`` is then None.

    Source: "Utilerias.getTimbres" (contratados, usados, disponibles).
    """

    contracted: int | None
    used: int | None
    available: int | None
    unlimited: bool = False


def parse_stamps(value: object, field: str = "stamps") -> int:
    """Return a contract's number of stamps from a JSON value, an integer from 1 to 1,000,000.

    Raises ``stamps-invalid`` for any other value, for example 500.0 or "500".
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_STAMPS:
        raise TimbresError(
            STAMPS_INVALID,
            f"{quote_input(value)} is not a valid number of stamps: expected a whole number "
            f"from 1 to {MAX_STAMPS}, without decimals or quotes.",
            field=field,
        )
    return value
