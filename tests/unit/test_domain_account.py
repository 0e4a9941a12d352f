"""Accounts: their secrets, whose errors show no credential, are read once per minute."""

from __future__ import annotations

import json
import re
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.support.fakes_contracts import FakeSecrets, Interruptions, aws_error
from tests.support.timbres_errors import expect_error

from timbres.domain.account import Account, parse_account, parse_account_name
from timbres.errors import TimbresError
from timbres.pacs.registry import PACS
from timbres.repositories.accounts import CACHE_TTL_SECONDS, AccountRepository

KEY = "k3y-of-4cme"
USERNAME = "us3r@acme.example"
PASSWORD = "contraseña & <s3creta>"
RC = {"pac": "reachcore", "environment": "uat", "api_key": KEY}
SF = {
    "pac": "solucion-factible",
    "environment": "testing",
    "username": USERNAME,
    "password": PASSWORD,
}
CREDENTIALS = (KEY, USERNAME, PASSWORD, "s3cret", "s3c")
SANDBOX = RC | {"environment": "sandbox"}
LIVE = "https://pac.example"


def parse(secret: object, **changes: Any) -> Account:
    text = secret if isinstance(secret, str) else json.dumps({**secret, **changes})
    return parse_account("acme", text, PACS, "v1", allow_sandbox=True)


def secret_error(secret: object, **changes: Any) -> TimbresError:
    """Return the error of an invalid secret; check that it shows no credential."""
    with pytest.raises(TimbresError) as caught:
        parse(secret, **changes)
    error = caught.value
    assert error.problem_type.code == "account-misconfigured"
    assert "acme" in error.detail
    output = "".join(
        (str(error), repr(error), repr(error.extensions), *traceback.format_exception(error))
    )
    for credential in CREDENTIALS:
        assert credential not in output
        assert json.dumps(credential)[1:-1] not in output
    return error


@pytest.mark.parametrize(
    ("secret", "environment", "base"),
    [
        (RC, "uat", "https://oat.reachcore.com"),
        (RC, "production", "https://go.reachcore.com"),
        (SF, "testing", "https://testing.solucionfactible.com"),
        (SF, "production", "https://solucionfactible.com"),
    ],
)
def test_a_valid_secret_is_an_account(secret: dict[str, str], environment: str, base: str) -> None:
    account = parse(secret, environment=environment, comment="of the finance team", rfc=7)

    assert (account.name, account.version, account.base) == ("acme", "v1", base)
    assert (account.pac, account.environment) == (PACS[secret["pac"]], environment)
    assert account.credentials == {name: secret[name] for name in account.pac.credentials}
    assert (account.endpoint, account.low_stamps, account.live_wsdl) == (None, None, False)
    for text in (str(account), repr([account])):
        assert "acme" in text
        assert not any(credential in text for credential in CREDENTIALS)


FIELDS = [(secret, name) for secret in (RC, SF) for name in secret]
NUMBERS = ("low_stamps", "low_days", "calls_per_second", "calls_in_flight",
           "max_stamps_per_contract", "max_stamps_per_day")  # fmt: skip
CONTROLS = ["s3cret\n", "s3c\tret", "s3c\x00ret", "s3c\u2028ret", "s3c\u200bret", "s3c\ud800ret",
            " s3cret", "s3cret ", "   "]  # fmt: skip


