"""The accounts: each secret by the functions' own rules and, on request, what its PAC says."""

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
from timbres.domain.account import (
    Account,
    parse_account,
    parse_account_name,
)
from timbres.domain.month import month_of
from timbres.domain.rfc import Rfc
from timbres.errors import PacError, TimbresError
from timbres.pacs.base import PacClient
from timbres.pacs.errors import redact_messages
from timbres.pacs.registry import PACS, create_client
from timbres.repositories import accounts as secrets
from timbres.repositories.credential_rejections import (
    CredentialRejectionRepository,
    rejection_sort_key,
)
from timbres.repositories.issuers import IssuerRepository
from timbres.services.pac_access import PacAccess
from tools.doctor.checks import CheckResult, CheckResults, failed, ok, run_safely, warning
from tools.doctor.cloud import ClientFactory, Deployed

# The template's.
DEFAULT_PREFIX = "timbres/accounts/"
DEFAULT_STAGE = "dev"
_DEFAULT_RFC = Rfc("AAA010101AAA")
_SECONDS = 25.0
# The settings of a secret that only a PAC with the capability gives an effect.
_SETTINGS = {
    "stamps": {"low_stamps", "low_days"},
    "contracts": {"max_stamps_per_contract", "max_stamps_per_day"},
}


class AccountChecks:
    """The accounts under the prefix of `parameters`, those of `only` where it names some.

    `parameters` are the template's: those that `stack` has, or that it would be deployed with.
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
        self._only = only
        self._good: list[Account] = []

    def check_secrets(self) -> CheckResults:
        """Look at every secret; no PAC is called."""
        names = self._names()
        for name in self._only:
            if name not in names:
                yield failed(f"account {name}", f"There is no secret {self._prefix}{name}.")
        if not names:
            yield warning(
                "accounts",
                f"There is no secret {self._prefix}…: the README says how to add an account.",
            )
        for name in names:
            if not self._only or name in self._only:
                yield from run_safely(f"account {name}", partial(self._account, name))

    def check_pacs(self) -> CheckResults:
        """Make one read call to the PAC of each account that `examined` found to be good."""
        live = LiveWsdls()
        for account in self._good:
            yield from run_safely(f"PAC of {account.name}", partial(self._check_pac, account))
            if account.pac.wsdl:
                yield from run_safely(f"WSDL of {account.name}", partial(live.check, account))

    def _names(self) -> list[str]:
        pages = self._secrets.get_paginator("list_secrets").paginate(
            Filters=[{"Key": "name", "Values": [self._prefix]}]
        )
        found = (one["Name"] for page in pages for one in page["SecretList"])
        return sorted(
            name.removeprefix(self._prefix) for name in found if name.startswith(self._prefix)
        )

    def _account(self, name: str) -> CheckResults:
        what = f"account {name}"
        try:
            parse_account_name(name)
        except TimbresError as error:
            yield failed(what, f"{error.detail} No function reads it: create it by another name.")
            return
        try:
            answer = self._secrets.get_secret_value(SecretId=self._prefix + name)
        except self._secrets.exceptions.ResourceNotFoundException:
            yield failed(what, "The secret has no value: aws secretsmanager put-secret-value")
            return
        text = answer.get("SecretString", "")
        try:
            account = parse_account(name, text, PACS, answer["VersionId"])
        except TimbresError as error:
            # It names the field, never what stands there.
            yield failed(what, f"{error.detail} Correct it: aws secretsmanager put-secret-value")
            return
        yield ok(what, describe_account(account))
        for remark in find_remarks(account, set(json.loads(text)), self._stage):
            yield warning(what, remark)
        if rejection := self._rejection(account):
            yield failed(what, rejection)
        else:
            self._good.append(account)

    @cached_property
    def _rejections(self) -> CredentialRejectionRepository | None:
        table = self._outputs.get("CredentialRejectionsTableName")
        return CredentialRejectionRepository(self._client("dynamodb"), table) if table else None

    def _rejection(self, account: Account) -> str | None:
        """What the PAC said when it rejected the secret as it is now; None when it did not."""
        rejection = self._rejections.get_state(account).rejection if self._rejections else None
        if rejection is None:
            return None
        words = f"{rejection.code or 'no code'} {rejection.message or ''}".strip()
        key = json.dumps(
            {"account": {"S": account.name}, "entry": {"S": rejection_sort_key(account)}}
        )
        return (
            f"{account.pac.name} rejected these credentials at {rejection.at} ({words}): nobody "
            "asks again until the secret has a new value, or, to have this value tried again: "
            "aws dynamodb delete-item "
            f"--table-name {self._outputs['CredentialRejectionsTableName']} "
            f"--key '{key}'"
        )

    def _check_pac(self, account: Account) -> CheckResults:
        what = f"PAC of {account.name}"
        read = self._stamps if "stamps" in account.pac.capabilities else _balance
        begun = time.monotonic()
        try:
            said = self._call(account, partial(read, account))
        except PacError as error:
            yield self._describe_error(what, account, error, time.monotonic() - begun)
        else:
            yield ok(what, f"{said} ({time.monotonic() - begun:.1f} s)")

    def _call(self, account: Account, ask: Callable[[PacClient], str]) -> str:
        """Make one call as the functions do: a new secret is tried by one caller at a time."""
        client = partial(create_client, attempts=1)
        if self._rejections is None:
            with redact_messages(account.redact):
                return ask(client(account))
        bus = EventPublisher(self._client("events"), self._outputs["BusName"])
        known = secrets.AccountRepository(self._secrets, self._prefix, PACS)
        access = PacAccess(known, self._rejections, bus, client)
        return ask(access.client(account, follow_renewal=False))

    def _describe_error(
        self, what: str, account: Account, error: PacError, seconds: float
    ) -> CheckResult:
        said = f"{error.detail} ({seconds:.1f} s)"
        if error.problem_type.code == "pac-credentials-rejected":
            return failed(what, f"{said} {self._note_rejection(account)}")
        if error.problem_type.code == "pac-rejected-request" and not self._issuer(account):
            return warning(
                what, f"{said} It was asked for {_DEFAULT_RFC}, as no issuer is known."
            )
        return failed(what, said)

    def _note_rejection(self, account: Account) -> str:
        """Say whether the rejection keeps the functions from another sign-in that fails."""
        after = "give the secret a new value (aws secretsmanager put-secret-value)."
        if self._rejections and self._rejections.get_state(account).rejection:
            return f"Noted, so that nobody asks again: {after}"
        return f"Not noted. Do not ask again, a PAC locks accounts: {after}"

    def _stamps(self, account: Account, pac: PacClient) -> str:
        rfc = self._issuer(account) or _DEFAULT_RFC
        stamps = pac.stamps(rfc, Deadline(_SECONDS))
        if stamps.unlimited:
            return f"200 for {rfc}: no limit of its own"
        left, of = _number(stamps.available), _number(stamps.contracted)
        return f"200 for {rfc}: {left} of {of} stamps left"

    def _issuer(self, account: Account) -> Rfc | None:
        table = self._outputs.get("IssuersTableName")
        if table is None:
            return None
        return next(
            (
                Rfc(one)
                for one in IssuerRepository(self._client("dynamodb"), table).list_rfcs(account.name)
            ),
            None,
        )


def _balance(_account: Account, pac: PacClient) -> str:
    month = month_of(clock.now())
    with pac.balance(month, None, Deadline(_SECONDS)) as reading:
        summary = reading.summary
        # All of it, since an answer is understood only while it is read.
        movements = sum(1 for _ in reading.movements())
    return (
        f"HTTP 200 for {month}: {summary.plan}, {summary.issuers.registered} issuers registered, "
        f"{summary.transactions} transactions, {movements} movements"
    )


def _number(count: int | None) -> str:
    return "an unsaid number" if count is None else f"{count:,}"


def describe_account(account: Account) -> str:
    """What an account is and how it is watched, free of credentials."""
    said = f"{account.pac.name}, {account.environment}"
    if "stamps" not in account.pac.capabilities:
        return said
    low = f"{account.low_stamps:,} stamps or " if account.low_stamps else ""
    said += f"; low below {low}{account.low_days} days"
    if "contracts" not in account.pac.capabilities:
        return said
    return (
        f"{said}; buys up to {account.max_stamps_per_contract:,} at once, "
        f"{account.max_stamps_per_day:,} a day"
    )


def find_remarks(account: Account, names: set[str], stage: str) -> Iterator[str]:
    """Yield what is allowed in an account but hardly meant; `names` are its secret's fields."""
    if account.endpoint is not None:
        local = account.endpoint.startswith("http:") and "AWS_ENDPOINT_URL" not in os.environ
        yield f"It is no real PAC's: sandbox, at {account.endpoint}." + (
            " Functions in AWS cannot reach this machine." if local else ""
        )
    elif stage == "prod" and account.environment != "production":
        yield f"The stage is prod and the PAC's environment {account.environment}."
    unread = sorted(names - _known(account))
    for name in unread:
        # Only a slip of a known name is shown: what else stands there may be a credential.
        if meant := difflib.get_close_matches(name, _known(account), 1, 0.75):
            yield f"A field is like {meant[0]} but not quite, and is not read: correct its name."
    for capability, settings in _SETTINGS.items():
        idle = sorted(names & settings)
        if idle and capability not in account.pac.capabilities:
            yield f"{', '.join(idle)}: without effect, {account.pac.name} offers no {capability}."
    if "stamps" in account.pac.capabilities and not account.low_stamps and not account.low_days:
        yield "low_stamps and low_days are 0: no issuer is ever low before it is exhausted."
    if "contracts" not in account.pac.capabilities:
        return
    if 0 in (account.max_stamps_per_contract, account.max_stamps_per_day):
        yield "A maximum is 0: nothing can be bought."
    elif account.max_stamps_per_contract > account.max_stamps_per_day:
        yield "max_stamps_per_contract is beyond max_stamps_per_day, which alone counts then."


