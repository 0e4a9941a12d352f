"""The known issuers in DynamoDB: learned from contracts, counts and balances."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from timbres.aws.items import Item, cursor, packed, start, unpacked
from timbres.domain.stamps import Stamps

_PAGE = 500


@dataclass(frozen=True, slots=True)
class KnownIssuer:
    """An issuer and its last count; ``as_of`` is None while it was never counted."""

    rfc: str
    stamps: Stamps
    as_of: datetime | None


class Issuers:
    """The known issuers; ``dynamodb`` is a boto3 client, ``table`` the table's name."""

    def __init__(self, dynamodb: Any, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def learn(self, account: str, rfcs: Iterable[str], at: datetime) -> None:
        """Remember issuers of an account; those known already stay as they are."""
        for rfc in rfcs:
            self._update(account, rfc, "SET since = if_not_exists(since, :at)", {":at": at})

    def counted(self, account: str, rfc: str, stamps: Stamps, at: datetime) -> None:
        """Remember an issuer's count; what the PAC did not say replaces what it once said."""
        values: Item = {":at": at}
        sets = ["as_of = :at", "since = if_not_exists(since, :at)"]
        removes = []
        for name in ("contracted", "used", "available"):
            value = getattr(stamps, name)
            if value is None:
                removes.append(name)
            else:
                sets.append(f"{name} = :{name}")
                values[f":{name}"] = value
        expression = "SET " + ", ".join(sets)
        if removes:
            expression += " REMOVE " + ", ".join(removes)
        self._update(account, rfc, expression, values)

    def page(self, account: str, after: str | None) -> tuple[list[KnownIssuer], str | None]:
        """Return up to 500 issuers by RFC, and the cursor of the rest or None."""
        last = start(after, account, "rfc")
        page = self._dynamodb.query(
            TableName=self._table,
            KeyConditionExpression="account = :account",
            ExpressionAttributeValues=packed({":account": account}),
            Limit=_PAGE,
            **({"ExclusiveStartKey": last} if last else {}),
        )
        known = [_known(unpacked(item)) for item in page["Items"]]
        return known, cursor(page.get("LastEvaluatedKey"))

    def all(self, account: str) -> Iterator[KnownIssuer]:
        """Yield every issuer of an account, by RFC."""
        after: str | None = None
        while True:
            known, after = self.page(account, after)
            yield from known
            if after is None:
                return

    def _update(self, account: str, rfc: str, expression: str, values: Item) -> None:
        values = {k: v.isoformat() if isinstance(v, datetime) else v for k, v in values.items()}
        self._dynamodb.update_item(
            TableName=self._table,
            Key=packed({"account": account, "rfc": rfc}),
            UpdateExpression=expression,
            ExpressionAttributeValues=packed(values),
        )


def _known(item: Item) -> KnownIssuer:
    return KnownIssuer(
        rfc=item["rfc"],
        stamps=Stamps(item.get("contracted"), item.get("used"), item.get("available")),
        as_of=datetime.fromisoformat(item["as_of"]) if "as_of" in item else None,
    )
