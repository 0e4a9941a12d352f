"""Mutations of the code, and the tests that must detect them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Edit:
    """Replaces ``old``, which must occur exactly once in the file ``path``, with ``new``."""

    path: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutation:
    """Edits that break a property, and the pytest arguments of the tests that must detect it."""

    name: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]


RULES = "layers/timbres/timbres/domain/contract.py"
TRACE = "layers/timbres/timbres/domain/trace.py"
JOURNAL = "layers/timbres/timbres/repositories/contracts.py"
SERVICE = "layers/timbres/timbres/services/contracts.py"
CONTRACT_EVENTS = "layers/timbres/timbres/services/contract_events.py"
RECONCILIATION = "layers/timbres/timbres/services/reconciliation.py"
ACCOUNT = "layers/timbres/timbres/domain/account.py"
CODES = "layers/timbres/timbres/pacs/errors.py"
WRITES = "layers/timbres/timbres/repositories/dynamodb.py"

ACCESS = "layers/timbres/timbres/services/pac_access.py"
REJECTIONS = "layers/timbres/timbres/repositories/credential_rejections.py"
WORKER = "layers/timbres/timbres/services/daily_run/worker.py"
FINALIZATION = "layers/timbres/timbres/services/daily_run/finalization.py"
RUNS = "layers/timbres/timbres/repositories/runs.py"
MONTHLY = "layers/timbres/timbres/services/monthly_reports.py"
BALANCE = "layers/timbres/timbres/domain/balance.py"

TORTURE = "tests/torture"
ACCESS_TESTS = "tests/integration/test_pac_access.py"
FAULTS = "tests/integration/test_reliability.py"
REJECTION_FAULTS = (FAULTS, "-k", "Rejected")
DAILY = "tests/integration/test_runs.py"
DAILY_FAILURES = "tests/integration/test_run_failures.py"
MONTHLY_TESTS = "tests/unit/test_monthly_reports.py"
SERVICE_TESTS = "tests/integration/test_contract_service.py"
DYNAMODB_TESTS = "tests/unit/test_dynamodb.py"
RULES_TESTS = "tests/unit/test_domain_contract.py"


def contract(name: str, path: str, old: str, new: str, *tests: str) -> Mutation:
    """Return a mutation of the contract code."""
    return Mutation(f"contract: {name}", (Edit(path, old, new),), tests)


def credentials(
    name: str, path: str, old: str, new: str, tests: tuple[str, ...] = (ACCESS_TESTS,)
) -> Mutation:
    """Return a mutation of the code that prevents account lockouts."""
    return Mutation(f"credentials: {name}", (Edit(path, old, new),), tests)


def run(name: str, path: str, old: str, new: str, *tests: str) -> Mutation:
    """Return a mutation of the daily and monthly runs."""
    return Mutation(f"run: {name}", (Edit(path, old, new),), tests)


# fmt: off
MUTATIONS = (
    contract("no daily limit", JOURNAL,
        'day["Update"]["ExpressionAttributeValues"] |= serialize({":room": room})',
        'day["Update"]["ExpressionAttributeValues"] |= serialize({":room": 10**9})', SERVICE_TESTS),
    contract("the first contract of a day passes the limit", JOURNAL,
        '"stamps <= :room" if room < 0 else',
        '"attribute_not_exists(stamps) OR stamps <= :room" if room < 0 else', TORTURE),
    contract("no verification window", RULES,
        "window_passed = at - sent_at >= window",
        "window_passed = True", TORTURE),
    contract(
        "marked as published before the event is published",
        CONTRACT_EVENTS,
        """        for event_type in contract.pending_events:
            event_publisher.publish(event_type, contract_to_dict(contract))
        contract_repository.mark_published(contract)
""",
        """        contract_repository.mark_published(contract)
        for event_type in contract.pending_events:
            event_publisher.publish(event_type, contract_to_dict(contract))
