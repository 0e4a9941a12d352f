"""Contract: stamps bought for one issuer, once for one Idempotency-Key.

The order of the steps is the point: the journal first, then the count, then the mark that
the purchase is on its way, then the one request, then what became of it.
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
from timbres.domain.account import Account, parse_account_name
from timbres.domain.contract import READ_LAG, Contract, Rejection
from timbres.domain.rfc import Rfc
from timbres.errors import (
    CONTRACT_IN_FLIGHT,
    CONTRACT_LIMIT_EXCEEDED,
    CONTRACT_NOT_FOUND,
    CONTRACT_NOT_UNDER_REVIEW,
    CONTRACT_PENDING,
    DAILY_LIMIT_EXCEEDED,
    IDEMPOTENCY_KEY_REUSED,
    PacError,
    ProblemType,
    TimbresError,
)
from timbres.observability.metrics import metrics
from timbres.pacs.base import Receipt
from timbres.pacs.errors import PROTOCOL_ERROR
from timbres.repositories.contracts import ContractConflict, ContractRepository, DailyLimitReached
from timbres.repositories.issuers import IssuerRepository
from timbres.schemas.contracts import contract_to_dict
from timbres.services.contract_events import log_context, publish_pending_events
from timbres.services.pac_access import PacAccess, login_changed_error
from timbres.services.stamps import record_observation

logger = logging.getLogger("timbres")

_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class ContractRequest:
    """What a caller asks for: ``stamps`` for ``rfc``, under an Idempotency-Key, as ``caller``."""

    rfc: Rfc
    stamps: int
    key: str
    caller: str

    @property
    def body_hash(self) -> str:
        """Tells whether two orders say the same."""
        body = json.dumps({"rfc": self.rfc, "stamps": self.stamps})
        return hashlib.sha256(body.encode()).hexdigest()


class ContractService:
    """Buys stamps, each order once, and keeps the journal of it.

    ``access`` leads to accounts and their PACs; what is settled is told on ``bus``.
    """

    def __init__(
        self,
        access: PacAccess,
        journal: ContractRepository,
        issuers: IssuerRepository,
        bus: EventPublisher,
    ) -> None:
        self._access = access
        self._journal = journal
        self._issuers = issuers
        self._bus = bus

    def create(
        self, account_name: str, request: ContractRequest, deadline: Deadline
    ) -> tuple[Contract, bool]:
        """Buy stamps, or return the contract that the key stands for already (then True).

        The contract returned is confirmed, or may have been bought (unknown, or pending
        when the journal could not be written) and is not sent again. One that was refused
        raises its error, again each time it is asked for. Raises with no call to the PAC:
        ``stamps-over-limit``, ``day-over-limit``, ``idempotency-key-reused``,
        ``contract-pending``, ``contract-in-flight``. The last is also raised while the PAC's
        counts do not include a confirmed contract of the issuer.
        """
        account = self._access.require_account(account_name, "contracts")
        if request.stamps > account.max_stamps_per_contract:
            return self._over_limit(account, request), True
        contract = Contract.create(
            account.name,
            account.login,
            request.rfc,
            request.stamps,
            request.caller,
            request.key,
            clock.now(),
        )
        taken = self._reserve(account, contract, request, deadline)
        if isinstance(taken, DailyLimitReached):
            raise _daily_limit_error(account, request, taken)
        if taken is not None:
            if not taken.by_key:
                raise _in_flight_error(taken.contract, clock.now())
            return _replay(account, taken.contract, taken.same_body), True
        return self._create(account, contract, deadline), False

    def _reserve(
        self, account: Account, contract: Contract, request: ContractRequest, deadline: Deadline
    ) -> ContractConflict | DailyLimitReached | None:
        taken = self._journal.create(contract, request.body_hash, account.max_stamps_per_day)
        if (
            not isinstance(taken, ContractConflict)
            or taken.by_key
            or not taken.contract.awaits_count
        ):
            return taken
        # A confirmed contract of the issuer, not yet seen in a count: the next count may show it.
        counted = self._recount(account, taken.contract, request.caller, deadline)
        if counted.holds_issuer:
            return replace(taken, contract=counted)
        publish_pending_events(self._journal, self._bus, counted)
        return self._journal.create(contract, request.body_hash, account.max_stamps_per_day)

    def _recount(
        self, account: Account, contract: Contract, caller: str, deadline: Deadline
    ) -> Contract:
        """Count a confirmed contract's issuer; return the contract as the journal has it then."""
        try:
            trace = self._access.client(account, login=contract.login).trace(contract, deadline)
        except Exception as error:
            # The contract stands whether or not it can be counted; the reconciler tries again.
            logger.warning("the count after a contract failed: %s", type(error).__name__)
            return contract
        after = contract.recount(clock.now(), caller, trace)
        if after.awaits_count:
            return contract
        if self._journal.save(contract, after):
            if trace.stamps is not None:
                record_observation(self._issuers, account, contract.rfc, trace.stamps)
            return after
        return self._journal.get(contract.account, contract.id) or contract

    def get(self, account_name: str, contract_id: str) -> Contract:
        """Return a contract. Raises ``contract-not-found``."""
        return self.get_with_history(account_name, contract_id)[0]

    def get_with_history(
        self, account_name: str, contract_id: str
    ) -> tuple[Contract, list[dict[str, Any]]]:
        """Return a contract and its steps, oldest first. Raises ``contract-not-found``."""
        name = parse_account_name(account_name)
        found = (
            self._journal.get_with_history(name, contract_id)
            if _ID.fullmatch(contract_id)
            else None
        )
        if found is None:
            # A contract outlives its account's secret; an account without contracts needs one.
            self._access.require_account(name, "contracts")
            raise TimbresError(
                CONTRACT_NOT_FOUND, f"Account {name} has no such contract.", field="id"
            )
        return found

    def settle(
        self, account_name: str, contract_id: str, outcome: str, reason: str, caller: str
    ) -> Contract:
        """Settle a contract under review as a person decided; the journal keeps who and why.

        Raises ``contract-not-found``, or ``contract-not-under-review`` in any other state.
        """
        contract = self.get(account_name, contract_id)
        settled = None
        if contract.status == rules.NEEDS_REVIEW:
            settled = contract.settle(clock.now(), outcome, caller, reason)
        if settled is None or not self._journal.save(contract, settled):
            now = self.get(account_name, contract_id)
            raise TimbresError(
                CONTRACT_NOT_UNDER_REVIEW,
                f"Contract {contract_id} is {now.status}; only one that needs a review can be "
                "settled by hand.",
                extensions={"contract": contract_to_dict(now)},
            )
        metrics.add_count("Contracts", status=settled.status)
        logger.info("contract settled by hand", extra=log_context(settled))
        publish_pending_events(self._journal, self._bus, settled)
        return settled

    def list_page(
        self,
        account_name: str,
        rfc: Rfc | None,
        status: str | None,
        after: str | None,
        deadline: Deadline,
    ) -> tuple[list[Contract], str | None]:
        """Return contracts of an account, newest first, and the cursor of the rest or None."""
        name = parse_account_name(account_name)
        contracts, rest = self._journal.list_page(name, rfc, status, after, deadline)
        if not contracts:
            self._access.require_account(name, "contracts")
        return contracts, rest

    def _create(self, account: Account, contract: Contract, deadline: Deadline) -> Contract:
        before = None
        try:
            before = self._access.client(account, login=contract.login).stamps(
                contract.rfc, deadline
            )
        except TimbresError as error:
            if not (error.problem_type.issuer_unknown and account.pac.creates_issuers):
                raise self._reject(contract, error) from None
        # The count before may have found the secret renewed.
        account = self._access.current(account)
        if account.login != contract.login:
            raise self._reject(contract, login_changed_error(account)) from None
        sent = contract.mark_sent(clock.now(), before)
        if not self._journal.save(contract, sent):
            # Withdrawn: the journal gave this function up before it had sent anything.
            withdrawn = self._journal.get(account.name, contract.id) or contract
            return _replay(account, withdrawn, same_body=True)
        try:
            receipt = self._access.client(account).create_contract(
                contract.rfc, contract.stamps, deadline
            )
        except TimbresError as error:
            if not error.problem_type.may_have_taken_effect:
                raise self._reject(sent, error) from None
            return self._mark_unknown(sent, error)
        except Exception:
            logger.exception("a purchase ended in an error of ours", extra=log_context(contract))
            return self._mark_unknown(
                sent, TimbresError(PROTOCOL_ERROR, "The purchase was sent; its end is not known.")
            )
        return self._confirm(account, sent, receipt, deadline)

    def _confirm(
        self, account: Account, sent: Contract, receipt: Receipt, deadline: Deadline
    ) -> Contract:
        confirmed = sent.confirm(clock.now(), receipt.code, receipt.message)
        written = self._save(sent, confirmed)
        if written is not confirmed:
            return written
        logger.info("contract confirmed", extra=log_context(confirmed))
        try:
            counted = self._recount(account, confirmed, confirmed.requested_by, deadline)
        except Exception as error:
            # Confirmed is confirmed, though the journal could not be written once more.
            logger.warning("the count after a contract was not kept: %s", type(error).__name__)
            counted = confirmed
        publish_pending_events(self._journal, self._bus, counted)
        return counted

    def _mark_unknown(self, sent: Contract, error: TimbresError) -> Contract:
        doubted = sent.mark_unknown(
            clock.now(),
            sent.requested_by,
            Rejection.from_error(error),
            *_pac_code_and_message(error),
        )
        written = self._save(sent, doubted)
        if written is doubted:
            logger.warning("contract unknown: %s", error.detail, extra=log_context(doubted))
            publish_pending_events(self._journal, self._bus, doubted)
        return written

    def _save(self, sent: Contract, after: Contract) -> Contract:
        """Write what became of a purchase; return the contract as the journal has it.

        When the journal cannot be written it stays pending there, and sent: true, too.
        """
        try:
            if self._journal.save(sent, after):
                metrics.add_count("Contracts", status=after.status)
                return after
            return self._journal.get(sent.account, sent.id) or sent
        except Exception as error:
            logger.error(
                "%s could not be written to the journal: %s",
                after.status,
                type(error).__name__,
                extra=log_context(after),
            )
            return sent

    def _reject(self, contract: Contract, error: TimbresError) -> TimbresError:
        """Write that nothing was bought, and why; return what the caller is told."""
        told = _finalize_rejection(error, contract)
        refused = contract.reject(
            clock.now(), Rejection.from_error(told), *_pac_code_and_message(told)
        )
        self._journal.save(contract, refused)
        metrics.add_count("Contracts", status=refused.status)
        logger.info("contract rejected: %s", told.detail, extra=log_context(refused))
        return told

    def _over_limit(self, account: Account, request: ContractRequest) -> Contract:
        # A limit lowered since does not change what a key stands for.
        taken = self._journal.find_by_key(account.name, request.key, request.body_hash)
        if taken is not None:
            return _replay(account, taken.contract, taken.same_body)
        raise TimbresError(
            CONTRACT_LIMIT_EXCEEDED,
            f"{request.stamps:,} stamps are more than account {account.name} allows one contract "
            f"to buy: {account.max_stamps_per_contract:,} (max_stamps_per_contract).",
            field="stamps",
        )


