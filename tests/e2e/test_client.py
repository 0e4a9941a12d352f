"""The command `timbres` in the local environment: the tasks of docs/client.md."""

from __future__ import annotations

import re

import pytest
import requests
from local.emulator_process import ROOT

from tests.support.api_calls import (
    create_contract,
    eventually,
    generate_report,
    last_month,
    put_fault,
    reconcile,
)

# The commands of the table of docs/client.md.
TASKS = re.findall(
    r"\| `(timbres [^`]+)` \| \d+ \|$", (ROOT / "docs" / "client.md").read_text(), re.MULTILINE
)


@pytest.fixture
def timbres(run_shell):
    """Runs a command; returns its exit code and its output."""

    def run(command, text="", **variables):
        process = run_shell(command, text, **variables)
        return process.returncode, process.stdout + process.stderr

    return run


def contract_under_review(environment):
    """Create a contract that a person has to decide; return its id."""
    rfc = "CLI010203AB1"
    assert create_contract(environment.stack, rfc, 10, "before-cli").status_code == 201
    put_fault(environment, "solucion-factible", operation="agregarContrato", fault="cut-after")
    unknown = create_contract(environment.stack, rfc, 20, "cli-review").json()
    portal = f"{environment.urls['solucion-factible']}/_control/issuer"
    requests.post(portal, json={"rfc": rfc, "contratados": 37}, timeout=5)
    reconcile(environment, unknown["id"], "needs-review", minutes=2)
    return str(unknown["id"])


def test_each_task_of_the_table_is_one_command(environment, timbres):
    stack, pac = environment.stack, environment.fakes["solucion-factible"]
    secret = pac.secret(environment.urls[pac.pac.name])
    options = f"--pac {pac.pac.name} --environment sandbox --endpoint {secret['endpoint']}"
    login = f"{secret['username']}\n{secret['password']}\n"
    read_mails, mails = stack.mailbox("client"), list[str]()
    generate_report(stack, "acme-rc", "statement", "csv")
    eventually(lambda: mails.extend(read_mails()) or "/d/" in "\n".join(mails))
    link = re.findall(r"http\S+/d/\S+", "\n".join(mails))[0]
    contract_id = contract_under_review(environment)
    add, password, contract, review, runs, revoke, low, report = TASKS
    # The documents' own issuer and key belong to the test of their examples.
    contract = contract.replace("A&D061009TY8", "GOMP800101QX2").replace("erp-4711", "cli-1")

    for command, text, expected in (
        (f"{add} {options}", login, "norte-sf is ready"),
        (password, secret["password"] + "\n", "acme-sf is ready"),
        (contract, "y\n", "500 stamps for.*confirmed"),
        (review, "y\nThe portal lists it under folio 8841\n", "Settled: confirmed"),
        (runs, "", "finished, [0-9,]+ of [0-9,]+ counted"),
        (revoke.replace("LINK", link), "y\n", "Revoked links: [1-9]"),
        (low, "", "State.*(low|exhausted)"),
        (report.replace("2026-10", last_month()), "", r"all-\S+-consumption.xlsx \([0-9,]+ bytes"),
    ):
        code, output = timbres(command, text)
        assert code == 0, (command, output)
        assert re.search(expected, output, re.DOTALL | re.MULTILINE), (command, output)
        assert secret["password"] not in output

    assert timbres("timbres account remove norte-sf --yes")[0] == 0
    path = f"/accounts/acme-sf/contracts/{contract_id}"
    assert stack.call("reader", "GET", path).json()["status"] == "confirmed"


@pytest.mark.parametrize(
    ("command", "exit_code", "expected"),
    [
        ("timbres accounts --json", 0, '"acme-sf"'),
        ("timbres balance acme-rc 2026-10 --to 2026-10", 0, "2026-10"),
        ("timbres completion bash", 0, "complete -o default"),
        ("timbres contract acme-sf 'A&D061009TY8' 5 --key cli-3 --yes", 3, "access-denied"),
        ("eval \"$(timbres stamps acme-sf 'A&D061009TY8' --curl)\"", 0, '"rfc":"A&D061009TY8"'),
    ],
)
def test_a_reader(environment, timbres, command, exit_code, expected):
    keys = environment.stack.keys["reader"]
    variables = {
        "TIMBRES_API_URL": environment.stack.api_url,
        "AWS_REGION": environment.stack.region,
        "AWS_ACCESS_KEY_ID": keys.access_key_id,
        "AWS_SECRET_ACCESS_KEY": keys.secret_access_key,
    }

    code, output = timbres(command, **variables)

    assert (code, expected in output) == (exit_code, True), output
