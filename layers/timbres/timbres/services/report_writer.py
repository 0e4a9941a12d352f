"""Writes the files of reports: the PAC's own statement, or the consumption."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class WriteResult:
    """The result of writing a report.

    ``rows`` is the number of movements, None for a statement; ``differences`` are the totals in
    which a statement and the JSON balance disagree, None if they were not compared; ``summary``
    are the highlights of a month's consumption.
    """

    rows: int | None = None
    differences: dict[str, list[int]] | None = None
    summary: dict[str, Any] | None = None


class SharedConsumption:
    """Reads each period of an account once, for all formats of its report.

    The PAC's responses stay in temporary files until ``files`` is closed.
    """

    def __init__(
        self,
        reader: ConsumptionReader,
        files: ExitStack,
        deadline: Deadline,
        *,
        skip_failed_accounts: bool,
    ) -> None:
        self._reader = reader
        self._files = files
        self._deadline = deadline
        self._skip_failed_accounts = skip_failed_accounts
        self._loaded: dict[
            tuple[str, Month | Year], Consumption | YearConsumption | TimbresError
        ] = {}

    def load(self, account: str, period: Month | Year) -> Consumption | YearConsumption:
        """Return the consumption. Raises the errors of the PAC, the same one for every format."""
        key = account, period
        if key not in self._loaded:
            try:
                self._loaded[key] = self._read(account, period)
            except TimbresError as error:
                self._loaded[key] = error
        loaded = self._loaded[key]
        if isinstance(loaded, TimbresError):
            raise loaded
        return loaded

    def _read(self, account: str, period: Month | Year) -> Consumption | YearConsumption:
        skip = self._skip_failed_accounts
        if isinstance(period, Year):
            return self._reader.load_year(
                account, period, self._deadline, skip_failed_accounts=skip
            )
        return self._files.enter_context(
            self._reader.load(account, period, self._deadline, skip_failed_accounts=skip)
        )


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
    def shared_data(
        self, deadline: Deadline, *, skip_failed_accounts: bool
    ) -> Iterator[SharedConsumption]:
        """Yield the data that several reports share; leaving deletes temporary files.

        ``skip_failed_accounts``: a report of all accounts includes a failed account as a problem.
        """
        with ExitStack() as files:
            yield SharedConsumption(
                self._consumption_reader, files, deadline, skip_failed_accounts=skip_failed_accounts
            )

    def write(
        self, spec: ReportSpec, out: Upload, deadline: Deadline, shared: SharedConsumption
    ) -> WriteResult:
        """Write a report to ``out``. Raises the errors of the PAC."""
        month = spec.month
        if spec.kind == "statement" and isinstance(month, Month):
            return self._statement(spec, month, out, deadline)
        data = shared.load(spec.account, month)
        rows = self._load_writer(spec.format)(data, out)
        if isinstance(data, YearConsumption):
            return WriteResult(rows)
        return WriteResult(rows, summary=highlights_to_dict(highlights_of(data)))

    def _statement(
        self, spec: ReportSpec, month: Month, out: Upload, deadline: Deadline
    ) -> WriteResult:
        account = self._pac_access.require_account(spec.account, "statement")
        statement = self._pac_access.client(account).statement(month, spec.format, deadline)
        with statement.file as file:
            while chunk := file.read(_CHUNK):
                out.write(chunk)
            return WriteResult(
                differences=self._compare_with_balance(account, month, statement, deadline)
            )

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
        except TimbresError as error:
            logger.warning("the statement could not be compared: %s", error.detail, extra=extra)
            return None
        if statement is None:
            return None
        if is_consistent(statement.transactions, statement.totals.consumed) is False:
            raise contradiction(account.pac.name, statement.transactions, statement.totals.consumed)
        try:
            with self._pac_access.client(account).balance(month, None, deadline) as reading:
                summary, totals = reading.summary, sum_movements(reading.movements())
        except TimbresError as error:
            logger.warning("the statement could not be compared: %s", error.detail, extra=extra)
            return None
        pairs = {
            "registered": (statement.issuers.registered, summary.issuers.registered),
            "authorized": (statement.issuers.authorized, summary.issuers.authorized),
            "stamping": (statement.issuers.active, summary.issuers.active),
            "transactions": (statement.transactions, summary.transactions),
            "amount": (statement.totals.consumed, totals.consumed),
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
