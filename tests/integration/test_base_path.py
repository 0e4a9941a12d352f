"""Requests through a custom domain: API Gateway keeps the domain's base path in the path."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
from tests.support.events import api_gateway_event
from tests.support.fake_stack import RC, RFC, SF, FakeStack
from tests.support.template import template

DOMAIN = "api.empresa.mx"
AWS = "execute-api.mx-central-1.amazonaws.com"
BELOW = {"DomainBasePath": "below"}


def below(base_path: str, event: dict[str, Any]) -> dict[str, Any]:
    """Return a request as a custom domain with a base path hands it to the function."""
    path = f"/{base_path}{event['path']}" if base_path else event["path"]
    context = {**event["requestContext"], "path": path, "domainName": DOMAIN}
    headers = {**event["headers"], "Host": DOMAIN}
    return {**event, "path": path, "headers": headers, "requestContext": context}


@pytest.mark.parametrize("base_path", ["", "timbres", "accounts", "d", "v1_a-b"])
def test_a_route_answers_below_any_base_path(shared_stack: FakeStack, base_path: str) -> None:
    for folder, path, query in (
        ("accounts", "/accounts", {}),
        ("balance", f"/accounts/{RC}/balance", {"month": "2026-10"}),
        ("stamp_count", f"/accounts/{SF}/stamps", {"rfc": RFC}),
        ("run", "/runs", {}),
    ):
        event = below(base_path, api_gateway_event("GET", path, query))
        assert shared_stack.invoke(folder, event)["statusCode"] == 200


def test_the_location_of_a_report_is_below_the_base_path(shared_stack: FakeStack) -> None:
    path = f"/accounts/{RC}/reports"
    body = '{"month": "2026-10", "kind": "statement", "format": "pdf"}'
    event = below("timbres", api_gateway_event("POST", path, body=body))
    response = shared_stack.invoke("report", event)
    assert response["statusCode"] == 202
    (location,) = response["multiValueHeaders"]["Location"]

    assert location == f"https://{DOMAIN}/timbres{path}/2026-10-statement-pdf-0001"


@pytest.mark.parametrize(
    "account",
    ["x/accounts/acme-rc", "x%2Faccounts%2Facme-rc", "../acme-rc", "acme-rc/balance/../../acme-rc"],
)
def test_an_account_that_contains_a_path_names_no_other_account(
    shared_stack: FakeStack, account: str
) -> None:
    # IAM authorized the resource with the first name; the code must not serve the second.
    event = api_gateway_event("GET", f"/accounts/{RC}/balance", {"month": "2026-10"})
    path = f"/timbres/accounts/{account}/balance"
    event = {**event, "path": path, "pathParameters": {"account": account}}
    assert shared_stack.invoke("balance", event)["statusCode"] == 404


@pytest.mark.parametrize(
    ("parameters", "url", "links"),
    [
        ({}, f"https://a1b2c3d4e5.{AWS}/dev", f"https://f6g7h8i9j0.{AWS}/d/"),
        (BELOW, f"https://a1b2c3d4e5.{AWS}/dev", f"https://f6g7h8i9j0.{AWS}/d/"),
        ({"DomainName": DOMAIN}, f"https://{DOMAIN}", f"https://{DOMAIN}/d/"),
        ({"DomainName": DOMAIN} | BELOW, f"https://{DOMAIN}/below", f"https://{DOMAIN}/below-d/"),
    ],
)
def test_mailed_links_and_the_output_have_the_address_of_the_parameters(
    shared_stack: FakeStack, parameters: dict[str, str], url: str, links: str
) -> None:
    aws, outputs = shared_stack.aws, template().text["Outputs"]
    with patch.dict(aws.refs, {"DomainName": "", "DomainBasePath": ""} | parameters):
        assert template().environment("mail", aws.resolve)["DOWNLOAD_URL"] == links
        assert aws.resolve(outputs["DownloadUrl"]["Value"]) == links
        assert aws.resolve(outputs["ApiUrl"]["Value"]) == url
