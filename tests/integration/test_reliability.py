"""Faults: what the caller sees, what is lost, and which step recovers it.

docs/reliability.md has one row for each case.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from tests.support import moto_patches
from tests.support.download_token_cases import issue_token, open_link, store_report
from tests.support.events import ApiResponse, bus_event, load_function
from tests.support.fake_stack import RC, RFC, RFC_N, SF, FakeStack, PacServers
from tests.support.fault_injection import (
    NO_NEED,
    SERVICES,
    AwsFaultInjector,
    Call,
    ExpectedOutcome,
    Fault,
    FaultRunner,
    Operation,
    Scenario,
    deaths,
    losses,
    pac,
    refusals,
    setting,
    unreachable,
)
from tests.support.reliability_document import WRITES, Row, agree, headings, read
from tests.support.template import template

import timbres.pacs.solucion_factible.client
import timbres.repositories.accounts
from timbres.domain.download_token import download_token_hash

EMPTY = "AAA010101AAA"
# API Gateway's response for a failed function; tests/e2e/test_reliability.py checks it.
LOST_RESPONSE = "AWS applies any call, and the response is lost"
GATEWAY_ERROR = "502 `internal-error`"
START_FAILS = "the start fails"
REQUEST_TWICE = "the request is sent twice"
START_TWICE = "the job is started twice"


@pytest.fixture(scope="module")
def runner(module_stack: FakeStack, pac_servers: PacServers) -> FaultRunner:
    # The other formats take longer, and fail in the same ways.
    module_stack.aws.refs["MonthlyFormats"] = "csv"
    injector = AwsFaultInjector(module_stack)
    injector.watch()
    return FaultRunner(Scenario(module_stack, injector), pac_servers)


def summarize(response: ApiResponse) -> str:
    """Return the status of a response, with its code or state."""
    if response.headers["content-type"].startswith("text/html") or not response.text:
        return str(response.status)
    code = response.body.get("code") or response.body.get("status")
    return f"{response.status} `{code}`" if code else str(response.status)


# ------------------------------------------------------------------------------ requests


def send_request(*args: Any, **options: Any) -> Callable[[Scenario], str]:
    """Return an operation that sends a request; the scenario's notes have its last status."""

    def execute(scene: Scenario) -> str:
        response = scene.stack.call(*args, **options, seconds=scene.notes.get("seconds"))
        scene.notes["status"] = response.status
        return summarize(response)

    return execute


def observe_status(scene: Scenario) -> dict[str, Any]:
    return {"status": scene.notes.get("status")}


def new_secret(scene: Scenario) -> None:
    """Give both accounts' secrets a new version, as an operator who changes a password does."""
    for name in (RC, SF):
        scene.stack.accounts.change(name, scene.stack.accounts.secret(name))
    scene.notes.pop("seconds", None)


def after_a_new_secret(
    name: str, step: Callable[[Scenario], Any]
) -> tuple[str, Callable[[Scenario], Any]]:
    def repair(scene: Scenario) -> None:
        new_secret(scene)
        step(scene)

    return f"a new secret, then {name}", repair


def unless_rejected(
    name: str, step: Callable[[Scenario], Any]
) -> tuple[str, Callable[[Scenario], Any]]:
    """Return a step that is skipped while a PAC has rejected the secret."""

    def repair(scene: Scenario) -> None:
        if not scene.stack.accounts.rejections():
            step(scene)

    return name, repair


def read_by(*args: Any, **options: Any) -> dict[str, Any]:
    """Return the fields of an operation that reads."""
    act = send_request(*args, **options)
    repairs = [
        unless_rejected("repeat the request", act),
        after_a_new_secret("repeat the request", act),
    ]
    return {
        "execute": act,
        "observe": observe_status,
        "crash_response": GATEWAY_ERROR,
        "recovery_steps": repairs,
    }


ISSUERS = [RFC, RFC_N, EMPTY]
_import = send_request("issuers", "PUT", f"/accounts/{SF}/issuers", body=ISSUERS)
_remove = send_request("issuers", "DELETE", f"/accounts/{SF}/issuers", {"rfc": RFC})


def observe_issuers(scene: Scenario) -> dict[str, Any]:
    return {"known": sorted(item["rfc"] for item in scene.items("IssuersTable"))}


