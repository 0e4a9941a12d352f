"""Secrets of accounts: what is right is read, what is wrong is named and never shown."""

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
    return parse_account("acme", json.dumps({**RC, **changes}), PACS, "v1")


def factible(**changes: Any) -> Account:
    return parse_account("acme", json.dumps({**SF, **changes}), PACS, "v1")


def sandbox(endpoint: Any, **changes: Any) -> Account:
    return account(environment="sandbox", endpoint=endpoint, **changes)


def refused(secret: Any, *hidden: str) -> TimbresError:
    """The refusal of a secret, which holds nothing of what the secret holds."""
    text = secret if isinstance(secret, str) else json.dumps(secret)
    with pytest.raises(TimbresError) as caught:
        parse_account("acme", text, PACS)
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
    made = account(environment=environment)
    assert made.name == "acme"
    assert made.pac is PACS["reachcore"]
    assert made.environment == environment
    assert made.credentials == {"api_key": KEY}
    assert made.version == "v1"
    assert (made.endpoint, made.low_stamps, made.live_wsdl) == (None, None, False)


@pytest.mark.parametrize("environment", ["testing", "production"])
def test_an_account_at_solucion_factible(environment: str) -> None:
    made = factible(environment=environment)
    assert made.pac is PACS["solucion-factible"]
    assert made.environment == environment
    assert made.credentials == {"username": USERNAME, "password": PASSWORD}


def test_fields_of_no_meaning_are_passed_over() -> None:
    assert account(comment="of the finance team", username=7).credentials == {"api_key": KEY}


@pytest.mark.parametrize("secret", [RC, SF], ids=["reachcore", "solucion-factible"])
def test_no_credential_shows_in_an_account(secret: dict[str, str]) -> None:
    made = parse_account("acme", json.dumps(secret), PACS)
    for text in (str(made), repr(made), f"{made}", f"{[made]}"):
        assert "acme" in text
        assert not any(credential in text for credential in CREDENTIALS)


@pytest.mark.parametrize("value", [None, "", 7, True, [], {}, ["reachcore"]])
@pytest.mark.parametrize(
    ("secret", "field"),
    [(RC, name) for name in RC] + [(SF, name) for name in SF],
    ids=[f"{s['pac']}-{name}" for s in (RC, SF) for name in s],
)
def test_every_field_must_be_a_text(secret: dict[str, str], field: str, value: object) -> None:
    error = refused({**secret, field: value})
    assert error.field == field
    assert field in error.detail


@pytest.mark.parametrize(
    ("secret", "field"),
    [(RC, name) for name in RC] + [(SF, name) for name in SF],
    ids=[f"{s['pac']}-{name}" for s in (RC, SF) for name in s],
)
def test_every_field_must_be_there(secret: dict[str, str], field: str) -> None:
    error = refused({name: value for name, value in secret.items() if name != field})
    assert error.field == field


@pytest.mark.parametrize("pac", ["Reachcore", "sovos", "solucion_factible", " reachcore", "pac"])
def test_only_two_pacs_are_known(pac: str) -> None:
    error = refused({**RC, "pac": pac})
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
    error = refused({**secret, "environment": environment})
    assert error.field == "environment"
    assert expected in error.detail


@pytest.mark.parametrize(
    "bad",
    ["s3cret\n", "\ns3cret", "s3c\nret", "s3c\r\nret", "s3c\tret", "s3c\x00ret", "s3c\x7fret",
     "s3c\u2028ret", "s3c\u202eret", "s3c\u200bret", "s3c\ufeffret", "s3c\ud800ret", " s3cret",
     "s3cret ", "\N{NO-BREAK SPACE}s3cret", "   "],
)  # fmt: skip
@pytest.mark.parametrize("field", ["api_key", "username", "password"])
def test_credentials_hold_no_line_breaks_and_no_blanks_around(field: str, bad: str) -> None:
    secret = RC if field == "api_key" else SF
    assert refused({**secret, field: bad}, "s3cret", "s3c").field == field


@pytest.mark.parametrize("bad", ["clave-ñ-s3cret", "s3cret–x", "s3cret😀"])
def test_an_api_key_travels_in_a_header_and_is_ascii(bad: str) -> None:
    error = refused({**RC, "api_key": bad}, bad, "s3cret")
    assert error.field == "api_key"
    assert "ASCII" in error.detail


@pytest.mark.parametrize("good", ["contraseña", "a b", "<&>\"'", "密码", "😀", "x" * 500])
def test_a_password_may_be_anything_printable(good: str) -> None:
    assert factible(password=good).credentials["password"] == good


@pytest.mark.parametrize("value", [0, 1, 500, 10**9])
def test_low_stamps_is_a_whole_number(value: int) -> None:
    assert account(low_stamps=value).low_stamps == value
    assert factible(low_stamps=value).low_stamps == value


@pytest.mark.parametrize("value", [-1, 1.0, 1.5, "100", True, False, [], {}])
def test_low_stamps_is_nothing_else(value: object) -> None:
    for secret in (RC, SF):
        error = refused({**secret, "low_stamps": value})
        assert error.field == "low_stamps"


@pytest.mark.parametrize(
    ("field", "usual", "least"),
    [("low_days", 7, 0), ("calls_per_second", 20, 1), ("calls_in_flight", 2, 1)],
)
def test_how_an_account_is_watched(field: str, usual: int, least: int) -> None:
    for make in (account, factible):
        assert getattr(make(), field) == usual
        assert getattr(make(**{field: None}), field) == usual
        for number in (least, 3, 10**9):
            assert getattr(make(**{field: number}), field) == number


