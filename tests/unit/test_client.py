"""The Python client: requests, repetitions, errors, downloads; no network."""

from __future__ import annotations

import hashlib
import json
from urllib.parse import urlsplit

import pytest
import requests
import responses
from botocore.session import Session

from timbres_client import Client, ConfigurationError, Connection, TimbresError
from timbres_client import errors as kinds

API = "https://a1b2c3d4e5.execute-api.mx-central-1.amazonaws.com/dev"
FILE = "https://bucket.s3.mx-central-1.amazonaws.com/report"
CONTRACT = {"id": "0" * 32, "status": "confirmed"}
CREATED = {"json": CONTRACT, "status": 201}
LOST = {"body": requests.ConnectionError("reset by peer")}


@pytest.fixture
def http():
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


@pytest.fixture
def pauses():
    """The pauses of the client in seconds, in which alone time passes."""
    return []


@pytest.fixture
def client(pauses):
    session = Session()
    session.set_credentials("AKIAEXAMPLE", "the-secret", "the-token")
    connection = Connection(API, "mx-central-1", session)
    return Client(connection, sleep=pauses.append, clock=lambda: sum(pauses))


def problem(code, status, **members):
    return {"json": {"code": code, "detail": f"about {code}"} | members, "status": status}


def rejected(code, status):
    return problem(code, status, contract=CONTRACT | {"status": "rejected"})


def accepted(status):
    return {"json": CONTRACT | {"status": status}, "status": 202}


def test_a_request_is_signed_and_encoded(client, http):
    http.get(f"{API}/accounts/acme-sf/stamps", json={"rfc": "ÑA&840101AB1"})

    client.stamps("acme-sf", "ÑA&840101AB1")

    (call,) = http.calls
    assert urlsplit(call.request.url).query == "rfc=%C3%91A%26840101AB1"
    assert call.request.headers["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIAEX")
    assert call.request.headers["X-Amz-Security-Token"] == "the-token"
    assert "the-secret" not in str(call.request.headers)


def test_a_list_has_every_page(client, http):
    for query, body in (
        ({}, {"contracts": [{"id": 1}], "next": "a+b"}),
        ({"cursor": "a+b"}, {"contracts": [{"id": 2}], "next": None}),
    ):
        match = [responses.matchers.query_param_matcher({"status": "unknown"} | query)]
        http.get(f"{API}/accounts/all/contracts", json=body, match=match)

    assert [contract["id"] for contract in client.contracts(status="unknown")] == [1, 2]


@pytest.mark.parametrize(
    ("answers", "expected", "code"),
    [
        ([problem("pac-unavailable", 503) | {"headers": {"Retry-After": "7"}}], [7], None),
        ([LOST, problem("internal-error", 500)], [1, 2], None),
        ([problem("too-many-requests", 429)] * 5, [1, 2, 4, 8], "too-many-requests"),
        ([LOST] * 5, [1, 2, 4, 8], "no-response"),
        ([problem("pac-credentials-rejected", 502)], [], "pac-credentials-rejected"),
        ([problem("account-unknown", 404)], [], "account-unknown"),
        ([{"body": "<html>", "status": 403}], [], "unexpected-response"),
    ],
)
def test_a_read_is_repeated_after_transient_errors_only(
    client, pauses, http, answers, expected, code
):
    for answer in answers:
        http.get(f"{API}/accounts", **answer)
    if code is None:
        http.get(f"{API}/accounts", json={"accounts": []})
        assert client.accounts() == []
    else:
        with pytest.raises(TimbresError) as caught:
            client.accounts()
        assert caught.value.code == code
    assert pauses == expected


@pytest.mark.parametrize(
    ("answers", "error", "kind"),
    [
        ([LOST, CREATED], None, None),
        ([problem("contract-pending", 409), CREATED], None, None),
        ([problem("contract-in-flight", 409), CREATED], None, None),
        ([accepted("unknown")] * 40, "contract-open", kinds.ContractUndecidedError),
        ([accepted("needs-review")], "needs-review", kinds.ContractUndecidedError),
        ([problem("pac-error", 502), rejected("pac-error", 502)], "pac-error",
         kinds.ContractRejectedError),
        ([problem("rfc-invalid", 400)], "rfc-invalid", kinds.InputError),
        ([problem("pac-permission-denied", 403)], "pac-permission-denied", kinds.PacFailedError),
        ([LOST] * 40, "contract-open", kinds.ContractUndecidedError),
    ],
)  # fmt: skip
def test_a_contract_is_repeated_with_its_key_until_it_is_decided(
    client, pauses, http, answers, error, kind
):
    for answer in answers:
        http.post(f"{API}/accounts/acme-sf/contracts", **answer)
    waits: list[str] = []
    request = ("acme-sf", "A&D061009TY8", 5, "k1")

    def on_wait(reason, _):
        waits.append(reason)

    if error is None:
        assert client.contract(*request, on_wait=on_wait) == CONTRACT
        assert len(waits) == 1
    else:
        with pytest.raises(TimbresError) as caught:
            client.contract(*request, on_wait=on_wait)
        assert (caught.value.code, type(caught.value)) == (error, kind)
    sent = {
        (call.request.headers["Idempotency-Key"], json.loads(call.request.body)["stamps"])
        for call in http.calls
    }
    assert sent == {("k1", 5)}
    assert sum(pauses) <= 600


def report(content, **members):
    digest = hashlib.sha256(content).hexdigest()
    ready = {"id": "r1", "account": "acme-rc", "status": "ready", "url": FILE, "sha256": digest}
    return ready | members


@pytest.mark.parametrize("broken", [LOST, {"body": b"half"}, {"status": 403}])
def test_a_download_starts_again_after_a_lost_connection(client, http, tmp_path, broken):
    http.get(FILE, **broken)
    http.get(FILE, body=b"a complete file")
    http.get(f"{API}/accounts/acme-rc/reports/r1", json=report(b"a complete file"))

    path = client.download(report(b"a complete file"), tmp_path / "report.csv")

    assert path.read_bytes() == b"a complete file"
    assert [item.name for item in tmp_path.iterdir()] == ["report.csv"]
    # S3 rejects a request with two signatures.
    assert "Authorization" not in http.calls[0].request.headers


def test_a_report_is_awaited(client, pauses, http):
    path, pending = f"{API}/accounts/all/reports", report(b"", status="pending")
    http.post(path, json=pending, status=202)
    http.get(f"{path}/r1", json=pending)
    http.get(f"{path}/r1", json=report(b"", status="failed", error={"detail": "no data"}))

    with pytest.raises(kinds.ConflictError, match="report-failed: no data"):
        client.report("all", "2026-10", "consumption", "csv")
    assert pauses == [1]


def test_the_api_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("TIMBRES_API_URL", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(ConfigurationError, match="--stack NAME"):
        Connection.find()

    (tmp_path / ".local").mkdir()
    lines = {
        "TIMBRES_API_URL": "http://127.0.0.1:1/dev",
        "AWS_REGION": "r",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "s",
    }
    text = "".join(f"export {name}='{value}'\n" for name, value in lines.items())
    (tmp_path / ".local" / "env").write_text(text)
    found = Connection.find()
    assert (found.url, found.region) == ("http://127.0.0.1:1/dev", "r")
    assert found.session.get_credentials().access_key == "local"

    monkeypatch.setenv("TIMBRES_API_URL", API + "/")
    found = Connection.find()
    assert (found.url, found.region) == (API, "mx-central-1")
