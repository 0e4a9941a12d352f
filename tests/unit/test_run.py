"""Runs: ids, parts that go on in other messages, and when a run is over."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timbres.domain.clock import MEXICO_CITY
from timbres.domain.run import (
    FINISHED,
    LASTS,
    RUNNING,
    AccountRun,
    Part,
    Run,
    is_run_id,
    run_id,
)

DUE = datetime(2026, 11, 21, 5, 0, tzinfo=MEXICO_CITY)
PART = Part(run_id(DUE), "acme-sf", "0007", ("A&D061009TY8", "BBB010101AAA"))


def account(**changes: object) -> AccountRun:
    return replace(AccountRun("acme-sf", 10, 0, {}, spread=True), **changes)  # type: ignore[arg-type]


def run(*accounts: AccountRun, spread: bool = True) -> Run:
    return Run(run_id(DUE), RUNNING, DUE, spread=spread, accounts=accounts)


def test_an_id_tells_when_the_run_was_due() -> None:
    assert run_id(DUE) == "2026-11-21-050000"
    assert run().day == date(2026, 11, 21)


@given(st.datetimes(datetime(2020, 1, 1), datetime(9999, 12, 31)))
def test_every_id_has_the_form_of_one_and_tells_its_day(due: datetime) -> None:
    made = run_id(due)
    assert is_run_id(made)
    assert Run(made, RUNNING, due).day == due.date()


@given(
    st.lists(st.datetimes(datetime(2020, 1, 1), datetime(9999, 12, 31)), max_size=5),
)
def test_ids_sort_by_time(dues: list[datetime]) -> None:
    assert sorted(map(run_id, dues)) == [run_id(due) for due in sorted(dues)]


@pytest.mark.parametrize(
    "text",
    ["", "2026-11-21", "2026-11-21-05000", "2026-11-21-0500000", "2026-11-21T050000",
     "2026-11-21-050000\n", " 2026-11-21-050000", "2026-11-21-05:00:00", "run", "part#acme-sf#0001",
     "２０２６-11-21-050000"],
)  # fmt: skip
def test_ids_of_no_run(text: str) -> None:
    assert not is_run_id(text)


def test_what_is_left_of_a_part_goes_on_under_the_next_number() -> None:
    part, numbers = PART, []
    for _ in range(11):
        part = part.rest(("A&D061009TY8",), failed=False)
        numbers.append(part.number)
    assert numbers == [f"0007.{n}" for n in range(1, 12)]
    assert (part.run, part.account, part.rfcs) == (PART.run, "acme-sf", ("A&D061009TY8",))
    # The first is as it was.
    assert (PART.number, PART.tries, PART.pauses) == ("0007", 0, 0)


@pytest.mark.parametrize(
    ("failures", "tries", "pauses"),
    [
        ([], 0, 0),
        ([True], 1, 0),
        ([False], 0, 1),
        ([False, False], 0, 2),
        ([True, False], 1, 1),
        ([False, False, True], 1, 0),
        ([True, True, False, True], 3, 0),
    ],
)
def test_tries_add_up_and_pauses_begin_anew_after_one(
    failures: list[bool], tries: int, pauses: int
) -> None:
    part = PART
    for failed in failures:
        part = part.rest(part.rfcs, failed=failed)
    assert (part.tries, part.pauses) == (tries, pauses)


def test_a_part_that_asks_for_a_balance_goes_on_as_one() -> None:
    part = replace(PART, rfcs=None).rest(None, failed=True)
    assert (part.number, part.rfcs) == ("0007.1", None)


@given(st.integers(1, 9999), st.lists(st.booleans(), max_size=20), st.integers(1, 9999))
def test_numbers_are_unique_in_an_account(first: int, failures: list[bool], other: int) -> None:
    numbers = {f"{other:04d}"} - {f"{first:04d}"}
    count = len(numbers)
    part = replace(PART, number=f"{first:04d}")
    for failed in [*failures, False]:
        numbers.add(part.number)
        part = part.rest(None, failed=failed)
    assert len(numbers) == count + len(failures) + 1


@pytest.mark.parametrize(
    ("changes", "over"),
    [
        ({"done": 10}, True),
        ({"done": 9}, False),
        ({"done": 9, "failed": {"pac-timeout": 1}}, True),
        ({"failed": {"pac-timeout": 4, "pac-error": 6}}, True),
        ({"failed": {"pac-timeout": 4, "pac-error": 5}}, False),
        ({"done": 11}, True),
        ({"done": 10, "spread": False}, False),
        ({"expected": 0}, True),
        ({"expected": 0, "spread": False}, False),
        ({"expected": 0, "problem": "account-misconfigured"}, True),
    ],
)
def test_when_an_account_is_over(changes: dict[str, object], over: bool) -> None:
    assert account(**changes).over is over


def test_when_a_run_is_over() -> None:
    done, open_ = account(done=10), account(done=3)
    assert run().over
    assert run(done, done).over
    assert not run(done, open_).over
    assert not run(open_).over
    # Other accounts may still come.
    assert not run(done, spread=False).over
    assert not run(spread=False).over


def test_a_run_is_closed_at_the_latest_before_the_next() -> None:
    begun = replace(run(), status=FINISHED, started_at=DUE + timedelta(minutes=2))
    assert begun.until == DUE + timedelta(minutes=2) + LASTS
    assert begun.until < DUE + timedelta(days=1)
