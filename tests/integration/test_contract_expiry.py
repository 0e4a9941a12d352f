"""Expiry of contracts: the stamps of an issuer, the report, and one mail for each contract."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.integration.harness import RFC, RFC_N, SF, FakeStack
from tests.integration.test_reports_api import make_report, rows, section

from timbres.aws.events import EventPublisher
from timbres.domain.contract import CONFIRMED, REJECTED, Contract, id_lower_bound
from timbres.domain.rfc import Rfc
from timbres.repositories.contracts import ContractRepository

DAY = timedelta(days=1)
PATH = f"/accounts/{SF}/stamps"


def add_contract(
    world: FakeStack,
    expires_in: int,
    rfc: str = RFC,
    stamps: int = 500,
    number: int = 0,
    **changes: Any,
) -> Contract:
    """Store a contract that expires in so many days."""
    expires_at = world.clock() + expires_in * DAY
    created_at = expires_at.replace(year=expires_at.year - 1) + timedelta(seconds=number)
    repository = ContractRepository(
        world.stack.client("dynamodb"), world.stack.refs["ContractsTable"]
    )
    contract_id = f"{id_lower_bound(created_at)}{number:020x}"
    contract = replace(
        Contract.create(SF, "f" * 32, Rfc(rfc), stamps, "arn", contract_id, created_at),
        id=contract_id,
        next_check_at=None,
        **{name: value for name, value in changes.items() if name in ("account", "login")},
    )
    assert repository.create(contract, "", 10**9) is None
    settled = replace(
        contract,
        status=changes.get("status", CONFIRMED),
        step="confirm",
        version=1,
        settled_at=created_at,
        published_events=("Contract Confirmed",),
    )
    assert repository.save(contract, settled)
    return settled


def check_expiry(world: FakeStack) -> dict[str, int]:
    return dict(world.invoke("reconciler", {"check": "expiry"})["expiring"])


def expiring(world: FakeStack) -> list[list[str]]:
    """Return the contracts of each event."""
    return [
        [contract["id"] for contract in event["contracts"]]
        for event in world.events("Contracts Expiring")
    ]


# --------------------------------------------------------------------------------- stamps


def test_the_stamps_of_an_issuer_have_the_next_expiry(world: FakeStack) -> None:
    for number, (days, stamps) in enumerate([(-1, 7), (23, 500), (23, 40), (200, 1)]):
        add_contract(world, days, stamps=stamps, number=number)
    add_contract(world, 3, RFC_N, number=9)

    body = world.get(PATH, rfc=RFC).body

    expected = (world.clock() + 23 * DAY).date().isoformat()
    assert (body["expires_on"], body["expiring_stamps"]) == (expected, 540)


@pytest.mark.parametrize(
    ("changes", "known"),
    [
        ({}, True),
        ({"status": REJECTED}, False),
        ({"account": "another"}, False),
        ({"account": "another", "login": "same"}, True),
        # A contract that was stored before 0.5.0.
        ({"login": None}, True),
    ],
    ids=["confirmed", "rejected", "another-account", "same-login", "without-login"],
)
def test_only_confirmed_contracts_of_the_login_count(
    world: FakeStack, changes: dict[str, Any], known: bool
) -> None:
    if changes.get("login") == "same":
        assert world.create_contract(RFC_N).status == 201
        changes = changes | {"login": world.contract_items()[0]["login"]}
    add_contract(world, 10, **changes)

    assert (world.get(PATH, rfc=RFC).body["expires_on"] is not None) is known


def test_a_contract_of_today_expires_in_a_year(world: FakeStack) -> None:
    world.create_contract(stamps=20)

    body = world.get(PATH, rfc=RFC).body

    today = world.clock().date()
    expected = today.replace(year=today.year + 1).isoformat()
    assert (body["expires_on"], body["expiring_stamps"]) == (expected, 20)


# ----------------------------------------------------------------------------------- mail


def test_a_mail_warns_once_of_each_contract(world: FakeStack) -> None:
    due = [add_contract(world, days, number=days) for days in (0, 30)]
    add_contract(world, 31, number=31)
    add_contract(world, -1, number=99)
    add_contract(world, 5, number=5, status=REJECTED)

    assert check_expiry(world) == {SF: 2}
    assert check_expiry(world) == {}
    world.reset_warm_functions()
    assert check_expiry(world) == {}

    assert expiring(world) == [[contract.id for contract in due]]
    (mail,) = world.mails()
    last_day = (world.clock() + 30 * DAY).strftime("%d/%m/%Y")
    assert f"El contrato de 500 timbres de {RFC} vence el {last_day}" in mail

    world.clock.forward(days=1)
    assert check_expiry(world) == {SF: 1}
    assert len(world.mails()) == 2


def test_one_contract_is_named_in_the_subject(world: FakeStack) -> None:
    contract = add_contract(world, 23)

    check_expiry(world)

    (mail,) = world.mails()
    day = (world.clock() + 23 * DAY).strftime("%d/%m/%Y")
    assert mail.startswith(f"Timbres: el contrato de 500 timbres de {RFC} vence el {day}\n")
    assert contract.id in mail
    assert "Qué hacer:" in mail


def test_two_checks_at_the_same_time_are_one_mail(world: FakeStack) -> None:
    contracts = [add_contract(world, 20, number=number) for number in range(3)]
    publish = EventPublisher.publish
    checks = iter([check_expiry])

    def publish_after_another_check(self: EventPublisher, *args: Any) -> None:
        for check in checks:
            check(world)
        publish(self, *args)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(EventPublisher, "publish", publish_after_another_check)
        assert check_expiry(world) == {SF: 3}

    expected = [contract.id for contract in contracts]
    assert expiring(world) == [expected, expected]
    assert len(world.mails()) == 1
    assert check_expiry(world) == {}


@pytest.mark.parametrize(
    ("service", "operation"),
    [("events", "PutEvents"), ("dynamodb", "TransactWriteItems"), ("dynamodb", "Query")],
)
def test_a_failed_check_is_repeated_and_mails_once(
    world: FakeStack, service: str, operation: str
) -> None:
    contracts = [add_contract(world, 20, number=number) for number in range(2)]
    world.break_aws(service, operation, "InternalError", 500)
    with pytest.raises(Exception, match=r"."):
        check_expiry(world)

    world.restore_aws()
    assert check_expiry(world) == {SF: 2}
    assert check_expiry(world) == {}

    assert len(world.mails()) == 1
    assert expiring(world)[-1] == [contract.id for contract in contracts]


def test_every_contract_of_a_large_account_is_named_once(world: FakeStack) -> None:
    ids = [add_contract(world, 15, number=number).id for number in range(130)]

    assert check_expiry(world) == {SF: 130}

    assert [len(event) for event in expiring(world)] == [100, 30]
    assert [one for event in expiring(world) for one in event] == ids
    assert len(world.mails()) == 2
    assert check_expiry(world) == {}


def test_a_warning_changes_nothing_else_of_a_contract(world: FakeStack) -> None:
    contract = add_contract(world, 20)
    path = f"/accounts/{SF}/contracts/{contract.id}"
    before = world.get(path).body

    check_expiry(world)

    assert world.get(path).body == before
    assert world.invoke("reconciler", {}) == {}


# --------------------------------------------------------------------------------- report


def test_a_report_shows_the_next_expiry_of_each_issuer(world: FakeStack) -> None:
    for number, days in enumerate([-1, 40, 20]):
        add_contract(world, days, number=number)
    add_contract(world, 30, RFC_N, 80, number=9)

    body = make_report(world, SF, "2026-10", "consumption", "csv")

    table = rows(world.download(body["url"]).content)
    first, second = (datetime.strftime(world.clock() + days * DAY, "%d/%m/%Y") for days in (20, 30))
    assert section(table, "Próximos vencimientos") == [
        [SF, RFC, "500", first],
        [SF, RFC_N, "80", second],
    ]
