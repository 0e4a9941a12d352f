"""`make compare-idempotency`: second contracts after 1,000 lost responses, decorator and Timbres.

The decorator is Powertools' `idempotent_function`, set up as its documentation shows, around the
same call to the same fake PAC. The client retries with the same key. A response is lost in two
ways: the connection is cut after the contract took effect, and the function is killed before the
end of its handler.
"""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from unittest.mock import patch

import boto3
from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent_function,
)

from tests.support.clock import Clock
from tests.support.fakes_contracts import RFC, TABLES, FakePac, Interruptions, Services, moto
from tests.support.fault_injection import Killed
from tests.support.template import REGION
from timbres.domain import clock as timbres_clock
from timbres.errors import PacError

WAYS = ("cut", "killed")
_STAMPS = 500


class _Context:
    """A function with almost no time left, so that its record expires at once."""

    aws_request_id = "0"

    def get_remaining_time_in_millis(self) -> int:
        return 1


def with_decorator(responses: int, way: str) -> int:
    """Return how many of ``responses`` lost responses create a second contract."""
    session = boto3.Session("testing", "testing", region_name=REGION)
    session.client("dynamodb").create_table(
        TableName="idempotency",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )
    config = IdempotencyConfig(lambda_context=_Context())  # type: ignore[arg-type]
    pac = FakePac(Interruptions())

    @idempotent_function(
        data_keyword_argument="key",
        persistence_store=DynamoDBPersistenceLayer("idempotency", boto3_session=session),
        config=config,
    )
    def create(*, key: str) -> str | None:
        pac.key = key
        return pac.create_contract(RFC, _STAMPS, None).code

    for number in range(responses):
        _lose_and_retry(way, pac, lambda key: create(key=key), f"order-{number}")
    session.client("dynamodb").delete_table(TableName="idempotency")
    return len(pac.keys) - len(set(pac.keys))


def with_timbres(responses: int, way: str) -> int:
    """Return the same for Timbres' services, journal and reconciler."""
    return sum(_with_timbres(f"order-{number}", way) for number in range(responses))


def _with_timbres(key: str, way: str) -> int:
    clock = Clock()
    with patch.object(timbres_clock, "now", clock):
        services = Services(clock)
        _lose_and_retry(way, services.pac, services.outcome, key)
        services.reconcile(minutes=3)
        assert services.outcome(key) == "confirmed"
    for table in TABLES:
        services.dynamodb.delete_table(TableName=table)
    return len(services.pac.contracts) - 1


def _lose_and_retry(way: str, pac: FakePac, request: Callable[[str], Any], key: str) -> None:
    if way == "cut":
        pac.fault = "cut-after"
    else:
        pac.interruptions.plan(Killed(), "create_contract", when="after")
    with suppress(PacError, Killed):
        request(key)
    # The killed function's time is over before the client retries.
    time.sleep(0.002)
    with suppress(PacError):
        request(key)


def main() -> int:
    """Print the figures for as many lost responses as the first argument says."""
    responses = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    print(f"Second contracts after {responses:,} lost responses; the client retries:\n")
    print(f"{'':42}{'decorator':>12}{'Timbres':>12}")
    labels = ("the response is cut after the contract", "the function is killed")
    for way, label in zip(WAYS, labels, strict=True):
        with moto():
            figures = with_decorator(responses, way), with_timbres(responses, way)
        print(f"{label:42}{figures[0]:>12,}{figures[1]:>12,}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
