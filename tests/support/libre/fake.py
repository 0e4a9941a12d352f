"""Libre as a server on loopback."""

from __future__ import annotations

from local.fake_pacs.base import FakePac, Reply, RequestContext, json_reply
from local.fake_pacs.faults import ANY_OPERATION, Fault, FaultRules
from werkzeug.wrappers import Request, Response

# The error texts, by the names that the tests use; Libre has no codes.
TEXTS = {
    "login": "¡Acceso denegado! Revise usuario y token.",
    "busy": "Servicio saturado, intente más tarde.",
    "other": "No se puede atender.",
}
# Stamps contracted and used; any other issuer draws from the account without a limit of its own.
ISSUERS = {"A&D061009TY8": (1000, 250), "ACM010203XY9": (9, 9)}


class LibreFake(FakePac):
    """A Libre with one user, whose stamps are ``ISSUERS``."""

    rules = FaultRules(
        kinds=dict.fromkeys(("stamps", "contracts"), ANY_OPERATION),
        codes=dict.fromkeys(("stamps", "contracts"), frozenset(TEXTS)),
    )

    def __init__(self, user: str, token: str) -> None:
        super().__init__([("POST", "/<any(stamps, contracts):operation>", self._operate)])
        self._issuers = dict(ISSUERS)
        self._login = {"user": user, "token": token}

    def rejection(self, _operation: str, fault: Fault) -> Reply:
        return _error_reply(str(fault.code))

    def _operate(self, request: Request, operation: str) -> Response:
        body = request.get_json(force=True)
        rfc, stamps = body["rfc"], body.get("stamps")

        def process(_fault: Fault | None, _work: Fault | None) -> Reply:
            if not self._login.items() <= body.items():
                return _error_reply("login")
            total, used = self._issuers.get(rfc, (0, 0))
            if operation == "contracts":
                total += stamps
                self._issuers[rfc] = (total, used)
                self._contracts.append((rfc, stamps))
            left = total - used if rfc in ISSUERS else "unlimited"
            return json_reply({"ok": True, "left": left, "used": used, "total": total})

        return self.respond(request, RequestContext(operation, rfc=rfc, timbres=stamps), process)


def _error_reply(name: str) -> Reply:
    return json_reply({"ok": False, "error": TEXTS[name]}, name)
