"""The deployed stack: properties that depend on the deployment and not on an operation."""

from __future__ import annotations

from local.stack import Stack


def test_the_api_has_only_the_stage_of_the_parameter(stack: Stack) -> None:
    gateway = stack.session().client("apigateway")
    stages = gateway.get_stages(restApiId=stack.outputs["ApiId"])["item"]
    assert [stage["stageName"] for stage in stages] == ["dev"]


def test_a_list_of_issuers_in_windows_1252_is_not_altered_on_its_way(stack: Stack) -> None:
    response = stack.call(
        "contract_manager",
        "PUT",
        "/accounts/acme-sf/issuers",
        body="rfc\r\nÑAN840101AB1\r\n".encode("windows-1252"),
        headers={"Content-Type": "text/csv"},
    )
    # The function got the bytes: it names the encoding, or reads the RFC.
    assert "UTF-8" in response.text if response.status_code == 400 else response.ok, response.text
    assert "\N{REPLACEMENT CHARACTER}" not in response.text


def test_a_list_of_issuers_in_utf_8_is_imported(stack: Stack) -> None:
    response = stack.call(
        "contract_manager",
        "PUT",
        "/accounts/acme-sf/issuers",
        body="rfc\r\nÑAN840101AB1\r\n".encode(),
        headers={"Content-Type": "text/csv; charset=utf-8"},
    )
    assert response.status_code == 200, response.text
