"""Check AWS: identity, region, clock, and the deployed stack."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
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
from tools.doctor.stage import DEFAULT_STAGE, Stage

ClientFactory = Callable[[str], Any]
"""Returns the client of an AWS service by name, for example `sqs`."""

_CONFIG = Config(
    connect_timeout=3,
    read_timeout=10,
    retries={"mode": "standard", "total_max_attempts": 2},
)
# The services of template.yaml, except IAM, which is global.
_SERVICES = (
    "apigateway", "cloudformation", "cloudwatch", "dynamodb", "events", "lambda", "logs", "s3",
    "scheduler", "secretsmanager", "sns", "sqs",
)  # fmt: skip
# Seconds; AWS rejects a signature that is five minutes off.
_MAX_SKEW = 300
_WARNING_SKEW = 60
_USABLE = frozenset({"CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"})
_ROLLED_BACK = frozenset({"UPDATE_ROLLBACK_COMPLETE", "IMPORT_ROLLBACK_COMPLETE"})
_NOT_CREATED = frozenset({"CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED"})


@dataclass(frozen=True)
class Deployed:
    """A stack as CloudFormation describes it."""

    name: str
    status: str
    outputs: dict[str, str]
    parameters: dict[str, str]


def create_session(stage: Stage) -> boto3.Session | None:
    """Return a session in the stage's region, or None if no region is set."""
    session = boto3.Session(profile_name=stage.profile, region_name=stage.region)
    return session if session.region_name else None


def client_factory(session: boto3.Session) -> ClientFactory:
    """Return a factory of the session's clients, with timeouts."""
    return partial(session.client, config=_CONFIG)


def check_identity(stage: Stage, session: boto3.Session) -> Generator[CheckResult, None, bool]:
    """Check region, credentials and clock; return whether the credentials are valid."""
    yield _check_region(stage, session)
    yield from _check_opt_in(session)
    identity: dict[str, Any] = {}
    try:
        identity = client_factory(session)("sts").get_caller_identity()
    except (BotoCoreError, ClientError) as error:
        yield failed("credentials", describe_aws_error(error))
        rejection = getattr(error, "response", None)
    else:
        # Printed, because a variable left in the shell selects a local AWS.
        endpoint = os.environ.get("AWS_ENDPOINT_URL")
        at = f", at {endpoint}" if endpoint else ""
        yield ok("credentials", f"{identity['Arn']}, AWS account {identity['Account']}{at}")
        rejection = None
    if response := identity or rejection:
        headers = response["ResponseMetadata"]["HTTPHeaders"]
        yield check_clock(headers.get("date"), datetime.now(UTC))
    return bool(identity)


def _check_region(stage: Stage, session: boto3.Session) -> CheckResult:
    region = session.region_name
    default = boto3.Session(profile_name=stage.profile).region_name
    missing = [name for name in _SERVICES if region not in session.get_available_regions(name)]
    if missing:
        return warning(
            "region", f"{region} may not offer {', '.join(missing)}: use another region."
        )
    if default and default != region:
        return warning(
            "region",
            f"{stage.name} is deployed to {region}, but the documentation's commands would use "
            f"{default}: export AWS_REGION={region}",
        )
    return ok("region", f"{region} offers all services")


def _check_opt_in(session: boto3.Session) -> CheckResults:
    region = session.region_name
    try:
        response = client_factory(session)("account").get_region_opt_status(RegionName=region)
    except ClientError as error:
        yield warning("region opt-in", f"{describe_aws_error(error)} {_OPT_IN_UNKNOWN} {region}")
    except BotoCoreError:
        # Without credentials or network, the next check fails too, and says why.
        yield skipped("region opt-in", "Not checked, because AWS was not called.")
    else:
        yield check_opt_in(region, response["RegionOptStatus"])


_OPT_IN_UNKNOWN = "The region may not be enabled: aws account get-region-opt-status --region-name"


