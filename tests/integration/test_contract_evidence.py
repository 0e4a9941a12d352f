"""Reconciliation evidence: all three counts, of one login, after the read lag."""

from __future__ import annotations

from typing import Any

import pytest
from tests.integration.test_unknown_contracts import (
    add_portal_stamps,
    doubtful,
    get_contract,
    limited,
    reconcile,
    settle,
)
from tests.support.events import CONTRACT_MANAGER, check_problem
from tests.support.fake_stack import RFC, RFC_N, SF, FakeStack

SECOND = "otra-sf"
PATH = f"/accounts/{SF}/contracts"


def set_counts(stack: FakeStack, contratados: int, usados: int) -> None:
    stack.pacs.state.solucion_factible.set_issuer(RFC, contratados=contratados, usados=usados)


# ------------------------------------------------------------------------------ daily limit


@pytest.mark.parametrize("limit", [0, 499, 500, 9_999])
def test_first_contract_of_a_day_respects_the_limit(stack: FakeStack, limit: int) -> None:
    limited(stack, max_stamps_per_day=limit)

    body = check_problem(
        stack.create_contract(stamps=10_000, key="pedido-1"), 422, "day-over-limit", "stamps"
    )

    assert f"0 of {limit:,}" in body["detail"]
    assert stack.pacs.calls() == []
    assert stack.contract_items("") == []
    if limit >= 500:
        assert stack.create_contract(stamps=500, key="pedido-1").status == 201


def test_known_key_is_replayed_although_the_daily_limit_is_reached(stack: FakeStack) -> None:
    limited(stack, max_stamps_per_day=500)
    first = stack.create_contract(stamps=500, key="pedido-1").body

    replay = stack.create_contract(stamps=500, key="pedido-1")

    assert (replay.status, replay.body["id"]) == (201, first["id"])
    assert replay.headers["idempotent-replayed"] == "true"


@pytest.mark.parametrize(
    "reasons",
    [
        ("None", "TransactionConflict", "None", "ConditionalCheckFailed"),
        ("None", "None", "ConditionalCheckFailed", "ConditionalCheckFailed"),
        ("None", "None", "None", "ConditionalCheckFailed"),
    ],
    ids=" ".join,
)
def test_known_key_is_replayed_for_every_cancellation_reason(
    stack: FakeStack, reasons: tuple[str, ...]
) -> None:
    first = stack.create_contract(stamps=500, key="pedido-1").body
    stack.aws_faults.reject(
        "dynamodb",
        "TransactWriteItems",
        "TransactionCanceledException",
        times=1,
        members={"CancellationReasons": [{"Code": reason} for reason in reasons]},
    )
    replay = stack.create_contract(stamps=500, key="pedido-1")
    assert (replay.status, replay.body["id"]) == (201, first["id"])


# ------------------------------------------------------------------------------- all counts


@pytest.mark.parametrize(
    ("before", "now", "state"),
    [
        pytest.param((1000, 480), (1000, 480), "rejected", id="unchanged"),
        pytest.param((1000, 480), (1000, 1000), "rejected", id="used up"),
        pytest.param((500, 480), (500, 0), "needs-review", id="an older contract was replaced"),
        pytest.param((1000, 480), (1000, 0), "needs-review", id="used went back"),
    ],
)
def test_contract_is_rejected_only_if_just_the_usage_changed(
    stack: FakeStack, before: tuple[int, int], now: tuple[int, int], state: str
) -> None:
    set_counts(stack, *before)
    contract = doubtful(stack, "cut-before")
    set_counts(stack, *now)

    states = [reconcile(stack, minutes=minutes) for minutes in (2, 10, 23)]

    assert states == [{"unknown": 1}, {"unknown": 1}, {state: 1}]
    after = get_contract(stack, contract)
    assert (after["contracted_before"], after["used_before"]) == before
    if state == "needs-review":
        assert "contract-not-bought" not in str(after["error"])
        check_problem(stack.create_contract(), 409, "contract-in-flight")


