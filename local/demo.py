"""`python -m local.demo`: run the main job end to end, and print each request and response.

A shell runs the printed commands unchanged, `timbres` with the keys of the named identity. At the
end the files in `out/` are compared with the responses of the fake PACs; a difference gives exit
status 1.
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
from operator import itemgetter
from pathlib import Path
from typing import Any

from local.build import BuildError
from local.emulator_process import ROOT, AwsError
from local.environment import LocalEnvironment, log_steps, running_environment
from local.fake_pacs.fake_data import mexico_now
from local.fakes import DemoPac
from local.stack import DeployError
from local.start import shell_variables
from timbres.domain.month import Month, month_of
from timbres.domain.report import ReportSpec

OUT = ROOT / "out"
# An issuer that every fake PAC has.
RFC = "A&D061009TY8"
_MAX_ITEMS = 3
_REPORT_SECONDS = 60
# Exit code of `timbres`.
_ACCESS_DENIED = 3


class DemoError(Exception):
    """A step failed; the message gives the reason."""


class Shell:
    """Runs and prints commands with the variables that `make up` writes to `.local/env`."""

    def __init__(self, variables: dict[str, str]) -> None:
        self._environment = {**os.environ, **variables}

    def timbres(self, identity: str, *arguments: str, expect: int = 0) -> Any:
        """Run the command `timbres` as `identity`, print it and its JSON; return the JSON.

        Raises `DemoError` unless the exit code is `expect`.
        """
        words = [*arguments, "--json"]
        print(f"$ timbres {shlex.join(words)}  # as {identity}")
        keys = ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY")
        own = {f"AWS_{k}": self._environment[f"TIMBRES_{identity.upper()}_{k}"] for k in keys}
        command = [sys.executable, "-m", "timbres_client", *words]
        process = self._run(command, own | {"PYTHONPATH": str(ROOT / "client")})
        try:
            response = json.loads(process.stdout or process.stderr)
        except ValueError:
            raise DemoError(f"timbres failed: {process.stderr.strip()}") from None
        print(_shortened(response), end="\n\n")
        if process.returncode != expect:
            raise DemoError(f"expected exit code {expect}, got {process.returncode}")
        return response

    def reports(self, identity: str, account: str, month: str) -> Any:
        """Request the reports of a month with curl, print the request and the response.

        Raises `DemoError` unless the status is 200.
        """
        name = f"TIMBRES_{identity.upper()}"
        lines = [
            'curl --silent --show-error --aws-sigv4 "aws:amz:$AWS_REGION:execute-api"',
            f'--user "${name}_ACCESS_KEY_ID:${name}_SECRET_ACCESS_KEY"',
            f'"$TIMBRES_API_URL/accounts/{account}/reports?month={month}"',
        ]
        print("$ " + " \\\n    ".join(lines))
        output = self._curl(" ".join([*lines, "--write-out", "'\\n%{http_code}'"]))
        text, _, status = output.rpartition("\n")
        response = json.loads(text)
        print(status, _shortened(response), "", sep="\n")
        if status != "200":
            raise DemoError(f"expected HTTP 200, got {status}")
        return response["reports"]

    def open(self, link: str, folder: Path) -> str:
        """Follow a mailed link as a browser does, and save the file; return its name."""
        command = "curl --silent --show-error --fail --location --dump-header - --output"
        temporary = folder / ".download"
        headers = self._curl(f"{command} {shlex.quote(str(temporary))} {shlex.quote(link)}")
        (name,) = re.findall(r'filename="([^"/]+)"', headers)
        temporary.rename(folder / name)
        print(f"$ {command} {folder.name}/{name} {link}")
        return str(name)

    def _curl(self, command: str) -> str:
        process = self._run(["sh", "-c", command], {})
        if process.returncode:
            raise DemoError(f"curl failed (7.75 or later is required): {process.stderr.strip()}")
        return process.stdout

    def _run(
        self, command: list[str], variables: dict[str, str]
    ) -> subprocess.CompletedProcess[str]:
        environment = self._environment | variables
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def main() -> int:
    """Run the demo. Return 0, or 1 with the reason on standard error."""
    _print_step("Start a local AWS, deploy Timbres, start the fake PACs")
    log_steps()
    try:
        with running_environment() as local_env:
            run(local_env, Shell(shell_variables(local_env)))
    except (AwsError, BuildError, DeployError, DemoError) as error:
        print(f"The demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def run(local_env: LocalEnvironment, shell: Shell, out: Path = OUT) -> None:
    """Run the main job in `local_env`, and save the reports to `out`. Raises `DemoError`."""
    month = str(month_of(mexico_now().date()).previous())

    _print_step("List the accounts")
    accounts = shell.timbres("reader", "accounts")

    balances = {}
    for fake in _fakes_with(local_env, "balance"):
        command = ("balance", fake.account, month)
        _print_step(f"Get the consumption of each RFC in {month} ({fake.pac.display_name})")
        balances[fake.account] = shell.timbres("reader", *command)

        _print_step("Get the consumption of one RFC, which contains an ampersand")
        shell.timbres("reader", *command, "--rfc", RFC)

    for fake in _fakes_with(local_env, "stamps"):
        _print_step(f"Get the stamps that each issuer has left ({fake.pac.display_name})")
        for rfc in fake.issuers:
            shell.timbres("reader", "stamps", fake.account, rfc)

        if fake.pac.has_account_stamps:
            _print_step("Get the stamps of the account, which all of its issuers use")
            shell.timbres("reader", "stamps", fake.account, "--account")

    for fake in _fakes_with(local_env, "contracts"):
        _print_step(
            "Contract 500 stamps for one issuer: rejected for a reader, created once per key for a "
            f"contract manager ({fake.pac.display_name})"
        )
        _contract(shell, fake)

    _print_step(f"The 1st of the month, 06:00: the scheduler requests the reports of {month}")
    mails = local_env.stack.mailbox("finance")
    local_env.stack.fire("ReportFunctionMonthly")
    print("· generating the reports", end="", flush=True)
    mail = _await_mail(mails, "REPORTES:")
    print(mail)
    requested = [
        report
        for account in [*(account["name"] for account in accounts), "all"]
        for report in shell.reports("reporter", account, month)
    ]
    # Of a report that somebody requested before, the mail has the newest version.
    requested.sort(key=itemgetter("id"))
    reports = {
        _file_name(report["account"], month, report["format"], report["kind"]): report
        for report in requested
    }

    _print_step("Finance opens each link of the mail, without a key, into out/")
    out.mkdir(exist_ok=True)
    links = re.findall(r"^ *(http\S+/d/\S+)$", mail, re.MULTILINE)
    names = [shell.open(link, out) for link in links]
    _check(len(names) == len(reports), f"the mail has {len(reports)} links, one per report")
    for name, report in reports.items():
        content = (out / name).read_bytes()
        _check(
            name in names and hashlib.sha256(content).hexdigest() == report["sha256"],
            f"out/{name} has the checksum of its record",
        )
        if report["kind"] == "statement":
            (fake,) = (f for f in local_env.fakes.values() if f.account == report["account"])
            statements = list(fake.server.statements(month, report["format"]))
            _check(content in statements, f"out/{name} equals the PAC's response, byte for byte")
    for account, balance in balances.items():
        _check(
            _total(out / _file_name(account, month, "csv")) == balance["transactions"],
            f"the consumption report has the PAC's total of {balance['transactions']} stamps",
        )
    _print_step(
        f"Done. Open out/{_file_name('all', month, 'html')}, or run `make up` to send "
        "your own requests"
    )


def _fakes_with(local_env: LocalEnvironment, capability: str) -> list[DemoPac]:
    return [fake for fake in local_env.fakes.values() if capability in fake.pac.capabilities]


def _contract(shell: Shell, fake: DemoPac) -> None:
    """Send a contract twice with one key. Raises `DemoError` unless the PAC has it once."""
    command = ("contract", fake.account, RFC, "500", "--key", f"demo-{fake.account}", "--yes")
    shell.timbres("reader", *command, expect=_ACCESS_DENIED)
    before = len(fake.server.contracts())
    created = shell.timbres("contract_manager", *command)
    replayed = shell.timbres("contract_manager", *command)
    _check(
        created["id"] == replayed["id"] and len(fake.server.contracts()) == before + 1,
        "both requests returned the same contract; the PAC created one",
    )


def _await_mail(mails: Callable[[], list[str]], subject: str) -> str:
    deadline = time.monotonic() + _REPORT_SECONDS
    while time.monotonic() < deadline:
        for mail in mails():
            if subject in mail:
                print("\n")
                return mail
        print(".", end="", flush=True)
        time.sleep(0.5)
    raise DemoError(f"the mail did not arrive within {_REPORT_SECONDS} s")


def _file_name(account: str, month: str, file_format: str, kind: str = "consumption") -> str:
    return ReportSpec(account, Month.from_text(month), kind, file_format).download_name


def _total(path: Path) -> int:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return sum(int(row["Timbres"]) for row in csv.DictReader(file))


def _shorten(value: Any) -> Any:
    """Return `value` with its long lists cut after three items and the number of the others."""
    if isinstance(value, dict):
        return {name: _shorten(member) for name, member in value.items()}
    if isinstance(value, list):
        items = [_shorten(item) for item in value]
        hidden = len(items) - _MAX_ITEMS
        return [*items[:_MAX_ITEMS], f"… and {hidden} more"] if hidden > 1 else items
    return value


def _shortened(response: Any) -> str:
    return json.dumps(_shorten(response), ensure_ascii=False, indent=2)


def _print_step(title: str) -> None:
    print(f"\n== {title}\n", flush=True)


def _check(passed: bool, claim: str) -> None:
    if not passed:
        raise DemoError(f"check failed: {claim}")
    print(f"✓ {claim}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
