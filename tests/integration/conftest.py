"""Fixtures for the functions behind their gateway: AWS is moto's, the PACs are sandboxes."""

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
    """Both sandboxes' places on loopback, served once a module.

    For as long the functions keep their clients of AWS.
    """
    session.client.cache_clear()
    with ExitStack() as stack:
        stack.callback(session.client.cache_clear)
        served = {}
        for name in ("reachcore", "factible"):
            switch = SwappableApp()
            served[name] = (switch, stack.enter_context(serve(switch)))
        yield served


@pytest.fixture
def world(pac_servers: PacServers) -> Iterator[FakeStack]:
    """A new world for each test."""
    with running_fake_stack(pac_servers) as world:
        yield world


@pytest.fixture(scope="module")
def shared_world(pac_servers: PacServers) -> Iterator[FakeStack]:
    """One world for all tests of a module, which leave it as they found it."""
    with running_fake_stack(pac_servers) as world:
        yield world


@pytest.fixture
def shared_stack(shared_world: FakeStack) -> FakeStack:
    """The shared world, both PACs without faults and without calls seen."""
    for sandbox in (shared_world.reachcore, shared_world.factible):
        sandbox.faults.clear()
        sandbox.calls.clear()
    shared_world.clear_rejections()
    return shared_world


@pytest.fixture(scope="module")
def pac_server_and_url() -> Iterator[tuple[PacServer, str]]:
    """A place on loopback for one PAC after the other, and its URL."""
    pac_server = PacServer()
    with serve(pac_server) as url:
        yield pac_server, url


@pytest.fixture
def pac_server(pac_server_and_url: tuple[PacServer, str]) -> PacServer:
    """The place alone."""
    return pac_server_and_url[0]


@pytest.fixture
def url(pac_server_and_url: tuple[PacServer, str]) -> str:
    """Its URL alone."""
    return pac_server_and_url[1]
