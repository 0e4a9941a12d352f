"""`python -m tools.doctor` against a deployed stack and PACs that respond in every way."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from local.emulator_process import ROOT, Keys
from local.fake_pacs.fake_data import SolucionFactibleAccount, SolucionFactibleState
from local.fake_pacs.server import serve
from local.fake_pacs.solucion_factible import FakeSolucionFactible
from local.fakes import WSDL
from local.stack import SECRET_PREFIX, Stack

from tests.support.output_recorder import OutputRecorder

USER, PASSWORD = "doctor@example.com", "a-password-of-the-doctor"


@dataclass(frozen=True)
class DoctorOutput:
    """The exit status of the doctor, and the level and text of its lines by subject."""

    status: int
    lines: dict[str, list[tuple[str, str]]]

    def last(self, subject: str) -> tuple[str, str]:
        return self.lines[subject][-1]


RunDoctor = Callable[..., DoctorOutput]


@pytest.fixture
def run_doctor(stack: Stack, recorder: OutputRecorder) -> RunDoctor:
    def run(*options: str, keys: Keys = stack.keys["admin"], path: str = "") -> DoctorOutput:
        process = subprocess.run(
            [sys.executable, "-m", "tools.doctor", *options],
            cwd=ROOT,
            env={
                "PATH": path + os.environ["PATH"],
                "HOME": "/nonexistent",
                "PYTHONPATH": str(ROOT / "layers" / "timbres"),
                "AWS_EC2_METADATA_DISABLED": "true",
                "AWS_ENDPOINT_URL": stack.endpoint_url,
                "AWS_ACCESS_KEY_ID": keys.access_key_id,
                "AWS_SECRET_ACCESS_KEY": keys.secret_access_key,
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert process.stderr == ""
        recorder.output.append(process.stdout)
        *results, _, summary = process.stdout.splitlines()
        assert summary.endswith("skipped.")
        lines: dict[str, list[tuple[str, str]]] = {}
        for line in results:
            lines.setdefault(line[9:33].strip(), []).append((line[:9].strip(), line[34:]))
        return DoctorOutput(process.returncode, lines)

    return run


@pytest.fixture
def broken_accounts(stack: Stack, tmp_path: Path) -> Iterator[FakeSolucionFactible]:
    """Three accounts at a PAC with another WSDL: a good, a misspelled and a rejected one."""
    wsdl = tmp_path / "altered.wsdl"
    wsdl.write_text(WSDL.read_text().replace("urn:agregarContrato", "urn:nuevoContrato"))
    state = SolucionFactibleState([SolucionFactibleAccount(USER, PASSWORD)])
    state.set_issuer("AAA010101AAA", contratados=1500, usados=100)
    pac = FakeSolucionFactible(state, wsdl=wsdl)
    secret = {"pac": "solucion-factible", "environment": "sandbox", "username": USER}
    with serve(pac) as url:
        secret |= {"password": PASSWORD, "endpoint": url}
        changes = {
            "dr-altered": {},
            "dr-misspelled": {"environment": "prodduction"},
            "dr-rejected": {"password": "a-wrong-password-of-the-doctor"},
        }
        for name, change in changes.items():
            stack.create_account(name, secret | change)
        yield pac
        for name in changes:
            stack.session().client("secretsmanager").delete_secret(
                SecretId=SECRET_PREFIX + name, ForceDeleteWithoutRecovery=True
            )


def test_a_working_stack_passes_all_checks(run_doctor: RunDoctor, tmp_path: Path) -> None:
    # This machine may have no Python 3.13.
    python = tmp_path / "python3.13"
    python.write_text("#!/bin/sh\necho Python 3.13.0\n")
    python.chmod(0o755)

    options = ("--ask-pacs", "--account", "acme-rc", "--account", "acme-sf")
    output = run_doctor(*options, path=f"{tmp_path}:")

    assert output.status == 0
    for subject, text in (
        ("stage", "default, stack timbres"),
        ("credentials", "user/admin"),
        ("clock", "from AWS's clock"),
        ("stack", "CREATE_COMPLETE"),
        ("outputs", "all"),
        ("schedules", "are enabled"),
        ("account acme-rc", "reachcore, sandbox"),
        ("account acme-sf", "solucion-factible, sandbox"),
        ("PAC of acme-rc", "HTTP 200"),
        ("PAC of acme-sf", "stamps left"),
        ("WSDL of acme-sf", "the bundled WSDL matches"),
    ):
        level, line = output.lines[subject][0]
        assert (level, text in line) == ("ok", True), output


def test_problems_of_accounts_are_named(
    run_doctor: RunDoctor, broken_accounts: FakeSolucionFactible
) -> None:
    names = ("altered", "misspelled", "rejected", "missing")

    output = run_doctor("--ask-pacs", *(f"--account=dr-{name}" for name in names))

    assert output.status == 1
    soap_action = "SOAPAction is urn:nuevoContrato, not urn:agregarContrato"
    for subject, level, text in (
        ("account dr-misspelled", "failed", "environment: expected one of testing, production"),
        ("account dr-missing", "failed", ""),
        ("PAC of dr-altered", "ok", "1,400 of 1,500 stamps left"),
        ("WSDL of dr-altered", "failed", soap_action),
        ("WSDL of dr-rejected", "failed", soap_action),
        ("PAC of dr-rejected", "failed", "601: Error de autenticación"),
    ):
        assert output.last(subject)[0] == level
        assert text in output.last(subject)[1]
    calls = [(call["operation"], call["outcome"]) for call in broken_accounts.calls.as_json()]
    assert calls == [("getTimbres", "200"), ("wsdl", "200"), ("getTimbres", "601")]


def test_rejected_credentials_are_retried_only_after_the_printed_command(
    stack: Stack, run_doctor: RunDoctor, broken_accounts: FakeSolucionFactible
) -> None:
    def run() -> DoctorOutput:
        return run_doctor("--ask-pacs", "--account=dr-rejected")

    first, second = run(), run()
    _, text = second.last("account dr-rejected")
    command = shlex.split(text.partition("retry this value: ")[2])
    options: dict[str, Any] = dict(zip(command[3::2], command[4::2], strict=True))
    stack.session().client("dynamodb").delete_item(
        TableName=options["--table-name"], Key=json.loads(options["--key"])
    )
    third = run()

    assert "601: Error" in first.last("PAC of dr-rejected")[1]
    assert "rejected these credentials" in text
    assert "PAC of dr-rejected" not in second.lines
    assert command[:3] == ["aws", "dynamodb", "delete-item"]
    assert "601: Error" in third.last("PAC of dr-rejected")[1]
    outcomes = [call["outcome"] for call in broken_accounts.calls.as_json()]
    assert outcomes.count("601") == 2


def test_the_machine_is_checked_without_credentials(run_doctor: RunDoctor) -> None:
    output = run_doctor("--ask-pacs", keys=Keys("", ""))

    assert output.status == 1
    level, text = output.last("credentials")
    assert (level, text.startswith("There are no AWS credentials. Sign in")) == ("failed", True)
    assert output.last("python")[0] == "ok"
    assert output.last("stack, accounts")[0] == "skipped"


def test_no_pac_is_called_without_permission_to_read_the_stack(
    stack: Stack, run_doctor: RunDoctor
) -> None:
    output = run_doctor("--ask-pacs", keys=stack.keys["nobody"])

    assert output.status == 1
    for subject, action in (("stack", "DescribeStacks"), ("accounts", "ListSecrets")):
        level, text = output.last(subject)
        assert (level, text.startswith(f"Not allowed: {action}.")) == ("failed", True)
    assert output.last("PACs")[0] == "skipped"
    assert not any(subject.startswith("PAC of") for subject in output.lines)
