"""Check each account's secret by the functions' own rules and, on request, call its PAC."""

from __future__ import annotations

import difflib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cached_property, partial

from timbres.aws.events import EventPublisher
from timbres.deadline import Deadline
from timbres.domain import clock
from timbres.domain.account import Account, parse_account, parse_account_name
from timbres.domain.month import month_of
from timbres.domain.rfc import Rfc
from timbres.errors import PacError, TimbresError
from timbres.pacs.base import CallLimits, PacClient
from timbres.pacs.errors import redact_messages
from timbres.pacs.registry import PACS, create_client
from timbres.repositories import accounts as secrets
from timbres.repositories.credential_rejections import (
    CredentialRejectionRepository,
    rejection_sort_key,
)
from timbres.repositories.issuers import IssuerRepository
from timbres.services.pac_access import PacAccess
from tools.doctor.checks import CheckResults, failed, ok, run_safely, warning
from tools.doctor.cloud import ClientFactory, Deployed, list_all
from tools.doctor.stage import DEFAULT_STAGE

# The template's default.
DEFAULT_PREFIX = "timbres/accounts/"
_DEFAULT_RFC = Rfc("AAA010101AAA")
_TIMEOUT_SECONDS = 25.0
# The settings of a secret that require a capability of the PAC.
_SETTINGS = {
    "stamps": {"low_stamps", "low_days"},
    "contracts": {"max_stamps_per_contract", "max_stamps_per_day"},
}


