"""Contract: a purchase of stamps for one issuer, and the states it goes through.

::

                ┌─> rejected        the PAC said no, or nothing was sent
    pending ────┼─> confirmed       the PAC said 200, or a trace proves it
                └─> unknown ──> confirmed | rejected | needs-review

Every step has a name and leads from where :data:`STEPS` says; another raises. A contract
is a value: a step returns the next one, and the repository writes it only over the
version it was made from. A pending contract with ``sent_at`` may exist at the PAC; without
it, nothing was sent.

A trace, what the PAC's reads show of a contract, is evidence only if it is of the login that
the contract was sent with, and not younger than ``READ_LAG`` after the request.
"""

from __future__ import annotations

import secrets
import time
import unicodedata
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from timbres.domain.rfc import Rfc
from timbres.domain.stamps import Stamps
from timbres.domain.text import quote_input
from timbres.domain.trace import NO_CONTRACTED, NO_COUNT_BEFORE, Trace, Verdict
from timbres.errors import PARAMETER_INVALID, TimbresError


class ContractStatus(StrEnum):
    """The states of a contract."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    NEEDS_REVIEW = "needs-review"


PENDING, CONFIRMED, REJECTED, UNKNOWN, NEEDS_REVIEW = ContractStatus
STATES = tuple(ContractStatus)
SETTLED = frozenset({CONFIRMED, REJECTED})

# name: (from, to)
TRANSITIONS: dict[str, tuple[ContractStatus | None, ContractStatus]] = {
    "create": (None, PENDING),
    "send": (PENDING, PENDING),
    "confirm": (PENDING, CONFIRMED),
    "reject": (PENDING, REJECTED),
    "abandon": (PENDING, REJECTED),
    "mark-unknown": (PENDING, UNKNOWN),
    "count": (CONFIRMED, CONFIRMED),
    "recount": (CONFIRMED, CONFIRMED),
    "check": (UNKNOWN, UNKNOWN),
    "confirm-by-count": (UNKNOWN, CONFIRMED),
    "reject-by-count": (UNKNOWN, REJECTED),
    "escalate": (UNKNOWN, NEEDS_REVIEW),
    "settle-confirmed": (NEEDS_REVIEW, CONFIRMED),
    "settle-rejected": (NEEDS_REVIEW, REJECTED),
}

# No function lives this long; a contract still pending then has lost its own.
ABANDONED_AFTER = timedelta(minutes=2)
# Longer than a PAC takes over a request that it still holds when the connection is gone.
VERIFICATION_WINDOW = timedelta(minutes=30)
# After a day without proof, more looking brings none.
ESCALATE_AFTER = timedelta(hours=24)
# PACs show their own writes in their reads after 4 to 8 seconds, by field reports.
READ_LAG = timedelta(minutes=1)
_FIRST_PAUSE = READ_LAG
_MAX_PAUSE = timedelta(hours=1)

_EVENTS = {
    UNKNOWN: "Contract Outcome Unknown",
    NEEDS_REVIEW: "Contract Needs Review",
    CONFIRMED: "Contract Confirmed",
}
COUNT_MISMATCH = "Contract Count Mismatch Detected"

# Letters and symbols that nobody sees: Hangul fillers and the empty Braille pattern.
_BLANK = frozenset("\u115f\u1160\u3164\uffa0\u2800")

# Who takes the steps that no caller asked for.
RECONCILER = "reconciler"


class InvalidTransitionError(Exception):
    """A contract was to take a step that does not lead from where it stands."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a contract was rejected, stored so that a repeated request gets the same error."""

    code: str
    title: str
    detail: str

    @classmethod
    def from_error(cls, error: TimbresError) -> Rejection:
        """Return the refusal that tells of ``error``."""
        return cls(error.problem_type.code, error.problem_type.title, error.detail)


