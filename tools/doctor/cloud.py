"""AWS: who asks, from where, at what time, and how the deployed stack is."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tools.doctor.checks import (
    CheckResult,
    CheckResults,
    describe_aws_error,
    failed,
    ok,
    run_safely,
    skipped,
    warning,
)
from tools.doctor.stage import Stage

ClientFactory = Callable[[str], Any]
"""Gives the client of an AWS service by its name, such as `sqs`."""

_CONFIG = Config(
    connect_timeout=3,
    read_timeout=10,
    retries={"mode": "standard", "total_max_attempts": 2},
)
# What template.yaml is made of; IAM has no region.
_SERVICES = (
    "apigateway", "cloudformation", "cloudwatch", "dynamodb", "events", "lambda", "logs", "s3",
    "scheduler", "secretsmanager", "sns", "sqs",
)  # fmt: skip
# AWS refuses a signature beyond five minutes.
_MAX_SKEW = 300
_WARNING_SKEW = 60
_USABLE = frozenset({"CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"})
_UNDONE = frozenset({"UPDATE_ROLLBACK_COMPLETE", "IMPORT_ROLLBACK_COMPLETE"})
_NEVER_MADE = frozenset({"CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED"})


@dataclass(frozen=True)
class Deployed:
    """A stack as CloudFormation tells of it."""

    name: str
    status: str
    outputs: dict[str, str]
    parameters: dict[str, str]


def create_session(stage: Stage) -> boto3.Session | None:
    """A session where the stage is deployed, None where no region is set at all."""
    session = boto3.Session(profile_name=stage.profile, region_name=stage.region)
    return session if session.region_name else None


def client_factory(session: boto3.Session) -> ClientFactory:
    """The session's clients, each with time-outs."""
    return partial(session.client, config=_CONFIG)


def check_identity(stage: Stage, session: boto3.Session) -> Generator[CheckResult, None, bool]:
    """Look at region, credentials and clock; return whether AWS knows who asks."""
    yield _region(stage, session)
    answer: dict[str, Any] = {}
    try:
        answer = client_factory(session)("sts").get_caller_identity()
    except (BotoCoreError, ClientError) as error:
        yield failed("credentials", describe_aws_error(error))
        rejection = getattr(error, "response", None)
    else:
        # One that is left in a shell would have an AWS of this machine looked at.
        elsewhere = os.environ.get("AWS_ENDPOINT_URL")
        at = f", at {elsewhere}" if elsewhere else ""
        yield ok("credentials", f"{answer['Arn']}, of the AWS account {answer['Account']}{at}")
        rejection = None
    if told := answer or rejection:
        yield check_clock(told["ResponseMetadata"]["HTTPHeaders"].get("date"), datetime.now(UTC))
    return bool(answer)


def _region(stage: Stage, session: boto3.Session) -> CheckResult:
    there, ours = session.region_name, boto3.Session(profile_name=stage.profile).region_name
    lacking = [name for name in _SERVICES if there not in session.get_available_regions(name)]
    if lacking:
        return warning("region", f"{there} may be without {', '.join(lacking)}: others have all.")
    if ours and ours != there:
        return warning(
            "region",
            f"{stage.name} is deployed to {there}, but the commands of the documentation would ask "
            f"{ours}: export AWS_REGION={there}",
        )
    return ok("region", f"{there} has what Timbres needs")


def check_clock(date: str | None, now: datetime) -> CheckResult:
    """How far this clock, `now`, is from AWS's `Date` header."""
    try:
        skew = abs((parsedate_to_datetime(date or "") - now).total_seconds())
    except (TypeError, ValueError):
        return warning("clock", "AWS did not say what time it is there.")
    said = f"{skew:.0f} s away from AWS's"
    if skew >= _MAX_SKEW:
        return failed("clock", f"{said}, which refuses signatures beyond 5 minutes: set it by NTP.")
    if skew >= _WARNING_SKEW:
        return warning("clock", f"{said}; beyond 5 minutes signatures are refused: set it by NTP.")
    return ok("clock", said)


def find_stack(client: ClientFactory, name: str) -> Deployed | None:
    """The stack `name`, None where there is none. Raises what boto3 raises."""
    try:
        (stack,) = client("cloudformation").describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        if "does not exist" in error.response["Error"].get("Message", ""):
            return None
        raise
    return Deployed(
        name=name,
        status=stack["StackStatus"],
        outputs={one["OutputKey"]: one["OutputValue"] for one in stack.get("Outputs", ())},
        parameters={
            one["ParameterKey"]: one["ParameterValue"] for one in stack.get("Parameters", ())
        },
    )


def check_status(stack: Deployed) -> CheckResult:
    """What the stack's status says."""
    if stack.status in _USABLE:
        return ok("stack", f"{stack.name} is {stack.status}")
    if stack.status in _UNDONE:
        return warning(
            "stack",
            f"{stack.name} is {stack.status}: the last deployment was undone. See its events.",
        )
    if stack.status in _NEVER_MADE:
        return failed(
            "stack",
            f"{stack.name} is {stack.status}: see its events, then delete it and deploy anew.",
        )
    if stack.status.endswith("IN_PROGRESS"):
        return warning("stack", f"{stack.name} is {stack.status}: look again when it has ended.")
    return failed("stack", f"{stack.name} is {stack.status}: see its events in CloudFormation.")