def wrong_key(scene: Scenario) -> None:
    scene.notes[RC] = scene.stack.accounts.secret(RC, api_key="wrong")
    scene.stack.accounts.change(RC, scene.notes[RC])


_balance = send_request("balance", "GET", f"/accounts/{RC}/balance", {"month": "2026-10"})


def _later(scene: Scenario) -> None:
    scene.stack.clock.forward(minutes=10)
    _balance(scene)


def observe_rejections(scene: Scenario) -> dict[str, Any]:
    items = scene.items("CredentialRejectionsTable")
    return {"rejected": [item["account"] for item in items if "at" in item]}


# --------------------------------------------------------------------------- contracts


def request_contract(key: str) -> Callable[[Scenario], str]:
    return lambda scene: summarize(scene.stack.create_contract(RFC, 500, key))


def reconcile(**later: float) -> Callable[[Scenario], str]:
    """Return a start of the reconciler some time later."""

    def act(scene: Scenario) -> str:
        scene.stack.clock.forward(**later)
        try:
            states = scene.stack.invoke("reconciler", {})
        except Exception:
            return START_FAILS
        return ", ".join(f"`{state}`" for state in states) or "nothing is due"

    return act


def reconcile_until_final(scene: Scenario) -> str:
    """Let the reconciler look until the settling time is over."""
    return [reconcile(minutes=20)(scene) for _ in range(3)][-1]


def observe_contracts(scene: Scenario) -> dict[str, Any]:
    entries = scene.items("ContractsTable")
    by_status = Counter(item["status"] for item in entries if "status" in item)
    return {
        "created": scene.stack.pacs.contracts(),
        "confirmed": by_status["confirmed"],
        "in doubt": by_status["unknown"] + by_status["pending"] + by_status["needs-review"],
        "in flight": sum(item["entry"].startswith("in-flight#") for item in entries),
        "of the day": [int(i["stamps"]) for i in entries if i["entry"].startswith("day#")],
        "meanwhile": by_status,
    }


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
    (contract,) = (item for item in scene.items("ContractsTable") if "status" in item)
    path = f"/accounts/{SF}/contracts/{contract['entry'].partition('#')[2]}/settlement"
    body = {"outcome": "confirmed", "reason": "The portal lists the contract."}
    return summarize(scene.stack.call("contract", "POST", path, body=body))


# ----------------------------------------------------------------------------- reports


def observe_reports(scene: Scenario) -> dict[str, Any]:
    items = scene.items("ReportsTable")
    ready = sorted(
        (item["account"], item["kind"], item["format"], int(item["bytes"]))
        for item in items
        if item.get("status") == "ready"
    )
    runs = [item for item in items if item["account"] == "#run"]
    return {
        "ready": ready,
        # Each report is mailed once.
        "mailed": count_mailed_reports(scene),
        "runs published": sum("told_at" in run for run in runs),
        "meanwhile": Counter(item["status"] for item in items if "status" in item),
    }


def count_mailed_reports(scene: Scenario) -> Counter[str]:
    """Return how often a link to each report is in the mails: by its key in the bucket."""
    url = template().environment("mail", scene.stack.aws.resolve)["DOWNLOAD_URL"]
    texts = scene.stack.mails()
    links = [line.strip() for text in texts for line in text.splitlines() if url in line]
    keys = {item["ticket"]: item["key"] for item in scene.items("DownloadTokensTable")}
    return Counter(keys[download_token_hash(link.removeprefix(url))] for link in links)


def request_report(scene: Scenario) -> str:
    return summarize(scene.stack.request_report())


def run_report_worker(scene: Scenario) -> str:
    """Deliver the message of a report to the worker; return the state of both."""
    _, retried = scene.stack.deliver(
        scene.notes.get("seconds"), batch_size=scene.notes.get("hand", 1)
    )
    (report,) = scene.items("ReportsTable")
    if retried:
        return f"`{report['status']}`; the message is redelivered"
    error = report.get("error")
    return f"`{report['status']}`" + (f": `{error['code']}`" if error else "")


def run_report_workers(scene: Scenario) -> str:
    """Deliver each message of a run to a worker."""
    _, retried = scene.stack.deliver()
    return "the message is redelivered" if retried else "processed"


def workers(scene: Scenario) -> None:
    if scene.notes.pop("workers are late", False):
        close_months(scene)
    while scene.stack.deliver(batch_size=10) != (0, 0):
        pass


