"""Secrets: rotated, rejected, removed; and credentials that show nowhere."""

from __future__ import annotations

import json
import logging
import threading
from typing import Any

import pytest
from local.fake_pacs.fake_data import AccountState
from tests.integration.harness import RC, RFC, SF, World, load, problem

from timbres.deadline import Deadline
from timbres.domain.rfc import Rfc
from timbres.errors import TimbresError
from timbres.services import stamps as stamp_count

BALANCE = f"/accounts/{RC}/balance"
STAMPS = f"/accounts/{SF}/stamps"


def read(world: World, account: str) -> Any:
    if account == RC:
        return world.get(BALANCE, month="2026-10")
    return world.get(STAMPS, rfc=RFC)


def reads_of_secrets(world: World) -> list[str]:
    """Return a list that grows with each secret that the functions read."""
    reads: list[str] = []

    def noted(request: Any, **_: Any) -> None:
        reads.append(json.loads(request.body)["SecretId"])

    world.watch_aws("secretsmanager", "GetSecretValue", noted)
    return reads


# ------------------------------------------------------------------------------- rotated


def test_a_password_changed_while_warm_is_used_after_the_rejection(world: World) -> None:
    assert read(world, SF).status == 200
    world.books.solucion_factible.set_account(password="otra contraseña")
    world.change_account(SF, world.secret(SF, password="otra contraseña"))

    answer = read(world, SF)

    assert (answer.status, answer.body["available"]) == (200, 750)
    outcomes = [call["outcome"] for call in world.factible.calls.as_json()]
    assert outcomes == ["200", "601", "200"]


def test_a_key_changed_while_warm_is_used_after_the_rejection(world: World) -> None:
    world.change_account(RC, world.secret(RC, api_key="no-longer-good"))
    assert problem(read(world, RC), 502, "pac-credentials-rejected")["pac"]["code"] == "401"
    world.change_account(RC, world.secret(RC))

    assert read(world, RC).status == 200

    outcomes = [call["outcome"] for call in world.reachcore.calls.as_json()]
    # The rejected key is known: the secret is read afresh before any call.
    assert outcomes == ["401", "200"]


def test_a_password_changed_while_warm_buys_once(world: World) -> None:
    world.buy(RFC, 1)
    world.books.solucion_factible.set_account(password="otra contraseña")
    world.change_account(SF, world.secret(SF, password="otra contraseña"))

    answer = world.buy(RFC, 7)

    assert (answer.status, answer.body["contracted_after"]) == (201, 1008)
    assert world.purchases() == [(RFC, 1), (RFC, 7)]
    # The count found the new password; the purchase went out with it at once.
    outcomes = [call["outcome"] for call in world.factible.calls.as_json()][3:]
    assert outcomes == ["601", "200", "200", "200"]


def test_a_purchase_that_is_rejected_is_not_sent_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamps = world.books.solucion_factible.stamps

    def then_the_password_changes(*asked: Any) -> Any:
        world.books.solucion_factible.set_account(password="otra contraseña")
        world.change_account(SF, world.secret(SF, password="otra contraseña"))
        return stamps(*asked)

    monkeypatch.setattr(world.books.solucion_factible, "stamps", then_the_password_changes)

    problem(world.buy(RFC, 7), 502, "pac-credentials-rejected")

    assert world.calls() == ["getTimbres", "agregarContrato"]
    assert world.purchases() == []


def test_a_new_version_that_is_rejected_too_is_tried_once(world: World) -> None:
    read(world, SF)
    world.books.solucion_factible.set_account(state=AccountState.LOCKED)
    world.change_account(SF, world.secret(SF, low_stamps=5))
    world.factible.calls.clear()

    assert problem(read(world, SF), 502, "pac-credentials-rejected")["pac"]["code"] == "602"
    assert len(world.calls()) == 2


