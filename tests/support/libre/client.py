"""Libre's client."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from tests.support.libre import PAC
from tests.support.libre.errors import ERRORS
from timbres.deadline import Deadline
from timbres.domain.account import Account
from timbres.domain.contract import Contract
from timbres.domain.rfc import Rfc
from timbres.domain.stamps import Stamps
from timbres.domain.trace import Trace, trace_by_count
from timbres.errors import PacError
from timbres.pacs.base import MAX_CONNECTIONS, ContractClient, Receipt, StampClient
from timbres.pacs.errors import ENDPOINT_NOT_FOUND, error_from_code, protocol_error
from timbres.pacs.http import PacSession, with_retries


class LibreClient(StampClient, ContractClient):
    """One account at Libre."""

    def __init__(self, account: Account, attempts: int) -> None:
        self._base, self._attempts = account.base, attempts
        self._login = dict(account.credentials)
        self._session = PacSession(PAC.name, MAX_CONNECTIONS)

    def stamps(self, rfc: Rfc, deadline: Deadline) -> Stamps:
        """Return what an issuer used and has left."""

        def read() -> Stamps:
            answer = self._ask(self._session, "stamps", {"rfc": rfc}, deadline)
            unlimited = answer.get("left") == "unlimited"
            left = None if unlimited else _count(answer, "left")
            return Stamps(None, _count(answer, "used"), left, unlimited)

        return with_retries(read, deadline, self._attempts)

    def create_contract(self, rfc: Rfc, stamps: int, deadline: Deadline) -> Receipt:
        """Allot stamps to an issuer."""
        with PacSession(PAC.name) as session:
            answer = self._ask(session, "contracts", {"rfc": rfc, "stamps": stamps}, deadline)
        return Receipt(code=None, message=None, total=_count(answer, "total"))

    def trace(self, sent: Contract, deadline: Deadline) -> Trace:
        """Tell by used and left together, which a contract alone changes."""
        now = self.stamps(sent.rfc, deadline)
        before = None if sent.before is None else _with_total(sent.before)
        return replace(trace_by_count(before, _with_total(now), sent.stamps), stamps=now)

    def _ask(
        self, session: PacSession, path: str, question: dict[str, Any], deadline: Deadline
    ) -> dict[str, Any]:
        body = json.dumps(question | self._login).encode()
        url = f"{self._base}/{path}"
        answer = session.fetch("POST", url, data=body, deadline=deadline, most_bytes=65536)
        with answer.file as file:
            content = file.read()
        if answer.status == 404:
            raise PacError(ENDPOINT_NOT_FOUND, f"{PAC.name} answered HTTP 404.", pac=PAC.name)
        if answer.status >= 500:
            raise error_from_code(PAC.name, ERRORS, str(answer.status), None)
        try:
            value = json.loads(content)
        except (ValueError, RecursionError):
            value = None
        if answer.status != 200 or not isinstance(value, dict) or "ok" not in value:
            raise protocol_error(PAC.name, f"HTTP {answer.status} with no JSON object")
        if value["ok"] is not True:
            raise error_from_code(PAC.name, ERRORS, None, str(value.get("error")))
        return value


def _with_total(stamps: Stamps) -> Stamps:
    if stamps.used is None or stamps.available is None:
        return stamps
    return replace(stamps, contracted=stamps.used + stamps.available)


def _count(answer: dict[str, Any], name: str) -> int:
    value = answer.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise protocol_error(PAC.name, f"{name} is missing or no whole number")
    return value
