"""Reports: ids, keys, download names, kinds and formats."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timbres.aws.object_store import MEDIA_TYPES
from timbres.domain.month import Month, Year
from timbres.domain.report import (
    FORMATS,
    PENDING,
    Report,
    ReportSpec,
    is_report_id,
    parse_format,
    parse_formats,
    parse_kind,
    version_id,
)
from timbres.errors import TimbresError

OCTOBER = Month(2026, 10)
KINDS_AND_FORMATS = [(kind, form) for kind, forms in FORMATS.items() for form in forms]


def test_key_download_name_and_id_of_a_report() -> None:
    spec = ReportSpec("acme-rc", Month(2026, 10), "statement", "pdf")

    assert spec.key == "reports/acme-rc/2026-10/statement.pdf"
    assert spec.download_name == "estado-de-cuenta-2026-10-acme-rc.pdf"
    assert version_id(spec.id_prefix, 1) == "2026-10-statement-pdf-0001"


def test_a_report_of_a_year() -> None:
    spec = ReportSpec("all", Year(2026), "consumption", "xlsx")

    assert spec.key == "reports/all/2026/consumption.xlsx"
    assert spec.download_name == "consumo-2026-todas.xlsx"
    assert is_report_id(version_id(spec.id_prefix, 1))
    assert parse_format("html", "consumption", Year(2026)) == "html"


@pytest.mark.parametrize(
    ("form", "kind", "field"), [("csv", "consumption", "format"), ("csv", "statement", "month")]
)
def test_other_reports_of_a_year_are_rejected(form: str, kind: str, field: str) -> None:
    with pytest.raises(TimbresError) as raised:
        parse_format(form, kind, Year(2026))

    assert raised.value.field == field


@given(
    st.builds(Month, st.integers(2011, 9999), st.integers(1, 12)),
    st.sampled_from(KINDS_AND_FORMATS),
    st.integers(1, 9999),
)
def test_every_id_is_valid_and_contains_its_version(
    month: Month, kind_and_format: tuple[str, str], version: int
) -> None:
    spec = ReportSpec("acme-rc", month, *kind_and_format)

    report_id = version_id(spec.id_prefix, version)

    assert is_report_id(report_id)
    report = Report(report_id, spec, PENDING, "arn:…", datetime(2026, 11, 1, tzinfo=UTC))
    assert report.version == version


@pytest.mark.parametrize(
    "text",
    ["", "2026-10-statement-pdf", "2026-10-statement-pdf-1", "2026-10-statement-pdf-00001",
     "2026-10-statement-pdf-0001\n", " 2026-10-statement-pdf-0001", "2026-10-invoice-pdf-0001",
     "2026-10-statement-../x-0001", "2026-statement-pdf-0001", "2026-10-STATEMENT-pdf-0001",
     "2026-1-statement-pdf-0001",
     "2026-10-statement-pdf-٠٠٠١", "0" * 32],
)  # fmt: skip
def test_invalid_ids(text: str) -> None:
    assert not is_report_id(text)


@pytest.mark.parametrize(("kind", "form"), KINDS_AND_FORMATS)
def test_kinds_and_their_formats(kind: str, form: str) -> None:
    assert (parse_kind(kind), parse_format(form, kind, OCTOBER)) == (kind, form)
    assert form in MEDIA_TYPES


@pytest.mark.parametrize(
    ("parse", "field", "expected"),
    [
        (parse_kind, "kind", "statement"),
        *(
            (lambda value, kind=kind: parse_format(value, kind, OCTOBER), "format", kind)
            for kind in FORMATS
        ),
    ],
    ids=["kind", *FORMATS],
)
@pytest.mark.parametrize("value", ["", "CSV", "Statement", ".csv", "docx", None, 7, ["csv"], {}])
def test_an_invalid_kind_or_format_is_rejected(
    parse: Callable[[object], str], field: str, expected: str, value: object
) -> None:
    with pytest.raises(TimbresError) as caught:
        parse(value)

    assert (caught.value.problem_type.code, caught.value.field) == ("parameter-invalid", field)
    assert expected in caught.value.detail


def test_formats_of_the_monthly_run_are_a_list() -> None:
    assert parse_formats("pdf , html,pdf") == ("pdf", "html")
    with pytest.raises(ValueError, match="'csv,docx': expected a comma-separated list of csv"):
        parse_formats("csv,docx")