def check_opt_in(region: str, status: str) -> CheckResult:
    """Check the opt-in status of a region, as the API `GetRegionOptStatus` returns it."""
    if status in ("ENABLED", "ENABLED_BY_DEFAULT"):
        return ok("region opt-in", f"{region} is enabled for the AWS account")
    if status == "ENABLING":
        return warning(
            "region opt-in", f"{region} is being enabled: wait some minutes and check again."
        )
    return failed(
        "region opt-in",
        f"{region} is {status.lower()} for the AWS account, and rejects every call with "
        f"UnrecognizedClientException. Enable it: aws account enable-region --region-name {region}",
    )


def check_clock(date: str | None, now: datetime) -> CheckResult:
    """Check the difference between `now` and AWS's `Date` header."""
    try:
        skew = abs((parsedate_to_datetime(date or "") - now).total_seconds())
    except (TypeError, ValueError):
        return warning("clock", "AWS returned no Date header.")
    text = f"{skew:.0f} s from AWS's clock"
    if skew >= _MAX_SKEW:
        return failed("clock", f"{text}; AWS rejects signatures beyond 5 minutes: use NTP.")
    if skew >= _WARNING_SKEW:
        return warning("clock", f"{text}; AWS rejects signatures beyond 5 minutes: use NTP.")
    return ok("clock", text)


def find_stack(client: ClientFactory, name: str) -> Deployed | None:
    """Return the stack `name`, or None if it does not exist. Raises boto3's exceptions."""
    try:
        (stack,) = client("cloudformation").describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        if "does not exist" in error.response["Error"].get("Message", ""):
            return None
        raise
    return Deployed(
        name=name,
        status=stack["StackStatus"],
        outputs={item["OutputKey"]: item["OutputValue"] for item in stack.get("Outputs", ())},
        parameters={
            item["ParameterKey"]: item["ParameterValue"] for item in stack.get("Parameters", ())
        },
    )


def check_status(stack: Deployed) -> CheckResult:
    """Check the stack's status."""
    if stack.status in _USABLE:
        return ok("stack", f"{stack.name} is {stack.status}")
    if stack.status in _ROLLED_BACK:
        return warning(
            "stack",
            f"{stack.name} is {stack.status}: the last deployment was rolled back. See its events.",
        )
    if stack.status in _NOT_CREATED:
        return failed(
            "stack",
            f"{stack.name} is {stack.status}: see its events, delete it and deploy again.",
        )
    if stack.status.endswith("IN_PROGRESS"):
        return warning(
            "stack", f"{stack.name} is {stack.status}: check again when it has finished."
        )
    return failed("stack", f"{stack.name} is {stack.status}: see its events in CloudFormation.")


def check_outputs(stack: Deployed, template: Path) -> CheckResult:
    """Check whether the stack has every output of the template."""
    declared = template.read_text(encoding="utf-8").partition("\nOutputs:\n")[2]
    # Without those that exist only with a parameter.
    names = re.findall(r"^  (\w+):$(?!\n    Condition:)", declared, re.MULTILINE)
    missing = [name for name in names if name not in stack.outputs]
    if missing:
        return warning(
            "outputs",
            f"{', '.join(missing)} missing: the stack is older than template.yaml. Deploy it.",
        )
    return ok("outputs", f"all {len(names)} exist")


def check_stack(client: ClientFactory, stack: Deployed, template: Path) -> CheckResults:
    """Check the stack, its schedules and alarms, and the subscriptions to its mails."""
    yield check_status(stack)
    yield check_outputs(stack, template)
    mails = stack.parameters.get("NotificationEmail", "")
    alarms = stack.parameters.get("AlarmEmail") or mails
    for subject, output, address in (
        ("mails", "MailTopicArn", mails),
        ("alarm mails", "AlarmsTopicArn", alarms),
    ):
        yield from run_safely(
            subject, partial(_check_topic, client, stack, subject, output, address)
        )
    list_resources = partial(_list_resources, client, stack.name)
    yield from run_safely("API", partial(_check_stages, client, stack))
    yield from run_safely("schedules", partial(_check_schedules, client, list_resources))
    yield from run_safely("alarms", partial(_check_alarms, client, stack.name, list_resources))
    yield from run_safely("dead letters", partial(_check_dead_letters, client, stack))


