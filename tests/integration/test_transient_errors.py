"""Transient errors of PACs: reads wait and retry, runs count every issuer, TLS errors say why."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from local.fake_pacs.server import serve
from tests.integration.test_runs import add_many_issuers, sums
from tests.support.events import check_problem
from tests.support.fake_stack import RC, RFC, SF, FakeStack, PacServers
from tests.support.further_cases import HTML, PAGE, http
from tests.support.pac_cases import (
    BALANCE,
    CONTRACT,
    COUNT,
    Operation,
    expect_pac_error,
    shorten_timeouts,
)
from tests.support.pac_servers import Authority, create_authority, raw_server, respond_with

from timbres.deadline import Deadline
from timbres.pacs.http import HttpResponse, PacSession

TRANSIENT: dict[str, tuple[dict[str, Any], int]] = {
    "429 for the first 25 of 30": ({"fault": "canned", "case": "sf-count-429"}, 25),
    "a page for the first 25 of 30": ({"fault": "html-200"}, 25),
    "503 of the server": ({"fault": "canned", "case": "rc-503-retry-after"}, 3),
    "403 of a firewall": ({"fault": "canned", "case": "403"}, 3),
    "a fault": ({"fault": "soap-fault"}, 3),
    "a reset before": ({"fault": "cut-before"}, 3),
    "a reset after": ({"fault": "cut-after"}, 3),
    "half a response": ({"fault": "truncated"}, 3),
    **{f"status {code}": ({"fault": "code", "code": code}, 3) for code in ("500", "501", "503")},
}


@pytest.mark.parametrize("name", TRANSIENT)
def test_a_run_counts_every_issuer_after_a_transient_error(
    stack: FakeStack, name: str, tmp_path: Path
) -> None:
    fault, times = TRANSIENT[name]
    if fault.get("case") == "403":
        (tmp_path / "403.http").write_bytes(http(PAGE, HTML, 403))
        fault = fault | {"case": str(tmp_path / "403")}
    add_many_issuers(stack, 30)
    stack.pacs.fault("getTimbres", times=times, **fault)
    of_both_pacs = fault["fault"] in ("html-200", "cut-before")
    balance = fault if of_both_pacs else {"fault": "canned", "case": "rc-429"}
    stack.pacs.fault("saldos", times=2, **balance)

    run = stack.run()

    (account,) = (account for account in run["accounts"] if account["account"] == SF)
    assert (account["expected"], account["done"], account["failed"]) == (30, 30, {})
    status, expected, done, failed = sums(run)
    assert (status, failed) == ("finished", {})
    assert done == expected > 30


def test_a_read_waits_as_long_as_the_pac_asks(stack: FakeStack, tmp_path: Path) -> None:
    (tmp_path / "429.http").write_bytes(http("x", "text/plain", 429, Retry_After="1"))
    stack.pacs.fault("saldos", "canned", case=str(tmp_path / "429"), times=1)

    assert stack.get(f"/accounts/{RC}/balance", month="2026-10").status == 200
    assert max(stack.time.sleeps) >= 1
    assert stack.pacs.calls() == ["saldos"] * 2


@pytest.mark.parametrize(
    ("path", "query"),
    [
        (f"/accounts/{RC}/balance", {"month": "2026-10"}),
        (f"/accounts/{SF}/stamps", {"rfc": RFC}),
    ],
)
def test_a_wrong_address_is_reported_by_every_read(
    stack: FakeStack, pac_servers: PacServers, path: str, query: dict[str, str]
) -> None:
    for app, _ in pac_servers.values():
        app.app = respond_with("<h1>Not found</h1>", "text/html", 404)
    check_problem(stack.get(path, **query), 502, "pac-endpoint-not-found")
    check_problem(stack.create_contract(), 502, "pac-endpoint-not-found")


def fetch(header: str) -> HttpResponse:
    def behave(server: Any, connection: Any) -> None:
        server.read_request(connection)
        connection.sendall(f"HTTP/1.1 429 X\r\n{header}\r\nContent-Length: 0\r\n\r\n".encode())

    with raw_server(behave) as server:
        return PacSession("x").fetch("GET", server.url, deadline=Deadline(5))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("30", 30), ("120", 60), ("0", 1), ("-5", 1), ("1.2", 2), ("1e9", 60), ("", None),
     ("pronto", None), ("nan", None), ("inf", None), ("Wed, 21 Oct 2099 07:28:00 GMT", 60),
     ("Wed, 21 Oct 2015 07:28:00 GMT", 1)],
)  # fmt: skip
def test_a_retry_after_is_at_most_a_minute(value: str, seconds: int | None) -> None:
    assert fetch(f"Retry-After: {value}").retry_after == seconds


def test_after_an_interim_response_the_connection_is_not_used_again(stack: FakeStack) -> None:
    stack.pacs.fault("saldos", "canned", case="rc-103-early-hints", times=1)
    path = f"/accounts/{RC}/balance"
    check_problem(stack.get(path, month="2026-10"), 502, "pac-protocol-error")

    assert stack.get(path, month="2026-10").body["transactions"] != 3


# ----------------------------------------------------------------------------------- TLS


def old_protocol(authority: Authority, folder: Path) -> ssl.SSLContext:
    context = authority.server_context(folder)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda ca, folder: ca.server_context(folder, days_ago=30, days=10), "has expired"),
        (lambda ca, folder: ca.server_context(folder, days_ago=-1, days=10), "not valid yet"),
        (lambda ca, folder: ca.server_context(folder, "pac.example"), "for another host"),
        (lambda ca, folder: ca.server_context(folder, "127.0.0.2"), "for another host"),
        (lambda ca, folder: create_authority(folder, "Otra").server_context(folder),
         "of an unknown issuer"),
        (lambda ca, folder: self_signed(folder), "self-signed"),
        (old_protocol, "no common protocol version"),
    ],
    ids=["expired", "not yet valid", "another host", "another address", "unknown issuer",
         "self-signed", "old protocol"],
)  # fmt: skip
@pytest.mark.parametrize("operation", [BALANCE, COUNT, CONTRACT], ids=repr)
def test_a_tls_error_states_its_reason(
    operation: Operation,
    make: Callable[[Authority, Path], ssl.SSLContext],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shorten_timeouts(monkeypatch)
    ca = create_authority(tmp_path)
    monkeypatch.setattr("timbres.pacs.http.tls_context", ca.client_context)
    with (
        serve(operation.fake_pac(), ssl_context=make(ca, tmp_path)) as url,
        expect_pac_error("pac-unreachable") as errors,
    ):
        operation(url, 5)
    assert reason in errors[0].detail
    assert "_ssl.c" not in errors[0].detail


def self_signed(folder: Path) -> ssl.SSLContext:
    authority = create_authority(folder, "127.0.0.1")
    path = folder / "self-signed.pem"
    path.write_bytes(
        authority.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + authority.certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def test_a_server_without_tls_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten_timeouts(monkeypatch)
    with serve(COUNT.fake_pac()) as url, expect_pac_error("pac-unreachable") as errors:
        COUNT(url.replace("http:", "https:"), 5)
    assert "does not speak TLS" in errors[0].detail