class AccountChecks:
    """The accounts under the prefix of `parameters`, or those of `only` if it is not empty.

    `parameters` are the template's parameters of `stack`, or of its future deployment.
    """

    def __init__(
        self,
        client: ClientFactory,
        stack: Deployed | None,
        parameters: Mapping[str, str],
        only: Sequence[str],
    ) -> None:
        self._client = client
        self._secrets = client("secretsmanager")
        self._outputs = stack.outputs if stack else {}
        self._prefix = parameters.get("SecretPrefix") or DEFAULT_PREFIX
        self._stage = parameters.get("Stage") or DEFAULT_STAGE
        self._allow_sandbox = parameters.get("AllowSandboxAccounts") == "true"
        self._only = only
        self._valid: list[Account] = []

    def check_secrets(self) -> CheckResults:
        """Check every secret without calling a PAC."""
        names = self._names()
        for name in self._only:
            if name not in names:
                yield failed(f"account {name}", f"Secret {self._prefix}{name} does not exist.")
        if not names:
            yield warning(
                "accounts",
                f"No secret {self._prefix}… exists. The README describes how to add an account.",
            )
        for name in names:
            if not self._only or name in self._only:
                yield from run_safely(f"account {name}", partial(self._check_secret, name))

    def check_pacs(self) -> CheckResults:
        """Make one read call to the PAC of each valid account; call `check_secrets` first."""
        wsdls: dict[str, bytes] = {}
        for account in self._valid:
            yield from run_safely(f"PAC of {account.name}", partial(self._check_pac, account))
            wsdl = partial(_check_wsdl, account, wsdls)
            yield from run_safely(f"WSDL of {account.name}", wsdl)

    def _names(self) -> list[str]:
        filters = [{"Key": "name", "Values": [self._prefix]}]
        args = ("secretsmanager", "list_secrets", "SecretList")
        names = (secret["Name"] for secret in list_all(self._client, *args, Filters=filters))
        return sorted(
            name.removeprefix(self._prefix) for name in names if name.startswith(self._prefix)
        )

    def _check_secret(self, name: str) -> CheckResults:
        subject, correct = f"account {name}", "aws secretsmanager put-secret-value"
        try:
            parse_account_name(name)
        except TimbresError as error:
            fix = "The functions ignore it. Create it under another name."
            yield failed(subject, f"{error.detail} {fix}")
            return
        try:
            response = self._secrets.get_secret_value(SecretId=self._prefix + name)
        except self._secrets.exceptions.ResourceNotFoundException:
            yield failed(subject, f"The secret has no value. Set it: {correct}")
            return
        text, version = response.get("SecretString", ""), response["VersionId"]
        try:
            account = parse_account(name, text, PACS, version, allow_sandbox=self._allow_sandbox)
        except TimbresError as error:
            # The detail contains the field's name, never its value.
            yield failed(subject, f"{error.detail} Correct it: {correct}")
            return
        yield ok(subject, describe_account(account))
        for remark in find_remarks(account, set(json.loads(text)), self._stage):
            yield warning(subject, remark)
        if rejection := self._describe_rejection(account):
            yield failed(subject, rejection)
        else:
            self._valid.append(account)

    @cached_property
    def _rejections(self) -> CredentialRejectionRepository | None:
        table = self._outputs.get("CredentialRejectionsTableName")
        return CredentialRejectionRepository(self._client("dynamodb"), table) if table else None

    def _describe_rejection(self, account: Account) -> str | None:
        """Describe the PAC's rejection of the secret's current value; return None without one."""
        rejection = self._rejections.get_state(account).rejection if self._rejections else None
        if rejection is None:
            return None
        message = f"{rejection.code or 'no code'} {rejection.message or ''}".strip()
        key = {"account": {"S": account.name}, "entry": {"S": rejection_sort_key(account)}}
        return (
            f"{account.pac.name} rejected these credentials at {rejection.at} ({message}). No "
            "function uses them until the secret has a new value. To retry this value: "
            "aws dynamodb delete-item "
            f"--table-name {self._outputs['CredentialRejectionsTableName']} "
            f"--key '{json.dumps(key)}'"
        )

    def _check_pac(self, account: Account) -> CheckResults:
        subject = f"PAC of {account.name}"
        read = self._stamps if "stamps" in account.pac.capabilities else _balance
        start = time.monotonic()
        try:
            text = self._call(account, partial(read, account))
            error = None
        except PacError as raised:
            text, error = raised.detail, raised
        text = f"{text} ({time.monotonic() - start:.1f} s)"
        code = error and error.problem_type.code
        if code is None:
            yield ok(subject, text)
        elif code == "pac-rejected-request" and not self._issuer(account):
            remark = f"The call used {_DEFAULT_RFC}, because the account has no issuer yet."
            yield warning(subject, f"{text} {remark}")
        elif code == "pac-credentials-rejected":
            yield failed(subject, f"{text} {self._describe_recording(account)}")
        else:
            yield failed(subject, text)

    def _call(self, account: Account, function: Callable[[PacClient], str]) -> str:
        """Make one call as the functions do: only one caller at a time tries a new secret."""
        client = partial(create_client, limits=CallLimits(attempts=1))
        if self._rejections is None:
            with redact_messages(account.redact):
                return function(client(account))
        events = EventPublisher(partial(self._client, "events"), self._outputs["BusName"])
        repository = secrets.AccountRepository(
            self._secrets, self._prefix, PACS, allow_sandbox=self._allow_sandbox
        )
        access = PacAccess(repository, self._rejections, events, client)
        return function(access.client(account, follow_renewal=False))

    def _describe_recording(self, account: Account) -> str:
        """Describe whether the rejection was recorded, which stops further sign-ins."""
        fix = "set a new value of the secret (aws secretsmanager put-secret-value)."
        if self._rejections and self._rejections.get_state(account).rejection:
            return f"Recorded; the functions do not try it again. To fix it, {fix}"
        return f"Not recorded. Do not retry, because the PAC locks accounts; {fix}"

    def _stamps(self, account: Account, pac: PacClient) -> str:
        rfc = self._issuer(account) or _DEFAULT_RFC
        stamps = pac.stamps(rfc, Deadline(_TIMEOUT_SECONDS))
        if stamps.unlimited:
            return f"200 for {rfc}: unlimited"
        left, contracted = _number(stamps.available), _number(stamps.contracted)
        return f"200 for {rfc}: {left} of {contracted} stamps left"

    def _issuer(self, account: Account) -> Rfc | None:
        table = self._outputs.get("IssuersTableName")
        if table is None:
            return None
        rfcs = IssuerRepository(self._client("dynamodb"), table).list_rfcs(account.name)
        return next(map(Rfc, rfcs), None)


