"""Solución Factible: the SOAP service Utilerias.

Sources: "Utilerias.getTimbres", "Utilerias.agregarContrato". The bundled ``utilerias.wsdl``
describes the documented messages; an account may use the PAC's live WSDL instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from timbres.deadline import Deadline
from timbres.domain.account import Account
from timbres.domain.contract import Contract
from timbres.domain.rfc import Rfc
from timbres.domain.stamps import Stamps
from timbres.domain.trace import Trace, trace_by_count
from timbres.errors import DEADLINE_EXCEEDED, PacError, TimbresError
from timbres.pacs.base import (
    MAX_CONNECTIONS,
    AccountStampClient,
    CallLimits,
    ContractClient,
    Receipt,
    StampClient,
)
from timbres.pacs.errors import error_from_code, protocol_error, sanitize_message
from timbres.pacs.http import PacSession, with_retries
from timbres.pacs.reading import known_count
from timbres.pacs.soap import SoapService
from timbres.pacs.solucion_factible import ACCOUNT_STAMPS
from timbres.pacs.solucion_factible.error_codes import ERRORS

NAME = "solucion-factible"
_PORT = "/ws/services/Utilerias.UtileriasHttpsSoap11Endpoint/"
_COUNTS = ("contratados", "usados", "disponibles")
_NUMBERS = frozenset({"status", *_COUNTS})
_FIELDS = {
    "getTimbres": _NUMBERS | {"mensaje"},
    ACCOUNT_STAMPS: _NUMBERS | {"mensaje"},
    "agregarContrato": frozenset({"status", "mensaje"}),
}
# The status of a reply: the account's stamps have run out.
_ACCOUNT_EXHAUSTED = 630


class SolucionFactibleClient(StampClient, AccountStampClient, ContractClient):
    """A client for one account at Solución Factible. Threads may share it."""

    def __init__(self, account: Account, limits: CallLimits) -> None:
        self._credentials = {
            "usuario": account.credentials["username"],
            "password": account.credentials["password"],
        }
        self._soap = SoapService(
            PacSession(NAME, limits, MAX_CONNECTIONS),
            account.wsdl,
            account.base + _PORT,
            fields=_FIELDS,
            numbers=_NUMBERS,
            optional=frozenset({ACCOUNT_STAMPS}),
        )
        self._limits = limits

    def stamps(self, rfc: Rfc, deadline: Deadline) -> Stamps:
        """Return an issuer's stamps (getTimbres).

        A field that is missing, empty, nil or negative is None. Raises ``pac-protocol-error`` if
        a reply with status 200 has none of the three.
        """

        def read() -> Stamps:
            arguments = {"rfcEmisor": rfc, **self._credentials}
            reply = _require_success(self._soap.call("getTimbres", deadline, arguments))
            if all(reply[name] is None for name in _COUNTS):
                raise protocol_error(NAME, "status 200 without contratados, usados or disponibles")
            return _counts(reply)

        return with_retries(read, deadline, self._limits)

    def account_stamps(self, deadline: Deadline) -> Stamps:
        """Return the stamps of the account itself (getTimbresImplementacion).

        All counts are None after a SOAP fault, without the operation in the live WSDL, and for a
        reply with status 200 that has none of them. Status 630 states that none is available.
        """

        def read() -> Stamps:
            reply = self._soap.call_optional(ACCOUNT_STAMPS, deadline, self._credentials)
            if reply is None:
                return Stamps(None, None, None)
            if reply["status"] == _ACCOUNT_EXHAUSTED:
                return replace(_counts(reply), available=0)
            return _counts(_require_success(reply))

        return with_retries(read, deadline, self._limits)

    def create_contract(self, rfc: Rfc, stamps: int, deadline: Deadline) -> Receipt:
        """Allot stamps to an issuer (agregarContrato) with one request, never repeated.

        Raises ``out-of-time``, without a request, if too little time is left for the response.
        """
        # With "wsdl": "live" this makes a call, which may be repeated.
        try:
            with_retries(lambda: self._soap.prepare(deadline), deadline, self._limits)
        except PacError as error:
            # Loading the WSDL cannot create a contract.
            raise error.changed(
                problem_type=replace(error.problem_type, may_have_taken_effect=False)
            ) from None
        if deadline.remaining() < self._limits.min_contract_seconds:
            raise TimbresError(
                DEADLINE_EXCEEDED,
                "Too little time was left to wait for a contract; nothing was sent.",
            )
        # A new connection: the server may have closed an idle one of the pool.
        with PacSession(NAME, self._limits.for_contract()) as session:
            reply = self._soap.call(
                "agregarContrato",
                deadline,
                {"rfcEmisor": rfc, "timbres": stamps, **self._credentials},
                session=session,
            )
        accepted = _require_success(reply)
        return Receipt(code=str(accepted["status"]), message=sanitize_message(accepted["mensaje"]))

    def trace(self, sent: Contract, deadline: Deadline) -> Trace:
        """Return a contract's trace in getTimbres; the PAC does not list contracts."""
        return trace_by_count(sent.before, self.stamps(sent.rfc, deadline), sent.stamps)


def _counts(reply: Mapping[str, Any]) -> Stamps:
    contracted, used, available = (known_count(reply[name]) for name in _COUNTS)
    return Stamps(contracted, used, available)


def _require_success(reply: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return ``reply`` if its status is 200. Raises the error of another status."""
    status = reply["status"]
    if status is None:
        raise protocol_error(NAME, "status is missing")
    if status != 200:
        raise error_from_code(NAME, ERRORS, str(status), reply["mensaje"])
    return reply
