"""Every five minutes: what became of the contracts whose own function did not see their end."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import Any

from timbres.api.gateway import Gateway, setting
from timbres.aws.accounts import Accounts
from timbres.aws.bus import Bus
from timbres.aws.journal import Journal
from timbres.aws.session import client
from timbres.work.access import Access
from timbres.work.contract import Reconciler

api = Gateway()


@cache
def reconciler() -> Reconciler:
    return Reconciler(
        Access(Accounts(client("secretsmanager"), setting("SECRET_PREFIX"))),
        Journal(client("dynamodb"), setting("JOURNAL_TABLE")),
        Bus(client("events"), setting("EVENT_BUS")),
        timedelta(minutes=float(setting("SETTLING_MINUTES"))),
    )


def scheduled(_wanted: dict[str, Any]) -> dict[str, Any]:
    return dict(reconciler().run(api.deadline))


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer a start by the schedule."""
    return api.run(event, context, scheduled)
