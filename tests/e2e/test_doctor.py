"""`python -m tools.doctor` against a deployed stack and PACs that answer in every way."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from local.emulator_process import ROOT
from local.fake_pacs.fake_data import SolucionFactibleAccount, SolucionFactibleState
from local.fake_pacs.server import serve
from local.fake_pacs.solucion_factible import FakeSolucionFactible
from local.fakes import WSDL as WSDL_FILE
from local.stack import SECRET_PREFIX, Stack

PASSWORD = "a-password-of-the-doctor"
WRONG = "a-wrong-password-of-the-doctor"
BROKEN = "prodduction-as-mistyped"


@dataclass(frozen=True)
class DoctorOutput:
    """What a run of the doctor printed, and its exit status."""

    status: int
    lines: tuple[tuple[str, str, str], ...]
    text: str

    def about(self, what: str) -> list[tuple[str, str]]:
        """Return level and sentence of every line about `what`."""
        return [(level, output) for level, subject, output in self.lines if subject == what]


def examine(stack: Stack, *options: str, **environment: str) -> DoctorOutput:
    keys = stack.keys["admin"]
    done = subprocess.run(
        [sys.executable, "-m", "tools.doctor", *options],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "PYTHONPATH": str(ROOT / "layers" / "timbres"),
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL": stack.endpoint_url,
            "AWS_ACCESS_KEY_ID": keys.access_key_id,
            "AWS_SECRET_ACCESS_KEY": keys.secret_access_key,
        }
        | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stderr == ""
    *found, empty, summary = done.stdout.splitlines()
    assert empty == ""
    assert summary.endswith("skipped.")
    lines = tuple((line[:9].strip(), line[9:33].strip(), line[34:]) for line in found)
    return DoctorOutput(done.returncode, lines, done.stdout)


@dataclass(frozen=True)
class Ill:
    """A PAC whose WSDL is another one by now, with a good account and one of a wrong password."""

    pac: FakeSolucionFactible

    def calls(self) -> list[tuple[str, str]]:
        """Return operation and outcome of every call so far."""
        return [(one["operation"], one["outcome"]) for one in self.pac.calls.as_json()]


@pytest.fixture
def ill(stack: Stack, tmp_path: Path) -> Iterator[Ill]:
    wsdl = tmp_path / "altered.wsdl"
    wsdl.write_text(WSDL_FILE.read_text().replace("urn:agregarContrato", "urn:nuevoContrato"))
    books = SolucionFactibleState([SolucionFactibleAccount("doctor@example.com", PASSWORD)])
    books.set_issuer("AAA010101AAA", contratados=1500, usados=100)
    pac = FakeSolucionFactible(books, wsdl=wsdl)
    value = {
        "pac": "solucion-factible",
        "environment": "sandbox",
        "username": "doctor@example.com",
        "password": PASSWORD,
    }
    with serve(pac) as url, ExitStack() as created:
        for name, changes in (
            ("ill-altered", {"endpoint": url}),
            ("ill-broken", {"environment": BROKEN}),
            ("ill-rejected", {"endpoint": url, "password": WRONG}),
        ):
            create(created, stack, name, value | changes)
        yield Ill(pac)


def create(created: ExitStack, stack: Stack, name: str, value: Any) -> None:
    session = stack.session()
    stack.create_account(name, value)
    created.callback(
        session.client("secretsmanager").delete_secret,
        SecretId=SECRET_PREFIX + name,
        ForceDeleteWithoutRecovery=True,
    )
    created.callback(forget, stack, name)


def forget(stack: Stack, account: str) -> None:
    """Delete what is known of an account's credentials."""
    dynamodb, table = (
        stack.session().client("dynamodb"),
        stack.outputs["CredentialRejectionsTableName"],
    )
    found = dynamodb.query(
        TableName=table,
        KeyConditionExpression="account = :account",
        ExpressionAttributeValues={":account": {"S": account}},
    )
    for item in found["Items"]:
        key = {name: item[name] for name in ("account", "entry")}
        dynamodb.delete_item(TableName=table, Key=key)


