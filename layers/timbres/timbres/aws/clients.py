"""One session of AWS a process, its clients made on first use, each with time-outs."""

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
# A link signed the older way would not be tied to the bucket's region.
_S3_CONFIG = _CONFIG.merge(Config(signature_version="s3v4"))
# Links otherwise name the global host, which answers 400 for regions newer than 2019.
_S3_REGIONAL = _S3_CONFIG.merge(Config(s3={"addressing_style": "virtual"}))


@cache
def _session() -> Any:
    return boto3.Session()


@cache
def client(service: str) -> Any:
    """Return the process's client for an AWS service, for example ``dynamodb``."""
    config = _CONFIG
    if service == "s3":
        # An AWS on this machine has one host for all buckets.
        elsewhere = "AWS_ENDPOINT_URL" in os.environ or "AWS_ENDPOINT_URL_S3" in os.environ
        config = _S3_CONFIG if elsewhere else _S3_REGIONAL
    return _session().client(service, config=config)
