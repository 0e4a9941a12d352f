"""Contracts stamps for an issuer, once per Idempotency-Key.

The order of the writes makes this safe:

1. Create the contract in the journal, pending.
2. Count the issuer's stamps.
3. Store the count and mark the contract as sent.
4. Send the request to the PAC, once.
5. Store the outcome.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from timbres.aws.events import EventPublisher
from timbres.deadline import Deadline
from timbres.domain import clock
from timbres.domain import contract as rules
from timbres.domain.account import ALL_ACCOUNTS, Account, parse_account_name
from timbres.domain.contract import READ_LAG, Contract, ContractFilter
from timbres.domain.rfc import Rfc
from timbres.errors import (
    CONTRACT_IN_FLIGHT,
    CONTRACT_LIMIT_EXCEEDED,
    CONTRACT_NOT_FOUND,
    CONTRACT_NOT_UNDER_REVIEW,
    CONTRACT_PENDING,
    DAILY_LIMIT_EXCEEDED,
    IDEMPOTENCY_KEY_REUSED,
    ISSUER_NEW,
    PacError,
    ProblemType,
    TimbresError,
)
from timbres.observability.metrics import metrics
from timbres.pacs.base import Receipt
from timbres.pacs.errors import PROTOCOL_ERROR
from timbres.repositories.contracts import ContractConflict, ContractRepository, DailyLimitReached
from timbres.repositories.daily_counts import RETENTION, SnapshotRepository
from timbres.repositories.issuers import IssuerRepository
from timbres.schemas.contracts import contract_to_dict
from timbres.services.all_accounts import list_all_accounts
from timbres.services.contract_events import log_context, publish_pending_events
from timbres.services.pac_access import PacAccess, login_changed_error
from timbres.services.stamps import record_observation

logger = logging.getLogger("timbres")

_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class ContractRequest:
    """A request for ``stamps`` for ``rfc``; ``key`` is the Idempotency-Key, ``caller`` an ARN.

    ``reference`` is the caller's note. ``new_issuer``: nobody needs to know the RFC yet.
    """

    rfc: Rfc
    stamps: int
    key: str
    caller: str
    reference: str | None = None
    new_issuer: bool = False

    @property
    def body_hash(self) -> str:
        """The hash that is equal for requests with the same body."""
        body: dict[str, Any] = {"rfc": self.rfc, "stamps": self.stamps}
        # Without these members, the hash is that of versions before 0.5.0.
        if self.reference is not None:
            body["reference"] = self.reference
        if self.new_issuer:
            body["new_issuer"] = True
        return hashlib.sha256(json.dumps(body).encode()).hexdigest()


class ContractService:
    """Creates, reads and settles contracts."""

    def __init__(
        self,
        pac_access: PacAccess,
        contract_repository: ContractRepository,
        issuer_repository: IssuerRepository,
        snapshot_repository: SnapshotRepository,
        event_publisher: EventPublisher,
    ) -> None:
        self._pac_access = pac_access
        self._contract_repository = contract_repository
        self._issuer_repository = issuer_repository
        self._snapshot_repository = snapshot_repository
        self._event_publisher = event_publisher

    def create(
        self, account_name: str, request: ContractRequest, deadline: Deadline
    ) -> tuple[Contract, bool]:
        """Create a contract, or return the contract of the key; return whether it is a replay.

        The contract is confirmed, or its outcome is not known (unknown, or pending if the
        journal could not be written) and it is not sent again. Raises the error of a rejected
        contract, also in every replay. Raises without a call to the PAC:
        ``stamps-over-limit``, ``day-over-limit``, ``idempotency-key-reused``,
        ``contract-pending``, ``contract-in-flight``. The last is also raised while the PAC's
        counts do not include a confirmed contract of the issuer.
        """
        account = self._pac_access.require_account(account_name, "contracts")
        if request.stamps > account.max_stamps_per_contract:
            # A limit that was lowered later does not change the contract of a key.
            found = self._contract_repository.find_by_key(
                account.name, request.key, request.body_hash
            )
            if found is None:
                raise _limit_error(account, request)
            return _replay(account, found.contract, found.same_body), True
        contract = Contract.create(
            account.name,
            account.login,
            request.rfc,
            request.stamps,
            request.caller,
            request.key,
            clock.now(),
            request.reference,
        )
        conflict = self._reserve(account, contract, request, deadline)
        if isinstance(conflict, DailyLimitReached):
            raise _limit_error(account, request, conflict)
        if conflict is not None:
            if not conflict.by_key:
                raise _in_flight_error(conflict.contract, clock.now())
            return _replay(account, conflict.contract, conflict.same_body), True
        return self._create(account, contract, request.new_issuer, deadline), False

    def _reserve(
        self, account: Account, contract: Contract, request: ContractRequest, deadline: Deadline
    ) -> ContractConflict | DailyLimitReached | None:
        for is_repeated in (False, True):
            conflict = self._contract_repository.create(
                contract, request.body_hash, account.max_stamps_per_day
            )
            if (
                is_repeated
                or not isinstance(conflict, ContractConflict)
                or conflict.by_key
                or not conflict.contract.awaits_count
            ):
                break
            # A new count may include the confirmed contract that blocks the issuer.
            counted = self._recount(account, conflict.contract, request.caller, deadline)
            if counted.holds_issuer:
                return replace(conflict, contract=counted)
            publish_pending_events(self._contract_repository, self._event_publisher, counted)
        return conflict

    def _recount(
        self, account: Account, contract: Contract, caller: str, deadline: Deadline
    ) -> Contract:
        """Count the issuer of a confirmed contract; return the contract as stored."""
        try:
            trace = self._pac_access.client(account, login=contract.login).trace(contract, deadline)
        except Exception as error:
            # A confirmed contract stays confirmed without a count; the reconciler retries it.
            logger.warning("the count after a contract failed: %s", type(error).__name__)
            return contract
        after = contract.recount(clock.now(), caller, trace)
        if after.awaits_count:
            return contract
        if self._contract_repository.save(contract, after):
            if trace.stamps is not None:
                record_observation(self._issuer_repository, account, contract.rfc, trace.stamps)
            return after
        return self._contract_repository.get(contract.account, contract.id) or contract

    def get(self, account_name: str, contract_id: str) -> Contract:
        """Return a contract. Raises ``contract-not-found``."""
        return self.get_with_history(account_name, contract_id)[0]

    def get_with_history(
        self, account_name: str, contract_id: str
    ) -> tuple[Contract, list[dict[str, Any]]]:
        """Return a contract and its history, oldest first. Raises ``contract-not-found``."""
        name, entry = parse_account_name(account_name), None
        if _ID.fullmatch(contract_id):
            entry = self._contract_repository.get_with_history(name, contract_id)
        if entry is None:
            # A contract outlives its account's secret; only without a contract is it required.
            self._pac_access.require_account(name, "contracts")
            detail = f"Account {name} has no such contract."
            raise TimbresError(CONTRACT_NOT_FOUND, detail, field="id")
        return entry

    def settle(
        self, account_name: str, contract_id: str, outcome: str, reason: str, caller: str
    ) -> Contract:
        """Settle a contract under review; the journal records the caller and the reason.

        Raises ``contract-not-found``, or ``contract-not-under-review`` in any other state.
        """
        contract = self.get(account_name, contract_id)
        settled = None
        if contract.status == rules.NEEDS_REVIEW:
            settled = contract.settle(clock.now(), outcome, caller, reason)
        if settled is None or not self._contract_repository.save(contract, settled):
            current = self.get(account_name, contract_id)
            detail = f"Contract {contract_id} is {current.status}; only a contract that needs a "
            detail += "review can be settled by hand."
            raise _error(CONTRACT_NOT_UNDER_REVIEW, detail, current)
        metrics.add_count("Contracts", status=settled.status)
        logger.info("contract settled by hand", extra=log_context(settled))
        publish_pending_events(self._contract_repository, self._event_publisher, settled)
        return settled

    def list_page(
        self,
        account_name: str,
        criteria: ContractFilter,
        after: str | None,
        deadline: Deadline,
        limit: int,
    ) -> tuple[list[Contract], str | None]:
        """Return a page of contracts, newest first, and the cursor of the next page or None.

        For ``all`` accounts: one account after the other.
        """
        if account_name == ALL_ACCOUNTS:
            return list_all_accounts(
                self._pac_access.account_names(),
                lambda name, cursor, count: self._contract_repository.list_page(
                    name, criteria, cursor, deadline, count
                ),
                after,
                limit,
                deadline,
            )
        name = parse_account_name(account_name)
        contracts, next_cursor = self._contract_repository.list_page(
            name, criteria, after, deadline, limit
        )
        if not contracts:
            self._pac_access.require_account(name, "contracts")
        return contracts, next_cursor

    def _create(
        self, account: Account, contract: Contract, new_issuer: bool, deadline: Deadline
    ) -> Contract:
        before = None
        try:
            client = self._pac_access.client(account, login=contract.login)
            before = client.stamps(contract.rfc, deadline)
        except TimbresError as error:
            if not (error.problem_type.issuer_unknown and account.pac.creates_issuers):
                raise self._reject(contract, error) from None
            if not new_issuer and not self._is_known(contract):
                detail = f"{contract.rfc} is not known at the PAC, in the list of issuers, or in a "
                detail += f"snapshot of account {contract.account}. If the RFC is right, send "
                detail += "new_issuer: true."
                new = TimbresError(ISSUER_NEW, detail, field="rfc")
                raise self._reject(contract, new) from None
        # The secret may have been replaced during the count.
        account = self._pac_access.current(account)
        if account.login != contract.login:
            raise self._reject(contract, login_changed_error(account)) from None
        sent = contract.mark_sent(clock.now(), before)
        if not self._contract_repository.save(contract, sent):
            # The reconciler abandoned the contract before it was sent.
            abandoned = self._contract_repository.get(account.name, contract.id) or contract
            return _replay(account, abandoned, same_body=True)
        try:
            receipt = self._pac_access.client(account).create_contract(
                contract.rfc, contract.stamps, deadline
            )
        except TimbresError as error:
            if not error.problem_type.may_have_taken_effect:
                raise self._reject(sent, error) from None
            return self._mark_unknown(sent, error)
        except Exception:
            logger.exception("unexpected error in a contract", extra=log_context(contract))
            detail = "The contract was sent; its outcome is not known."
            return self._mark_unknown(sent, TimbresError(PROTOCOL_ERROR, detail))
        return self._confirm(account, sent, receipt, deadline)

    def _is_known(self, contract: Contract) -> bool:
        """Return whether the list of issuers or a snapshot has the issuer."""
        if self._issuer_repository.get_many(contract.account, [contract.rfc]):
            return True
        today = contract.created_at.date()
        days = self._snapshot_repository.list_history(
            contract.account, contract.rfc, today - RETENTION, today
        )
        return any(True for _ in days)

    def _confirm(
        self, account: Account, sent: Contract, receipt: Receipt, deadline: Deadline
    ) -> Contract:
        confirmed = sent.confirm(clock.now(), receipt.code, receipt.message)
        stored = self._save(sent, confirmed)
        if stored is not confirmed:
            return stored
        logger.info("contract confirmed", extra=log_context(confirmed))
        try:
            counted = self._recount(account, confirmed, confirmed.requested_by, deadline)
        except Exception as error:
            # The contract stays confirmed if the journal cannot be written again.
            logger.warning("the count after a contract was not stored: %s", type(error).__name__)
            counted = confirmed
        publish_pending_events(self._contract_repository, self._event_publisher, counted)
        return counted

    def _mark_unknown(self, sent: Contract, error: TimbresError) -> Contract:
        unknown = sent.mark_unknown(clock.now(), error)
        stored = self._save(sent, unknown)
        if stored is unknown:
            logger.warning("contract unknown: %s", error.detail, extra=log_context(unknown))
            publish_pending_events(self._contract_repository, self._event_publisher, unknown)
        return stored

    def _save(self, sent: Contract, after: Contract) -> Contract:
        """Save the outcome; return the contract as stored.

        If the journal cannot be written, the contract stays pending and sent.
        """
        try:
            if self._contract_repository.save(sent, after):
                metrics.add_count("Contracts", status=after.status)
                return after
            return self._contract_repository.get(sent.account, sent.id) or sent
        except Exception as error:
            message = "%s could not be written to the journal: %s"
            logger.error(message, after.status, type(error).__name__, extra=log_context(after))
            return sent

    def _reject(self, contract: Contract, error: TimbresError) -> TimbresError:
        """Save a rejection; return the error for the caller."""
        error = error.changed(
            detail=f"{error.detail} No stamps were contracted; to retry, use a new "
            "Idempotency-Key.",
            # Without Retry-After: this key gets the same response forever.
            problem_type=replace(error.problem_type, retry_after=None),
            extensions=error.extensions | _rejected(contract),
        )
        rejected = contract.reject(clock.now(), error)
        self._contract_repository.save(contract, rejected)
        metrics.add_count("Contracts", status=rejected.status)
        logger.info("contract rejected: %s", error.detail, extra=log_context(rejected))
        return error


def _error(
    problem_type: ProblemType, detail: str, contract: Contract, field: str | None = None
) -> TimbresError:
    """Return an error that contains the contract."""
    extensions: dict[str, object] = {"contract": contract_to_dict(contract)}
    return TimbresError(problem_type, detail, field=field, extensions=extensions)


def _replay(account: Account, contract: Contract, same_body: bool) -> Contract:
    if not same_body:
        detail = (
            f"This Idempotency-Key belongs to contract {contract.id}: {contract.stamps} stamps "
        )
        detail += f"for {contract.rfc}. Use a new key for another body."
        raise _error(IDEMPOTENCY_KEY_REUSED, detail, contract, "Idempotency-Key")
    if contract.status == rules.PENDING:
        detail = f"Contract {contract.id} is in progress; retry with the same Idempotency-Key."
        raise _error(CONTRACT_PENDING, detail, contract)
    if contract.status == rules.REJECTED and contract.rejection is not None:
        rejection = contract.rejection
        raise PacError(
            ProblemType(rejection.code, rejection.title),
            rejection.detail,
            pac=account.pac.name,
            pac_code=contract.pac_code,
            pac_message=contract.pac_message,
            extensions=_rejected(contract),
        )
    return contract


def _limit_error(
    account: Account, request: ContractRequest, day: DailyLimitReached | None = None
) -> TimbresError:
    """Return the error of a request above the limit of a contract, or else of a ``day``."""
    problem_type, limit = CONTRACT_LIMIT_EXCEEDED, account.max_stamps_per_contract
    detail = f"the limit of account {account.name} for one contract: {limit:,} "
    detail += "(max_stamps_per_contract)."
    if day is not None:
        problem_type, limit = DAILY_LIMIT_EXCEEDED, account.max_stamps_per_day
        detail = f"what account {account.name} can still contract today: {day.requested:,} of "
        detail += f"{limit:,} (max_stamps_per_day) are used."
    return TimbresError(problem_type, f"{request.stamps:,} stamps exceed {detail}", field="stamps")


def _in_flight_error(contract: Contract, now: datetime) -> TimbresError:
    subject, problem_type = f"Contract {contract.id} of {contract.rfc}", CONTRACT_IN_FLIGHT
    detail = f"{subject} is {contract.status}: its {contract.stamps:,} stamps may still be "
    detail += "allotted. Until it is settled, the issuer cannot have another contract."
    if contract.awaits_count:
        visible = (contract.settled_at or now) + READ_LAG
        wait = math.ceil((visible - now).total_seconds()) if visible > now else 60
        problem_type = replace(problem_type, retry_after=wait)
        detail = f"{subject} is confirmed, and the PAC's count does not include its "
        detail += f"{contract.stamps:,} stamps yet. Until then, the issuer cannot have another "
        detail += "contract."
    return _error(problem_type, detail, contract)


def _rejected(contract: Contract) -> dict[str, object]:
    return {"contract": {"id": contract.id, "status": rules.REJECTED}}
