"""Constraints between parts of template.yaml: queues, layers, roles, logs, variables."""

from __future__ import annotations

import re

import pytest
from tests.support.template import ROOT, template

from timbres.domain.run import MAX_DURATION, MAX_RETRY_SECONDS, retry_delay
from timbres.handlers.settings import get_env

FUNCTIONS = dict(template().of_type("AWS::Serverless::Function"))
QUEUES = dict(template().of_type("AWS::SQS::Queue"))
QUEUE_OF_WORKER = {
    name: event["Properties"]["Queue"]["Fn::GetAtt"][0]
    for name, function in FUNCTIONS.items()
    for event in function.get("Events", {}).values()
    if event["Type"] == "SQS"
}


def test_only_the_report_worker_loads_the_reports_layer() -> None:
    layers = {name: own["Layers"] for name, own in FUNCTIONS.items() if "Layers" in own}
    assert template().text["Globals"]["Function"]["Layers"] == [{"Ref": "TimbresLayer"}]
    assert layers == {"ReportWorkerFunction": [{"Ref": "ReportsLayer"}]}


@pytest.mark.parametrize(("function", "queue"), QUEUE_OF_WORKER.items())
def test_the_queue_of_a_worker_has_a_timeout_and_a_dead_letter_queue(
    function: str, queue: str
) -> None:
    dead_letters, _ = QUEUES[queue]["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"]
    # AWS recommends six times the timeout of the function.
    assert QUEUES[queue]["VisibilityTimeout"] == 6 * FUNCTIONS[function]["Timeout"]
    assert QUEUES[dead_letters]["MessageRetentionPeriod"] == 14 * 24 * 3600


def test_every_schedule_has_a_dead_letter_queue() -> None:
    schedules = [t for t in template().triggers() if t.kind == "ScheduleV2"]
    assert schedules
    assert [t.label for t in schedules if "DeadLetterConfig" not in t.properties] == []


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_has_its_own_role_and_log_group(name: str) -> None:
    role = FUNCTIONS[name]["Role"]["Fn::GetAtt"][0]
    log = FUNCTIONS[name]["LoggingConfig"]["LogGroup"]["Ref"]
    assert (role, log) == (name.replace("Function", "Role"), name.replace("Function", "LogGroup"))


@pytest.mark.parametrize("base", [1, 60, 900])
def test_the_receive_count_covers_all_attempts_of_a_run(base: int) -> None:
    parameter = template().text["Parameters"]["RunRetryDelaySeconds"]
    assert parameter["MinValue"] <= base <= parameter["MaxValue"]
    seconds, attempts = 0.0, 1
    while seconds < MAX_DURATION.total_seconds():
        seconds += retry_delay(attempts, base)
        attempts += 1
    # The message is received once more after the run was closed.
    assert attempts + 1 < QUEUES["RunsQueue"]["RedrivePolicy"]["maxReceiveCount"] <= 1000


def test_a_message_outlives_the_run_and_a_start_does_not() -> None:
    (source,) = FUNCTIONS["RunWorkerFunction"]["Events"].values()
    queue, run = QUEUES["RunsQueue"], FUNCTIONS["RunFunction"]
    retry = run["Events"]["Daily"]["Properties"]["RetryPolicy"]
    seconds = MAX_DURATION.total_seconds()

    assert source["Properties"]["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    longest = seconds + max(MAX_RETRY_SECONDS, queue["VisibilityTimeout"])
    assert longest < queue["MessageRetentionPeriod"]
    assert retry["MaximumEventAgeInSeconds"] + run["Timeout"] < seconds


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_has_the_variables_that_it_reads(function: str) -> None:
    folder = ROOT / FUNCTIONS[function]["CodeUri"]
    shared = ROOT / "layers/timbres/timbres/handlers/dependencies.py"
    read, read_by_dependencies = (
        set(re.findall(r'get_env\("([A-Z_]+)"', path.read_text(encoding="utf-8")))
        for path in (folder / "app.py", shared)
    )
    declared = {
        name
        for name in template().environment(folder.name, str)
        if not name.startswith("POWERTOOLS_")
    }
    # The end-to-end tests start every function with the variables of the template only.
    assert read <= declared <= read | read_by_dependencies


def test_a_missing_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EVENT_BUS", raising=False)
    with pytest.raises(RuntimeError, match="EVENT_BUS"):
        get_env("EVENT_BUS")