def test_contract_that_replaces_an_expiring_one_of_its_size_needs_a_review(
    stack: FakeStack,
) -> None:
    set_counts(stack, 500, 480)
    stack.pacs.fault("agregarContrato", "expiring-contract", contratados=500, usados=480)
    contract = doubtful(stack)

    reconcile(stack, minutes=2)
    assert reconcile(stack, minutes=40) == {"needs-review": 1}

    assert get_contract(stack, contract)["history"][-1]["note"] == (
        "contracted 500, used 480, available 20 before; contracted 500, used 0, available 500 now"
    )


# ---------------------------------------------------------------------- the count after a 200


def test_contract_created_twice_by_the_pac_is_reported(stack: FakeStack) -> None:
    stack.pacs.fault("agregarContrato", "doubled-contract")
    response = stack.create_contract(stamps=500)
    assert (response.status, response.body["warning"]) == (201, None)

    assert reconcile(stack, minutes=2) == {"confirmed": 1}

    contract = get_contract(stack, response.body)
    assert contract["status"] == "confirmed"
    assert contract["contracted_after"] == 2000
    assert "not 1,500" in contract["warning"]
    (event,) = stack.events("Contract Count Mismatch Detected")
    assert event["warning"] == contract["warning"]
    (mail,) = (mail for mail in stack.mails() if "no cuadra" in mail)
    assert "se esperaban 1,500" in mail
    assert reconcile(stack, hours=1) == {}
    assert stack.create_contract(stamps=20).status == 201


def test_matching_count_causes_no_warning(stack: FakeStack) -> None:
    body = stack.create_contract(stamps=500).body
    assert (body["contracted_after"], body["warning"]) == (1500, None)
    assert reconcile(stack, minutes=5) == {}
    assert stack.events("Contract Count Mismatch Detected") == []


def test_stamps_used_meanwhile_cause_no_warning(stack: FakeStack) -> None:
    stack.pacs.fault("getTimbres", "lagging-reads", times=3)
    body = stack.create_contract(stamps=500).body
    stack.pacs.state.solucion_factible.consume(RFC, 100)
    reconcile(stack, minutes=2)
    after = get_contract(stack, body)
    assert (after["contracted_after"], after["used_after"], after["warning"]) == (1500, 350, None)


# ------------------------------------------------------------- two accounts with one login


@pytest.fixture
def two_accounts(stack: FakeStack) -> FakeStack:
    stack.accounts.create(SECOND, stack.accounts.secret(SF))
    return stack


def test_accounts_with_one_login_share_the_contract_in_flight(two_accounts: FakeStack) -> None:
    first = doubtful(two_accounts, "cut-before", stamps=500)

    blocked = check_problem(
        two_accounts.create_contract(stamps=500, account=SECOND), 409, "contract-in-flight"
    )

    assert blocked["contract"]["id"] == first["id"]
    reconcile(two_accounts, minutes=2)
    assert reconcile(two_accounts, minutes=40) == {"rejected": 1}
    assert two_accounts.create_contract(stamps=500, account=SECOND).status == 201
    assert two_accounts.pacs.contracts() == [(RFC, 500)]


def test_accounts_with_one_login_share_the_daily_limit(two_accounts: FakeStack) -> None:
    for name in (SF, SECOND):
        two_accounts.accounts.change(
            name, two_accounts.accounts.secret(SF) | {"max_stamps_per_day": 1000}
        )
    two_accounts.reset_warm_functions()
    assert two_accounts.create_contract(RFC, 600).status == 201
    body = check_problem(
        two_accounts.create_contract(RFC_N, 401, account=SECOND), 422, "day-over-limit", "stamps"
    )
    assert "600 of 1,000" in body["detail"]
    assert two_accounts.create_contract(RFC_N, 400, account=SECOND).status == 201


def test_contract_item_contains_a_login_fingerprint_and_no_credential(stack: FakeStack) -> None:
    stack.create_contract()
    (item,) = stack.contract_items("contract#")
    assert len(item["login"]) == 32
    assert stack.credentials.username not in str(stack.aws.items("ContractsTable"))


# -------------------------------------------------------------------------- changed login


