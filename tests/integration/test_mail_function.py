"""The mail function sends one mail per event, whatever is delivered twice or fails."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.support.download_token_cases import open_link
from tests.support.events import LambdaContext, bus_event
from tests.support.fake_stack import RFC, FakeStack
from tests.support.mail_samples import GOLDEN
from tests.support.template import of_type, template


def event_of(kind: str) -> dict[str, Any]:
    detail = json.dumps(dict(GOLDEN.values())[kind])
    return bus_event({"DetailType": kind, "Source": "timbres", "Detail": detail})


def links(stack: FakeStack, mail: str) -> list[str]:
    """Return the tokens of a mail's links; each link is on its own line."""
    url = template().environment("mail", stack.aws.resolve)["DOWNLOAD_URL"]
    lines = [line.strip() for line in mail.splitlines() if "://" in line]
    assert all(line.startswith(url) for line in lines)
    return [line.removeprefix(url) for line in lines]


def download(stack: FakeStack, token: str) -> str:
    """Open a link of a mail as a browser does, and return the hash of the report."""
    response = open_link(stack, token)
    assert response.status == 302
    return hashlib.sha256(stack.download(response.headers["location"]).content).hexdigest()


@pytest.mark.parametrize("kind", ["Report Ready", "Daily Run Completed"])
def test_a_repeated_event_is_one_mail(stack: FakeStack, kind: str) -> None:
    stack.invoke("mail", event_of(kind))
    tokens = stack.aws.items("DownloadTokensTable")
    # Delivered again to a warm function, and published again to a cold one.
    stack.invoke("mail", event_of(kind))
    stack.reset_warm_functions()
    stack.invoke("mail", event_of(kind))

    (mail,) = stack.mails()
    assert mail.startswith("Timbres: ")
    assert stack.aws.items("DownloadTokensTable") == tokens
    assert len([item for item in tokens if item["expires_at"]]) == len(links(stack, mail))
    (record,) = stack.aws.items("MailIdempotencyTable")
    tables = of_type("AWS::DynamoDB::Table")
    ttl = tables["MailIdempotencyTable"]["TimeToLiveSpecification"]["AttributeName"]
    assert int(record[ttl]) > 0
    assert RFC not in str(record)


def test_a_monthly_run_is_one_mail_whose_links_open_the_reports_after_a_retry(
    stack: FakeStack,
) -> None:
    stack.aws.refs["MonthlyFormats"] = "csv"
    stack.invoke("report", {"month": "previous", "scheduled_time": "2026-11-01T12:00:00Z"})
    stack.deliver()
    (run,) = stack.events("Monthly Reports Completed")
    # After the mail is marked as started, and two download tokens.
    stack.aws_faults.reject("dynamodb", "PutItem", "InternalError", 500, after=3)
    with pytest.raises(Exception, match="InternalError"):
        stack.mails()
    stack.aws_faults.restore()

    (mail,) = stack.mails()

    tokens = links(stack, mail)
    assert len(tokens) == run["ready"]
    hashes = [report["sha256"] for report in stack.events("Report Ready")]
    assert sorted(download(stack, token) for token in tokens) == sorted(hashes)


def test_an_event_delivered_twice_at_the_same_time_is_one_mail(stack: FakeStack) -> None:
    event = event_of("Contract Confirmed")
    module = stack.load_function("mail")

    def deliver(_: int) -> None:
        module.handler(json.loads(json.dumps(event)), LambdaContext("mail", 29))

    with stack.environment("mail"), ThreadPoolExecutor(4) as threads:
        list(threads.map(deliver, range(4)))

    assert len(stack.mails()) == 1


def test_a_link_opens_its_version_for_as_long_as_the_mail_says(stack: FakeStack) -> None:
    stack.request_report()
    stack.deliver()
    (mail,) = stack.mails()
    (event,) = stack.events("Report Ready")
    # A newer version.
    stack.request_report()
    stack.deliver()
    (token,) = links(stack, mail)
    assert "sirve 30 días" in mail

    stack.clock.forward(days=30, seconds=-3)
    assert download(stack, token) == event["sha256"]
    stack.clock.forward(seconds=3)
    assert open_link(stack, token).status == 404
    # The token is in its mail only.
    assert token not in stack.all_output()
