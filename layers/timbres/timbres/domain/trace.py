"""Trace: what a PAC's reads say of a contract that was sent to it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from timbres.domain.stamps import Stamps


class Verdict(Enum):
    """What became of a contract, as far as one reading shows.

    ``DONE``: it took effect. ``NOT_DONE``: it has not, so far. ``NOT_YET``: the PAC did not
    return what would tell. ``INCONCLUSIVE``: it did, and so far that tells neither.
    ``AMBIGUOUS``: something else changed, and no later reading will tell.
    """

    DONE = "done"
    NOT_DONE = "not-done"
    NOT_YET = "not-yet"
    INCONCLUSIVE = "inconclusive"
    AMBIGUOUS = "ambiguous"


@dataclass(frozen=True, slots=True)
class Trace:
    """What one reading shows of a contract.

    ``stamps`` are the issuer's, None where they were not read. ``note`` gives the reason for
    the verdict, for the journal.
    """

    verdict: Verdict
    stamps: Stamps | None
    note: str


NO_COUNT_BEFORE = "the count before the contract is not known"
NO_CONTRACTED = "the PAC did not return the stamps contracted"


def trace_by_count(before: Stamps | None, now: Stamps, stamps: int) -> Trace:
    """Return what an issuer's counts show of a contract of ``stamps``.

    ``before`` are the counts before it was sent, None where the PAC did not know the issuer.
    Contracted grew by exactly ``stamps``: done. All counts unchanged, usage aside: not done.
    Contracted unchanged, and anything else different or not returned: inconclusive, as is
    everything without a count before. Contracted changed otherwise: ambiguous.
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
    counts = (
        ("contracted", stamps.contracted),
        ("used", stamps.used),
        ("available", stamps.available),
    )
    return ", ".join(f"{name} {'?' if n is None else format(n, ',')}" for name, n in counts)


def _is_usage(before: Stamps, now: Stamps) -> bool:
    """Tell whether used grew by as much as available went down.

    False when one of the counts is not known: an older contract that expires at the same time
    leaves the contracted stamps as they were.
    """
    used = _difference(before.used, now.used)
    available = _difference(before.available, now.available)
    return used is not None and used >= 0 and available == -used


def _difference(before: int | None, now: int | None) -> int | None:
    return None if before is None or now is None else now - before
