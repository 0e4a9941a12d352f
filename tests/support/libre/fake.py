"""Libre as a server on loopback."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from local.fake_pacs.base import JSON, FakePac, Reply, RequestContext
from local.fake_pacs.faults import ANY_OPERATION, Fault, FaultKind, FaultRules
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Request, Response

# Each text under the name by which a test asks for it; Libre itself has no codes.
TEXTS = {
    "login": "¡Acceso denegado! Revise usuario y token.",
    "busy": "Servicio saturado, intente más tarde.",
    "other": "No se puede atender.",
}
_OPERATIONS = ("stamps", "contracts")


def _reply(outcome: str, **answer: Any) -> Reply:
    return Reply(200, [json.dumps(answer, ensure_ascii=False).encode()], JSON, outcome)


class LibreFake(FakePac):
    """``issuers`` are stamps left and used by RFC, None for those without a limit."""

    rules = FaultRules(
        kinds=dict.fromkeys(_OPERATIONS, ANY_OPERATION),
        codes=dict.fromkeys(_OPERATIONS, frozenset(TEXTS)),
        soap=False,
    )

    def __init__(self, issuers: dict[str, tuple[int | None, int]], user: str, token: str) -> None:
        super().__init__(
            lambda: datetime.now(UTC), [("POST", "/<any(stamps,contracts):op>", self._view)]
        )
        self._issuers, self._login = dict(issuers), (user, token)
        self.contracts: list[tuple[str, int]] = []

    def state_json(self) -> dict[str, Any]:
        return {"contracts": self.contracts}

    def not_routed(self, error: HTTPException) -> Reply:
        return Reply(error.code or 500, [], "text/html", "not-processed")

    def _view(self, request: Request, op: str) -> Response:
        asked = json.loads(request.get_data())
        rfc, stamps = asked["rfc"], asked.get("stamps")

        def process(_fault: Fault | None, _work: Fault | None) -> Reply:
            if (asked["user"], asked["token"]) != self._login:
                return _reply("login", ok=False, error=TEXTS["login"])
            left, used = self._issuers[rfc]
            if op == "stamps":
                return _reply("200", ok=True, left="unlimited" if left is None else left, used=used)
            self.contracts.append((rfc, stamps))
            self._issuers[rfc] = (None if left is None else left + stamps, used)
            return _reply("200", ok=True, total=(left or 0) + used + stamps)

        def replacement(fault: Fault) -> Reply:
            if fault.kind is FaultKind.CODE:
                return _reply(str(fault.code), ok=False, error=TEXTS[str(fault.code)])
            if fault.kind is FaultKind.WRONG_SHAPE:
                return _reply("not-processed", ok=True, left="many", used="some")
            return self.fault_reply(request, fault, JSON)

        return self.answer(
            request, RequestContext(op, rfc=rfc, timbres=stamps), process, replacement
        )
