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

_RETRIES: Any = {"mode": "standard", "total_max_attempts": 2}
_CONFIG = Config(connect_timeout=3, read_timeout=10, retries=_RETRIES)
# The services of template.yaml, except IAM, which is global.
_SERVICES = (
    "apigateway", "cloudformation", "cloudwatch", "dynamodb", "events", "lambda", "logs", "s3",
    "scheduler", "secretsmanager", "sns", "sqs",
)  # fmt: skip
# Seconds; AWS rejects a signature that is five minutes off.
_MAX_SKEW = 300
_WARNING_SKEW = 60


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


def list_all(
    client: ClientFactory, service: str, operation: str, key: str, **arguments: Any
) -> list[Any]:
    """Return the items under `key` of all pages of an operation. Raises boto3's exceptions."""
    pages = client(service).get_paginator(operation).paginate(**arguments)
    return [item for page in pages for item in page[key]]


def check_identity(stage: Stage, session: boto3.Session) -> Generator[CheckResult, None, bool]:
    """Check region, credentials and clock; return whether the credentials are valid."""
    yield _check_region(stage, session)
    yield from _check_opt_in(session)
    identity: dict[str, Any] = {}
    try:
        response = identity = client_factory(session)("sts").get_caller_identity()
    except (BotoCoreError, ClientError) as error:
        yield failed("credentials", describe_aws_error(error))
        response = getattr(error, "response", None)
    else:
        # Printed, because a variable left in the shell selects a local AWS.
        endpoint = os.environ.get("AWS_ENDPOINT_URL")
        at = f", at {endpoint}" if endpoint else ""
        yield ok("credentials", f"{identity['Arn']}, AWS account {identity['Account']}{at}")
    if response:
        headers = response["ResponseMetadata"]["HTTPHeaders"]
        yield check_clock(headers.get("date"), datetime.now(UTC))
    return bool(identity)


def _check_region(stage: Stage, session: boto3.Session) -> CheckResult:
    region = session.region_name
    default = boto3.Session(profile_name=stage.profile).region_name
    missing = [name for name in _SERVICES if region not in session.get_available_regions(name)]
    if missing:
        text = f"{region} may not offer {', '.join(missing)}: use another region."
    elif default and default != region:
        text = (
            f"{stage.name} is deployed to {region}, but the documentation's commands would use "
            f"{default}: export AWS_REGION={region}"
        )
    else:
        return ok("region", f"{region} offers all services")
    return warning("region", text)


def _check_opt_in(session: boto3.Session) -> CheckResults:
    region = session.region_name
    try:
        response = client_factory(session)("account").get_region_opt_status(RegionName=region)
    except ClientError as error:
        unknown = "The region may not be enabled: aws account get-region-opt-status --region-name"
        yield warning("region opt-in", f"{describe_aws_error(error)} {unknown} {region}")
    except BotoCoreError:
        # Without credentials or network, the next check fails too, and says why.
        yield skipped("region opt-in", "Not checked, because AWS was not called.")
    else:
        yield check_opt_in(region, response["RegionOptStatus"])


