"""GET /accounts: all accounts, without credentials."""

from __future__ import annotations

import pytest
from tests.integration.harness import RC, SF, FakeStack, check_problem
from tools.openapi import response_validation


def test_accounts_are_listed_by_name_with_their_capabilities(world: FakeStack) -> None:
    response = world.get("/accounts")

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
    assert world.calls() == []


def test_misconfigured_account_is_listed_with_its_error(world: FakeStack) -> None:
    world.create_account("broken", world.secret(SF, password=None))

    accounts = {account["name"]: account for account in world.get("/accounts").body["accounts"]}

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


def test_other_secrets_are_not_listed(world: FakeStack) -> None:
    secrets = world.stack.client("secretsmanager")
    for name in ("timbres/other/acme", "timbres/accounts/Not An Account", "other/accounts/x"):
        secrets.create_secret(Name=name.replace(" ", "_"), SecretString="{}")
    world.create_account("gone", world.secret(SF))
    secrets.delete_secret(SecretId="timbres/accounts/gone")

    assert [account["name"] for account in world.get("/accounts").body["accounts"]] == [RC, SF]


def test_all_pages_of_secrets_are_listed(world: FakeStack) -> None:
    names = sorted([RC, SF, *(f"cuenta-{number:03}" for number in range(120))])
    for name in names:
        if name not in (RC, SF):
            world.create_account(name, world.secret(RC))

    assert [account["name"] for account in world.get("/accounts").body["accounts"]] == names


def test_new_account_is_listed_without_a_cold_start(world: FakeStack) -> None:
    world.get("/accounts")

    world.create_account("acme-uat", {"pac": "reachcore", "environment": "uat", "api_key": "k"})

    accounts = world.get("/accounts").body["accounts"]
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
    world: FakeStack, operation: str, code: str, status: int
) -> None:
    failures = world.break_aws("secretsmanager", operation, code, status)

    response = world.get("/accounts")

    check_problem(response, 503, "storage-unavailable")
    assert response.headers["retry-after"] == "5"
    assert len(failures) == 3
    assert world.log_lines_with(f"{operation} {code}")


def test_single_failure_of_secrets_manager_is_retried(world: FakeStack) -> None:
    world.break_aws("secretsmanager", "ListSecrets", "ThrottlingException", times=1)

    assert world.get("/accounts").status == 200


def test_response_is_validated_against_the_openapi_document(
    world: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = response_validation.strict_document()
    paths = {"/accounts": {"get": {"responses": {}}}}
    monkeypatch.setattr(response_validation, "strict_document", lambda: document | {"paths": paths})

    with pytest.raises(
        response_validation.UndescribedError, match="GET /accounts 200: undocumented status"
    ):
        world.get("/accounts")