def requested_again(scene: Scenario) -> None:
    request_report(scene)
    workers(scene)


def monthly(scene: Scenario) -> str:
    due = {"month": "previous", "scheduled_time": "2026-11-01T12:00:00Z"}
    try:
        failed = scene.stack.invoke("report", due)["failed"]
    except Exception:
        return START_FAILS
    return "started" + "".join(f"; without {account['account']}" for account in failed)


def close_months(scene: Scenario) -> None:
    scene.stack.clock.forward(hours=5)
    scene.stack.invoke("report", {"close": "overdue"}, module=load_function("report"))


def closing(function: str) -> Callable[[Scenario], str]:
    """Return a start of a function's closing schedule, hours later."""

    def act(scene: Scenario) -> str:
        scene.stack.clock.forward(hours=7)
        try:
            closed = scene.stack.invoke(function, {"close": "overdue"})["closed"]
        except Exception:
            return START_FAILS
        return f"closed: {len(closed)}"

    return act


# -------------------------------------------------------------------------------- runs

DUE = {"scheduled_time": "2026-11-19T11:00:00Z"}


def add_issuers(scene: Scenario) -> None:
    scene.stack.accounts.add_issuers(ISSUERS)


def start(scene: Scenario) -> str:
    try:
        scene.stack.invoke("run", DUE)
    except Exception:
        return START_FAILS
    return "started"


def start_run(scene: Scenario) -> None:
    add_issuers(scene)
    start(scene)


BATCH_AGAIN = "the batch is redelivered"


def count(scene: Scenario) -> str:
    _, retried = scene.stack.run_worker_once(scene.notes.get("seconds"))
    runs = [item for item in scene.items("RunsTable") if item["entry"] == "run"]
    return BATCH_AGAIN if retried else f"run `{runs[0]['status']}`"


def next_run(scene: Scenario) -> None:
    scene.stack.clock.forward(hours=1)
    scene.stack.run()


def close_runs(scene: Scenario) -> None:
    scene.stack.clock.forward(hours=1)
    scene.stack.close_overdue()


def observe_run(scene: Scenario) -> dict[str, Any]:
    snapshots = [(item["account"], item["entry"]) for item in scene.items("SnapshotsTable")]
    sums: dict[str, Counter[str]] = {}
    for item in scene.items("RunsTable"):
        line = sums.setdefault(item["run"], Counter())
        if item["entry"].startswith("run#"):
            known = {"done", "expected"} | {name for name in item if name.startswith("failed")}
            line.update({name: int(item[name]) for name in known & item.keys()})
        elif item["entry"] == "run":
            line["finished"] = item["status"] == "finished"
    last = sums[max(sums)] if sums else Counter()
    return {
        "snapshots": sorted(snapshots),
        "finished": all(line["finished"] for line in sums.values()),
        # Each issuer is counted exactly once.
        "sums": all(
            2 * line["expected"] == sum(line.values()) - 1
            for line in sums.values()
            if line["finished"]
        ),
        "last": last["done"] == last["expected"] > 0,
        "meanwhile": sums,
    }


# ---------------------------------------------------------------- mails and download tokens

# A short timeout, so that the next attempt can follow soon.
_SECONDS = 0.05


def publish_report(scene: Scenario) -> None:
    scene.stack.request_report()
    scene.stack.deliver()


def mail(scene: Scenario) -> str:
    (entry,) = scene.stack.published
    try:
        scene.stack.invoke("mail", bus_event(entry), seconds=_SECONDS)
    except Exception:
        return "the event is redelivered"
    return "mailed"


def mail_later(scene: Scenario) -> None:
    time.sleep(_SECONDS)
    mail(scene)


def observe_mails(scene: Scenario) -> dict[str, Any]:
    mails = [text for _, text in moto_patches.sent_mails(scene.stack.aws.refs["MailTopic"])]
    url = template().environment("mail", scene.stack.aws.resolve)["DOWNLOAD_URL"]
    links = [line.strip() for text in mails for line in text.splitlines() if url in line]
    if len(mails) > 1:
        scene.notes["twice"] = "; mailed twice"
    statuses = {open_link(scene.stack, link.removeprefix(url)).status for link in links}
    return {"mailed": bool(mails), "links": statuses}


def issue_two_tokens(scene: Scenario) -> None:
    report = store_report(scene.stack, b"a report")
    scene.notes["report"] = report.id
    for _ in range(2):
        issue_token(scene.stack, report)


