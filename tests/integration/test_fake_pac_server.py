"""The fake PACs over loopback sockets: connections, TLS, cuts and delays."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import date
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from local.fake_pacs.fake_data import FakePacState, demo_state
from local.fake_pacs.reachcore import PATH, FakeReachcore
from local.fake_pacs.server import serve
from local.fake_pacs.solucion_factible import PATHS, FakeSolucionFactible

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


def test_end_of_the_context_closes_connections(pac_state: FakePacState) -> None:
    with ExitStack() as stack:
        with serve(FakeReachcore(pac_state.reachcore)) as url:
            connection = stack.enter_context(connect(url))
            assert send(connection).read()
        with pytest.raises(ConnectionError):
            send(connection)
    with pytest.raises(ConnectionRefusedError):
        send_once(url)


# ------------------------------------------------------------------------------ faults


def test_slow_call_does_not_block_others(reachcore: str) -> None:
    set_fault(reachcore, "saldos", "slow", seconds=1)
    waiting = threading.Thread(target=send_once, args=(reachcore,))
    waiting.start()
    wait_until(lambda: control(reachcore, "calls"))
    assert send_once(reachcore)
    assert waiting.is_alive()
    waiting.join()


def test_concurrent_contracts_are_all_applied(factible: str) -> None:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: create_contract(factible, timbres=1, timeout=30), range(200)))
    assert contracted_stamps(factible) == 1200
    assert len(contracts(factible)) == 200
    assert all(contract["reply_sent"] for contract in contracts(factible))