@pytest.mark.parametrize(
    ("secret", "field", "values", "expected"),
    [
        *[(s, name, [None, "", 7, True, [], {}], "expected") for s, name in FIELDS],
        (RC, "pac", ["Reachcore", "sovos", " reachcore"], "reachcore, solucion-factible"),
        (RC, "environment", ["testing", "UAT", "prod"], "uat, production, sandbox"),
        (SF, "environment", ["uat", "Testing"], "testing, production, sandbox"),
        (RC, "api_key", CONTROLS, "no line breaks"),
        (SF, "username", CONTROLS, "no line breaks"),
        (SF, "password", CONTROLS, "no line breaks"),
        (RC, "api_key", ["clave-ñ-s3cret", "s3cret–x", "s3cret😀"], "ASCII"),
        *[(SF, n, [-1, 1.5, "7.5", "cien", "", True, [], {}], "whole number") for n in NUMBERS],
        (RC, "stamp_price", [-1, "1,25", "$1", "", True, [], 1e9, "1.1234567"], "MXN per stamp"),
        (SF, "calls_per_second", [0], "1 or more"),
        (SF, "calls_in_flight", [0], "1 or more"),
        (SF, "wsdl", ["LIVE", "", "https://pac.example/x?wsdl", True, 1, ["live"]], '"live"'),
        (RC, "wsdl", ["live", "bundled", True], "no value"),
        *[(s, "endpoint", [LIVE, "", 7], "sandbox") for s in (RC, SF)],
        *[(s | {"environment": "production"}, "endpoint", [LIVE], "sandbox") for s in (RC, SF)],
    ],
    ids=str,
)
def test_an_invalid_field_is_named(
    secret: dict[str, str], field: str, values: list[object], expected: str
) -> None:
    without = {name: value for name, value in secret.items() if name != field}
    missing = [secret_error(without)] if field in secret else []
    for error in missing + [secret_error(secret, **{field: value}) for value in values]:
        assert error.field == field
        assert field in error.detail
        assert error in missing or expected in error.detail


@pytest.mark.parametrize(
    ("field", "default", "minimum"),
    list(zip(NUMBERS, (None, 7, 20, 2, 10_000, 50_000), (0, 0, 1, 1, 0, 0), strict=True)),
)
def test_settings_have_a_default_and_a_minimum(
    field: str, default: int | None, minimum: int
) -> None:
    for value, expected in ((None, default), (minimum, minimum), ("7", 7), (10**9, 10**9)):
        assert getattr(parse(SF, **{field: value}), field) == expected
    assert getattr(parse(RC), field) == default


def test_a_password_may_be_anything_printable_and_a_price_is_exact() -> None:
    for password in ("a b", "<&>\"'", "密码😀", "x" * 500):
        assert parse(SF, password=password).credentials["password"] == password
    for price in (0, 1.25, "1.250", " 0.955 ", "999999"):
        assert parse(RC, stamp_price=price).stamp_price == Decimal(str(price).strip())


def test_the_wsdl_is_the_bundled_one_unless_live() -> None:
    for value, is_live in ((None, False), ("bundled", False), ("live", True)):
        account = parse(SF, wsdl=value)
        assert account.live_wsdl is is_live
        assert account.wsdl.startswith("https://testing.solucionfactible.com") == is_live
    with pytest.raises(LookupError):
        _ = parse(RC).wsdl


@pytest.mark.parametrize(
    "endpoint",
    ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:8080", "https://pac.example:65535",
     "https://10.0.0.7", "https://[2001:db8::7]:8443", "https://xn--pac-0na.example"],
)  # fmt: skip
def test_a_sandbox_endpoint_uses_https_or_is_on_loopback(endpoint: str) -> None:
    for text in (endpoint, f"{endpoint}/"):
        account = parse(SANDBOX, endpoint=text)
        assert account.endpoint == account.base == endpoint


@pytest.mark.parametrize(
    "endpoint",
    [None, "", 7, "127.0.0.1:8080", "//127.0.0.1:8080", "https://", "https:///api", "https://:8443",
     "http://pac.example", "http://0.0.0.0:8080", "http://127.0.0.1.pac.example:8080",
     "http://127.0.0.1@pac.example", "http://pac.example#@127.0.0.1", "http://[::2]:8080",
     "ftp://127.0.0.1", "https://user:s3cret@pac.example", "https://@pac.example",
     "https://pac.example/api", "https://pac.example//", "https://pac.example/?a=s3cret",
     "https://pac.example#", "https://pac.example:port", "https://pac.example:",
     "https://pac.example:65536", "https://pac.example:８０", "https://pac.example\n",
     "https://pac.exa\tmple", " https://pac.example", "https://.pac.example",
     "https://pac.example\\@127.0.0.1", "https://[::1", "https://pác.example", "http://ⅼocalhost"],
)  # fmt: skip
def test_other_endpoints_are_rejected(endpoint: object) -> None:
    assert secret_error(SANDBOX, endpoint=endpoint).field == "endpoint"


