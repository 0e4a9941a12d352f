"""Steps and observations of daily runs in the integration tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from local.fake_pacs.fake_data import bulk_rfc

from tests.support.events import sqs_event
from tests.support.fake_stack import SF, FakeStack
from timbres.domain.run import BATCH_SIZE

# Of acme-sf: with 180 stamps, without any, and with 50 unused.
BUSY, EMPTY, UNUSED = "GOMP800101QX2", "AAA010101AAA", "ACM010203XY9"
# Issuers that the PAC does not know.
STRANGERS = ("XYZ010203AB1", "XYZ010203AB2")


def add_many_issuers(stack: FakeStack, count: int) -> list[str]:
    """Add issuers to the PAC and to the account; return their RFCs."""
    stack.pacs.state.solucion_factible.load_issuers(count)
    rfcs = [bulk_rfc(index) for index in range(count)]
    stack.accounts.add_issuers(rfcs)
    return rfcs


def add_second_account(stack: FakeStack, *rfcs: str) -> str:
    """Add another account at Solución Factible with these issuers; return its name."""
    stack.accounts.create("acme-two", stack.accounts.secret(SF))
    stack.accounts.add_issuers(rfcs, account="acme-two")
    return "acme-two"


def start(stack: FakeStack, batch_size: int = BATCH_SIZE, due: datetime | None = None) -> str:
    """Start a run with batches of so many issuers; return its id."""
    with stack.environment("run"):
        service = stack.function("run").daily_run_service()
        return str(replace(service, batch_size=batch_size).start(due or stack.clock()).id)


def get(stack: FakeStack, run: str) -> dict[str, Any]:
    body: dict[str, Any] = stack.get(f"/runs/{run}").body
    return body


def finish(stack: FakeStack, run: str) -> dict[str, Any]:
    """Deliver messages until none is left; return the run."""
    stack.run_worker_until_idle()
    return get(stack, run)


def sums(run: dict[str, Any]) -> tuple[str, int, int, dict[str, int]]:
    return run["status"], run["expected"], run["done"], run["failed"]


def batch_events(stack: FakeStack, size: int = 1) -> Iterator[dict[str, Any]]:
    """Take all batches from the queue; yield the workers' events of ``size`` messages."""
    messages = stack.receive("RunsQueue")
    for first in range(0, len(messages), size):
        yield sqs_event(stack.aws.arns["RunsQueue"], messages[first : first + size])


def queried_rfcs(stack: FakeStack) -> list[str]:
    """Return the RFCs that Solución Factible was asked for, in order."""
    return [call["rfc"] for call in stack.pacs.solucion_factible.calls.as_json() if call["rfc"]]


def snapshots(stack: FakeStack) -> dict[str, dict[str, Any]]:
    """Return the snapshots of issuers by RFC, without those of accounts."""
    items = stack.aws.items("SnapshotsTable")
    return {item["entry"][11:]: item for item in items if item["entry"][0] != "a"}


def history(stack: FakeStack, rfc: str, account: str = SF, **query: str) -> list[dict[str, Any]]:
    body = stack.get(f"/accounts/{account}/stamps/history", rfc=rfc, **query).body
    found: list[dict[str, Any]] = body["snapshots"]
    return found


def line(stack: FakeStack, rfc: str, account: str = SF) -> dict[str, Any]:
    """Return an issuer of the list of known issuers."""
    issuers = stack.get(f"/accounts/{account}/stamps").body["issuers"]
    return next(issuer for issuer in issuers if issuer["rfc"] == rfc)


def event_counts(stack: FakeStack) -> Counter[str]:
    """Return the number of published events by type."""
    return Counter(entry["DetailType"] for entry in stack.published)


def alerts(stack: FakeStack) -> list[str]:
    """Return the types of the published events, except the ends of runs."""
    types = [entry["DetailType"] for entry in stack.published]
    return [name for name in types if name != "Daily Run Completed"]
