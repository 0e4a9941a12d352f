"""The SQS queues of requested reports and of batches of daily runs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from timbres.domain.report import Report
from timbres.domain.run import BatchId
from timbres.repositories.dynamodb import batched


class ReportQueue:
    """The queue of requested reports; a message names one report. ``sqs`` is a client."""

    def __init__(self, sqs: Any, url: str) -> None:
        self._sqs = sqs
        self._url = url

    def send(self, report: Report) -> None:
        """Request a report from a worker; a repeated message has no effect."""
        body = json.dumps({"account": report.spec.account, "report": report.id})
        self._sqs.send_message(QueueUrl=self._url, MessageBody=body)


class RunQueue:
    """A queue of batches; a message names one batch. ``sqs`` is a client."""

    def __init__(self, sqs: Any, url: str) -> None:
        self._sqs = sqs
        self._url = url

    def send(self, messages: Iterable[str]) -> None:
        """Send messages. Raises RuntimeError if SQS rejects any of them."""
        for bodies in batched(list(messages), 10):
            entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies)]
            response = self._sqs.send_message_batch(QueueUrl=self._url, Entries=entries)
            if response.get("Failed"):
                raise RuntimeError(f"batches were not queued: {response['Failed'][0].get('Code')}")

    def delay(self, receipt_handle: str, seconds: float) -> None:
        """Make a received message visible again after ``seconds``."""
        self._sqs.change_message_visibility(
            QueueUrl=self._url, ReceiptHandle=receipt_handle, VisibilityTimeout=round(seconds)
        )


def batch_to_json(batch: BatchId) -> str:
    """Return the message that names a batch."""
    return json.dumps(asdict(batch))


def batch_from_json(text: str) -> BatchId:
    """Return the batch that a message names. Raises ValueError if the message is invalid."""
    try:
        fields = json.loads(text)
        if not all(isinstance(value, str) and value for value in fields.values()):
            raise ValueError("expected texts")
        return BatchId(**fields)
    except (TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"not a batch of a run: {error}") from None
