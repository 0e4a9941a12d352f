"""Access: from an account's name to an answer of its PAC."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from timbres.aws.accounts import Accounts
from timbres.domain.account import Account
from timbres.errors import PacError
from timbres.pacs import connect
from timbres.pacs.base import PacClient
from timbres.pacs.codes import CREDENTIALS_REJECTED

T = TypeVar("T")


class Access:
    """The PACs behind the accounts: one pooled client an account, kept while its secret is."""

    def __init__(
        self, accounts: Accounts, connect: Callable[[Account], PacClient] = connect
    ) -> None:
        self.accounts = accounts
        self._connect = connect
        self._clients: dict[str, tuple[str, PacClient]] = {}

    def account(self, name: str, capability: str) -> Account:
        """Return an account that offers ``capability``; no PAC is called.

        Raises ``account-unknown``, ``account-misconfigured`` or ``operation-unsupported``.
        """
        account = self.accounts.get(name)
        account.must(capability)
        return account

    def read(self, account: Account, ask: Callable[[PacClient], T]) -> T:
        """Return what ``ask`` reads from the account's PAC.

        After rejected credentials the secret is read afresh, and asked once more only if it
        has changed: asking again with the same would lock the user's account (604).
        """
        try:
            return ask(self.client(account))
        except PacError as error:
            if error.kind is not CREDENTIALS_REJECTED:
                raise
            renewed = self.accounts.get(account.name, fresh=True)
            if renewed.version == account.version or renewed.pac is not account.pac:
                raise
            return ask(self.client(renewed))

    def client(self, account: Account) -> PacClient:
        """Return the client of an account as its secret stands."""
        version, client = self._clients.get(account.name, (None, None))
        if client is None or version != account.version:
            client = self._connect(account)
            self._clients[account.name] = (account.version, client)
        return client
