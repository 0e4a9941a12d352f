"""Libre's client."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from timbres.deadline import Deadline
from timbres.domain.account import Account
from timbres.domain.contract import Contract
from timbres.domain.rfc import Rfc
from timbres.domain.stamps import Stamps
from timbres.domain.trace import Trace, trace_by_count
from timbres.pacs.base import MAX_CONNECTIONS, CallLimits, ContractClient, Receipt, StampClient
from timbres.pacs.errors import error_from_code
from timbres.pacs.http import PacSession, read_object, with_retries
from timbres.pacs.reading import FieldReader

from . import ERRORS, PAC

_READER = FieldReader(PAC.name)


class LibreClient(StampClient, ContractClient):
    """One account at Libre."""

    def __init__(self, account: Account, limits: CallLimits) -> None:
        self._base, self._limits = account.base, limits
        self._login = dict(account.credentials)
        self._session = PacSession(PAC.name, limits, MAX_CONNECTIONS)

    def stamps(self, rfc: Rfc, deadline: Deadline) -> Stamps:
        """Return the used and available stamps of an issuer."""

        def read() -> Stamps:
            response = self._post(self._session, "stamps", {"rfc": rfc}, deadline)
            unlimited = response.get("left") == "unlimited"
            left = None if unlimited else _READER.number(response, "left")
            return Stamps(None, _READER.number(response, "used"), left, unlimited)

        return with_retries(read, deadline, self._limits)

    def create_contract(self, rfc: Rfc, stamps: int, deadline: Deadline) -> Receipt:
        """Allot stamps to an issuer."""
        with PacSession(PAC.name, self._limits.for_contract()) as session:
            response = self._post(session, "contracts", {"rfc": rfc, "stamps": stamps}, deadline)
        return Receipt(code=None, message=None, total=_READER.number(response, "total"))

    def trace(self, sent: Contract, deadline: Deadline) -> Trace:
        """Compare the sum of used and available stamps, which only a contract changes."""
        now = self.stamps(sent.rfc, deadline)
        before = None if sent.before is None else _with_total(sent.before)
        return replace(trace_by_count(before, _with_total(now), sent.stamps), stamps=now)

    def _post(
        self, session: PacSession, path: str, fields: dict[str, Any], deadline: Deadline
    ) -> dict[str, Any]:
        """Send fields with the login; return the response. Raises PacError if it has no `ok`."""
        body, url = fields | self._login, f"{self._base}/{path}"
        response = read_object(PAC.name, session.post_json(url, body, deadline, max_bytes=65536))
        if response.get("ok") is not True:
            raise error_from_code(PAC.name, ERRORS, None, _READER.text(response, "error"))
        return response


def _with_total(stamps: Stamps) -> Stamps:
    if stamps.used is None or stamps.available is None:
        return stamps
    return replace(stamps, contracted=stamps.used + stamps.available)
