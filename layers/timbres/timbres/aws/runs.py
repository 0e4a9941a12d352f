"""Runs in AWS: their records and parts in DynamoDB, and the queue of parts.

Entries of a run, by sort key: ``run``, its record; ``run#<account>``, how far it is with an
account; ``part#<account>#<number>``, what became of a part. Records are in the index
``newest`` by their id.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from timbres.aws.items import Item, chunks, cursor, packed, start, transact_write, unpacked
from timbres.domain.run import FINISHED, RUNNING, AccountRun, Crossing, Part, Run, Settled

_PAGE = 50
_KIND = "stamps"
_KEPT = timedelta(days=400)
_PARTS_KEPT = timedelta(days=14)
_FAILED = "failed#"
# The longest that SQS holds a message back.
MOST_DELAY_SECONDS = 900


class Runs:
    """The records of runs; ``dynamodb`` is a client, ``table`` the table's name."""

    def __init__(self, dynamodb: Any, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def begin(self, run_id: str, at: datetime) -> Run:
        """Write a new run, or return the one there is under that id."""
        item = {
            "run": run_id,
            "entry": "run",
            "kind": _KIND,
            "status": RUNNING,
            "started_at": at.isoformat(),
            "expires_at": int((at + _KEPT).timestamp()),
        }
        try:
            self._dynamodb.put_item(
                TableName=self._table,
                Item=packed(item),
                ConditionExpression="attribute_not_exists(entry)",
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            begun = self.get(run_id)
            if begun is None:
                raise
            return begun
        return Run(run_id, RUNNING, at)

    def get(self, run_id: str) -> Run | None:
        """Return a run with its accounts, or None."""
        items = [unpacked(item) for item in self._entries(run_id, "run")]
        record = next((item for item in items if item["entry"] == "run"), None)
        if record is None:
            return None
        accounts = (_account_run(item) for item in items if item is not record)
        return _run(record, tuple(accounts))

    def page(self, after: str | None) -> tuple[list[Run], str | None]:
        """Return up to 50 runs, newest first and without their accounts, and the cursor."""
        last = start(after, {"kind": _KIND}, "run", "entry")
        page = self._dynamodb.query(
            TableName=self._table,
            IndexName="newest",
            KeyConditionExpression="kind = :kind",
            ExpressionAttributeValues=packed({":kind": _KIND}),
            ScanIndexForward=False,
            Limit=_PAGE,
            **({"ExclusiveStartKey": last} if last else {}),
        )
        runs = [_run(unpacked(item), ()) for item in page["Items"]]
        return runs, cursor(page.get("LastEvaluatedKey"))

    def spread(
        self, run_id: str, account: str, expected: int, problem: str | None, at: datetime
    ) -> None:
        """Note that all parts of an account are in the queue, or why there are none."""
        self._update(
            run_id,
            f"run#{account}",
            "SET expected = if_not_exists(expected, :zero) + :expected, spread = :yes, "
            "problem = :problem, account = :account, expires_at = :expires_at",
            {
                ":zero": 0,
                ":expected": expected,
                ":yes": True,
                ":problem": problem or "",
                ":account": account,
                ":expires_at": int((at + _KEPT).timestamp()),
            },
            condition="attribute_not_exists(spread)",
        )

    def all_spread(self, run_id: str) -> None:
        """Note that the parts of every account are in the queue."""
        self._update(run_id, "run", "SET spread = :yes", {":yes": True})

    def settled(self, part: Part) -> Settled | None:
        """Return what became of a part, or None while it is to be counted."""
        answer = self._dynamodb.get_item(
            TableName=self._table, Key=_part_key(part), ConsistentRead=True
        )
        return _settled(part, unpacked(answer["Item"])) if "Item" in answer else None

    def settle(self, parts: Sequence[Settled], at: datetime) -> list[Settled]:
        """Keep what became of some parts of one account, and add it to the run: both or neither.

        Returns those that were not settled before: a message that comes twice adds nothing.
        """
        if not transact_write(self._dynamodb, self._settling(parts, at)):
            return list(parts)
        if len(parts) == 1:
            return []
        return [part for one in parts for part in self.settle([one], at)]

    def _settling(self, parts: Sequence[Settled], at: datetime) -> list[Item]:
        sums: Counter[str] = Counter()
        steps: list[Item] = []
        for settled in parts:
            sums.update({"done": settled.done, "expected": settled.expected})
            sums.update({f"{_FAILED}{code}": count for code, count in settled.failed.items()})
            item = {
                "done": settled.done,
                "expected": settled.expected,
                "failed": dict(settled.failed),
                "crossings": [_plain(one) for one in settled.crossings],
                "rest": _dumped(settled.rest) if settled.rest else None,
                "expires_at": int((at + _PARTS_KEPT).timestamp()),
            }
            put = {
                "TableName": self._table,
                "Item": _part_key(settled.part) | packed(item),
                "ConditionExpression": "attribute_not_exists(entry)",
            }
            steps.append({"Put": put})
        part = parts[0].part
        adds = {
            "TableName": self._table,
            "Key": packed({"run": part.run, "entry": f"run#{part.account}"}),
            "UpdateExpression": "ADD " + ", ".join(f"#a{n} :a{n}" for n in range(len(sums))),
            "ExpressionAttributeNames": {f"#a{n}": name for n, name in enumerate(sums)},
            "ExpressionAttributeValues": packed(
                {f":a{n}": count for n, count in enumerate(sums.values())}
            ),
        }
        return [*steps, {"Update": adds}]

    def crossings(self, run_id: str) -> Iterator[Crossing]:
        """Yield the issuers that a run found newly low or exhausted."""
        for item in self._entries(run_id, "part#", ProjectionExpression="crossings"):
            for one in unpacked(item).get("crossings", ()):
                yield Crossing(**{"days_left": None, "burn": None, **one})

    def take_finish(self, run_id: str, at: datetime, lease: timedelta) -> bool:
        """Tell whether the caller is the one to finish a run; another may after ``lease``."""
        return self._update(
            run_id,
            "run",
            "SET finishing_until = :until",
            {
                ":until": int((at + lease).timestamp()),
                ":now": int(at.timestamp()),
                ":running": RUNNING,
            },
            condition="#status = :running AND "
            "(attribute_not_exists(finishing_until) OR finishing_until < :now)",
            names={"#status": "status"},
        )

    def finish(
        self, run: Run, at: datetime, not_reached: dict[str, int], low: int, exhausted: int
    ) -> None:
        """Close a run; ``not_reached`` are the issuers of each account that never came."""
        for account, count in not_reached.items():
            self._update(
                run.id,
                f"run#{account}",
                "SET #failed = :count",
                {":count": count},
                names={"#failed": f"{_FAILED}not-reached"},
            )
        self._update(
            run.id,
            "run",
            "SET #status = :finished, finished_at = :at, low = :low, exhausted = :exhausted",
            {":finished": FINISHED, ":at": at.isoformat(), ":low": low, ":exhausted": exhausted},
            names={"#status": "status"},
        )

    def _entries(self, run_id: str, prefix: str, **more: Any) -> Iterator[Item]:
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression="run = :run AND begins_with(entry, :prefix)",
            ExpressionAttributeValues=packed({":run": run_id, ":prefix": prefix}),
            ConsistentRead=True,
            **more,
        )
        for page in pages:
            yield from page["Items"]

    def _update(
        self,
        run_id: str,
        entry: str,
        expression: str,
        values: Item,
        condition: str | None = None,
        names: dict[str, str] | None = None,
    ) -> bool:
        more: dict[str, Any] = {}
        if condition:
            more["ConditionExpression"] = condition
        if names:
            more["ExpressionAttributeNames"] = names
        try:
            self._dynamodb.update_item(
                TableName=self._table,
                Key=packed({"run": run_id, "entry": entry}),
                UpdateExpression=expression,
                ExpressionAttributeValues=packed(values),
                **more,
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True


class Queue:
    """The queue of parts; ``sqs`` is a client."""

    def __init__(self, sqs: Any, url: str) -> None:
        self._sqs = sqs
        self._url = url

    def send(self, parts: Sequence[Part], delay_seconds: int = 0) -> None:
        """Put parts into the queue, to be handed out after a delay of up to 15 minutes."""
        for some in chunks(parts, 10):
            answer = self._sqs.send_message_batch(
                QueueUrl=self._url,
                Entries=[
                    {
                        "Id": str(n),
                        "MessageBody": _dumped(part),
                        "DelaySeconds": min(delay_seconds, MOST_DELAY_SECONDS),
                    }
                    for n, part in enumerate(some)
                ],
            )
            if answer.get("Failed"):
                raise RuntimeError(f"parts were not queued: {answer['Failed'][0].get('Code')}")


def read_part(text: str) -> Part:
    """Return the part that a message names. Raises ValueError for what is none."""
    try:
        value = json.loads(text)
        rfcs = value.pop("rfcs")
        return Part(rfcs=None if rfcs is None else tuple(map(str, rfcs)), **value)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"no part of a run: {error}") from None


def _dumped(part: Part) -> str:
    return json.dumps(asdict(part), ensure_ascii=False)


def _part_key(part: Part) -> Item:
    return packed({"run": part.run, "entry": f"part#{part.account}#{part.number}"})


def _plain(crossing: Crossing) -> Item:
    return {name: value for name, value in asdict(crossing).items() if value is not None}


def _settled(part: Part, item: Item) -> Settled:
    return Settled(
        part=part,
        expected=item["expected"],
        done=item["done"],
        failed=item["failed"],
        crossings=tuple(
            Crossing(**{"days_left": None, "burn": None, **one}) for one in item["crossings"]
        ),
        rest=read_part(item["rest"]) if "rest" in item else None,
    )


def _account_run(item: Item) -> AccountRun:
    return AccountRun(
        account=item["entry"].partition("#")[2],
        expected=item.get("expected", 0),
        done=item.get("done", 0),
        failed={
            name.removeprefix(_FAILED): count
            for name, count in sorted(item.items())
            if name.startswith(_FAILED)
        },
        spread=item.get("spread", False),
        problem=item.get("problem") or None,
    )


def _run(item: Item, accounts: tuple[AccountRun, ...]) -> Run:
    return Run(
        id=item["run"],
        status=item["status"],
        started_at=datetime.fromisoformat(item["started_at"]),
        finished_at=datetime.fromisoformat(item["finished_at"]) if "finished_at" in item else None,
        spread=item.get("spread", False),
        low=item.get("low", 0),
        exhausted=item.get("exhausted", 0),
        accounts=accounts,
    )
