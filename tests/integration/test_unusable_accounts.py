"""An account that cannot be used affects only itself, and is listed with its error."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.support.events import check_problem
from tests.support.fake_stack import RC, RFC, SF, FakeStack

BROKEN = "norte"


def malformed(stack: FakeStack) -> None:
    stack.accounts.create(BROKEN, {"pac": "reachcore"})


def without_key(code: str) -> Callable[[FakeStack], None]:
    def prepare(stack: FakeStack) -> None:
        stack.accounts.create(BROKEN, stack.accounts.norte_secret())
        stack.aws_faults.reject("secretsmanager", "GetSecretValue", code, about=BROKEN)

    return prepare


def rejected(stack: FakeStack) -> None:
    stack.accounts.create(BROKEN, stack.accounts.norte_secret() | {"api_key": "wrong-key-0001"})
    check_problem(
        stack.get(f"/accounts/{BROKEN}/balance", month="2026-10"), 502, "pac-credentials-rejected"
    )


UNUSABLE = pytest.mark.parametrize(
    ("prepare", "code"),
    [
        (malformed, "account-misconfigured"),
        (without_key("AccessDeniedException"), "account-unreadable"),
        (without_key("DecryptionFailure"), "account-unreadable"),
        (rejected, "pac-credentials-rejected"),
    ],
    ids=["malformed", "access-denied", "decryption-failure", "rejected"],
)


@UNUSABLE
def test_an_unusable_account_is_listed_with_its_error(
    stack: FakeStack, prepare: Callable[[FakeStack], None], code: str
) -> None:
    prepare(stack)

    accounts = {account["name"]: account for account in stack.get("/accounts").body["accounts"]}

    assert accounts.keys() == {RC, SF, BROKEN}
    assert accounts[BROKEN]["error"]["code"] == code
    assert not any("error" in accounts[name] for name in (RC, SF))


@UNUSABLE
def test_an_unusable_account_does_not_affect_the_others(
    stack: FakeStack, prepare: Callable[[FakeStack], None], code: str
) -> None:
    prepare(stack)
    stack.accounts.add_issuers([RFC])

    assert stack.get(f"/accounts/{RC}/balance", month="2026-10").status == 200
    run = stack.run()
    report = stack.request_report("all", kind="consumption").body
    stack.deliver()

    counted = {account["account"]: account for account in run["accounts"]}
    assert counted[SF]["done"] == 1
    assert code in (counted[BROKEN]["problem"], *counted[BROKEN]["failed"])
    assert stack.get(f"/accounts/all/reports/{report['id']}").status == 302
