"""POST and GET /accounts/{account}/contracts: one purchase for one intent, and its journal."""

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
from tests.integration.harness import (
    MANAGER,
    RC,
    RFC,
    RFC_N,
    RFC_NEW,
    SF,
    ApiResponse,
    FakeStack,
    check_problem,
    load_function,
)

import timbres.pacs.solucion_factible.client
from timbres.deadline import Deadline
from timbres.domain.rfc import Rfc
from timbres.errors import TimbresError
from timbres.services.contracts import ContractRequest

PATH = f"/accounts/{SF}/contracts"
DONE = "La transacción ha sido completada satisfactoriamente."


def contracted(world: FakeStack, rfc: str = RFC) -> int:
    issuer = world.books.solucion_factible.stamps(world.credentials.username, rfc)
    return issuer.contratados if issuer else 0


def history(world: FakeStack) -> list[dict[str, Any]]:
    (contract,) = world.contract_items()
    lines: list[dict[str, Any]] = contract["history"]
    return lines


class Relay:
    """A way to a server that can let its open connections die without a word to the client."""

    def __init__(self, url: str) -> None:
        host = urlsplit(url)
        self._to = (host.hostname, host.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[list[bool]] = []
        self.lost: list[bytes] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def let_die(self) -> None:
        for alive in self._open:
            alive[0] = False

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                there = socket.create_connection(self._to)
                alive = [True]
                self._open.append(alive)
                for pair in ((here, there), (there, here)):
                    threading.Thread(target=self._pass, args=(*pair, alive), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, alive: list[bool]) -> None:
        with contextlib.suppress(OSError), source, target:
            while data := source.recv(65536):
                if not alive[0]:
                    self.lost.append(data)
                    return
                target.sendall(data)


# ------------------------------------------------------------------------------- bought


def test_a_contract_confirmed_field_by_field(world: FakeStack) -> None:
    answer = world.create_contract(RFC, 500, "pedido-1")

    assert answer.status == 201
    assert answer.headers["content-type"] == "application/json"
    assert "idempotent-replayed" not in answer.headers
    body = answer.body
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
        "requested_by": MANAGER,
        "idempotency_key": "pedido-1",
        "created_at": "2026-11-19T13:53:42-06:00",
        "settled_at": "2026-11-19T13:53:42-06:00",
        "attempts": 0,
        "pac": {"code": "200", "message": DONE},
        "error": None,
    }
    assert world.pac_contracts() == [(RFC, 500)]
    assert world.calls() == ["getTimbres", "agregarContrato", "getTimbres"]


def test_no_purchase_goes_over_a_connection_that_died_in_a_pause(world: FakeStack) -> None:
    relay = Relay(world.secret(SF)["endpoint"])
    world.change_account(SF, world.secret(SF, endpoint=relay.url))
    try:
        assert world.create_contract(RFC, 1).status == 201
        relay.let_die()
        assert world.create_contract(RFC, 2).status == 201
    finally:
        relay.close()
    assert world.pac_contracts() == [(RFC, 1), (RFC, 2)]
    # What was sent into the void was the count that precedes a purchase.
    lost = b"".join(relay.lost)
    assert b"urn:getTimbres" in lost
    assert b"agregarContrato" not in lost


def test_its_event_its_mail_and_the_issuer_it_made_known(world: FakeStack) -> None:
    bought = world.create_contract(RFC_N, 25).body

    assert world.events() == [bought]
    assert [entry["DetailType"] for entry in world.published] == ["Contract Confirmed"]
    (mail,) = world.mails()
    subject, text = mail.split("\n\n", 1)
    assert subject == "Timbres: 25 timbres contratados para NAN840101AB1"
    for fact in ("25 timbres", RFC_N, SF, bought["id"], MANAGER):
        assert fact in text
    (known,) = world.get(f"/accounts/{SF}/stamps").body["issuers"]
    assert (known["rfc"], known["contracted"], known["available"]) == (RFC_N, 525, 45)


