"""Faults survived: what fails, what the caller sees, what is lost, what brings it to rights.

What these tests see is in docs/reliability.md, row by row.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from moto.sns.models import sns_backends
from moto.sqs.models import sqs_backends
from tests.integration.conftest import PacServers
from tests.integration.download_token_cases import issue_token, open_link, store_report
from tests.integration.fault_injection import (
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
from tests.integration.harness import (
    AWS_ACCOUNT,
    RC,
    REGION,
    RFC,
    RFC_N,
    SF,
    ApiResponse,
    FakeStack,
    bus_event,
    load_function,
    template,
)
from tests.reliability import WRITES, Row, agree, headings, read

import timbres.pacs.solucion_factible.client
import timbres.repositories.accounts
from timbres.domain.download_token import download_token_hash

EMPTY = "AAA010101AAA"
# What the gateway answers for a function that does not; tests/e2e/test_reliability.py sees it.
LOST_RESPONSE = "AWS applies any call, and the response is lost"
NO_ANSWER = "502 `internal-error`"
START_FAILS = "the start fails"
REQUEST_TWICE = "the request is sent twice"
START_TWICE = "the job is started twice"


@pytest.fixture(scope="module")
def runner(shared_world: FakeStack, pac_servers: PacServers) -> FaultRunner:
    # The other formats take longer to write, and fail in no other way.
    shared_world.stack.refs["MonthlyFormats"] = "csv"
    wire = AwsFaultInjector(shared_world)
    wire.watch()
    return FaultRunner(Scenario(shared_world, wire), pac_servers)


def words(answer: ApiResponse) -> str:
    """Return what an answer says in short: its status, and its code or the thing's state."""
    if answer.headers["content-type"].startswith("text/html") or not answer.text:
        return str(answer.status)
    code = answer.body.get("code") or answer.body.get("status")
    return f"{answer.status} `{code}`" if code else str(answer.status)


# --------------------------------------------------------------------- what is asked for


def asking(*request: Any, **more: Any) -> Callable[[Scenario], str]:
    """Return an operation that is one request; the scene's notes have its last answer."""

    def act(scene: Scenario) -> str:
        answer = scene.world.call(*request, **more, seconds=scene.notes.get("seconds"))
        scene.notes["status"] = answer.status
        return words(answer)

    return act


def answered(scene: Scenario) -> dict[str, Any]:
    return {"status": scene.notes.get("status")}


def new_secret(scene: Scenario) -> None:
    """Give both accounts' secrets a new version, as a changed password does."""
    for name in (RC, SF):
        scene.world.change_account(name, scene.world.secret(name))
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
    """Return a step that is of no use while a PAC has rejected the secret."""

    def repair(scene: Scenario) -> None:
        if not scene.world.rejections():
            step(scene)

    return name, repair


def read_by(*request: Any, **more: Any) -> dict[str, Any]:
    """Return what an operation is that only reads."""
    act = asking(*request, **more)
    repairs = [
        unless_rejected("repeat the request", act),
        after_a_new_secret("repeat the request", act),
    ]
    return {
        "execute": act,
        "observe": answered,
        "crash_response": NO_ANSWER,
        "recovery_steps": repairs,
    }


ROSTER = [RFC, RFC_N, EMPTY]
_import = asking("issuers", "PUT", f"/accounts/{SF}/issuers", body=ROSTER)
_remove = asking("issuers", "DELETE", f"/accounts/{SF}/issuers", {"rfc": RFC})


def known(scene: Scenario) -> dict[str, Any]:
    return {"known": sorted(item["rfc"] for item in scene.items("IssuersTable"))}


def wrong_key(scene: Scenario) -> None:
    scene.notes[RC] = scene.world.secret(RC, api_key="wrong")
    scene.world.change_account(RC, scene.notes[RC])


_balance = asking("balance", "GET", f"/accounts/{RC}/balance", {"month": "2026-10"})


def _later(scene: Scenario) -> None:
    scene.world.clock.forward(minutes=10)
    _balance(scene)


