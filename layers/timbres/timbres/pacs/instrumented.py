"""A PAC client that counts and times its calls, per PAC."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from timbres.deadline import Deadline
from timbres.domain.account import Pac
from timbres.domain.stamps import Stamps
from timbres.errors import OPERATION_UNSUPPORTED, PacError, TimbresError
from timbres.observability.metrics import metrics
from timbres.pacs.base import PacClient, PacClientDecorator

T = TypeVar("T")


class InstrumentedPacClient(PacClientDecorator):
    """A PAC's ``client`` with metrics; a read and its retries are one call.

    The account is not a dimension: CloudWatch charges for each combination of dimensions, and
    the log has the account. Raises ``operation-unsupported`` for a capability that the PAC does
    not have; ``Account.require`` normally rejects it earlier.
    """

    def __init__(self, client: Any, pac: Pac) -> None:
        # It has the operations of the capabilities that ``pac`` declares; no others are called.
        self._client: PacClient = client
        self._pac = pac

    def account_stamps(self, deadline: Deadline) -> Stamps:
        """Return the stamps of the account. Raises ``operation-unsupported``."""
        if not self._pac.has_account_stamps:
            raise self._unsupported("account stamps")
        return super().account_stamps(deadline)

    def _read(self, capability: str, call: Callable[[PacClient], T]) -> T:
        if capability not in self._pac.capabilities:
            raise self._unsupported(capability)
        started = time.monotonic()
        try:
            return call(self._client)
        except PacError as error:
            metrics.add_count("PacErrors", pac=self._pac.name, code=error.problem_type.code)
            raise
        finally:
            metrics.add_count("PacCalls", pac=self._pac.name)
            metrics.add_metric(
                "PacLatency", round(time.monotonic() - started, 3), pac=self._pac.name
            )

    _write = _read

    def _unsupported(self, capability: str) -> TimbresError:
        return TimbresError(
            OPERATION_UNSUPPORTED,
            f"{self._pac.display_name} does not offer {capability}.",
            field="account",
        )
