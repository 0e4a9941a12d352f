"""DynamoDB repository for download tokens, by hash; a token is for one version of a report.

The index ``report`` lists the tokens of a report. Items ``source#…`` count the invalid tokens of a
source; they expire after minutes.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime, time, timedelta
from typing import Any

from timbres.deadline import Deadline
from timbres.domain import clock
from timbres.domain.download_token import (
    MAX_DOWNLOADS_PER_DAY,
    MAX_FAILURES,
    DownloadToken,
    Refusal,
    download_token_hash,
    is_download_token,
    new_download_token,
    source_period,
)
from timbres.domain.month import Month
from timbres.domain.report import ReportSpec
from timbres.errors import DEADLINE_EXCEEDED, LINK_NOT_FOUND, TimbresError
from timbres.repositories.dynamodb import conditional_write, serialize

logger = logging.getLogger("timbres")

_IS_VALID = "expires_at > :at AND attribute_not_exists(revoked_at)"


class DownloadTokenRepository:
    """Stores download tokens; ``dynamodb`` is a client, ``table`` the table's name."""

    def __init__(self, dynamodb: Any, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def issue(
        self, spec: ReportSpec, report_id: str, version: str, until: datetime, mail: str
    ) -> str:
        """Return a new token for ``version`` of a ready report's object, valid until ``until``.

        Only its hash is stored. ``mail`` is the key of the mail that has the link.
        """
        token = new_download_token()
        item = {
            "ticket": download_token_hash(token),
            "report": _report_key(spec.account, report_id),
            "account": spec.account,
            "id": report_id,
            "key": spec.key,
            "object_version": version,
            "name": spec.download_name,
            "issued_at": clock.now().isoformat(),
            "expires_at": int(until.timestamp()),
            "uses": 0,
            "mail": mail,
        }
        self._dynamodb.put_item(TableName=self._table, Item=serialize(item))
        return token

    def use(self, token: str, at: datetime, by: str) -> DownloadToken | Refusal:
        """Record the use of a token and return its target, or why it has none.

        ``by`` is the caller's IP address. The same steps are taken for every invalid text. The
        expiry is compared because DynamoDB deletes expired items only hours later.
        """
        use, today = str(uuid.uuid4()), f"uses_{at.date()}"
        result = conditional_write(
            self._dynamodb.update_item,
            {"last_use": use},
            TableName=self._table,
            Key=serialize({"ticket": download_token_hash(token)}),
            UpdateExpression="ADD #uses :one, #today :one "
            "SET last_use = :use, last_used_at = :now, last_used_by = :by",
            # The last use is compared so that a write repeated by the SDK counts once.
            ConditionExpression=f"{_IS_VALID} AND "
            "(attribute_not_exists(last_use) OR last_use <> :use) AND "
            "(attribute_not_exists(#today) OR #today < :limit)",
            ExpressionAttributeNames={"#uses": "uses", "#today": today},
            ExpressionAttributeValues=serialize(
                {
                    ":one": 1,
                    ":limit": MAX_DOWNLOADS_PER_DAY,
                    ":use": use,
                    ":now": at.isoformat(),
                    ":by": by,
                    ":at": int(at.timestamp()),
                }
            ),
            ReturnValues="ALL_NEW",
        )
        item = result.item
        if not result.applied:
            if item.get("expires_at", 0) > at.timestamp() and "revoked_at" not in item:
                tomorrow = datetime.combine(at.date() + timedelta(days=1), time(), at.tzinfo)
                return Refusal(int((tomorrow - at).total_seconds()) + 1, is_valid=True)
            return self._count_failure(token, at, by)
        extra = {"account": item["account"], "report": item["id"], "source_ip": by}
        logger.info("download token used", extra=extra | {"uses": item["uses"]})
        return DownloadToken(item["key"], item["object_version"], item["name"])

    def _count_failure(self, token: str, at: datetime, by: str) -> Refusal:
        """Count an invalid token of a source; the refusal has the wait if it sent too many."""
        (key, end), failure = source_period(by, at), str(uuid.uuid4())
        result = conditional_write(
            self._dynamodb.update_item,
            {"last_failure": failure},
            TableName=self._table,
            Key=serialize({"ticket": key}),
            UpdateExpression="ADD failures :one SET expires_at = :end, last_failure = :failure",
            ConditionExpression="attribute_not_exists(failures) OR failures < :limit",
            ExpressionAttributeValues=serialize(
                {":one": 1, ":end": end, ":failure": failure, ":limit": MAX_FAILURES}
            ),
            ReturnValues="UPDATED_NEW",
        )
        if not result.applied:
            return Refusal(end - int(at.timestamp()))
        extra = {"source_ip": by, "well_formed": is_download_token(token)}
        logger.info("download token rejected", extra=extra)
        if result.item["failures"] == MAX_FAILURES:
            logger.warning(
                "a source sent too many invalid download tokens", extra={"source_ip": by}
            )
        return Refusal()

    def revoke(self, account: str, report_id: str, at: datetime) -> int:
        """Revoke every valid token of a report; return their number.

        The index may not contain a token of the last second: a repeated revocation finds it.
        """
        return self.revoke_all(self._list_hashes(account, report_id), at)

    def revoke_all(
        self, hashes: Iterable[str], at: datetime, deadline: Deadline | None = None
    ) -> int:
        """Revoke the valid tokens with these hashes; return their number.

        Raises ``out-of-time`` if ``deadline`` comes first: a repetition revokes the others.
        """
        revocation, revoked = str(uuid.uuid4()), 0
        for token_hash in hashes:
            if deadline is not None and deadline.remaining() <= 0:
                raise TimbresError(DEADLINE_EXCEEDED, f"{revoked} links are revoked: repeat.")
            revoked += self._revoke(token_hash, revocation, at)
        return revoked

    def list_of_mail(self, token: str) -> Iterator[str]:
        """Yield the hashes of all tokens in the mail of ``token``. Raises ``link-unknown``."""
        key = serialize({"ticket": download_token_hash(token)})
        found = self._dynamodb.get_item(TableName=self._table, Key=key).get("Item")
        if found is None:
            raise TimbresError(LINK_NOT_FOUND, "No mail has this link.", field="link")
        if "mail" not in found:
            # Mailed by a version before 0.5.0: only the report is known.
            return self._list_hashes(found["account"]["S"], found["id"]["S"])
        return self._scan("mail = :value", found["mail"]["S"])

    def list_of_month(self, month: Month) -> Iterator[str]:
        """Yield the hashes of the tokens of a month's reports."""
        return self._scan("begins_with(id, :value)", f"{month}-")

    def _scan(self, condition: str, value: str) -> Iterator[str]:
        # The table has the links of a month: an index for this rare request would cost more.
        return self._hashes("scan", value, FilterExpression=condition, ConsistentRead=True)

    def _list_hashes(self, account: str, report_id: str) -> Iterator[str]:
        return self._hashes(
            "query",
            _report_key(account, report_id),
            IndexName="report",
            KeyConditionExpression="#report = :value",
            ExpressionAttributeNames={"#report": "report"},
        )

    def _hashes(self, operation: str, value: str, **request: Any) -> Iterator[str]:
        values = serialize({":value": value})
        pages = self._dynamodb.get_paginator(operation).paginate(
            TableName=self._table, ExpressionAttributeValues=values, **request
        )
        return (str(item["ticket"]["S"]) for page in pages for item in page["Items"])

    def _revoke(self, token_hash: str, revocation: str, at: datetime) -> bool:
        return conditional_write(
            self._dynamodb.update_item,
            {"revocation": revocation},
            TableName=self._table,
            Key=serialize({"ticket": token_hash}),
            UpdateExpression="SET revoked_at = :now, revocation = :revocation",
            # A token that DynamoDB has deleted meanwhile must not be created again.
            ConditionExpression=_IS_VALID,
            ExpressionAttributeValues=serialize(
                {":now": at.isoformat(), ":revocation": revocation, ":at": int(at.timestamp())}
            ),
        ).applied


def _report_key(account: str, report_id: str) -> str:
    return f"{account}/{report_id}"
