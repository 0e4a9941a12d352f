"""A mail's subject never names another company."""

from __future__ import annotations

from typing import Any

import pytest

from timbres.notifications.mails import TEMPLATES, LinkFactory, compose

RFCS = ("A&D061009TY8", "ÑAN840101AB1", "PAÑ840101AB1")
CONTRACT = {
    "id": "c1",
    "account": "acme-sf",
    "stamps": 500,
    "contracted_before": 1000,
    "contracted_after": 1500,
    "expected": 1500,
    "pac": None,
    "requested_by": "arn:aws:iam::123456789012:user/compras",
    "warning": "differs",
    "settled_by": None,
    "reason": None,
    "status": "confirmed",
}
ISSUER = {"account": "acme-sf", "available": 0, "days_left": None, "burn": None}


def details(event_type: str, rfc: str) -> dict[str, Any]:
    if event_type == "Daily Run Completed":
        return {
            "id": "r1",
            "day": "2026-11-19",
            "done": 1,
            "failed": {},
            "low": 0,
            "exhausted": 1,
            "issuers": [ISSUER | {"rfc": rfc, "alert": "exhausted"}],
        }
    contract = CONTRACT | {"rfc": rfc}
    if event_type == "Contracts Expiring":
        return {
            "id": "e1",
            "account": "acme-sf",
            "contracts": [contract | {"expires_on": "2026-12-12"}],
        }
    return contract


@pytest.mark.parametrize("rfc", RFCS)
@pytest.mark.parametrize(
    "event_type", [name for name in TEMPLATES if name.startswith(("Contract", "Daily Run"))]
)
def test_a_subject_names_the_issuer_or_its_account(event_type: str, rfc: str) -> None:
    mail = compose(event_type, details(event_type, rfc), LinkFactory(lambda _: "", 30))

    assert mail.subject.isascii()
    assert (rfc if rfc.isascii() else "acme-sf") in mail.subject
    assert rfc in mail.text
    assert not any(rfc.replace("Ñ", "N") in mail.subject for rfc in RFCS if "Ñ" in rfc)
