"""GET /accounts: all accounts, without credentials."""

from __future__ import annotations

import pytest
from tests.support.events import check_problem
from tests.support.fake_stack import RC, SF, FakeStack
from tools.openapi import response_validation


def names(stack: FakeStack) -> list[str]:
    return [account["name"] for account in stack.get("/accounts").body["accounts"]]


def test_accounts_are_listed_with_their_capabilities_and_errors(stack: FakeStack) -> None:
    assert names(stack) == [RC, SF]
    # A new account is listed without a cold start.
    stack.accounts.create("broken", stack.accounts.secret(SF, password=None))

    response = stack.get("/accounts")

    detail = "In the secret of account broken, password: expected a non-empty text."
    assert response.headers["content-type"] == "application/json"
    assert response.body == {
        "accounts": [
            {
                "name": RC,
                "pac": "reachcore",
                "environment": "sandbox",
                "can": ["balance", "statement", "consumption"],
            },
            {
                "name": SF,
                "pac": "solucion-factible",
                "environment": "sandbox",
                "can": ["stamps", "contracts", "consumption"],
            },
            {
                "name": "broken",
                "pac": None,
                "environment": None,
                "can": [],
                "error": {"code": "account-misconfigured", "detail": detail},
            },
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


@pytest.mark.parametrize("operation", ["ListSecrets", "GetSecretValue"])
def test_a_failure_of_secrets_manager_returns_503(stack: FakeStack, operation: str) -> None:
    failures = stack.aws_faults.reject("secretsmanager", operation, "ThrottlingException")

    response = stack.get("/accounts")

    check_problem(response, 503, "storage-unavailable")
    assert response.headers["retry-after"] == "5"
    assert len(failures) == 3
    assert stack.logs.lines(f"{operation} ThrottlingException")


def test_a_response_that_the_openapi_document_lacks_is_found(
    stack: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = response_validation.strict_document()
    paths = {"/accounts": {"get": {"responses": {}}}}
    monkeypatch.setattr(response_validation, "strict_document", lambda: document | {"paths": paths})

    with pytest.raises(
        response_validation.UndescribedError, match="GET /accounts 200: undocumented status"
    ):
        stack.get("/accounts")