def _check_topic(
    client: ClientFactory, stack: Deployed, subject: str, output: str, address: str
) -> CheckResults:
    topic = stack.outputs.get(output)
    if topic is None:
        yield skipped(subject, f"The stack has no output {output}.")
        return
    pages = client("sns").get_paginator("list_subscriptions_by_topic").paginate(TopicArn=topic)
    subscriptions = []
    for item in (item for page in pages for item in page["Subscriptions"]):
        attributes = {}
        if item["SubscriptionArn"].startswith("arn:"):
            attributes = client("sns").get_subscription_attributes(
                SubscriptionArn=item["SubscriptionArn"]
            )["Attributes"]
        subscriptions.append(item | attributes)
    yield check_subscriptions(subject, topic, subscriptions, address)


def check_subscriptions(
    subject: str, topic: str, subscriptions: Sequence[dict[str, str]], address: str
) -> CheckResult:
    """Check that a topic has subscriptions, confirmed by a signed request.

    `subscriptions` have the members that SNS lists, and those that are confirmed their attributes;
    `address` is the recipient in the stack's parameters.
    """
    subscribe = f"aws sns subscribe --topic-arn {topic} --protocol email --notification-endpoint"
    confirm = (
        'take the token from the link in the mail "AWS Notification - Subscription Confirmation", '
        f"without opening it: aws sns confirm-subscription --topic-arn {topic} "
        "--authenticate-on-unsubscribe true --token TOKEN"
    )
    states = {"PendingConfirmation": "pending", "Deleted": "deleted"}
    by_state: dict[str, list[dict[str, str]]] = {}
    for item in subscriptions:
        by_state.setdefault(states.get(item["SubscriptionArn"], "confirmed"), []).append(item)
    if pending := by_state.get("pending"):
        names = ", ".join(item["Endpoint"] for item in pending)
        return failed(subject, f"{names} is not confirmed, and ends after two days: {confirm}")
    confirmed = by_state.get("confirmed", [])
    if not confirmed and address == "none":
        return ok(subject, "none, as the stack's parameters say")
    if not confirmed and not address:
        parameters = (
            "AlarmEmail or NotificationEmail" if "alarm" in subject else "NotificationEmail"
        )
        return warning(subject, f"There is no recipient: deploy with the parameter {parameters}.")
    if not confirmed:
        return failed(
            subject,
            f"The subscription of {address} was deleted, or not confirmed within two days; a "
            f"deployment does not restore it. Subscribe: {subscribe} {address} Then {confirm}",
        )
    for item in confirmed:
        if item["Protocol"] == "email" and item.get("ConfirmationWasAuthenticated") == "false":
            return warning(
                subject,
                f"The unsubscribe link in each mail ends the subscription of {item['Endpoint']} "
                "without a signature. Replace it: aws sns unsubscribe --subscription-arn "
                f"{item['SubscriptionArn']} Subscribe: {subscribe} {item['Endpoint']} "
                f"Then {confirm}",
            )
    counts = Counter(item["Protocol"] for item in confirmed)
    return ok(
        subject, ", ".join(f"{count} × {protocol}" for protocol, count in sorted(counts.items()))
    )


def _list_resources(client: ClientFactory, stack: str, resource_type: str) -> list[str]:
    """Return the physical names of the stack's resources of a type, such as `AWS::SQS::Queue`."""
    pages = client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=stack)
    return [
        item["PhysicalResourceId"]
        for page in pages
        for item in page["StackResourceSummaries"]
        if item["ResourceType"] == resource_type and "PhysicalResourceId" in item
    ]


