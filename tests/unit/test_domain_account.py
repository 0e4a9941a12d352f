"""Account secrets: valid ones are read; errors name the field and show no credential."""

from __future__ import annotations

import dataclasses
import json
import re
import traceback
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timbres.domain.account import (
    Account,
    parse_account,
    parse_account_name,
)
from timbres.errors import TimbresError
from timbres.handlers.problem_details import status_code
from timbres.pacs.registry import PACS

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
CREDENTIALS = (KEY, USERNAME, PASSWORD)


def account(**changes: Any) -> Account:
    return parse_account("acme", json.dumps({**RC, **changes}), PACS, "v1", allow_sandbox=True)


def factible(**changes: Any) -> Account:
    return parse_account("acme", json.dumps({**SF, **changes}), PACS, "v1", allow_sandbox=True)


def sandbox_account(endpoint: Any, **changes: Any) -> Account:
    return account(environment="sandbox", endpoint=endpoint, **changes)


def secret_error(secret: Any, *hidden: str) -> TimbresError:
    """Return the error of an invalid secret; check that it shows no credential."""
    text = secret if isinstance(secret, str) else json.dumps(secret)
    with pytest.raises(TimbresError) as caught:
        parse_account("acme", text, PACS, allow_sandbox=True)
    error = caught.value
    assert (error.problem_type.code, status_code(error.problem_type.code)) == (
        "account-misconfigured",
        409,
    )
    assert "acme" in error.detail
    everything = "".join(
        (str(error), repr(error), repr(error.extensions), *traceback.format_exception(error))
    )
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__
    for credential in (*CREDENTIALS, *hidden):
        assert credential not in everything
        assert json.dumps(credential)[1:-1] not in everything
    return error


@pytest.mark.parametrize("environment", ["uat", "production"])
def test_an_account_at_reachcore(environment: str) -> None:
    result = account(environment=environment)
    assert result.name == "acme"
    assert result.pac is PACS["reachcore"]
    assert result.environment == environment
    assert result.credentials == {"api_key": KEY}
    assert result.version == "v1"
    assert (result.endpoint, result.low_stamps, result.live_wsdl) == (None, None, False)


@pytest.mark.parametrize("environment", ["testing", "production"])
def test_an_account_at_solucion_factible(environment: str) -> None:
    result = factible(environment=environment)
    assert result.pac is PACS["solucion-factible"]
    assert result.environment == environment
    assert result.credentials == {"username": USERNAME, "password": PASSWORD}


def test_unknown_fields_are_ignored() -> None:
    assert account(comment="of the finance team", username=7).credentials == {"api_key": KEY}


@pytest.mark.parametrize("secret", [RC, SF], ids=["reachcore", "solucion-factible"])
def test_an_account_shows_no_credential(secret: dict[str, str]) -> None:
    result = parse_account("acme", json.dumps(secret), PACS, allow_sandbox=True)
    for text in (str(result), repr(result), f"{result}", f"{[result]}"):
        assert "acme" in text
        assert not any(credential in text for credential in CREDENTIALS)


@pytest.mark.parametrize("value", [None, "", 7, True, [], {}, ["reachcore"]])
@pytest.mark.parametrize(
    ("secret", "field"),
    [(RC, name) for name in RC] + [(SF, name) for name in SF],
    ids=[f"{s['pac']}-{name}" for s in (RC, SF) for name in s],
)
def test_every_field_must_be_a_text(secret: dict[str, str], field: str, value: object) -> None:
    error = secret_error({**secret, field: value})
    assert error.field == field
    assert field in error.detail


@pytest.mark.parametrize(
    ("secret", "field"),
    [(RC, name) for name in RC] + [(SF, name) for name in SF],
    ids=[f"{s['pac']}-{name}" for s in (RC, SF) for name in s],
)
def test_every_field_must_be_there(secret: dict[str, str], field: str) -> None:
    error = secret_error({name: value for name, value in secret.items() if name != field})
    assert error.field == field


@pytest.mark.parametrize("pac", ["Reachcore", "sovos", "solucion_factible", " reachcore", "pac"])
def test_only_two_pacs_are_known(pac: str) -> None:
    error = secret_error({**RC, "pac": pac})
    assert error.field == "pac"
    assert "reachcore, solucion-factible" in error.detail