def test_its_history_is_complete(world: FakeStack) -> None:
    world.create_contract()

    at, pac = "2026-11-19T13:53:42-06:00", {"pac_code": "200", "pac_message": DONE}
    assert history(world) == [
        {"step": "create", "at": at, "by": MANAGER, "status": "pending"},
        {"step": "send", "at": at, "by": MANAGER, "status": "pending"},
        {"step": "confirm", "at": at, "by": MANAGER, "status": "confirmed"} | pac,
        {"step": "count", "at": at, "by": MANAGER, "status": "confirmed"} | pac,
    ]
    assert world.contract_items("in-flight#") == []


def test_an_issuer_that_the_pac_does_not_know_yet(world: FakeStack) -> None:
    answer = world.create_contract(RFC_NEW, 10)

    assert answer.status == 201
    assert answer.body["contracted_before"] is None
    assert answer.body["contracted_after"] == 10
    assert world.pac_contracts() == [(RFC_NEW, 10)]


@pytest.mark.parametrize(
    "text", ["ñan840101ab1", f"  {RFC_N}\t", "N\N{COMBINING TILDE}AN840101AB1"]
)
def test_an_rfc_may_be_written_in_several_ways(world: FakeStack, text: str) -> None:
    assert world.create_contract(text, 1).body["rfc"] == RFC_N
    assert world.pac_contracts() == [(RFC_N, 1)]


@pytest.mark.parametrize("stamps", [1, 10_000])
def test_the_smallest_and_the_largest_contract(world: FakeStack, stamps: int) -> None:
    assert world.create_contract(RFC, stamps).body["contracted_after"] == 1000 + stamps


def test_a_body_in_base64_and_a_header_in_lower_case(world: FakeStack) -> None:
    answer = world.call(
        "contract",
        "POST",
        PATH,
        body={"rfc": RFC_N, "stamps": 5},
        headers={"idempotency-key": "  clave-1  "},
        is_base64=True,
    )

    assert answer.status == 201
    assert world.create_contract(RFC_N, 5, "clave-1").body == answer.body


def test_the_caller_is_whoever_signed(world: FakeStack) -> None:
    other = "arn:aws:sts::111122223333:assumed-role/Compras/ana@example.com"

    assert world.create_contract(caller=other).body["requested_by"] == other
    assert history(world)[0]["by"] == other


