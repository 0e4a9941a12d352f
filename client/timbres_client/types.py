"""The responses of the API, as types; a response may have further members."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict


class Account(TypedDict):
    """An account at a PAC; ``error`` is why it cannot be used."""

    name: str
    pac: str | None
    environment: str | None
    can: list[str]
    error: NotRequired[dict[str, Any]]


class Amount(TypedDict):
    """The consumption of an issuer; ``rfc`` is None for the account itself."""

    rfc: str | None
    amount: int


class MonthTotals(TypedDict):
    """The totals of a month; ``consistent`` is False if the PAC contradicts itself."""

    month: str
    source: str
    as_of: str | None
    transactions: int | None
    movements_total: int | None
    consistent: bool | None
    by_issuer: list[Amount]


class Balance(MonthTotals):
    """The balance of an account in a month, with the first 5,000 movements."""

    account: str
    pac: str
    plan: str | None
    issuers: dict[str, int | None]
    by_kind: list[dict[str, Any]]
    movements: list[dict[str, Any]]
    truncated: bool


class Balances(TypedDict):
    """The totals of several months, the oldest first."""

    account: str
    months: list[MonthTotals]


class Counts(TypedDict):
    """Numbers of stamps; None if the PAC does not return them."""

    contracted: int | None
    used: int | None
    available: int | None
    as_of: str | None


class Issuer(Counts):
    """An issuer with its last count; ``alert`` is None if nothing is known."""

    account: str
    rfc: str
    name: str | None
    unlimited: bool
    burn_7: float | None
    burn_30: float | None
    days_left: float | None
    alert: str | None
    low_stamps: int | None


class StampCount(Issuer):
    """An issuer's stamps, read from the PAC."""

    expires_on: str | None
    expiring_stamps: int | None


class AccountStamps(Counts):
    """The stamps of an account itself."""

    account: str


class Snapshot(Counts):
    """The count of a day; ``consumed`` since the previous one."""

    date: str
    unlimited: bool
    consumed: int | None


class Contract(TypedDict):
    """A contract; ``history`` is in the response for one contract."""

    id: str
    account: str
    rfc: str
    stamps: int
    status: str
    contracted_before: int | None
    used_before: int | None
    available_before: int | None
    contracted_after: int | None
    used_after: int | None
    available_after: int | None
    warning: str | None
    requested_by: str
    idempotency_key: str
    reference: str | None
    created_at: str
    settled_at: str | None
    attempts: int
    pac: dict[str, Any] | None
    error: dict[str, Any] | None
    history: NotRequired[list[dict[str, Any]]]


class Report(TypedDict):
    """A report; ``url`` is a link of 15 minutes if it is ready."""

    id: str
    account: str
    month: str
    kind: str
    format: str
    status: str
    bytes: int | None
    sha256: str | None
    rows: int | None
    created_at: str
    settled_at: str | None
    url: str | None
    expires_at: str | None
    error: dict[str, Any] | None


class Run(TypedDict):
    """A daily run; a list has no progress."""

    id: str
    status: str
    day: str
    started_at: str
    finished_at: str | None
    low: int
    exhausted: int
    expected: NotRequired[int]
    done: NotRequired[int]
    failed: NotRequired[dict[str, int]]
    per_minute: NotRequired[float | None]
    expected_end: NotRequired[str | None]
    accounts: NotRequired[list[dict[str, Any]]]
