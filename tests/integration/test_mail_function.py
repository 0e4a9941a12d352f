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
from tests.integration.download_token_cases import open_link
from tests.integration.harness import (
    RC,
    RFC,
    ROOT,
    SF,
    FakeStack,
    LambdaContext,
    bus_event,
    load_function,
    template,
)
from tests.integration.test_contract_expiry import add_contract, check_expiry

from timbres.notifications.mails import TEMPLATES

EMPTY = "AAA010101AAA"


def run_with_empty_issuer(world: FakeStack) -> None:
    """Let a run find an issuer without stamps."""
    world.add_issuers([EMPTY])
    world.run()


def reject_credentials(world: FakeStack) -> None:
    world.fault("getTimbres", "code", code="601")
    world.get(f"/accounts/{SF}/stamps", rfc=RFC)


def make_report(world: FakeStack) -> None:
    world.request_report(RC)
    world.deliver()


def fail_report(world: FakeStack) -> None:
    world.fault("csv", "code", code="400-003")
    make_report(world)


def run_monthly_reports(world: FakeStack) -> None:
    world.invoke("report", {"month": "previous", "scheduled_time": "2026-11-01T12:00:00Z"})
    world.deliver()


def make_mismatched_report(world: FakeStack) -> None:
    state = world.books.reachcore
    balance = state.balance

    def balance_then_movement(*args: Any) -> Any:
        month_balance = balance(*args)
        state.add_movements("Acme Timbrado", [Movement(date(2026, 10, 2), RFC)])
        return month_balance

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(state, "balance", balance_then_movement)
        make_report(world)


def create_one_contract(world: FakeStack) -> None:
    world.create_contract()


def double_contract(world: FakeStack) -> None:
    world.fault("agregarContrato", "doubled-contract")
    world.create_contract()
    world.clock.forward(minutes=2)
    world.invoke("reconciler", {})


def leave_contract_unknown(world: FakeStack) -> None:
    world.fault("agregarContrato", "cut-before")
    world.create_contract()


def not_created(world: FakeStack) -> None:
    leave_contract_unknown(world)
    for _ in range(3):
        world.clock.forward(minutes=40)
        world.invoke("reconciler", {})


def leave_contract_for_review(world: FakeStack) -> None:
    leave_contract_unknown(world)
    world.books.solucion_factible.set_issuer(RFC, contratados=1007)
    world.clock.forward(minutes=2)
    world.invoke("reconciler", {})


def expire_contract(world: FakeStack) -> None:
    add_contract(world, 20)
    check_expiry(world)


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


def events_of(world: FakeStack, event_type: str) -> list[dict[str, Any]]:
    EVENTS[event_type][0](world)
    return [bus_event(entry) for entry in world.published if entry["DetailType"] == event_type]


def links(mail: str) -> list[str]:
    """Return the links of a mail; each is on its own line."""
    return [line.strip() for line in mail.splitlines() if "://" in line]


def download(world: FakeStack, link: str) -> bytes:
    """Open a link of a mail as a browser does, and follow it."""
    url = template().environment("mail", world.stack.resolve)["DOWNLOAD_URL"]
    assert link.startswith(url)
    response = open_link(world, link.removeprefix(url))
    assert response.status == 302
    return world.download(response.headers["location"]).content


def test_the_rule_and_the_templates_have_the_same_event_types() -> None:
    (rule,) = (trigger for trigger in template().triggers() if trigger.kind == "EventBridgeRule")

    assert rule.properties["Pattern"]["source"] == ["timbres"]
    assert sorted(rule.properties["Pattern"]["detail-type"]) == sorted(TEMPLATES)
    assert set(EVENTS) == set(TEMPLATES)


@pytest.mark.parametrize("event_type", EVENTS)
def test_a_repeated_event_is_one_mail(world: FakeStack, event_type: str) -> None:
    (event,) = events_of(world, event_type)
    world.published.clear()

    world.invoke("mail", event)
    tokens = world.stack.items("DownloadTokensTable")
    # Delivered again to a warm function, and published again to a cold one.
    world.invoke("mail", event)
    world.reset_warm_functions()
    world.invoke("mail", event | {"id": "3f0a6f5e-8a53-4c36-9a9d-6f2b6c1d7e10"})

    (mail,) = world.mails()
    assert mail.startswith("Timbres: ")
    assert mail.partition("\n")[0].isascii()
    assert EVENTS[event_type][1] in mail
    assert world.stack.items("DownloadTokensTable") == tokens
    assert len(links(mail)) == len(tokens)


# A download token is written after the mail is marked as started.
@pytest.mark.parametrize(
    ("service", "operation", "after"),
    [("sns", "Publish", 0), ("dynamodb", "PutItem", 3)],
)
def test_the_links_of_a_retried_mail_open_their_reports(
    world: FakeStack, service: str, operation: str, after: int
) -> None:
    (event,) = events_of(world, "Monthly Reports Completed")
    world.published.clear()
    world.break_aws(service, operation, "InternalError", 500, after=after)
    with pytest.raises(Exception, match=r"."):
        world.invoke("mail", event)
    assert world.mails() == []

    world.restore_aws()
    world.invoke("mail", event)

    (mail,) = world.mails()
    assert len(links(mail)) == event["detail"]["ready"]
    assert all(download(world, link) for link in links(mail))


