"""Trace: a PAC's evidence about a contract that was sent to it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from timbres.domain.stamps import Stamps


class Verdict(Enum):
    """Result of one read.

    ``DONE``: the contract took effect. ``NOT_DONE``: it has not taken effect so far.
    ``NOT_YET``: the PAC did not return the necessary data. ``INCONCLUSIVE``: the data prove
    nothing so far. ``AMBIGUOUS``: something else changed, and no later read can prove anything.
    """

    DONE = "done"
    NOT_DONE = "not-done"
    NOT_YET = "not-yet"
    INCONCLUSIVE = "inconclusive"
    AMBIGUOUS = "ambiguous"


@dataclass(frozen=True, slots=True)
class Trace:
    """Evidence of one read.

    ``stamps`` are the issuer's, None if they were not read. ``note`` is the reason for the
    verdict, for the journal.
    """

    verdict: Verdict
    stamps: Stamps | None
    note: str


NO_COUNT_BEFORE = "the count before the contract is not known"
NO_CONTRACTED = "the PAC did not return the stamps contracted"


def trace_by_count(before: Stamps | None, now: Stamps, stamps: int) -> Trace:
    """Return the evidence of an issuer's counts about a contract of ``stamps``.

    ``before`` are the counts before it was sent, None if the PAC did not know the issuer.

    - No count before: inconclusive.
    - Contracted grew by exactly ``stamps``: done.
    - Contracted changed otherwise: ambiguous.
    - All counts unchanged except for usage: not done.
    - Contracted unchanged, another count different or not returned: inconclusive.
    """
    if before is None or before.contracted is None:
        return Trace(Verdict.INCONCLUSIVE, now, NO_COUNT_BEFORE)
    if now.contracted is None:
        return Trace(Verdict.NOT_YET, now, NO_CONTRACTED)
    if now.contracted == before.contracted + stamps:
        verdict = Verdict.DONE
    elif now.contracted != before.contracted:
        verdict = Verdict.AMBIGUOUS
    elif _is_usage(before, now):
        verdict = Verdict.NOT_DONE
    else:
        verdict = Verdict.INCONCLUSIVE
    return Trace(verdict, now, f"{_describe(before)} before; {_describe(now)} now")


def _describe(stamps: Stamps) -> str:
    counts = stamps.counts.items()
    return ", ".join(f"{name} {'?' if n is None else format(n, ',')}" for name, n in counts)


def _is_usage(before: Stamps, now: Stamps) -> bool:
    """Return whether used grew by as much as available decreased.

    False if one of the counts is not known: the expiry of an older contract could then hide the
    new one in the contracted stamps.
    """
    used = _difference(before.used, now.used)
    available = _difference(before.available, now.available)
    return used is not None and used >= 0 and available == -used


def _difference(before: int | None, now: int | None) -> int | None:
    return None if before is None or now is None else now - before
