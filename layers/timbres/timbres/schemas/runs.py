"""JSON of daily runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from timbres.domain import clock
from timbres.domain.forecast import round_rate
from timbres.domain.run import FINISHED, AccountRun, AlertChange, Failure, Run

# An event is limited to 256 KB, and a longer list is not readable.
MAX_LISTED = 200
# Issuers that could not be counted and are named.
MAX_NAMED = 60
_UNKNOWN_TO_PAC = ("issuer-not-registered", "pac-rejected-request")


def run_with_accounts_to_dict(run: Run) -> dict[str, Any]:
    """Return a run with the results of each account."""
    return run_to_dict(run) | {"accounts": [_account_to_dict(account) for account in run.accounts]}


def run_to_dict(run: Run) -> dict[str, Any]:
    """Return a run with the sums over its accounts, its rate and its expected end."""
    now = clock.now()
    end = run.expected_end(now)
    failed: Counter[str] = Counter()
    for account in run.accounts:
        failed.update(account.failed)
    return run_head_to_dict(run) | {
        "expected": sum(account.expected for account in run.accounts),
        "done": sum(account.done for account in run.accounts),
        "failed": dict(sorted(failed.items())),
        "per_minute": round_rate(run.per_minute(now)),
        "expected_end": end.isoformat(timespec="seconds") if end else None,
    }


def run_head_to_dict(run: Run) -> dict[str, Any]:
    """Return a run without its accounts."""
    finished_at = run.finished_at if run.status == FINISHED else None
    return {
        "id": run.id,
        "status": run.status,
        "day": run.day.isoformat(),
        "started_at": run.started_at.isoformat(),
        "finished_at": finished_at.isoformat() if finished_at else None,
        "low": run.low,
        "exhausted": run.exhausted,
    }


def alert_change_to_dict(change: AlertChange) -> dict[str, Any]:
    """Return an issuer, or an account, that has become low or exhausted, for events."""
    return {
        "account": change.account,
        **({} if change.rfc is None else {"rfc": change.rfc}),
        "alert": change.alert,
        "available": change.available,
        "days_left": round_rate(change.days_left),
        "burn": round_rate(change.burn),
    }


def run_to_event(
    run: Run, changes: list[AlertChange], issuer_failures: Sequence[Failure] = ()
) -> dict[str, Any]:
    """Return the event of a finished run with ``changes``, the most urgent first.

    Of the failures of issuers, it names up to sixty, those that their PAC does not know first.
    """
    named = sorted(
        (failure for failure in issuer_failures if failure.rfc is not None),
        key=lambda failure: failure.code not in _UNKNOWN_TO_PAC,
    )
    issuers = [change for change in changes if change.rfc is not None]
    accounts = [change for change in changes if change.rfc is None]
    failures = [one for one in run.accounts if one.failed or not one.is_counted]
    listed = sorted(failures, key=lambda account: account.is_counted)[:MAX_LISTED]
    return run_to_dict(run) | {
        "accounts": [account.account for account in run.accounts],
        "problems": {
            account.account: account.plan_problem for account in listed if account.plan_problem
        },
        "failures": [_failures_to_dict(account) for account in listed],
        "failed_issuers": [
            {"account": failure.account, "rfc": failure.rfc, "code": failure.code}
            for failure in named[:MAX_NAMED]
        ],
        "exhausted_total": sum(account.exhausted for account in run.accounts),
        "accounts_not_counted": sum(not account.is_counted for account in failures),
        "account_stamps": [alert_change_to_dict(change) for change in accounts[:MAX_LISTED]],
        "account_stamps_problems": {
            account.account: account.count.problem
            for account in listed
            if account.count and account.count.problem
        },
        "issuers": [alert_change_to_dict(change) for change in issuers[:MAX_LISTED]],
    }


def failure_to_dict(failure: Failure) -> dict[str, Any]:
    """Return why an issuer, or an account, was not counted."""
    return asdict(failure)


def _failures_to_dict(account: AccountRun) -> dict[str, Any]:
    return {
        "account": account.account,
        "expected": account.expected,
        "failed": dict(account.failed),
        "problem": account.plan_problem,
        "account_stamps_problem": account.count.problem if account.count else None,
        "counted": account.is_counted,
    }


def _account_to_dict(account: AccountRun) -> dict[str, Any]:
    return {
        "account": account.account,
        "expected": account.expected,
        "done": account.done,
        "failed": dict(account.failed),
        "problem": account.problem,
        "account_stamps": _account_stamps_to_dict(account),
    }


def _account_stamps_to_dict(account: AccountRun) -> dict[str, Any] | None:
    count, allotment = account.count, account.total_allotment
    if count is None:
        return None
    return {
        **count.stamps.counts,
        "as_of": count.as_of.isoformat() if count.as_of else None,
        "days_left": round_rate(count.days_left),
        "alert": None if count.problem else count.alert,
        "problem": count.problem,
        "issuers_available": allotment.unused,
        "issuers_unknown": allotment.unknown,
        "over_allotted": allotment.exceeds(count.stamps),
    }
