"""What only DynamoDB shows of contracts: races, cancelled transactions, damaged and old items."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import chain
from typing import Any

import pytest
from tests.support.clock import START
from tests.support.fakes_contracts import (
    CALLER,
    RFC,
    RFC_N,
    RFC_NEW,
    SECOND,
    SF,
    Services,
    aws_error,
    running_services,
)

from timbres.deadline import Deadline
from timbres.domain.contract import ABANDONED_AFTER, Contract, ContractFilter
from timbres.domain.stamps import Stamps
from timbres.repositories.contracts import ContractConflict, DailyLimitReached
from timbres.repositories.dynamodb import serialize


@pytest.fixture
def services() -> Iterator[Services]:
    with running_services() as services:
        yield services


def new_contract(rfc: Any = RFC, key: str = "order-1") -> Contract:
    return Contract.create(SF, "login", rfc, 500, CALLER, key, START)


def put(services: Services, item: dict[str, Any]) -> None:
    services.dynamodb.put_item(TableName="ContractsTable", Item=serialize(item))


def delete(services: Services, item: dict[str, Any]) -> None:
    key = serialize({name: item[name] for name in ("account", "entry")})
    services.dynamodb.delete_item(TableName="ContractsTable", Key=key)


@pytest.mark.parametrize(
    ("keys", "rfcs", "created"),
    [
        pytest.param(["order"] * 6, [RFC] * 6, 1, id="one key"),
        pytest.param(list("abcdef"), [RFC] * 6, 1, id="one issuer"),
        pytest.param(list("abc"), [RFC, RFC_N, RFC_NEW], 2, id="one day"),
    ],
)
def test_concurrent_requests_share_the_key_the_issuer_and_the_day(
    services: Services, keys: list[str], rfcs: list[Any], created: int
) -> None:
    requested = [new_contract(*pair) for pair in zip(rfcs, keys, strict=True)]
    barrier = threading.Barrier(len(requested))

    def create(contract: Contract) -> Any:
        barrier.wait()
        return services.journal.create(contract, "body", 1000)

    with ThreadPoolExecutor(len(requested)) as pool:
        conflicts = list(pool.map(create, requested))

    assert conflicts.count(None) == created
    winner = requested[conflicts.index(None)]
    assert services.journal.stamps_requested_on_day(winner) == created * 500
    is_same = len(set(keys)) == 1
    expected: Any = DailyLimitReached(1000)
    if created == 1:
        expected = ContractConflict(services.contract(winner.idempotency_key), is_same, is_same)
    assert all(conflict == expected for conflict in filter(None, conflicts))


@pytest.mark.parametrize(
    "reasons",
    [
        ("None", "TransactionConflict", "None", "ConditionalCheckFailed"),
        ("None", "None", "ConditionalCheckFailed", "ConditionalCheckFailed"),
        ("None", "None", "None", "ConditionalCheckFailed"),
    ],
    ids=" ".join,
)
def test_a_known_key_is_found_for_every_cancellation_reason(
    services: Services, reasons: tuple[str, ...]
) -> None:
    first, _ = services.create()
    error = aws_error("TransactionCanceledException")
    error.response["CancellationReasons"] = [{"Code": reason} for reason in reasons]
    services.interruptions.plan(error, "TransactWriteItems")

    contract, is_replay = services.create()

    assert (contract.id, is_replay) == (first.id, True)


@pytest.mark.parametrize("prefix", ["contract#", "key#"])
def test_a_partly_restored_table_sends_no_contract(services: Services, prefix: str) -> None:
    services.pac.fault = "cut-after"
    services.create()
    for item in services.items(prefix):
        delete(services, item)
    services.pac.calls.clear()

    expected = {"key#": "contract-in-flight", "contract#": "storage-unavailable"}
    assert services.outcome() == expected[prefix]
    assert services.pac.calls == []


def test_a_contract_stored_before_0_5_0_is_read_and_not_published_again(
    services: Services,
) -> None:
    services.pac.fault = "cut-before"
    services.create()
    (item,) = services.items("contract#")
    old_steps = ("open", "send", "doubt")
    history = [line | {"step": step} for line, step in zip(item["history"], old_steps, strict=True)]
    refusal = item["refusal"] | {"status": 418}
    changes = {"step": "doubt", "announced": ["Contract Unknown"], "history": history}
    put(services, item | changes | {"refusal": refusal})

    assert services.reconcile(minutes=2) == {"unknown": 1}

    assert services.steps() == ["create", "send", "mark-unknown", "check"]
    assert services.bus.event_types == ["Contract Outcome Unknown"]
    assert services.reconcile(minutes=40) == {"rejected": 1}


def test_a_count_stored_before_0_4_0_has_only_contracted_stamps(services: Services) -> None:
    contract, _ = services.create()
    (item,) = services.items("contract#")
    del item["before"], item["after"]
    item |= {"contracted_before": 1000}
    put(services, item)

    stored = services.journal.get(SF, contract.id)

    assert stored is not None
    assert (stored.before, stored.after) == (Stamps(1000, None, None), None)


@pytest.fixture
def ids(services: Services) -> list[str]:
    """The ids of 231 open contracts; every third has another issuer, every 50th is rejected."""
    services.journal.create(new_contract(), "body", 10_000)
    (model,) = services.items("contract#")
    delete(services, model)
    ids = [f"{number:012x}{'0' * 20}" for number in range(231)]
    for n, id_ in enumerate(ids):
        item = model | {"id": id_, "entry": f"contract#{id_}", "rfc": RFC if n % 3 else RFC_N}
        item["status"] = "rejected" if n % 50 == 1 else "pending"
        put(services, item)
    return ids


def test_lists_have_every_contract(services: Services, ids: list[str]) -> None:
    journal = services.journal

    def pages(rfc: Any = None, status: str | None = None, account: str = SF) -> list[list[str]]:
        result, cursor = [], None
        while cursor is not None or not result:
            page, cursor = journal.list_page(
                account, ContractFilter(rfc, status), cursor, Deadline(60)
            )
            result.append([contract.id for contract in page])
        return result

    assert [len(page) for page in pages()] == [100, 100, 31]
    assert list(chain(*pages())) == ids[::-1]
    assert list(chain(*pages(rfc=RFC_N))) == ids[::3][::-1]
    assert list(chain(*pages(RFC_N, "rejected"))) == [ids[201], ids[51]]
    assert pages(status="unknown") == [[]] == pages(account=SECOND)
    # A filtered list stops at the deadline with a cursor.
    contracts, cursor = journal.list_page(SF, ContractFilter(status="unknown"), None, Deadline(4))
    assert (contracts, cursor is None) == ([], False)
    assert [id_ for _, id_ in journal.list_due(START + ABANDONED_AFTER)] == ids
    oldest = journal.oldest_open()
    assert oldest is not None
    assert oldest.id == ids[0]
    first, last = (datetime.fromtimestamp(n / 1000, START.tzinfo) for n in (7, 9))
    assert [contract.id for contract in journal.list_between(SF, first, last)] == ids[7:9]
