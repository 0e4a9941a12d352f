"""The dependencies of a Lambda function, each created on first use.

What every request needs is imported and created in Lambda's import phase, which has a full
processor: the modules, the AWS clients, and the libraries of the PACs that the function calls.
"""

from __future__ import annotations

from functools import cached_property

from timbres.aws.clients import client
from timbres.aws.events import EventPublisher
from timbres.aws.object_store import ReportStore
from timbres.aws.queues import ReportQueue, RunQueue
from timbres.aws.rate_limiter import RateLimiter
from timbres.handlers.settings import get_env, require_env
from timbres.pacs.registry import PACS, create_client, import_clients
from timbres.repositories.accounts import AccountRepository
from timbres.repositories.contracts import ContractRepository
from timbres.repositories.credential_rejections import CredentialRejectionRepository
from timbres.repositories.daily_counts import (
    AccountStampRepository,
    DailyCountRepository,
    SnapshotRepository,
)
from timbres.repositories.download_tokens import DownloadTokenRepository
from timbres.repositories.issuers import IssuerRepository
from timbres.repositories.reports import MonthlyRunRepository, ReportRepository
from timbres.repositories.runs import RunRepository
from timbres.services.pac_access import PacAccess

# The service that a function calls, by the end of the variable that names its resource.
_SERVICES = (
    ("EVENT_BUS", "events"),
    ("SECRET_PREFIX", "secretsmanager"),
    ("_TABLE", "dynamodb"),
    ("_QUEUE_URL", "sqs"),
    ("_BUCKET", "s3"),
)


class Container:
    """The dependencies of one function, configured by its environment variables.

    ``required`` are the variables that the function reads, ``attempts`` is how often a read
    from a PAC is tried. ``calls`` are the capabilities of PACs that most requests use. Raises
    RuntimeError, which names the missing variables.
    """

    def __init__(self, *required: str, attempts: int = 3, calls: tuple[str, ...] = ()) -> None:
        require_env("ALLOW_SANDBOX_ACCOUNTS", *required)
        self._attempts = attempts
        for end, service in _SERVICES:
            if any(name.endswith(end) for name in required):
                client(service)
        import_clients(calls)

    @cached_property
    def account_repository(self) -> AccountRepository:
        """The accounts, stored in Secrets Manager."""
        return AccountRepository(
            client("secretsmanager"),
            get_env("SECRET_PREFIX"),
            PACS,
            allow_sandbox=get_env("ALLOW_SANDBOX_ACCOUNTS") == "true",
        )

    @cached_property
    def pac_access(self) -> PacAccess:
        """The access to the PACs of the accounts."""
        return PacAccess(
            self.account_repository,
            self.rejection_repository,
            self.event_publisher,
            lambda account: create_client(account, self._attempts),
        )

    @cached_property
    def rejection_repository(self) -> CredentialRejectionRepository:
        """The rejected credentials."""
        return CredentialRejectionRepository(
            client("dynamodb"), get_env("CREDENTIAL_REJECTIONS_TABLE")
        )

    @cached_property
    def issuer_repository(self) -> IssuerRepository:
        """The known issuers."""
        return IssuerRepository(client("dynamodb"), get_env("ISSUERS_TABLE"))

    @cached_property
    def snapshot_repository(self) -> SnapshotRepository:
        """The daily snapshots."""
        return SnapshotRepository(client("dynamodb"), get_env("SNAPSHOTS_TABLE"))

    @cached_property
    def daily_count_repository(self) -> DailyCountRepository:
        """The counts of daily runs."""
        return DailyCountRepository(
            client("dynamodb"), get_env("SNAPSHOTS_TABLE"), get_env("ISSUERS_TABLE")
        )

    @cached_property
    def account_stamp_repository(self) -> AccountStampRepository:
        """The daily counts of accounts' own stamps."""
        return AccountStampRepository(client("dynamodb"), get_env("SNAPSHOTS_TABLE"))

    @cached_property
    def run_repository(self) -> RunRepository:
        """The daily runs."""
        return RunRepository(client("dynamodb"), get_env("RUNS_TABLE"))

    @cached_property
    def run_queue(self) -> RunQueue:
        """The queue of batches."""
        return RunQueue(client("sqs"), get_env("RUNS_QUEUE_URL"))

    @cached_property
    def run_dead_letters(self) -> RunQueue:
        """The queue of failed batches."""
        return RunQueue(client("sqs"), get_env("RUNS_DEAD_LETTER_QUEUE_URL"))

    @cached_property
    def rate_limiter(self) -> RateLimiter:
        """The rate limiter of PAC calls."""
        return RateLimiter(client("dynamodb"), get_env("RATE_LIMIT_TABLE"))

    @cached_property
    def contract_repository(self) -> ContractRepository:
        """The contract journal."""
        return ContractRepository(client("dynamodb"), get_env("CONTRACTS_TABLE"))

    @cached_property
    def report_repository(self) -> ReportRepository:
        """The reports, without their files."""
        return ReportRepository(client("dynamodb"), get_env("REPORTS_TABLE"))

    @cached_property
    def monthly_run_repository(self) -> MonthlyRunRepository:
        """The monthly runs."""
        return MonthlyRunRepository(client("dynamodb"), get_env("REPORTS_TABLE"))

    @cached_property
    def report_queue(self) -> ReportQueue:
        """The queue of requested reports."""
        return ReportQueue(client("sqs"), get_env("REPORTS_QUEUE_URL"))

    @cached_property
    def report_store(self) -> ReportStore:
        """The bucket of report files."""
        return ReportStore(client("s3"), get_env("REPORTS_BUCKET"))

    @cached_property
    def download_token_repository(self) -> DownloadTokenRepository:
        """The download tokens of reports."""
        return DownloadTokenRepository(client("dynamodb"), get_env("DOWNLOAD_TOKENS_TABLE"))

    @cached_property
    def event_publisher(self) -> EventPublisher:
        """The event bus."""
        return EventPublisher(client("events"), get_env("EVENT_BUS"))