def rejections(scene: Scenario) -> dict[str, Any]:
    items = scene.items("CredentialRejectionsTable")
    return {"rejected": [item["account"] for item in items if "at" in item]}


# --------------------------------------------------------------------------- contracts


def order(key: str) -> Callable[[Scenario], str]:
    return lambda scene: words(scene.world.create_contract(RFC, 500, key))


def reconcile(**later: float) -> Callable[[Scenario], str]:
    """Return a start of the reconciler some time later."""

    def act(scene: Scenario) -> str:
        scene.world.clock.forward(**later)
        try:
            states = scene.world.invoke("reconciler", {})
        except Exception:
            return START_FAILS
        return ", ".join(f"`{state}`" for state in states) or "nothing is due"

    return act


def settled(scene: Scenario) -> str:
    """Let the reconciler look until the settling time is over."""
    return [reconcile(minutes=20)(scene) for _ in range(3)][-1]


def contracts(scene: Scenario) -> dict[str, Any]:
    entries = scene.items("ContractsTable")
    by_status = Counter(item["status"] for item in entries if "status" in item)
    return {
        "bought": scene.world.pac_contracts(),
        "confirmed": by_status["confirmed"],
        "in doubt": by_status["unknown"] + by_status["pending"] + by_status["needs-review"],
        "in flight": sum(item["entry"].startswith("in-flight#") for item in entries),
        "of the day": [int(i["stamps"]) for i in entries if i["entry"].startswith("day#")],
        "meanwhile": by_status,
    }


def doubtful(scene: Scenario) -> None:
    scene.world.fault("agregarContrato", "cut-after")
    scene.world.create_contract(RFC, 500, "order-1")
    scene.world.clock.forward(minutes=2)


def reviewed(scene: Scenario) -> None:
    """Leave a contract under review: its count has grown by more than was contracted."""
    doubtful(scene)
    scene.world.books.solucion_factible.set_issuer(RFC, contratados=1507)
    reconcile(minutes=40)(scene)


def settle(scene: Scenario) -> str:
    (contract,) = (item for item in scene.items("ContractsTable") if "status" in item)
    path = f"/accounts/{SF}/contracts/{contract['entry'].partition('#')[2]}/settlement"
    body = {"outcome": "confirmed", "reason": "The portal lists the contract."}
    return words(scene.world.call("contract", "POST", path, body=body))


# ----------------------------------------------------------------------------- reports


def reports(scene: Scenario) -> dict[str, Any]:
    items = scene.items("ReportsTable")
    ready = sorted(
        (item["account"], item["kind"], item["format"], int(item["bytes"]))
        for item in items
        if item.get("status") == "ready"
    )
    runs = [item for item in items if item["account"] == "#run"]
    return {
        "ready": ready,
        # Each of them once.
        "mailed": mailed_reports(scene),
        "runs told": sum("told_at" in run for run in runs),
        "meanwhile": Counter(item["status"] for item in items if "status" in item),
    }


def mailed_reports(scene: Scenario) -> Counter[str]:
    """Return how often a link to each report is in the mails: by its key in the bucket."""
    url = template().environment("mail", scene.world.stack.resolve)["DOWNLOAD_URL"]
    texts = scene.world.mails()
    links = [line.strip() for text in texts for line in text.splitlines() if url in line]
    keys = {item["ticket"]: item["key"] for item in scene.items("DownloadTokensTable")}
    return Counter(keys[download_token_hash(link.removeprefix(url))] for link in links)


def ask(scene: Scenario) -> str:
    return words(scene.world.request_report())


def make(scene: Scenario) -> str:
    """Hand the message of a report to the worker; return what has become of both."""
    _, again = scene.world.deliver(scene.notes.get("seconds"), together=scene.notes.get("hand", 1))
    (report,) = scene.items("ReportsTable")
    if again:
        return f"`{report['status']}`; the message is redelivered"
    error = report.get("error")
    return f"`{report['status']}`" + (f": `{error['code']}`" if error else "")