@pytest.mark.parametrize(
    "text",
    ["", KEY, '{"pac": "reachcore", "api_key": "' + KEY, f"{{'api_key': '{KEY}'}}", "null", "7",
     f'"{KEY}"', json.dumps([RC]), json.dumps(RC) + ",", "\ufeff\ufeff" + json.dumps(RC),
     "[" * 100_000, '{"low_stamps": ' + "9" * 5000 + "}"],
    ids=range(12),
)  # fmt: skip
def test_a_secret_is_one_json_object(text: str) -> None:
    assert secret_error(text).field == "secret"


def test_account_names() -> None:
    for name in ("ac", "acme-sf", "0-0", "a" * 41, "acme--sf", "acme-"):
        assert parse_account_name(name) == name
    invalid = ["", "a", "-a", "Acme", "acme_sf", "../acme", "acme\n", "ácme", "a" * 42, "٠٠", "all"]
    for value in (*invalid, None, ["acme"]):
        expect_error("account-unknown", "account", parse_account_name, value)


@pytest.mark.parametrize(
    ("changes", "is_same"),
    [
        ({"password": "another"}, True),
        ({"username": USERNAME.upper()}, True),
        ({"environment": "sandbox", "endpoint": "HTTPS://Testing.SolucionFactible.com/"}, True),
        ({"username": "c@b.mx"}, False),
        ({"environment": "production"}, False),
        ({"environment": "sandbox", "endpoint": "https://solucionfactible.com"}, False),
        ({"pac": "reachcore", "environment": "uat", "api_key": USERNAME}, False),
    ],
    ids=str,
)
def test_a_login_is_a_user_at_an_address(changes: dict[str, str], is_same: bool) -> None:
    login = parse(SF).login

    assert (parse(SF, **changes).login == login) == is_same
    assert re.fullmatch("[0-9a-f]{32}", login)


# Reading secrets


NAME = "acme-sf"


class Secrets:
    """A repository over fake secrets, and its clock in seconds."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.client = FakeSecrets(Interruptions())
        self.client.put(NAME, low_stamps=1)
        self.repository = AccountRepository(
            self.client, "", PACS, lambda: self.seconds, allow_sandbox=True
        )

    def low_stamps(self, fresh: bool = False) -> int | None:
        return self.repository.get(NAME, fresh).low_stamps


@pytest.fixture
def secrets() -> Secrets:
    return Secrets()


def test_a_secret_is_read_once_per_minute(secrets: Secrets) -> None:
    assert secrets.low_stamps() == 1
    secrets.client.put(NAME, low_stamps=2)
    secrets.seconds += CACHE_TTL_SECONDS - 1
    assert (secrets.low_stamps(), len(secrets.client.reads)) == (1, 1)

    secrets.seconds += 1

    assert (secrets.low_stamps(), len(secrets.client.reads)) == (2, 2)


def test_a_fresh_read_replaces_the_cached_account(secrets: Secrets) -> None:
    version = secrets.repository.get(NAME).version
    secrets.client.put(NAME, low_stamps=2)

    assert (secrets.low_stamps(fresh=True), secrets.low_stamps()) == (2, 2)
    assert secrets.repository.get(NAME).version != version


def test_one_of_many_threads_reads_a_secret(secrets: Secrets) -> None:
    secrets.client.interruptions.plan(lambda _: time.sleep(0.05), "get_secret_value")

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: secrets.low_stamps(), range(8))) == {1}
    assert len(secrets.client.reads) == 1


def test_an_invalid_secret_is_not_cached(secrets: Secrets) -> None:
    secrets.client.put_text(NAME, "no JSON")
    expect_error("account-misconfigured", "secret", secrets.low_stamps)
    secrets.client.put(NAME, low_stamps=3)

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
        assert NAME in expect_error(problem, "account", secrets.low_stamps).detail


def test_an_invalid_name_is_not_read(secrets: Secrets) -> None:
    expect_error("account-unknown", "account", secrets.repository.get, "../acme")
    assert secrets.client.reads == []
