"""Finds the API and the keys, and signs requests with AWS Signature Version 4."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

from timbres_client.errors import AccessError, TimbresError

ENV_FILE = Path(".local") / "env"
_REGION_OF_HOST = re.compile(r"\.execute-api\.([a-z0-9-]+)\.amazonaws\.com")


class ConfigurationError(TimbresError):
    """The API, its region or the keys were not found."""

    exit_code = 3

    def __init__(self, detail: str) -> None:
        super().__init__("configuration", detail)


class Signature(requests.auth.AuthBase):
    """Signs a prepared request; ``session`` finds the keys, and renews temporary ones."""

    def __init__(self, session: Session, region: str) -> None:
        self._session = session
        self.region = region

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the headers of the signature. Raises ``AccessError`` without keys."""
        try:
            credentials = self._session.get_credentials()
        except BotoCoreError as error:
            raise AccessError("credentials", str(error)) from None
        if credentials is None:
            raise AccessError(
                "credentials",
                "No AWS keys were found: set AWS_PROFILE, or run `aws sso login`.",
            )
        signed = AWSRequest(request.method, request.url, data=request.body or b"")
        SigV4Auth(credentials, "execute-api", self.region).add_auth(signed)
        request.headers.update(dict(signed.headers.items()))
        return request


@dataclass(frozen=True)
class Connection:
    """The address of an API, and the AWS session of the caller.

    ``outputs`` are the outputs of the stack if it was found by its name; ``endpoint_url`` is the
    address of a local AWS, or None.
    """

    url: str
    region: str
    session: Session
    outputs: dict[str, str] = field(default_factory=dict)
    endpoint_url: str | None = None

    @classmethod
    def find(cls, stack: str | None = None) -> Connection:
        """Return the connection to the API.

        In this order: the output ApiUrl of ``stack``; the variable TIMBRES_API_URL; ``.local/env``
        of this folder, which `make up` writes, with its keys. Raises ``ConfigurationError``.
        """
        session, url = Session(), os.environ.get("TIMBRES_API_URL")
        region = os.environ.get("AWS_REGION") or session.get_config_variable("region")
        if stack is not None:
            outputs = _read_outputs(session, region, stack)
            if "ApiUrl" not in outputs:
                raise ConfigurationError(f"The stack {stack} has no output ApiUrl.")
            return cls(outputs["ApiUrl"], region or "", session, outputs)
        if not url and ENV_FILE.is_file():
            return cls._from_file(ENV_FILE)
        if not url:
            raise ConfigurationError(
                "The API was not found: use --stack NAME, set TIMBRES_API_URL to the output "
                "ApiUrl, or run `make up` in this folder."
            )
        if match := _REGION_OF_HOST.search(url):
            region = match[1]
        if not region:
            raise ConfigurationError("The region is not known: set AWS_REGION.")
        return cls(url.rstrip("/"), region, session)

    @classmethod
    def _from_file(cls, path: Path) -> Connection:
        words = shlex.split(path.read_text(encoding="utf-8"))
        variables = dict(word.split("=", 1) for word in words if "=" in word)
        session, keys = Session(), ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        session.set_credentials(*(variables[name] for name in keys))
        endpoint_url = variables["AWS_ENDPOINT_URL"]
        return cls(variables["TIMBRES_API_URL"], variables["AWS_REGION"], session, {}, endpoint_url)

    def aws(self, service: str) -> Any:
        """Return a botocore client of another AWS service, for the same caller."""
        return self.session.create_client(
            service, region_name=self.region, endpoint_url=self.endpoint_url
        )

    def signature(self) -> Signature:
        """Return what signs requests to the API."""
        return Signature(self.session, self.region)


def _read_outputs(session: Session, region: str | None, stack: str) -> dict[str, str]:
    try:
        cloudformation: Any = session.create_client("cloudformation", region_name=region)
        found = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
    except (BotoCoreError, ClientError) as error:
        raise ConfigurationError(f"The outputs of {stack} could not be read: {error}") from None
    return {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", ())}
