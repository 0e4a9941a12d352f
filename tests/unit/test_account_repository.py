"""Accounts are read from their secrets, at most once per minute."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError
from tests.support.fakes_contracts import SF, FakeSecrets, Interruptions, aws_error
from tests.support.timbres_errors import expect_error

from timbres.pacs.registry import PACS
from timbres.repositories.accounts import CACHE_TTL_SECONDS, AccountRepository


class Secrets:
    """A repository over fake secrets, and its clock in seconds."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.client = FakeSecrets(Interruptions())
        self.client.put(SF, low_stamps=1)
        self.repository = AccountRepository(
            self.client, "", PACS, lambda: self.seconds, allow_sandbox=True
        )

    def low_stamps(self, fresh: bool = False) -> int | None:
        return self.repository.get(SF, fresh).low_stamps


@pytest.fixture
def secrets() -> Secrets:
    return Secrets()


def test_a_secret_is_read_once_per_minute(secrets: Secrets) -> None:
    assert secrets.low_stamps() == 1
    secrets.client.put(SF, low_stamps=2)
    secrets.seconds += CACHE_TTL_SECONDS - 1
    assert (secrets.low_stamps(), len(secrets.client.reads)) == (1, 1)

    secrets.seconds += 1

    assert (secrets.low_stamps(), len(secrets.client.reads)) == (2, 2)


def test_a_fresh_read_replaces_the_cached_account(secrets: Secrets) -> None:
    version = secrets.repository.get(SF).version
    secrets.client.put(SF, low_stamps=2)

    assert (secrets.low_stamps(fresh=True), secrets.low_stamps()) == (2, 2)
    assert secrets.repository.get(SF).version != version


def test_one_of_many_threads_reads_a_secret(secrets: Secrets) -> None:
    secrets.client.interruptions.plan(lambda _: time.sleep(0.05), "get_secret_value")

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: secrets.low_stamps(), range(8))) == {1}
    assert len(secrets.client.reads) == 1


def test_an_invalid_secret_is_not_cached(secrets: Secrets) -> None:
    secrets.client.put_text(SF, "no JSON")
    expect_error("account-misconfigured", "secret", secrets.low_stamps)
    secrets.client.put(SF, low_stamps=3)

    assert secrets.low_stamps() == 3


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("ResourceNotFoundException", "account-unknown"),
        ("InvalidRequestException", "account-unknown"),
        ("AccessDeniedException", "account-unreadable"),
        ("DecryptionFailure", "account-unreadable"),
        ("InternalServiceError", None),
    ],
)
def test_a_secret_that_aws_does_not_return_is_an_error(
    secrets: Secrets, code: str, problem: str | None
) -> None:
    secrets.client.interruptions.plan(aws_error(code), "get_secret_value")

    if problem is None:
        with pytest.raises(ClientError, match=code):
            secrets.low_stamps()
    else:
        assert SF in expect_error(problem, "account", secrets.low_stamps).detail


def test_an_invalid_name_is_not_read(secrets: Secrets) -> None:
    expect_error("account-unknown", "account", secrets.repository.get, "../acme")
    assert secrets.client.reads == []
