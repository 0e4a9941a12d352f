"""A killed process and a revoked permission on the local AWS, compared with docs/reliability.md."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from local.environment import LocalEnvironment
from local.stack import Stack
from requests import Response

from tests.support.api_calls import (
    contracts_at_pac,
    create_contract,
    eventually,
    put_fault,
    reconcile,
)
from tests.support.reliability_document import NOTHING, Row, agree, read

HEADING = "On the local AWS"
KILLED = "Contract: the function's process is killed while the PAC processes the request"
DENIED = "Contract: the function's role is denied the table of contracts"
ORDER = [KILLED, DENIED]


def kill_processes(stack: Stack, function: str) -> None:
    """Kill the processes of a function, by its logical ID; return when they have ended."""
    name = stack.resource(function)

    def running() -> set[int]:
        return {
            process
            for process, environment in stack.processes()
            if environment.get("AWS_LAMBDA_FUNCTION_NAME") == name
        }

    processes = running()
    assert processes
    for process in processes:
        os.kill(process, signal.SIGKILL)
    # The local AWS would send the next request to a process that is about to end.
    eventually(lambda: processes.isdisjoint(running()))


@contextmanager
def deny_table(stack: Stack, role: str, table: str) -> Iterator[None]:
    """Deny a role everything on a table during the block."""
    iam, name = stack.session().client("iam"), stack.resource(role)
    arn = stack.session().client("dynamodb").describe_table(TableName=table)["Table"]["TableArn"]
    statement = {"Effect": "Deny", "Action": "dynamodb:*", "Resource": arn}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_role_policy(RoleName=name, PolicyName="denied", PolicyDocument=policy)
    try:
        yield
    finally:
        iam.delete_role_policy(RoleName=name, PolicyName="denied")


def describe(response: Response) -> str:
    body = response.json()
    return f"{response.status_code} `{body.get('status') if response.ok else body.get('code')}`"


def test_a_contract_is_confirmed_after_its_function_was_killed(
    environment: LocalEnvironment,
) -> None:
    stack, rfc = environment.stack, "KIL010203AB7"
    assert create_contract(stack, rfc, 10, "before-killed").status_code == 201
    slow = {"operation": "agregarContrato", "fault": "slow-after", "seconds": 5, "rfc": rfc}
    put_fault(environment, "solucion-factible", **slow)

    with ThreadPoolExecutor(1) as pool:
        response = pool.submit(create_contract, stack, rfc, 60, "killed")
        eventually(lambda: len(contracts_at_pac(environment, rfc)) == 2)
        kill_processes(stack, "ContractFunction")
        seen = describe(response.result())
    path = "/accounts/acme-sf/contracts"
    pending = stack.call("reader", "GET", path, {"rfc": rfc}).json()["contracts"][0]
    reconcile(environment, pending["id"], "confirmed", minutes=3)
    again = create_contract(stack, rfc, 60, "killed")

    assert pending["status"] == "pending"
    assert (again.status_code, again.json()["id"]) == (201, pending["id"])
    assert contracts_at_pac(environment, rfc) == [10, 60]
    row = Row(KILLED, [seen], [NOTHING], ["the reconciler, within minutes"])
    agree(HEADING, row, ORDER, everywhere=True)


def test_a_contract_is_not_sent_without_access_to_the_table(environment: LocalEnvironment) -> None:
    stack, rfc = environment.stack, "DEN010203AB8"

    with deny_table(stack, "ContractRole", stack.outputs["ContractsTableName"]):
        seen = describe(create_contract(stack, rfc, 60, "denied"))
    sent_while_denied = contracts_at_pac(environment, rfc)
    repeated = create_contract(stack, rfc, 60, "denied")

    assert (sent_while_denied, repeated.status_code) == ([], 201)
    assert contracts_at_pac(environment, rfc) == [60]
    row = Row(DENIED, [seen], [NOTHING], ["repeat the same request"])
    agree(HEADING, row, ORDER, everywhere=True)


def test_the_document_has_a_row_for_each_fault() -> None:
    assert list(read(HEADING)) == ORDER
