"""The worker behind the runs: messages of the queue, each some issuers of one account."""

from __future__ import annotations

import gc
from functools import cache
from typing import Any

from timbres.api import metrics
from timbres.api.gateway import RESERVE_SECONDS, log
from timbres.api.parts import Parts, setting
from timbres.aws.runs import read_part
from timbres.deadline import Deadline
from timbres.domain.run import Part
from timbres.work.watch import Report, Watcher

# What fails is asked again in another message, minutes later, not at once.
parts = Parts(attempts=1)
# As often as the queue hands a message out before it goes to the dead letter queue.
_TRIES = 3

# What is loaded stays, and answers leave few cycles: to look for them after every few calls
# costs a tenth of a night.
gc.freeze()
gc.set_threshold(50_000, 20, 20)


@cache
def watcher() -> Watcher:
    return Watcher(
        parts.access,
        parts.issuers,
        parts.snapshots,
        parts.runs,
        parts.parts_queue,
        parts.pace,
        parts.bus,
        float(setting("RETRY_SECONDS")),
    )


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Count the issuers that the messages name; return the messages to be handed out again."""
    log.clear_state()
    log.append_keys(request_id=context.aws_request_id)
    deadline = Deadline(context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS)
    back: list[str] = []
    readable: list[tuple[dict[str, Any], Part]] = []
    for record in event["Records"]:
        try:
            readable.append((record, read_part(record["body"])))
        except ValueError as error:
            log.error("no part of a run: %s", error, extra={"body": record["body"][:500]})
            back.append(record["messageId"])
    report = watcher().count([part for _, part in readable], deadline)
    for place, broken in report.broken.items():
        record, part = readable[place]
        log.error("a part was not counted", exc_info=broken, extra={"part": part})
        if int(record["attributes"]["ApproximateReceiveCount"]) >= _TRIES:
            _give_up(part, report)
        back.append(record["messageId"])
    metrics.issuers_counted(report)
    metrics.tell()
    return {"batchItemFailures": [{"itemIdentifier": message} for message in back]}


def _give_up(part: Part, report: Report) -> None:
    try:
        watcher().give_up(part, report)
    except Exception:
        # The message is put aside all the same, and the run is closed when it is overdue.
        log.exception("a part could not be given up", extra={"part": part})
