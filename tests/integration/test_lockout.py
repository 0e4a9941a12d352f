"""No fan-out locks an account: threads, processes and functions that meet new credentials.

The fake PAC locks an account after five failed sign-ins. A process is a function loaded anew,
with a client, a cache of secrets and memory of its own.
"""

from __future__ import annotations

import itertools
import json
import re
import shlex
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from string import Template
from typing import Any

import pytest
from local.fake_pacs.fake_data import FAILED_ATTEMPTS_ALLOWED, AccountState
from tests.integration.harness import RFC, SF, World, load, problem

from timbres.deadline import Deadline
from timbres.domain.account import DEFAULT_CALLS_IN_FLIGHT, Account
from timbres.domain.rfc import Rfc
from timbres.errors import TimbresError
from timbres.repositories.credential_rejections import (
    TRIAL_SECONDS,
    CredentialRejection,
    CredentialRejectionRepository,
)
from timbres.services import pac_access as access
from timbres.services import stamps as stamp_count

STAMPS = f"/accounts/{SF}/stamps"
WELL = "well"
REJECTED = "pac-credentials-rejected"
ON_TRIAL = "account-credentials-on-trial"
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"

_numbers = itertools.count()


class SignIns:
    """Every sign-in at the fake PAC: its status, and how many were under way with it."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        self.statuses: list[int] = []
        self.together: list[int] = []
        self._under_way = 0
        self._lock = threading.Lock()
        books = world.books.solucion_factible
        authenticate = books.authenticate

        def slowly(username: str, password: str) -> int:
            with self._lock:
                self._under_way += 1
                together = self._under_way
            time.sleep(seconds)
            status = authenticate(username, password)
            with self._lock:
                self._under_way -= 1
                self.statuses.append(status)
                self.together.append(together)
            return status

        monkeypatch.setattr(books, "authenticate", slowly)

    @property
    def failed(self) -> int:
        return sum(status != 200 for status in self.statuses)

    def clear(self) -> None:
        self.statuses.clear()
        self.together.clear()


@pytest.fixture
def sign_ins(world: World, monkeypatch: pytest.MonkeyPatch) -> SignIns:
    """The sign-ins of a PAC that takes a tenth of a second for each."""
    return SignIns(world, monkeypatch, 0.1)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers wait for a trial for a moment only."""
    monkeypatch.setattr(access, "_TRIAL_WAIT_SECONDS", 0.3)


@contextmanager
def processes(world: World, number: int) -> Iterator[list[Any]]:
    """Give the parts of functions that have just started, each in a process of its own."""
    with world.environment("stamp_count"):
        yield [load("stamp_count").container for _ in range(number)]


def count(parts: Any) -> str:
    """Count an issuer's stamps; return ``well`` or the error's code."""
    try:
        stamp_count.get_current(parts.access, parts.issuers, SF, Rfc(RFC), Deadline(25))
    except TimbresError as error:
        return error.problem_type.code
    return WELL


def together(world: World, number: int, threads: int) -> set[str]:
    """Let many threads of many processes count at the same time; return how it went."""
    with processes(world, number) as all_parts, ThreadPoolExecutor(number * threads) as pool:
        return set(pool.map(count, all_parts * threads))


def give(world: World, password: str | None = None, **changes: Any) -> str:
    """Give the account's secret a new version; return the password it has."""
    password = password or f"contraseña {next(_numbers)} & <nueva>"
    world.change_account(SF, world.secret(SF, password=password, **changes))
    return password


def version(world: World) -> str:
    secrets = world.stack.client("secretsmanager")
    return str(secrets.get_secret_value(SecretId=f"timbres/accounts/{SF}")["VersionId"])


def read(world: World) -> Any:
    return world.get(STAMPS, rfc=RFC)


def known(world: World) -> tuple[CredentialRejectionRepository, Account]:
    """Return the table of rejections, and the account in the version of now."""
    with processes(world, 1) as (parts,):
        return parts.access._rejection_repository, parts.accounts.get(SF)


# ------------------------------------------------------------------- a version's first call


@pytest.mark.parametrize(("number", "threads"), [(1, 32), (6, 1), (4, 8)])
def test_a_wrong_new_password_is_one_sign_in_for_all(
    world: World, sign_ins: SignIns, number: int, threads: int
) -> None:
    give(world)

    assert together(world, number, threads) == {REJECTED}

    assert sign_ins.statuses == [601]
    assert len(world.events("Credentials Rejected")) == 1


