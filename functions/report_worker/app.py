"""The worker behind the reports: one message of the queue, one report made."""

from __future__ import annotations

import importlib
import json
from functools import cache
from typing import Any

from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    process_partial_response,
)
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from timbres.deadline import Deadline
from timbres.errors import TimbresError
from timbres.handlers.container import Container
from timbres.handlers.http import RESERVE_SECONDS, log
from timbres.observability import metrics
from timbres.services.consumption import Consumptions
from timbres.services.monthly_reports import Monthly
from timbres.services.report_events import ReportPublisher
from timbres.services.report_generation import Worker
from timbres.services.report_writer import Exporter, Writer

container = Container(
    "SECRET_PREFIX",
    "ISSUERS_TABLE",
    "SNAPSHOTS_TABLE",
    "JOURNAL_TABLE",
    "REPORTS_TABLE",
    "REPORTS_BUCKET",
    "REJECTIONS_TABLE",
    "EVENT_BUS",
)
processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)
# As often as the queue hands a message out before it goes to the dead letter queue.
_TRIES = 3


@cache
def worker() -> Worker:
    consumptions = Consumptions(
        container.access, container.issuers, container.snapshots, container.journal
    )
    return Worker(
        container.records,
        container.bucket,
        Exporter(container.access, consumptions, writer),
        ReportPublisher(
            container.records,
            Monthly(container.monthly_runs, container.records, container.bus),
            container.bus,
        ),
    )


def writer(form: str) -> Writer:
    """Return what writes a format; the second layer has a module of each, loaded when used."""
    module = importlib.import_module(f"timbres_reports.{form}_writer")
    write: Writer = module.write
    return write


@log.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> Any:
    """Make the reports that the messages name; return those to be tried again."""
    deadline = Deadline(context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS)

    def make(record: SQSRecord) -> None:
        last_try = int(record.attributes.approximate_receive_count) >= _TRIES
        try:
            message = json.loads(record.body)
            worker().make(message["account"], message["report"], last_try, deadline)
        except Exception as error:
            # The batch processor gives the message back and tells nobody why.
            ours = not isinstance(error, TimbresError)
            more = {"body": record.body, "pac_code": getattr(error, "pac_code", None)}
            log.warning("to be tried again: %s", error, exc_info=ours, extra=more)
            raise

    answer = process_partial_response(
        event=event, record_handler=make, processor=processor, context=context
    )
    metrics.tell()
    return answer
