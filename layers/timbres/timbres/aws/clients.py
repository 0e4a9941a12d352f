"""One session of AWS a process, its clients made on first use, each with time-outs.

botocore's own: boto3 would bring the same clients, and a tenth to a first call.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from botocore.config import Config
from botocore.loaders import Loader
from botocore.session import Session

_CONFIG = Config(
    connect_timeout=2,
    read_timeout=4,
    retries={"mode": "standard", "total_max_attempts": 3},
)
# A link signed the older way would not be tied to the bucket's region.
_S3_CONFIG = _CONFIG.merge(Config(signature_version="s3v4"))
# Links otherwise name the global host, which answers 400 for regions newer than 2019.
_S3_REGIONAL = _S3_CONFIG.merge(Config(s3={"addressing_style": "virtual"}))


class _Loader(Loader):
    """Knows the services there are to ask for.

    botocore's own looks into the folder of each of its 400 to say that a name is right: a
    fifteenth of a first call.
    """

    def list_available_services(self, type_name: str) -> list[str]:  # noqa: ARG002 botocore's
        return ["dynamodb", "events", "s3", "secretsmanager", "sns", "sqs"]


@cache
def _session() -> Session:
    session = Session()
    session.register_component("data_loader", _Loader())
    return session


@cache
def client(service: str) -> Any:
    """Return the process's client for an AWS service, for example ``dynamodb``."""
    config = _CONFIG
    if service == "s3":
        # An AWS on this machine has one host for all buckets.
        elsewhere = "AWS_ENDPOINT_URL" in os.environ or "AWS_ENDPOINT_URL_S3" in os.environ
        config = _S3_CONFIG if elsewhere else _S3_REGIONAL
    return _session().create_client(service, config=config)
