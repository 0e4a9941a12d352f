"""AWS applies a call and its response is lost: the SDK repeats the call.

``test_reliability.py`` loses the response of every call; these tests count the effects.
"""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import moto_patches
from tests.support.download_token_cases import issue_token, open_link, store_report
from tests.support.fake_stack import RC, RFC, SF, FakeStack

from timbres.aws.clients import client
from timbres.aws.multipart_upload import PART_BYTES, Upload
from timbres.repositories.download_tokens import DownloadTokenRepository
from timbres.repositories.dynamodb import serialize, transact_write

KEY = serialize({"account": SF, "rfc": RFC})
PAC_ERROR = {"name": "reachcore", "code": "401", "message": None}


def test_a_repeated_transaction_is_applied_once_per_token(stack: FakeStack) -> None:
    update = {
        "TableName": stack.aws.refs["IssuersTable"],
        "Key": KEY,
        "UpdateExpression": "ADD times :one",
        "ExpressionAttributeValues": serialize({":one": 1}),
    }
    lost = stack.aws_faults.lose_response("dynamodb", "TransactWriteItems")

    for times in (1, 2):
        assert transact_write(client("dynamodb"), [{"Update": update}]) == set()
        assert [item["times"] for item in stack.aws.items("IssuersTable")] == [times]
    assert lost


def test_a_use_of_a_token_counts_once(stack: FakeStack) -> None:
    token = issue_token(stack, store_report(stack, b"a report"))
    lost = stack.aws_faults.lose_response("dynamodb", "UpdateItem")

    assert [open_link(stack, token).status for _ in range(2)] == [302, 302]

    assert lost
    assert [item["uses"] for item in stack.aws.items("DownloadTokensTable")] == [2]
    assert [line["uses"] for line in stack.logs.lines("download token used")] == [1, 2]


@pytest.mark.parametrize("after", [0, 2])
def test_revoked_tokens_are_counted_once(stack: FakeStack, after: int) -> None:
    report = store_report(stack, b"a report")
    tokens = [issue_token(stack, report) for _ in range(3)]
    table = stack.aws.refs["DownloadTokensTable"]
    repository = DownloadTokenRepository(client("dynamodb"), table)
    lost = stack.aws_faults.lose_response("dynamodb", "UpdateItem", after=after)

    # Both at the same moment: the time does not distinguish the requests.
    counts = [repository.revoke(RC, report.id, stack.clock()) for _ in range(2)]

    assert (counts, len(lost)) == ([3, 0], 1)
    assert {open_link(stack, token).status for token in tokens} == {404}


def rejection_event(stack: FakeStack) -> dict[str, Any]:
    stack.clock.forward(days=1)
    detail = {"account": RC, "at": stack.clock().isoformat(), "pac": PAC_ERROR}
    return {"detail-type": "Credentials Rejected", "detail": detail}


def count_mails(stack: FakeStack) -> int:
    return len(moto_patches.sent_mails(stack.aws.refs["MailTopic"]))


@pytest.mark.parametrize(
    ("service", "lost", "mails"),
    [("dynamodb", "PutItem", 1), ("dynamodb", "UpdateItem", 1), ("sns", "Publish", 2)],
)
def test_an_event_is_mailed_once_unless_the_topic_loses_its_response(
    stack: FakeStack, service: str, lost: str, mails: int
) -> None:
    event = rejection_event(stack)
    hits = stack.aws_faults.lose_response(service, lost)

    for _ in range(2):
        stack.invoke("mail", event)

    assert hits
    assert count_mails(stack) == mails


def test_a_second_delivery_does_not_send_a_mail_in_progress(stack: FakeStack) -> None:
    event = rejection_event(stack)
    deliveries: list[Any] = []

    def deliver_again(request: Any, **_: Any) -> None:
        if not deliveries:
            deliveries.append(request)
            stack.invoke("mail", event)

    stack.aws_faults.watch("sns", "Publish", deliver_again)
    stack.invoke("mail", event)

    assert deliveries
    assert count_mails(stack) == 1


@pytest.mark.parametrize(
    ("operation", "size"),
    [
        ("PutObject", 100),
        ("CreateMultipartUpload", PART_BYTES + 1),
        ("UploadPart", PART_BYTES + 1),
        ("CompleteMultipartUpload", PART_BYTES + 1),
    ],
)
def test_an_object_is_complete(stack: FakeStack, operation: str, size: int) -> None:
    lost = stack.aws_faults.lose_response("s3", operation)
    bucket, content = stack.aws.refs["ReportsBucket"], bytes(size)

    with Upload(client("s3"), bucket, "reports/a") as file:
        file.write(content)

    assert lost
    stored = stack.aws.client("s3").get_object(
        Bucket=bucket, Key="reports/a", VersionId=file.version_id
    )
    assert stored["Body"].read() == content
