"""Queries the stamps of many issuers of one account, concurrently and rate limited."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from timbres.aws.rate_limiter import RateLimiter
from timbres.deadline import Deadline
from timbres.domain.account import Account
from timbres.domain.rfc import Rfc
from timbres.domain.stamps import Stamps
from timbres.errors import CREDENTIALS_ON_TRIAL, TimbresError
from timbres.pacs.base import MAX_CONNECTIONS
from timbres.pacs.errors import CREDENTIALS_REJECTED, OVERLOAD_ERRORS, UNREACHABLE
from timbres.services.pac_access import PacAccess

QueryResult = Stamps | TimbresError | None
"""An issuer's stamps, or an error; None if the query did not begin in time."""

# Errors of the PAC or the account: the other issuers would fail, too.
ACCOUNT_WIDE_ERRORS = OVERLOAD_ERRORS | {UNREACHABLE, CREDENTIALS_ON_TRIAL, CREDENTIALS_REJECTED}
# Retryable failures in a row after which no further call is made in this attempt.
MAX_FAILURES_IN_A_ROW = 10
# One call with its connect and read timeouts.
CALL_SECONDS = 14.0
# Calls are reserved for a short time, so that a worker that stops wastes few.
_RESERVED_SECONDS = 0.25


@dataclass
class BulkStampQuery:
    """Queries issuers of one account, and begins no call after ``deadline``."""

    pac_access: PacAccess
    rate_limiter: RateLimiter
    account: Account
    deadline: Deadline

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._issuers_left = 0
        # The Unix times at which the reserved calls may begin.
        self._calls: list[float] = []
        # Threads update it without a lock: an inexact count is good enough.
        self._failures = 0
        self._stopped: TimbresError | None = None

    def run(self, rfcs: Sequence[str]) -> Iterator[tuple[str, QueryResult]]:
        """Yield each of ``rfcs`` (at least one) with its result, in the order of the results."""
        self._issuers_left = len(rfcs)
        first, *others = rfcs
        # A single call first: a wrong password is then one sign-in, an outage one call.
        result = self._query(first, follow_renewal=True)
        yield first, result
        if isinstance(result, TimbresError) and result.problem_type in ACCOUNT_WIDE_ERRORS:
            yield from ((rfc, result) for rfc in others)
            return
        pool = ThreadPoolExecutor(min(MAX_CONNECTIONS, self.account.calls_in_flight))
        try:
            futures = {pool.submit(self._query, rfc, follow_renewal=False): rfc for rfc in others}
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _query(self, rfc: str, *, follow_renewal: bool) -> QueryResult:
        if self._stopped is not None:
            return self._stopped
        if not self._wait_for_turn():
            return None
        account, deadline = self.account, Deadline(CALL_SECONDS)
        try:
            # The secret may have been replaced since the first call.
            account = self.pac_access.current(account)
            client = self.pac_access.client(account, follow_renewal=follow_renewal)
            stamps = client.stamps(Rfc(rfc), deadline)
        except TimbresError as error:
            return self._failure(account, error)
        self._failures = 0
        return stamps

    def _failure(self, account: Account, error: TimbresError) -> TimbresError | None:
        if error.problem_type is CREDENTIALS_REJECTED:
            if self.pac_access.current(account).version != account.version:
                # Replaced during the call: the next attempt uses the new secret.
                return None
            self._stopped = error
        elif error.problem_type.retryable:
            self._failures += 1
            if self._failures >= MAX_FAILURES_IN_A_ROW:
                self._stopped = error
        return error

    def _wait_for_turn(self) -> bool:
        """Wait until the account's rate allows a call; False if that is after the deadline."""
        with self._lock:
            now = time.time()
            # A call much later than its reservation would exceed the rate of that time.
            if not self._calls or self._calls[-1] + _RESERVED_SECONDS < now:
                rate = self.account.calls_per_second
                count = max(1, min(self._issuers_left, int(rate * _RESERVED_SECONDS)))
                latest = now + self.deadline.remaining()
                begin = self.rate_limiter.reserve(self.account.name, rate, count, latest)
                if begin is None:
                    return False
                self._calls = [begin + n / rate for n in range(count)]
            self._issuers_left -= 1
            begin = self._calls.pop(0)
        self.rate_limiter.wait_until(begin)
        return True
