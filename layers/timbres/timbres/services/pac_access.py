"""Calls the PAC of an account; blocks calls with rejected credentials (601).

A PAC locks an account after too many sign-ins with a wrong password (604). Therefore a single
call, over all threads and functions, tries a new version of a secret first; a rejected version is
not used again; and few calls of an account are in flight at a time.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
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

# An account's name and the version of its secret.
_Version = tuple[str, str]

# For how long a fan-out of reads relies on an earlier look at the table of rejections. A process
# notices a rejection of its own at once.
_FAN_OUT_PERIOD = timedelta(seconds=1)

logger = logging.getLogger("timbres")


class PacAccess:
    """The PACs of the accounts: one pooled client per account and version of its secret.

    While another caller tries a new version, a caller waits up to ``trial_wait_seconds``, with
    pauses between the two ``poll_seconds``. A trial is one call, usually of less than a second;
    after the wait there is still time for a call.
    """

    def __init__(
        self,
        account_repository: AccountRepository,
        rejection_repository: CredentialRejectionRepository,
        event_publisher: EventPublisher,
        create_client: Callable[[Account], PacClient],
        *,
        trial_wait_seconds: float = 10.0,
        poll_seconds: tuple[float, float] = (0.05, 0.25),
    ) -> None:
        self._account_repository = account_repository
        self._rejection_repository = rejection_repository
        self._event_publisher = event_publisher
        self._create_client = create_client
        self._trial_wait_seconds = trial_wait_seconds
        self._poll_seconds = poll_seconds
        self._clients: dict[str, tuple[str, PacClient]] = {}
        self._slots: dict[tuple[str, int], threading.BoundedSemaphore] = {}
        # Rejections that are not in the table yet.
        self._unrecorded: dict[_Version, CredentialRejection] = {}
        # When the table had no rejection of a version.
        self._accepted_at: dict[_Version, datetime] = {}

    def require_account(self, name: str, capability: str | None = None) -> Account:
        """Return an account that offers ``capability``, if one is given; no PAC is called.

        Raises the errors of the account, or ``operation-unsupported``.
        """
        account = self._account_repository.get(name)
        if capability is not None:
            account.require(capability)
        return account

    def account_names(self) -> list[str]:
        """Return the names of all accounts, sorted."""
        return self._account_repository.list_names()

    def client(
        self, account: Account, *, login: str | None = None, follow_renewal: bool = True
    ) -> PacClient:
        """Return a guarded client for the account's PAC, without a call to it.

        Reads use :meth:`call`, with ``login``. Writes, and reads without ``follow_renewal``, use
        :meth:`call_once`.
        """
        return GuardedPacClient(self, account, login, follow_renewal=follow_renewal)

    def call(
        self, account: Account, fn: Callable[[PacClient], T], *, login: str | None = None
    ) -> T:
        """Return the result of ``fn`` with the client of the account's PAC.

        After rejected credentials the secret is read again, and ``fn`` is repeated only if the
        secret has changed. Raises without a call to the PAC: ``pac-credentials-rejected`` if
        the secret was rejected before, ``account-credentials-on-trial`` while another caller
        tries the secret, and ``account-login-changed`` if the secret's login is not ``login``.
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

    def call_once(
        self, account: Account, fn: Callable[[PacClient], T], *, fan_out: bool = False
    ) -> T:
        """Return the result of ``fn`` with this version of the account's secret.

        ``fan_out``: one of many reads, which looks for rejections by other functions once per
        second. Raises the same errors as :meth:`call`. A rejection is recorded and published.
        """
        with self._slot(account):
            if fan_out and self._was_just_accepted(account):
                trial = None
            else:
                account, trial = self._admit(account, None, follow=False)
            try:
                return self._call(account, fn, trial)
            except PacError as error:
                self._on_rejection(account, error)
                raise

    def current(self, account: Account) -> Account:
        """Return the account with its secret as read within the last minute."""
        return self._account_repository.get(account.name)

    def _slot(self, account: Account) -> threading.BoundedSemaphore:
        """Return the semaphore that limits the calls of an account in flight in this process.

        When a password becomes invalid, each call in flight is a failed sign-in.
        """
        size = account.calls_in_flight
        return self._slots.setdefault((account.name, size), threading.BoundedSemaphore(size))

    def _was_just_accepted(self, account: Account) -> bool:
        accepted_at = self._accepted_at.get((account.name, account.version))
        if accepted_at is None:
            return False
        # Not before: the clock of a machine may be set back.
        return timedelta() <= clock.now() - accepted_at < _FAN_OUT_PERIOD

    def _admit(
        self, account: Account, login: str | None, *, follow: bool
    ) -> tuple[Account, str | None]:
        """Return the account for the call, and the token of its trial or None.

        ``follow``: use the version of the secret that replaced a rejected one.
        """
        wait = Deadline(self._trial_wait_seconds)
        rejected: set[str] = set()
        trial: str | None = None
        while True:
            _same_login(account, login)
            # Read before the table: it is removed only after the table has it.
            rejection = self._unrecorded.get((account.name, account.version))
            if rejection is not None:
                self._record(account, rejection)
            state = self._rejection_repository.get_state(account)
            rejection = state.rejection or rejection
            if rejection is not None:
                rejected.add(account.version)
                renewed = self._reload_if_rotated(account)
                if renewed is None and not rejection.published:
                    self._publish_if_due(account, rejection)
                if renewed is None or not follow or renewed.version in rejected:
                    metrics.add_count("CredentialsRejected")
                    raise rejected_before_error(account, rejection)
                account, trial = renewed, None
            elif state.accepted or trial is not None:
                if state.accepted:
                    self._accepted_at[account.name, account.version] = clock.now()
                return account, trial
            else:
                # Then read the state again: another trial may have ended in between.
                trial = self._rejection_repository.start_trial(account, clock.now())
                if trial is None:
                    if wait.remaining() <= 0:
                        raise _on_trial_error(account)
                    time.sleep(random.uniform(*self._poll_seconds))  # noqa: S311 jitter, no secret

    def _call(self, account: Account, fn: Callable[[PacClient], T], trial: str | None) -> T:
        try:
            # A PAC's message is returned, stored and mailed, and may repeat a password.
            with redact_messages(account.redact):
                result = fn(self._client(account))
        except BaseException as error:
            rejected = isinstance(error, PacError) and error.problem_type is CREDENTIALS_REJECTED
            if trial is not None and not rejected:
                end_trial = self._rejection_repository.end_trial
                _attempt("a trial was not ended", end_trial, account, trial)
            if isinstance(error, PacError):
                raise error.redacted(account.redact) from None
            raise
        if trial is not None:
            _attempt(
                "accepted credentials were not recorded",
                self._rejection_repository.accept,
                account,
                clock.now(),
            )
        return result

    def _on_rejection(self, account: Account, error: PacError) -> Account | None:
        """Record a rejection; return the account with a secret changed since, or None."""
        if error.problem_type is not CREDENTIALS_REJECTED:
            return None
        rejection = CredentialRejection(clock.now().isoformat(), error.pac_code, error.pac_message)
        # This process makes no further call, even if the table cannot be written.
        self._unrecorded[account.name, account.version] = rejection
        self._accepted_at.pop((account.name, account.version), None)
        return self._record(account, rejection)

    def _record(self, account: Account, rejection: CredentialRejection) -> Account | None:
        """Record a rejection; return the account with a secret changed since, or None.

        Only a rejection of the current version is published: a replaced password needs no action.
        """
        is_first = _attempt(
            "a rejection was not recorded",
            self._rejection_repository.reject,
            account,
            rejection,
            clock.now(),
        )
        if is_first is not None:
            self._unrecorded.pop((account.name, account.version), None)
        if is_first:
            _attempt("a trial was not required", self._rejection_repository.require_trial, account)
        renewed = _attempt("a secret was not read", self._reload_if_rotated, account)
        if is_first and renewed is None:
            metrics.add_count("CredentialsRejected")
            logger.error(
                "credentials rejected",
                extra={"account": account.name, "pac_code": rejection.code},
            )
            self._publish(account, rejection)
        return renewed

    def _reload_if_rotated(self, account: Account) -> Account | None:
        """Return the account with its current secret, or None if the secret has not changed."""
        renewed = self._account_repository.get(account.name)
        if renewed.version == account.version:
            renewed = self._account_repository.get(account.name, fresh=True)
        if renewed.version == account.version or renewed.pac is not account.pac:
            return None
        return renewed

    def _publish_if_due(self, account: Account, rejection: CredentialRejection) -> None:
        """Publish a rejection that is not published yet, unless another caller is publishing it."""
        start = self._rejection_repository.start_publication
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
            self._event_publisher.publish("Credentials Rejected", detail)
        except Exception as failure:
            # The caller still gets the rejection; the next caller publishes it.
            published = False
            logger.error("Credentials Rejected was not published: %s", type(failure).__name__)
        _attempt(
            "a publication was not recorded",
            lambda: self._rejection_repository.end_publication(
                account, clock.now(), published=published
            ),
        )

    def _client(self, account: Account) -> PacClient:
        version, client = self._clients.get(account.name, (None, None))
        if client is None or version != account.version:
            client = self._create_client(account)
            self._clients[account.name] = (account.version, client)
        return client