def test_an_event_delivered_twice_at_the_same_time_is_one_mail(world: FakeStack) -> None:
    (event,) = events_of(world, "Contract Confirmed")
    world.published.clear()

    def deliver(module: Any) -> None:
        # The second caller has to retry, or finds it done.
        try:
            module.handler(json.loads(json.dumps(event)), LambdaContext("mail", 29))
        except Exception:
            refused.append(event)

    refused: list[Any] = []
    with world.environment("mail"):
        threads = [
            threading.Thread(target=deliver, args=(load_function("mail"),)) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert len(refused) < 4
    assert len(world.mails()) == 1


def test_two_events_of_a_type_are_two_mails(world: FakeStack) -> None:
    world.create_contract()
    world.create_contract("GOMP800101QX2")
    assert len(world.mails()) == 2


def test_a_mailed_link_opens_the_version_in_the_mail(world: FakeStack) -> None:
    make_report(world)
    (mail,) = world.mails()
    (event,) = world.events("Report Ready")
    # A newer version.
    make_report(world)

    (link,) = links(mail)
    assert hashlib.sha256(download(world, link)).hexdigest() == event["sha256"]


def test_a_link_is_valid_as_long_as_the_mail_says(world: FakeStack) -> None:
    make_report(world)
    (mail,) = world.mails()
    assert "sirve 30 días" in mail
    token = links(mail)[0].rpartition("/")[2]

    world.clock.forward(days=30, seconds=-1)
    assert open_link(world, token).status == 302
    world.clock.forward(seconds=1)
    assert open_link(world, token).status == 404


def test_a_token_is_only_in_its_mail(world: FakeStack) -> None:
    make_report(world)
    (mail,) = world.mails()
    download(world, links(mail)[0])
    assert links(mail)[0].rpartition("/")[2] not in world.all_output()


def test_a_monthly_run_is_one_mail_with_a_link_for_each_report(world: FakeStack) -> None:
    run_monthly_reports(world)
    (run,) = world.events("Monthly Reports Completed")
    single = world.events("Report Ready")

    (mail,) = world.mails()

    assert run["ready"] == len(single) == len(links(mail))
    hashes = [hashlib.sha256(download(world, link)).hexdigest() for link in links(mail)]
    assert sorted(hashes) == sorted(report_event["sha256"] for report_event in single)
    assert len(world.stack.items("MailIdempotencyTable")) == 1


def test_a_monthly_run_with_failed_reports_is_one_mail_that_lists_them(world: FakeStack) -> None:
    world.fault("pdf", "code", code="400-003")
    run_monthly_reports(world)
    (run,) = world.events("Monthly Reports Completed")

    (mail,) = world.mails()

    assert (run["failed"], len(links(mail))) == (1, run["ready"])
    assert f"  - cuenta {RC}: estado de cuenta (PDF)\n    La causa: el PAC no ofrece" in mail


def test_a_report_requested_after_the_monthly_run_has_its_own_mail(
    world: FakeStack,
) -> None:
    run_monthly_reports(world)
    assert len(world.mails()) == 1
    make_report(world)
    assert world.mails()[1].startswith(f"Timbres: estado de cuenta 2026-10, cuenta {RC}\n")


def test_a_run_without_news_is_not_mailed_or_stored(world: FakeStack) -> None:
    world.add_issuers([RFC])
    world.run()
    assert world.mails() == []
    assert world.stack.items("MailIdempotencyTable") == []


def test_an_idempotency_record_expires_and_contains_no_rfc(world: FakeStack) -> None:
    run_with_empty_issuer(world)
    world.mails()
    (item,) = world.stack.items("MailIdempotencyTable")
    (ttl,) = (
        properties["TimeToLiveSpecification"]
        for name, properties in template().of_type("AWS::DynamoDB::Table")
        if name == "MailIdempotencyTable"
    )
    assert int(item[ttl["AttributeName"]]) > 0
    assert EMPTY not in str(item)


def test_an_unknown_event_type_fails(world: FakeStack) -> None:
    event = bus_event({"DetailType": "Month Closed", "Source": "timbres", "Detail": "{}"})
    with pytest.raises(KeyError):
        world.invoke("mail", event)


def test_only_the_mail_function_loads_templates_at_start(world: FakeStack) -> None:
    loads = {}
    for name in ("contract", "mail", "download_token"):
        code = f"""
import sys
sys.path[:0] = ["layers/timbres", "layers/reports", "functions/{name}"]
import app
print("jinja2" in sys.modules)
"""
        with world.environment(name):
            process = subprocess.run(
                [sys.executable, "-I", "-c", code],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=True,
            )
        loads[name] = process.stdout.strip() == "True"
    assert [name for name, loaded in loads.items() if loaded] == ["mail"]
