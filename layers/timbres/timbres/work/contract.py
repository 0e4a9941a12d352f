"""Contract: stamps bought for one issuer, once for one Idempotency-Key.

The order of the steps is the point: the journal first, then the count, then the mark that
the purchase is on its way, then the one request, then what became of it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from dataclasses import dataclass
from typing import Any

from timbres.aws.bus import Bus
from timbres.aws.issuers import Issuers
from timbres.aws.journal import Journal
from timbres.deadline import Deadline
from timbres.domain import clock
from timbres.domain import contract as states
from timbres.domain.account import Account
from timbres.domain.contract import Contract, Refusal, new_id
from timbres.domain.rfc import Rfc
from timbres.errors import (
    CONTRACT_IN_FLIGHT,
    CONTRACT_PENDING,
    CONTRACT_UNKNOWN,
    IDEMPOTENCY_KEY_REUSED,
    Kind,
    PacError,
    TimbresError,
)
from timbres.pacs.base import PacClient, Reply
from timbres.pacs.codes import PROTOCOL
from timbres.work.access import Access

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
    """Buys stamps and keeps the journal of it."""

    def __init__(self, access: Access, journal: Journal, issuers: Issuers, bus: Bus) -> None:
        self._access = access
        self._journal = journal
        self._issuers = issuers
        self._bus = bus

    def buy(self, account_name: str, order: Order, deadline: Deadline) -> tuple[Contract, bool]:
        """Buy stamps, or return the contract that the key stands for already (then True).

        The contract returned is confirmed, or unknown: then it may have been bought, and
        is not sent again. One that was refused raises its error, again each time it is
        asked for. Raises ``idempotency-key-reused``, ``contract-pending`` and
        ``contract-in-flight`` with no call to the PAC.
        """
        account = self._access.account(account_name, "contracts")
        at = clock.now()
        contract = Contract(
            id=new_id(at),
            account=account.name,
            rfc=order.rfc,
            stamps=order.stamps,
            status=states.PENDING,
            requested_by=order.caller,
            created_at=at,
        )
        taken = self._journal.open(contract, order.key, order.body_hash)
        if taken is not None:
            if not taken.by_key:
                raise _in_flight(taken.contract)
            return _again(account, taken.contract, taken.same_body), True
        return self._carry_out(account, contract, deadline), False

    def get(self, account_name: str, contract_id: str) -> Contract:
        """Return a contract. Raises ``contract-not-found``."""
        account = self._access.account(account_name, "contracts")
        contract = (
            self._journal.get(account.name, contract_id) if _ID.fullmatch(contract_id) else None
        )
        if contract is None:
            raise TimbresError(
                CONTRACT_UNKNOWN, f"Account {account.name} has no such contract.", field="id"
            )
        return contract

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
                self._refuse(contract, error)
                raise _with_contract(error, contract) from None
            contracted_before = None
        # As the secret stands now: the count before may have found it renewed.
        pac = self._access.client(self._access.accounts.get(account.name))
        sending = contract.sending(clock.now(), contracted_before)
        if not self._journal.record(contract, sending, clock.now()):
            raise RuntimeError("the contract was settled by somebody else before it was sent")
        try:
            reply = pac.buy(contract.rfc, contract.stamps, deadline)
        except TimbresError as error:
            if not error.kind.may_have_taken_effect:
                self._refuse(sending, error)
                raise _with_contract(error, contract) from None
            return self._doubt(sending, error)
        except Exception:
            log.exception("a purchase ended in an error of ours", extra=_named(contract))
            return self._doubt(
                sending, TimbresError(PROTOCOL, "The purchase was sent; its end is not known.")
            )
        return self._confirm(pac, sending, reply, deadline)

    def _confirm(
        self, pac: PacClient, sending: Contract, reply: Reply, deadline: Deadline
    ) -> Contract:
        confirmed = sending.confirmed(clock.now(), reply.code, reply.message)
        settled = self._settle(sending, confirmed)
        if settled != confirmed:
            return settled
        log.info("contract confirmed", extra=_named(confirmed))
        counted = confirmed
        try:
            stamps = pac.stamps(confirmed.rfc, deadline)
            counted = confirmed.counted(stamps.contracted)
            self._journal.record(confirmed, counted, clock.now())
            self._issuers.counted(confirmed.account, confirmed.rfc, stamps, clock.now())
        except Exception as error:
            # The purchase stands whether or not it could be counted afterwards.
            log.warning("the count after a purchase failed: %s", _name(error))
        self._publish("Contract Confirmed", counted)
        return counted

    def _doubt(self, sending: Contract, error: TimbresError) -> Contract:
        unknown = sending.unknown(_refusal(error), *_pac_words(error))
        settled = self._settle(sending, unknown)
        if settled == unknown:
            log.warning("contract unknown: %s", error.detail, extra=_named(unknown))
            self._publish("Contract Unknown", unknown)
        return settled

    def _settle(self, sending: Contract, after: Contract) -> Contract:
        """Write what became of a purchase; return the contract as the journal has it.

        When the journal cannot be written it stays pending there, and sent: true, too.
        """
        try:
            if self._journal.record(sending, after, clock.now()):
                return after
            return self._journal.get(sending.account, sending.id) or sending
        except Exception as error:
            log.error(
                "%s could not be written to the journal: %s",
                after.status,
                _name(error),
                extra=_named(after),
            )
            return sending

    def _refuse(self, contract: Contract, error: TimbresError) -> None:
        rejected = contract.rejected(clock.now(), _refusal(error), *_pac_words(error))
        self._journal.record(contract, rejected, clock.now())
        log.info("contract rejected: %s", error.detail, extra=_named(rejected))

    def _publish(self, kind: str, contract: Contract) -> None:
        try:
            self._bus.publish(kind, shown(contract))
        except Exception as error:
            # What was bought is in the journal; a mail that is missing must not hide it.
            log.error("%s was not published: %s", kind, _name(error), extra=_named(contract))


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
        "created_at": contract.created_at.isoformat(),
        "settled_at": contract.settled_at.isoformat() if contract.settled_at else None,
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
    if contract.status == states.PENDING:
        raise TimbresError(
            CONTRACT_PENDING,
            f"Contract {contract.id} is on its way; ask again with the same key.",
            members={"contract": shown(contract)},
        )
    if contract.status == states.REJECTED and contract.refusal is not None:
        refusal = contract.refusal
        kind = Kind(refusal.code, refusal.status, refusal.title)
        raise _with_contract(
            PacError(
                kind,
                refusal.detail,
                pac=account.pac.name,
                pac_code=contract.pac_code,
                pac_message=contract.pac_message,
            ),
            contract,
        )
    return contract


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


def _with_contract(error: TimbresError, contract: Contract) -> TimbresError:
    error.members["contract"] = {"id": contract.id, "status": states.REJECTED}
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


def _name(error: Exception) -> str:
    return f"{type(error).__name__}"