def revoke(scene: Scenario) -> str:
    path = f"/accounts/{RC}/reports/{scene.notes['report']}/tokens"
    response = scene.stack.call("report", "DELETE", path)
    return summarize(response) + (
        f", revoked: {response.body['revoked']}" if response.status == 200 else ""
    )


def valid_tokens(scene: Scenario) -> dict[str, Any]:
    return {"good": sum("revoked_at" not in item for item in scene.items("DownloadTokensTable"))}


def open_token_link(scene: Scenario) -> str:
    response = open_link(scene.stack, scene.notes["token"])
    scene.notes["status"] = response.status
    return summarize(response)


def with_a_token(scene: Scenario) -> None:
    scene.notes["token"] = issue_token(scene.stack, store_report(scene.stack, b"a report"))


# ---------------------------------------------------------------------- the operations

READS = ("secretsmanager", "dynamodb")

BALANCE = Operation(
    "Balance",
    READS,
    **read_by("balance", "GET", f"/accounts/{RC}/balance", {"month": "2026-10"}),
)
STAMPS = Operation(
    "Stamp count",
    READS,
    **read_by("stamp_count", "GET", f"/accounts/{SF}/stamps", {"rfc": RFC}),
)
IMPORT = Operation(
    "Issuer import",
    READS,
    execute=_import,
    observe=observe_issuers,
    crash_response=GATEWAY_ERROR,
    recovery_steps=[("repeat the request", _import)],
)
REMOVE = Operation(
    "Issuer removal",
    READS,
    prepare=add_issuers,
    execute=_remove,
    observe=observe_issuers,
    crash_response=GATEWAY_ERROR,
    recovery_steps=[("repeat the request", _remove)],
)
REJECTION = Operation(
    "Rejected credentials",
    (*READS, "events"),
    prepare=wrong_key,
    execute=_balance,
    observe=observe_rejections,
    crash_response=GATEWAY_ERROR,
    recovery_steps=[("repeat the request", _balance), ("repeat the request minutes later", _later)],
)
CONTRACT = Operation(
    "Contract",
    (*READS, "events"),
    execute=request_contract("order-1"),
    observe=observe_contracts,
    crash_response=GATEWAY_ERROR,
    recovery_steps=[
        ("repeat the same request", request_contract("order-1")),
        ("the reconciler, within minutes", reconcile(minutes=3)),
        ("the reconciler, after the verification window", reconcile_until_final),
        unless_rejected("a request with a new key", request_contract("order-2")),
        after_a_new_secret("a request with a new key", request_contract("order-3")),
    ],
)
RECONCILER = Operation(
    "Reconciler",
    (*READS, "events"),
    prepare=leave_contract_unknown,
    execute=reconcile(seconds=1),
    observe=observe_contracts,
    crash_response=START_FAILS,
    recovery_steps=[
        ("the next scheduled start", reconcile(minutes=5)),
        ("a later start", reconcile(hours=1)),
        after_a_new_secret("the next scheduled start", reconcile(hours=1)),
    ],
)
SETTLE = Operation(
    "Settlement",
    ("dynamodb", "events"),
    prepare=leave_contract_for_review,
    execute=settle,
    observe=observe_contracts,
    crash_response=GATEWAY_ERROR,
    recovery_steps=[
        ("repeat the same request", settle),
        ("the reconciler, within minutes", reconcile(minutes=5)),
    ],
)
ASK = Operation(
    "Report request",
    (*READS, "sqs"),
    execute=request_report,
    observe=observe_reports,
    settle=workers,
    crash_response=GATEWAY_ERROR,
    recovery_steps=[("repeat the request", request_report)],
)
MAKE = Operation(
    "Report generation",
    (*READS, "s3", "events"),
    prepare=request_report,
    execute=run_report_worker,
    observe=observe_reports,
    crash_response="the message is redelivered",
    retried_on="the message is redelivered",
    recovery_steps=[
        ("redelivery of the message", workers),
        ("the closing schedule", close_months),
        unless_rejected("request the report again", requested_again),
        after_a_new_secret("request the report again", requested_again),
    ],
)
MONTHLY = Operation(
    "Monthly run",
    (*READS, "sqs"),
    execute=monthly,
    observe=observe_reports,
    settle=workers,
    crash_response=START_FAILS,
    retried_on=START_FAILS,
    recovery_steps=[
        ("start it again", monthly),
        ("the closing schedule", close_months),
    ],
)
MONTHLY_WORKERS = Operation(
    "Monthly run: workers",
    (*READS, "s3", "events"),
    prepare=monthly,
    execute=run_report_workers,
    observe=observe_reports,
    settle=workers,
    crash_response="the message is redelivered",
    retried_on="the message is redelivered",
    recovery_steps=[
        ("redelivery of the message", workers),
        ("the closing schedule", close_months),
        ("start it again", monthly),
    ],
)
CLOSE_MONTH = Operation(
    "Monthly run: closing",
    ("dynamodb", "events"),
    prepare=monthly,
    execute=closing("report"),
    observe=observe_reports,
    crash_response=START_FAILS,
    retried_on=START_FAILS,
    recovery_steps=[("the next scheduled start", close_months)],
)
START = Operation(
    "Daily run: start",
    (*READS, "sqs"),
    prepare=add_issuers,
    execute=start,
    observe=observe_run,
    settle=lambda scene: scene.stack.run_worker_until_idle(),
    crash_response=START_FAILS,
    retried_on=START_FAILS,
    recovery_steps=[
        ("start it again", start),
        ("the closing schedule", close_runs),
        ("the next run", next_run),
    ],
)
COUNT = Operation(
    "Daily run: workers",
    (*READS, "events"),
    prepare=start_run,
    execute=count,
    observe=observe_run,
    crash_response=BATCH_AGAIN,
    retried_on=BATCH_AGAIN,
    recovery_steps=[
        ("redelivery of the batch", lambda scene: scene.stack.run_worker_until_idle()),
        ("the closing schedule", close_runs),
        unless_rejected("the next run", next_run),
        after_a_new_secret("the next run", next_run),
    ],
)
CLOSE_RUN = Operation(
    "Daily run: closing",
    ("dynamodb", "events"),
    prepare=start_run,
    execute=closing("run"),
    observe=observe_run,
    crash_response=START_FAILS,
    retried_on=START_FAILS,
    recovery_steps=[("the next scheduled start", close_runs)],
)
MAIL = Operation(
    "Mail",
    ("dynamodb", "sns"),
    prepare=publish_report,
    execute=mail,
    observe=observe_mails,
    crash_response="the event is redelivered",
    retried_on="the event is redelivered",
    recovery_steps=[("redelivery of the event", mail_later)],
)
REVOKE = Operation(
    "Link revocation",
    ("dynamodb",),
    prepare=issue_two_tokens,
    execute=revoke,
    observe=valid_tokens,
    crash_response=GATEWAY_ERROR,
    recovery_steps=[("repeat the request", revoke)],
)
TOKEN = Operation(
    "Download token",
    ("dynamodb",),
    prepare=with_a_token,
    execute=open_token_link,
    observe=observe_status,
    crash_response=GATEWAY_ERROR,
    recovery_steps=[("open the link again", open_token_link)],
)
OPERATIONS = (
    BALANCE,
    STAMPS,
    IMPORT,
    REMOVE,
    REJECTION,
    CONTRACT,
    RECONCILER,
    SETTLE,
    ASK,
    MAKE,
    MONTHLY,
    MONTHLY_WORKERS,
    CLOSE_MONTH,
    START,
    COUNT,
    CLOSE_RUN,
    MAIL,
    TOKEN,
    REVOKE,
)

