"""What a function is put together from, each part made on first use.

The parts are imported where they are made: a function loads those that it uses.
"""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING

from timbres.aws.clients import client

if TYPE_CHECKING:
    from timbres.aws.events import Bus
    from timbres.aws.object_store import ReportStore
    from timbres.aws.queues import ReportQueue, RunQueue
    from timbres.aws.rate_limiter import RateLimiter
    from timbres.repositories.accounts import Accounts
    from timbres.repositories.contracts import Journal
    from timbres.repositories.daily_counts import Snapshots
    from timbres.repositories.download_tokens import DownloadTokenRepository
    from timbres.repositories.issuers import Issuers
    from timbres.repositories.reports import MonthlyRuns, Records
    from timbres.repositories.runs import RunRepository
    from timbres.services.pac_access import Access


class Parts:
    """The parts of one function, by what the template set in its environment.

    ``attempts`` is how often a read of a PAC is tried within a call.
    """

    def __init__(self, attempts: int = 3) -> None:
        self._attempts = attempts

    @cached_property
    def accounts(self) -> Accounts:
        """The accounts in Secrets Manager."""
        from timbres.repositories.accounts import Accounts

        return Accounts(client("secretsmanager"), setting("SECRET_PREFIX"))

    @cached_property
    def access(self) -> Access:
        """The PACs behind the accounts."""
        from timbres.pacs import connect
        from timbres.pacs.instrumented import Counted
        from timbres.repositories.credential_rejections import Rejections
        from timbres.services.pac_access import Access

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
        from timbres.repositories.issuers import Issuers

        return Issuers(client("dynamodb"), setting("ISSUERS_TABLE"))

    @cached_property
    def snapshots(self) -> Snapshots:
        """The daily snapshots."""
        from timbres.repositories.daily_counts import Snapshots

        return Snapshots(client("dynamodb"), setting("SNAPSHOTS_TABLE"))

    @cached_property
    def runs(self) -> RunRepository:
        """The records of runs."""
        from timbres.repositories.runs import RunRepository

        return RunRepository(client("dynamodb"), setting("RUNS_TABLE"))

    @cached_property
    def run_queue(self) -> RunQueue:
        """The queue of a run's batches."""
        from timbres.aws.queues import RunQueue

        return RunQueue(client("sqs"), setting("RUNS_QUEUE_URL"))

    @cached_property
    def run_dead_letters(self) -> RunQueue:
        """The queue of batches that were given up."""
        from timbres.aws.queues import RunQueue

        return RunQueue(client("sqs"), setting("RUNS_DEAD_LETTER_QUEUE_URL"))

    @cached_property
    def limiter(self) -> RateLimiter:
        """The rate limiter of calls to PACs."""
        from timbres.aws.rate_limiter import RateLimiter

        return RateLimiter(client("dynamodb"), setting("PACE_TABLE"))

    @cached_property
    def journal(self) -> Journal:
        """The journal of contracts."""
        from timbres.repositories.contracts import Journal

        return Journal(client("dynamodb"), setting("JOURNAL_TABLE"))

    @cached_property
    def records(self) -> Records:
        """The records of reports."""
        from timbres.repositories.reports import Records

        return Records(client("dynamodb"), setting("REPORTS_TABLE"))

    @cached_property
    def monthly_runs(self) -> MonthlyRuns:
        """The records of monthly runs."""
        from timbres.repositories.reports import MonthlyRuns

        return MonthlyRuns(client("dynamodb"), setting("REPORTS_TABLE"))

    @cached_property
    def queue(self) -> ReportQueue:
        """The queue of reports to be made."""
        from timbres.aws.queues import ReportQueue

        return ReportQueue(client("sqs"), setting("REPORTS_QUEUE_URL"))

    @cached_property
    def bucket(self) -> ReportStore:
        """The bucket of reports."""
        from timbres.aws.object_store import ReportStore

        return ReportStore(client("s3"), setting("REPORTS_BUCKET"))

    @cached_property
    def download_tokens(self) -> DownloadTokenRepository:
        """The download tokens of reports."""
        from timbres.repositories.download_tokens import DownloadTokenRepository

        return DownloadTokenRepository(client("dynamodb"), setting("TICKETS_TABLE"))

    @cached_property
    def bus(self) -> Bus:
        """The event bus."""
        from timbres.aws.events import Bus

        return Bus(client("events"), setting("EVENT_BUS"))


def setting(name: str) -> str:
    """Return what the template set for this function in its environment."""
    return os.environ[name]
