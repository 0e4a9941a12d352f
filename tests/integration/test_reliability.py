"""Faults: what the caller sees, what is lost, and which step recovers it.

docs/reliability.md has one row for each case.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from tests.support import moto_patches
from tests.support.download_token_cases import issue_token, open_link, store_report
from tests.support.events import ApiResponse, bus_event
from tests.support.fake_stack import RC, RFC, SF, FakeStack, PacServers
from tests.support.fault_injection import (
    NO_NEED,
    SERVICES,
    AwsFaultInjector,
    Call,
    ExpectedOutcome,
    Fault,
    FaultsOf,
    Operation,
    Scenario,
    Step,
    deaths,
    losses,
    pac,
    refusals,
    setting,
    unreachable,
)
from tests.support.reliability_document import WRITES, Row, agree, headings, read

from timbres.domain.download_token import download_token_hash

# The second one has no stamps left, which is an alert.
ISSUERS = [RFC, "AAA010101AAA"]
START_FAILS = "the start fails"
MESSAGE_AGAIN = "the message is redelivered"
EVENT_AGAIN = "the event is redelivered"
BATCH_AGAIN = "the batch is redelivered"
CLOSE = {"close": "overdue"}


@pytest.fixture(scope="module")
def scenario(module_stack: FakeStack, pac_servers: PacServers) -> Scenario:
    # The other formats take longer, and fail in the same ways.
    module_stack.aws.refs["MonthlyFormats"] = "csv"
    # On a slow machine a worker would otherwise reserve its calls again, which is one more call.
    module_stack.time.stopped = True
    injector = AwsFaultInjector(module_stack)
    injector.watch()
    return Scenario(module_stack, injector, pac_servers)


# Steps: what a caller, a schedule or a queue does. Each returns what is seen, in short.


def summarize(scene: Scenario, response: ApiResponse) -> str:
    """Return the status of a response, with its code or state; the notes keep the status."""
    scene.notes["status"] = response.status
    if response.headers["content-type"].startswith("text/html") or not response.text:
        return str(response.status)
    code = response.body.get("code") or response.body.get("status")
    return f"{response.status} `{code}`" if code else str(response.status)


def then(*steps: Step) -> Step:
    """Return a step that runs several, and returns what the last one returns."""
    return lambda scene: [step(scene) for step in steps][-1]


def forward(**later: float) -> Step:
    return lambda scene: scene.stack.clock.forward(**later)


def request(*args: Any, **options: Any) -> Step:
    def step(scene: Scenario) -> str:
        return summarize(scene, scene.stack.call(*args, **options))

    return step


def scheduled(function: str, payload: dict[str, Any], **later: float) -> Step:
    """Return a start of a function by its schedule, some time later."""

    def step(scene: Scenario) -> str:
        scene.stack.clock.forward(**later)
        try:
            result = scene.stack.invoke(function, payload)
        except Exception:
            return START_FAILS
        if function == "reconciler":
            return ", ".join(f"`{state}`" for state in result) or "nothing is due"
        if payload == CLOSE:
            return f"closed: {len(result['closed'])}"
        failed = result["failed"] if function == "report" else []
        return "started" + "".join(f"; without {name}" for name in failed)

    return step


def with_new_secret(step: Step) -> Step:
    """Give both accounts new versions of their secrets first, as after a changed password."""

    def repaired(scene: Scenario) -> None:
        for name in (RC, SF):
            scene.stack.accounts.change(name, scene.stack.accounts.secret(name))
        step(scene)

    return repaired


def by_caller(name: str, step: Step, again: Step | None = None) -> list[tuple[str, Step]]:
    """Return a recovery by the caller: with a new secret if a PAC has rejected the present one."""

    def unless_rejected(scene: Scenario) -> None:
        if not scene.stack.accounts.rejections():
            step(scene)

    return [(name, unless_rejected), (f"a new secret, then {name}", with_new_secret(again or step))]


def wrong_key(scene: Scenario) -> None:
    scene.stack.accounts.change(RC, scene.stack.accounts.secret(RC, api_key="wrong"))


def contract(key: str) -> Step:
    return lambda scene: summarize(scene, scene.stack.create_contract(RFC, 500, key))


reconcile = partial(scheduled, "reconciler", {})
# Until the verification window is over.
reconcile_until_final = then(*[reconcile(minutes=20)] * 3)


def leave_contract_unknown(scene: Scenario) -> None:
    scene.stack.pacs.fault("agregarContrato", "cut-after")
    scene.stack.create_contract(RFC, 500, "order-1")
    scene.stack.clock.forward(minutes=2)


def leave_contract_for_review(scene: Scenario) -> None:
    """Leave a contract under review: its count has grown by more than was contracted."""
    leave_contract_unknown(scene)
    scene.stack.pacs.state.solucion_factible.set_issuer(RFC, contratados=1507)
    reconcile(minutes=40)(scene)


def settle(scene: Scenario) -> str:
    (item,) = (item for item in scene.stack.aws.items("ContractsTable") if "status" in item)
    path = f"/accounts/{SF}/contracts/{item['entry'].partition('#')[2]}/settlement"
    body = {"outcome": "confirmed", "reason": "The portal lists the contract."}
    return str(request("contract", "POST", path, body=body)(scene))


def request_report(scene: Scenario) -> str:
    return summarize(scene, scene.stack.request_report())


def run_report_worker(scene: Scenario) -> str:
    """Deliver the message of a report to the worker; return the state of both."""
    size = scene.notes.get("batch size", 1)
    _, returned = scene.stack.deliver(batch_size=size)
    (report,) = scene.stack.aws.items("ReportsTable")
    if returned:
        return f"`{report['status']}`; {MESSAGE_AGAIN}"
    error = report.get("error")
    return f"`{report['status']}`" + (f": `{error['code']}`" if error else "")


def run_report_workers(scene: Scenario) -> str:
    """Deliver each message of a run to a worker."""
    return MESSAGE_AGAIN if scene.stack.deliver()[1] else "processed"


def workers(scene: Scenario) -> None:
    if scene.notes.pop("workers are late", False):
        close_months(scene)
    while scene.stack.deliver(batch_size=10) != (0, 0):
        pass


DUE = {"scheduled_time": "2026-11-19T11:00:00Z"}
MONTH_DUE = {"month": "previous", "scheduled_time": "2026-11-01T12:00:00Z"}
start_run, start_month = scheduled("run", DUE), scheduled("report", MONTH_DUE)


def close_months(scene: Scenario) -> None:
    scene.stack.clock.forward(hours=5)
    # In another process, because a start may be running.
    scene.stack.invoke("report", CLOSE, module=scene.stack.load_function("report"))


def leave_one_account(scene: Scenario) -> None:
    """Leave one account, so that a monthly run has two reports: the account's and that of all."""
    scene.stack.accounts.delete(RC)


