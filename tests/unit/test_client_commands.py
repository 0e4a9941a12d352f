"""The command `timbres`: help, tables, JSON, prompts, exit codes; the API is a fake."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

import pytest
import responses
import typer
from local.emulator_process import ROOT
from typer.testing import CliRunner

from timbres_client.cli import app

API = "https://a1b2c3d4e5.execute-api.mx-central-1.amazonaws.com/dev"
RFC = "A&D061009TY8"
ISSUER: dict[str, Any] = {
    "account": "acme-sf", "rfc": RFC, "contracted": 12345, "used": 5, "available": 12340,
    "unlimited": False, "as_of": "2026-11-21T10:15:30-06:00", "burn_7": 14.3, "burn_30": None,
    "days_left": 52.42, "alert": "low", "low_stamps": None,
    "expires_on": None, "expiring_stamps": None,
}  # fmt: skip
CREATED: dict[str, Any] = {
    "account": "acme-sf", "rfc": RFC, "stamps": 500, "id": "0" * 32, "status": "confirmed",
    "contracted_before": 1, "contracted_after": 1, "available_before": 1, "available_after": 1,
    "idempotency_key": "k", "reference": None, "warning": None, "error": None,
}  # fmt: skip


@pytest.fixture(autouse=True)
def http(monkeypatch):
    for name, value in {
        "TIMBRES_API_URL": API,
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "the-secret",
        "COLUMNS": "80",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


def run(*arguments, text=""):
    return CliRunner().invoke(app, arguments, input=text, prog_name="timbres")


def commands(group, *before):
    """Yield the words of every command."""
    for name, item in group.commands.items():
        if hasattr(item, "commands"):
            yield from commands(item, *before, name)
        else:
            yield (*before, name)


@pytest.mark.parametrize("words", list(commands(typer.main.get_command(app))), ids=" ".join)
def test_the_help_has_an_example_fits_80_columns_and_no_option_takes_a_secret(words):
    result = run(*words, "--help")

    assert result.exit_code == 0
    texts = result.output.split()
    assert f"Example: timbres {' '.join(words)}" in " ".join(texts)
    assert max(map(len, result.output.splitlines())) <= 80
    assert not {"--password", "--api-key", "--secret", "--token"} & set(texts)


def test_a_table_for_people_and_json_for_pipes(http):
    http.get(f"{API}/accounts/acme-sf/stamps", json={"issuers": [ISSUER] * 21, "next": None})

    table, text = run("stamps", "acme-sf"), run("stamps", "acme-sf", "--all", "--json")

    head, row, *rows = table.stdout.splitlines()
    assert head.split() == ["RFC", "Available", "Per", "day", "Days", "left", "State", "Counted"]
    assert row.split() == [RFC, "12,340", "14.3", "52.4", "low", "2026-11-21"]
    assert (len(rows), "--all" in table.stderr) == (19, True)
    assert json.loads(text.stdout) == [ISSUER] * 21


@pytest.fixture
def documented(http):
    """Let every route respond to GET with its example of docs/openapi.json."""
    document = json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))
    for path, methods in document["paths"].items():
        pattern = re.sub(r"\{\w+\}", "[^/?]+", API + path) + r"(\?.*)?$"
        content = methods.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
        if "application/json" in content:
            http.get(re.compile(pattern), json=content["application/json"]["example"])


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("accounts --json", '"acme-sf"'),
        ("balance acme-rc", "stamps (as of 20"),
        (f"stamps acme-sf '{RFC}'", "available"),
        ("stamps acme-sf --account", "available"),
        (f"history acme-sf '{RFC}'", "Since the day before"),
        ("issuers list acme-sf", "RFC"),
        ("contracts acme-sf", "confirmed"),
        ("runs", "Exhausted"),
        ("runs run-1", "counted"),
        ("runs --failures", "Reason"),
    ],
)
def test_a_reading_command_shows_the_documented_response(documented, command, expected):
    result = run(*shlex.split(command))

    assert (result.exit_code, expected in result.stdout) == (0, True), result.output


@pytest.mark.parametrize(
    ("status", "code", "exit_code", "hint"),
    [
        (400, "rfc-invalid", 2, ""),
        (403, "access-denied", 3, "policy"),
        (404, "account-unknown", 4, "timbres accounts"),
        (409, "account-misconfigured", 5, ""),
        (502, "pac-credentials-rejected", 6, "timbres account password"),
    ],
)
def test_an_error_has_its_exit_code_and_a_hint(http, status, code, exit_code, hint):
    problem = {"code": code, "detail": "Something [is] wrong."}
    http.get(f"{API}/accounts/acme-sf/stamps", json=problem, status=status)

    result, as_json = (run("stamps", "acme-sf", RFC, *more) for more in ((), ("--json",)))

    assert (result.exit_code, as_json.exit_code) == (exit_code, exit_code)
    assert f"Something [is] wrong. ({code})" in result.stderr.replace("\n", " ")
    assert hint in result.stderr
    assert json.loads(as_json.stderr) == problem
    assert result.stdout == as_json.stdout == ""


@pytest.mark.parametrize(
    ("answer", "exit_code", "sent"), [("y\n", 0, True), ("n\n", 1, False), ("", 2, False)]
)
def test_a_contract_shows_its_effect_and_asks(http, answer, exit_code, sent):
    http.get(f"{API}/accounts/acme-sf/stamps", json=ISSUER)
    http.get(f"{API}/accounts/acme-sf/stamps/account", json={"available": 400})
    http.post(f"{API}/accounts/acme-sf/contracts", json=CREATED, status=201)

    result = run("contract", "acme-sf", RFC, "500", "--key", "k", text=answer)

    assert result.exit_code == exit_code
    assert "12,345 → 12,845" in result.stdout
    assert "400 stamps left (fewer than the contract)" in result.stdout
    assert ("confirmed" in result.stdout) == sent == (http.calls[-1].request.method == "POST")


def test_a_contract_that_is_not_decided_has_its_own_exit_code(http):
    open_contract = CREATED | {"status": "unknown"}
    http.post(f"{API}/accounts/acme-sf/contracts", json=open_contract, status=202)

    result = run("contract", "acme-sf", RFC, "500", "--key", "k", "--yes", "--wait", "0")

    assert (result.exit_code, "same key" in result.stderr) == (8, True)


def test_curl_prints_the_request_without_a_secret_and_sends_nothing(http):
    result = run("contract", "acme-sf", RFC, "5", "--key", "k", "--curl")

    assert result.stdout.splitlines() == [
        'curl --aws-sigv4 "aws:amz:mx-central-1:execute-api" \\',
        '  --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" \\',
        "  --request POST \\",
        "  --header 'Content-Type: application/json' \\",
        "  --header 'Idempotency-Key: k' \\",
        f"""  --data '{{"rfc": "{RFC}", "stamps": 5}}' \\""",
        f"  {API}/accounts/acme-sf/contracts",
    ]
    assert (len(http.calls), "the-secret" in result.output) == (0, False)
