"""Fixtures for the functions behind their gateway: AWS is moto's, the PACs are sandboxes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from local.fake_pacs.server import serve
from tests.integration.harness import Switch, World, running_world
from tests.integration.pac_cases import Stage

from timbres.aws import clients as session

Switches = dict[str, tuple[Switch, str]]


@pytest.fixture(scope="module")
def switches() -> Iterator[Switches]:
    """Both sandboxes' places on loopback, served once a module.

    For as long the functions keep their clients of AWS.
    """
    session.client.cache_clear()
    with ExitStack() as stack:
        stack.callback(session.client.cache_clear)
        served = {}
        for name in ("reachcore", "factible"):
            switch = Switch()
            served[name] = (switch, stack.enter_context(serve(switch)))
        yield served


@pytest.fixture
def world(switches: Switches) -> Iterator[World]:
    """A new world for each test."""
    with running_world(switches) as world:
        yield world


@pytest.fixture(scope="module")
def shared_world(switches: Switches) -> Iterator[World]:
    """One world for all tests of a module, which leave it as they found it."""
    with running_world(switches) as world:
        yield world


@pytest.fixture
def reader(shared_world: World) -> World:
    """The shared world, both PACs without faults and without calls seen."""
    for sandbox in (shared_world.reachcore, shared_world.factible):
        sandbox.faults.clear()
        sandbox.calls.clear()
    shared_world.clear_rejections()
    return shared_world


@pytest.fixture(scope="module")
def place() -> Iterator[tuple[Stage, str]]:
    """A place on loopback for one PAC after the other, and its URL."""
    stage = Stage()
    with serve(stage) as url:
        yield stage, url


@pytest.fixture
def stage(place: tuple[Stage, str]) -> Stage:
    """The place alone."""
    return place[0]


@pytest.fixture
def url(place: tuple[Stage, str]) -> str:
    """Its URL alone."""
    return place[1]
