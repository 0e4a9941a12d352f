"""What a function is put together from, each part made on first use.

The parts are imported where they are made: a function loads those that it uses.
"""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING

from timbres.aws.session import client

if TYPE_CHECKING:
    from timbres.aws.accounts import Accounts
    from timbres.aws.bus import Bus
    from timbres.aws.issuers import Issuers
    from timbres.aws.journal import Journal
    from timbres.aws.rate_limiter import RateLimiter
    from timbres.aws.reports import Bucket, MonthlyRuns, Queue, Records
    from timbres.aws.runs import RunQueue, RunRepository
    from timbres.aws.snapshots import Snapshots
    from timbres.aws.tickets import Tickets
    from timbres.work.access import Access


class Parts:
    """The parts of one function, by what the template set in its environment.

    ``attempts`` is how often a read of a PAC is tried within a call.
    """

    def __init__(self, attempts: int = 3) -> None:
        self._attempts = attempts

    @cached_property
    def accounts(self) -> Accounts:
        """The accounts in Secrets Manager."""
        from timbres.aws.accounts import Accounts

        return Accounts(client("secretsmanager"), setting("SECRET_PREFIX"))

    @cached_property
    def access(self) -> Access:
        """The PACs behind the accounts."""
        from timbres.aws.rejections import Rejections
        from timbres.pacs import connect
        from timbres.work.access import Access
        from timbres.work.counted import Counted

        rejections = Rejections(client("dynamodb"), setting("REJECTIONS_TABLE"))
        return Access(
            self.accounts,
            rejections,
            self.bus,
            lambda account: Counted(connect(account, self._attempts), account.pac.name),
        )

    @cached_property
    def issuers(self) -> Issuers:
        """The known issuers."""
        from timbres.aws.issuers import Issuers

        return Issuers(client("dynamodb"), setting("ISSUERS_TABLE"))

    @cached_property
    def snapshots(self) -> Snapshots:
        """The daily snapshots."""
        from timbres.aws.snapshots import Snapshots

        return Snapshots(client("dynamodb"), setting("SNAPSHOTS_TABLE"))

    @cached_property
    def runs(self) -> RunRepository:
        """The records of runs."""
        from timbres.aws.runs import RunRepository

        return RunRepository(client("dynamodb"), setting("RUNS_TABLE"))

    @cached_property
    def run_queue(self) -> RunQueue:
        """The queue of a run's batches."""
        from timbres.aws.runs import RunQueue

        return RunQueue(client("sqs"), setting("RUNS_QUEUE_URL"))

    @cached_property
    def run_dead_letters(self) -> RunQueue:
        """The queue of batches that were given up."""
        from timbres.aws.runs import RunQueue

        return RunQueue(client("sqs"), setting("RUNS_DEAD_LETTER_QUEUE_URL"))

    @cached_property
    def limiter(self) -> RateLimiter:
        """The rate limiter of calls to PACs."""
        from timbres.aws.rate_limiter import RateLimiter

        return RateLimiter(client("dynamodb"), setting("PACE_TABLE"))

    @cached_property
    def journal(self) -> Journal:
        """The journal of contracts."""
        from timbres.aws.journal import Journal

        return Journal(client("dynamodb"), setting("JOURNAL_TABLE"))

    @cached_property
    def records(self) -> Records:
        """The records of reports."""
        from timbres.aws.reports import Records

        return Records(client("dynamodb"), setting("REPORTS_TABLE"))

    @cached_property
    def monthly_runs(self) -> MonthlyRuns:
        """The records of monthly runs."""
        from timbres.aws.reports import MonthlyRuns

        return MonthlyRuns(client("dynamodb"), setting("REPORTS_TABLE"))

    @cached_property
    def queue(self) -> Queue:
        """The queue of reports to be made."""
        from timbres.aws.reports import Queue

        return Queue(client("sqs"), setting("REPORTS_QUEUE_URL"))

    @cached_property
    def bucket(self) -> Bucket:
        """The bucket of reports."""
        from timbres.aws.reports import Bucket

        return Bucket(client("s3"), setting("REPORTS_BUCKET"))

    @cached_property
    def tickets(self) -> Tickets:
        """The tickets for reports."""
        from timbres.aws.tickets import Tickets

        return Tickets(client("dynamodb"), setting("TICKETS_TABLE"))

    @cached_property
    def bus(self) -> Bus:
        """The event bus."""
        from timbres.aws.bus import Bus

        return Bus(client("events"), setting("EVENT_BUS"))


def setting(name: str) -> str:
    """Return what the template set for this function in its environment."""
    return os.environ[name]
