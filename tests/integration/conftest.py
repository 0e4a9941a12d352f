"""Fixtures of the integration tests: AWS is simulated by moto, the PACs are fake."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from local.fake_pacs.server import serve
from tests.support.fake_stack import RC, FakeStack, PacServers, running_fake_stack
from tests.support.pac_servers import PacServer

from timbres.aws import clients


@pytest.fixture(scope="module")
def pac_servers() -> Iterator[PacServers]:
    """Servers on loopback for both fake PACs, with the same lifetime as the AWS clients."""
    clients.client.cache_clear()
    with ExitStack() as stack:
        stack.callback(clients.client.cache_clear)
        servers = {}
        for name in ("reachcore", "factible"):
            server = PacServer()
            servers[name] = (server, stack.enter_context(serve(server)))
        yield servers


@pytest.fixture
def stack(pac_servers: PacServers) -> Iterator[FakeStack]:
    """A new stack for each test."""
    with running_fake_stack(pac_servers) as stack:
        yield stack


@pytest.fixture
def sf(stack: FakeStack) -> FakeStack:
    """A new stack with only the Solución Factible account."""
    stack.accounts.delete(RC)
    return stack


@pytest.fixture(scope="module")
def module_stack(pac_servers: PacServers) -> Iterator[FakeStack]:
    """One stack for all tests of a module; use ``shared_stack``."""
    with running_fake_stack(pac_servers) as stack:
        yield stack


@pytest.fixture
def shared_stack(module_stack: FakeStack) -> FakeStack:
    """The stack of the module, without faults, calls and rejections. Tests must not change it."""
    for fake_pac in module_stack.pacs.fakes:
        fake_pac.faults.clear()
        fake_pac.calls.clear()
    module_stack.accounts.clear_rejections()
    return module_stack


@pytest.fixture(scope="module")
def pac_server_and_url() -> Iterator[tuple[PacServer, str]]:
    """A server on loopback for any PAC, and its URL."""
    server = PacServer()
    with serve(server) as url:
        yield server, url


@pytest.fixture
def pac_server(pac_server_and_url: tuple[PacServer, str]) -> PacServer:
    """The server on loopback."""
    return pac_server_and_url[0]


@pytest.fixture
def url(pac_server_and_url: tuple[PacServer, str]) -> str:
    """The URL of ``pac_server``."""
    return pac_server_and_url[1]