def _check_stages(client: ClientFactory, stack: Deployed) -> CheckResults:
    api = stack.outputs.get("ApiId")
    if api is None:
        yield skipped("API", "The stack has no output ApiId.")
        return
    stages = client("apigateway").get_stages(restApiId=api)["item"]
    yield check_stages(api, [stage["stageName"] for stage in stages], stack.parameters)


def check_stages(api: str, stages: Sequence[str], parameters: Mapping[str, str]) -> CheckResult:
    """Check that the API has no stage besides that of the parameter `Stage`."""
    others = [name for name in stages if name != parameters.get("Stage", DEFAULT_STAGE)]
    if not others:
        return ok("API", f"its only stage is {', '.join(stages)}")
    return failed(
        "API",
        f"It has the stage {', '.join(others)}, which has no throttling. Delete it: "
        f"aws apigateway delete-stage --rest-api-id {api} --stage-name {others[0]}",
    )


def _check_schedules(
    client: ClientFactory, list_resources: Callable[[str], list[str]]
) -> CheckResults:
    states: dict[str, str] = {}
    for group in list_resources("AWS::Scheduler::ScheduleGroup"):
        pages = (
            client("scheduler")
            .get_paginator("list_schedules")
            .paginate(
                # CloudFormation documents the group's name as its physical ID.
                GroupName=group.rpartition("/")[2]
            )
        )
        states |= {item["Name"]: item["State"] for page in pages for item in page["Schedules"]}
    expected = [name.rpartition("/")[2] for name in list_resources("AWS::Scheduler::Schedule")]
    off = [name for name in expected if states.get(name) != "ENABLED"]
    if off or not expected:
        yield failed(
            "schedules",
            f"{', '.join(off) or 'none'}: disabled or deleted. Enable or deploy again.",
        )
    else:
        yield ok("schedules", f"all {len(expected)} are enabled")


def _check_alarms(
    client: ClientFactory, stack: str, list_resources: Callable[[str], list[str]]
) -> CheckResults:
    pages = (
        client("cloudwatch").get_paginator("describe_alarms").paginate(AlarmNamePrefix=f"{stack}-")
    )
    alarms = {item["AlarmName"]: item for page in pages for item in page["MetricAlarms"]}
    # The prefix `timbres-` also matches the alarms of a stack `timbres-prod`.
    yield from check_alarms(list_resources("AWS::CloudWatch::Alarm"), alarms)


def check_alarms(names: Sequence[str], alarms: Mapping[str, dict[str, Any]]) -> CheckResults:
    """Check the stack's alarms `names`; `alarms` are the existing ones as CloudWatch lists them.

    Yields a result for each active alarm, because its mail was sent only once, and possibly before
    the subscription was confirmed.
    """
    active = [name for name in names if name in alarms and alarms[name]["StateValue"] == "ALARM"]
    missing = [name for name in names if name not in alarms]
    for name in active:
        since = alarms[name]["StateUpdatedTimestamp"]
        yield warning(
            "alarms",
            f"{name} is active since {since:%Y-%m-%d %H:%M %Z}: "
            f"{alarms[name].get('StateReason') or 'no reason given'} See docs/operations.md.",
        )
    if missing:
        yield failed("alarms", f"{', '.join(missing)}: deleted. Deploy the stack again.")
    if not active and not missing:
        yield ok("alarms", f"none of {len(names)} is active")


def _check_dead_letters(client: ClientFactory, stack: Deployed) -> CheckResults:
    queues = {
        name.removesuffix("Url"): url
        for name, url in stack.outputs.items()
        if name.endswith("DeadLetterQueueUrl")
    }
    waiting: dict[str, int] = {}
    for name, url in queues.items():
        response = client("sqs").get_queue_attributes(
            QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"]
        )
        if count := int(response["Attributes"]["ApproximateNumberOfMessages"]):
            waiting[name] = count
    if waiting:
        counts = ", ".join(f"{count} in {name}" for name, count in waiting.items())
        yield warning(
            "dead letters", f"{counts}: docs/operations.md describes how to redrive them."
        )
    else:
        yield ok("dead letters", f"none in {len(queues)} queues")
