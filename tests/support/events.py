"""Events that AWS sends to functions, and the responses that API Gateway returns."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import itertools
import json
import re
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

from tests.support.template import AWS_ACCOUNT, REGION, ROOT, STACK_NAME, route

CONTRACT_MANAGER = f"arn:aws:iam::{AWS_ACCOUNT}:user/compras"
PROBLEM = "application/problem+json"
_numbers = itertools.count(1)


class LambdaContext:
    """The context object of an invocation that has ``seconds`` left."""

    function_version = "$LATEST"
    memory_limit_in_mb = 512

    def __init__(self, function: str, seconds: float) -> None:
        self.aws_request_id = str(uuid.uuid4())
        self.function_name = f"{STACK_NAME}-{function}"
        self.invoked_function_arn = (
            f"arn:aws:lambda:{REGION}:{AWS_ACCOUNT}:function:{self.function_name}"
        )
        self.log_group_name = f"/aws/lambda/{STACK_NAME}-{function}"
        self.log_stream_name = "2026/11/19/[$LATEST]0"
        self._seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        """Return the remaining time in milliseconds."""
        return int(self._seconds * 1000)


@dataclass(frozen=True)
class ApiResponse:
    """A response of API Gateway; the names of ``headers`` are in lower case."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def body(self) -> Any:
        """The body, parsed as JSON."""
        return json.loads(self.text)


def load_function(folder: str) -> ModuleType:
    """Import functions/<folder>/app.py again in its environment, as a cold start does."""
    name = f"timbres_function_{folder}_{next(_numbers)}"
    spec = importlib.util.spec_from_file_location(name, ROOT / "functions" / folder / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[name]
    return module


def api_gateway_event(
    method: str,
    path: str,
    query: Mapping[str, str | list[str]] | None = None,
    body: bytes | str | None = None,
    headers: Mapping[str, str] | None = None,
    caller: str = CONTRACT_MANAGER,
    is_base64: bool = False,
) -> dict[str, Any]:
    """Return the proxy event of a REST API with IAM authorization."""
    trigger, parameters = route(method, path)
    resource = trigger.properties["Path"]
    sent = {
        "Accept": "*/*",
        "Host": f"a1b2c3d4e5.execute-api.{REGION}.amazonaws.com",
        "User-Agent": "curl/8.11.1",
        "X-Amz-Date": "20261119T195341Z",
        "X-Amzn-Trace-Id": "Root=1-691e0000-0123456789abcdef01234567",
        "X-Forwarded-For": "203.0.113.7",
        "X-Forwarded-Port": "443",
        "X-Forwarded-Proto": "https",
        **({"Content-Type": "application/json"} if body is not None else {}),
        **(headers or {}),
    }
    values = {
        name: [value] if isinstance(value, str) else list(value)
        for name, value in (query or {}).items()
    }
    raw = body.encode() if isinstance(body, str) else body
    text = None if raw is None else base64.b64encode(raw).decode() if is_base64 else raw.decode()
    return {
        "resource": resource,
        "path": path,
        "httpMethod": method,
        "headers": sent,
        "multiValueHeaders": {name: [value] for name, value in sent.items()},
        "queryStringParameters": {name: items[-1] for name, items in values.items()} or None,
        "multiValueQueryStringParameters": values or None,
        "pathParameters": parameters or None,
        "stageVariables": None,
        "requestContext": {
            "resourceId": "abc123",
            "resourcePath": resource,
            "httpMethod": method,
            "extendedRequestId": "U0Zxample0123=",
            "requestTime": "19/Nov/2026:19:53:41 +0000",
            "path": f"/dev{path}",
            "accountId": AWS_ACCOUNT,
            "protocol": "HTTP/1.1",
            "stage": "dev",
            "domainPrefix": "a1b2c3d4e5",
            "requestTimeEpoch": 1795118021000,
            "requestId": "5c1a3f0e-0000-4000-8000-1234567890ab",
            "identity": {
                "cognitoIdentityPoolId": None,
                "accountId": AWS_ACCOUNT,
                "cognitoIdentityId": None,
                "caller": "AIDA-OF-THE-EXAMPLE",
                "sourceIp": "203.0.113.7",
                "principalOrgId": None,
                "accessKey": "AKIA-OF-THE-EXAMPLE",
                "cognitoAuthenticationType": None,
                "cognitoAuthenticationProvider": None,
                "userArn": caller,
                "userAgent": "curl/8.11.1",
                "user": "AIDA-OF-THE-EXAMPLE",
            },
            "domainName": f"a1b2c3d4e5.execute-api.{REGION}.amazonaws.com",
            "deploymentId": "dep123",
            "apiId": "a1b2c3d4e5",
        },
        "body": text,
        "isBase64Encoded": is_base64,
    }


def sqs_event(queue_arn: str, messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the event for messages that were received from a queue."""
    return {
        "Records": [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message["Attributes"],
                "messageAttributes": {},
                "md5OfBody": hashlib.md5(message["Body"].encode()).hexdigest(),
                "eventSource": "aws:sqs",
                "eventSourceARN": queue_arn,
                "awsRegion": REGION,
            }
            for message in messages
        ]
    }


def bus_event(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the event that a rule of the bus sends for an entry of PutEvents."""
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": entry["DetailType"],
        "source": entry["Source"],
        "account": AWS_ACCOUNT,
        "time": "2026-11-19T19:53:41Z",
        "region": REGION,
        "resources": [],
        "detail": json.loads(entry["Detail"]),
    }


def schedule_event(at: datetime) -> dict[str, str]:
    """Return the input of a schedule that is due at ``at``."""
    return {"scheduled_time": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}


def check_problem(
    response: ApiResponse,
    status: int,
    code: str,
    field: str | None = None,
) -> dict[str, Any]:
    """Check that a response is a complete problem document (RFC 9457); return its members."""
    assert response.headers["content-type"] == PROBLEM, response.text
    body: dict[str, Any] = response.body
    assert (response.status, body["status"], body["code"]) == (status, status, code), response.text
    assert body["type"] == f"urn:timbres:problem:{code}"
    assert body["title"]
    assert body["detail"].strip()
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", body["instance"])
    assert body.get("field") == field, response.text
    return body