# ------------------------------------------------------------------------ further faults


def late(operation: str) -> Fault:
    """Let a PAC respond after 1.2 s, and give the function 4 s, of which it reserves 3."""

    def fault(scene: Scenario) -> None:
        scene.stack.pacs.fault(operation, "slow", seconds=1.2, times=-1)
        scene.notes["seconds"] = 4
        scene.undo.append(lambda: scene.notes.pop("seconds"))

    return fault


def no_response_to_the_contract(scene: Scenario) -> None:
    """Refuse connections once the contract is marked as sent."""
    after_the_call("TransactWriteItems", 2, unreachable)(scene)


def slow_contract(scene: Scenario) -> None:
    """Let the PAC create the contract, but respond after the read timeout."""
    patch = pytest.MonkeyPatch()
    patch.setattr(timbres.pacs.solucion_factible.client, "_CONTRACT_READ_SECONDS", 0.2)
    scene.stack.pacs.fault("agregarContrato", "slow", seconds=0.3)
    scene.undo += [patch.undo, lambda: time.sleep(0.2)]


def after_the_call(operation: str, number: int, fault: Callable[[Scenario], Any]) -> Fault:
    """Inject a fault after AWS has responded to the ``number``-th call of an operation."""

    def set_up(scene: Scenario) -> None:
        left = [number]

        def after(name: str) -> None:
            if name == operation:
                left[0] -= 1
                if left[0] == 0:
                    fault(scene)

        scene.injector.after = after

    return set_up


