"""`make compare-idempotency`: second contracts in 1,000 lost responses, decorator and Timbres.

The decorator is Powertools' `idempotent_function`, set up as its documentation shows, around
the same call to the same model of a PAC; the client repeats with the same key, as it should.
Two ways to lose a reply: the connection is cut after the contract took effect, and the
function is killed between the contract and the end of its handler.
"""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import boto3
from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent_function,
)
from moto import mock_aws

from tests.torture.stateful_test import ACCOUNTS, ISSUERS, Contracts, Killed, ModelPac, Points
from timbres.domain.rfc import Rfc
from timbres.errors import PacError

WAYS = ("cut", "killed")
_STAMPS = 500


class _Context:
    """A function with next to no time left, so that its record expires at once."""

    aws_request_id = "0"

    def get_remaining_time_in_millis(self) -> int:
        return 1


def with_decorator(replies: int, way: str) -> int:
    """Return how many of `replies` lost ones end in a second contract, with the decorator."""
    dynamodb = boto3.client("dynamodb")
    dynamodb.create_table(
        TableName="idempotency",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )
    config = IdempotencyConfig(lambda_context=_Context())  # type: ignore[arg-type]
    points = Points()
    pac = ModelPac(points)

    @idempotent_function(
        data_keyword_argument="key",
        persistence_store=DynamoDBPersistenceLayer(table_name="idempotency"),
        config=config,
    )
    def create(*, key: str) -> str:
        pac.key = key
        return pac.create_contract(ISSUERS[0], _STAMPS, None).code

    doubled = _doubled(replies, way, pac, points, lambda key: create(key=key))
    dynamodb.delete_table(TableName="idempotency")
    return doubled


def with_timbres(replies: int, way: str) -> int:
    """Return the same for Timbres' own handler, journal and reconciler."""
    return sum(_with_timbres(f"order-{n}", way) for n in range(replies))


def _with_timbres(key: str, way: str) -> int:
    machine = Contracts()
    machine.begin()
    try:
        machine.bodies[key] = (ACCOUNTS[0], Rfc(ISSUERS[0]), _STAMPS)
        _doubled(1, way, machine.pac, machine.points, lambda _key: machine.order(key))
        machine.now += timedelta(minutes=3)
        machine.look()
        machine.order(key)
        machine.check_the_books()
        return len(machine.pac.created) - 1
    finally:
        machine.teardown()


def _doubled(
    replies: int, way: str, pac: ModelPac, points: Points, order: Callable[[str], Any]
) -> int:
    for n in range(replies):
        if way == "cut":
            pac.fault = "cut-after"
        else:
            points.arm(0, "after", _kill_at_the_contract(points))
        with suppress(PacError, Killed):
            order(f"order-{n}")
        points.disarm()
        # The killed function's time is over before the client comes back.
        time.sleep(0.002)
        with suppress(PacError):
            order(f"order-{n}")
    return len(pac.created) - len(set(pac.created))


def _kill_at_the_contract(points: Points) -> Callable[[str], None]:
    def kill(name: str) -> None:
        if name == "agregarContrato":
            raise Killed(name)
        points.arm(0, "after", kill)

    return kill


def main() -> int:
    """Print the figures for as many lost replies as the first argument says."""
    replies = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "mx-central-1",
    }
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    print(f"Second contracts in {replies:,} lost replies; the client retries with the same key:\n")
    print(f"{'':42}{'decorator':>12}{'Timbres':>12}")
    for way, what in zip(
        WAYS, ("the reply is cut after the contract", "the function is killed"), strict=True
    ):
        with mock_aws():
            print(f"{what:42}{with_decorator(replies, way):>12,}{with_timbres(replies, way):>12,}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
