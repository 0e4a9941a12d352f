"""Reports: asked for, made by the worker, handed out through presigned links."""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import json
import re
from datetime import date
from typing import Any
from urllib.parse import parse_qs, urlsplit

import openpyxl
import pypdf
import pytest
import requests
from local.fake_pacs.fake_data import Movement
from tests.integration.harness import (
    MANAGER,
    RC,
    REGION,
    RFC,
    RFC_N,
    SF,
    FakeStack,
    check_problem,
    sqs_event,
)
from tests.integration.test_history_api import put_snapshots

from timbres.aws.object_store import MEDIA_TYPES

PATH = f"/accounts/{RC}/reports"


def served(world: FakeStack, form: str, month: str = "2026-10") -> bytes:
    """Return the statement that the fake PAC served last."""
    url = f"{world.urls['reachcore']}/_control/served/Acme%20Timbrado/{month}/{form}"
    return requests.get(url, timeout=5).content


def made(world: FakeStack, *args: Any) -> dict[str, Any]:
    """Ask for a report, have it made, and return it as it is read."""
    report = world.request_report(*args).body
    assert world.deliver() == (1, 0)
    answer = world.get(f"/accounts/{report['account']}/reports/{report['id']}", redirect="false")
    assert answer.status == 200
    body: dict[str, Any] = answer.body
    return body


def rows(content: bytes) -> list[list[str]]:
    """Return a CSV of Timbres as a spreadsheet opens it."""
    assert content.startswith(codecs.BOM_UTF8)
    assert content.count(b"\n") == content.count(b"\r\n")
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))


# ---------------------------------------------------------------------------- asked for


def test_report_request_fields(world: FakeStack) -> None:
    answer = world.request_report(RC, "2026-10", "statement", "pdf")

    assert answer.status == 202
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["location"] == "reports/2026-10-statement-pdf-0001"
    assert answer.body == {
        "id": "2026-10-statement-pdf-0001",
        "account": RC,
        "month": "2026-10",
        "kind": "statement",
        "format": "pdf",
        "status": "pending",
        "bytes": None,
        "sha256": None,
        "rows": None,
        "seconds": None,
        "differences": None,
        "requested_by": MANAGER,
        "created_at": "2026-11-19T13:53:42-06:00",
        "settled_at": None,
        "url": None,
        "expires_at": None,
        "error": None,
    }
    assert world.calls() == []
    (message,) = world.receive()
    assert json.loads(message["Body"]) == {"account": RC, "report": answer.body["id"]}


def test_a_pending_report_requested_again_is_the_same(world: FakeStack) -> None:
    first = world.request_report().body
    world.clock.forward(minutes=90)

    assert world.request_report().body == first
    # Both messages are there; they make one report.
    assert world.deliver() == (2, 0)
    assert sorted(world.calls()) == ["csv", "saldos"]
    assert len(world.events("Report Ready")) == 1
    assert len(world.stack.items("ReportsTable")) == 1


def test_a_report_with_a_lost_message_is_requested_again(world: FakeStack) -> None:
    world.request_report()
    world.clock.forward(hours=5)

    assert world.request_report().body["id"] == "2026-10-statement-csv-0002"


def test_a_ready_report_requested_again_is_a_new_version(world: FakeStack) -> None:
    first = made(world)
    old = served(world, "csv")
    world.books.reachcore.add_movements("Acme Timbrado", [Movement(date(2026, 10, 31), RFC)])

    second = made(world)

    assert [first["id"], second["id"]] == [
        "2026-10-statement-csv-0001",
        "2026-10-statement-csv-0002",
    ]
    assert second["sha256"] != first["sha256"]
    # Each link leads to its own version, for ever.
    assert world.download(second["url"]).content == served(world, "csv")
    again = world.get(f"{PATH}/{first['id']}", redirect="false").body
    assert world.download(again["url"]).content == old
    assert urlsplit(first["url"]).path == urlsplit(second["url"]).path


def test_a_pending_report_has_retry_after(world: FakeStack) -> None:
    report = world.request_report().body

    answer = world.get(f"{PATH}/{report['id']}")
    assert (answer.status, answer.headers["retry-after"], answer.body) == (202, "5", report)
    answer = world.get(f"{PATH}/{report['id']}", redirect="false")
    assert (answer.status, answer.body) == (200, report)


# --------------------------------------------------------------------------------- ready


