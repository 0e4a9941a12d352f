"""Publishes which contracts expire soon, each contract once."""

from __future__ import annotations

import logging
from datetime import date, datetime, timedelta
from datetime import time as time_of_day

from timbres.aws.events import EventPublisher
from timbres.domain.clock import MEXICO_CITY
from timbres.domain.contract import CONFIRMED
from timbres.domain.expiry import CONTRACTS_EXPIRING, NOTICE, expiry_day, oldest_creation
from timbres.repositories.accounts import AccountRepository
from timbres.repositories.contracts import ContractRepository
from timbres.schemas.contracts import expiring_contracts_to_event

logger = logging.getLogger("timbres")

# All contracts of an event are recorded in one transaction, which has at most 100 steps.
_MAX_CONTRACTS_PER_EVENT = 100


def publish_expiring_contracts(
    account_repository: AccountRepository,
    contract_repository: ContractRepository,
    event_publisher: EventPublisher,
    today: date,
) -> dict[str, int]:
    """Publish the contracts that expire within 30 days and were not published yet.

    Returns their number by account. A repeated call publishes nothing new. If a call ends between
    an event and its record, the next one repeats the same event.
    """
    published: dict[str, int] = {}
    # The end of the last day of creation: a year has at least 365 days.
    end = datetime.combine(today + NOTICE - timedelta(days=364), time_of_day(), MEXICO_CITY)
    for name in account_repository.list_names():
        contracts = [
            contract
            for contract in contract_repository.list_between(name, oldest_creation(today), end)
            if contract.status == CONFIRMED
            and today <= expiry_day(contract.created_at) <= today + NOTICE
            and CONTRACTS_EXPIRING not in contract.published_events
        ]
        for begin in range(0, len(contracts), _MAX_CONTRACTS_PER_EVENT):
            batch = contracts[begin : begin + _MAX_CONTRACTS_PER_EVENT]
            event_publisher.publish(CONTRACTS_EXPIRING, expiring_contracts_to_event(name, batch))
            contract_repository.mark_expiry_published(batch)
        if contracts:
            published[name] = len(contracts)
            logger.info("contracts expire soon", extra={"account": name, "count": len(contracts)})
    return published
