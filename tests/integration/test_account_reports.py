"""Reports have the last count of each account's own stamps, and compare it with its issuers."""

import pytest
from tests.integration.test_reports_api import sheets
from tests.support.fake_stack import RFC, RFC_N, SF

BUSY, FURTHER = "GOMP800101QX2", "XYZ010203AB1"


def count_daily(stack, left):
    """Count the issuers and the account on two days; the account has ``left`` stamps then."""
    stack.accounts.add_issuers([RFC, RFC_N, BUSY])
    for used in (9_900 - left, 10_000 - left):
        stack.pacs.state.solucion_factible.set_account(contratados=10_000, usados=used)
        stack.run()
        stack.clock.forward(days=1)


@pytest.mark.parametrize("account", [SF, "all"])
def test_a_report_has_the_last_count_of_the_account(stack, account):
    count_daily(stack, 2000)

    summary = sheets(stack, account, "2026-11")["Resumen"]

    counts = [SF, "10,000", "8,000", "2,000", "20/11 13:53", "20.0"]
    heading = next(n for n, row in enumerate(summary) if row[:2] == ["Cuenta", "Contratados"])
    assert summary[heading + 1][:6] == counts
    # An account whose PAC does not return its stamps is not in the table.
    assert summary[heading + 2][0] == ""
    assert "contratados sin usar" not in str(summary)


@pytest.mark.parametrize(
    ("further", "contracted", "unused"),
    [([], 200, "950"), ([FURTHER], 200, "al menos 950"), ([], 0, "770")],
    ids=["all counted", "one unknown", "one without a contract"],
)
def test_a_report_says_that_issuers_have_more_than_the_account(stack, further, contracted, unused):
    stack.accounts.add_issuers(further)
    stack.pacs.state.solucion_factible.set_issuer(BUSY, contratados=contracted, usados=20)
    count_daily(stack, 760)

    book = sheets(stack, SF, "2026-11")

    sentence = f"Los emisores tienen {unused} timbres contratados sin usar; la cuenta tiene 760 "
    assert sentence in str(book["Resumen"])
    (issuer,) = (row for row in book["Por RFC"] if row[0] == BUSY)
    assert issuer[5::2] == (["180", "sin dato"] if contracted else ["sin contrato"] * 2)


def test_an_account_that_was_never_counted_has_no_figures(stack):
    stack.pacs.fault("getTimbresImplementacion", "soap-fault", times=-1)
    count_daily(stack, 760)

    summary = sheets(stack, SF, "2026-11")["Resumen"]

    assert [SF, *["sin dato"] * 5] in (row[:6] for row in summary)