def check_outputs(stack: Deployed, template: Path) -> CheckResult:
    """Whether the stack has every output that the template declares."""
    declared = template.read_text(encoding="utf-8").partition("\nOutputs:\n")[2]
    names = re.findall(r"^  (\w+):$", declared, re.MULTILINE)
    missing = [name for name in names if name not in stack.outputs]
    if missing:
        return warning(
            "outputs",
            f"{', '.join(missing)} missing: the stack is older than template.yaml. Deploy.",
        )
    return ok("outputs", f"all {len(names)} are there")


def check_stack(client: ClientFactory, stack: Deployed, template: Path) -> CheckResults:
    """Look at the stack, what runs by itself in it, and whether anybody would hear of it."""
    yield check_status(stack)
    yield check_outputs(stack, template)
    for what, output, parameter in (
        ("mails", "MailTopicArn", "NotificationEmail"),
        ("alarm mails", "AlarmsTopicArn", "AlarmEmail or NotificationEmail"),
    ):
        yield from run_safely(what, partial(_subscriptions, client, stack, what, output, parameter))
    made = partial(_list_resources, client, stack.name)
    yield from run_safely("schedules", partial(_schedules, client, made))
    yield from run_safely("alarms", partial(_alarms, client, stack.name, made))
    yield from run_safely("dead letters", partial(_dead_letters, client, stack))


def _subscriptions(
    client: ClientFactory, stack: Deployed, what: str, output: str, parameter: str
) -> CheckResults:
    topic = stack.outputs.get(output)
    if topic is None:
        yield skipped(what, f"The stack has no output {output}.")
        return
    pages = client("sns").get_paginator("list_subscriptions_by_topic").paginate(TopicArn=topic)
    found = [one for page in pages for one in page["Subscriptions"]]
    yield check_subscriptions(what, found, parameter)


def check_subscriptions(
    what: str, subscriptions: Sequence[dict[str, str]], parameter: str
) -> CheckResult:
    """Whether a topic's subscriptions, as SNS lists them, are confirmed; `parameter` makes one."""
    pending = [
        one["Endpoint"] for one in subscriptions if not one["SubscriptionArn"].startswith("arn:")
    ]
    if pending:
        return failed(
            what,
            f"{', '.join(pending)} gets none: who reads there must open the link in the mail "
            '"AWS Notification - Subscription Confirmation".',
        )
    if not subscriptions:
        return warning(what, f"Nobody gets them: deploy with the parameter {parameter}.")
    counts = Counter(one["Protocol"] for one in subscriptions)
    return ok(what, "go to " + ", ".join(f"{n} × {kind}" for kind, n in sorted(counts.items())))


def _list_resources(client: ClientFactory, stack: str, kind: str) -> list[str]:
    """The physical names of the stack's resources of a kind such as `AWS::SQS::Queue`."""
    pages = client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=stack)
    return [
        one["PhysicalResourceId"]
        for page in pages
        for one in page["StackResourceSummaries"]
        if one["ResourceType"] == kind and "PhysicalResourceId" in one
    ]


def _schedules(client: ClientFactory, made: Callable[[str], list[str]]) -> CheckResults:
    states: dict[str, str] = {}
    for group in made("AWS::Scheduler::ScheduleGroup"):
        pages = (
            client("scheduler")
            .get_paginator("list_schedules")
            .paginate(
                # Its physical name is, by CloudFormation's documents, the group's name.
                GroupName=group.rpartition("/")[2]
            )
        )
        states |= {one["Name"]: one["State"] for page in pages for one in page["Schedules"]}
    expected = [name.rpartition("/")[2] for name in made("AWS::Scheduler::Schedule")]
    off = [name for name in expected if states.get(name) != "ENABLED"]
    if off or not expected:
        yield failed(
            "schedules",
            f"{', '.join(off) or 'none'}: not enabled, or gone. Enable, or deploy the stack anew.",
        )
    else:
        yield ok("schedules", f"all {len(expected)} are enabled")


def _alarms(client: ClientFactory, stack: str, made: Callable[[str], list[str]]) -> CheckResults:
    pages = (
        client("cloudwatch").get_paginator("describe_alarms").paginate(AlarmNamePrefix=f"{stack}-")
    )
    states = {one["AlarmName"]: one["StateValue"] for page in pages for one in page["MetricAlarms"]}
    # The prefix brings those of a stack timbres-prod to one that is called timbres.
    ours = made("AWS::CloudWatch::Alarm")
    ringing = [name for name in ours if states.get(name) == "ALARM"]
    gone = [name for name in ours if name not in states]
    if ringing:
        yield warning("alarms", f"{', '.join(ringing)}: docs/operations.md says what to do.")
    if gone:
        yield failed("alarms", f"{', '.join(gone)}: gone. Deploy the stack anew.")
    if not ringing and not gone:
        yield ok("alarms", f"none of {len(ours)} rings")


def _dead_letters(client: ClientFactory, stack: Deployed) -> CheckResults:
    queues = {
        name.removesuffix("Url"): url
        for name, url in stack.outputs.items()
        if name.endswith("DeadLetterQueueUrl")
    }
    waiting: dict[str, int] = {}
    for name, url in queues.items():
        answer = client("sqs").get_queue_attributes(
            QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"]
        )
        if count := int(answer["Attributes"]["ApproximateNumberOfMessages"]):
            waiting[name] = count
    if waiting:
        counts = ", ".join(f"{count} in {name}" for name, count in waiting.items())
        yield warning("dead letters", f"{counts}: docs/operations.md says how to redrive them.")
    else:
        yield ok("dead letters", f"none in {len(queues)} queues")
