"""Fixtures of the integration tests: AWS is simulated by moto, the PACs are fake."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from local.fake_pacs.server import serve
from tests.integration.harness import FakeStack, SwappableApp, running_fake_stack
from tests.integration.pac_cases import PacServer

from timbres.aws import clients as session

PacServers = dict[str, tuple[SwappableApp, str]]


@pytest.fixture(scope="module")
def pac_servers() -> Iterator[PacServers]:
    """Servers on loopback for both fake PACs, with the same lifetime as the AWS clients."""
    session.client.cache_clear()
    with ExitStack() as stack:
        stack.callback(session.client.cache_clear)
        servers = {}
        for name in ("reachcore", "factible"):
            app = SwappableApp()
            servers[name] = (app, stack.enter_context(serve(app)))
        yield servers


@pytest.fixture
def world(pac_servers: PacServers) -> Iterator[FakeStack]:
    """A new stack for each test."""
    with running_fake_stack(pac_servers) as world:
        yield world


@pytest.fixture(scope="module")
def shared_world(pac_servers: PacServers) -> Iterator[FakeStack]:
    """One stack for all tests of a module. The tests must not change it."""
    with running_fake_stack(pac_servers) as world:
        yield world


@pytest.fixture
def shared_stack(shared_world: FakeStack) -> FakeStack:
    """The stack of the module, with faults, calls and rejections cleared."""
    for fake_pac in (shared_world.reachcore, shared_world.factible):
        fake_pac.faults.clear()
        fake_pac.calls.clear()
    shared_world.clear_rejections()
    return shared_world


@pytest.fixture(scope="module")
def pac_server_and_url() -> Iterator[tuple[PacServer, str]]:
    """A server on loopback for any PAC, and its URL."""
    pac_server = PacServer()
    with serve(pac_server) as url:
        yield pac_server, url


@pytest.fixture
def pac_server(pac_server_and_url: tuple[PacServer, str]) -> PacServer:
    """The server on loopback."""
    return pac_server_and_url[0]


@pytest.fixture
def url(pac_server_and_url: tuple[PacServer, str]) -> str:
    """The URL of ``pac_server``."""
    return pac_server_and_url[1]
