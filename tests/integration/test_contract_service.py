"""Creating and settling contracts: each request is sent at most once, and never forgotten."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.support.fakes_contracts import (
    CALLER,
    RFC,
    RFC_N,
    RFC_NEW,
    SECOND,
    SF,
    Services,
    aws_error,
    pac_error,
    running_services,
    timeout,
    unreachable,
)

from timbres.domain.contract import READ_LAG
from timbres.domain.stamps import Stamps
from timbres.errors import DEADLINE_EXCEEDED, TimbresError
from timbres.pacs.errors import CREDENTIALS_REJECTED, protocol_error
from timbres.pacs.solucion_factible.error_codes import ERRORS

CONFIRMED_CALLS = ["stamps", "create_contract", "stamps"]
CODES = {code: kind for code, kind in ERRORS.by_code.items() if kind is not CREDENTIALS_REJECTED}
REJECTING_CODES = [code for code, kind in CODES.items() if not kind.may_have_taken_effect]
UNKNOWN_CODES = [code for code, kind in CODES.items() if kind.may_have_taken_effect]


@pytest.fixture
def services() -> Iterator[Services]:
    with running_services() as services:
        yield services


def error_of(call: Callable[..., Any], *arguments: Any, **options: Any) -> TimbresError:
    with pytest.raises(TimbresError) as caught:
        call(*arguments, **options)
    return caught.value


def test_a_confirmed_contract_is_counted_published_and_observed(services: Services) -> None:
    contract, is_replay = services.create()

    assert (contract.status, contract.requested_by, is_replay) == ("confirmed", CALLER, False)
    assert contract.before == Stamps(1000, 250, 750)
    assert contract.after == Stamps(1500, 250, 1250)
    assert (contract.pac_code, contract.pac_message) == ("200", "hecho")
    assert services.pac.calls == CONFIRMED_CALLS
    assert services.pac.contracts == [(RFC, 500)]
    assert services.steps() == ["create", "send", "confirm", "count"]
    ((event_type, detail),) = services.bus.published
    assert (event_type, detail["id"]) == ("Contract Confirmed", contract.id)
    assert services.issuers.get(SF, RFC).stamps == contract.after
    assert services.items("in-flight#") == []
    assert [item["stamps"] for item in services.items("day#")] == [500]
    assert services.reconcile(hours=1) == {}


def test_a_new_issuer_has_no_count_before(services: Services) -> None:
    services.pac.new_issuers = {RFC_NEW}

    contract, _ = services.create(rfc=RFC_NEW)

    assert (contract.status, contract.before) == ("confirmed", None)
    assert contract.after == Stamps(500, 0, 500)


@pytest.mark.parametrize("days", [0, 400])
def test_a_repeated_request_returns_the_same_contract(services: Services, days: int) -> None:
    first, _ = services.create()
    services.clock.forward(days=days)
    services.secrets.put(SF, max_stamps_per_contract=100, max_stamps_per_day=0)
    services.clock.forward(minutes=2)

    contract, is_replay = services.create()

    assert (contract.id, contract.status, is_replay) == (first.id, "confirmed", True)
    assert services.pac.calls == CONFIRMED_CALLS
    assert len(services.bus.published) == 1


@pytest.mark.parametrize("changes", [{"stamps": 501}, {"rfc": RFC_N}])
def test_a_key_is_not_used_for_another_body(services: Services, changes: dict[str, Any]) -> None:
    first, _ = services.create()

    error = error_of(services.create, **changes)

    assert (error.problem_type.code, error.field) == ("idempotency-key-reused", "Idempotency-Key")
    assert error.extensions["contract"]["id"] == first.id
    assert services.pac.contracts == [(RFC, 500)]


@pytest.mark.parametrize("other", [{"key": "order-2"}, {"account": SECOND}])
def test_another_key_or_account_creates_another_contract(
    services: Services, other: dict[str, str]
) -> None:
    services.create()

    assert services.outcome(**other) == "confirmed"
    assert services.pac.contracts == [(RFC, 500)] * 2


@pytest.mark.parametrize("code", REJECTING_CODES)
def test_a_rejection_is_returned_for_ever(services: Services, code: str) -> None:
    services.interruptions.plan(pac_error(code, "No se pudo"), "create_contract")

    error = error_of(services.create)
    replay = error_of(services.create)

    assert error.problem_type.code == ERRORS.by_code[code].code
    assert (error.pac_code, error.pac_message) == (code, "No se pudo")
    assert error.problem_type.retry_after is None
    assert "new Idempotency-Key" in error.detail
    contract = services.contract()
    assert error.extensions["contract"] == {"id": contract.id, "status": "rejected"}
    assert (replay.problem_type.code, replay.detail, replay.pac_code) == (
        error.problem_type.code,
        error.detail,
        code,
    )
    assert services.steps() == ["create", "send", "reject"]
    assert services.pac.calls == ["stamps"]
    assert services.bus.published == []
    assert services.outcome("order-2") == "confirmed"
    assert [item["stamps"] for item in services.items("day#")] == [500]


@pytest.mark.parametrize(
    "error",
    [
        pac_error("500"),
        pac_error("612"),
        unreachable(),
        timeout(),
        TimbresError(DEADLINE_EXCEEDED, "No time is left."),
    ],
    ids=str,
)
def test_a_failed_count_sends_nothing(services: Services, error: TimbresError) -> None:
    services.interruptions.plan(error, "stamps")

    assert services.outcome() == error.problem_type.code

    assert services.steps() == ["create", "reject"]
    assert services.pac.contracts == []
    assert services.outcome("order-2") == "confirmed"


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    "error",
    [
        *map(pac_error, UNKNOWN_CODES),
        timeout(),
        protocol_error("solucion-factible", "no status"),
        RuntimeError("a bug"),
    ],
    ids=str,
)
def test_an_error_that_may_have_taken_effect_leaves_the_contract_unknown(
    services: Services, error: Exception, when: str
) -> None:
    services.interruptions.plan(error, "create_contract", when=when)

    contract, _ = services.create()

    assert (contract.status, contract.settled_at) == ("unknown", None)
    assert contract.rejection is not None
    assert services.pac.contracts == [(RFC, 500)] * (when == "after")
    calls = list(services.pac.calls)
    replay, is_replay = services.create()
    assert (replay.id, replay.status, is_replay) == (contract.id, "unknown", True)
    assert services.outcome("order-2") == "contract-in-flight"
    assert services.pac.calls == calls
    assert services.bus.event_types == ["Contract Outcome Unknown"]
    assert [item["contract_id"] for item in services.items("in-flight#")] == [contract.id]
    assert [item["stamps"] for item in services.items("day#")] == [500]


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ({"key": "order-1"}, "contract-pending"),
        ({"key": "order-2"}, "contract-in-flight"),
        ({"key": "order-2", "account": SECOND}, "contract-in-flight"),
        ({"key": "order-2", "rfc": RFC_N}, "confirmed"),
    ],
)
@pytest.mark.parametrize("call", ["stamps", "create_contract"])
def test_a_request_during_another_one(
    services: Services, call: str, second: dict[str, Any], expected: str
) -> None:
    outcomes = []
    services.interruptions.plan(lambda _: outcomes.append(services.outcome(**second)), call)

    assert services.outcome() == "confirmed"

    assert outcomes == [expected]
    assert services.pac.contracts.count((RFC, 500)) == 1


@pytest.mark.parametrize(
    ("limits", "before", "stamps", "field"),
    [
        ({"max_stamps_per_contract": 499}, (), 500, "max_stamps_per_contract"),
        ({"max_stamps_per_contract": 500}, (), 500, None),
        ({"max_stamps_per_day": 0}, (), 500, "0 of 0"),
        ({"max_stamps_per_day": 499}, (), 500, "0 of 499"),
        ({"max_stamps_per_day": 500}, (), 500, None),
        ({"max_stamps_per_day": 1000}, (600,), 400, None),
        ({"max_stamps_per_day": 1000}, (600,), 401, "600 of 1,000"),
        ({"max_stamps_per_day": 1000}, (600, 400), 1, "1,000 of 1,000"),
    ],
)
def test_contracts_are_limited_per_login(
    services: Services,
    limits: dict[str, int],
    before: tuple[int, ...],
    stamps: int,
    field: str | None,
) -> None:
    for account in (SF, SECOND):
        services.secrets.put(account, **limits)
    for number, earlier in enumerate(before):
        assert services.outcome(f"before-{number}", stamps=earlier) == "confirmed"
    calls = list(services.pac.calls)

    if field is None:
        assert services.outcome(account=SECOND, rfc=RFC_N, stamps=stamps) == "confirmed"
        return
    error = error_of(services.create, account=SECOND, rfc=RFC_N, stamps=stamps)

    assert error.problem_type.code in {"stamps-over-limit", "day-over-limit"}
    assert error.field == "stamps"
    assert field in error.detail
    assert services.pac.calls == calls
    if stamps <= limits.get("max_stamps_per_day", 0):
        services.clock.forward(hours=11)
        assert services.outcome(account=SECOND, rfc=RFC_N, stamps=stamps) == "confirmed"


def test_a_contract_waits_until_the_count_includes_the_previous_one(
    services: Services,
) -> None:
    services.pac.lag = timedelta(seconds=50)
    first, _ = services.create()
    assert (first.status, first.after, first.awaits_count) == ("confirmed", None, True)
    services.clock.forward(seconds=20)

    error = error_of(services.create, "order-2")

    assert error.problem_type.code == "contract-in-flight"
    assert error.problem_type.retry_after == READ_LAG.seconds - 20
    assert error.extensions["contract"]["id"] == first.id
    assert services.outcome("order-3", RFC_N) == "confirmed"
    services.clock.forward(seconds=30)
    assert services.outcome("order-2") == "confirmed"
    assert services.contract().after == Stamps(1500, 250, 1250)
    assert services.pac.contracts == [(RFC, 500), (RFC_N, 500), (RFC, 500)]


@pytest.mark.parametrize("seconds", [0, 90])
def test_a_contract_waits_while_the_count_fails(services: Services, seconds: int) -> None:
    services.interruptions.plan(unreachable(), "stamps", skip=1, times=2)
    assert services.outcome() == "confirmed"
    assert services.bus.event_types == ["Contract Confirmed"]
    services.clock.forward(seconds=seconds)

    error = error_of(services.create, "order-2")

    assert error.problem_type.code == "contract-in-flight"
    assert error.problem_type.retry_after == 60
    assert services.outcome("order-2") == "confirmed"


def test_a_login_changed_during_a_request_sends_nothing(services: Services) -> None:
    def change_login(_: str) -> None:
        services.secrets.put(SF, username="otra@example.com")
        services.clock.forward(seconds=61)

    services.interruptions.plan(change_login, "stamps")

    assert services.outcome() == "account-login-changed"

    assert services.pac.calls == ["stamps"]
    assert services.items("in-flight#") == []
    assert [item["stamps"] for item in services.items("day#")] == [0]


def test_a_contract_abandoned_during_its_count_is_not_sent(services: Services) -> None:
    services.interruptions.plan(lambda _: services.reconcile(minutes=3), "stamps")

    assert services.outcome() == "contract-not-bought"

    assert services.steps() == ["create", "abandon"]
    assert services.pac.calls == ["stamps"]


@pytest.mark.parametrize(("fault", "final"), [(None, "confirmed"), ("cut-before", "rejected")])
def test_a_slow_request_does_not_overwrite_the_reconcilers_step(
    services: Services, fault: str | None, final: str
) -> None:
    services.pac.fault = fault
    services.interruptions.plan(lambda _: services.reconcile(minutes=3), "create_contract")

    assert services.outcome() == "unknown"

    assert services.steps() == ["create", "send", "mark-unknown", "check"]
    assert services.reconcile(minutes=40) == {final: 1}


@pytest.mark.parametrize("transaction", [0, 1])
def test_a_failed_write_before_the_request_sends_nothing(
    services: Services, transaction: int
) -> None:
    services.interruptions.plan(aws_error(), "TransactWriteItems", skip=transaction)

    with pytest.raises(ClientError):
        services.create()

    assert services.pac.contracts == []
    assert len(services.items("contract#")) == transaction
    if transaction:
        assert services.outcome() == "contract-pending"
        assert services.reconcile(minutes=3) == {"rejected": 1}
        assert "never sent" in error_of(services.create).detail


@pytest.mark.parametrize("fault", [None, "cut-after"])
def test_a_failed_write_of_the_outcome_leaves_the_contract_pending(
    services: Services, fault: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    services.pac.fault = fault
    services.interruptions.plan(aws_error(), "TransactWriteItems", skip=2)

    contract, _ = services.create()

    assert (contract.status, contract.before) == ("pending", Stamps(1000, 250, 750))
    assert "could not be written to the journal" in caplog.text
    assert [services.outcome(key) for key in ("order-1", "order-2")] == [
        "contract-pending",
        "contract-in-flight",
    ]
    assert services.reconcile(minutes=3) == {"confirmed": 1}
    assert services.pac.contracts == [(RFC, 500)]


def test_a_failed_write_of_the_count_keeps_the_confirmation(services: Services) -> None:
    services.interruptions.plan(aws_error(), "TransactWriteItems", skip=3)

    contract, _ = services.create()

    assert (contract.status, contract.after) == ("confirmed", None)
    assert services.reconcile(minutes=2) == {"confirmed": 1}
    assert services.contract().after == Stamps(1500, 250, 1250)


@pytest.mark.parametrize(("call", "events"), [("put_events", 1), ("UpdateItem", 2)])
def test_an_event_is_published_at_least_once(services: Services, call: str, events: int) -> None:
    skip = 1 if call == "UpdateItem" else 0
    services.interruptions.plan(aws_error(), call, skip=skip)
    services.create()
    assert len(services.bus.published) == events - 1

    assert services.reconcile(minutes=2) == {"confirmed": 1}

    assert services.bus.event_types == ["Contract Confirmed"] * events
    assert services.reconcile(hours=1) == {}


@pytest.fixture
def under_review(services: Services) -> str:
    """The id of a contract under review, because somebody else changed the count."""
    services.pac.fault = "cut-after"
    services.create()
    services.pac.change(RFC, 7, 0)
    assert services.reconcile(minutes=2) == {"needs-review": 1}
    return services.contract().id


@pytest.mark.parametrize(
    ("outcome", "replay"), [("confirmed", "confirmed"), ("rejected", "contract-not-bought")]
)
def test_a_person_settles_a_contract_under_review(
    services: Services, under_review: str, outcome: str, replay: str
) -> None:
    # The contract outlives its account's secret.
    services.secrets.delete(SF)
    services.clock.forward(seconds=61)

    settled = services.contracts.settle(SF, under_review, outcome, "folio 8841", "arn:person")

    assert settled.status == outcome
    _, history = services.contracts.get_with_history(SF, under_review)
    assert (history[-1]["by"], history[-1]["note"]) == ("arn:person", "folio 8841")
    assert services.bus.event_types[-1] == f"Contract {outcome.title()}"
    for id_, code in (("0" * 32, "account-unknown"), (under_review, "contract-not-under-review")):
        error = error_of(services.contracts.settle, SF, id_, outcome, "folio 8841", CALLER)
        assert error.problem_type.code == code
    assert error.extensions["contract"]["status"] == outcome
    services.secrets.put(SF)
    assert error_of(services.contracts.get, SF, "0" * 32).problem_type.code == "contract-not-found"
    assert services.outcome() == replay
    assert services.outcome("order-2") == "confirmed"


@pytest.mark.parametrize("fault", [None, "cut-after"])
def test_only_a_contract_under_review_is_settled(services: Services, fault: str | None) -> None:
    services.pac.fault = fault
    contract, _ = services.create()

    error = error_of(services.contracts.settle, SF, contract.id, "rejected", "no need", CALLER)

    assert error.problem_type.code == "contract-not-under-review"
    assert services.contract().status == contract.status
