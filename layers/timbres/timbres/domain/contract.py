"""Contract: a purchase of stamps for one issuer, and the states it goes through.

::

                ┌─> rejected        the PAC said no, or nothing was sent
    pending ────┼─> confirmed       the PAC said 200, or the count proves it
                └─> unknown ──> confirmed | rejected | needs-review

A pending contract with ``sent_at`` may have been bought; without it, nothing was sent.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from datetime import datetime

from timbres.domain.rfc import Rfc, shown
from timbres.errors import PARAMETER_INVALID, TimbresError

PENDING = "pending"
CONFIRMED = "confirmed"
REJECTED = "rejected"
UNKNOWN = "unknown"
NEEDS_REVIEW = "needs-review"
STATES = (PENDING, CONFIRMED, REJECTED, UNKNOWN, NEEDS_REVIEW)
SETTLED = frozenset({CONFIRMED, REJECTED})

_NEXT: dict[str, frozenset[str]] = {
    PENDING: frozenset({CONFIRMED, REJECTED, UNKNOWN}),
    UNKNOWN: frozenset({CONFIRMED, REJECTED, NEEDS_REVIEW}),
    NEEDS_REVIEW: frozenset({CONFIRMED, REJECTED}),
    CONFIRMED: frozenset(),
    REJECTED: frozenset(),
}


class IllegalTransitionError(Exception):
    """A contract was to go where its state does not lead."""


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
    ``pac_message`` are the PAC's own words.
    """

    id: str
    account: str
    rfc: Rfc
    stamps: int
    status: str
    requested_by: str
    created_at: datetime
    sent_at: datetime | None = None
    settled_at: datetime | None = None
    contracted_before: int | None = None
    contracted_after: int | None = None
    pac_code: str | None = None
    pac_message: str | None = None
    refusal: Refusal | None = None

    def sending(self, at: datetime, contracted_before: int | None) -> Contract:
        """Return the contract as it stands the moment before the PAC is asked."""
        if self.status != PENDING or self.sent_at is not None:
            raise IllegalTransitionError(f"{self.status} cannot be sent")
        return replace(self, sent_at=at, contracted_before=contracted_before)

    def confirmed(self, at: datetime, pac_code: str | None, pac_message: str | None) -> Contract:
        """Return the contract bought."""
        return self._to(
            CONFIRMED, settled_at=at, pac_code=pac_code, pac_message=pac_message, refusal=None
        )

    def rejected(
        self, at: datetime, refusal: Refusal, pac_code: str | None, pac_message: str | None
    ) -> Contract:
        """Return the contract refused; nothing was bought."""
        return self._to(
            REJECTED, settled_at=at, pac_code=pac_code, pac_message=pac_message, refusal=refusal
        )

    def unknown(self, refusal: Refusal, pac_code: str | None, pac_message: str | None) -> Contract:
        """Return the contract in doubt: it may have been bought."""
        return self._to(UNKNOWN, pac_code=pac_code, pac_message=pac_message, refusal=refusal)

    def counted(self, contracted_after: int | None) -> Contract:
        """Return the confirmed contract with the count that followed it."""
        return replace(self, contracted_after=contracted_after)

    def _to(self, status: str, **changes: object) -> Contract:
        if status not in _NEXT[self.status]:
            raise IllegalTransitionError(f"{self.status} does not lead to {status}")
        return replace(self, status=status, **changes)  # type: ignore[arg-type]


def new_id(at: datetime) -> str:
    """Return a new id, 32 hexadecimal digits, that sorts by time."""
    return f"{int(at.timestamp() * 1000):012x}{secrets.token_hex(10)}"


def parse_state(value: str) -> str:
    """Return a state of contracts. Raises ``parameter-invalid``."""
    if value not in STATES:
        raise TimbresError(
            PARAMETER_INVALID,
            f"{shown(value)} is no state of a contract: expected one of {', '.join(STATES)}.",
            field="status",
        )
    return value
