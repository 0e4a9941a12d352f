"""Sign-ins at a PAC that locks an account after five wrong passwords.

A process has its own client, secret cache and memory; all processes share the table.
``test_reliability.py`` shows that a rejection is published despite faults of AWS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.support.fakes_contracts import (
    PASSWORD,
    RFC,
    SF,
    Process,
    Services,
    aws_error,
    pac_error,
    running_services,
)

from timbres.deadline import Deadline
from timbres.domain.account import DEFAULT_CALLS_IN_FLIGHT, Account
from timbres.errors import PacError, TimbresError
from timbres.repositories.credential_rejections import TRIAL_SECONDS, CredentialRejection
from timbres.repositories.dynamodb import deserialize, serialize

SUCCESS = "success"
REJECTED = "pac-credentials-rejected"
ON_TRIAL = "account-credentials-on-trial"
NEW = "contraseña & <nueva>"
TABLE = "CredentialRejectionsTable"
REACHCORE = {"pac": "reachcore", "environment": "uat", "api_key": "k"}


@pytest.fixture
def services() -> Iterator[Services]:
    with running_services(accepted=False) as services:
        services.pac.sign_in_seconds = 0.01
        yield services


def count(process: Process | Services, **options: Any) -> str:
    """Count an issuer's stamps; return ``success`` or the error's code."""
    try:
        account = process.access.require_account(SF, "stamps")
        process.access.client(account, **options).stamps(RFC, Deadline(25))
    except TimbresError as error:
        return error.problem_type.code
    return SUCCESS


def count_concurrently(services: Services, processes: int, threads: int) -> list[str]:
    new = [services.new_process() for _ in range(processes)]
    with ThreadPoolExecutor(processes * threads) as pool:
        return list(pool.map(count, new * threads))


def account(services: Services) -> Account:
    return services.new_process().access.require_account(SF)


def rejection_items(services: Services) -> list[dict[str, Any]]:
    items = map(deserialize, services.dynamodb.scan(TableName=TABLE)["Items"])
    return [item for item in items if item["entry"].endswith("#rejection")]


def rotate(services: Services) -> None:
    services.pac.password = NEW
    services.secrets.put(SF, password=NEW)


several_processes = pytest.mark.parametrize(("processes", "threads"), [(1, 16), (4, 4)])


@several_processes
def test_a_wrong_new_password_causes_one_sign_in(
    services: Services, processes: int, threads: int
) -> None:
    services.secrets.put(SF, password="wrong")

    assert set(count_concurrently(services, processes, threads)) == {REJECTED}

    assert services.pac.sign_ins == [(False, 1)]
    assert services.bus.event_types == ["Credentials Rejected"]


@several_processes
def test_a_new_password_is_tried_by_one_call_first(
    services: Services, processes: int, threads: int
) -> None:
    assert set(count_concurrently(services, processes, threads)) == {SUCCESS}

    concurrent = [number for _, number in services.pac.sign_ins]
    assert len(concurrent) == processes * threads
    assert concurrent[0] == 1
    assert max(concurrent) <= processes * DEFAULT_CALLS_IN_FLIGHT


def test_a_trial_without_a_result_is_followed_by_another_single_trial(
    services: Services,
) -> None:
    services.interruptions.plan(pac_error("612"), "stamps", times=3)

    outcomes = count_concurrently(services, 2, 4)

    assert sorted(outcomes) == ["pac-rejected-request"] * 3 + [SUCCESS] * 5
    assert services.pac.sign_ins[:4] == [(True, 1)] * 4


def test_an_abandoned_trial_blocks_other_calls_for_a_minute(services: Services) -> None:
    assert services.rejections.start_trial(account(services), services.clock()) is not None
    process = services.new_process(trial_wait_seconds=0.01)
    services.contracts = process.contracts

    assert (count(process), services.outcome()) == (ON_TRIAL, ON_TRIAL)
    assert services.steps() == ["create", "reject"]
    assert services.pac.sign_ins == []

    services.clock.forward(seconds=TRIAL_SECONDS + 1)
    assert count(process) == SUCCESS


@pytest.mark.parametrize("until", [10**12, -1])
def test_a_trial_with_an_invalid_end_blocks_no_call(services: Services, until: int) -> None:
    entry = f"{account(services).version}#state"
    item = {"account": SF, "entry": entry, "trial": "forged", "trial_until": until}
    services.dynamodb.put_item(TableName=TABLE, Item=serialize(item))

    assert count(services) == SUCCESS


def test_an_accepted_version_costs_one_read_per_call(services: Services) -> None:
    assert count(services) == SUCCESS
    calls: list[str] = []
    services.interruptions.plan(calls.append, times=100)

    assert count(services.new_process()) == SUCCESS

    assert calls == ["get_secret_value", "Query", "stamps"]


def test_a_new_password_is_not_tried_without_the_table(services: Services) -> None:
    services.interruptions.plan(aws_error("ThrottlingException"), "UpdateItem")

    with pytest.raises(ClientError):
        count(services)

    assert services.pac.sign_ins == []


def test_a_password_changed_during_calls_fails_only_the_calls_in_flight(
    services: Services,
) -> None:
    services.interruptions.plan(lambda _: rotate(services), "stamps", skip=10)

    assert set(count_concurrently(services, 2, 20)) == {SUCCESS}

    assert services.pac.failed_sign_ins <= 2 * DEFAULT_CALLS_IN_FLIGHT
    assert services.bus.published == []


@pytest.mark.parametrize("in_flight", [1, 4])
def test_an_invalidated_password_fails_only_the_calls_in_flight(
    services: Services, in_flight: int
) -> None:
    services.secrets.put(SF, calls_in_flight=in_flight)
    assert count(services) == SUCCESS
    services.pac.password = "another"

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(count, [services] * 32)) == {REJECTED}

    assert 1 <= services.pac.failed_sign_ins <= in_flight
    assert services.bus.event_types == ["Credentials Rejected"]


@pytest.mark.parametrize("is_valid", [True, False])
def test_after_a_rejection_a_new_version_is_tried_by_one_call(
    services: Services, is_valid: bool
) -> None:
    services.pac.password = "another"
    assert [count(services), count(services.new_process())] == [REJECTED] * 2
    assert services.pac.failed_sign_ins == 1
    services.pac.password = PASSWORD if is_valid else "another"

    services.secrets.put(SF)

    expected = SUCCESS if is_valid else REJECTED
    assert set(count_concurrently(services, 2, 4)) == {expected}
    assert services.pac.sign_ins[1] == (is_valid, 1)
    assert services.pac.failed_sign_ins == 1 + (not is_valid)
    assert len(services.bus.published) == 1 + (not is_valid)


@pytest.mark.parametrize(("follow", "first"), [(True, SUCCESS), (False, REJECTED)])
def test_a_rotated_password_is_used_after_one_rejection(
    services: Services, follow: bool, first: str
) -> None:
    with_old_password = services.new_process()
    assert [count(services), count(with_old_password)] == [SUCCESS] * 2
    rotate(services)

    assert count(services, follow_renewal=follow) == first

    services.clock.forward(seconds=2)
    processes = (services, services.new_process(), with_old_password)
    assert [count(process) for process in processes] == [SUCCESS] * 3
    assert services.pac.failed_sign_ins == 1
    assert services.bus.published == []


def test_a_typing_error_in_a_new_password_is_found_by_one_process(
    services: Services,
) -> None:
    old, new, cold = services.new_process(), services.new_process(), services.new_process()
    assert count(old) == SUCCESS
    services.pac.password = "another"
    services.secrets.put(SF, password="typing error")
    assert count(new) == REJECTED
    assert count(old, follow_renewal=False) == REJECTED
    assert [item["account"] for item in rejection_items(services)] == [SF, SF]
    failed = services.pac.failed_sign_ins

    assert [count(process) for process in (old, new, cold) for _ in range(2)] == [REJECTED] * 6

    assert services.pac.failed_sign_ins == failed == 2


def test_a_rejected_account_may_change_its_pac(services: Services) -> None:
    assert count(services) == SUCCESS
    services.pac.password = "another"
    services.secrets.put(SF, **REACHCORE)

    assert count(services) == REJECTED
    assert count(services.new_process()) == "operation-unsupported"
    assert services.pac.failed_sign_ins == 1


def reject_meanwhile(services: Services) -> None:
    rejection, now = CredentialRejection("now", "601", None), services.clock()
    services.rejections.reject(account(services), rejection, now)


@pytest.mark.parametrize(
    ("meanwhile", "sign_ins"), [(rotate, [True, False]), (reject_meanwhile, [True])]
)
def test_a_contract_is_never_sent_again_with_a_renewed_password(
    services: Services, meanwhile: Callable[[Services], None], sign_ins: list[bool]
) -> None:
    services.interruptions.plan(lambda _: meanwhile(services), "stamps", when="after")

    assert services.outcome() == REJECTED

    assert [accepted for accepted, _ in services.pac.sign_ins] == sign_ins
    assert services.pac.contracts == []
    assert services.steps() == ["create", "send", "reject"]


def test_a_rejection_has_the_redacted_message_of_the_pac(services: Services) -> None:
    services.secrets.put(SF, password="wrong password")

    for _ in range(2):
        with pytest.raises(PacError) as caught:
            services.access.client(account(services)).stamps(RFC, Deadline(25))
        assert (caught.value.pac_code, caught.value.pac_message) == ("601", "wrong: ***")

    assert "until the secret changes" in caught.value.detail
    ((_, event),) = services.bus.published
    assert (event["account"], event["at"]) == (SF, services.clock().isoformat())
    assert (event["pac"]["code"], event["pac"]["message"]) == ("601", "wrong: ***")


def test_a_rejection_that_cannot_be_stored_stops_the_process(services: Services) -> None:
    assert count(services) == SUCCESS
    services.pac.password = "another"
    services.interruptions.plan(aws_error("ThrottlingException"), "UpdateItem", times=100)
    assert [count(services) for _ in range(3)] == [REJECTED] * 3
    assert services.pac.failed_sign_ins == 1
    assert rejection_items(services) == []
    assert services.bus.published == []

    services.interruptions.clear()

    assert count(services) == REJECTED
    assert services.pac.failed_sign_ins == 1
    assert len(rejection_items(services)) == 1
    assert services.bus.event_types == ["Credentials Rejected"]