def test_all_is_well(stack: Stack, tmp_path: Path) -> None:
    # Whatever else this machine lacks, it is not what this is about.
    python = tmp_path / "python3.13"
    python.write_text("#!/bin/sh\necho Python 3.13.0\n")
    python.chmod(0o755)

    output = examine(
        stack,
        *("--ask-pacs", "--account", "acme-rc", "--account", "acme-sf"),
        PATH=f"{tmp_path}:{os.environ['PATH']}",
    )

    assert [line for line in output.lines if line[0] == "failed"] == []
    assert output.status == 0
    for what, sentence in (
        ("stage", "default, stack timbres"),
        ("credentials", "user/admin"),
        ("region opt-in", "mx-central-1 is enabled"),
        ("clock", "from AWS's clock"),
        ("API", "its only stage is dev"),
        ("stack", "CREATE_COMPLETE"),
        ("outputs", "all"),
        ("schedules", "are enabled"),
        ("account acme-rc", "reachcore, sandbox"),
        ("account acme-sf", "solucion-factible, sandbox"),
        ("PAC of acme-rc", "HTTP 200"),
        ("PAC of acme-sf", "stamps left"),
        ("WSDL of acme-sf", "the bundled WSDL matches"),
    ):
        level, words = output.about(what)[0]
        assert (level, sentence in words) == ("ok", True), output.text


def test_what_is_wrong_with_accounts_is_named_and_their_values_are_not(
    stack: Stack, ill: Ill
) -> None:
    accounts = [f"--account=ill-{name}" for name in ("altered", "broken", "rejected", "missing")]

    output = examine(stack, "--ask-pacs", *accounts)

    assert output.status == 1
    [(level, words)] = output.about("account ill-broken")
    assert level == "failed"
    assert "environment: expected one of testing, production, sandbox" in words
    assert output.about("account ill-missing")[0][0] == "failed"
    [(level, words)] = output.about("PAC of ill-altered")
    assert level == "ok"
    assert "1,400 of 1,500 stamps left" in words
    for account in ("altered", "rejected"):
        [(level, words)] = output.about(f"WSDL of ill-{account}")
        assert level == "failed"
        assert "SOAPAction is urn:nuevoContrato, not urn:agregarContrato" in words
        assert '"wsdl": "live"' in words
    [(level, words)] = output.about("PAC of ill-rejected")
    assert level == "failed"
    assert "601: Error de autenticación" in words
    assert not [value for value in (PASSWORD, WRONG, BROKEN) if value in output.text]
    # The WSDL is loaded once, and whom the PAC rejects is not asked again.
    assert ill.calls() == [("getTimbres", "200"), ("wsdl", "200"), ("getTimbres", "601")]

    again = examine(stack, "--ask-pacs", "--account=ill-rejected")

    assert again.status == 1
    assert "rejected these credentials" in again.about("account ill-rejected")[-1][1]
    assert again.about("PAC of ill-rejected") == []
    assert len(ill.calls()) == 3

    # The command that it prints clears the rejection.
    words = shlex.split(
        again.about("account ill-rejected")[-1][1].partition("retry this value: ")[2]
    )
    assert words[:3] == ["aws", "dynamodb", "delete-item"]
    options = dict(zip(words[3::2], words[4::2], strict=True))
    stack.session().client("dynamodb").delete_item(
        TableName=options["--table-name"], Key=json.loads(options["--key"])
    )
    once_more = examine(stack, "--ask-pacs", "--account=ill-rejected")
    assert "601: Error de autenticación" in once_more.about("PAC of ill-rejected")[0][1]
    assert ill.calls().count(("getTimbres", "601")) == 2


def test_without_credentials_the_machine_is_looked_at_all_the_same(stack: Stack) -> None:
    output = examine(stack, "--ask-pacs", AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    assert output.status == 1
    [(level, words)] = output.about("credentials")
    assert level == "failed"
    assert words.startswith("There are no AWS credentials. Sign in")
    assert output.about("python")[0][0] == "ok"
    assert output.about("stack, accounts")[0][0] == "skipped"


def test_without_permission_on_the_stack_no_pac_is_called(stack: Stack) -> None:
    keys = stack.keys["nobody"]
    output = examine(
        stack,
        "--ask-pacs",
        AWS_ACCESS_KEY_ID=keys.access_key_id,
        AWS_SECRET_ACCESS_KEY=keys.secret_access_key,
    )
    assert output.status == 1
    for what, right in (("stack", "DescribeStacks"), ("accounts", "ListSecrets")):
        [(level, words)] = output.about(what)
        assert level == "failed"
        assert words.startswith(f"Not allowed: {right}.")
    assert output.about("PACs")[0][0] == "skipped"
    assert [what for _, what, _ in output.lines if what.startswith("PAC of")] == []
