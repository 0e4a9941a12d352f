"""The floor of a cold start: what a function cannot do without is imported, and nothing done.

``FLOOR_CLIENTS`` names its AWS services, ``FLOOR_PAC`` the library its PAC is spoken with.
"""

import os
from typing import Any

import boto3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayRestResolver

if os.environ["FLOOR_PAC"] == "zeep":
    import zeep  # noqa: F401 loaded, and nothing done with it
elif os.environ["FLOOR_PAC"] == "requests":
    import ijson  # noqa: F401 loaded, and nothing done with it
    import requests  # noqa: F401 loaded, and nothing done with it

logger = Logger(service="floor")
app = APIGatewayRestResolver()
session = boto3.Session()
clients: list[Any] = [
    session.client(name)  # type: ignore[call-overload]  # its names come from outside
    for name in os.environ["FLOOR_CLIENTS"].split(",")
]


def handler(_event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Answer nothing."""
    return {"statusCode": 200, "body": "{}"}