def each_time(operation: str, step: Callable[[Scenario], Any]) -> Fault:
    """Run a step after every call of an operation, except the step's own calls."""

    def set_up(scene: Scenario) -> None:
        within: list[str] = []

        def after(name: str) -> None:
            if name == operation and not within:
                within.append(name)
                step(scene)
                within.clear()

        scene.injector.after = after

    return set_up


def twice(scene: Scenario) -> None:
    scene.notes["times"] = 2


def never(scene: Scenario) -> None:
    scene.notes["times"] = 0


def doubled(queue: str, *, hand: int) -> Fault:
    """Deliver each message of a queue twice, ``hand`` messages per batch."""

    def fault(scene: Scenario) -> None:
        sqs, url = scene.stack.aws.client("sqs"), scene.stack.aws.refs[queue]
        for message in messages(scene, queue)[:]:
            sqs.send_message(QueueUrl=url, MessageBody=message.body)
        scene.notes["hand"] = hand

    return fault


def messages(scene: Scenario, queue: str) -> list[Any]:
    return moto_patches.stored_messages(scene.stack.aws.refs[queue])


def workers_are_late(scene: Scenario) -> None:
    scene.notes["workers are late"] = True


def broken_off_and_closed(reference: ExpectedOutcome) -> Iterator[Fault]:
    """Kill a start at any call, and close its run before the next start."""
    for death in deaths(reference):
        yield combine(death, workers_are_late)


def last_deaths(reference: ExpectedOutcome) -> Iterator[Fault]:
    """Kill a worker at any call; its message is not redelivered."""

    def put_aside(scene: Scenario) -> None:
        # The messages before it are already deleted.
        scene.undo.append(lambda: messages(scene, "ReportsQueue").pop(0))

    for death in deaths(reference):
        yield combine(death, put_aside)


def combine(*faults: Fault) -> Fault:
    def fault(scene: Scenario) -> None:
        for apply in faults:
            apply(scene)

    return fault


def reversed_batches(scene: Scenario) -> None:
    messages(scene, "RunsQueue").reverse()


# ------------------------------------------------------------------------------- the table


@dataclass(frozen=True)
class Case:
    """A row of the document. ``faults`` are its faults: all run for the document, otherwise some.

    ``unnoticed``: the caller sees the response without the fault, and no recovery is needed.
    """

    operation: Operation
    fails: str
    faults: Sequence[Fault] | Callable[[ExpectedOutcome], Iterator[Fault]]
    unnoticed: bool = False

    def each(self, reference: ExpectedOutcome) -> Iterable[Fault]:
        """Return the faults to run now."""
        if callable(self.faults):
            return self.faults(reference)
        return self.faults if WRITES else self.faults[:1]

    @property
    def everywhere(self) -> bool:
        """Return whether these are all faults of the row."""
        return not callable(self.faults) and len(self.faults) == 1


def aws_cases() -> Iterator[Case]:
    for operation in OPERATIONS:
        for service in operation.services:
            if (operation, service) != (CONTRACT, "dynamodb"):
                fails = f"{SERVICES[service]} throttles or denies any call and all later ones"
                yield Case(operation, fails, refusals(service))
        if operation is not CONTRACT:
            yield Case(operation, "the process is killed at any call", deaths)
        yield Case(operation, LOST_RESPONSE, losses, unnoticed=True)


def contract_cases() -> Iterator[Case]:
    """Yield the cases that interrupt a contract between two steps."""
    for write, step in (
        ("opens the contract", 0),
        ("marks the contract as sent", 1),
        ("saves the outcome", 2),
        ("saves the count after it", 3),
    ):
        yield Case(
            CONTRACT, f"DynamoDB throttles or denies the write that {write}", _refused_at(step)
        )
    for fails, when, step in (
        ("before the contract is opened", "before", 0),
        ("after the contract is opened", "after", 0),
        ("after the contract is marked as sent, before the request", "after", 1),
        ("after the PAC created the contract, before the outcome is saved", "before", 2),
        ("after the outcome is saved", "after", 2),
    ):
        yield Case(CONTRACT, f"the process is killed {fails}", _killed_at(when, step))


