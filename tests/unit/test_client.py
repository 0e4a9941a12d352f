"""The Python client: requests, repetitions, errors, downloads; no network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
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
LOST = requests.ConnectionError("reset by peer")


@pytest.fixture
def http() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


class Clock:
    """Seconds that pass only in pauses."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.pauses.append(seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(clock: Clock) -> Client:
    session = Session()
    session.set_credentials("AKIAEXAMPLE", "the-secret", "the-token")
    connection = Connection(API, "mx-central-1", session)
    return Client(connection, sleep=clock.sleep, clock=lambda: clock.now)


def problem(code: str, status: int, **members: Any) -> dict[str, Any]:
    return {"json": {"code": code, "detail": f"about {code}"} | members, "status": status}


def test_a_request_is_signed_and_encoded(client: Client, http: responses.RequestsMock) -> None:
    http.get(f"{API}/accounts/acme-sf/stamps", json={"rfc": "ÑA&840101AB1"})

    client.stamps("acme-sf", "ÑA&840101AB1")

    (call,) = http.calls
    assert urlsplit(call.request.url).query == "rfc=%C3%91A%26840101AB1"
    assert call.request.headers["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIAEX")
    assert call.request.headers["X-Amz-Security-Token"] == "the-token"
    assert "the-secret" not in str(call.request.headers)


def test_a_list_has_every_page(client: Client, http: responses.RequestsMock) -> None:
    url = f"{API}/accounts/all/contracts"
    first, second = ({"contracts": [{"id": n}], "next": c} for n, c in ((1, "a+b"), (2, None)))
    match = [responses.matchers.query_param_matcher({"status": "unknown"})]
    http.get(url, json=first, match=match)
    match = [responses.matchers.query_param_matcher({"status": "unknown", "cursor": "a+b"})]
    http.get(url, json=second, match=match)

    assert [contract["id"] for contract in client.contracts(status="unknown")] == [1, 2]


@pytest.mark.parametrize(
    ("answers", "pauses", "code"),
    [
        ([problem("pac-unavailable", 503) | {"headers": {"Retry-After": "7"}}], [7], None),
        ([{"body": LOST}, problem("internal-error", 500)], [1, 2], None),
        ([problem("too-many-requests", 429)] * 5, [1, 2, 4, 8], "too-many-requests"),
        ([{"body": LOST}] * 5, [1, 2, 4, 8], "no-response"),
        ([problem("pac-credentials-rejected", 502)], [], "pac-credentials-rejected"),
        ([problem("account-unknown", 404)], [], "account-unknown"),
        ([{"body": "<html>", "status": 403}], [], "unexpected-response"),
    ],
)
def test_a_read_is_repeated_after_transient_errors_only(
    client: Client,
    clock: Clock,
    http: responses.RequestsMock,
    answers: list[dict[str, Any]],
    pauses: list[float],
    code: str | None,
) -> None:
    for answer in answers:
        http.get(f"{API}/accounts", **answer)
    if code is None:
        http.get(f"{API}/accounts", json={"accounts": []})
        assert client.accounts() == []
    else:
        with pytest.raises(TimbresError) as caught:
            client.accounts()
        assert caught.value.code == code
    assert clock.pauses == pauses


REJECTED = {"contract": {"id": "0" * 32, "status": "rejected"}}


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ([{"body": LOST}, {"json": CONTRACT, "status": 201}], None),
        ([problem("contract-pending", 409), {"json": CONTRACT, "status": 201}], None),
        ([problem("contract-in-flight", 409), {"json": CONTRACT, "status": 201}], None),
        ([{"json": CONTRACT | {"status": "unknown"}, "status": 202}] * 40, "contract-open"),
        ([{"json": CONTRACT | {"status": "needs-review"}, "status": 202}], "needs-review"),
        ([problem("pac-error", 502), problem("pac-error", 502, **REJECTED)], "pac-error"),
        ([problem("pac-credentials-rejected", 502, **REJECTED)], "pac-credentials-rejected"),
        ([problem("rfc-invalid", 400)], "rfc-invalid"),
        ([{"body": LOST}] * 40, "contract-open"),
    ],
)
def test_a_contract_is_repeated_with_its_key_until_it_is_decided(
    client: Client,
    clock: Clock,
    http: responses.RequestsMock,
    answers: list[dict[str, Any]],
    error: str | None,
) -> None:
    http.assert_all_requests_are_fired = False
    for answer in answers:
        http.post(f"{API}/accounts/acme-sf/contracts", **answer)
    waits: list[str] = []

    def create() -> Any:
        return client.contract(
            "acme-sf", "A&D061009TY8", 5, "k1", on_wait=lambda reason, _: waits.append(reason)
        )

    if error is None:
        assert create() == CONTRACT
        assert len(waits) == 1
    else:
        with pytest.raises(TimbresError) as caught:
            create()
        assert caught.value.code == error
        open_codes = ("contract-open", "needs-review")
        assert isinstance(caught.value, kinds.ContractUndecidedError) == (error in open_codes)
    sent = {
        (call.request.headers["Idempotency-Key"], json.loads(call.request.body)["stamps"])
        for call in http.calls
    }
    assert sent == {("k1", 5)}
    assert clock.now <= 600


def report(content: bytes) -> Any:
    digest = hashlib.sha256(content).hexdigest()
    return {"id": "r1", "account": "acme-rc", "status": "ready", "url": FILE, "sha256": digest}


@pytest.mark.parametrize("broken", [{"body": LOST}, {"body": b"half"}, {"status": 403}])
def test_a_download_starts_again_after_a_lost_connection(
    client: Client, http: responses.RequestsMock, tmp_path: Path, broken: dict[str, Any]
) -> None:
    http.get(FILE, **broken)
    http.get(FILE, body=b"a complete file")
    http.get(f"{API}/accounts/acme-rc/reports/r1", json=report(b"a complete file"))

    path = client.download(report(b"a complete file"), tmp_path / "report.csv")

    assert path.read_bytes() == b"a complete file"
    assert [item.name for item in tmp_path.iterdir()] == ["report.csv"]
    # S3 rejects a request with two signatures.
    assert "Authorization" not in http.calls[0].request.headers


def test_a_report_is_awaited(client: Client, clock: Clock, http: responses.RequestsMock) -> None:
    pending = report(b"") | {"status": "pending"}
    http.post(f"{API}/accounts/all/reports", json=pending, status=202)
    url = f"{API}/accounts/all/reports/r1"
    http.get(url, json=pending)
    http.get(url, json=report(b"") | {"status": "failed", "error": {"detail": "no data"}})

    with pytest.raises(kinds.ConflictError, match="report-failed: no data"):
        client.report("all", "2026-10", "consumption", "csv")
    assert clock.pauses == [1]


def test_the_api_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {}, kinds.InputError),
        (403, {"code": "access-denied"}, kinds.AccessError),
        (404, {}, kinds.NotFoundError),
        (409, {}, kinds.ConflictError),
        (502, REJECTED, kinds.ContractRejectedError),
        (403, {"code": "pac-permission-denied"}, kinds.PacFailedError),
        (503, {}, kinds.TransientError),
    ],
)
def test_an_error_has_the_class_of_its_kind(
    status: int, body: dict[str, Any], kind: Callable[..., Any]
) -> None:
    assert type(kinds.error_of(status, body)) is kind
