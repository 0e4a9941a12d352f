"""The fake PACs over loopback sockets: connections and threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from local.fake_pacs.reachcore import PATH
from local.fake_pacs.server import serve
from tests.support.pac_cases import BALANCE, CONTRACT, COUNT, KEY, RFC, inject_fault
from tests.support.pac_servers import PacServer

from timbres.deadline import Deadline
from timbres.domain.stamps import Stamps
from timbres.pacs.registry import create_client


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


def send(session: requests.Session, url: str, path: str = "") -> requests.Response:
    body = {"MesConsulta": "2026-10"}
    return session.post(url + PATH + path, json=body, headers={"RCApiKey": KEY}, timeout=5)


def test_one_connection_serves_many_requests_until_the_context_ends(
    session: requests.Session,
) -> None:
    pac_server = PacServer(BALANCE.fake_pac())
    with serve(pac_server) as url:
        paths = ("", "/csv", "/xlsx", "/no/such", "")
        statuses = [send(session, url, path).status_code for path in paths]
        assert statuses == [200, 200, 400, 404, 200]
        assert session.get(url + PATH, timeout=5).status_code == 405
        assert session.delete(f"{url}/_control/faults", timeout=5).status_code == 204
        assert len(pac_server.connections) == 1
    with pytest.raises(requests.ConnectionError):
        send(session, url)


def test_a_slow_call_does_not_block_others(session: requests.Session) -> None:
    fake_pac = BALANCE.fake_pac()
    with serve(fake_pac) as url:
        inject_fault(fake_pac, "saldos", "slow", seconds=0.5, times=1)
        waiting = threading.Thread(target=BALANCE, args=(url, 5))
        waiting.start()
        while not fake_pac.calls.as_json():
            pass
        assert send(session, url).status_code == 200
        assert waiting.is_alive()
        waiting.join()


def test_concurrent_contracts_are_all_applied() -> None:
    fake_pac = CONTRACT.fake_pac()
    with serve(fake_pac) as url:
        client = create_client(CONTRACT.account(url))
        with ThreadPoolExecutor(16) as pool:
            create = client.create_contract
            list(pool.map(lambda _: create(RFC, 1, Deadline(30)), range(100)))
        assert COUNT(url, 5) == Stamps(1100, 250, 850)
    assert fake_pac.contracts() == [(RFC, 1)] * 100
