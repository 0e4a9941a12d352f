"""The metrics and log lines of functions, compared with the alarms and the dashboard."""

from __future__ import annotations

import contextlib
import io
import json
from collections import defaultdict
from collections.abc import Callable
from typing import Any
from unittest.mock import MagicMock, patch

import pytest
from tests.support.fake_stack import RC, RFC, RFC_N, SF, FakeStack
from tests.support.monitored_metrics import ALARMS, Metric, metrics_of, on_the_dashboard, searched
from tests.support.template import STACK_NAME

from timbres.aws.notifications import MailPublisher
from timbres.observability.metrics import metrics

Emitted = dict[tuple[str, frozenset[tuple[str, str]]], list[float]]

MONITORED = {metric for alarm in ALARMS.values() for metric in metrics_of(alarm)}
METRICS = {*MONITORED, *on_the_dashboard()}
OWN = sorted((metric for metric in METRICS if metric.namespace == "Timbres"), key=str)


def emitted_by(call: Callable[[], Any]) -> Emitted:
    """Return each metric that a call emits, by name and dimensions, with its values."""
    with contextlib.redirect_stdout(io.StringIO()) as output:
        call()
    emitted: Emitted = defaultdict(list)
    for line in map(json.loads, output.getvalue().splitlines()):
        (directive,) = line["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == "Timbres"
        (names,) = directive["Dimensions"]
        dimensions = frozenset((name, line[name]) for name in names)
        for metric in directive["Metrics"]:
            emitted[metric["Name"], dimensions] += line[metric["Name"]]
    return emitted


def values(emitted: Emitted, name: str, **dimensions: str) -> list[float]:
    return emitted[name, frozenset({"service": STACK_NAME, **dimensions}.items())]


def close_reports(stack: FakeStack) -> None:
    stack.invoke("report", {"close": "overdue"})


def check_subscription(stack: FakeStack, recipient: str) -> None:
    with patch.dict(stack.aws.refs, NotificationEmail=recipient):
        stack.invoke("reconciler", {"check": "expiry"})


def change_secret(stack: FakeStack, **changes: Any) -> None:
    stack.accounts.change(SF, stack.accounts.secret(SF, **changes))
    # A warm function reads the new secret within a minute.
    stack.reset_warm_functions()


def contracts_of_each_outcome(stack: FakeStack) -> None:
    """Create contracts that are confirmed, rejected, confirmed by count and to be reviewed."""
    assert stack.create_contract().status == 201
    stack.pacs.fault("agregarContrato", "code", code="630")
    assert stack.create_contract().status == 409
    for others in (0, 7):
        stack.pacs.fault("agregarContrato", "cut-after")
        assert stack.create_contract(stamps=30).body["status"] == "unknown"
        pac, username = stack.pacs.state.solucion_factible, stack.credentials.username
        issuer = pac.stamps(username, RFC)
        assert issuer is not None
        pac.set_issuer(RFC, contratados=issuer.contratados + others, username=username)
        stack.reconcile()
        stack.clock.forward(minutes=90)
        stack.reconcile()


def use_every_function(stack: FakeStack) -> None:
    contracts_of_each_outcome(stack)
    change_secret(stack, low_stamps=50)
    stack.accounts.add_issuers([RFC, RFC_N, "AAA010101AAA", "XYZ010203AB1"])
    stack.pacs.fault("getTimbresImplementacion", "code", code="620")
    # One of three accounts is not counted.
    stack.accounts.create("acme-norte", stack.accounts.norte_secret())
    stack.run()
    stack.accounts.delete("acme-norte")
    # A ready report, a failed report, and a month without its reports.
    assert stack.request_report().status == 202
    stack.deliver()
    stack.pacs.fault("csv", "code", code="404", times=-1)
    assert stack.request_report(month="2026-09").status == 202
    stack.deliver()
    close_reports(stack)
    check_subscription(stack, "finanzas@example.com")
    # An internal error, and a rejected password.
    stack.aws_faults.reject("dynamodb", "Query", "InternalServerError", 500)
    assert stack.get(f"/accounts/{SF}/stamps").status == 503
    stack.aws_faults.restore()
    change_secret(stack, password="another")
    for _ in range(2):
        assert stack.get(f"/accounts/{SF}/stamps", rfc=RFC).body["pac"]["code"] == "601"


@pytest.fixture(scope="module")
def emitted(module_stack: FakeStack) -> Emitted:
    # Other tests have counted in this process, too.
    metrics.flush()
    return emitted_by(lambda: use_every_function(module_stack))


@pytest.mark.parametrize("metric", OWN, ids=str)
def test_a_monitored_metric_is_emitted(emitted: Emitted, metric: Metric) -> None:
    references = {"${AWS::StackName}": STACK_NAME}
    dimensions = {(name, references.get(value, value)) for name, value in metric.dimensions}
    assert (metric.name, frozenset(dimensions)) in emitted


def test_the_dashboard_searches_and_shows_every_metric(emitted: Emitted) -> None:
    names = {(name, frozenset(key for key, _ in dimensions)) for name, dimensions in emitted}
    displayed = {metric.name for metric in on_the_dashboard()} | {name for name, _ in searched()}
    assert set(searched()) <= names
    assert {name for name, _ in names} <= displayed


@pytest.mark.parametrize(
    ("name", "dimensions", "total"),
    [
        ("Contracts", {"status": "confirmed"}, 2),
        ("Contracts", {"status": "rejected"}, 1),
        ("Contracts", {"status": "unknown"}, 2),
        ("Contracts", {"status": "needs-review"}, 1),
        ("InternalErrors", {}, 1),
        *((f"Runs{name}", {}, 1) for name in ("Started", "Finished")),
        *(("IssuersExpected", {}, 6), ("IssuersCounted", {}, 7), ("IssuersNotReached", {}, 0)),
        *(("StampsLow", {}, 1), ("StampsExhausted", {}, 1), ("BatchesFailed", {}, 0)),
        ("IssuersFailed", {"reason": "pac-rejected-request"}, 1),
        *(("AccountsNotCounted", {}, 1), ("AccountStampsLow", {}, 0)),
        ("AccountStampsFailed", {"reason": "pac-permission-denied"}, 1),
        # Each request with a rejected password is counted; the PAC is called once.
        ("CredentialsRejected", {}, 2),
        ("PacErrors", {"pac": "solucion-factible", "code": "pac-credentials-rejected"}, 1),
    ],
)
def test_an_event_is_counted_once(
    emitted: Emitted, name: str, dimensions: dict[str, str], total: int
) -> None:
    assert sum(values(emitted, name, **dimensions)) == total


def test_an_invalid_request_is_not_counted(shared_stack: FakeStack) -> None:
    assert emitted_by(lambda: shared_stack.get(f"/accounts/{SF}/stamps", rfc="no-rfc")) == {}


def test_the_calls_of_a_pac_are_counted_and_timed(emitted: Emitted) -> None:
    for pac in ("reachcore", "solucion-factible"):
        seconds = values(emitted, "PacLatency", pac=pac)
        assert len(seconds) == sum(values(emitted, "PacCalls", pac=pac)) > 0
        assert min(seconds) >= 0


def test_each_start_measures_the_oldest_open_contract(
    shared_stack: FakeStack, emitted: Emitted
) -> None:
    def minutes() -> list[float]:
        metrics_of_start = emitted_by(shared_stack.reconcile)
        return values(metrics_of_start, "OldestUnresolvedContractAge")

    change_secret(shared_stack)
    assert minutes() == [0]
    shared_stack.pacs.fault("agregarContrato", "cut-after")
    assert shared_stack.create_contract(RFC_N).body["status"] == "unknown"
    shared_stack.pacs.fault("getTimbres", "code", code="503", times=-1)
    shared_stack.clock.forward(minutes=80)
    (age,) = minutes()
    assert 80 <= age < 81
    shared_stack.clock.forward(minutes=15)
    shared_stack.pacs.solucion_factible.faults.clear()
    # This start settles the contract.
    assert minutes() == [0]


def test_reports_are_missing_from_the_2nd_until_they_are_published(
    shared_stack: FakeStack, emitted: Emitted
) -> None:
    def missing() -> list[float]:
        return values(emitted_by(lambda: close_reports(shared_stack)), "MonthlyReportsMissing")

    shared_stack.aws.refs["MonthlyFormats"] = "csv"
    before = shared_stack.clock.at
    shared_stack.clock.at = before.replace(month=12, day=1, hour=23)
    assert missing() == [0]
    shared_stack.clock.forward(hours=2)
    assert missing() == [1]
    shared_stack.invoke("report", {"month": "previous", "scheduled_time": "2026-12-01T12:00:00Z"})
    assert missing() == [1]
    shared_stack.deliver()
    assert missing() == [0]
    shared_stack.clock.at = before


def test_a_day_without_a_confirmed_subscription_is_measured(
    shared_stack: FakeStack, emitted: Emitted
) -> None:
    def missing(recipient: str = "finanzas@example.com") -> list[float]:
        check = emitted_by(lambda: check_subscription(shared_stack, recipient))
        return values(check, "MailSubscriptionMissing")

    sns, topic = shared_stack.aws.client("sns"), shared_stack.aws.refs["MailTopic"]
    assert missing() == [1]
    # Without a recipient, nobody expects mails.
    assert missing("none") == missing("") == []
    sns.subscribe(TopicArn=topic, Protocol="email", Endpoint="finanzas@example.com")
    assert missing() == [0]


def test_a_subscription_that_is_not_confirmed_is_no_subscriber() -> None:
    sns: Any = MagicMock()
    for arn in ("PendingConfirmation", "Deleted"):
        page = {"Subscriptions": [{"SubscriptionArn": arn}]}
        sns.get_paginator.return_value.paginate.return_value = [page]
        assert not MailPublisher(sns, "arn:topic").has_subscriber()


def test_each_log_line_has_its_own_request_account_rfc_and_codes(shared_stack: FakeStack) -> None:
    shared_stack.accounts.clear_rejections()
    change_secret(shared_stack)
    shared_stack.pacs.fault("getTimbres", "code", code="633")
    contract: Any = {
        "body": {"rfc": 'A\n{"level": "ERROR"}', "stamps": 5},
        "headers": {"Idempotency-Key": "a-key"},
    }

    shared_stack.get(f"/accounts/{SF}/stamps", rfc=RFC)
    shared_stack.get(f"/accounts/{SF}/stamps", cursor="no cursor")
    shared_stack.get("/accounts/no-such-account/stamps")
    shared_stack.call("contract", "POST", f"/accounts/{SF}/contracts", **contract)

    lines = shared_stack.logs.lines("request failed: ")[-4:]
    assert len({line["function_request_id"] for line in lines}) == 4
    keys = ("account", "rfc", "code", "pac_code")
    assert [tuple(line.get(key) for key in keys) for line in lines] == [
        (SF, RFC, "environment-mismatch", "633"),
        (SF, None, "parameter-invalid", None),
        ("no-such-account", None, "account-unknown", None),
        (SF, 'A?{"level": "ERROR"}', "rfc-invalid", None),
    ]


def test_the_log_line_of_a_failed_schedule_names_account_and_codes(
    shared_stack: FakeStack,
) -> None:
    shared_stack.pacs.fault("saldos", "code", code="500", times=-1)

    shared_stack.invoke("balance", {"account": None, "month": "current"})

    (line,) = [entry for entry in shared_stack.logs.lines() if entry.get("run") == "balance"]
    assert (line["account"], line["code"], line["pac_code"]) == (RC, "pac-error", "500")
