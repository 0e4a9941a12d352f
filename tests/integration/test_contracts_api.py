"""POST and GET /accounts/{account}/contracts: idempotent contracts and their journal."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest
from local.fake_pacs.solucion_factible import FakeSolucionFactible
from tests.support.events import CONTRACT_MANAGER, ApiResponse, check_problem, load_function
from tests.support.fake_stack import RC, RFC, RFC_N, RFC_NEW, SF, FakeStack

import timbres.pacs.solucion_factible.client
from timbres.deadline import Deadline
from timbres.domain.rfc import Rfc
from timbres.errors import TimbresError
from timbres.services.contracts import ContractRequest

PATH = f"/accounts/{SF}/contracts"
DONE = "La transacción ha sido completada satisfactoriamente."


def contracted_stamps(stack: FakeStack, rfc: str = RFC) -> int:
    issuer = stack.pacs.state.solucion_factible.stamps(stack.credentials.username, rfc)
    return issuer.contratados if issuer else 0


def history(stack: FakeStack) -> list[dict[str, Any]]:
    (contract,) = stack.contract_items()
    lines: list[dict[str, Any]] = contract["history"]
    return lines


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


# ---------------------------------------------------------------------------- confirmed


def test_confirmed_contract_has_every_field(stack: FakeStack) -> None:
    response = stack.create_contract(RFC, 500, "pedido-1")

    assert response.status == 201
    assert response.headers["content-type"] == "application/json"
    assert "idempotent-replayed" not in response.headers
    body = response.body
    assert re.fullmatch(r"[0-9a-f]{32}", body.pop("id"))
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
        "created_at": "2026-11-19T13:53:42-06:00",
        "settled_at": "2026-11-19T13:53:42-06:00",
        "attempts": 0,
        "pac": {"code": "200", "message": DONE},
        "error": None,
    }
    assert stack.pacs.contracts() == [(RFC, 500)]
    assert stack.pacs.calls() == ["getTimbres", "agregarContrato", "getTimbres"]


def test_contract_is_not_sent_over_a_dropped_connection(stack: FakeStack) -> None:
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


def test_contract_publishes_an_event_sends_a_mail_and_registers_the_issuer(
    stack: FakeStack,
) -> None:
    contract = stack.create_contract(RFC_N, 25).body

    assert stack.events() == [contract]
    assert [entry["DetailType"] for entry in stack.published] == ["Contract Confirmed"]
    (mail,) = stack.mails()
    subject, text = mail.split("\n\n", 1)
    assert subject == "Timbres: 25 timbres contratados para NAN840101AB1"
    for fact in ("25 timbres", RFC_N, SF, contract["id"], CONTRACT_MANAGER):
        assert fact in text
    (issuer,) = stack.get(f"/accounts/{SF}/stamps").body["issuers"]
    assert (issuer["rfc"], issuer["contracted"], issuer["available"]) == (RFC_N, 525, 45)


def test_history_is_complete(stack: FakeStack) -> None:
    stack.create_contract()

    at, pac = "2026-11-19T13:53:42-06:00", {"pac_code": "200", "pac_message": DONE}
    assert history(stack) == [
        {"step": "create", "at": at, "by": CONTRACT_MANAGER, "status": "pending"},
        {"step": "send", "at": at, "by": CONTRACT_MANAGER, "status": "pending"},
        {"step": "confirm", "at": at, "by": CONTRACT_MANAGER, "status": "confirmed"} | pac,
        {"step": "count", "at": at, "by": CONTRACT_MANAGER, "status": "confirmed"} | pac,
    ]
    assert stack.contract_items("in-flight#") == []


def test_contract_of_a_new_issuer(stack: FakeStack) -> None:
    response = stack.create_contract(RFC_NEW, 10)

    assert response.status == 201
    assert response.body["contracted_before"] is None
    assert response.body["contracted_after"] == 10
    assert stack.pacs.contracts() == [(RFC_NEW, 10)]


@pytest.mark.parametrize(
    "text", ["ñan840101ab1", f"  {RFC_N}\t", "N\N{COMBINING TILDE}AN840101AB1"]
)
def test_rfc_is_normalized(stack: FakeStack, text: str) -> None:
    assert stack.create_contract(text, 1).body["rfc"] == RFC_N
    assert stack.pacs.contracts() == [(RFC_N, 1)]


@pytest.mark.parametrize("stamps", [1, 10_000])
def test_smallest_and_largest_contract(stack: FakeStack, stamps: int) -> None:
    assert stack.create_contract(RFC, stamps).body["contracted_after"] == 1000 + stamps


def test_base64_body_and_lower_case_header(stack: FakeStack) -> None:
    response = stack.call(
        "contract",
        "POST",
        PATH,
        body={"rfc": RFC_N, "stamps": 5},
        headers={"idempotency-key": "  clave-1  "},
        is_base64=True,
    )

    assert response.status == 201
    assert stack.create_contract(RFC_N, 5, "clave-1").body == response.body


def test_requested_by_is_the_signer(stack: FakeStack) -> None:
    other = "arn:aws:sts::111122223333:assumed-role/Compras/ana@example.com"

    assert stack.create_contract(caller=other).body["requested_by"] == other
    assert history(stack)[0]["by"] == other


def test_failed_count_after_a_contract_does_not_fail_it(
    stack: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = stack.pacs.state.solucion_factible.contract

    def break_next_counts(*request: Any) -> Any:
        stack.pacs.fault("getTimbres", "code", code="501", times=-1)
        return contract(*request)

    monkeypatch.setattr(stack.pacs.state.solucion_factible, "contract", break_next_counts)

    response = stack.create_contract(RFC, 7)

    assert response.status == 201
    assert (response.body["contracted_before"], response.body["contracted_after"]) == (1000, None)
    assert stack.pacs.contracts() == [(RFC, 7)]
    assert stack.logs.lines("the count after a contract failed")
    assert stack.events("Contract Confirmed") == [response.body]


# --------------------------------------------------------------------------- idempotency


def test_repeated_request_is_replayed_for_ever(stack: FakeStack) -> None:
    first = stack.create_contract(RFC, 500, "pedido-1")
    for days in (0, 1, 400):
        stack.clock.forward(days=days)
        stack.reset_warm_functions()
        replay = stack.create_contract(RFC, 500, "pedido-1")
        assert (replay.status, replay.body) == (201, first.body)
        assert replay.headers["idempotent-replayed"] == "true"

    assert stack.pacs.contracts() == [(RFC, 500)]
    assert stack.pacs.calls() == ["getTimbres", "agregarContrato", "getTimbres"]
    assert len(stack.events()) == 1


def test_equivalent_body_is_replayed(stack: FakeStack) -> None:
    stack.create_contract(RFC_N, 3, "pedido-1")

    replay = stack.call(
        "contract",
        "POST",
        PATH,
        body=' {"stamps" : 3, "rfc": "\\u00f1an840101ab1 "}\n',
        headers={"Idempotency-Key": "pedido-1"},
    )

    assert replay.headers["idempotent-replayed"] == "true"
    assert stack.pacs.contracts() == [(RFC_N, 3)]


@pytest.mark.parametrize(("rfc", "stamps"), [(RFC, 501), (RFC_N, 500)])
def test_reused_key_with_another_body_is_rejected(stack: FakeStack, rfc: str, stamps: int) -> None:
    first = stack.create_contract(RFC, 500, "pedido-1").body

    body = check_problem(
        stack.create_contract(rfc, stamps, "pedido-1"),
        422,
        "idempotency-key-reused",
        "Idempotency-Key",
    )

    assert body["contract"] == first
    assert first["id"] in body["detail"]
    assert stack.pacs.contracts() == [(RFC, 500)]


def test_keys_are_scoped_to_the_account(stack: FakeStack) -> None:
    stack.accounts.create("acme-two", stack.accounts.secret(SF))

    ids = {stack.create_contract(RFC, 5, "k", account=name).body["id"] for name in (SF, "acme-two")}

    assert len(ids) == 2
    assert stack.pacs.contracts() == [(RFC, 5), (RFC, 5)]


def test_another_key_creates_another_contract(stack: FakeStack) -> None:
    stack.create_contract(RFC, 5)
    stack.create_contract(RFC, 5)

    assert stack.pacs.contracts() == [(RFC, 5), (RFC, 5)]
    assert contracted_stamps(stack) == 1010


# ------------------------------------------------------------------------------- pending


def leave_pending(stack: FakeStack, key: str = "pedido-1") -> dict[str, Any]:
    """Leave a sent contract pending, as after the crash of a function."""
    # The third transaction, the outcome, fails.
    stack.aws_faults.reject("dynamodb", "TransactWriteItems", "InternalServerError", 500, after=2)
    contract: dict[str, Any] = stack.create_contract(RFC, 500, key).body
    stack.aws_faults.restore()
    assert contract["status"] == "pending"
    stack.pacs.solucion_factible.calls.clear()
    return contract


def test_pending_contract_asks_the_caller_to_retry(stack: FakeStack) -> None:
    contract = leave_pending(stack)

    response = stack.create_contract(RFC, 500, "pedido-1")

    body = check_problem(response, 409, "contract-pending")
    assert response.headers["retry-after"] == "5"
    assert (body["contract"]["id"], body["contract"]["status"]) == (contract["id"], "pending")
    assert contract["id"] in body["detail"]
    assert stack.pacs.calls() == []


def test_second_contract_of_the_issuer_is_rejected_while_one_is_in_flight(stack: FakeStack) -> None:
    contract = leave_pending(stack)

    response = stack.create_contract(RFC, 20, "pedido-2")

    body = check_problem(response, 409, "contract-in-flight")
    assert response.headers["retry-after"] == "60"
    assert body["contract"]["id"] == contract["id"]
    assert body["contract"]["stamps"] == 500
    assert contract["id"] in body["detail"]
    assert stack.pacs.calls() == []
    # The second key stays free.
    assert len(stack.contract_items("key#")) == 1


def test_another_issuer_does_not_wait(stack: FakeStack) -> None:
    leave_pending(stack)

    assert stack.create_contract(RFC_N, 20).status == 201


# ------------------------------------------------------------------------------ rejected

REJECTIONS = [
    ("503", 503, "pac-unavailable"),
    ("601", 502, "pac-credentials-rejected"),
    ("602", 502, "pac-credentials-rejected"),
    ("603", 502, "pac-credentials-rejected"),
    ("604", 502, "pac-credentials-rejected"),
    ("605", 502, "pac-credentials-rejected"),
    ("611", 502, "pac-rejected-request"),
    ("612", 502, "pac-rejected-request"),
    ("620", 403, "pac-permission-denied"),
    ("630", 409, "account-stamps-exhausted"),
    ("631", 409, "issuer-stamps-exhausted"),
    ("632", 422, "transaction-limit-exceeded"),
    ("633", 409, "environment-mismatch"),
]
UNKNOWN_OUTCOMES = [
    ("500", "pac-error"),
    ("501", "pac-unavailable"),
    ("502", "pac-error"),
    ("624", "contract-duplicate"),
]


def test_all_codes_are_covered() -> None:
    codes = {row[0] for row in REJECTIONS} | {row[0] for row in UNKNOWN_OUTCOMES}
    assert codes == FakeSolucionFactible.rules.codes["agregarContrato"] - {"200"}


@pytest.mark.parametrize(("pac_code", "status", "code"), REJECTIONS)
def test_rejection_is_returned_and_replayed(
    stack: FakeStack, pac_code: str, status: int, code: str
) -> None:
    stack.pacs.fault("agregarContrato", "code", code=pac_code, mensaje="No se\tpudo")

    response = stack.create_contract(RFC, 500, "pedido-1")

    body = check_problem(response, status, code)
    assert body["pac"] == {"name": "solucion-factible", "code": pac_code, "message": "No se pudo"}
    assert body["contract"]["status"] == "rejected"
    # A retry needs a new key.
    assert "retry-after" not in response.headers
    assert "new Idempotency-Key" in body["detail"]
    calls = stack.pacs.calls()
    assert calls == ["getTimbres", "agregarContrato"]

    replay = stack.create_contract(RFC, 500, "pedido-1")
    assert check_problem(replay, status, code) | {"instance": None} == body | {"instance": None}
    assert stack.pacs.calls() == calls
    assert stack.pacs.contracts() == []
    event_types = {event["DetailType"] for event in stack.published}
    assert event_types == (
        {"Credentials Rejected"} if pac_code[0] == "6" and pac_code <= "605" else set()
    )

    contract = stack.get(f"{PATH}/{body['contract']['id']}").body
    assert (contract["status"], contract["contracted_before"], contract["contracted_after"]) == (
        "rejected",
        1000,
        None,
    )
    assert contract["pac"] == {"code": pac_code, "message": "No se pudo"}
    assert contract["error"] == {"code": code, "detail": body["detail"]}
    assert contract["settled_at"] is not None
    assert [line["status"] for line in history(stack)] == ["pending", "pending", "rejected"]
    assert history(stack)[-1]["pac_code"] == pac_code


def test_replayed_rejection_uses_the_http_status_of_its_code(
    stack: FakeStack,
) -> None:
    stack.pacs.fault("agregarContrato", "code", code="632")
    body = stack.create_contract(RFC, 500, "pedido-1").body
    stack.aws.client("dynamodb").update_item(
        TableName=stack.aws.refs["ContractsTable"],
        Key={"account": {"S": SF}, "entry": {"S": f"contract#{body['contract']['id']}"}},
        UpdateExpression="SET refusal.#status = :status",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={":status": {"N": "418"}},
    )

    replay = stack.create_contract(RFC, 500, "pedido-1")

    assert check_problem(replay, body["status"], body["code"])["detail"] == body["detail"]


def test_issuer_can_have_a_contract_after_a_rejection(stack: FakeStack) -> None:
    stack.pacs.fault("agregarContrato", "code", code="632")
    stack.create_contract(RFC, 500)

    assert stack.create_contract(RFC, 100).status == 201
    assert stack.pacs.contracts() == [(RFC, 100)]


def test_permission_denied_by_the_fake_pac(stack: FakeStack) -> None:
    stack.pacs.state.solucion_factible.set_issuer(RFC, denied=True)

    assert (
        check_problem(stack.create_contract(), 403, "pac-permission-denied")["pac"]["code"] == "620"
    )
    assert stack.pacs.contracts() == []


@pytest.mark.parametrize(
    ("pac_code", "status", "code", "calls"),
    [
        ("500", 502, "pac-error", 3),
        ("501", 503, "pac-unavailable", 3),
        ("601", 502, "pac-credentials-rejected", 1),
        ("612", 502, "pac-rejected-request", 1),
        ("633", 409, "environment-mismatch", 1),
    ],
)
def test_failed_count_sends_no_contract(
    stack: FakeStack, pac_code: str, status: int, code: str, calls: int
) -> None:
    stack.pacs.fault("getTimbres", "code", code=pac_code, times=-1)

    body = check_problem(stack.create_contract(RFC, 500, "pedido-1"), status, code)

    assert body["contract"]["status"] == "rejected"
    assert stack.pacs.calls() == ["getTimbres"] * calls
    assert [line["status"] for line in history(stack)] == ["pending", "rejected"]
    assert stack.contract_items("in-flight#") == []
    stack.pacs.solucion_factible.faults.clear()
    stack.accounts.clear_rejections()
    assert stack.create_contract(RFC, 500, "pedido-2").status == 201


def test_slow_count_sends_no_contract(stack: FakeStack) -> None:
    stack.pacs.fault("getTimbres", "slow", seconds=2.5, times=-1)

    body = check_problem(stack.create_contract(seconds=4), 504, "pac-timeout")

    assert body["contract"]["status"] == "rejected"
    assert "agregarContrato" not in stack.pacs.calls()


def test_short_deadline_sends_no_contract(stack: FakeStack) -> None:
    response = stack.create_contract(seconds=8)

    body = check_problem(response, 503, "out-of-time")
    assert "new Idempotency-Key" in body["detail"]
    assert body["contract"]["status"] == "rejected"
    assert stack.pacs.calls() == ["getTimbres"]
    assert stack.pacs.contracts() == []


# ------------------------------------------------------------------------------- unknown


def assert_unknown(stack: FakeStack, response: ApiResponse, code: str) -> None:
    body = response.body
    assert response.status == 202
    assert response.headers["content-type"] == "application/json"
    assert (body["status"], body["settled_at"], body["contracted_after"]) == ("unknown", None, None)
    assert body["contracted_before"] == 1000
    assert body["error"]["code"] == code
    calls = stack.pacs.calls()
    assert calls.count("agregarContrato") == 1

    replay = stack.create_contract(RFC, 500, "pedido-1")
    assert (replay.status, replay.body) == (202, body)
    assert replay.headers["idempotent-replayed"] == "true"
    check_problem(stack.create_contract(RFC, 500, "pedido-2"), 409, "contract-in-flight")
    assert stack.pacs.calls() == calls

    assert stack.events("Contract Outcome Unknown") == [body]
    (mail,) = stack.mails()
    assert mail.startswith(f"Timbres: contrato en duda para {RFC}\n\n")
    for fact in ("500 timbres", SF, body["id"], "Qué hacer: nada por ahora"):
        assert fact in mail
    assert [line["status"] for line in history(stack)] == ["pending", "pending", "unknown"]
    assert [item["contract_id"] for item in stack.contract_items("in-flight#")] == [body["id"]]


@pytest.mark.parametrize(("pac_code", "code"), UNKNOWN_OUTCOMES)
@pytest.mark.parametrize("processed", [False, True])
def test_failure_that_may_have_taken_effect_leaves_the_contract_unknown(
    stack: FakeStack, pac_code: str, code: str, processed: bool
) -> None:
    stack.pacs.fault("agregarContrato", "code", code=pac_code, processed=processed)

    response = stack.create_contract(RFC, 500, "pedido-1")

    assert response.body["pac"]["code"] == pac_code
    assert_unknown(stack, response, code)
    assert stack.pacs.contracts() == [(RFC, 500)] * processed


@pytest.mark.parametrize(
    ("fault", "code", "applied"),
    [
        ("cut-after", "pac-timeout", True),
        ("cut-before", "pac-timeout", False),
        ("truncated", "pac-timeout", True),
        ("html-200", "pac-unavailable", False),
        ("wrong-shape", "pac-protocol-error", False),
        ("empty-body", "pac-protocol-error", False),
        ("redirect", "pac-protocol-error", False),
        ("dtd", "pac-protocol-error", True),
        ("soap-fault", "pac-error", False),
    ],
)
def test_malformed_response_leaves_the_contract_unknown(
    stack: FakeStack, fault: str, code: str, applied: bool
) -> None:
    stack.pacs.fault("agregarContrato", fault)

    assert_unknown(stack, stack.create_contract(RFC, 500, "pedido-1"), code)
    assert stack.pacs.contracts() == [(RFC, 500)] * applied


@pytest.mark.parametrize("fault", ["slow", "slow-after"])
def test_timeout_leaves_one_unknown_contract(
    stack: FakeStack, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timbres.pacs.solucion_factible.client, "_CONTRACT_READ_SECONDS", 0.3)
    stack.pacs.fault("agregarContrato", fault, seconds=0.6)

    assert_unknown(stack, stack.create_contract(RFC, 500, "pedido-1"), "pac-timeout")
    time.sleep(0.5)
    assert stack.pacs.contracts() == [(RFC, 500)]


# ---------------------------------------------------------------------------- concurrency


def run_while_sending(stack: FakeStack, second: Any) -> tuple[ApiResponse, Any]:
    """Send a request and call ``second`` while the PAC processes it; return both results."""
    stack.pacs.fault("agregarContrato", "slow", seconds=0.8)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(stack.create_contract, RFC, 500, "pedido-1")
        deadline = time.monotonic() + 5
        while "agregarContrato" not in stack.pacs.calls():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        meanwhile = second()
        return first.result(), meanwhile


def test_same_key_during_the_first_request_is_rejected(stack: FakeStack) -> None:
    first, second = run_while_sending(
        stack, lambda: stack.create_contract(RFC, 500, "pedido-1", module=load_function("contract"))
    )

    body = check_problem(second, 409, "contract-pending")
    assert first.status == 201
    assert body["contract"]["id"] == first.body["id"]
    assert stack.pacs.contracts() == [(RFC, 500)]


def test_another_key_during_the_first_request_is_rejected(stack: FakeStack) -> None:
    first, second = run_while_sending(
        stack, lambda: stack.create_contract(RFC, 500, "pedido-2", module=load_function("contract"))
    )

    body = check_problem(second, 409, "contract-in-flight")
    assert first.status == 201
    assert body["contract"]["id"] == first.body["id"]
    assert stack.pacs.contracts() == [(RFC, 500)]


@pytest.mark.parametrize("same_key", [True, False])
def test_only_one_of_many_concurrent_requests_sends_a_contract(
    stack: FakeStack, same_key: bool
) -> None:
    count = 6
    # All instances are warm and start at the same time.
    with stack.environment("contract"):
        instances = [load_function("contract").contract_service() for _ in range(count)]
    barrier = threading.Barrier(count)

    def create(number: int) -> str:
        key = "pedido" if same_key else f"pedido-{number}"
        barrier.wait()
        try:
            contract, _ = instances[number].create(
                SF, ContractRequest(Rfc(RFC), 5, key, CONTRACT_MANAGER), Deadline(20)
            )
        except TimbresError as error:
            return error.problem_type.code
        return str(contract.id)

    with ThreadPoolExecutor(count) as pool:
        results = list(pool.map(create, range(count)))

    assert stack.pacs.contracts()[0] == (RFC, 5)
    if same_key:
        assert stack.pacs.contracts() == [(RFC, 5)]
        assert {result for result in results if len(result) == 32} == {
            stack.contract_items()[0]["id"]
        }
        assert {result for result in results if len(result) != 32} <= {"contract-pending"}
    else:
        # A request after the first contract is settled creates another contract.
        ids = [result for result in results if len(result) == 32]
        assert len(set(ids)) == len(ids) == len(stack.pacs.contracts())
        errors = {result for result in results if len(result) != 32}
        assert errors <= {"contract-in-flight"}
    assert stack.contract_items("in-flight#") == []


# -------------------------------------------------------------------------- AWS failures


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("ProvisionedThroughputExceededException", 400),
        ("AccessDeniedException", 400),
        ("InternalServerError", 500),
    ],
)
def test_failed_creation_of_the_journal_entry_sends_nothing(
    stack: FakeStack, code: str, status: int
) -> None:
    stack.aws_faults.reject("dynamodb", "TransactWriteItems", code, status)

    response = stack.create_contract()

    check_problem(response, 503, "storage-unavailable")
    assert response.headers["retry-after"] == "5"
    assert stack.pacs.calls() == []
    assert stack.aws.items("ContractsTable") == []


def test_failed_write_of_the_sent_mark_sends_nothing(stack: FakeStack) -> None:
    stack.aws_faults.reject("dynamodb", "TransactWriteItems", "InternalServerError", 500, after=1)

    check_problem(stack.create_contract(RFC, 500, "pedido-1"), 503, "storage-unavailable")

    assert stack.pacs.calls() == ["getTimbres"]
    assert stack.pacs.contracts() == []


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("ProvisionedThroughputExceededException", 400),
        ("AccessDeniedException", 400),
        ("InternalServerError", 500),
    ],
)
def test_failed_write_of_the_outcome_returns_the_pending_contract(
    stack: FakeStack, code: str, status: int
) -> None:
    stack.aws_faults.reject("dynamodb", "TransactWriteItems", code, status, after=2)

    response = stack.create_contract(RFC, 500, "pedido-1")

    assert response.status == 202
    assert (response.body["status"], response.body["contracted_before"]) == ("pending", 1000)
    assert response.body["pac"] is None
    assert stack.pacs.contracts() == [(RFC, 500)]
    contract = stack.get(f"{PATH}/{response.body['id']}").body
    assert [line["step"] for line in contract.pop("history")] == ["create", "send"]
    assert contract == response.body
    (line,) = stack.logs.lines("could not be written to the journal")
    assert (line["level"], line["contract"], line["status"], line["pac_code"]) == (
        "ERROR",
        response.body["id"],
        "confirmed",
        "200",
    )
    stack.aws_faults.restore()
    check_problem(stack.create_contract(RFC, 500, "pedido-1"), 409, "contract-pending")
    check_problem(stack.create_contract(RFC, 500, "pedido-2"), 409, "contract-in-flight")
    assert stack.pacs.contracts() == [(RFC, 500)]


def test_failed_write_of_an_unknown_outcome_returns_the_pending_contract(
    stack: FakeStack,
) -> None:
    stack.pacs.fault("agregarContrato", "cut-after")
    stack.aws_faults.reject("dynamodb", "TransactWriteItems", "InternalServerError", 500, after=2)

    response = stack.create_contract(RFC, 500, "pedido-1")

    assert (response.status, response.body["status"]) == (202, "pending")
    assert stack.pacs.contracts() == [(RFC, 500)]


def test_transaction_conflict_is_retried(stack: FakeStack) -> None:
    conflict = {"CancellationReasons": [{"Code": "None"}, {"Code": "TransactionConflict"}]}
    failures = stack.aws_faults.reject(
        "dynamodb",
        "TransactWriteItems",
        "TransactionCanceledException",
        times=2,
        members=conflict,
    )

    assert stack.create_contract().status == 201
    assert len(failures) == 2
    assert stack.pacs.contracts() == [(RFC, 500)]


def test_permanent_transaction_conflict_sends_nothing(stack: FakeStack) -> None:
    conflict = {"CancellationReasons": [{"Code": "TransactionConflict"}]}
    stack.aws_faults.reject(
        "dynamodb", "TransactWriteItems", "TransactionCanceledException", members=conflict
    )

    check_problem(stack.create_contract(), 503, "storage-unavailable")
    assert stack.pacs.calls() == []


def test_failed_publication_does_not_fail_the_contract(stack: FakeStack) -> None:
    stack.aws_faults.reject("events", "PutEvents", "InternalException", 500)

    assert stack.create_contract().status == 201
    (line,) = stack.logs.lines("Contract Confirmed was not published")
    assert line["level"] == "ERROR"


def test_failed_registration_of_the_issuer_does_not_fail_the_contract(stack: FakeStack) -> None:
    stack.aws_faults.reject("dynamodb", "UpdateItem", "InternalServerError", 500)

    assert stack.create_contract().status == 201
    assert stack.events("Contract Confirmed")


@pytest.mark.parametrize("path", [PATH, f"{PATH}/{'0' * 32}"])
def test_unreadable_journal_returns_503(stack: FakeStack, path: str) -> None:
    for operation in ("Query", "GetItem"):
        stack.aws_faults.reject("dynamodb", operation, "InternalServerError", 500)

    check_problem(stack.get(path), 503, "storage-unavailable")


# --------------------------------------------------------------------------- the journal


def put_contracts(stack: FakeStack, count: int) -> list[str]:
    """Copy the only contract into the table ``count`` times; return the ids."""
    dynamodb, table = stack.aws.client("dynamodb"), stack.aws.refs["ContractsTable"]
    (model,) = (
        item
        for item in dynamodb.scan(TableName=table)["Items"]
        if item["entry"]["S"].startswith("contract#")
    )
    ids = [f"{number:012x}{uuid.uuid4().hex[:20]}" for number in range(count)]
    for number, contract_id in enumerate(ids):
        changes = {
            "id": {"S": contract_id},
            "entry": {"S": f"contract#{contract_id}"},
            "rfc": {"S": RFC_N if number % 3 == 0 else RFC},
            "status": {"S": "rejected" if number % 50 == 0 else "confirmed"},
        }
        dynamodb.put_item(TableName=table, Item=model | changes)
    return ids


def list_pages(stack: FakeStack, **query: str) -> list[list[str]]:
    """Return the ids of all contracts, one list per page."""
    pages, cursor = [], None
    while True:
        body = stack.get(PATH, **query, **({"cursor": cursor} if cursor else {})).body
        assert body.keys() == {"contracts", "next"}
        pages.append([contract["id"] for contract in body["contracts"]])
        cursor = body["next"]
        if cursor is None:
            return pages


def test_contracts_are_listed_newest_first(stack: FakeStack) -> None:
    confirmed = [stack.create_contract(rfc, 1).body for rfc in (RFC, RFC_N, RFC)]
    stack.pacs.fault("agregarContrato", "code", code="632")
    rejected_id = check_problem(stack.create_contract(RFC, 9), 422, "transaction-limit-exceeded")[
        "contract"
    ]["id"]

    body = stack.get(PATH).body

    assert body["next"] is None
    assert body["contracts"][1:] == confirmed[::-1]
    assert body["contracts"][0]["id"] == rejected_id
    assert [contract["id"] for contract in stack.get(PATH, rfc=RFC_N).body["contracts"]] == [
        confirmed[1]["id"]
    ]
    assert [
        contract["id"] for contract in stack.get(PATH, status="rejected").body["contracts"]
    ] == [rejected_id]
    assert stack.get(PATH, rfc=RFC_N, status="rejected").body == {"contracts": [], "next": None}
    assert stack.get(PATH, status="needs-review").body["contracts"] == []


def test_contract_equals_the_response_to_its_request(stack: FakeStack) -> None:
    contract = stack.create_contract().body

    response = stack.get(f"{PATH}/{contract['id']}")

    assert [line["step"] for line in response.body["history"]] == [
        "create",
        "send",
        "confirm",
        "count",
    ]
    assert (response.status, response.body) == (
        200,
        contract | {"history": response.body["history"]},
    )


def test_contracts_are_paginated(stack: FakeStack) -> None:
    newest = stack.create_contract().body["id"]
    ids = [*put_contracts(stack, 230), newest]

    pages = list_pages(stack)

    assert [len(page) for page in pages] == [100, 100, 31]
    assert [contract_id for page in pages for contract_id in page] == ids[::-1]
    filtered = [contract_id for page in list_pages(stack, rfc=RFC_N) for contract_id in page]
    assert filtered == ids[:-1][::3][::-1]
    rejected = [
        contract_id for page in list_pages(stack, status="rejected") for contract_id in page
    ]
    assert rejected == [ids[number] for number in (200, 150, 100, 50, 0)]
    assert [
        contract_id for page in list_pages(stack, status="unknown") for contract_id in page
    ] == []


def test_list_without_contracts_is_empty(stack: FakeStack) -> None:
    assert stack.get(PATH).body == {"contracts": [], "next": None}


def test_contracts_of_another_account_are_not_visible(stack: FakeStack) -> None:
    stack.accounts.create("acme-two", stack.accounts.secret(SF))
    contract_id = stack.create_contract().body["id"]

    assert stack.get("/accounts/acme-two/contracts").body["contracts"] == []
    check_problem(
        stack.get(f"/accounts/acme-two/contracts/{contract_id}"), 404, "contract-not-found", "id"
    )


def test_account_without_contracts_returns_422(stack: FakeStack) -> None:
    body = check_problem(stack.create_contract(account=RC), 422, "operation-unsupported", "account")

    assert "reachcore" in body["detail"]
    assert stack.aws.items("ContractsTable") == []