def make_each(scene: Scenario) -> str:
    """Hand the messages of a run to the workers, each on its own."""
    _, again = scene.world.deliver()
    return "the message is redelivered" if again else "processed"


def workers(scene: Scenario) -> None:
    if scene.notes.pop("workers are late", False):
        close_months(scene)
    while scene.world.deliver(together=10) != (0, 0):
        pass


def requested_again(scene: Scenario) -> None:
    ask(scene)
    workers(scene)


def monthly(scene: Scenario) -> str:
    due = {"month": "previous", "scheduled_time": "2026-11-01T12:00:00Z"}
    try:
        failed = scene.world.invoke("report", due)["failed"]
    except Exception:
        return START_FAILS
    return "started" + "".join(f"; without {one['account']}" for one in failed)


def close_months(scene: Scenario) -> None:
    scene.world.clock.forward(hours=5)
    scene.world.invoke("report", {"close": "overdue"}, module=load_function("report"))


def closing(function: str) -> Callable[[Scenario], str]:
    """Return a start of a function's closing schedule, hours later."""

    def act(scene: Scenario) -> str:
        scene.world.clock.forward(hours=7)
        try:
            closed = scene.world.invoke(function, {"close": "overdue"})["closed"]
        except Exception:
            return START_FAILS
        return f"closed: {len(closed)}"

    return act


# -------------------------------------------------------------------------------- runs

DUE = {"scheduled_time": "2026-11-19T11:00:00Z"}


def know(scene: Scenario) -> None:
    scene.world.add_issuers(ROSTER)


def start(scene: Scenario) -> str:
    try:
        scene.world.invoke("run", DUE)
    except Exception:
        return START_FAILS
    return "started"


def started(scene: Scenario) -> None:
    know(scene)
    start(scene)


BATCH_AGAIN = "the batch is redelivered"


def count(scene: Scenario) -> str:
    _, again = scene.world.run_worker_once(scene.notes.get("seconds"))
    runs = [item for item in scene.items("RunsTable") if item["entry"] == "run"]
    return BATCH_AGAIN if again else f"run `{runs[0]['status']}`"


def next_run(scene: Scenario) -> None:
    scene.world.clock.forward(hours=1)
    scene.world.run()


def close_runs(scene: Scenario) -> None:
    scene.world.clock.forward(hours=1)
    scene.world.close_overdue()


def counted(scene: Scenario) -> dict[str, Any]:
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
        # Nothing is counted twice, and nobody forgotten.
        "sums": all(
            2 * line["expected"] == sum(line.values()) - 1
            for line in sums.values()
            if line["finished"]
        ),
        "last": last["done"] == last["expected"] > 0,
        "meanwhile": sums,
    }


# ------------------------------------------------------------------------ mails and tickets

# As short as a function's time can be, so that another may follow it soon.
_SECONDS = 0.05


def event_of_a_report(scene: Scenario) -> None:
    scene.world.request_report()
    scene.world.deliver()


def mail(scene: Scenario) -> str:
    (entry,) = scene.world.published
    try:
        scene.world.invoke("mail", bus_event(entry), seconds=_SECONDS)
    except Exception:
        return "the event is redelivered"
    return "mailed"


def mail_later(scene: Scenario) -> None:
    time.sleep(_SECONDS)
    mail(scene)


def mailed(scene: Scenario) -> dict[str, Any]:
    topic = sns_backends[AWS_ACCOUNT][REGION].topics[scene.world.stack.refs["MailTopic"]]
    mails = [text for _, text, *_ in topic.sent_notifications]
    url = template().environment("mail", scene.world.stack.resolve)["DOWNLOAD_URL"]
    links = [line.strip() for text in mails for line in text.splitlines() if url in line]
    if len(mails) > 1:
        scene.notes["twice"] = "; mailed twice"
    statuses = {open_link(scene.world, link.removeprefix(url)).status for link in links}
    return {"mailed": bool(mails), "links": statuses}


def mailed_twice(scene: Scenario) -> None:
    report = store_report(scene.world, b"a report")
    scene.notes["report"] = report.id
    for _ in range(2):
        issue_token(scene.world, report)


