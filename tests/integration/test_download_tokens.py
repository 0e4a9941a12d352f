"""Tickets: a mailed link that lasts, exchanged for one of five minutes, revoked."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from tests.integration.harness import (
    RC,
    REGION,
    ROOT,
    SF,
    Answer,
    World,
    problem,
    proxy_event,
    template,
)
from tests.integration.ticket_world import issued, opened, stored, tokens

from timbres.domain.download_token import download_token_hash, is_download_token, new_download_token

MAC = "203.0.113.99"


def revoked(world: World, report_id: str, account: str = RC) -> Answer:
    path = f"/accounts/{account}/reports/{report_id}/tokens"
    return world.call("report", "DELETE", path)


def item(world: World, token: str) -> dict[str, Any]:
    (found,) = (
        one
        for one in world.stack.items("DownloadTokensTable")
        if one["ticket"] == download_token_hash(token)
    )
    return found


def nowhere(world: World, *texts: str) -> None:
    """Check that nothing which left the functions, or is kept, holds these texts."""
    everything = world.everything_seen()
    for text in texts:
        assert text not in everything
        assert quote(text) not in everything


# ------------------------------------------------------------------------------- opened


def test_a_ticket_is_exchanged_for_the_very_version_it_is_for(world: World) -> None:
    first = stored(world, b"octubre, primera")
    token = issued(world, first)
    stored(world, b"octubre, corregida", version=2)

    answer = opened(world, token)

    assert (answer.status, answer.text) == (302, "")
    download = world.download(answer.headers["location"])
    assert download.content == b"octubre, primera"
    assert download.headers["content-type"] == "text/csv; charset=utf-8"
    assert download.headers["content-disposition"] == (
        'attachment; filename="acme-rc-2026-10-statement.csv"'
    )
    nowhere(world, token)


def test_the_link_is_of_five_minutes_and_of_the_bucket_s_own_region(world: World) -> None:
    report = stored(world, b"uno")

    link = urlsplit(opened(world, issued(world, report)).headers["location"])

    query = parse_qs(link.query)
    assert query["X-Amz-Expires"] == ["300"]
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert f"/{REGION}/s3/" in query["X-Amz-Credential"][0]
    assert query["versionId"] == [report.object_version]
    assert link.path.endswith(report.spec.key)


def test_the_answer_is_kept_by_nobody_and_told_to_nobody(world: World) -> None:
    answer = opened(world, issued(world, stored(world, b"uno")))
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_links_of_the_api_stay_of_a_quarter_of_an_hour(world: World) -> None:
    report = stored(world, b"uno")
    link = world.get(f"/accounts/{RC}/reports/{report.id}").headers["location"]
    assert parse_qs(urlsplit(link).query)["X-Amz-Expires"] == ["900"]
    assert world.download(link).content == b"uno"


def test_every_use_is_noted_in_the_table_and_in_the_log(world: World) -> None:
    token = issued(world, stored(world, b"uno"))
    kept = item(world, token)
    assert (kept["uses"], "last_used_at" in kept) == (0, False)

    opened(world, token)
    world.clock.forward(days=3)
    opened(world, token, ip=MAC)

    kept = item(world, token)
    assert kept["uses"] == 2
    assert kept["last_used_at"] == "2026-11-22T13:53:41-06:00"
    assert kept["last_used_by"] == MAC
    lines = world.logged("a ticket was used")
    assert [(one["source_ip"], one["uses"]) for one in lines] == [("203.0.113.7", 1), (MAC, 2)]
    assert {(one["account"], one["report"]) for one in lines} == {
        (RC, "2026-10-statement-csv-0001")
    }
    assert all(one["function_request_id"] for one in lines)


def test_what_is_kept_of_a_ticket(world: World) -> None:
    report = stored(world, b"uno")
    token = issued(world, report)
    assert item(world, token) == {
        "ticket": download_token_hash(token),
        "report": f"{RC}/{report.id}",
        "account": RC,
        "id": report.id,
        "key": report.spec.key,
        "object_version": report.object_version,
        "name": "acme-rc-2026-10-statement.csv",
        "issued_at": "2026-11-19T13:53:41-06:00",
        "expires_at": int((world.clock() + timedelta(days=30)).timestamp()),
        "uses": 0,
    }


# ------------------------------------------------------------------------------ no good


def _unknown(world: World) -> str:
    return new_download_token()


def _expired(world: World) -> str:
    token = issued(world, stored(world, b"uno"), days=1)
    world.clock.forward(days=1, seconds=1)
    return token


def _just_expired(world: World) -> str:
    token = issued(world, stored(world, b"uno"), days=1)
    world.clock.forward(days=1)
    return token


def _revoked(world: World) -> str:
    report = stored(world, b"uno")
    token = issued(world, report)
    assert revoked(world, report.id).body["revoked"] == 1
    return token


def _deleted(world: World) -> str:
    token = issued(world, stored(world, b"uno"))
    world.stack.client("dynamodb").delete_item(
        TableName=world.stack.refs["DownloadTokensTable"],
        Key={"ticket": {"S": download_token_hash(token)}},
    )
    return token


def _other_case(world: World) -> str:
    return issued(world, stored(world, b"uno")).swapcase()


def _cut_short(world: World) -> str:
    return issued(world, stored(world, b"uno"))[:-1]


def _hash(world: World) -> str:
    # What whoever has read the table knows.
    return download_token_hash(issued(world, stored(world, b"uno")))


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
NO_GOOD: dict[str, Callable[[World], str]] = {
    "unknown": _unknown,
    "expired-by-a-second": _expired,
    "expired-to-the-second": _just_expired,
    "revoked": _revoked,
    "deleted": _deleted,
    "in-another-case": _other_case,
    "cut-short": _cut_short,
    "its-hash": _hash,
    **{name: lambda world, text=text: text for name, text in HOSTILE.items()},
}


@pytest.mark.parametrize("which", NO_GOOD)
def test_what_is_no_good_is_as_if_it_never_was(world: World, which: str) -> None:
    never = opened(world, new_download_token())
    token = NO_GOOD[which](world)
    before = world.stack.items("DownloadTokensTable")

    answer = opened(world, token)

    # Status, every header, every byte.
    assert answer == never
    assert answer.status == 404
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; ")
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-robots-tag"] == "noindex, nofollow"
    assert "location" not in answer.headers
    assert "Este enlace ya no funciona" in answer.text
    assert "30 días" in answer.text
    # Nothing is written of it, and of what it says nothing is told.
    assert world.stack.items("DownloadTokensTable") == before
    line = world.logged("a ticket was refused")[-1]
    assert line["source_ip"] == "203.0.113.7"
    assert line["well_formed"] is is_download_token(token)
    if len(token) > 5 and which != "its-hash":
        nowhere(world, token.encode("utf-8", "replace").decode())
    logged = world.logs.getvalue()
    assert download_token_hash(token) not in logged
    assert len(token) < 5 or token not in logged


def test_up_to_its_last_second_a_ticket_is_good(world: World) -> None:
    token = issued(world, stored(world, b"uno"), days=30)
    world.clock.forward(days=30, seconds=-1)
    assert opened(world, token).status == 302


@pytest.mark.parametrize("which", NO_GOOD)
def test_to_find_out_the_same_is_done_whatever_it_is(world: World, which: str) -> None:
    token = NO_GOOD[which](world)
    opened(world, new_download_token())
    asked: list[str] = []
    for service, operation in (("dynamodb", "*"), ("s3", "*")):
        world.watch_aws(service, operation, lambda request, **_: asked.append(request.headers))
    opened(world, token)
    (headers,) = asked
    assert headers["X-Amz-Target"] == b"DynamoDB_20120810.UpdateItem"


def test_a_ticket_opens_nothing_but_its_own_report(world: World) -> None:
    mine, theirs = stored(world, b"mine"), stored(world, b"theirs", account=SF)
    token, other = issued(world, mine), issued(world, theirs)
    for one, content in ((token, b"mine"), (other, b"theirs")):
        assert world.download(opened(world, one).headers["location"]).content == content


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
def test_a_failure_of_dynamodb_is_a_page_that_asks_for_patience(
    world: World, code: str, status: int
) -> None:
    token = issued(world, stored(world, b"uno"))
    world.break_aws("dynamodb", "UpdateItem", code, status)

    answer = opened(world, token)

    assert answer.status == 503
    assert answer.headers["retry-after"] == "60"
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "Su enlace no tiene nada malo" in answer.text
    assert not re.search(r"dynamo|aws|table|exception|error|500", answer.text, re.IGNORECASE)
    assert answer == opened(world, new_download_token())
    nowhere(world, token)
    assert download_token_hash(token) not in world.logs.getvalue()
    (line, _) = world.logged("an AWS service failed")
    assert line["message"] == f"an AWS service failed: UpdateItem {code}"

    world.mend_aws()
    assert opened(world, token).status == 302


def test_an_error_of_our_own_shows_nothing_either(world: World) -> None:
    token = issued(world, stored(world, b"uno"))
    event = proxy_event("GET", f"/d/{token}")
    del event["requestContext"]["identity"]["sourceIp"]

    answer = world.answer(world.invoke("download_token", event))

    assert answer.status == 503
    assert "sourceIp" not in answer.text
    (line,) = world.logged("an error of our own")
    assert "KeyError" in line["exception"]
    nowhere(world, token)
    assert download_token_hash(token) not in world.logs.getvalue()


# ----------------------------------------------------------------------------- revoked


def test_all_tickets_of_a_report_are_revoked_and_of_no_other(world: World) -> None:
    report, newer = stored(world, b"uno"), stored(world, b"dos", version=2)
    theirs = stored(world, b"tres", account=SF)
    assert theirs.id == report.id
    gone = [issued(world, report) for _ in range(3)]
    kept = [issued(world, newer), issued(world, theirs)]

    answer = revoked(world, report.id)

    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.body == {"account": RC, "id": report.id, "revoked": 3}
    assert {opened(world, one).status for one in gone} == {404}
    assert {opened(world, one).status for one in kept} == {302}
    (line,) = world.logged("download tokens revoked")
    assert (line["account"], line["id"], line["revoked"]) == (RC, report.id, 3)
    assert line["by"] == "arn:aws:iam::111122223333:user/compras"
    nowhere(world, *gone, *kept)


def test_revoked_twice_is_revoked_once(world: World) -> None:
    report = stored(world, b"uno")
    token = issued(world, report)
    assert revoked(world, report.id).body["revoked"] == 1
    at = item(world, token)["revoked_at"]

    assert revoked(world, report.id).body["revoked"] == 0
    assert item(world, token)["revoked_at"] == at


def test_one_that_has_expired_needs_no_revocation(world: World) -> None:
    report = stored(world, b"uno")
    issued(world, report, days=1)
    issued(world, report, days=2)
    world.clock.forward(days=1)
    assert revoked(world, report.id).body["revoked"] == 1


def test_more_tickets_than_a_page_of_the_index(world: World) -> None:
    report = stored(world, b"uno")
    for _ in range(7):
        issued(world, report)
    query, pages = tokens(world)._dynamodb, []
    paginate = query.get_paginator("query").paginate

    class ByTwo:
        def paginate(self, **what: Any) -> Any:
            for page in paginate(**what, PaginationConfig={"PageSize": 2}):
                pages.append(page)
                yield page

    class Dynamodb:
        def get_paginator(self, _name: str) -> ByTwo:
            return ByTwo()

        def __getattr__(self, name: str) -> Any:
            return getattr(query, name)

    few = type(tokens(world))(Dynamodb(), world.stack.refs["DownloadTokensTable"])
    assert few.revoke(RC, report.id, world.clock()) == 7
    assert len(pages) == 4


def test_a_ticket_that_is_issued_after_is_good(world: World) -> None:
    report = stored(world, b"uno")
    revoked(world, report.id)
    assert opened(world, issued(world, report)).status == 302


def test_the_tickets_of_an_account_that_is_no_more_are_revoked_all_the_same(world: World) -> None:
    report = stored(world, b"uno", account="vieja-rc")
    token = issued(world, report)
    assert revoked(world, report.id, "vieja-rc").body["revoked"] == 1
    assert opened(world, token).status == 404


@pytest.mark.parametrize(
    "report_id", ["2026-10-statement-csv-0002", "none", "..", "2026-10", "%C3%91", "x" * 3_000]
)
def test_there_is_nothing_to_revoke_of_a_report_that_is_not(world: World, report_id: str) -> None:
    stored(world, b"uno")
    problem(revoked(world, report_id), 404, "report-not-found", "id")
    # Of the other account there is none.
    problem(revoked(world, "2026-10-statement-csv-0001", SF), 404, "report-not-found", "id")


def test_there_is_nothing_to_revoke_of_what_is_no_account(world: World) -> None:
    answer = revoked(world, "2026-10-statement-csv-0001", "NO")
    problem(answer, 404, "account-unknown", "account")


def test_a_parameter_is_not_overlooked(world: World) -> None:
    report = stored(world, b"uno")
    path = f"/accounts/{RC}/reports/{report.id}/tokens"
    answer = world.call("report", "DELETE", path, {"all": "true"})
    problem(answer, 400, "parameter-invalid", "all")


def test_a_revocation_that_dynamodb_fails_is_not_reported_as_done(world: World) -> None:
    report = stored(world, b"uno")
    token = issued(world, report)
    world.break_aws("dynamodb", "UpdateItem", "InternalServerError", 500)
    problem(revoked(world, report.id), 503, "storage-unavailable")
    world.mend_aws()
    assert opened(world, token).status == 302
    assert revoked(world, report.id).body["revoked"] == 1


# -------------------------------------------------------------------------- the template


def test_no_other_route_is_open(world: World) -> None:
    open_ = [
        trigger.label
        for trigger in template().triggers()
        if trigger.kind == "Api" and "Auth" in trigger.properties
    ]
    assert open_ == ["ticket/Open"]
    assert template().text["Resources"]["Api"]["Properties"]["Auth"] == {
        "DefaultAuthorizer": "AWS_IAM",
        "InvokeRole": "NONE",
    }


def test_the_open_route_is_throttled(world: World) -> None:
    settings = template().text["Resources"]["Api"]["Properties"]["MethodSettings"]
    (own,) = (one for one in settings if one["HttpMethod"] == "GET")
    # As API Gateway wants a path: / within is written ~1.
    assert own["ResourcePath"].replace("~1", "/") == "//d/{token}"
    assert (own["ThrottlingRateLimit"], own["ThrottlingBurstLimit"]) == (5, 10)


def test_the_function_loads_neither_pacs_nor_reports_nor_the_work_of_the_api() -> None:
    code = f"""
import os, sys
os.environ |= {{"AWS_DEFAULT_REGION": "{REGION}", "DOWNLOAD_TOKENS_TABLE": "t",
               "REPORTS_BUCKET": "b", "DOWNLOAD_TOKEN_DAYS": "7"}}
sys.path[:0] = ["layers/timbres", "functions/ticket"]
import app
app.download_tokens(), app.bucket()
print(*sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    modules = done.stdout.split()
    assert "timbres.repositories.download_tokens" in modules
    unwanted = ("timbres.pacs", "timbres.services", "timbres_reports", "zeep", "requests", "lxml")
    heavy = ("reportlab", "xlsxwriter", "ijson")
    assert not [one for one in modules if one.startswith(unwanted + heavy)]
    assert not {
        "timbres.repositories.accounts",
        "timbres.repositories.contracts",
        "timbres.repositories.issuers",
    } & set(modules)