def test_a_count_that_fails_afterwards_hides_no_purchase(
    world: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = world.books.solucion_factible.contract

    def and_then_no_count(*purchase: Any) -> Any:
        world.fault("getTimbres", "code", code="501", times=-1)
        return contract(*purchase)

    monkeypatch.setattr(world.books.solucion_factible, "contract", and_then_no_count)

    answer = world.create_contract(RFC, 7)

    assert answer.status == 201
    assert (answer.body["contracted_before"], answer.body["contracted_after"]) == (1000, None)
    assert world.pac_contracts() == [(RFC, 7)]
    assert world.log_lines_with("the count after a contract failed")
    assert world.events("Contract Confirmed") == [answer.body]


# ---------------------------------------------------------------------- the same again


def test_the_same_key_and_body_give_the_same_contract_for_ever(world: FakeStack) -> None:
    first = world.create_contract(RFC, 500, "pedido-1")
    for days in (0, 1, 400):
        world.clock.forward(days=days)
        world.reset_warm_functions()
        again = world.create_contract(RFC, 500, "pedido-1")
        assert (again.status, again.body) == (201, first.body)
        assert again.headers["idempotent-replayed"] == "true"

    assert world.pac_contracts() == [(RFC, 500)]
    assert world.calls() == ["getTimbres", "agregarContrato", "getTimbres"]
    assert len(world.events()) == 1


def test_the_same_body_written_otherwise_is_the_same(world: FakeStack) -> None:
    world.create_contract(RFC_N, 3, "pedido-1")

    again = world.call(
        "contract",
        "POST",
        PATH,
        body=' {"stamps" : 3, "rfc": "\\u00f1an840101ab1 "}\n',
        headers={"Idempotency-Key": "pedido-1"},
    )

    assert again.headers["idempotent-replayed"] == "true"
    assert world.pac_contracts() == [(RFC_N, 3)]


@pytest.mark.parametrize(("rfc", "stamps"), [(RFC, 501), (RFC_N, 500)])
def test_the_same_key_with_another_body_is_refused(world: FakeStack, rfc: str, stamps: int) -> None:
    first = world.create_contract(RFC, 500, "pedido-1").body

    body = check_problem(
        world.create_contract(rfc, stamps, "pedido-1"),
        422,
        "idempotency-key-reused",
        "Idempotency-Key",
    )

    assert body["contract"] == first
    assert first["id"] in body["detail"]
    assert world.pac_contracts() == [(RFC, 500)]


def test_a_key_belongs_to_its_account(world: FakeStack) -> None:
    world.create_account("acme-two", world.secret(SF))

    ids = {world.create_contract(RFC, 5, "k", account=name).body["id"] for name in (SF, "acme-two")}

    assert len(ids) == 2
    assert world.pac_contracts() == [(RFC, 5), (RFC, 5)]


def test_another_key_is_another_purchase(world: FakeStack) -> None:
    world.create_contract(RFC, 5)
    world.create_contract(RFC, 5)

    assert world.pac_contracts() == [(RFC, 5), (RFC, 5)]
    assert contracted(world) == 1010


# -------------------------------------------------------------------- not settled yet


def unsettled(world: FakeStack, key: str = "pedido-1") -> dict[str, Any]:
    """Leave a contract pending, sent, as a function that died leaves it."""
    # After the contract is opened and marked as sent, its outcome cannot be written.
    world.break_aws("dynamodb", "TransactWriteItems", "InternalServerError", 500, after=2)
    contract: dict[str, Any] = world.create_contract(RFC, 500, key).body
    world.restore_aws()
    assert contract["status"] == "pending"
    world.factible.calls.clear()
    return contract


def test_while_pending_the_same_key_is_told_to_wait(world: FakeStack) -> None:
    contract = unsettled(world)

    answer = world.create_contract(RFC, 500, "pedido-1")

    body = check_problem(answer, 409, "contract-pending")
    assert answer.headers["retry-after"] == "5"
    assert (body["contract"]["id"], body["contract"]["status"]) == (contract["id"], "pending")
    assert contract["id"] in body["detail"]
    assert world.calls() == []


def test_another_contract_of_the_issuer_waits_for_the_first(world: FakeStack) -> None:
    contract = unsettled(world)

    answer = world.create_contract(RFC, 20, "pedido-2")

    body = check_problem(answer, 409, "contract-in-flight")
    assert answer.headers["retry-after"] == "60"
    assert body["contract"]["id"] == contract["id"]
    assert body["contract"]["stamps"] == 500
    assert contract["id"] in body["detail"]
    assert world.calls() == []
    # The key that was not taken stays free.
    assert len(world.contract_items("key#")) == 1


def test_another_issuer_does_not_wait(world: FakeStack) -> None:
    unsettled(world)

    assert world.create_contract(RFC_N, 20).status == 201


# ------------------------------------------------------------------- the PAC says no

REFUSED = [
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
DOUBTFUL = [
    ("500", "pac-error"),
    ("501", "pac-unavailable"),
    ("502", "pac-error"),
    ("624", "contract-duplicate"),
]


def test_the_table_of_codes_is_whole() -> None:
    codes = {row[0] for row in REFUSED} | {row[0] for row in DOUBTFUL}
    assert codes == FakeSolucionFactible.rules.codes["agregarContrato"] - {"200"}


@pytest.mark.parametrize(("said", "status", "code"), REFUSED)
def test_a_refusal_is_told_and_told_again(
    world: FakeStack, said: str, status: int, code: str
) -> None:
    world.fault("agregarContrato", "code", code=said, mensaje="No se\tpudo")

    answer = world.create_contract(RFC, 500, "pedido-1")

    body = check_problem(answer, status, code)
    assert body["pac"] == {"name": "solucion-factible", "code": said, "message": "No se pudo"}
    assert body["contract"]["status"] == "rejected"
    # To wait is of no use: it takes a new key, and the answer says so.
    assert "retry-after" not in answer.headers
    assert "new Idempotency-Key" in body["detail"]
    calls = world.calls()
    assert calls == ["getTimbres", "agregarContrato"]

    again = world.create_contract(RFC, 500, "pedido-1")
    assert check_problem(again, status, code) | {"instance": None} == body | {"instance": None}
    assert world.calls() == calls
    assert world.pac_contracts() == []
    told = {event["DetailType"] for event in world.published}
    assert told == ({"Credentials Rejected"} if said[0] == "6" and said <= "605" else set())

    shown = world.get(f"{PATH}/{body['contract']['id']}").body
    assert (shown["status"], shown["contracted_before"], shown["contracted_after"]) == (
        "rejected",
        1000,
        None,
    )
    assert shown["pac"] == {"code": said, "message": "No se pudo"}
    assert shown["error"] == {"code": code, "detail": body["detail"]}
    assert shown["settled_at"] is not None
    assert [line["status"] for line in history(world)] == ["pending", "pending", "rejected"]
    assert history(world)[-1]["pac_code"] == said


def test_a_rejection_stored_with_an_http_status_is_replayed_with_that_of_its_code(
    world: FakeStack,
) -> None:
    world.fault("agregarContrato", "code", code="632")
    body = world.create_contract(RFC, 500, "pedido-1").body
    world.stack.client("dynamodb").update_item(
        TableName=world.stack.refs["ContractsTable"],
        Key={"account": {"S": SF}, "entry": {"S": f"contract#{body['contract']['id']}"}},
        UpdateExpression="SET refusal.#status = :status",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={":status": {"N": "418"}},
    )

    again = world.create_contract(RFC, 500, "pedido-1")

    assert check_problem(again, body["status"], body["code"])["detail"] == body["detail"]


def test_after_a_refusal_the_issuer_may_buy_again(world: FakeStack) -> None:
    world.fault("agregarContrato", "code", code="632")
    world.create_contract(RFC, 500)

    assert world.create_contract(RFC, 100).status == 201
    assert world.pac_contracts() == [(RFC, 100)]


def test_permission_denied_by_the_books_themselves(world: FakeStack) -> None:
    world.books.solucion_factible.set_issuer(RFC, denied=True)

    assert (
        check_problem(world.create_contract(), 403, "pac-permission-denied")["pac"]["code"] == "620"
    )
    assert world.pac_contracts() == []


@pytest.mark.parametrize(
    ("said", "status", "code", "calls"),
    [
        ("500", 502, "pac-error", 3),
        ("501", 503, "pac-unavailable", 3),
        ("601", 502, "pac-credentials-rejected", 1),
        ("612", 502, "pac-rejected-request", 1),
        ("633", 409, "environment-mismatch", 1),
    ],
)
def test_a_count_before_that_fails_sends_nothing(
    world: FakeStack, said: str, status: int, code: str, calls: int
) -> None:
    world.fault("getTimbres", "code", code=said, times=-1)

    body = check_problem(world.create_contract(RFC, 500, "pedido-1"), status, code)

    assert body["contract"]["status"] == "rejected"
    assert world.calls() == ["getTimbres"] * calls
    assert [line["status"] for line in history(world)] == ["pending", "rejected"]
    assert world.contract_items("in-flight#") == []
    world.factible.faults.clear()
    world.clear_rejections()
    assert world.create_contract(RFC, 500, "pedido-2").status == 201


def test_a_count_before_that_is_late_sends_nothing(world: FakeStack) -> None:
    world.fault("getTimbres", "slow", seconds=2.5, times=-1)

    body = check_problem(world.create_contract(seconds=4), 504, "pac-timeout")

    assert body["contract"]["status"] == "rejected"
    assert "agregarContrato" not in world.calls()


def test_too_little_time_to_wait_for_a_purchase_sends_nothing(world: FakeStack) -> None:
    answer = world.create_contract(seconds=8)

    body = check_problem(answer, 503, "out-of-time")
    assert "new Idempotency-Key" in body["detail"]
    assert body["contract"]["status"] == "rejected"
    assert world.calls() == ["getTimbres"]
    assert world.pac_contracts() == []


# --------------------------------------------------------------------- the PAC is silent


def assert_in_doubt(world: FakeStack, answer: ApiResponse, code: str) -> None:
    body = answer.body
    assert answer.status == 202
    assert answer.headers["content-type"] == "application/json"
    assert (body["status"], body["settled_at"], body["contracted_after"]) == ("unknown", None, None)
    assert body["contracted_before"] == 1000
    assert body["error"]["code"] == code
    calls = world.calls()
    assert calls.count("agregarContrato") == 1

    again = world.create_contract(RFC, 500, "pedido-1")
    assert (again.status, again.body) == (202, body)
    assert again.headers["idempotent-replayed"] == "true"
    check_problem(world.create_contract(RFC, 500, "pedido-2"), 409, "contract-in-flight")
    assert world.calls() == calls

    assert world.events("Contract Outcome Unknown") == [body]
    (mail,) = world.mails()
    assert mail.startswith(f"Timbres: contrato en duda para {RFC}\n\n")
    for fact in ("500 timbres", SF, body["id"], "Qué hacer: nada por ahora"):
        assert fact in mail
    assert [line["status"] for line in history(world)] == ["pending", "pending", "unknown"]
    assert [mark["contract_id"] for mark in world.contract_items("in-flight#")] == [body["id"]]


@pytest.mark.parametrize(("said", "code"), DOUBTFUL)
@pytest.mark.parametrize("processed", [False, True])
def test_a_failure_that_may_have_bought_leaves_it_unknown(
    world: FakeStack, said: str, code: str, processed: bool
) -> None:
    world.fault("agregarContrato", "code", code=said, processed=processed)

    answer = world.create_contract(RFC, 500, "pedido-1")

    assert answer.body["pac"]["code"] == said
    assert_in_doubt(world, answer, code)
    assert world.pac_contracts() == [(RFC, 500)] * processed


@pytest.mark.parametrize(
    ("fault", "code", "bought"),
    [
        ("cut-after", "pac-timeout", True),
        ("cut-before", "pac-timeout", False),
        ("truncated", "pac-timeout", True),
        ("html-200", "pac-protocol-error", False),
        ("wrong-shape", "pac-protocol-error", False),
        ("empty-body", "pac-protocol-error", False),
        ("redirect", "pac-protocol-error", False),
        ("dtd", "pac-protocol-error", True),
        ("soap-fault", "pac-error", False),
    ],
)
def test_an_answer_that_is_none_leaves_it_unknown(
    world: FakeStack, fault: str, code: str, bought: bool
) -> None:
    world.fault("agregarContrato", fault)

    assert_in_doubt(world, world.create_contract(RFC, 500, "pedido-1"), code)
    assert world.pac_contracts() == [(RFC, 500)] * bought


@pytest.mark.parametrize("fault", ["slow", "slow-after"])
def test_a_time_out_leaves_it_unknown_and_one_purchase(
    world: FakeStack, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timbres.pacs.solucion_factible.client, "_CONTRACT_READ_SECONDS", 0.3)
    world.fault("agregarContrato", fault, seconds=0.6)

    assert_in_doubt(world, world.create_contract(RFC, 500, "pedido-1"), "pac-timeout")
    time.sleep(0.5)
    assert world.pac_contracts() == [(RFC, 500)]


# --------------------------------------------------------------------- two at one time


def while_buying(world: FakeStack, second: Any) -> tuple[ApiResponse, Any]:
    """Send a request, and ``second`` from another instance while the PAC has the first."""
    world.fault("agregarContrato", "slow", seconds=0.8)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(world.create_contract, RFC, 500, "pedido-1")
        deadline = time.monotonic() + 5
        while "agregarContrato" not in world.calls():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        meanwhile = second()
        return first.result(), meanwhile


def test_the_same_key_while_the_first_is_being_bought(world: FakeStack) -> None:
    first, second = while_buying(
        world, lambda: world.create_contract(RFC, 500, "pedido-1", module=load_function("contract"))
    )

    body = check_problem(second, 409, "contract-pending")
    assert first.status == 201
    assert body["contract"]["id"] == first.body["id"]
    assert world.pac_contracts() == [(RFC, 500)]


def test_another_key_while_the_first_is_being_bought(world: FakeStack) -> None:
    first, second = while_buying(
        world, lambda: world.create_contract(RFC, 500, "pedido-2", module=load_function("contract"))
    )

    body = check_problem(second, 409, "contract-in-flight")
    assert first.status == 201
    assert body["contract"]["id"] == first.body["id"]
    assert world.pac_contracts() == [(RFC, 500)]


@pytest.mark.parametrize("same_key", [True, False])
def test_of_many_that_race_one_buys(world: FakeStack, same_key: bool) -> None:
    racers = 6
    # So many instances, each past its cold start, let go at one moment.
    with world.environment("contract"):
        instances = [load_function("contract").contract_service() for _ in range(racers)]
    line = threading.Barrier(racers)

    def race(number: int) -> str:
        key = "pedido" if same_key else f"pedido-{number}"
        line.wait()
        try:
            contract, _ = instances[number].create(
                SF, ContractRequest(Rfc(RFC), 5, key, MANAGER), Deadline(20)
            )
        except TimbresError as error:
            return error.problem_type.code
        return str(contract.id)

    with ThreadPoolExecutor(racers) as pool:
        results = list(pool.map(race, range(racers)))

    assert world.pac_contracts()[0] == (RFC, 5)
    if same_key:
        assert world.pac_contracts() == [(RFC, 5)]
        assert {result for result in results if len(result) == 32} == {
            world.contract_items()[0]["id"]
        }
        assert {result for result in results if len(result) != 32} <= {"contract-pending"}
    else:
        # Whoever comes after the first has settled buys anew; nobody beside it.
        bought = [result for result in results if len(result) == 32]
        assert len(set(bought)) == len(bought) == len(world.pac_contracts())
        refused = {result for result in results if len(result) != 32}
        assert refused <= {"contract-in-flight"}
    assert world.contract_items("in-flight#") == []


# ------------------------------------------------------------------------- AWS refuses


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("ProvisionedThroughputExceededException", 400),
        ("AccessDeniedException", 400),
        ("InternalServerError", 500),
    ],
)
def test_a_journal_that_cannot_be_opened_sends_nothing(
    world: FakeStack, code: str, status: int
) -> None:
    world.break_aws("dynamodb", "TransactWriteItems", code, status)

    answer = world.create_contract()

    check_problem(answer, 503, "storage-unavailable")
    assert answer.headers["retry-after"] == "5"
    assert world.calls() == []
    assert world.stack.items("ContractsTable") == []


