"""A killed process on the local AWS; docs/reliability.md describes it."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor

from local.environment import LocalEnvironment
from local.stack import Stack

from tests.support.api_calls import (
    contracts_at_pac,
    create_contract,
    eventually,
    put_fault,
    reconcile,
)


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
        killed = response.result()
    path = "/accounts/acme-sf/contracts"
    pending = stack.call("reader", "GET", path, {"rfc": rfc}).json()["contracts"][0]
    reconcile(environment, pending["id"], "confirmed", minutes=3)
    again = create_contract(stack, rfc, 60, "killed")

    assert (killed.status_code, killed.json()["code"]) == (502, "internal-error")
    assert pending["status"] == "pending"
    assert (again.status_code, again.json()["id"]) == (201, pending["id"])
    assert contracts_at_pac(environment, rfc) == [10, 60]
