"""The accounts there are, and what each can do; never a credential."""

from __future__ import annotations

from dataclasses import dataclass

from timbres.domain.account import Account
from timbres.errors import TimbresError
from timbres.repositories.accounts import AccountRepository


@dataclass(frozen=True, slots=True)
class ListedAccount:
    """An account by its name; ``error`` says what is wrong where its secret describes none."""

    name: str
    account: Account | None
    error: TimbresError | None = None


def list_accounts(accounts: AccountRepository) -> list[ListedAccount]:
    """Return every account, those whose secret is not right among them."""
    return [_read(accounts, name) for name in accounts.list_names()]


def _read(accounts: AccountRepository, name: str) -> ListedAccount:
    try:
        return ListedAccount(name, accounts.get(name))
    except TimbresError as error:
        return ListedAccount(name, None, error)
