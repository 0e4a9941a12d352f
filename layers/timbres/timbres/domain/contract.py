"""Contract: an allotment of stamps to one issuer, and its states.

::

                ┌─> rejected        the PAC rejected it, or nothing was sent
    pending ────┼─> confirmed       the PAC returned 200, or a trace proves it
                └─> unknown ──> confirmed | rejected | needs-review

:data:`TRANSITIONS` lists the permitted steps. A contract is immutable: a step returns the next
version, which the repository writes only over the version before. A pending contract with
``sent_at`` may exist at the PAC; without ``sent_at``, nothing was sent.

A trace is evidence only if it was read with the login of the contract, and at least
``READ_LAG`` after the request.
"""

from __future__ import annotations

import secrets
import time
import unicodedata
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from enum import StrEnum
from typing import Any

from timbres.domain.clock import MEXICO_CITY
from timbres.domain.rfc import Rfc
from timbres.domain.stamps import Stamps
from timbres.domain.text import invalid_value
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

# Whether a contract must have been sent before a step.
_SENT = {"send": False, "abandon": False, "confirm": True, "mark-unknown": True}

# Longer than any function runs: a contract that is still pending was abandoned.
ABANDONED_AFTER = timedelta(minutes=2)
# Longer than a PAC may process a request after the connection was lost.
VERIFICATION_WINDOW = timedelta(minutes=30)
# After a day without proof, further checks are unlikely to find any.
ESCALATE_AFTER = timedelta(hours=24)
# Field reports: a PAC's reads include its writes after 4 to 8 seconds.
READ_LAG = timedelta(minutes=1)
MAX_REFERENCE = 100
_MAX_PAUSE = timedelta(hours=1)

_EVENTS = {
    UNKNOWN: "Contract Outcome Unknown",
    NEEDS_REVIEW: "Contract Needs Review",
    CONFIRMED: "Contract Confirmed",
}
COUNT_MISMATCH = "Contract Count Mismatch Detected"

# Invisible letters and symbols: Hangul fillers and the empty Braille pattern.
_BLANK = frozenset("\u115f\u1160\u3164\uffa0\u2800")

# ``by`` of the steps that no caller requested.
RECONCILER = "reconciler"


class InvalidTransitionError(Exception):
    """The contract's state does not permit the step, for example to be sent twice."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a contract was rejected, stored so that a repeated request gets the same error."""

    code: str
    title: str
    detail: str


