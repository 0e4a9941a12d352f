"""Counts the batches of daily runs, and alerts on low or exhausted stamps."""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from typing import Any

from timbres.aws.events import EventPublisher
from timbres.aws.queues import RunQueue, batch_from_json
from timbres.aws.rate_limiter import RateLimiter
from timbres.deadline import Deadline
from timbres.domain import clock
from timbres.domain.account import Account
from timbres.domain.account_stamps import AccountStamps, sum_unused
from timbres.domain.balance import is_consumption
from timbres.domain.clock import MEXICO_CITY
from timbres.domain.forecast import EXHAUSTED, Snapshot, available_stamps
from timbres.domain.issuer import Issuer
from timbres.domain.month import month_of
from timbres.domain.run import (
    AccountCount,
    AlertChange,
    Batch,
    BatchId,
    BatchResult,
    Failure,
    Run,
    retry_delay,
)
from timbres.domain.stamps import Stamps
from timbres.errors import DEADLINE_EXCEEDED, INTERNAL_ERROR, TimbresError
from timbres.observability.metrics import metrics
from timbres.repositories.daily_counts import AccountStampRepository, DailyCountRepository
from timbres.repositories.issuers import IssuerRepository
from timbres.repositories.runs import RunRepository
from timbres.schemas.runs import alert_change_to_dict
from timbres.services.balances import log_other_kinds
from timbres.services.daily_run.account_stamps import count_account_stamps
from timbres.services.daily_run.bulk_query import CALL_SECONDS, BulkStampQuery
from timbres.services.daily_run.finalization import finish_run
from timbres.services.pac_access import PacAccess
from timbres.services.stamps import alert_thresholds

logger = logging.getLogger("timbres")

# Unexpected errors after which a batch fails.
MAX_ERRORS = 3
# Attempts to count an account's own stamps: the results of its issuers do not wait for more.
_MAX_ACCOUNT_ATTEMPTS = 3
_UNEXPECTED = TimbresError(INTERNAL_ERROR, "An unexpected error occurred.")
# No call begins in this last part of an invocation, so that the last count can be stored.
_RESERVE_SECONDS = CALL_SECONDS + 1
_WRITE_BATCH_SIZE = 50


