"""Accounts in Secrets Manager: ``<SecretPrefix><account>``, JSON."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import ClientError

from timbres.domain.account import Account, Pac, is_account_name, parse_account, parse_account_name
from timbres.errors import ACCOUNT_NOT_FOUND, ACCOUNT_UNREADABLE, TimbresError

# A changed secret is used within a minute, without a call to AWS per request.
CACHE_TTL_SECONDS = 60.0
# InvalidRequestException: the secret is marked for deletion.
_NOT_FOUND = frozenset({"ResourceNotFoundException", "InvalidRequestException"})
# Without permission for the KMS key, or with a disabled or deleted key.
_UNREADABLE = frozenset({"AccessDeniedException", "DecryptionFailure"})


class AccountRepository:
    """Reads accounts, each at most once per minute.

    ``secrets`` is a client for Secrets Manager, ``prefix`` the prefix of the secrets' names,
    ``pacs`` the PACs by name, ``monotonic`` a clock in seconds. ``allow_sandbox``: accounts may
    have the environment ``sandbox``.
    """

    def __init__(
        self,
        secrets: Any,
        prefix: str,
        pacs: Mapping[str, Pac],
        monotonic: Callable[[], float] = time.monotonic,
        *,
        allow_sandbox: bool,
    ) -> None:
        self._secrets = secrets
        self._prefix = prefix
        self._pacs = pacs
        self._allow_sandbox = allow_sandbox
        self._monotonic = monotonic
        self._cache: dict[str, tuple[float, Account]] = {}
        self._lock = threading.Lock()

    def get(self, name: str, fresh: bool = False) -> Account:
        """Return an account from its secret's current version; ``fresh`` bypasses the cache.

        Raises ``account-unknown``, ``account-misconfigured`` or ``account-unreadable``.
        """
        name = parse_account_name(name)
        if not fresh and (cached := self._get_cached(name)):
            return cached
        # If several threads need the same account, one reads it and the others use its result.
        with self._lock:
            if not fresh and (cached := self._get_cached(name)):
                return cached
            account = self._read(name)
            self._cache[name] = (self._monotonic(), account)
            return account

    def list_names(self) -> list[str]:
        """Return the sorted names of all accounts; secrets with an invalid name are left out."""
        pages = self._secrets.get_paginator("list_secrets").paginate(
            Filters=[{"Key": "name", "Values": [self._prefix]}]
        )
        names = [secret["Name"] for page in pages for secret in page["SecretList"]]
        found = {name.removeprefix(self._prefix) for name in names if name.startswith(self._prefix)}
        return sorted(filter(is_account_name, found))

    def _get_cached(self, name: str) -> Account | None:
        at, account = self._cache.get(name, (0.0, None))
        return account if self._monotonic() - at < CACHE_TTL_SECONDS else None

    def _read(self, name: str) -> Account:
        try:
            secret = self._secrets.get_secret_value(SecretId=self._prefix + name)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            secret_name = self._prefix + name
            if code in _NOT_FOUND:
                problem_type = ACCOUNT_NOT_FOUND
                detail = f"Account {name} does not exist: secret {secret_name} was not found."
            elif code in _UNREADABLE:
                problem_type = ACCOUNT_UNREADABLE
                detail = (
                    f"AWS cannot read secret {secret_name} ({code}): check the secret's policy "
                )
                detail += "and its KMS key."
            else:
                raise
            raise TimbresError(problem_type, detail, field="account") from None
        return parse_account(
            name,
            secret.get("SecretString", ""),
            self._pacs,
            secret["VersionId"],
            allow_sandbox=self._allow_sandbox,
        )
