"""The mail function: each event is mailed once, despite duplicates and failures."""

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

from timbres.notifications.mails import TEMPLATES

EMPTY = "AAA010101AAA"


def low(world: FakeStack) -> None:
    """Let a run find an issuer without stamps."""
    world.add_issuers([EMPTY])
    world.run()


def rejected(world: FakeStack) -> None:
    world.fault("getTimbres", "code", code="601")
    world.get(f"/accounts/{SF}/stamps", rfc=RFC)


def ready(world: FakeStack) -> None:
    world.request_report(RC)
    world.deliver()


def failed(world: FakeStack) -> None:
    world.fault("csv", "code", code="400-003")
    ready(world)


def monthly(world: FakeStack) -> None:
    world.invoke("report", {"month": "previous", "scheduled_time": "2026-11-01T12:00:00Z"})
    world.deliver()


def differing(world: FakeStack) -> None:
    books = world.books.reachcore
    balance = books.balance

    def another_one_later(*args: Any) -> Any:
        found = balance(*args)
        books.add_movements("Acme Timbrado", [Movement(date(2026, 10, 2), RFC)])
        return found

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(books, "balance", another_one_later)
        ready(world)


def create_one_contract(world: FakeStack) -> None:
    world.create_contract()


def doubled(world: FakeStack) -> None:
    world.fault("agregarContrato", "doubled-contract")
    world.create_contract()
    world.clock.forward(minutes=2)
    world.invoke("reconciler", {})


def doubtful(world: FakeStack) -> None:
    world.fault("agregarContrato", "cut-before")
    world.create_contract()


def not_created(world: FakeStack) -> None:
    doubtful(world)
    for _ in range(3):
        world.clock.forward(minutes=40)
        world.invoke("reconciler", {})


def to_be_reviewed(world: FakeStack) -> None:
    doubtful(world)
    world.books.solucion_factible.set_issuer(RFC, contratados=1007)
    world.clock.forward(minutes=2)
    world.invoke("reconciler", {})


# How each event comes about, and what its mail says at least.
EVENTS: dict[str, tuple[Callable[[FakeStack], None], str]] = {
    "Daily Run Completed": (low, EMPTY),
    "Credentials Rejected": (rejected, "601"),
    "Report Ready": (ready, "listo"),
    "Report Failed": (failed, "no ofrece el formato"),
    "Monthly Reports Completed": (monthly, "Todas las cuentas:"),
    "Statement Mismatch Detected": (differing, "no cuadra"),
    "Contract Confirmed": (create_one_contract, "500 timbres"),
    "Contract Count Mismatch Detected": (doubled, "no cuadra"),
    "Contract Outcome Unknown": (doubtful, "contrato en duda"),
    "Contract Rejected": (not_created, "no se creó"),
    "Contract Needs Review": (to_be_reviewed, "settlement"),
}


def events_of(world: FakeStack, kind: str) -> list[dict[str, Any]]:
    EVENTS[kind][0](world)
    return [bus_event(entry) for entry in world.published if entry["DetailType"] == kind]


def links(mail: str) -> list[str]:
    """Return the addresses of a mail; each is a line by itself."""
    return [line.strip() for line in mail.splitlines() if "://" in line]


def download(world: FakeStack, link: str) -> bytes:
    """Open a link of a mail as a browser does, and follow it."""
    url = template().environment("mail", world.stack.resolve)["DOWNLOAD_URL"]
    assert link.startswith(url)
    answer = open_link(world, link.removeprefix(url))
    assert answer.status == 302
    return world.download(answer.headers["location"]).content


def test_every_kind_that_the_rule_lets_through_has_a_mail_and_the_other_way_round() -> None:
    (rule,) = (one for one in template().triggers() if one.kind == "EventBridgeRule")

    assert rule.properties["Pattern"]["source"] == ["timbres"]
    assert sorted(rule.properties["Pattern"]["detail-type"]) == sorted(TEMPLATES)
    assert set(EVENTS) == set(TEMPLATES)


@pytest.mark.parametrize("kind", EVENTS)
def test_an_event_that_comes_twice_is_one_mail(world: FakeStack, kind: str) -> None:
    (event,) = events_of(world, kind)
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
    assert EVENTS[kind][1] in mail
    assert world.stack.items("DownloadTokensTable") == tokens
    assert len(links(mail)) == len(tokens)


