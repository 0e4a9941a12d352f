"""Lists accounts, without credentials."""

from __future__ import annotations

from dataclasses import dataclass, replace

from timbres.domain.account import Account
from timbres.errors import TimbresError
from timbres.repositories.accounts import AccountRepository
from timbres.repositories.credential_rejections import CredentialRejectionRepository
from timbres.services.pac_access import rejected_before_error


@dataclass(frozen=True, slots=True)
class ListedAccount:
    """An account by name. ``account`` is None if its secret is unreadable or invalid.

    ``error`` is the reason, or the rejection of the account's credentials by its PAC.
    """

    name: str
    account: Account | None
    error: TimbresError | None = None


def list_accounts(
    account_repository: AccountRepository, rejection_repository: CredentialRejectionRepository
) -> list[ListedAccount]:
    """Return every account, including those that cannot be used."""
    listed = [_read(account_repository, name) for name in account_repository.list_names()]
    accounts = [entry.account for entry in listed if entry.account is not None]
    rejections = rejection_repository.list_rejections(accounts)
    return [
        replace(entry, error=rejected_before_error(entry.account, rejections[entry.name]))
        if entry.account is not None and entry.name in rejections
        else entry
        for entry in listed
    ]


def _read(account_repository: AccountRepository, name: str) -> ListedAccount:
    try:
        return ListedAccount(name, account_repository.get(name))
    except TimbresError as error:
        return ListedAccount(name, None, error)