def test_a_mark_that_cannot_be_written_sends_nothing(world: FakeStack) -> None:
    world.break_aws("dynamodb", "TransactWriteItems", "InternalServerError", 500, after=1)

    check_problem(world.create_contract(RFC, 500, "pedido-1"), 503, "storage-unavailable")

    assert world.calls() == ["getTimbres"]
    assert world.pac_contracts() == []


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("ProvisionedThroughputExceededException", 400),
        ("AccessDeniedException", 400),
        ("InternalServerError", 500),
    ],
)
def test_a_purchase_that_cannot_be_written_down_is_answered_as_the_journal_has_it(
    world: FakeStack, code: str, status: int
) -> None:
    world.break_aws("dynamodb", "TransactWriteItems", code, status, after=2)

    answer = world.create_contract(RFC, 500, "pedido-1")

    assert answer.status == 202
    assert (answer.body["status"], answer.body["contracted_before"]) == ("pending", 1000)
    assert answer.body["pac"] is None
    assert world.pac_contracts() == [(RFC, 500)]
    shown = world.get(f"{PATH}/{answer.body['id']}").body
    assert [line["step"] for line in shown.pop("history")] == ["create", "send"]
    assert shown == answer.body
    (line,) = world.log_lines_with("could not be written to the journal")
    assert (line["level"], line["contract"], line["status"], line["pac_code"]) == (
        "ERROR",
        answer.body["id"],
        "confirmed",
        "200",
    )
    world.restore_aws()
    check_problem(world.create_contract(RFC, 500, "pedido-1"), 409, "contract-pending")
    check_problem(world.create_contract(RFC, 500, "pedido-2"), 409, "contract-in-flight")
    assert world.pac_contracts() == [(RFC, 500)]


