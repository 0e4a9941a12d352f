"""/runs: the daily count of every known issuer: started by a schedule, and looked at.

A second schedule closes runs that have taken too long, with ``{"close": "overdue"}``.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from aws_lambda_powertools.event_handler import Response

from timbres.handlers import schedule
from timbres.handlers.container import Container
from timbres.handlers.http import Gateway, answer, log
from timbres.schemas.runs import run_head_to_dict, run_to_dict, run_with_accounts_to_dict
from timbres.services.daily_run.finalization import RunFinalizer
from timbres.services.daily_run.start import DailyRunService

api = Gateway()
container = Container("SECRET_PREFIX", "ISSUERS_TABLE", "RUNS_TABLE", "RUNS_QUEUE_URL", "EVENT_BUS")


@cache
def service() -> DailyRunService:
    finalizer = RunFinalizer(container.runs, container.bus)
    return DailyRunService(
        container.accounts, container.issuers, container.runs, container.run_queue, finalizer
    )


@api.get("/runs")
def page() -> Response[str]:
    found, rest = service().page(api.query("cursor")["cursor"])
    return answer(200, {"runs": [run_head_to_dict(run) for run in found], "next": rest})


@api.get("/runs/<run_id>")
def read(run_id: str) -> Response[str]:
    api.query()
    return answer(200, run_with_accounts_to_dict(service().get(run_id)))


def scheduled(wanted: dict[str, Any]) -> dict[str, Any]:
    if wanted.get("close") == "overdue":
        return {"closed": [run_to_dict(run) for run in service().close_overdue()]}
    run = service().start(schedule.moment(wanted))
    return run_to_dict(run)


@log.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer a request of the gateway, or a start by a schedule."""
    return api.run(event, context, scheduled)
