"""The fake PACs over loopback sockets: connections, TLS, cuts and delays."""

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
def pac_state() -> FakePacState:
    return demo_state(
        TODAY, acme_api_key=KEY, norte_api_key="n", username="pruebas", password="secreta"
    )


@pytest.fixture
def reachcore(pac_state: FakePacState) -> Iterator[str]:
    with serve(FakeReachcore(pac_state.reachcore)) as url:
        yield url


@pytest.fixture
def factible(pac_state: FakePacState) -> Iterator[str]:
    with serve(FakeSolucionFactible(pac_state.solucion_factible)) as url:
        yield url


@contextmanager
def connect(url: str) -> Iterator[http.client.HTTPConnection]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=5)
    try:
        yield connection
    finally:
        connection.close()


def send_once(url: str) -> bytes:
    with connect(url) as connection:
        return send(connection).read()


def send(connection: http.client.HTTPConnection, path: str = "") -> http.client.HTTPResponse:
    headers = {"RCApiKey": KEY, "Content-Type": "application/json"}
    connection.request("POST", PATH + path, json.dumps({"MesConsulta": "2026-10"}), headers)
    return connection.getresponse()


def create_contract(url: str, timbres: int = 500, timeout: float = 5) -> bytes:
    return soap(url, "agregarContrato", f"<u:timbres>{timbres}</u:timbres>", timeout)


def count(url: str) -> bytes:
    return soap(url, "getTimbres")


def soap(url: str, operation: str, arguments: str = "", timeout: float = 5) -> bytes:
    body = (
        '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body>'
        f'<u:{operation} xmlns:u="{SERVICE}"><u:usuario>pruebas</u:usuario>'
        "<u:password>secreta</u:password><u:rfcEmisor>A&amp;D061009TY8</u:rfcEmisor>"
        f"{arguments}</u:{operation}></e:Body></e:Envelope>"
    )
    headers = {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": f"urn:{operation}"}
    response = requests.post(url + PATHS[0], data=body, headers=headers, timeout=timeout)
    assert response.status_code == 200
    return response.content


def set_fault(url: str, operation: str, fault: str, **options: Any) -> None:
    payload = {"operation": operation, "fault": fault, **options}
    requests.post(f"{url}/_control/faults", json=payload, timeout=5).raise_for_status()


def control(url: str, resource: str) -> Any:
    return requests.get(f"{url}/_control/{resource}", timeout=5).json()[
        "accounts" if resource == "state" else resource
    ]


def contracts(url: str) -> Any:
    return control(url, "state")[0]["contracts"]


def contracted_stamps(url: str) -> int:
    issuers = control(url, "state")[0]["issuers"]
    return next(int(issuer["contratados"]) for issuer in issuers if issuer["rfc"] == "A&D061009TY8")


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.01)


# ------------------------------------------------------------------------- connections


def test_one_connection_serves_many_requests(reachcore: str) -> None:
    with connect(reachcore) as connection:
        connection.connect()
        first_socket = connection.sock
        for path, status in (
            ("", 200),
            ("/csv", 200),
            ("/xlsx", 400),
            ("/no/such", 404),
            ("", 200),
        ):
            response = send(connection, path)
            assert response.status == status
            assert response.version == 11
            assert response.read()
            chunked = response.headers["Transfer-Encoding"] == "chunked"
            assert chunked != ("Content-Length" in response.headers)
            assert connection.sock is first_socket
        connection.request("GET", PATH)
        assert connection.getresponse().read()
        connection.request("HEAD", "/_control/state")
        assert connection.getresponse().read() == b""
        connection.request("DELETE", "/_control/faults")
        assert connection.getresponse().status == 204
        assert connection.sock is first_socket


def test_pipelined_requests_are_answered_in_order(reachcore: str) -> None:
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
            response = stream.read()
    assert response.count(b"HTTP/1.1 200") == 3
    assert response.count(b'"TipoConsumo"') == 3


def test_chunked_request_is_accepted(reachcore: str) -> None:
    def body() -> Iterator[bytes]:
        yield b'{"MesConsulta"'
        yield b': "2026-10"}'

    headers = {"RCApiKey": KEY, "Content-Type": "application/json"}
    with requests.Session() as session:
        for _ in range(2):
            response = session.post(reachcore + PATH, data=body(), headers=headers, timeout=5)
            assert response.json()["Transacciones"] > 0