def test_a_doubt_that_cannot_be_written_down_is_answered_as_the_journal_has_it(
    world: FakeStack,
) -> None:
    world.fault("agregarContrato", "cut-after")
    world.break_aws("dynamodb", "TransactWriteItems", "InternalServerError", 500, after=2)

    answer = world.create_contract(RFC, 500, "pedido-1")

    assert (answer.status, answer.body["status"]) == (202, "pending")
    assert world.pac_contracts() == [(RFC, 500)]


def test_a_conflict_of_transactions_is_tried_again(world: FakeStack) -> None:
    conflict = {"CancellationReasons": [{"Code": "None"}, {"Code": "TransactionConflict"}]}
    failures = world.break_aws(
        "dynamodb",
        "TransactWriteItems",
        "TransactionCanceledException",
        times=2,
        members=conflict,
    )

    assert world.create_contract().status == 201
    assert len(failures) == 2
    assert world.pac_contracts() == [(RFC, 500)]


def test_a_conflict_of_transactions_that_lasts_sends_nothing(world: FakeStack) -> None:
    conflict = {"CancellationReasons": [{"Code": "TransactionConflict"}]}
    world.break_aws(
        "dynamodb", "TransactWriteItems", "TransactionCanceledException", members=conflict
    )

    check_problem(world.create_contract(), 503, "storage-unavailable")
    assert world.calls() == []


