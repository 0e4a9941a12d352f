"""The metrics and log lines of functions, compared with the alarms and the dashboard."""

from __future__ import annotations

import contextlib
import io
import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from tests.integration.harness import RC, RFC, RFC_N, SF, STACK, FakeStack
from tests.monitored_metrics import ALARMS, Metric, metrics_of, on_the_dashboard, searched

from timbres.observability.metrics import metrics

Emitted = dict[tuple[str, frozenset[tuple[str, str]]], list[float]]

WATCHED = {metric for alarm in ALARMS.values() for metric in metrics_of(alarm)}
OWN = sorted(
    (metric for metric in {*WATCHED, *on_the_dashboard()} if metric.namespace == "Timbres"), key=str
)


def parse_emitted(text: str) -> Emitted:
    """Return each metric of a function's output, by name and dimensions, with its values."""
    found: Emitted = defaultdict(list)
    for line in map(json.loads, text.splitlines()):
        (directive,) = line["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == "Timbres"
        (names,) = directive["Dimensions"]
        dimensions = frozenset((name, line[name]) for name in names)
        for metric in directive["Metrics"]:
            found[metric["Name"], dimensions] += line[metric["Name"]]
    return found


@contextlib.contextmanager
def output() -> Iterator[io.StringIO]:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        yield out


def emitted_values(emitted: Emitted, name: str, **dimensions: str) -> list[float]:
    return emitted[name, frozenset({"service": STACK, **dimensions}.items())]


def reconcile(world: FakeStack) -> None:
    world.invoke("reconciler", {"scheduled_time": "2026-11-19T20:00:00Z"})


def new_secret(world: FakeStack, **changes: str) -> None:
    world.change_account(SF, world.secret(SF, **changes))
    # A cold function reads the new secret at once, a warm one within a minute.
    world.reset_warm_functions()


def contracts_of_each_outcome(world: FakeStack) -> None:
    """One contract per outcome: confirmed, rejected, confirmed by count, in review."""
    assert world.create_contract().status == 201
    world.fault("agregarContrato", "code", code="630")
    assert world.create_contract().status == 409
    for beside in (0, 7):
        world.fault("agregarContrato", "cut-after")
        assert world.create_contract(stamps=30).body["status"] == "unknown"
        username = world.credentials.username
        issuer = world.books.solucion_factible.stamps(username, RFC)
        assert issuer is not None
        world.books.solucion_factible.set_issuer(
            RFC, contratados=issuer.contratados + beside, username=username
        )
        reconcile(world)
        world.clock.forward(minutes=90)
        reconcile(world)


def request_reports(world: FakeStack) -> None:
    """Leave a ready report, a failed one, and a month without its reports."""
    assert world.request_report().status == 202
    world.deliver()
    world.fault("csv", "code", code="404", times=-1)
    assert world.request_report(month="2026-09").status == 202
    world.deliver()
    world.invoke("report", {"close": "overdue"})


def cause_failures(world: FakeStack) -> None:
    """Cause an internal error, and reject a password."""
    world.break_aws("dynamodb", "Query", "InternalServerError", 500)
    assert world.get(f"/accounts/{SF}/stamps").status == 503
    world.restore_aws()
    new_secret(world, password="another")
    for _ in range(2):
        assert world.get(f"/accounts/{SF}/stamps", rfc=RFC).body["pac"]["code"] == "601"


@pytest.fixture(scope="module")
def emitted(shared_world: FakeStack) -> Emitted:
    """All metrics of a few contracts, a run, two reports and some failures."""
    world = shared_world
    # Tests before these have counted in this process, too.
    metrics.drain()
    with output() as out:
        contracts_of_each_outcome(world)
        world.add_issuers([RFC, RFC_N, "XYZ010203AB1"])
        world.fault("getTimbresImplementacion", "code", code="620")
        world.run()
        request_reports(world)
        cause_failures(world)
    return parse_emitted(out.getvalue())


@pytest.mark.parametrize("metric", OWN, ids=str)
def test_a_metric_that_is_watched_is_emitted(emitted: Emitted, metric: Metric) -> None:
    references = {"${AWS::StackName}": STACK}
    dimensions = frozenset(
        (name, references.get(value, value)) for name, value in metric.dimensions
    )
    assert (metric.name, dimensions) in emitted


@pytest.mark.parametrize(("name", "dimensions"), searched())
def test_a_metric_that_is_searched_is_emitted(
    emitted: Emitted, name: str, dimensions: frozenset[str]
) -> None:
    assert [
        emitted_name
        for emitted_name, pairs in emitted
        if emitted_name == name and {key for key, _ in pairs} == dimensions
    ]


def test_every_metric_emitted_is_on_the_dashboard(emitted: Emitted) -> None:
    displayed = {metric.name for metric in on_the_dashboard()} | {name for name, _ in searched()}
    assert {name for name, _ in emitted} <= displayed


def test_contracts_are_counted_by_status(emitted: Emitted) -> None:
    counts = {
        status: sum(emitted_values(emitted, "Contracts", status=status))
        for status in ("confirmed", "rejected", "unknown", "needs-review")
    }
    assert counts == {"confirmed": 2, "rejected": 1, "unknown": 2, "needs-review": 1}


def test_internal_errors_are_counted_and_invalid_requests_are_not(
    shared_stack: FakeStack, emitted: Emitted
) -> None:
    assert emitted_values(emitted, "InternalErrors") == [1]
    with output() as out:
        assert shared_stack.get(f"/accounts/{SF}/stamps", rfc="no-rfc").status == 400
    assert out.getvalue() == ""


def test_a_rejected_password_is_counted_at_each_request(emitted: Emitted) -> None:
    assert emitted_values(emitted, "CredentialsRejected") == [1, 1]
    # The PAC was called once.
    errors = {"pac": "solucion-factible", "code": "pac-credentials-rejected"}
    assert emitted_values(emitted, "PacErrors", **errors) == [1]


def test_the_calls_of_a_pac_are_counted_and_timed(emitted: Emitted) -> None:
    for pac in ("reachcore", "solucion-factible"):
        seconds = emitted_values(emitted, "PacLatency", pac=pac)
        assert len(seconds) == sum(emitted_values(emitted, "PacCalls", pac=pac)) > 0
        assert min(seconds) >= 0


def test_every_start_measures_the_oldest_open_contract(
    shared_stack: FakeStack, emitted: Emitted
) -> None:
    assert emitted
    new_secret(shared_stack)

    def minutes() -> list[float]:
        with output() as out:
            reconcile(shared_stack)
        return emitted_values(parse_emitted(out.getvalue()), "OldestUnresolvedContractAge")

    assert minutes() == [0]
    shared_stack.fault("agregarContrato", "cut-after")
    assert shared_stack.create_contract(RFC_N).body["status"] == "unknown"
    shared_stack.fault("getTimbres", "code", code="503", times=-1)
    shared_stack.clock.forward(minutes=80)
    (first,) = minutes()
    assert 80 <= first < 81
    shared_stack.clock.forward(minutes=15)
    shared_stack.factible.faults.clear()
    # This start settles the contract.
    assert minutes() == [0]


def test_a_run_without_issuers_is_counted_as_finished(
    shared_stack: FakeStack, emitted: Emitted
) -> None:
    assert emitted_values(emitted, "RunsFinished") == [1]
    for item in shared_stack.stack.items("IssuersTable"):
        shared_stack.call(
            "issuers", "DELETE", f"/accounts/{item['account']}/issuers", {"rfc": item["rfc"]}
        )
    secrets = shared_stack.stack.client("secretsmanager")
    secrets.delete_secret(SecretId=f"timbres/accounts/{RC}", ForceDeleteWithoutRecovery=True)
    shared_stack.reset_warm_functions()
    shared_stack.clock.forward(hours=24)
    with output() as out:
        assert shared_stack.run()["expected"] == 0
    assert emitted_values(parse_emitted(out.getvalue()), "RunsFinished") == [1]
    shared_stack.create_account(RC, shared_stack.secret(RC))
    shared_stack.reset_warm_functions()


def test_reports_are_missing_from_the_2nd_until_published(
    shared_stack: FakeStack, emitted: Emitted
) -> None:
    def missing() -> list[float]:
        with output() as out:
            shared_stack.invoke("report", {"close": "overdue"})
        return emitted_values(parse_emitted(out.getvalue()), "MonthlyReportsMissing")

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


# --------------------------------------------------------------------------------- log lines


def test_each_log_line_has_its_own_account_rfc_and_pac_code(
    shared_stack: FakeStack,
) -> None:
    shared_stack.clear_rejections()
    new_secret(shared_stack)
    shared_stack.fault("getTimbres", "code", code="633")
    shared_stack.get(f"/accounts/{SF}/stamps", rfc=RFC)
    shared_stack.get(f"/accounts/{SF}/stamps", cursor="no cursor")
    shared_stack.get("/accounts/no-such-account/stamps")
    keys = ("function_request_id", "account", "rfc", "code", "pac_code")
    lines = [
        {key: line.get(key) for key in keys}
        for line in shared_stack.log_lines_with("request failed: ")[-3:]
    ]

    assert len({line.pop("function_request_id") for line in lines}) == 3
    assert lines == [
        {"account": SF, "rfc": RFC, "code": "environment-mismatch", "pac_code": "633"},
        {"account": SF, "rfc": None, "code": "parameter-invalid", "pac_code": None},
        {"account": "no-such-account", "rfc": None, "code": "account-unknown", "pac_code": None},
    ]


def test_a_line_break_in_an_rfc_does_not_break_the_log_line(
    shared_stack: FakeStack,
) -> None:
    body = {"rfc": 'A\n{"level": "ERROR"}', "stamps": 5}
    headers = {"Idempotency-Key": "a-key"}
    shared_stack.call("contract", "POST", f"/accounts/{SF}/contracts", body=body, headers=headers)
    line = shared_stack.log_lines_with("request failed: rfc-invalid")[-1]
    assert (line["account"], line["rfc"]) == (SF, 'A?{"level": "ERROR"}')


def test_a_schedules_failure_names_account_and_code(shared_stack: FakeStack) -> None:
    shared_stack.fault("saldos", "code", code="500", times=-1)
    shared_stack.invoke("balance", {"account": None, "month": "current"})
    (line,) = [entry for entry in shared_stack.log_lines() if entry.get("run") == "balance"]
    logged: dict[str, Any] = {key: line.get(key) for key in ("account", "code", "pac_code", "rfc")}
    assert logged == {"account": RC, "code": "pac-error", "pac_code": "500", "rfc": None}
