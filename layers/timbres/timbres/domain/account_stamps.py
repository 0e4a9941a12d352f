"""The stamps of an account itself, which all of its issuers use, and their over-allotment.

Source: the PAC's manual, "Crear contrato para emisor": a contract allots stamps of the account
to an issuer, and an issuer without a contract uses the account's stamps directly.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from timbres.domain.counted_stamps import CountedStamps
from timbres.domain.forecast import available_stamps
from timbres.domain.stamps import Stamps


@dataclass(frozen=True, slots=True)
class AccountStamps(CountedStamps):
    """The stamps of an account with their last count and forecast."""

    account: str


@dataclass(frozen=True, slots=True)
class Allotment:
    """The stamps that contracts allot to issuers and that are not used yet.

    ``unused`` is their sum over the issuers with a known count; ``unknown`` is the number of the
    other issuers. Issuers without a contract and without a limit have no stamps of their own.
    """

    unused: int = 0
    unknown: int = 0

    def exceeds(self, stamps: Stamps) -> bool | None:
        """Return whether more is allotted than the account's ``stamps`` have available.

        None if a missing count could change the result.
        """
        available = available_stamps(stamps)
        if stamps.unlimited:
            return False
        if available is None:
            return None
        # No issuer has less than 0 stamps, so further counts only increase the sum.
        if self.unused > max(available, 0):
            return True
        return None if self.unknown else False


NOTHING_ALLOTTED = Allotment()


def sum_unused(issuers: Iterable[Stamps]) -> Allotment:
    """Return the allotted and unused stamps of an account's issuers."""
    counts = [
        available_stamps(stamps)
        for stamps in issuers
        if not (stamps.unlimited or stamps.has_no_contract)
    ]
    unused = sum(max(count, 0) for count in counts if count is not None)
    return Allotment(unused, counts.count(None))
