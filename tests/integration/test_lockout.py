"""Concurrent calls with new credentials do not lock an account.

The fake PAC locks an account after five failed sign-ins. A "process" is a newly loaded function
with its own client, secret cache and memory.
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
from tests.support.events import check_problem, load_function
from tests.support.fake_stack import RFC, SF, FakeStack

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
SUCCESS = "success"
REJECTED = "pac-credentials-rejected"
ON_TRIAL = "account-credentials-on-trial"
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"

_numbers = itertools.count()


class SignIns:
    """Records the status of each sign-in at the fake PAC, and the number of concurrent ones."""

    def __init__(self, stack: FakeStack, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        self.statuses: list[int] = []
        self.concurrent: list[int] = []
        self._in_progress = 0
        self._lock = threading.Lock()
        state = stack.pacs.state.solucion_factible
        authenticate = state.authenticate

        def authenticate_slowly(username: str, password: str) -> int:
            with self._lock:
                self._in_progress += 1
                concurrent = self._in_progress
            time.sleep(seconds)
            status = authenticate(username, password)
            with self._lock:
                self._in_progress -= 1
                self.statuses.append(status)
                self.concurrent.append(concurrent)
            return status

        monkeypatch.setattr(state, "authenticate", authenticate_slowly)

    @property
    def failed(self) -> int:
        return sum(status != 200 for status in self.statuses)

    def clear(self) -> None:
        self.statuses.clear()
        self.concurrent.clear()


@pytest.fixture
def sign_ins(stack: FakeStack, monkeypatch: pytest.MonkeyPatch) -> SignIns:
    """The sign-ins of a PAC that takes 0.1 seconds for each."""
    return SignIns(stack, monkeypatch, 0.1)


@pytest.fixture
def short_trial_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers wait at most 0.3 seconds for a trial."""
    monkeypatch.setattr(access, "_TRIAL_WAIT_SECONDS", 0.3)


@contextmanager
def start_processes(stack: FakeStack, number: int) -> Iterator[list[Any]]:
    """Yield the containers of newly started functions, one per process."""
    with stack.environment("stamp_count"):
        yield [load_function("stamp_count").container for _ in range(number)]


def count(container: Any) -> str:
    """Count an issuer's stamps; return ``success`` or the error's code."""
    try:
        stamp_count.get_current(
            container.pac_access,
            container.issuer_repository,
            container.contract_repository,
            SF,
            Rfc(RFC),
            Deadline(25),
        )
    except TimbresError as error:
        return error.problem_type.code
    return SUCCESS


def count_concurrently(stack: FakeStack, number: int, threads: int) -> set[str]:
    """Count in many threads of many processes at the same time; return the outcomes."""
    with start_processes(stack, number) as containers, ThreadPoolExecutor(number * threads) as pool:
        return set(pool.map(count, containers * threads))


def change_secret(stack: FakeStack, password: str | None = None, **changes: Any) -> str:
    """Create a new version of the secret; return its password."""
    password = password or f"contraseña {next(_numbers)} & <nueva>"
    stack.accounts.change(SF, stack.accounts.secret(SF, password=password, **changes))
    return password


def current_version(stack: FakeStack) -> str:
    secrets = stack.aws.client("secretsmanager")
    return str(secrets.get_secret_value(SecretId=f"timbres/accounts/{SF}")["VersionId"])


def read(stack: FakeStack) -> Any:
    return stack.get(STAMPS, rfc=RFC)


def rejections_and_account(stack: FakeStack) -> tuple[CredentialRejectionRepository, Account]:
    """Return the rejection repository and the account with its current secret version."""
    with start_processes(stack, 1) as (container,):
        return container.pac_access._rejection_repository, container.account_repository.get(SF)


# --------------------------------------------------------------- first call of a version


@pytest.mark.parametrize(("number", "threads"), [(1, 32), (6, 1), (4, 8)])
def test_wrong_new_password_causes_one_sign_in(
    stack: FakeStack, sign_ins: SignIns, number: int, threads: int
) -> None:
    change_secret(stack)

    assert count_concurrently(stack, number, threads) == {REJECTED}

    assert sign_ins.statuses == [601]
    assert len(stack.events("Credentials Rejected")) == 1


@pytest.mark.parametrize(("number", "threads"), [(1, 32), (4, 8)])
def test_valid_new_password_is_tried_by_one_call_first(
    stack: FakeStack, sign_ins: SignIns, number: int, threads: int
) -> None:
    change_secret(stack, stack.credentials.password)

    assert count_concurrently(stack, number, threads) == {SUCCESS}

    assert sign_ins.statuses == [200] * number * threads
    assert sign_ins.concurrent[0] == 1
    assert max(sign_ins.concurrent) <= number * DEFAULT_CALLS_IN_FLIGHT


