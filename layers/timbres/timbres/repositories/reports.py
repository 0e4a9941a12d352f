"""DynamoDB repositories for reports and monthly runs."""

from __future__ import annotations

import json
import uuid
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from boto3.dynamodb.types import Binary

from timbres.domain.month import Month, Year, period_from_text
from timbres.domain.report import (
    PENDING,
    MonthlyRun,
    Report,
    ReportKey,
    ReportSpec,
    ReportStatus,
    version_id,
)
from timbres.repositories.dynamodb import (
    Item,
    batch_get,
    batched,
    conditional_write,
    decode_cursor,
    deserialize,
    encode_cursor,
    query_all,
    serialize,
    start_after,
)

# Cannot be an account's name, because of the #.
_RUNS = "#run"
MAX_PAGE = 100
# The index of reports whose event may not be published.
_UNPUBLISHED = "unannounced"
_YES = "yes"
_NEWEST: Item = {"ScanIndexForward": False, "ConsistentRead": True}


class ReportRepository:
    """Stores reports; ``dynamodb`` is a client, ``table`` the table's name."""

    def __init__(self, dynamodb: Any, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def list_month(self, account: str, period: Month | Year) -> list[Report]:
        """Return every version of every report of an account and a period, newest id first."""
        items = query_all(
            self._dynamodb, self._table, *_range(account, _id_prefix(period)), **_NEWEST
        )
        return [_report(item) for item in items]

    def create(
        self, spec: ReportSpec, version: int, by: str, at: datetime, run: str | None
    ) -> Report | None:
        """Write a new pending report; return None if another request has written that version."""
        report = Report(version_id(spec.id_prefix, version), spec, PENDING, by, at, run)
        # Equal requests of the same second may both return the record as theirs.
        own = {"requested_by": by, "created_at": at.isoformat()} | ({"run": run} if run else {})
        write = conditional_write(
            self._dynamodb.put_item,
            own,
            TableName=self._table,
            Item=serialize(_item(report)),
            ConditionExpression="attribute_not_exists(id)",
        )
        return report if write.applied else None

    def get(self, account: str, report_id: str) -> Report | None:
        """Return a report, or None."""
        response = self._dynamodb.get_item(
            TableName=self._table,
            Key=serialize({"account": account, "id": report_id}),
            ConsistentRead=True,
        )
        return _report(deserialize(response["Item"])) if "Item" in response else None

    def get_many(self, reports: Sequence[ReportKey]) -> Iterator[Report]:
        """Yield the existing reports of ``reports``, by consistent reads."""
        for batch in batched(reports, 100):
            keys = [
                serialize({"account": account, "id": report_id}) for account, report_id in batch
            ]
            for item in batch_get(self._dynamodb, self._table, keys):
                yield _report(deserialize(item))

    def list_page(
        self,
        account: str,
        period: Month | Year | None,
        after: str | None,
        limit: int = MAX_PAGE,
    ) -> tuple[list[Report], str | None]:
        """Return up to ``limit`` reports, newest month first, and the next cursor or None.

        Those of a year are the reports of the year, and not of its months.
        """
        prefix = _id_prefix(period) if period else ""
        last = decode_cursor(after, {"account": account}, "id", prefix=prefix)
        condition, values = _range(account, prefix)
        page = self._dynamodb.query(
            TableName=self._table,
            KeyConditionExpression=condition,
            ExpressionAttributeValues=serialize(values),
            Limit=limit,
            **_NEWEST,
            **start_after(last),
        )
        reports = [_report(deserialize(item)) for item in page["Items"]]
        return reports, encode_cursor(page.get("LastEvaluatedKey"))

    def attach_to_run(self, report: Report, run: str) -> Report | None:
        """Attach a pending report to ``run``; return None if it is settled or has a run."""
        write = conditional_write(
            self._dynamodb.update_item,
            {"run": run},
            TableName=self._table,
            Key=_key(report),
            UpdateExpression="SET #run = :run",
            ConditionExpression="#status = :pending AND attribute_not_exists(#run)",
            ExpressionAttributeNames={"#run": "run", "#status": "status"},
            ExpressionAttributeValues=serialize({":run": run, ":pending": PENDING}),
            ReturnValues="ALL_NEW",
        )
        return _report(write.item) if write.applied else None

    def finalize(self, report: Report) -> Report | None:
        """Write the outcome of a pending report, ready or failed, and mark it as unpublished.

        Returns the stored report, with the run to which it was attached meanwhile; None if it was
        not pending, because another worker settled it.
        """
        # Two workers may generate the same report at once: the token identifies the writer.
        own = {"settlement": uuid.uuid4().hex}
        changes = own | {"unannounced": _YES} | _outcome(report)
        changes = {name: value for name, value in changes.items() if value is not None}
        write = conditional_write(
            self._dynamodb.update_item,
            own,
            TableName=self._table,
            Key=_key(report),
            **_set(changes, {":pending": PENDING}),
            ConditionExpression="#status = :pending",
            ReturnValues="ALL_NEW",
        )
        return _report(write.item) if write.applied else None

    def mark_published(self, report: Report) -> None:
        """Record that the event of a settled report was published."""
        conditional_write(
            self._dynamodb.update_item,
            {},
            TableName=self._table,
            Key=_key(report),
            UpdateExpression="REMOVE unannounced",
            # Without the condition, an update would create a deleted item again.
            ConditionExpression="attribute_exists(id)",
        )

    def list_unpublished(self) -> Iterator[Report]:
        """Yield the settled reports whose event may not be published.

        A report that was settled within the last second may be missing.
        """
        items = query_all(
            self._dynamodb,
            self._table,
            "unannounced = :yes",
            {":yes": _YES},
            IndexName=_UNPUBLISHED,
        )
        for batch in batched(list(items), 100):
            # The index lags behind the table.
            reports = self.get_many([(item["account"], item["id"]) for item in batch])
            yield from (report for report in reports if report.is_unpublished)


class MonthlyRunRepository:
    """Stores monthly runs, in the same table as the reports that they requested."""

    def __init__(self, dynamodb: Any, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def begin(self, run: str, month: Month, at: datetime) -> None:
        """Write a new run, unless it exists."""
        conditional_write(
            self._dynamodb.put_item,
            {},
            TableName=self._table,
            Item=serialize(_run_key(run) | {"month": str(month), "started_at": at.isoformat()}),
            ConditionExpression="attribute_not_exists(id)",
        )

    def save(self, run: MonthlyRun, changed: MonthlyRun) -> MonthlyRun | None:
        """Write the differences of ``changed`` to ``run``, the version that was read.

        Returns the stored run; None if another writer has changed it meanwhile.
        """
        before, after = _run_item(run), _run_item(changed)
        own = {"revision": uuid.uuid4().hex}
        changes = {k: v for k, v in after.items() if v != before[k] and v is not None} | own
        unchanged = "attribute_exists(id) AND " + (
            "attribute_not_exists(#revision)" if run.revision is None else "#revision = :before"
        )
        write = conditional_write(
            self._dynamodb.update_item,
            own,
            TableName=self._table,
            Key=serialize(_run_key(run.id)),
            **_set(changes, {":before": run.revision}),
            ConditionExpression=unchanged,
        )
        return replace(changed, revision=own["revision"]) if write.applied else None

    def get(self, run: str) -> MonthlyRun | None:
        """Return a run, or None."""
        response = self._dynamodb.get_item(
            TableName=self._table, Key=serialize(_run_key(run)), ConsistentRead=True
        )
        return _monthly_run(deserialize(response["Item"])) if "Item" in response else None

    def list_recent(self) -> list[MonthlyRun]:
        """Return the 100 newest runs, newest first."""
        response = self._dynamodb.query(
            TableName=self._table,
            KeyConditionExpression="account = :runs",
            ExpressionAttributeValues=serialize({":runs": _RUNS}),
            ScanIndexForward=False,
            ConsistentRead=True,
            Limit=MAX_PAGE,
        )
        return [_monthly_run(deserialize(item)) for item in response["Items"]]


def _id_prefix(period: Month | Year) -> str:
    """Return what the ids of a period's reports begin with; those of its months do not."""
    return f"{period}-consumption-" if isinstance(period, Year) else f"{period}-"


def _set(changes: Item, further: Item) -> Item:
    """Return the expression that sets attributes; ``further`` are values of the condition."""
    return {
        "UpdateExpression": "SET " + ", ".join(f"#{name} = :{name}" for name in changes),
        "ExpressionAttributeNames": {f"#{name}": name for name in changes},
        "ExpressionAttributeValues": serialize(
            {f":{name}": value for name, value in changes.items()} | further
        ),
    }


def _run_key(run: str) -> Item:
    return {"account": _RUNS, "id": run}


def _run_item(run: MonthlyRun) -> Item:
    """Return the attributes of a run that change, except for its revision."""
    return {
        "asked": None if run.reports is None else _compress(_texts(run.reports)),
        "late": _compress(_texts(run.late)),
        "supplement": _compress(_texts(run.supplement)),
        "failed": _compress(dict(run.failed)),
        "late_failed": _compress(dict(run.late_failed)),
        "events": run.number,
        "published": run.published,
        "told_at": run.published_at.isoformat() if run.published_at else None,
    }


def _monthly_run(item: Item) -> MonthlyRun:
    reports = item.get("asked")
    late, supplement = (_decompress(item.get(name, [])) for name in ("late", "supplement"))
    # Items without a number of events have at most one.
    events = int("told_at" in item)
    return MonthlyRun(
        id=item["id"],
        month=item["month"],
        started_at=datetime.fromisoformat(item["started_at"]),
        reports=None if reports is None else [_report_key(text) for text in _decompress(reports)],
        late=[_report_key(text) for text in late],
        supplement=[_report_key(text) for text in supplement],
        failed=_decompress(item.get("failed", {})),
        late_failed=_decompress(item.get("late_failed", {})),
        number=item.get("events", events),
        published=item.get("published", events),
        published_at=datetime.fromisoformat(item["told_at"]) if "told_at" in item else None,
        revision=item.get("revision"),
    )


def _compress(value: Any) -> bytes:
    # 8,000 reports of 2,000 accounts are 340 KB of text, near the limit of an item, and 21 KB here.
    return zlib.compress(json.dumps(value).encode())


def _decompress(value: Any) -> Any:
    """Return a compressed value; items of older versions have the value itself."""
    # bytes: the stubs of Binary do not have its value.
    return json.loads(zlib.decompress(bytes(value))) if isinstance(value, Binary) else value  # type: ignore[call-overload]


def _texts(reports: Sequence[ReportKey]) -> list[str]:
    return [f"{account}/{report}" for account, report in reports]


def _report_key(text: str) -> ReportKey:
    account, _, report = text.partition("/")
    return account, report


def _key(report: Report) -> Item:
    return serialize({"account": report.spec.account, "id": report.id})


# Attributes of a report that are stored unchanged once it is settled.
_RESULTS = (
    *("bytes", "sha256", "rows", "object_version", "seconds"),
    *("differences", "summary", "error"),
)


def _item(report: Report) -> Item:
    return {
        "account": report.spec.account,
        "id": report.id,
        "month": str(report.spec.month),
        "kind": report.spec.kind,
        "format": report.spec.format,
        "requested_by": report.requested_by,
        "created_at": report.created_at.isoformat(),
        "run": report.run,
        **_outcome(report),
    }


def _outcome(report: Report) -> Item:
    """Return the attributes that the outcome of a report changes."""
    settled_at = report.settled_at.isoformat() if report.settled_at else None
    results = {name: getattr(report, name) for name in _RESULTS}
    return {"status": report.status, "settled_at": settled_at, **results}


def _report(item: Item) -> Report:
    settled_at = item.get("settled_at")
    period = period_from_text(item["month"])
    return Report(
        id=item["id"],
        spec=ReportSpec(item["account"], period, item["kind"], item["format"]),
        status=ReportStatus(item["status"]),
        requested_by=item["requested_by"],
        created_at=datetime.fromisoformat(item["created_at"]),
        settled_at=datetime.fromisoformat(settled_at) if settled_at else None,
        run=item.get("run"),
        is_unpublished="unannounced" in item,
        **{name: item.get(name) for name in _RESULTS},
    )


def _range(account: str, prefix: str) -> tuple[str, Item]:
    if not prefix:
        return "account = :account", {":account": account}
    condition = "account = :account AND begins_with(id, :prefix)"
    return condition, {":account": account, ":prefix": prefix}