def _replay(account: Account, contract: Contract, same_body: bool) -> Contract:
    if not same_body:
        raise TimbresError(
            IDEMPOTENCY_KEY_REUSED,
            f"This Idempotency-Key stands for contract {contract.id}: {contract.stamps} stamps "
            f"for {contract.rfc}. Send another key with another body.",
            field="Idempotency-Key",
            extensions={"contract": contract_to_dict(contract)},
        )
    if contract.status == rules.PENDING:
        raise TimbresError(
            CONTRACT_PENDING,
            f"Contract {contract.id} is on its way; ask again with the same key.",
            extensions={"contract": contract_to_dict(contract)},
        )
    if contract.status == rules.REJECTED and contract.rejection is not None:
        rejection = contract.rejection
        kind = ProblemType(rejection.code, rejection.title)
        raise PacError(
            kind,
            rejection.detail,
            pac=account.pac.name,
            pac_code=contract.pac_code,
            pac_message=contract.pac_message,
            extensions={"contract": {"id": contract.id, "status": contract.status}},
        )
    return contract


def _daily_limit_error(
    account: Account, request: ContractRequest, full: DailyLimitReached
) -> TimbresError:
    return TimbresError(
        DAILY_LIMIT_EXCEEDED,
        f"{request.stamps:,} stamps are more than account {account.name} may still buy today: "
        f"{full.requested:,} of {account.max_stamps_per_day:,} (max_stamps_per_day) are ordered.",
        field="stamps",
    )


