"""PAC times: Mexico City time with the offset of that day."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timbres.deadline import Deadline
from timbres.domain.clock import MEXICO_CITY, from_local, now

CENTURY = (datetime(1970, 1, 1), datetime(2100, 1, 1))


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
def test_any_other_text_is_rejected(text: str) -> None:
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


def test_the_remaining_time_is_never_negative() -> None:
    deadline = Deadline(60)

    assert 59 < deadline.remaining() <= 60
    assert 49 < deadline.before(10).remaining() <= 50
    assert deadline.before(100).remaining() == Deadline(-1).remaining() == 0
