"""/accounts/{account}/contracts: responses, events and mails.

``test_contract_service.py`` has the rules.
"""

from __future__ import annotations

import re

import pytest
from tests.support.events import CONTRACT_MANAGER, check_problem
from tests.support.fake_stack import RFC, RFC_N, SF, FakeStack

PATH = f"/accounts/{SF}/contracts"
DONE = "La transacción ha sido completada satisfactoriamente."
CREATED_AT = "2026-11-19T13:53:42-06:00"


def test_a_confirmed_contract_has_every_field(stack: FakeStack) -> None:
    response = stack.create_contract(RFC, 500, "pedido-1")
    replay = stack.create_contract(RFC, 500, "pedido-1")

    assert (response.status, replay.status) == (201, 201)
    assert response.headers["content-type"] == "application/json"
    assert "idempotent-replayed" not in response.headers
    assert (replay.headers["idempotent-replayed"], replay.body) == ("true", response.body)
    body = response.body
    id_ = body.pop("id")
    assert re.fullmatch(r"[0-9a-f]{32}", id_)
    assert body == {
        "account": SF,
        "rfc": RFC,
        "stamps": 500,
        "status": "confirmed",
        "contracted_before": 1000,
        "used_before": 250,
        "available_before": 750,
        "contracted_after": 1500,
        "used_after": 250,
        "available_after": 1250,
        "warning": None,
        "requested_by": CONTRACT_MANAGER,
        "idempotency_key": "pedido-1",
        "reference": None,
        "created_at": CREATED_AT,
        "settled_at": CREATED_AT,
        "attempts": 0,
        "pac": {"code": "200", "message": DONE},
        "error": None,
    }
    assert stack.pacs.contracts() == [(RFC, 500)]
    pac = {"pac_code": "200", "pac_message": DONE}
    steps = [("create", "pending", {}), ("send", "pending", {})]
    steps += [("confirm", "confirmed", pac), ("count", "confirmed", pac)]
    history = [
        {"step": step, "at": CREATED_AT, "by": CONTRACT_MANAGER, "status": status} | reply
        for step, status, reply in steps
    ]
    assert stack.get(f"{PATH}/{id_}").body == replay.body | {"history": history}
    assert stack.events("Contract Confirmed") == [replay.body]
    (mail,) = stack.mails()
    assert mail.startswith(f"Timbres: 500 timbres contratados para {RFC}\n\n")
    assert id_ in mail
    (issuer,) = stack.get(f"/accounts/{SF}/stamps").body["issuers"]
    assert (issuer["rfc"], issuer["contracted"], issuer["available"]) == (RFC, 1500, 1250)


def test_an_equivalent_request_is_replayed(stack: FakeStack) -> None:
    signer = "arn:aws:sts::111122223333:assumed-role/Compras/ana@example.com"
    first = stack.create_contract(RFC_N, 3, "pedido-1", caller=signer)

    replay = stack.call(
        "contract",
        "POST",
        PATH,
        body=' {"stamps" : 3, "rfc": "\\u00f1an840101ab1 "}\n',
        headers={"idempotency-key": "  pedido-1  "},
        is_base64=True,
    )

    assert replay.headers["idempotent-replayed"] == "true"
    assert replay.body == first.body
    assert replay.body["requested_by"] == signer
    assert stack.pacs.contracts() == [(RFC_N, 3)]


def test_a_rejection_and_its_replay_are_the_same_problem(stack: FakeStack) -> None:
    stack.pacs.fault("agregarContrato", "code", code="503", mensaje="No se\tpudo")

    response = stack.create_contract(RFC, 500, "pedido-1")
    replay = stack.create_contract(RFC, 500, "pedido-1")

    body = check_problem(response, 503, "pac-unavailable")
    assert body["pac"] == {"name": "solucion-factible", "code": "503", "message": "No se pudo"}
    assert "retry-after" not in response.headers
    again = check_problem(replay, 503, "pac-unavailable")
    assert again | {"instance": None} == body | {"instance": None}
    contract = stack.get(f"{PATH}/{body['contract']['id']}").body
    assert contract["pac"] == {"code": "503", "message": "No se pudo"}
    assert contract["error"] == {"code": "pac-unavailable", "detail": body["detail"]}


