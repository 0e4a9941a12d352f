"""Reports in AWS: their records in DynamoDB, their objects in S3, the queue between."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from timbres.aws.items import Item, chunks, cursor, packed, read_batch, start, unpacked
from timbres.aws.upload import Upload
from timbres.domain.month import Month, read_month
from timbres.domain.report import MEDIA_TYPES, PENDING, MonthlyRun, Report, Wanted, version_id

LINK_SECONDS = 900
# No account's name has a #.
_RUNS = "#run"
_PAGE = 100


class Records:
    """The records of reports; ``dynamodb`` is a client, ``table`` the table's name."""

    def __init__(self, dynamodb: Any, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def versions(self, wanted: Wanted) -> list[Report]:
        """Return every version of a report, newest first."""
        page = self._query(wanted.account, wanted.stem + "-")
        return [_report(unpacked(item)) for item in page["Items"]]

    def add(self, wanted: Wanted, version: int, by: str, at: datetime, run: str | None) -> Report:
        """Write a new pending record, or return the one that another request wrote first."""
        report = Report(
            id=version_id(wanted.stem, version),
            wanted=wanted,
            status=PENDING,
            requested_by=by,
            created_at=at,
            run=run,
        )
        try:
            self._dynamodb.put_item(
                TableName=self._table,
                Item=packed(_item(report)),
                ConditionExpression="attribute_not_exists(id)",
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            written = self.get(wanted.account, report.id)
            if written is None:
                raise
            return written
        return report

    def get(self, account: str, report_id: str) -> Report | None:
        """Return a report's record, or None."""
        answer = self._dynamodb.get_item(
            TableName=self._table,
            Key=packed({"account": account, "id": report_id}),
            ConsistentRead=True,
        )
        return _report(unpacked(answer["Item"])) if "Item" in answer else None

    def many(self, reports: Sequence[tuple[str, str]]) -> Iterator[Report]:
        """Yield the records of reports, (account, id) each, as they stand now."""
        for some in chunks(reports, 100):
            keys = [packed({"account": account, "id": one}) for account, one in some]
            for item in read_batch(self._dynamodb, self._table, keys):
                yield _report(unpacked(item))

    def page(
        self, account: str, month: Month | None, after: str | None
    ) -> tuple[list[Report], str | None]:
        """Return reports, newest month first, up to 100, and the cursor of the rest or None."""
        prefix = f"{month}-" if month else ""
        last = start(after, {"account": account}, "id", prefix=prefix)
        page = self._query(
            account,
            prefix,
            Limit=_PAGE,
            **({"ExclusiveStartKey": last} if last else {}),
        )
        reports = [_report(unpacked(item)) for item in page["Items"]]
        return reports, cursor(page.get("LastEvaluatedKey"))

    def adopt(self, report: Report, run: str) -> None:
        """Let a report that is pending be what a run asked for, too."""
        self._dynamodb.update_item(
            TableName=self._table,
            Key=packed({"account": report.wanted.account, "id": report.id}),
            UpdateExpression="SET #run = :run",
            ExpressionAttributeNames={"#run": "run"},
            ExpressionAttributeValues=packed({":run": run}),
        )

    def settle(self, report: Report) -> bool:
        """Write a report ready or failed; False when it is pending no more."""
        changes = {
            k: v for k, v in _item(report).items() if k not in ("account", "id") and v is not None
        }
        try:
            self._dynamodb.update_item(
                TableName=self._table,
                Key=packed({"account": report.wanted.account, "id": report.id}),
                UpdateExpression="SET " + ", ".join(f"#{k} = :{k}" for k in changes),
                ConditionExpression="#status = :pending",
                ExpressionAttributeNames={f"#{k}": k for k in changes},
                ExpressionAttributeValues=packed(
                    {f":{k}": v for k, v in changes.items()} | {":pending": PENDING}
                ),
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def is_announced(self, report: Report) -> bool:
        """Tell whether the event of a settled report was published."""
        answer = self._dynamodb.get_item(
            TableName=self._table,
            Key=packed({"account": report.wanted.account, "id": report.id}),
            ConsistentRead=True,
        )
        return "announced" in answer.get("Item", {})

    def announced(self, report: Report) -> None:
        """Remember that the event of a settled report was published."""
        self._dynamodb.update_item(
            TableName=self._table,
            Key=packed({"account": report.wanted.account, "id": report.id}),
            UpdateExpression="SET announced = :yes",
            ExpressionAttributeValues=packed({":yes": True}),
        )

    def _query(self, account: str, prefix: str, **more: Any) -> Item:
        condition, values = "account = :account", {":account": account}
        if prefix:
            condition += " AND begins_with(id, :prefix)"
            values[":prefix"] = prefix
        answer: Item = self._dynamodb.query(
            TableName=self._table,
            KeyConditionExpression=condition,
            ExpressionAttributeValues=packed(values),
            ScanIndexForward=False,
            ConsistentRead=True,
            **more,
        )
        return answer


class MonthlyRuns:
    """The records of monthly runs, in the same table as the reports that they asked for."""

    def __init__(self, dynamodb: Any, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def begin(self, run: str, month: Month, at: datetime) -> None:
        """Write a run's record, unless it is there."""
        with contextlib.suppress(self._dynamodb.exceptions.ConditionalCheckFailedException):
            self._dynamodb.put_item(
                TableName=self._table,
                Item=packed(_run_key(run) | {"month": str(month), "started_at": at.isoformat()}),
                ConditionExpression="attribute_not_exists(id)",
            )

    def asked(self, run: str, reports: list[tuple[str, str]], failed: dict[str, str]) -> None:
        """Write what a run has asked for, (account, id) each, and which accounts failed."""
        self._set(run, asked=[f"{account}/{one}" for account, one in reports], failed=failed)

    def told(self, run: str, at: datetime) -> None:
        """Remember that a run's end was published."""
        self._set(run, told_at=at.isoformat())

    def get(self, run: str) -> MonthlyRun | None:
        """Return a run, or None."""
        answer = self._dynamodb.get_item(
            TableName=self._table, Key=packed(_run_key(run)), ConsistentRead=True
        )
        return _monthly(unpacked(answer["Item"])) if "Item" in answer else None

    def open(self) -> list[MonthlyRun]:
        """Return the runs whose end was not published, of the newest there are."""
        return [run for run in self.newest() if run.told_at is None]

    def newest(self) -> list[MonthlyRun]:
        """Return the newest hundred runs, the newest first."""
        answer = self._dynamodb.query(
            TableName=self._table,
            KeyConditionExpression="account = :runs",
            ExpressionAttributeValues=packed({":runs": _RUNS}),
            ScanIndexForward=False,
            ConsistentRead=True,
            Limit=_PAGE,
        )
        return [_monthly(unpacked(item)) for item in answer["Items"]]

    def _set(self, run: str, **values: Any) -> None:
        self._dynamodb.update_item(
            TableName=self._table,
            Key=packed(_run_key(run)),
            UpdateExpression="SET " + ", ".join(f"{name} = :{name}" for name in values),
            ExpressionAttributeValues=packed({f":{k}": v for k, v in values.items()}),
        )


class Queue:
    """The queue of reports to be made; one message names one record."""

    def __init__(self, sqs: Any, url: str) -> None:
        self._sqs = sqs
        self._url = url

    def send(self, report: Report) -> None:
        """Ask a worker to make a report; asking twice makes it once."""
        body = json.dumps({"account": report.wanted.account, "report": report.id})
        self._sqs.send_message(QueueUrl=self._url, MessageBody=body)


class Bucket:
    """The bucket of reports; ``s3`` is a client, ``name`` the bucket's."""

    def __init__(self, s3: Any, name: str) -> None:
        self._s3 = s3
        self._name = name

    def upload(self, wanted: Wanted) -> Upload:
        """Return where the newest version of a report is written to, piece by piece."""
        return Upload(
            self._s3,
            self._name,
            wanted.key,
            ContentType=MEDIA_TYPES[wanted.format],
            ContentDisposition=_attachment(wanted.download_name),
        )

    def link(self, report: Report) -> str:
        """Return a link to a ready report's own version, good for 15 minutes."""
        wanted = report.wanted
        return self.signed(wanted.key, report.object_version, wanted.download_name, LINK_SECONDS)

    def signed(self, key: str, version: str | None, name: str, seconds: int) -> str:
        """Return a link to one version of an object, saved under ``name``, good for ``seconds``."""
        return str(
            self._s3.generate_presigned_url(
                "get_object",
                Params={
                    "Bucket": self._name,
                    "Key": key,
                    "VersionId": version,
                    "ResponseContentDisposition": _attachment(name),
                },
                ExpiresIn=seconds,
            )
        )


def _run_key(run: str) -> Item:
    return {"account": _RUNS, "id": run}


def _monthly(item: Item) -> MonthlyRun:
    asked = item.get("asked")
    return MonthlyRun(
        id=item["id"],
        month=item["month"],
        started_at=datetime.fromisoformat(item["started_at"]),
        reports=None if asked is None else [_pair(one) for one in asked],
        failed=item.get("failed", {}),
        told_at=datetime.fromisoformat(item["told_at"]) if "told_at" in item else None,
    )


def _pair(text: str) -> tuple[str, str]:
    account, _, report = text.partition("/")
    return account, report


def _attachment(name: str) -> str:
    return f'attachment; filename="{name}"'


def _item(report: Report) -> Item:
    return {
        "account": report.wanted.account,
        "id": report.id,
        "month": str(report.wanted.month),
        "kind": report.wanted.kind,
        "format": report.wanted.format,
        "status": report.status,
        "requested_by": report.requested_by,
        "created_at": report.created_at.isoformat(),
        "settled_at": report.settled_at.isoformat() if report.settled_at else None,
        "run": report.run,
        "bytes": report.bytes,
        "sha256": report.sha256,
        "rows": report.rows,
        "object_version": report.object_version,
        "seconds": report.seconds,
        "differences": report.differences,
        "error": report.error,
    }


def _report(item: Item) -> Report:
    wanted = Wanted(item["account"], read_month(item["month"]), item["kind"], item["format"])
    settled_at = item.get("settled_at")
    return Report(
        id=item["id"],
        wanted=wanted,
        status=item["status"],
        requested_by=item["requested_by"],
        created_at=datetime.fromisoformat(item["created_at"]),
        settled_at=datetime.fromisoformat(settled_at) if settled_at else None,
        run=item.get("run"),
        bytes=item.get("bytes"),
        sha256=item.get("sha256"),
        rows=item.get("rows"),
        object_version=item.get("object_version"),
        seconds=item.get("seconds"),
        differences=item.get("differences"),
        error=item.get("error"),
    )
