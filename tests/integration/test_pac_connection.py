"""The connection under every client: what cannot be reached, trusted, or waited for."""

from __future__ import annotations

import errno
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from local.fake_pacs.server import serve
from tests.integration.pac_cases import (
    ATTEMPTS,
    BALANCE,
    CONTRACT,
    CONTRACTS,
    COUNT,
    CREDENTIALS,
    CSV,
    LIVE_WSDL,
    OPERATIONS,
    PAC_CASES,
    PDF,
    READS,
    RFC,
    RFC_N,
    Authority,
    Operation,
    PacServer,
    RawServer,
    calls,
    create_authority,
    every_pac,
    expect_pac_error,
    inject_fault,
    raw_server,
    shorten_timeouts,
)

import timbres.pacs.http
from timbres.deadline import Deadline
from timbres.domain.rfc import Rfc
from timbres.errors import PacError, TimbresError
from timbres.handlers.problem_details import status_code
from timbres.pacs.http import PacSession
from timbres.pacs.registry import create_client

# A PDF comes over the same line as a CSV.
every_act = pytest.mark.parametrize(
    "operation", [operation for operation in OPERATIONS if operation is not PDF], ids=repr
)
every_act_of_a_pool = pytest.mark.parametrize(
    "operation", [operation for operation in READS if operation is not PDF], ids=repr
)
# A WSDL is asked for without a body, the rest by POST.
every_post = pytest.mark.parametrize("operation", [BALANCE, CSV, COUNT, CONTRACT], ids=repr)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten_timeouts(monkeypatch)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return create_authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def trust(monkeypatch: pytest.MonkeyPatch, ours: Authority) -> None:
    """Let the clients trust our authority, and it alone."""
    context = ours.client_context()
    monkeypatch.setattr(timbres.pacs.http, "_tls_context", lambda: context)


# -------------------------------------------------------------------------- unreachable


def unreachable(operation: Operation, url: str) -> str:
    with expect_pac_error("pac-unreachable") as errors:
        operation(url, 0.9)
    error = errors[0]
    assert status_code(error.problem_type.code) == 503
    assert error.problem_type.retry_after
    assert error.problem_type.retryable
    assert not error.problem_type.may_have_taken_effect
    assert "could not be reached" in error.detail
    return error.detail


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@every_act
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_refused_port(operation: Operation, scheme: str) -> None:
    assert "refused" in unreachable(operation, f"{scheme}://127.0.0.1:{free_port()}").lower()


@every_act
def test_a_host_that_no_one_knows(operation: Operation, monkeypatch: pytest.MonkeyPatch) -> None:
    resolved = []

    def resolve(host: str, *_args: Any, **_kwargs: Any) -> Any:
        resolved.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert "pac.invalid" in unreachable(operation, "https://pac.invalid")
    assert resolved == ["pac.invalid"]


@pytest.mark.parametrize("host", ["a" * 64, "a..b", f"{'a' * 64}.example"])
def test_a_host_that_can_be_no_name(host: str) -> None:
    assert "address" in unreachable(BALANCE, f"https://{host}")
    unreachable(CONTRACT, f"https://{host}")


@every_act
def test_a_host_that_never_answers(operation: Operation, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = []

    def wait(_address: Any, timeout: float, **_kwargs: Any) -> Any:
        waited.append(timeout)
        raise TimeoutError("timed out")

    monkeypatch.setattr("urllib3.util.connection.create_connection", wait)
    assert "timed out" in unreachable(operation, "http://127.0.0.1:9")
    assert waited
    assert max(waited) <= 0.9


def test_a_network_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_way(*_args: Any, **_kwargs: Any) -> Any:
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr("urllib3.util.connection.create_connection", no_way)
    assert "unreachable" in unreachable(BALANCE, "http://127.0.0.1:9")


@every_act
def test_a_read_is_retried_within_the_deadline_and_a_contract_is_not(
    operation: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def resolve(host: str, *_args: Any, **_kwargs: Any) -> Any:
        tried.append(host)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with expect_pac_error("pac-unreachable"):
        operation("https://pac.invalid", 5)
    assert len(tried) == (1 if operation in CONTRACTS else ATTEMPTS)


# ----------------------------------------------------------------------------------- TLS


@every_act
def test_a_certificate_of_a_trusted_authority_serves(
    operation: Operation, trust: None, ours: Authority, tmp_path: Path
) -> None:
    sandbox = operation.fake_pac()
    with serve(sandbox, ssl_context=ours.server_context(tmp_path)) as url:
        assert operation(url, 5)
    assert calls(sandbox)[-1]["answered"]


@every_act
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            lambda ours, folder: create_authority(folder, "Otra").server_context(folder),
            "certificate",
        ),
        (lambda ours, folder: ours.server_context(folder, days_ago=30, days=10), "certificate"),
        (lambda ours, folder: ours.server_context(folder, days_ago=-1, days=10), "certificate"),
        (lambda ours, folder: ours.server_context(folder, "pac.example"), "certificate"),
        (lambda ours, folder: ours.server_context(folder, "127.0.0.2"), "certificate"),
    ],
    ids=["untrusted", "expired", "not yet valid", "another host", "another address"],
)
def test_a_certificate_that_is_not_to_be_trusted(
    operation: Operation,
    make: Callable[[Authority, Path], ssl.SSLContext],
    says: str,
    trust: None,
    ours: Authority,
    tmp_path: Path,
) -> None:
    sandbox = operation.fake_pac()
    with serve(sandbox, ssl_context=make(ours, tmp_path)) as url:
        assert says in unreachable(operation, url).lower()
    assert calls(sandbox) == []


