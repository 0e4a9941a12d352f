"""Reports: keys, download names, ids, kinds and formats."""

import pytest

from timbres.aws.object_store import MEDIA_TYPES
from timbres.domain.month import Month, Year
from timbres.domain.report import (
    FORMATS,
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


@pytest.mark.parametrize(
    ("spec", "key", "name"),
    [
        (ReportSpec("acme-rc", OCTOBER, "statement", "pdf"),
         "reports/acme-rc/2026-10/statement.pdf", "estado-de-cuenta-2026-10-acme-rc.pdf"),
        (ReportSpec("all", Year(2026), "consumption", "xlsx"),
         "reports/all/2026/consumption.xlsx", "consumo-2026-todas.xlsx"),
    ],
)  # fmt: skip
def test_key_and_download_name_of_a_report(spec, key, name):
    assert (spec.key, spec.download_name) == (key, name)


@pytest.mark.parametrize(("kind", "form"), KINDS_AND_FORMATS)
def test_kinds_and_their_formats(kind, form):
    spec = ReportSpec("acme-rc", OCTOBER, kind, form)

    assert (parse_kind(kind), parse_format(form, kind, OCTOBER)) == (kind, form)
    assert is_report_id(version_id(spec.id_prefix, 9999))
    assert form in MEDIA_TYPES


@pytest.mark.parametrize(
    "text",
    ["", "2026-10-statement-pdf", "2026-10-statement-pdf-1", "2026-10-statement-pdf-00001",
     "2026-10-statement-pdf-0001\n", " 2026-10-statement-pdf-0001", "2026-10-invoice-pdf-0001",
     "2026-10-statement-../x-0001", "2026-statement-pdf-0001", "2026-10-STATEMENT-pdf-0001",
     "2026-1-statement-pdf-0001", "2026-10-statement-pdf-٠٠٠١", "0" * 32],
)  # fmt: skip
def test_invalid_ids(text):
    assert not is_report_id(text)


def format_of(kind):
    return lambda value: parse_format(value, kind, OCTOBER)


@pytest.mark.parametrize(
    ("parse", "values", "field", "expected"),
    [
        (parse_kind, ["", "Statement", None, 7, ["statement"], {}], "kind", "statement"),
        (format_of("statement"), ["", "CSV", ".csv", "xlsx", None, ["csv"]], "format", "statement"),
        (format_of("consumption"), ["docx", {}], "format", "consumption"),
        (lambda value: parse_format(value, "consumption", Year(2026)), ["csv"], "format", "html"),
        (lambda value: parse_format(value, "statement", Year(2026)), ["csv"], "month", "YYYY-MM"),
    ],
    ids=["kind", *FORMATS, "format of a year", "statement of a year"],
)
def test_an_invalid_kind_or_format_is_rejected(parse, values, field, expected):
    for value in values:
        with pytest.raises(TimbresError) as caught:
            parse(value)

        assert (caught.value.problem_type.code, caught.value.field) == ("parameter-invalid", field)
        assert expected in caught.value.detail


def test_formats_of_the_monthly_run_are_a_list():
    assert parse_formats("pdf , html,pdf") == ("pdf", "html")
    with pytest.raises(ValueError, match="'csv,docx': expected a comma-separated list of csv"):
        parse_formats("csv,docx")
