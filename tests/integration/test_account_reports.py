"""Reports have the last count of each account's own stamps, and compare it with its issuers."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.fake_stack import RC, RFC, RFC_N, SF, FakeStack

TITLE = "Timbres de la cuenta"
BUSY = "GOMP800101QX2"


def page_of(stack: FakeStack, account: str) -> str:
    """Return the page of the current month's consumption report."""
    report = stack.request_report(account, "2026-11", "consumption", "html").body
    assert stack.deliver() == (1, 0)
    path = f"/accounts/{account}/reports/{report['id']}"
    body: dict[str, Any] = stack.get(path, redirect="false").body
    assert body["status"] == "ready"
    return str(stack.download(body["url"]).content.decode())


def count_daily(stack: FakeStack, left: int, days: int = 2) -> None:
    """Count the issuers and the account on some days; the account has ``left`` stamps then."""
    stack.accounts.add_issuers([RFC, RFC_N, BUSY])
    for day in range(days, 0, -1):
        used = 10_000 - left - 100 * (day - 1)
        stack.pacs.state.solucion_factible.set_account(contratados=10_000, usados=used)
        stack.run()
        stack.clock.forward(days=1)


@pytest.mark.parametrize("account", [SF, "all"])
def test_a_report_has_the_last_count_of_the_account(stack: FakeStack, account: str) -> None:
    count_daily(stack, 2000)
    page = page_of(stack, account)
    assert TITLE in page
    row = page[page.index('id="cuenta"') : page.index('id="por-rfc"')]
    # 100 a day.
    assert all(text in row for text in (SF, "10,000", "8,000", "2,000", "20.0", "20/11 "))
    assert RC not in row
    assert "contratados sin usar" not in page


@pytest.mark.parametrize(
    ("further", "figure"), [((), "950"), (("XYZ010203AB1",), "al menos 950")], ids=["all", "some"]
)
def test_a_report_says_that_issuers_have_more_than_the_account(
    stack: FakeStack, further: tuple[str, ...], figure: str
) -> None:
    stack.accounts.add_issuers(further)
    count_daily(stack, 900)
    sentence = f"Los emisores tienen {figure} timbres contratados sin usar; la cuenta tiene 900 "
    assert sentence in page_of(stack, SF)
    # An account whose PAC does not return its stamps is not in the block.
    assert TITLE not in page_of(stack, RC)


def test_an_issuer_without_a_contract_is_not_compared_and_not_exhausted(stack: FakeStack) -> None:
    stack.pacs.state.solucion_factible.set_issuer(BUSY, contratados=0, usados=400)
    count_daily(stack, 760)
    page = page_of(stack, SF)
    assert "Los emisores tienen 770 timbres contratados sin usar; la cuenta tiene 760 " in page
    assert f'title="{BUSY}">{BUSY}</th><td class="c-amount n">0</td>' in page
    assert '<td class="c-days_left n none">sin contrato</td>' in page
    assert "0 agotados" in page


def test_an_account_that_was_never_counted_has_no_figures(stack: FakeStack) -> None:
    stack.accounts.add_issuers([RFC])
    stack.pacs.fault("getTimbresImplementacion", "soap-fault", times=-1)
    stack.run()
    page = page_of(stack, SF)
    row = page[page.index('id="cuenta"') : page.index('id="por-rfc"')]
    assert row.count("sin dato") == 5