@pytest.mark.parametrize("form", ["csv", "pdf"])
def test_a_statement_is_the_pac_s_own_byte_for_byte(world: FakeStack, form: str) -> None:
    body = made(world, RC, "2026-10", "statement", form)

    theirs = served(world, form)
    assert body["status"] == "ready"
    assert (body["bytes"], body["rows"], body["error"]) == (len(theirs), None, None)
    assert body["sha256"] == hashlib.sha256(theirs).hexdigest()
    assert body["settled_at"] == "2026-11-19T13:53:42-06:00"
    download = world.download(body["url"])
    assert download.content == theirs
    assert (
        download.headers["content-type"]
        == {
            "csv": "text/csv; charset=utf-8",
            "pdf": "application/pdf",
        }[form]
    )
    name = f"{RC}-2026-10-statement.{form}"
    assert download.headers["content-disposition"] == f'attachment; filename="{name}"'


def test_the_link_is_presigned_for_the_bucket_s_region_and_fifteen_minutes(
    world: FakeStack,
) -> None:
    body = made(world)

    link = urlsplit(body["url"])
    query = {name: value for name, (value,) in parse_qs(link.query).items()}
    assert link.scheme == "https"
    assert link.hostname == f"{world.stack.refs['ReportsBucket']}.s3.{REGION}.amazonaws.com"
    assert link.path == f"/reports/{RC}/2026-10/statement.csv"
    assert query["X-Amz-Algorithm"] == "AWS4-HMAC-SHA256"
    assert query["X-Amz-Credential"].endswith(f"/{REGION}/s3/aws4_request")
    assert query["X-Amz-Expires"] == "900"
    assert (
        query["response-content-disposition"]
        == f'attachment; filename="{RC}-2026-10-statement.csv"'
    )
    (item,) = world.stack.items("ReportsTable")
    assert query["versionId"] == item["object_version"]
    assert body["expires_at"] == "2026-11-19T14:08:43-06:00"


def test_a_reader_is_redirected_unless_it_says_otherwise(world: FakeStack) -> None:
    body = made(world)

    for query in ({}, {"redirect": "true"}):
        answer = world.get(f"{PATH}/{body['id']}", **query)
        assert answer.status == 302
        assert answer.headers["location"] == answer.body["url"]
        assert answer.body["status"] == "ready"
        assert world.download(answer.headers["location"]).content == served(world, "csv")


def test_its_event_and_its_mail(world: FakeStack) -> None:
    made(world)

    (event,) = world.events("Report Ready")
    assert (event["id"], event["account"], event["month"]) == (
        "2026-10-statement-csv-0001",
        RC,
        "2026-10",
    )
    assert (event["kind"], event["format"], event["status"]) == ("statement", "csv", "ready")
    assert event["url"] is None
    (mail,) = world.mails()
    for fact in ("2026-10", "octubre de 2026", "acme-rc", "listo", "https://"):
        assert fact in mail


def test_nothing_but_the_object_it_names_is_in_the_bucket(world: FakeStack) -> None:
    made(world)

    listed = world.stack.client("s3").list_objects_v2(Bucket=world.stack.refs["ReportsBucket"])
    assert [one["Key"] for one in listed["Contents"]] == [f"reports/{RC}/2026-10/statement.csv"]


# ------------------------------------------------------------------------ consumption


def section(table: list[list[str]], title: str) -> list[list[str]]:
    """Return the rows below a title and its heading, up to the next empty row."""
    begin = table.index([title]) + 2
    end = next((n for n in range(begin, len(table)) if not table[n]), len(table))
    return table[begin:end]


def test_consumption_from_movements(world: FakeStack) -> None:
    world.books.reachcore.add_movements(
        "Acme Timbrado",
        [
            Movement(date(2026, 6, 30), RFC, "Consumo de timbre", 10),
            Movement(date(2026, 7, 2), RFC),
            Movement(date(2026, 7, 31), RFC_N, "Consumo de timbre", 3),
            Movement(date(2026, 7, 31), RFC, "Consumo de timbre", 4),
        ],
    )

    body = made(world, RC, "2026-07", "consumption", "csv")

    content = world.download(body["url"]).content
    assert (body["rows"], body["bytes"]) == (3, len(content))
    assert body["sha256"] == hashlib.sha256(content).hexdigest()
    table = rows(content)
    assert table[:8] == [
        ["Consumo de timbres"],
        ["Cuenta", RC],
        ["PAC", "Reachcore"],
        ["Mes", "julio de 2026"],
        ["Generado el", "19/11/2026 13:53 (hora de la Ciudad de México)"],
        ["Total (timbres)", "8"],
        ["Mes anterior (timbres)", "10"],
        ["Cambio", "-20.0%"],
    ]
    assert section(table, "Fuentes") == [
        [RC, "Reachcore", "Postpago", "el PAC", "19/11/2026 13:53", "", ""]
    ]
    assert section(table, "Consumo por RFC") == [
        [RC, RFC, "5", "62.5%", "10", "-50.0%", "sin dato", "sin dato"],
        [RC, RFC_N, "3", "37.5%", "0", "no aplica", "sin dato", "sin dato"],
        ["Total", "", "8", "100.0%", "10", "-20.0%"],
    ]
    days = dict(map(tuple, section(table, "Consumo por día")))  # type: ignore[arg-type]
    assert len(days) == 31
    assert {day: count for day, count in days.items() if count != "0"} == {
        "02/07/2026": "1",
        "31/07/2026": "7",
    }
    assert section(table, "Movimientos") == [
        [RC, RFC, "02/07/2026", "Consumo de timbre", "1"],
        [RC, RFC, "31/07/2026", "Consumo de timbre", "4"],
        [RC, RFC_N, "31/07/2026", "Consumo de timbre", "3"],
    ]


