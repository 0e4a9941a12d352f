"""Accounts in Secrets Manager: ``<SecretPrefix><account>``, JSON."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from timbres.domain.account import Account, Pac, parse_account, parse_account_name
from timbres.errors import ACCOUNT_NOT_FOUND, TimbresError

# A changed secret is in use within a minute, without a call to AWS for every request.
CACHE_TTL_SECONDS = 60.0


class AccountRepository:
    """The accounts there are; each is read at most once a minute.

    ``secrets`` is a client for Secrets Manager, ``prefix`` what their names begin with,
    ``pacs`` the PACs by name.
    """

    def __init__(self, secrets: Any, prefix: str, pacs: Mapping[str, Pac]) -> None:
        self._secrets = secrets
        self._prefix = prefix
        self._pacs = pacs
        self._kept: dict[str, tuple[float, Account]] = {}
        self._reading = threading.Lock()

    def get(self, name: str, fresh: bool = False) -> Account:
        """Return an account by its secret's current version; ``fresh`` reads it now.

        Raises ``account-unknown`` or ``account-misconfigured``.
        """
        name = parse_account_name(name)
        if not fresh and (kept := self._cached(name)):
            return kept
        # Many threads may find it out of date at once: one reads it, the others take that.
        with self._reading:
            if not fresh and (kept := self._cached(name)):
                return kept
            account = self._read(name)
            self._kept[name] = (time.monotonic(), account)
            return account

    def list_names(self) -> list[str]:
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

    def _cached(self, name: str) -> Account | None:
        at, account = self._kept.get(name, (0.0, None))
        return account if time.monotonic() - at < CACHE_TTL_SECONDS else None

    def _read(self, name: str) -> Account:
        try:
            secret = self._secrets.get_secret_value(SecretId=self._prefix + name)
        except ClientError as error:
            # A secret marked for deletion answers InvalidRequestException.
            gone = ("ResourceNotFoundException", "InvalidRequestException")
            if error.response["Error"]["Code"] in gone:
                raise TimbresError(
                    ACCOUNT_NOT_FOUND,
                    f"There is no account {name}: no secret {self._prefix}{name}.",
                    field="account",
                ) from None
            raise
        return parse_account(name, secret.get("SecretString", ""), self._pacs, secret["VersionId"])
