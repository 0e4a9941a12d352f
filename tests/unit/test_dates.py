"""Times of PACs, date ranges, the expiry of contracts, and deadlines."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.timbres_errors import expect_error

from timbres.deadline import Deadline
from timbres.domain.clock import MEXICO_CITY, from_local, now
from timbres.domain.date_range import parse_date_range
from timbres.domain.expiry import Expiry, expiry_day, next_expiry, oldest_creation

TODAY = date(2026, 11, 21)
CENTURY = (datetime(1970, 1, 1), datetime(2100, 1, 1))

# Times of PACs


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2019-11-19T13:53:41", "2019-11-19T13:53:41-06:00"),
        ("2019-11-19", "2019-11-19T00:00:00-06:00"),
        ("2019-11-19 19:53:41 +00:00", "2019-11-19T13:53:41-06:00"),
        ("/Date(1795118021000)/", "2026-11-19T13:53:41-06:00"),
        ("/Date(1795118021000-0500)/", "2026-11-19T13:53:41-06:00"),
        # Summer time: the first Sunday of April to the last of October, until 2022.
        ("2019-04-07T03:00:00", "2019-04-07T03:00:00-05:00"),
        ("2019-10-27T02:00:00", "2019-10-27T02:00:00-06:00"),
        ("2026-11-19T13:53:41.250", "2026-11-19T13:53:41.250000-06:00"),
        ("2026-11-19T19:53:41Z", "2026-11-19T13:53:41-06:00"),
        ("2026-11-01T01:00:00+02:00", "2026-10-31T17:00:00-06:00"),
    ],
)
def test_a_time_gets_mexico_citys_offset(text: str, iso: str) -> None:
    assert from_local(text).isoformat() == iso


@pytest.mark.parametrize(
    "text",
    [
        *("", "ayer", "2019-11-19T13", "20191119T135341", "2019-W47-2", "11/19/2019 01:53:41 PM"),
        *("2019-11-19T13:53:41 ", "2019-11-19T13:53:41\n", "2019-11-19T25:00:00", "2019-11-31"),
        *("0000-01-01T00:00:00", "２０１９-11-19T13:53:41", "2019-11-19T13:53:41+25:00"),
        *("2019-11-19T13:53:41-06:00[America/Mexico_City]", "9999-12-31T23:59:59-12:00"),
        *("/Date(1795118021000", "/Date(99999999999999999999)/", "0001-01-01T00:00:00+05:00"),
    ],
)
def test_any_other_text_is_no_time(text: str) -> None:
    with pytest.raises(ValueError):
        from_local(text)


@given(st.datetimes(*CENTURY, timezones=st.timezones()))
def test_a_time_with_an_offset_keeps_its_instant(moment: datetime) -> None:
    text = moment.astimezone(MEXICO_CITY).isoformat(timespec="microseconds")

    # In a repeated hour, Python never considers times of two zones equal.
    assert from_local(text).timestamp() == datetime.fromisoformat(text).timestamp()


def test_now_is_the_current_time_in_mexico_city() -> None:
    current = now()

    assert (current.tzinfo, current.microsecond) == (MEXICO_CITY, 0)
    assert abs(datetime.now(MEXICO_CITY) - current) < timedelta(seconds=5)


# Date ranges


@pytest.mark.parametrize(
    ("first", "last", "begin", "end"),
    [
        # 30 days up to today, or up to the given day.
        (None, None, "2026-10-23", "2026-11-21"),
        (None, "2026-03-01", "2026-01-31", "2026-03-01"),
        ("2024-02-29", "2024-03-01", "2024-02-29", "2024-03-01"),
        # The first day of all, and 400 days.
        ("2011-01-01", "2012-02-04", "2011-01-01", "2012-02-04"),
        # A future range is valid; it has no snapshots. A range may have one day.
        ("9999-12-31", "9999-12-31", "9999-12-31", "9999-12-31"),
    ],
)
def test_valid_ranges(first: str | None, last: str | None, begin: str, end: str) -> None:
    days = parse_date_range(first, last, TODAY)

    assert days == (date.fromisoformat(begin), date.fromisoformat(end))


@pytest.mark.parametrize(
    ("first", "last", "field", "expected"),
    [
        *(
            (*pair, field, "YYYY-MM-DD")
            for text in (
                *("", "hoy", "2026-11", "2026-11-1", "2026-11-31", "20261101", "2010-12-31"),
                *("2026-11-01T00:00", "2026-11-01\n", "01/11/2026", "２０２６-11-01", "0000-01-01"),
            )
            for field, pair in (("from", (text, None)), ("to", (None, text)))
        ),
        ("2026-11-02", "2026-11-01", "from", "is after"),
        ("2026-11-22", None, "from", "is after"),
        ("2011-01-01", "2012-02-05", "from", "400 days"),
    ],
)
def test_invalid_ranges(first: str | None, last: str | None, field: str, expected: str) -> None:
    error = expect_error("parameter-invalid", field, parse_date_range, first, last, TODAY)

    assert expected in error.detail


# Expiry of contracts


@pytest.mark.parametrize(
    ("created_at", "expected"),
    [
        (datetime(2025, 12, 12, 23, 59, tzinfo=MEXICO_CITY), date(2026, 12, 12)),
        # Already the next day in UTC.
        (datetime(2025, 12, 13, 5, 59, tzinfo=UTC), date(2026, 12, 12)),
        (datetime(2025, 12, 13, 6, 0, tzinfo=UTC), date(2026, 12, 13)),
        (datetime(2028, 2, 29, 12, 0, tzinfo=MEXICO_CITY), date(2029, 2, 28)),
        (datetime(2027, 2, 28, 12, 0, tzinfo=MEXICO_CITY), date(2028, 2, 28)),
    ],
)
def test_a_contract_expires_after_twelve_months(created_at: datetime, expected: date) -> None:
    assert expiry_day(created_at) == expected


@given(st.dates(date(2011, 1, 1), date(2099, 1, 1)), st.integers(0, 400))
def test_no_contract_that_has_not_expired_is_older_than_the_oldest(today: date, days: int) -> None:
    created_at = datetime(today.year, today.month, today.day, tzinfo=MEXICO_CITY)
    created_at -= timedelta(days=days)
    assert expiry_day(created_at) < today or created_at >= oldest_creation(today)


def coming(days: int, stamps: int) -> Expiry:
    return Expiry(TODAY + timedelta(days=days), stamps)


@pytest.mark.parametrize(
    ("expiries", "expected"),
    [
        ([], None),
        ([coming(0, 500)], coming(0, 500)),
        ([coming(9, 500), coming(-1, 7), coming(3, 20), coming(300, 1)], coming(3, 20)),
        ([coming(9, 500), coming(9, 20), coming(10, 1)], coming(9, 520)),
    ],
)
def test_the_next_expiry_has_the_stamps_of_its_day(
    expiries: list[Expiry], expected: Expiry | None
) -> None:
    assert next_expiry(expiries, TODAY) == expected


def test_the_remaining_time_is_never_negative() -> None:
    deadline = Deadline(60)

    assert 59 < deadline.remaining() <= 60
    assert 49 < deadline.before(10).remaining() <= 50
    assert deadline.before(100).remaining() == Deadline(-1).remaining() == 0
