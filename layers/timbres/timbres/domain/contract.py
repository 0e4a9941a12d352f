"""Contract: a purchase of stamps for one issuer, and the states it goes through.

::

                ┌─> rejected        the PAC said no, or nothing was sent
    pending ────┼─> confirmed       the PAC said 200, or the count proves it
                └─> unknown ──> confirmed | rejected | needs-review

Every step has a name and leads from where :data:`STEPS` says; another raises. A contract
is a value: a step returns the next one, and whoever keeps contracts writes it only over the
version it was made from. A pending contract with ``sent_at`` may have been bought; without
it, nothing was sent.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from timbres.domain.rfc import Rfc, shown
from timbres.errors import PARAMETER_INVALID, TimbresError

PENDING = "pending"
CONFIRMED = "confirmed"
REJECTED = "rejected"
UNKNOWN = "unknown"
NEEDS_REVIEW = "needs-review"
STATES = (PENDING, CONFIRMED, REJECTED, UNKNOWN, NEEDS_REVIEW)
SETTLED = frozenset({CONFIRMED, REJECTED})

# name: (from, to)
STEPS: dict[str, tuple[str | None, str]] = {
    "open": (None, PENDING),
    "send": (PENDING, PENDING),
    "confirm": (PENDING, CONFIRMED),
    "refuse": (PENDING, REJECTED),
    "withdraw": (PENDING, REJECTED),
    "doubt": (PENDING, UNKNOWN),
    "count": (CONFIRMED, CONFIRMED),
    "look": (UNKNOWN, UNKNOWN),
    "prove": (UNKNOWN, CONFIRMED),
    "disprove": (UNKNOWN, REJECTED),
    "give-up": (UNKNOWN, NEEDS_REVIEW),
    "settle-confirmed": (NEEDS_REVIEW, CONFIRMED),
    "settle-rejected": (NEEDS_REVIEW, REJECTED),
}

# No function lives this long; a contract still pending then has lost its own.
OVERDUE_AFTER = timedelta(minutes=2)
# Longer than a PAC takes over a request that it still holds when the connection is gone.
SETTLING = timedelta(minutes=30)
# After a day without proof, more looking brings none.
GIVE_UP_AFTER = timedelta(hours=24)
_FIRST_PAUSE = timedelta(minutes=1)
_LONGEST_PAUSE = timedelta(hours=1)

# Who takes the steps that no caller asked for.
RECONCILER = "reconciler"


class IllegalStepError(Exception):
    """A contract was to take a step that does not lead from where it stands."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a contract did not come about, kept so that it can be told again."""

    code: str
    status: int
    title: str
    detail: str


