"""The sandboxes over real loopback sockets: what only a connection can show."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from local.fake_pacs.fake_data import FakePacState, demo_state
from local.fake_pacs.reachcore import PATH, FakeReachcore
from local.fake_pacs.server import serve
from local.fake_pacs.solucion_factible import PATHS, FakeSolucionFactible
from werkzeug.serving import make_ssl_devcert

TODAY = date(2026, 11, 19)
KEY = "acme-key-0001"
SERVICE = "http://utilerias.timbrado.ws.cfdi.solucionfactible.com"


@pytest.fixture
def books() -> FakePacState:
    return demo_state(
        TODAY, acme_api_key=KEY, norte_api_key="n", username="pruebas", password="secreta"
    )


@pytest.fixture
def reachcore(books: FakePacState) -> Iterator[str]:
    with serve(FakeReachcore(books.reachcore)) as url:
        yield url


@pytest.fixture
def factible(books: FakePacState) -> Iterator[str]:
    with serve(FakeSolucionFactible(books.solucion_factible)) as url:
        yield url


@contextmanager
def connect(url: str) -> Iterator[http.client.HTTPConnection]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=5)
    try:
        yield connection
    finally:
        connection.close()


def ask_once(url: str) -> bytes:
    with connect(url) as connection:
        return ask(connection).read()


def ask(connection: http.client.HTTPConnection, path: str = "") -> http.client.HTTPResponse:
    headers = {"RCApiKey": KEY, "Content-Type": "application/json"}
    connection.request("POST", PATH + path, json.dumps({"MesConsulta": "2026-10"}), headers)
    return connection.getresponse()


def buy(url: str, timbres: int = 500, timeout: float = 5) -> bytes:
    return soap(url, "agregarContrato", f"<u:timbres>{timbres}</u:timbres>", timeout)


def count(url: str) -> bytes:
    return soap(url, "getTimbres")


def soap(url: str, operation: str, more: str = "", timeout: float = 5) -> bytes:
    body = (
        '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body>'
        f'<u:{operation} xmlns:u="{SERVICE}"><u:usuario>pruebas</u:usuario>'
        "<u:password>secreta</u:password><u:rfcEmisor>A&amp;D061009TY8</u:rfcEmisor>"
        f"{more}</u:{operation}></e:Body></e:Envelope>"
    )
    headers = {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": f"urn:{operation}"}
    response = requests.post(url + PATHS[0], data=body, headers=headers, timeout=timeout)
    assert response.status_code == 200
    return response.content


def set_fault(url: str, operation: str, fault: str, **more: Any) -> None:
    payload = {"operation": operation, "fault": fault, **more}
    requests.post(f"{url}/_control/faults", json=payload, timeout=5).raise_for_status()


def state(url: str, what: str) -> Any:
    return requests.get(f"{url}/_control/{what}", timeout=5).json()[
        "accounts" if what == "state" else what
    ]


def purchases(url: str) -> Any:
    return state(url, "state")[0]["contracts"]


def contracted(url: str) -> int:
    issuers = state(url, "state")[0]["issuers"]
    return next(int(one["contratados"]) for one in issuers if one["rfc"] == "A&D061009TY8")


def eventually(check: Any) -> None:
    deadline = time.monotonic() + 5
    while not check():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


# ------------------------------------------------------------------------- connections


def test_one_connection_serves_many_requests(reachcore: str) -> None:
    with connect(reachcore) as connection:
        connection.connect()
        first = connection.sock
        for path, status in (
            ("", 200),
            ("/csv", 200),
            ("/xlsx", 400),
            ("/no/such", 404),
            ("", 200),
        ):
            response = ask(connection, path)
            assert response.status == status
            assert response.version == 11
            assert response.read()
            chunked = response.headers["Transfer-Encoding"] == "chunked"
            assert chunked != ("Content-Length" in response.headers)
            assert connection.sock is first
        connection.request("GET", PATH)
        assert connection.getresponse().read()
        connection.request("HEAD", "/_control/state")
        assert connection.getresponse().read() == b""
        connection.request("DELETE", "/_control/faults")
        assert connection.getresponse().status == 204
        assert connection.sock is first


def test_requests_in_one_packet_are_answered_in_turn(reachcore: str) -> None:
    body = json.dumps({"MesConsulta": "2026-10"})
    request = (
        f"POST {PATH} HTTP/1.1\r\nHost: x\r\nRCApiKey: {KEY}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    )
    last = request.replace("Host: x", "Host: x\r\nConnection: close")
    parts = urlsplit(reachcore)
    with socket.create_connection((parts.hostname, parts.port), timeout=5) as connection:
        connection.sendall((request * 2 + last).encode())
        with connection.makefile("rb") as stream:
            answer = stream.read()
    assert answer.count(b"HTTP/1.1 200") == 3
    assert answer.count(b'"TipoConsumo"') == 3


def test_a_chunked_request_is_read(reachcore: str) -> None:
    def body() -> Iterator[bytes]:
        yield b'{"MesConsulta"'
        yield b': "2026-10"}'

    headers = {"RCApiKey": KEY, "Content-Type": "application/json"}
    with requests.Session() as session:
        for _ in range(2):
            answer = session.post(reachcore + PATH, data=body(), headers=headers, timeout=5)
            assert answer.json()["Transacciones"] > 0


def test_a_client_of_http_1_0_gets_no_chunks(reachcore: str) -> None:
    body = b'{"MesConsulta": "2026-10"}'
    parts = urlsplit(reachcore)
    with socket.create_connection((parts.hostname, parts.port), timeout=5) as connection:
        connection.sendall(
            f"POST {PATH} HTTP/1.0\r\nRCApiKey: {KEY}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        with connection.makefile("rb") as stream:
            head, _, answer = stream.read().partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert json.loads(answer)["TipoConsumo"] == "Postpago"


@pytest.mark.parametrize(("length", "status"), [("much", 400), ("-1", 413), ("99999999", 413)])
def test_an_unreadable_request_is_refused(reachcore: str, length: str, status: int) -> None:
    with connect(reachcore) as connection:
        connection.putrequest("POST", PATH)
        connection.putheader("Content-Length", length)
        connection.endheaders()
        assert connection.getresponse().status == status


def test_a_large_csv_arrives_whole(reachcore: str) -> None:
    bulk = {"account": "Acme Timbrado", "month": "2026-10", "rows": 50_000}
    requests.post(f"{reachcore}/_control/bulk", json=bulk, timeout=5).raise_for_status()
    with connect(reachcore) as connection:
        response = ask(connection, "/csv")
        content = response.read()
        assert int(response.headers["Content-Length"]) == len(content)
        connection.request("GET", "/_control/served/Acme%20Timbrado/2026-10/csv")
        assert connection.getresponse().read() == content


def test_both_sandboxes_live_in_one_process(reachcore: str, factible: str) -> None:
    assert urlsplit(reachcore).port != urlsplit(factible).port
    assert {entry["name"] for entry in state(reachcore, "state")} == {
        "Acme Timbrado",
        "Norte Prepago",
    }
    assert [entry["username"] for entry in state(factible, "state")] == ["pruebas"]


def test_leaving_the_context_hangs_up(books: FakePacState) -> None:
    with ExitStack() as stack:
        with serve(FakeReachcore(books.reachcore)) as url:
            connection = stack.enter_context(connect(url))
            assert ask(connection).read()
        with pytest.raises(ConnectionError):
            ask(connection)
    with pytest.raises(ConnectionRefusedError):
        ask_once(url)


def test_tls_when_a_context_is_given(books: FakePacState, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    certificate, key = make_ssl_devcert(str(tmp_path / "pac"), cn="localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serve(FakeReachcore(books.reachcore), ssl_context=context) as url:
        assert url.startswith("https://127.0.0.1:")
        local = url.replace("127.0.0.1", "localhost")
        for _ in range(2):
            reply = requests.get(f"{local}/_control/state", verify=certificate, timeout=5)
            assert reply.status_code == 200
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(f"{local}/_control/state", timeout=5)
        requests.post(
            f"{local}/_control/faults",
            json={"operation": "saldos", "fault": "cut-before"},
            verify=certificate,
            timeout=5,
        ).raise_for_status()
        with pytest.raises(requests.exceptions.ConnectionError):
            requests.post(local + PATH, json={}, verify=certificate, timeout=5)


# ------------------------------------------------------------------------------ faults


@pytest.mark.parametrize(("fault", "bought"), [("cut-before", False), ("cut-after", True)])
def test_a_cut_gives_no_byte_of_answer(factible: str, fault: str, bought: bool) -> None:
    set_fault(factible, "agregarContrato", fault)
    with pytest.raises(requests.exceptions.ConnectionError, match=r"closed connection|reset"):
        buy(factible)
    assert contracted(factible) == (1500 if bought else 1000)
    assert [one["reply_sent"] for one in purchases(factible)] == ([False] if bought else [])
    assert b"200" in buy(factible)
    assert purchases(factible)[-1]["reply_sent"] is True


@pytest.mark.parametrize(("path", "operation"), [("", "saldos"), ("/csv", "csv"), ("/pdf", "pdf")])
def test_a_truncated_answer_breaks_off_halfway(reachcore: str, path: str, operation: str) -> None:
    set_fault(reachcore, operation, "truncated")
    with connect(reachcore) as connection:
        response = ask(connection, path)
        assert response.status == 200
        whole = int(response.headers["Content-Length"])
        with pytest.raises(http.client.IncompleteRead) as caught:
            response.read()
        assert len(caught.value.partial) == whole // 2
        assert state(reachcore, "calls")[-1]["answered"] is False


def test_a_truncated_reply_follows_a_purchase(factible: str) -> None:
    set_fault(factible, "agregarContrato", "truncated")
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        buy(factible)
    assert contracted(factible) == 1500
    assert purchases(factible)[0]["reply_sent"] is False


def test_slow_buys_after_the_client_has_given_up(factible: str) -> None:
    set_fault(factible, "agregarContrato", "slow", seconds=0.6)
    with pytest.raises(requests.exceptions.ReadTimeout):
        buy(factible, timeout=0.2)
    assert purchases(factible) == []
    assert state(factible, "calls")[0]["outcome"] == "in-progress"
    eventually(lambda: contracted(factible) == 1500)


def test_slow_after_buys_before_it_lets_the_client_wait(factible: str) -> None:
    set_fault(factible, "agregarContrato", "slow-after", seconds=0.6)
    with pytest.raises(requests.exceptions.ReadTimeout):
        buy(factible, timeout=0.2)
    assert contracted(factible) == 1500
    assert purchases(factible)[0]["reply_sent"] is False


def test_a_slow_call_holds_up_no_other(reachcore: str) -> None:
    set_fault(reachcore, "saldos", "slow", seconds=1)
    waiting = threading.Thread(target=ask_once, args=(reachcore,))
    waiting.start()
    eventually(lambda: state(reachcore, "calls"))
    assert ask_once(reachcore)
    assert waiting.is_alive()
    waiting.join()


def test_reads_lag_behind_a_contract_and_catch_up(factible: str) -> None:
    set_fault(factible, "getTimbres", "lagging-reads", times=-1, seconds=1)
    assert b"200" in buy(factible)
    assert b">1000</" in count(factible)
    eventually(lambda: b">1500</" in count(factible))


def test_purchases_at_once_all_count(factible: str) -> None:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: buy(factible, timbres=1, timeout=30), range(200)))
    assert contracted(factible) == 1200
    assert len(purchases(factible)) == 200
    assert all(one["reply_sent"] for one in purchases(factible))