def test_password_changed_during_calls_does_not_lock_the_account(
    stack: FakeStack, sign_ins: SignIns
) -> None:
    """The rotation happens during calls; the functions cache the secret for a minute."""
    with start_processes(stack, 2) as containers, ThreadPoolExecutor(32) as pool:
        counts = [pool.submit(count, container) for container in containers * 30]
        while len(sign_ins.statuses) < 10:
            time.sleep(0.01)
        new = f"contraseña {next(_numbers)} & <nueva>"
        change_secret(stack, new)
        stack.pacs.state.solucion_factible.set_account(password=new)
        outcomes = {future.result() for future in counts}

    assert outcomes == {SUCCESS}
    assert sign_ins.failed <= 2 * DEFAULT_CALLS_IN_FLIGHT < FAILED_ATTEMPTS_ALLOWED
    assert stack.events("Credentials Rejected") == []


@pytest.mark.parametrize("in_flight", [None, 1, 4])
def test_invalidated_password_fails_only_for_the_calls_in_flight(
    stack: FakeStack, sign_ins: SignIns, in_flight: int | None
) -> None:
    change_secret(stack, stack.credentials.password, calls_in_flight=in_flight)
    with start_processes(stack, 1) as (container,):
        assert count(container) == SUCCESS
        stack.pacs.state.solucion_factible.set_account(password="another")
        sign_ins.clear()
        with ThreadPoolExecutor(32) as pool:
            assert set(pool.map(count, [container] * 64)) == {REJECTED}

    assert 1 <= sign_ins.failed <= (in_flight or DEFAULT_CALLS_IN_FLIGHT)
    assert len(stack.events("Credentials Rejected")) == 1


def test_inconclusive_trial_is_followed_by_another_single_trial(
    stack: FakeStack, sign_ins: SignIns
) -> None:
    change_secret(stack, stack.credentials.password)
    stack.pacs.fault("getTimbres", "code", code="612", times=3)

    with start_processes(stack, 2) as containers, ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(count, containers * 4))

    assert sorted(outcomes) == ["pac-rejected-request"] * 3 + [SUCCESS] * 5
    # The PAC rejected three calls before the sign-in and accepted the fourth, also a trial.
    assert sign_ins.concurrent[0] == 1


def test_inconclusive_trial_leaves_the_version_on_trial(
    stack: FakeStack, sign_ins: SignIns
) -> None:
    change_secret(stack, "a wrong password")
    stack.pacs.fault("getTimbres", "code", code="612", times=3)

    assert count_concurrently(stack, number=2, threads=8) == {"pac-rejected-request", REJECTED}

    # The three calls that failed for another reason prove nothing.
    assert sign_ins.failed == 1


def test_abandoned_trial_blocks_other_calls_for_a_minute(
    stack: FakeStack, short_trial_wait: None
) -> None:
    change_secret(stack, stack.credentials.password)
    rejections, account = rejections_and_account(stack)
    assert rejections.start_trial(account, stack.clock()) is not None

    body = check_problem(response := read(stack), 503, ON_TRIAL, "account")
    assert response.headers["retry-after"] == "5"
    assert SF in body["detail"]
    assert stack.pacs.calls() == []
    # Nothing was sent, so the contract is rejected.
    problem = check_problem(stack.create_contract(RFC, 7), 503, ON_TRIAL, "account")
    assert problem["contract"]["status"] == "rejected"
    assert stack.pacs.calls() == []

    stack.clock.forward(seconds=TRIAL_SECONDS)
    assert read(stack).status == 200


@pytest.mark.parametrize("until", [10**12, -1])
def test_trial_with_an_invalid_end_blocks_no_call(
    stack: FakeStack, short_trial_wait: None, until: int
) -> None:
    change_secret(stack, stack.credentials.password)
    _, account = rejections_and_account(stack)
    stack.aws.client("dynamodb").update_item(
        TableName=stack.aws.refs["CredentialRejectionsTable"],
        Key={"account": {"S": SF}, "entry": {"S": f"{account.version}#state"}},
        UpdateExpression="SET trial = :t, trial_until = :u",
        ExpressionAttributeValues={":t": {"S": "forged"}, ":u": {"N": str(until)}},
    )

    assert read(stack).status == 200


def test_accepted_version_costs_one_read_per_call_and_no_write(stack: FakeStack) -> None:
    assert read(stack).status == 200
    requests: list[str] = []
    for operation in ("Query", "GetItem", "UpdateItem", "PutItem"):

        def record(request: Any, operation: str = operation, **_: Any) -> None:
            if stack.aws.refs["CredentialRejectionsTable"] in request.body.decode():
                requests.append(operation)

        stack.aws_faults.watch("dynamodb", operation, record)
    stack.reset_warm_functions()

    assert read(stack).status == 200

    assert requests == ["Query"]


