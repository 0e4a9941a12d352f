"""Write docs/samples: reports of a sample company, their pictures, and a mail of each kind.

Run with ``make samples``. The pictures need Chromium and pdftoppm.
"""

from __future__ import annotations

import random
import subprocess
import sys
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.browser.conftest import chromium_path
from tests.support.mail_samples import GOLDEN
from tests.support.report_readers import write
from tests.support.report_samples import (
    COUNTED_AT,
    MONTH,
    MONTH_DAYS,
    RC,
    SF,
    SOURCES,
    month_of,
    with_prices,
    year_of,
)
from timbres.domain.consumption import (
    Consumption,
    ExpiryLine,
    IssuerLine,
    YearConsumption,
    YearLine,
    cost_of,
)
from timbres.domain.month import Year
from timbres.domain.report import FILE_FORMATS, YEAR_FORMATS, ReportSpec
from timbres.notifications.mails import compose

FOLDER = Path(__file__).parents[2] / "docs" / "samples"
DOWNLOAD = "https://a1b2c3d4e5.execute-api.mx-central-1.amazonaws.com/prod/d/"
PRICE = "1.15"
NAMES = {
    "A&D061009TY8": "Aceros y Derivados del Norte",
    "ÑAN840101AB1": "Ñandú Servicios",
    "AAA010101AAA": "Abarrotes Acme",
    "GOMP800101QX2": "Pedro Gómez Martínez",
    "EKU9003173C9": "Escuela Kemper Urgate",
    "NUE200229AB3": "Nuevas Empresas de Occidente",
}
# RFC, account, stamps per working day, days between movements, previous month, available.
_ISSUERS = (
    ("A&D061009TY8", RC, 31, 2, 420, None),
    ("ÑAN840101AB1", SF, 26, 4, 176, 214),
    ("A&D061009TY8", SF, 11, 7, 61, 1250),
    ("AAA010101AAA", SF, 9, 7, 52, 0),
    ("EKU9003173C9", RC, 14, 9, 40, None),
    ("GOMP800101QX2", SF, 5, 10, 0, 480),
    ("NUE200229AB3", SF, 2, 15, 5, 9),
)


def sample_month() -> Consumption:
    """Return October 2026 of two accounts and six RFCs."""
    rng = random.Random(4)
    today = COUNTED_AT.date()

    def issuer(offset: int) -> tuple[IssuerLine, dict[date, int]]:
        rfc, account, pace, interval, previous, available = _ISSUERS[offset]
        days = MONTH_DAYS[offset % interval :: interval]
        line = IssuerLine(account, rfc, 0, previous, available, name=NAMES[rfc])
        return line, {day: round(pace * rng.uniform(0.5, 1.5)) for day in days}

    sources = [replace(source, missing_days=()) for source in SOURCES]
    expiries = (
        ExpiryLine(SF, "ÑAN840101AB1", 500, today + timedelta(days=26)),
        ExpiryLine(SF, "AAA010101AAA", 200, today + timedelta(days=140)),
    )
    month = month_of(map(issuer, range(len(_ISSUERS))), sources)
    return with_prices(replace(month, expiries=expiries), rc=PRICE, sf="0.95")


def sample_year(month: Consumption) -> YearConsumption:
    """Return 2026 of the same RFCs; acme-sf has no counts before April."""
    rng = random.Random(5)
    lines = []
    for line in month.rfcs:
        early = sum(part.amount for part in line.parts if part.account == RC)
        months: list[int | None] = [
            round(amount * rng.uniform(0.7, 1.1)) if amount else None
            for amount in [early] * 3 + [line.amount] * 6
        ]
        total = sum(amount or 0 for amount in months) + line.amount
        cost = cost_of(total, Decimal(PRICE))
        lines.append(YearLine(line.rfc, line.name, (*months, line.amount), cost))
    lines.sort(key=lambda line: -line.total)
    return year_of(lines, month.generated_at - timedelta(hours=7), unknown_months=3)


def main() -> None:
    """Write every sample."""
    for old in FOLDER.glob("*.*"):
        old.unlink()
    month = sample_month()
    for report, period, formats in (
        (month, MONTH, FILE_FORMATS),
        (sample_year(month), Year(2026), YEAR_FORMATS),
    ):
        for form in formats:
            name = ReportSpec("all", period, "consumption", form).download_name
            (FOLDER / name).write_bytes(write(form, report))
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium_path(), args=["--no-sandbox"])
        for name, width in (("page", 1280), ("phone", 390)):
            page = browser.new_page(viewport={"width": width, "height": 1500})
            page.goto((FOLDER / "consumo-2026-10-todas.html").as_uri())
            page.screenshot(path=FOLDER / f"{name}.png")
        browser.close()
    pdf = FOLDER / "consumo-2026-10-todas.pdf"
    options = ["-png", "-r", "110", "-f", "1", "-l", "1", "-singlefile"]
    subprocess.run(["pdftoppm", *options, pdf, FOLDER / "pdf"], check=True)
    link = f"{DOWNLOAD}ticket-{{account}}-{{id}}".format_map
    for name, (kind, detail) in GOLDEN.items():
        mail = compose(kind, detail, link, 30)
        text = f"{mail.subject}\n\n{mail.text}"
        (FOLDER / "mails" / f"{name}.txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