def add_issuers(scene: Scenario) -> None:
    scene.stack.accounts.add_issuers(ISSUERS)


def run_worker(scene: Scenario) -> str:
    _, returned = scene.stack.run_worker_once()
    (run,) = (item for item in scene.stack.aws.items("RunsTable") if item["entry"] == "run")
    return BATCH_AGAIN if returned else f"run `{run['status']}`"


def run_workers(scene: Scenario) -> None:
    scene.stack.run_worker_until_idle()


next_run = then(forward(hours=1), lambda scene: scene.stack.run())
close_runs = then(forward(hours=1), lambda scene: scene.stack.close_overdue())


# A short timeout, so that the next attempt can follow soon.
MAIL_SECONDS = 0.05


def mail(scene: Scenario) -> str:
    (entry,) = scene.stack.published
    try:
        scene.stack.invoke("mail", bus_event(entry), seconds=MAIL_SECONDS)
    except Exception:
        return EVENT_AGAIN
    return "mailed"


mail_later = then(lambda _: time.sleep(MAIL_SECONDS), mail)


def issue_tokens(scene: Scenario) -> None:
    """Issue two tokens of a report."""
    report = store_report(scene.stack, b"a report")
    scene.notes["report"] = report.id
    scene.notes["token"] = issue_token(scene.stack, report)
    issue_token(scene.stack, report)


def revoke(scene: Scenario) -> str:
    path = f"/accounts/{RC}/reports/{scene.notes['report']}/tokens"
    response = scene.stack.call("report", "DELETE", path)
    revoked = f", revoked: {response.body['revoked']}" if response.status == 200 else ""
    return summarize(scene, response) + revoked


