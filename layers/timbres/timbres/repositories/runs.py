"""DynamoDB repository for daily runs and their batches.

Entries of a run, by sort key: ``run``, its record; ``run#<account>``, its totals for an
account; ``batch#<account>#<number>``, the state of a batch. The index ``newest`` lists the
records by id. Entries of the run ``late`` are alert changes that were stored after their run
was closed; the next run that is finalized claims them.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from timbres.domain.account_stamps import Allotment
from timbres.domain.forecast import EXHAUSTED, LOW, Alert
from timbres.domain.run import (
    FINISHED,
    NOT_REACHED,
    RUNNING,
    AccountCount,
    AccountRun,
    AlertChange,
    Batch,
    BatchId,
    BatchResult,
    Failure,
    Rfcs,
    Run,
    RunStatus,
)
from timbres.domain.stamps import Stamps
from timbres.repositories.dynamodb import (
    Item,
    batch_get,
    conditional_write,
    decode_cursor,
    deserialize,
    encode_cursor,
    query_all,
    serialize,
    start_after,
    transact_write,
)

MAX_PAGE = 50
_KIND = "stamps"
_LATE_RETENTION = timedelta(days=14)
_FAILED = "failed#"
_ALERTS = "alerts#"
_LATE = "late"
# A transaction has at most 100 steps, one of them for the record.
_MAX_CLAIMS = 99


class RunRepository:
    """Stores runs; ``dynamodb`` is a client, ``table`` the table's name."""

    def __init__(self, dynamodb: Any, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    # ----------------------------------------------------------------------------- start

    def begin(self, run_id: str, at: datetime) -> Run:
        """Return the run of that id; create it if it does not exist."""
        item = {
            "run": run_id,
            "entry": "run",
            "kind": _KIND,
            "status": RUNNING,
            "started_at": at.isoformat(),
            "expires_at": _expiry(at),
        }
        # Another start may have created the same run.
        conditional_write(
            self._dynamodb.put_item,
            {},
            TableName=self._table,
            Item=serialize(item),
            ConditionExpression="attribute_not_exists(entry)",
        )
        run = self.get(run_id)
        if run is None:
            raise LookupError(f"the run {run_id} was deleted")
        return run

    def save_plan(
        self,
        run_id: str,
        account: str,
        batches: Iterable[Rfcs],
        problem: str | None,
        at: datetime,
        *,
        counts_account: bool = False,
        replaces: str | None = None,
    ) -> None:
        """Store an account's batches and the number of its issuers, unless stored before.

        The plan with the id ``replaces``, which has a problem and no batches, is replaced.
        ``counts_account``: the first batch, of which there is at least one, also counts the
        account itself. Nothing is stored once the finalization has started. Batches of a later
        or incomplete plan are ignored.
        """
        plan = uuid.uuid4().hex[:8]
        expected = 0
        for number, rfcs in enumerate(batches, start=1):
            expected += 1 if rfcs is None else len(rfcs)
            batch = BatchId(run_id, account, f"{plan}-{number:04d}")
            state = {
                "run": run_id,
                "entry": _entry(batch),
                "rfcs": rfcs,
                "counts_account": (counts_account and number == 1) or None,
                "version": 0,
                "expires_at": _expiry(at),
            }
            self._dynamodb.put_item(TableName=self._table, Item=serialize(state))
        values = {
            "plan_id": plan,
            "expected": expected,
            "problem": problem or "",
            "count_due": counts_account or None,
            "expires_at": _expiry(at),
        }
        condition = "attribute_not_exists(plan_id) OR plan_id = :replaced"
        operands = {":replaced": replaces or ""}
        save = self._step(run_id, f"run#{account}", values, condition, operands=operands)
        check = {
            "TableName": self._table,
            "Key": _key(run_id, "run"),
            "ConditionExpression": "attribute_not_exists(finalizer)",
        }
        transact_write(self._dynamodb, [{"Update": save}, {"ConditionCheck": check}])

    def incomplete_batches(self, run_id: str, account: AccountRun) -> Iterator[BatchId]:
        """Yield the planned batches of an account that are not complete."""
        prefix = f"batch#{account.account}#{account.plan}-"
        attributes = "entry, rfcs, counts_account"
        for item in self._entries(run_id, prefix, ProjectionExpression=attributes):
            if item.get("rfcs") != [] or item.get("counts_account", False):
                yield BatchId(run_id, account.account, item["entry"].rpartition("#")[2])

    def mark_enqueued(self, run_id: str, *, enqueued: bool = True) -> None:
        """Record whether the batches of every account are in the queue."""
        self._dynamodb.update_item(**self._step(run_id, "run", {"enqueued": enqueued}))

    # --------------------------------------------------------------------------- batches

    def get_batch(self, batch: BatchId) -> tuple[Run, Batch]:
        """Return a batch and its run, without accounts. Raises LookupError if not found."""
        entries = ("run", f"run#{batch.account}", _entry(batch))
        keys = [_key(batch.run, entry) for entry in entries]
        stored = map(deserialize, batch_get(self._dynamodb, self._table, keys))
        items = {item["entry"]: item for item in stored}
        if len(items) < len(keys):
            raise LookupError(f"{batch} was not found")
        record, account, state = (items[entry] for entry in entries)
        rfcs = state.get("rfcs")
        return _run(record, ()), Batch(
            id=batch,
            rfcs=None if rfcs is None else tuple(rfcs),
            not_reached=_not_reached(state),
            counts_account=state.get("counts_account", False),
            version=state["version"],
            closed=account.get("closed", False),
        )

    def save_result(self, batch: Batch, result: BatchResult, at: datetime) -> bool:
        """Store the result of an attempt and add it to the run's totals, in one transaction.

        Once the run is closed, its totals no longer change, and the next run claims the alert
        changes. Returns False, and changes nothing, if another attempt was stored first.
        """
        run, account = batch.id.run, f"run#{batch.id.account}"
        changes = [asdict(change) for change in result.alert_changes]
        sums = Counter({"done": result.done, "expected": result.unexpected})
        sums.update(f"{_FAILED}{failure.code}" for failure in result.failed)
        sums.update(unused=result.allotment.unused, unknown=result.allotment.unknown)
        sums["without_stamps"] += result.exhausted
        count: Item = {}
        if batch.counts_account and not result.account_due:
            count = {"count_due": False, "count": _count_to_map(result.account_count)}
        totals = self._step(run, account, count, "attribute_not_exists(closed)", sums)
        failures = [asdict(failure) for failure in result.failed] or None
        news = {f"{_ALERTS}{batch.version}": changes, f"{_FAILED}{batch.version}": failures}
        stored = self._batch_step(batch, result, news)
        failed = transact_write(self._dynamodb, [{"Update": stored}, {"Update": totals}])
        if failed and 0 not in failed:
            late = {
                "run": _LATE,
                "entry": f"{run}#{batch.id.account}#{batch.id.number}#{batch.version}",
                f"{_ALERTS}0": changes,
                "expires_at": _expiry(at, _LATE_RETENTION),
            }
            put = {"TableName": self._table, "Item": serialize(late)}
            stored = self._batch_step(batch, result, {"not_reached": batch.not_reached})
            failed = transact_write(self._dynamodb, [{"Update": stored}, {"Put": put}])
        return not failed

    def record_error(self, batch: BatchId) -> int | None:
        """Count an unexpected error of a batch; return its number of errors, None if unknown."""
        step = self._step(batch.run, _entry(batch), {}, "attribute_exists(entry)", {"errors": 1})
        step["ReturnValues"] = "UPDATED_NEW"
        errors = conditional_write(self._dynamodb.update_item, {}, **step).item.get("errors")
        return None if errors is None else int(errors)

    # ----------------------------------------------------------------------------- reads

    def get(self, run_id: str) -> Run | None:
        """Return a run with its accounts, or None."""
        items = list(self._entries(run_id, "run"))
        record = next((item for item in items if item["entry"] == "run"), None)
        if record is None:
            return None
        accounts = (_account_run(item) for item in items if item is not record)
        return _run(record, tuple(accounts))

    def list_page(self, after: str | None, limit: int = MAX_PAGE) -> tuple[list[Run], str | None]:
        """Return up to ``limit`` runs without accounts, newest first, and a cursor or None."""
        last = decode_cursor(after, {"kind": _KIND}, "run", "entry")
        page = self._dynamodb.query(
            TableName=self._table,
            IndexName="newest",
            KeyConditionExpression="kind = :kind",
            ExpressionAttributeValues=serialize({":kind": _KIND}),
            ScanIndexForward=False,
            Limit=limit,
            **start_after(last),
        )
        runs = [_run(deserialize(item), ()) for item in page["Items"]]
        return runs, encode_cursor(page.get("LastEvaluatedKey"))

    def list_failures(
        self, run: Run, account: str | None, after: str | None, page_size: int = 500
    ) -> tuple[list[Failure], str | None]:
        """Return the failures of a page of a run, and the next cursor or None.

        A page ends with the batch that reaches ``page_size`` failures. The first page begins with
        the accounts that were not counted at all. ``account`` selects one account. Issuers without
        a result are ``not-reached`` once the run is closed. Raises ``parameter-invalid`` for an
        invalid cursor.
        """
        chosen = {one.account: one for one in run.accounts if account in (None, one.account)}
        prefix = f"batch#{account}#" if account else "batch#"
        start = decode_cursor(after, {"run": run.id}, "entry", prefix=prefix)
        failures = [
            Failure(one.account, None, code)
            for one in ([] if start else chosen.values())
            for code in (one.plan_problem, one.count and one.count.problem)
            if code
        ]
        for item in self._entries(run.id, prefix, **start_after(start)):
            _, name, number = item["entry"].split("#")
            if name in chosen and number.startswith(f"{chosen[name].plan}-"):
                failures += _failures(item, name, is_closed=run.finished_at is not None)
            if len(failures) >= page_size:
                return failures, encode_cursor(serialize({"run": run.id, "entry": item["entry"]}))
        return failures, None

    def list_alert_changes(self, run_id: str) -> list[AlertChange]:
        """Return the alert changes of a run: its own, and the late ones that it claimed."""
        own = self._entries(run_id, "batch#")
        late = (item for item in self._entries(_LATE) if item.get("claimed_by") == run_id)
        return [change for item in (*own, *late) for change in _alert_changes(item)]

    def list_late_alert_changes(self) -> dict[str, list[AlertChange]]:
        """Return the late alert changes that no run has claimed yet, by sort key.

        As many entries as one run can claim; the next run claims the others.
        """
        late = (item for item in self._entries(_LATE) if "claimed_by" not in item)
        return {item["entry"]: _alert_changes(item) for item in islice(late, _MAX_CLAIMS)}

    # ---------------------------------------------------------------------- finalization

    def acquire_finalization(self, run_id: str, at: datetime, lease: timedelta) -> bool:
        """Return whether the caller may finalize a run; after ``lease``, another caller may."""
        values = {"finalizer": str(uuid.uuid4()), "finalizing_until": _expiry(at, lease)}
        step = self._step(
            run_id,
            "run",
            values,
            "attribute_not_exists(finalizing_until) OR finalizing_until < :now",
            operands={":now": int(at.timestamp())},
        )
        return conditional_write(self._dynamodb.update_item, values, **step).applied

    def close(self, run: Run) -> None:
        """Close the run: its totals no longer change."""
        for account in run.accounts:
            step = self._step(run.id, f"run#{account.account}", {"closed": True})
            self._dynamodb.update_item(**step)

    def seal(self, run: Run, at: datetime, alerts: Counter[str], late: Sequence[str]) -> None:
        """Store the final results of a closed run, and claim the ``late`` alert changes for it.

        Changes nothing if they are stored already, or if another run has claimed one of them.
        ``alerts`` has the number of alert changes per alert, including the late ones.
        """
        counts = {LOW: alerts[LOW], EXHAUSTED: alerts[EXHAUSTED]}
        values = {"finished_at": at.isoformat()} | counts
        record = self._step(run.id, "run", values, "attribute_not_exists(finished_at)")
        claims = [
            self._step(_LATE, entry, {"claimed_by": run.id}, "attribute_not_exists(claimed_by)")
            for entry in late
        ]
        transact_write(self._dynamodb, [{"Update": step} for step in (record, *claims)])

    def finish(self, run_id: str) -> None:
        """Record that the results of a run are published."""
        self._dynamodb.update_item(**self._step(run_id, "run", {"status": FINISHED}))

    # ----------------------------------------------------------------------------- items

    def _entries(self, run_id: str, prefix: str = "", **options: Any) -> Iterator[Item]:
        condition, values = "run = :run", {":run": run_id}
        if prefix:
            condition += " AND begins_with(entry, :prefix)"
            values[":prefix"] = prefix
        return query_all(
            self._dynamodb, self._table, condition, values, ConsistentRead=True, **options
        )

    def _step(
        self,
        run_id: str,
        entry: str,
        values: Item,
        condition: str | None = None,
        sums: Mapping[str, int] | None = None,
        operands: Item | None = None,
    ) -> Item:
        """Return the update that sets ``values`` of an entry, except None, and adds ``sums``."""
        sets = {name: value for name, value in values.items() if value is not None}
        names = [*sets, *(sums or {})]
        assigned = ", ".join(f"#a{n} = :a{n}" for n in range(len(sets)))
        added = ", ".join(f"#a{n} :a{n}" for n in range(len(sets), len(names)))
        clauses = [f"SET {assigned}" if assigned else "", f"ADD {added}" if added else ""]
        values = {f":a{n}": value for n, value in enumerate((sets | dict(sums or {})).values())}
        step = {
            "TableName": self._table,
            "Key": _key(run_id, entry),
            "UpdateExpression": " ".join(clauses).strip(),
            "ExpressionAttributeNames": {f"#a{n}": name for n, name in enumerate(names)},
            "ExpressionAttributeValues": serialize(values | (operands or {})),
        }
        return step | ({"ConditionExpression": condition} if condition else {})

    def _batch_step(self, batch: Batch, result: BatchResult, alerts: Item) -> Item:
        values = {
            "version": batch.version + 1,
            "rfcs": result.remaining,
            "counts_account": result.account_due,
            **alerts,
        }
        entry, operands = _entry(batch.id), {":stored": batch.version}
        return self._step(batch.id.run, entry, values, "version = :stored", operands=operands)


def _key(run: str, entry: str) -> Item:
    return serialize({"run": run, "entry": entry})


def _entry(batch: BatchId) -> str:
    return f"batch#{batch.account}#{batch.number}"


def _expiry(at: datetime, retention: timedelta = timedelta(days=400)) -> int:
    return int((at + retention).timestamp())


def _alert_changes(item: Item) -> list[AlertChange]:
    lists = (changes for name, changes in item.items() if name.startswith(_ALERTS))
    return [AlertChange(**change) for changes in lists for change in changes]


def _failures(item: Item, account: str, *, is_closed: bool) -> Iterator[Failure]:
    """Yield the failures of a batch."""
    for name, failures in item.items():
        if name.startswith(_FAILED):
            yield from (Failure(**failure) for failure in failures)
    if is_closed:
        yield from (Failure(account, rfc, NOT_REACHED) for rfc in _not_reached(item))


def _not_reached(batch: Item) -> tuple[str | None, ...]:
    """Return the issuers without a result when the run was closed; None for the whole account."""
    return tuple(batch["not_reached"] if "not_reached" in batch else batch.get("rfcs", [None]))


def _account_run(item: Item) -> AccountRun:
    failed = {
        name.removeprefix(_FAILED): count
        for name, count in sorted(item.items())
        if name.startswith(_FAILED)
    }
    account = AccountRun(
        account=item["entry"].partition("#")[2],
        expected=item.get("expected", 0),
        done=item.get("done", 0),
        failed=failed,
        plan=item.get("plan_id"),
        plan_problem=item.get("problem") or None,
        count=_count_from_map(item["count"]) if "count" in item else None,
        count_due=item.get("count_due", False),
        allotment=Allotment(item.get("unused", 0), item.get("unknown", 0)),
        exhausted=item.get("without_stamps", 0),
    )
    if not item.get("closed", False):
        return account
    if account.missing > 0:
        failed[NOT_REACHED] = account.missing
    if account.count_due:
        account = replace(account, count=AccountCount(problem=NOT_REACHED), count_due=False)
    return account


def _count_to_map(count: AccountCount | None) -> Item | None:
    if count is None:
        return None
    as_of = count.as_of and count.as_of.isoformat()
    others = {name: getattr(count, name) for name in ("days_left", "alert", "problem")}
    return asdict(count.stamps) | {"as_of": as_of} | others


def _count_from_map(values: Item) -> AccountCount:
    counts = {name: values[name] for name in ("contracted", "used", "available", "unlimited")}
    as_of, alert = _time(values, "as_of"), Alert(values["alert"])
    return AccountCount(Stamps(**counts), as_of, values["days_left"], alert, values["problem"])


def _time(item: Item, name: str) -> datetime | None:
    return datetime.fromisoformat(item[name]) if item.get(name) else None


def _run(item: Item, accounts: tuple[AccountRun, ...]) -> Run:
    return Run(
        id=item["run"],
        status=RunStatus(item["status"]),
        started_at=datetime.fromisoformat(item["started_at"]),
        finished_at=_time(item, "finished_at"),
        enqueued=item.get("enqueued", False),
        low=item.get("low", 0),
        exhausted=item.get("exhausted", 0),
        accounts=accounts,
    )