def test_events_that_are_not_taken_hide_no_purchase(world: FakeStack) -> None:
    world.break_aws("events", "PutEvents", "InternalException", 500)

    assert world.create_contract().status == 201
    (line,) = world.log_lines_with("Contract Confirmed was not published")
    assert line["level"] == "ERROR"


def test_an_issuer_that_cannot_be_remembered_hides_no_purchase(world: FakeStack) -> None:
    world.break_aws("dynamodb", "UpdateItem", "InternalServerError", 500)

    assert world.create_contract().status == 201
    assert world.events("Contract Confirmed")


@pytest.mark.parametrize("path", [PATH, f"{PATH}/{'0' * 32}"])
def test_a_journal_that_cannot_be_read(world: FakeStack, path: str) -> None:
    for operation in ("Query", "GetItem"):
        world.break_aws("dynamodb", operation, "InternalServerError", 500)

    check_problem(world.get(path), 503, "storage-unavailable")


# --------------------------------------------------------------------------- the journal


def many(world: FakeStack, count: int) -> list[str]:
    """Write contracts into the table, made after one that was bought; return their ids."""
    dynamodb, table = world.stack.client("dynamodb"), world.stack.refs["ContractsTable"]
    (model,) = (
        item
        for item in dynamodb.scan(TableName=table)["Items"]
        if item["entry"]["S"].startswith("contract#")
    )
    ids = [f"{number:012x}{uuid.uuid4().hex[:20]}" for number in range(count)]
    for number, one in enumerate(ids):
        changes = {
            "id": {"S": one},
            "entry": {"S": f"contract#{one}"},
            "rfc": {"S": RFC_N if number % 3 == 0 else RFC},
            "status": {"S": "rejected" if number % 50 == 0 else "confirmed"},
        }
        dynamodb.put_item(TableName=table, Item=model | changes)
    return ids