def open_token_link(scene: Scenario) -> str:
    response = open_link(scene.stack, scene.notes["token"])
    if scene.injector.lost is not None:
        uses = [item.get("uses", 0) for item in scene.stack.aws.items("DownloadTokensTable")]
        assert sorted(uses) == [0, 1], "a repeated write counts once"
    return summarize(scene, response)


# Observations: the facts that a fault must not change. ``meanwhile`` is only progress.


def observe_status(scene: Scenario) -> dict[str, Any]:
    return {"status": scene.notes.get("status")}


def observe_issuers(scene: Scenario) -> dict[str, Any]:
    return {"known": sorted(item["rfc"] for item in scene.stack.aws.items("IssuersTable"))}


def observe_rejections(scene: Scenario) -> dict[str, Any]:
    return {"rejected": [item["account"] for item in scene.stack.accounts.rejections()]}


def observe_contracts(scene: Scenario) -> dict[str, Any]:
    entries = scene.stack.aws.items("ContractsTable")
    by_status = Counter(item["status"] for item in entries if "status" in item)
    return {
        "created": scene.stack.pacs.contracts(),
        "confirmed": by_status["confirmed"],
        "in doubt": by_status["unknown"] + by_status["pending"] + by_status["needs-review"],
        "in flight": sum(item["entry"].startswith("in-flight#") for item in entries),
        "of the day": [int(i["stamps"]) for i in entries if i["entry"].startswith("day#")],
        "meanwhile": by_status,
    }


def mailed_tokens(scene: Scenario, mails: Sequence[str]) -> list[str]:
    """Return the download tokens in mails."""
    aws = scene.stack.aws
    url = aws.template.environment("mail", aws.resolve)["DOWNLOAD_URL"]
    lines = [line.strip() for text in mails for line in text.splitlines()]
    return [line.removeprefix(url) for line in lines if url in line]


def observe_reports(scene: Scenario) -> dict[str, Any]:
    items = scene.stack.aws.items("ReportsTable")
    tokens = mailed_tokens(scene, scene.stack.mails())
    keys = {item["ticket"]: item["key"] for item in scene.stack.aws.items("DownloadTokensTable")}
    return {
        "ready": sorted(
            (item["account"], item["kind"], item["format"], int(item["bytes"]))
            for item in items
            if item.get("status") == "ready"
        ),
        # How often each report is mailed.
        "mailed": Counter(keys[download_token_hash(token)] for token in tokens),
        "runs published": sum("told_at" in item for item in items if item["account"] == "#run"),
        "meanwhile": Counter(item["status"] for item in items if "status" in item),
    }


def observe_run(scene: Scenario) -> dict[str, Any]:
    sums: dict[str, Counter[str]] = {}
    for item in scene.stack.aws.items("RunsTable"):
        totals = sums.setdefault(item["run"], Counter())
        if item["entry"].startswith("run#"):
            names = {"done", "expected"} | {name for name in item if name.startswith("failed")}
            totals.update({name: int(item[name]) for name in names & item.keys()})
        elif item["entry"] == "run":
            totals["finished"] = item["status"] == "finished"
    last = sums[max(sums)] if sums else Counter()
    return {
        "snapshots": sorted(
            (i["account"], i["entry"]) for i in scene.stack.aws.items("SnapshotsTable")
        ),
        "finished": all(totals["finished"] for totals in sums.values()),
        # Each issuer is counted exactly once.
        "sums": all(
            2 * totals["expected"] == sum(totals.values()) - 1
            for totals in sums.values()
            if totals["finished"]
        ),
        "last": last["done"] == last["expected"] > 0,
        "meanwhile": sums,
    }


def observe_mails(scene: Scenario) -> dict[str, Any]:
    mails = [text for _, text in moto_patches.sent_mails(scene.stack.aws.refs["MailTopic"])]
    if len(mails) > 1:
        scene.notes["twice"] = "; mailed twice"
    statuses = {open_link(scene.stack, token).status for token in mailed_tokens(scene, mails)}
    return {"mailed": bool(mails), "links": statuses}


def observe_tokens(scene: Scenario) -> dict[str, Any]:
    return {
        "good": sum(
            "revoked_at" not in item for item in scene.stack.aws.items("DownloadTokensTable")
        )
    }