def _balance(_account: Account, pac: PacClient) -> str:
    month = month_of(clock.now())
    with pac.balance(month, None, Deadline(_TIMEOUT_SECONDS)) as reading:
        summary = reading.summary
        # Read completely, because the reply is validated while it is read.
        movements = sum(1 for _ in reading.movements())
    return (
        f"HTTP 200 for {month}: {summary.plan}, {summary.issuers.registered} issuers registered, "
        f"{summary.transactions} transactions, {movements} movements"
    )


def _number(count: int | None) -> str:
    return "an unknown number" if count is None else f"{count:,}"


def describe_account(account: Account) -> str:
    """Return a description of an account and its limits, without credentials."""
    text = f"{account.pac.name}, {account.environment}"
    if "stamps" not in account.pac.capabilities:
        return text
    low = f"{account.low_stamps:,} stamps or " if account.low_stamps else ""
    text += f"; low below {low}{account.low_days} days"
    if "contracts" not in account.pac.capabilities:
        return text
    return (
        f"{text}; at most {account.max_stamps_per_contract:,} stamps per contract, "
        f"{account.max_stamps_per_day:,} per day"
    )


def find_remarks(account: Account, names: set[str], stage: str) -> Iterator[str]:
    """Yield warnings about valid but unlikely settings; `names` are the secret's fields."""
    if account.endpoint is not None:
        local = account.endpoint.startswith("http:") and "AWS_ENDPOINT_URL" not in os.environ
        place = f"environment {account.environment}, {account.endpoint}"
        unreachable = " Functions in AWS cannot reach this machine." if local else ""
        yield f"The endpoint is not a real PAC: {place}.{unreachable}"
    elif stage == "prod" and account.environment != "production":
        yield f"The stage is prod, but the PAC's environment is {account.environment}."
    unread = sorted(names - _known_fields(account))
    for name in unread:
        # Prints known names only, because an unknown name may be a credential.
        if matches := difflib.get_close_matches(name, _known_fields(account), 1, 0.75):
            yield f"A field is ignored; its name is similar to {matches[0]}. Correct it."
    for capability, settings in _SETTINGS.items():
        idle = sorted(names & settings)
        if idle and capability not in account.pac.capabilities:
            yield f"{', '.join(idle)}: no effect; {account.pac.name} does not offer {capability}."
    if "stamps" in account.pac.capabilities and not account.low_stamps and not account.low_days:
        yield "low_stamps and low_days are 0, so no issuer is low before it is exhausted."
    if "contracts" not in account.pac.capabilities:
        return
    if 0 in (account.max_stamps_per_contract, account.max_stamps_per_day):
        yield "A maximum is 0, so no contract can be created."
    elif account.max_stamps_per_contract > account.max_stamps_per_day:
        yield "max_stamps_per_contract exceeds max_stamps_per_day and has no effect."


def _known_fields(account: Account) -> set[str]:
    internal = {"name", "credentials", "version", "live_wsdl"}
    return {field.name for field in fields(Account)} - internal | {"wsdl", *account.pac.credentials}


def _check_wsdl(account: Account, loaded: dict[str, bytes]) -> CheckResults:
    """Compare the bundled WSDL with the live one, loaded without credentials once per URL."""
    from tools.doctor import wsdl

    subject = f"WSDL of {account.name}"
    if account.pac.wsdl is None:
        return
    url = account.base + account.pac.wsdl.live_path
    if url not in loaded:
        loaded[url] = wsdl.fetch_wsdl(account.pac.name, url, Deadline(_TIMEOUT_SECONDS))
    bundled, optional = account.pac.wsdl.bundled.read_bytes(), account.pac.wsdl.optional
    try:
        differences = list(wsdl.compare_wsdls(bundled, loaded[url], optional))
    except wsdl.WsdlError as error:
        yield failed(subject, f"The PAC's ?wsdl is not a valid WSDL: {error}.")
        return
    for difference in differences:
        if difference.remedy == wsdl.USE_LIVE_WSDL and account.live_wsdl:
            yield warning(subject, f'{difference.text} The account uses "wsdl": "live".')
        else:
            result = warning if difference.remedy == wsdl.NO_ACTION else failed
            yield result(subject, f"{difference.text} {difference.remedy}")
    if not differences:
        yield ok(subject, "the bundled WSDL matches the PAC's")
