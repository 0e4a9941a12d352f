"""The interface of a PAC's client, one protocol per capability, and the results of its calls."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Protocol, Self, TypeVar

from timbres.deadline import Deadline
from timbres.domain.balance import Movement, Statement, Summary
from timbres.domain.contract import Contract
from timbres.domain.month import Month
from timbres.domain.rfc import Rfc
from timbres.domain.stamps import Stamps
from timbres.domain.trace import Trace

T = TypeVar("T")

# Threads that may speak to one account's PAC at a time, each over a connection of its own.
MAX_CONNECTIONS = 32


class BalanceStream(Protocol):
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


class StatementFile(Protocol):
    """A PAC's own statement as it sent it, on disk; the caller closes ``file``.

    ``size`` is in bytes, ``sha256`` hexadecimal.
    """

    @property
    def file(self) -> IO[bytes]: ...  # noqa: D102 as above

    @property
    def size(self) -> int: ...  # noqa: D102 as above

    @property
    def sha256(self) -> str: ...  # noqa: D102 as above

    def figures(self) -> Statement | None:
        """Return what the file says; None for a format that is not read.

        Leaves the file open. Raises ``pac-protocol-error`` for what cannot be read.
        """
        ...


@dataclass(frozen=True, slots=True)
class Receipt:
    """A PAC's answer to a contract that it created.

    ``code`` is None for a PAC without codes; ``total`` is the issuer's new total of stamps
    contracted, where the answer has it.
    """

    code: str | None
    message: str | None
    total: int | None = None


class BalanceClient(Protocol):
    """The capability ``balance``. Every operation of a client raises :class:`PacError`.

    Reads are repeated within the deadline; what changes something at the PAC never is.
    """

    @abstractmethod
    def balance(self, month: Month, rfc: Rfc | None, deadline: Deadline) -> BalanceStream:
        """Return the month's balance, of all RFCs (None) or of one. The caller closes it.

        Raises ``issuer-not-registered`` for an RFC that the account does not hold.
        """


class StatementClient(Protocol):
    """The capability ``statement``."""

    @abstractmethod
    def statement(self, month: Month, file_format: str, deadline: Deadline) -> StatementFile:
        """Return the PAC's own statement as ``csv`` or ``pdf``, byte for byte.

        The caller closes its file. Raises ``pac-protocol-error`` for what is no such file.
        """


class StampClient(Protocol):
    """The capability ``stamps``."""

    @abstractmethod
    def stamps(self, rfc: Rfc, deadline: Deadline) -> Stamps:
        """Return the stamps that an issuer contracted, used and has left.

        What the PAC does not say is None; ``pac-protocol-error`` when it says none of them.
        """


class ContractClient(Protocol):
    """The capability ``contracts``."""

    @abstractmethod
    def create_contract(self, rfc: Rfc, stamps: int, deadline: Deadline) -> Receipt:
        """Allot stamps to an issuer: one request, never repeated.

        An error whose kind ``may_have_taken_effect`` leaves the contract unknown. Raises
        ``out-of-time``, with nothing sent, when the answer could not be waited for.
        """

    @abstractmethod
    def trace(self, sent: Contract, deadline: Deadline) -> Trace:
        """Return what the PAC shows of a contract that was sent; it only reads.

        By its counts (:func:`timbres.domain.trace.trace_by_count`), its ledger or a reference,
        whatever the PAC has. A failed read raises and is no verdict. The lag of reads and the
        settling time are :meth:`Contract.evaluate`'s.
        """


class PacClient(BalanceClient, StatementClient, StampClient, ContractClient, Protocol):
    """Every operation there is, as services use it; see :class:`PacClientDecorator`."""


class PacClientDecorator(PacClient):
    """A client around another: every operation goes through ``_read`` or ``_write``.

    An operation that a protocol adds must be added here: the class is abstract without it.
    """

    def balance(self, month: Month, rfc: Rfc | None, deadline: Deadline) -> BalanceStream:
        """Return the month's balance, of all RFCs or of one."""
        return self._read("balance", lambda client: client.balance(month, rfc, deadline))

    def statement(self, month: Month, file_format: str, deadline: Deadline) -> StatementFile:
        """Return the PAC's own statement as ``csv`` or ``pdf``, byte for byte."""
        return self._read(
            "statement", lambda client: client.statement(month, file_format, deadline)
        )

    def stamps(self, rfc: Rfc, deadline: Deadline) -> Stamps:
        """Return the stamps that an issuer contracted, used and has left."""
        return self._read("stamps", lambda client: client.stamps(rfc, deadline))

    def create_contract(self, rfc: Rfc, stamps: int, deadline: Deadline) -> Receipt:
        """Allot stamps to an issuer: one request, never repeated."""
        return self._write(
            "contracts", lambda client: client.create_contract(rfc, stamps, deadline)
        )

    def trace(self, sent: Contract, deadline: Deadline) -> Trace:
        """Return what the PAC shows of a contract that was sent; it only reads."""
        return self._read("contracts", lambda client: client.trace(sent, deadline))

    @abstractmethod
    def _read(self, capability: str, call: Callable[[PacClient], T]) -> T:
        """Return what ``call`` reads from the PAC."""

    @abstractmethod
    def _write(self, capability: str, call: Callable[[PacClient], T]) -> T:
        """Return what ``call``, which changes something at the PAC, returns."""
