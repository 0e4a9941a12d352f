"""Access: from an account's name to an answer of its PAC, and no further once it said 601.

A PAC locks an account after too many sign-ins with a wrong password (604). A secret that
was rejected is therefore not tried again, by any function, until it has changed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from timbres.aws.accounts import Accounts
from timbres.aws.bus import Bus
from timbres.aws.rejections import Rejections
from timbres.domain import clock
from timbres.domain.account import Account
from timbres.errors import PacError
from timbres.pacs.base import PacClient
from timbres.pacs.codes import CREDENTIALS_REJECTED

T = TypeVar("T")

log = logging.getLogger("timbres")


class Access:
    """The PACs behind the accounts: one pooled client an account, kept while its secret is."""

    def __init__(
        self,
        accounts: Accounts,
        rejections: Rejections,
        bus: Bus,
        connect: Callable[[Account], PacClient],
    ) -> None:
        self.accounts = accounts
        self._rejections = rejections
        self._bus = bus
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
        has changed. Raises ``pac-credentials-rejected`` without a call to the PAC while the
        secret is one that was rejected before.
        """
        account = self._unrejected(account)
        try:
            return self.once(account, ask)
        except PacError as error:
            if error.kind is not CREDENTIALS_REJECTED:
                raise
            renewed = self._renewed(account)
            if renewed is None:
                raise
            return self.once(renewed, ask)

    def once(self, account: Account, ask: Callable[[PacClient], T]) -> T:
        """Return what ``ask`` brings from the account's PAC; a rejection is noted and told."""
        try:
            return ask(self._client(account))
        except PacError as error:
            if error.kind is CREDENTIALS_REJECTED:
                self._reject(account, error)
            raise

    def current(self, account: Account) -> Account:
        """Return the account as its secret was last read."""
        return self.accounts.get(account.name)

    def _unrejected(self, account: Account) -> Account:
        rejection = self._rejections.of(account)
        if rejection is None:
            return account
        renewed = self._renewed(account)
        if renewed is not None and self._rejections.of(renewed) is None:
            return renewed
        raise PacError(
            CREDENTIALS_REJECTED,
            f"{account.pac.name} rejected the credentials of account {account.name} at "
            f"{rejection['at']}; it is not asked again until the secret has changed.",
            pac=account.pac.name,
            pac_code=rejection.get("code"),
            pac_message=rejection.get("message"),
        )

    def _renewed(self, account: Account) -> Account | None:
        """Return the account with its secret read now, or None when it is the same one."""
        renewed = self.accounts.get(account.name, fresh=True)
        if renewed.version == account.version or renewed.pac is not account.pac:
            return None
        return renewed

    def _reject(self, account: Account, error: PacError) -> None:
        at = clock.now()
        if not self._rejections.add(account, error, at):
            return
        log.error(
            "credentials rejected", extra={"account": account.name, "pac_code": error.pac_code}
        )
        try:
            self._bus.publish(
                "Credentials Rejected",
                {
                    "account": account.name,
                    "at": at.isoformat(),
                    "pac": {
                        "name": error.pac,
                        "code": error.pac_code,
                        "message": error.pac_message,
                    },
                },
            )
        except Exception as failure:
            # The caller is told all the same, and the log has it.
            log.error("Credentials Rejected was not published: %s", type(failure).__name__)

    def _client(self, account: Account) -> PacClient:
        version, client = self._clients.get(account.name, (None, None))
        if client is None or version != account.version:
            client = self._connect(account)
            self._clients[account.name] = (account.version, client)
        return client
