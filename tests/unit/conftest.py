"""Unit tests may not open sockets."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

# A test must not fail because the machine is busy.
settings.register_profile("timbres", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("timbres")


@pytest.fixture(autouse=True)
def _no_sockets(socket_disabled):
    """Fail each test that opens a socket, even on loopback."""
