"""Determines the outcome of open contracts from the PAC's counts."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from timbres.aws.events import EventPublisher
from timbres.deadline import Deadline
from timbres.domain import clock
from timbres.domain.contract import (
    PENDING,
    RECONCILER,
    UNKNOWN,
    VERIFICATION_WINDOW,
    Contract,
)
from timbres.domain.trace import Trace, Verdict
from timbres.errors import (
    ACCOUNT_LOGIN_CHANGED,
    ACCOUNT_MISCONFIGURED,
    ACCOUNT_NOT_FOUND,
    OPERATION_UNSUPPORTED,
    TimbresError,
)
from timbres.observability.metrics import NONE, metrics
from timbres.pacs.errors import (
    CREDENTIALS_REJECTED,
    ENDPOINT_NOT_FOUND,
    OVERLOAD_ERRORS,
    PROTOCOL_ERROR,
    UNREACHABLE,
)
from timbres.repositories.contracts import ContractRepository
from timbres.services.contract_events import log_context, publish_pending_events
from timbres.services.pac_access import PacAccess

logger = logging.getLogger("timbres")

# Errors that the account's other contracts would get, too.
_ACCOUNT_WIDE_ERRORS = OVERLOAD_ERRORS | {
    ACCOUNT_MISCONFIGURED,
    ACCOUNT_NOT_FOUND,
    CREDENTIALS_REJECTED,
    ENDPOINT_NOT_FOUND,
    UNREACHABLE,
}
# Errors after which the login that sent the contract cannot be read any more.
_LOGIN_CHANGED = frozenset({ACCOUNT_LOGIN_CHANGED, OPERATION_UNSUPPORTED})


class Reconciler:
    """Determines the outcome of contracts whose own function could not.

    An unchanged count is a rejection after ``verification_window``.
    """

    def __init__(
        self,
        pac_access: PacAccess,
        contract_repository: ContractRepository,
        event_publisher: EventPublisher,
        verification_window: timedelta = VERIFICATION_WINDOW,
    ) -> None:
        self._pac_access = pac_access
        self._contract_repository = contract_repository
        self._event_publisher = event_publisher
        self._verification_window = verification_window
        self._problems: dict[str, str] = {}

    def run(self, deadline: Deadline) -> dict[str, int]:
        """Reconcile every contract that is due; return the number of contracts by new state.

        Only reads from the PAC. A contract that fails does not stop the others; an account that
        fails is not read again for its other contracts.
        """
        states: dict[str, int] = {}
        self._problems = {}
        for account, contract_id in self._contract_repository.list_due(clock.now()):
            if deadline.remaining() < 15:
                logger.warning("no time was left for every open contract")
                break
            try:
                status = self._reconcile(account, contract_id, deadline)
            except Exception as error:
                logger.exception(
                    "a contract could not be reconciled: %s",
                    type(error).__name__,
                    extra={"account": account, "contract": contract_id},
                )
                status = "failed"
            states[status] = states.get(status, 0) + 1
        # In minutes: the oldest contract that is not settled or not published.
        oldest = self._contract_repository.oldest_open()
        age = round((clock.now() - oldest.created_at).total_seconds() / 60, 1) if oldest else 0
        metrics.add_metric("OldestUnresolvedContractAge", age, NONE)
        return states

    def _reconcile(self, account: str, contract_id: str, deadline: Deadline) -> str:
        contract = self._contract_repository.get(account, contract_id)
        now = clock.now()
        # The index lags a little behind the journal.
        if contract is None or not contract.is_open or (contract.next_check_at or now) > now:
            return "not due"
        before = contract.status
        if contract.status == PENDING:
            contract = self._recover(contract, now)
        if contract is not None and (contract.status == UNKNOWN or contract.awaits_count):
            contract = self._evaluate(contract, deadline)
        if contract is None:
            return "changed meanwhile"
        if contract.status != before:
            metrics.add_count("Contracts", status=contract.status)
        publish_pending_events(self._contract_repository, self._event_publisher, contract)
        return contract.status

    def _recover(self, contract: Contract, now: datetime) -> Contract | None:
        """Return a pending contract as abandoned or unknown; None if it changed meanwhile."""
        if contract.sent_at is None:
            after = contract.abandon(now)
        else:
            detail = "The function ended before the PAC's response was stored."
            after = contract.mark_unknown(now, TimbresError(PROTOCOL_ERROR, detail), RECONCILER)
        return after if self._contract_repository.save(contract, after) else None

    def _evaluate(self, contract: Contract, deadline: Deadline) -> Contract | None:
        trace = self._trace(contract, deadline)
        now = clock.now()
        if contract.awaits_count:
            after = contract.recount(now, RECONCILER, trace)
        else:
            after = contract.evaluate(now, trace, self._verification_window)
        if not self._contract_repository.save(contract, after):
            return None
        logger.info("contract reconciled: %s", after.note, extra=log_context(after))
        return after

    def _trace(self, contract: Contract, deadline: Deadline) -> Trace:
        """Return the PAC's trace of a contract, or a verdict with the reason why it has none."""
        name = contract.account
        if contract.login is None:
            return Trace(Verdict.AMBIGUOUS, None, "the login that sent it is not known")
        if name in self._problems:
            return Trace(Verdict.NOT_YET, None, self._problems[name])
        try:
            account = self._pac_access.require_account(name, "contracts")
            return self._pac_access.client(account, login=contract.login).trace(contract, deadline)
        except TimbresError as error:
            if error.problem_type in _ACCOUNT_WIDE_ERRORS:
                self._problems[name] = error.detail
            is_final = error.problem_type in _LOGIN_CHANGED
            verdict = Verdict.AMBIGUOUS if is_final else Verdict.NOT_YET
            return Trace(verdict, None, error.detail)
        except Exception:
            logger.exception("an account's secret could not be read", extra={"account": name})
            self._problems[name] = "the account's secret could not be read"
            return Trace(Verdict.NOT_YET, None, self._problems[name])