def create_other_login(stack: FakeStack, contratados: int) -> dict[str, Any]:
    """Add a second user with the same issuer to the PAC; return a secret for it."""
    state = stack.pacs.state.solucion_factible
    state.add_account("otra@example.com", "contrasena-de-otra")
    state.set_issuer(RFC, contratados=contratados, username="otra@example.com")
    return stack.accounts.secret(SF, username="otra@example.com", password="contrasena-de-otra")


@pytest.mark.parametrize("contratados", [1000, 1500, 7])
def test_counts_of_another_login_are_not_used(stack: FakeStack, contratados: int) -> None:
    contract = doubtful(stack)
    stack.accounts.change(SF, create_other_login(stack, contratados))
    stack.reset_warm_functions()
    stack.pacs.solucion_factible.calls.clear()

    assert reconcile(stack, minutes=40) == {"needs-review": 1}

    assert stack.pacs.calls() == []
    assert "another login" in get_contract(stack, contract)["history"][-1]["note"]
    assert settle(stack, contract["id"], "confirmed", "The portal shows it").status == 200


def test_reconciliation_continues_after_a_new_password(stack: FakeStack) -> None:
    contract = doubtful(stack)
    stack.pacs.state.solucion_factible.set_account(password="una-nueva-contrasena")
    stack.accounts.change(SF, stack.accounts.secret(SF, password="una-nueva-contrasena"))
    stack.reset_warm_functions()
    assert reconcile(stack, minutes=2) == {"confirmed": 1}
    assert get_contract(stack, contract)["status"] == "confirmed"


def test_login_changed_during_a_request_sends_no_contract(
    stack: FakeStack,
) -> None:
    stamps, secret = stack.pacs.state.solucion_factible.stamps, create_other_login(stack, 1000)

    def change_login(*request: Any) -> Any:
        stack.accounts.change(SF, secret)
        stack.function("contract").container.account_repository.get(SF, fresh=True)
        return stamps(*request)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(stack.pacs.state.solucion_factible, "stamps", change_login)
        body = check_problem(
            stack.create_contract(key="pedido-1"), 409, "account-login-changed", "account"
        )
    assert body["contract"]["status"] == "rejected"
    assert stack.pacs.calls() == ["getTimbres"]
    assert stack.contract_items("in-flight#") == []
    assert [item["stamps"] for item in stack.contract_items("day#")] == [0]


# --------------------------------------------------------------------- 624: duplicate


@pytest.mark.parametrize(
    ("processed", "state"), [(True, "confirmed"), (False, "rejected")], ids=["echo", "real"]
)
def test_count_decides_whether_a_duplicate_was_created(
    stack: FakeStack, processed: bool, state: str
) -> None:
    stack.pacs.fault("agregarContrato", "code", code="624", processed=processed)
    response = stack.create_contract(stamps=500)
    assert (response.status, response.body["status"]) == (202, "unknown")
    assert response.body["error"]["code"] == "contract-duplicate"
    reconcile(stack, minutes=2)
    reconcile(stack, minutes=40)
    assert get_contract(stack, response.body)["status"] == state


# ------------------------------------------------------------------------------ read lag


def test_next_contract_waits_until_the_count_includes_the_previous_one(stack: FakeStack) -> None:
    stack.pacs.fault("getTimbres", "lagging-reads", times=-1)
    first = stack.create_contract(stamps=500, key="pedido-1")
    assert (first.status, first.body["contracted_after"]) == (201, None)

    waiting = stack.create_contract(stamps=500, key="pedido-2")

    body = check_problem(waiting, 409, "contract-in-flight")
    assert 1 <= int(waiting.headers["retry-after"]) <= 60
    assert body["contract"]["id"] == first.body["id"]
    assert stack.pacs.contracts() == [(RFC, 500)]
    # The key stays free; a retry uses it after the count is up to date.
    stack.clock.forward(seconds=8)
    assert stack.create_contract(stamps=500, key="pedido-2").status == 201
    assert stack.pacs.contracts() == [(RFC, 500)] * 2
    assert get_contract(stack, first.body)["contracted_after"] == 1500


