"""Monthly consumption from daily counts, and the days with missing counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from operator import itemgetter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timbres.domain.balance import CONSUMPTION as KIND
from timbres.domain.balance import Movement, sum_movements
from timbres.domain.clock import MEXICO_CITY
from timbres.domain.forecast import Snapshot, consumed_between
from timbres.domain.month import Month
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
    """Return a day of November; 31 is the 1st of December."""
    return date(2026, 11, 1) + (day - 1) * DAY


def read(counts: dict[str, dict[int, int | None]], today: date = LATER) -> MonthlyConsumption:
    """Return the consumption of November from counts by issuer and day."""
    by_day = sorted((day, rfc, used) for rfc, days in counts.items() for day, used in days.items())
    snapshots = ((rfc, count(november(day), used)) for day, rfc, used in by_day)
    return consumption_from_snapshots(NOVEMBER, snapshots, today)


def missing(result: MonthlyConsumption) -> dict[int, int]:
    return {day.day: number for day, number in result.missing.items()}


Counts = dict[int, int | None]
EVERYTHING = dict.fromkeys(range(1, 31), 0)


def even(days: Iterable[int]) -> Counts:
    """Return counts of an issuer that uses 10 stamps a day."""
    return {day: 10 * day for day in days}


EVERY_DAY = even(range(1, 32))


def daily(*exceptions: int) -> dict[int, int]:
    return {day: 10 for day in range(1, 31) if day not in exceptions}


@pytest.mark.parametrize(
    ("counts", "by_day", "gaps", "known"),
    [
        pytest.param(EVERY_DAY, daily(), {}, True, id="a whole month"),
        pytest.param(dict.fromkeys(range(1, 32), 7), {}, {}, True, id="no consumption"),
        pytest.param({}, {}, EVERYTHING, False, id="no counts"),
        pytest.param({31: 10, 32: 20}, {}, EVERYTHING, False, id="counts after the month"),
        # Nothing is known after the 12th either.
        pytest.param({12: 10}, {}, dict.fromkeys(range(1, 31), 1), False, id="a single count"),
        pytest.param(
            even({*range(1, 32)} - {5, 6}), daily(4, 5, 6) | {4: 30}, {5: 1, 6: 1}, True,
            id="a gap belongs to its first day",
        ),
        pytest.param(
            even([*range(1, 29), 33]), daily(28, 29, 30) | {28: 50}, {29: 1, 30: 1}, True,
            id="a gap across the end of the month belongs to it",
        ),
        pytest.param(
            EVERY_DAY | {32: 900, 33: 950}, daily(), {}, True,
            id="consumption after the closing count belongs to the next month",
        ),
        pytest.param(
            EVERY_DAY | {day: day for day in range(10, 32)},
            {day: 10 if day < 9 else 1 for day in range(1, 31) if day != 9}, {9: 1}, True,
            id="a restarted count",
        ),
        pytest.param(
            EVERY_DAY | {15: None}, daily(14, 15), {14: 1, 15: 1}, True, id="a count is unknown"
        ),
        pytest.param(
            even(range(3, 28)), dict.fromkeys(range(3, 27), 10),
            dict.fromkeys((1, 2, 27, 28, 29, 30), 1), True, id="from the 3rd to the 27th",
        ),
    ],
)  # fmt: skip
def test_consumption_and_missing_days_of_an_issuer(
    counts: Counts, by_day: dict[int, int], gaps: dict[int, int], known: bool
) -> None:
    result = read({A: counts} if counts else {})

    expected = [Movement(A, november(day), KIND, amount) for day, amount in sorted(by_day.items())]
    assert (result.movements, missing(result), result.known) == (expected, gaps, known)
    is_in_month = any(day <= 30 for day in counts)
    assert result.issuers == is_in_month
    if not is_in_month:
        assert result.as_of is None


def test_several_issuers_by_day_and_rfc() -> None:
    result = read({B: EVERY_DAY, A: {day: 3 * day for day in range(1, 32)}})

    days = [(movement.date.day, movement.rfc) for movement in result.movements]
    assert days == [(day, rfc) for day in range(1, 31) for rfc in (A, B)]
    assert sum_movements(result.movements).by_issuer == {A: 90, B: 300}
    assert (result.issuers, result.missing) == (2, {})
    assert result.as_of == datetime(2026, 12, 1, 5, 3, tzinfo=MEXICO_CITY)
    # A movement of several days has the date of the first.
    gap = read({A: EVERY_DAY | {6: None}, B: even({*range(1, 32)} - {5, 6})})
    assert [(one.rfc, one.amount) for one in gap.movements if one.date.day == 4] == [
        (A, 10),
        (B, 30),
    ]
    assert missing(gap) == {5: 2, 6: 2}


@pytest.mark.parametrize(
    ("days", "today", "expected"),
    [
        # Today's count, which ends yesterday's interval, may still come.
        (range(1, 13), 12, {}),
        # Yesterday's count is missing, and with it the interval of the day before.
        (range(1, 11), 12, {10: 1, 11: 1}),
        (range(2, 13), 12, {1: 1}),
        # The day after the month's end: its closing count may still come.
        (range(1, 31), 31, {}),
        (range(1, 30), 31, {29: 1, 30: 1}),
        # A day later it is missing.
        (range(1, 31), 32, {30: 1}),
        (range(0), 1, {}),
    ],
)
def test_a_day_is_missing_once_it_is_over(
    days: range, today: int, expected: dict[int, int]
) -> None:
    result = read({A: even(days)} if days else {}, november(today))
    assert missing(result) == expected
    assert days or not result.known


FIRST = date(2026, 9, 1)
lives = st.dictionaries(
    st.integers(0, 120),
    st.tuples(st.integers(0, 50), st.integers(0, 100)),
    min_size=1,
    max_size=40,
)


@given(st.tuples(lives, lives))
def test_months_add_up_without_a_gap_across_their_ends(
    both: tuple[dict[int, tuple[int, int]], ...],
) -> None:
    """With a count on the 1st of each month, no consumption is lost."""
    counts = []
    for rfc, life in zip((A, B), both, strict=True):
        firsts = (n for n in range(min(life), max(life)) if (FIRST + n * DAY).day == 1)
        used = contracted = 0
        for n, (more, stamps) in sorted((dict.fromkeys(firsts, (5, 0)) | life).items()):
            used, contracted = used + more, contracted + stamps
            counts.append((FIRST + n * DAY, rfc, count(FIRST + n * DAY, used, contracted)))
    amounts: Counter[str] = Counter()
    for month in [*(Month(2026, number) for number in range(9, 13)), Month(2027, 1)]:
        # Read like the service: from its first day to some days after its last.
        first, last = month.first_day, month.last_day + CLOSING
        lines = ((rfc, one) for day, rfc, one in sorted(counts, key=itemgetter(0, 1))
                 if first <= day <= last)  # fmt: skip
        result = consumption_from_snapshots(month, lines, LATER)
        amounts.update(sum_movements(result.movements).by_issuer)

    for name in (A, B):
        own = [one for _, rfc, one in counts if rfc == name]
        assert amounts[name] == consumed_between(own[0], own[-1])