@dataclass(frozen=True, slots=True)
class Contract:
    """One contract: ``stamps`` allotted to ``rfc``.

    ``login`` is the fingerprint of the PAC login it was sent with. ``before`` and ``after``
    are the PAC's counts for the issuer, None if they are not known. ``requested_by`` is an
    IAM ARN. ``pac_code`` and ``pac_message`` are from the PAC's response. ``step``, ``at``,
    ``by`` and ``note`` describe the last step; ``version`` is the number of steps.
    ``next_check_at`` is the time of the reconciler's next check, ``attempts`` the number of its
    checks. ``awaits_count``: the PAC confirmed the contract, and no count includes it yet.
    ``warning`` describes how the count contradicts the PAC's 200. ``published_events`` are the
    names of the events that were published. ``reference`` is the caller's own note, or None.
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
    reference: str | None = None

    @classmethod
    def create(
        cls,
        account: str,
        login: str,
        rfc: Rfc,
        stamps: int,
        by: str,
        key: str,
        at: datetime,
        reference: str | None = None,
    ) -> Contract:
        """Return a new pending contract. ``key`` is its Idempotency-Key."""
        return cls(
            id=new_id(at),
            account=account,
            login=login,
            rfc=rfc,
            stamps=stamps,
            status=PENDING,
            requested_by=by,
            idempotency_key=key,
            reference=reference,
            created_at=at,
            step="create",
            at=at,
            by=by,
            next_check_at=at + ABANDONED_AFTER,
        )

    @property
    def pending_events(self) -> tuple[str, ...]:
        """The events of this state that are not published yet, in order.

        A rejection is an event only if the contract was unknown before: otherwise the caller got
        it in the response.
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
        """Whether the reconciler has to process the contract, now or later."""
        return self.status in (PENDING, UNKNOWN) or self.awaits_count or bool(self.pending_events)

    @property
    def holds_issuer(self) -> bool:
        """Whether no other contract of the issuer may start, because counts would prove nothing."""
        return self.status not in SETTLED or self.awaits_count

    def mark_sent(self, at: datetime, before: Stamps | None) -> Contract:
        """Return the contract as it is right before the one request to the PAC.

        ``before`` are the issuer's counts, or None.
        """
        next_check_at = at + ABANDONED_AFTER
        return self._step("send", at, sent_at=at, before=before, next_check_at=next_check_at)

    def confirm(self, at: datetime, pac_code: str | None, pac_message: str | None) -> Contract:
        """Return it confirmed: the PAC returned 200. It waits for a count that includes it."""
        reply = {"pac_code": pac_code, "pac_message": pac_message}
        return self._step("confirm", at, awaits_count=True, next_check_at=at + READ_LAG, **reply)

    def reject(self, at: datetime, error: TimbresError) -> Contract:
        """Return it rejected: the PAC rejected it, or nothing was sent.

        ``error`` is for the caller, now and for each request with the same key.
        """
        return self._step("reject", at, **_from_error(error))

    def abandon(self, at: datetime) -> Contract:
        """Return it rejected: its function failed before anything was sent."""
        rejection = _not_created("It was never sent to the PAC.")
        return self._step("abandon", at, RECONCILER, rejection=rejection, note=rejection.detail)

    def mark_unknown(self, at: datetime, error: TimbresError, by: str | None = None) -> Contract:
        """Return it unknown: it was sent, and its outcome is not known because of ``error``.

        ``by`` takes the step, by default the caller. The reconciler's first check follows after
        ``READ_LAG``.
        """
        next_check_at = at + READ_LAG
        return self._step("mark-unknown", at, by, next_check_at=next_check_at, **_from_error(error))

    def recount(self, at: datetime, by: str, trace: Trace) -> Contract:
        """Return a confirmed contract after a read of the issuer's stamps.

        The count includes the contract if the trace proves it, or if contracted grew by exactly
        its stamps. After ``READ_LAG``, any other count sets a warning. After a day without a
        count, the contract no longer waits for one.
        """
        if self.settled_at is None:
            raise InvalidTransitionError(f"contract {self.id} is not settled")
        age, counts = at - self.settled_at, trace.stamps
        contracted = None if counts is None else counts.contracted
        before = 0 if self.before is None else self.before.contracted
        expected = None if before is None else before + self.stamps
        is_included = contracted is not None and contracted == expected
        if trace.verdict is Verdict.DONE or is_included:
            return self._step("count", at, by, after=counts, awaits_count=False)
        if contracted is not None and age >= READ_LAG:
            warning = None
            # If the PAC did not know the issuer before, there is no count to compare with.
            if self.before is not None and expected is not None:
                warning = (
                    f"The PAC confirmed {self.stamps:,} stamps: contracted was {before:,} before "
                    f"and is {contracted:,} now, not {expected:,}."
                )
            changes = {"after": counts, "warning": warning, "note": warning, "next_check_at": at}
            return self._step("count", at, by, awaits_count=False, **changes)
        note = "the count does not include the contract yet"
        if contracted is None:
            note = trace.note if counts is None else NO_CONTRACTED
        if age >= ESCALATE_AFTER:
            return self._step("count", at, by, awaits_count=False, note=note)
        return self._check_later("recount", at, by, note, self.settled_at + READ_LAG)

    def evaluate(
        self, at: datetime, trace: Trace, window: timedelta = VERIFICATION_WINDOW
    ) -> Contract:
        """Return an unknown contract after the step that a trace requires.

        - Done: confirmed.
        - Not done, at least ``window`` after it was sent: rejected.
        - Ambiguous; inconclusive after ``window``; or no decision after a day: needs-review.
        - Otherwise it is checked again, after a pause that doubles up to an hour.

        Within ``READ_LAG`` a trace proves nothing.
        """
        sent_at = self.sent_at
        if sent_at is None:
            raise InvalidTransitionError(f"contract {self.id} was never sent")
        window_passed = at - sent_at >= window
        verdict, note = trace.verdict, trace.note
        if at - sent_at < READ_LAG:
            verdict, note = Verdict.NOT_YET, "the PAC's counts may not include it yet"
        elif verdict is Verdict.NOT_YET and self.before is None:
            # Without a count before, a later count cannot be compared.
            verdict, note = Verdict.INCONCLUSIVE, NO_COUNT_BEFORE
        if verdict is Verdict.DONE:
            return self._step(
                "confirm-by-count", at, RECONCILER, note=note, after=trace.stamps, rejection=None
            )
        if window_passed and verdict is Verdict.NOT_DONE:
            rejection = _not_created(f"The PAC's counts have not changed except for usage: {note}.")
            changes = {"note": note, "after": trace.stamps, "rejection": rejection}
            return self._step("reject-by-count", at, RECONCILER, **changes)
        is_final = verdict is Verdict.AMBIGUOUS or (
            window_passed and verdict is Verdict.INCONCLUSIVE
        )
        if is_final or at - sent_at >= ESCALATE_AFTER:
            # A person decides, because no trace can.
            return self._step("escalate", at, RECONCILER, note=note, next_check_at=at)
        return self._check_later("check", at, RECONCILER, note, sent_at + window)

    def settle(self, at: datetime, outcome: str, by: str, reason: str) -> Contract:
        """Return it settled by a person; ``outcome`` is confirmed or rejected."""
        rejection = None if outcome == CONFIRMED else _not_created(f"Settled manually: {reason}")
        name = f"settle-{outcome}"
        return self._step(name, at, by, note=reason, rejection=rejection, next_check_at=at)

    def _check_later(
        self, name: str, at: datetime, by: str, note: str, decides_at: datetime
    ) -> Contract:
        """Return the contract after a check without a result; the pauses double up to an hour.

        The next check is not later than ``decides_at``, from which a count is evidence.
        """
        attempts = self.attempts + 1
        next_check_at = at + min(READ_LAG * (1 << min(attempts, 10)), _MAX_PAUSE)
        if decides_at > at:
            next_check_at = min(next_check_at, decides_at)
        return self._step(name, at, by, note=note, attempts=attempts, next_check_at=next_check_at)

    def _step(self, name: str, at: datetime, by: str | None = None, **changes: Any) -> Contract:
        start, end = TRANSITIONS[name]
        if self.status != start:
            raise InvalidTransitionError(f"a contract that is {self.status} cannot {name}")
        if name in _SENT and _SENT[name] != (self.sent_at is not None):
            state = "sent already" if self.sent_at else "never sent"
            raise InvalidTransitionError(f"a contract that was {state} cannot {name}")
        if end in SETTLED and start not in SETTLED:
            changes["settled_at"] = at
        changes = {"note": None, "by": by or self.requested_by, **changes}
        return replace(self, status=end, step=name, at=at, version=self.version + 1, **changes)


