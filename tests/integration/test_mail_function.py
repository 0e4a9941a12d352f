"""The mail function sends one mail per event, whatever is delivered twice or fails."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from local.fake_pacs.fake_data import Movement
from tests.integration.test_contract_expiry import add_contract, check_expiry
from tests.support.download_token_cases import open_link
from tests.support.events import LambdaContext, bus_event, load_function
from tests.support.fake_stack import RC, RFC, SF, FakeStack
from tests.support.template import ROOT, template

from timbres.notifications.mails import TEMPLATES

EMPTY = "AAA010101AAA"


def run_with_empty_issuer(stack: FakeStack) -> None:
    """Let a run find an issuer without stamps."""
    stack.accounts.add_issuers([EMPTY])
    stack.run()


def reject_credentials(stack: FakeStack) -> None:
    stack.pacs.fault("getTimbres", "code", code="601")
    stack.get(f"/accounts/{SF}/stamps", rfc=RFC)


def make_report(stack: FakeStack) -> None:
    stack.request_report(RC)
    stack.deliver()


def fail_report(stack: FakeStack) -> None:
    stack.pacs.fault("csv", "code", code="400-003")
    make_report(stack)


def run_monthly_reports(stack: FakeStack) -> None:
    stack.invoke("report", {"month": "previous", "scheduled_time": "2026-11-01T12:00:00Z"})
    stack.deliver()


def make_mismatched_report(stack: FakeStack) -> None:
    state = stack.pacs.state.reachcore
    balance = state.balance

    def balance_then_movement(*args: Any) -> Any:
        month_balance = balance(*args)
        state.add_movements("Acme Timbrado", [Movement(date(2026, 10, 2), RFC)])
        return month_balance

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(state, "balance", balance_then_movement)
        make_report(stack)


def create_one_contract(stack: FakeStack) -> None:
    stack.create_contract()


def double_contract(stack: FakeStack) -> None:
    stack.pacs.fault("agregarContrato", "doubled-contract")
    stack.create_contract()
    stack.clock.forward(minutes=2)
    stack.invoke("reconciler", {})


def leave_contract_unknown(stack: FakeStack) -> None:
    stack.pacs.fault("agregarContrato", "cut-before")
    stack.create_contract()


def not_created(stack: FakeStack) -> None:
    leave_contract_unknown(stack)
    for _ in range(3):
        stack.clock.forward(minutes=40)
        stack.invoke("reconciler", {})


def leave_contract_for_review(stack: FakeStack) -> None:
    leave_contract_unknown(stack)
    stack.pacs.state.solucion_factible.set_issuer(RFC, contratados=1007)
    stack.clock.forward(minutes=2)
    stack.invoke("reconciler", {})


def expire_contract(stack: FakeStack) -> None:
    add_contract(stack, 20)
    check_expiry(stack)


# How to cause each event, and a text that its mail contains.
EVENTS: dict[str, tuple[Callable[[FakeStack], None], str]] = {
    "Daily Run Completed": (run_with_empty_issuer, EMPTY),
    "Credentials Rejected": (reject_credentials, "601"),
    "Report Ready": (make_report, "listo"),
    "Report Failed": (fail_report, "no ofrece el formato"),
    "Monthly Reports Completed": (run_monthly_reports, "Todas las cuentas:"),
    "Statement Mismatch Detected": (make_mismatched_report, "no cuadra"),
    "Contract Confirmed": (create_one_contract, "500 timbres"),
    "Contract Count Mismatch Detected": (double_contract, "no cuadra"),
    "Contract Outcome Unknown": (leave_contract_unknown, "contrato en duda"),
    "Contract Rejected": (not_created, "no se creó"),
    "Contract Needs Review": (leave_contract_for_review, "settlement"),
    "Contracts Expiring": (expire_contract, "vence el"),
}


def events_of(stack: FakeStack, event_type: str) -> list[dict[str, Any]]:
    EVENTS[event_type][0](stack)
    return [bus_event(entry) for entry in stack.published if entry["DetailType"] == event_type]


def links(mail: str) -> list[str]:
    """Return the links of a mail; each is on its own line."""
    return [line.strip() for line in mail.splitlines() if "://" in line]


def download(stack: FakeStack, link: str) -> bytes:
    """Open a link of a mail as a browser does, and follow it."""
    url = template().environment("mail", stack.aws.resolve)["DOWNLOAD_URL"]
    assert link.startswith(url)
    response = open_link(stack, link.removeprefix(url))
    assert response.status == 302
    return stack.download(response.headers["location"]).content


def test_the_rule_and_the_templates_have_the_same_event_types() -> None:
    (rule,) = (trigger for trigger in template().triggers() if trigger.kind == "EventBridgeRule")

    assert rule.properties["Pattern"]["source"] == ["timbres"]
    assert sorted(rule.properties["Pattern"]["detail-type"]) == sorted(TEMPLATES)
    assert set(EVENTS) == set(TEMPLATES)


@pytest.mark.parametrize("event_type", EVENTS)
def test_a_repeated_event_is_one_mail(stack: FakeStack, event_type: str) -> None:
    (event,) = events_of(stack, event_type)
    stack.published.clear()

    stack.invoke("mail", event)
    tokens = stack.aws.items("DownloadTokensTable")
    # Delivered again to a warm function, and published again to a cold one.
    stack.invoke("mail", event)
    stack.reset_warm_functions()
    stack.invoke("mail", event | {"id": "3f0a6f5e-8a53-4c36-9a9d-6f2b6c1d7e10"})

    (mail,) = stack.mails()
    assert mail.startswith("Timbres: ")
    assert mail.partition("\n")[0].isascii()
    assert EVENTS[event_type][1] in mail
    assert stack.aws.items("DownloadTokensTable") == tokens
    assert len(links(mail)) == len(tokens)


# A download token is written after the mail is marked as started.
@pytest.mark.parametrize(
    ("service", "operation", "after"),
    [("sns", "Publish", 0), ("dynamodb", "PutItem", 3)],
)
def test_the_links_of_a_retried_mail_open_their_reports(
    stack: FakeStack, service: str, operation: str, after: int
) -> None:
    (event,) = events_of(stack, "Monthly Reports Completed")
    stack.published.clear()
    stack.aws_faults.reject(service, operation, "InternalError", 500, after=after)
    with pytest.raises(Exception, match=r"."):
        stack.invoke("mail", event)
    assert stack.mails() == []

    stack.aws_faults.restore()
    stack.invoke("mail", event)

    (mail,) = stack.mails()
    assert len(links(mail)) == event["detail"]["ready"]
    assert all(download(stack, link) for link in links(mail))


def test_an_event_delivered_twice_at_the_same_time_is_one_mail(stack: FakeStack) -> None:
    (event,) = events_of(stack, "Contract Confirmed")
    stack.published.clear()

    def deliver(module: Any) -> None:
        try:
            module.handler(json.loads(json.dumps(event)), LambdaContext("mail", 29))
        except Exception:
            refused.append(event)

    refused: list[Any] = []
    with stack.environment("mail"):
        threads = [
            threading.Thread(target=deliver, args=(load_function("mail"),)) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert refused == []
    assert len(stack.mails()) == 1


def test_two_events_of_a_type_are_two_mails(stack: FakeStack) -> None:
    stack.create_contract()
    stack.create_contract("GOMP800101QX2")
    assert len(stack.mails()) == 2


def test_a_mailed_link_opens_the_version_in_the_mail(stack: FakeStack) -> None:
    make_report(stack)
    (mail,) = stack.mails()
    (event,) = stack.events("Report Ready")
    # A newer version.
    make_report(stack)

    (link,) = links(mail)
    assert hashlib.sha256(download(stack, link)).hexdigest() == event["sha256"]


def test_a_link_is_valid_as_long_as_the_mail_says(stack: FakeStack) -> None:
    make_report(stack)
    (mail,) = stack.mails()
    assert "sirve 30 días" in mail
    token = links(mail)[0].rpartition("/")[2]

    stack.clock.forward(days=30, seconds=-1)
    assert open_link(stack, token).status == 302
    stack.clock.forward(seconds=1)
    assert open_link(stack, token).status == 404


def test_a_token_is_only_in_its_mail(stack: FakeStack) -> None:
    make_report(stack)
    (mail,) = stack.mails()
    download(stack, links(mail)[0])
    assert links(mail)[0].rpartition("/")[2] not in stack.all_output()


def test_a_monthly_run_is_one_mail_with_a_link_for_each_report(stack: FakeStack) -> None:
    run_monthly_reports(stack)
    (run,) = stack.events("Monthly Reports Completed")
    single = stack.events("Report Ready")

    (mail,) = stack.mails()

    assert run["ready"] == len(single) == len(links(mail))
    hashes = [hashlib.sha256(download(stack, link)).hexdigest() for link in links(mail)]
    assert sorted(hashes) == sorted(report_event["sha256"] for report_event in single)
    assert len(stack.aws.items("MailIdempotencyTable")) == 1


def test_a_monthly_run_with_failed_reports_is_one_mail_that_lists_them(stack: FakeStack) -> None:
    stack.pacs.fault("pdf", "code", code="400-003")
    run_monthly_reports(stack)
    (run,) = stack.events("Monthly Reports Completed")

    (mail,) = stack.mails()

    assert (run["failed"], len(links(mail))) == (1, run["ready"])
    assert f"  - cuenta {RC}: estado de cuenta (PDF)\n    La causa: el PAC no ofrece" in mail


def test_a_report_requested_after_the_monthly_run_has_its_own_mail(
    stack: FakeStack,
) -> None:
    run_monthly_reports(stack)
    assert len(stack.mails()) == 1
    make_report(stack)
    assert stack.mails()[1].startswith(f"Timbres: estado de cuenta 2026-10, cuenta {RC}\n")


def test_a_run_without_news_is_not_mailed_or_stored(stack: FakeStack) -> None:
    stack.accounts.add_issuers([RFC])
    stack.run()
    assert stack.mails() == []
    assert stack.aws.items("MailIdempotencyTable") == []


def test_an_idempotency_record_expires_and_contains_no_rfc(stack: FakeStack) -> None:
    run_with_empty_issuer(stack)
    stack.mails()
    (item,) = stack.aws.items("MailIdempotencyTable")
    (ttl,) = (
        properties["TimeToLiveSpecification"]
        for name, properties in template().of_type("AWS::DynamoDB::Table")
        if name == "MailIdempotencyTable"
    )
    assert int(item[ttl["AttributeName"]]) > 0
    assert EMPTY not in str(item)


def test_an_unknown_event_type_fails(stack: FakeStack) -> None:
    event = bus_event({"DetailType": "Month Closed", "Source": "timbres", "Detail": "{}"})
    with pytest.raises(KeyError):
        stack.invoke("mail", event)


def test_only_the_mail_function_loads_templates_at_start(stack: FakeStack) -> None:
    loads = {}
    for name in ("contract", "mail", "download_token"):
        code = f"""
import sys
sys.path[:0] = ["layers/timbres", "layers/reports", "functions/{name}"]
import app
print("jinja2" in sys.modules)
"""
        with stack.environment(name):
            process = subprocess.run(
                [sys.executable, "-I", "-c", code],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=True,
            )
        loads[name] = process.stdout.strip() == "True"
    assert [name for name, loaded in loads.items() if loaded] == ["mail"]