def test_a_month_before_that_the_pac_does_not_tell_is_not_zero(
    world: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    balance = world.books.reachcore.balance

    def then_nothing_more(*args: Any) -> Any:
        world.fault("saldos", "code", code="400-002", times=-1)
        return balance(*args)

    monkeypatch.setattr(world.books.reachcore, "balance", then_nothing_more)

    body = made(world, RC, "2026-07", "consumption", "csv")

    table = rows(world.download(body["url"]).content)
    assert table[6:8] == [["Mes anterior (timbres)", "sin dato"], ["Cambio", "sin dato"]]
    assert body["status"] == "ready"


def october(world: FakeStack) -> None:
    """Let acme-sf's issuers have been counted in the nights of October, and of September."""
    world.add_issuers([RFC, RFC_N])
    put_snapshots(
        world,
        {
            RFC: {
                "2026-09-01": (100, 0),
                "2026-10-01": (100, 20),
                "2026-10-02": (600, 50),
                "2026-11-01": (600, 110),
            },
            RFC_N: {"2026-10-01": (90, 60), "2026-10-31": (90, 80), "2026-11-01": (90, 85)},
        },
    )


def test_consumption_from_daily_counts(world: FakeStack) -> None:
    october(world)
    world.add_issuers(["AAA010101AAA"])
    world.get(f"/accounts/{SF}/stamps", rfc=RFC)
    world.factible.calls.clear()

    body = made(world, SF, "2026-10", "consumption", "csv")

    table = rows(world.download(body["url"]).content)
    assert table[5:8] == [
        ["Total (timbres)", "115"],
        ["Mes anterior (timbres)", "20"],
        ["Cambio", "+475.0%"],
    ]
    (source,) = section(table, "Fuentes")
    assert source[:4] == [SF, "Solución Factible", "sin dato", "conteos diarios de Timbres"]
    assert source[5] == "2 a 31"
    assert section(table, "Consumo por RFC")[:2] == [
        [SF, RFC, "90", "78.3%", "20", "+350.0%", "750", "sin dato"],
        [SF, RFC_N, "25", "21.7%", "sin dato", "sin dato", "sin dato", "sin dato"],
    ]
    assert section(table, "Movimientos")[0] == [SF, RFC, "01/10/2026", "Consumo de timbre", "30"]
    # Of a night that is over, no PAC can tell any more.
    assert world.calls() == []


@pytest.mark.parametrize("form", ["csv", "xlsx", "pdf", "html"])
def test_a_month_without_counts_is_no_zero(world: FakeStack, form: str) -> None:
    world.add_issuers([RFC])

    body = made(world, SF, "2026-10", "consumption", form)

    assert (body["status"], body["rows"]) == ("ready", 0)
    content = text_of(form, world.download(body["url"]).content)
    assert "no hay conteos de ese mes" in content
    assert "sin dato" in content


def text_of(form: str, content: bytes) -> str:
    """Return what a person reads in a report."""
    if form == "xlsx":
        book = openpyxl.load_workbook(io.BytesIO(content))
        return "\n".join(
            str(cell) for sheet in book for row in sheet.iter_rows(values_only=True) for cell in row
        )
    if form == "pdf":
        return " ".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(content)).pages)
    return content.decode("utf-8-sig")


@pytest.mark.parametrize("form", ["csv", "xlsx", "pdf", "html"])
def test_every_format_of_every_account_together(world: FakeStack, form: str) -> None:
    october(world)
    contract = world.create_contract().body
    total = world.get(f"/accounts/{RC}/balance", month="2026-10").body["transactions"] + 115

    body = made(world, "all", "2026-10", "consumption", form)
    current = made(world, "all", "2026-11", "consumption", form)

    assert body["id"] == f"2026-10-consumption-{form}-0001"
    download = world.download(body["url"])
    assert download.headers["content-type"] == MEDIA_TYPES[form]
    assert hashlib.sha256(download.content).hexdigest() == body["sha256"]
    content = text_of(form, download.content)
    for fact in (RC, SF, "Reachcore", "Solución Factible", "octubre de 2026"):
        assert fact in content, fact
    assert {f"{total}", f"{total:,}"} & set(re.findall(r"[0-9][0-9,]*", content))
    # A contract is in the report of its month, with the caller.
    current_content = text_of(form, world.download(current["url"]).content)
    assert contract["id"][:12] in current_content
    assert "compras" in current_content
    assert contract["id"][:12] not in content


