"""Ten thousand faulty contracts (`make torture`); some of them in every test run."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from moto import mock_aws

from tests.torture.stateful_test import Contracts

EXAMPLES = int(os.environ.get("TORTURE_EXAMPLES", "60"))


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "mx-central-1")
    logging.disable(logging.CRITICAL)
    with mock_aws():
        yield
    logging.disable(logging.NOTSET)


def test_what_the_pac_created_equals_what_is_confirmed_whatever_breaks() -> None:
    run_state_machine_as_test(
        Contracts,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=5,
            deadline=None,
            print_blob=True,
            phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        ),
    )