""", FAULTS, "-k", "Reconciler"),
    contract("no lag of reads", RULES,
        "READ_LAG = timedelta(minutes=1)",
        "READ_LAG = timedelta(0)", TORTURE),
    contract("the issuer is free before a count includes its contract", RULES,
        "return self.status not in SETTLED or self.awaits_count",
        "return self.status not in SETTLED", TORTURE),
    contract("a rejection after an unknown outcome is not published", RULES,
        'elif self.step in ("reject-by-count", "settle-rejected"):',
        'elif self.step in ("reject-by-count", "settle-rejected") and self.published_events:',
        RULES_TESTS),
    contract("a rejection is never published", RULES,
        'events = ("Contract Rejected",)',
        "events = ()", TORTURE),
    contract("only contracted stamps are compared", TRACE,
        "    elif _is_usage(before, now):\n",
        "    elif True:\n", RULES_TESTS),
    contract("returned stamps count as usage", TRACE,
        "and used >= 0 and available == -used",
        "and available == -used", RULES_TESTS),
    contract("a change of another size is waited out", RULES,
        "is_final = verdict is Verdict.AMBIGUOUS or (\n            window_passed",
        "is_final = (window_passed and verdict is Verdict.AMBIGUOUS) or (\n"
        "            window_passed", RULES_TESTS),
    contract("a contract created twice gives no warning", RULES,
        "            if self.before is not None and expected is not None:\n                warning",
        "            if self.before is None and expected is not None:\n                warning",
        RULES_TESTS),
    contract("a lost response counts as a rejection", SERVICE,
        "            if not error.problem_type.may_have_taken_effect:\n",
        "            if True:\n", TORTURE),
    contract("624 is a rejection", CODES,
        """    "The PAC holds such a contract already",
    may_have_taken_effect=True,""",
        '    "The PAC holds such a contract already",', TORTURE),
    contract("no in-flight lock", JOURNAL,
        'return {"account": _login(contract), "entry": f"in-flight#{contract.rfc}"}',
        'return {"account": _login(contract), "entry": f"in-flight#{contract.id}"}', TORTURE),
    contract("the lock belongs to the account name", JOURNAL,
        'return {"account": _login(contract), "entry": f"in-flight#{contract.rfc}"}',
        'return {"account": contract.account, "entry": f"in-flight#{contract.rfc}"}',
        SERVICE_TESTS),
    contract("the daily limit belongs to the account name", JOURNAL,
        'return {"account": _login(contract), "entry": f"day#{contract.created_at.date()}"}',
        'return {"account": contract.account, "entry": f"day#{contract.created_at.date()}"}',
        SERVICE_TESTS),
    contract("a login is the password", ACCOUNT,
        "user = self.credentials[self.pac.credentials[0]]",
        "user = self.credentials[self.pac.credentials[-1]]", "tests/unit/test_domain_account.py"),
    contract("counts of another login are compared", ACCESS,
        "    if login is not None and account.login != login:",
        "    if False:", SERVICE_TESTS),
    contract("the login at the request is not compared", SERVICE,
        "if account.login != contract.login:",
        "if False:", SERVICE_TESTS),
    contract("the day's limit is evaluated before the key", JOURNAL,
        """            if conflict := self.find_by_key(account, key, body_hash):
                return conflict
            if conflict := self._find_in_flight(contract):
                return conflict
            if failed == {_DAY}:
                return DailyLimitReached(self.stamps_requested_on_day(contract))
""",
        """            if failed == {_DAY}:
                return DailyLimitReached(self.stamps_requested_on_day(contract))
            if conflict := self.find_by_key(account, key, body_hash):
                return conflict
            if conflict := self._find_in_flight(contract):
                return conflict
