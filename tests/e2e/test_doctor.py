"""`python -m tools.doctor` against a deployed stack and PACs that respond in every way."""

from __future__ import annotations

import json
import shlex

import pytest
from local.emulator_process import Keys
from local.fake_pacs.fake_data import SolucionFactibleAccount, SolucionFactibleState
from local.fake_pacs.server import serve
from local.fake_pacs.solucion_factible import FakeSolucionFactible
from local.fakes import WSDL

from tests.support.api_calls import delete_account

USER, PASSWORD = "doctor@example.com", "a-password-of-the-doctor"
SOAP_ACTION = "SOAPAction is urn:nuevoContrato, not urn:agregarContrato"


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


def test_a_working_stack_passes_all_checks(run_doctor, tmp_path):
    # This machine may have no Python 3.13.
    python = tmp_path / "python3.13"
    python.write_text("#!/bin/sh\necho Python 3.13.0\n")
    python.chmod(0o755)
    options = ("--ask-pacs", "--account=acme-rc", "--account=acme-sf")

    status, results = run_doctor(*options, path=f"{tmp_path}:")

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


def test_problems_of_accounts_are_named_and_rejected_credentials_are_not_retried(
    stack, run_doctor, pac
):
    names = ("altered", "misspelled", "rejected", "missing")
    options = ("--ask-pacs", *(f"--account=dr-{name}" for name in names))

    status, results = run_doctor(*options)
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