@pytest.mark.parametrize(
    ("secret", "environment", "expected"),
    [
        (RC, "testing", "uat, production, sandbox"),
        (RC, "UAT", "uat, production, sandbox"),
        (RC, "prod", "uat, production, sandbox"),
        (SF, "uat", "testing, production, sandbox"),
        (SF, "Testing", "testing, production, sandbox"),
    ],
)
def test_each_pac_has_its_environments(
    secret: dict[str, str], environment: str, expected: str
) -> None:
    error = secret_error({**secret, "environment": environment})
    assert error.field == "environment"
    assert expected in error.detail


@pytest.mark.parametrize(
    "bad",
    ["s3cret\n", "\ns3cret", "s3c\nret", "s3c\r\nret", "s3c\tret", "s3c\x00ret", "s3c\x7fret",
     "s3c\u2028ret", "s3c\u202eret", "s3c\u200bret", "s3c\ufeffret", "s3c\ud800ret", " s3cret",
     "s3cret ", "\N{NO-BREAK SPACE}s3cret", "   "],
)  # fmt: skip
@pytest.mark.parametrize("field", ["api_key", "username", "password"])
def test_credentials_have_no_line_breaks_and_no_outer_blanks(field: str, bad: str) -> None:
    secret = RC if field == "api_key" else SF
    assert secret_error({**secret, field: bad}, "s3cret", "s3c").field == field


@pytest.mark.parametrize("bad", ["clave-ñ-s3cret", "s3cret–x", "s3cret😀"])
def test_an_api_key_travels_in_a_header_and_is_ascii(bad: str) -> None:
    error = secret_error({**RC, "api_key": bad}, bad, "s3cret")
    assert error.field == "api_key"
    assert "ASCII" in error.detail


@pytest.mark.parametrize("good", ["contraseña", "a b", "<&>\"'", "密码", "😀", "x" * 500])
def test_a_password_may_be_anything_printable(good: str) -> None:
    assert factible(password=good).credentials["password"] == good


@pytest.mark.parametrize("value", [0, 1, 500, 10**9])
def test_low_stamps_is_a_whole_number(value: int) -> None:
    assert account(low_stamps=value).low_stamps == value
    assert factible(low_stamps=value).low_stamps == value


@pytest.mark.parametrize("value", [-1, 1.5, "1.5", "cien", "", "-1", True, False, [], {}])
def test_other_low_stamps_are_rejected(value: object) -> None:
    for secret in (RC, SF):
        error = secret_error({**secret, "low_stamps": value})
        assert error.field == "low_stamps"


@pytest.mark.parametrize(
    ("field", "default", "minimum"),
    [("low_days", 7, 0), ("calls_per_second", 20, 1), ("calls_in_flight", 2, 1)],
)
def test_settings_of_the_daily_run(field: str, default: int, minimum: int) -> None:
    for create in (account, factible):
        assert getattr(create(), field) == default
        assert getattr(create(**{field: None}), field) == default
        for number in (minimum, 3, 10**9):
            assert getattr(create(**{field: number}), field) == number


@pytest.mark.parametrize("value", [-1, 1.5, "7.5", "", True, False, [], {}])
@pytest.mark.parametrize("field", ["low_days", "calls_per_second", "calls_in_flight"])
def test_settings_of_the_daily_run_are_whole_numbers(field: str, value: object) -> None:
    for secret in (RC, SF):
        error = secret_error({**secret, field: value})
        assert error.field == field
        assert "whole number" in error.detail


def test_an_account_needs_at_least_one_call_per_second() -> None:
    error = secret_error({**SF, "calls_per_second": 0})
    assert error.field == "calls_per_second"
    assert "1 or more" in error.detail
    assert "0 or more" in secret_error({**SF, "low_days": -1}).detail


def test_the_wsdl_is_the_bundled_one_unless_live() -> None:
    assert factible().live_wsdl is False
    assert factible(wsdl=None).live_wsdl is False
    assert factible(wsdl="bundled").live_wsdl is False
    assert factible(wsdl="live").live_wsdl is True


