"""Daily: a month's consumption out of daily counts, and the days on which some are missing."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timbres.domain.balance import CONSUMPTION as KIND
from timbres.domain.balance import Movement, sum_movements
from timbres.domain.clock import MEXICO_CITY
from timbres.domain.forecast import Snapshot, consumed_between
from timbres.domain.month import Month, month_of
from timbres.domain.monthly_consumption import (
    CLOSING,
    MonthlyConsumption,
    consumption_from_snapshots,
)
from timbres.domain.stamps import Stamps

A, B = "A&D061009TY8", "BBB010101AAA"
NOVEMBER = Month(2026, 11)
LATER = date(2027, 3, 1)
DAY = timedelta(days=1)


def count(day: date, used: int | None, contracted: int = 1000) -> Snapshot:
    stamps = Stamps(None, None, None) if used is None else Stamps(contracted, used, None)
    return Snapshot(datetime(day.year, day.month, day.day, 5, 3, tzinfo=MEXICO_CITY), stamps)


def november(day: int) -> date:
    """A day of November; 31 is the 1st of December."""
    return date(2026, 11, 1) + (day - 1) * DAY


def read(counts: dict[str, dict[int, int | None]], today: date = LATER) -> MonthlyConsumption:
    """November made of counts, by issuer and day."""
    by_day = sorted((day, rfc, used) for rfc, days in counts.items() for day, used in days.items())
    found = ((rfc, count(november(day), used)) for day, rfc, used in by_day)
    return consumption_from_snapshots(NOVEMBER, found, today)


def missing(found: MonthlyConsumption) -> dict[int, int]:
    return {day.day: number for day, number in found.missing.items()}


EVERY_DAY: dict[int, int | None] = {day: 10 * day for day in range(1, 32)}


def test_a_whole_month() -> None:
    found = read({A: EVERY_DAY})
    assert found.movements == [Movement(A, november(day), KIND, 10) for day in range(1, 31)]
    assert (found.issuers, found.known, found.missing) == (1, True, {})
    assert found.as_of == datetime(2026, 11, 30, 5, 3, tzinfo=MEXICO_CITY)


def test_several_issuers_by_day_and_rfc() -> None:
    found = read({B: EVERY_DAY, A: {day: 3 * day for day in range(1, 32)}})
    assert [(one.date.day, one.rfc) for one in found.movements[:4]] == [
        (1, A),
        (1, B),
        (2, A),
        (2, B),
    ]
    assert sum_movements(found.movements).by_issuer == {A: 90, B: 300}
    assert (found.issuers, found.missing) == (2, {})


def test_days_without_consumption_have_no_line_and_are_known() -> None:
    found = read({A: dict.fromkeys(range(1, 32), 7)})
    assert (found.movements, found.known, found.missing) == ([], True, {})


def test_no_counts_at_all() -> None:
    found = read({})
    assert (found.movements, found.known, found.issuers, found.as_of) == ([], False, 0, None)
    assert missing(found) == dict.fromkeys(range(1, 31), 0)


def test_counts_after_the_month_alone_are_none_of_it() -> None:
    found = read({A: {31: 10, 32: 20}})
    assert (found.movements, found.known, found.issuers, found.as_of) == ([], False, 0, None)
    assert missing(found) == dict.fromkeys(range(1, 31), 0)


def test_a_single_count_makes_no_stretch() -> None:
    found = read({A: {12: 10}})
    assert (found.movements, found.known, found.issuers) == ([], False, 1)
    # From the 12th on nothing is known either.
    assert missing(found) == dict.fromkeys(range(1, 31), 1)


def test_a_gap_stands_on_the_day_on_which_it_begins() -> None:
    found = read({A: {day: used for day, used in EVERY_DAY.items() if day not in (5, 6)}})
    by_day = {one.date.day: one.amount for one in found.movements}
    assert by_day == {day: 10 for day in range(1, 31) if day not in (4, 5, 6)} | {4: 30}
    assert missing(found) == {5: 1, 6: 1}


def test_movements_stand_by_day_and_rfc_whenever_they_ended() -> None:
    found = read({A: {4: 0, 9: 10}, B: {4: 0, 5: 10, 9: 20}})
    assert [(one.date.day, one.rfc) for one in found.movements] == [(4, A), (4, B), (5, B)]


def test_a_gap_over_the_months_end_is_the_old_months() -> None:
    found = read({A: {day: 10 * day for day in (*range(1, 29), 33)}})
    assert sum_movements(found.movements).amount == 320
    assert found.movements[-1] == Movement(A, november(28), KIND, 50)
    assert missing(found) == {29: 1, 30: 1}


def test_what_lies_behind_the_closing_count_is_the_new_months() -> None:
    found = read({A: EVERY_DAY | {32: 900, 33: 950}})
    assert sum_movements(found.movements).amount == 300


def test_a_stretch_that_is_not_known_is_missing() -> None:
    begun_anew = EVERY_DAY | {day: day for day in range(10, 32)}
    found = read({A: begun_anew, B: EVERY_DAY})
    assert missing(found) == {9: 1}
    assert sum_movements(found.movements).by_issuer == {A: 80 + 21, B: 300}
    said_nothing = read({A: EVERY_DAY | {15: None}})
    assert missing(said_nothing) == {14: 1, 15: 1}
    assert sum_movements(said_nothing.movements).amount == 280


def test_an_issuer_that_came_late_or_left_early_is_missing_on_the_other_days() -> None:
    found = read({A: EVERY_DAY, B: {day: 10 * day for day in range(3, 28)}})
    assert missing(found) == {1: 1, 2: 1, 27: 1, 28: 1, 29: 1, 30: 1}


@pytest.mark.parametrize(
    ("counted", "today", "gone"),
    [
        # Today may still be counted, and with it what was stamped from yesterday's count on.
        (range(1, 12), 12, {}),
        (range(1, 13), 12, {}),
        # Yesterday was due: neither it nor what was stamped from the day before on is known.
        (range(1, 11), 12, {10: 1, 11: 1}),
        (range(2, 13), 12, {1: 1}),
        # The day after the month's end: its closing count may still come.
        (range(1, 31), 31, {}),
        (range(1, 30), 31, {29: 1, 30: 1}),
        # A day later it was due.
        (range(1, 31), 32, {30: 1}),
        (range(1, 2), 1, {}),
    ],
)
def test_a_day_is_missing_once_it_is_over(counted: range, today: int, gone: dict[int, int]) -> None:
    found = read({A: {day: 10 * day for day in counted}}, november(today))
    assert missing(found) == gone


def test_on_the_first_day_nothing_is_missing_and_nothing_known() -> None:
    found = read({}, november(1))
    assert (found.missing, found.known) == ({}, False)


# -------------------------------------------------------------------------- any calendar

FIRST = date(2026, 9, 1)
lives = st.dictionaries(
    st.sampled_from([A, B, "CCC010101AAA"]),
    st.dictionaries(
        st.integers(0, 120),
        st.tuples(st.integers(0, 50), st.integers(0, 100)),
        min_size=1,
        max_size=40,
    ),
    max_size=3,
)


def told(
    counts: dict[str, list[Snapshot]], month: Month, today: date = date(2027, 6, 1)
) -> MonthlyConsumption:
    """A month as it is read: from its first day to some days past its last, day by day."""
    first, last = month.first_day, month.last_day + CLOSING
    found = [(one.at, rfc, one) for rfc, all_of in counts.items() for one in all_of]
    found = [line for line in found if first <= line[0].date() <= last]
    return consumption_from_snapshots(
        month, ((rfc, one) for _, rfc, one in sorted(found, key=_time)), today
    )


def _time(line: tuple[datetime, str, Snapshot]) -> tuple[datetime, str]:
    return line[:2]


def snapshots_of(life: dict[int, tuple[int, int]]) -> list[Snapshot]:
    used = contracted = 0
    found = []
    for day in sorted(life):
        used += life[day][0]
        contracted += life[day][1]
        found.append(count(FIRST + day * DAY, used, contracted))
    return found


@given(lives)
def test_months_add_up_where_no_gap_swallows_a_months_end(
    all_lives: dict[str, dict[int, tuple[int, int]]],
) -> None:
    """With a count on the 1st of each month, none of what was stamped is lost."""
    counts = {}
    for rfc, life in all_lives.items():
        ends = [n for n in range(122) if (FIRST + n * DAY).day == 1]
        inside = range(min(life), max(life) + 1)
        counts[rfc] = snapshots_of({n: (5, 0) for n in ends if n in inside} | life)
    months = [Month(2026, 9), Month(2026, 10), Month(2026, 11), Month(2026, 12), Month(2027, 1)]
    amounts: dict[str, int] = defaultdict(int)
    for month in months:
        for rfc, amount in sum_movements(told(counts, month).movements).by_issuer.items():
            amounts[rfc] += amount
    for rfc, snapshots in counts.items():
        assert amounts[rfc] == consumed_between(snapshots[0], snapshots[-1])


@given(lives, st.integers(0, 130))
def test_a_month_tells_what_its_stretches_tell_and_names_the_rest(
    all_lives: dict[str, dict[int, tuple[int, int]]], today: int
) -> None:
    now, month = FIRST + today * DAY, Month(2026, 10)
    counts = {
        rfc: [one for one in snapshots_of(life) if one.at.date() <= now]
        for rfc, life in all_lives.items()
    }
    found = told(counts, month, now)
    read_to = month.last_day + CLOSING
    wanted, gaps = {}, defaultdict(int)
    inside = {
        rfc: [one for one in all_of if month.first_day <= one.at.date() <= read_to]
        for rfc, all_of in counts.items()
    }
    inside = {
        rfc: all_of
        for rfc, all_of in inside.items()
        if any(month_of(one.at) == month for one in all_of)
    }
    for rfc, all_of in inside.items():
        stretches = [pair for pair in pairwise(all_of) if month_of(pair[0].at) == month]
        for one, two in stretches:
            wanted[rfc, one.at.date()] = consumed_between(one, two)
        followed = {one.at.date() for one, _ in stretches}
        last = all_of[-1].at.date()
        day = month.first_day
        while day <= month.last_day and day < now:
            gaps[day] += not (day in followed or (day == last and last + DAY == now))
            day += DAY
    assert {(one.rfc, one.date): one.amount for one in found.movements} == {
        key: amount for key, amount in wanted.items() if amount
    }
    assert found.issuers == len(inside)
    assert found.known == bool(wanted)
    if inside:
        assert found.missing == {day: number for day, number in gaps.items() if number}
