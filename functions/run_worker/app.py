"""The run worker: counts the issuers, or the account, of one batch per queue message."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    process_partial_response,
)
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from timbres.aws.clients import client
from timbres.aws.queues import RunQueue
from timbres.aws.rate_limiter import RateLimiter
from timbres.handlers.dependencies import (
    create_account_repository,
    create_event_publisher,
    create_pac_access,
)
from timbres.handlers.invocation import invocation_deadline, logger
from timbres.handlers.settings import get_env
from timbres.observability.metrics import metrics
from timbres.pacs.base import CallLimits
from timbres.repositories.daily_counts import AccountStampRepository, DailyCountRepository
from timbres.repositories.issuers import IssuerRepository
from timbres.repositories.runs import RunRepository
from timbres.services.daily_run.worker import DailyRunWorker

processor = BatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)


class BatchIncompleteError(Exception):
    """The batch has issuers that are still to be counted."""


daily_run_worker = DailyRunWorker(
    # SQS retries what fails, minutes later, not at once.
    create_pac_access(
        create_account_repository(), "stamps", "balance", limits=CallLimits(attempts=1)
    ),
    IssuerRepository(client("dynamodb"), get_env("ISSUERS_TABLE")),
    DailyCountRepository(client("dynamodb"), get_env("SNAPSHOTS_TABLE"), get_env("ISSUERS_TABLE")),
    AccountStampRepository(client("dynamodb"), get_env("SNAPSHOTS_TABLE")),
    RunRepository(client("dynamodb"), get_env("RUNS_TABLE")),
    RunQueue(client("sqs"), get_env("RUNS_QUEUE_URL")),
    RunQueue(client("sqs"), get_env("RUNS_DEAD_LETTER_QUEUE_URL")),
    RateLimiter(client("dynamodb"), get_env("RATE_LIMIT_TABLE")),
    create_event_publisher(),
    float(get_env("RETRY_DELAY_SECONDS")),
)


def process_batch(record: SQSRecord, lambda_context: Any) -> None:
    deadline = invocation_deadline(lambda_context)
    attempt = int(record.attributes.approximate_receive_count)
    if not daily_run_worker.process(record.body, record.receipt_handle, attempt, deadline):
        raise BatchIncompleteError


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Count the issuers of the batches that the messages name; return the messages to retry."""
    response = process_partial_response(event, process_batch, processor, context)
    metrics.flush()
    return dict(response)