class GuardedPacClient(PacClientDecorator):
    """A PAC client whose calls go through :class:`PacAccess`.

    Raises the errors of the PAC's client and of :meth:`PacAccess.call`, and
    ``operation-unsupported``.
    """

    def __init__(
        self, pac_access: PacAccess, account: Account, login: str | None, *, follow_renewal: bool
    ) -> None:
        self._pac_access = pac_access
        self._account = account
        self._login = login
        self._follow_renewal = follow_renewal

    def _read(self, capability: str, call: Callable[[PacClient], T]) -> T:
        self._account.require(capability)
        if self._follow_renewal:
            return self._pac_access.call(self._account, call, login=self._login)
        account = _same_login(self._account, self._login)
        return self._pac_access.call_once(account, call, fan_out=True)

    def _write(self, capability: str, call: Callable[[PacClient], T]) -> T:
        self._account.require(capability)
        # Never with a renewed secret: its login may differ from the one in the journal.
        return self._pac_access.call_once(_same_login(self._account, self._login), call)


def _attempt(failure: str, fn: Callable[..., T], *arguments: object) -> T | None:
    """Return the result of ``fn``; log its failure and return None, to keep the PAC's result."""
    try:
        return fn(*arguments)
    except Exception as error:
        logger.error("%s: %s", failure, type(error).__name__)
        return None


def rejected_before_error(account: Account, rejection: CredentialRejection) -> PacError:
    """Return the error for credentials that the PAC rejected earlier."""
    return PacError(
        CREDENTIALS_REJECTED,
        f"{account.pac.name} rejected the credentials of account {account.name} at "
        f"{rejection.at}; it is not called again until the secret changes.",
        pac=account.pac.name,
        pac_code=rejection.code,
        pac_message=rejection.message,
    )


def _on_trial_error(account: Account) -> TimbresError:
    return TimbresError(
        CREDENTIALS_ON_TRIAL,
        f"The secret of account {account.name} is new, and another call is trying it at "
        f"{account.pac.name}; retry.",
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
