"""Account: credentials for one PAC in one environment, under a name such as ``acme-sf``."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from timbres.domain.redaction import redact
from timbres.domain.text import invalid_value, parse_number
from timbres.errors import (
    ACCOUNT_MISCONFIGURED,
    ACCOUNT_NOT_FOUND,
    OPERATION_UNSUPPORTED,
    ProblemType,
    TimbresError,
)

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,40}")
# The host is a name, an IPv4 or a bracketed IPv6 address; the port is optional.
_ENDPOINT = re.compile(
    r"(https?)://([a-z0-9](?:[a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?/?",
    re.ASCII | re.IGNORECASE,
)
# A text with a comma could mean thousands or decimals.
_PRICE = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?")
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})


@dataclass(frozen=True, slots=True)
class Wsdl:
    """A PAC's WSDL: the ``bundled`` file, and the path of the PAC's live WSDL.

    An account uses one of the two. The live one may lack the operations ``optional``.
    """

    bundled: Path
    live_path: str
    optional: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Pac:
    """Metadata of a PAC, declared by its package.

    ``client`` is the class of its client as ``module:class``, imported at the first call.
    ``bases`` are its https addresses by environment. The first of ``credentials`` identifies
    the login; the others are secrets only. ``ascii_credentials``: they are sent in an HTTP
    header. ``capabilities`` are the operations that it supports, ``errors`` the problem types
    that it may return, by capability. ``creates_issuers``: a contract may be an issuer's first,
    so a count that fails with an ``issuer_unknown`` problem type does not reject it.
    ``has_account_stamps``: it may return the stamps of the account itself. ``wsdl`` is None
    without SOAP.
    """

    name: str
    display_name: str
    client: str
    bases: Mapping[str, str]
    credentials: tuple[str, ...]
    capabilities: tuple[str, ...]
    errors: Mapping[str, tuple[ProblemType, ...]] = field(default_factory=dict, repr=False)
    ascii_credentials: bool = False
    creates_issuers: bool = False
    has_account_stamps: bool = False
    wsdl: Wsdl | None = None


# Two workers then have four calls in flight: if the password becomes invalid, at most four
# logins fail, and a PAC locks the account after five.
DEFAULT_CALLS_IN_FLIGHT = 2
# The numbers of a secret, and their lowest values.
_MINIMA = {
    "low_stamps": 0,
    "low_days": 0,
    "calls_per_second": 1,
    "calls_in_flight": 1,
    "max_stamps_per_contract": 0,
    "max_stamps_per_day": 0,
}
_SANDBOX = "sandbox"
# The pseudo-account of reports about every account.
ALL_ACCOUNTS = "all"


@dataclass(frozen=True, slots=True)
class Account:
    """A valid account.

    ``low_stamps`` and the two maxima are numbers of stamps. An issuer with stamps for less than
    ``low_days`` days is low. ``stamp_price`` is in MXN per stamp, None without one.
    ``calls_per_second`` limits the calls of a run, ``calls_in_flight`` the concurrent calls of a
    process. ``endpoint`` is the base address in the environment
    ``sandbox``, None otherwise. ``version`` is the secret's. The repr has no credentials.
    """

    name: str
    pac: Pac
    environment: str
    credentials: Mapping[str, str] = field(repr=False)
    endpoint: str | None = None
    low_stamps: int | None = None
    low_days: int = 7
    stamp_price: Decimal | None = None
    # The PAC has an undocumented limit (503). At this rate, 50,000 issuers take 45 minutes.
    calls_per_second: int = 20
    calls_in_flight: int = DEFAULT_CALLS_IN_FLIGHT
    # Limits against typing errors.
    max_stamps_per_contract: int = 10_000
    max_stamps_per_day: int = 50_000
    live_wsdl: bool = False
    version: str = ""

    @property
    def login(self) -> str:
        """Fingerprint of the account's login at its PAC: 32 hexadecimal digits.

        Two accounts, or two versions of a secret, with the same user at the same address have
        the same fingerprint. It is a hash of user and address, never of a password.
        """
        user = self.credentials[self.pac.credentials[0]]
        # Case is ignored: a lock that is too wide is safer than one that is too narrow.
        text = "\n".join((self.pac.name, self.base, user)).casefold()
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @property
    def base(self) -> str:
        """The address of the account's PAC, without a path."""
        return self.endpoint or self.pac.bases[self.environment]

    @property
    def wsdl(self) -> str:
        """File or URL of the WSDL that the account uses. Raises LookupError without SOAP."""
        if self.pac.wsdl is None:
            raise LookupError(f"{self.pac.name} has no WSDL")
        return self.base + self.pac.wsdl.live_path if self.live_wsdl else str(self.pac.wsdl.bundled)

    def require(self, capability: str) -> None:
        """Raise ``operation-unsupported`` unless the account's PAC supports ``capability``."""
        if capability not in self.pac.capabilities:
            supported = ", ".join(self.pac.capabilities)
            detail = f"Account {self.name} is at {self.pac.name}, which supports {supported}; "
            detail += f"not {capability}."
            raise TimbresError(OPERATION_UNSUPPORTED, detail, field="account")

    def redact(self, text: str) -> str:
        """Return ``text`` with asterisks in place of the account's credentials."""
        return redact(text, self.credentials.values())


def is_account_name(text: object) -> bool:
    """Return whether a text can be an account's name."""
    return isinstance(text, str) and text != ALL_ACCOUNTS and _NAME.fullmatch(text) is not None


