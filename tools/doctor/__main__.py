"""`python -m tools.doctor`: what is ready for Timbres, what is wrong, and what to do about it.

One line a check and one of summary. Nothing is changed, but that with `--ask-pacs` a rejected
credential is noted and mailed, as the functions do, so that nobody tries it again.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial

from botocore.exceptions import BotoCoreError, ClientError
from local.emulator_process import ROOT

from tools.doctor import cloud, machine
from tools.doctor.accounts import AccountChecks
from tools.doctor.checks import (
    CheckResults,
    Level,
    describe_aws_error,
    failed,
    ok,
    run_safely,
    skipped,
)
from tools.doctor.stage import Stage, StageError, read_stage


def main(arguments: Sequence[str]) -> int:
    """Prints each finding as it comes: 0 when nothing failed, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m tools.doctor")
    parser.add_argument("--stage", default="default", help="of samconfig.toml: default, dev, prod")
    parser.add_argument(
        "--ask-pacs", action="store_true", help="one read call to each account's PAC"
    )
    parser.add_argument("--account", action="append", default=[], help="look at this one only")
    options = parser.parse_args(arguments)
    # What the layer logs is in a finding, too.
    logging.getLogger("timbres").addHandler(logging.NullHandler())
    counts: Counter[Level] = Counter()
    for finding in run_checks(options):
        print(finding, flush=True)
        counts[finding.level] += 1
    ok_, warnings, failures, left_out = (counts[level] for level in Level)
    print(f"\n{ok_} ok, {warnings} to be looked at, {failures} failed, {left_out} skipped.")
    return 1 if counts[Level.FAILED] else 0


def run_checks(options: argparse.Namespace) -> CheckResults:
    """Look at everything, from this machine to the PACs."""
    yield from run_safely("machine", partial(machine.check_machine, ROOT))
    try:
        stage = read_stage(ROOT / "samconfig.toml", options.stage)
    except StageError as error:
        yield failed("stage", str(error))
        return
    yield ok("stage", f"{stage.name}: the stack {stage.stack_name}")
    yield from run_safely("credentials", partial(_in_aws, stage, options))


def _in_aws(stage: Stage, options: argparse.Namespace) -> CheckResults:
    session = cloud.create_session(stage)
    if session is None:
        yield failed("region", "None is set: put one into samconfig.toml, or set AWS_REGION.")
        return
    if not (yield from cloud.check_identity(stage, session)):
        yield skipped("stack, accounts", "Not looked at, since AWS does not know who asks.")
        return
    client = cloud.client_factory(session)
    deployed, known = None, False
    try:
        deployed = cloud.find_stack(client, stage.stack_name)
    except (BotoCoreError, ClientError) as error:
        yield failed("stack", describe_aws_error(error))
    else:
        known = deployed is None or "CredentialRejectionsTableName" in deployed.outputs
        if deployed is None:
            yield ok(
                "stack", f"{stage.stack_name} is not there yet: make deploy STAGE={stage.name}"
            )
        else:
            yield from cloud.check_stack(client, deployed, ROOT / "template.yaml")
    parameters = deployed.parameters if deployed else stage.parameters
    accounts = AccountChecks(client, deployed, parameters, options.account)
    yield from run_safely("accounts", accounts.check_secrets)
    if options.ask_pacs and known:
        yield from accounts.check_pacs()
    elif options.ask_pacs:
        # The stack keeps which credentials were rejected, and one sign-in too many locks them.
        yield skipped("PACs", "Not asked: whom one has rejected stands in the stack's tables.")
    else:
        yield skipped("PACs", 'Not asked: make doctor DOCTOR="--ask-pacs" makes one call to each.')


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit("\nBroken off.")
