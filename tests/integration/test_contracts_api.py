"""/accounts/{account}/contracts: responses, mails and the PAC's connection.

``test_contract_service.py`` has the rules.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.support.events import CONTRACT_MANAGER, ApiResponse, check_problem
from tests.support.fake_stack import RFC, RFC_N, SF, FakeStack

PATH = f"/accounts/{SF}/contracts"
DONE = "La transacción ha sido completada satisfactoriamente."
CREATED_AT = "2026-11-19T13:53:42-06:00"


class Relay:
    """A TCP proxy that can silently drop its open connections."""

    def __init__(self, url: str) -> None:
        host = urlsplit(url)
        self._to = (host.hostname, host.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[list[bool]] = []
        self.lost: list[bytes] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def drop_connections(self) -> None:
        for alive in self._open:
            alive[0] = False

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._to)
                alive = [True]
                self._open.append(alive)
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._forward, args=(*pair, alive), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, alive: list[bool]) -> None:
        with contextlib.suppress(OSError), source, target:
            while data := source.recv(65536):
                if not alive[0]:
                    self.lost.append(data)
                    return
                target.sendall(data)


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
    assert stack.get(f"{PATH}/{id_}").body == body | {"id": id_, "history": history}


def test_a_contract_publishes_an_event_sends_a_mail_and_registers_the_issuer(
    stack: FakeStack,
) -> None:
    contract = stack.create_contract(RFC_N, 25).body

    assert stack.events("Contract Confirmed") == [contract]
    (mail,) = stack.mails()
    assert mail.startswith("Timbres: 25 timbres contratados, cuenta acme-sf\n\n")
    assert contract["id"] in mail
    (issuer,) = stack.get(f"/accounts/{SF}/stamps").body["issuers"]
    assert (issuer["rfc"], issuer["contracted"], issuer["available"]) == (RFC_N, 525, 45)


def test_a_contract_is_not_sent_over_a_dropped_connection(stack: FakeStack) -> None:
    relay = Relay(stack.accounts.secret(SF)["endpoint"])
    stack.accounts.change(SF, stack.accounts.secret(SF, endpoint=relay.url))
    try:
        assert stack.create_contract(RFC, 1).status == 201
        relay.drop_connections()
        assert stack.create_contract(RFC, 2).status == 201
    finally:
        relay.close()

    assert stack.pacs.contracts() == [(RFC, 1), (RFC, 2)]
    # Only the count before the contract was lost.
    lost = b"".join(relay.lost)
    assert b"urn:getTimbres" in lost
    assert b"agregarContrato" not in lost


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


def test_a_short_deadline_sends_no_contract(stack: FakeStack) -> None:
    check_problem(stack.create_contract(seconds=8), 503, "out-of-time")
    assert "agregarContrato" not in stack.pacs.calls()


def test_contracts_are_listed_newest_first_and_filtered(stack: FakeStack) -> None:
    confirmed = [stack.create_contract(rfc, 1).body for rfc in (RFC, RFC_N)]
    stack.pacs.fault("agregarContrato", "code", code="632")
    rejected = stack.create_contract(RFC, 9).body["contract"]

    def ids(**query: str) -> list[str]:
        body = stack.get(PATH, **query).body
        assert body["next"] is None
        return [contract["id"] for contract in body["contracts"]]

    all_ids = [rejected["id"], confirmed[1]["id"], confirmed[0]["id"]]
    assert ids() == all_ids
    assert ids(rfc=RFC_N) == all_ids[1:2]
    assert ids(status="rejected") == all_ids[:1]
    assert ids(rfc=RFC_N, status="rejected") == []


@pytest.fixture
def under_review(stack: FakeStack) -> dict[str, Any]:
    """A contract under review: its response was lost, and the portal added stamps."""
    stack.pacs.fault("agregarContrato", "cut-after")
    contract: dict[str, Any] = stack.create_contract(key="pedido-1").body
    stack.pacs.state.solucion_factible.set_issuer(RFC, contratados=1507)
    stack.clock.forward(minutes=2)
    event = {"scheduled_time": "2026-11-19T20:00:00Z"}
    assert stack.invoke("reconciler", event) == {"needs-review": 1}
    return contract


def settle(stack: FakeStack, id_: str, outcome: Any, reason: Any) -> ApiResponse:
    body = {"outcome": outcome, "reason": reason}
    return stack.call("contract", "POST", f"{PATH}/{id_}/settlement", body=body)


def test_a_contract_under_review_is_mailed_and_settled(
    stack: FakeStack, under_review: dict[str, Any]
) -> None:
    assert "revise un contrato para" in "".join(stack.mails())

    response = settle(stack, under_review["id"], "rejected", "The portal says so")

    assert (response.status, response.body["status"]) == (200, "rejected")
    (event,) = stack.events("Contract Rejected")
    assert event == response.body
    twice = settle(stack, under_review["id"], "rejected", "The portal says so")
    assert check_problem(twice, 409, "contract-not-under-review")["contract"] == response.body
    replay = stack.create_contract(key="pedido-1")
    assert check_problem(replay, 409, "contract-not-bought")["contract"]["status"] == "rejected"
