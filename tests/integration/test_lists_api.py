"""Lists of all accounts, their filters and limits; lists of issuers and of months."""

from __future__ import annotations

from typing import Any

import pytest
from local.fake_pacs.fake_data import bulk_rfc
from tests.integration.test_monthly_mails import run_monthly, run_workers
from tests.support.events import check_problem
from tests.support.fake_stack import RC, RFC, RFC_N, SF, FakeStack

SECOND = "acme-two"
NEW = "NUE010101AA1"


@pytest.fixture
def two(stack: FakeStack) -> FakeStack:
    """A stack with a second account at the PAC of contracts."""
    stack.accounts.create(SECOND, stack.accounts.secret(SF))
    return stack


def test_contracts_of_all_accounts_are_filtered_and_paged(two: FakeStack) -> None:
    two.call(
        "contract",
        "POST",
        f"/accounts/{SF}/contracts",
        body={"rfc": RFC, "stamps": 5, "reference": " OC 77 "},
        headers={"Idempotency-Key": "one"},
    )
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


@pytest.mark.parametrize(
    ("path", "query", "field"),
    [
        ("/accounts/all/stamps", {}, "alert"),
        ("/accounts/all/stamps", {"alert": "ok"}, "alert"),
        ("/accounts/all/stamps", {"alert": "low", "cursor": "x"}, "cursor"),
        ("/accounts/all/contracts", {"cursor": "ALL.x"}, "cursor"),
        ("/accounts/all/contracts", {"from": "2026-11-02", "to": "2026-11-01"}, "from"),
        ("/accounts/acme-sf/contracts", {"reference": "x" * 101}, "reference"),
        ("/accounts/acme-sf/contracts", {"limit": "101"}, "limit"),
        ("/accounts/acme-sf/stamps", {"limit": "0"}, "limit"),
        ("/accounts/acme-sf/issuers", {"limit": "ten"}, "limit"),
        ("/accounts/acme-rc/balance", {"from": "2026-01", "to": "2026-02", "rfc": RFC}, "rfc"),
    ],
)
def test_an_invalid_filter_names_its_field(
    stack: FakeStack, path: str, query: dict[str, str], field: str
) -> None:
    check_problem(stack.get(path, **query), 400, "parameter-invalid", field)


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
    def contract(rfc: str, key: str, **body: Any) -> Any:
        return stack.call(
            "contract",
            "POST",
            f"/accounts/{SF}/contracts",
            body={"rfc": rfc, "stamps": 5} | body,
            headers={"Idempotency-Key": key},
        )

    problem = check_problem(contract(NEW, "one"), 422, "issuer-new", "rfc")
    assert problem["contract"]["status"] == "rejected"
    check_problem(contract(NEW, "two", new_issuer="yes"), 400, "body-invalid", "new_issuer")
    check_problem(contract(NEW, "two", reference=""), 400, "parameter-invalid", "reference")
    assert contract(NEW, "two", new_issuer=True).status == 201
    # An issuer of the list is known, too.
    stack.accounts.add_issuers(["NUE010101AA2"])
    assert contract("NUE010101AA2", "three").status == 201
    assert stack.pacs.contracts() == [(NEW, 5), ("NUE010101AA2", 5)]


def test_a_list_is_replaced_and_issuers_are_removed_together(stack: FakeStack) -> None:
    path, rfcs = f"/accounts/{SF}/issuers", [bulk_rfc(number) for number in range(120)]

    def put(body: Any, **query: str) -> Any:
        return stack.call("issuers", "PUT", path, query, body)

    put([*rfcs, RFC])
    check_problem(put([RFC, "no-rfc"], mode="replace"), 422, "issuers-invalid", "body")
    for query in ({"mode": "replace", "on_invalid": "skip"}, {"mode": "all"}):
        check_problem(put([RFC], **query), 400, "parameter-invalid", "mode")
    assert put([*rfcs[:3], RFC_N], mode="replace").body["removed"] == 118
    assert [item["rfc"] for item in stack.get(path).body["issuers"]] == [*rfcs[:3], RFC_N]

    texts = [rfcs[0].lower(), rfcs[1], RFC]
    removed = stack.call("issuers", "DELETE", path, {"rfc": texts})
    assert removed.body == {"account": SF, "rfcs": rfcs[:2], "unknown": [RFC]}
    many = stack.call("issuers", "DELETE", path, {"rfc": ["x"] * 101})
    check_problem(many, 400, "parameter-invalid", "rfc")
    assert [item["rfc"] for item in stack.get(path).body["issuers"]] == [rfcs[2], RFC_N]


def test_the_first_balance_adds_the_issuers_and_months_have_totals(stack: FakeStack) -> None:
    months = {"from": "2026-09", "to": "2026-10"}
    body = stack.get(f"/accounts/{RC}/balance", **months).body

    october = stack.get(f"/accounts/{RC}/balance", month="2026-10").body
    assert [month["month"] for month in body["months"]] == ["2026-09", "2026-10"]
    totals = body["months"][1] | {"as_of": october["as_of"]}
    assert totals == {name: october[name] for name in totals}
    listed = stack.get(f"/accounts/{RC}/issuers").body["issuers"]
    assert [i["rfc"] for i in listed] == sorted(i["rfc"] for i in october["by_issuer"])
    for query in ({"from": "2025-09", "to": "2026-10"}, {"from": "2026-10", "to": "2026-09"}):
        check_problem(stack.get(f"/accounts/{RC}/balance", **query), 400, "month-invalid", "from")


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


def test_a_route_that_does_not_exist_is_named(stack: FakeStack) -> None:
    response = stack.call("download_token", "GET", "/contracts")

    assert "GET '/contracts'" in check_problem(response, 404, "route-not-found")["detail"]
