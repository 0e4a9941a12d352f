"""Made-up requests of every route, right ones and wrong ones, and what may be answered."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from local.emulator_process import ROOT
from local.fake_pacs.fake_data import mexico_now
from local.fakes import FAKES, serve_fakes
from local.stack import SECRET_PREFIX, Stack

from timbres.domain.month import month_of
from timbres.domain.report import PENDING
from tools.openapi import response_validation
from tools.openapi.schemas import MONTH_PATTERN, RFC_SENT

# Of the sandboxes' books; others are made up from the form of an RFC.
_RFCS = ("A&D061009TY8", "ÑAN840101AB1", "AAA010101AAA", "GOMP800101QX2")
_CONFIG = Path(__file__).with_name("schemathesis.toml")


@contextlib.contextmanager
def temporary_accounts(stack: Stack) -> Iterator[tuple[str, ...]]:
    """Adds an account at a fake of each PAC, and takes them away again.

    Yields their names, new ones each time: a function keeps what it knows of a name for a minute.
    """
    mark = secrets.token_hex(3)
    fakes = [create() for create in FAKES]
    names = tuple(f"fuzz-{mark}-{fake.account.rpartition('-')[2]}" for fake in fakes)
    with serve_fakes(fakes) as urls:
        manager = stack.session().client("secretsmanager")
        try:
            for name, fake in zip(names, fakes, strict=True):
                stack.create_account(name, fake.secret(urls[fake.pac.name]))
            yield names
            _wait_until_settled(stack, names)
        finally:
            for name in names:
                manager.delete_secret(
                    SecretId=SECRET_PREFIX + name, ForceDeleteWithoutRecovery=True
                )


def _wait_until_settled(stack: Stack, names: Sequence[str], seconds: float = 60) -> None:
    """Waits until every report asked for is made, so that nothing is left to come."""
    deadline = time.monotonic() + seconds
    for name in names:
        while any(
            report["status"] == PENDING
            for report in stack.call("admin", "GET", f"/accounts/{name}/reports").json()["reports"]
        ):
            if time.monotonic() > deadline:
                raise TimeoutError(f"reports of {name} were not made within {seconds:g} s")
            time.sleep(0.2)


def fuzz(
    stack: Stack, options: Sequence[str], **run_options: Any
) -> subprocess.CompletedProcess[str]:
    """Runs the fuzzer against `stack`, in a process of its own, which ends with 0 for no failure.

    `options` are Schemathesis' own; `more` goes to `subprocess.run`.
    """
    keys = stack.keys["admin"]
    with temporary_accounts(stack) as names, tempfile.TemporaryDirectory() as folder:
        document = Path(folder) / "openapi.json"
        document.write_text(
            json.dumps(_for_fuzzing(response_validation.strict_document(), names)), encoding="utf-8"
        )
        return subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(_CONFIG)),
                *("run", str(document), "--url", stack.api_url),
                *("--generation-database", "none", "--request-timeout", "60", "--no-color"),
                *options,
            ],
            cwd=folder,
            env={
                **os.environ,
                "SCHEMATHESIS_HOOKS": "tools.fuzz.hooks",
                "PYTHONPATH": f"{ROOT}:{ROOT / 'layers' / 'timbres'}",
                "FUZZ_ACCESS_KEY_ID": keys.access_key_id,
                "FUZZ_SECRET_ACCESS_KEY": keys.secret_access_key,
                "FUZZ_REGION": stack.region,
            },
            text=True,
            check=False,
            **run_options,
        )


def _for_fuzzing(document: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return the document with the accounts, and of issuers and months some that there are.

    Without its signatures: a request's own is made when everything else of it is.
    """
    month = month_of(mexico_now().date())
    some = {RFC_SENT["pattern"]: _RFCS, MONTH_PATTERN: (str(month), str(month.previous()))}
    fuzzed: dict[str, Any] = _with_values(document, some)
    del fuzzed["security"], fuzzed["components"]["securitySchemes"]
    for methods in fuzzed["paths"].values():
        for operation in methods.values():
            for parameter in operation["parameters"]:
                if parameter["name"] == "account":
                    parameter["schema"] = {"type": "string", "enum": list(names)}
                    kind = parameter["example"].rpartition("-")[2]
                    parameter["example"] = next(one for one in names if one.endswith(kind))
    return fuzzed


def _with_values(schema: Any, some: Mapping[str, Sequence[str]]) -> Any:
    """Return a copy in which what has to match a pattern may also be one of its values."""
    if isinstance(schema, list):
        return [_with_values(one, some) for one in schema]
    if not isinstance(schema, dict):
        return schema
    copied = {name: _with_values(value, some) for name, value in schema.items()}
    if "type" in copied and copied.get("pattern") in some:
        pattern = copied.pop("pattern")
        copied["anyOf"] = [{"enum": list(some[pattern])}, {"pattern": pattern}]
    return copied
