"""Clients of boto3's default session; they are created on first use and have timeouts."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import boto3
from botocore.config import Config

_CONFIG = Config(
    connect_timeout=2,
    read_timeout=4,
    retries={"mode": "standard", "total_max_attempts": 3},
)
# Signature version 2 would not bind a link to the bucket's region.
_S3_CONFIG = _CONFIG.merge(Config(signature_version="s3v4"))
# Links would otherwise use the global host, which returns 400 for regions newer than 2019.
_S3_REGIONAL = _S3_CONFIG.merge(Config(s3={"addressing_style": "virtual"}))


@cache
def client(service: str) -> Any:
    """Return the process's client for an AWS service, for example ``dynamodb``."""
    config = _CONFIG
    if service == "s3":
        # An emulator has one host for all buckets.
        is_emulated = "AWS_ENDPOINT_URL" in os.environ or "AWS_ENDPOINT_URL_S3" in os.environ
        config = _S3_CONFIG if is_emulated else _S3_REGIONAL
    # Typed for literal names only.
    create: Any = boto3.client
    return create(service, config=config)
