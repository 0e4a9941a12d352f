"""Publishes the events of contracts."""

from __future__ import annotations

import logging
from typing import Any

from timbres.aws.events import EventPublisher
from timbres.domain.contract import Contract
from timbres.repositories.contracts import ContractRepository
from timbres.schemas.contracts import contract_to_dict

logger = logging.getLogger("timbres")


def publish_pending_events(
    contract_repository: ContractRepository, event_publisher: EventPublisher, contract: Contract
) -> None:
    """Publish a contract's pending events, then store that they are published.

    After a failure the contract stays in the index of open contracts, and the reconciler
    publishes the events: at least once.
    """
    if not contract.pending_events:
        return
    try:
        for event_type in contract.pending_events:
            event_publisher.publish(event_type, contract_to_dict(contract))
        contract_repository.mark_published(contract)
    except Exception as error:
        logger.error(
            "%s was not published: %s",
            ", ".join(contract.pending_events),
            type(error).__name__,
            extra=log_context(contract),
        )


def log_context(contract: Contract) -> dict[str, Any]:
    """Return the fields of a log record about a contract."""
    return {
        "account": contract.account,
        "rfc": contract.rfc,
        "contract": contract.id,
        "status": contract.status,
        "pac_code": contract.pac_code,
    }
