"""Stamps of one issuer or of an account, and the number of stamps of one contract."""

from __future__ import annotations

from dataclasses import dataclass

from timbres.domain.text import invalid_value
from timbres.errors import STAMPS_INVALID

# No issuer needs more in years: a larger number is a typing error.
MAX_STAMPS = 1_000_000


@dataclass(frozen=True, slots=True)
class Stamps:
    """A PAC's counts of one issuer, or of the account itself, in stamps.

    A count that the PAC did not return is None, never 0. ``unlimited``: the issuer draws from the
    account without a limit; ``available`` is then None.

    Source: "Utilerias.getTimbres" (contratados, usados, disponibles).
    """

    contracted: int | None
    used: int | None
    available: int | None
    unlimited: bool = False

    @property
    def counts(self) -> dict[str, int | None]:
        """The three counts by name."""
        return {name: getattr(self, name) for name in ("contracted", "used", "available")}

    @property
    def is_unknown(self) -> bool:
        """Whether the PAC returned no count."""
        return not self.unlimited and set(self.counts.values()) == {None}

    @property
    def has_no_contract(self) -> bool:
        """Whether an issuer has no contract, and uses the account's stamps.

        Nothing is contracted and nothing is left; stamps may have been used. The reply for such
        an issuer is not documented.
        """
        return not self.unlimited and self.contracted == 0 and (self.available or 0) <= 0


def parse_stamps(value: object, field: str = "stamps") -> int:
    """Return a contract's number of stamps from a JSON value, an integer from 1 to 1,000,000.

    Raises ``stamps-invalid`` for any other value, for example 500.0 or "500".
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_STAMPS:
        expected = f"a whole number from 1 to {MAX_STAMPS}, without decimals or quotes"
        raise invalid_value(STAMPS_INVALID, value, "a valid number of stamps", expected, field)
    return value
