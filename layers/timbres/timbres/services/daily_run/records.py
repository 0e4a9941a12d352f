"""Reads the records of daily runs."""

from __future__ import annotations

from timbres.domain.run import Failure, Run, is_run_id
from timbres.errors import ACCOUNT_NOT_FOUND, RUN_NOT_FOUND, TimbresError
from timbres.repositories.runs import RunRepository


def get_run(runs: RunRepository, run_id: str) -> Run:
    """Return a run. Raises ``run-not-found``."""
    run = runs.get(run_id) if is_run_id(run_id) else None
    if run is None:
        raise TimbresError(RUN_NOT_FOUND, "Run not found.", field="id")
    return run


def list_failures(
    runs: RunRepository, run_id: str, account: str | None, after: str | None
) -> tuple[list[Failure], str | None]:
    """Return a page of what a run did not count, and the cursor of the next page or None.

    ``account`` selects one account. Raises ``run-not-found``, and ``account-unknown`` if the run
    does not have it.
    """
    run = get_run(runs, run_id)
    if account is not None and account not in {one.account for one in run.accounts}:
        raise TimbresError(
            ACCOUNT_NOT_FOUND, "The run does not have this account.", field="account"
        )
    return runs.list_failures(run, account, after)
