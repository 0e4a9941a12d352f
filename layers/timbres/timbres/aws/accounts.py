"""Accounts in Secrets Manager: ``<SecretPrefix><account>``, JSON."""

from __future__ import annotations

import time
from typing import Any

from botocore.exceptions import ClientError

from timbres.domain.account import Account, parse_account, parse_account_name
from timbres.errors import ACCOUNT_UNKNOWN, TimbresError

# A changed secret is in use within a minute, without a call to AWS for every request.
_KEPT_SECONDS = 60.0


class Accounts:
    """The accounts there are; each is read at most once a minute.

    ``secrets`` is a boto3 client for Secrets Manager, ``prefix`` what their names begin with.
    """

    def __init__(self, secrets: Any, prefix: str) -> None:
        self._secrets = secrets
        self._prefix = prefix
        self._kept: dict[str, tuple[float, Account]] = {}

    def get(self, name: str, fresh: bool = False) -> Account:
        """Return an account; ``fresh`` reads its secret now.

        Raises ``account-unknown`` or ``account-misconfigured``.
        """
        name = parse_account_name(name)
        kept = self._kept.get(name)
        if kept and not fresh and time.monotonic() - kept[0] < _KEPT_SECONDS:
            return kept[1]
        account = self._read(name)
        self._kept[name] = (time.monotonic(), account)
        return account

    def names(self) -> list[str]:
        """Return the names of all accounts, sorted; secrets that cannot be one are left out."""
        names = set()
        pages = self._secrets.get_paginator("list_secrets").paginate(
            Filters=[{"Key": "name", "Values": [self._prefix]}]
        )
        for page in pages:
            for secret in page["SecretList"]:
                name = secret["Name"]
                if name.startswith(self._prefix):
                    try:
                        names.add(parse_account_name(name.removeprefix(self._prefix)))
                    except TimbresError:
                        continue
        return sorted(names)

    def _read(self, name: str) -> Account:
        try:
            secret = self._secrets.get_secret_value(SecretId=self._prefix + name)
        except ClientError as error:
            # A secret marked for deletion answers InvalidRequestException.
            gone = ("ResourceNotFoundException", "InvalidRequestException")
            if error.response["Error"]["Code"] in gone:
                raise TimbresError(
                    ACCOUNT_UNKNOWN,
                    f"There is no account {name}: no secret {self._prefix}{name}.",
                    field="account",
                ) from None
            raise
        return parse_account(name, secret.get("SecretString", ""), secret["VersionId"])