def _refused_at(step: int) -> Callable[[ExpectedOutcome], Iterator[Fault]]:
    def faults(reference: ExpectedOutcome) -> Iterator[Fault]:
        calls = [call for call in reference.calls if call.service == "dynamodb"]
        for code in ("ThrottlingException", "AccessDeniedException")[: 2 if WRITES else 1]:
            yield setting("refused", ("dynamodb", _journal_writes(calls)[step], code))

    return faults


def _killed_at(when: str, step: int) -> Callable[[ExpectedOutcome], Iterator[Fault]]:
    return lambda reference: iter(
        [setting("killed", (when, _journal_writes(reference.calls)[step]))]
    )


def _journal_writes(calls: Sequence[Call]) -> list[int]:
    """Return the indexes of the calls that write the contract: open, mark, confirm, count."""
    indexes = [n for n, call in enumerate(calls) if call.operation == "TransactWriteItems"]
    assert len(indexes) == 4
    return indexes


def pac_fault_cases(
    operation: Operation, name: str, request_name: str, *which: str
) -> Iterator[Case]:
    for fails, faults in _PAC_FAULTS[request_name].items():
        if not which or fails in which:
            yield Case(operation, f"{name} {fails}", faults)


AWAY = "cannot be reached"
CUT = "closes the connection before or within the response"
NONSENSE = "returns HTML with 200, or another format"
LATE = "responds after the deadline"
ERROR = "returns 500"
BUSY = "returns 501 or 503"
REJECTED = {"saldos": "rejects the API key (401)", "getTimbres": "rejects the password (601, 604)"}


def _common_faults(request_name: str) -> dict[str, list[Fault]]:
    return {
        AWAY: [unreachable],
        CUT: [pac(request_name, "cut-before"), pac(request_name, "truncated")],
        NONSENSE: [pac(request_name, "html-200"), pac(request_name, "wrong-shape")],
        ERROR: [pac(request_name, "code", code="500")],
    }


_PAC_FAULTS: dict[str, dict[str, list[Fault]]] = {
    "saldos": _common_faults("saldos")
    | {
        LATE: [late("saldos")],
        REJECTED["saldos"]: [pac("saldos", "code", code="401")],
    },
    "csv": _common_faults("csv") | {REJECTED["saldos"]: [pac("csv", "code", code="401")]},
    "getTimbres": _common_faults("getTimbres")
    | {
        BUSY: [pac("getTimbres", "code", code=code) for code in ("501", "503")],
        LATE: [late("getTimbres")],
        REJECTED["getTimbres"]: [pac("getTimbres", "code", code=code) for code in ("601", "604")],
        "returns every field absent, empty or nil": [
            pac("getTimbres", f"{how}-fields") for how in ("missing", "empty", "nil")
        ],
    },
}
CREATED = {"processed": True}


def contract_fault(fault: str, **options: Any) -> Fault:
    return pac("agregarContrato", fault, times=1, **options)