@dataclass(frozen=True, slots=True)
class Contract:
    """One purchase.

    ``contracted_before`` and ``contracted_after`` are the PAC's counts for the issuer in
    stamps, None where they are not known. ``requested_by`` is an IAM ARN. ``pac_code`` and
    ``pac_message`` are the PAC's own words. ``step``, ``at``, ``by`` and ``note`` tell of
    the last step; ``version`` counts them. ``look_at`` is when the reconciler looks next,
    ``attempts`` how often it has; ``announced`` is the state last published.
    """

    id: str
    account: str
    rfc: Rfc
    stamps: int
    status: str
    requested_by: str
    idempotency_key: str
    created_at: datetime
    step: str
    at: datetime
    by: str
    version: int = 0
    note: str | None = None
    sent_at: datetime | None = None
    settled_at: datetime | None = None
    contracted_before: int | None = None
    contracted_after: int | None = None
    pac_code: str | None = None
    pac_message: str | None = None
    refusal: Refusal | None = None
    attempts: int = 0
    look_at: datetime | None = None
    announced: str | None = None

    @property
    def event(self) -> str | None:
        """The event that is still to be published of this state, or None.

        A rejection is told only to those who were told of a doubt before.
        """
        if self.status in (PENDING, self.announced):
            return None
        if self.status == REJECTED and self.announced is None:
            return None
        return f"Contract {self.status.replace('-', ' ').title()}"

    @property
    def open(self) -> bool:
        """Whether the reconciler has something to do with it, now or later."""
        return self.status in (PENDING, UNKNOWN) or self.event is not None

    def send(self, at: datetime, contracted_before: int | None) -> Contract:
        """Return it as it is the moment before the PAC is asked, which is once.

        ``contracted_before`` is the issuer's count in stamps, None where there is none.
        Raises :class:`IllegalStepError` for one that was sent already.
        """
        if self.sent_at is not None:
            raise IllegalStepError(f"contract {self.id} was sent already")
        return self._step(
            "send",
            at,
            self.requested_by,
            sent_at=at,
            contracted_before=contracted_before,
            look_at=at + OVERDUE_AFTER,
        )

    def confirm(self, at: datetime, pac_code: str | None, pac_message: str | None) -> Contract:
        """Return it confirmed: the PAC said 200, in these words.

        Raises :class:`IllegalStepError` for one that was never sent.
        """
        self._must_be_sent()
        return self._step(
            "confirm",
            at,
            self.requested_by,
            settled_at=at,
            pac_code=pac_code,
            pac_message=pac_message,
        )

    def refuse(
        self,
        at: datetime,
        refusal: Refusal,
        pac_code: str | None = None,
        pac_message: str | None = None,
    ) -> Contract:
        """Return it rejected: the PAC said no, or nothing was sent; nothing was bought.

        ``refusal`` is what the caller is told, now and whenever the key comes again.
        """
        return self._step(
            "refuse",
            at,
            self.requested_by,
            note=refusal.detail,
            settled_at=at,
            refusal=refusal,
            pac_code=pac_code,
            pac_message=pac_message,
        )

    def withdraw(self, at: datetime) -> Contract:
        """Return it rejected: its function died before anything was sent.

        Raises :class:`IllegalStepError` for one that was sent.
        """
        if self.sent_at is not None:
            raise IllegalStepError(f"contract {self.id} was sent and cannot be withdrawn")
        refusal = _not_bought("It was never sent to the PAC.")
        return self._step(
            "withdraw", at, RECONCILER, note=refusal.detail, settled_at=at, refusal=refusal
        )

    def doubt(
        self,
        at: datetime,
        by: str,
        refusal: Refusal,
        pac_code: str | None = None,
        pac_message: str | None = None,
    ) -> Contract:
        """Return it unknown: it was sent, and what became of it is not known.

        ``by`` is who found that out; ``refusal`` says what went wrong. The reconciler looks
        at it first after a short pause. Raises :class:`IllegalStepError` unless it was sent.
        """
        self._must_be_sent()
        return self._step(
            "doubt",
            at,
            by,
            note=refusal.detail,
            refusal=refusal,
            pac_code=pac_code,
            pac_message=pac_message,
            look_at=at + _FIRST_PAUSE,
        )

    def count(self, at: datetime, contracted: int | None) -> Contract:
        """Return it with the issuer's count in stamps that followed a confirmed purchase."""
        return self._step("count", at, self.requested_by, contracted_after=contracted)

    def judge(
        self,
        at: datetime,
        contracted: int | None,
        problem: str | None = None,
        settling: timedelta = SETTLING,
    ) -> Contract:
        """Take the step that a new count of the issuer's stamps leads to.

        ``contracted`` is that count, None when there is none (then ``problem`` says why).
        Grown by exactly the stamps bought: confirmed. Unchanged for ``settling`` since it was
        sent: rejected. Changed otherwise, or a day without a count: needs-review. Else it is
        looked at again, after a pause that doubles up to an hour.
        """
        before, sent_at = self.contracted_before, self._must_be_sent()
        settled = at - sent_at >= settling
        if before is not None and contracted is not None:
            counts = f"contracted was {before:,} before and is {contracted:,} now"
            if contracted == before + self.stamps:
                return self._step(
                    "prove",
                    at,
                    RECONCILER,
                    note=counts,
                    settled_at=at,
                    contracted_after=contracted,
                    refusal=None,
                )
            if contracted != before:
                return self._step("give-up", at, RECONCILER, note=counts, look_at=at)
            if settled:
                refusal = _not_bought(f"The PAC's count has not changed: {counts}.")
                return self._step(
                    "disprove",
                    at,
                    RECONCILER,
                    note=counts,
                    settled_at=at,
                    contracted_after=contracted,
                    refusal=refusal,
                )
            problem = counts
        elif before is None:
            problem = "the count before the purchase is not known"
            if settled:
                return self._step("give-up", at, RECONCILER, note=problem, look_at=at)
        if at - sent_at >= GIVE_UP_AFTER:
            return self._step("give-up", at, RECONCILER, note=problem, look_at=at)
        return self._step(
            "look",
            at,
            RECONCILER,
            note=problem,
            attempts=self.attempts + 1,
            look_at=self._next_look(at, sent_at + settling),
        )

    def settle(self, at: datetime, outcome: str, by: str, reason: str) -> Contract:
        """A person decided what the counts could not; ``outcome`` is confirmed or rejected."""
        if outcome == CONFIRMED:
            return self._step(
                "settle-confirmed", at, by, note=reason, settled_at=at, refusal=None, look_at=at
            )
        return self._step(
            "settle-rejected",
            at,
            by,
            note=reason,
            settled_at=at,
            refusal=_not_bought(f"Settled by hand: {reason}"),
            look_at=at,
        )

    def _next_look(self, at: datetime, settled_at: datetime) -> datetime:
        doubled: timedelta = _FIRST_PAUSE * (1 << min(self.attempts + 1, 10))
        pause = min(doubled, _LONGEST_PAUSE)
        # Not later than the moment at which an unchanged count means something.
        return at + pause if settled_at <= at else min(at + pause, settled_at)

    def _must_be_sent(self) -> datetime:
        if self.sent_at is None:
            raise IllegalStepError(f"contract {self.id} was never sent")
        return self.sent_at

    def _step(self, name: str, at: datetime, by: str, **changes: Any) -> Contract:
        start, end = STEPS[name]
        if self.status != start:
            raise IllegalStepError(f"a contract that is {self.status} cannot {name}")
        changes = {"note": None, "look_at": self.look_at, **changes}
        return replace(
            self, status=end, step=name, at=at, by=by, version=self.version + 1, **changes
        )