def test_an_unknown_contract_is_accepted_and_mailed(stack: FakeStack) -> None:
    stack.pacs.fault("agregarContrato", "cut-after")

    response = stack.create_contract(RFC, 500, "pedido-1")
    blocked = stack.create_contract(RFC, 500, "pedido-2")

    body = response.body
    assert (response.status, body["status"], body["settled_at"]) == (202, "unknown", None)
    assert body["error"]["code"] == "pac-timeout"
    problem = check_problem(blocked, 409, "contract-in-flight")
    assert blocked.headers["retry-after"] == "60"
    assert problem["contract"] == body
    assert stack.events("Contract Outcome Unknown") == [body]
    (mail,) = stack.mails()
    assert mail.startswith(f"Timbres: contrato en duda para {RFC}\n\n")


def test_a_pending_contract_asks_the_caller_to_retry(stack: FakeStack) -> None:
    # The third transaction, the outcome, fails.
    stack.aws_faults.reject("dynamodb", "TransactWriteItems", "AccessDeniedException", after=2)
    accepted = stack.create_contract(RFC, 500, "pedido-1")
    stack.aws_faults.restore()

    response = stack.create_contract(RFC, 500, "pedido-1")

    assert (accepted.status, accepted.body["status"]) == (202, "pending")
    body = check_problem(response, 409, "contract-pending")
    assert response.headers["retry-after"] == "5"
    assert body["contract"] == accepted.body
    (line,) = stack.logs.lines("could not be written to the journal")
    assert (line["level"], line["status"], line["pac_code"]) == ("ERROR", "confirmed", "200")
    assert stack.pacs.contracts() == [(RFC, 500)]


def test_a_contract_under_review_is_mailed_and_settled(stack: FakeStack) -> None:
    stack.pacs.fault("agregarContrato", "cut-after")
    contract = stack.create_contract(key="pedido-1").body
    stack.pacs.state.solucion_factible.set_issuer(RFC, contratados=1507)
    assert stack.reconcile(minutes=2) == {"needs-review": 1}
    assert "revise un contrato para" in "".join(stack.mails())
    body = {"outcome": "rejected", "reason": "The portal says so"}
    path = f"{PATH}/{contract['id']}/settlement"

    response, twice = (stack.call("contract", "POST", path, body=body) for _ in range(2))

    assert (response.status, response.body["status"]) == (200, "rejected")
    assert stack.events("Contract Rejected") == [response.body]
    assert check_problem(twice, 409, "contract-not-under-review")["contract"] == response.body
    replay = stack.create_contract(key="pedido-1")
    assert check_problem(replay, 409, "contract-not-bought")["contract"]["status"] == "rejected"


@pytest.mark.parametrize(
    ("faults", "states", "mail"),
    [
        (["cut-after"], [{"confirmed": 1}, {}], "timbres contratados"),
        (["cut-before"], [{"unknown": 1}, {"rejected": 1}], "no se realizó"),
        (["doubled-contract"], [{"confirmed": 1}, {}], "se esperaban 1,500"),
        # The contract replaces an expired one of its size: contracted is the same as before.
        (["expiring-contract", "cut-after"], [{"unknown": 1}, {"needs-review": 1}], "revise"),
    ],
)
def test_a_count_decides_and_is_mailed(
    stack: FakeStack, faults: list[str], states: list[dict[str, int]], mail: str
) -> None:
    for fault in faults:
        expired = {"contratados": 500, "usados": 250} if fault == "expiring-contract" else {}
        stack.pacs.fault("agregarContrato", fault, **expired)
    stack.create_contract(RFC, 500)

    assert [stack.reconcile(minutes=minutes) for minutes in (2, 40)] == states
    assert any(mail in text for text in stack.mails())
    assert stack.pacs.calls().count("agregarContrato") == 1