@pytest.mark.parametrize(("number", "threads"), [(1, 32), (4, 8)])
def test_a_good_new_password_is_tried_by_one_call_and_then_used_by_all(
    world: World, sign_ins: SignIns, number: int, threads: int
) -> None:
    give(world, world.credentials.password)

    assert together(world, number, threads) == {WELL}

    assert sign_ins.statuses == [200] * number * threads
    assert sign_ins.together[0] == 1
    assert max(sign_ins.together) <= number * DEFAULT_CALLS_IN_FLIGHT


def test_a_password_that_changes_while_all_work_does_not_lock_the_account(
    world: World, sign_ins: SignIns
) -> None:
    """A rotation without a pause, in the midst of calls; functions keep a secret for a minute."""
    with processes(world, 2) as all_parts, ThreadPoolExecutor(32) as pool:
        counts = [pool.submit(count, parts) for parts in all_parts * 30]
        while len(sign_ins.statuses) < 10:
            time.sleep(0.01)
        new = f"contraseña {next(_numbers)} & <nueva>"
        give(world, new)
        world.books.solucion_factible.set_account(password=new)
        outcomes = {one.result() for one in counts}

    assert outcomes == {WELL}
    assert sign_ins.failed <= 2 * DEFAULT_CALLS_IN_FLIGHT < FAILED_ATTEMPTS_ALLOWED
    assert world.events("Credentials Rejected") == []


@pytest.mark.parametrize("in_flight", [None, 1, 4])
def test_a_password_that_is_wrong_all_at_once_fails_for_the_calls_in_flight_only(
    world: World, sign_ins: SignIns, in_flight: int | None
) -> None:
    give(world, world.credentials.password, calls_in_flight=in_flight)
    with processes(world, 1) as (parts,):
        assert count(parts) == WELL
        world.books.solucion_factible.set_account(password="another")
        sign_ins.clear()
        with ThreadPoolExecutor(32) as pool:
            assert set(pool.map(count, [parts] * 64)) == {REJECTED}

    assert 1 <= sign_ins.failed <= (in_flight or DEFAULT_CALLS_IN_FLIGHT)
    assert len(world.events("Credentials Rejected")) == 1


def test_a_trial_that_proves_nothing_is_followed_by_another_alone(
    world: World, sign_ins: SignIns
) -> None:
    give(world, world.credentials.password)
    world.fault("getTimbres", "code", code="612", times=3)

    with processes(world, 2) as all_parts, ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(count, all_parts * 4))

    assert sorted(outcomes) == ["pac-rejected-request"] * 3 + [WELL] * 5
    # The PAC refused three before they signed in; the fourth, alone too, was accepted.
    assert sign_ins.together[0] == 1


def test_a_trial_that_proves_nothing_leaves_the_version_on_trial(
    world: World, sign_ins: SignIns
) -> None:
    give(world, "a wrong password")
    world.fault("getTimbres", "code", code="612", times=3)

    assert together(world, number=2, threads=8) == {"pac-rejected-request", REJECTED}

    # The three calls that the PAC refused for another reason accepted nothing.
    assert sign_ins.failed == 1


def test_a_trial_that_never_ends_holds_the_others_up_for_a_minute(
    world: World, impatient: None
) -> None:
    give(world, world.credentials.password)
    rejections, account = known(world)
    assert rejections.start_trial(account, world.clock()) is not None

    body = problem(answer := read(world), 503, ON_TRIAL, "account")
    assert answer.headers["retry-after"] == "5"
    assert SF in body["detail"]
    assert world.calls() == []
    # Nothing was sent: the key stands for a contract that is rejected.
    refused = problem(world.buy(RFC, 7), 503, ON_TRIAL, "account")
    assert refused["contract"]["status"] == "rejected"
    assert world.calls() == []

    world.clock.forward(seconds=TRIAL_SECONDS)
    assert read(world).status == 200


@pytest.mark.parametrize("until", [10**12, -1])
def test_a_trial_of_an_impossible_length_holds_nobody_up(
    world: World, impatient: None, until: int
) -> None:
    give(world, world.credentials.password)
    _, account = known(world)
    world.stack.client("dynamodb").update_item(
        TableName=world.stack.refs["CredentialRejectionsTable"],
        Key={"account": {"S": SF}, "entry": {"S": f"{account.version}#state"}},
        UpdateExpression="SET trial = :t, trial_until = :u",
        ExpressionAttributeValues={":t": {"S": "forged"}, ":u": {"N": str(until)}},
    )

    assert read(world).status == 200


def test_a_version_once_accepted_costs_one_read_a_call_and_no_write(world: World) -> None:
    assert read(world).status == 200
    requests: list[str] = []
    for operation in ("Query", "GetItem", "UpdateItem", "PutItem"):

        def noted(request: Any, operation: str = operation, **_: Any) -> None:
            if world.stack.refs["CredentialRejectionsTable"] in request.body.decode():
                requests.append(operation)

        world.watch_aws("dynamodb", operation, noted)
    world.cold()

    assert read(world).status == 200

    assert requests == ["Query"]