def test_new_password_is_not_tried_without_the_table(stack: FakeStack) -> None:
    change_secret(stack, stack.credentials.password)
    stack.aws_faults.reject("dynamodb", "UpdateItem", "ThrottlingException")
    check_problem(read(stack), 503, "storage-unavailable")
    assert stack.pacs.calls() == []


# ----------------------------------------------------------------------- secret versions


def test_rejection_of_an_old_version_keeps_that_of_a_new_one(
    stack: FakeStack, sign_ins: SignIns
) -> None:
    with start_processes(stack, 3) as (old, new, cold):
        assert count(old) == SUCCESS
        stack.pacs.state.solucion_factible.set_account(password="another")
        change_secret(stack)
        # The new version is rejected, while a process is about to call with the old one.
        assert count(new) == REJECTED
        with pytest.raises(TimbresError):
            old.pac_access.call_once(
                old.account_repository.get(SF), lambda pac: pac.stamps(Rfc(RFC), Deadline(25))
            )
        assert [item["account"] for item in stack.accounts.rejections()] == [SF, SF]
        sign_ins.clear()

        assert [count(container) for container in (old, new, cold) for _ in range(2)] == [
            REJECTED
        ] * 6

    assert sign_ins.statuses == []


def test_contract_is_not_sent_with_credentials_rejected_meanwhile(
    stack: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamps = stack.pacs.state.solucion_factible.stamps

    def reject_credentials(*request: Any) -> Any:
        rejections, account = rejections_and_account(stack)
        now = stack.clock()
        rejections.reject(account, CredentialRejection(now.isoformat(), "601", None), now)
        return stamps(*request)

    monkeypatch.setattr(stack.pacs.state.solucion_factible, "stamps", reject_credentials)

    check_problem(stack.create_contract(RFC, 7), 502, REJECTED)

    assert stack.pacs.calls() == ["getTimbres"]


# -------------------------------------------------------------------------- AWS failures


class RepeatingClient:
    """A DynamoDB client that sends each update twice, as the SDK does after a lost response."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def update_item(self, **request: Any) -> Any:
        self._client.update_item(**request)
        return self._client.update_item(**request)


def test_lost_responses_of_writes_change_nothing(stack: FakeStack) -> None:
    change_secret(stack)
    rejections, account = rejections_and_account(stack)
    repository = CredentialRejectionRepository(
        RepeatingClient(rejections._dynamodb), stack.aws.refs["CredentialRejectionsTable"]
    )
    now = stack.clock()
    rejection = CredentialRejection(now.isoformat(), "601", None)

    token = repository.start_trial(account, now)
    assert token is not None
    assert repository.start_trial(account, now) is None
    repository.end_trial(account, token)
    assert repository.start_trial(account, now) not in (None, token)
    repository.accept(account, now)
    assert repository.get_state(account).accepted

    assert repository.reject(account, rejection, now)
    assert not repository.reject(account, rejection, now)
    assert not repository.start_publication(account, now)
    repository.end_publication(account, now, published=False)
    assert repository.start_publication(account, now)
    repository.end_publication(account, now, published=True)
    assert not repository.start_publication(account, now)
    state = repository.get_state(account)
    assert state.rejection == CredentialRejection(now.isoformat(), "601", None, published=True)


@pytest.fixture
def wrong_password(stack: FakeStack) -> None:
    change_secret(stack)


def test_unpublished_rejection_is_published_by_the_next_call(
    stack: FakeStack,
    wrong_password: None,
) -> None:
    failures = stack.aws_faults.reject("events", "PutEvents", "AccessDeniedException", times=2)
    for _ in range(4):
        check_problem(read(stack), 502, REJECTED)
    stack.reset_warm_functions()
    check_problem(read(stack), 502, REJECTED)

    assert len(failures) == 2
    assert len(stack.pacs.calls()) == 1
    (event,) = stack.events("Credentials Rejected")
    (item,) = stack.accounts.rejections()
    assert (event["at"], event["pac"]["code"]) == (item["at"], "601")
    assert len([mail for mail in stack.mails() if "rechazó" in mail]) == 1


def test_rejection_of_a_killed_publisher_is_published_a_minute_later(
    stack: FakeStack,
    wrong_password: None,
) -> None:
    rejections, account = rejections_and_account(stack)
    now = stack.clock()
    assert rejections.reject(account, CredentialRejection(now.isoformat(), "601", "no"), now)

    check_problem(read(stack), 502, REJECTED)
    assert stack.events("Credentials Rejected") == []
    stack.clock.forward(minutes=1)
    for _ in range(2):
        check_problem(read(stack), 502, REJECTED)

    (event,) = stack.events("Credentials Rejected")
    assert event["at"] == now.isoformat()


def test_unstored_rejection_prevents_another_sign_in_of_the_process(
    stack: FakeStack,
) -> None:
    with start_processes(stack, 1) as (container,):
        assert count(container) == SUCCESS
        stack.pacs.state.solucion_factible.set_account(password="another")
        failures = stack.aws_faults.reject("dynamodb", "UpdateItem", "ThrottlingException")
        before = len(stack.pacs.calls())
        assert [count(container) for _ in range(3)] == [REJECTED] * 3
        assert len(stack.pacs.calls()) == before + 1
        assert failures
        assert stack.accounts.rejections() == []
        assert stack.events("Credentials Rejected") == []

        stack.aws_faults.restore()
        assert count(container) == REJECTED

    assert len(stack.pacs.calls()) == before + 1
    assert len(stack.accounts.rejections()) == 1
    assert len(stack.events("Credentials Rejected")) == 1


def test_contract_is_rejected_although_the_credential_rejection_is_not_stored(
    stack: FakeStack,
) -> None:
    stack.create_contract(RFC, 1)
    stack.pacs.fault("agregarContrato", "code", code="601")
    table = stack.aws.refs["CredentialRejectionsTable"]

    def broken(request: Any, **_: Any) -> None:
        if table in request.body.decode():
            raise ConnectionError("no way to the table")

    stack.aws_faults.watch("dynamodb", "UpdateItem", broken)

    problem = check_problem(stack.create_contract(RFC, 7), 502, REJECTED)

    assert problem["contract"]["status"] == "rejected"
    assert stack.pacs.contracts() == [(RFC, 1)]


# ---------------------------------------------------------- commands of docs/operations.md


def documented_commands(heading: str) -> list[str]:
    """Return the commands of one section of docs/operations.md, each on one line."""
    section = OPERATIONS.read_text(encoding="utf-8").split(f"\n## {heading}\n")
    text = section[1].split("\n## ")[0] if len(section) == 2 else ""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return [
        line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.strip()
    ]


def run_command(stack: FakeStack, command: str) -> None:
    """Run a documented AWS CLI command on a table."""
    values = {
        "CredentialRejectionsTableName": stack.aws.refs["CredentialRejectionsTable"],
        "VERSION": current_version(stack),
        "NOW": stack.clock().isoformat(),
    }
    aws, service, operation, *options = shlex.split(Template(command).substitute(values))
    assert (aws, service) == ("aws", "dynamodb")
    names = {"--table-name": "TableName", "--key": "Key", "--item": "Item"}
    arguments = {
        names[name]: json.loads(value) if value.startswith("{") else value
        for name, value in zip(options[::2], options[1::2], strict=True)
    }
    getattr(stack.aws.client("dynamodb"), operation.replace("-", "_"))(**arguments)


def documented_command(heading: str, operation: str) -> str:
    (command,) = (line for line in documented_commands(heading) if operation in line)
    return command


@pytest.mark.parametrize("outcome", [SUCCESS, REJECTED])
def test_cleared_rejection_is_tried_by_one_call(
    stack: FakeStack, sign_ins: SignIns, outcome: str
) -> None:
    state = stack.pacs.state.solucion_factible
    assert read(stack).status == 200
    state.set_account(state=AccountState.TOO_MANY_ATTEMPTS)
    check_problem(read(stack), 502, REJECTED)
    sign_ins.clear()
    if outcome == SUCCESS:
        state.set_account(state=AccountState.ACTIVE)

    run_command(stack, documented_command("Clearing a rejection", "delete-item"))

    assert stack.accounts.rejections() == []
    assert count_concurrently(stack, 2, 8) == {outcome}
    assert sign_ins.concurrent[0] == 1
    assert sign_ins.failed == (outcome == REJECTED)
    assert len(stack.events("Credentials Rejected")) == 1 + (outcome == REJECTED)


def test_documented_rotation_causes_no_failed_sign_in(stack: FakeStack, sign_ins: SignIns) -> None:
    state = stack.pacs.state.solucion_factible
    assert count_concurrently(stack, 2, 4) == {SUCCESS}

    run_command(stack, documented_command("Rotating a secret", "put-item"))
    sign_ins.clear()
    assert count_concurrently(stack, 2, 4) == {REJECTED}
    new = f"contraseña {next(_numbers)} & <nueva>"
    state.set_account(password=new)
    assert count_concurrently(stack, 2, 4) == {REJECTED}
    assert sign_ins.statuses == []
    change_secret(stack, new)

    assert count_concurrently(stack, 2, 4) == {SUCCESS}
    assert sign_ins.failed == 0
    assert stack.events("Credentials Rejected") == []


def test_cancelled_rotation_continues_with_the_old_password(stack: FakeStack) -> None:
    run_command(stack, documented_command("Rotating a secret", "put-item"))
    check_problem(read(stack), 502, REJECTED)
    run_command(stack, documented_command("Rotating a secret", "delete-item"))
    assert read(stack).status == 200
