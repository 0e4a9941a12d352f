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


class AccountStampCounter:
    """Counts accounts for daily runs. A repeated count of a day changes nothing."""

    def __init__(
        self,
        pac_access: PacAccess,
        account_stamp_repository: AccountStampRepository,
        rate_limiter: RateLimiter,
    ) -> None:
        self._pac_access = pac_access
        self._account_stamp_repository = account_stamp_repository
        self._rate_limiter = rate_limiter

    def count(self, run: Run, account_name: str, deadline: Deadline) -> AccountStamps | None:
        """Return the account's stamps as counted on the run's day, or later.

        None if the PAC does not return them. Raises the errors of the PAC, and ``out-of-time`` if
        the account's rate allows no call before ``deadline``.
        """
        account = self._pac_access.require_account(account_name)
        stored = self._account_stamp_repository.get(account.name)
        if stored.counted_on is not None and stored.counted_on >= run.day:
            return stored
        latest = time.time() + deadline.remaining()
        begin = self._rate_limiter.reserve(account.name, account.calls_per_second, 1, latest)
        if begin is None:
            raise TimbresError(DEADLINE_EXCEEDED, "The account's rate allowed no call in time.")
        self._rate_limiter.wait_until(begin)
        stamps = self._pac_access.client(account).account_stamps(Deadline(CALL_SECONDS))
        if stamps.is_unknown:
            return None
        thresholds = AlertThresholds(account.low_stamps, account.low_days)
        snapshot = Snapshot(clock.now(), stamps)
        self._account_stamp_repository.save(
            stored.with_daily_count(run.day, snapshot, thresholds, run.id)
        )
        # Another worker may have counted it first.
        return self._account_stamp_repository.get(account.name)
