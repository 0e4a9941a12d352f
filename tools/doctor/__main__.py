"""`python -m tools.doctor`: check the machine, AWS, the stack, the accounts and the PACs.

Prints one line per check, with the fix for each failure, and a summary. Changes nothing, except
that `--ask-pacs` records and mails rejected credentials, as the functions do.
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
    """Print each result. Return 0 if no check failed, otherwise 1."""
    parser = argparse.ArgumentParser(prog="python -m tools.doctor")
    add = parser.add_argument
    add("--stage", default="default", help="stage of samconfig.toml: default, dev, prod")
    add("--ask-pacs", action="store_true", help="one read call to each account's PAC")
    add("--account", action="append", default=[], help="check only this account")
    options = parser.parse_args(arguments)
    # The results contain what the layer logs.
    logging.getLogger("timbres").addHandler(logging.NullHandler())
    counts: Counter[Level] = Counter()
    for result in run_checks(options):
        print(result, flush=True)
        counts[result.level] += 1
    passed, warnings, failures, skips = (counts[level] for level in Level)
    print(f"\n{passed} ok, {warnings} warnings, {failures} failed, {skips} skipped.")
    return 1 if counts[Level.FAILED] else 0


def run_checks(options: argparse.Namespace) -> CheckResults:
    """Yield the results of all checks."""
    yield from run_safely("machine", partial(machine.check_machine, ROOT))
    try:
        stage = read_stage(ROOT / "samconfig.toml", options.stage)
    except StageError as error:
        yield failed("stage", str(error))
        return
    yield ok("stage", f"{stage.name}, stack {stage.stack_name}")
    yield from run_safely("credentials", partial(_check_aws, stage, options))


def _check_aws(stage: Stage, options: argparse.Namespace) -> CheckResults:
    session = cloud.create_session(stage)
    if session is None:
        yield failed("region", "No region is set. Set it in samconfig.toml or in AWS_REGION.")
        return
    if not (yield from cloud.check_identity(stage, session)):
        yield skipped("stack, accounts", "Not checked, because the AWS credentials are not valid.")
        return
    client = cloud.client_factory(session)
    deployed, has_rejections = None, False
    try:
        deployed = cloud.find_stack(client, stage.stack_name)
        has_rejections = deployed is None or "CredentialRejectionsTableName" in deployed.outputs
    except (BotoCoreError, ClientError) as error:
        yield failed("stack", describe_aws_error(error))
    else:
        if deployed:
            yield from cloud.check_stack(client, deployed, ROOT / "template.yaml")
        else:
            fix = f"make deploy STAGE={stage.name}"
            yield ok("stack", f"{stage.stack_name} is not deployed yet: {fix}")
    parameters = deployed.parameters if deployed else stage.parameters
    accounts = AccountChecks(client, deployed, parameters, options.account)
    yield from run_safely("accounts", accounts.check_secrets)
    if not options.ask_pacs:
        yield skipped("PACs", 'Not called. make doctor DOCTOR="--ask-pacs" makes one call to each.')
    elif has_rejections:
        yield from accounts.check_pacs()
    else:
        # Without the stack's record of rejected credentials, a sign-in could lock an account.
        reason = "because the record of rejected credentials is in the stack's tables."
        yield skipped("PACs", f"Not called, {reason}")


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit("\nInterrupted.")
