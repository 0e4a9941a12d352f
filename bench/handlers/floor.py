"""The floor of a first call: import the libraries that a function requires, and do nothing.

``FLOOR_CLIENTS`` lists its AWS services, ``FLOOR_PAC`` is the library that calls its PAC.
"""

import os
from typing import Any

import boto3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayRestResolver

if os.environ["FLOOR_PAC"] == "zeep":
    import zeep  # noqa: F401 only imported
elif os.environ["FLOOR_PAC"] == "requests":
    import ijson  # noqa: F401 only imported
    import requests  # noqa: F401 only imported

logger = Logger(service="floor")
app = APIGatewayRestResolver()
session = boto3.Session()
clients: list[Any] = [
    session.client(name)  # type: ignore[call-overload]  # the names are not literals
    for name in os.environ["FLOOR_CLIENTS"].split(",")
]


def handler(_event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Return an empty response."""
    return {"statusCode": 200, "body": "{}"}