def test_without_the_table_no_new_password_is_tried(world: World) -> None:
    give(world, world.credentials.password)
    world.break_aws("dynamodb", "UpdateItem", "ThrottlingException")
    problem(read(world), 503, "storage-unavailable")
    assert world.calls() == []


# ---------------------------------------------------------------------- versions apart


def test_the_rejection_of_an_older_version_leaves_that_of_a_newer_one(
    world: World, sign_ins: SignIns
) -> None:
    with processes(world, 3) as (old, new, cold):
        assert count(old) == WELL
        world.books.solucion_factible.set_account(password="another")
        give(world)
        # The new version is rejected, while a process is about to call with the old one.
        assert count(new) == REJECTED
        with pytest.raises(TimbresError):
            old.access.once(old.accounts.get(SF), lambda pac: pac.stamps(Rfc(RFC), Deadline(25)))
        assert [item["account"] for item in world.rejections()] == [SF, SF]
        sign_ins.clear()

        assert [count(parts) for parts in (old, new, cold) for _ in range(2)] == [REJECTED] * 6

    assert sign_ins.statuses == []


def test_a_purchase_is_not_sent_with_a_password_that_was_rejected_meanwhile(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamps = world.books.solucion_factible.stamps

    def then_it_is_rejected(*asked: Any) -> Any:
        rejections, account = known(world)
        now = world.clock()
        rejections.reject(account, CredentialRejection(now.isoformat(), "601", None), now)
        return stamps(*asked)

    monkeypatch.setattr(world.books.solucion_factible, "stamps", then_it_is_rejected)

    problem(world.buy(RFC, 7), 502, REJECTED)

    assert world.calls() == ["getTimbres"]


# --------------------------------------------------------- what AWS loses or does not take


class Lossy:
    """A client of DynamoDB that loses each response: the SDK sends the write again."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def update_item(self, **request: Any) -> Any:
        self._client.update_item(**request)
        return self._client.update_item(**request)


def test_lost_responses_of_writes_change_nothing(world: World) -> None:
    give(world)
    rejections, account = known(world)
    lossy = CredentialRejectionRepository(
        Lossy(rejections._dynamodb), world.stack.refs["CredentialRejectionsTable"]
    )
    now = world.clock()
    rejection = CredentialRejection(now.isoformat(), "601", None)

    token = lossy.start_trial(account, now)
    assert token is not None
    assert lossy.start_trial(account, now) is None
    lossy.end_trial(account, token)
    assert lossy.start_trial(account, now) not in (None, token)
    lossy.accept(account, now)
    assert lossy.get_state(account).accepted

    assert lossy.reject(account, rejection, now)
    assert not lossy.reject(account, rejection, now)
    assert not lossy.start_publication(account, now)
    lossy.end_publication(account, now, published=False)
    assert lossy.start_publication(account, now)
    lossy.end_publication(account, now, published=True)
    assert not lossy.start_publication(account, now)
    state = lossy.get_state(account)
    assert state.rejection == CredentialRejection(now.isoformat(), "601", None, published=True)


@pytest.fixture
def wrong(world: World) -> World:
    give(world)
    return world


def test_a_rejection_that_could_not_be_published_is_published_by_the_next_caller(
    wrong: World,
) -> None:
    failures = wrong.break_aws("events", "PutEvents", "AccessDeniedException", times=2)
    for _ in range(4):
        problem(read(wrong), 502, REJECTED)
    wrong.cold()
    problem(read(wrong), 502, REJECTED)

    assert len(failures) == 2
    assert len(wrong.calls()) == 1
    (event,) = wrong.events("Credentials Rejected")
    (item,) = wrong.rejections()
    assert (event["at"], event["pac"]["code"]) == (item["at"], "601")
    assert len([mail for mail in wrong.mails() if "rechazó" in mail]) == 1


def test_a_rejection_whose_publisher_was_killed_is_published_a_minute_later(wrong: World) -> None:
    rejections, account = known(wrong)
    now = wrong.clock()
    assert rejections.reject(account, CredentialRejection(now.isoformat(), "601", "no"), now)

    problem(read(wrong), 502, REJECTED)
    assert wrong.events("Credentials Rejected") == []
    wrong.clock.forward(minutes=1)
    for _ in range(2):
        problem(read(wrong), 502, REJECTED)

    (event,) = wrong.events("Credentials Rejected")
    assert event["at"] == now.isoformat()


def test_a_rejection_that_could_not_be_noted_keeps_the_process_from_another_sign_in(
    world: World,
) -> None:
    with processes(world, 1) as (parts,):
        assert count(parts) == WELL
        world.books.solucion_factible.set_account(password="another")
        failures = world.break_aws("dynamodb", "UpdateItem", "ThrottlingException")
        before = len(world.calls())
        assert [count(parts) for _ in range(3)] == [REJECTED] * 3
        assert len(world.calls()) == before + 1
        assert failures
        assert world.rejections() == []
        assert world.events("Credentials Rejected") == []

        world.mend_aws()
        assert count(parts) == REJECTED

    assert len(world.calls()) == before + 1
    assert len(world.rejections()) == 1
    assert len(world.events("Credentials Rejected")) == 1


def test_a_purchase_whose_rejection_could_not_be_noted_is_rejected_all_the_same(
    world: World,
) -> None:
    world.buy(RFC, 1)
    world.fault("agregarContrato", "code", code="601")
    table = world.stack.refs["CredentialRejectionsTable"]
    with processes(world, 1) as (parts,):
        dynamodb = parts.access._rejection_repository._dynamodb

    def broken(request: Any, **_: Any) -> None:
        if table in request.body.decode():
            raise ConnectionError("no way to the table")

    dynamodb.meta.events.register("before-send.dynamodb.UpdateItem", broken)
    world.at_end.append(
        lambda: dynamodb.meta.events.unregister("before-send.dynamodb.UpdateItem", broken)
    )

    refused = problem(world.buy(RFC, 7), 502, REJECTED)

    assert refused["contract"]["status"] == "rejected"
    assert world.purchases() == [(RFC, 1)]


# ------------------------------------------------------------------ as docs/operations.md says


def commands(heading: str) -> list[str]:
    """Return the commands of one section of docs/operations.md, each on one line."""
    section = OPERATIONS.read_text(encoding="utf-8").split(f"\n## {heading}\n")
    text = section[1].split("\n## ")[0] if len(section) == 2 else ""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return [
        line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.strip()
    ]


def carry_out(world: World, command: str) -> None:
    """Carry out one command of AWS's command line on a table, as it is documented."""
    values = {
        "CredentialRejectionsTableName": world.stack.refs["CredentialRejectionsTable"],
        "VERSION": version(world),
        "NOW": world.clock().isoformat(),
    }
    aws, service, operation, *options = shlex.split(Template(command).substitute(values))
    assert (aws, service) == ("aws", "dynamodb")
    names = {"--table-name": "TableName", "--key": "Key", "--item": "Item"}
    arguments = {
        names[name]: json.loads(value) if value.startswith("{") else value
        for name, value in zip(options[::2], options[1::2], strict=True)
    }
    getattr(world.stack.client("dynamodb"), operation.replace("-", "_"))(**arguments)


def command(heading: str, operation: str) -> str:
    (found,) = (one for one in commands(heading) if operation in one)
    return found


@pytest.mark.parametrize("then", [WELL, REJECTED])
def test_an_operator_clears_a_rejection_and_it_is_tried_by_one_call(
    world: World, sign_ins: SignIns, then: str
) -> None:
    books = world.books.solucion_factible
    assert read(world).status == 200
    books.set_account(state=AccountState.TOO_MANY_ATTEMPTS)
    problem(read(world), 502, REJECTED)
    sign_ins.clear()
    if then == WELL:
        books.set_account(state=AccountState.ACTIVE)

    carry_out(world, command("Clearing a rejection", "delete-item"))

    assert world.rejections() == []
    assert together(world, 2, 8) == {then}
    assert sign_ins.together[0] == 1
    assert sign_ins.failed == (then == REJECTED)
    assert len(world.events("Credentials Rejected")) == 1 + (then == REJECTED)


def test_a_rotation_as_documented_has_no_failed_sign_in(world: World, sign_ins: SignIns) -> None:
    books = world.books.solucion_factible
    assert together(world, 2, 4) == {WELL}

    carry_out(world, command("Rotating a secret", "put-item"))
    sign_ins.clear()
    assert together(world, 2, 4) == {REJECTED}
    new = f"contraseña {next(_numbers)} & <nueva>"
    books.set_account(password=new)
    assert together(world, 2, 4) == {REJECTED}
    assert sign_ins.statuses == []
    give(world, new)

    assert together(world, 2, 4) == {WELL}
    assert sign_ins.failed == 0
    assert world.events("Credentials Rejected") == []


def test_a_rotation_that_is_called_off_goes_on_with_the_old_password(world: World) -> None:
    carry_out(world, command("Rotating a secret", "put-item"))
    problem(read(world), 502, REJECTED)
    carry_out(world, command("Rotating a secret", "delete-item"))
    assert read(world).status == 200
