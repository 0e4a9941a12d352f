"""Calls to a deployed stack and its fake PACs that several end-to-end tests make."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import requests
from local.environment import LocalEnvironment
from local.fake_pacs.fake_data import mexico_now
from local.fake_pacs.faults import parse_fault
from local.stack import SECRET_PREFIX, Stack


def eventually(value: Callable[[], Any], seconds: float = 20) -> Any:
    """Return the first true value; fail after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (result := value()):
        assert time.monotonic() < deadline, f"no value within {seconds} s"
        time.sleep(0.2)
    return result


def last_month() -> str:
    """Return the previous month in Mexico City, ``YYYY-MM``."""
    return f"{mexico_now().replace(day=1) - timedelta(days=1):%Y-%m}"


def delete_account(stack: Stack, name: str) -> None:
    """Delete an account's secret."""
    stack.session().client("secretsmanager").delete_secret(
        SecretId=SECRET_PREFIX + name, ForceDeleteWithoutRecovery=True
    )


def put_fault(environment: LocalEnvironment, pac: str, **fault: Any) -> None:
    """Let a fake PAC take a fault at its next call."""
    server = environment.fakes[pac].server
    server.faults.put(parse_fault(fault, server.rules))


def contracts_at_pac(environment: LocalEnvironment, rfc: str) -> list[int]:
    """Return the stamps of each contract that Solución Factible has for an issuer."""
    contracts = environment.fakes["solucion-factible"].server.contracts()
    return [stamps for issuer, stamps in contracts if issuer == rfc]


def create_contract(
    stack: Stack, rfc: str, stamps: int, key: str, account: str = "acme-sf"
) -> requests.Response:
    """Request a contract; return the response."""
    path = f"/accounts/{account}/contracts"
    body = {"rfc": rfc, "stamps": stamps, "new_issuer": True}
    headers = {"Idempotency-Key": key}
    return stack.call("contract_manager", "POST", path, body=body, headers=headers)


def generate_report(stack: Stack, account: str, kind: str, file_format: str) -> dict[str, Any]:
    """Request a report of the last month; return it when it is ready or has failed."""
    path, body = f"/accounts/{account}/reports", {"month": last_month()}
    body |= {"kind": kind, "format": file_format}
    id_ = stack.call("reporter", "POST", path, body=body).json()["id"]

    def settled() -> dict[str, Any] | None:
        query = {"redirect": "false"}
        report: dict[str, Any] = stack.call("reporter", "GET", f"{path}/{id_}", query).json()
        return None if report["status"] == "pending" else report

    return dict(eventually(settled))


def forget_damaged_links(stack: Stack) -> None:
    """Delete the counts of invalid tokens, because all tests have the same source."""
    dynamodb, table = stack.session().client("dynamodb"), stack.resource("DownloadTokensTable")
    for item in dynamodb.scan(TableName=table)["Items"]:
        if "failures" in item:
            dynamodb.delete_item(TableName=table, Key={"ticket": item["ticket"]})


def reconcile(
    environment: LocalEnvironment, contract_id: str, status: str, minutes: float
) -> dict[str, Any]:
    """Move a contract into the past, start the reconciler, and return it in its new status."""
    stack, sent_at = environment.stack, mexico_now() - timedelta(minutes=minutes)
    stack.session().client("dynamodb").update_item(
        TableName=stack.outputs["ContractsTableName"],
        Key={"account": {"S": "acme-sf"}, "entry": {"S": f"contract#{contract_id}"}},
        UpdateExpression="SET look_at = :due, sent_at = :sent_at",
        ExpressionAttributeValues={
            ":due": {"S": "2026-01-01T00:00:00+00:00"},
            ":sent_at": {"S": sent_at.isoformat()},
        },
    )
    stack.fire("ReconcilerFunctionEveryFiveMinutes")
    path = f"/accounts/acme-sf/contracts/{contract_id}"

    def in_status() -> dict[str, Any] | None:
        contract: dict[str, Any] = stack.call("reader", "GET", path).json()
        return contract if contract["status"] == status else None

    return dict(eventually(in_status))
