"""Access: from an account's name to an answer of its PAC, and no further once it said 601.

A PAC locks an account after too many sign-ins with a wrong password (604). A secret that
was rejected is therefore not tried again, by any function, until it has changed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar

from timbres.aws.accounts import KEPT_SECONDS, Accounts
from timbres.aws.bus import Bus
from timbres.aws.rejections import Rejections
from timbres.domain import clock
from timbres.domain.account import Account
from timbres.errors import ACCOUNT_LOGIN_CHANGED, PacError, TimbresError
from timbres.pacs.base import PacClient
from timbres.pacs.codes import CREDENTIALS_REJECTED, redacting
from timbres.tally import tally

T = TypeVar("T")

# No process uses a secret for so long that it was read before a rejection of that age.
_NEWS = timedelta(seconds=2 * KEPT_SECONDS)

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

    def read(
        self, account: Account, ask: Callable[[PacClient], T], *, login: str | None = None
    ) -> T:
        """Return what ``ask`` reads from the account's PAC.

        After rejected credentials the secret is read afresh, and asked once more only if it
        has changed. Raises ``pac-credentials-rejected`` without a call to the PAC while the
        secret is one that was rejected before, and ``account-login-changed`` when ``login`` is
        given and is not the login of the secret that would be used.
        """
        account = _same_login(self._unrejected(account), login)
        try:
            return self._asked(account, ask)
        except PacError as error:
            renewed = self._rejected(account, error)
            if renewed is None:
                raise
        return self.once(_same_login(renewed, login), ask)

    def once(self, account: Account, ask: Callable[[PacClient], T]) -> T:
        """Return what ``ask`` brings from the account's PAC; a rejection is noted and told."""
        try:
            return self._asked(account, ask)
        except PacError as error:
            self._rejected(account, error)
            raise

    def current(self, account: Account) -> Account:
        """Return the account as its secret was last read, within the last minute."""
        return self.accounts.get(account.name)

    def _asked(self, account: Account, ask: Callable[[PacClient], T]) -> T:
        try:
            # A PAC's words go to callers, journal and mails; it may repeat a password.
            with redacting(account.without_credentials):
                return ask(self._client(account))
        except PacError as error:
            error.say(account.without_credentials)
            raise

    def _unrejected(self, account: Account) -> Account:
        rejection = self._rejections.last(account.name)
        if rejection is None:
            return account
        ago = clock.now() - datetime.fromisoformat(rejection["at"])
        if rejection["version"] != account.version and ago > _NEWS:
            return account
        # A secret was refused, perhaps since this process read its own: whichever of the two
        # it was, none is tried before the secret is known as it is now.
        current = self.accounts.get(account.name, fresh=True)
        if current.version != rejection["version"] and current.pac is account.pac:
            return current
        tally.count("CredentialsRejected")
        raise PacError(
            CREDENTIALS_REJECTED,
            f"{account.pac.name} rejected the credentials of account {account.name} at "
            f"{rejection['at']}; it is not asked again until the secret has changed.",
            pac=account.pac.name,
            pac_code=rejection.get("code"),
            pac_message=rejection.get("message"),
        )

    def _rejected(self, account: Account, error: PacError) -> Account | None:
        """Note a rejection; return the account with a secret changed since, or None.

        Only a rejection of the secret as it is now is told: a password that was replaced
        is none that anybody has to look after.
        """
        if error.kind is not CREDENTIALS_REJECTED:
            return None
        at = clock.now()
        noted = self._rejections.add(account, error, at)
        renewed = None
        try:
            renewed = self._renewed(account)
        finally:
            if noted and renewed is None:
                self._tell(account, error, at)
        return renewed

    def _renewed(self, account: Account) -> Account | None:
        """Return the account with its secret as it is now, or None when it is the same one."""
        renewed = self.accounts.get(account.name)
        if renewed.version == account.version:
            renewed = self.accounts.get(account.name, fresh=True)
        if renewed.version == account.version or renewed.pac is not account.pac:
            return None
        return renewed

    def _tell(self, account: Account, error: PacError, at: datetime) -> None:
        tally.count("CredentialsRejected")
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


def _same_login(account: Account, login: str | None) -> Account:
    if login is not None and account.login != login:
        raise TimbresError(
            ACCOUNT_LOGIN_CHANGED,
            f"The secret of account {account.name} now signs in with another login at "
            f"{account.pac.name}: counts of two logins cannot be compared.",
            field="account",
        )
    return account
