"""GET /accounts: all accounts, without credentials."""

from __future__ import annotations

import pytest
from tests.support.events import check_problem
from tests.support.fake_stack import RC, SF, FakeStack
from tools.openapi import response_validation


def test_accounts_are_listed_by_name_with_their_capabilities(stack: FakeStack) -> None:
    response = stack.get("/accounts")

    assert response.status == 200
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
        ]
    }
    assert stack.pacs.calls() == []


def test_misconfigured_account_is_listed_with_its_error(stack: FakeStack) -> None:
    stack.accounts.create("broken", stack.accounts.secret(SF, password=None))

    accounts = {account["name"]: account for account in stack.get("/accounts").body["accounts"]}

    assert list(accounts) == [RC, SF, "broken"]
    assert accounts["broken"] == {
        "name": "broken",
        "pac": None,
        "environment": None,
        "can": [],
        "error": {
            "code": "account-misconfigured",
            "detail": "In the secret of account broken, password: expected a non-empty text.",
        },
    }


def test_other_secrets_are_not_listed(stack: FakeStack) -> None:
    secrets = stack.aws.client("secretsmanager")
    for name in ("timbres/other/acme", "timbres/accounts/Not An Account", "other/accounts/x"):
        secrets.create_secret(Name=name.replace(" ", "_"), SecretString="{}")
    stack.accounts.create("gone", stack.accounts.secret(SF))
    secrets.delete_secret(SecretId="timbres/accounts/gone")

    assert [account["name"] for account in stack.get("/accounts").body["accounts"]] == [RC, SF]


def test_all_pages_of_secrets_are_listed(stack: FakeStack) -> None:
    names = sorted([RC, SF, *(f"cuenta-{number:03}" for number in range(120))])
    for name in names:
        if name not in (RC, SF):
            stack.accounts.create(name, stack.accounts.secret(RC))

    assert [account["name"] for account in stack.get("/accounts").body["accounts"]] == names


def test_new_account_is_listed_without_a_cold_start(stack: FakeStack) -> None:
    stack.get("/accounts")

    stack.accounts.create("acme-uat", {"pac": "reachcore", "environment": "uat", "api_key": "k"})

    accounts = stack.get("/accounts").body["accounts"]
    assert [(account["name"], account["environment"]) for account in accounts] == [
        (RC, "sandbox"),
        (SF, "sandbox"),
        ("acme-uat", "uat"),
    ]


@pytest.mark.parametrize("operation", ["ListSecrets", "GetSecretValue"])
@pytest.mark.parametrize(
    ("code", "status"), [("ThrottlingException", 400), ("InternalServiceError", 500)]
)
def test_failure_of_secrets_manager_returns_503(
    stack: FakeStack, operation: str, code: str, status: int
) -> None:
    failures = stack.aws_faults.reject("secretsmanager", operation, code, status)

    response = stack.get("/accounts")

    check_problem(response, 503, "storage-unavailable")
    assert response.headers["retry-after"] == "5"
    assert len(failures) == 3
    assert stack.logs.lines(f"{operation} {code}")


def test_single_failure_of_secrets_manager_is_retried(stack: FakeStack) -> None:
    stack.aws_faults.reject("secretsmanager", "ListSecrets", "ThrottlingException", times=1)

    assert stack.get("/accounts").status == 200


def test_response_is_validated_against_the_openapi_document(
    stack: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = response_validation.strict_document()
    paths = {"/accounts": {"get": {"responses": {}}}}
    monkeypatch.setattr(response_validation, "strict_document", lambda: document | {"paths": paths})

    with pytest.raises(
        response_validation.UndescribedError, match="GET /accounts 200: undocumented status"
    ):
        stack.get("/accounts")
