"""/runs: start the daily run that counts every known issuer, and read runs.

A schedule starts it. Another one, with ``{"close": "overdue"}``, closes runs that take too long.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from aws_lambda_powertools.event_handler import Response

from timbres.aws.clients import client
from timbres.aws.queues import RunQueue
from timbres.handlers import schedule
from timbres.handlers.dependencies import create_account_repository, create_event_publisher
from timbres.handlers.http import HttpHandler, json_response
from timbres.handlers.invocation import logger
from timbres.handlers.settings import get_env
from timbres.repositories.issuers import IssuerRepository
from timbres.repositories.runs import MAX_PAGE, RunRepository
from timbres.schemas.runs import (
    failure_to_dict,
    run_head_to_dict,
    run_to_dict,
    run_with_accounts_to_dict,
)
from timbres.services.daily_run import records
from timbres.services.daily_run.start import DailyRunService

api = HttpHandler()
run_repository = RunRepository(client("dynamodb"), get_env("RUNS_TABLE"))


@cache
def daily_run_service() -> DailyRunService:
    # Only the schedules need it.
    return DailyRunService(
        create_account_repository(),
        IssuerRepository(client("dynamodb"), get_env("ISSUERS_TABLE")),
        run_repository,
        RunQueue(client("sqs"), get_env("RUNS_QUEUE_URL")),
        create_event_publisher(),
    )


@api.get("/runs")
def list_runs() -> Response[str]:
    query = api.query_params("limit", "cursor")
    limit = api.page_limit(query["limit"], MAX_PAGE)
    runs, next_cursor = run_repository.list_page(query["cursor"], limit)
    items = [run_head_to_dict(run) for run in runs]
    return json_response(200, {"runs": items, "next": next_cursor})


@api.get("/runs/<run_id>")
def get_run(run_id: str) -> Response[str]:
    api.query_params()
    return json_response(200, run_with_accounts_to_dict(records.get_run(run_repository, run_id)))


@api.get("/runs/<run_id>/failures")
def list_failures(run_id: str) -> Response[str]:
    query = api.query_params("account", "cursor")
    failures, next_cursor = records.list_failures(
        run_repository, run_id, query["account"], query["cursor"]
    )
    items = [failure_to_dict(failure) for failure in failures]
    return json_response(200, {"failures": items, "next": next_cursor})


def handle_schedule(payload: dict[str, Any]) -> dict[str, Any]:
    if payload.get("close") == "overdue":
        return {"closed": [run_to_dict(run) for run in daily_run_service().close_overdue()]}
    return run_to_dict(daily_run_service().start(schedule.scheduled_at(payload)))


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Handle a request of API Gateway, or a schedule."""
    return api.handle(event, context, handle_schedule)