def follow(world: FakeStack, **query: str) -> list[list[str]]:
    """Return the ids of every page of a list."""
    pages, cursor = [], None
    while True:
        body = world.get(PATH, **query, **({"cursor": cursor} if cursor else {})).body
        assert body.keys() == {"contracts", "next"}
        pages.append([one["id"] for one in body["contracts"]])
        cursor = body["next"]
        if cursor is None:
            return pages


def test_contracts_are_listed_newest_first(world: FakeStack) -> None:
    bought = [world.create_contract(rfc, 1).body for rfc in (RFC, RFC_N, RFC)]
    world.fault("agregarContrato", "code", code="632")
    refused = check_problem(world.create_contract(RFC, 9), 422, "transaction-limit-exceeded")[
        "contract"
    ]["id"]

    body = world.get(PATH).body

    assert body["next"] is None
    assert body["contracts"][1:] == bought[::-1]
    assert body["contracts"][0]["id"] == refused
    assert [one["id"] for one in world.get(PATH, rfc=RFC_N).body["contracts"]] == [bought[1]["id"]]
    assert [one["id"] for one in world.get(PATH, status="rejected").body["contracts"]] == [refused]
    assert world.get(PATH, rfc=RFC_N, status="rejected").body == {"contracts": [], "next": None}
    assert world.get(PATH, status="needs-review").body["contracts"] == []


