"""Connections to PACs: unreachable hosts, untrusted certificates, deadlines."""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from local.fake_pacs.server import serve
from tests.support.further_cases import balance
from tests.support.pac_cases import (
    BALANCE,
    CONTRACT,
    CONTRACTS,
    COUNT,
    CREDENTIALS,
    CSV,
    OPERATIONS,
    PAC_CASES,
    PDF,
    READS,
    RFC,
    RFC_N,
    Operation,
    calls,
    every_pac,
    expect_pac_error,
    inject_fault,
    new_client,
)
from tests.support.pac_servers import (
    Certificate,
    PacServer,
    RawServer,
    create_certificate,
    raw_server,
)

import timbres.pacs.http
from timbres.deadline import Deadline
from timbres.domain.rfc import Rfc
from timbres.errors import TimbresError
from timbres.pacs.http import PacSession

Behavior = Callable[[RawServer, socket.socket], None]
MakeContext = Callable[[Path, Certificate], ssl.SSLContext | None]
# A PDF uses the same connection as a CSV.
every_act = pytest.mark.parametrize(
    "operation", [operation for operation in OPERATIONS if operation is not PDF], ids=repr
)
# A WSDL is a GET; the other requests are POST.
every_post = pytest.mark.parametrize("operation", [BALANCE, CSV, COUNT, CONTRACT], ids=repr)


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return create_certificate(tmp_path_factory.mktemp("ca"), "ca.example")


@pytest.fixture
def server_context(ca: Certificate, tmp_path: Path) -> ssl.SSLContext:
    """A server with a certificate of the test authority."""
    return create_certificate(tmp_path, issuer=ca).server_context()


@pytest.fixture
def trust(monkeypatch: pytest.MonkeyPatch, ca: Certificate) -> None:
    """Let the clients trust only the test authority."""
    context = ssl.create_default_context(cafile=str(ca.path))
    monkeypatch.setattr(timbres.pacs.http, "tls_context", lambda: context)


def unreachable(operation: Operation, url: str, **limits: float) -> str:
    with expect_pac_error("pac-unreachable") as errors:
        operation(url, 0.9, **limits)
    assert not errors[0].problem_type.may_have_taken_effect
    assert "could not be reached" in errors[0].detail
    return errors[0].detail


def timed_out(operation: Operation, url: str, seconds: float) -> None:
    with expect_pac_error("pac-timeout") as errors:
        operation(url, seconds, attempts=1)
    assert errors[0].problem_type.may_have_taken_effect


# -------------------------------------------------------------------------- unreachable


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@every_act
@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("http://127.0.0.1:{port}", "Connection refused"),
        ("https://127.0.0.1:{port}", "Connection refused"),
        *((f"https://{host}", "its address is not valid")
          for host in ("a" * 64, "a..b", f"{'a' * 64}.example")),
    ],
)  # fmt: skip
def test_an_address_without_a_server(operation: Operation, address: str, says: str) -> None:
    assert says in unreachable(operation, address.format(port=free_port()))