@dataclass(frozen=True)
class DailyRunWorker:
    """Counts batches. SQS retries a failed batch after ``retry_seconds``, then after twice that.

    The issuers of a balance are stored ``balance_batch_size`` at a time.
    """

    pac_access: PacAccess
    issuers: IssuerRepository
    daily_counts: DailyCountRepository
    account_stamps: AccountStampRepository
    runs: RunRepository
    queue: RunQueue
    dead_letters: RunQueue
    rate_limiter: RateLimiter
    event_publisher: EventPublisher
    retry_seconds: float
    balance_batch_size: int = 500

    def process(self, message: str, receipt_handle: str, attempt: int, deadline: Deadline) -> bool:
        """Count the batch that a message names; return whether the message can be deleted.

        Otherwise it is received again: if the PAC failed, after a delay that grows with
        ``attempt`` (the first is 1); after an unexpected error, when its visibility timeout ends.
        """
        metrics.add_count("BatchesFailed", 0)
        try:
            batch = batch_from_json(message)
        except ValueError as error:
            logger.error("%s", error, extra={"body": message[:500]})
            self.dead_letters.send([message])
            return True
        try:
            delay = retry_delay(attempt, self.retry_seconds)
            if self._is_complete(batch, attempt, delay, deadline):
                return True
            self.queue.delay(receipt_handle, delay)
        except Exception as error:
            metrics.add_count("BatchesFailed")
            logger.error("batch failed", exc_info=error, extra={"batch": batch})
            return self._record_error(batch, message)
        return False

    def _is_complete(
        self, batch_id: BatchId, attempt: int, delay: float, deadline: Deadline
    ) -> bool:
        """Count what remains of a batch; return whether the batch is complete then."""
        run, batch = self.runs.get_batch(batch_id)
        if not batch.is_complete:
            # Failures are final if the next attempt would be too late.
            is_last = clock.now() + timedelta(seconds=delay) >= run.closes_at
            of_account = self._count_account_stamps(
                run, batch, deadline, is_last=is_last or attempt >= _MAX_ACCOUNT_ATTEMPTS
            )
            if batch.rfcs is None:
                result = self._count_account(run, batch, deadline, is_last=is_last)
            else:
                errors = {} if batch.closed else self._query(run, batch, deadline)
                result = self._result(run, batch, errors, is_last=is_last)
            result = replace(
                result,
                alert_changes=(*of_account.alert_changes, *result.alert_changes),
                account_count=of_account.account_count,
                account_due=of_account.account_due,
            )
            batch = self._save_result(run, batch, result)
        if batch.is_complete:
            finish_run(self.runs, self.event_publisher, run.id)
        return batch.is_complete

    def _record_error(self, batch_id: BatchId, message: str) -> bool:
        """Record an unexpected error; after too many, move the message to the dead letters.

        Then the issuers of the batch are recorded as failed. Returns whether the message can be
        deleted.
        """
        errors = self.runs.record_error(batch_id)
        if errors is not None and errors < MAX_ERRORS:
            return False
        self.dead_letters.send([message])
        if errors is None:
            return True
        run, batch = self.runs.get_batch(batch_id)
        if batch.rfcs is None:
            result = BatchResult(failed=_failures(batch, {None: _UNEXPECTED}))
        else:
            result = self._result(run, batch, dict.fromkeys(batch.rfcs, _UNEXPECTED), is_last=True)
        if batch.counts_account:
            result = replace(result, account_count=AccountCount(problem=INTERNAL_ERROR.code))
        self._save_result(run, batch, result)
        finish_run(self.runs, self.event_publisher, run.id)
        return True

    def _save_result(self, run: Run, batch: Batch, result: BatchResult) -> Batch:
        """Publish the alert changes of a result, then store it; return the batch as stored."""
        # In this order, a worker that stops in between repeats events and does not lose any.
        published = Counter(map(_event_type, result.alert_changes))
        for event_type in published:
            changes = [one for one in result.alert_changes if _event_type(one) == event_type]
            details = (alert_change_to_dict(change) | {"run": run.id} for change in changes)
            self.event_publisher.publish(event_type, *details)
        if self.runs.save_result(batch, result, clock.now()):
            metrics.add_count("StampsLow", published["Stamps Low"])
            metrics.add_count("StampsExhausted", published["Stamps Exhausted"])
            if batch.counts_account:
                metrics.add_count("AccountStampsLow", published["Account Stamps Low"])
                metrics.add_count("AccountStampsExhausted", published["Account Stamps Exhausted"])
            if result.account_count and result.account_count.problem:
                metrics.add_count("AccountStampsFailed", reason=result.account_count.problem)
            metrics.add_count("IssuersCounted", result.done)
            for code, count in Counter(failure.code for failure in result.failed).items():
                metrics.add_count("IssuersFailed", count, reason=code)
        return self.runs.get_batch(batch.id)[1]

    # ------------------------------------------------------------- the account itself

    def _count_account_stamps(
        self, run: Run, batch: Batch, deadline: Deadline, *, is_last: bool
    ) -> BatchResult:
        """Count the account's own stamps if the batch is to; no failure affects its issuers."""
        if not batch.counts_account or batch.closed:
            return BatchResult()
        try:
            counted = count_account_stamps(
                self.pac_access,
                self.account_stamps,
                self.rate_limiter,
                run,
                batch.id.account,
                deadline.before(_RESERVE_SECONDS),
            )
        except Exception as error:
            failure = error if isinstance(error, TimbresError) else _UNEXPECTED
            if not _is_final(failure, is_last=is_last) or (failure is _UNEXPECTED and not is_last):
                return BatchResult(account_due=True)
            extra = {"account": batch.id.account, "code": failure.problem_type.code}
            extra["pac_code"] = failure.pac_code or ""
            logger.warning("an account's stamps were not counted: %s", error, extra=extra)
            return BatchResult(account_count=AccountCount(problem=failure.problem_type.code))
        if counted is None:
            return BatchResult()
        return BatchResult(
            alert_changes=(_alert_change(counted),) if counted.alerted_in(run.id) else (),
            account_count=AccountCount(
                counted.stamps, counted.as_of, counted.forecast.days_left, counted.forecast.alert
            ),
        )

    # ------------------------------------------------------------------ issuer by issuer

    def _query(self, run: Run, batch: Batch, deadline: Deadline) -> dict[str, TimbresError]:
        """Count the issuers without a snapshot of the run's day; return the errors by RFC."""
        errors: dict[str, TimbresError] = {}
        rfcs = batch.rfcs or ()
        try:
            account = self.pac_access.require_account(batch.id.account)
        except TimbresError as error:
            return dict.fromkeys(rfcs, error)
        known = self.issuers.get_many(account.name, rfcs)
        due = [rfc for rfc, issuer in known.items() if not issuer.is_counted_on(run.day)]
        if not due:
            return errors
        # In random order, so that issuers that fail do not always delay the same others.
        random.shuffle(due)
        counted: list[Issuer] = []
        query = BulkStampQuery(
            self.pac_access, self.rate_limiter, account, deadline.before(_RESERVE_SECONDS)
        )
        for rfc, result in query.run(due):
            if isinstance(result, Stamps):
                snapshot = Snapshot(clock.now(), result)
                counted.append(_with_count(run, account, known[rfc], snapshot))
                if len(counted) == _WRITE_BATCH_SIZE:
                    self.daily_counts.save(run.day, counted, known=True)
                    counted.clear()
            elif result is not None:
                errors[rfc] = result
        self.daily_counts.save(run.day, counted, known=True)
        return errors

    def _result(
        self, run: Run, batch: Batch, errors: Mapping[str, TimbresError], *, is_last: bool
    ) -> BatchResult:
        """Return the result of a batch: its stored counts, and the errors of the other issuers.

        Alert changes are read from the table, because another worker may have counted first.
        """
        rfcs = batch.rfcs or ()
        stored = self.issuers.get_many(batch.id.account, rfcs)
        # An issuer that was removed meanwhile is not counted, and done.
        known = [stored[rfc] for rfc in rfcs if rfc in stored]
        counted = [issuer for issuer in known if issuer.is_counted_on(run.day)]
        left = [issuer.rfc for issuer in known if not issuer.is_counted_on(run.day)]
        failed = {rfc: errors[rfc] for rfc in left if rfc in errors}
        failed = {rfc: one for rfc, one in failed.items() if _is_final(one, is_last=is_last)}
        return BatchResult(
            done=len(rfcs) - len(left),
            failed=_failures(batch, failed),
            alert_changes=tuple(_alert_change(one) for one in counted if one.alerted_in(run.id)),
            allotment=sum_unused(issuer.stamps for issuer in counted),
            exhausted=sum(issuer.forecast.alert == EXHAUSTED for issuer in counted),
            # A closed run has no further attempt.
            remaining=() if batch.closed else tuple(rfc for rfc in left if rfc not in failed),
        )

    # ------------------------------------------------------------- all issuers at once

    def _count_account(
        self, run: Run, batch: Batch, deadline: Deadline, *, is_last: bool
    ) -> BatchResult:
        """Count yesterday's consumption of every issuer from one balance of the PAC."""
        if batch.closed:
            return BatchResult()
        try:
            account = self.pac_access.require_account(batch.id.account)
            consumed = self._consumed(account, run.day, deadline)
        except TimbresError as error:
            if _is_final(error, is_last=is_last):
                return BatchResult(failed=_failures(batch, {None: error}))
            return BatchResult(remaining=None)
        at = datetime.combine(run.day, time_of_day(), MEXICO_CITY)
        rfcs = sorted({*consumed, *self.issuers.list_rfcs(account.name)})
        for begin in range(0, len(rfcs), self.balance_batch_size):
            chunk = rfcs[begin : begin + self.balance_batch_size]
            if deadline.remaining() < _RESERVE_SECONDS:
                # The next attempt skips the issuers counted so far.
                return BatchResult(remaining=None)
            known = self.issuers.get_many(account.name, chunk)
            counted = []
            for rfc in chunk:
                issuer = known.get(rfc, Issuer(account.name, rfc))
                if not issuer.is_counted_on(run.day):
                    snapshot = Snapshot(at, Stamps(None, None, None), consumed.get(rfc, 0))
                    counted.append(_with_count(run, account, issuer, snapshot))
            self.daily_counts.save(run.day, counted, known=False)
        return BatchResult(done=len(rfcs), unexpected=len(rfcs) - 1)

    def _consumed(self, account: Account, day: date, deadline: Deadline) -> dict[str, int]:
        """Return each issuer's stamps in the month of the day before ``day``, up to that day."""
        yesterday = day - timedelta(days=1)
        month = month_of(yesterday)
        totals: Counter[str] = Counter()
        other_kinds = set()
        with self.pac_access.client(account).balance(month, None, deadline) as reading:
            for movement in reading.verified_movements():
                if not is_consumption(movement.kind):
                    other_kinds.add(movement.kind)
                elif movement.rfc:
                    totals[movement.rfc] += movement.amount if movement.date <= yesterday else 0
        log_other_kinds(account, month, sorted(other_kinds))
        return totals


