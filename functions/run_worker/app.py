"""The worker behind the runs: a message of the queue names some issuers of one account."""

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
from timbres.handlers.http import RESERVE_SECONDS, log
from timbres.handlers.settings import setting
from timbres.observability import metrics
from timbres.services.daily_run.worker import DailyRunWorker

# SQS retries what fails, minutes later, not at once.
container = Container(
    "SECRET_PREFIX",
    "ISSUERS_TABLE",
    "SNAPSHOTS_TABLE",
    "RUNS_TABLE",
    "RUNS_QUEUE_URL",
    "RUNS_DEAD_LETTER_QUEUE_URL",
    "PACE_TABLE",
    "REJECTIONS_TABLE",
    "EVENT_BUS",
    "RETRY_SECONDS",
    attempts=1,
)
processor = BatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)


class BatchIncompleteError(Exception):
    """The message is not done with."""


@cache
def worker() -> DailyRunWorker:
    return DailyRunWorker(
        container.access,
        container.issuers,
        container.snapshots,
        container.runs,
        container.run_queue,
        container.run_dead_letters,
        container.limiter,
        container.bus,
        float(setting("RETRY_SECONDS")),
    )


def count(record: SQSRecord, lambda_context: Any) -> None:
    deadline = Deadline(lambda_context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS)
    attempt = int(record.attributes.approximate_receive_count)
    if not worker().process(record.body, record.receipt_handle, attempt, deadline):
        raise BatchIncompleteError


@log.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Count the issuers of the batches that the messages name; return the messages to retry."""
    response = process_partial_response(event, count, processor, context)
    metrics.tell()
    return dict(response)
