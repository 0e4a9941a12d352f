"""Reports in AWS: their records in DynamoDB, their objects in S3, the queue between."""

from __future__ import annotations

import base64
import json
from datetime import datetime
from typing import IO, Any

from timbres.aws.items import Item, cursor, packed, start, unpacked
from timbres.domain.month import Month
from timbres.domain.report import MEDIA_TYPES, PENDING, Report, Wanted, version_id

LINK_SECONDS = 900
_PAGE = 100


class Records:
    """The records of reports; ``dynamodb`` is a boto3 client, ``table`` the table's name."""

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
    """The bucket of reports; ``s3`` is a boto3 client, ``name`` the bucket's."""

    def __init__(self, s3: Any, name: str) -> None:
        self._s3 = s3
        self._name = name

    def put(self, wanted: Wanted, file: IO[bytes], sha256: str) -> str:
        """Store a file as the newest version of a report; return the version's id.

        S3 itself checks the content against ``sha256`` (hexadecimal) and refuses another.
        """
        answer = self._s3.put_object(
            Bucket=self._name,
            Key=wanted.key,
            Body=file,
            ContentType=MEDIA_TYPES[wanted.format],
            ContentDisposition=_attachment(wanted.download_name),
            ChecksumSHA256=base64.b64encode(bytes.fromhex(sha256)).decode(),
        )
        return str(answer["VersionId"])

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
        "error": report.error,
    }


def _report(item: Item) -> Report:
    year, month = item["month"].split("-")
    wanted = Wanted(item["account"], Month(int(year), int(month)), item["kind"], item["format"])
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
        error=item.get("error"),
    )
