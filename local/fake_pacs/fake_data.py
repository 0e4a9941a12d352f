"""State of the fake PACs: accounts, RFCs, movements, stamps and contracts.

It is independent of HTTP and SOAP. Every public method locks its state, so the threads of a server
can share one object.
"""

from __future__ import annotations

import re
import string
import threading
from calendar import monthrange
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

MEXICO_CITY = ZoneInfo("America/Mexico_City")
CONSUMPTION = "Consumo de timbre"
FAILED_ATTEMPTS_ALLOWED = 5
"""Wrong passwords that return 601; then the account returns 604 until it is reset."""

_RFC = re.compile(r"[A-Z&Ñ]{3,4}[0-9]{2}(0[1-9]|1[012])(0[1-9]|[12][0-9]|3[01])[A-Z0-9]{2}[0-9A]")
_MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[012])")
_HOMOCLAVE = string.digits + string.ascii_uppercase

Clock = Callable[[], datetime]


def mexico_now() -> datetime:
    """Return the current time in Mexico City, with its offset."""
    return datetime.now(MEXICO_CITY)


def is_rfc(text: str) -> bool:
    """Return whether the text has the form of SAT's `t_RFC`, upper case and without blanks."""
    return _RFC.fullmatch(text) is not None


def is_month(text: str) -> bool:
    """Return whether the text is a month as `yyyy-mm`."""
    return _MONTH.fullmatch(text) is not None and not text.startswith("0000")


def month_of(day: date) -> str:
    """Return the month of a day, as `yyyy-mm`."""
    return f"{day.year:04d}-{day.month:02d}"


def month_bounds(month: str) -> tuple[date, date]:
    """Return the first and the last day of a month `yyyy-mm`."""
    year, number = int(month[:4]), int(month[5:])
    return date(year, number, 1), date(year, number, monthrange(year, number)[1])


def bulk_rfc(index: int) -> str:
    """Return the generated RFC number `index`, well-formed; RFCs ascend with their numbers."""
    quotient, last = divmod(index, 10)
    quotient, second = divmod(quotient, len(_HOMOCLAVE))
    quotient, first = divmod(quotient, len(_HOMOCLAVE))
    letters = ""
    for _ in range(3):
        quotient, letter = divmod(quotient, 26)
        letters = string.ascii_uppercase[letter] + letters
    return f"{letters}900101{_HOMOCLAVE[first]}{_HOMOCLAVE[second]}{last}"


# --------------------------------------------------------------------------- Reachcore


class Plan(StrEnum):
    """How an account pays for its stamps (`TipoConsumo`)."""

    PREPAID = "Prepago"
    POSTPAID = "Postpago"


@dataclass(slots=True)
class Movement:
    """A row of an account's month: the number of operations of a kind of an RFC on a day."""

    date: date
    rfc: str
    kind: str = CONSUMPTION
    amount: int = 1


_MovementKey = tuple[date, str, str]


@dataclass
class ReachcoreAccount:
    """An account at Reachcore.

    `name` is the `Cuenta` of the CSV. `rfcs` maps each registered RFC to whether it is authorised
    to stamp. `movements` has amounts by month and by (date, rfc, kind).
    """

    name: str
    plan: Plan
    rfcs: dict[str, bool] = field(default_factory=dict)
    movements: dict[str, dict[_MovementKey, int]] = field(default_factory=dict)

    def add(self, movement: Movement) -> None:
        """Add a movement; amounts of the same RFC, day and kind are summed in one row."""
        rows = self.movements.setdefault(month_of(movement.date), {})
        key = (movement.date, movement.rfc, movement.kind)
        rows[key] = rows.get(key, 0) + movement.amount

    def rows(self, month: str) -> list[Movement]:
        """Return the movements of a month by date, RFC and kind."""
        rows = sorted(self.movements.get(month, {}).items())
        return [Movement(*key, amount) for key, amount in rows]


