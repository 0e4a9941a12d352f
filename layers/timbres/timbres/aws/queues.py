"""The SQS queues of requested reports and of batches of daily runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from botocore.exceptions import ClientError

from timbres.domain.report import Report
from timbres.domain.run import BatchId
from timbres.repositories.dynamodb import batched


class ReportQueue:
    """The queue of requested reports. ``sqs`` is a client.

    A message names the reports that a worker writes from the same data: the formats of an account's
    consumption. A statement has a message of its own.
    """

    def __init__(self, sqs: Any, url: str) -> None:
        self._sqs = sqs
        self._url = url

    def send(self, reports: Iterable[Report]) -> None:
        """Request reports from the workers; a repeated message has no effect.

        Raises ClientError if SQS rejects any of the messages.
        """
        together: dict[tuple[str, ...], list[str]] = {}
        for report in reports:
            spec = report.spec
            own = (report.id,) if spec.kind == "statement" else ()
            key = (spec.account, spec.kind, str(spec.month), *own)
            together.setdefault(key, []).append(report.id)
        bodies = [{"account": key[0], "reports": ids} for key, ids in together.items()]
        _send(self._sqs, self._url, [json.dumps(body) for body in bodies])


class RunQueue:
    """A queue of batches; a message names one batch. ``sqs`` is a client."""

    def __init__(self, sqs: Any, url: str) -> None:
        self._sqs = sqs
        self._url = url

    def send(self, messages: Iterable[str]) -> None:
        """Send messages. Raises ClientError if SQS rejects any of them."""
        _send(self._sqs, self._url, list(messages))

    def delay(self, receipt_handle: str, seconds: float) -> None:
        """Make a received message visible again after ``seconds``."""
        self._sqs.change_message_visibility(
            QueueUrl=self._url, ReceiptHandle=receipt_handle, VisibilityTimeout=round(seconds)
        )


def _send(sqs: Any, url: str, messages: Sequence[str]) -> None:
    for bodies in batched(messages, 10):
        entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies)]
        response = sqs.send_message_batch(QueueUrl=url, Entries=entries)
        if response.get("Failed"):
            raise ClientError({"Error": response["Failed"][0]}, "SendMessageBatch")


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
