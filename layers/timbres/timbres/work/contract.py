"""Contract: stamps bought for one issuer, once for one Idempotency-Key.

The order of the steps is the point: the journal first, then the count, then the mark that
the purchase is on its way, then the one request, then what became of it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from timbres.aws.bus import Bus
from timbres.aws.issuers import Issuers
from timbres.aws.journal import DayFull, Journal
from timbres.deadline import Deadline
from timbres.domain import clock
from timbres.domain import contract as rules
from timbres.domain.account import Account
from timbres.domain.contract import RECONCILER, SETTLING, Contract, Refusal, opened
from timbres.domain.rfc import Rfc
from timbres.errors import (
    CONTRACT_IN_FLIGHT,
    CONTRACT_NOT_UNDER_REVIEW,
    CONTRACT_PENDING,
    CONTRACT_UNKNOWN,
    DAY_OVER_LIMIT,
    IDEMPOTENCY_KEY_REUSED,
    STAMPS_OVER_LIMIT,
    Kind,
    PacError,
    TimbresError,
)
from timbres.pacs.base import Reply
from timbres.pacs.codes import PROTOCOL
from timbres.tally import NONE, tally
from timbres.work.access import Access
from timbres.work.stamp_count import remember

log = logging.getLogger("timbres")

_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Order:
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


class Contracts:
    """Buys stamps, each order once, and keeps the journal of it.

    ``access`` leads to accounts and their PACs; what is settled is told on ``bus``.
    """

    def __init__(self, access: Access, journal: Journal, issuers: Issuers, bus: Bus) -> None:
        self._access = access
        self._journal = journal
        self._issuers = issuers
        self._bus = bus

    def buy(self, account_name: str, order: Order, deadline: Deadline) -> tuple[Contract, bool]:
        """Buy stamps, or return the contract that the key stands for already (then True).

        The contract returned is confirmed, or may have been bought (unknown, or pending
        when the journal could not be written) and is not sent again. One that was refused
        raises its error, again each time it is asked for. Raises with no call to the PAC:
        ``stamps-over-limit``, ``day-over-limit``, ``idempotency-key-reused``,
        ``contract-pending``, ``contract-in-flight``.
        """
        account = self._access.account(account_name, "contracts")
        if order.stamps > account.max_stamps_per_contract:
            return self._over_limit(account, order), True
        contract = opened(
            account.name, order.rfc, order.stamps, order.caller, order.key, clock.now()
        )
        taken = self._journal.open(contract, order.body_hash, account.max_stamps_per_day)
        if isinstance(taken, DayFull):
            raise _day_full(account, order, taken)
        if taken is not None:
            if not taken.by_key:
                raise _in_flight(taken.contract)
            return _again(account, taken.contract, taken.same_body), True
        return self._carry_out(account, contract, deadline), False

    def get(self, account_name: str, contract_id: str) -> Contract:
        """Return a contract. Raises ``contract-not-found``."""
        return self.told(account_name, contract_id)[0]

    def told(self, account_name: str, contract_id: str) -> tuple[Contract, list[dict[str, Any]]]:
        """Return a contract and its steps, oldest first. Raises ``contract-not-found``."""
        account = self._access.account(account_name, "contracts")
        found = (
            self._journal.told(account.name, contract_id) if _ID.fullmatch(contract_id) else None
        )
        if found is None:
            raise TimbresError(
                CONTRACT_UNKNOWN, f"Account {account.name} has no such contract.", field="id"
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
        if settled is None or not self._journal.record(contract, settled):
            now = self.get(account_name, contract_id)
            raise TimbresError(
                CONTRACT_NOT_UNDER_REVIEW,
                f"Contract {contract_id} is {now.status}; only one that needs a review can be "
                "settled by hand.",
                members={"contract": shown(now)},
            )
        tally.count("Contracts", status=settled.status)
        log.info("contract settled by hand", extra=_named(settled))
        announce(self._journal, self._bus, settled)
        return settled

    def page(
        self, account_name: str, rfc: Rfc | None, status: str | None, after: str | None
    ) -> dict[str, Any]:
        """Return the contracts of an account, newest first, as the API lists them."""
        account = self._access.account(account_name, "contracts")
        contracts, rest = self._journal.page(account.name, rfc, status, after)
        return {"contracts": [shown(contract) for contract in contracts], "next": rest}

    def _carry_out(self, account: Account, contract: Contract, deadline: Deadline) -> Contract:
        try:
            before = self._access.read(account, lambda pac: pac.stamps(contract.rfc, deadline))
            contracted_before = before.contracted
        except TimbresError as error:
            if not _issuer_new(error):
                raise self._refused(contract, error) from None
            contracted_before = None
        # The count before may have found the secret renewed.
        account = self._access.current(account)
        sent = contract.send(clock.now(), contracted_before)
        if not self._journal.record(contract, sent):
            # Withdrawn: the journal gave this function up before it had sent anything.
            withdrawn = self._journal.get(account.name, contract.id) or contract
            return _again(account, withdrawn, same_body=True)
        try:
            reply = self._access.once(
                account, lambda pac: pac.buy(contract.rfc, contract.stamps, deadline)
            )
        except TimbresError as error:
            if not error.kind.may_have_taken_effect:
                raise self._refused(sent, error) from None
            return self._doubt(sent, error)
        except Exception:
            log.exception("a purchase ended in an error of ours", extra=_named(contract))
            return self._doubt(
                sent, TimbresError(PROTOCOL, "The purchase was sent; its end is not known.")
            )
        return self._confirm(account, sent, reply, deadline)

    def _confirm(
        self, account: Account, sent: Contract, reply: Reply, deadline: Deadline
    ) -> Contract:
        words = account.without_credentials(reply.message) if reply.message else None
        confirmed = sent.confirm(clock.now(), reply.code, words)
        written = self._write(sent, confirmed)
        if written is not confirmed:
            return written
        log.info("contract confirmed", extra=_named(confirmed))
        counted = confirmed
        try:
            stamps = self._access.read(account, lambda pac: pac.stamps(confirmed.rfc, deadline))
            counted = confirmed.count(clock.now(), stamps.contracted)
            self._journal.record(confirmed, counted)
            remember(self._issuers, account, confirmed.rfc, stamps)
        except Exception as error:
            # The purchase stands whether or not it could be counted afterwards.
            log.warning("the count after a purchase failed: %s", type(error).__name__)
        announce(self._journal, self._bus, counted)
        return counted

    def _doubt(self, sent: Contract, error: TimbresError) -> Contract:
        doubted = sent.doubt(clock.now(), sent.requested_by, _refusal(error), *_pac_words(error))
        written = self._write(sent, doubted)
        if written is doubted:
            log.warning("contract unknown: %s", error.detail, extra=_named(doubted))
            announce(self._journal, self._bus, doubted)
        return written

    def _write(self, sent: Contract, after: Contract) -> Contract:
        """Write what became of a purchase; return the contract as the journal has it.

        When the journal cannot be written it stays pending there, and sent: true, too.
        """
        try:
            if self._journal.record(sent, after):
                tally.count("Contracts", status=after.status)
                return after
            return self._journal.get(sent.account, sent.id) or sent
        except Exception as error:
            log.error(
                "%s could not be written to the journal: %s",
                after.status,
                type(error).__name__,
                extra=_named(after),
            )
            return sent

    def _refused(self, contract: Contract, error: TimbresError) -> TimbresError:
        """Write that nothing was bought, and why; return what the caller is told."""
        told = _final(error, contract)
        refused = contract.refuse(clock.now(), _refusal(told), *_pac_words(told))
        self._journal.record(contract, refused)
        tally.count("Contracts", status=refused.status)
        log.info("contract rejected: %s", told.detail, extra=_named(refused))
        return told

    def _over_limit(self, account: Account, order: Order) -> Contract:
        # A limit lowered since does not change what a key stands for.
        taken = self._journal.by_key(account.name, order.key, order.body_hash)
        if taken is not None:
            return _again(account, taken.contract, taken.same_body)
        raise TimbresError(
            STAMPS_OVER_LIMIT,
            f"{order.stamps:,} stamps are more than account {account.name} allows one contract "
            f"to buy: {account.max_stamps_per_contract:,} (max_stamps_per_contract).",
            field="stamps",
        )


class Reconciler:
    """Finds out what became of contracts that their own function did not see to an end.

    ``settling`` is how long an unchanged count has to stand before it counts as a no.
    """

    def __init__(
        self, access: Access, journal: Journal, bus: Bus, settling: timedelta = SETTLING
    ) -> None:
        self._access = access
        self._journal = journal
        self._bus = bus
        self._settling = settling

    def run(self, deadline: Deadline) -> dict[str, int]:
        """Look at every contract that is due; return how many are in which state afterwards.

        It only ever reads at the PAC. One contract's failure stops no other.
        """
        states: dict[str, int] = {}
        for account, contract_id in self._journal.due(clock.now()):
            if deadline.left() < 15:
                log.warning("the time did not reach every open contract")
                break
            try:
                status = self._look(account, contract_id, deadline)
            except Exception as error:
                log.exception(
                    "a contract could not be looked at: %s",
                    type(error).__name__,
                    extra={"account": account, "contract": contract_id},
                )
                status = "failed"
            states[status] = states.get(status, 0) + 1
        tally.measure("OldestOpenContractMinutes", self._oldest_minutes(), NONE)
        return states

    def _oldest_minutes(self) -> float:
        """Return how long ago the oldest contract was opened that is not settled or not told."""
        oldest = self._journal.oldest_open()
        return round((clock.now() - oldest.created_at).total_seconds() / 60, 1) if oldest else 0

    def _look(self, account: str, contract_id: str, deadline: Deadline) -> str:
        contract = self._journal.get(account, contract_id)
        now = clock.now()
        # The index lags a little behind the journal.
        if contract is None or not contract.open or (contract.look_at or now) > now:
            return "not due"
        before = contract.status
        if contract.status == rules.PENDING:
            contract = self._take_over(contract, now)
        if contract is not None and contract.status == rules.UNKNOWN:
            contract = self._judge(contract, deadline)
        if contract is None:
            return "changed meanwhile"
        if contract.status != before:
            tally.count("Contracts", status=contract.status)
        announce(self._journal, self._bus, contract)
        return contract.status

    def _take_over(self, contract: Contract, now: datetime) -> Contract | None:
        if contract.sent_at is None:
            after = contract.withdraw(now)
        else:
            after = contract.doubt(
                now,
                RECONCILER,
                _refusal(
                    TimbresError(PROTOCOL, "The function ended before the PAC's answer was kept.")
                ),
            )
        return after if self._journal.record(contract, after) else None

    def _judge(self, contract: Contract, deadline: Deadline) -> Contract | None:
        contracted, problem = None, "the PAC did not tell the stamps contracted"
        try:
            contracted = self._contracted(contract, deadline)
        except TimbresError as error:
            problem = error.detail
        after = contract.judge(clock.now(), contracted, problem, self._settling)
        if not self._journal.record(contract, after):
            return None
        log.info("contract looked at: %s", after.note, extra=_named(after))
        return after

    def _contracted(self, contract: Contract, deadline: Deadline) -> int | None:
        account = self._access.account(contract.account, "contracts")
        stamps = self._access.read(account, lambda pac: pac.stamps(contract.rfc, deadline))
        return stamps.contracted


def announce(journal: Journal, bus: Bus, contract: Contract) -> None:
    """Publish what is still to be told of a contract's state, and note that it was.

    What fails here is in the index of open contracts, and told by the reconciler later; it
    may so be told twice, and never not at all.
    """
    if contract.event is None:
        return
    try:
        bus.publish(contract.event, shown(contract))
        journal.announced(contract)
    except Exception as error:
        log.error(
            "%s was not published: %s",
            contract.event,
            type(error).__name__,
            extra=_named(contract),
        )


def shown(contract: Contract) -> dict[str, Any]:
    """Return a contract as the API shows it."""
    pac = None
    if contract.pac_code is not None or contract.pac_message is not None:
        pac = {"code": contract.pac_code, "message": contract.pac_message}
    return {
        "id": contract.id,
        "account": contract.account,
        "rfc": contract.rfc,
        "stamps": contract.stamps,
        "status": contract.status,
        "contracted_before": contract.contracted_before,
        "contracted_after": contract.contracted_after,
        "requested_by": contract.requested_by,
        "idempotency_key": contract.idempotency_key,
        "created_at": contract.created_at.isoformat(),
        "settled_at": contract.settled_at.isoformat() if contract.settled_at else None,
        "attempts": contract.attempts,
        "pac": pac,
        "error": (
            {"code": contract.refusal.code, "detail": contract.refusal.detail}
            if contract.refusal
            else None
        ),
    }


def _again(account: Account, contract: Contract, same_body: bool) -> Contract:
    if not same_body:
        raise TimbresError(
            IDEMPOTENCY_KEY_REUSED,
            f"This Idempotency-Key stands for contract {contract.id}: {contract.stamps} stamps "
            f"for {contract.rfc}. Send another key with another body.",
            field="Idempotency-Key",
            members={"contract": shown(contract)},
        )
    if contract.status == rules.PENDING:
        raise TimbresError(
            CONTRACT_PENDING,
            f"Contract {contract.id} is on its way; ask again with the same key.",
            members={"contract": shown(contract)},
        )
    if contract.status == rules.REJECTED and contract.refusal is not None:
        refusal = contract.refusal
        kind = Kind(refusal.code, refusal.status, refusal.title)
        told = PacError(
            kind,
            refusal.detail,
            pac=account.pac.name,
            pac_code=contract.pac_code,
            pac_message=contract.pac_message,
        )
        told.members["contract"] = {"id": contract.id, "status": contract.status}
        raise told
    return contract


def _day_full(account: Account, order: Order, full: DayFull) -> TimbresError:
    return TimbresError(
        DAY_OVER_LIMIT,
        f"{order.stamps:,} stamps are more than account {account.name} may still buy today: "
        f"{full.ordered:,} of {account.max_stamps_per_day:,} (max_stamps_per_day) are ordered.",
        field="stamps",
    )


def _in_flight(first: Contract) -> TimbresError:
    return TimbresError(
        CONTRACT_IN_FLIGHT,
        f"Contract {first.id} of {first.rfc} is {first.status}: {first.stamps} stamps that may "
        "yet be bought. Another can follow once it is settled.",
        members={"contract": shown(first)},
    )


def _issuer_new(error: TimbresError) -> bool:
    """Tell whether a count failed only because the PAC does not know the issuer yet."""
    return isinstance(error, PacError) and error.pac_code == "611"


def _final(error: TimbresError, contract: Contract) -> TimbresError:
    """Return ``error`` as the answer to an order that is refused for good."""
    error.detail += " Nothing was bought; trying again takes a new Idempotency-Key."
    # To wait is of no use: this key is answered so for ever.
    error.kind = replace(error.kind, retry_after=None)
    error.members["contract"] = {"id": contract.id, "status": rules.REJECTED}
    return error


def _refusal(error: TimbresError) -> Refusal:
    return Refusal(error.kind.code, error.kind.status, error.kind.title, error.detail)


def _pac_words(error: TimbresError) -> tuple[str | None, str | None]:
    if isinstance(error, PacError):
        return error.pac_code, error.pac_message
    return None, None


def _named(contract: Contract) -> dict[str, Any]:
    return {
        "account": contract.account,
        "rfc": contract.rfc,
        "contract": contract.id,
        "status": contract.status,
        "pac_code": contract.pac_code,
    }
