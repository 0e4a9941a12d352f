"""Rotated, rejected and removed secrets. No output contains a credential."""

from __future__ import annotations

import json
import logging
import threading
from typing import Any

import pytest
from local.fake_pacs.fake_data import AccountState
from tests.support.events import check_problem, load_function
from tests.support.fake_stack import RC, RFC, SF, FakeStack

from timbres.deadline import Deadline
from timbres.domain.rfc import Rfc
from timbres.errors import TimbresError
from timbres.services import stamps as stamp_count

BALANCE = f"/accounts/{RC}/balance"
STAMPS = f"/accounts/{SF}/stamps"


def read(stack: FakeStack, account: str) -> Any:
    if account == RC:
        return stack.get(BALANCE, month="2026-10")
    return stack.get(STAMPS, rfc=RFC)


def record_secret_reads(stack: FakeStack) -> list[str]:
    """Return a list that receives the id of each secret that the functions read."""
    reads: list[str] = []

    def record(request: Any, **_: Any) -> None:
        reads.append(json.loads(request.body)["SecretId"])

    stack.aws_faults.watch("secretsmanager", "GetSecretValue", record)
    return reads


# ------------------------------------------------------------------------------- rotated


def test_changed_password_is_used_after_the_rejection(stack: FakeStack) -> None:
    assert read(stack, SF).status == 200
    stack.pacs.state.solucion_factible.set_account(password="otra contraseña")
    stack.accounts.change(SF, stack.accounts.secret(SF, password="otra contraseña"))

    response = read(stack, SF)

    assert (response.status, response.body["available"]) == (200, 750)
    outcomes = [call["outcome"] for call in stack.pacs.solucion_factible.calls.as_json()]
    assert outcomes == ["200", "601", "200"]


def test_changed_api_key_is_used_after_the_rejection(stack: FakeStack) -> None:
    stack.accounts.change(RC, stack.accounts.secret(RC, api_key="no-longer-good"))
    assert check_problem(read(stack, RC), 502, "pac-credentials-rejected")["pac"]["code"] == "401"
    stack.accounts.change(RC, stack.accounts.secret(RC))

    assert read(stack, RC).status == 200

    outcomes = [call["outcome"] for call in stack.pacs.reachcore.calls.as_json()]
    # The rejection is stored, so the secret is read again before the call.
    assert outcomes == ["401", "200"]


def test_changed_password_sends_one_contract(stack: FakeStack) -> None:
    stack.create_contract(RFC, 1)
    stack.pacs.state.solucion_factible.set_account(password="otra contraseña")
    stack.accounts.change(SF, stack.accounts.secret(SF, password="otra contraseña"))

    response = stack.create_contract(RFC, 7)

    assert (response.status, response.body["contracted_after"]) == (201, 1008)
    assert stack.pacs.contracts() == [(RFC, 1), (RFC, 7)]
    # The count loads the new password; the contract uses it at once.
    outcomes = [call["outcome"] for call in stack.pacs.solucion_factible.calls.as_json()][3:]
    assert outcomes == ["601", "200", "200", "200"]


