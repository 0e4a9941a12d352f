"""Watch: counts the parts of a run, and judges each issuer by its counts so far."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from datetime import time as time_of_day

from timbres.aws.bus import Bus
from timbres.aws.issuers import Issuers
from timbres.aws.items import chunks
from timbres.aws.pace import Pace
from timbres.aws.runs import Queue, Runs
from timbres.aws.snapshots import Snapshots
from timbres.deadline import Deadline
from timbres.domain import clock
from timbres.domain.account import Account
from timbres.domain.clock import MEXICO_CITY
from timbres.domain.issuer import Issuer
from timbres.domain.month import month_of
from timbres.domain.outlook import EXHAUSTED, LOW, Snapshot, left
from timbres.domain.run import FINISHED, TRIES, Crossing, Part, Run, Settled
from timbres.domain.stamps import Stamps
from timbres.errors import INTERNAL_ERROR, TimbresError
from timbres.pacs.codes import CREDENTIALS_REJECTED
from timbres.work.access import Access
from timbres.work.asking import ALL_ALIKE, Asking
from timbres.work.run import Finisher, crossing_line
from timbres.work.stamp_count import limits

log = logging.getLogger("timbres")

EVENTS = {LOW: "Stamps Low", EXHAUSTED: "Stamps Exhausted"}

# What is kept of an invocation's time to write down what was counted.
_RESERVE_SECONDS = 15.0
_STORED_AT_ONCE = 50
_STORING_THREADS = 4
_BALANCE_SLICE = 500


@dataclass
class _Outcome:
    """What became of the issuers of one part so far.

    ``extra`` are issuers beyond those the run expected; ``again`` failed in a way that may
    pass; ``later`` were not asked, or the PAC was not there, which is not their failure.
    """

    done: int = 0
    extra: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    crossings: list[Crossing] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    later: list[str] = field(default_factory=list)
    waits: bool = False


@dataclass
class Report:
    """What one invocation did; ``broken`` are the errors of the parts to be given back."""

    done: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    alerts: Counter[str] = field(default_factory=Counter)
    broken: dict[int, Exception] = field(default_factory=dict)

    def add(self, settled: Settled) -> None:
        """Add what became of a part."""
        self.done += settled.done
        self.failed.update(settled.failed)
        self.alerts.update(crossing.alert for crossing in settled.crossings)


class Watcher:
    """Counts the parts of runs.

    What failed in a way that may pass is asked again after ``retry_seconds``, then twice that.
    """

    def __init__(
        self,
        access: Access,
        issuers: Issuers,
        snapshots: Snapshots,
        runs: Runs,
        queue: Queue,
        pace: Pace,
        bus: Bus,
        retry_seconds: float,
    ) -> None:
        self._access = access
        self._issuers = issuers
        self._snapshots = snapshots
        self._runs = runs
        self._queue = queue
        self._asking = Asking(access, pace, _RESERVE_SECONDS)
        self._bus = bus
        self._retry_seconds = retry_seconds
        self._finisher = Finisher(runs, bus)

    def count(self, parts: Sequence[Part], deadline: Deadline) -> Report:
        """Count the issuers of parts; what a part could not do goes on in another message.

        Parts that are settled already are left as they are. The report names, by its place,
        each part that failed for a reason that is not the PAC's: its message should come again.
        """
        report = Report()
        groups: dict[tuple[str, str], list[int]] = defaultdict(list)
        begun: set[tuple[str, str, str]] = set()
        for place, part in enumerate(parts):
            if (part.run, part.account, part.number) in begun:
                # The same message twice in one hand: the first speaks for both.
                continue
            begun.add((part.run, part.account, part.number))
            try:
                settled = self._runs.settled(part)
                if settled is None:
                    groups[part.run, part.account].append(place)
                else:
                    self._go_on(settled)
            except Exception as error:
                report.broken[place] = error
        for n, ((run_id, name), places) in enumerate(groups.items()):
            # Each account has its share of the time, lest a slow one take it all.
            share = Deadline(deadline.left() / (len(groups) - n))
            try:
                self._count_account(run_id, name, [parts[place] for place in places], share, report)
            except Exception as error:
                report.broken |= dict.fromkeys(places, error)
        for run_id in sorted({part.run for part in parts}):
            try:
                self._finisher.finish(run_id)
            except Exception as error:
                # The messages come again, and find nothing to do but this.
                places = [place for place, part in enumerate(parts) if part.run == run_id]
                report.broken |= dict.fromkeys(places, error)
        return report

    def give_up(self, part: Part, report: Report) -> None:
        """Settle a part whose message is put aside: its issuers have failed."""
        outcome = _Outcome(failed=Counter({INTERNAL_ERROR.code: len(part.rfcs or (part,))}))
        run = self._runs.get(part.run)
        if run is not None and run.status != FINISHED:
            self._settle(run, [part], [outcome], report)
            self._finisher.finish(run.id)

    # ------------------------------------------------------------------ an account's parts

    def _count_account(
        self, run_id: str, name: str, parts: Sequence[Part], deadline: Deadline, report: Report
    ) -> None:
        run = self._runs.get(run_id)
        if run is None:
            raise LookupError(f"there is no run {run_id}")
        if run.status == FINISHED:
            # Closed with what it had: its figures are told, and these issuers are the next run's.
            return
        self._settle(run, parts, self._outcomes(run, name, parts, deadline), report)

    def _outcomes(
        self, run: Run, name: str, parts: Sequence[Part], deadline: Deadline
    ) -> list[_Outcome]:
        try:
            account = self._access.accounts.get(name)
        except TimbresError as error:
            failed = [Counter({error.kind.code: len(part.rfcs or (part,))}) for part in parts]
            return [_Outcome(failed=counts) for counts in failed]
        return [
            self._balance(run, account, part, deadline) if part.rfcs is None else outcome
            for part, outcome in zip(parts, self._each(run, account, parts, deadline), strict=True)
        ]

    def _each(
        self, run: Run, account: Account, parts: Sequence[Part], deadline: Deadline
    ) -> list[_Outcome]:
        """Ask for each issuer of the parts that has no snapshot of the run's day."""
        wanted = {rfc: part for part in parts for rfc in part.rfcs or ()}
        known = self._issuers.many(account.name, list(wanted))
        answers = self._asked(run, account, known, deadline)
        outcomes = {part.number: _Outcome() for part in parts}
        for rfc, part in wanted.items():
            outcome = outcomes[part.number]
            answer = answers.get(rfc)
            if rfc not in answers:
                # Counted before, or removed since: nothing is left to do.
                outcome.done += 1
                self._add_crossing(outcome, run, known.get(rfc))
            elif isinstance(answer, Issuer):
                outcome.done += 1
                self._add_crossing(outcome, run, answer)
            else:
                self._add_failure(outcome, run, account, part, rfc, answer)
        return [outcomes[part.number] for part in parts]

    def _asked(
        self, run: Run, account: Account, known: dict[str, Issuer], deadline: Deadline
    ) -> dict[str, Issuer | TimbresError | None]:
        """Ask for the issuers without a snapshot of the run's day; keep what is heard.

        Returns each of them as counted, or why it is not.
        """
        due = [i.rfc for i in known.values() if i.counted_on is None or i.counted_on < run.day]
        heard: dict[str, Issuer | TimbresError | None] = {}
        counted: list[Issuer] = []
        with ThreadPoolExecutor(_STORING_THREADS) as storing:
            stored: list[Future[None]] = []

            def keep() -> None:
                stored.append(storing.submit(self._store, account, run.day, counted[:], known=True))
                counted.clear()

            for rfc, answer in self._asking.answers(account, due, deadline):
                if not isinstance(answer, Stamps):
                    heard[rfc] = answer
                    continue
                issuer = known[rfc]
                snapshot = Snapshot(clock.now(), answer)
                issuer = issuer.counted(run.day, snapshot, limits(account, issuer), run.id)
                heard[rfc] = issuer
                counted.append(issuer)
                if len(counted) == _STORED_AT_ONCE:
                    keep()
            keep()
            for one in stored:
                one.result()
        return heard

    def _add_failure(
        self,
        outcome: _Outcome,
        run: Run,
        account: Account,
        part: Part,
        rfc: str,
        answer: TimbresError | None,
    ) -> None:
        if not isinstance(answer, TimbresError):
            outcome.later.append(rfc)
            return
        kind = answer.kind
        if kind in ALL_ALIKE and clock.now() < run.until:
            outcome.later.append(rfc)
            outcome.waits = True
        elif kind.retry and kind not in ALL_ALIKE and part.tries + 1 < TRIES:
            outcome.again.append(rfc)
        else:
            outcome.failed[kind.code] += 1
            if kind is not CREDENTIALS_REJECTED:
                log.warning(
                    "an issuer was not counted: %s",
                    answer.detail,
                    extra={
                        "account": account.name,
                        "rfc": rfc,
                        "code": kind.code,
                        "pac_code": answer.pac_code,
                    },
                )

    @staticmethod
    def _add_crossing(outcome: _Outcome, run: Run, issuer: Issuer | None) -> None:
        if issuer is None or not issuer.crossed_in(run.id):
            return
        outcome.crossings.append(
            Crossing(
                account=issuer.account,
                rfc=issuer.rfc,
                alert=issuer.outlook.alert,
                available=left(issuer.stamps) or 0,
                days_left=issuer.outlook.days_left,
                burn=max(issuer.outlook.burn_7 or 0.0, issuer.outlook.burn_30 or 0.0) or None,
            )
        )

    def _balance(self, run: Run, account: Account, part: Part, deadline: Deadline) -> _Outcome:
        """Take yesterday's state of every issuer from one balance of the PAC."""
        outcome = _Outcome(extra=-1)
        try:
            consumed = self._consumed(account, run.day, deadline)
        except TimbresError as error:
            balance = _Outcome(extra=0)
            self._add_failure(balance, run, account, part, account.name, error)
            return balance
        at = datetime.combine(run.day, time_of_day(), MEXICO_CITY)
        rfcs = sorted({*consumed, *self._issuers.rfcs(account.name)})
        for some in chunks(rfcs, _BALANCE_SLICE):
            if deadline.left() < _RESERVE_SECONDS:
                # The part that goes on walks through all of them, and adds them to the run.
                return _Outcome(later=[account.name])
            known = self._issuers.many(account.name, some)
            counted = []
            for rfc in some:
                issuer = known.get(rfc, Issuer(account.name, rfc))
                if issuer.counted_on is None or issuer.counted_on < run.day:
                    snapshot = Snapshot(at, Stamps(None, None, None), consumed.get(rfc, 0))
                    counted.append(
                        issuer.counted(run.day, snapshot, limits(account, issuer), run.id)
                    )
            self._store(account, run.day, counted, known=False)
            outcome.done += len(some)
            outcome.extra += len(some)
        return outcome

    def _consumed(self, account: Account, day: date, deadline: Deadline) -> dict[str, int]:
        """Return what each issuer stamped in the month of the day before ``day``, up to it."""
        yesterday = day - timedelta(days=1)
        month = month_of(yesterday)
        totals: Counter[str] = Counter()
        with self._access.read(account, lambda pac: pac.balance(month, None, deadline)) as reading:
            for movement in reading.verified_movements():
                totals[movement.rfc] += movement.amount if movement.date <= yesterday else 0
        return totals

    def _store(
        self, account: Account, day: date, issuers: Sequence[Issuer], *, known: bool
    ) -> None:
        """Write counts of a run, each with its snapshot, but for those that have one already."""
        counted = [
            (issuer.rfc, issuer.recent[-1], self._issuers.counting(issuer, known))
            for issuer in issuers
        ]
        self._snapshots.write(account.name, day, counted)

    # -------------------------------------------------------------------- a part's end

    def _settle(
        self, run: Run, parts: Sequence[Part], outcomes: Sequence[_Outcome], report: Report
    ) -> None:
        """Tell of crossings, keep what became of the parts, and send on what is left of them."""
        crossings = [one for outcome in outcomes for one in outcome.crossings]
        for alert, event in EVENTS.items():
            found = [one for one in crossings if one.alert == alert]
            self._bus.publish(event, *(crossing_line(one) | {"run": run.id} for one in found))
        pairs = list(zip(parts, outcomes, strict=True))
        settled = [_settled(part, outcome) for part, outcome in pairs]
        new = self._runs.settle(settled, clock.now())
        for one, outcome in zip(settled, outcomes, strict=True):
            if one in new:
                report.add(one)
                self._go_on(one, waits=bool(outcome.again) or outcome.waits)
            elif before := self._runs.settled(one.part):
                self._go_on(before)

    def _go_on(self, settled: Settled, *, waits: bool = True) -> None:
        """Send on what is left of a part: at once, or after a wait that grows."""
        rest = settled.rest
        if rest is not None:
            delay = self._retry_seconds * 2 ** (max(rest.tries, rest.pauses) - 1) if waits else 0
            self._queue.send([rest], round(delay))


def _settled(part: Part, outcome: _Outcome) -> Settled:
    left_over = (*outcome.again, *outcome.later)
    rest = None
    if left_over:
        rfcs = None if part.rfcs is None else left_over
        rest = part.rest(rfcs, failed=bool(outcome.again))
    return Settled(
        part=part,
        expected=outcome.extra,
        done=outcome.done,
        failed=outcome.failed,
        crossings=tuple(outcome.crossings),
        rest=rest,
    )