@dataclass(frozen=True, slots=True)
class ContractFilter:
    """Which contracts to list; None permits every value. ``first`` and ``last`` are days."""

    rfc: Rfc | None = None
    status: str | None = None
    reference: str | None = None
    key: str | None = None
    first: date | None = None
    last: date | None = None

    @property
    def ids(self) -> tuple[str, str]:
        """The lowest and the highest id that a contract of these days can have."""
        lowest = "0" if self.first is None else id_lower_bound(_midnight(self.first))
        return lowest, (
            "g" if self.last is None else id_lower_bound(_midnight(self.last + timedelta(days=1)))
        )

    def matches(self, contract: Contract) -> bool:
        """Return whether a contract fits all filters."""
        expected = (self.rfc, self.status, self.reference, self.key)
        actual = (contract.rfc, contract.status, contract.reference, contract.idempotency_key)
        fits = all(want in (None, have) for want, have in zip(expected, actual, strict=True))
        return fits and self.ids[0] <= contract.id <= self.ids[1]


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time_of_day(), MEXICO_CITY)


def new_id(at: datetime) -> str:
    """Return a new id of 32 hexadecimal digits; ids sort by their creation ``at``.

    The milliseconds are those of now, because times have whole seconds.
    """
    milliseconds = time.time_ns() // 1_000_000 % 1000
    return f"{int(at.timestamp()) * 1000 + milliseconds:012x}{secrets.token_hex(10)}"


def id_lower_bound(at: datetime) -> str:
    """Return the lower bound of the ids created at ``at`` or later."""
    return f"{int(at.timestamp() * 1000):012x}"


def parse_state(value: str) -> str:
    """Return a contract's state. Raises ``parameter-invalid``."""
    if value not in STATES:
        expected = f"one of {', '.join(STATES)}"
        raise invalid_value(PARAMETER_INVALID, value, "a contract status", expected, "status")
    return value


def parse_reference(value: object, field: str = "reference") -> str | None:
    """Return the caller's note on a contract, 1 to 100 printable characters, or None.

    Raises ``parameter-invalid``.
    """
    if value is None:
        return None
    text = value.strip() if isinstance(value, str) else ""
    if not 1 <= len(text) <= MAX_REFERENCE or not text.isprintable():
        expected = f"1 to {MAX_REFERENCE} printable characters"
        raise invalid_value(PARAMETER_INVALID, value, "a valid reference", expected, field)
    return text


def parse_outcome(value: object) -> str:
    """Return a settlement's outcome. Raises ``parameter-invalid``."""
    if not isinstance(value, str) or value not in SETTLED:
        expected = f"one of {', '.join(sorted(SETTLED))}"
        raise invalid_value(PARAMETER_INVALID, value, "a valid outcome", expected, "outcome")
    return value


def parse_reason(value: object) -> str:
    """Return a settlement's reason, 10 to 500 characters. Raises ``parameter-invalid``."""
    text = " ".join(value.split()) if isinstance(value, str) else ""
    visible = sum(map(_is_visible, text))
    if not (visible >= 10 and len(text) <= 500 and text.isprintable()):
        raise TimbresError(
            PARAMETER_INVALID,
            "The reason is stored in the journal: expected at least 10 visible and at most 500 "
            "printable characters, for example the count in the PAC's portal.",
            field="reason",
        )
    return text


def _is_visible(character: str) -> bool:
    return unicodedata.category(character)[0] in "LNPS" and character not in _BLANK


def _from_error(error: TimbresError) -> dict[str, Any]:
    kind = error.problem_type
    return {
        "note": error.detail,
        "rejection": Rejection(kind.code, kind.title, error.detail),
        "pac_code": error.pac_code,
        "pac_message": error.pac_message,
    }


def _not_created(reason: str) -> Rejection:
    return Rejection(
        "contract-not-bought",
        "The contract was not created",
        f"{reason} A new contract requires a new Idempotency-Key.",
    )