@dataclass(frozen=True, slots=True)
class Contract:
    """One contract: ``stamps`` allotted to ``rfc``.

    ``login`` is the fingerprint of the PAC login it was sent with. ``before`` and ``after``
    are the PAC's counts for the issuer, None where they are not known. ``requested_by`` is an
    IAM ARN. ``pac_code`` and ``pac_message`` are the PAC's own. ``step``, ``at``, ``by`` and
    ``note`` describe the last step; ``version`` counts the steps. ``look_at`` is when the
    reconciler looks next, ``attempts`` how often it has. ``awaits_count``: confirmed by the
    PAC, and no count includes it yet. ``warning`` says how the count contradicts the PAC's
    200. ``announced`` are the events published of it.
    """

    id: str
    account: str
    rfc: Rfc
    stamps: int
    status: ContractStatus
    requested_by: str
    idempotency_key: str
    created_at: datetime
    step: str
    at: datetime
    by: str
    login: str | None = None
    version: int = 0
    note: str | None = None
    sent_at: datetime | None = None
    settled_at: datetime | None = None
    before: Stamps | None = None
    after: Stamps | None = None
    pac_code: str | None = None
    pac_message: str | None = None
    rejection: Rejection | None = None
    attempts: int = 0
    next_check_at: datetime | None = None
    awaits_count: bool = False
    warning: str | None = None
    published_events: tuple[str, ...] = ()

    @classmethod
    def create(
        cls, account: str, login: str, rfc: Rfc, stamps: int, by: str, key: str, at: datetime
    ) -> Contract:
        """Return a new pending contract. ``key`` is its Idempotency-Key."""
        return cls(
            id=new_id(),
            account=account,
            login=login,
            rfc=rfc,
            stamps=stamps,
            status=PENDING,
            requested_by=by,
            idempotency_key=key,
            created_at=at,
            step="create",
            at=at,
            by=by,
            next_check_at=at + ABANDONED_AFTER,
        )

    @property
    def pending_events(self) -> tuple[str, ...]:
        """The events that are still to be published of this state, in their order.

        A rejection is an event only after a doubt: whoever asked was answered with it else.
        """
        events: tuple[str, ...] = ()
        if self.status in _EVENTS:
            events = (_EVENTS[self.status],)
        elif self.step in ("reject-by-count", "settle-rejected"):
            events = ("Contract Rejected",)
        if self.warning is not None:
            events = (*events, COUNT_MISMATCH)
        return tuple(event for event in events if event not in self.published_events)

    @property
    def is_open(self) -> bool:
        """Whether the reconciler has something to do with it, now or later."""
        return self.status in (PENDING, UNKNOWN) or self.awaits_count or bool(self.pending_events)

    @property
    def holds_issuer(self) -> bool:
        """Whether no other contract of the issuer may begin: counts would prove nothing."""
        return self.status not in SETTLED or self.awaits_count

    def mark_sent(self, at: datetime, before: Stamps | None) -> Contract:
        """Return it as it is the moment before the PAC is asked, which is once.

        ``before`` are the issuer's counts, None where there are none.
        Raises :class:`IllegalStepError` for one that was sent already.
        """
        if self.sent_at is not None:
            raise InvalidTransitionError(f"contract {self.id} was sent already")
        return self._step(
            "send",
            at,
            self.requested_by,
            sent_at=at,
            before=before,
            next_check_at=at + ABANDONED_AFTER,
        )

    def confirm(self, at: datetime, pac_code: str | None, pac_message: str | None) -> Contract:
        """Return it confirmed: the PAC answered 200. A count is to include it yet.

        Raises :class:`IllegalStepError` for one that was never sent.
        """
        self._require_sent()
        return self._step(
            "confirm",
            at,
            self.requested_by,
            settled_at=at,
            pac_code=pac_code,
            pac_message=pac_message,
            awaits_count=True,
            next_check_at=at + READ_LAG,
        )

    def reject(
        self,
        at: datetime,
        rejection: Rejection,
        pac_code: str | None = None,
        pac_message: str | None = None,
    ) -> Contract:
        """Return it rejected: the PAC said no, or nothing was sent; nothing was bought.

        ``refusal`` is what the caller is told, now and whenever the key comes again.
        """
        return self._step(
            "reject",
            at,
            self.requested_by,
            note=rejection.detail,
            settled_at=at,
            rejection=rejection,
            pac_code=pac_code,
            pac_message=pac_message,
        )

    def abandon(self, at: datetime) -> Contract:
        """Return it rejected: its function died before anything was sent.

        Raises :class:`IllegalStepError` for one that was sent.
        """
        if self.sent_at is not None:
            raise InvalidTransitionError(f"contract {self.id} was sent and cannot be withdrawn")
        rejection = _not_created("It was never sent to the PAC.")
        return self._step(
            "abandon", at, RECONCILER, note=rejection.detail, settled_at=at, rejection=rejection
        )

    def mark_unknown(
        self,
        at: datetime,
        by: str,
        rejection: Rejection,
        pac_code: str | None = None,
        pac_message: str | None = None,
    ) -> Contract:
        """Return it unknown: it was sent, and what became of it is not known.

        ``by`` is who found that out; ``refusal`` says what went wrong. The reconciler looks
        at it first after a short pause. Raises :class:`IllegalStepError` unless it was sent.
        """
        self._require_sent()
        return self._step(
            "mark-unknown",
            at,
            by,
            note=rejection.detail,
            rejection=rejection,
            pac_code=pac_code,
            pac_message=pac_message,
            next_check_at=at + _FIRST_PAUSE,
        )

    def recount(self, at: datetime, by: str, trace: Trace) -> Contract:
        """Return a confirmed contract after a reading of the issuer's stamps.

        The reading shows the contract, or exactly its stamps more: the count includes it.
        Anything else is compared only after ``READ_LAG``, and is then a warning. A day without
        a count ends the wait.
        """
        settled_at = self._require_settled()
        counts = trace.stamps
        contracted = None if counts is None else counts.contracted
        before = 0 if self.before is None else self.before.contracted
        expected = None if before is None else before + self.stamps
        is_included = contracted is not None and contracted == expected
        if trace.verdict is Verdict.DONE or is_included:
            return self._step("count", at, by, after=counts, awaits_count=False)
        if contracted is not None and at - settled_at >= READ_LAG:
            warning = None
            # Of an issuer that the PAC did not know before, nothing is known to compare with.
            if self.before is not None and expected is not None:
                warning = (
                    f"The PAC confirmed {self.stamps:,} stamps: contracted was {before:,} before "
                    f"and is {contracted:,} now, not {expected:,}."
                )
            return self._step(
                "count",
                at,
                by,
                after=counts,
                awaits_count=False,
                warning=warning,
                note=warning,
                next_check_at=at,
            )
        if counts is None:
            problem = trace.note
        elif contracted is None:
            problem = NO_CONTRACTED
        else:
            problem = "the count does not include the contract yet"
        if at - settled_at >= ESCALATE_AFTER:
            return self._step("count", at, by, awaits_count=False, note=problem)
        return self._step(
            "recount",
            at,
            by,
            note=problem,
            attempts=self.attempts + 1,
            next_check_at=self._next_check(at, settled_at + READ_LAG),
        )

    def evaluate(
        self, at: datetime, trace: Trace, window: timedelta = VERIFICATION_WINDOW
    ) -> Contract:
        """Take the step that a trace of an unknown contract leads to.

        Done: confirmed. Not done for ``settling`` since it was sent: rejected. Ambiguous, or
        inconclusive for ``settling``, or a day without a decision: needs-review. Else it is
        looked at again, after a pause that doubles up to an hour. Within ``READ_LAG`` a trace
        proves nothing.
        """
        sent_at = self._require_sent()
        settled = at - sent_at >= window
        verdict, note = trace.verdict, trace.note
        if at - sent_at < READ_LAG:
            verdict, note = Verdict.NOT_YET, "the PAC's counts may not show it yet"
        elif verdict is Verdict.NOT_YET and self.before is None:
            # A later answer cannot be compared with a count that was never made.
            verdict, note = Verdict.INCONCLUSIVE, NO_COUNT_BEFORE
        if verdict is Verdict.DONE:
            return self._step(
                "confirm-by-count",
                at,
                RECONCILER,
                note=note,
                settled_at=at,
                after=trace.stamps,
                rejection=None,
            )
        if settled and verdict is Verdict.NOT_DONE:
            rejection = _not_created(f"The PAC's counts have not changed, usage aside: {note}.")
            return self._step(
                "reject-by-count",
                at,
                RECONCILER,
                note=note,
                settled_at=at,
                after=trace.stamps,
                rejection=rejection,
            )
        is_final = verdict is Verdict.AMBIGUOUS or (settled and verdict is Verdict.INCONCLUSIVE)
        if is_final or at - sent_at >= ESCALATE_AFTER:
            return self.escalate(at, note)
        return self._step(
            "check",
            at,
            RECONCILER,
            note=note,
            attempts=self.attempts + 1,
            next_check_at=self._next_check(at, sent_at + window),
        )

    def escalate(self, at: datetime, why: str) -> Contract:
        """Return it for review by a person: no trace can decide, for the reason given."""
        return self._step("escalate", at, RECONCILER, note=why, next_check_at=at)

    def settle(self, at: datetime, outcome: str, by: str, reason: str) -> Contract:
        """A person decided what no trace could; ``outcome`` is confirmed or rejected."""
        if outcome == CONFIRMED:
            return self._step(
                "settle-confirmed",
                at,
                by,
                note=reason,
                settled_at=at,
                rejection=None,
                next_check_at=at,
            )
        return self._step(
            "settle-rejected",
            at,
            by,
            note=reason,
            settled_at=at,
            rejection=_not_created(f"Settled by hand: {reason}"),
            next_check_at=at,
        )

    def _next_check(self, at: datetime, settled_at: datetime) -> datetime:
        doubled: timedelta = _FIRST_PAUSE * (1 << min(self.attempts + 1, 10))
        pause = min(doubled, _MAX_PAUSE)
        # Not later than the moment at which an unchanged count means something.
        return at + pause if settled_at <= at else min(at + pause, settled_at)

    def _require_sent(self) -> datetime:
        if self.sent_at is None:
            raise InvalidTransitionError(f"contract {self.id} was never sent")
        return self.sent_at

    def _require_settled(self) -> datetime:
        if self.settled_at is None:
            raise InvalidTransitionError(f"contract {self.id} is not settled")
        return self.settled_at

    def _step(self, name: str, at: datetime, by: str, **changes: Any) -> Contract:
        start, end = TRANSITIONS[name]
        if self.status != start:
            raise InvalidTransitionError(f"a contract that is {self.status} cannot {name}")
        changes = {"note": None, "next_check_at": self.next_check_at, **changes}
        return replace(
            self, status=end, step=name, at=at, by=by, version=self.version + 1, **changes
        )