@pytest.mark.parametrize("account", [RC, SF])
def test_a_rejected_secret_is_not_tried_again_by_any_function(world: World, account: str) -> None:
    operation, code = ("saldos", "401") if account == RC else ("getTimbres", "603")
    world.fault(operation, "code", code=code)
    problem(read(world, account), 502, "pac-credentials-rejected")
    calls = world.calls()
    world.cold()

    again = problem(read(world, account), 502, "pac-credentials-rejected")
    if account == SF:
        problem(world.buy(), 502, "pac-credentials-rejected")
        with pytest.raises(Exception, match="pac-credentials-rejected"):
            world.invoke("stamp_count", {"account": SF, "rfc": RFC})
        world.run()
    world.ask(account, kind="consumption")
    world.deliver()

    assert [call for call in world.calls() if call == operation] == calls
    assert again["pac"]["code"] == code
    assert "until the secret changes" in again["detail"]
    (event,) = world.events("Credentials Rejected")
    assert (event["account"], event["pac"]["code"]) == (account, code)
    (mail,) = [mail for mail in world.mails() if "rechazó" in mail]
    assert account in mail
    assert code in mail


@pytest.mark.parametrize("way", ["changed", "cleared"])
def test_a_rejected_secret_that_is_changed_or_cleared_is_tried_at_once(
    world: World, way: str
) -> None:
    world.fault("getTimbres", "code", code="604")
    problem(read(world, SF), 502, "pac-credentials-rejected")
    if way == "changed":
        world.change_account(SF, world.secret(SF))
    else:
        world.clear_rejections()
    assert read(world, SF).status == 200


