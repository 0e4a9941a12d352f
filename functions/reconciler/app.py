"""Every five minutes: what became of the contracts whose own function did not see their end."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import Any

from timbres.handlers.container import Container
from timbres.handlers.http import Gateway, log
from timbres.handlers.settings import setting
from timbres.services.contracts import Reconciler

api = Gateway()
container = Container(
    "SECRET_PREFIX", "JOURNAL_TABLE", "REJECTIONS_TABLE", "EVENT_BUS", "SETTLING_MINUTES"
)


@cache
def reconciler() -> Reconciler:
    return Reconciler(
        container.access,
        container.journal,
        container.bus,
        timedelta(minutes=float(setting("SETTLING_MINUTES"))),
    )


def scheduled(_wanted: dict[str, Any]) -> dict[str, Any]:
    return dict(reconciler().run(api.deadline))


@log.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer a start by the schedule."""
    return api.run(event, context, scheduled)