READS, STORED = ("secretsmanager", "dynamodb"), ("dynamodb", "events")
AGAIN, SAME_AGAIN = "repeat the request", "repeat the same request"
NEXT_START, CLOSING = "the next scheduled start", "the closing schedule"
REDELIVERY = [("redelivery of the message", workers), (CLOSING, close_months)]


def job(name: str, services: tuple[str, ...], step: Step, observe: Any, *recovery_steps: Any,
        crash_response: str = START_FAILS, **options: Any) -> Operation:  # fmt: skip
    """Return an operation that AWS starts, and starts again if it fails."""
    return Operation(
        name, services, step, observe, recovery_steps, crash_response, retried=True, **options
    )


_balance = request("balance", "GET", f"/accounts/{RC}/balance", {"month": "2026-10"})
_stamps = request("stamp_count", "GET", f"/accounts/{SF}/stamps", {"rfc": RFC})
_import = request("issuers", "PUT", f"/accounts/{SF}/issuers", body=ISSUERS)
_remove = request("issuers", "DELETE", f"/accounts/{SF}/issuers", {"rfc": RFC})

# fmt: off
BALANCE = Operation("Balance", READS, _balance, observe_status, by_caller(AGAIN, _balance))
STAMPS = Operation("Stamp count", READS, _stamps, observe_status, by_caller(AGAIN, _stamps))
IMPORT = Operation("Issuer import", READS, _import, observe_issuers, [(AGAIN, _import)])
REMOVE = Operation(
    "Issuer removal", READS, _remove, observe_issuers, [(AGAIN, _remove)], prepare=add_issuers)
REJECTION = Operation(
    "Rejected credentials", (*READS, "events"), _balance, observe_rejections,
    [(AGAIN, _balance), (f"{AGAIN} minutes later", then(forward(minutes=10), _balance))],
    prepare=wrong_key)
CONTRACT = Operation(
    "Contract", (*READS, "events"), contract("order-1"), observe_contracts,
    [(SAME_AGAIN, contract("order-1")),
     ("the reconciler, within minutes", reconcile(minutes=3)),
     ("the reconciler, after the verification window", reconcile_until_final),
     *by_caller("a request with a new key", contract("order-2"), contract("order-3"))])
RECONCILER = Operation(
    "Reconciler", (*READS, "events"), reconcile(seconds=1), observe_contracts,
    [(NEXT_START, reconcile(minutes=5)), ("a later start", reconcile(hours=1)),
     (f"a new secret, then {NEXT_START}", with_new_secret(reconcile(hours=1)))],
    START_FAILS, prepare=leave_contract_unknown)
SETTLE = Operation(
    "Settlement", STORED, settle, observe_contracts,
    [(SAME_AGAIN, settle), ("the reconciler, within minutes", reconcile(minutes=5))],
    prepare=leave_contract_for_review)
ASK = Operation(
    "Report request", (*READS, "sqs"), request_report, observe_reports, [(AGAIN, request_report)],
    settle=workers)
MAKE = job(
    "Report generation", (*READS, "s3", "events"), run_report_worker, observe_reports,
    *REDELIVERY, *by_caller("request the report again", then(request_report, workers)),
    crash_response=MESSAGE_AGAIN, prepare=request_report)
MONTHLY = job(
    "Monthly run", (*READS, "sqs"), start_month, observe_reports,
    ("start it again", start_month), (CLOSING, close_months),
    prepare=leave_one_account, settle=workers)
MONTHLY_WORKERS = job(
    "Monthly run: workers", (*READS, "s3", "events"), run_report_workers, observe_reports,
    *REDELIVERY, ("start it again", start_month),
    crash_response=MESSAGE_AGAIN, prepare=then(leave_one_account, start_month), settle=workers)
CLOSE_MONTH = job(
    "Monthly run: closing", STORED, scheduled("report", CLOSE, hours=7), observe_reports,
    (NEXT_START, close_months), prepare=then(leave_one_account, start_month))
START = job(
    "Daily run: start", (*READS, "sqs"), start_run, observe_run,
    ("start it again", start_run), (CLOSING, close_runs), ("the next run", next_run),
    prepare=add_issuers, settle=run_workers)
COUNT = job(
    "Daily run: workers", (*READS, "events"), run_worker, observe_run,
    ("redelivery of the batch", run_workers), (CLOSING, close_runs),
    *by_caller("the next run", next_run),
    crash_response=BATCH_AGAIN, prepare=then(add_issuers, start_run))
