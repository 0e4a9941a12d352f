"""Send valid and invalid generated requests to every route, and check the responses."""

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

# RFCs of the fake PACs; the fuzzer generates others from the pattern.
_RFCS = ("A&D061009TY8", "ÑAN840101AB1", "AAA010101AAA", "GOMP800101QX2")
_CONFIG = Path(__file__).with_name("schemathesis.toml")


@contextlib.contextmanager
def temporary_accounts(stack: Stack) -> Iterator[tuple[str, ...]]:
    """Create an account at a fake of each PAC, and delete them at the end.

    Yields their names, which are new each time, because a function caches an account for a minute.
    """
    suffix = secrets.token_hex(3)
    fakes = [create() for create in FAKES]
    names = tuple(f"fuzz-{suffix}-{fake.account.rpartition('-')[2]}" for fake in fakes)
    with serve_fakes(fakes) as urls:
        manager = stack.session().client("secretsmanager")
        try:
            for name, fake in zip(names, fakes, strict=True):
                stack.create_account(name, fake.secret(urls[fake.pac.name]))
            yield names
            _wait_for_reports(stack, names)
        finally:
            for name in names:
                secret = {"SecretId": SECRET_PREFIX + name}
                manager.delete_secret(**secret, ForceDeleteWithoutRecovery=True)


def _wait_for_reports(stack: Stack, names: Sequence[str], seconds: float = 60) -> None:
    """Wait until every requested report has been generated. Raises `TimeoutError`."""
    deadline = time.monotonic() + seconds
    for name in names:
        while any(
            report["status"] == PENDING
            for report in stack.call("admin", "GET", f"/accounts/{name}/reports").json()["reports"]
        ):
            if time.monotonic() > deadline:
                raise TimeoutError(f"reports of {name} were not generated within {seconds:g} s")
            time.sleep(0.2)


def fuzz(
    stack: Stack, options: Sequence[str], **run_options: Any
) -> subprocess.CompletedProcess[str]:
    """Run the fuzzer against `stack` in a new process; its exit status is 0 without failures.

    `options` are passed to Schemathesis, `run_options` to `subprocess.run`.
    """
    keys = stack.keys["admin"]
    with temporary_accounts(stack) as names, tempfile.TemporaryDirectory() as folder:
        document = Path(folder) / "openapi.json"
        prepared = _prepare_document(response_validation.strict_document(), names)
        document.write_text(json.dumps(prepared), encoding="utf-8")
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
                "PYTHONPATH": f"{ROOT}:{ROOT / 'layers' / 'timbres'}:{ROOT / 'client'}",
                "FUZZ_ACCESS_KEY_ID": keys.access_key_id,
                "FUZZ_SECRET_ACCESS_KEY": keys.secret_access_key,
                "FUZZ_REGION": stack.region,
            },
            text=True,
            check=False,
            **run_options,
        )


def _prepare_document(document: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return the document with existing accounts, issuers and months as values.

    It has no security schemes, because a request is signed last.
    """
    month = month_of(mexico_now().date())
    values = {RFC_SENT["pattern"]: _RFCS, MONTH_PATTERN: (str(month), str(month.previous()))}
    fuzzed: dict[str, Any] = _add_values(document, values)
    del fuzzed["security"], fuzzed["components"]["securitySchemes"]
    operations = [one for methods in fuzzed["paths"].values() for one in methods.values()]
    for parameter in (one for operation in operations for one in operation["parameters"]):
        if parameter["name"] == "account":
            parameter["schema"] = {"type": "string", "enum": list(names)}
            ending = parameter["example"].rpartition("-")[2]
            parameter["example"] = next(name for name in names if name.endswith(ending))
    return fuzzed


def _add_values(schema: Any, values: Mapping[str, Sequence[str]]) -> Any:
    """Return a copy in which a text with a pattern may also be one of the pattern's values."""
    if isinstance(schema, list):
        return [_add_values(item, values) for item in schema]
    if not isinstance(schema, dict):
        return schema
    copied = {name: _add_values(value, values) for name, value in schema.items()}
    if "type" in copied and copied.get("pattern") in values:
        pattern = copied.pop("pattern")
        copied["anyOf"] = [{"enum": list(values[pattern])}, {"pattern": pattern}]
    return copied
