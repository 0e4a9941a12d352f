"""Rotated, rejected and removed secrets. No output contains a credential."""

from __future__ import annotations

import json
import logging
import threading
from typing import Any

import pytest
from local.fake_pacs.fake_data import AccountState
from tests.integration.harness import RC, RFC, SF, FakeStack, check_problem, load_function

from timbres.deadline import Deadline
from timbres.domain.rfc import Rfc
from timbres.errors import TimbresError
from timbres.services import stamps as stamp_count

BALANCE = f"/accounts/{RC}/balance"
STAMPS = f"/accounts/{SF}/stamps"


def read(world: FakeStack, account: str) -> Any:
    if account == RC:
        return world.get(BALANCE, month="2026-10")
    return world.get(STAMPS, rfc=RFC)


def record_secret_reads(world: FakeStack) -> list[str]:
    """Return a list that receives the id of each secret that the functions read."""
    reads: list[str] = []

    def record(request: Any, **_: Any) -> None:
        reads.append(json.loads(request.body)["SecretId"])

    world.watch_aws("secretsmanager", "GetSecretValue", record)
    return reads


# ------------------------------------------------------------------------------- rotated


def test_changed_password_is_used_after_the_rejection(world: FakeStack) -> None:
    assert read(world, SF).status == 200
    world.books.solucion_factible.set_account(password="otra contraseña")
    world.change_account(SF, world.secret(SF, password="otra contraseña"))

    response = read(world, SF)

    assert (response.status, response.body["available"]) == (200, 750)
    outcomes = [call["outcome"] for call in world.factible.calls.as_json()]
    assert outcomes == ["200", "601", "200"]


def test_changed_api_key_is_used_after_the_rejection(world: FakeStack) -> None:
    world.change_account(RC, world.secret(RC, api_key="no-longer-good"))
    assert check_problem(read(world, RC), 502, "pac-credentials-rejected")["pac"]["code"] == "401"
    world.change_account(RC, world.secret(RC))

    assert read(world, RC).status == 200

    outcomes = [call["outcome"] for call in world.reachcore.calls.as_json()]
    # The rejection is stored, so the secret is read again before the call.
    assert outcomes == ["401", "200"]


def test_changed_password_sends_one_contract(world: FakeStack) -> None:
    world.create_contract(RFC, 1)
    world.books.solucion_factible.set_account(password="otra contraseña")
    world.change_account(SF, world.secret(SF, password="otra contraseña"))

    response = world.create_contract(RFC, 7)

    assert (response.status, response.body["contracted_after"]) == (201, 1008)
    assert world.pac_contracts() == [(RFC, 1), (RFC, 7)]
    # The count loads the new password; the contract uses it at once.
    outcomes = [call["outcome"] for call in world.factible.calls.as_json()][3:]
    assert outcomes == ["601", "200", "200", "200"]


