"""The dependencies of a function of the API or of its workers, each created on first use.

Their modules are imported here, in Lambda's import phase, which has a whole processor. A PAC's
library is imported by its first call: no function uses all of them.
"""

from __future__ import annotations

from functools import cached_property

from timbres.aws.clients import client
from timbres.aws.events import Bus
from timbres.aws.object_store import ReportStore
from timbres.aws.queues import ReportQueue, RunQueue
from timbres.aws.rate_limiter import RateLimiter
from timbres.handlers.settings import require, setting
from timbres.pacs.registry import PACS, create_client
from timbres.repositories.accounts import Accounts
from timbres.repositories.contracts import Journal
from timbres.repositories.credential_rejections import Rejections
from timbres.repositories.daily_counts import Snapshots
from timbres.repositories.download_tokens import DownloadTokenRepository
from timbres.repositories.issuers import Issuers
from timbres.repositories.reports import MonthlyRuns, Records
from timbres.repositories.runs import RunRepository
from timbres.services.pac_access import Access


class Container:
    """The dependencies of one function, named and addressed by its environment variables.

    ``required`` are the variables that the function reads, ``attempts`` is how often a read of
    a PAC is tried within a call. Raises RuntimeError that names the variables that are missing.
    """

    def __init__(self, *required: str, attempts: int = 3) -> None:
        require(*required)
        self._attempts = attempts

    @cached_property
    def accounts(self) -> Accounts:
        """The accounts in Secrets Manager."""
        return Accounts(client("secretsmanager"), setting("SECRET_PREFIX"), PACS)

    @cached_property
    def access(self) -> Access:
        """The PACs behind the accounts."""
        rejections = Rejections(client("dynamodb"), setting("REJECTIONS_TABLE"))
        return Access(
            self.accounts,
            rejections,
            self.bus,
            lambda account: create_client(account, self._attempts),
        )

    @cached_property
    def issuers(self) -> Issuers:
        """The known issuers."""
        return Issuers(client("dynamodb"), setting("ISSUERS_TABLE"))

    @cached_property
    def snapshots(self) -> Snapshots:
        """The daily snapshots."""
        return Snapshots(client("dynamodb"), setting("SNAPSHOTS_TABLE"))

    @cached_property
    def runs(self) -> RunRepository:
        """The records of runs."""
        return RunRepository(client("dynamodb"), setting("RUNS_TABLE"))

    @cached_property
    def run_queue(self) -> RunQueue:
        """The queue of a run's batches."""
        return RunQueue(client("sqs"), setting("RUNS_QUEUE_URL"))

    @cached_property
    def run_dead_letters(self) -> RunQueue:
        """The queue of batches that were given up."""
        return RunQueue(client("sqs"), setting("RUNS_DEAD_LETTER_QUEUE_URL"))

    @cached_property
    def limiter(self) -> RateLimiter:
        """The rate limiter of calls to PACs."""
        return RateLimiter(client("dynamodb"), setting("PACE_TABLE"))

    @cached_property
    def journal(self) -> Journal:
        """The journal of contracts."""
        return Journal(client("dynamodb"), setting("JOURNAL_TABLE"))

    @cached_property
    def records(self) -> Records:
        """The records of reports."""
        return Records(client("dynamodb"), setting("REPORTS_TABLE"))

    @cached_property
    def monthly_runs(self) -> MonthlyRuns:
        """The records of monthly runs."""
        return MonthlyRuns(client("dynamodb"), setting("REPORTS_TABLE"))

    @cached_property
    def queue(self) -> ReportQueue:
        """The queue of reports to be made."""
        return ReportQueue(client("sqs"), setting("REPORTS_QUEUE_URL"))

    @cached_property
    def bucket(self) -> ReportStore:
        """The bucket of reports."""
        return ReportStore(client("s3"), setting("REPORTS_BUCKET"))

    @cached_property
    def download_tokens(self) -> DownloadTokenRepository:
        """The download tokens of reports."""
        return DownloadTokenRepository(client("dynamodb"), setting("TICKETS_TABLE"))

    @cached_property
    def bus(self) -> Bus:
        """The event bus."""
        return Bus(client("events"), setting("EVENT_BUS"))