CLOSE_RUN = job(
    "Daily run: closing", STORED, scheduled("run", CLOSE, hours=7), observe_run,
    (NEXT_START, close_runs), prepare=then(add_issuers, start_run))
MAIL = job(
    "Mail", ("dynamodb", "sns"), mail, observe_mails, ("redelivery of the event", mail_later),
    crash_response=EVENT_AGAIN, prepare=then(request_report, run_report_worker))
TOKEN = Operation(
    "Download token", ("dynamodb",), open_token_link, observe_status,
    [("open the link again", open_token_link)], prepare=issue_tokens)
REVOKE = Operation(
    "Link revocation", ("dynamodb",), revoke, observe_tokens, [(AGAIN, revoke)],
    prepare=issue_tokens)
# fmt: on
OPERATIONS = (
    *(BALANCE, STAMPS, IMPORT, REMOVE, REJECTION, CONTRACT, RECONCILER, SETTLE, ASK, MAKE),
    *(MONTHLY, MONTHLY_WORKERS, CLOSE_MONTH, START, COUNT, CLOSE_RUN, MAIL, TOKEN, REVOKE),
)


# Faults of the PACs, other orders, and repetitions.


def after_call(operation: str, number: int, step: Step) -> Fault:
    """Run a step after AWS has responded to the ``number``-th call of an operation.

    With 0, run it after each of its calls, except the step's own.
    """

    def set_up(scene: Scenario) -> None:
        calls = [0]

        def after(name: str) -> None:
            if name != operation or calls[0] < 0:
                return
            calls[0] += 1
            if number in (0, calls[0]):
                count, calls[0] = calls[0], -1
                step(scene)
                calls[0] = count

        scene.injector.after = after

    return set_up


def note(name: str, value: Any) -> Fault:
    return lambda scene: scene.notes.update({name: value})


twice, never, workers_are_late = note("times", 2), note("times", 0), note("workers are late", True)


def messages(scene: Scenario, queue: str) -> list[Any]:
    return moto_patches.stored_messages(scene.stack.aws.refs[queue])


def doubled(queue: str, batch_size: int) -> Fault:
    """Deliver each message of a queue twice, ``batch_size`` messages per batch."""

    def fault(scene: Scenario) -> None:
        sqs, url = scene.stack.aws.client("sqs"), scene.stack.aws.refs[queue]
        for message in messages(scene, queue)[:]:
            sqs.send_message(QueueUrl=url, MessageBody=message.body)
        scene.notes["batch size"] = batch_size

    return fault


def reverse_batches(scene: Scenario) -> None:
    messages(scene, "RunsQueue").reverse()


def deaths_and(step: Step) -> FaultsOf:
    """Kill the function at any call, after a step."""

    def faults(reference: ExpectedOutcome) -> Iterator[Fault]:
        for death in deaths(reference):
            yield then(step, death)

    return faults


def put_message_aside(scene: Scenario) -> None:
    """Do not redeliver the message of a killed worker; those before it are already deleted."""
    scene.undo.append(lambda: messages(scene, "ReportsQueue").pop(0))


def journal_writes(calls: Sequence[Call]) -> list[int]:
    """Return the indexes of the calls that write the contract: open, mark, confirm, count."""
    indexes = [n for n, call in enumerate(calls) if call.operation == "TransactWriteItems"]
    assert len(indexes) == 4
    return indexes


def refused_write(number: int) -> FaultsOf:
    def faults(reference: ExpectedOutcome) -> Iterator[Fault]:
        calls = [call for call in reference.calls if call.service == "dynamodb"]
        for code in ("ThrottlingException", "AccessDeniedException")[: 2 if WRITES else 1]:
            yield setting("refused", ("dynamodb", journal_writes(calls)[number], code))

    return faults


def killed_write(when: str, number: int) -> FaultsOf:
    return lambda reference: iter(
        [setting("killed", (when, journal_writes(reference.calls)[number]))]
    )


@dataclass(frozen=True)
class Case:
    """A row of the document. ``faults`` are its faults: all run for the document, otherwise some.

    ``unnoticed``: the caller sees the response without the fault, and no recovery is needed.
    """

    operation: Operation
    fails: str
    faults: Sequence[Fault] | FaultsOf
    unnoticed: bool = False


