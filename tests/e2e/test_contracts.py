"""A contract whose response was lost, checked by the deployed reconciler, settled by a person."""

from __future__ import annotations

import requests
from local.environment import LocalEnvironment

from tests.support.api_calls import create_contract, eventually, put_fault, reconcile


def test_a_contract_without_proof_is_mailed_and_settled_by_an_operator(
    environment: LocalEnvironment,
) -> None:
    stack, rfc = environment.stack, "REV010203AB3"
    read_mails = stack.mailbox("review")
    assert create_contract(stack, rfc, 10, "before-review").status_code == 201
    put_fault(environment, "solucion-factible", operation="agregarContrato", fault="cut-after")
    unknown = create_contract(stack, rfc, 20, "review").json()
    # Meanwhile somebody creates a contract in the portal.
    portal = f"{environment.urls['solucion-factible']}/_control/issuer"
    requests.post(portal, json={"rfc": rfc, "contratados": 10 + 20 + 7}, timeout=5)

    reconcile(environment, unknown["id"], "needs-review", minutes=2)
    path = f"/accounts/acme-sf/contracts/{unknown['id']}/settlement"
    settlement = {"outcome": "confirmed", "reason": "The portal lists it under folio 8841"}
    settled, repeated = (
        stack.call("contract_manager", "POST", path, body=settlement) for _ in range(2)
    )

    eventually(
        lambda: any("No se pudo averiguar" in m and unknown["id"] in m for m in read_mails())
    )
    assert (settled.status_code, settled.json()["status"]) == (200, "confirmed")
    last = stack.call("reader", "GET", path.removesuffix("/settlement")).json()["history"][-1]
    assert last["note"] == settlement["reason"]
    assert last["by"].endswith(":user/contract_manager")
    assert (repeated.status_code, repeated.json()["code"]) == (409, "contract-not-under-review")
