"""/runs: the daily count of every known issuer: started by a schedule, and looked at.

A second schedule closes runs that have taken too long, with ``{"close": "overdue"}``.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from aws_lambda_powertools.event_handler import Response

from timbres.handlers import schedule
from timbres.handlers.container import Container
from timbres.handlers.http import HttpHandler, json_response, logger
from timbres.schemas.runs import run_head_to_dict, run_to_dict, run_with_accounts_to_dict
from timbres.services.daily_run.finalization import RunFinalizer
from timbres.services.daily_run.start import DailyRunService

api = HttpHandler()
container = Container("SECRET_PREFIX", "ISSUERS_TABLE", "RUNS_TABLE", "RUNS_QUEUE_URL", "EVENT_BUS")


@cache
def daily_run_service() -> DailyRunService:
    finalizer = RunFinalizer(container.run_repository, container.event_publisher)
    return DailyRunService(
        container.account_repository,
        container.issuer_repository,
        container.run_repository,
        container.run_queue,
        finalizer,
    )


@api.get("/runs")
def list_runs() -> Response[str]:
    found, rest = daily_run_service().list_page(api.query_params("cursor")["cursor"])
    return json_response(200, {"runs": [run_head_to_dict(run) for run in found], "next": rest})


@api.get("/runs/<run_id>")
def get_run(run_id: str) -> Response[str]:
    api.query_params()
    return json_response(200, run_with_accounts_to_dict(daily_run_service().get(run_id)))


def handle_schedule(payload: dict[str, Any]) -> dict[str, Any]:
    if payload.get("close") == "overdue":
        return {"closed": [run_to_dict(run) for run in daily_run_service().close_overdue()]}
    run = daily_run_service().start(schedule.scheduled_at(payload))
    return run_to_dict(run)


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer a request of the gateway, or a start by a schedule."""
    return api.handle(event, context, handle_schedule)