def check_opt_in(region: str, status: str) -> CheckResult:
    """Check the opt-in status of a region, as the API `GetRegionOptStatus` returns it."""
    subject = "region opt-in"
    if status in ("ENABLED", "ENABLED_BY_DEFAULT"):
        return ok(subject, f"{region} is enabled for the AWS account")
    if status == "ENABLING":
        return warning(subject, f"{region} is being enabled: wait some minutes and check again.")
    return failed(
        subject,
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
    if skew < _WARNING_SKEW:
        return ok("clock", text)
    result = failed if skew >= _MAX_SKEW else warning
    return result("clock", f"{text}; AWS rejects signatures beyond 5 minutes: use NTP.")


def find_stack(client: ClientFactory, name: str) -> Deployed | None:
    """Return the stack `name`, or None if it does not exist. Raises boto3's exceptions."""
    try:
        (stack,) = client("cloudformation").describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        if "does not exist" in error.response["Error"].get("Message", ""):
            return None
        raise
    outputs, parameters = (
        {item[f"{kind}Key"]: item[f"{kind}Value"] for item in stack.get(f"{kind}s", ())}
        for kind in ("Output", "Parameter")
    )
    return Deployed(name, stack["StackStatus"], outputs, parameters)


def check_status(stack: Deployed) -> CheckResult:
    """Check the stack's status."""
    text = f"{stack.name} is {stack.status}"
    match stack.status:
        case "CREATE_COMPLETE" | "UPDATE_COMPLETE" | "IMPORT_COMPLETE":
            return ok("stack", text)
        case "UPDATE_ROLLBACK_COMPLETE" | "IMPORT_ROLLBACK_COMPLETE":
            text += ": the last deployment was rolled back. See its events."
            return warning("stack", text)
        case "CREATE_FAILED" | "ROLLBACK_COMPLETE" | "ROLLBACK_FAILED":
            return failed("stack", f"{text}: see its events, delete it and deploy again.")
    if stack.status.endswith("IN_PROGRESS"):
        return warning("stack", f"{text}: check again when it has finished.")
    return failed("stack", f"{text}: see its events in CloudFormation.")


def check_outputs(stack: Deployed, template: Path) -> CheckResult:
    """Check whether the stack has every output of the template."""
    declared = template.read_text(encoding="utf-8").partition("\nOutputs:\n")[2]
    # Without those that exist only with a parameter.
    names = re.findall(r"^  (\w+):$(?!\n    Condition:)", declared, re.MULTILINE)
    if missing := ", ".join(name for name in names if name not in stack.outputs):
        text = f"{missing} missing: the stack is older than template.yaml. Deploy it."
        return warning("outputs", text)
    return ok("outputs", f"all {len(names)} exist")


def check_stack(client: ClientFactory, stack: Deployed, template: Path) -> CheckResults:
    """Check the stack, its schedules and alarms, and the subscriptions to its mails."""
    yield check_status(stack)
    yield check_outputs(stack, template)
    mails = stack.parameters.get("NotificationEmail", "")
    alarms = stack.parameters.get("AlarmEmail") or mails
    list_resources = partial(_list_resources, client, stack.name)
    for subject, check in (
        ("mails", partial(_check_topic, "MailTopicArn", mails)),
        ("alarm mails", partial(_check_topic, "AlarmsTopicArn", alarms)),
        ("API", _check_stages),
        ("schedules", partial(_check_schedules, list_resources)),
        ("alarms", partial(_check_alarms, list_resources)),
        ("dead letters", _check_dead_letters),
    ):
        yield from run_safely(subject, partial(check, subject, client, stack))


def _check_topic(
    output: str, address: str, subject: str, client: ClientFactory, stack: Deployed
) -> CheckResults:
    topic = stack.outputs.get(output)
    if topic is None:
        yield skipped(subject, f"The stack has no output {output}.")
        return
    subscriptions = list_all(
        client, "sns", "list_subscriptions_by_topic", "Subscriptions", TopicArn=topic
    )
    for item in subscriptions:
        if item["SubscriptionArn"].startswith("arn:"):
            arn = {"SubscriptionArn": item["SubscriptionArn"]}
            item.update(client("sns").get_subscription_attributes(**arn)["Attributes"])
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
    pending, deleted = "PendingConfirmation", "Deleted"
    if names := [i["Endpoint"] for i in subscriptions if i["SubscriptionArn"] == pending]:
        text = f"{', '.join(names)} is not confirmed, and ends after two days: {confirm}"
        return failed(subject, text)
    confirmed = [item for item in subscriptions if item["SubscriptionArn"] != deleted]
    if not confirmed and address == "none":
        return ok(subject, "none, as the stack's parameters say")
    if not confirmed and not address:
        names = ["AlarmEmail", "NotificationEmail"] if "alarm" in subject else ["NotificationEmail"]
        parameters = " or ".join(names)
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
    counts = sorted(Counter(item["Protocol"] for item in confirmed).items())
    return ok(subject, ", ".join(f"{count} × {protocol}" for protocol, count in counts))


def _list_resources(client: ClientFactory, stack: str, resource_type: str) -> list[str]:
    """Return the physical names of the stack's resources of a type, such as `AWS::SQS::Queue`."""
    return [
        item["PhysicalResourceId"]
        for item in list_stack_resources(client, stack)
        if item["ResourceType"] == resource_type and "PhysicalResourceId" in item
    ]


def list_stack_resources(client: ClientFactory, stack: str) -> list[dict[str, Any]]:
    """Return the resources of a stack as CloudFormation lists them. Raises boto3's exceptions."""
    service, operation = "cloudformation", "list_stack_resources"
    return list_all(client, service, operation, "StackResourceSummaries", StackName=stack)


def _check_stages(subject: str, client: ClientFactory, stack: Deployed) -> CheckResults:
    api = stack.outputs.get("ApiId")
    if api is None:
        yield skipped(subject, "The stack has no output ApiId.")
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
    list_resources: Callable[[str], list[str]], subject: str, client: ClientFactory, _: Deployed
) -> CheckResults:
    # CloudFormation documents the group's name as its physical ID.
    groups = [name.rpartition("/")[2] for name in list_resources("AWS::Scheduler::ScheduleGroup")]
    enabled = {
        item["Name"]
        for group in groups
        for item in list_all(client, "scheduler", "list_schedules", "Schedules", GroupName=group)
        if item["State"] == "ENABLED"
    }
    expected = [name.rpartition("/")[2] for name in list_resources("AWS::Scheduler::Schedule")]
    off = [name for name in expected if name not in enabled]
    if expected and not off:
        yield ok(subject, f"all {len(expected)} are enabled")
    else:
        names = ", ".join(off) or "none"
        yield failed(subject, f"{names}: disabled or deleted. Enable or deploy again.")


def _check_alarms(
    list_resources: Callable[[str], list[str]], _: str, client: ClientFactory, stack: Deployed
) -> CheckResults:
    prefix = f"{stack.name}-"
    listed = list_all(
        client, "cloudwatch", "describe_alarms", "MetricAlarms", AlarmNamePrefix=prefix
    )
    # The prefix `timbres-` also matches the alarms of a stack `timbres-prod`.
    names = list_resources("AWS::CloudWatch::Alarm")
    yield from check_alarms(names, {item["AlarmName"]: item for item in listed})


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


def _check_dead_letters(subject: str, client: ClientFactory, stack: Deployed) -> CheckResults:
    suffix, attribute = "DeadLetterQueueUrl", "ApproximateNumberOfMessages"
    urls = {name: url for name, url in stack.outputs.items() if name.endswith(suffix)}
    waiting = []
    for name, url in urls.items():
        response = client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=[attribute])
        if count := int(response["Attributes"][attribute]):
            waiting.append(f"{count} in {name.removesuffix('Url')}")
    if waiting:
        text = f"{', '.join(waiting)}: docs/operations.md describes how to redrive them."
        yield warning(subject, text)
    else:
        yield ok(subject, f"none in {len(urls)} queues")