def test_lost_contract_is_not_confused_with_a_previous_one(stack: FakeStack) -> None:
    stack.pacs.fault("getTimbres", "lagging-reads", times=-1)
    stack.create_contract(stamps=500, key="pedido-1")
    stack.pacs.fault("agregarContrato", "cut-before")
    for _ in range(12):
        second = stack.create_contract(stamps=500, key="pedido-2")
    assert second.body["status"] == "unknown"
    assert second.body["contracted_before"] == 1500
    reconcile(stack, minutes=2)
    reconcile(stack, minutes=40)
    assert get_contract(stack, second.body)["status"] == "rejected"
    assert stack.pacs.contracts() == [(RFC, 500)]


def test_count_during_the_read_lag_decides_nothing(stack: FakeStack) -> None:
    contract = doubtful(stack)
    add_portal_stamps(stack, RFC, 7)
    assert reconcile(stack, seconds=50) == {}
    assert get_contract(stack, contract)["status"] == "unknown"


def test_another_issuer_of_the_login_does_not_wait(stack: FakeStack) -> None:
    stack.pacs.fault("getTimbres", "lagging-reads", times=-1)
    assert stack.create_contract(RFC).status == 201
    assert stack.create_contract(RFC_N).status == 201


# -------------------------------------------------------------------- at-least-once events


def test_rejection_is_mailed_although_the_unknown_state_was_not_published(stack: FakeStack) -> None:
    stack.aws_faults.reject("dynamodb", "UpdateItem", "InternalServerError", 500)
    contract = doubtful(stack, "cut-before")
    stack.aws_faults.restore()
    # The reconciler runs half an hour later, so its first look decides.
    assert reconcile(stack, minutes=31) == {"rejected": 1}
    assert stack.events("Contract Rejected")[0]["id"] == contract["id"]
    assert any("no se creó" in mail for mail in stack.mails())


def test_unpublished_event_is_published_by_the_reconciler(stack: FakeStack) -> None:
    stack.aws_faults.reject("events", "PutEvents", "InternalFailure", 500)
    contract = stack.create_contract().body
    stack.aws_faults.restore()
    assert stack.events() == []
    assert reconcile(stack, minutes=2) == {"confirmed": 1}
    assert [event["id"] for event in stack.events("Contract Confirmed")] == [contract["id"]]


# --------------------------------------------------------------------- unreadable secrets


def stored_contract(stack: FakeStack) -> dict[str, Any]:
    """Return the DynamoDB item of the only contract."""
    table = stack.aws.refs["ContractsTable"]
    items = stack.aws.client("dynamodb").scan(TableName=table)["Items"]
    (item,) = (item for item in items if item["entry"]["S"].startswith("contract#"))
    return dict(item)


def deny_secrets(stack: FakeStack) -> None:
    """Let Secrets Manager deny access, as without permission for the KMS key."""
    stack.reset_warm_functions()
    stack.aws_faults.reject("secretsmanager", "GetSecretValue", "AccessDeniedException")


def test_contract_with_an_unreadable_secret_needs_a_review_and_can_be_settled(
    stack: FakeStack,
) -> None:
    contract = doubtful(stack)
    deny_secrets(stack)
    states = [set(reconcile(stack, hours=1)) for _ in range(30)]
    assert {"needs-review"} in states
    assert "failed" not in set().union(*states)

    response = stack.get(f"{PATH}/{contract['id']}")
    assert (response.status, response.body["status"]) == (200, "needs-review")
    assert "secret could not be read" in response.body["history"][-1]["note"]
    assert [c["id"] for c in stack.get(PATH).body["contracts"]] == [contract["id"]]
    response = settle(stack, contract["id"], "rejected", "The portal does not show it")
    assert (response.status, response.body["status"]) == (200, "rejected")


def test_contracts_of_a_deleted_account_can_be_settled(stack: FakeStack) -> None:
    contract = doubtful(stack)
    stack.aws.client("secretsmanager").delete_secret(
        SecretId=f"{stack.aws.refs['SecretPrefix']}{SF}", ForceDeleteWithoutRecovery=True
    )
    stack.reset_warm_functions()
    for _ in range(30):
        reconcile(stack, hours=1)
    assert settle(stack, contract["id"], "confirmed", "The portal shows it").status == 200