@every_act
@pytest.mark.parametrize(("connect_seconds", "limit"), [(0.2, 0.2), (3, 0.9)])
def test_a_host_that_never_responds(
    operation: Operation, connect_seconds: float, limit: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = []

    def wait(_address: Any, timeout: float, **_kwargs: Any) -> Any:
        waited.append(timeout)
        raise TimeoutError("timed out")

    monkeypatch.setattr("urllib3.util.connection.create_connection", wait)
    url = "http://127.0.0.1:9"
    assert "timed out" in unreachable(operation, url, connect_seconds=connect_seconds)
    assert 0 < max(waited) <= limit


# ----------------------------------------------------------------------------------- TLS


@every_act
def test_a_certificate_of_a_trusted_authority_is_accepted(
    operation: Operation,
    trust: None,
    server_context: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded = []
    monkeypatch.setattr(
        ssl.SSLContext, "load_verify_locations", lambda *args, **_: loaded.append(args)
    )
    with serve(operation.fake_pac(), ssl_context=server_context) as url:
        assert operation(url, 5)
    # Loading the authorities takes longer than a handshake.
    assert loaded == []


def old_protocol(folder: Path, ca: Certificate) -> ssl.SSLContext:
    context = create_certificate(folder, issuer=ca).server_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


def other_authority(folder: Path, _ca: Certificate) -> ssl.SSLContext:
    other = create_certificate(folder, "other.example")
    return create_certificate(folder, issuer=other).server_context()


def certificate(issued: bool = True, **options: Any) -> MakeContext:
    """Return a server whose certificate the authority issued, or that is self-signed."""
    return lambda folder, ca: create_certificate(
        folder, issuer=ca if issued else None, **options
    ).server_context()


UNTRUSTED: dict[str, MakeContext] = {
    "has expired": certificate(days_ago=30, days=10),
    "is not valid yet": certificate(days_ago=-1),
    "is for another host": certificate(name="pac.example"),
    "for another host": certificate(name="127.0.0.2"),
    "of an unknown issuer": other_authority,
    "self-signed": certificate(issued=False),
    "no common protocol version": old_protocol,
    "does not speak TLS": lambda *_: None,
}


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        *((BALANCE, reason) for reason in UNTRUSTED),
        *((operation, "self-signed") for operation in OPERATIONS if operation is not BALANCE),
    ],
)
def test_a_tls_error_states_its_reason(
    operation: Operation, reason: str, trust: None, ca: Certificate, tmp_path: Path
) -> None:
    fake_pac = operation.fake_pac()
    with serve(fake_pac, ssl_context=UNTRUSTED[reason](tmp_path, ca)) as url:
        detail = unreachable(operation, url.replace("http:", "https:"))

    assert reason in detail
    assert "_ssl.c" not in detail
    assert calls(fake_pac) == []


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_certificate_variables_of_the_environment_are_ignored(
    name: str, ca: Certificate, server_context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, str(ca.path))
    timbres.pacs.http.tls_context.cache_clear()
    with serve(BALANCE.fake_pac(), ssl_context=server_context) as url:
        unreachable(BALANCE, url)
    timbres.pacs.http.tls_context.cache_clear()


def hang_up(_server: RawServer, _connection: socket.socket) -> None:
    """Close the connection at once."""


