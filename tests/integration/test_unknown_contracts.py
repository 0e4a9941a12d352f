"""Contracts in doubt: reconciliation, settlement and limits."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from tests.support.events import CONTRACT_MANAGER, ApiResponse, check_problem, load_function
from tests.support.fake_stack import RFC, RFC_N, RFC_NEW, SF, FakeStack

from timbres.deadline import Deadline
from timbres.domain.rfc import Rfc
from timbres.errors import TimbresError
from timbres.repositories.dynamodb import serialize
from timbres.services.contracts import ContractRequest, ContractService

PATH = f"/accounts/{SF}/contracts"


def reconcile(stack: FakeStack, **later: float) -> dict[str, int]:
    stack.clock.forward(**later)
    result: dict[str, int] = stack.invoke("reconciler", {"scheduled_time": "2026-11-19T20:00:00Z"})
    return result


def doubtful(stack: FakeStack, fault: str = "cut-after", **options: Any) -> dict[str, Any]:
    stack.pacs.fault("agregarContrato", fault)
    response = stack.create_contract(**options)
    assert (response.status, response.body["status"]) == (202, "unknown")
    body: dict[str, Any] = response.body
    return body


def get_contract(stack: FakeStack, contract: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = stack.get(f"{PATH}/{contract['id']}").body
    return body


def settle(stack: FakeStack, contract_id: str, outcome: Any, reason: Any) -> ApiResponse:
    path = f"{PATH}/{contract_id}/settlement"
    body = {"outcome": outcome, "reason": reason}
    return stack.call("contract", "POST", path, body=body, caller=CONTRACT_MANAGER)


def add_portal_stamps(stack: FakeStack, rfc: str, stamps: int) -> None:
    username = stack.credentials.username
    issuer = stack.pacs.state.solucion_factible.stamps(username, rfc)
    assert issuer is not None
    stack.pacs.state.solucion_factible.set_issuer(
        rfc, contratados=issuer.contratados + stamps, username=username
    )


# ----------------------------------------------------------------------------- the reconciler


def test_a_contract_is_not_reconciled_before_it_is_due(stack: FakeStack) -> None:
    contract = doubtful(stack)
    assert reconcile(stack, seconds=30) == {}
    assert get_contract(stack, contract)["status"] == "unknown"


def test_a_contract_stored_before_0_5_0_is_read_and_not_published_again(stack: FakeStack) -> None:
    contract = doubtful(stack, fault="cut-before")
    (item,) = stack.contract_items()
    old_steps = ("open", "send", "doubt")
    history = [line | {"step": step} for line, step in zip(item["history"], old_steps, strict=True)]
    changes = {"step": "doubt", "announced": ["Contract Unknown"], "history": history}
    stack.aws.client("dynamodb").put_item(
        TableName=stack.aws.refs["ContractsTable"], Item=serialize(item | changes)
    )
    stack.clear_events()

    assert reconcile(stack, minutes=2) == {"unknown": 1}

    steps = [line["step"] for line in get_contract(stack, contract)["history"]]
    assert steps == ["create", "send", "mark-unknown", "check"]
    assert stack.events("Contract Outcome Unknown") == []
    assert reconcile(stack, minutes=40) == {"rejected": 1}


def test_a_created_contract_is_confirmed_and_published(stack: FakeStack) -> None:
    contract = doubtful(stack, stamps=45)

    assert reconcile(stack, minutes=2) == {"confirmed": 1}

    after = get_contract(stack, contract)
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
    assert stack.pacs.contracts() == [(RFC, 45)]
    assert [e["DetailType"] for e in stack.published] == [
        "Contract Outcome Unknown",
        "Contract Confirmed",
    ]
    assert stack.contract_items("in-flight#") == []
    assert reconcile(stack, hours=1) == {}


def test_a_contract_not_created_is_rejected_after_the_window(stack: FakeStack) -> None:
    contract = doubtful(stack, "cut-before", key="pedido-1")

    assert reconcile(stack, minutes=2) == {"unknown": 1}
    assert get_contract(stack, contract)["attempts"] == 1
    assert reconcile(stack, minutes=10) == {"unknown": 1}
    assert reconcile(stack, minutes=20) == {"rejected": 1}

    document = check_problem(stack.create_contract(key="pedido-1"), 409, "contract-not-bought")
    assert document["contract"] == {"id": contract["id"], "status": "rejected"}
    assert stack.create_contract(key="pedido-2").status == 201
    assert stack.pacs.contracts() == [(RFC, 500)]
    assert "Contract Rejected" in [event["DetailType"] for event in stack.published]
    assert "no se creó" in "".join(stack.mails())


def test_a_contract_of_somebody_else_meanwhile_needs_a_review(stack: FakeStack) -> None:
    contract = doubtful(stack)
    add_portal_stamps(stack, RFC, 7)

    assert reconcile(stack, minutes=2) == {"needs-review": 1}

    assert "revise un contrato para" in "".join(stack.mails())
    blocked = check_problem(stack.create_contract(), 409, "contract-in-flight")
    assert blocked["contract"]["id"] == contract["id"]
    # A person decides; the reconciler does not check it again.
    assert reconcile(stack, hours=30) == {}


def test_a_pac_unavailable_for_a_day_ends_in_a_review(stack: FakeStack) -> None:
    contract = doubtful(stack, "cut-before")
    stack.pacs.fault("getTimbres", "code", code="503", times=-1)
    states: list[str] = []
    for _ in range(40):
        states += reconcile(stack, hours=1)
    assert set(states) == {"unknown", "needs-review"}
    after = get_contract(stack, contract)
    assert 20 < after["attempts"] < 40
    assert "503" in after["history"][-1]["note"]


def test_rejected_credentials_are_not_tried_again_within_a_run(stack: FakeStack) -> None:
    for rfc in (RFC, RFC_N):
        doubtful(stack, "cut-before", rfc=rfc)
    stack.pacs.solucion_factible.calls.clear()
    stack.accounts.change(SF, stack.accounts.secret(SF, password="wrong"))
    stack.reset_warm_functions()

    assert reconcile(stack, minutes=2) == {"unknown": 2}

    assert stack.pacs.calls() == ["getTimbres"]


def test_an_account_with_a_broken_secret_leaves_its_contract_open(stack: FakeStack) -> None:
    contract = doubtful(stack)
    stack.accounts.change(SF, "no JSON")
    stack.reset_warm_functions()
    assert reconcile(stack, minutes=2) == {"unknown": 1}
    stack.accounts.change(SF, stack.accounts.secret(SF))
    stack.reset_warm_functions()
    assert reconcile(stack, minutes=10) == {"confirmed": 1}
    assert get_contract(stack, contract)["status"] == "confirmed"


def test_a_contract_whose_function_died_before_sending_is_rejected(stack: FakeStack) -> None:
    # The second write marks the contract as sent.
    stack.aws_faults.reject("dynamodb", "TransactWriteItems", "InternalServerError", 500, after=1)
    check_problem(stack.create_contract(key="pedido-1"), 503, "storage-unavailable")
    stack.aws_faults.restore()
    check_problem(stack.create_contract(key="pedido-1"), 409, "contract-pending")

    assert reconcile(stack, minutes=3) == {"rejected": 1}

    document = check_problem(stack.create_contract(key="pedido-1"), 409, "contract-not-bought")
    assert "never sent" in document["detail"]
    assert stack.pacs.contracts() == []
    assert stack.create_contract(key="pedido-2").status == 201


def test_a_new_issuer_whose_reply_was_lost_needs_a_review(stack: FakeStack) -> None:
    contract = doubtful(stack, rfc=RFC_NEW)
    assert contract["contracted_before"] is None
    assert reconcile(stack, minutes=2) == {"unknown": 1}
    assert reconcile(stack, minutes=40) == {"needs-review": 1}


# -------------------------------------------------------------------------- settled by a person


@pytest.fixture
def under_review(stack: FakeStack) -> dict[str, Any]:
    contract = doubtful(stack, key="pedido-1")
    add_portal_stamps(stack, RFC, 7)
    assert reconcile(stack, minutes=2) == {"needs-review": 1}
    return contract


@pytest.mark.parametrize(("outcome", "status"), [("confirmed", 201), ("rejected", 409)])
def test_a_person_settles_it_with_a_name_and_a_reason(
    stack: FakeStack, under_review: dict[str, Any], outcome: str, status: int
) -> None:
    response = settle(stack, under_review["id"], outcome, "The portal says so, folio 8841")

    assert (response.status, response.body["status"]) == (200, outcome)
    line = get_contract(stack, under_review)["history"][-1]
    assert (line["by"], line["note"]) == (CONTRACT_MANAGER, "The portal says so, folio 8841")
    assert stack.create_contract(key="pedido-1").status == status
    assert stack.create_contract(key="pedido-2").status == 201
    assert stack.published[-2]["DetailType"] == f"Contract {outcome.title()}"
    twice = check_problem(
        settle(stack, under_review["id"], outcome, "The portal says so, folio 8841"),
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
    stack: FakeStack, under_review: dict[str, Any], outcome: Any, reason: Any, field: str
) -> None:
    response = settle(stack, under_review["id"], outcome, reason)
    check_problem(response, 400, "parameter-invalid", field)
    assert get_contract(stack, under_review)["status"] == "needs-review"


@pytest.mark.parametrize("fault", [None, "cut-after"])
def test_only_what_needs_a_review_is_settled_by_hand(stack: FakeStack, fault: str | None) -> None:
    contract = doubtful(stack, fault) if fault else stack.create_contract().body
    response = settle(stack, contract["id"], "rejected", "I would rather not have it")
    check_problem(response, 409, "contract-not-under-review")
    assert get_contract(stack, contract)["status"] == contract["status"]


# -------------------------------------------------------------------------------- the limits


def limited(stack: FakeStack, **limits: int) -> None:
    stack.accounts.change(SF, stack.accounts.secret(SF) | limits)
    stack.reset_warm_functions()


def test_a_contract_is_limited_by_the_account(stack: FakeStack) -> None:
    limited(stack, max_stamps_per_contract=500)

    response = stack.create_contract(stamps=501)

    body = check_problem(response, 422, "stamps-over-limit", "stamps")
    assert "500 (max_stamps_per_contract)" in body["detail"]
    assert stack.pacs.calls() == []
    assert stack.contract_items("") == []
    assert stack.create_contract(stamps=500).status == 201


def test_a_lowered_limit_does_not_change_a_repeated_request(stack: FakeStack) -> None:
    first = stack.create_contract(stamps=500, key="pedido-1").body
    limited(stack, max_stamps_per_contract=100)
    repeated = stack.create_contract(stamps=500, key="pedido-1")
    assert (repeated.status, repeated.body["id"]) == (201, first["id"])


def test_a_day_is_limited_by_the_account(stack: FakeStack) -> None:
    limited(stack, max_stamps_per_day=1000)
    assert stack.create_contract(RFC, 600).status == 201
    calls = stack.pacs.calls()

    body = check_problem(stack.create_contract(RFC_N, 401), 422, "day-over-limit", "stamps")

    assert "600 of 1,000" in body["detail"]
    assert stack.pacs.calls() == calls
    assert stack.create_contract(RFC_N, 400).status == 201
    stack.clock.forward(hours=11)
    assert stack.create_contract(RFC_N, 1000).status == 201


def test_a_rejected_contract_releases_its_stamps(stack: FakeStack) -> None:
    limited(stack, max_stamps_per_day=1000)
    stack.pacs.fault("agregarContrato", "code", code="632")
    check_problem(stack.create_contract(RFC, 1000), 422, "transaction-limit-exceeded")
    assert stack.create_contract(RFC, 1000).status == 201


def test_a_contract_in_doubt_keeps_its_stamps(stack: FakeStack) -> None:
    limited(stack, max_stamps_per_day=1000)
    doubtful(stack, "cut-before", rfc=RFC, stamps=1000)
    check_problem(stack.create_contract(RFC_N, 1), 422, "day-over-limit", "stamps")
    reconcile(stack, minutes=2)
    reconcile(stack, minutes=40)
    assert stack.create_contract(RFC_N, 1).status == 201


def test_concurrent_contracts_share_the_daily_limit(stack: FakeStack) -> None:
    limited(stack, max_stamps_per_day=1000)
    stack.create_contract(RFC, 1)
    ends: list[str] = []

    # Called below the routes: a Lambda process has one request at a time.
    def create(contracts: ContractService, rfc: str) -> None:
        request = ContractRequest(Rfc(rfc), 600, f"order-{rfc}", CONTRACT_MANAGER)
        try:
            contract, _ = contracts.create(SF, request, Deadline(25))
            ends.append(contract.status)
        except TimbresError as error:
            ends.append(error.problem_type.code)

    with stack.environment("contract"):
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
    assert sum(stamps for _, stamps in stack.pacs.contracts()) == 601
