"""What a function is put together from, each part made on first use.

The parts are imported where they are made: a function loads those that it uses.
"""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING

from timbres.aws.session import client

if TYPE_CHECKING:
    from timbres.aws.accounts import Accounts
    from timbres.aws.bus import Bus
    from timbres.aws.issuers import Issuers
    from timbres.aws.journal import Journal
    from timbres.aws.reports import Bucket, Queue, Records
    from timbres.work.access import Access


class Parts:
    """The parts of one function, by what the template set in its environment."""

    @cached_property
    def accounts(self) -> Accounts:
        """The accounts in Secrets Manager."""
        from timbres.aws.accounts import Accounts

        return Accounts(client("secretsmanager"), setting("SECRET_PREFIX"))

    @cached_property
    def access(self) -> Access:
        """The PACs behind the accounts."""
        from timbres.aws.rejections import Rejections
        from timbres.work.access import Access

        rejections = Rejections(client("dynamodb"), setting("REJECTIONS_TABLE"))
        return Access(self.accounts, rejections, self.bus)

    @cached_property
    def issuers(self) -> Issuers:
        """The known issuers."""
        from timbres.aws.issuers import Issuers

        return Issuers(client("dynamodb"), setting("ISSUERS_TABLE"))

    @cached_property
    def journal(self) -> Journal:
        """The journal of contracts."""
        from timbres.aws.journal import Journal

        return Journal(client("dynamodb"), setting("JOURNAL_TABLE"))

    @cached_property
    def records(self) -> Records:
        """The records of reports."""
        from timbres.aws.reports import Records

        return Records(client("dynamodb"), setting("REPORTS_TABLE"))

    @cached_property
    def queue(self) -> Queue:
        """The queue of reports to be made."""
        from timbres.aws.reports import Queue

        return Queue(client("sqs"), setting("REPORTS_QUEUE_URL"))

    @cached_property
    def bucket(self) -> Bucket:
        """The bucket of reports."""
        from timbres.aws.reports import Bucket

        return Bucket(client("s3"), setting("REPORTS_BUCKET"))

    @cached_property
    def bus(self) -> Bus:
        """The event bus."""
        from timbres.aws.bus import Bus

        return Bus(client("events"), setting("EVENT_BUS"))


def setting(name: str) -> str:
    """Return what the template set for this function in its environment."""
    return os.environ[name]
