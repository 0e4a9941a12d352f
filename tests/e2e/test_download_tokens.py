"""Mailed links on the true template: the one route without IAM, and how little it can do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from botocore.exceptions import ClientError
from local.emulator_process import Keys, Session
from local.environment import LocalEnvironment
from local.stack import Stack

from tests.e2e.test_main_job import ready
from timbres.domain import clock
from timbres.domain.download_token import download_token_hash, new_download_token
from timbres.domain.report import Report
from timbres.repositories.download_tokens import DownloadTokenRepository
from timbres.repositories.reports import ReportRepository

ACCOUNT = "acme-rc"


@pytest.fixture(scope="module")
def report(world: LocalEnvironment) -> Report:
    """A report that a worker has made."""
    made = ready(world.stack, ACCOUNT, "statement", "csv")
    dynamodb = world.stack.session().client("dynamodb")
    found = ReportRepository(dynamodb, world.stack.outputs["ReportsTableName"]).get(
        ACCOUNT, made["id"]
    )
    assert found is not None
    return found


@pytest.fixture(scope="module")
def tokens(stack: Stack) -> DownloadTokenRepository:
    """The tickets, in an administrator's hands."""
    return DownloadTokenRepository(
        stack.session().client("dynamodb"), stack.resource("DownloadTokensTable")
    )


def issued(tokens: DownloadTokenRepository, report: Report, **good_for: float) -> str:
    assert report.object_version is not None
    until = clock.now() + timedelta(**good_for or {"days": 30})
    return tokens.issue(report.spec, report.id, report.object_version, until)


def opened(stack: Stack, token: str) -> requests.Response:
    return stack.call(None, "GET", f"/d/{token}")


def visible_parts(answer: requests.Response) -> tuple[int, dict[str, str], bytes]:
    """Return an answer without what differs from one request to the next."""
    passing = {"date", "x-amzn-requestid", "x-amz-apigw-id", "x-amzn-trace-id", "x-amz-id-2"}
    passing |= {"x-amz-request-id", "apigw-requestid"}
    headers = {k.lower(): v for k, v in answer.headers.items() if k.lower() not in passing}
    return answer.status_code, headers, answer.content


def path(report: Report) -> str:
    return f"/accounts/{ACCOUNT}/reports/{report.id}/tokens"


def test_a_mailed_link_opens_without_any_key(
    world: LocalEnvironment, tokens: DownloadTokenRepository, report: Report
) -> None:
    token = issued(tokens, report)

    answer = opened(world.stack, token)

    assert answer.status_code == 302
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    link = answer.headers["Location"]
    query = parse_qs(urlsplit(link).query)
    assert (query["X-Amz-Expires"], query["versionId"]) == (["300"], [report.object_version])
    download = requests.get(link, timeout=10)
    assert download.status_code == 200
    assert hashlib.sha256(download.content).hexdigest() == report.sha256
    assert report.spec.download_name in download.headers["Content-Disposition"]


def test_it_keeps_opening_the_version_it_was_issued_for(
    world: LocalEnvironment, tokens: DownloadTokenRepository, report: Report
) -> None:
    token = issued(tokens, report)
    newer = ready(world.stack, ACCOUNT, "statement", "csv")
    assert newer["id"] != report.id

    link = opened(world.stack, token).headers["Location"]

    assert hashlib.sha256(requests.get(link, timeout=10).content).hexdigest() == report.sha256
    assert parse_qs(urlsplit(link).query)["versionId"] == [report.object_version]


def test_what_is_no_good_is_as_if_it_never_was(
    stack: Stack, tokens: DownloadTokenRepository, report: Report
) -> None:
    expired = issued(tokens, report, seconds=-1)
    revoked = issued(tokens, report)
    assert stack.call("reporter", "DELETE", path(report)).json()["revoked"] >= 1

    never = opened(stack, new_download_token())

    assert never.status_code == 404
    assert never.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "Este enlace ya no funciona" in never.content.decode()
    for token in (
        expired,
        revoked,
        "x",
        "A" * 2_000,
        "%C3%91",
        "%25%00",
        download_token_hash(revoked),
    ):
        assert visible_parts(opened(stack, token)) == visible_parts(never)


@pytest.mark.parametrize(
    ("identity", "allowed"),
    [
        ("reader", False),
        ("reporter", True),
        ("contract_manager", False),
        ("nobody", False),
        (None, False),
    ],
)
def test_who_may_revoke(
    stack: Stack,
    tokens: DownloadTokenRepository,
    report: Report,
    identity: str | None,
    allowed: bool,
) -> None:
    stack.call("reporter", "DELETE", path(report))
    token = issued(tokens, report)

    answer = stack.call(identity, "DELETE", path(report))

    assert answer.status_code == (200 if allowed else 403)
    if allowed:
        assert answer.json() == {"account": ACCOUNT, "id": report.id, "revoked": 1}
    assert opened(stack, token).status_code == (404 if allowed else 302)


def test_no_other_route_is_open_without_a_signature(stack: Stack) -> None:
    for method, place in (("GET", "/d"), ("GET", "/d/a/b"), ("POST", "/d/a"), ("DELETE", "/d/a")):
        assert stack.call(None, method, place).status_code == 403, place


