"""JSON of contracts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from timbres.domain.contract import Contract
from timbres.domain.expiry import expiry_day
from timbres.domain.stamps import Stamps


def contract_to_dict(contract: Contract) -> dict[str, Any]:
    """Return a contract for the API and the events."""
    pac = None
    if contract.pac_code is not None or contract.pac_message is not None:
        pac = {"code": contract.pac_code, "message": contract.pac_message}
    return {
        "id": contract.id,
        "account": contract.account,
        "rfc": contract.rfc,
        "stamps": contract.stamps,
        "status": contract.status,
        **_counts("before", contract.before),
        **_counts("after", contract.after),
        "warning": contract.warning,
        "requested_by": contract.requested_by,
        "idempotency_key": contract.idempotency_key,
        "reference": contract.reference,
        "created_at": contract.created_at.isoformat(),
        "settled_at": contract.settled_at.isoformat() if contract.settled_at else None,
        "attempts": contract.attempts,
        "pac": pac,
        "error": (
            {"code": contract.rejection.code, "detail": contract.rejection.detail}
            if contract.rejection
            else None
        ),
    }


def expiring_contracts_to_event(account: str, contracts: Sequence[Contract]) -> dict[str, Any]:
    """Return the event of an account's contracts that expire soon, the first to expire first."""
    return {
        # The same for the same contracts.
        "id": contracts[0].id,
        "account": account,
        "contracts": [
            {
                "id": contract.id,
                "rfc": contract.rfc,
                "stamps": contract.stamps,
                "expires_on": expiry_day(contract.created_at).isoformat(),
            }
            for contract in contracts
        ],
    }


def _counts(suffix: str, stamps: Stamps | None) -> dict[str, int | None]:
    counts = (stamps or Stamps(None, None, None)).counts
    return {f"{name}_{suffix}": count for name, count in counts.items()}
