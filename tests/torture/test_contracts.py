"""Ten thousand contracts with faults (`make torture`); some of them in every test run."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support.fakes_contracts import moto
from tests.torture.stateful_test import Contracts

EXAMPLES = int(os.environ.get("TORTURE_EXAMPLES", "60"))


@pytest.fixture(autouse=True)
def aws() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    with moto():
        yield
    logging.disable(logging.NOTSET)


def test_the_confirmed_contracts_are_those_that_the_pac_created() -> None:
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