def parse_account_name(text: object) -> str:
    """Return an account's name. Raises ``account-unknown`` for an invalid name."""
    if isinstance(text, str) and is_account_name(text):
        return text
    if text == ALL_ACCOUNTS:
        detail = f"{ALL_ACCOUNTS} is reserved for reports about every account."
        raise TimbresError(ACCOUNT_NOT_FOUND, detail, field="account")
    expected = "2 to 41 of a-z, 0-9 and -, not - first"
    raise invalid_value(ACCOUNT_NOT_FOUND, text, "a valid account name", expected, "account")


def parse_report_account(text: object) -> str:
    """Return the name of an account, or ``all``. Raises ``account-unknown``."""
    return ALL_ACCOUNTS if text == ALL_ACCOUNTS else parse_account_name(text)


def parse_account(
    name: str,
    secret: str,
    pacs: Mapping[str, Pac],
    version: str = "",
    *,
    allow_sandbox: bool = False,
) -> Account:
    """Return the account that ``secret``, the JSON from Secrets Manager, describes.

    ``pacs`` are the PACs by name. ``allow_sandbox``: the stack accepts the environment
    ``sandbox``, whose endpoint may be any https host. Raises ``account-misconfigured`` with the
    field and the expected value, but without the secret's content.
    """
    value = _object(name, secret)
    expected = f"one of {', '.join(pacs)}"
    pac = pacs.get(_text(name, value, "pac", expected))
    if pac is None:
        raise _invalid_secret(name, "pac", expected)
    environments = (*pac.bases, _SANDBOX) if allow_sandbox else tuple(pac.bases)
    expected = f"one of {', '.join(environments)}"
    environment = _text(name, value, "environment", expected)
    if environment not in environments:
        if environment == _SANDBOX:
            expected += "; sandbox needs the stack's parameter AllowSandboxAccounts"
        raise _invalid_secret(name, "environment", expected)
    numbers: dict[str, Any] = {
        key: _number(name, key, value[key], minimum)
        for key, minimum in _MINIMA.items()
        if value.get(key) is not None
    }
    return Account(
        name=name,
        pac=pac,
        environment=environment,
        credentials={
            key: _credential(name, value, key, is_ascii=pac.ascii_credentials)
            for key in pac.credentials
        },
        endpoint=_endpoint(name, environment, value.get("endpoint")),
        stamp_price=_price(name, value.get("stamp_price")),
        live_wsdl=_live_wsdl(name, pac, value.get("wsdl")),
        version=version,
        **numbers,
    )


def _object(name: str, secret: str) -> dict[str, Any]:
    try:
        value = json.loads(secret.removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        expected = '{"pac": "…", "environment": "…", …}'
        detail = f"The secret of account {name} is not a JSON object: expected {expected}."
        raise TimbresError(ACCOUNT_MISCONFIGURED, detail, field="secret")
    return value


def _invalid_secret(name: str, field_name: str, expected: str) -> TimbresError:
    detail = f"In the secret of account {name}, {field_name}: expected {expected}."
    return TimbresError(ACCOUNT_MISCONFIGURED, detail, field=field_name)


def _text(name: str, value: dict[str, Any], key: str, expected: str) -> str:
    text = value.get(key)
    if not isinstance(text, str) or not text:
        raise _invalid_secret(name, key, expected)
    return text


def _credential(name: str, value: dict[str, Any], key: str, *, is_ascii: bool) -> str:
    text = _text(name, value, key, "a non-empty text")
    expected = None
    if not text.isprintable() or text != text.strip():
        expected = "no line breaks, no control characters, no leading or trailing blanks"
    elif is_ascii and not text.isascii():
        expected = "ASCII only, because it is sent in an HTTP header"
    if expected:
        raise _invalid_secret(name, key, expected)
    return text


def _number(name: str, key: str, value: object, minimum: int) -> int:
    try:
        # The console's editor writes numbers as texts.
        number = parse_number(value)
    except ValueError:
        number = -1
    if number < minimum:
        raise _invalid_secret(name, key, f"a whole number, {minimum} or more")
    return number


def _price(name: str, value: object) -> Decimal | None:
    if value is None:
        return None
    text = str(value).strip() if type(value) in (int, float, str) else ""
    if not _PRICE.fullmatch(text):
        expected = "MXN per stamp, 0 or more, with up to six decimals, for example 1.25"
        raise _invalid_secret(name, "stamp_price", expected)
    return Decimal(text)


def _live_wsdl(name: str, pac: Pac, value: object) -> bool:
    if value not in (None, "live", "bundled") or (value is not None and pac.wsdl is None):
        expected = '"live", or no value' if pac.wsdl else f"no value: {pac.name} has no WSDL"
        raise _invalid_secret(name, "wsdl", expected)
    return value == "live"


def _endpoint(name: str, environment: str, value: object) -> str | None:
    if environment != _SANDBOX:
        if value is None:
            return None
        expected = "no value: only the environment sandbox has an endpoint"
        raise _invalid_secret(name, "endpoint", expected)
    match = _ENDPOINT.fullmatch(value) if isinstance(value, str) else None
    # Elsewhere than on loopback, only https.
    if (
        match is None
        or int(match[3] or 0) > 65535
        or (match[1].lower() == "http" and match[2].lower() not in _LOOPBACK)
    ):
        expected = "https://host[:port], or http on loopback, without a path"
        raise _invalid_secret(name, "endpoint", expected)
    return match[0].rstrip("/")
