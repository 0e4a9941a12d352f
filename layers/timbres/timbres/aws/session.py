"""One boto3 session a process, its clients made on first use, each with time-outs."""

from __future__ import annotations

from functools import cache
from typing import Any

import boto3
from botocore.config import Config

_CONFIG = Config(
    connect_timeout=2,
    read_timeout=4,
    retries={"mode": "standard", "total_max_attempts": 3},
)
# A link signed the older way would not be tied to the bucket's region.
_S3_CONFIG = _CONFIG.merge(Config(signature_version="s3v4"))


@cache
def _session() -> boto3.Session:
    return boto3.Session()


@cache
def client(service: str) -> Any:
    """Return the process's client for an AWS service, for example ``dynamodb``."""
    config = _S3_CONFIG if service == "s3" else _CONFIG
    return _session().client(service, config=config)  # type: ignore[call-overload]