SF_NAME = "Solución Factible"
CASES = [
    *aws_cases(),
    *contract_cases(),
    *pac_fault_cases(BALANCE, "Reachcore", "saldos"),
    *pac_fault_cases(STAMPS, SF_NAME, "getTimbres"),
    *pac_fault_cases(
        CONTRACT,
        f"at the count before the request, {SF_NAME}",
        "getTimbres",
        *(AWAY, CUT, NONSENSE, BUSY, REJECTED["getTimbres"]),
    ),
    *(
        Case(CONTRACT, f"at the contract request, {SF_NAME} {fails}", faults)
        for fails, faults in {
            AWAY: [no_response_to_the_contract],
            "creates the contract, and its response is cut, late or invalid": [
                contract_fault("cut-after"),
                contract_fault("truncated"),
                slow_contract,
                contract_fault("html-200", **CREATED),
                contract_fault("code", code="501", **CREATED),
            ],
            "does not create the contract, and its response is cut or invalid": [
                contract_fault("cut-before"),
                contract_fault("wrong-shape"),
                contract_fault("code", code="500"),
            ],
            "returns 503": [contract_fault("code", code="503")],
            "returns 632": [contract_fault("code", code="632")],
            REJECTED["getTimbres"]: [contract_fault("code", code=code) for code in ("601", "604")],
        }.items()
    ),
    Case(
        CONTRACT,
        f"at the count after the request, {SF_NAME} closes the connection",
        [after_the_call("TransactWriteItems", 3, pac("getTimbres", "cut-before"))],
    ),
    *pac_fault_cases(
        RECONCILER, SF_NAME, "getTimbres", CUT, NONSENSE, BUSY, REJECTED["getTimbres"]
    ),
    *pac_fault_cases(MAKE, "Reachcore", "csv"),
    *pac_fault_cases(
        COUNT, SF_NAME, "getTimbres", AWAY, CUT, NONSENSE, BUSY, REJECTED["getTimbres"]
    ),
    *pac_fault_cases(COUNT, "Reachcore", "saldos", CUT, REJECTED["saldos"]),
    *(Case(job, "the schedule does not start it", [never]) for job in (RECONCILER, MONTHLY, START)),
    # Repeated requests, starts, events and messages.
    *(
        Case(operation, fails, [twice])
        for operation, fails in (
            (IMPORT, REQUEST_TWICE),
            (CONTRACT, REQUEST_TWICE),
            (RECONCILER, START_TWICE),
            (ASK, REQUEST_TWICE),
            (MONTHLY, START_TWICE),
            (START, START_TWICE),
            (MAIL, "the event is delivered twice"),
            (TOKEN, REQUEST_TWICE),
        )
    ),
    Case(
        MAKE,
        "the message is delivered twice",
        [doubled("ReportsQueue", hand=1), doubled("ReportsQueue", hand=10)],
    ),
    Case(
        COUNT,
        "every batch is delivered twice",
        [doubled("RunsQueue", hand=1)],
    ),
    # Other orders.
    Case(
        CONTRACT,
        "the reconciler runs before the PAC is called",
        [after_the_call("TransactWriteItems", 1, reconcile(minutes=3))],
    ),
    Case(
        CONTRACT,
        "the reconciler runs before the outcome is saved",
        [after_the_call("TransactWriteItems", 2, reconcile(minutes=3))],
    ),
    Case(ASK, "the worker finishes before the request does", [each_time("SendMessage", workers)]),
    Case(MONTHLY, "the workers finish before the start does", [each_time("SendMessage", workers)]),
    Case(
        MONTHLY,
        "the closing schedule runs during the start",
        [after_the_call("SendMessage", 2, close_months)],
    ),
    Case(MONTHLY, "the workers are five hours late", [workers_are_late]),
    Case(
        MONTHLY,
        "the start is killed, and the run is closed before it is started again",
        broken_off_and_closed,
    ),
    *(
        Case(operation, "the process is killed at any call of the last attempt", last_deaths)
        for operation in (MAKE, MONTHLY_WORKERS)
    ),
    Case(
        START,
        "the workers finish before the start does",
        [each_time("SendMessageBatch", lambda scene: scene.stack.run_worker_until_idle())],
    ),
    Case(
        START,
        "the closing schedule runs during the start",
        [after_the_call("SendMessageBatch", 1, close_runs)],
    ),
    Case(COUNT, "the batches are delivered in another order", [reversed_batches]),
]
ORDER = {
    operation.name: [case.fails for case in CASES if case.operation is operation]
    for operation in OPERATIONS
}


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=f"{case.operation.name}, {case.fails}") for case in CASES]
)
def test_a_fault_loses_nothing(runner: FaultRunner, case: Case) -> None:
    operation = case.operation
    reference = runner.reference(operation)
    assert {call.service for call in reference.calls} == set(operation.services)

    row = Row(case.fails)
    for fault in case.each(reference):
        row.add(*runner.run(operation, fault))
    if case.unnoticed:
        assert (row.seen, row.rights) == ([reference.response], [NO_NEED])

    agree(operation.name, row, ORDER[operation.name], everywhere=case.everywhere)


def test_the_document_has_every_row_and_no_other() -> None:
    names = [operation.name for operation in OPERATIONS]
    assert [name for name in headings() if name in ORDER] == names
    for name in names:
        assert list(read(name)) == ORDER[name]
