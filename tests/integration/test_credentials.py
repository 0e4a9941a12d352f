"""Rejected and removed secrets in every function, the documented commands, and the logs."""

from __future__ import annotations

import json
import logging
import re
import shlex
from pathlib import Path
from string import Template
from typing import Any

import pytest
from local.fake_pacs.fake_data import AccountState
from tests.support.events import check_problem
from tests.support.fake_stack import RC, RFC, SF, FakeStack

REJECTED = "pac-credentials-rejected"
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


def read(stack: FakeStack, account: str = SF) -> Any:
    if account == RC:
        return stack.get(f"/accounts/{RC}/balance", month="2026-10")
    return stack.get(f"/accounts/{SF}/stamps", rfc=RFC)


@pytest.mark.parametrize("account", [RC, SF])
def test_no_function_tries_a_rejected_secret_again(stack: FakeStack, account: str) -> None:
    operation, code = ("saldos", "401") if account == RC else ("getTimbres", "603")
    stack.pacs.fault(operation, "code", code=code)
    check_problem(read(stack, account), 502, REJECTED)
    stack.reset_warm_functions()

    problem = check_problem(read(stack, account), 502, REJECTED)
    if account == SF:
        check_problem(stack.create_contract(), 502, REJECTED)
        with pytest.raises(Exception, match=REJECTED):
            stack.invoke("stamp_count", {"account": SF, "rfc": RFC})
        stack.run()
    stack.request_report(account, kind="consumption")
    stack.deliver()

    assert [call for call in stack.pacs.calls() if call == operation] == [operation]
    assert problem["pac"]["code"] == code
    (event,) = stack.events("Credentials Rejected")
    assert (event["account"], event["pac"]["code"]) == (account, code)
    (mail,) = [mail for mail in stack.mails() if "credenciales rechazadas" in mail]
    assert account in mail
    assert code in mail


def run_documented_command(stack: FakeStack, heading: str, operation: str) -> None:
    """Run the AWS CLI command on a table in a section of docs/operations.md."""
    (section,) = OPERATIONS.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1:]
    blocks = re.findall(r"```sh\n(.*?)```", section.split("\n## ")[0], re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    (command,) = (line for line in lines if operation in line)
    secret = stack.aws.client("secretsmanager").get_secret_value(SecretId=f"timbres/accounts/{SF}")
    values = {
        "CredentialRejectionsTableName": stack.aws.refs["CredentialRejectionsTable"],
        "VERSION": secret["VersionId"],
        "NOW": stack.clock().isoformat(),
    }
    aws, service, name, *options = shlex.split(Template(command).substitute(values))
    assert (aws, service, name) == ("aws", "dynamodb", operation)
    parameters = {"--table-name": "TableName", "--key": "Key", "--item": "Item"}
    arguments = {
        parameters[option]: json.loads(value) if value.startswith("{") else value
        for option, value in zip(options[::2], options[1::2], strict=True)
    }
    getattr(stack.aws.client("dynamodb"), operation.replace("-", "_"))(**arguments)


def test_the_documented_command_clears_a_rejection(stack: FakeStack) -> None:
    state = stack.pacs.state.solucion_factible
    state.set_account(state=AccountState.TOO_MANY_ATTEMPTS)
    check_problem(read(stack), 502, REJECTED)
    state.set_account(state=AccountState.ACTIVE)
    check_problem(read(stack), 502, REJECTED)

    run_documented_command(stack, "Clearing a rejection", "delete-item")

    assert stack.accounts.rejections() == []
    assert read(stack).status == 200


@pytest.mark.parametrize("is_cancelled", [False, True])
def test_the_documented_rotation_causes_no_failed_sign_in(
    stack: FakeStack, is_cancelled: bool
) -> None:
    assert read(stack).status == 200

    run_documented_command(stack, "Rotating a secret", "put-item")
    check_problem(read(stack), 502, REJECTED)
    if is_cancelled:
        run_documented_command(stack, "Rotating a secret", "delete-item")
    else:
        stack.pacs.state.solucion_factible.set_account(password="contraseña & <nueva>")
        check_problem(read(stack), 502, REJECTED)
        stack.accounts.change(SF, stack.accounts.secret(SF, password="contraseña & <nueva>"))

    assert read(stack).status == 200
    assert [call["outcome"] for call in stack.pacs.solucion_factible.calls.as_json()] == ["200"] * 2
    assert stack.events("Credentials Rejected") == []


@pytest.mark.parametrize("at_once", [False, True])
def test_a_removed_secret_is_not_an_account(stack: FakeStack, at_once: bool) -> None:
    secrets = stack.aws.client("secretsmanager")
    secrets.delete_secret(SecretId=f"timbres/accounts/{SF}", ForceDeleteWithoutRecovery=at_once)

    check_problem(read(stack), 404, "account-unknown", "account")
    assert [account["name"] for account in stack.get("/accounts").body["accounts"]] == [RC]
    if not at_once:
        secrets.restore_secret(SecretId=f"timbres/accounts/{SF}")
        assert read(stack).status == 200


def test_a_binary_secret_is_misconfigured(stack: FakeStack) -> None:
    value = json.dumps(stack.accounts.secret(SF)).encode()
    secrets = stack.aws.client("secretsmanager")
    secrets.create_secret(Name="timbres/accounts/bytes", SecretBinary=value)

    check_problem(stack.get("/accounts/bytes/stamps"), 409, "account-misconfigured", "secret")


def test_malformed_responses_and_messages_show_no_credential(stack: FakeStack) -> None:
    user, password = stack.credentials.username, stack.credentials.password
    stack.pacs.fault("getTimbres", "wrong-shape", reply=f"<p>{password}</p>")
    stack.pacs.fault("saldos", "wrong-shape", reply=f'{{"key": "{stack.credentials.api_key}"}}')
    message = f"El usuario {user} no entra con {password}"
    stack.pacs.fault("agregarContrato", "code", code="632", mensaje=message)

    check_problem(read(stack, SF), 502, "pac-protocol-error")
    check_problem(read(stack, RC), 502, "pac-protocol-error")
    problem = check_problem(stack.create_contract(), 422, "transaction-limit-exceeded")
    assert problem["pac"]["message"] == "El usuario *** no entra con ***"


def test_an_internal_error_shows_no_credential(
    stack: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("timbres.services.stamps.clock.now", broken)

    assert "a bug" not in json.dumps(check_problem(read(stack), 500, "internal-error"))
    (line,) = stack.logs.lines("unhandled exception")
    assert "ZeroDivisionError" in line["exception"]


def test_log_lines_have_the_id_of_their_request(stack: FakeStack) -> None:
    stack.pacs.fault("getTimbres", "code", code="633", times=2)
    instances = [read(stack).body["instance"] for _ in range(2)]

    lines = stack.logs.lines("request failed: environment-mismatch")
    assert [f"urn:uuid:{line['function_request_id']}" for line in lines] == instances
    assert {line["pac_code"] for line in lines} == {"633"}
    for library in ("zeep", "urllib3"):
        assert logging.getLogger(library).getEffectiveLevel() >= logging.WARNING
