"""Contracts, statements, WSDLs, lists and secrets of real servers and programs."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from tests.support.events import ApiResponse, check_problem
from tests.support.fake_stack import RC, RFC, SF, FakeStack
from tests.support.further_cases import Case
from tests.support.response_cases import assert_contains, cases, check, inject


@pytest.mark.parametrize("case", cases("sf-buy-"))
def test_a_contract_of_a_real_server(stack: FakeStack, case: Case, tmp_path: Path) -> None:
    inject(stack, "agregarContrato", case, tmp_path)

    check(stack, case, stack.create_contract(), "agregarContrato")


@pytest.mark.parametrize("case", cases("csv-", "pdf-"))
def test_a_statement_of_a_real_server(stack: FakeStack, case: Case, tmp_path: Path) -> None:
    form = case.name[:3]
    inject(stack, form, case, tmp_path)
    stack.pacs.fault("saldos", "canned", case="rc-content-encoding-none", times=-1)

    report = stack.request_report(form=form).body
    assert stack.deliver() == (1, 0)
    path = f"/accounts/{RC}/reports/{report['id']}"
    body = (
        stack.get(path, redirect="false").body
        if case.expected["body"]["status"] == "ready"
        else (stack.get(f"/accounts/{RC}/reports").body["reports"][0])
    )

    assert_contains(body, case.expected["body"])
    if body["status"] == "ready":
        head, _, content = case.response.partition(b"\r\n\r\n")
        stored = gzip.decompress(content) if b"Content-Encoding: gzip" in head else content
        assert stack.download(body["url"]).content == stored


@pytest.mark.parametrize("case", cases("wsdl-"))
def test_a_live_wsdl_of_a_real_server(stack: FakeStack, case: Case, tmp_path: Path) -> None:
    inject(stack, "wsdl", case, tmp_path)
    stack.accounts.create("live-sf", stack.accounts.secret(SF, wsdl="live"))

    check(stack, case, stack.get("/accounts/live-sf/stamps", rfc=RFC), "wsdl")
    assert stack.create_contract(account="live-sf").status == 201


@pytest.mark.parametrize("case", cases("issuers-"))
def test_a_list_of_a_real_spreadsheet(stack: FakeStack, case: Case) -> None:
    def put(content_type: str) -> ApiResponse:
        headers = {"Content-Type": content_type}
        path = f"/accounts/{SF}/issuers"
        return stack.call("issuers", "PUT", path, body=case.response, headers=headers,
                          is_base64=True)  # fmt: skip

    charset = case.expected.get("charset")
    if charset:
        problem = check_problem(put("text/csv"), 400, "body-invalid", "body")
        assert "save it as UTF-8" in problem["detail"]
    assert put(f"text/csv; charset={charset}" if charset else "text/csv").status == 200
    issuers = stack.get(f"/accounts/{SF}/stamps").body["issuers"]
    assert {item["rfc"]: item["low_stamps"] for item in issuers} == case.expected["issuers"]


@pytest.mark.parametrize("case", cases("base-path-"))
def test_a_request_behind_a_base_path(stack: FakeStack, case: Case) -> None:
    result = stack.invoke("accounts", json.loads(case.response))

    assert result["statusCode"] == case.expected["status"]


@pytest.mark.parametrize("case", cases("secret-"))
def test_a_secret_of_a_real_editor(stack: FakeStack, case: Case) -> None:
    stack.accounts.create("console", case.response.decode())

    accounts = stack.get("/accounts").body["accounts"]
    (entry,) = (account for account in accounts if account["name"] == "console")
    assert "error" not in entry
    assert_contains(entry, {"environment": case.expected["body"]["environment"]})