""", SERVICE_TESTS),
    contract("a step is written over any version", JOURNAL,
        '"ConditionExpression": "#version = :stored_version",',
        '"ConditionExpression": "#version = :stored_version OR #version <> :stored_version",',
        TORTURE),
    contract("a rejected contract keeps the day's stamps", JOURNAL,
        "steps.append(self._day(after, -after.stamps))",
        "steps.append(self._day(after, 0))", TORTURE),
    contract("the reconciler stops at an unreadable secret", RECONCILIATION,
        'self._problems[name] = "the account\'s secret could not be read"',
        "raise", SERVICE_TESTS),
    contract("a settlement requires the secret", SERVICE,
        "        if entry is None:\n            # A contract outlives",
        "        if entry is None or name:\n            # A contract outlives", SERVICE_TESTS),
    contract("a list searches the whole journal", JOURNAL,
        "if contracts or not last or deadline.remaining() < _RESERVE_SECONDS:",
        "if contracts or not last:", SERVICE_TESTS),
    contract("only the first page of open contracts", WRITES,
        'yield from map(deserialize, page["Items"])',
        'yield from map(deserialize, page["Items"][:100])', SERVICE_TESTS),
    contract("a failed condition always means another writer", WRITES,
        "return WriteResult(bool(item) and applied.items() <= item.items(), item)",
        "return WriteResult(False, item)", DYNAMODB_TESTS),
    contract("each attempt of a transaction is a new one", WRITES,
        "dynamodb.transact_write_items(TransactItems=steps, ClientRequestToken=token)",
        "dynamodb.transact_write_items(TransactItems=steps, ClientRequestToken=str(uuid.uuid4()))",
        DYNAMODB_TESTS),
    credentials("a rejected version is tried again", ACCESS,
        "            rejection = state.rejection or rejection\n",
        "            rejection = None\n"),
    credentials("every caller tries a new version", ACCESS,
        "            elif state.accepted or trial is not None:\n",
        "            elif True:\n"),
    credentials("a trial is not exclusive", REJECTIONS,
        '"(attribute_not_exists(trial) OR NOT trial_until BETWEEN :now AND :until)",',
        '"(attribute_not_exists(trial) OR attribute_exists(trial))",'),
    credentials("a trial that proved nothing accepts the version", ACCESS,
        '_attempt("a trial was not ended", end_trial, account, trial)',
        '_attempt("", self._rejection_repository.accept, account, clock.now())'),
    credentials("any number of calls in flight", ACCESS,
        "        size = account.calls_in_flight\n",
        "        size = 32\n"),
    credentials("a rejection applies to all versions", REJECTIONS,
        '{":account": account.name, ":version": f"{account.version}#"}',
        '{":account": account.name, ":version": ""}'),
    credentials("a rejection that was not published is forgotten", ACCESS,
        "                if renewed is None and not rejection.published:\n",
        "                if False:\n", REJECTION_FAULTS),
    credentials("a repeated write of a rejection counts as another writer", REJECTIONS,
        """            applied={"publication": token},
            ExpressionAttributeNames={"#at": "at"},""",
        """            applied={"publication": ""},
            ExpressionAttributeNames={"#at": "at"},""", REJECTION_FAULTS),
    run("alerts are published after the batch is settled", WORKER,
        """        for event_type in published:
            changes = [one for one in result.alert_changes if _event_type(one) == event_type]
            details = (alert_change_to_dict(change) | {"run": run.id} for change in changes)
            self.event_publisher.publish(event_type, *details)
        if self.runs.save_result(batch, result, clock.now()):
""",
        """        settled = self.runs.save_result(batch, result, clock.now())
        for event_type in published:
            changes = [one for one in result.alert_changes if _event_type(one) == event_type]
            details = (alert_change_to_dict(change) | {"run": run.id} for change in changes)
            self.event_publisher.publish(event_type, *details)
        if settled:
""", DAILY_FAILURES),
    run("a closed run's totals still change", RUNS,
        'totals = self._step(run, account, count, "attribute_not_exists(closed)", sums)',
        'totals = self._step(run, account, count, "attribute_exists(entry)", sums)',
        DAILY_FAILURES),
    run("late alerts are lost", FINALIZATION,
        "        late = runs.list_late_alert_changes()\n",
        "        late: dict[str, list[AlertChange]] = {}\n", DAILY_FAILURES),
    run("a repeated start creates a new plan", RUNS,
        '"attribute_not_exists(plan_id) OR plan_id = :replaced"',
        '"attribute_not_exists(no_plan) OR plan_id = :replaced"', DAILY),
    run("a result is added on each delivery of its message", RUNS,
        'return self._step(batch.id.run, entry, values, "version = :stored", operands=operands)',
        'return self._step(batch.id.run, entry, values, "version <= :stored OR version > :stored", '
        "operands=operands)", DAILY),
    run("a lost response loses the finalization of a run", RUNS,
        "return conditional_write(self._dynamodb.update_item, values, **step).applied",
        'return conditional_write(self._dynamodb.update_item, {"finalizer": ""}, **step).applied',
        DAILY, FAULTS),
    run("late reports are not mailed", MONTHLY,
        "            unnamed = run.late\n",
        "            unnamed = []\n", MONTHLY_TESTS),
    run("an event lists the reports as of its publication", MONTHLY,
        "yield replace(report, status=PENDING, object_version=None, error=None, differences=None)",
        "yield report", MONTHLY_TESTS),
    run("contradictory responses are accepted", BALANCE,
        "return transactions == consumed",
        "return True", "tests/integration/test_unusual_movements.py"),
)
# fmt: on