def aws_cases() -> Iterator[Case]:
    lost_response = "AWS applies any call, and the response is lost"
    for operation in OPERATIONS:
        for service in operation.services:
            if (operation, service) != (CONTRACT, "dynamodb"):
                fails = f"{SERVICES[service]} throttles or denies any call and all later ones"
                yield Case(operation, fails, refusals(service))
        if operation is not CONTRACT:
            yield Case(operation, "the process is killed at any call", deaths)
        yield Case(operation, lost_response, losses, unnoticed=True)


AWAY = "cannot be reached"
CUT = "closes the connection before or within the response"
NONSENSE = "returns HTML with 200, or another format"
ERROR = "returns 500"
BUSY = "returns 501 or 503"
KEY_REJECTED = "rejects the API key (401)"
PASSWORD_REJECTED = "rejects the password (601, 604)"
RC_NAME, SF_NAME = "Reachcore", "Solución Factible"


def pac_faults(operation: str) -> dict[str, list[Fault]]:
    """Return the faults of an operation of a PAC, by what fails."""
    faults = {
        AWAY: [unreachable],
        CUT: [pac(operation, "cut-before"), pac(operation, "truncated")],
        NONSENSE: [pac(operation, "html-200"), pac(operation, "wrong-shape")],
        ERROR: [pac(operation, "code", code="500")],
    }
    if operation == "getTimbres":
        faults[BUSY] = [pac(operation, "code", code=code) for code in ("501", "503")]
        faults[PASSWORD_REJECTED] = [pac(operation, "code", code=code) for code in ("601", "604")]
        faults["returns every field absent, empty or nil"] = [
            pac(operation, f"{how}-fields") for how in ("missing", "empty", "nil")
        ]
        return faults
    return faults | {KEY_REJECTED: [pac(operation, "code", code="401")]}


def pac_cases(
    operation: Operation, name: str, pac_operation: str, *fails: str, at: str = ""
) -> Iterator[Case]:
    faults = pac_faults(pac_operation)
    for text in fails or faults:
        yield Case(operation, f"{at}{name} {text}", faults[text])


