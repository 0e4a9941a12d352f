"""Download tokens: a mailed link redirects to a link of five minutes, until it is revoked."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from tests.support.download_token_cases import issue_token, open_link, store_report
from tests.support.events import api_gateway_event, check_problem
from tests.support.fake_stack import RC, SF

from timbres.domain.download_token import (
    FAILURE_PERIOD_SECONDS,
    MAX_DOWNLOADS_PER_DAY,
    MAX_FAILURES,
    download_token_hash,
    is_download_token,
    new_download_token,
)

OTHER_IP = "203.0.113.99"


def revoke(stack, report_id, account=RC):
    path = f"/accounts/{account}/reports/{report_id}/tokens"
    return stack.call("report", "DELETE", path)


def token_items(stack):
    """Return the items of tokens, without those of sources."""
    items = stack.aws.items("DownloadTokensTable")
    return {item["ticket"]: item for item in items if "failures" not in item}


def assert_secret(stack, *tokens):
    """Check that no output, log or item has these tokens, and no log their hashes."""
    output = stack.all_output()
    for token in tokens:
        assert token not in output
        assert quote(token, errors="replace") not in output
        assert download_token_hash(token) not in stack.logs.text


def test_a_token_redirects_to_its_version_and_each_use_is_stored_and_logged(stack):
    report = store_report(stack, b"october")
    token = issue_token(stack, report)
    store_report(stack, b"october, corrected", version=2)

    response = open_link(stack, token)
    stack.clock.forward(days=3)
    open_link(stack, token, ip=OTHER_IP)

    assert (response.status, response.text) == (302, "")
    assert response.headers["referrer-policy"] == "no-referrer"
    link = response.headers["location"]
    query = parse_qs(urlsplit(link).query)
    assert (query["X-Amz-Expires"], query["versionId"]) == (["300"], [report.object_version])
    assert stack.download(link).content == b"october"
    (item,) = token_items(stack).values()
    assert (item["issued_at"], item["uses"]) == ("2026-11-19T13:53:41-06:00", 2)
    assert (item["last_used_at"], item["last_used_by"]) == ("2026-11-22T13:53:41-06:00", OTHER_IP)
    lines = stack.logs.lines("download token used")
    assert [(line["source_ip"], line["uses"]) for line in lines] == [
        *[("203.0.113.7", 1), (OTHER_IP, 2)],
    ]
    assert {(line["account"], line["report"]) for line in lines} == {(RC, report.id)}
    assert_secret(stack, token)


def invalid_tokens(stack):
    """Return an invalid token of each kind, and leave nothing valid in the stack."""
    report, other = store_report(stack, b"october"), store_report(stack, b"other", account=SF)
    valid, deleted = issue_token(stack, other), issue_token(stack, report)
    stack.aws.client("dynamodb").delete_item(
        TableName=stack.aws.refs["DownloadTokensTable"],
        Key={"ticket": {"S": download_token_hash(deleted)}},
    )
    expired, expired_now = (issue_token(stack, report, days) for days in (1, 1 + 1 / 86_400))
    revoked = issue_token(stack, report)
    stack.clock.forward(days=1)
    assert revoke(stack, report.id).body["revoked"] == 1
    return {
        "unknown": new_download_token(),
        "expired": expired,
        "expired to the second": expired_now,
        "revoked": revoked,
        "deleted": deleted,
        "in another case": valid.swapcase(),
        "truncated": valid[:-1],
        "hash": download_token_hash(valid),
        "dots": "%2e%2e",
        "long": "A" * 10_240,
        "other alphabet": "Ñandú-☃-\U0001f9fe",
        "half a pair": "\ud83e",
        "null": "a\x00b",
        "markup": "<script>alert(1)</script>",
        "header": "a\r\nLocation: https://example.com",
        "blank": " ",
    }


def test_every_invalid_token_gets_the_same_page_after_the_same_call(stack):
    tokens = invalid_tokens(stack)
    expected = open_link(stack, new_download_token())
    items = token_items(stack)
    targets: list[bytes] = []
    for service in ("dynamodb", "s3"):
        stack.aws_faults.watch(
            service, "*", lambda request, **_: targets.append(request.headers["X-Amz-Target"])
        )

    responses = {kind: open_link(stack, token) for kind, token in tokens.items()}

    # The status, all headers and the body are equal.
    assert responses == dict.fromkeys(tokens, expected)
    assert targets == [b"DynamoDB_20120810.UpdateItem"] * 2 * len(tokens)
    assert (expected.status, "location" in expected.headers) == (404, False)
    assert expected.headers["content-type"] == "text/html; charset=utf-8"
    assert expected.headers["content-security-policy"].startswith("default-src 'none'; ")
    assert expected.headers["x-robots-tag"] == "noindex, nofollow"
    assert "Este enlace ya no funciona" in expected.text
    assert "30 días" in expected.text
    # Only the number is stored, and no token is logged.
    assert token_items(stack) == items
    lines = stack.logs.lines("download token rejected")[-len(tokens) :]
    assert [(line["source_ip"], line["well_formed"]) for line in lines] == [
        ("203.0.113.7", is_download_token(token)) for token in tokens.values()
    ]
    searched = [token for token in tokens.values() if len(token) > 5]
    assert_secret(stack, *(token for token in searched if token != tokens["hash"]))


@pytest.mark.parametrize(
    "ips",
    # All addresses of a network of 64 bits are one source.
    [["203.0.113.7"], [f"2001:db8:1:2::{n:x}" for n in range(9)]],
    ids=["IPv4", "IPv6"],
)
def test_a_source_may_send_some_invalid_tokens_and_a_valid_one_always_opens(stack, ips):
    token = issue_token(stack, store_report(stack, b"october"))
    statuses = [
        open_link(stack, new_download_token(), ip=ips[n % len(ips)]).status
        for n in range(MAX_FAILURES)
    ]

    refused = open_link(stack, new_download_token(), ip=ips[-1])

    assert (set(statuses), refused.status) == ({404}, 429)
    assert 0 < int(refused.headers["retry-after"]) <= FAILURE_PERIOD_SECONDS
    assert "Demasiados enlaces que no sirven" in refused.text
    # A shared address, and another source.
    assert open_link(stack, token, ip=ips[0]).status == 302
    assert open_link(stack, new_download_token(), ip=OTHER_IP).status == 404
    assert len(stack.logs.lines("a source sent too many invalid download tokens")) == 1
    sources = [item for item in stack.aws.items("DownloadTokensTable") if "failures" in item]
    assert len(sources) == 2
    for source in sources:
        assert "203.0.113" not in str(source)
        assert source["expires_at"] <= stack.clock().timestamp() + FAILURE_PERIOD_SECONDS
    stack.clock.forward(seconds=FAILURE_PERIOD_SECONDS)
    assert open_link(stack, new_download_token(), ip=ips[0]).status == 404


def test_a_token_opens_a_hundred_times_a_day(stack):
    report = store_report(stack, b"october")
    token, other = issue_token(stack, report), issue_token(stack, report)
    statuses = [open_link(stack, token).status for _ in range(MAX_DOWNLOADS_PER_DAY)]

    refused = open_link(stack, token, ip=OTHER_IP)

    assert (set(statuses), refused.status) == ({302}, 429)
    # Until midnight in Mexico City.
    assert refused.headers["retry-after"] == str(10 * 3600 + 6 * 60 + 20)
    assert "ya se abrió muchas veces hoy" in refused.text
    assert open_link(stack, other).status == 302
    stack.clock.forward(seconds=int(refused.headers["retry-after"]))
    assert open_link(stack, token).status == 302


@pytest.mark.parametrize(
    ("is_internal", "message"),
    [
        (False, "an AWS service failed: UpdateItem InternalServerError"),
        (True, "unhandled exception"),
    ],
)
def test_a_failure_returns_a_503_page_without_details(stack, is_internal, message):
    token = issue_token(stack, store_report(stack, b"october"))
    event = api_gateway_event("GET", f"/d/{token}")
    if is_internal:
        del event["requestContext"]["identity"]["sourceIp"]
    else:
        stack.aws_faults.reject("dynamodb", "UpdateItem", "InternalServerError", 500)

    response = stack.parse_response(stack.invoke("download_token", event))

    assert (response.status, response.headers["retry-after"]) == (503, "60")
    assert "Su enlace no tiene nada malo" in response.text
    details = r"dynamo|aws|table|exception|error|500|sourceIp"
    assert not re.search(details, response.text, re.IGNORECASE)
    (line,) = (line for line in stack.logs.lines() if line["level"] == "ERROR")
    assert line["message"] == message
    assert ("KeyError" in line.get("exception", "")) is is_internal
    assert_secret(stack, token)


def test_a_revocation_covers_all_valid_tokens_of_one_report(stack):
    # The account no longer exists: it has no secret.
    report = store_report(stack, b"october", account="old-rc")
    newer = store_report(stack, b"corrected", version=2, account="old-rc")
    other = store_report(stack, b"other", account=SF)
    issue_token(stack, report, days=0)
    revoked = [issue_token(stack, report) for _ in range(5)]
    valid = [issue_token(stack, newer), issue_token(stack, other)]
    pages: list[Any] = []

    def limit_pages(request, **_):
        pages.append(request)
        request.body = json.dumps(json.loads(request.body) | {"Limit": 2}).encode()

    stack.aws_faults.watch("dynamodb", "Query", limit_pages)

    response = revoke(stack, report.id, "old-rc")

    assert len(pages) > 2
    assert response.body == {"account": "old-rc", "id": report.id, "revoked": 5}
    assert {open_link(stack, token).status for token in revoked} == {404}
    assert {open_link(stack, token).status for token in valid} == {302}
    (line,) = stack.logs.lines("download tokens revoked")
    assert (line["account"], line["id"], line["revoked"]) == ("old-rc", report.id, 5)
    assert line["by"] == "arn:aws:iam::111122223333:user/compras"
    assert_secret(stack, *revoked, *valid)
    # A repeated revocation covers only tokens that were issued since.
    stack.clock.forward(days=1)
    issue_token(stack, report)
    assert revoke(stack, report.id, "old-rc").body["revoked"] == 1
    # Another account has a report with this id.
    check_problem(revoke(stack, report.id), 404, "report-not-found", "id")
