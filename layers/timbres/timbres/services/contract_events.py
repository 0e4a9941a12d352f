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
    journal: ContractRepository, bus: EventPublisher, contract: Contract
) -> None:
    """Publish the events of a contract's state, and then note that they were published.

    What fails here is in the index of open contracts, and published by the reconciler later:
    at least once.
    """
    if not contract.pending_events:
        return
    try:
        for event in contract.pending_events:
            bus.publish(event, contract_to_dict(contract))
        journal.mark_published(contract)
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
