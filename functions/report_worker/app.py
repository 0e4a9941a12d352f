"""The report worker: generates the reports that a queue message names."""

from __future__ import annotations

import importlib
import json
from typing import Any

from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    process_partial_response,
)
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from timbres.aws.clients import client
from timbres.aws.object_store import ReportStore
from timbres.errors import TimbresError
from timbres.handlers.dependencies import (
    create_account_repository,
    create_event_publisher,
    create_pac_access,
)
from timbres.handlers.invocation import invocation_deadline, logger
from timbres.handlers.settings import get_env
from timbres.observability.metrics import metrics
from timbres.repositories.contracts import ContractRepository
from timbres.repositories.daily_counts import AccountStampRepository, SnapshotRepository
from timbres.repositories.issuers import IssuerRepository
from timbres.repositories.reports import MonthlyRunRepository, ReportRepository
from timbres.services.consumption import ConsumptionReader
from timbres.services.monthly_reports import MonthlyReportService
from timbres.services.report_events import ReportPublisher
from timbres.services.report_generation import ReportGenerator
from timbres.services.report_writer import ReportWriter, Writer


def load_writer(file_format: str) -> Writer:
    """Return the writer of a format. The reports layer has one module per format, loaded here."""
    module = importlib.import_module(f"timbres_reports.{file_format}_writer")
    write: Writer = module.write
    return write


pac_access = create_pac_access(create_account_repository(), "balance")
report_repository = ReportRepository(client("dynamodb"), get_env("REPORTS_TABLE"))
event_publisher = create_event_publisher()
processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)
# The queue moves a message to the dead letter queue after this many receives.
_MAX_RECEIVE_COUNT = 3
consumption_reader = ConsumptionReader(
    pac_access,
    IssuerRepository(client("dynamodb"), get_env("ISSUERS_TABLE")),
    SnapshotRepository(client("dynamodb"), get_env("SNAPSHOTS_TABLE")),
    ContractRepository(client("dynamodb"), get_env("CONTRACTS_TABLE")),
    AccountStampRepository(client("dynamodb"), get_env("SNAPSHOTS_TABLE")),
)
report_generator = ReportGenerator(
    report_repository,
    ReportStore(client("s3"), get_env("REPORTS_BUCKET")),
    ReportWriter(pac_access, consumption_reader, load_writer),
    ReportPublisher(
        report_repository,
        MonthlyReportService(
            MonthlyRunRepository(client("dynamodb"), get_env("REPORTS_TABLE")),
            report_repository,
            event_publisher,
        ),
        event_publisher,
    ),
)


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> Any:
    """Generate the reports that the messages name; return the messages to retry."""
    deadline = invocation_deadline(context)

    def process_message(record: SQSRecord) -> None:
        is_last = int(record.attributes.approximate_receive_count) >= _MAX_RECEIVE_COUNT
        try:
            message = json.loads(record.body)
            # A message of version 0.4 names one report.
            reports = message.get("reports") or [message["report"]]
            report_generator.generate(message["account"], reports, is_last, deadline)
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
