"""DynamoDB repository for download tokens, by hash; a token is for one version of a report.

The index ``report`` lists the tokens of a report. Items ``source#…`` count the invalid tokens of a
source; they expire after minutes.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from datetime import datetime, time, timedelta
from typing import Any

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
from timbres.domain.report import ReportSpec
from timbres.repositories.dynamodb import Item, conditional_write, serialize

logger = logging.getLogger("timbres")

_IS_VALID = "expires_at > :at AND attribute_not_exists(revoked_at)"


class DownloadTokenRepository:
    """Stores download tokens; ``dynamodb`` is a client, ``table`` the table's name."""

    def __init__(self, dynamodb: Any, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def issue(self, spec: ReportSpec, report_id: str, version: str, until: datetime) -> str:
        """Return a new token for ``version`` of a ready report's object, valid until ``until``.

        Only its hash is stored.
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
            is_valid = item.get("expires_at", 0) > at.timestamp() and "revoked_at" not in item
            if is_valid:
                tomorrow = datetime.combine(at.date() + timedelta(days=1), time(), at.tzinfo)
                return Refusal(int((tomorrow - at).total_seconds()) + 1, is_valid=True)
            return self._count_failure(token, at, by)
        logger.info(
            "download token used",
            extra={
                "account": item["account"],
                "report": item["id"],
                "source_ip": by,
                "uses": item["uses"],
            },
        )
        return DownloadToken(
            account=item["account"],
            report_id=item["id"],
            key=item["key"],
            object_version=item["object_version"],
            download_name=item["name"],
        )

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
        revocation = str(uuid.uuid4())
        hashes = self._list_hashes(account, report_id)
        return sum(self._revoke(token_hash, revocation, at) for token_hash in hashes)

    def _list_hashes(self, account: str, report_id: str) -> Iterator[str]:
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._table,
            IndexName="report",
            KeyConditionExpression="#report = :report",
            ExpressionAttributeNames={"#report": "report"},
            ExpressionAttributeValues=serialize({":report": _report_key(account, report_id)}),
        )
        for page in pages:
            item: Item
            for item in page["Items"]:
                yield item["ticket"]["S"]

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