def test_contract_with_rejected_credentials_is_not_retried(
    world: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamps = world.books.solucion_factible.stamps

    def change_password(*request: Any) -> Any:
        world.books.solucion_factible.set_account(password="otra contraseña")
        world.change_account(SF, world.secret(SF, password="otra contraseña"))
        return stamps(*request)

    monkeypatch.setattr(world.books.solucion_factible, "stamps", change_password)

    check_problem(world.create_contract(RFC, 7), 502, "pac-credentials-rejected")

    assert world.calls() == ["getTimbres", "agregarContrato"]
    assert world.pac_contracts() == []


def test_rejected_new_version_is_tried_once(world: FakeStack) -> None:
    read(world, SF)
    world.books.solucion_factible.set_account(state=AccountState.LOCKED)
    world.change_account(SF, world.secret(SF, low_stamps=5))
    world.factible.calls.clear()

    assert check_problem(read(world, SF), 502, "pac-credentials-rejected")["pac"]["code"] == "602"
    assert len(world.calls()) == 2


@pytest.mark.parametrize("account", [RC, SF])
def test_no_function_retries_a_rejected_secret(world: FakeStack, account: str) -> None:
    operation, code = ("saldos", "401") if account == RC else ("getTimbres", "603")
    world.fault(operation, "code", code=code)
    check_problem(read(world, account), 502, "pac-credentials-rejected")
    calls = world.calls()
    world.reset_warm_functions()

    problem = check_problem(read(world, account), 502, "pac-credentials-rejected")
    if account == SF:
        check_problem(world.create_contract(), 502, "pac-credentials-rejected")
        with pytest.raises(Exception, match="pac-credentials-rejected"):
            world.invoke("stamp_count", {"account": SF, "rfc": RFC})
        world.run()
    world.request_report(account, kind="consumption")
    world.deliver()

    assert [call for call in world.calls() if call == operation] == calls
    assert problem["pac"]["code"] == code
    assert "until the secret changes" in problem["detail"]
    (event,) = world.events("Credentials Rejected")
    assert (event["account"], event["pac"]["code"]) == (account, code)
    (mail,) = [mail for mail in world.mails() if "rechazó" in mail]
    assert account in mail
    assert code in mail


@pytest.mark.parametrize("way", ["changed", "cleared"])
def test_changed_or_cleared_secret_is_tried_at_once(world: FakeStack, way: str) -> None:
    world.fault("getTimbres", "code", code="604")
    check_problem(read(world, SF), 502, "pac-credentials-rejected")
    if way == "changed":
        world.change_account(SF, world.secret(SF))
    else:
        world.clear_rejections()
    assert read(world, SF).status == 200


def test_concurrent_rejections_publish_one_event(world: FakeStack) -> None:
    world.fault("getTimbres", "code", code="601", times=-1)
    codes: list[str] = []

    # Calls the service, because a Lambda process handles one request at a time.
    def count(container: Any) -> None:
        with pytest.raises(TimbresError) as raised:
            stamp_count.get_current(
                container.pac_access, container.issuer_repository, SF, Rfc(RFC), Deadline(25)
            )
        codes.append(raised.value.problem_type.code)

    with world.environment("stamp_count"):
        threads = [
            threading.Thread(target=count, args=(load_function("stamp_count").container,))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert codes == ["pac-credentials-rejected"] * 8
    assert len(world.calls()) <= 8
    assert len(world.events("Credentials Rejected")) == 1


@pytest.mark.parametrize("account", [RC, SF])
def test_rejected_unchanged_secret_causes_one_call(world: FakeStack, account: str) -> None:
    read(world, account)
    for fake_pac in (world.reachcore, world.factible):
        fake_pac.calls.clear()
    operation, code = ("saldos", "401") if account == RC else ("getTimbres", "601")
    world.fault(operation, "code", code=code, times=-1)

    body = check_problem(read(world, account), 502, "pac-credentials-rejected")

    assert body["pac"]["code"] == code
    assert world.calls() == [operation]


def test_account_with_a_changed_pac(world: FakeStack) -> None:
    read(world, SF)
    world.books.solucion_factible.set_account(state=AccountState.INACTIVE)
    world.change_account(SF, world.secret(RC))
    world.factible.calls.clear()

    check_problem(read(world, SF), 502, "pac-credentials-rejected")
    assert world.calls() == ["getTimbres"]
    check_problem(read(world, SF), 422, "operation-unsupported", "account")
    assert world.calls() == ["getTimbres"]


# ------------------------------------------------------------------------- secret cache


def test_secret_is_read_once_per_minute(world: FakeStack, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("timbres.repositories.accounts.time.monotonic", lambda: now[0])
    reads = record_secret_reads(world)
    for _ in range(3):
        world.get(STAMPS)
        now[0] += 19
    assert reads == [f"timbres/accounts/{SF}"]

    now[0] += 5
    world.get(STAMPS)
    assert len(reads) == 2


def test_changed_secret_is_used_within_a_minute(
    world: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("timbres.repositories.accounts.time.monotonic", lambda: now[0])
    assert world.get(STAMPS).status == 200
    world.change_account(SF, "no JSON any more")
    assert world.get(STAMPS).status == 200

    now[0] += 61
    check_problem(world.get(STAMPS), 409, "account-misconfigured", "secret")


def test_misconfigured_secret_is_not_cached(world: FakeStack) -> None:
    world.change_account(SF, world.secret(SF, password=None))
    check_problem(world.get(STAMPS), 409, "account-misconfigured", "password")
    world.change_account(SF, world.secret(SF))

    assert world.get(STAMPS).status == 200


# ------------------------------------------------------------------------------- removed


@pytest.mark.parametrize("at_once", [False, True])
def test_removed_secret_is_not_an_account(world: FakeStack, at_once: bool) -> None:
    secrets = world.stack.client("secretsmanager")
    secrets.delete_secret(SecretId=f"timbres/accounts/{SF}", ForceDeleteWithoutRecovery=at_once)

    body = check_problem(world.get(STAMPS), 404, "account-unknown", "account")

    assert SF in body["detail"]
    assert [account["name"] for account in world.get("/accounts").body["accounts"]] == [RC]
    assert world.calls() == []


def test_restored_secret_is_an_account(world: FakeStack) -> None:
    secrets = world.stack.client("secretsmanager")
    secrets.delete_secret(SecretId=f"timbres/accounts/{SF}")
    check_problem(world.get(STAMPS), 404, "account-unknown", "account")
    secrets.restore_secret(SecretId=f"timbres/accounts/{SF}")

    assert world.get(STAMPS).status == 200


def test_binary_secret_is_misconfigured(world: FakeStack) -> None:
    secrets = world.stack.client("secretsmanager")
    secrets.create_secret(
        Name="timbres/accounts/bytes", SecretBinary=json.dumps(world.secret(SF)).encode()
    )

    check_problem(world.get("/accounts/bytes/stamps"), 409, "account-misconfigured", "secret")


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("ThrottlingException", 400),
        ("AccessDeniedException", 400),
        ("DecryptionFailure", 400),
        ("InternalServiceError", 500),
    ],
)
@pytest.mark.parametrize("account", [RC, SF])
def test_unreadable_secret_returns_503(
    world: FakeStack, account: str, code: str, status: int
) -> None:
    world.break_aws("secretsmanager", "GetSecretValue", code, status)

    response = read(world, account)

    check_problem(response, 503, "storage-unavailable")
    assert response.headers["retry-after"] == "5"
    assert world.calls() == []
    (line,) = world.log_lines_with("an AWS service failed")
    assert line["message"] == f"an AWS service failed: GetSecretValue {code}"


def test_unreadable_secret_sends_no_contract(world: FakeStack) -> None:
    world.break_aws("secretsmanager", "GetSecretValue", "ThrottlingException")

    check_problem(world.create_contract(), 503, "storage-unavailable")
    assert world.stack.items("ContractsTable") == []
    assert world.calls() == []


# -------------------------------------------------------------------- no credential leaks


def test_malformed_response_with_a_credential_is_not_quoted(world: FakeStack) -> None:
    world.fault("getTimbres", "wrong-shape", reply=f"<p>{world.credentials.password}</p>")
    world.fault("saldos", "wrong-shape", reply=f'{{"key": "{world.credentials.api_key}"}}')

    check_problem(read(world, SF), 502, "pac-protocol-error")
    check_problem(read(world, RC), 502, "pac-protocol-error")


def test_credentials_in_a_pac_message_are_redacted(world: FakeStack) -> None:
    user, password = world.credentials.username, world.credentials.password
    message = f"El usuario {user} no entra con {password}"
    world.fault("agregarContrato", "code", code="632", mensaje=message)
    contract_problem = check_problem(world.create_contract(), 422, "transaction-limit-exceeded")
    world.fault("getTimbres", "code", code="601", mensaje=message)
    count_problem = check_problem(read(world, SF), 502, "pac-credentials-rejected")

    assert contract_problem["pac"]["message"] == "El usuario *** no entra con ***"
    assert count_problem["pac"]["message"] == "El usuario *** no entra con ***"
    (event,) = world.events("Credentials Rejected")
    assert event["pac"]["message"] == "El usuario *** no entra con ***"


def test_internal_error_contains_no_credential(
    world: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("timbres.services.stamps.clock.now", broken)

    body = check_problem(read(world, SF), 500, "internal-error")
    assert "a bug" not in json.dumps(body)
    (line,) = world.log_lines_with("unhandled exception")
    assert "ZeroDivisionError" in line["exception"]


def test_soap_library_does_not_log_at_debug(world: FakeStack) -> None:
    read(world, SF)

    assert logging.getLogger("zeep").getEffectiveLevel() >= logging.WARNING
    assert logging.getLogger("urllib3").getEffectiveLevel() >= logging.WARNING


def test_log_lines_contain_the_id_of_their_request(world: FakeStack) -> None:
    world.fault("getTimbres", "code", code="633", times=2)
    first, second = (read(world, SF).body["instance"] for _ in range(2))

    lines = world.log_lines_with("request failed: environment-mismatch")
    assert [f"urn:uuid:{line['function_request_id']}" for line in lines] == [first, second]
    assert {line["pac_code"] for line in lines} == {"633"}
