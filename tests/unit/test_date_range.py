"""Date ranges: both days are included; the default is 30 days."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timbres.domain.date_range import MAX_DAYS, parse_date_range
from timbres.errors import TimbresError
from timbres.handlers.problem_details import status_code

TODAY = date(2026, 11, 21)


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (None, None, ("2026-10-23", "2026-11-21")),
        (None, "2026-03-01", ("2026-01-31", "2026-03-01")),
        ("2026-11-01", None, ("2026-11-01", "2026-11-21")),
        ("2026-11-21", None, ("2026-11-21", "2026-11-21")),
        ("2026-02-28", "2026-02-28", ("2026-02-28", "2026-02-28")),
        ("2024-02-29", "2024-03-01", ("2024-02-29", "2024-03-01")),
        ("2011-01-01", "2011-01-02", ("2011-01-01", "2011-01-02")),
        # A future range is valid; it has no snapshots.
        (None, "2027-01-01", ("2026-12-03", "2027-01-01")),
        (None, "2011-01-01", ("2010-12-03", "2011-01-01")),
        ("9999-12-31", "9999-12-31", ("9999-12-31", "9999-12-31")),
    ],
)
def test_valid_ranges(first: str | None, last: str | None, expected: tuple[str, str]) -> None:
    begin, end = parse_date_range(first, last, TODAY)
    assert (begin.isoformat(), end.isoformat()) == expected


def test_the_default_is_thirty_days() -> None:
    begin, end = parse_date_range(None, None, TODAY)
    assert (end - begin).days + 1 == 30


@pytest.mark.parametrize(
    "text",
    ["", "hoy", "2026-11", "2026-11-1", "2026-11-31", "2026-02-29", "2026-13-01", "2026-00-10",
     "2026-11-00", "20261101", "2026-W47-1", "2026-11-01T00:00", " 2026-11-01", "2026-11-01\n",
     "2026-11-01\x00", "01/11/2026", "２０２６-11-01", "٢٠٢٦-11-01", "2010-12-31", "0000-01-01",
     "0001-01-01", "-2026-11-01", "2026‐11‐01"],
)  # fmt: skip
@pytest.mark.parametrize("field", ["from", "to"])
def test_invalid_days_are_rejected(field: str, text: str) -> None:
    with pytest.raises(TimbresError) as caught:
        parse_date_range(text if field == "from" else None, text if field == "to" else None, TODAY)
    assert (caught.value.problem_type.code, status_code(caught.value.problem_type.code)) == (
        "parameter-invalid",
        400,
    )
    assert caught.value.field == field
    assert "YYYY-MM-DD" in caught.value.detail
    assert caught.value.detail.isprintable()


@pytest.mark.parametrize(
    ("first", "last"), [("2026-11-02", "2026-11-01"), ("2026-11-22", None), ("2027-01-01", None)]
)
def test_an_end_before_the_start_is_rejected(first: str, last: str | None) -> None:
    with pytest.raises(TimbresError, match="is after") as caught:
        parse_date_range(first, last, TODAY)
    assert (caught.value.problem_type.code, caught.value.field) == ("parameter-invalid", "from")


@pytest.mark.parametrize(("days", "fits"), [(399, True), (400, True), (401, False), (9999, False)])
def test_a_range_has_at_most_400_days(days: int, fits: bool) -> None:
    first = date(2015, 1, 1)
    last = first + timedelta(days=days - 1)
    if fits:
        assert parse_date_range(first.isoformat(), last.isoformat(), TODAY) == (first, last)
        return
    with pytest.raises(TimbresError, match=str(MAX_DAYS)) as caught:
        parse_date_range(first.isoformat(), last.isoformat(), TODAY)
    assert (caught.value.problem_type.code, caught.value.field) == ("parameter-invalid", "from")


texts = st.none() | st.text(max_size=12) | st.dates().map(date.isoformat)


@given(texts, texts)
def test_any_input_is_a_range_or_an_error(first: str | None, last: str | None) -> None:
    try:
        begin, end = parse_date_range(first, last, TODAY)
    except TimbresError:
        with pytest.raises(TimbresError, match="parameter-invalid"):
            parse_date_range(first, last, TODAY)
        return
    assert 1 <= (end - begin).days + 1 <= MAX_DAYS
    assert last is None or end.isoformat() == last
    assert first is None or begin.isoformat() == first
