"""`python -m tools.check_upgrade STAGE`: stop a deployment that would leave tables behind.

CloudFormation creates an empty table for a table that has a new logical ID. With an empty table of
contracts, a repeated Idempotency-Key would create a second contract at the PAC.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import boto3
from local.emulator_process import ROOT

from tools.doctor.cloud import (
    ClientFactory,
    client_factory,
    create_session,
    find_stack,
    list_stack_resources,
)
from tools.doctor.stage import Stage, read_stage

Connect = Callable[[Stage], boto3.Session | None]

# Logical IDs before and since version 0.5.0.
RENAMED = {
    "JournalTable": "ContractsTable",
    "PaceTable": "RateLimitTable",
    "MailsTable": "MailIdempotencyTable",
    "RejectionsTable": "CredentialRejectionsTable",
    "TicketsTable": "DownloadTokensTable",
}


def list_old_tables(client: ClientFactory, stack_name: str) -> list[str]:
    """Return the logical IDs of the stack's tables that have a new name; none for a new stack.

    Raises boto3's exceptions.
    """
    if find_stack(client, stack_name) is None:
        return []
    ids = {item["LogicalResourceId"] for item in list_stack_resources(client, stack_name)}
    return [name for name in RENAMED if name in ids]


def main(arguments: list[str], connect: Connect = create_session) -> int:
    """Return 1, and print what to do, if the stage's stack has tables under old logical IDs.

    ``connect`` returns the session of a stage.
    """
    stage = read_stage(ROOT / "samconfig.toml", arguments[0])
    session = connect(stage)
    if session is None:
        print("No region is set. Set it in samconfig.toml or in AWS_REGION.", file=sys.stderr)
        return 1
    names = list_old_tables(client_factory(session), stage.stack_name)
    if not names:
        return 0
    print(
        f"Stack {stage.stack_name} has {', '.join(names)}, which have new logical IDs. Rename them "
        "first: docs/operations.md, section 'Upgrading to 0.5.0'.",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