@dataclass(frozen=True)
class Balance:
    """An account's month at `as_of`; later changes of the state do not affect it.

    `registered`, `authorized` and `stamping` are numbers of RFCs. `transactions` is the number of
    stamps of the authorised RFCs, or of the requested RFC.
    """

    account: str
    plan: Plan
    month: str
    as_of: datetime
    registered: int
    authorized: int
    stamping: int
    transactions: int
    movements: tuple[Movement, ...] = field(repr=False)


class ReachcoreState:
    """All Reachcore accounts, by API key for the PAC and by name for control requests."""

    def __init__(self, accounts: Mapping[str, ReachcoreAccount]) -> None:
        """Set the accounts by API key."""
        self._by_key = dict(accounts)
        self._by_name = {account.name: account for account in self._by_key.values()}
        self._lock = threading.RLock()

    def account_of(self, api_key: str) -> str | None:
        """Return the name of the account with an API key, or None."""
        account = self._by_key.get(api_key)
        return account.name if account else None

    def set_key(self, name: str, api_key: str) -> None:
        """Replace an account's API key; the previous key becomes invalid."""
        with self._lock:
            account = self._account(name)
            others = {key: other for key, other in self._by_key.items() if other is not account}
            self._by_key = {**others, api_key: account}

    def is_registered(self, name: str, rfc: str) -> bool:
        """Return whether an RFC is registered in the account `name`."""
        with self._lock:
            return rfc in self._account(name).rfcs

    def balance(self, name: str, month: str, rfc: str | None, as_of: datetime) -> Balance:
        """Return the month of an account, with the movements of `rfc` only if given."""
        with self._lock:
            account = self._account(name)
            rows = account.rows(month)
            authorized = {name for name, allowed in account.rfcs.items() if allowed}
            registered = len(account.rfcs)
        movements = tuple(row for row in rows if rfc in (None, row.rfc))
        return Balance(
            account=name,
            plan=account.plan,
            month=month,
            as_of=as_of,
            registered=registered,
            authorized=len(authorized),
            stamping=len({row.rfc for row in rows if row.kind == CONSUMPTION}),
            transactions=sum(
                row.amount for row in movements if row.kind == CONSUMPTION and row.rfc in authorized
            ),
            movements=movements,
        )

    def register(self, name: str, rfc: str, *, authorized: bool) -> None:
        """Register an RFC in an account, or change its authorisation."""
        if not is_rfc(rfc):
            raise ValueError(f"{rfc!r} is not a well-formed RFC")
        with self._lock:
            self._account(name).rfcs[rfc] = authorized

    def add_movements(self, name: str, movements: Iterable[Movement]) -> None:
        """Add movements of registered RFCs."""
        with self._lock:
            account = self._account(name)
            for movement in movements:
                if movement.rfc not in account.rfcs:
                    raise ValueError(f"{movement.rfc!r} is not registered in {name!r}")
                account.add(movement)

    def load_bulk(self, name: str, month: str, rows: int) -> None:
        """Add `rows` generated movements, one per RFC and day, and register their RFCs."""
        first, last = month_bounds(month)
        issuers = -(-rows // last.day)
        with self._lock:
            account = self._account(name)
            account.rfcs.update((bulk_rfc(index), True) for index in range(issuers))
            for row in range(rows):
                day, index = divmod(row, issuers)
                account.add(Movement(first + timedelta(day), bulk_rfc(index), amount=1 + row % 7))

    def as_json(self) -> dict[str, Any]:
        """Return the state without API keys."""
        with self._lock:
            return {"accounts": [self._account_json(account) for account in self._by_name.values()]}

    @staticmethod
    def _account_json(account: ReachcoreAccount) -> dict[str, Any]:
        return {
            "name": account.name,
            "plan": account.plan.value,
            "rfcs": [
                {"rfc": rfc, "authorized": authorized}
                for rfc, authorized in sorted(account.rfcs.items())
            ],
            "months": {
                month: {
                    "movements": [
                        {**asdict(row), "date": row.date.isoformat()} for row in account.rows(month)
                    ]
                }
                for month in sorted(account.movements)
            },
        }

    def _account(self, name: str) -> ReachcoreAccount:
        account = self._by_name.get(name)
        if account is None:
            raise ValueError(f"unknown account {name!r}")
        return account


# -------------------------------------------------------------------- Solución Factible


class AccountState(StrEnum):
    """Whether a user of Solución Factible can sign in, or why not."""

    ACTIVE = "active"
    LOCKED = "locked"
    EXPIRED = "expired"
    TOO_MANY_ATTEMPTS = "too-many-attempts"
    INACTIVE = "inactive"


_STATUS_BY_STATE = {
    AccountState.LOCKED: "602",
    AccountState.EXPIRED: "603",
    AccountState.TOO_MANY_ATTEMPTS: "604",
    AccountState.INACTIVE: "605",
}


@dataclass(frozen=True)
class Issuer:
    """An issuer's stamps."""

    contratados: int = 0
    usados: int = 0

    @property
    def disponibles(self) -> int:
        """Return the stamps left; 0 for an issuer without a contract, which uses the account's."""
        return self.contratados - self.usados if self.contratados else 0


@dataclass
class SolucionFactibleAccount:
    """A user of Solución Factible, with its issuers by RFC and its contracts, oldest first.

    Every stamp that an issuer uses is one of the account's `contratados`. `usados` includes those
    of its issuers.
    """

    username: str
    password: str = field(repr=False)
    state: AccountState = AccountState.ACTIVE
    failed_attempts: int = 0
    issuers: dict[str, Issuer] = field(default_factory=dict)
    contracts: list[dict[str, Any]] = field(default_factory=list)
    # Times of changes, and the issuer before each of them (None: it did not exist).
    history: dict[str, list[tuple[datetime, Issuer | None]]] = field(default_factory=dict)
    contratados: int = 10_000_000
    usados: int = 0

    def __post_init__(self) -> None:
        """Count the stamps that the issuers have used."""
        self.usados += sum(issuer.usados for issuer in self.issuers.values())

    @property
    def disponibles(self) -> int:
        """Return the account's stamps left."""
        return self.contratados - self.usados

    def change(self, rfc: str, contratados: int, usados: int, time: datetime) -> None:
        """Add to both counts of a known or new issuer."""
        old = self.issuers.get(rfc)
        self.history.setdefault(rfc, []).append((time, old))
        base = old or Issuer()
        self.issuers[rfc] = replace(
            base, contratados=base.contratados + contratados, usados=base.usados + usados
        )


class SolucionFactibleState:
    """All users of Solución Factible, by username."""

    def __init__(self, accounts: Iterable[SolucionFactibleAccount]) -> None:
        """Set the users."""
        self._accounts = {account.username: account for account in accounts}
        self._lock = threading.RLock()

    def knows(self, username: str) -> bool:
        """Return whether the user exists."""
        return username in self._accounts

    def authenticate(self, username: str, password: str) -> str:
        """Return the documented status of a sign-in: 200, or 601 to 605.

        After `FAILED_ATTEMPTS_ALLOWED` consecutive wrong passwords every sign-in returns 604, until
        `set_account` activates the user.
        """
        with self._lock:
            account = self._accounts.get(username)
            if account is None:
                return "601"
            if account.state is not AccountState.ACTIVE:
                return _STATUS_BY_STATE[account.state]
            if account.password == password:
                account.failed_attempts = 0
                return "200"
            account.failed_attempts += 1
            if account.failed_attempts >= FAILED_ATTEMPTS_ALLOWED:
                account.state = AccountState.TOO_MANY_ATTEMPTS
            return "601"

    def stamps(self, username: str, rfc: str) -> Issuer | None:
        """Return an issuer's counts, or None if the user does not have the issuer."""
        with self._lock:
            return self._account(username).issuers.get(rfc)

    def past_stamps(self, username: str, rfc: str, as_of: datetime) -> Issuer | None:
        """Return the result of `stamps` at `as_of`, for a lagging read."""
        with self._lock:
            for time, before in self._account(username).history.get(rfc, []):
                if time > as_of:
                    return before
            return self.stamps(username, rfc)

    def account_stamps(self, username: str) -> Issuer:
        """Return the counts of the account itself."""
        with self._lock:
            account = self._account(username)
            return Issuer(account.contratados, account.usados)

    def contract(self, username: str, rfc: str, timbres: int, time: datetime) -> None:
        """Create a contract for a known or new issuer."""
        with self._lock:
            account = self._account(username)
            account.change(rfc, timbres, 0, time)
            at = time.isoformat(timespec="seconds")
            account.contracts.append({"rfc": rfc, "timbres": timbres, "time": at})

    def expire(
        self, username: str, rfc: str, contratados: int, usados: int, time: datetime
    ) -> None:
        """Let an older contract expire: subtract its stamps and its used stamps.

        At most the issuer's own stamps expire.
        """
        with self._lock:
            account = self._account(username)
            issuer = account.issuers[rfc]
            contratados = min(contratados, issuer.contratados)
            left = issuer.contratados - contratados
            usados = max(min(usados, issuer.usados), issuer.usados - left)
            account.change(rfc, -contratados, -usados, time)

    def consume(self, rfc: str, timbres: int) -> None:
        """Use stamps of an issuer of the only account, and of the account."""
        with self._lock:
            account = self._account(None)
            issuer = account.issuers[rfc]
            left = issuer.disponibles if issuer.contratados else account.disponibles
            if timbres > min(left, account.disponibles):
                raise ValueError(f"{rfc!r} or its account does not have {timbres} stamps left")
            self.set_issuer(rfc, usados=issuer.usados + timbres)

    def set_account(
        self,
        username: str | None = None,
        *,
        state: AccountState | None = None,
        password: str | None = None,
        contratados: int | None = None,
        usados: int | None = None,
    ) -> None:
        """Change a user's state, password or stamps, and reset its failed attempts."""
        with self._lock:
            account = self._account(username)
            if contratados is not None or usados is not None:
                contratados = account.contratados if contratados is None else contratados
                usados = account.usados if usados is None else usados
                if not 0 <= usados <= contratados:
                    raise ValueError("usados must lie between 0 and contratados")
                account.contratados, account.usados = contratados, usados
            account.failed_attempts = 0
            if state is not None:
                account.state = state
            if password is not None:
                account.password = password

    def set_issuer(
        self,
        rfc: str,
        *,
        username: str | None = None,
        contratados: int | None = None,
        usados: int | None = None,
    ) -> None:
        """Create an issuer or change the given values; lagging reads include the change."""
        if not is_rfc(rfc):
            raise ValueError(f"{rfc!r} is not a well-formed RFC")
        with self._lock:
            account = self._account(username)
            old = account.issuers.get(rfc, Issuer())
            new = Issuer(
                old.contratados if contratados is None else contratados,
                old.usados if usados is None else usados,
            )
            if new.usados < 0 or (new.contratados and new.usados > new.contratados):
                raise ValueError("usados must lie between 0 and contratados")
            account.issuers[rfc] = new
            account.history.pop(rfc, None)
            account.usados += new.usados - old.usados

    def load_issuers(self, count: int) -> None:
        """Add generated issuers with stamps to the only user; its stamps left do not change."""
        with self._lock:
            account = self._account(None)
            for index in range(count):
                account.issuers[bulk_rfc(index)] = Issuer(100 + index % 900, index % 100)
                account.contratados += index % 100
                account.usados += index % 100

    def as_json(self) -> dict[str, Any]:
        """Return the state without passwords."""
        with self._lock:
            return {
                "accounts": [
                    {
                        "username": account.username,
                        "state": account.state.value,
                        "failed_attempts": account.failed_attempts,
                        "contratados": account.contratados,
                        "usados": account.usados,
                        "disponibles": account.disponibles,
                        "issuers": [
                            {"rfc": rfc, **asdict(issuer), "disponibles": issuer.disponibles}
                            for rfc, issuer in sorted(account.issuers.items())
                        ],
                        "contracts": list(account.contracts),
                    }
                    for account in self._accounts.values()
                ]
            }

    def _account(self, username: str | None) -> SolucionFactibleAccount:
        if username is None:
            if len(self._accounts) != 1:
                raise ValueError("several accounts: name one with username")
            return next(iter(self._accounts.values()))
        account = self._accounts.get(username)
        if account is None:
            raise ValueError(f"unknown account {username!r}")
        return account


# ------------------------------------------------------------------------ the demo's data


@dataclass(frozen=True)
class FakePacState:
    """The state of both PACs."""

    reachcore: ReachcoreState
    solucion_factible: SolucionFactibleState


def demo_state(
    today: date,
    *,
    acme_api_key: str,
    norte_api_key: str,
    username: str,
    password: str,
) -> FakePacState:
    """Return the demo's data up to `today`, equal for equal arguments."""
    return FakePacState(
        demo_reachcore_state(today, acme_api_key=acme_api_key, norte_api_key=norte_api_key),
        demo_solucion_factible_state(username, password),
    )


def demo_reachcore_state(today: date, *, acme_api_key: str, norte_api_key: str) -> ReachcoreState:
    """Return the demo's data at Reachcore.

    "Acme Timbrado" (Postpago) has five registered RFCs: four are authorised and three stamp.
    "Norte Prepago" (Prepago) has two RFCs.
    """
    acme = ReachcoreAccount(
        "Acme Timbrado",
        Plan.POSTPAID,
        {
            "A&D061009TY8": True,
            "ÑAN840101AB1": True,
            "AAA010101AAA": True,
            "ACM010203XY9": False,
            "GOMP800101QX2": True,
        },
    )
    norte = ReachcoreAccount(
        "Norte Prepago", Plan.PREPAID, {"ÑAN840101AB1": True, "GOMP800101QX2": True}
    )
    for movement in _demo_movements(today, ("A&D061009TY8", "ÑAN840101AB1", "AAA010101AAA")):
        acme.add(movement)
    for movement in _demo_movements(today, ("GOMP800101QX2",)):
        norte.add(movement)
    return ReachcoreState({acme_api_key: acme, norte_api_key: norte})


def demo_solucion_factible_state(username: str, password: str) -> SolucionFactibleState:
    """Return the demo's data at Solución Factible.

    One user has Acme's five RFCs as issuers: with enough stamps, low, exhausted, unused and busy.
    The account has more stamps than its issuers.
    """
    user = SolucionFactibleAccount(
        username,
        password,
        contratados=10_000,
        issuers={
            "A&D061009TY8": Issuer(1000, 250),
            "ÑAN840101AB1": Issuer(500, 480),
            "AAA010101AAA": Issuer(200, 200),
            "ACM010203XY9": Issuer(50, 0),
            "GOMP800101QX2": Issuer(300, 120),
        },
    )
    return SolucionFactibleState([user])


def _demo_movements(today: date, rfcs: tuple[str, ...]) -> Iterator[Movement]:
    """Yield movements of this and the two months before, at a fixed interval per RFC."""
    first = today.replace(day=1)
    for _ in range(2):
        first = (first - timedelta(days=1)).replace(day=1)
    days = (first + timedelta(days=n) for n in range((today - first).days + 1))
    for day in days:
        for interval, rfc in enumerate(rfcs, start=2):
            if (day.day - 1) % interval == 0:
                yield Movement(day, rfc, CONSUMPTION, 1 + (day.day * (interval + 3)) % 8)