def test_contract_with_rejected_credentials_is_not_retried(
    stack: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamps = stack.pacs.state.solucion_factible.stamps

    def change_password(*request: Any) -> Any:
        stack.pacs.state.solucion_factible.set_account(password="otra contraseña")
        stack.accounts.change(SF, stack.accounts.secret(SF, password="otra contraseña"))
        return stamps(*request)

    monkeypatch.setattr(stack.pacs.state.solucion_factible, "stamps", change_password)

    check_problem(stack.create_contract(RFC, 7), 502, "pac-credentials-rejected")

    assert stack.pacs.calls() == ["getTimbres", "agregarContrato"]
    assert stack.pacs.contracts() == []


def test_rejected_new_version_is_tried_once(stack: FakeStack) -> None:
    read(stack, SF)
    stack.pacs.state.solucion_factible.set_account(state=AccountState.LOCKED)
    stack.accounts.change(SF, stack.accounts.secret(SF, low_stamps=5))
    stack.pacs.solucion_factible.calls.clear()

    assert check_problem(read(stack, SF), 502, "pac-credentials-rejected")["pac"]["code"] == "602"
    assert len(stack.pacs.calls()) == 2


@pytest.mark.parametrize("account", [RC, SF])
def test_no_function_retries_a_rejected_secret(stack: FakeStack, account: str) -> None:
    operation, code = ("saldos", "401") if account == RC else ("getTimbres", "603")
    stack.pacs.fault(operation, "code", code=code)
    check_problem(read(stack, account), 502, "pac-credentials-rejected")
    calls = stack.pacs.calls()
    stack.reset_warm_functions()

    problem = check_problem(read(stack, account), 502, "pac-credentials-rejected")
    if account == SF:
        check_problem(stack.create_contract(), 502, "pac-credentials-rejected")
        with pytest.raises(Exception, match="pac-credentials-rejected"):
            stack.invoke("stamp_count", {"account": SF, "rfc": RFC})
        stack.run()
    stack.request_report(account, kind="consumption")
    stack.deliver()

    assert [call for call in stack.pacs.calls() if call == operation] == calls
    assert problem["pac"]["code"] == code
    assert "until the secret changes" in problem["detail"]
    (event,) = stack.events("Credentials Rejected")
    assert (event["account"], event["pac"]["code"]) == (account, code)
    (mail,) = [mail for mail in stack.mails() if "rechazó" in mail]
    assert account in mail
    assert code in mail


@pytest.mark.parametrize("way", ["changed", "cleared"])
def test_changed_or_cleared_secret_is_tried_at_once(stack: FakeStack, way: str) -> None:
    stack.pacs.fault("getTimbres", "code", code="604")
    check_problem(read(stack, SF), 502, "pac-credentials-rejected")
    if way == "changed":
        stack.accounts.change(SF, stack.accounts.secret(SF))
    else:
        stack.accounts.clear_rejections()
    assert read(stack, SF).status == 200


def test_concurrent_rejections_publish_one_event(stack: FakeStack) -> None:
    stack.pacs.fault("getTimbres", "code", code="601", times=-1)
    codes: list[str] = []

    # Calls the service, because a Lambda process handles one request at a time.
    def count(container: Any) -> None:
        with pytest.raises(TimbresError) as raised:
            stamp_count.get_current(
                container.pac_access,
                container.issuer_repository,
                container.contract_repository,
                SF,
                Rfc(RFC),
                Deadline(25),
            )
        codes.append(raised.value.problem_type.code)

    with stack.environment("stamp_count"):
        threads = [
            threading.Thread(target=count, args=(load_function("stamp_count").container,))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert codes == ["pac-credentials-rejected"] * 8
    assert len(stack.pacs.calls()) <= 8
    assert len(stack.events("Credentials Rejected")) == 1


@pytest.mark.parametrize("account", [RC, SF])
def test_rejected_unchanged_secret_causes_one_call(stack: FakeStack, account: str) -> None:
    read(stack, account)
    for fake_pac in (stack.pacs.reachcore, stack.pacs.solucion_factible):
        fake_pac.calls.clear()
    operation, code = ("saldos", "401") if account == RC else ("getTimbres", "601")
    stack.pacs.fault(operation, "code", code=code, times=-1)

    body = check_problem(read(stack, account), 502, "pac-credentials-rejected")

    assert body["pac"]["code"] == code
    assert stack.pacs.calls() == [operation]


def test_account_with_a_changed_pac(stack: FakeStack) -> None:
    read(stack, SF)
    stack.pacs.state.solucion_factible.set_account(state=AccountState.INACTIVE)
    stack.accounts.change(SF, stack.accounts.secret(RC))
    stack.pacs.solucion_factible.calls.clear()

    check_problem(read(stack, SF), 502, "pac-credentials-rejected")
    assert stack.pacs.calls() == ["getTimbres"]
    check_problem(read(stack, SF), 422, "operation-unsupported", "account")
    assert stack.pacs.calls() == ["getTimbres"]


# ------------------------------------------------------------------------- secret cache


def test_secret_is_read_once_per_minute(stack: FakeStack, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("timbres.repositories.accounts.time.monotonic", lambda: now[0])
    reads = record_secret_reads(stack)
    for _ in range(3):
        stack.get(STAMPS)
        now[0] += 19
    assert reads == [f"timbres/accounts/{SF}"]

    now[0] += 5
    stack.get(STAMPS)
    assert len(reads) == 2


def test_changed_secret_is_used_within_a_minute(
    stack: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("timbres.repositories.accounts.time.monotonic", lambda: now[0])
    assert stack.get(STAMPS).status == 200
    stack.accounts.change(SF, "no JSON any more")
    assert stack.get(STAMPS).status == 200

    now[0] += 61
    check_problem(stack.get(STAMPS), 409, "account-misconfigured", "secret")


def test_misconfigured_secret_is_not_cached(stack: FakeStack) -> None:
    stack.accounts.change(SF, stack.accounts.secret(SF, password=None))
    check_problem(stack.get(STAMPS), 409, "account-misconfigured", "password")
    stack.accounts.change(SF, stack.accounts.secret(SF))

    assert stack.get(STAMPS).status == 200


# ------------------------------------------------------------------------------- removed


@pytest.mark.parametrize("at_once", [False, True])
def test_removed_secret_is_not_an_account(stack: FakeStack, at_once: bool) -> None:
    secrets = stack.aws.client("secretsmanager")
    secrets.delete_secret(SecretId=f"timbres/accounts/{SF}", ForceDeleteWithoutRecovery=at_once)

    body = check_problem(stack.get(STAMPS), 404, "account-unknown", "account")

    assert SF in body["detail"]
    assert [account["name"] for account in stack.get("/accounts").body["accounts"]] == [RC]
    assert stack.pacs.calls() == []


def test_restored_secret_is_an_account(stack: FakeStack) -> None:
    secrets = stack.aws.client("secretsmanager")
    secrets.delete_secret(SecretId=f"timbres/accounts/{SF}")
    check_problem(stack.get(STAMPS), 404, "account-unknown", "account")
    secrets.restore_secret(SecretId=f"timbres/accounts/{SF}")

    assert stack.get(STAMPS).status == 200


def test_binary_secret_is_misconfigured(stack: FakeStack) -> None:
    secrets = stack.aws.client("secretsmanager")
    secrets.create_secret(
        Name="timbres/accounts/bytes", SecretBinary=json.dumps(stack.accounts.secret(SF)).encode()
    )

    check_problem(stack.get("/accounts/bytes/stamps"), 409, "account-misconfigured", "secret")


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
    stack: FakeStack, account: str, code: str, status: int
) -> None:
    stack.aws_faults.reject("secretsmanager", "GetSecretValue", code, status)

    response = read(stack, account)

    check_problem(response, 503, "storage-unavailable")
    assert response.headers["retry-after"] == "5"
    assert stack.pacs.calls() == []
    (line,) = stack.logs.lines("an AWS service failed")
    assert line["message"] == f"an AWS service failed: GetSecretValue {code}"


def test_unreadable_secret_sends_no_contract(stack: FakeStack) -> None:
    stack.aws_faults.reject("secretsmanager", "GetSecretValue", "ThrottlingException")

    check_problem(stack.create_contract(), 503, "storage-unavailable")
    assert stack.aws.items("ContractsTable") == []
    assert stack.pacs.calls() == []


# -------------------------------------------------------------------- no credential leaks


def test_malformed_response_with_a_credential_is_not_quoted(stack: FakeStack) -> None:
    stack.pacs.fault("getTimbres", "wrong-shape", reply=f"<p>{stack.credentials.password}</p>")
    stack.pacs.fault("saldos", "wrong-shape", reply=f'{{"key": "{stack.credentials.api_key}"}}')

    check_problem(read(stack, SF), 502, "pac-protocol-error")
    check_problem(read(stack, RC), 502, "pac-protocol-error")


def test_credentials_in_a_pac_message_are_redacted(stack: FakeStack) -> None:
    user, password = stack.credentials.username, stack.credentials.password
    message = f"El usuario {user} no entra con {password}"
    stack.pacs.fault("agregarContrato", "code", code="632", mensaje=message)
    contract_problem = check_problem(stack.create_contract(), 422, "transaction-limit-exceeded")
    stack.pacs.fault("getTimbres", "code", code="601", mensaje=message)
    count_problem = check_problem(read(stack, SF), 502, "pac-credentials-rejected")

    assert contract_problem["pac"]["message"] == "El usuario *** no entra con ***"
    assert count_problem["pac"]["message"] == "El usuario *** no entra con ***"
    (event,) = stack.events("Credentials Rejected")
    assert event["pac"]["message"] == "El usuario *** no entra con ***"


def test_internal_error_contains_no_credential(
    stack: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("timbres.services.stamps.clock.now", broken)

    body = check_problem(read(stack, SF), 500, "internal-error")
    assert "a bug" not in json.dumps(body)
    (line,) = stack.logs.lines("unhandled exception")
    assert "ZeroDivisionError" in line["exception"]


def test_soap_library_does_not_log_at_debug(stack: FakeStack) -> None:
    read(stack, SF)

    assert logging.getLogger("zeep").getEffectiveLevel() >= logging.WARNING
    assert logging.getLogger("urllib3").getEffectiveLevel() >= logging.WARNING


def test_log_lines_contain_the_id_of_their_request(stack: FakeStack) -> None:
    stack.pacs.fault("getTimbres", "code", code="633", times=2)
    first, second = (read(stack, SF).body["instance"] for _ in range(2))

    lines = stack.logs.lines("request failed: environment-mismatch")
    assert [f"urn:uuid:{line['function_request_id']}" for line in lines] == [first, second]
    assert {line["pac_code"] for line in lines} == {"633"}
