"""`python -m local.demo`: the main job from end to end, each step as a user would send it.

What is shown is what runs: the curl lines go to a shell as they stand. At the end the
files in `out/` are held against what the fake PACs sent; a difference ends it with 1.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from local.build import BuildError
from local.emulator_process import ROOT, AwsError
from local.environment import LocalEnvironment, log_steps, running_environment
from local.fake_pacs.fake_data import mexico_now
from local.fakes import DemoPac
from local.stack import DeployError
from local.start import shell_variables

OUT = ROOT / "out"
# An issuer of every fake PAC.
RFC = "A&D061009TY8"
_MAX_LINES = 3
_REPORT_SECONDS = 60


class DemoError(Exception):
    """A step did not end as it should; the message says which and how."""


class Shell:
    """Runs and shows curl lines with the variables that `make up` writes to `.local/env`."""

    def __init__(self, variables: dict[str, str]) -> None:
        self._environment = {**os.environ, **variables}

    def call(self, identity: str, route: str, *options: str, expect: int) -> Any:
        """Send one signed request as `identity`, show it and its answer; return its JSON.

        Raises `DemoError` when the status is not `expect`.
        """
        name = f"TIMBRES_{identity.upper()}"
        lines = [
            'curl --silent --show-error --aws-sigv4 "aws:amz:$AWS_REGION:execute-api"',
            f'--user "${name}_ACCESS_KEY_ID:${name}_SECRET_ACCESS_KEY"',
            *options,
            f'"$TIMBRES_API_URL{route}"',
        ]
        print("$ " + " \\\n    ".join(lines))
        output = self._run(" ".join([*lines, "--write-out", "'\\n%{http_code}'"]))
        text, _, status = output.rpartition("\n")
        answer = json.loads(text)
        print(status, json.dumps(_shorten(answer), ensure_ascii=False, indent=2), "", sep="\n")
        if int(status) != expect:
            raise DemoError(f"expected HTTP {expect}, got {status}")
        return answer

    def open(self, link: str, folder: Path) -> str:
        """Follow a mailed link as a browser does, and save what it leads to; return its name."""
        command = "curl --silent --show-error --fail --location --dump-header - --output"
        arriving = folder / ".arriving"
        headers = self._run(f"{command} {shlex.quote(str(arriving))} {shlex.quote(link)}")
        (name,) = re.findall(r'filename="([^"/]+)"', headers)
        arriving.rename(folder / name)
        print(f"$ {command} {(folder / name).relative_to(ROOT)} {link}")
        return str(name)

    def _run(self, command: str) -> str:
        done = subprocess.run(
            ["sh", "-c", command],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise DemoError(f"curl failed (7.75 or later is needed): {done.stderr.strip()}")
        return done.stdout


def main() -> int:
    """Run the demo: 0, or 1 with the reason on standard error."""
    _print_step("A local AWS with Timbres deployed, and its PACs")
    log_steps()
    try:
        with running_environment() as world:
            run(world, Shell(shell_variables(world)))
    except (AwsError, BuildError, DeployError, DemoError) as error:
        print(f"The demo broke off: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def run(local_env: LocalEnvironment, shell: Shell) -> None:
    """Go through the main job in `world`. Raises `DemoError`."""
    month = _month_before(mexico_now().year, mexico_now().month)

    _print_step("Which accounts are there?")
    accounts = shell.call("reader", "/accounts", expect=200)["accounts"]

    balances = {}
    for fake in _fakes_with(local_env, "balance"):
        pac, path = fake.pac.display_name, f"/accounts/{fake.account}/balance?month={month}"
        _print_step(f"How much did each RFC consume in {month}? ({pac})")
        balances[fake.account] = shell.call("reader", path, expect=200)

        _print_step("And one of them, an RFC with an ampersand")
        shell.call("reader", f"{path}&rfc={quote(RFC)}", expect=200)

    for fake in _fakes_with(local_env, "stamps"):
        _print_step(f"How many stamps has an issuer left? ({fake.pac.display_name})")
        for rfc in fake.issuers:
            shell.call("reader", f"/accounts/{fake.account}/stamps?rfc={quote(rfc)}", expect=200)

    for fake in _fakes_with(local_env, "contracts"):
        _print_step(
            "Contract 500 stamps for one issuer: rejected for a reader, created once per key for a "
            f"contract manager ({fake.pac.display_name})"
        )
        _contract(shell, fake)

    _print_step(f"The 1st of the month, 06:00: the scheduler requests the reports of {month}")
    mails = local_env.stack.mailbox("finance")
    local_env.stack.fire("ReportFunctionMonthly")
    print("· the reports are being made", end="", flush=True)
    mail = _await_mail(mails, "Todas las cuentas")
    print(mail)
    reports = [
        report
        for account in [*(account["name"] for account in accounts), "all"]
        for report in shell.call(
            "reporter",
            f"/accounts/{account}/reports?month={month}",
            expect=200,
        )["reports"]
    ]

    _print_step("Finance opens each link of the mail, without a key, into out/")
    OUT.mkdir(exist_ok=True)
    links = re.findall(r"^ *(http\S+/d/\S+)$", mail, re.MULTILINE)
    names = [shell.open(link, OUT) for link in links]
    _check(len(names) == len(reports), f"the mail has {len(reports)} links, one per report")
    for report in reports:
        name = f"{report['account']}-{month}-{report['kind']}.{report['format']}"
        content = (OUT / name).read_bytes()
        _check(
            name in names and hashlib.sha256(content).hexdigest() == report["sha256"],
            f"out/{name} has the checksum of its record",
        )
        if report["kind"] == "statement":
            sent = [
                statement
                for fake in _fakes_with(local_env, "statement")
                if fake.account == report["account"]
                for statement in fake.server.statements(month, report["format"])
            ]
            _check(content in sent, f"out/{name} is what the PAC sent, byte for byte")
    for account, balance in balances.items():
        _check(
            _total(OUT / f"{account}-{month}-consumption.csv") == balance["transactions"],
            f"the consumption report adds up to the PAC's {balance['transactions']} stamps",
        )
    _print_step(
        f"Done; open out/all-{month}-consumption.html, or run `make up` and try it yourself"
    )


def _fakes_with(local_env: LocalEnvironment, capability: str) -> list[DemoPac]:
    return [fake for fake in local_env.fakes.values() if capability in fake.pac.capabilities]


def _contract(shell: Shell, fake: DemoPac) -> None:
    """Create a contract twice under one key. Raises `DemoError` unless the PAC has it once."""
    path = f"/accounts/{fake.account}/contracts"
    request = (
        f"--request POST --header 'Idempotency-Key: demo-{fake.account}'",
        "--header 'Content-Type: application/json'",
        f"""--data '{{"rfc": "{RFC}", "stamps": 500}}'""",
    )
    shell.call("reader", path, *request, expect=403)
    before = len(fake.server.contracts())
    created = shell.call("buyer", path, *request, expect=201)
    replayed = shell.call("buyer", path, *request, expect=201)
    _check(
        created["id"] == replayed["id"] and len(fake.server.contracts()) == before + 1,
        "the second request was answered with the first's contract; the PAC has it once",
    )


def _await_mail(mails: Callable[[], list[str]], about: str) -> str:
    deadline = time.monotonic() + _REPORT_SECONDS
    while time.monotonic() < deadline:
        for mail in mails():
            if about in mail:
                print("\n")
                return mail
        print(".", end="", flush=True)
        time.sleep(0.5)
    raise DemoError(f"the mail did not come within {_REPORT_SECONDS} s")


def _total(path: Path) -> int:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    heading = rows.index(["Cuenta", "RFC", "Fecha", "Tipo de movimiento", "Timbres"])
    return sum(int(row[4]) for row in rows[heading + 1 :])


def _month_before(year: int, month: int) -> str:
    return f"{year - 1}-12" if month == 1 else f"{year}-{month - 1:02d}"


def _shorten(answer: Any) -> Any:
    """`answer` with its long lists cut after three entries, saying how many there are."""
    if isinstance(answer, dict):
        return {name: _shorten(value) for name, value in answer.items()}
    if isinstance(answer, list):
        shown = [_shorten(value) for value in answer[:_MAX_LINES]]
        rest = len(answer) - _MAX_LINES
        return [*shown, f"… and {rest} more"] if rest > 1 else [_shorten(v) for v in answer]
    return answer


def _print_step(what: str) -> None:
    print(f"\n== {what}\n", flush=True)


def _check(holds: bool, what: str) -> None:
    if not holds:
        raise DemoError(f"it is not so that {what}")
    print(f"✓ {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