def test_our_own_authority_is_not_trusted_by_itself(ours: Authority, tmp_path: Path) -> None:
    sandbox = BALANCE.fake_pac()
    with serve(sandbox, ssl_context=ours.server_context(tmp_path)) as url:
        unreachable(BALANCE, url)
    assert calls(sandbox) == []


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_the_environment_names_no_authority(
    name: str, ours: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, str(ours.path))
    timbres.pacs.http._tls_context.cache_clear()
    sandbox = BALANCE.fake_pac()
    with serve(sandbox, ssl_context=ours.server_context(tmp_path)) as url:
        unreachable(BALANCE, url)
    timbres.pacs.http._tls_context.cache_clear()
    assert calls(sandbox) == []


@every_act
def test_tls_to_a_port_without_it(operation: Operation) -> None:
    sandbox = operation.fake_pac()
    with serve(sandbox) as url:
        unreachable(operation, url.replace("http:", "https:"))
    assert calls(sandbox) == []


def hang_up(_odd: RawServer, _connection: socket.socket) -> None:
    """Close the connection at once."""


def reset(_odd: RawServer, connection: socket.socket) -> None:
    connection.recv(1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def say_nothing(odd: RawServer, connection: socket.socket) -> None:
    connection.settimeout(5)
    while piece := connection.recv(65536):
        odd.received += piece


@every_post
@pytest.mark.parametrize("behave", [hang_up, reset, say_nothing])
def test_a_handshake_that_fails_sends_nothing_of_ours(
    operation: Operation,
    behave: Callable[[RawServer, socket.socket], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("timbres.pacs.http.CONNECT_SECONDS", 0.3)
    with raw_server(behave, "https") as odd:
        unreachable(operation, odd.url)
        assert odd.accepted >= 1
        assert not any(credential.encode() in odd.received for credential in CREDENTIALS)


@pytest.mark.parametrize("behave", [hang_up, reset, say_nothing])
def test_a_wsdl_that_a_handshake_keeps_away_leaves_no_contract_in_doubt(
    behave: Callable[[RawServer, socket.socket], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timbres.pacs.http.CONNECT_SECONDS", 0.3)
    with raw_server(behave, "https") as odd:
        with pytest.raises(PacError) as caught:
            CONTRACT.call(create_client(LIVE_WSDL.account(odd.url)), Deadline(0.9))
        assert odd.accepted >= 1
    assert caught.value.problem_type.code in {"pac-unreachable", "pac-timeout"}
    assert not caught.value.problem_type.may_have_taken_effect


def reset_the_line(_odd: RawServer, _tls: ssl.SSLSocket, plain: socket.socket) -> None:
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def end_the_line(_odd: RawServer, _tls: ssl.SSLSocket, _plain: socket.socket) -> None:
    """End the connection without TLS's own goodbye."""


def send_no_tls(_odd: RawServer, _tls: ssl.SSLSocket, plain: socket.socket) -> None:
    plain.sendall(b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n")


def alter_a_record(odd: RawServer, tls: ssl.SSLSocket, plain: socket.socket) -> None:
    plain.sendall(b"\x17\x03\x03\x00\x40" + b"x" * 64)
    odd.stopped.wait(0.2)


@every_post
@pytest.mark.parametrize("then", [reset_the_line, end_the_line, send_no_tls, alter_a_record])
def test_tls_that_breaks_after_the_request_leaves_it_in_doubt(
    operation: Operation,
    then: Callable[[RawServer, ssl.SSLSocket, socket.socket], None],
    trust: None,
    ours: Authority,
    tmp_path: Path,
) -> None:
    context = ours.server_context(tmp_path)

    def behave(odd: RawServer, connection: socket.socket) -> None:
        # A copy of the socket, to go on below TLS.
        with connection.dup() as plain, context.wrap_socket(connection, server_side=True) as tls:
            odd.read_request(tls)
            then(odd, tls, plain)

    with raw_server(behave, "https") as odd:
        timed_out(operation, odd.url)
        assert odd.received.count(b"POST ") == 1


def test_a_certificate_of_ours_that_is_missed_too_late_leaves_a_contract_in_doubt(
    trust: None, ours: Authority, tmp_path: Path
) -> None:
    """With TLS 1.3 the server says so when the request is on its way."""
    context = ours.server_context(tmp_path)
    context.load_verify_locations(ours.path)
    context.verify_mode = ssl.CERT_REQUIRED

    def behave(odd: RawServer, connection: socket.socket) -> None:
        received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(received, sent, server_side=True)
        for _ in range(2):
            received.write(connection.recv(65536))
            with suppress(ssl.SSLError):
                tls.do_handshake()
            connection.sendall(sent.read())
            # With the first answer the handshake is over for the client, and it sends its request.
            odd.stopped.wait(0.3)
        connection.settimeout(0.5)
        # Not closed with the request unread: that would be a reset.
        while connection.recv(65536):
            pass

    with raw_server(behave, "https") as odd:
        timed_out(CONTRACT, odd.url, 3)


def test_the_authorities_are_not_loaded_for_a_connection(
    trust: None, ours: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []
    monkeypatch.setattr(
        ssl.SSLContext, "load_verify_locations", lambda *args, **_: loaded.append(args)
    )
    with serve(COUNT.fake_pac(), ssl_context=ours.server_context(tmp_path)) as url:
        assert COUNT(url, 5)
    assert loaded == []


# ------------------------------------------------------------- answers that do not end well


def timed_out(operation: Operation, url: str, seconds: float = 0.8) -> None:
    started = time.monotonic()
    with expect_pac_error("pac-timeout") as errors:
        operation(url, seconds)
    assert status_code(errors[0].problem_type.code) == 504
    assert errors[0].problem_type.may_have_taken_effect
    # Not a matter of speed: these answers would go on without end.
    assert time.monotonic() - started < seconds + 10


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 1000\r\n\r\n"


def drip(content: bytes, pause: float = 0.05) -> Callable[[RawServer, socket.socket], None]:
    def behave(odd: RawServer, connection: socket.socket) -> None:
        odd.read_request(connection)
        for byte in content:
            if odd.stopped.wait(pause):
                return
            connection.sendall(bytes([byte]))

    return behave


@pytest.mark.parametrize(
    "content",
    [
        b"HTTP/1.1 200 OK\r\nX-A",
        b"HTTP/1.1 100 Continue\r\n\r\nHTT",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-A: b",
    ],
    ids=["head", "continue", "trailer"],
)
def test_a_head_is_waited_for_from_byte_to_byte(content: bytes) -> None:
    """As a whole it may drip past the deadline; with nothing more it ends."""

    def behave(odd: RawServer, connection: socket.socket) -> None:
        drip(content)(odd, connection)
        odd.stopped.wait(5)

    with raw_server(behave) as odd:
        timed_out(CONTRACT, odd.url, 0.6)


def test_an_answer_whose_head_dripped_past_the_deadline_is_none() -> None:
    def behave(odd: RawServer, connection: socket.socket) -> None:
        drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n ", 0.03)(odd, connection)

    with raw_server(behave) as odd:
        timed_out(CONTRACT, odd.url, 0.6)


@pytest.mark.parametrize(
    ("operation", "chunked"), [(BALANCE, True), (CSV, False), (CONTRACT, False)]
)
def test_a_body_that_drips_ends_at_the_deadline(operation: Operation, chunked: bool) -> None:
    head = HEAD.replace(b"Content-Length: 1000", b"Transfer-Encoding: chunked")

    def behave(odd: RawServer, connection: socket.socket) -> None:
        odd.read_request(connection)
        connection.sendall(head if chunked else HEAD)
        while not odd.stopped.wait(0.05):
            connection.sendall(b"1\r\n \r\n" if chunked else b" ")

    with raw_server(behave) as odd:
        timed_out(operation, odd.url)


@pytest.mark.parametrize("operation", [BALANCE, CONTRACT], ids=repr)
def test_a_body_that_stops_short_of_the_deadline_ends_at_it(operation: Operation) -> None:
    def behave(odd: RawServer, connection: socket.socket) -> None:
        odd.read_request(connection)
        odd.stopped.wait(0.9)
        connection.sendall(HEAD + b" ")
        odd.stopped.wait(5)

    with raw_server(behave) as odd:
        timed_out(operation, odd.url, 1.2)


@every_act
def test_silence_ends_at_the_deadline(operation: Operation) -> None:
    with raw_server(say_nothing) as odd:
        timed_out(operation, odd.url)


@every_act
@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n",
    ],
    ids=range(7),
)
def test_an_answer_cut_off_is_a_timeout(operation: Operation, answer: bytes) -> None:
    def behave(odd: RawServer, connection: socket.socket) -> None:
        odd.read_request(connection)
        connection.sendall(answer)

    with raw_server(behave) as odd:
        with expect_pac_error("pac-timeout") as errors:
            operation(odd.url, 0.9)
        assert errors[0].problem_type.may_have_taken_effect
        assert odd.accepted == 1


@every_act
def test_a_head_cut_off_is_no_answer(operation: Operation) -> None:
    def behave(odd: RawServer, connection: socket.socket) -> None:
        odd.read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Ty")

    with raw_server(behave) as odd, expect_pac_error("pac-protocol-error") as errors:
        operation(odd.url, 0.9)
    assert errors[0].problem_type.may_have_taken_effect


@every_act
@pytest.mark.parametrize(
    "answer",
    [
        b"220 mail.example ESMTP\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 99 Low\r\n\r\n",
        b"hola\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: " + b"b" * 70_000 + b"\r\n\r\n",
    ],
    ids=range(8),
)
def test_what_is_no_http_is_a_protocol_error(operation: Operation, answer: bytes) -> None:
    def behave(odd: RawServer, connection: socket.socket) -> None:
        odd.read_request(connection)
        connection.sendall(answer)
        odd.stopped.wait(2)

    with raw_server(behave) as odd:
        with expect_pac_error("pac-protocol-error") as errors:
            operation(odd.url, 0.9)
        assert "not valid HTTP" in errors[0].detail
        assert odd.accepted == 1


@pytest.mark.parametrize("answered", [0, 1])
@pytest.mark.parametrize("end", [hang_up, reset])
def test_no_request_is_sent_twice_by_the_library(
    answered: int, end: Callable[[RawServer, socket.socket], None]
) -> None:
    """Not over a new connection, and not over one that was kept alive."""

    def behave(odd: RawServer, connection: socket.socket) -> None:
        for _ in range(answered):
            odd.read_request(connection)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        odd.read_request(connection)
        connection.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", end is reset, 0)
        )

    with raw_server(behave) as odd, PacSession("pac") as session:
        for _ in range(answered):
            session.fetch("POST", odd.url, data=b"1", deadline=Deadline(5)).file.close()
        with expect_pac_error("pac-timeout") as errors:
            session.fetch("POST", odd.url, data=b"2", deadline=Deadline(5))
        assert errors[0].problem_type.may_have_taken_effect
        assert odd.accepted == 1
        assert odd.received.count(b"POST ") == answered + 1


def test_an_answer_without_a_length_ends_with_the_connection() -> None:
    def behave(odd: RawServer, connection: socket.socket) -> None:
        odd.read_request(connection)
        connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: text/csv\r\n\r\nCuenta,a\r\n")

    with raw_server(behave) as odd:
        assert CSV(odd.url) == b"Cuenta,a\r\n"


# --------------------------------------------------------- the environment, old connections


@pytest.fixture
def trap() -> Iterator[RawServer]:
    """A server that nobody should come to."""
    with raw_server(say_nothing) as odd:
        yield odd


@every_act
def test_proxies_of_the_environment_are_ignored(
    operation: Operation, trap: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, trap.url)
        monkeypatch.setenv(name.upper(), trap.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    sandbox = operation.fake_pac()
    with serve(sandbox) as url:
        assert operation(url, 5)
    assert trap.accepted == 0


@every_act
def test_a_netrc_is_ignored(
    operation: Operation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    pac_server = PacServer()
    pac_server.serve_app(operation.fake_pac())
    with serve(pac_server) as url:
        assert operation(url, 5)
    assert all("HTTP_AUTHORIZATION" not in environ for environ in pac_server.requests)


@every_act
def test_cookies_are_not_kept(operation: Operation) -> None:
    pac_server = PacServer()
    sandbox = operation.fake_pac()

    def setting(environ: Any, start_response: Any) -> Any:
        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            return start_response(status, [*headers, ("Set-Cookie", "sesion=1; Path=/")], *rest)

        return sandbox(environ, start)

    pac_server.serve_app(setting)
    with serve(pac_server) as url:
        client = create_client(operation.account(url))
        for _ in range(2):
            operation.call(client, Deadline(5))
        with PacSession("pac") as session:
            session.fetch("GET", url, deadline=Deadline(5)).file.close()
            assert not session.cookies
    assert len(pac_server.requests) >= 2
    assert all("HTTP_COOKIE" not in environ for environ in pac_server.requests)


@every_act_of_a_pool
def test_calls_share_one_connection_and_a_cut_one_is_replaced(operation: Operation) -> None:
    pac_server = PacServer()
    sandbox = operation.fake_pac()
    pac_server.serve_app(sandbox)
    with serve(pac_server) as url:
        client = create_client(operation.account(url))
        for _ in range(3):
            operation.call(client, Deadline(5))
        if operation.meanings:
            refusals = {code for code, meaning in operation.meanings.items() if not meaning.retry}
            inject_fault(sandbox, operation.operation, "code", code=min(refusals), times=1)
            with pytest.raises(TimbresError):
                operation.call(client, Deadline(5))
        assert len(pac_server.connections) == 1
        inject_fault(sandbox, calls(sandbox)[-1]["operation"], "cut-after", times=1)
        assert operation.call(client, Deadline(5))
        assert len(pac_server.connections) == 2


@pytest.mark.parametrize("operation", CONTRACTS, ids=repr)
def test_a_contract_has_a_connection_of_its_own(operation: Operation) -> None:
    """One of the pool may have died unnoticed, and would leave the contract in doubt."""
    pac_server = PacServer()
    pac_server.serve_app(operation.fake_pac())
    read = next(read for read in READS if read.pac == operation.pac)
    with serve(pac_server) as url:
        client = create_client(operation.account(url))
        for do in (read.call, operation.call, operation.call, read.call):
            assert do(client, Deadline(5))
    ports = [environ["REMOTE_PORT"] for environ in pac_server.requests]
    assert ports[0] == ports[3]
    assert len(set(ports)) == 3


@every_act
def test_a_connection_that_the_pac_closed_meanwhile_is_opened_anew(operation: Operation) -> None:
    """As a warm function finds it after a pause: nothing of this is the user's to see."""
    sandbox = operation.fake_pac()
    port = free_port()
    with serve(sandbox, port=port) as url:
        client = create_client(operation.account(url))
        assert operation.call(client, Deadline(5))
    time.sleep(0.05)
    before = len(calls(sandbox))
    with serve(sandbox, port=port):
        assert operation.call(client, Deadline(5))
    assert {call["outcome"] for call in calls(sandbox)} == {"200"}
    assert len(calls(sandbox)) == before + 1


@every_pac
def test_threads_share_a_client_and_each_gets_its_own_answer(pac: str) -> None:
    sandbox = PAC_CASES[pac].fake_pac()
    found: dict[Rfc, list[Any]] = {RFC: [], RFC_N: [], Rfc("ACM010203XY9"): []}
    with serve(sandbox) as url:
        client = create_client(PAC_CASES[pac].account(url))

        def ask(rfc: Rfc, times: int) -> None:
            for _ in range(times):
                found[rfc].append(PAC_CASES[pac].read_issuer(client, rfc, Deadline(10)))

        threads = [threading.Thread(target=ask, args=(rfc, 5)) for rfc in found]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(calls(sandbox)) == 15
        for rfc, answers in found.items():
            ask(rfc, 1)
            assert answers == [answers[-1]] * 6
    first, second, third = (answers[0] for answers in found.values())
    assert first != second != third != first
