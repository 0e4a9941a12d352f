"""Contracts whose response was lost: the real reconciler, deployed from the real template."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import requests
from local.environment import LocalEnvironment

from tests.e2e.test_main_job import create_contract, eventually, fault, pac_contracts
from timbres.domain.clock import MEXICO_CITY


def sent_before(world: LocalEnvironment, contract_id: str, **ago: float) -> None:
    """Move the contract into the past, as if so much time had passed since it was sent."""
    sent_at = datetime.now(MEXICO_CITY) - timedelta(**ago)
    world.stack.session().client("dynamodb").update_item(
        TableName=world.stack.outputs["ContractsTableName"],
        Key={"account": {"S": "acme-sf"}, "entry": {"S": f"contract#{contract_id}"}},
        UpdateExpression="SET look_at = :due, sent_at = :sent_at",
        ExpressionAttributeValues={
            ":due": {"S": "2026-01-01T00:00:00+00:00"},
            ":sent_at": {"S": sent_at.isoformat()},
        },
    )


def state(world: LocalEnvironment, contract_id: str) -> dict[str, Any]:
    path = f"/accounts/acme-sf/contracts/{contract_id}"
    contract: dict[str, Any] = world.stack.call("reader", "GET", path).json()
    return contract


def looked_at(
    world: LocalEnvironment, contract_id: str, status: str, minutes: float
) -> dict[str, Any]:
    sent_before(world, contract_id, minutes=minutes)
    world.stack.fire("ReconcilerFunctionEveryFiveMinutes")

    def there() -> dict[str, Any] | None:
        contract = state(world, contract_id)
        return contract if contract["status"] == status else None

    contract: dict[str, Any] = eventually(there)
    return contract


def of_issuer(world: LocalEnvironment, rfc: str) -> list[dict[str, Any]]:
    return [contract for contract in pac_contracts(world) if contract["rfc"] == rfc]


def test_a_contract_with_a_lost_response_is_confirmed_by_count(world: LocalEnvironment) -> None:
    rfc = "LOS010203AB1"
    assert create_contract(world.stack, rfc, 30, "first-of-losrfc").status_code == 201
    fault(world.urls["solucion-factible"], operation="agregarContrato", fault="cut-after")
    unknown = create_contract(world.stack, rfc, 45, "cut-after")
    assert (unknown.status_code, unknown.json()["status"]) == (202, "unknown")

    contract = looked_at(world, unknown.json()["id"], "confirmed", minutes=2)

    assert (contract["contracted_before"], contract["contracted_after"]) == (30, 75)
    steps = [line["step"] for line in contract["history"]]
    assert steps == ["create", "send", "mark-unknown", "confirm-by-count"]
    assert len(of_issuer(world, rfc)) == 2
    again = create_contract(world.stack, rfc, 45, "cut-after")
    assert (again.status_code, again.json()["id"]) == (201, contract["id"])
    assert len(of_issuer(world, rfc)) == 2


def test_a_contract_cut_before_sending_is_rejected_and_can_be_repeated(
    world: LocalEnvironment,
) -> None:
    rfc = "CUT010203AB2"
    assert create_contract(world.stack, rfc, 10, "first-of-cutrfc").status_code == 201
    fault(world.urls["solucion-factible"], operation="agregarContrato", fault="cut-before")
    unknown = create_contract(world.stack, rfc, 60, "cut-before")
    assert unknown.status_code == 202
    blocked = create_contract(world.stack, rfc, 60, "cut-before-2")
    assert blocked.json()["code"] == "contract-in-flight"

    contract = looked_at(world, unknown.json()["id"], "rejected", minutes=31)

    assert contract["error"]["code"] == "contract-not-bought"
    response = create_contract(world.stack, rfc, 60, "cut-before")
    assert (response.status_code, response.json()["code"]) == (409, "contract-not-bought")
    assert create_contract(world.stack, rfc, 60, "cut-before-3").status_code == 201
    assert [p["timbres"] for p in of_issuer(world, rfc)] == [10, 60]


def test_an_unproved_contract_is_mailed_reviewed_and_settled(
    world: LocalEnvironment,
) -> None:
    stack, rfc = world.stack, "REV010203AB3"
    stack.queue_mails()
    assert create_contract(stack, rfc, 10, "first-of-revrfc").status_code == 201
    fault(world.urls["solucion-factible"], operation="agregarContrato", fault="cut-after")
    unknown = create_contract(stack, rfc, 20, "to-review").json()
    # Meanwhile somebody creates a contract in the portal.
    requests.post(
        f"{world.urls['solucion-factible']}/_control/issuer",
        json={"rfc": rfc, "contratados": 10 + 20 + 7},
        timeout=5,
    )

    contract = looked_at(world, unknown["id"], "needs-review", minutes=2)

    eventually(
        lambda: any("No se pudo averiguar" in m and unknown["id"] in m for m in stack.mails())
    )
    path = f"/accounts/acme-sf/contracts/{contract['id']}/settlement"
    settlement = {"outcome": "confirmed", "reason": "The portal lists it under folio 8841"}
    assert stack.call("reader", "POST", path, body=settlement).status_code == 403
    vague = stack.call(
        "contract_manager", "POST", path, body={"outcome": "confirmed", "reason": "ok"}
    )
    assert (vague.status_code, vague.json()["field"]) == (400, "reason")
    settled = stack.call("contract_manager", "POST", path, body=settlement)
    assert (settled.status_code, settled.json()["status"]) == (200, "confirmed")
    last = state(world, contract["id"])["history"][-1]
    assert last["note"] == settlement["reason"]
    assert last["by"].endswith(":user/contract_manager")
    twice = stack.call("contract_manager", "POST", path, body=settlement)
    assert (twice.status_code, twice.json()["code"]) == (409, "contract-not-under-review")


def test_more_than_the_account_allows_is_refused_before_any_call(world: LocalEnvironment) -> None:
    before = pac_contracts(world)
    answer = create_contract(world.stack, "AAA010101AAA", 10_001, "too-many")
    assert (answer.status_code, answer.json()["code"]) == (422, "stamps-over-limit")
    assert "10,000" in answer.json()["detail"]
    assert pac_contracts(world) == before