def test_contracts_of_an_unknown_account_return_404(stack: FakeStack) -> None:
    for path in ("/accounts/nadie/contracts", f"/accounts/nadie/contracts/{'0' * 32}"):
        check_problem(stack.get(path), 404, "account-unknown", "account")


def test_contracts_of_a_failing_account_do_not_delay_the_others(stack: FakeStack) -> None:
    stack.accounts.create("rota-sf", stack.accounts.secret(SF, username="rota@example.com"))
    rfcs = [f"AAA{n:06d}AA1" for n in range(101010, 101010 + 105)]
    contract = doubtful(stack)
    model = stored_contract(stack)
    for n, rfc in enumerate(rfcs):
        # Like contracts with lost responses; all are due before the other contract.
        item = model | {
            "account": {"S": "rota-sf"},
            "entry": {"S": f"contract#{n:032x}"},
            "id": {"S": f"{n:032x}"},
            "rfc": {"S": rfc},
            "login": {"S": "f" * 32},
            "look_at": {"S": "2026-11-01T00:00:00+00:00"},
        }
        stack.aws.client("dynamodb").put_item(TableName=stack.aws.refs["ContractsTable"], Item=item)

    states = reconcile(stack, minutes=2)

    assert states == {"needs-review": len(rfcs), "confirmed": 1}
    assert get_contract(stack, contract)["status"] == "confirmed"


# --------------------------------------------------------------------------- restored tables


@pytest.mark.parametrize("prefix", ["contract#", "key#"])
def test_partly_restored_table_sends_no_contract(stack: FakeStack, prefix: str) -> None:
    doubtful(stack, key="pedido-1")
    dynamodb, table = stack.aws.client("dynamodb"), stack.aws.refs["ContractsTable"]
    for item in dynamodb.scan(TableName=table)["Items"]:
        if item["entry"]["S"].startswith(prefix):
            dynamodb.delete_item(TableName=table, Key={k: item[k] for k in ("account", "entry")})
    stack.pacs.solucion_factible.calls.clear()
    transactions: list[str] = []
    stack.aws_faults.watch(
        "dynamodb", "TransactWriteItems", lambda request, **_: transactions.append(request.url)
    )

    response = stack.create_contract(key="pedido-1")

    assert response.status in (409, 503)
    assert "agregarContrato" not in stack.pacs.calls()
    assert len(transactions) < 10


# ------------------------------------------------------------------------------- long lists


def test_filtered_list_stops_at_the_deadline_with_a_cursor(stack: FakeStack) -> None:
    stack.create_contract()
    model = stored_contract(stack)
    padding = {"note": {"S": "x" * 60_000}}
    for n in range(300):
        stack.aws.client("dynamodb").put_item(
            TableName=stack.aws.refs["ContractsTable"],
            Item=model | padding | {"entry": {"S": f"contract#{n:032x}"}, "id": {"S": f"{n:032x}"}},
        )
    queries: list[str] = []
    stack.aws_faults.watch("dynamodb", "Query", lambda request, **_: queries.append(request.url))

    first = stack.call("contract", "GET", PATH, {"status": "needs-review"}, seconds=5)

    assert (first.status, first.body["contracts"]) == (200, [])
    assert first.body["next"], "the search continues from here"
    assert len(queries) == 1
    second = stack.call(
        "contract", "GET", PATH, {"status": "needs-review", "cursor": first.body["next"]}
    )
    assert second.body == {"contracts": [], "next": None}


def test_blank_reason_is_rejected(stack: FakeStack) -> None:
    contract = doubtful(stack)
    add_portal_stamps(stack, RFC, 7)
    reconcile(stack, minutes=2)
    response = settle(stack, contract["id"], "confirmed", "ㅤ" * 20)
    check_problem(response, 400, "parameter-invalid", "reason")
    assert CONTRACT_MANAGER not in str(get_contract(stack, contract)["history"][-1])