def new_id() -> str:
    """Return a new id, 32 hexadecimal digits, that sorts by the millisecond it was made in."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def id_lower_bound(at: datetime) -> str:
    """Return the text that ids made at ``at`` or later do not sort before."""
    return f"{int(at.timestamp() * 1000):012x}"


def parse_state(value: str) -> str:
    """Return a state of contracts. Raises ``parameter-invalid``."""
    if value not in STATES:
        raise TimbresError(
            PARAMETER_INVALID,
            f"{quote_input(value)} is no state of a contract: expected one of {', '.join(STATES)}.",
            field="status",
        )
    return value


def parse_outcome(value: object) -> str:
    """Return what a settlement says became of a contract. Raises ``parameter-invalid``."""
    if not isinstance(value, str) or value not in SETTLED:
        raise TimbresError(
            PARAMETER_INVALID,
            f"{quote_input(value)} is no outcome: expected one of {', '.join(sorted(SETTLED))}.",
            field="outcome",
        )
    return value


def parse_reason(value: object) -> str:
    """Return a settlement's reason, 10 to 500 characters. Raises ``parameter-invalid``."""
    text = " ".join(value.split()) if isinstance(value, str) else ""
    visible = sum(map(_is_visible, text))
    if not (visible >= 10 and len(text) <= 500 and text.isprintable()):
        raise TimbresError(
            PARAMETER_INVALID,
            "The reason is kept in the journal: expected at least 10 visible and at most 500 "
            "printable characters, such as what the PAC's portal shows.",
            field="reason",
        )
    return text


def _is_visible(character: str) -> bool:
    return unicodedata.category(character)[0] in "LNPS" and character not in _BLANK


def _not_created(why: str) -> Rejection:
    return Rejection(
        "contract-not-bought",
        "The stamps were not bought",
        f"{why} Buying them takes a new Idempotency-Key.",
    )
