"""Run the demo environment: Timbres on a local AWS, with an account at each fake PAC."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from local.emulator_process import ROOT
from local.fake_pacs.fake_data import mexico_now
from local.fakes import FAKES, CreateFake, DemoPac, serve_fakes
from local.seed_data import write_snapshots
from local.stack import Stack, running_stack

logger = logging.getLogger("local")


def log_steps() -> None:
    """Log the slow steps to standard output."""
    logging.basicConfig(format="· %(message)s", stream=sys.stdout)
    logging.getLogger("local").setLevel(logging.INFO)


@dataclass(frozen=True)
class LocalEnvironment:
    """A running stack, the fake PACs of its accounts, and their URLs, by the PAC's name.

    Tests control the fake PACs directly or by HTTP.
    """

    stack: Stack
    fakes: Mapping[str, DemoPac]
    urls: Mapping[str, str]


@contextlib.contextmanager
def running_environment(
    log: Path = ROOT / ".local" / "aws.log", fakes: Sequence[CreateFake] = FAKES
) -> Iterator[LocalEnvironment]:
    """Start the environment with new credentials, and stop it at the end of the block.

    Raises what `running_stack` raises.
    """
    created = [create() for create in fakes]
    packages = [fake.package for fake in created if fake.package]
    with serve_fakes(created) as urls, running_stack(log, packages) as stack:
        for fake in created:
            stack.create_account(fake.account, fake.secret(urls[fake.pac.name]))
        logger.info("writing daily counts of the past weeks")
        for fake in created:
            today, contracted = mexico_now().date(), fake.account_contracted
            write_snapshots(stack, fake.account, fake.past, today, contracted)
        yield LocalEnvironment(stack, {fake.pac.name: fake for fake in created}, urls)
