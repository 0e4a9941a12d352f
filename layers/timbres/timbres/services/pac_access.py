"""Access: from an account's name to an answer of its PAC, and no further once it said 601.

A PAC locks an account after too many sign-ins with a wrong password (604). Therefore a new
version of a secret is tried by a single call first, over all threads and functions, a version
that was rejected is not tried again, and few calls of an account are in flight at a time.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from timbres.aws.events import EventPublisher
from timbres.deadline import Deadline
from timbres.domain import clock
from timbres.domain.account import Account
from timbres.errors import ACCOUNT_LOGIN_CHANGED, CREDENTIALS_ON_TRIAL, PacError, TimbresError
from timbres.observability.metrics import metrics
from timbres.pacs.base import PacClient, PacClientDecorator
from timbres.pacs.errors import CREDENTIALS_REJECTED, redact_messages
from timbres.repositories.accounts import AccountRepository
from timbres.repositories.credential_rejections import (
    CredentialRejection,
    CredentialRejectionRepository,
)
from timbres.schemas.errors import pac_to_dict

T = TypeVar("T")

# A trial is one call, most often of less than a second; after this a caller has time left to call.
_TRIAL_WAIT_SECONDS = 10.0
_POLL_SECONDS = (0.05, 0.25)

# An account's name and the version of its secret.
_Version = tuple[str, str]

logger = logging.getLogger("timbres")


class PacAccess:
    """The PACs behind the accounts: one pooled client an account, kept while its secret is."""

    def __init__(
        self,
        accounts: AccountRepository,
        rejections: CredentialRejectionRepository,
        bus: EventPublisher,
        create_client: Callable[[Account], PacClient],
    ) -> None:
        self._accounts = accounts
        self._rejections = rejections
        self._bus = bus
        self._create_client = create_client
        self._clients: dict[str, tuple[str, PacClient]] = {}
        self._slots: dict[tuple[str, int], threading.BoundedSemaphore] = {}
        # Rejections on their way to the table, or that AWS did not take.
        self._unrecorded: dict[_Version, CredentialRejection] = {}

    def require_account(self, name: str, capability: str | None = None) -> Account:
        """Return an account that offers ``capability``, if one is given; no PAC is called.

        Raises ``account-unknown``, ``account-misconfigured`` or ``operation-unsupported``.
        """
        account = self._accounts.get(name)
        if capability is not None:
            account.require(capability)
        return account

    def account_names(self) -> list[str]:
        """Return the names of all accounts, sorted."""
        return self._accounts.list_names()

    def client(
        self, account: Account, *, login: str | None = None, follow_renewal: bool = True
    ) -> PacClient:
        """Return the account's PAC, guarded; no call is made yet.

        Its reads go by :meth:`read`, with ``login``; without ``follow_renewal``, and for what
        changes something at the PAC always, by :meth:`once`.
        """
        return GuardedPacClient(self, account, login, follow_renewal=follow_renewal)

    def call(
        self, account: Account, fn: Callable[[PacClient], T], *, login: str | None = None
    ) -> T:
        """Return what ``ask`` reads from the account's PAC.

        After rejected credentials the secret is read afresh, and asked once more only if it
        has changed. Raises ``pac-credentials-rejected`` without a call to the PAC while the
        secret is one that was rejected before, ``account-credentials-on-trial`` while another
        caller tries it for the first time, and ``account-login-changed`` when ``login`` is
        given and is not the login of the secret that would be used.
        """
        with self._slot(account):
            account, trial = self._admit(account, login, follow=True)
            try:
                return self._call(account, fn, trial)
            except PacError as error:
                renewed = self._on_rejection(account, error)
                if renewed is None:
                    raise
        return self.call_once(_same_login(renewed, login), fn)

    def call_once(self, account: Account, fn: Callable[[PacClient], T]) -> T:
        """Return what ``ask`` brings from the account's PAC, with this version of its secret.

        Raises as :meth:`read` does, without a call to the PAC. A rejection is noted and
        published.
        """
        with self._slot(account):
            account, trial = self._admit(account, None, follow=False)
            try:
                return self._call(account, fn, trial)
            except PacError as error:
                self._on_rejection(account, error)
                raise

    def current(self, account: Account) -> Account:
        """Return the account as its secret was last read, within the last minute."""
        return self._accounts.get(account.name)

    def _slot(self, account: Account) -> threading.BoundedSemaphore:
        """Return what limits the calls of an account that are in flight in this process.

        When a password stops being valid, each call in flight is a failed sign-in.
        """
        size = account.calls_in_flight
        return self._slots.setdefault((account.name, size), threading.BoundedSemaphore(size))

    def _admit(
        self, account: Account, login: str | None, *, follow: bool
    ) -> tuple[Account, str | None]:
        """Return the account to call the PAC with, and the token of its trial if it is one.

        ``follow``: in place of a rejected version, use the one that replaced it.
        """
        wait = Deadline(_TRIAL_WAIT_SECONDS)
        refused: set[str] = set()
        trial: str | None = None
        while True:
            _same_login(account, login)
            # First what this process knows: it is forgotten only once the table has it.
            rejection = self._unrecorded.get((account.name, account.version))
            if rejection is not None:
                self._record(account, rejection)
            state = self._rejections.get_state(account)
            rejection = state.rejection or rejection
            if rejection is not None:
                refused.add(account.version)
                renewed = self._reload_if_rotated(account)
                if renewed is None and not rejection.published:
                    self._publish_if_due(account, rejection)
                if renewed is None or not follow or renewed.version in refused:
                    metrics.add_count("CredentialsRejected")
                    raise _rejected_before_error(account, rejection)
                account, trial = renewed, None
            elif state.accepted or trial is not None:
                return account, trial
            else:
                # Read once more after a trial began: the one before may have ended in between.
                trial = self._rejections.start_trial(account, clock.now())
                if trial is None:
                    if wait.remaining() <= 0:
                        raise _on_trial_error(account)
                    time.sleep(random.uniform(*_POLL_SECONDS))  # noqa: S311 jitter, no secret

    def _call(self, account: Account, fn: Callable[[PacClient], T], trial: str | None) -> T:
        try:
            # A PAC's words go to callers, journal and mails; it may repeat a password.
            with redact_messages(account.redact):
                answer = fn(self._client(account))
        except BaseException as error:
            rejected = isinstance(error, PacError) and error.problem_type is CREDENTIALS_REJECTED
            if trial is not None and not rejected:
                _attempt("a trial was not ended", self._rejections.end_trial, account, trial)
            if isinstance(error, PacError):
                raise error.redacted(account.redact) from None
            raise
        if trial is not None:
            _attempt(
                "accepted credentials were not noted",
                self._rejections.accept,
                account,
                clock.now(),
            )
        return answer

    def _on_rejection(self, account: Account, error: PacError) -> Account | None:
        """Note a rejection; return the account with a secret changed since, or None."""
        if error.problem_type is not CREDENTIALS_REJECTED:
            return None
        rejection = CredentialRejection(clock.now().isoformat(), error.pac_code, error.pac_message)
        # From here on this process starts no call, whatever happens to the table.
        self._unrecorded[account.name, account.version] = rejection
        return self._record(account, rejection)

    def _record(self, account: Account, rejection: CredentialRejection) -> Account | None:
        """Write down a rejection; return the account with a secret changed since, or None.

        Only a rejection of the current version is published: nobody has to look after a
        password that was replaced.
        """
        noted = _attempt(
            "a rejection was not noted",
            self._rejections.reject,
            account,
            rejection,
            clock.now(),
        )
        if noted is not None:
            self._unrecorded.pop((account.name, account.version), None)
        if noted:
            _attempt("a trial was not required", self._rejections.require_trial, account)
        renewed = _attempt("a secret was not read", self._reload_if_rotated, account)
        if noted and renewed is None:
            metrics.add_count("CredentialsRejected")
            logger.error(
                "credentials rejected",
                extra={"account": account.name, "pac_code": rejection.code},
            )
            self._publish(account, rejection)
        return renewed

    def _reload_if_rotated(self, account: Account) -> Account | None:
        """Return the account with its secret as it is now, or None when it is the same one."""
        renewed = self._accounts.get(account.name)
        if renewed.version == account.version:
            renewed = self._accounts.get(account.name, fresh=True)
        if renewed.version == account.version or renewed.pac is not account.pac:
            return None
        return renewed

    def _publish_if_due(self, account: Account, rejection: CredentialRejection) -> None:
        """Publish a rejection whose own caller could not, unless another caller is about to."""
        start = self._rejections.start_publication
        if _attempt("a publication did not begin", start, account, clock.now()):
            self._publish(account, rejection)

    def _publish(self, account: Account, rejection: CredentialRejection) -> None:
        detail = {
            "account": account.name,
            "at": rejection.at,
            "pac": pac_to_dict(account.pac.name, rejection.code, rejection.message)
            | {"display_name": account.pac.display_name},
        }
        published = True
        try:
            self._bus.publish("Credentials Rejected", detail)
        except Exception as failure:
            # The caller gets the rejection all the same; the next caller publishes it.
            published = False
            logger.error("Credentials Rejected was not published: %s", type(failure).__name__)
        _attempt(
            "a publication was not noted",
            lambda: self._rejections.end_publication(account, clock.now(), published=published),
        )

    def _client(self, account: Account) -> PacClient:
        version, client = self._clients.get(account.name, (None, None))
        if client is None or version != account.version:
            client = self._create_client(account)
            self._clients[account.name] = (account.version, client)
        return client


class GuardedPacClient(PacClientDecorator):
    """An account's PAC behind :class:`Access`: credentials, their trial, calls in flight.

    Raises what the PAC's client does, what :meth:`Access.read` does, and
    ``operation-unsupported``.
    """

    def __init__(
        self, access: PacAccess, account: Account, login: str | None, *, follow_renewal: bool
    ) -> None:
        self._access = access
        self._account = account
        self._login = login
        self._follow_renewal = follow_renewal

    def _read(self, capability: str, call: Callable[[PacClient], T]) -> T:
        self._account.require(capability)
        if self._follow_renewal:
            return self._access.call(self._account, call, login=self._login)
        return self._access.call_once(_same_login(self._account, self._login), call)

    def _write(self, capability: str, call: Callable[[PacClient], T]) -> T:
        self._account.require(capability)
        # Never with a renewed secret: its login may be another one than the journal has.
        return self._access.call_once(_same_login(self._account, self._login), call)


def _attempt(failed: str, write: Callable[..., T], *arguments: object) -> T | None:
    """Return what ``write`` returns; None after a failure, which must not hide the PAC's answer."""
    try:
        return write(*arguments)
    except Exception as error:
        logger.error("%s: %s", failed, type(error).__name__)
        return None


def _rejected_before_error(account: Account, rejection: CredentialRejection) -> PacError:
    return PacError(
        CREDENTIALS_REJECTED,
        f"{account.pac.name} rejected the credentials of account {account.name} at "
        f"{rejection.at}; it is not asked again until the secret has changed.",
        pac=account.pac.name,
        pac_code=rejection.code,
        pac_message=rejection.message,
    )


def _on_trial_error(account: Account) -> TimbresError:
    return TimbresError(
        CREDENTIALS_ON_TRIAL,
        f"The secret of account {account.name} is new, and another call is trying it at "
        f"{account.pac.name}; ask again.",
        field="account",
    )


def _same_login(account: Account, login: str | None) -> Account:
    if login is not None and account.login != login:
        raise login_changed_error(account)
    return account


def login_changed_error(account: Account) -> TimbresError:
    """Return the error for an account whose secret has another login than it had."""
    return TimbresError(
        ACCOUNT_LOGIN_CHANGED,
        f"The secret of account {account.name} now signs in with another login at "
        f"{account.pac.name}: counts of two logins cannot be compared.",
        field="account",
    )
