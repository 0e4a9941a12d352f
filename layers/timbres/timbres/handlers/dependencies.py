"""What several functions share, created in Lambda's import phase, which has a full processor."""

from __future__ import annotations

from functools import partial

from timbres.aws.clients import client
from timbres.aws.events import EventPublisher
from timbres.handlers.settings import get_env
from timbres.pacs.base import DEFAULT_LIMITS, CallLimits
from timbres.pacs.registry import PACS, create_client, import_clients
from timbres.repositories.accounts import AccountRepository
from timbres.repositories.credential_rejections import CredentialRejectionRepository
from timbres.services.pac_access import PacAccess


def create_account_repository() -> AccountRepository:
    """Return the accounts, stored in Secrets Manager."""
    return AccountRepository(
        client("secretsmanager"),
        get_env("SECRET_PREFIX"),
        PACS,
        allow_sandbox=get_env("ALLOW_SANDBOX_ACCOUNTS") == "true",
    )


def create_rejection_repository() -> CredentialRejectionRepository:
    """Return the rejected credentials."""
    return CredentialRejectionRepository(client("dynamodb"), get_env("CREDENTIAL_REJECTIONS_TABLE"))


def create_event_publisher() -> EventPublisher:
    """Return the event bus; its client is created for the first event."""
    return EventPublisher(partial(client, "events"), get_env("EVENT_BUS"))


def create_pac_access(
    account_repository: AccountRepository, *capabilities: str, limits: CallLimits = DEFAULT_LIMITS
) -> PacAccess:
    """Return the access to the PACs of the accounts; each call has these limits.

    ``capabilities`` are those that most requests use: the libraries of their PACs are imported.
    """
    import_clients(capabilities)
    return PacAccess(
        account_repository,
        create_rejection_repository(),
        create_event_publisher(),
        partial(create_client, limits=limits),
    )
