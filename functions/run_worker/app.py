"""The run worker: counts the issuers, or the account, of one batch per queue message."""

from __future__ import annotations

from functools import cache
from typing import Any

from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    process_partial_response,
)
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from timbres.deadline import Deadline
from timbres.handlers.container import Container
from timbres.handlers.http import TIMEOUT_MARGIN_SECONDS, logger
from timbres.handlers.settings import get_env
from timbres.observability.metrics import metrics
from timbres.services.daily_run.worker import DailyRunWorker

# SQS retries what fails, minutes later, not at once.
container = Container(
    "SECRET_PREFIX",
    "ISSUERS_TABLE",
    "SNAPSHOTS_TABLE",
    "RUNS_TABLE",
    "RUNS_QUEUE_URL",
    "RUNS_DEAD_LETTER_QUEUE_URL",
    "RATE_LIMIT_TABLE",
    "CREDENTIAL_REJECTIONS_TABLE",
    "EVENT_BUS",
    "RETRY_DELAY_SECONDS",
    attempts=1,
    calls=("stamps", "balance"),
)
processor = BatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)


class BatchIncompleteError(Exception):
    """The batch has issuers that are still to be counted."""


@cache
def daily_run_worker() -> DailyRunWorker:
    return DailyRunWorker(
        container.pac_access,
        container.issuer_repository,
        container.daily_count_repository,
        container.account_stamp_repository,
        container.run_repository,
        container.run_queue,
        container.run_dead_letters,
        container.rate_limiter,
        container.event_publisher,
        float(get_env("RETRY_DELAY_SECONDS")),
    )


def process_batch(record: SQSRecord, lambda_context: Any) -> None:
    deadline = Deadline(
        lambda_context.get_remaining_time_in_millis() / 1000 - TIMEOUT_MARGIN_SECONDS
    )
    attempt = int(record.attributes.approximate_receive_count)
    if not daily_run_worker().process(record.body, record.receipt_handle, attempt, deadline):
        raise BatchIncompleteError


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Count the issuers of the batches that the messages name; return the messages to retry."""
    response = process_partial_response(event, process_batch, processor, context)
    metrics.flush()
    return dict(response)