def _known(account: Account) -> set[str]:
    ours = {"name", "credentials", "version", "live_wsdl"}
    return {one.name for one in fields(Account)} - ours | {"wsdl", *account.pac.credentials}


class LiveWsdls:
    """The WSDLs of the PACs' environments, each loaded once; no credential is sent."""

    def __init__(self) -> None:
        self._seen: dict[str, bytes] = {}

    def check(self, account: Account) -> CheckResults:
        """Say how the bundled WSDL fits that of the account's PAC."""
        from tools.doctor import wsdl

        what = f"WSDL of {account.name}"
        if account.pac.wsdl is None:
            return
        url = account.base + account.pac.wsdl.live_path
        if url not in self._seen:
            self._seen[url] = wsdl.fetch_wsdl(account.pac.name, url, Deadline(_SECONDS))
        try:
            found = list(wsdl.compare_wsdls(account.pac.wsdl.bundled.read_bytes(), self._seen[url]))
        except wsdl.WsdlError as error:
            yield failed(what, f"What the PAC has at ?wsdl is no WSDL of it: {error}.")
            return
        for one in found:
            if one.remedy == wsdl.USE_LIVE_WSDL and account.live_wsdl:
                yield warning(what, f'{one.text} The account has "wsdl": "live", and goes by that.')
            else:
                kind = warning if one.remedy == wsdl.NO_ACTION else failed
                yield kind(what, f"{one.text} {one.remedy}")
        if not found:
            yield ok(what, "the bundled one fits the PAC's")