# A ticket is written after the mail is noted as begun.
@pytest.mark.parametrize(
    ("service", "operation", "after"),
    [("sns", "Publish", 0), ("dynamodb", "PutItem", 3)],
)
def test_the_links_of_a_mail_that_is_sent_at_the_next_try_open_their_reports(
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


def test_an_event_that_comes_twice_at_the_same_time_is_one_mail(world: FakeStack) -> None:
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


def test_two_events_of_a_kind_are_two_mails(world: FakeStack) -> None:
    world.create_contract()
    world.create_contract("GOMP800101QX2")
    assert len(world.mails()) == 2


def test_a_mailed_link_opens_the_version_in_the_mail(world: FakeStack) -> None:
    ready(world)
    (mail,) = world.mails()
    (event,) = world.events("Report Ready")
    # Made anew meanwhile.
    ready(world)

    (link,) = links(mail)
    assert hashlib.sha256(download(world, link)).hexdigest() == event["sha256"]


def test_a_link_is_good_as_long_as_the_mail_says(world: FakeStack) -> None:
    ready(world)
    (mail,) = world.mails()
    assert "sirve 30 días" in mail
    token = links(mail)[0].rpartition("/")[2]

    world.clock.forward(days=30, seconds=-1)
    assert open_link(world, token).status == 302
    world.clock.forward(seconds=1)
    assert open_link(world, token).status == 404


def test_a_token_is_only_in_its_mail(world: FakeStack) -> None:
    ready(world)
    (mail,) = world.mails()
    download(world, links(mail)[0])
    assert links(mail)[0].rpartition("/")[2] not in world.all_output()


def test_a_monthly_run_is_one_mail_with_a_link_for_each_report(world: FakeStack) -> None:
    monthly(world)
    (run,) = world.events("Monthly Reports Completed")
    single = world.events("Report Ready")

    (mail,) = world.mails()

    assert run["ready"] == len(single) == len(links(mail))
    found = [hashlib.sha256(download(world, link)).hexdigest() for link in links(mail)]
    assert sorted(found) == sorted(one["sha256"] for one in single)
    assert len(world.stack.items("MailIdempotencyTable")) == 1


def test_a_monthly_run_in_which_reports_fail_is_one_mail_that_says_which(world: FakeStack) -> None:
    world.fault("pdf", "code", code="400-003")
    monthly(world)
    (run,) = world.events("Monthly Reports Completed")

    (mail,) = world.mails()

    assert (run["failed"], len(links(mail))) == (1, run["ready"])
    assert f"  - cuenta {RC}: estado de cuenta (PDF)\n    La causa: el PAC no ofrece" in mail


def test_a_report_that_a_person_asks_for_after_the_monthly_run_is_a_mail_of_its_own(
    world: FakeStack,
) -> None:
    monthly(world)
    assert len(world.mails()) == 1
    ready(world)
    assert world.mails()[1].startswith(f"Timbres: estado de cuenta 2026-10, cuenta {RC}\n")


def test_a_run_that_found_nothing_new_is_no_mail_and_is_not_remembered(world: FakeStack) -> None:
    world.add_issuers([RFC])
    world.run()
    assert world.mails() == []
    assert world.stack.items("MailIdempotencyTable") == []


def test_what_is_remembered_ends_and_names_no_one(world: FakeStack) -> None:
    low(world)
    world.mails()
    (item,) = world.stack.items("MailIdempotencyTable")
    (ttl,) = (
        properties["TimeToLiveSpecification"]
        for name, properties in template().of_type("AWS::DynamoDB::Table")
        if name == "MailIdempotencyTable"
    )
    assert int(item[ttl["AttributeName"]]) > 0
    assert EMPTY not in str(item)


def test_an_event_that_is_none_of_ours_fails_and_goes_to_the_dead_letters(world: FakeStack) -> None:
    event = bus_event({"DetailType": "Month Closed", "Source": "timbres", "Detail": "{}"})
    with pytest.raises(KeyError):
        world.invoke("mail", event)


def test_only_the_mail_function_loads_templates_at_its_start(world: FakeStack) -> None:
    loads = {}
    for name in ("contract", "mail", "download_token"):
        code = f"""
import sys
sys.path[:0] = ["layers/timbres", "layers/reports", "functions/{name}"]
import app
print("jinja2" in sys.modules)
"""
        with world.environment(name):
            done = subprocess.run(
                [sys.executable, "-I", "-c", code],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=True,
            )
        loads[name] = done.stdout.strip() == "True"
    assert [name for name, loaded in loads.items() if loaded] == ["mail"]