def test_all_has_consumption_only(world: FakeStack) -> None:
    document = check_problem(world.request_report("all"), 422, "operation-unsupported", "account")
    assert "consumption" in document["detail"]


def test_all_is_read_and_listed_like_an_account_and_is_none(world: FakeStack) -> None:
    body = made(world, "all", "2026-10", "consumption", "csv")

    listed = world.get("/accounts/all/reports").body["reports"]
    assert [one["id"] for one in listed] == [body["id"]]
    answer = world.get(f"/accounts/all/reports/{body['id']}")
    assert answer.status == 302
    assert "/reports/all/2026-10/consumption.csv" in answer.headers["location"]
    check_problem(
        world.get("/accounts/all/balance", month="2026-10"), 404, "account-unknown", "account"
    )
    check_problem(world.get("/accounts/all/stamps"), 404, "account-unknown", "account")


def test_an_account_named_all_is_left_out(world: FakeStack) -> None:
    world.create_account("all", world.secret(RC))

    accounts = world.get("/accounts").body["accounts"]

    assert "all" not in {one["name"] for one in accounts}


def test_all_waits_for_a_pac_that_is_away_and_does_without_it_at_last(world: FakeStack) -> None:
    october(world)
    report = world.request_report("all", "2026-10", "consumption", "csv").body
    world.fault("saldos", "code", code="500", times=-1)

    assert [world.deliver() for _ in range(3)] == [(0, 1), (0, 1), (1, 0)]

    body = world.get(f"/accounts/all/reports/{report['id']}", redirect="false").body
    table = rows(world.download(body["url"]).content)
    sources = section(table, "Fuentes")
    assert [(source[0], source[6]) for source in sources] == [
        (RC, "reachcore answered 500: Error de la plataforma Reachcore."),
        (SF, ""),
    ]
    assert table[5] == ["Total (timbres)", "115"]


def test_all_names_an_account_that_no_try_mends_at_once(world: FakeStack) -> None:
    world.create_account("acme-broken", "no JSON")

    body = made(world, "all", "2026-10", "consumption", "csv")

    sources = section(rows(world.download(body["url"]).content), "Fuentes")
    (broken,) = (source for source in sources if source[0] == "acme-broken")
    assert "secret" in broken[6]


@pytest.mark.parametrize("start", ["=", "+", "-", "@"])
def test_a_cell_that_a_spreadsheet_would_run_is_made_harmless(world: FakeStack, start: str) -> None:
    formula = f'{start}HYPERLINK("https://example.com","x")'
    world.books.reachcore.add_movements("Acme Timbrado", [Movement(date(2026, 7, 2), RFC, formula)])

    body = made(world, RC, "2026-07", "consumption", "csv")

    assert rows(world.download(body["url"]).content)[-1] == [
        RC,
        RFC,
        "02/07/2026",
        f"'{formula}",
        "1",
    ]


def test_a_large_month_is_written_whole(world: FakeStack) -> None:
    world.books.reachcore.load_bulk("Acme Timbrado", "2026-05", 20_000)

    body = made(world, RC, "2026-05", "consumption", "csv")

    table = rows(world.download(body["url"]).content)
    assert body["rows"] == 20_000
    (total,) = (int(row[2]) for row in table if row[:1] == ["Total"])
    movements = section(table, "Movimientos")
    assert sum(int(row[4]) for row in movements) == total
    assert len(movements) == 20_000


