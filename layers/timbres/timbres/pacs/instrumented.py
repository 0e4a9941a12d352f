"""Counted: a PAC's client whose calls are in the tally, by PAC: how many, how long, what failed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from timbres.deadline import Deadline
from timbres.domain.month import Month
from timbres.domain.rfc import Rfc
from timbres.domain.stamps import Stamps
from timbres.errors import PacError
from timbres.observability.metrics import tally
from timbres.pacs.base import MonthReading, PacClient, Reply

if TYPE_CHECKING:
    from timbres.pacs.http import Download

T = TypeVar("T")


class Counted(PacClient):
    """``client``, the calls of ``pac`` counted: a read and its repetitions are one call.

    Not by account: a metric is paid for by the combination of its dimensions, and the log
    has the account.
    """

    def __init__(self, client: PacClient, pac: str) -> None:
        self._client = client
        self._pac = pac

    def balance(self, month: Month, rfc: Rfc | None, deadline: Deadline) -> MonthReading:
        """Return the month's balance, of all RFCs or of one."""
        return self._counted(lambda: self._client.balance(month, rfc, deadline))

    def statement(self, month: Month, form: str, deadline: Deadline) -> Download:
        """Return the PAC's own statement as ``csv`` or ``pdf``, byte for byte."""
        return self._counted(lambda: self._client.statement(month, form, deadline))

    def stamps(self, rfc: Rfc, deadline: Deadline) -> Stamps:
        """Return the stamps that an issuer contracted, used and has left."""
        return self._counted(lambda: self._client.stamps(rfc, deadline))

    def buy(self, rfc: Rfc, stamps: int, deadline: Deadline) -> Reply:
        """Buy stamps for an issuer: one request, whatever becomes of it."""
        return self._counted(lambda: self._client.buy(rfc, stamps, deadline))

    def _counted(self, call: Callable[[], T]) -> T:
        started = time.monotonic()
        try:
            return call()
        except PacError as error:
            tally.count("PacErrors", pac=self._pac, code=error.problem_type.code)
            raise
        finally:
            tally.count("PacCalls", pac=self._pac)
            tally.measure("PacSeconds", round(time.monotonic() - started, 3), pac=self._pac)
