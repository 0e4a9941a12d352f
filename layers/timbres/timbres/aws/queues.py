"""The queues in SQS: reports to be written, and batches of daily runs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from timbres.domain.report import Report
from timbres.domain.run import BatchId
from timbres.repositories.dynamodb import batched


class ReportQueue:
    """The queue of reports to be made; one message names one record."""

    def __init__(self, sqs: Any, url: str) -> None:
        self._sqs = sqs
        self._url = url

    def send(self, report: Report) -> None:
        """Ask a worker to make a report; asking twice makes it once."""
        body = json.dumps({"account": report.spec.account, "report": report.id})
        self._sqs.send_message(QueueUrl=self._url, MessageBody=body)


class RunQueue:
    """A queue of batches; ``sqs`` is a client."""

    def __init__(self, sqs: Any, url: str) -> None:
        self._sqs = sqs
        self._url = url

    def send(self, messages: Iterable[str]) -> None:
        """Send messages. Raises RuntimeError when SQS refuses any of them."""
        for some in batched(list(messages), 10):
            entries = [{"Id": str(n), "MessageBody": text} for n, text in enumerate(some)]
            answer = self._sqs.send_message_batch(QueueUrl=self._url, Entries=entries)
            if answer.get("Failed"):
                raise RuntimeError(f"batches were not queued: {answer['Failed'][0].get('Code')}")

    def delay(self, receipt_handle: str, seconds: float) -> None:
        """Let a message that was received, and is not deleted, come again after some seconds."""
        self._sqs.change_message_visibility(
            QueueUrl=self._url, ReceiptHandle=receipt_handle, VisibilityTimeout=round(seconds)
        )


def batch_to_json(batch: BatchId) -> str:
    """Return the message that names a batch."""
    return json.dumps(asdict(batch))


def batch_from_json(text: str) -> BatchId:
    """Return the batch that a message names. Raises ValueError for any other text."""
    try:
        names = json.loads(text)
        if not all(isinstance(name, str) and name for name in names.values()):
            raise ValueError("expected texts")
        return BatchId(**names)
    except (TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"not a batch of a run: {error}") from None
