"""Contracts in doubt: reconciliation, settlement and limits."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from tests.integration.harness import (
    MANAGER,
    RFC,
    RFC_N,
    RFC_NEW,
    SF,
    ApiResponse,
    FakeStack,
    check_problem,
    load_function,
)

from timbres.deadline import Deadline
from timbres.domain.rfc import Rfc
from timbres.errors import TimbresError
from timbres.repositories.dynamodb import serialize
from timbres.services.contracts import ContractRequest, ContractService

PATH = f"/accounts/{SF}/contracts"


def reconcile(world: FakeStack, **later: float) -> dict[str, int]:
    world.clock.forward(**later)
    result: dict[str, int] = world.invoke("reconciler", {"scheduled_time": "2026-11-19T20:00:00Z"})
    return result


def doubtful(world: FakeStack, fault: str = "cut-after", **options: Any) -> dict[str, Any]:
    world.fault("agregarContrato", fault)
    response = world.create_contract(**options)
    assert (response.status, response.body["status"]) == (202, "unknown")
    body: dict[str, Any] = response.body
    return body


def get_contract(world: FakeStack, contract: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = world.get(f"{PATH}/{contract['id']}").body
    return body


def settle(world: FakeStack, contract_id: str, outcome: Any, reason: Any) -> ApiResponse:
    path = f"{PATH}/{contract_id}/settlement"
    body = {"outcome": outcome, "reason": reason}
    return world.call("contract", "POST", path, body=body, caller=MANAGER)


def add_portal_stamps(world: FakeStack, rfc: str, stamps: int) -> None:
    username = world.credentials.username
    issuer = world.books.solucion_factible.stamps(username, rfc)
    assert issuer is not None
    world.books.solucion_factible.set_issuer(
        rfc, contratados=issuer.contratados + stamps, username=username
    )


# ----------------------------------------------------------------------------- the reconciler


def test_a_contract_is_not_reconciled_before_it_is_due(world: FakeStack) -> None:
    contract = doubtful(world)
    assert reconcile(world, seconds=30) == {}
    assert get_contract(world, contract)["status"] == "unknown"


def test_a_contract_stored_before_0_5_0_is_read_and_not_published_again(world: FakeStack) -> None:
    contract = doubtful(world, fault="cut-before")
    (item,) = world.contract_items()
    old_steps = ("open", "send", "doubt")
    history = [line | {"step": step} for line, step in zip(item["history"], old_steps, strict=True)]
    changes = {"step": "doubt", "announced": ["Contract Unknown"], "history": history}
    world.stack.client("dynamodb").put_item(
        TableName=world.stack.refs["ContractsTable"], Item=serialize(item | changes)
    )
    world.forget_events()

    assert reconcile(world, minutes=2) == {"unknown": 1}

    steps = [line["step"] for line in get_contract(world, contract)["history"]]
    assert steps == ["create", "send", "mark-unknown", "check"]
    assert world.events("Contract Outcome Unknown") == []
    assert reconcile(world, minutes=40) == {"rejected": 1}


def test_a_created_contract_is_confirmed_and_published(world: FakeStack) -> None:
    contract = doubtful(world, stamps=45)

    assert reconcile(world, minutes=2) == {"confirmed": 1}

    after = get_contract(world, contract)
    assert (after["status"], after["contracted_before"], after["contracted_after"]) == (
        "confirmed",
        1000,
        1045,
    )
    assert after["history"][-1]["by"] == "reconciler"
    assert after["history"][-1]["note"] == (
        "contracted 1,000, used 250, available 750 before; "
        "contracted 1,045, used 250, available 795 now"
    )
    assert world.pac_contracts() == [(RFC, 45)]
    assert [e["DetailType"] for e in world.published] == [
        "Contract Outcome Unknown",
        "Contract Confirmed",
    ]
    assert world.contract_items("in-flight#") == []
    assert reconcile(world, hours=1) == {}


def test_a_contract_not_created_is_rejected_after_the_window(world: FakeStack) -> None:
    contract = doubtful(world, "cut-before", key="pedido-1")

    assert reconcile(world, minutes=2) == {"unknown": 1}
    assert get_contract(world, contract)["attempts"] == 1
    assert reconcile(world, minutes=10) == {"unknown": 1}
    assert reconcile(world, minutes=20) == {"rejected": 1}

    document = check_problem(world.create_contract(key="pedido-1"), 409, "contract-not-bought")
    assert document["contract"] == {"id": contract["id"], "status": "rejected"}
    assert world.create_contract(key="pedido-2").status == 201
    assert world.pac_contracts() == [(RFC, 500)]
    assert "Contract Rejected" in [event["DetailType"] for event in world.published]
    assert "no se creó" in "".join(world.mails())


def test_a_contract_of_somebody_else_meanwhile_needs_a_review(world: FakeStack) -> None:
    contract = doubtful(world)
    add_portal_stamps(world, RFC, 7)

    assert reconcile(world, minutes=2) == {"needs-review": 1}

    assert "revise un contrato para" in "".join(world.mails())
    blocked = check_problem(world.create_contract(), 409, "contract-in-flight")
    assert blocked["contract"]["id"] == contract["id"]
    # A person decides; the reconciler does not check it again.
    assert reconcile(world, hours=30) == {}


def test_a_pac_unavailable_for_a_day_ends_in_a_review(world: FakeStack) -> None:
    contract = doubtful(world, "cut-before")
    world.fault("getTimbres", "code", code="503", times=-1)
    states: list[str] = []
    for _ in range(40):
        states += reconcile(world, hours=1)
    assert set(states) == {"unknown", "needs-review"}
    after = get_contract(world, contract)
    assert 20 < after["attempts"] < 40
    assert "503" in after["history"][-1]["note"]


def test_rejected_credentials_are_not_tried_again_within_a_run(world: FakeStack) -> None:
    for rfc in (RFC, RFC_N):
        doubtful(world, "cut-before", rfc=rfc)
    world.factible.calls.clear()
    world.change_account(SF, world.secret(SF, password="wrong"))
    world.reset_warm_functions()

    assert reconcile(world, minutes=2) == {"unknown": 2}

    assert world.calls() == ["getTimbres"]


def test_an_account_with_a_broken_secret_leaves_its_contract_open(world: FakeStack) -> None:
    contract = doubtful(world)
    world.change_account(SF, "no JSON")
    world.reset_warm_functions()
    assert reconcile(world, minutes=2) == {"unknown": 1}
    world.change_account(SF, world.secret(SF))
    world.reset_warm_functions()
    assert reconcile(world, minutes=10) == {"confirmed": 1}
    assert get_contract(world, contract)["status"] == "confirmed"


def test_a_contract_whose_function_died_before_sending_is_rejected(world: FakeStack) -> None:
    # The second write marks the contract as sent.
    world.break_aws("dynamodb", "TransactWriteItems", "InternalServerError", 500, after=1)
    check_problem(world.create_contract(key="pedido-1"), 503, "storage-unavailable")
    world.restore_aws()
    check_problem(world.create_contract(key="pedido-1"), 409, "contract-pending")

    assert reconcile(world, minutes=3) == {"rejected": 1}

    document = check_problem(world.create_contract(key="pedido-1"), 409, "contract-not-bought")
    assert "never sent" in document["detail"]
    assert world.pac_contracts() == []
    assert world.create_contract(key="pedido-2").status == 201


def test_a_new_issuer_whose_reply_was_lost_needs_a_review(world: FakeStack) -> None:
    contract = doubtful(world, rfc=RFC_NEW)
    assert contract["contracted_before"] is None
    assert reconcile(world, minutes=2) == {"unknown": 1}
    assert reconcile(world, minutes=40) == {"needs-review": 1}


# -------------------------------------------------------------------------- settled by a person


@pytest.fixture
def under_review(world: FakeStack) -> dict[str, Any]:
    contract = doubtful(world, key="pedido-1")
    add_portal_stamps(world, RFC, 7)
    assert reconcile(world, minutes=2) == {"needs-review": 1}
    return contract


@pytest.mark.parametrize(("outcome", "status"), [("confirmed", 201), ("rejected", 409)])
def test_a_person_settles_it_with_a_name_and_a_reason(
    world: FakeStack, under_review: dict[str, Any], outcome: str, status: int
) -> None:
    response = settle(world, under_review["id"], outcome, "The portal says so, folio 8841")

    assert (response.status, response.body["status"]) == (200, outcome)
    line = get_contract(world, under_review)["history"][-1]
    assert (line["by"], line["note"]) == (MANAGER, "The portal says so, folio 8841")
    assert world.create_contract(key="pedido-1").status == status
    assert world.create_contract(key="pedido-2").status == 201
    assert world.published[-2]["DetailType"] == f"Contract {outcome.title()}"
    twice = check_problem(
        settle(world, under_review["id"], outcome, "The portal says so, folio 8841"),
        409,
        "contract-not-under-review",
    )
    assert twice["contract"]["status"] == outcome


@pytest.mark.parametrize(
    ("outcome", "reason", "field"),
    [
        ("unknown", "The portal says so", "outcome"),
        (None, "The portal says so", "outcome"),
        (["confirmed"], "The portal says so", "outcome"),
        ("confirmed", "ok", "reason"),
        ("confirmed", None, "reason"),
        ("confirmed", 4711, "reason"),
        ("rejected", "x" * 501, "reason"),
    ],
)
def test_an_invalid_settlement_is_rejected(
    world: FakeStack, under_review: dict[str, Any], outcome: Any, reason: Any, field: str
) -> None:
    response = settle(world, under_review["id"], outcome, reason)
    check_problem(response, 400, "parameter-invalid", field)
    assert get_contract(world, under_review)["status"] == "needs-review"


@pytest.mark.parametrize("fault", [None, "cut-after"])
def test_only_what_needs_a_review_is_settled_by_hand(world: FakeStack, fault: str | None) -> None:
    contract = doubtful(world, fault) if fault else world.create_contract().body
    response = settle(world, contract["id"], "rejected", "I would rather not have it")
    check_problem(response, 409, "contract-not-under-review")
    assert get_contract(world, contract)["status"] == contract["status"]


# -------------------------------------------------------------------------------- the limits


def limited(world: FakeStack, **limits: int) -> None:
    world.change_account(SF, world.secret(SF) | limits)
    world.reset_warm_functions()


def test_a_contract_is_limited_by_the_account(world: FakeStack) -> None:
    limited(world, max_stamps_per_contract=500)

    response = world.create_contract(stamps=501)

    body = check_problem(response, 422, "stamps-over-limit", "stamps")
    assert "500 (max_stamps_per_contract)" in body["detail"]
    assert world.calls() == []
    assert world.contract_items("") == []
    assert world.create_contract(stamps=500).status == 201


def test_a_lowered_limit_does_not_change_a_repeated_request(world: FakeStack) -> None:
    first = world.create_contract(stamps=500, key="pedido-1").body
    limited(world, max_stamps_per_contract=100)
    repeated = world.create_contract(stamps=500, key="pedido-1")
    assert (repeated.status, repeated.body["id"]) == (201, first["id"])


def test_a_day_is_limited_by_the_account(world: FakeStack) -> None:
    limited(world, max_stamps_per_day=1000)
    assert world.create_contract(RFC, 600).status == 201
    calls = world.calls()

    body = check_problem(world.create_contract(RFC_N, 401), 422, "day-over-limit", "stamps")

    assert "600 of 1,000" in body["detail"]
    assert world.calls() == calls
    assert world.create_contract(RFC_N, 400).status == 201
    world.clock.forward(hours=11)
    assert world.create_contract(RFC_N, 1000).status == 201


def test_a_rejected_contract_releases_its_stamps(world: FakeStack) -> None:
    limited(world, max_stamps_per_day=1000)
    world.fault("agregarContrato", "code", code="632")
    check_problem(world.create_contract(RFC, 1000), 422, "transaction-limit-exceeded")
    assert world.create_contract(RFC, 1000).status == 201


def test_a_contract_in_doubt_keeps_its_stamps(world: FakeStack) -> None:
    limited(world, max_stamps_per_day=1000)
    doubtful(world, "cut-before", rfc=RFC, stamps=1000)
    check_problem(world.create_contract(RFC_N, 1), 422, "day-over-limit", "stamps")
    reconcile(world, minutes=2)
    reconcile(world, minutes=40)
    assert world.create_contract(RFC_N, 1).status == 201


def test_concurrent_contracts_share_the_daily_limit(world: FakeStack) -> None:
    limited(world, max_stamps_per_day=1000)
    world.create_contract(RFC, 1)
    ends: list[str] = []

    # Called below the routes: a Lambda process has one request at a time.
    def create(contracts: ContractService, rfc: str) -> None:
        request = ContractRequest(Rfc(rfc), 600, f"order-{rfc}", MANAGER)
        try:
            contract, _ = contracts.create(SF, request, Deadline(25))
            ends.append(contract.status)
        except TimbresError as error:
            ends.append(error.problem_type.code)

    with world.environment("contract"):
        threads = [
            threading.Thread(
                target=create, args=(load_function("contract").contract_service(), rfc)
            )
            for rfc in (RFC, RFC_N, RFC_NEW)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert sorted(ends) == ["confirmed", "day-over-limit", "day-over-limit"]
    assert sum(stamps for _, stamps in world.pac_contracts()) == 601
