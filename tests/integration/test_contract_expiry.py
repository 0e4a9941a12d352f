"""Expiry of contracts: the stamps of an issuer, the report, and one mail for each contract."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.support.fake_stack import RFC, RFC_N, SF, FakeStack
from tests.support.reports import sheets

from timbres.domain.contract import CONFIRMED, REJECTED, Contract, ContractStatus, id_lower_bound
from timbres.domain.rfc import Rfc
from timbres.repositories.contracts import ContractRepository

DAY = timedelta(days=1)
PATH = f"/accounts/{SF}/stamps"


def add_contract(
    stack: FakeStack,
    expires_in: int,
    rfc: str = RFC,
    stamps: int = 500,
    number: int = 0,
    status: ContractStatus = CONFIRMED,
    **changes: Any,
) -> str:
    """Store a contract that expires in so many days; return its id."""
    expires_at = stack.clock() + expires_in * DAY
    created_at = expires_at.replace(year=expires_at.year - 1) + timedelta(seconds=number)
    repository = ContractRepository(stack.aws.client("dynamodb"), stack.aws.refs["ContractsTable"])
    contract_id = f"{id_lower_bound(created_at)}{number:020x}"
    new = Contract.create(SF, "f" * 32, Rfc(rfc), stamps, "arn", contract_id, created_at)
    contract = replace(new, id=contract_id, next_check_at=None, **changes)
    assert repository.create(contract, "", 10**9) is None
    final = {"status": status, "step": "confirm", "version": 1, "settled_at": created_at}
    published: Any = {"published_events": ("Contract Confirmed",)}
    assert repository.save(contract, replace(contract, **final, **published))
    return contract_id


def check_expiry(stack: FakeStack) -> dict[str, int]:
    return dict(stack.invoke("reconciler", {"check": "expiry"})["expiring"])


def expiring(stack: FakeStack) -> list[list[str]]:
    """Return the contracts of each event."""
    return [
        [contract["id"] for contract in event["contracts"]]
        for event in stack.events("Contracts Expiring")
    ]


def test_the_stamps_of_an_issuer_have_the_next_expiry(stack: FakeStack) -> None:
    for number, (days, stamps) in enumerate([(-1, 7), (23, 500), (23, 40), (200, 1)]):
        add_contract(stack, days, stamps=stamps, number=number)
    add_contract(stack, 3, RFC_N, number=9)

    body = stack.get(PATH, rfc=RFC).body

    expected = (stack.clock() + 23 * DAY).date().isoformat()
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
    stack: FakeStack, changes: dict[str, Any], known: bool
) -> None:
    if changes.get("login") == "same":
        assert stack.create_contract(RFC_N).status == 201
        changes = changes | {"login": stack.contract_items()[0]["login"]}
    add_contract(stack, 10, **changes)

    assert (stack.get(PATH, rfc=RFC).body["expires_on"] is not None) is known


def test_a_mail_warns_once_of_each_contract(stack: FakeStack) -> None:
    due = [add_contract(stack, days, number=days) for days in (0, 30)]
    add_contract(stack, 31, number=31)
    add_contract(stack, -1, number=99)
    add_contract(stack, 5, number=5, status=REJECTED)
    before = stack.get(f"/accounts/{SF}/contracts/{due[1]}").body

    assert check_expiry(stack) == {SF: 2}
    assert check_expiry(stack) == {}

    assert expiring(stack) == [due]
    (mail,) = stack.mails()
    last_day = (stack.clock() + 30 * DAY).strftime("%d/%m/%Y")
    assert f"El contrato de 500 timbres de {RFC} vence el {last_day}" in mail
    # It changes nothing else of a contract.
    assert stack.get(f"/accounts/{SF}/contracts/{due[1]}").body == before
    assert stack.invoke("reconciler", {}) == {}

    stack.clock.forward(days=1)
    assert check_expiry(stack) == {SF: 1}
    assert len(stack.mails()) == 2


def test_two_checks_at_the_same_time_are_one_mail(stack: FakeStack) -> None:
    contracts = [add_contract(stack, 20, number=number) for number in range(3)]
    checks = iter([check_expiry])

    def check_before_the_first_event(**_: Any) -> None:
        for check in checks:
            check(stack)

    stack.aws_faults.watch("events", "PutEvents", check_before_the_first_event)

    assert check_expiry(stack) == {SF: 3}

    assert expiring(stack) == [contracts, contracts]
    assert len(stack.mails()) == 1
    assert check_expiry(stack) == {}


@pytest.mark.parametrize(
    ("service", "operation"),
    [("events", "PutEvents"), ("dynamodb", "TransactWriteItems"), ("dynamodb", "Query")],
)
def test_a_failed_check_is_repeated_and_mails_once(
    stack: FakeStack, service: str, operation: str
) -> None:
    contracts = [add_contract(stack, 20, number=number) for number in range(2)]
    stack.aws_faults.reject(service, operation, "InternalError", 500)
    with pytest.raises(Exception, match=r"."):
        check_expiry(stack)

    stack.aws_faults.restore()
    assert check_expiry(stack) == {SF: 2}
    assert check_expiry(stack) == {}

    assert len(stack.mails()) == 1
    assert expiring(stack)[-1] == contracts


def test_every_contract_of_a_large_account_is_named_once(stack: FakeStack) -> None:
    ids = [add_contract(stack, 15, number=number) for number in range(101)]

    assert check_expiry(stack) == {SF: 101}

    assert expiring(stack) == [ids[:100], ids[100:]]
    assert len(stack.mails()) == 2
    assert check_expiry(stack) == {}


def test_a_report_shows_the_next_expiry_of_each_issuer(stack: FakeStack) -> None:
    for number, days in enumerate([-1, 40, 20]):
        add_contract(stack, days, number=number)
    add_contract(stack, 30, RFC_N, 80, number=9)

    book = sheets(stack, SF, "2026-10")

    first, second = (datetime.strftime(stack.clock() + days * DAY, "%d/%m/%Y") for days in (20, 30))
    assert book["Contratos"][-2:] == [[SF, RFC, "500", first], [SF, RFC_N, "80", second]]
