"""`python -m tools.doctor` against a deployed stack and PACs that respond in every way."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys

import pytest
from local.emulator_process import ROOT, Keys
from local.fake_pacs.fake_data import SolucionFactibleAccount, SolucionFactibleState
from local.fake_pacs.server import serve
from local.fake_pacs.solucion_factible import FakeSolucionFactible
from local.fakes import WSDL

from tests.support.api_calls import delete_account

USER, PASSWORD = "doctor@example.com", "a-password-of-the-doctor"
SOAP_ACTION = "SOAPAction is urn:nuevoContrato, not urn:agregarContrato"


@pytest.fixture
def run_doctor(stack, recorder, tmp_path):
    """Return a function that runs the doctor with options.

    It returns the exit status, and the last level and all texts about each subject.
    """
    # This machine may have no Python 3.13.
    python = tmp_path / "python3.13"
    python.write_text("#!/bin/sh\necho Python 3.13.0\n")
    python.chmod(0o755)

    def run(*options, keys=stack.keys["admin"]):
        variables = {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "HOME": "/nonexistent",
            "PYTHONPATH": str(ROOT / "layers" / "timbres"),
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL": stack.endpoint_url,
            "AWS_ACCESS_KEY_ID": keys.access_key_id,
            "AWS_SECRET_ACCESS_KEY": keys.secret_access_key,
        }
        command = [sys.executable, "-m", "tools.doctor", *options]
        process = subprocess.run(
            command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False
        )
        assert process.stderr == ""
        recorder.output.append(process.stdout)
        results = {}
        for line in process.stdout.splitlines()[:-2]:
            level, subject, text = line[:9].strip(), line[9:33].strip(), line[34:]
            results[subject] = (level, "\n".join((*results.get(subject, ())[1:], text)))
        return process.returncode, results

    return run


def check(results, *expected):
    """Check the level and a part of the text of some results."""
    for subject, level, text in expected:
        assert results[subject][0] == level, results[subject]
        assert text in results[subject][1]


@pytest.fixture
def pac(stack, tmp_path):
    """A PAC with another WSDL, and accounts with good, misspelled and rejected secrets."""
    wsdl = tmp_path / "altered.wsdl"
    wsdl.write_text(WSDL.read_text().replace("urn:agregarContrato", "urn:nuevoContrato"))
    state = SolucionFactibleState([SolucionFactibleAccount(USER, PASSWORD)])
    state.set_issuer("AAA010101AAA", contratados=1500, usados=100)
    pac = FakeSolucionFactible(state, wsdl=wsdl)
    changes = {
        "dr-altered": {},
        "dr-misspelled": {"environment": "prodduction"},
        "dr-rejected": {"password": "a-wrong-password-of-the-doctor"},
    }
    secret = {"pac": "solucion-factible", "environment": "sandbox", "username": USER}
    with serve(pac) as url:
        for name, change in changes.items():
            stack.create_account(name, secret | {"password": PASSWORD, "endpoint": url} | change)
        yield pac
    for name in changes:
        delete_account(stack, name)


def test_a_working_stack_passes_all_checks(run_doctor):
    status, results = run_doctor("--ask-pacs", "--account=acme-rc", "--account=acme-sf")

    assert status == 0
    check(
        results,
        ("stage", "ok", "default, stack timbres"),
        ("credentials", "ok", "user/admin"),
        ("region opt-in", "ok", "mx-central-1 is enabled"),
        ("clock", "ok", "from AWS's clock"),
        ("API", "ok", "its only stage is dev"),
        ("stack", "ok", "CREATE_COMPLETE"),
        ("outputs", "ok", "all"),
        ("schedules", "ok", "are enabled"),
        ("PAC of acme-rc", "ok", "HTTP 200"),
        ("PAC of acme-sf", "ok", "stamps left"),
        ("WSDL of acme-sf", "ok", "the bundled WSDL matches"),
    )


def test_problems_are_named_and_rejected_credentials_are_not_retried(stack, run_doctor, pac):
    names = ("altered", "misspelled", "rejected", "missing")
    options = ("--ask-pacs", *(f"--account=dr-{name}" for name in names))
    set_alarm = stack.session().client("cloudwatch").set_alarm_state
    alarm = {"AlarmName": stack.resource("RunMissingAlarm"), "StateReason": "tested here."}

    set_alarm(**alarm, StateValue="ALARM")
    status, results = run_doctor(*options)
    set_alarm(**alarm, StateValue="INSUFFICIENT_DATA")
    calls = [(call["operation"], call["outcome"]) for call in pac.calls.as_json()]
    _, repeated = run_doctor(*options)
    text = repeated["account dr-rejected"][1]
    command = shlex.split(text.partition("retry this value: ")[2])
    arguments = dict(zip(command[3::2], command[4::2], strict=True))
    stack.session().client("dynamodb").delete_item(
        TableName=arguments["--table-name"], Key=json.loads(arguments["--key"])
    )
    _, retried = run_doctor(*options)

    assert status == 1
    check(
        results,
        ("alarms", "warning", f"{alarm['AlarmName']} is active since "),
        ("account dr-misspelled", "failed", "environment: expected one of testing, production"),
        ("account dr-missing", "failed", ""),
        ("PAC of dr-altered", "ok", "1,400 of 1,500 stamps left"),
        ("WSDL of dr-altered", "failed", SOAP_ACTION),
        ("WSDL of dr-rejected", "failed", SOAP_ACTION),
        ("PAC of dr-rejected", "failed", "601: Error de autenticación"),
    )
    assert calls == [("getTimbres", "200"), ("wsdl", "200"), ("getTimbres", "601")]
    assert "PAC of dr-rejected" not in repeated
    assert command[:3] == ["aws", "dynamodb", "delete-item"]
    assert alarm["AlarmName"] not in repeated["alarms"][1]
    check(retried, ("PAC of dr-rejected", "failed", "601: Error de autenticación"))


def test_without_credentials_or_permissions_the_remaining_checks_run(stack, run_doctor):
    without_keys, results = run_doctor("--ask-pacs", keys=Keys("", ""))
    check(
        results,
        ("python", "ok", ""),
        ("credentials", "failed", "There are no AWS credentials. Sign in"),
        ("stack, accounts", "skipped", ""),
    )
    without_permission, results = run_doctor("--ask-pacs", keys=stack.keys["nobody"])
    check(
        results,
        ("stack", "failed", "Not allowed: DescribeStacks."),
        ("accounts", "failed", "Not allowed: ListSecrets."),
        ("PACs", "skipped", ""),
    )

    assert (without_keys, without_permission) == (1, 1)
