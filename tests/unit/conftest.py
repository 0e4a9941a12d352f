"""Nothing in this folder may open a socket."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no reason for a test to fail.
settings.register_profile("timbres", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("timbres")


@pytest.fixture(autouse=True)
def _no_sockets(socket_disabled):
    """Fail whatever connects anywhere, loopback included."""
