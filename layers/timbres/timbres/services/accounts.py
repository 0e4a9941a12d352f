"""Lists accounts, without credentials."""

from __future__ import annotations

from dataclasses import dataclass

from timbres.domain.account import Account
from timbres.errors import TimbresError
from timbres.repositories.accounts import AccountRepository


@dataclass(frozen=True, slots=True)
class ListedAccount:
    """An account by name; None with an ``error`` if its secret is invalid."""

    name: str
    account: Account | None
    error: TimbresError | None = None


def list_accounts(account_repository: AccountRepository) -> list[ListedAccount]:
    """Return every account, including those with an invalid secret."""
    return [_read(account_repository, name) for name in account_repository.list_names()]


def _read(account_repository: AccountRepository, name: str) -> ListedAccount:
    try:
        return ListedAccount(name, account_repository.get(name))
    except TimbresError as error:
        return ListedAccount(name, None, error)