def opened(account: str, rfc: Rfc, stamps: int, by: str, key: str, at: datetime) -> Contract:
    """Return a new contract, pending: the first step. ``key`` is its Idempotency-Key."""
    return Contract(
        id=new_id(),
        account=account,
        rfc=rfc,
        stamps=stamps,
        status=STEPS["open"][1],
        requested_by=by,
        idempotency_key=key,
        created_at=at,
        step="open",
        at=at,
        by=by,
        look_at=at + OVERDUE_AFTER,
    )


def new_id() -> str:
    """Return a new id, 32 hexadecimal digits, that sorts by the millisecond it was made in."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def first_id(at: datetime) -> str:
    """Return the text that ids made at ``at`` or later do not sort before."""
    return f"{int(at.timestamp() * 1000):012x}"


def parse_state(value: str) -> str:
    """Return a state of contracts. Raises ``parameter-invalid``."""
    if value not in STATES:
        raise TimbresError(
            PARAMETER_INVALID,
            f"{shown(value)} is no state of a contract: expected one of {', '.join(STATES)}.",
            field="status",
        )
    return value


def parse_outcome(value: object) -> str:
    """Return what a settlement says became of a contract. Raises ``parameter-invalid``."""
    if not isinstance(value, str) or value not in SETTLED:
        raise TimbresError(
            PARAMETER_INVALID,
            f"{shown(value)} is no outcome: expected one of {', '.join(sorted(SETTLED))}.",
            field="outcome",
        )
    return value


def parse_reason(value: object) -> str:
    """Return a settlement's reason, 10 to 500 characters. Raises ``parameter-invalid``."""
    text = " ".join(value.split()) if isinstance(value, str) else ""
    if not 10 <= len(text) <= 500 or not text.isprintable():
        raise TimbresError(
            PARAMETER_INVALID,
            "The reason is kept in the journal: expected 10 to 500 printable characters, "
            "such as what the PAC's portal shows.",
            field="reason",
        )
    return text


def _not_bought(why: str) -> Refusal:
    return Refusal(
        "contract-not-bought",
        409,
        "The stamps were not bought",
        f"{why} Buying them takes a new Idempotency-Key.",
    )