sent = partial(pac, "agregarContrato", times=1)
CONTRACT_FAULTS: dict[str, list[Fault]] = {
    # Refuse connections once the contract is marked as sent.
    AWAY: [after_call("TransactWriteItems", 2, unreachable)],
    "creates the contract, and its response is cut or invalid": [
        sent("cut-after"),
        sent("truncated"),
        sent("html-200", processed=True),
        sent("code", code="501", processed=True),
    ],
    "does not create the contract, and its response is cut or invalid": [
        sent("cut-before"),
        sent("wrong-shape"),
        sent("code", code="500"),
    ],
    "returns 503": [sent("code", code="503")],
    "returns 632": [sent("code", code="632")],
    PASSWORD_REJECTED: [sent("code", code="601"), sent("code", code="604")],
}
REFUSED, KILLED = "DynamoDB throttles or denies the write that ", "the process is killed "
CONTRACT_STEPS: dict[str, FaultsOf] = {
    REFUSED + "opens the contract": refused_write(0),
    REFUSED + "marks the contract as sent": refused_write(1),
    REFUSED + "saves the outcome": refused_write(2),
    REFUSED + "saves the count after it": refused_write(3),
    KILLED + "before the contract is opened": killed_write("before", 0),
    KILLED + "after the contract is opened": killed_write("after", 0),
    KILLED + "after the contract is marked as sent, before the request": killed_write("after", 1),
    KILLED + "after the PAC created the contract, before the outcome is saved": killed_write(
        "before", 2
    ),
    KILLED + "after the outcome is saved": killed_write("after", 2),
}
REQUEST_TWICE, START_TWICE = "the request is sent twice", "the job is started twice"
CLOSED_MEANWHILE = "the closing schedule runs during the start"
BEFORE_SENDING = [after_call("TransactWriteItems", 1, reconcile(minutes=3))]
BEFORE_SAVING = [after_call("TransactWriteItems", 2, reconcile(minutes=3))]
LAST_ATTEMPT = "the process is killed at any call of the last attempt"
KILLED_AND_CLOSED = "the start is killed, and the run is closed before it is started again"
WORKERS_FIRST = "the workers finish before the start does"
ONE_AT_A_TIME_OR_TOGETHER = [doubled("ReportsQueue", 1), doubled("ReportsQueue", 10)]
REPETITIONS_AND_ORDERS: list[tuple[Operation, str, Sequence[Fault] | FaultsOf]] = [
    *((start, "the schedule does not start it", [never]) for start in (RECONCILER, MONTHLY, START)),
    *((operation, REQUEST_TWICE, [twice]) for operation in (IMPORT, CONTRACT, ASK, TOKEN)),
    *((start, START_TWICE, [twice]) for start in (RECONCILER, MONTHLY, START)),
    (MAIL, "the event is delivered twice", [twice]),
    (MAIL, "the event is delivered again while it is mailed", [after_call("PutItem", 1, mail)]),
    (MAKE, "the message is delivered twice", ONE_AT_A_TIME_OR_TOGETHER),
    (COUNT, "every batch is delivered twice", [doubled("RunsQueue", 1)]),
    (CONTRACT, "the reconciler runs before the PAC is called", BEFORE_SENDING),
    (CONTRACT, "the reconciler runs before the outcome is saved", BEFORE_SAVING),
    (
        ASK,
        "the worker finishes before the request does",
        [after_call("SendMessageBatch", 0, workers)],
    ),
    (MONTHLY, WORKERS_FIRST, [after_call("SendMessageBatch", 0, workers)]),
    (MONTHLY, CLOSED_MEANWHILE, [after_call("SendMessageBatch", 1, close_months)]),
    (MONTHLY, "the workers are five hours late", [workers_are_late]),
    (MONTHLY, KILLED_AND_CLOSED, deaths_and(workers_are_late)),
    *((worker, LAST_ATTEMPT, deaths_and(put_message_aside)) for worker in (MAKE, MONTHLY_WORKERS)),
    (START, WORKERS_FIRST, [after_call("SendMessageBatch", 0, run_workers)]),
    (START, CLOSED_MEANWHILE, [after_call("SendMessageBatch", 1, close_runs)]),
    (COUNT, "the batches are delivered in another order", [reverse_batches]),
]
PASSING = (CUT, NONSENSE, BUSY, PASSWORD_REJECTED)
BEFORE, DURING = "at the count before the request, ", f"at the contract request, {SF_NAME} "
CASES = [
    *aws_cases(),
    *(Case(CONTRACT, fails, faults) for fails, faults in CONTRACT_STEPS.items()),
    *pac_cases(BALANCE, RC_NAME, "saldos"),
    *pac_cases(STAMPS, SF_NAME, "getTimbres"),
    *pac_cases(CONTRACT, SF_NAME, "getTimbres", AWAY, *PASSING, at=BEFORE),
    *(Case(CONTRACT, DURING + fails, faults) for fails, faults in CONTRACT_FAULTS.items()),
    Case(
        CONTRACT,
        f"at the count after the request, {SF_NAME} closes the connection",
        [after_call("TransactWriteItems", 3, pac("getTimbres", "cut-before"))],
    ),
    *pac_cases(RECONCILER, SF_NAME, "getTimbres", *PASSING),
    *pac_cases(MAKE, RC_NAME, "csv"),
    *pac_cases(COUNT, SF_NAME, "getTimbres", AWAY, *PASSING),
    *pac_cases(COUNT, RC_NAME, "saldos", CUT, KEY_REJECTED),
    *(Case(*row) for row in REPETITIONS_AND_ORDERS),
]
ORDER = {
    operation.name: [case.fails for case in CASES if case.operation is operation]
    for operation in OPERATIONS
}


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=f"{case.operation.name}, {case.fails}") for case in CASES]
)
def test_a_fault_loses_nothing(scenario: Scenario, case: Case) -> None:
    operation, faults = case.operation, case.faults
    reference = scenario.reference(operation)
    assert {call.service for call in reference.calls} == set(operation.services)

    row = Row(case.fails)
    some = faults(reference) if callable(faults) else faults if WRITES else faults[:1]
    for fault in some:
        row.add(*scenario.run(operation, fault))

    if case.unnoticed:
        assert (row.seen, row.rights) == ([reference.response], [NO_NEED])
    agree(operation.name, row, ORDER[operation.name])


def test_the_document_has_every_row_and_no_other() -> None:
    assert {name: list(read(name)) for name in headings()} == ORDER