@pytest.mark.parametrize("value", [-1, 1.0, 1.5, "7", "", True, False, [], {}])
@pytest.mark.parametrize("field", ["low_days", "calls_per_second", "calls_in_flight"])
def test_how_an_account_is_watched_is_a_whole_number(field: str, value: object) -> None:
    for secret in (RC, SF):
        error = refused({**secret, field: value})
        assert error.field == field
        assert "whole number" in error.detail


def test_an_account_that_may_not_be_called_is_none() -> None:
    error = refused({**SF, "calls_per_second": 0})
    assert error.field == "calls_per_second"
    assert "1 or more" in error.detail
    assert "0 or more" in refused({**SF, "low_days": -1}).detail


def test_the_wsdl_is_the_bundled_one_unless_live() -> None:
    assert factible().live_wsdl is False
    assert factible(wsdl=None).live_wsdl is False
    assert factible(wsdl="bundled").live_wsdl is False
    assert factible(wsdl="live").live_wsdl is True


@pytest.mark.parametrize("value", ["LIVE", "", "https://pac.example/x?wsdl", True, 1, ["live"]])
def test_the_wsdl_is_nothing_else(value: object) -> None:
    assert refused({**SF, "wsdl": value}).field == "wsdl"


@pytest.mark.parametrize("value", ["live", "bundled", True])
def test_reachcore_has_no_wsdl(value: object) -> None:
    assert refused({**RC, "wsdl": value}).field == "wsdl"


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
def test_a_sandbox_stands_anywhere_by_https_and_on_loopback_by_http(
    endpoint: str, base: str
) -> None:
    assert sandbox(endpoint).endpoint == base
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
def test_no_other_endpoint(endpoint: object) -> None:
    error = refused({**RC, "environment": "sandbox", "endpoint": endpoint}, "s3cret")
    assert error.field == "endpoint"


def test_a_sandbox_must_say_where_it_is() -> None:
    assert refused({**RC, "environment": "sandbox"}).field == "endpoint"


@pytest.mark.parametrize("endpoint", ["https://pac.example", "http://127.0.0.1:1", "", 7])
@pytest.mark.parametrize(
    ("secret", "environment"),
    [(RC, "uat"), (RC, "production"), (SF, "testing"), (SF, "production")],
)
def test_only_a_sandbox_may_say_where_it_is(
    secret: dict[str, str], environment: str, endpoint: object
) -> None:
    error = refused({**secret, "environment": environment, "endpoint": endpoint})
    assert error.field == "endpoint"
    assert "sandbox" in error.detail


# ------------------------------------------------------------------------ no such secret


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
        "\ufeff" + json.dumps(RC),
        "[" * 100_000,
        '{"a":' * 100_000,
        "[" * 900 + "]" * 900,
        '{"low_stamps": ' + "9" * 5000 + "}",
    ],
    ids=range(21),
)
def test_a_secret_is_one_json_object(text: str) -> None:
    assert refused(text).field == "secret"


@given(st.text(max_size=30))
def test_no_text_is_taken_for_an_account(text: str) -> None:
    with pytest.raises(TimbresError) as caught:
        parse_account("acme", text, PACS)
    assert caught.value.problem_type.code == "account-misconfigured"


@given(
    st.sampled_from([*RC, "endpoint", "low_stamps", "low_days", "calls_per_second", "wsdl"]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=4,
    ),
)
def test_any_value_of_any_field_is_taken_or_refused(field: str, value: object) -> None:
    try:
        shown = repr(account(**{field: value}))
    except TimbresError as error:
        shown = str(error)
    assert KEY not in shown
    assert shown.startswith(("Account(", "account-misconfigured: "))


# --------------------------------------------------------------------- names, abilities


@pytest.mark.parametrize("name", ["ac", "acme-sf", "a1", "0-0", "a" * 41, "acme--sf", "acme-"])
def test_names_of_accounts(name: str) -> None:
    assert parse_account_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "a", "-a", "Acme", "acme_sf", "acme.sf", "acme/sf", "../acme", "acme sf", "acme\n", "ácme",
     "a" * 42, "acmé", "acme%2Fsf", "٠٠", None, 7, ["acme"]],
)  # fmt: skip
def test_names_of_no_account(name: object) -> None:
    with pytest.raises(TimbresError) as caught:
        parse_account_name(name)
    assert (caught.value.problem_type.code, status_code(caught.value.problem_type.code)) == (
        "account-unknown",
        404,
    )
    assert caught.value.field == "account"


@pytest.mark.parametrize(
    ("pac", "can"),
    [
        ("reachcore", {"balance", "statement", "consumption"}),
        ("solucion-factible", {"stamps", "contracts", "consumption"}),
    ],
)
def test_each_pac_can_what_it_documents(pac: str, can: set[str]) -> None:
    made = account() if pac == "reachcore" else factible()
    assert set(PACS[pac].capabilities) == can
    for ability in ("balance", "statement", "consumption", "stamps", "contracts"):
        if ability in can:
            made.require(ability)
            continue
        with pytest.raises(TimbresError) as caught:
            made.require(ability)
        assert caught.value.problem_type.code == "operation-unsupported"
        assert status_code(caught.value.problem_type.code) == 422
        assert ability in caught.value.detail


def test_an_account_does_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        account().endpoint = "https://elsewhere.example"  # type: ignore[misc]


SF_SECRET = {
    "pac": "solucion-factible",
    "environment": "testing",
    "username": "a@b.mx",
    "password": "secreta",
}


def login(**changes: str) -> str:
    return parse_account("acme", json.dumps(SF_SECRET | changes), PACS).login


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
