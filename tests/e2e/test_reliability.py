"""Faults survived on the local AWS: a process that is killed in truth, a right that is taken away.

What these tests see is in docs/reliability.md, row by row.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from local.environment import LocalEnvironment
from requests import Response

from tests.e2e.test_contracts import looked_at, of_issuer
from tests.e2e.test_main_job import create_contract, eventually, fault
from tests.support.reliability_document import NOTHING, Row, agree, read

HEADING = "On the local AWS"
KILLED = "Contract: the function's process is killed while the PAC processes the request"
DENIED = "Contract: the function's role is denied the table of contracts"
ORDER = [KILLED, DENIED]


def kill(world: LocalEnvironment, function: str) -> None:
    """Kill the processes that run a function, by its logical id; return when they are gone."""
    name = world.stack.resource(function)

    def running() -> set[int]:
        listed = subprocess.run(
            ["ps", "-Awwo", "pid=,args="], capture_output=True, text=True, check=True, timeout=5
        )
        lines = listed.stdout.splitlines()
        return {int(line.split()[0]) for line in lines if f"-lambda-{name}-" in line}

    killed = running()
    assert killed
    for process in killed:
        os.kill(process, signal.SIGKILL)
    # The local AWS would hand the next request to a process that is about to go.
    eventually(lambda: killed.isdisjoint(running()))


@contextmanager
def denied(world: LocalEnvironment, role: str, table: str) -> Iterator[None]:
    """Take from a role what it may do with a table."""
    session = world.stack.session()
    iam, name = session.client("iam"), world.stack.resource(role)
    arn = session.client("dynamodb").describe_table(TableName=table)["Table"]["TableArn"]
    statement = {"Effect": "Deny", "Action": "dynamodb:*", "Resource": arn}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_role_policy(RoleName=name, PolicyName="denied", PolicyDocument=policy)
    try:
        yield
    finally:
        iam.delete_role_policy(RoleName=name, PolicyName="denied")


def words(answer: Response) -> str:
    body = answer.json()
    return f"{answer.status_code} `{body.get('status') if answer.ok else body.get('code')}`"


def test_a_function_that_is_killed_while_it_buys(world: LocalEnvironment) -> None:
    rfc = "KIL010203AB7"
    assert create_contract(world.stack, rfc, 10, "first-of-kilrfc").status_code == 201
    slow = {"operation": "agregarContrato", "fault": "slow-after", "seconds": 2, "rfc": rfc}
    fault(world.urls["solucion-factible"], **slow)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(create_contract, world.stack, rfc, 60, "killed")
        eventually(lambda: len(of_issuer(world, rfc)) == 2)
        kill(world, "ContractFunction")
        seen = words(answer.result())
    path = "/accounts/acme-sf/contracts"
    listed = world.stack.call("reader", "GET", path, {"rfc": rfc}).json()["contracts"]
    assert [one["status"] for one in listed] == ["pending", "confirmed"]

    looked_at(world, listed[0]["id"], "confirmed", minutes=3)

    again = create_contract(world.stack, rfc, 60, "killed")
    assert (again.status_code, again.json()["id"]) == (201, listed[0]["id"])
    assert [contract["timbres"] for contract in of_issuer(world, rfc)] == [10, 60]
    row = Row(KILLED, [seen], [NOTHING], ["the reconciler, within minutes"])
    agree(HEADING, row, ORDER, everywhere=True)


def test_a_table_that_may_not_be_used(world: LocalEnvironment) -> None:
    rfc = "DEN010203AB8"
    with denied(world, "ContractRole", world.stack.outputs["ContractsTableName"]):
        seen = words(create_contract(world.stack, rfc, 60, "denied"))
    assert of_issuer(world, rfc) == []

    assert create_contract(world.stack, rfc, 60, "denied").status_code == 201
    assert [contract["timbres"] for contract in of_issuer(world, rfc)] == [60]
    row = Row(DENIED, [seen], [NOTHING], ["repeat the same request"])
    agree(HEADING, row, ORDER, everywhere=True)


def test_the_document_has_both() -> None:
    assert list(read(HEADING)) == ORDER