def test_download_tokens_are_in_no_log_and_no_table(
    stack: Stack, tokens: DownloadTokenRepository, report: Report
) -> None:
    good, bad = issued(tokens, report), new_download_token()
    assert [opened(stack, one).status_code for one in (good, bad)] == [302, 404]

    lines = "\n".join(stack.function_logs("DownloadTokenFunction"))
    items = str(
        stack.session()
        .client("dynamodb")
        .scan(TableName=stack.resource("DownloadTokensTable"))["Items"]
    )
    assert "download token used" in lines
    assert "download token rejected" in lines
    for one in (good, bad):
        assert one not in lines
        assert download_token_hash(one) not in lines
        assert one not in items
    assert download_token_hash(good) in items


@pytest.fixture(scope="module")
def download_token_session(stack: Stack) -> Session:
    """A session with the rights of the function's role, all of them and no others."""
    iam, role = stack.session().client("iam"), stack.resource("DownloadTokenRole")
    assert iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"] == []
    assert iam.list_role_policies(RoleName=role)["PolicyNames"] == ["download-token"]
    policy = iam.get_role_policy(RoleName=role, PolicyName="download-token")["PolicyDocument"]
    name = "as-ticket-function"
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=_text(policy))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return Session(stack.endpoint_url, Keys(key["AccessKeyId"], key["SecretAccessKey"]))


def _text(policy: Any) -> str:
    return policy if isinstance(policy, str) else json.dumps(policy)


def test_the_function_may_use_tokens_and_presign_reports(
    stack: Stack, tokens: DownloadTokenRepository, report: Report, download_token_session: Session
) -> None:
    token = issued(tokens, report)
    own = DownloadTokenRepository(
        download_token_session.client("dynamodb"), stack.resource("DownloadTokensTable")
    )
    assert own.use(token, clock.now(), "127.0.0.1") is not None
    download_token_session.client("s3").get_object(
        Bucket=stack.outputs["ReportsBucketName"],
        Key=report.spec.key,
        VersionId=report.object_version,
    )


Act = Callable[[Session, Stack], Any]
REFUSED: dict[str, Act] = {
    "read-a-secret": lambda own, stack: own.client("secretsmanager").get_secret_value(
        SecretId=f"timbres/accounts/{ACCOUNT}"
    ),
    "list-secrets": lambda own, stack: own.client("secretsmanager").list_secrets(),
    "read-the-journal": lambda own, stack: own.client("dynamodb").scan(
        TableName=stack.outputs["ContractsTableName"]
    ),
    "read-one-of-the-journal": lambda own, stack: own.client("dynamodb").get_item(
        TableName=stack.outputs["ContractsTableName"],
        Key={"account": {"S": "acme-sf"}, "entry": {"S": "contract#1"}},
    ),
    "write-the-journal": lambda own, stack: own.client("dynamodb").update_item(
        TableName=stack.outputs["ContractsTableName"],
        Key={"account": {"S": "acme-sf"}, "entry": {"S": "contract#1"}},
    ),
    "read-the-records-of-reports": lambda own, stack: own.client("dynamodb").scan(
        TableName=stack.outputs["ReportsTableName"]
    ),
    "list-tickets": lambda own, stack: own.client("dynamodb").scan(
        TableName=stack.resource("DownloadTokensTable")
    ),
    "list-the-tickets-of-a-report": lambda own, stack: own.client("dynamodb").query(
        TableName=stack.resource("DownloadTokensTable"),
        IndexName="report",
        KeyConditionExpression="report = :report",
        ExpressionAttributeValues={":report": {"S": f"{ACCOUNT}/x"}},
    ),
    "issue-a-ticket": lambda own, stack: own.client("dynamodb").put_item(
        TableName=stack.resource("DownloadTokensTable"), Item={"ticket": {"S": "x"}}
    ),
    "list-reports": lambda own, stack: own.client("s3").list_objects_v2(
        Bucket=stack.outputs["ReportsBucketName"]
    ),
    "write-a-report": lambda own, stack: own.client("s3").put_object(
        Bucket=stack.outputs["ReportsBucketName"], Key="reports/x", Body=b""
    ),
    "read-beside-the-reports": lambda own, stack: own.client("s3").get_object(
        Bucket=stack.outputs["ReportsBucketName"], Key="x"
    ),
    "publish": lambda own, stack: own.client("sns").publish(
        TopicArn=stack.outputs["MailTopicArn"], Message="x"
    ),
    "order-a-report": lambda own, stack: own.client("sqs").send_message(
        QueueUrl=stack.outputs["ReportsQueueUrl"], MessageBody="{}"
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_the_function_may_do_nothing_else(
    stack: Stack, download_token_session: Session, what: str
) -> None:
    with pytest.raises(ClientError) as caught:
        REFUSED[what](download_token_session, stack)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 403)
    # As S3, DynamoDB and SNS say it.
    assert caught.value.response["Error"]["Code"] in (
        "AccessDenied",
        "AccessDeniedException",
        "AuthorizationError",
    )


def test_the_mails_lead_to_this_machine(stack: Stack) -> None:
    lambda_ = stack.session().client("lambda")
    name = stack.outputs["MailFunctionName"]
    variables = lambda_.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    assert variables["DOWNLOAD_URL"] == f"{stack.api_url}/d/"
    assert variables["DOWNLOAD_TOKENS_TABLE"] == stack.resource("DownloadTokensTable")
    assert variables["DOWNLOAD_TOKEN_DAYS"] == "30"
    assert {"MAIL_IDEMPOTENCY_TABLE", "MAIL_TOPIC"} <= variables.keys()