def test_http_1_0_response_is_not_chunked(reachcore: str) -> None:
    body = b'{"MesConsulta": "2026-10"}'
    parts = urlsplit(reachcore)
    with socket.create_connection((parts.hostname, parts.port), timeout=5) as connection:
        connection.sendall(
            f"POST {PATH} HTTP/1.0\r\nRCApiKey: {KEY}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        with connection.makefile("rb") as stream:
            head, _, response = stream.read().partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert json.loads(response)["TipoConsumo"] == "Postpago"


@pytest.mark.parametrize(("length", "status"), [("much", 400), ("-1", 413), ("99999999", 413)])
def test_invalid_content_length_is_rejected(reachcore: str, length: str, status: int) -> None:
    with connect(reachcore) as connection:
        connection.putrequest("POST", PATH)
        connection.putheader("Content-Length", length)
        connection.endheaders()
        assert connection.getresponse().status == status


def test_large_csv_is_complete(reachcore: str) -> None:
    bulk = {"account": "Acme Timbrado", "month": "2026-10", "rows": 50_000}
    requests.post(f"{reachcore}/_control/bulk", json=bulk, timeout=5).raise_for_status()
    with connect(reachcore) as connection:
        response = send(connection, "/csv")
        content = response.read()
        assert int(response.headers["Content-Length"]) == len(content)
        connection.request("GET", "/_control/served/Acme%20Timbrado/2026-10/csv")
        assert connection.getresponse().read() == content


def test_both_fake_pacs_run_in_one_process(reachcore: str, factible: str) -> None:
    assert urlsplit(reachcore).port != urlsplit(factible).port
    assert {entry["name"] for entry in control(reachcore, "state")} == {
        "Acme Timbrado",
        "Norte Prepago",
    }
    assert [entry["username"] for entry in control(factible, "state")] == ["pruebas"]


def test_end_of_the_context_closes_connections(pac_state: FakePacState) -> None:
    with ExitStack() as stack:
        with serve(FakeReachcore(pac_state.reachcore)) as url:
            connection = stack.enter_context(connect(url))
            assert send(connection).read()
        with pytest.raises(ConnectionError):
            send(connection)
    with pytest.raises(ConnectionRefusedError):
        send_once(url)


def test_tls_with_a_context(pac_state: FakePacState, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    certificate, key = make_ssl_devcert(str(tmp_path / "pac"), cn="localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serve(FakeReachcore(pac_state.reachcore), ssl_context=context) as url:
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


@pytest.mark.parametrize(("fault", "applied"), [("cut-before", False), ("cut-after", True)])
def test_cut_closes_the_connection_without_a_response(
    factible: str, fault: str, applied: bool
) -> None:
    set_fault(factible, "agregarContrato", fault)
    with pytest.raises(requests.exceptions.ConnectionError, match=r"closed connection|reset"):
        create_contract(factible)
    assert contracted_stamps(factible) == (1500 if applied else 1000)
    assert [contract["reply_sent"] for contract in contracts(factible)] == (
        [False] if applied else []
    )
    assert b"200" in create_contract(factible)
    assert contracts(factible)[-1]["reply_sent"] is True


@pytest.mark.parametrize(("path", "operation"), [("", "saldos"), ("/csv", "csv"), ("/pdf", "pdf")])
def test_truncated_response_ends_halfway(reachcore: str, path: str, operation: str) -> None:
    set_fault(reachcore, operation, "truncated")
    with connect(reachcore) as connection:
        response = send(connection, path)
        assert response.status == 200
        length = int(response.headers["Content-Length"])
        with pytest.raises(http.client.IncompleteRead) as caught:
            response.read()
        assert len(caught.value.partial) == length // 2
        assert control(reachcore, "calls")[-1]["answered"] is False


def test_truncated_reply_applies_the_contract(factible: str) -> None:
    set_fault(factible, "agregarContrato", "truncated")
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        create_contract(factible)
    assert contracted_stamps(factible) == 1500
    assert contracts(factible)[0]["reply_sent"] is False


def test_slow_applies_the_contract_after_the_client_timeout(factible: str) -> None:
    set_fault(factible, "agregarContrato", "slow", seconds=0.6)
    with pytest.raises(requests.exceptions.ReadTimeout):
        create_contract(factible, timeout=0.2)
    assert contracts(factible) == []
    assert control(factible, "calls")[0]["outcome"] == "in-progress"
    wait_until(lambda: contracted_stamps(factible) == 1500)


def test_slow_after_applies_the_contract_before_the_delay(factible: str) -> None:
    set_fault(factible, "agregarContrato", "slow-after", seconds=0.6)
    with pytest.raises(requests.exceptions.ReadTimeout):
        create_contract(factible, timeout=0.2)
    assert contracted_stamps(factible) == 1500
    assert contracts(factible)[0]["reply_sent"] is False


def test_slow_call_does_not_block_others(reachcore: str) -> None:
    set_fault(reachcore, "saldos", "slow", seconds=1)
    waiting = threading.Thread(target=send_once, args=(reachcore,))
    waiting.start()
    wait_until(lambda: control(reachcore, "calls"))
    assert send_once(reachcore)
    assert waiting.is_alive()
    waiting.join()


def test_lagging_reads_eventually_include_the_contract(factible: str) -> None:
    set_fault(factible, "getTimbres", "lagging-reads", times=-1, seconds=1)
    assert b"200" in create_contract(factible)
    assert b">1000</" in count(factible)
    wait_until(lambda: b">1500</" in count(factible))


def test_concurrent_contracts_are_all_applied(factible: str) -> None:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: create_contract(factible, timbres=1, timeout=30), range(200)))
    assert contracted_stamps(factible) == 1200
    assert len(contracts(factible)) == 200
    assert all(contract["reply_sent"] for contract in contracts(factible))
