"""Download tokens in DynamoDB: each under its hash, valid for one version of a report until a time.

The index ``report`` finds those of a report.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from timbres.domain import clock
from timbres.domain.download_token import (
    DownloadToken,
    download_token_hash,
    is_download_token,
    new_download_token,
)
from timbres.domain.report import ReportSpec
from timbres.repositories.dynamodb import Item, conditional_write, serialize

logger = logging.getLogger("timbres")

_GOOD = "expires_at > :at AND attribute_not_exists(revoked_at)"


class DownloadTokenRepository:
    """The download tokens; ``dynamodb`` is a client, ``table`` the table's name."""

    def __init__(self, dynamodb: Any, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def issue(self, spec: ReportSpec, report_id: str, version: str, until: datetime) -> str:
        """Return a new token for a ready report, valid before ``until``.

        It is for ``version`` of the object, and can be had only here.
        """
        token = new_download_token()
        item = {
            "ticket": download_token_hash(token),
            "report": _of(spec.account, report_id),
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

    def use(self, token: str, at: datetime, by: str) -> DownloadToken | None:
        """Return what a token opens and record its use; None for an invalid one.

        ``by`` is the address it is used from. Every invalid token, and any other
        text, takes the same steps. DynamoDB deletes what has expired only hours
        later, so the time is compared.
        """
        use = str(uuid.uuid4())
        result = conditional_write(
            self._dynamodb.update_item,
            {"last_use": use},
            TableName=self._table,
            Key=serialize({"ticket": download_token_hash(token)}),
            UpdateExpression="ADD #uses :one "
            "SET last_use = :use, last_used_at = :now, last_used_by = :by",
            # The last use is compared so that a repeated call does not count twice.
            ConditionExpression=f"{_GOOD} AND (attribute_not_exists(last_use) OR last_use <> :use)",
            ExpressionAttributeNames={"#uses": "uses"},
            ExpressionAttributeValues=serialize(
                {
                    ":one": 1,
                    ":use": use,
                    ":now": at.isoformat(),
                    ":by": by,
                    ":at": int(at.timestamp()),
                }
            ),
            ReturnValues="ALL_NEW",
        )
        if not result.applied:
            logger.info(
                "a ticket was refused",
                extra={"source_ip": by, "well_formed": is_download_token(token)},
            )
            return None
        item = result.item
        used = {"account": item["account"], "report": item["id"], "source_ip": by}
        logger.info("a ticket was used", extra=used | {"uses": item["uses"]})
        return DownloadToken(
            account=item["account"],
            report_id=item["id"],
            key=item["key"],
            object_version=item["object_version"],
            download_name=item["name"],
        )

    def revoke(self, account: str, report_id: str, at: datetime) -> int:
        """Revoke every valid token of a report; return how many there were.

        A token issued within the second before may not be in the index yet: revoking again
        finds it.
        """
        revocation = str(uuid.uuid4())
        return sum(
            self._revoke(token, revocation, at) for token in self._list_hashes(account, report_id)
        )

    def _list_hashes(self, account: str, report_id: str) -> Iterator[str]:
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._table,
            IndexName="report",
            KeyConditionExpression="#report = :report",
            ExpressionAttributeNames={"#report": "report"},
            ExpressionAttributeValues=serialize({":report": _of(account, report_id)}),
        )
        for page in pages:
            item: Item
            for item in page["Items"]:
                yield item["ticket"]["S"]

    def _revoke(self, token: str, revocation: str, at: datetime) -> bool:
        return conditional_write(
            self._dynamodb.update_item,
            {"revocation": revocation},
            TableName=self._table,
            Key=serialize({"ticket": token}),
            UpdateExpression="SET revoked_at = :now, revocation = :revocation",
            # One that DynamoDB has deleted meanwhile is not written anew.
            ConditionExpression=_GOOD,
            ExpressionAttributeValues=serialize(
                {":now": at.isoformat(), ":revocation": revocation, ":at": int(at.timestamp())}
            ),
        ).applied


def _of(account: str, report_id: str) -> str:
    return f"{account}/{report_id}"