def reset(_server: RawServer, connection: socket.socket) -> None:
    connection.recv(1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def stay_silent(server: RawServer, connection: socket.socket) -> None:
    connection.settimeout(5)
    while piece := connection.recv(65536):
        server.received += piece


@every_post
@pytest.mark.parametrize("behave", [hang_up, reset, stay_silent])
def test_a_failed_handshake_sends_no_credentials(operation: Operation, behave: Behavior) -> None:
    with raw_server(behave, "https") as server:
        unreachable(operation, server.url, connect_seconds=0.1)
        assert server.accepted >= 1
        assert not any(credential.encode() in server.received for credential in CREDENTIALS)


def reset_plain(_server: RawServer, plain: socket.socket) -> None:
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def send_plain_text(_server: RawServer, plain: socket.socket) -> None:
    plain.sendall(b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n")


def alter_a_record(server: RawServer, plain: socket.socket) -> None:
    plain.sendall(b"\x17\x03\x03\x00\x40" + b"x" * 64)
    server.stopped.wait(0.2)


@every_post
# hang_up: without a TLS close_notify.
@pytest.mark.parametrize("then", [reset_plain, hang_up, send_plain_text, alter_a_record])
def test_tls_that_breaks_after_the_request_leaves_it_in_doubt(
    operation: Operation, then: Behavior, trust: None, server_context: ssl.SSLContext
) -> None:
    def behave(server: RawServer, connection: socket.socket) -> None:
        # A copy of the socket, to write below TLS.
        with (
            connection.dup() as plain,
            server_context.wrap_socket(connection, server_side=True) as tls,
        ):
            server.read_request(tls)
            then(server, plain)

    with raw_server(behave, "https") as server:
        timed_out(operation, server.url, 5)
        assert server.received.count(b"POST ") == 1


# --------------------------------------------------------------------- incomplete responses

OK, CHUNKED = b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def respond(content: bytes, drip: bytes = b"", wait: float = 0) -> Behavior:
    """Return a server that sends ``content``, then ``drip`` byte by byte, and waits."""

    def behave(server: RawServer, connection: socket.socket) -> None:
        server.read_request(connection)
        connection.sendall(content)
        for byte in drip:
            if server.stopped.wait(0.01):
                return
            connection.sendall(bytes([byte]))
        server.stopped.wait(wait)

    return behave


# Valid responses of more than a second.
CONTENT = balance().encode()
LENGTH = b"Content-Length: %d\r\n\r\n" % len(CONTENT)
DRIPS = {
    "head": respond(b"", OK + b"X-A: %s\r\n" % (b"b" * 60) + LENGTH + CONTENT),
    "body": respond(OK + LENGTH, CONTENT),
    "chunks": respond(CHUNKED, b"".join(b"1\r\n%c\r\n" % byte for byte in CONTENT) + b"0\r\n\r\n"),
}


@pytest.mark.parametrize("part", DRIPS)
def test_a_response_that_drips_ends_at_the_deadline(part: str) -> None:
    with raw_server(DRIPS[part]) as server:
        timed_out(BALANCE, server.url, 0.6)


TRUNCATED = [
    b"",
    OK + b"Content-Length: 5\r\n\r\n",
    OK + b"Content-Length: 5\r\n\r\nabc",
    CHUNKED,
    CHUNKED + b"5\r\nabc",
    CHUNKED + b"3\r\nabc\r\n",
    CHUNKED + b"zz\r\nabc\r\n",
    CHUNKED + b"F" * 60_000 + b"\r\nx",
    CHUNKED + b"1" * 70_000,
    CHUNKED + b"-1\r\nx",
    CHUNKED + b"5;" + b"x" * 70_000,
    CHUNKED + b"1_0\r\nx",
]
NOT_HTTP = [
    b"220 mail.example ESMTP\r\n",
    b"SSH-2.0-OpenSSH_9.6\r\n",
    b"\x15\x03\x01\x00\x02\x02\x46\r\n",
    b"HTTP/1.1 abc OK\r\n\r\n",
    b"HTTP/1.1 99 Low\r\n\r\n",
    b"hola\r\n\r\n",
    OK + b"X-A: b\r\n" * 200 + b"\r\n",
    OK + b"X-A: " + b"b" * 70_000 + b"\r\n\r\n",
]
BROKEN = [
    *((response, "pac-timeout", "in time", 0) for response in TRUNCATED),
    (OK + b"Content-Ty", "pac-protocol-error", "", 0),
    *((response, "pac-protocol-error", "not valid HTTP", 2) for response in NOT_HTTP),
]


@every_act
@pytest.mark.parametrize(("response", "code", "says", "seconds"), BROKEN, ids=range(len(BROKEN)))
def test_a_truncated_or_invalid_response_is_an_error(
    operation: Operation, response: bytes, code: str, says: str, seconds: float
) -> None:
    with raw_server(respond(response, wait=seconds)) as server:
        with expect_pac_error(code) as errors:
            operation(server.url, 5, attempts=1)
        assert says in errors[0].detail
        assert errors[0].problem_type.may_have_taken_effect
        assert server.accepted == 1


@pytest.mark.parametrize("with_reset", [False, True])
def test_no_request_is_sent_twice_over_a_connection_that_was_kept_alive(with_reset: bool) -> None:
    def behave(server: RawServer, connection: socket.socket) -> None:
        server.read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        server.read_request(connection)
        linger = struct.pack("ii", with_reset, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    with raw_server(behave) as server, PacSession("pac") as session:
        session.fetch("POST", server.url, data=b"1", deadline=Deadline(5)).file.close()
        with expect_pac_error("pac-timeout") as errors:
            session.fetch("POST", server.url, data=b"2", deadline=Deadline(5))
        assert errors[0].problem_type.may_have_taken_effect
        assert server.accepted == 1
        assert server.received.count(b"POST ") == 2


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("30", 30), ("120", 60), ("0", 1), ("-5", 1), ("1.2", 2), ("1e9", 60), ("", None),
     ("pronto", None), ("nan", None), ("inf", None), ("Wed, 21 Oct 2099 07:28:00 GMT", 60),
     ("Wed, 21 Oct 2015 07:28:00 GMT", 1)],
)  # fmt: skip
def test_a_retry_after_is_at_most_a_minute(value: str, seconds: int | None) -> None:
    response = f"HTTP/1.1 429 X\r\nRetry-After: {value}\r\nContent-Length: 0\r\n\r\n"
    with raw_server(respond(response.encode())) as server:
        fetched = PacSession("pac").fetch("GET", server.url, deadline=Deadline(5))
    assert fetched.retry_after == seconds


# --------------------------------------------------------- the environment, old connections


@pytest.fixture
def hostile_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Proxies and a netrc; no proxy receives a connection."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with raw_server(stay_silent) as trap:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, trap.url)
            monkeypatch.setenv(name.upper(), trap.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        yield
        assert trap.accepted == 0


@every_act
def test_proxies_netrc_and_cookies_are_ignored(
    operation: Operation, hostile_environment: None
) -> None:
    fake_pac = operation.fake_pac()

    def set_cookie(environ: Any, start_response: Any) -> Any:
        def start(status: str, headers: list[tuple[str, str]], *args: Any) -> Any:
            return start_response(status, [*headers, ("Set-Cookie", "sesion=1; Path=/")], *args)

        return fake_pac(environ, start)

    pac_server = PacServer(set_cookie)
    with serve(pac_server) as url:
        client = new_client(operation.account(url))
        for _ in range(2):
            assert operation.call(client, Deadline(5))
        with PacSession("pac") as session:
            session.fetch("GET", url, deadline=Deadline(5)).file.close()
            assert not session.cookies
    assert len(pac_server.requests) >= 3
    sent = {name for environ in pac_server.requests for name in environ}
    assert not sent & {"HTTP_AUTHORIZATION", "HTTP_COOKIE"}


@pytest.mark.parametrize(
    "operation", [operation for operation in READS if operation is not PDF], ids=repr
)
def test_calls_share_one_connection_and_a_broken_one_is_replaced(operation: Operation) -> None:
    fake_pac = operation.fake_pac()
    pac_server = PacServer(fake_pac)
    with serve(pac_server) as url:
        client = new_client(operation.account(url))
        for _ in range(3):
            operation.call(client, Deadline(5))
        if operation.meanings:
            refusals = {code for code, meaning in operation.meanings.items() if not meaning.retry}
            inject_fault(fake_pac, operation.operation, "code", code=min(refusals), times=1)
            with pytest.raises(TimbresError):
                operation.call(client, Deadline(5))
        assert len(pac_server.connections) == 1
        inject_fault(fake_pac, calls(fake_pac)[-1]["operation"], "cut-after", times=1)
        assert operation.call(client, Deadline(5))
        assert len(pac_server.connections) == 2


@pytest.mark.parametrize("operation", CONTRACTS, ids=repr)
def test_a_contract_has_its_own_connection(operation: Operation) -> None:
    """A pooled connection may be dead, which would leave the contract in doubt."""
    pac_server = PacServer(operation.fake_pac())
    read = next(read for read in READS if read.pac == operation.pac)
    with serve(pac_server) as url:
        client = new_client(operation.account(url))
        for do in (read.call, operation.call, operation.call, read.call):
            assert do(client, Deadline(5))
    ports = [environ["REMOTE_PORT"] for environ in pac_server.requests]

    assert ports[0] == ports[3]
    assert len(set(ports)) == 3


@pytest.mark.parametrize("operation", [BALANCE, COUNT], ids=repr)
def test_a_connection_closed_by_the_pac_is_reopened(operation: Operation) -> None:
    """A warm function finds such a connection after a pause; the caller sees no error."""
    fake_pac = operation.fake_pac()
    port = free_port()
    with serve(fake_pac, port=port) as url:
        client = new_client(operation.account(url))
        assert operation.call(client, Deadline(5))
    time.sleep(0.05)
    before = len(calls(fake_pac))
    with serve(fake_pac, port=port):
        assert operation.call(client, Deadline(5))

    assert [call["outcome"] for call in calls(fake_pac)] == ["200"] * (before + 1)


@every_pac
def test_threads_share_a_client_and_each_gets_its_own_response(pac: str) -> None:
    case = PAC_CASES[pac]
    rfcs = [RFC, RFC_N, Rfc("ACM010203XY9")] * 5
    with serve(case.fake_pac()) as url, ThreadPoolExecutor(3) as pool:
        client = new_client(case.account(url))

        def read(rfc: Rfc) -> Any:
            return case.read_issuer(client, rfc, Deadline(10))

        received = list(pool.map(read, rfcs))
        assert received == [read(rfc) for rfc in rfcs]
    first, second, third, *_ = received
    assert first != second != third != first
