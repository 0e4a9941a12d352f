"""Writes the files of reports: the PAC's own statement, or the consumption."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from timbres.aws.multipart_upload import Upload
from timbres.deadline import Deadline
from timbres.domain.account import Account
from timbres.domain.balance import is_consistent, sum_movements
from timbres.domain.consumption import Consumption, YearConsumption
from timbres.domain.highlights import highlights_of
from timbres.domain.month import Month, Year
from timbres.domain.report import ReportSpec
from timbres.errors import TimbresError
from timbres.pacs.base import StatementFile
from timbres.pacs.errors import contradiction
from timbres.schemas.reports import highlights_to_dict
from timbres.services.consumption import ConsumptionReader
from timbres.services.pac_access import PacAccess

logger = logging.getLogger("timbres")

Writer = Callable[[Consumption | YearConsumption, Any], int]
"""Writes a report to a write-only file; returns the number of movements."""

_CHUNK = 1024 * 1024


Loader = Callable[[str, Month | Year], Consumption | YearConsumption]
"""Returns the consumption of an account in a period."""


class ReportWriter:
    """Writes the files of reports; ``load_writer`` returns the writer of a format."""

    def __init__(
        self,
        pac_access: PacAccess,
        consumption_reader: ConsumptionReader,
        load_writer: Callable[[str], Writer],
    ) -> None:
        self._pac_access = pac_access
        self._consumption_reader = consumption_reader
        self._load_writer = load_writer

    @contextmanager
    def shared_data(self, deadline: Deadline, *, skip_failed_accounts: bool) -> Iterator[Loader]:
        """Yield a loader that reads each period of an account once, for all formats of its report.

        It raises the errors of the PAC, the same one for every format. Leaving deletes the
        temporary files with the PAC's responses. ``skip_failed_accounts``: a report of all
        accounts includes a failed account as a problem.
        """
        reader = self._consumption_reader
        loaded: dict[tuple[str, Month | Year], Consumption | YearConsumption | TimbresError] = {}

        def read(account: str, period: Month | Year) -> Consumption | YearConsumption:
            skip = skip_failed_accounts
            if isinstance(period, Year):
                return reader.load_year(account, period, deadline, skip_failed_accounts=skip)
            return files.enter_context(
                reader.load(account, period, deadline, skip_failed_accounts=skip)
            )

        def load(account: str, period: Month | Year) -> Consumption | YearConsumption:
            key = account, period
            if key not in loaded:
                try:
                    loaded[key] = read(account, period)
                except TimbresError as error:
                    loaded[key] = error
            if isinstance(found := loaded[key], TimbresError):
                raise found
            return found

        with ExitStack() as files:
            yield load

    def write(
        self, spec: ReportSpec, out: Upload, deadline: Deadline, load: Loader
    ) -> dict[str, Any]:
        """Write a report to ``out``; return attributes of its ``Report``.

        They are ``rows`` and the ``summary`` of a month, or a statement's ``differences``. Raises
        the errors of the PAC.
        """
        month = spec.month
        if spec.kind == "statement" and isinstance(month, Month):
            return {"differences": self._write_statement(spec, month, out, deadline)}
        data = load(spec.account, month)
        rows = self._load_writer(spec.format)(data, out)
        if isinstance(data, YearConsumption):
            return {"rows": rows}
        return {"rows": rows, "summary": highlights_to_dict(highlights_of(data))}

    def _write_statement(
        self, spec: ReportSpec, month: Month, out: Upload, deadline: Deadline
    ) -> dict[str, list[int]] | None:
        """Write the PAC's own file; return its differences from the balance."""
        account = self._pac_access.require_account(spec.account, "statement")
        statement = self._pac_access.client(account).statement(month, spec.format, deadline)
        with statement.file as file:
            while chunk := file.read(_CHUNK):
                out.write(chunk)
            return self._compare_with_balance(account, month, statement, deadline)

    def _compare_with_balance(
        self, account: Account, month: Month, file: StatementFile, deadline: Deadline
    ) -> dict[str, list[int]] | None:
        """Return the totals in which the PAC's CSV and JSON of a month disagree.

        Returns None if they cannot be compared. Raises ``pac-protocol-error`` if the CSV's total
        is not the sum of its rows. A JSON that contradicts itself differs from the CSV.
        """
        extra: dict[str, Any] = {"account": account.name, "month": str(month)}
        try:
            statement = file.figures()
            if statement is None:
                return None
            stated, consumed = statement.transactions, statement.totals.consumed
            is_consistent_csv = is_consistent(stated, consumed)
            if is_consistent_csv is not False:
                with self._pac_access.client(account).balance(month, None, deadline) as reading:
                    summary, totals = reading.summary, sum_movements(reading.movements())
        except TimbresError as error:
            logger.warning("the statement could not be compared: %s", error.detail, extra=extra)
            return None
        if is_consistent_csv is False:
            raise contradiction(account.pac.name, stated, consumed)
        pairs = {
            "registered": (statement.issuers.registered, summary.issuers.registered),
            "authorized": (statement.issuers.authorized, summary.issuers.authorized),
            "stamping": (statement.issuers.active, summary.issuers.active),
            "transactions": (stated, summary.transactions),
            "amount": (consumed, totals.consumed),
            "movements": (statement.totals.movements, totals.movements),
        }
        # A count that the PAC does not know is not a difference.
        differences = {
            name: [in_csv, in_json]
            for name, (in_csv, in_json) in pairs.items()
            if in_csv is not None and in_json is not None and in_csv != in_json
        }
        if differences:
            logger.warning(
                "the PAC's CSV and JSON of the same month disagree",
                extra=extra | {f"{name}_csv_json": pair for name, pair in differences.items()},
            )
        return differences
