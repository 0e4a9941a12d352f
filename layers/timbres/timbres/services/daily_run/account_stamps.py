"""Counts the stamps of an account itself, once per day."""

from __future__ import annotations

import time

from timbres.aws.rate_limiter import RateLimiter
from timbres.deadline import Deadline
from timbres.domain import clock
from timbres.domain.account_stamps import AccountStamps
from timbres.domain.forecast import AlertThresholds, Snapshot
from timbres.domain.run import Run
from timbres.errors import DEADLINE_EXCEEDED, TimbresError
from timbres.repositories.daily_counts import AccountStampRepository
from timbres.services.daily_run.bulk_query import CALL_SECONDS
from timbres.services.pac_access import PacAccess


def count_account_stamps(
    pac_access: PacAccess,
    repository: AccountStampRepository,
    rate_limiter: RateLimiter,
    run: Run,
    account_name: str,
    deadline: Deadline,
) -> AccountStamps | None:
    """Return the account's stamps as counted on the run's day, or later.

    None if the PAC does not return them. A repeated count of a day changes nothing. Raises the
    errors of the PAC, and ``out-of-time`` if the account's rate allows no call before ``deadline``.
    """
    account = pac_access.require_account(account_name)
    stored = repository.get(account.name)
    if stored.is_counted_on(run.day):
        return stored
    latest = time.time() + deadline.remaining()
    begin = rate_limiter.reserve(account.name, account.calls_per_second, 1, latest)
    if begin is None:
        raise TimbresError(DEADLINE_EXCEEDED, "The account's rate allowed no call in time.")
    rate_limiter.wait_until(begin)
    stamps = pac_access.client(account).account_stamps(Deadline(CALL_SECONDS))
    if stamps.is_unknown:
        return None
    thresholds = AlertThresholds(account.low_stamps, account.low_days)
    snapshot = Snapshot(clock.now(), stamps)
    repository.save(stored.with_daily_count(run.day, snapshot, thresholds, run.id))
    # Another worker may have counted it first.
    return repository.get(account.name)