def test_an_upload_that_breaks_off_leaves_nothing_behind(
    world: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timbres.aws.multipart_upload.PART_BYTES", 5 * 1024 * 1024)
    world.books.reachcore.load_bulk("Acme Timbrado", "2026-05", 100_000)
    report = world.request_report(RC, "2026-05", "consumption", "csv").body
    s3, bucket = world.stack.client("s3"), world.stack.refs["ReportsBucket"]
    for operation in ("UploadPart", "CompleteMultipartUpload"):
        world.break_aws("s3", operation, "InternalError", 500)

        assert world.deliver() == (0, 1)
        assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
        assert "Contents" not in s3.list_objects_v2(Bucket=bucket)
        world.restore_aws()

    assert world.deliver() == (1, 0)
    body = world.get(f"{PATH}/{report['id']}", redirect="false").body
    content = world.download(body["url"]).content
    assert len(content) == body["bytes"] > 5 * 1024 * 1024
    assert hashlib.sha256(content).hexdigest() == body["sha256"]


# -------------------------------------------------------------- the PAC against itself


def test_a_statement_that_disagrees_with_the_balance_is_kept_and_logged(
    world: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    balance = world.books.reachcore.balance

    def another_one_later(*args: Any) -> Any:
        found = balance(*args)
        world.books.reachcore.add_movements("Acme Timbrado", [Movement(date(2026, 10, 2), RFC)])
        return found

    monkeypatch.setattr(world.books.reachcore, "balance", another_one_later)

    body = made(world)

    assert world.download(body["url"]).content == served(world, "csv")
    (line,) = world.log_lines_with("the PAC's CSV and JSON of the same month disagree")
    assert (line["level"], line["account"], line["month"]) == ("WARNING", RC, "2026-10")
    csv_total, json_total = line["amount_csv_json"]
    assert json_total == csv_total + 1
    assert "registered_csv_json" not in line
    assert body["differences"]["amount"] == [csv_total, json_total]
    assert "registered" not in body["differences"]
    (event,) = world.events("Statement Mismatch Detected")
    assert (event["id"], event["differences"]) == (body["id"], body["differences"])
    assert [mail for mail in world.mails() if "no cuadra" in mail]


def test_a_statement_that_agrees_is_not_logged(world: FakeStack) -> None:
    assert made(world)["differences"] == {}
    assert {line["level"] for line in world.log_lines()} <= {"DEBUG", "INFO"}
    assert world.events("Statement Mismatch Detected") == []


def test_a_statement_that_could_not_be_compared_is_kept(world: FakeStack) -> None:
    world.fault("saldos", "code", code="500", times=-1)

    body = made(world)
    assert (body["status"], body["differences"]) == ("ready", None)
    assert world.log_lines_with("the statement could not be compared")


# ------------------------------------------------------------------------------ listed


def test_reports_are_listed_newest_month_first(world: FakeStack) -> None:
    for month in ("2026-08", "2026-10", "2026-09"):
        world.request_report(month=month)
    world.request_report(month="2026-10", form="pdf")
    world.deliver()

    body = world.get(PATH).body

    assert body["next"] is None
    assert [one["id"] for one in body["reports"]] == [
        "2026-10-statement-pdf-0001",
        "2026-10-statement-csv-0001",
        "2026-09-statement-csv-0001",
        "2026-08-statement-csv-0001",
    ]
    assert {one["status"] for one in body["reports"]} == {"ready"}
    assert {one["url"] for one in body["reports"]} == {None}
    listed = world.get(PATH, month="2026-09").body["reports"]
    assert [one["id"] for one in listed] == ["2026-09-statement-csv-0001"]
    assert world.get(PATH, month="2026-01").body == {"reports": [], "next": None}


def test_more_reports_than_a_page_holds(world: FakeStack) -> None:
    first = world.request_report(month="2026-10").body["id"]
    dynamodb, table = world.stack.client("dynamodb"), world.stack.refs["ReportsTable"]
    (model,) = dynamodb.scan(TableName=table)["Items"]
    ids = [f"2026-10-statement-csv-{number:04}" for number in range(2, 122)]
    for one in ids:
        dynamodb.put_item(TableName=table, Item=model | {"id": {"S": one}})

    page = world.get(PATH, month="2026-10").body
    rest = world.get(PATH, month="2026-10", cursor=page["next"]).body

    assert (len(page["reports"]), len(rest["reports"]), rest["next"]) == (100, 21, None)
    listed = [one["id"] for one in page["reports"] + rest["reports"]]
    assert listed == [*reversed(ids), first]
    # A cursor goes on in the list that it came from.
    check_problem(
        world.get(PATH, month="2026-09", cursor=page["next"]), 400, "parameter-invalid", "cursor"
    )


def test_accounts_do_not_see_one_another(world: FakeStack) -> None:
    world.create_account("norte", world.secret(RC, api_key=world.credentials.norte_api_key))
    report = made(world)

    assert world.get("/accounts/norte/reports").body["reports"] == []
    check_problem(
        world.get(f"/accounts/norte/reports/{report['id']}"), 404, "report-not-found", "id"
    )


# ------------------------------------------------------------------------------ failed


def test_a_message_that_comes_twice_changes_nothing(world: FakeStack) -> None:
    report = made(world)
    before = world.stack.items("ReportsTable"), world.calls(), len(world.published)
    message = {
        "MessageId": "m-1",
        "ReceiptHandle": "r-1",
        "Body": json.dumps({"account": RC, "report": report["id"]}),
        "Attributes": {"ApproximateReceiveCount": "1"},
    }

    event = sqs_event(world.stack.arns["ReportsQueue"], [message, message | {"MessageId": "m-2"}])
    result = world.invoke("report_worker", event)

    assert result == {"batchItemFailures": []}
    assert (world.stack.items("ReportsTable"), world.calls(), len(world.published)) == before


def test_a_message_about_nothing_is_done(world: FakeStack) -> None:
    message = {
        "MessageId": "m-1",
        "ReceiptHandle": "r-1",
        "Body": json.dumps({"account": RC, "report": "2026-10-statement-csv-0007"}),
        "Attributes": {"ApproximateReceiveCount": "1"},
    }

    event = sqs_event(world.stack.arns["ReportsQueue"], [message])

    assert world.invoke("report_worker", event) == {"batchItemFailures": []}
    assert world.calls() == []


def test_a_failure_that_passes_is_tried_again(world: FakeStack) -> None:
    report = world.request_report().body
    world.fault("csv", "code", code="500", times=3)

    assert world.deliver() == (0, 1)
    assert world.get(f"{PATH}/{report['id']}", redirect="false").body == report
    assert world.published == []
    (line,) = world.log_lines_with("report will be retried: pac-error: reachcore answered 500")
    assert line["level"] == "WARNING"
    assert report["id"] in line["body"]

    assert world.deliver() == (1, 0)
    assert world.get(f"{PATH}/{report['id']}").status == 302
    assert len(world.events("Report Ready")) == 1


def test_a_failure_that_lasts_is_the_report_s_end_at_the_third_time(world: FakeStack) -> None:
    report = world.request_report().body
    world.fault("csv", "code", code="500", times=-1)

    assert [world.deliver() for _ in range(4)] == [(0, 1), (0, 1), (1, 0), (0, 0)]
    assert world.queued_messages("ReportsDeadLetterQueue") == 0

    body = world.get(f"{PATH}/{report['id']}", redirect="false").body
    assert (body["status"], body["url"], body["bytes"]) == ("failed", None, None)
    assert body["error"] == {
        "code": "pac-error",
        "detail": "reachcore answered 500: Error de la plataforma Reachcore.",
        "pac": {
            "name": "reachcore",
            "code": "500",
            "message": "Error de la plataforma Reachcore",
        },
    }
    document = check_problem(world.get(f"{PATH}/{report['id']}"), 409, "report-failed")
    assert document["report"] == body
    assert "Error de la plataforma Reachcore" in document["detail"]
    (event,) = world.events("Report Failed")
    assert (event["id"], event["error"]) == (report["id"], body["error"])
    (mail,) = world.mails()
    assert mail.startswith("Timbres: no se pudo hacer")
    for fact in ("2026-10", "acme-rc", "pac-error", body["error"]["detail"], "Qué hacer"):
        assert fact in mail


def test_a_failed_report_can_be_requested_again(world: FakeStack) -> None:
    world.fault("csv", "code", code="400-003")
    world.request_report()
    world.deliver()

    assert made(world)["id"] == "2026-10-statement-csv-0002"


@pytest.mark.parametrize(
    ("fault", "more", "code"),
    [
        ("code", {"code": "400-003"}, "format-unsupported"),
        ("code", {"code": "400-002"}, "pac-rejected-request"),
        ("code", {"code": "401"}, "pac-credentials-rejected"),
        ("code", {"code": "404"}, "pac-endpoint-not-found"),
        ("html-200", {}, "pac-protocol-error"),
        ("wrong-shape", {}, "pac-protocol-error"),
    ],
)
@pytest.mark.parametrize("form", ["csv", "pdf"])
def test_what_no_try_mends_fails_at_once(
    world: FakeStack, form: str, fault: str, more: dict[str, str], code: str
) -> None:
    report = world.request_report(form=form).body
    world.fault(form, fault, times=-1, **more)

    assert world.deliver() == (1, 0)

    body = world.get(f"{PATH}/{report['id']}", redirect="false").body
    assert (body["status"], body["error"]["code"]) == ("failed", code)
    assert world.calls() == [form]
    assert len(world.events("Report Failed")) == 1


@pytest.mark.parametrize("fault", ["truncated", "cut-after", "cut-before"])
def test_half_a_statement_is_none(world: FakeStack, fault: str) -> None:
    world.request_report()
    world.fault("csv", fault, times=3)

    assert world.deliver() == (0, 1)
    listed = world.stack.client("s3").list_objects_v2(Bucket=world.stack.refs["ReportsBucket"])
    assert "Contents" not in listed


def test_rejected_credentials_end_a_report_after_one_call(world: FakeStack) -> None:
    world.fault("saldos", "code", code="401", times=-1)
    report = world.request_report(RC, "2026-10", "consumption", "xlsx").body

    assert world.deliver() == (1, 0)

    body = world.get(f"{PATH}/{report['id']}", redirect="false").body
    assert body["error"]["code"] == "pac-credentials-rejected"
    assert world.calls() == ["saldos"]


def test_an_account_that_is_gone_when_its_report_is_made(world: FakeStack) -> None:
    report = world.request_report().body
    world.stack.client("secretsmanager").delete_secret(SecretId=f"timbres/accounts/{RC}")

    assert world.deliver() == (1, 0)
    (event,) = world.events("Report Failed")
    assert (event["id"], event["error"]["code"]) == (report["id"], "account-unknown")


def test_a_failure_event_that_failed_is_published_again(world: FakeStack) -> None:
    world.request_report()
    world.fault("csv", "code", code="400-003")
    world.break_aws("events", "PutEvents", "InternalException", 500)
    assert world.deliver() == (0, 1)
    assert world.published == []

    world.restore_aws()
    assert world.deliver() == (1, 0)
    assert len(world.events("Report Failed")) == 1
    assert len(world.published) == len(world.mails()) == 1
    assert world.calls().count("csv") == 1


def test_a_bucket_that_refuses_to_the_end(world: FakeStack) -> None:
    world.request_report()
    world.break_aws("s3", "PutObject", "AccessDenied", 403)

    assert [world.deliver() for _ in range(3)] == [(0, 1), (0, 1), (1, 0)]
    (event,) = world.events("Report Failed")
    assert event["error"]["code"] == "internal-error"


def test_aws_fails_while_a_report_is_requested(world: FakeStack) -> None:
    world.break_aws("sqs", "SendMessage", "ServiceUnavailable", 500)

    answer = world.request_report()
    check_problem(answer, 503, "storage-unavailable")
    assert answer.headers["retry-after"] == "5"

    # Whatever was written before, asking again leads to a report.
    world.restore_aws()
    assert made(world)["status"] == "ready"


# ------------------------------------------------------------------------- by schedule

FIRST = "2026-11-01T12:00:00Z"


def monthly(world: FakeStack, due: str = FIRST, **more: Any) -> Any:
    return world.invoke("report", {"month": "previous", "scheduled_time": due, **more})


REQUESTED = [
    *((RC, f"2026-10-statement-{form}-0001") for form in ("csv", "pdf")),
    *((RC, f"2026-10-consumption-{form}-0001") for form in ("csv", "xlsx", "pdf", "html")),
    *((SF, f"2026-10-consumption-{form}-0001") for form in ("csv", "xlsx", "pdf", "html")),
    *(("all", f"2026-10-consumption-{form}-0001") for form in ("csv", "xlsx", "pdf", "html")),
]


def records(world: FakeStack) -> list[dict[str, Any]]:
    """Return the records of reports, without those of runs."""
    return [one for one in world.stack.items("ReportsTable") if not one["account"].startswith("#")]


def test_the_monthly_run_asks_for_every_report_of_every_account(world: FakeStack) -> None:
    result = monthly(world)

    assert result == {
        "month": "2026-10",
        "asked": [{"account": account, "id": report} for account, report in REQUESTED],
        "failed": [],
    }
    assert world.deliver() == (14, 0)
    for account in (RC, SF, "all"):
        reports = world.get(f"/accounts/{account}/reports").body["reports"]
        assert {one["status"] for one in reports} == {"ready"}
        assert {one["requested_by"] for one in reports} == {"schedule"}
    assert len(world.events("Report Ready")) == 14
    (event,) = world.events("Monthly Reports Completed")
    assert (event["ready"], event["failed"], event["accounts_failed"]) == (14, 0, {})
    assert [(one["account"], one["id"]) for one in event["reports"]] == [
        *REQUESTED[-4:],
        *REQUESTED[:-4],
    ]


def test_the_monthly_run_brings_the_formats_of_its_parameter(world: FakeStack) -> None:
    world.stack.refs["MonthlyFormats"] = "pdf , html"

    result = monthly(world)

    assert [one["id"] for one in result["asked"]] == [
        "2026-10-statement-pdf-0001",
        *(f"2026-10-consumption-{form}-0001" for form in ("pdf", "html") * 3),
    ]


def test_a_repeated_monthly_run_duplicates_nothing(
    world: FakeStack,
) -> None:
    first = monthly(world)
    world.deliver()
    assert made(world)["id"] == "2026-10-statement-csv-0002"

    assert monthly(world) == first
    assert world.receive() == []
    assert len(records(world)) == 15


def test_a_report_that_a_person_waits_for_is_the_monthly_run_s_too(world: FakeStack) -> None:
    world.request_report()
    monthly(world)
    world.deliver()
    world.clock.forward(hours=3)

    monthly(world)

    assert world.receive() == []
    assert len(records(world)) == 14
    assert len(world.events("Monthly Reports Completed")) == 1


def test_the_completed_run_lists_failed_reports_with_reasons(world: FakeStack) -> None:
    world.create_account("acme-broken", "no JSON")
    world.fault("pdf", "code", code="400-003", times=-1)
    monthly(world)

    world.deliver()

    (event,) = world.events("Monthly Reports Completed")
    assert (event["ready"], event["failed"]) == (13, 1)
    assert event["accounts_failed"] == {"acme-broken": "account-misconfigured"}
    (failed,) = (one for one in event["reports"] if one["status"] == "failed")
    assert (failed["account"], failed["id"]) == (RC, "2026-10-statement-pdf-0001")
    assert failed["error"]["code"] == "format-unsupported"


def test_a_run_with_a_lost_report_is_published(world: FakeStack) -> None:
    monthly(world)
    (lost, *others) = world.receive()
    world.invoke("report_worker", sqs_event(world.stack.arns["ReportsQueue"], others))
    assert world.events("Monthly Reports Completed") == []
    world.clock.forward(hours=4)
    assert world.invoke("report", {"close": "overdue"}) == {"closed": []}

    world.clock.forward(hours=2)

    assert world.invoke("report", {"close": "overdue"}) == {"closed": ["2026-11-01 for 2026-10"]}
    assert world.invoke("report", {"close": "overdue"}) == {"closed": []}
    (event,) = world.events("Monthly Reports Completed")
    assert (event["ready"], event["failed"]) == (13, 1)
    (pending,) = (one for one in event["reports"] if one["status"] == "pending")
    assert pending["id"] == json.loads(lost["Body"])["report"]


def test_a_completion_event_that_failed_is_published_again(world: FakeStack) -> None:
    monthly(world)
    world.break_aws("events", "PutEvents", "InternalException", 500, after=14)
    assert world.deliver() == (13, 1)
    assert world.events("Monthly Reports Completed") == []

    world.restore_aws()
    assert world.deliver() == (1, 0)
    assert len(world.events("Monthly Reports Completed")) == 1


def test_the_next_monthly_run_is_another(world: FakeStack) -> None:
    monthly(world)
    world.deliver()

    result = monthly(world, "2026-12-01T12:00:00Z")

    assert result["month"] == "2026-11"
    assert {one["id"][:7] for one in result["asked"]} == {"2026-11"}


@pytest.mark.parametrize(
    ("due", "month"),
    [
        ("2026-11-01T05:30:00Z", "2026-09"),
        ("2026-11-01T06:00:00Z", "2026-10"),
        ("2027-01-01T12:00:00Z", "2026-12"),
    ],
)
def test_last_month_is_mexico_city_s(world: FakeStack, due: str, month: str) -> None:
    assert monthly(world, due)["month"] == month


def test_a_run_that_is_late_is_of_the_month_it_was_due_in(world: FakeStack) -> None:
    world.clock.forward(days=20)

    assert monthly(world)["month"] == "2026-10"


def test_one_broken_account_stops_no_other(world: FakeStack) -> None:
    world.create_account("acme-broken", "no JSON")
    world.create_account("acme-mute", world.secret(RC, pac="another"))

    result = monthly(world)

    assert result["failed"] == [
        {"account": "acme-broken", "code": "account-misconfigured"},
        {"account": "acme-mute", "code": "account-misconfigured"},
    ]
    assert {one["account"] for one in result["asked"]} == {RC, SF, "all"}
    assert world.deliver() == (14, 0)


def test_a_queue_that_does_not_take_one_message_stops_no_other(world: FakeStack) -> None:
    world.break_aws("sqs", "SendMessage", "ServiceUnavailable", 500, times=3)

    result = monthly(world)

    assert result["failed"] == [{"account": RC, "code": "internal-error"}]
    assert {one["account"] for one in result["asked"]} == {SF, "all"}
    # The scheduler does not start it again; the next start asks for what is missing.
    assert len(monthly(world)["asked"]) == 14


def test_accounts_that_cannot_be_listed_fail_the_run_so_that_it_is_started_again(
    world: FakeStack,
) -> None:
    world.break_aws("secretsmanager", "ListSecrets", "InternalServiceError", 500)

    with pytest.raises(Exception, match="InternalServiceError"):
        monthly(world)