@pytest.mark.parametrize("value", ["LIVE", "", "https://pac.example/x?wsdl", True, 1, ["live"]])
def test_other_values_of_wsdl_are_rejected(value: object) -> None:
    assert secret_error({**SF, "wsdl": value}).field == "wsdl"


@pytest.mark.parametrize("value", ["live", "bundled", True])
def test_reachcore_has_no_wsdl(value: object) -> None:
    assert secret_error({**RC, "wsdl": value}).field == "wsdl"


# ---------------------------------------------------------------------------- endpoints


@pytest.mark.parametrize(
    ("endpoint", "base"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("http://127.0.0.1", "http://127.0.0.1"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("https://pac.example", "https://pac.example"),
        ("https://pac.example/", "https://pac.example"),
        ("https://pac.example:8443", "https://pac.example:8443"),
        ("https://127.0.0.1:8443", "https://127.0.0.1:8443"),
        ("https://10.0.0.7", "https://10.0.0.7"),
        ("https://[2001:db8::7]:8443", "https://[2001:db8::7]:8443"),
        ("https://xn--pac-0na.example", "https://xn--pac-0na.example"),
    ],
)
def test_a_sandbox_endpoint_uses_https_or_is_on_loopback(endpoint: str, base: str) -> None:
    assert sandbox_account(endpoint).endpoint == base
    assert factible(environment="sandbox", endpoint=endpoint).endpoint == base


@pytest.mark.parametrize(
    "endpoint",
    [
        None,
        "",
        7,
        True,
        [],
        {},
        "127.0.0.1:8080",
        "//127.0.0.1:8080",
        "http://",
        "https://",
        "https:///api",
        "https://:8443",
        "http://pac.example",
        "http://10.0.0.7:8080",
        "http://0.0.0.0:8080",
        "http://127.0.0.1.pac.example:8080",
        "http://localhost.pac.example",
        "http://127.0.0.1@pac.example",
        "http://pac.example#@127.0.0.1",
        "http://[::2]:8080",
        "ftp://127.0.0.1",
        "file:///etc/hosts",
        "https://user:s3cret@pac.example",
        "https://user@pac.example",
        "https://@pac.example",
        "https://pac.example/api",
        "https://pac.example//",
        "https://pac.example/?a=s3cret",
        "https://pac.example?",
        "https://pac.example?a=b",
        "https://pac.example#",
        "https://pac.example/#x",
        "https://pac.example:port",
        "https://pac.example:",
        "https://pac.example:99999",
        "https://pac.example:-1",
        "https://pac.example:８０",
        "https://pac example",
        "https://pac.example\n",
        "https://pac.exa\nmple",
        "https://pac.exa\tmple",
        " https://pac.example",
        "https://.pac.example",
        "https://*.pac.example",
        "https://pac.example\\@127.0.0.1",
        "https://[::1",
        "https://[pac]:1",
        "https://pác.example",
        "http://ⅼocalhost",
    ],
)
def test_other_endpoints_are_rejected(endpoint: object) -> None:
    error = secret_error({**RC, "environment": "sandbox", "endpoint": endpoint}, "s3cret")
    assert error.field == "endpoint"


def test_a_sandbox_needs_an_endpoint() -> None:
    assert secret_error({**RC, "environment": "sandbox"}).field == "endpoint"


@pytest.mark.parametrize("endpoint", ["https://pac.example", "http://127.0.0.1:1", "", 7])
@pytest.mark.parametrize(
    ("secret", "environment"),
    [(RC, "uat"), (RC, "production"), (SF, "testing"), (SF, "production")],
)
def test_only_a_sandbox_has_an_endpoint(
    secret: dict[str, str], environment: str, endpoint: object
) -> None:
    error = secret_error({**secret, "environment": environment, "endpoint": endpoint})
    assert error.field == "endpoint"
    assert "sandbox" in error.detail


# ------------------------------------------------------------------------ invalid secrets


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        KEY,
        "{",
        '{"pac": "reachcore", "api_key": "' + KEY,
        f"{{'api_key': '{KEY}'}}",
        f"api_key={KEY}",
        "null",
        "true",
        "7",
        "NaN",
        f'"{KEY}"',
        "[]",
        json.dumps([RC]),
        json.dumps(json.dumps(RC)),
        json.dumps(RC) + ",",
        "\ufeff\ufeff" + json.dumps(RC),
        "[" * 100_000,
        '{"a":' * 100_000,
        "[" * 900 + "]" * 900,
        '{"low_stamps": ' + "9" * 5000 + "}",
    ],
    ids=range(21),
)
def test_a_secret_is_one_json_object(text: str) -> None:
    assert secret_error(text).field == "secret"


