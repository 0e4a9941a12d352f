"""The client: one method per route of docs/api.md."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import requests

from timbres_client.connection import Connection
from timbres_client.errors import (
    ContractUndecidedError,
    TimbresError,
    TransientError,
    error_of,
)
from timbres_client.types import (
    Account,
    AccountStamps,
    Balance,
    Balances,
    Contract,
    Issuer,
    Report,
    Run,
    Snapshot,
    StampCount,
)

# Seconds to connect and to read: the API times out after 29.
TIMEOUT = (5, 35)
_PAUSES = (1, 2, 4, 8)
# Seconds between two requests for an open contract: the reconciler settles it within minutes.
_CONTRACT_PAUSE = 20
_REPORT_PAUSE = 1
_CHUNK = 64 * 1024
_IS_JSON = {"Content-Type": "application/json"}

Query = Mapping[str, str | int | Sequence[str] | None]
Segments = Sequence[str]
OnWait = Callable[[str, float], None]


class Client:
    """The API of Timbres.

    ``connection`` has its address and keys, by default those of ``Connection.find``. ``sleep`` and
    ``clock`` (in seconds) can be replaced, for tests. Every method raises a ``TimbresError``.
    """

    def __init__(
        self,
        connection: Connection | None = None,
        *,
        stack: str | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.connection = connection or Connection.find(stack)
        self._signature = self.connection.signature()
        self._http = requests.Session()
        self._sleep = sleep
        self._clock = clock

    def accounts(self) -> list[Account]:
        """Return all accounts."""
        return self._get("accounts")["accounts"]

    def balance(self, account: str, month: str, rfc: str | None = None) -> Balance:
        """Return the balance of a month (``YYYY-MM``), of all issuers or of one."""
        return self._get("accounts", account, "balance", month=month, rfc=rfc)

    def balances(self, account: str, first: str, last: str) -> Balances:
        """Return the totals of up to 13 months, from ``first`` to ``last`` (``YYYY-MM``)."""
        return self._get("accounts", account, "balance", **{"from": first, "to": last})

    def stamps(self, account: str, rfc: str) -> StampCount:
        """Return an issuer's stamps, read from the PAC now."""
        return self._get("accounts", account, "stamps", rfc=rfc)

    def issuers(self, account: str, alert: str | None = None) -> Iterator[Issuer]:
        """Yield the known issuers with their last count, the most urgent first.

        ``alert`` is ``low`` or ``exhausted``. For ``all`` accounts: only issuers with such an
        alert.
        """
        issuer: Any
        for issuer in self._pages("issuers", "accounts", account, "stamps", alert=alert):
            yield {"account": account} | issuer

    def account_stamps(self, account: str) -> AccountStamps:
        """Return the stamps of the account itself, read from the PAC now."""
        return self._get("accounts", account, "stamps", "account")

    def history(
        self, account: str, rfc: str, first: str | None = None, last: str | None = None
    ) -> list[Snapshot]:
        """Return an issuer's daily counts, by default of the last 30 days (``YYYY-MM-DD``)."""
        days = {"from": first, "to": last}
        return self._get("accounts", account, "stamps", "history", rfc=rfc, **days)["snapshots"]

    def import_issuers(
        self,
        account: str,
        issuers: Sequence[str | Mapping[str, Any]] | bytes,
        *,
        replace: bool = False,
        skip_invalid: bool = False,
    ) -> dict[str, Any]:
        """Import issuers: a list of RFCs or objects, or a CSV file as bytes.

        ``replace`` removes the issuers that are not in the list.
        """
        query = {
            "mode": "replace" if replace else None,
            "on_invalid": "skip" if skip_invalid else None,
        }
        return self._json("PUT", ("accounts", account, "issuers"), query, issuers)

    def list_issuers(self, account: str) -> Iterator[dict[str, Any]]:
        """Yield the list of issuers with their thresholds, by RFC."""
        return self._pages("issuers", "accounts", account, "issuers")

    def remove_issuers(self, account: str, rfcs: Sequence[str]) -> dict[str, Any]:
        """Remove issuers, at most 100; return ``rfcs``, the removed, and ``unknown``."""
        body = self._json("DELETE", ("accounts", account, "issuers"), {"rfc": rfcs})
        return {"rfcs": [body["rfc"]], "unknown": []} | body if "rfc" in body else body

    def contract(
        self,
        account: str,
        rfc: str,
        stamps: int,
        key: str,
        *,
        reference: str | None = None,
        new_issuer: bool = False,
        timeout: float = 600,
        on_wait: OnWait | None = None,
    ) -> Contract:
        """Create a contract, exactly once per ``key``; return it when it is confirmed.

        Repeats the request with its key until the contract is decided, for at most ``timeout``
        seconds. ``on_wait`` gets the reason and the seconds before each repetition. Raises
        ``ContractRejectedError`` (no stamps were contracted) or ``ContractUndecidedError`` (call
        again with the same key).
        """
        body: dict[str, Any] = {"rfc": rfc, "stamps": stamps}
        body |= {"reference": reference} if reference is not None else {}
        body |= {"new_issuer": True} if new_issuer else {}
        path, headers = ("accounts", account, "contracts"), _IS_JSON | {"Idempotency-Key": key}
        deadline, pauses = self._clock() + timeout, iter(_PAUSES)
        while True:
            pause = float(next(pauses, _CONTRACT_PAUSE))
            try:
                response = self._send("POST", path, body=_to_json(body), headers=headers)
            except TransientError as error:
                undecided: TimbresError = ContractUndecidedError("contract-open", error.detail)
            else:
                document: Any = _document(response)
                if response.status_code == 201:
                    return document
                pause = _retry_after(response) or pause
                undecided = self._undecided(response.status_code, document)
                pause = max(pause, _CONTRACT_PAUSE) if response.status_code == 202 else pause
            if undecided.code == "needs-review" or self._clock() + pause > deadline:
                raise undecided
            if on_wait:
                on_wait(undecided.detail, pause)
            self._sleep(pause)

    @staticmethod
    def _undecided(status: int, document: dict[str, Any]) -> TimbresError:
        """Return the error, with its reason, of a contract that is not decided in time.

        Raises the error of a contract that is rejected or was not created.
        """
        if status == 202:
            code, text = "contract-open", "was sent, and its outcome is not known yet."
            if document["status"] == "needs-review":
                code, text = "needs-review", "needs a review: somebody has to decide it."
            text = f"Contract {document['id']} {text}"
            return ContractUndecidedError(code, text, status, {"contract": document})
        error = error_of(status, document)
        if error.code == "contract-in-flight":
            return error
        is_transient = (status == 429 or status >= 500) and error.contract is None
        if error.code == "contract-pending" or is_transient:
            return ContractUndecidedError(error.code, error.detail, status, document)
        raise error

    def contracts(
        self,
        account: str = "all",
        *,
        rfc: str | None = None,
        status: str | None = None,
        first: str | None = None,
        last: str | None = None,
        reference: str | None = None,
        key: str | None = None,
    ) -> Iterator[Contract]:
        """Yield the contracts of an account or of ``all``, newest first within an account."""
        query = {"rfc": rfc, "status": status, "from": first, "to": last, "reference": reference}
        path = ("accounts", account, "contracts")
        return self._pages("contracts", *path, **query, idempotency_key=key)

    def get_contract(self, account: str, contract_id: str) -> Contract:
        """Return a contract with its ``history``."""
        return self._get("accounts", account, "contracts", contract_id)

    def settle(self, account: str, contract_id: str, outcome: str, reason: str) -> Contract:
        """Settle a contract that needs a review: ``confirmed`` or ``rejected``, and why."""
        path = ("accounts", account, "contracts", contract_id, "settlement")
        return self._json("POST", path, body={"outcome": outcome, "reason": reason})

    def report(
        self, account: str, month: str, kind: str, file_format: str, *, timeout: float = 900
    ) -> Report:
        """Request a report, wait until it is settled, and return it with its link.

        Raises ``TransientError`` after ``timeout`` seconds, ``report-failed`` if it failed.
        """
        body = {"month": month, "kind": kind, "format": file_format}
        report = self._json("POST", ("accounts", account, "reports"), body=body)
        deadline = self._clock() + timeout
        while (current := self.get_report(account, report["id"]))["status"] == "pending":
            if self._clock() > deadline:
                raise TransientError("report-pending", f"Report {report['id']} is not ready yet.")
            self._sleep(_REPORT_PAUSE)
        if current["status"] == "failed":
            detail = str((current["error"] or {}).get("detail", "The report failed."))
            raise error_of(409, {"code": "report-failed", "detail": detail, "report": current})
        return current

    def reports(self, account: str, month: str | None = None) -> Iterator[Report]:
        """Yield the reports of an account or of ``all``, newest month first."""
        return self._pages("reports", "accounts", account, "reports", month=month)

    def get_report(self, account: str, report_id: str) -> Report:
        """Return a report, with a link of 15 minutes if it is ready."""
        return self._get("accounts", account, "reports", report_id, redirect="false")

    def download(
        self, report: Report, path: Path, on_bytes: Callable[[int], None] | None = None
    ) -> Path:
        """Save a ready report's file, and compare its checksum; return ``path``.

        After a lost connection, it starts again with a new link. ``on_bytes`` gets the number of
        bytes so far.
        """
        temporary = path.with_name(path.name + ".part")
        for pause in (*_PAUSES, None):
            try:
                digest = self._download(report, temporary, on_bytes)
                if report["sha256"] in (None, digest):
                    return temporary.replace(path)
                reason = "the file is incomplete"
            except requests.RequestException as error:
                reason = type(error).__name__
            temporary.unlink(missing_ok=True)
            if pause is not None:
                self._sleep(pause)
                report = self.get_report(report["account"], report["id"])
        raise TransientError("download-failed", f"The download of {path.name} failed: {reason}.")

    def _download(self, report: Report, path: Path, on_bytes: Callable[[int], None] | None) -> str:
        digest, size = hashlib.sha256(), 0
        # Without a signature: S3 rejects a request with two.
        with requests.get(report["url"] or "", timeout=TIMEOUT, stream=True) as response:
            response.raise_for_status()
            with path.open("wb") as file:
                for chunk in response.iter_content(_CHUNK):
                    file.write(chunk)
                    digest.update(chunk)
                    size += len(chunk)
                    if on_bytes:
                        on_bytes(size)
        return digest.hexdigest()

    def revoke_report(self, account: str, report_id: str) -> dict[str, Any]:
        """Revoke all mailed links to a report; return their number as ``revoked``."""
        return self._json("DELETE", ("accounts", account, "reports", report_id, "tokens"))

    def revoke(self, *, link: str | None = None, month: str | None = None) -> dict[str, Any]:
        """Revoke all links of the mail that has ``link``, or of a month; return ``revoked``."""
        body = {"month": month} if link is None else {"link": link}
        return self._json("POST", ("reports", "revocation"), body=body)

    def mail(self, month: str) -> dict[str, Any]:
        """Send the month's mail again, with new links."""
        return self._json("POST", ("reports", "mail"), body={"month": month})

    def runs(self) -> Iterator[Run]:
        """Yield the daily runs, newest first."""
        return self._pages("runs", "runs")

    def run(self, run_id: str) -> Run:
        """Return a run with its progress, in total and per account."""
        return self._get("runs", run_id)

    def run_failures(self, run_id: str) -> Iterator[dict[str, Any]]:
        """Yield the issuers that a run did not count, with the reasons."""
        return self._pages("failures", "runs", run_id, "failures")

    def _pages(self, name: str, *path: str, **query: str | None) -> Iterator[Any]:
        """Yield the items of a list, named ``name`` in the responses."""
        cursor = None
        while True:
            page = self._get(*path, **query, cursor=cursor)
            yield from page[name]
            if (cursor := page["next"]) is None:
                return

    def _get(self, *path: str, **query: str | None) -> Any:
        return self._json("GET", path, query)

    def _json(
        self, method: str, path: Segments, query: Query | None = None, body: Any = None
    ) -> Any:
        """Send a request, repeat it after transient errors, and return the JSON of the response.

        A ``body`` of bytes is CSV.
        """
        headers = {"Content-Type": "text/csv"} if isinstance(body, bytes) else _IS_JSON
        content = body if body is None or isinstance(body, bytes) else _to_json(body)
        for pause in (*_PAUSES, None):
            wait = float(pause or 0)
            try:
                response = self._send(
                    method, path, query, content, headers if content is not None else {}
                )
            except TransientError:
                if pause is None:
                    raise
            else:
                document = _document(response)
                if response.status_code < 400:
                    return document
                error = error_of(response.status_code, document)
                if pause is None or not isinstance(error, TransientError):
                    raise error
                wait = _retry_after(response) or wait
            self._sleep(wait)
        raise AssertionError("unreachable")

    def _send(
        self,
        method: str,
        path: Segments,
        query: Query | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Send one signed request. Raises ``TransientError`` without a response."""
        url = "/".join([self.connection.url, *map(quote, path)])
        given = sorted((k, v) for k, v in (query or {}).items() if v is not None)
        if given:
            # quote: urlencode alone encodes a blank as +, and the signature fails.
            url += "?" + urlencode(given, doseq=True, quote_via=quote, safe="~")
        self.before_request(method, url, body, headers or {})
        options: Any = {"auth": self._signature, "timeout": TIMEOUT, "allow_redirects": False}
        try:
            return self._http.request(method, url, data=body, headers=headers, **options)
        except requests.RequestException as error:
            name = type(error).__name__
            raise TransientError("no-response", f"The API did not respond ({name}).") from error

    def before_request(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]
    ) -> None:
        """Do nothing; a subclass may show or prevent the request."""


def _to_json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _document(response: requests.Response) -> dict[str, Any]:
    """Return the JSON object of a response; an error document if it has none."""
    try:
        value = response.json()
    except ValueError:
        value = None
    if isinstance(value, dict):
        return value
    detail = f"The response is not JSON (HTTP {response.status_code}): is this the right API?"
    return {"code": "unexpected-response", "detail": detail}


def _retry_after(response: requests.Response) -> float:
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isdigit() else 0.0
