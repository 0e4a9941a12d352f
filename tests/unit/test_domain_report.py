"""Reports: ids, keys, download names, kinds and formats."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timbres.aws.object_store import MEDIA_TYPES
from timbres.domain.month import Month
from timbres.domain.report import (
    FORMATS,
    PENDING,
    Report,
    ReportSpec,
    is_report_id,
    parse_format,
    parse_kind,
    version_id,
)
from timbres.errors import TimbresError

KINDS_AND_FORMATS = [(kind, form) for kind, forms in FORMATS.items() for form in forms]
SPEC = ReportSpec("acme-rc", Month(2026, 10), "statement", "pdf")


def test_key_download_name_and_id_of_a_report() -> None:
    assert SPEC.key == "reports/acme-rc/2026-10/statement.pdf"
    assert SPEC.download_name == "acme-rc-2026-10-statement.pdf"
    assert version_id(SPEC.id_prefix, 1) == "2026-10-statement-pdf-0001"


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
    assert report_id.startswith(spec.id_prefix)
    report = Report(report_id, spec, PENDING, "arn:…", datetime(2026, 11, 1, tzinfo=UTC))
    assert report.version == version


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-10-statement-pdf",
        "2026-10-statement-pdf-1",
        "2026-10-statement-pdf-00001",
        "2026-10-statement-pdf-0001\n",
        " 2026-10-statement-pdf-0001",
        "2026-10-invoice-pdf-0001",
        "2026-10-statement-../x-0001",
        "2026-10-STATEMENT-pdf-0001",
        "2026-1-statement-pdf-0001",
        "2026-10-statement-pdf-٠٠٠١",
        "0" * 32,
    ],
)
def test_invalid_ids(text: str) -> None:
    assert not is_report_id(text)


@pytest.mark.parametrize(("kind", "form"), KINDS_AND_FORMATS)
def test_kinds_and_their_formats(kind: str, form: str) -> None:
    assert parse_kind(kind) == kind
    assert parse_format(form, kind) == form
    assert form in MEDIA_TYPES


@pytest.mark.parametrize("value", ["", "Statement", "estado", None, 7, ["statement"], {}])
def test_an_invalid_kind_is_rejected(value: object) -> None:
    with pytest.raises(TimbresError) as caught:
        parse_kind(value)
    assert (caught.value.problem_type.code, caught.value.field) == ("parameter-invalid", "kind")
    assert "statement" in caught.value.detail


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("value", ["", "CSV", ".csv", "docx", None, 7, ["csv"], {}])
def test_an_invalid_format_is_rejected(kind: str, value: object) -> None:
    with pytest.raises(TimbresError) as caught:
        parse_format(value, kind)
    assert (caught.value.problem_type.code, caught.value.field) == ("parameter-invalid", "format")
    assert kind in caught.value.detail
