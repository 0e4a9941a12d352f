"""The interface every PAC is spoken to through, and what its calls return."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from timbres.deadline import Deadline
from timbres.domain.balance import Movement, Summary
from timbres.domain.month import Month
from timbres.domain.rfc import Rfc
from timbres.domain.stamps import Stamps
from timbres.errors import OPERATION_UNSUPPORTED, TimbresError

if TYPE_CHECKING:  # requests takes 20 ms to load.
    from timbres.pacs.http import Download

# Threads that may speak to one account's PAC at a time, each over a connection of its own.
CONNECTIONS = 32


class MonthReading(Protocol):
    """A month's balance as the PAC sent it, kept on disk so that it can be read twice.

    A context manager: leaving it frees the disk. The whole answer has come when one is
    made, but it is understood only while it is read: any step may raise
    ``pac-protocol-error``.
    """

    summary: Summary

    def movements(self) -> Iterator[Movement]:
        """Yield every movement, from the first, in the PAC's order."""
        ...

    def verified_movements(self) -> Iterator[Movement]:
        """Yield every movement; at the end, raise if they contradict the summary.

        Raises a ``pac-protocol-error`` that may be retried and states both figures.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Reply:
    """What a PAC said to a purchase that it carried out: its code and its words."""

    code: str
    message: str | None


class PacClient:
    """One account at one PAC; a PAC's own module overrides what that PAC offers.

    Each call raises a :class:`~timbres.errors.PacError`; reads are repeated within the
    deadline, a purchase never. What a PAC does not offer is ``operation-unsupported``, which
    ``Account.must`` says before it comes to a call.
    """

    def balance(self, month: Month, rfc: Rfc | None, deadline: Deadline) -> MonthReading:
        """Return the month's balance, of all RFCs (None) or of one. The caller closes it.

        Raises ``issuer-not-registered`` for an RFC that the account does not hold.
        """
        raise _not_offered("balance")

    def statement(self, month: Month, form: str, deadline: Deadline) -> Download:
        """Return the PAC's own statement as ``csv`` or ``pdf``, byte for byte.

        The caller closes its file. Raises ``pac-protocol-error`` for what is no such file.
        """
        raise _not_offered("statement")

    def stamps(self, rfc: Rfc, deadline: Deadline) -> Stamps:
        """Return the stamps that an issuer contracted, used and has left.

        What the PAC does not say is None; ``pac-protocol-error`` when it says none of them.
        """
        raise _not_offered("stamps")

    def buy(self, rfc: Rfc, stamps: int, deadline: Deadline) -> Reply:
        """Buy stamps for an issuer: one request, whatever becomes of it.

        An error whose kind ``may_have_taken_effect`` leaves the purchase in doubt. Raises
        ``out-of-time``, with nothing sent, when the answer could not be waited for.
        """
        raise _not_offered("contracts")


def _not_offered(capability: str) -> TimbresError:
    return TimbresError(
        OPERATION_UNSUPPORTED, f"This PAC does not offer {capability}.", field="account"
    )