def revoke(scene: Scenario) -> str:
    path = f"/accounts/{RC}/reports/{scene.notes['report']}/tokens"
    answer = scene.world.call("report", "DELETE", path)
    return words(answer) + (f", revoked: {answer.body['revoked']}" if answer.status == 200 else "")


def valid_tokens(scene: Scenario) -> dict[str, Any]:
    return {"good": sum("revoked_at" not in item for item in scene.items("DownloadTokensTable"))}


def token(scene: Scenario) -> str:
    answer = open_link(scene.world, scene.notes["ticket"])
    scene.notes["status"] = answer.status
    return words(answer)


def with_a_token(scene: Scenario) -> None:
    scene.notes["ticket"] = issue_token(scene.world, store_report(scene.world, b"a report"))


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
    observe=known,
    crash_response=NO_ANSWER,
    recovery_steps=[("repeat the request", _import)],
)
REMOVE = Operation(
    "Issuer removal",
    READS,
    prepare=know,
    execute=_remove,
    observe=known,
    crash_response=NO_ANSWER,
    recovery_steps=[("repeat the request", _remove)],
)
REJECTION = Operation(
    "Rejected credentials",
    (*READS, "events"),
    prepare=wrong_key,
    execute=_balance,
    observe=rejections,
    crash_response=NO_ANSWER,
    recovery_steps=[("repeat the request", _balance), ("repeat the request minutes later", _later)],
)
CONTRACT = Operation(
    "Contract",
    (*READS, "events"),
    execute=order("order-1"),
    observe=contracts,
    crash_response=NO_ANSWER,
    recovery_steps=[
        ("repeat the same request", order("order-1")),
        ("the reconciler, within minutes", reconcile(minutes=3)),
        ("the reconciler, after the verification window", settled),
        unless_rejected("a request with a new key", order("order-2")),
        after_a_new_secret("a request with a new key", order("order-3")),
    ],
)
RECONCILER = Operation(
    "Reconciler",
    (*READS, "events"),
    prepare=doubtful,
    execute=reconcile(seconds=1),
    observe=contracts,
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
    prepare=reviewed,
    execute=settle,
    observe=contracts,
    crash_response=NO_ANSWER,
    recovery_steps=[
        ("repeat the same request", settle),
        ("the reconciler, within minutes", reconcile(minutes=5)),
    ],
)
ASK = Operation(
    "Report request",
    (*READS, "sqs"),
    execute=ask,
    observe=reports,
    settle=workers,
    crash_response=NO_ANSWER,
    recovery_steps=[("repeat the request", ask)],
)
MAKE = Operation(
    "Report generation",
    (*READS, "s3", "events"),
    prepare=ask,
    execute=make,
    observe=reports,
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
    observe=reports,
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
    execute=make_each,
    observe=reports,
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
    observe=reports,
    crash_response=START_FAILS,
    retried_on=START_FAILS,
    recovery_steps=[("the next scheduled start", close_months)],
)
START = Operation(
    "Daily run: start",
    (*READS, "sqs"),
    prepare=know,
    execute=start,
    observe=counted,
    settle=lambda scene: scene.world.run_worker_until_idle(),
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
    prepare=started,
    execute=count,
    observe=counted,
    crash_response=BATCH_AGAIN,
    retried_on=BATCH_AGAIN,
    recovery_steps=[
        ("redelivery of the batch", lambda scene: scene.world.run_worker_until_idle()),
        ("the closing schedule", close_runs),
        unless_rejected("the next run", next_run),
        after_a_new_secret("the next run", next_run),
    ],
)
CLOSE_RUN = Operation(
    "Daily run: closing",
    ("dynamodb", "events"),
    prepare=started,
    execute=closing("run"),
    observe=counted,
    crash_response=START_FAILS,
    retried_on=START_FAILS,
    recovery_steps=[("the next scheduled start", close_runs)],
)
MAIL = Operation(
    "Mail",
    ("dynamodb", "sns"),
    prepare=event_of_a_report,
    execute=mail,
    observe=mailed,
    crash_response="the event is redelivered",
    retried_on="the event is redelivered",
    recovery_steps=[("redelivery of the event", mail_later)],
)
REVOKE = Operation(
    "Link revocation",
    ("dynamodb",),
    prepare=mailed_twice,
    execute=revoke,
    observe=valid_tokens,
    crash_response=NO_ANSWER,
    recovery_steps=[("repeat the request", revoke)],
)
TOKEN = Operation(
    "Download token",
    ("dynamodb",),
    prepare=with_a_token,
    execute=token,
    observe=answered,
    crash_response=NO_ANSWER,
    recovery_steps=[("open the link again", token)],
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
    """Let a PAC answer later than the function has time for: a second, and 3 that it keeps."""

    def fault(scene: Scenario) -> None:
        scene.world.fault(operation, "slow", seconds=1.2, times=-1)
        scene.notes["seconds"] = 4
        scene.undo.append(lambda: scene.notes.pop("seconds"))

    return fault


def no_response_to_the_contract(scene: Scenario) -> None:
    """Refuse connections once the contract is marked as sent."""
    after_the_call("TransactWriteItems", 2, unreachable)(scene)


def slow_contract(scene: Scenario) -> None:
    """Let the PAC respond to a contract after the timeout; it creates the contract."""
    patch = pytest.MonkeyPatch()
    patch.setattr(timbres.pacs.solucion_factible.client, "_CONTRACT_READ_SECONDS", 0.2)
    scene.world.fault("agregarContrato", "slow", seconds=0.3)
    scene.undo += [patch.undo, lambda: time.sleep(0.2)]


def after_the_call(operation: str, number: int, fault: Callable[[Scenario], Any]) -> Fault:
    """Let something happen once AWS has answered the ``number``-th call of an operation."""

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
    """Let something happen after every call of an operation, but within itself."""

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
    """Let each message of a queue come twice, ``hand`` at a time."""

    def fault(scene: Scenario) -> None:
        sqs, url = scene.world.stack.client("sqs"), scene.world.stack.refs[queue]
        for message in messages(scene, queue)[:]:
            sqs.send_message(QueueUrl=url, MessageBody=message.body)
        scene.notes["hand"] = hand

    return fault


def messages(scene: Scenario, queue: str) -> list[Any]:
    name = scene.world.stack.refs[queue].rpartition("/")[2]
    found: list[Any] = sqs_backends[AWS_ACCOUNT][REGION].queues[name]._messages
    return found


def workers_are_late(scene: Scenario) -> None:
    scene.notes["workers are late"] = True


def broken_off_and_closed(reference: ExpectedOutcome) -> Iterator[Fault]:
    """Kill a start at any call; its run is closed before it is started again."""
    for death in deaths(reference):
        yield together(death, workers_are_late)


def last_deaths(reference: ExpectedOutcome) -> Iterator[Fault]:
    """Kill a worker at any call; its message is not handed out again."""

    def put_aside(scene: Scenario) -> None:
        # Those before it are done with.
        scene.undo.append(lambda: messages(scene, "ReportsQueue").pop(0))

    for death in deaths(reference):
        yield together(death, put_aside)


def together(*faults: Fault) -> Fault:
    def fault(scene: Scenario) -> None:
        for each in faults:
            each(scene)

    return fault


def reversed_batches(scene: Scenario) -> None:
    messages(scene, "RunsQueue").reverse()


# ------------------------------------------------------------------------------- the table


@dataclass(frozen=True)
class Case:
    """A row. ``faults`` are what it stands for; all are played for the document, or else some.

    ``unnoticed``: the caller must see what it sees without the fault, and nothing be needed.
    """

    operation: Operation
    fails: str
    faults: Sequence[Fault] | Callable[[ExpectedOutcome], Iterator[Fault]]
    unnoticed: bool = False

    def each(self, reference: ExpectedOutcome) -> Iterable[Fault]:
        """Return the faults to be played now."""
        if callable(self.faults):
            return self.faults(reference)
        return self.faults if WRITES else self.faults[:1]

    @property
    def everywhere(self) -> bool:
        """Tell whether these are all."""
        return not callable(self.faults) and len(self.faults) == 1


def of_aws() -> Iterator[Case]:
    for operation in OPERATIONS:
        for service in operation.services:
            if (operation, service) != (CONTRACT, "dynamodb"):
                fails = f"{SERVICES[service]} throttles or denies any call and all later ones"
                yield Case(operation, fails, refusals(service))
        if operation is not CONTRACT:
            yield Case(operation, "the process is killed at any call", deaths)
        yield Case(operation, LOST_RESPONSE, losses, unnoticed=True)


def of_the_journal() -> Iterator[Case]:
    """Yield the faults between two steps of a contract: the table's, or the function's end."""
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
            yield setting("refused", ("dynamodb", _writings(calls)[step], code))

    return faults


def _killed_at(when: str, step: int) -> Callable[[ExpectedOutcome], Iterator[Fault]]:
    return lambda reference: iter([setting("killed", (when, _writings(reference.calls)[step]))])


def _writings(calls: Sequence[Call]) -> list[int]:
    """Return which calls write into the journal: it opens, marks, confirms, counts."""
    found = [n for n, call in enumerate(calls) if call.operation == "TransactWriteItems"]
    assert len(found) == 4
    return found


def of_a_pac(operation: Operation, name: str, request_name: str, *which: str) -> Iterator[Case]:
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


def _of_any(request_name: str) -> dict[str, list[Fault]]:
    return {
        AWAY: [unreachable],
        CUT: [pac(request_name, "cut-before"), pac(request_name, "truncated")],
        NONSENSE: [pac(request_name, "html-200"), pac(request_name, "wrong-shape")],
        ERROR: [pac(request_name, "code", code="500")],
    }


_PAC_FAULTS: dict[str, dict[str, list[Fault]]] = {
    "saldos": _of_any("saldos")
    | {
        LATE: [late("saldos")],
        REJECTED["saldos"]: [pac("saldos", "code", code="401")],
    },
    "csv": _of_any("csv") | {REJECTED["saldos"]: [pac("csv", "code", code="401")]},
    "getTimbres": _of_any("getTimbres")
    | {
        BUSY: [pac("getTimbres", "code", code=code) for code in ("501", "503")],
        LATE: [late("getTimbres")],
        REJECTED["getTimbres"]: [pac("getTimbres", "code", code=code) for code in ("601", "604")],
        "returns every field absent, empty or nil": [
            pac("getTimbres", f"{how}-fields") for how in ("missing", "empty", "nil")
        ],
    },
}
SOLD = {"processed": True}


def contract_fault(fault: str, **more: Any) -> Fault:
    return pac("agregarContrato", fault, times=1, **more)


SF_NAME = "Solución Factible"
CASES = [
    *of_aws(),
    *of_the_journal(),
    *of_a_pac(BALANCE, "Reachcore", "saldos"),
    *of_a_pac(STAMPS, SF_NAME, "getTimbres"),
    *of_a_pac(
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
                contract_fault("html-200", **SOLD),
                contract_fault("code", code="501", **SOLD),
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
    *of_a_pac(RECONCILER, SF_NAME, "getTimbres", CUT, NONSENSE, BUSY, REJECTED["getTimbres"]),
    *of_a_pac(MAKE, "Reachcore", "csv"),
    *of_a_pac(COUNT, SF_NAME, "getTimbres", AWAY, CUT, NONSENSE, BUSY, REJECTED["getTimbres"]),
    *of_a_pac(COUNT, "Reachcore", "saldos", CUT, REJECTED["saldos"]),
    *(Case(one, "the schedule does not start it", [never]) for one in (RECONCILER, MONTHLY, START)),
    # What comes twice.
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
    # What comes in another order.
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
        [each_time("SendMessageBatch", lambda scene: scene.world.run_worker_until_idle())],
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
def test_what_fails_loses_nothing(runner: FaultRunner, case: Case) -> None:
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
