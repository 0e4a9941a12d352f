"""The report worker: generates the reports that a queue message names."""

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
from timbres.observability.metrics import metrics
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
    calls=("balance",),
)
processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)
# The queue moves a message to the dead letter queue after this many receives.
_MAX_RECEIVE_COUNT = 3


@cache
def report_generator() -> ReportGenerator:
    consumption_reader = ConsumptionReader(
        container.pac_access,
        container.issuer_repository,
        container.snapshot_repository,
        container.contract_repository,
        container.account_stamp_repository,
    )
    return ReportGenerator(
        container.report_repository,
        container.report_store,
        ReportWriter(container.pac_access, consumption_reader, load_writer),
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
    """Return the writer of a format. The reports layer has one module per format, loaded here."""
    module = importlib.import_module(f"timbres_reports.{file_format}_writer")
    write: Writer = module.write
    return write


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> Any:
    """Generate the reports that the messages name; return the messages to retry."""
    deadline = Deadline(context.get_remaining_time_in_millis() / 1000 - TIMEOUT_MARGIN_SECONDS)

    def process_message(record: SQSRecord) -> None:
        is_last = int(record.attributes.approximate_receive_count) >= _MAX_RECEIVE_COUNT
        try:
            message = json.loads(record.body)
            # A message of version 0.4 names one report.
            reports = message.get("reports") or [message["report"]]
            report_generator().generate(message["account"], reports, is_last, deadline)
        except Exception as error:
            # The batch processor returns the message and does not log the reason.
            is_unexpected = not isinstance(error, TimbresError)
            extra = {"body": record.body, "pac_code": getattr(error, "pac_code", None)}
            logger.warning("report will be retried: %s", error, exc_info=is_unexpected, extra=extra)
            raise

    response = process_partial_response(
        event=event, record_handler=process_message, processor=processor, context=context
    )
    metrics.flush()
    return response
