"""Interface of a PAC's client: one protocol per capability, and the results of its calls."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import IO, Protocol, TypeVar

from timbres.deadline import Deadline
from timbres.domain.balance import Movement, Statement, Summary
from timbres.domain.contract import Contract
from timbres.domain.month import Month
from timbres.domain.rfc import Rfc
from timbres.domain.stamps import Stamps
from timbres.domain.trace import Trace

T = TypeVar("T")

# Threads that may call one account's PAC at the same time, each with its own connection.
MAX_CONNECTIONS = 32


@dataclass(frozen=True, slots=True)
class CallLimits:
    """How often a client calls its PAC, and how long it waits, in seconds.

    A read makes up to ``attempts`` calls, with pauses that grow from ``backoff_seconds``.
    ``read_seconds`` may pass without a byte of a response. With less than
    ``min_contract_seconds`` left, no contract is requested.
    """

    attempts: int = 3
    backoff_seconds: float = 0.3
    connect_seconds: float = 3.0
    read_seconds: float = 10.0
    # Longer than for a read: a response avoids an unknown contract.
    contract_read_seconds: float = 15.0
    min_contract_seconds: float = 6.0

    def for_contract(self) -> CallLimits:
        """Return the limits of a session that requests a contract."""
        return replace(self, read_seconds=self.contract_read_seconds)


DEFAULT_LIMITS = CallLimits()


class BalanceStream(AbstractContextManager["BalanceStream"], Protocol):
    """A month's balance as the PAC sent it, on disk, so that it can be read twice.

    Its exit frees the disk. The response is complete, but it is parsed only while it is read:
    each step may raise ``pac-protocol-error``.
    """

    summary: Summary

    @abstractmethod
    def movements(self) -> Iterator[Movement]:
        """Yield every movement in the PAC's order; each call starts with the first."""

    @abstractmethod
    def verified_movements(self) -> Iterator[Movement]:
        """Yield every movement, then compare them with the summary.

        Raises a retryable ``pac-protocol-error`` with both totals if they differ.
        """


class StatementFile(Protocol):
    """A PAC's own statement, byte for byte, on disk; the caller closes ``file``.

    ``size`` is in bytes, ``sha256`` is hexadecimal.
    """

    file: IO[bytes]
    size: int
    sha256: str

    @abstractmethod
    def figures(self) -> Statement | None:
        """Return the content of the file; None for a format that Timbres does not parse.

        The file stays open. Raises ``pac-protocol-error`` for an invalid file.
        """


@dataclass(frozen=True, slots=True)
class Receipt:
    """A PAC's response about a contract that it created.

    ``code`` is None for a PAC without codes. ``total`` is the issuer's new total of contracted
    stamps, None if the response does not contain it.
    """

    code: str | None
    message: str | None
    total: int | None = None


class BalanceClient(Protocol):
    """The capability ``balance``. Every operation of a client raises :class:`PacError`.

    A client retries reads within the deadline. It never retries a write.
    """

    @abstractmethod
    def balance(self, month: Month, rfc: Rfc | None, deadline: Deadline) -> BalanceStream:
        """Return the month's balance, of all RFCs (None) or of one. The caller closes it.

        Raises ``issuer-not-registered`` for an RFC that the account does not have.
        """


class StatementClient(Protocol):
    """The capability ``statement``."""

    @abstractmethod
    def statement(self, month: Month, file_format: str, deadline: Deadline) -> StatementFile:
        """Return the PAC's own statement as ``csv`` or ``pdf``, byte for byte.

        The caller closes its file. Raises ``pac-protocol-error`` if the response is not such a
        file.
        """


class StampClient(Protocol):
    """The capability ``stamps``."""

    @abstractmethod
    def stamps(self, rfc: Rfc, deadline: Deadline) -> Stamps:
        """Return an issuer's contracted, used and available stamps.

        A count that the PAC does not return is None. Raises ``pac-protocol-error`` if it returns
        no count at all.
        """


class AccountStampClient(Protocol):
    """The stamps of the account itself, part of the capability ``stamps`` of some PACs.

    ``Pac.has_account_stamps`` states whether a PAC's client has this operation.
    """

    @abstractmethod
    def account_stamps(self, deadline: Deadline) -> Stamps:
        """Return the contracted, used and available stamps that all issuers draw from.

        A count that the PAC does not return is None; all are None if the account's PAC does not
        offer the operation.
        """


class ContractClient(Protocol):
    """The capability ``contracts``."""

    @abstractmethod
    def create_contract(self, rfc: Rfc, stamps: int, deadline: Deadline) -> Receipt:
        """Allot stamps to an issuer with one request, which is never retried.

        After an error whose problem type ``may_have_taken_effect``, the contract is unknown.
        Raises ``out-of-time``, with nothing sent, if there is not enough time for the response.
        """

    @abstractmethod
    def trace(self, sent: Contract, deadline: Deadline) -> Trace:
        """Return the PAC's evidence about a contract that was sent; it only reads.

        The evidence is the counts (:func:`timbres.domain.trace.trace_by_count`), a ledger or a
        reference, depending on the PAC. A failed read raises. :meth:`Contract.evaluate` applies
        the lag of reads and the settling time.
        """


class PacClient(
    BalanceClient, StatementClient, StampClient, AccountStampClient, ContractClient, Protocol
):
    """All operations, as services use them; see :class:`PacClientDecorator`."""


class PacClientDecorator(PacClient):
    """A client that wraps another: every operation calls ``_read`` or ``_write``.

    Each operation of the protocols must be implemented here: otherwise the class is abstract.
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
        """Return an issuer's contracted, used and available stamps."""
        return self._read("stamps", lambda client: client.stamps(rfc, deadline))

    def account_stamps(self, deadline: Deadline) -> Stamps:
        """Return the contracted, used and available stamps of the account itself."""
        return self._read("stamps", lambda client: client.account_stamps(deadline))

    def create_contract(self, rfc: Rfc, stamps: int, deadline: Deadline) -> Receipt:
        """Allot stamps to an issuer with one request, which is never retried."""
        return self._write(
            "contracts", lambda client: client.create_contract(rfc, stamps, deadline)
        )

    def trace(self, sent: Contract, deadline: Deadline) -> Trace:
        """Return the PAC's evidence about a contract that was sent; it only reads."""
        return self._read("contracts", lambda client: client.trace(sent, deadline))

    @abstractmethod
    def _read(self, capability: str, call: Callable[[PacClient], T]) -> T:
        """Return the result of ``call``, which reads from the PAC."""

    @abstractmethod
    def _write(self, capability: str, call: Callable[[PacClient], T]) -> T:
        """Return the result of ``call``, which changes data at the PAC."""
