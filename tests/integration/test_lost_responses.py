"""AWS applies a call and its response is lost: the SDK repeats the call."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.support import moto_patches
from tests.support.download_token_cases import issue_token, open_link, store_report
from tests.support.fake_stack import RC, RFC, RFC_N, SF, FakeStack

from timbres.aws import clients as session
from timbres.aws import multipart_upload as upload
from timbres.aws.multipart_upload import Upload
from timbres.domain.forecast import AlertThresholds, Snapshot
from timbres.domain.issuer import Issuer
from timbres.domain.issuer_import import IssuerRow
from timbres.domain.stamps import Stamps
from timbres.repositories.daily_counts import DailyCountRepository
from timbres.repositories.download_tokens import DownloadTokenRepository
from timbres.repositories.dynamodb import serialize, transact_write
from timbres.repositories.issuers import IssuerRepository

# ----------------------------------------------------------------------------------- AWS

FAILED = "ConditionalCheckFailedException"


PAC_ERROR = {"name": "reachcore", "code": "401", "message": None}


def get_secret(stack: FakeStack) -> Any:
    return session.client("secretsmanager").get_secret_value(SecretId=f"timbres/accounts/{RC}")


def put_new_item(stack: FakeStack, **options: Any) -> Any:
    return session.client("dynamodb").put_item(
        TableName=stack.aws.refs["IssuersTable"],
        Item=serialize({"account": SF, "rfc": RFC}),
        ConditionExpression="attribute_not_exists(account)",
        **options,
    )


def add_in_transaction(stack: FakeStack) -> Any:
    update = {
        "TableName": stack.aws.refs["IssuersTable"],
        "Key": serialize({"account": SF, "rfc": RFC}),
        "UpdateExpression": "ADD times :one",
        "ExpressionAttributeValues": serialize({":one": 1}),
    }
    return transact_write(session.client("dynamodb"), [{"Update": update}])


def count_additions(stack: FakeStack) -> int:
    (item,) = stack.aws.items("IssuersTable")
    return int(item.get("times", 1))


def send_message(stack: FakeStack) -> Any:
    url = stack.aws.refs["ReportsQueue"]
    return session.client("sqs").send_message(QueueUrl=url, MessageBody="{}")


def publish_event(stack: FakeStack) -> Any:
    entry = {"EventBusName": stack.aws.refs["Bus"], "Source": "timbres", "DetailType": "Test"}
    return session.client("events").put_events(Entries=[entry | {"Detail": json.dumps({})}])


def put_object(stack: FakeStack) -> Any:
    bucket = stack.aws.refs["ReportsBucket"]
    return session.client("s3").put_object(Bucket=bucket, Key="a", Body=b"report")


def count_versions(stack: FakeStack) -> int:
    bucket = stack.aws.refs["ReportsBucket"]
    return len(stack.aws.client("s3").list_object_versions(Bucket=bucket)["Versions"])


def publish_mail(stack: FakeStack) -> Any:
    arn = stack.aws.refs["MailTopic"]
    return session.client("sns").publish(TopicArn=arn, Subject="a", Message="b")


def count_mails(stack: FakeStack) -> int:
    return len(moto_patches.sent_mails(stack.aws.refs["MailTopic"]))


@pytest.mark.parametrize(
    ("service", "operation", "call", "count", "effects"),
    [
        ("secretsmanager", "GetSecretValue", get_secret, lambda _: 1, 1),
        ("dynamodb", "PutItem", put_new_item, count_additions, 1),
        ("dynamodb", "TransactWriteItems", add_in_transaction, count_additions, 1),
        ("sqs", "SendMessage", send_message, lambda stack: stack.queued_messages(), 2),
        ("events", "PutEvents", publish_event, lambda stack: len(stack.published), 2),
        ("s3", "PutObject", put_object, count_versions, 2),
        ("sns", "Publish", publish_mail, count_mails, 2),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_aws_applies_a_repeated_call_once_or_twice(
    stack: FakeStack,
    service: str,
    operation: str,
    call: Callable[[FakeStack], Any],
    count: Callable[[FakeStack], int],
    effects: int,
) -> None:
    sent: list[str] = []
    stack.aws_faults.watch(service, operation, lambda **_: sent.append(operation))
    stack.aws_faults.lose_response(service, operation)
    with suppress(ClientError):
        call(stack)
    assert len(sent) == 2, "botocore has sent it again"
    assert count(stack) == effects


def test_a_repeated_conditional_write_fails_because_of_its_own_effect(stack: FakeStack) -> None:
    stack.aws_faults.lose_response("dynamodb", "PutItem")
    with pytest.raises(ClientError, match=FAILED) as caught:
        put_new_item(stack, ReturnValuesOnConditionCheckFailure="ALL_OLD")
    response: Any = caught.value.response
    assert response["Item"] == serialize({"account": SF, "rfc": RFC})


def test_a_second_transaction_is_applied_separately(stack: FakeStack) -> None:
    stack.aws_faults.lose_response("dynamodb", "TransactWriteItems")
    assert add_in_transaction(stack) == add_in_transaction(stack) == set()
    assert count_additions(stack) == 2


# ----------------------------------------------------------------------------------- Timbres


def issuer_repository(stack: FakeStack) -> IssuerRepository:
    return IssuerRepository(session.client("dynamodb"), stack.aws.refs["IssuersTable"])


def token_repository(stack: FakeStack) -> DownloadTokenRepository:
    return DownloadTokenRepository(
        session.client("dynamodb"), stack.aws.refs["DownloadTokensTable"]
    )


def test_a_use_of_a_token_counts_once(stack: FakeStack) -> None:
    token = issue_token(stack, store_report(stack, b"a report"))
    lost = stack.aws_faults.lose_response("dynamodb", "UpdateItem")
    for _ in range(2):
        assert open_link(stack, token).status == 302
    assert lost
    (item,) = stack.aws.items("DownloadTokensTable")
    assert item["uses"] == 2
    used = [line["uses"] for line in stack.logs.lines("download token used")]
    assert used == [1, 2]


@pytest.mark.parametrize("after", [0, 1, 2])
def test_revoked_tokens_are_counted_despite_lost_responses(stack: FakeStack, after: int) -> None:
    report = store_report(stack, b"a report")
    tokens = [issue_token(stack, report) for _ in range(3)]
    lost = stack.aws_faults.lose_response("dynamodb", "UpdateItem", after=after)
    assert token_repository(stack).revoke(RC, report.id, stack.clock()) == 3
    assert lost
    assert token_repository(stack).revoke(RC, report.id, stack.clock()) == 0
    assert {open_link(stack, token).status for token in tokens} == {404}


def test_a_token_revoked_by_another_request_is_not_counted(stack: FakeStack) -> None:
    """Both at the same moment: the time does not distinguish the writes."""
    report = store_report(stack, b"a report")
    token = issue_token(stack, report)
    assert token_repository(stack).revoke(RC, report.id, stack.clock()) == 1
    assert token_repository(stack).revoke(RC, report.id, stack.clock()) == 0
    assert open_link(stack, token).status == 404


def test_an_issuer_is_removed_once(stack: FakeStack) -> None:
    stack.accounts.add_issuers([RFC, RFC_N])
    lost = stack.aws_faults.lose_response("dynamodb", "TransactWriteItems")
    path, query = f"/accounts/{SF}/issuers", {"rfc": RFC}
    response = stack.call("issuers", "DELETE", path, query)
    assert lost
    assert (response.status, response.body["removed"]) == (200, True)
    assert stack.call("issuers", "DELETE", path, query).status == 404
    assert [item["rfc"] for item in stack.aws.items("IssuersTable")] == [RFC_N]


def add_missing_issuer(stack: FakeStack) -> None:
    issuer_repository(stack).add_missing(SF, [RFC], stack.clock())


def import_issuers(stack: FakeStack) -> None:
    issuer_repository(stack).upsert(SF, [IssuerRow(RFC, 7), IssuerRow(RFC_N, None)], stack.clock())


def save_observation(stack: FakeStack) -> None:
    issuer_repository(stack).save_observation(
        Issuer(SF, RFC, Stamps(10, 4, 6), as_of=stack.clock())
    )


def save_snapshot(stack: FakeStack) -> None:
    day = date(2026, 11, 19)
    snapshot = Snapshot(stack.clock(), Stamps(10, 4, 6))
    issuer = Issuer(SF, RFC).with_daily_count(
        day, snapshot, AlertThresholds(None, 7), f"{day}-050000"
    )
    refs = stack.aws.refs
    daily_counts = DailyCountRepository(
        session.client("dynamodb"), refs["SnapshotsTable"], refs["IssuersTable"]
    )
    daily_counts.save(day, [issuer], known=False)


@pytest.mark.parametrize(
    ("write", "operation"),
    [
        (add_missing_issuer, "UpdateItem"),
        (import_issuers, "TransactWriteItems"),
        (save_observation, "UpdateItem"),
        (save_snapshot, "TransactWriteItems"),
    ],
)
def test_issuers_and_snapshots_are_stored_once(
    stack: FakeStack, write: Callable[[FakeStack], None], operation: str
) -> None:
    def stored_items() -> Any:
        return [stack.aws.items(name) for name in ("IssuersTable", "SnapshotsTable")]

    lost = stack.aws_faults.lose_response("dynamodb", operation)
    write(stack)
    assert lost
    items_after_loss = stored_items()
    for table, keys in (
        ("IssuersTable", ("account", "rfc")),
        ("SnapshotsTable", ("account", "entry")),
    ):
        for item in stack.aws.items(table):
            stack.aws.client("dynamodb").delete_item(
                TableName=stack.aws.refs[table], Key=serialize({key: item[key] for key in keys})
            )
    write(stack)
    assert stored_items() == items_after_loss != [[], []]


@pytest.mark.parametrize(("lost", "sent"), [("PutItem", 1), ("UpdateItem", 1), ("Publish", 2)])
def test_an_event_is_mailed_once_unless_the_topic_loses_its_response(
    stack: FakeStack, lost: str, sent: int
) -> None:
    stack.clock.forward(days=1)
    service = "sns" if lost == "Publish" else "dynamodb"
    hits = stack.aws_faults.lose_response(service, lost)
    detail = {"account": RC, "at": stack.clock().isoformat(), "pac": PAC_ERROR}
    event = {"detail-type": "Credentials Rejected", "detail": detail}
    for _ in range(2):
        stack.invoke("mail", event)
    assert hits
    assert count_mails(stack) == sent


def test_a_second_delivery_does_not_send_a_mail_in_progress(
    stack: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    detail = {"account": RC, "at": stack.clock().isoformat(), "pac": PAC_ERROR}
    event = {"detail-type": "Credentials Rejected", "detail": detail}
    module = stack.function("mail")
    deliveries: list[Any] = []
    send_mail = module.MailPublisher.send

    def send_after_second_delivery(topic: Any, mail: Any) -> None:
        if not deliveries:
            deliveries.append(mail)
            stack.invoke("mail", event)
        send_mail(topic, mail)

    monkeypatch.setattr(module.MailPublisher, "send", send_after_second_delivery)
    stack.invoke("mail", event)
    assert deliveries
    assert count_mails(stack) == 1


@pytest.mark.parametrize("size", [100, upload.PART_BYTES + 1])
@pytest.mark.parametrize(
    "operation", ["PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"]
)
def test_an_object_is_complete_whichever_response_is_lost(
    stack: FakeStack, operation: str, size: int
) -> None:
    lost = stack.aws_faults.lose_response("s3", operation)
    bucket, content = stack.aws.refs["ReportsBucket"], bytes(size)
    with Upload(session.client("s3"), bucket, "reports/a") as file:
        file.write(content)
    assert bool(lost) == ((operation == "PutObject") == (size == 100))
    stored_object = stack.aws.client("s3").get_object(
        Bucket=bucket, Key="reports/a", VersionId=file.version_id
    )
    assert stored_object["Body"].read() == content
