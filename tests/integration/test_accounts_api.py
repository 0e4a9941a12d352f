"""GET /accounts: every account there is, never a credential."""

from __future__ import annotations

import pytest
from tests.integration.harness import RC, SF, FakeStack, check_problem
from tools.openapi import response_validation


def test_accounts_are_listed_by_name_with_what_each_can_do(world: FakeStack) -> None:
    answer = world.get("/accounts")

    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.body == {
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


def test_an_account_whose_secret_is_wrong_is_listed_with_what_is_wrong(world: FakeStack) -> None:
    world.create_account("broken", world.secret(SF, password=None))

    listed = {one["name"]: one for one in world.get("/accounts").body["accounts"]}

    assert list(listed) == [RC, SF, "broken"]
    assert listed["broken"] == {
        "name": "broken",
        "pac": None,
        "environment": None,
        "can": [],
        "error": {
            "code": "account-misconfigured",
            "detail": "In the secret of account broken, password: expected a non-empty text.",
        },
    }


def test_only_secrets_that_can_be_accounts_are_listed(world: FakeStack) -> None:
    secrets = world.stack.client("secretsmanager")
    for name in ("timbres/other/acme", "timbres/accounts/Not An Account", "other/accounts/x"):
        secrets.create_secret(Name=name.replace(" ", "_"), SecretString="{}")
    world.create_account("gone", world.secret(SF))
    secrets.delete_secret(SecretId="timbres/accounts/gone")

    assert [one["name"] for one in world.get("/accounts").body["accounts"]] == [RC, SF]


def test_more_accounts_than_one_page_of_secrets_holds(world: FakeStack) -> None:
    names = sorted([RC, SF, *(f"cuenta-{number:03}" for number in range(120))])
    for name in names:
        if name not in (RC, SF):
            world.create_account(name, world.secret(RC))

    assert [one["name"] for one in world.get("/accounts").body["accounts"]] == names


def test_a_new_account_is_there_without_a_cold_start(world: FakeStack) -> None:
    world.get("/accounts")

    world.create_account("acme-uat", {"pac": "reachcore", "environment": "uat", "api_key": "k"})

    listed = world.get("/accounts").body["accounts"]
    assert [(one["name"], one["environment"]) for one in listed] == [
        (RC, "sandbox"),
        (SF, "sandbox"),
        ("acme-uat", "uat"),
    ]


@pytest.mark.parametrize("operation", ["ListSecrets", "GetSecretValue"])
@pytest.mark.parametrize(
    ("code", "status"), [("ThrottlingException", 400), ("InternalServiceError", 500)]
)
def test_secrets_manager_failing_is_a_problem_that_says_so(
    world: FakeStack, operation: str, code: str, status: int
) -> None:
    failures = world.break_aws("secretsmanager", operation, code, status)

    answer = world.get("/accounts")

    check_problem(answer, 503, "storage-unavailable")
    assert answer.headers["retry-after"] == "5"
    assert len(failures) == 3
    assert world.log_lines_with(f"{operation} {code}")


def test_one_failure_of_secrets_manager_is_not_seen(world: FakeStack) -> None:
    world.break_aws("secretsmanager", "ListSecrets", "ThrottlingException", times=1)

    assert world.get("/accounts").status == 200


def test_an_answer_is_held_against_the_document_of_the_api(
    world: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = response_validation.strict_document()
    paths = {"/accounts": {"get": {"responses": {}}}}
    monkeypatch.setattr(
        response_validation, "strict_document", lambda: described | {"paths": paths}
    )

    with pytest.raises(
        response_validation.UndescribedError, match="GET /accounts 200: undocumented status"
    ):
        world.get("/accounts")
