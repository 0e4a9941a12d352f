"""Solución Factible: the SOAP service Utilerias.

Sources: "Utilerias.getTimbres", "Utilerias.agregarContrato". The bundled
``utilerias.wsdl`` says what is known of the wire; an account may ask for the PAC's own.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from timbres.deadline import Deadline
from timbres.domain.account import Account
from timbres.domain.rfc import Rfc
from timbres.domain.stamps import Stamps
from timbres.errors import DEADLINE_EXCEEDED, PacError, TimbresError
from timbres.pacs.base import CONNECTIONS, PacClient, Reply
from timbres.pacs.errors import clean, protocol_error, said
from timbres.pacs.http import PacSession, retried
from timbres.pacs.soap import SoapService
from timbres.pacs.solucion_factible.error_codes import SOLUCION_FACTIBLE

NAME = "solucion-factible"
_PATH = "/ws/services/Utilerias"
_PORT = "/ws/services/Utilerias.UtileriasHttpsSoap11Endpoint/"
_BUNDLED = Path(__file__).with_name("utilerias.wsdl")
_NUMBERS = frozenset({"status", "contratados", "usados", "disponibles"})
_FIELDS = {
    "getTimbres": _NUMBERS | {"mensaje"},
    "agregarContrato": frozenset({"status", "mensaje"}),
}
# A purchase is waited for longer than a read: an answer spares the doubt.
_PURCHASE_READ_SECONDS = 15.0
# With less time left than this, a purchase is not begun.
_PURCHASE_LEAST_SECONDS = 6.0


class SolucionFactible(PacClient):
    """One account at Solución Factible. Its threads may share it."""

    def __init__(self, account: Account, attempts: int) -> None:
        self._credentials = {
            "usuario": account.credentials["username"],
            "password": account.credentials["password"],
        }
        self._soap = SoapService(
            PacSession(NAME, CONNECTIONS),
            f"{account.base}{_PATH}?wsdl" if account.live_wsdl else str(_BUNDLED),
            account.base + _PORT,
            fields=_FIELDS,
            numbers=_NUMBERS,
            failed=lambda words: said(NAME, SOLUCION_FACTIBLE, "500", words),
        )
        self._attempts = attempts

    def stamps(self, rfc: Rfc, deadline: Deadline) -> Stamps:
        """Return an issuer's stamps (getTimbres).

        A field that is missing, empty or nil is None. Raises ``pac-protocol-error`` when
        a 200 names none of the three.
        """

        def read() -> Stamps:
            arguments = {"rfcEmisor": rfc, **self._credentials}
            reply = _accepted(self._soap.call("getTimbres", deadline, arguments))
            stamps = Stamps(
                contracted=getattr(reply, "contratados", None),
                used=getattr(reply, "usados", None),
                available=getattr(reply, "disponibles", None),
            )
            if stamps == Stamps(None, None, None):
                raise protocol_error(NAME, "status 200 without contratados, usados or disponibles")
            return stamps

        return retried(read, deadline, self._attempts)

    def buy(self, rfc: Rfc, stamps: int, deadline: Deadline) -> Reply:
        """Buy stamps for an issuer (agregarContrato): one request, never repeated.

        Raises ``out-of-time``, with nothing sent, when the answer could not be waited for.
        """
        # The service first: with "wsdl": "live" it is itself a call, and may be repeated.
        try:
            retried(lambda: self._soap.ready(deadline), deadline, self._attempts)
        except PacError as error:
            # However that call ended, it was no contract.
            raise PacError(
                replace(error.problem_type, may_have_taken_effect=False),
                error.detail,
                pac=NAME,
                pac_code=error.pac_code,
                pac_message=error.pac_message,
            ) from None
        if deadline.left() < _PURCHASE_LEAST_SECONDS:
            raise TimbresError(
                DEADLINE_EXCEEDED,
                "Too little time was left to wait for a purchase; nothing was sent.",
            )
        # Over a connection of its own: one of the pool may have died while nothing was sent.
        with PacSession(NAME) as session:
            reply = self._soap.call(
                "agregarContrato",
                deadline,
                {"rfcEmisor": rfc, "timbres": stamps, **self._credentials},
                session=session,
                read_seconds=_PURCHASE_READ_SECONDS,
            )
        accepted = _accepted(reply)
        return Reply(code=str(accepted.status), message=clean(getattr(accepted, "mensaje", None)))


def _accepted(reply: Any) -> Any:
    """Return a reply with status 200. Raises the error that another status means."""
    status = getattr(reply, "status", None)
    if status is None:
        raise protocol_error(NAME, "status is missing")
    if status != 200:
        raise said(NAME, SOLUCION_FACTIBLE, str(status), getattr(reply, "mensaje", None))
    return reply