def _in_flight_error(first: Contract, now: datetime) -> TimbresError:
    if first.awaits_count:
        visible = (first.settled_at or now) + READ_LAG
        wait = math.ceil((visible - now).total_seconds()) if visible > now else 60
        return TimbresError(
            replace(CONTRACT_IN_FLIGHT, retry_after=wait),
            f"Contract {first.id} of {first.rfc} is confirmed, and the PAC's count does not "
            f"include its {first.stamps:,} stamps yet. Until it does, a count proves nothing of "
            "another contract.",
            extensions={"contract": contract_to_dict(first)},
        )
    return TimbresError(
        CONTRACT_IN_FLIGHT,
        f"Contract {first.id} of {first.rfc} is {first.status}: {first.stamps:,} stamps that may "
        "yet be allotted. Another can follow once it is settled.",
        extensions={"contract": contract_to_dict(first)},
    )


def _finalize_rejection(error: TimbresError, contract: Contract) -> TimbresError:
    """Return ``error`` as the response to a contract that is rejected for good."""
    return error.changed(
        detail=f"{error.detail} Nothing was bought; trying again takes a new Idempotency-Key.",
        # To wait is of no use: this key is answered so for ever.
        problem_type=replace(error.problem_type, retry_after=None),
        extensions=error.extensions | {"contract": {"id": contract.id, "status": rules.REJECTED}},
    )


def _pac_code_and_message(error: TimbresError) -> tuple[str | None, str | None]:
    if isinstance(error, PacError):
        return error.pac_code, error.pac_message
    return None, None
