"""Lists of accounts; contracts and issuers of all accounts; links of a month."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.events import ApiResponse, check_problem
from tests.support.fake_stack import RC, RFC, RFC_N, SF, FakeStack
from tests.support.reports import run_monthly, run_workers

SECOND = "acme-two"
NEW = "NUE010101AA1"


# Accounts


def names(stack: FakeStack) -> list[str]:
    return [account["name"] for account in stack.get("/accounts").body["accounts"]]


def test_accounts_are_listed_with_their_capabilities_and_errors(stack: FakeStack) -> None:
    assert names(stack) == [RC, SF]
    # A new account is listed without a cold start.
    stack.accounts.create("broken", stack.accounts.secret(SF, password=None))
    stack.accounts.create("unreadable", stack.accounts.norte_secret())
    stack.aws_faults.reject("secretsmanager", "GetSecretValue", "DecryptionFailure", about="unread")
    stack.accounts.create("wrong", stack.accounts.secret(RC, api_key="wrong-key-0001"))
    assert stack.get("/accounts/wrong/balance", month="2026-10").status == 502
    stack.pacs.reachcore.calls.clear()

    rc, sf, broken, unreadable, wrong = stack.get("/accounts").body["accounts"]

    assert (rc["name"], rc["pac"], rc["environment"]) == (RC, "reachcore", "sandbox")
    assert rc["can"] == ["balance", "statement", "consumption"]
    assert sf["can"] == ["stamps", "contracts", "consumption"]
    assert "error" not in rc | sf
    detail = "In the secret of account broken, password: expected a non-empty text."
    error = {"code": "account-misconfigured", "detail": detail}
    unknown = {"name": "broken", "pac": None, "environment": None, "can": []}
    assert broken == unknown | {"error": error}
    assert unreadable["error"]["code"] == "account-unreadable"
    assert wrong["error"]["code"] == "pac-credentials-rejected"
    assert stack.pacs.calls() == []


def test_all_pages_of_secrets_are_listed_and_other_secrets_are_not(stack: FakeStack) -> None:
    accounts = [f"cuenta-{number:03}" for number in range(120)]
    for name in accounts:
        stack.accounts.create(name, stack.accounts.secret(RC))
    for name in ("timbres/other/acme", "timbres/accounts/Not_An_Account", "other/accounts/x"):
        stack.aws.client("secretsmanager").create_secret(Name=name, SecretString="{}")

    assert names(stack) == sorted([RC, SF, *accounts])


# All accounts


def contract(stack: FakeStack, rfc: str, key: str, **body: Any) -> ApiResponse:
    headers, body = {"Idempotency-Key": key}, {"rfc": rfc, "stamps": 5} | body
    return stack.call("contract", "POST", f"/accounts/{SF}/contracts", {}, body, headers)


@pytest.fixture
def two(stack: FakeStack) -> FakeStack:
    """A stack with a second account at the PAC of contracts."""
    stack.accounts.create(SECOND, stack.accounts.secret(SF))
    return stack


def test_contracts_of_all_accounts_are_filtered_and_paged(two: FakeStack) -> None:
    assert contract(two, RFC, "one", reference=" OC 77 ").status == 201
    two.clock.forward(days=1)
    two.create_contract(RFC_N, 6, "two")
    two.create_contract("ACM010203XY9", 7, "three", account=SECOND)

    def keys(account: str = "all", **query: str) -> list[str]:
        page = two.get(f"/accounts/{account}/contracts", **query).body
        found = [contract["idempotency_key"] for contract in page["contracts"]]
        if page["next"] is None:
            return found
        return found + keys(account, **query | {"cursor": page["next"]})

    assert keys() == keys(limit="1") == ["two", "one", "three"]
    assert keys(SF, limit="1") == ["two", "one"]
    for query, expected in (
        ({"from": "2026-11-20"}, ["two", "three"]),
        ({"to": "2026-11-19"}, ["one"]),
        ({"from": "2026-11-19", "to": "2026-11-20", "rfc": RFC_N}, ["two"]),
        ({"reference": "OC 77"}, ["one"]),
        ({"idempotency_key": "three"}, ["three"]),
        ({"idempotency_key": "three", "status": "rejected"}, []),
    ):
        assert keys(**query) == expected, query


def test_low_issuers_of_all_accounts(two: FakeStack) -> None:
    two.accounts.change(SF, two.accounts.secret(SF, low_stamps=100))
    for account, rfc in ((SF, RFC), (SF, RFC_N), (SECOND, "AAA010101AAA")):
        two.get(f"/accounts/{account}/stamps", rfc=rfc)

    def listed(alert: str, account: str = "all") -> list[tuple[str, str]]:
        issuers = two.get(f"/accounts/{account}/stamps", alert=alert).body["issuers"]
        return [(issuer["account"], issuer["rfc"]) for issuer in issuers]

    assert listed("low") == listed("low", SF) == [(SF, RFC_N)]
    assert listed("exhausted") == [(SECOND, "AAA010101AAA")]


def test_an_issuer_that_nobody_knows_needs_a_confirmation(stack: FakeStack) -> None:
    problem = check_problem(contract(stack, NEW, "one"), 422, "issuer-new", "rfc")
    assert problem["contract"]["status"] == "rejected"
    check_problem(contract(stack, NEW, "two", new_issuer="yes"), 400, "body-invalid", "new_issuer")
    check_problem(contract(stack, NEW, "two", reference=""), 400, "parameter-invalid", "reference")
    created = contract(stack, NEW, "two", new_issuer=True)
    assert (created.status, created.body["contracted_before"]) == (201, None)
    assert created.body["contracted_after"] == 5
    # An issuer of the list is known, and one with an earlier count.
    stack.accounts.add_issuers(["NUE010101AA2"])
    stack.accounts.add_snapshots({"NUE010101AA3": {"2026-11-01": (9, 4)}})

    known = ("NUE010101AA2", "NUE010101AA3")
    assert [contract(stack, rfc, rfc).status for rfc in known] == [201, 201]
    assert stack.pacs.contracts() == [(rfc, 5) for rfc in (NEW, *known)]


def test_links_are_revoked_by_mail_and_by_month_and_mailed_again(stack: FakeStack) -> None:
    run_monthly(stack)
    run_workers(stack)

    def post(name: str, **body: str) -> Any:
        return stack.call("report", "POST", f"/reports/{name}", body=body)

    def links() -> list[str]:
        return [line.strip() for line in "\n".join(stack.mails()).splitlines() if "/d/" in line]

    (first, *others), again = links(), post("mail", month="2026-10")
    assert (again.status, again.body["reports"]) == (202, 1 + len(others))
    assert post("mail", month="2026-10").status == 202
    assert len(links()) == 2 * again.body["reports"]
    assert post("revocation", link=first).body == {"revoked": 1 + len(others)}
    assert post("revocation", month="2026-10").body == {"revoked": again.body["reports"]}
    check_problem(post("mail", month="2026-09"), 404, "mail-not-found", "month")
    check_problem(post("revocation", link="A" * 43), 404, "link-unknown", "link")
    check_problem(post("revocation", link="no-link"), 400, "parameter-invalid", "link")
    check_problem(post("revocation"), 400, "body-invalid", "body")