def test_many_that_are_rejected_at_once_are_told_once(world: World) -> None:
    world.fault("getTimbres", "code", code="601", times=-1)
    told: list[str] = []

    # Below the routes: a process of Lambda has one request at a time.
    def count(parts: Any) -> None:
        with pytest.raises(TimbresError) as raised:
            stamp_count.get_current(parts.access, parts.issuers, SF, Rfc(RFC), Deadline(25))
        told.append(raised.value.problem_type.code)

    with world.environment("stamp_count"):
        threads = [
            threading.Thread(target=count, args=(load("stamp_count").container,)) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert told == ["pac-credentials-rejected"] * 8
    assert len(world.calls()) <= 8
    assert len(world.events("Credentials Rejected")) == 1


@pytest.mark.parametrize("account", [RC, SF])
def test_an_unchanged_secret_that_is_rejected_leads_to_one_call(world: World, account: str) -> None:
    read(world, account)
    for sandbox in (world.reachcore, world.factible):
        sandbox.calls.clear()
    operation, code = ("saldos", "401") if account == RC else ("getTimbres", "601")
    world.fault(operation, "code", code=code, times=-1)

    body = problem(read(world, account), 502, "pac-credentials-rejected")

    assert body["pac"]["code"] == code
    assert world.calls() == [operation]


def test_an_account_whose_pac_changes_while_warm(world: World) -> None:
    read(world, SF)
    world.books.solucion_factible.set_account(state=AccountState.INACTIVE)
    world.change_account(SF, world.secret(RC))
    world.factible.calls.clear()

    problem(read(world, SF), 502, "pac-credentials-rejected")
    assert world.calls() == ["getTimbres"]
    problem(read(world, SF), 422, "operation-unsupported", "account")
    assert world.calls() == ["getTimbres"]


# -------------------------------------------------------------------------- how often read


def test_a_secret_is_read_once_a_minute(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("timbres.repositories.accounts.time.monotonic", lambda: now[0])
    reads = reads_of_secrets(world)
    for _ in range(3):
        world.get(STAMPS)
        now[0] += 19
    assert reads == [f"timbres/accounts/{SF}"]

    now[0] += 5
    world.get(STAMPS)
    assert len(reads) == 2


def test_a_changed_secret_is_in_use_within_a_minute(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("timbres.repositories.accounts.time.monotonic", lambda: now[0])
    assert world.get(STAMPS).status == 200
    world.change_account(SF, "no JSON any more")
    assert world.get(STAMPS).status == 200

    now[0] += 61
    problem(world.get(STAMPS), 409, "account-misconfigured", "secret")


def test_what_is_wrong_with_a_secret_is_not_kept(world: World) -> None:
    world.change_account(SF, world.secret(SF, password=None))
    problem(world.get(STAMPS), 409, "account-misconfigured", "password")
    world.change_account(SF, world.secret(SF))

    assert world.get(STAMPS).status == 200


# ------------------------------------------------------------------------------- removed


@pytest.mark.parametrize("at_once", [False, True])
def test_a_secret_that_is_removed_is_no_account(world: World, at_once: bool) -> None:
    secrets = world.stack.client("secretsmanager")
    secrets.delete_secret(SecretId=f"timbres/accounts/{SF}", ForceDeleteWithoutRecovery=at_once)

    body = problem(world.get(STAMPS), 404, "account-unknown", "account")

    assert SF in body["detail"]
    assert [one["name"] for one in world.get("/accounts").body["accounts"]] == [RC]
    assert world.calls() == []


def test_a_secret_restored_is_an_account_again(world: World) -> None:
    secrets = world.stack.client("secretsmanager")
    secrets.delete_secret(SecretId=f"timbres/accounts/{SF}")
    problem(world.get(STAMPS), 404, "account-unknown", "account")
    secrets.restore_secret(SecretId=f"timbres/accounts/{SF}")

    assert world.get(STAMPS).status == 200


def test_a_secret_of_bytes_is_not_right(world: World) -> None:
    secrets = world.stack.client("secretsmanager")
    secrets.create_secret(
        Name="timbres/accounts/bytes", SecretBinary=json.dumps(world.secret(SF)).encode()
    )

    problem(world.get("/accounts/bytes/stamps"), 409, "account-misconfigured", "secret")


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
def test_a_secret_that_cannot_be_read_now(
    world: World, account: str, code: str, status: int
) -> None:
    world.break_aws("secretsmanager", "GetSecretValue", code, status)

    answer = read(world, account)

    problem(answer, 503, "storage-unavailable")
    assert answer.headers["retry-after"] == "5"
    assert world.calls() == []
    (line,) = world.logged("an AWS service failed")
    assert line["message"] == f"an AWS service failed: GetSecretValue {code}"


def test_a_secret_that_cannot_be_read_buys_nothing(world: World) -> None:
    world.break_aws("secretsmanager", "GetSecretValue", "ThrottlingException")

    problem(world.buy(), 503, "storage-unavailable")
    assert world.stack.items("ContractsTable") == []
    assert world.calls() == []


# ------------------------------------------------------------------------- shown nowhere


def test_a_pac_that_repeats_the_password_in_a_page_is_not_quoted(world: World) -> None:
    world.fault("getTimbres", "wrong-shape", reply=f"<p>{world.credentials.password}</p>")
    world.fault("saldos", "wrong-shape", reply=f'{{"key": "{world.credentials.api_key}"}}')

    problem(read(world, SF), 502, "pac-protocol-error")
    problem(read(world, RC), 502, "pac-protocol-error")


def test_a_pac_that_repeats_credentials_in_its_words_is_quoted_without(world: World) -> None:
    user, password = world.credentials.username, world.credentials.password
    words = f"El usuario {user} no entra con {password}"
    world.fault("agregarContrato", "code", code="632", mensaje=words)
    refused = problem(world.buy(), 422, "transaction-limit-exceeded")
    world.fault("getTimbres", "code", code="601", mensaje=words)
    rejected = problem(read(world, SF), 502, "pac-credentials-rejected")

    assert refused["pac"]["message"] == "El usuario *** no entra con ***"
    assert rejected["pac"]["message"] == "El usuario *** no entra con ***"
    (event,) = world.events("Credentials Rejected")
    assert event["pac"]["message"] == "El usuario *** no entra con ***"


def test_an_error_of_our_own_shows_no_credential(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("timbres.services.stamps.clock.now", broken)

    body = problem(read(world, SF), 500, "internal-error")
    assert "a bug" not in json.dumps(body)
    (line,) = world.logged("an error of our own")
    assert "ZeroDivisionError" in line["exception"]


def test_the_soap_library_says_nothing_even_at_debug(world: World) -> None:
    read(world, SF)

    assert logging.getLogger("zeep").getEffectiveLevel() >= logging.WARNING
    assert logging.getLogger("urllib3").getEffectiveLevel() >= logging.WARNING


def test_every_line_of_a_request_names_it_and_no_other(world: World) -> None:
    world.fault("getTimbres", "code", code="633", times=2)
    first, second = (read(world, SF).body["instance"] for _ in range(2))

    lines = world.logged("request failed: environment-mismatch")
    assert [f"urn:uuid:{line['function_request_id']}" for line in lines] == [first, second]
    assert {line["pac_code"] for line in lines} == {"633"}
