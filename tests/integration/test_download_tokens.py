"""Download tokens: a mailed link redirects to a link of five minutes, until it is revoked."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from tests.support.download_token_cases import (
    issue_token,
    open_link,
    store_report,
    token_repository,
)
from tests.support.events import ApiResponse, api_gateway_event, check_problem
from tests.support.fake_stack import RC, SF, FakeStack
from tests.support.template import REGION, ROOT, template

from timbres.domain.download_token import download_token_hash, is_download_token, new_download_token

OTHER_IP = "203.0.113.99"


def revoke(stack: FakeStack, report_id: str, account: str = RC) -> ApiResponse:
    path = f"/accounts/{account}/reports/{report_id}/tokens"
    return stack.call("report", "DELETE", path)


def token_item(stack: FakeStack, token: str) -> dict[str, Any]:
    (item,) = (
        item
        for item in stack.aws.items("DownloadTokensTable")
        if item["ticket"] == download_token_hash(token)
    )
    return item


def assert_not_in_output(stack: FakeStack, *texts: str) -> None:
    """Check that no output, log or stored item contains these texts."""
    output = stack.all_output()
    for text in texts:
        assert text not in output
        assert quote(text) not in output


# ------------------------------------------------------------------------------- open_link


def test_token_redirects_to_its_report_version(stack: FakeStack) -> None:
    first = store_report(stack, b"octubre, primera")
    token = issue_token(stack, first)
    store_report(stack, b"octubre, corregida", version=2)

    response = open_link(stack, token)

    assert (response.status, response.text) == (302, "")
    download = stack.download(response.headers["location"])
    assert download.content == b"octubre, primera"
    assert download.headers["content-type"] == "text/csv; charset=utf-8"
    assert download.headers["content-disposition"] == (
        'attachment; filename="acme-rc-2026-10-statement.csv"'
    )
    assert_not_in_output(stack, token)


def test_link_is_valid_for_five_minutes_in_the_region_of_the_bucket(stack: FakeStack) -> None:
    report = store_report(stack, b"uno")

    link = urlsplit(open_link(stack, issue_token(stack, report)).headers["location"])

    query = parse_qs(link.query)
    assert query["X-Amz-Expires"] == ["300"]
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert f"/{REGION}/s3/" in query["X-Amz-Credential"][0]
    assert query["versionId"] == [report.object_version]
    assert link.path.endswith(report.spec.key)


def test_response_forbids_caching_and_referrers(stack: FakeStack) -> None:
    response = open_link(stack, issue_token(stack, store_report(stack, b"uno")))
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["x-content-type-options"] == "nosniff"


def test_links_of_the_api_are_valid_for_fifteen_minutes(stack: FakeStack) -> None:
    report = store_report(stack, b"uno")
    link = stack.get(f"/accounts/{RC}/reports/{report.id}").headers["location"]
    assert parse_qs(urlsplit(link).query)["X-Amz-Expires"] == ["900"]
    assert stack.download(link).content == b"uno"


def test_each_use_is_stored_and_logged(stack: FakeStack) -> None:
    token = issue_token(stack, store_report(stack, b"uno"))
    item = token_item(stack, token)
    assert (item["uses"], "last_used_at" in item) == (0, False)

    open_link(stack, token)
    stack.clock.forward(days=3)
    open_link(stack, token, ip=OTHER_IP)

    item = token_item(stack, token)
    assert item["uses"] == 2
    assert item["last_used_at"] == "2026-11-22T13:53:41-06:00"
    assert item["last_used_by"] == OTHER_IP
    lines = stack.logs.lines("download token used")
    assert [(line["source_ip"], line["uses"]) for line in lines] == [
        ("203.0.113.7", 1),
        (OTHER_IP, 2),
    ]
    assert {(line["account"], line["report"]) for line in lines} == {
        (RC, "2026-10-statement-csv-0001")
    }
    assert all(line["function_request_id"] for line in lines)


def test_token_item_has_every_attribute(stack: FakeStack) -> None:
    report = store_report(stack, b"uno")
    token = issue_token(stack, report)
    assert token_item(stack, token) == {
        "ticket": download_token_hash(token),
        "report": f"{RC}/{report.id}",
        "account": RC,
        "id": report.id,
        "key": report.spec.key,
        "object_version": report.object_version,
        "name": "acme-rc-2026-10-statement.csv",
        "issued_at": "2026-11-19T13:53:41-06:00",
        "expires_at": int((stack.clock() + timedelta(days=30)).timestamp()),
        "uses": 0,
    }


# ------------------------------------------------------------------------ invalid tokens


def _unknown_token(stack: FakeStack) -> str:
    return new_download_token()


def _expired_token(stack: FakeStack) -> str:
    token = issue_token(stack, store_report(stack, b"uno"), days=1)
    stack.clock.forward(days=1, seconds=1)
    return token


def _just_expired_token(stack: FakeStack) -> str:
    token = issue_token(stack, store_report(stack, b"uno"), days=1)
    stack.clock.forward(days=1)
    return token


def _revoked_token(stack: FakeStack) -> str:
    report = store_report(stack, b"uno")
    token = issue_token(stack, report)
    assert revoke(stack, report.id).body["revoked"] == 1
    return token


def _deleted_token(stack: FakeStack) -> str:
    token = issue_token(stack, store_report(stack, b"uno"))
    stack.aws.client("dynamodb").delete_item(
        TableName=stack.aws.refs["DownloadTokensTable"],
        Key={"ticket": {"S": download_token_hash(token)}},
    )
    return token


def _token_in_other_case(stack: FakeStack) -> str:
    return issue_token(stack, store_report(stack, b"uno")).swapcase()


def _truncated_token(stack: FakeStack) -> str:
    return issue_token(stack, store_report(stack, b"uno"))[:-1]


def _token_hash(stack: FakeStack) -> str:
    # The value in the table.
    return download_token_hash(issue_token(stack, store_report(stack, b"uno")))


HOSTILE: dict[str, str] = {
    "dots": "%2e%2e",
    "dots-decoded": "..",
    "long": "A" * 10_240,
    "unicode": "Ñandú-☃-\U0001f9fe",
    "half-a-pair": "\ud83e",
    "nul": "a\x00b",
    "markup": "<script>alert(1)</script>",
    "header": "a\r\nLocation: https://example.com",
    "space": " ",
    "operator": '{"$ne": null}',
}
INVALID_TOKENS: dict[str, Callable[[FakeStack], str]] = {
    "unknown": _unknown_token,
    "expired-by-a-second": _expired_token,
    "expired-to-the-second": _just_expired_token,
    "revoked": _revoked_token,
    "deleted": _deleted_token,
    "in-another-case": _token_in_other_case,
    "cut-short": _truncated_token,
    "its-hash": _token_hash,
    **{name: lambda stack, text=text: text for name, text in HOSTILE.items()},
}


@pytest.mark.parametrize("case", INVALID_TOKENS)
def test_invalid_token_returns_the_same_404(stack: FakeStack, case: str) -> None:
    unknown = open_link(stack, new_download_token())
    token = INVALID_TOKENS[case](stack)
    before = stack.aws.items("DownloadTokensTable")

    response = open_link(stack, token)

    # The status, all headers and the body are equal.
    assert response == unknown
    assert response.status == 404
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["content-security-policy"].startswith("default-src 'none'; ")
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["x-robots-tag"] == "noindex, nofollow"
    assert "location" not in response.headers
    assert "Este enlace ya no funciona" in response.text
    assert "30 días" in response.text
    # Nothing is stored, and the token is not logged.
    assert stack.aws.items("DownloadTokensTable") == before
    line = stack.logs.lines("download token rejected")[-1]
    assert line["source_ip"] == "203.0.113.7"
    assert line["well_formed"] is is_download_token(token)
    if len(token) > 5 and case != "its-hash":
        assert_not_in_output(stack, token.encode("utf-8", "replace").decode())
    logged = stack.logs.text
    assert download_token_hash(token) not in logged
    assert len(token) < 5 or token not in logged


def test_token_is_valid_until_its_last_second(stack: FakeStack) -> None:
    token = issue_token(stack, store_report(stack, b"uno"), days=30)
    stack.clock.forward(days=30, seconds=-1)
    assert open_link(stack, token).status == 302


@pytest.mark.parametrize("case", INVALID_TOKENS)
def test_every_invalid_token_causes_the_same_calls(stack: FakeStack, case: str) -> None:
    token = INVALID_TOKENS[case](stack)
    open_link(stack, new_download_token())
    requests: list[str] = []
    for service, operation in (("dynamodb", "*"), ("s3", "*")):
        stack.aws_faults.watch(
            service, operation, lambda request, **_: requests.append(request.headers)
        )
    open_link(stack, token)
    (headers,) = requests
    assert headers["X-Amz-Target"] == b"DynamoDB_20120810.UpdateItem"


def test_token_opens_only_its_report(stack: FakeStack) -> None:
    report, other_report = store_report(stack, b"mine"), store_report(stack, b"theirs", account=SF)
    token, other_token = issue_token(stack, report), issue_token(stack, other_report)
    for link_token, content in ((token, b"mine"), (other_token, b"theirs")):
        assert stack.download(open_link(stack, link_token).headers["location"]).content == content


# --------------------------------------------------------------------------- AWS fails


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("InternalServerError", 500),
        ("ProvisionedThroughputExceededException", 400),
        ("AccessDeniedException", 400),
        ("ResourceNotFoundException", 400),
    ],
)
def test_failure_of_dynamodb_returns_a_503_page(stack: FakeStack, code: str, status: int) -> None:
    token = issue_token(stack, store_report(stack, b"uno"))
    stack.aws_faults.reject("dynamodb", "UpdateItem", code, status)

    response = open_link(stack, token)

    assert response.status == 503
    assert response.headers["retry-after"] == "60"
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "Su enlace no tiene nada malo" in response.text
    assert not re.search(r"dynamo|aws|table|exception|error|500", response.text, re.IGNORECASE)
    assert response == open_link(stack, new_download_token())
    assert_not_in_output(stack, token)
    assert download_token_hash(token) not in stack.logs.text
    (line, _) = stack.logs.lines("an AWS service failed")
    assert line["message"] == f"an AWS service failed: UpdateItem {code}"

    stack.aws_faults.restore()
    assert open_link(stack, token).status == 302


def test_internal_error_returns_a_503_page_without_details(stack: FakeStack) -> None:
    token = issue_token(stack, store_report(stack, b"uno"))
    event = api_gateway_event("GET", f"/d/{token}")
    del event["requestContext"]["identity"]["sourceIp"]

    response = stack.parse_response(stack.invoke("download_token", event))

    assert response.status == 503
    assert "sourceIp" not in response.text
    (line,) = stack.logs.lines("unhandled exception")
    assert "KeyError" in line["exception"]
    assert_not_in_output(stack, token)
    assert download_token_hash(token) not in stack.logs.text


# ----------------------------------------------------------------------------- revoked


def test_revocation_covers_all_tokens_of_one_report(stack: FakeStack) -> None:
    report, newer = store_report(stack, b"uno"), store_report(stack, b"dos", version=2)
    other = store_report(stack, b"tres", account=SF)
    assert other.id == report.id
    revoked = [issue_token(stack, report) for _ in range(3)]
    valid = [issue_token(stack, newer), issue_token(stack, other)]

    response = revoke(stack, report.id)

    assert (response.status, response.headers["content-type"]) == (200, "application/json")
    assert response.body == {"account": RC, "id": report.id, "revoked": 3}
    assert {open_link(stack, token).status for token in revoked} == {404}
    assert {open_link(stack, token).status for token in valid} == {302}
    (line,) = stack.logs.lines("download tokens revoked")
    assert (line["account"], line["id"], line["revoked"]) == (RC, report.id, 3)
    assert line["by"] == "arn:aws:iam::111122223333:user/compras"
    assert_not_in_output(stack, *revoked, *valid)


def test_repeated_revocation_changes_nothing(stack: FakeStack) -> None:
    report = store_report(stack, b"uno")
    token = issue_token(stack, report)
    assert revoke(stack, report.id).body["revoked"] == 1
    revoked_at = token_item(stack, token)["revoked_at"]

    assert revoke(stack, report.id).body["revoked"] == 0
    assert token_item(stack, token)["revoked_at"] == revoked_at


def test_expired_tokens_are_not_revoked(stack: FakeStack) -> None:
    report = store_report(stack, b"uno")
    issue_token(stack, report, days=1)
    issue_token(stack, report, days=2)
    stack.clock.forward(days=1)
    assert revoke(stack, report.id).body["revoked"] == 1


def test_revocation_reads_all_pages_of_the_index(stack: FakeStack) -> None:
    report = store_report(stack, b"uno")
    for _ in range(7):
        issue_token(stack, report)
    client, pages = token_repository(stack)._dynamodb, []
    paginate = client.get_paginator("query").paginate

    class PagesOfTwo:
        def paginate(self, **request: Any) -> Any:
            for page in paginate(**request, PaginationConfig={"PageSize": 2}):
                pages.append(page)
                yield page

    class Dynamodb:
        def get_paginator(self, _name: str) -> PagesOfTwo:
            return PagesOfTwo()

        def __getattr__(self, name: str) -> Any:
            return getattr(client, name)

    repository = type(token_repository(stack))(Dynamodb(), stack.aws.refs["DownloadTokensTable"])
    assert repository.revoke(RC, report.id, stack.clock()) == 7
    assert len(pages) == 4


def test_token_issued_after_a_revocation_is_valid(stack: FakeStack) -> None:
    report = store_report(stack, b"uno")
    revoke(stack, report.id)
    assert open_link(stack, issue_token(stack, report)).status == 302


def test_tokens_of_a_deleted_account_can_be_revoked(
    stack: FakeStack,
) -> None:
    report = store_report(stack, b"uno", account="vieja-rc")
    token = issue_token(stack, report)
    assert revoke(stack, report.id, "vieja-rc").body["revoked"] == 1
    assert open_link(stack, token).status == 404


@pytest.mark.parametrize(
    "report_id", ["2026-10-statement-csv-0002", "none", "..", "2026-10", "%C3%91", "x" * 3_000]
)
def test_revocation_of_an_unknown_report_returns_404(stack: FakeStack, report_id: str) -> None:
    store_report(stack, b"uno")
    check_problem(revoke(stack, report_id), 404, "report-not-found", "id")
    # The other account has no such report.
    check_problem(revoke(stack, "2026-10-statement-csv-0001", SF), 404, "report-not-found", "id")


def test_revocation_for_an_invalid_account_returns_404(stack: FakeStack) -> None:
    response = revoke(stack, "2026-10-statement-csv-0001", "NO")
    check_problem(response, 404, "account-unknown", "account")


def test_revocation_rejects_parameters(stack: FakeStack) -> None:
    report = store_report(stack, b"uno")
    path = f"/accounts/{RC}/reports/{report.id}/tokens"
    response = stack.call("report", "DELETE", path, {"all": "true"})
    check_problem(response, 400, "parameter-invalid", "all")


def test_failed_revocation_returns_503(stack: FakeStack) -> None:
    report = store_report(stack, b"uno")
    token = issue_token(stack, report)
    stack.aws_faults.reject("dynamodb", "UpdateItem", "InternalServerError", 500)
    check_problem(revoke(stack, report.id), 503, "storage-unavailable")
    stack.aws_faults.restore()
    assert open_link(stack, token).status == 302
    assert revoke(stack, report.id).body["revoked"] == 1


# -------------------------------------------------------------------------- the template


def test_no_other_route_is_public(stack: FakeStack) -> None:
    open_ = [
        trigger.label
        for trigger in template().triggers()
        if trigger.kind == "Api" and "Auth" in trigger.properties
    ]
    assert open_ == ["download_token/Open"]
    assert template().text["Resources"]["Api"]["Properties"]["Auth"] == {
        "DefaultAuthorizer": "AWS_IAM",
        "InvokeRole": "NONE",
    }


def test_public_route_is_throttled(stack: FakeStack) -> None:
    settings = template().text["Resources"]["Api"]["Properties"]["MethodSettings"]
    (setting,) = (setting for setting in settings if setting["HttpMethod"] == "GET")
    # API Gateway encodes / in a path as ~1.
    assert setting["ResourcePath"].replace("~1", "/") == "//d/{token}"
    assert (setting["ThrottlingRateLimit"], setting["ThrottlingBurstLimit"]) == (5, 10)


def test_function_does_not_import_pacs_reports_or_services() -> None:
    code = f"""
import os, sys
os.environ |= {{"AWS_DEFAULT_REGION": "{REGION}", "DOWNLOAD_TOKENS_TABLE": "t",
               "REPORTS_BUCKET": "b", "DOWNLOAD_TOKEN_DAYS": "7"}}
sys.path[:0] = ["layers/timbres", "functions/download_token"]
import app
app.download_tokens(), app.report_store()
print(*sys.modules)
"""
    process = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    modules = process.stdout.split()
    assert "timbres.repositories.download_tokens" in modules
    forbidden = ("timbres.pacs", "timbres.services", "timbres_reports", "zeep", "requests", "lxml")
    heavy = ("reportlab", "xlsxwriter", "ijson")
    assert not [module for module in modules if module.startswith(forbidden + heavy)]
    assert not {
        "timbres.repositories.accounts",
        "timbres.repositories.contracts",
        "timbres.repositories.issuers",
    } & set(modules)
