"""GET /accounts: all accounts, without credentials; one that cannot be used affects only itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.support.fake_stack import RC, RFC, SF, FakeStack

BROKEN = "norte"


def names(stack: FakeStack) -> list[str]:
    return [account["name"] for account in stack.get("/accounts").body["accounts"]]


def test_accounts_are_listed_with_their_capabilities_and_errors(stack: FakeStack) -> None:
    assert names(stack) == [RC, SF]
    # A new account is listed without a cold start.
    stack.accounts.create("broken", stack.accounts.secret(SF, password=None))

    response = stack.get("/accounts")

    detail = "In the secret of account broken, password: expected a non-empty text."
    error = {"code": "account-misconfigured", "detail": detail}
    can = {
        RC: ("reachcore", ["balance", "statement", "consumption"]),
        SF: ("solucion-factible", ["stamps", "contracts", "consumption"]),
    }
    assert response.body == {
        "accounts": [
            *(
                {"name": name, "pac": pac, "environment": "sandbox", "can": capabilities}
                for name, (pac, capabilities) in can.items()
            ),
            {"name": "broken", "pac": None, "environment": None, "can": [], "error": error},
        ]
    }
    assert stack.pacs.calls() == []


def test_all_pages_of_secrets_are_listed_and_other_secrets_are_not(stack: FakeStack) -> None:
    accounts = [f"cuenta-{number:03}" for number in range(120)]
    for name in accounts:
        stack.accounts.create(name, stack.accounts.secret(RC))
    for name in ("timbres/other/acme", "timbres/accounts/Not_An_Account", "other/accounts/x"):
        stack.aws.client("secretsmanager").create_secret(Name=name, SecretString="{}")

    assert names(stack) == sorted([RC, SF, *accounts])


def malformed(stack: FakeStack) -> None:
    stack.accounts.create(BROKEN, {"pac": "reachcore"})


def unreadable(stack: FakeStack) -> None:
    stack.accounts.create(BROKEN, stack.accounts.norte_secret())
    stack.aws_faults.reject("secretsmanager", "GetSecretValue", "DecryptionFailure", about=BROKEN)


def rejected(stack: FakeStack) -> None:
    stack.accounts.create(BROKEN, stack.accounts.norte_secret() | {"api_key": "wrong-key-0001"})
    assert stack.get(f"/accounts/{BROKEN}/balance", month="2026-10").status == 502


@pytest.mark.parametrize(
    ("prepare", "code"),
    [
        (malformed, "account-misconfigured"),
        (unreadable, "account-unreadable"),
        (rejected, "pac-credentials-rejected"),
    ],
)
def test_an_unusable_account_does_not_affect_the_others(
    stack: FakeStack, prepare: Callable[[FakeStack], None], code: str
) -> None:
    prepare(stack)
    stack.accounts.add_issuers([RFC])

    accounts = {account["name"]: account for account in stack.get("/accounts").body["accounts"]}
    run = {account["account"]: account for account in stack.run()["accounts"]}
    report = stack.request_report("all", kind="consumption").body
    for _ in range(3):
        stack.deliver()

    assert accounts.keys() == {RC, SF, BROKEN}
    assert accounts[BROKEN]["error"]["code"] == code
    assert not any("error" in accounts[name] for name in (RC, SF))
    assert run[SF]["done"] == 1
    assert code in (run[BROKEN]["problem"], *run[BROKEN]["failed"])
    assert stack.get(f"/accounts/all/reports/{report['id']}").status == 302