@given(st.text(max_size=30))
def test_arbitrary_text_is_rejected(text: str) -> None:
    with pytest.raises(TimbresError) as caught:
        parse_account("acme", text, PACS, allow_sandbox=True)
    assert caught.value.problem_type.code == "account-misconfigured"


@given(
    st.sampled_from([*RC, "endpoint", "low_stamps", "low_days", "calls_per_second", "wsdl"]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=4,
    ),
)
def test_any_value_of_any_field_is_accepted_or_rejected(field: str, value: object) -> None:
    try:
        text = repr(account(**{field: value}))
    except TimbresError as error:
        text = str(error)
    assert KEY not in text
    assert text.startswith(("Account(", "account-misconfigured: "))


# --------------------------------------------------------------------- names, capabilities


@pytest.mark.parametrize("name", ["ac", "acme-sf", "a1", "0-0", "a" * 41, "acme--sf", "acme-"])
def test_valid_account_names(name: str) -> None:
    assert parse_account_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "a", "-a", "Acme", "acme_sf", "acme.sf", "acme/sf", "../acme", "acme sf", "acme\n", "ácme",
     "a" * 42, "acmé", "acme%2Fsf", "٠٠", None, 7, ["acme"]],
)  # fmt: skip
def test_invalid_account_names(name: object) -> None:
    with pytest.raises(TimbresError) as caught:
        parse_account_name(name)
    assert (caught.value.problem_type.code, status_code(caught.value.problem_type.code)) == (
        "account-unknown",
        404,
    )
    assert caught.value.field == "account"


@pytest.mark.parametrize(
    ("pac", "capabilities"),
    [
        ("reachcore", {"balance", "statement", "consumption"}),
        ("solucion-factible", {"stamps", "contracts", "consumption"}),
    ],
)
def test_each_pac_has_its_documented_capabilities(pac: str, capabilities: set[str]) -> None:
    subject = account() if pac == "reachcore" else factible()
    assert set(PACS[pac].capabilities) == capabilities
    for capability in ("balance", "statement", "consumption", "stamps", "contracts"):
        if capability in capabilities:
            subject.require(capability)
            continue
        with pytest.raises(TimbresError) as caught:
            subject.require(capability)
        assert caught.value.problem_type.code == "operation-unsupported"
        assert status_code(caught.value.problem_type.code) == 422
        assert capability in caught.value.detail


def test_an_account_is_immutable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        account().endpoint = "https://elsewhere.example"  # type: ignore[misc]


SF_SECRET = {
    "pac": "solucion-factible",
    "environment": "testing",
    "username": "a@b.mx",
    "password": "secreta",
}


def login(**changes: str) -> str:
    return parse_account("acme", json.dumps(SF_SECRET | changes), PACS, allow_sandbox=True).login


@pytest.mark.parametrize(
    "changes",
    [
        {"password": "another"},
        {"username": "A@B.mx"},
        {"environment": "sandbox", "endpoint": "https://testing.solucionfactible.com"},
        {"environment": "sandbox", "endpoint": "HTTPS://Testing.SolucionFactible.com/"},
    ],
    ids=str,
)
def test_the_same_user_at_the_same_address_has_one_login(changes: dict[str, str]) -> None:
    assert login(**changes) == login()


@pytest.mark.parametrize(
    "changes",
    [
        {"username": "c@b.mx"},
        {"environment": "production"},
        {"environment": "sandbox", "endpoint": "https://solucionfactible.com"},
        {"pac": "reachcore", "environment": "uat", "api_key": "a@b.mx"},
    ],
    ids=str,
)
def test_another_user_or_address_is_another_login(changes: dict[str, str]) -> None:
    assert login(**changes) != login()


def test_a_login_shows_no_credential() -> None:
    assert re.fullmatch("[0-9a-f]{32}", login())