def _with_count(run: Run, account: Account, issuer: Issuer, snapshot: Snapshot) -> Issuer:
    return issuer.with_daily_count(run.day, snapshot, alert_thresholds(account, issuer), run.id)


def _is_final(error: TimbresError, *, is_last: bool) -> bool:
    return is_last or not (error.problem_type.retryable or error.problem_type is DEADLINE_EXCEEDED)


def _failures(batch: Batch, errors: Mapping[Any, TimbresError]) -> tuple[Failure, ...]:
    """Return the errors by RFC (None: of the whole account) as failures, and log them."""
    failures = [
        # A PAC's message may be long, and a batch has up to 200.
        Failure(batch.id.account, rfc, error.problem_type.code, error.detail[:300], error.pac_code)
        for rfc, error in errors.items()
    ]
    for failure in failures:
        extra = asdict(failure)
        detail = extra.pop("detail")
        logger.warning("an issuer was not counted: %s", detail, extra=extra)
    return tuple(failures)


def _alert_change(counted: Issuer | AccountStamps) -> AlertChange:
    forecast = counted.forecast
    return AlertChange(
        account=counted.account,
        rfc=counted.rfc if isinstance(counted, Issuer) else None,
        alert=forecast.alert,
        available=available_stamps(counted.stamps) or 0,
        days_left=forecast.days_left,
        burn=max(forecast.burn_7 or 0.0, forecast.burn_30 or 0.0) or None,
    )


def _event_type(change: AlertChange) -> str:
    return f"{'Account ' if change.rfc is None else ''}Stamps {change.alert.capitalize()}"
