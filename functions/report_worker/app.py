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
from timbres.handlers.http import TIMEOUT_MARGIN_SECONDS, logger
from timbres.observability import metrics
from timbres.services.consumption import ConsumptionReader
from timbres.services.monthly_reports import MonthlyReportService
from timbres.services.report_events import ReportPublisher
from timbres.services.report_generation import ReportGenerator
from timbres.services.report_writer import ReportWriter, Writer

container = Container(
    "SECRET_PREFIX",
    "ISSUERS_TABLE",
    "SNAPSHOTS_TABLE",
    "CONTRACTS_TABLE",
    "REPORTS_TABLE",
    "REPORTS_BUCKET",
    "CREDENTIAL_REJECTIONS_TABLE",
    "EVENT_BUS",
)
processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)
# As often as the queue hands a message out before it goes to the dead letter queue.
_MAX_RECEIVE_COUNT = 3


@cache
def report_generator() -> ReportGenerator:
    consumptions = ConsumptionReader(
        container.pac_access,
        container.issuer_repository,
        container.snapshot_repository,
        container.contract_repository,
    )
    return ReportGenerator(
        container.report_repository,
        container.report_store,
        ReportWriter(container.pac_access, consumptions, load_writer),
        ReportPublisher(
            container.report_repository,
            MonthlyReportService(
                container.monthly_run_repository,
                container.report_repository,
                container.event_publisher,
            ),
            container.event_publisher,
        ),
    )


def load_writer(file_format: str) -> Writer:
    """Return what writes a format; the second layer has a module of each, loaded when used."""
    module = importlib.import_module(f"timbres_reports.{file_format}_writer")
    write: Writer = module.write
    return write


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> Any:
    """Make the reports that the messages name; return those to be tried again."""
    deadline = Deadline(context.get_remaining_time_in_millis() / 1000 - TIMEOUT_MARGIN_SECONDS)

    def make(record: SQSRecord) -> None:
        last_try = int(record.attributes.approximate_receive_count) >= _MAX_RECEIVE_COUNT
        try:
            message = json.loads(record.body)
            report_generator().generate(message["account"], message["report"], last_try, deadline)
        except Exception as error:
            # The batch processor gives the message back and tells nobody why.
            ours = not isinstance(error, TimbresError)
            more = {"body": record.body, "pac_code": getattr(error, "pac_code", None)}
            logger.warning("to be tried again: %s", error, exc_info=ours, extra=more)
            raise

    answer = process_partial_response(
        event=event, record_handler=make, processor=processor, context=context
    )
    metrics.flush()
    return answer
