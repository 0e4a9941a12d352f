"""Changed, rejected and removed secrets in every function, and the documented commands.

``test_pac_access.py`` has the rules.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from string import Template
from typing import Any

import pytest
from local.fake_pacs.fake_data import AccountState
from tests.support.events import check_problem
from tests.support.fake_stack import RC, RFC, SF, FakeStack

SUCCESS, REJECTED = "success", "pac-credentials-rejected"
DOCUMENT = Path(__file__).parents[2] / "docs" / "operations.md"


def read(stack: FakeStack, account: str = SF) -> Any:
    if account == RC:
        return stack.get(f"/accounts/{RC}/balance", month="2026-10")
    return stack.get(f"/accounts/{SF}/stamps", rfc=RFC)


def outcome_of(response: Any) -> str:
    return SUCCESS if response.status < 400 else str(response.body["code"])


def scheduled_stamps(stack: FakeStack) -> str:
    try:
        stack.invoke("stamp_count", {"account": SF, "rfc": RFC})
    except Exception as error:
        return REJECTED if REJECTED in str(error) else str(error)
    return SUCCESS


def contract(stack: FakeStack) -> str:
    before = len(stack.pacs.contracts())
    response = stack.create_contract(RFC, 7)
    assert len(stack.pacs.contracts()) - before == (response.status == 201)
    return outcome_of(response)


def report(stack: FakeStack, kind: str) -> str:
    id_ = stack.request_report(RC, kind=kind).body["id"]
    stack.deliver()
    body = stack.get(f"/accounts/{RC}/reports/{id_}", redirect="false").body
    return str(body["error"]["code"]) if body["error"] else SUCCESS


def daily_run(stack: FakeStack, account: str) -> str:
    stack.clock.forward(days=1)
    (line,) = (line for line in stack.run()["accounts"] if line["account"] == account)
    return str(line["problem"] or next(iter(line["failed"]), SUCCESS))


def reconciliation(stack: FakeStack) -> str:
    (open_contract,) = stack.get(f"/accounts/{SF}/contracts", status="unknown").body["contracts"]
    stack.reconcile(minutes=30)
    path = f"/accounts/{SF}/contracts/{open_contract['id']}"
    return SUCCESS if stack.get(path).body["status"] == "confirmed" else REJECTED


def leave_unknown(stack: FakeStack) -> None:
    stack.pacs.fault("agregarContrato", "cut-after")
    assert stack.create_contract(RFC, 7).status == 202


OPERATIONS: dict[str, tuple[str, Callable[[FakeStack], str]]] = {
    "balance": (RC, lambda stack: outcome_of(read(stack, RC))),
    "statement": (RC, lambda stack: report(stack, "statement")),
    "consumption": (RC, lambda stack: report(stack, "consumption")),
    "run-rc": (RC, lambda stack: daily_run(stack, RC)),
    "stamps": (SF, lambda stack: outcome_of(read(stack, SF))),
    "scheduled stamps": (SF, scheduled_stamps),
    "contract": (SF, contract),
    "run-sf": (SF, lambda stack: daily_run(stack, SF)),
    "reconciler": (SF, reconciliation),
}


def change_pac(stack: FakeStack, account: str, new: str) -> None:
    if account == SF:
        stack.pacs.state.solucion_factible.set_account(password=new)
    else:
        stack.pacs.state.reachcore.set_key("Acme Timbrado", new)


def change_secret(stack: FakeStack, account: str, new: str) -> None:
    changes = {"password" if account == SF else "api_key": new}
    stack.accounts.change(account, stack.accounts.secret(account, **changes))


def failed_sign_ins(stack: FakeStack) -> int:
    calls = [call for fake_pac in stack.pacs.fakes for call in fake_pac.calls.as_json()]
    return sum(call["outcome"] in ("601", "401") for call in calls)


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_rotation_in_either_order_costs_one_failed_sign_in(stack: FakeStack, name: str) -> None:
    account, operation = OPERATIONS[name]
    stack.accounts.delete(RC if account == SF else SF)
    prepare = leave_unknown if name == "reconciler" else lambda _: None
    stack.accounts.add_issuers([RFC])
    # The function is warm.
    prepare(stack)
    assert operation(stack) == SUCCESS
    prepare(stack)

    change_secret(stack, account, "nueva-1")
    change_pac(stack, account, "nueva-1")
    assert operation(stack) == SUCCESS
    assert (failed_sign_ins(stack), stack.events("Credentials Rejected")) == (1, [])

    prepare(stack)
    change_pac(stack, account, "nueva-2")
    assert operation(stack) == REJECTED
    if name != "reconciler":
        assert operation(stack) == REJECTED
    assert failed_sign_ins(stack) == 2
    change_secret(stack, account, "nueva-2")
    assert operation(stack) == SUCCESS
    assert failed_sign_ins(stack) == 2
    (event,) = stack.events("Credentials Rejected")
    assert event["account"] == account
    (mail,) = [mail for mail in stack.mails() if "credenciales rechazadas" in mail]
    assert account in mail


def run_documented_command(stack: FakeStack, heading: str, operation: str) -> None:
    """Run the AWS CLI command on a table in a section of docs/operations.md."""
    (section,) = DOCUMENT.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1:]
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


def test_a_binary_secret_is_misconfigured(stack: FakeStack) -> None:
    value = json.dumps(stack.accounts.secret(SF)).encode()
    secrets = stack.aws.client("secretsmanager")
    secrets.create_secret(Name="timbres/accounts/bytes", SecretBinary=value)

    check_problem(stack.get("/accounts/bytes/stamps"), 409, "account-misconfigured", "secret")


def test_an_internal_error_is_logged_and_the_response_has_no_detail(stack: FakeStack) -> None:
    stack.accounts.add_issuers([RFC], recent="damaged")

    problem = check_problem(read(stack), 500, "internal-error")

    (line,) = stack.logs.lines("unhandled exception")
    assert "list index out of range" in line["exception"]
    assert "index" not in json.dumps(problem)