def test_one_contract_is_what_its_buyer_was_told(world: FakeStack) -> None:
    bought = world.create_contract().body

    answer = world.get(f"{PATH}/{bought['id']}")

    assert [line["step"] for line in answer.body["history"]] == [
        "create",
        "send",
        "confirm",
        "count",
    ]
    assert (answer.status, answer.body) == (200, bought | {"history": answer.body["history"]})


def test_more_contracts_than_a_page_holds(world: FakeStack) -> None:
    newest = world.create_contract().body["id"]
    ids = [*many(world, 230), newest]

    pages = follow(world)

    assert [len(page) for page in pages] == [100, 100, 31]
    assert [one for page in pages for one in page] == ids[::-1]
    found = [one for page in follow(world, rfc=RFC_N) for one in page]
    assert found == [one for number, one in enumerate(ids[:-1]) if number % 3 == 0][::-1]
    rejected = [one for page in follow(world, status="rejected") for one in page]
    assert rejected == [ids[number] for number in (200, 150, 100, 50, 0)]
    assert [one for page in follow(world, status="unknown") for one in page] == []


def test_no_contracts_yet(world: FakeStack) -> None:
    assert world.get(PATH).body == {"contracts": [], "next": None}


def test_accounts_do_not_see_one_another(world: FakeStack) -> None:
    world.create_account("acme-two", world.secret(SF))
    bought = world.create_contract().body["id"]

    assert world.get("/accounts/acme-two/contracts").body["contracts"] == []
    check_problem(
        world.get(f"/accounts/acme-two/contracts/{bought}"), 404, "contract-not-found", "id"
    )


def test_an_account_that_sells_no_stamps(world: FakeStack) -> None:
    body = check_problem(world.create_contract(account=RC), 422, "operation-unsupported", "account")

    assert "reachcore" in body["detail"]
    assert world.stack.items("ContractsTable") == []
