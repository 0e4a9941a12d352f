"""Test cases of the PAC clients: the table of PACs and their operations.

``PAC_CASES`` holds each PAC once. The suites that every PAC must pass are parametrized over it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from local.fake_pacs import reachcore, solucion_factible
from local.fake_pacs.base import FakePac
from local.fake_pacs.fake_data import FakePacState, demo_state
from local.fake_pacs.faults import parse_fault

# Imports zeep early, so that the first call does not wait for it.
import timbres.pacs.solucion_factible.client
from tests.support import libre
from tests.support.documented_codes import (
    AGREGAR_CONTRATO,
    GET_TIMBRES,
    REJECTED_CREDENTIALS,
    REJECTED_REQUEST,
    SALDOS,
    STATEMENT,
    UNAVAILABLE,
    Meaning,
    documented,
)
from tests.support.libre.fake import TEXTS, LibreFake
from timbres.deadline import Deadline
from timbres.domain.account import Account
from timbres.domain.contract import Contract
from timbres.domain.month import Month
from timbres.domain.rfc import Rfc
from timbres.domain.stamps import Stamps
from timbres.errors import PacError
from timbres.pacs.base import CallLimits, PacClient
from timbres.pacs.registry import PACS, create_client

TODAY = date(2026, 11, 19)
MONTH = Month(2026, 10)
RFC = Rfc("A&D061009TY8")
RFC_N = Rfc("ÑAN840101AB1")
KEY = "llave-de-acme-0001"
OTHER_KEY = "llave-de-norte-0002"
USERNAME = "pruebas@acme.example"
PASSWORD = "contraseña & <secreta>"
WRONG = "equivocada-0001"
ACME = "Acme Timbrado"
CREDENTIALS = (KEY, OTHER_KEY, USERNAME, PASSWORD, WRONG)
WSDL = Path(timbres.pacs.solucion_factible.client.__file__).with_name("utilerias.wsdl")
# A contract with an unknown outcome, for the PAC to trace.
SENT_AT = datetime(2026, 11, 19, 9, 30, tzinfo=UTC)
SENT = Contract.create("acme", "login", RFC, 500, "caller", "pedido-1", SENT_AT).mark_sent(
    SENT_AT, Stamps(1000, 250, 750)
)
# The statement in the documentation of Reachcore, including the blank after the RFC.
DOCUMENTED_CSV = """Cuenta,TipoConsumo,FechaInicioConsulta,FechaFinConsulta,FechaActual
Pruebas,Postpago,2019-10-01T00:00:00,2019-10-31T00:00:00,2019-11-20T16:57:53

Estado de los RFC
Registrados,0
Autorizados,1
Generaron Timbre,1

Transacciones
Consumo de todos los RFC:,3

RFC,Fecha,Tipo movimiento,Monto
AAA010101AAA ,10/17/2019 12:00:00 AM,Consumo de timbre,3
"""
# Pauses and waiting times are short.
LIMITS = CallLimits(attempts=3, backoff_seconds=0.001, min_contract_seconds=0.5)
ATTEMPTS = LIMITS.attempts


def fake_state() -> FakePacState:
    """Return the state of the fake PACs, with the credentials of these tests."""
    return demo_state(
        TODAY,
        acme_api_key=KEY,
        norte_api_key=OTHER_KEY,
        username=USERNAME,
        password=PASSWORD,
    )


def new_client(account: Account, **limits: float) -> PacClient:
    """Return a client with short limits, of which some may be changed."""
    return create_client(account, replace(LIMITS, **limits))


def reachcore_account(endpoint: str, api_key: str = KEY) -> Account:
    """Return an account of the Reachcore at this endpoint."""
    return Account("acme-rc", PACS["reachcore"], "sandbox", {"api_key": api_key}, endpoint)


def factible_account(endpoint: str, *, live_wsdl: bool = False) -> Account:
    """Return an account of the Solución Factible at this endpoint."""
    pac, credentials = PACS["solucion-factible"], {"username": USERNAME, "password": PASSWORD}
    return Account("acme-sf", pac, "sandbox", credentials, endpoint, live_wsdl=live_wsdl)


@dataclass(frozen=True, eq=False)
class Operation:
    """An operation of a PAC: a read or, if ``contracts`` is set, a contract.

    ``operation`` is the name that the fake PAC uses. ``messages`` are the PAC's messages and
    ``meanings`` the expected errors, by code. ``meanings`` is empty if the PAC rejects nothing.
    If ``has_codes`` is false, the PAC has no codes and the keys only name its messages.
    ``max_bytes`` is the limit of a response. After the faults ``unknown_after``, it returns unknown
    counts instead of an error. ``name`` distinguishes two cases of one operation.
    """

    pac: str
    operation: str
    account: Callable[..., Account]
    call: Callable[[PacClient, Deadline], Any]
    meanings: Mapping[str, Meaning]
    messages: Mapping[str, str]
    max_bytes: int
    contracts: bool = False
    has_codes: bool = True
    unknown_after: frozenset[str] = frozenset()
    name: str = ""

    def __call__(self, url: str, seconds: float = 0.9, **limits: float) -> Any:
        """Call the PAC at ``url`` with a new client and a deadline in seconds."""
        return self.call(new_client(self.account(url), **limits), Deadline(seconds))

    def fake_pac(self) -> FakePac:
        """Return a new fake PAC."""
        return PAC_CASES[self.pac].fake_pac()

    def __repr__(self) -> str:
        return f"{self.pac}-{self.name or self.operation}"


@dataclass(frozen=True)
class PacCase:
    """A PAC: its fake, a valid account, and its operations.

    ``read_issuer`` reads the data of one issuer.
    """

    fake_pac: Callable[[], FakePac]
    account: Callable[[str], Account]
    operations: tuple[Operation, ...]
    read_issuer: Callable[[PacClient, Rfc, Deadline], Any]


def _balance(client: PacClient, deadline: Deadline, rfc: Rfc | None = None) -> Any:
    with client.balance(MONTH, rfc, deadline) as month:
        return list(month.movements())


def _statement(client: PacClient, form: str, deadline: Deadline) -> bytes:
    with client.statement(MONTH, form, deadline).file as file:
        return file.read()


_RC, _SF = "reachcore", "solucion-factible"
_SALDOS_MESSAGES = {code: message for code, (_, message) in reachcore.ERRORS.items()}
_STATEMENT_MESSAGES = _SALDOS_MESSAGES | {"400-002": reachcore.RFC_NOT_NEEDED}
_SF_MESSAGES = solucion_factible.MESSAGES
_MIB = 1024 * 1024

BALANCE = Operation(
    _RC, "saldos", reachcore_account, _balance, documented(SALDOS), _SALDOS_MESSAGES, 256 * _MIB
)
CSV, PDF = (
    Operation(
        _RC,
        form,
        reachcore_account,
        lambda client, deadline, form=form: _statement(client, form, deadline),
        documented(STATEMENT),
        _STATEMENT_MESSAGES,
        256 * _MIB,
    )
    for form in ("csv", "pdf")
)
COUNT = Operation(
    _SF,
    "getTimbres",
    factible_account,
    lambda client, deadline: client.stamps(RFC, deadline),
    documented(GET_TIMBRES),
    _SF_MESSAGES,
    256 * 1024,
)
TRACE = replace(COUNT, call=lambda client, deadline: client.trace(SENT, deadline), name="trace")
ACCOUNT_COUNT = replace(
    COUNT,
    operation="getTimbresImplementacion",
    call=lambda client, deadline: client.account_stamps(deadline),
    # 630 states that no stamps are left, so it is a count.
    meanings={code: meaning for code, meaning in COUNT.meanings.items() if code != "630"},
    unknown_after=frozenset({"soap-fault", "missing-fields", "empty-fields", "nil-fields"}),
)
CONTRACT = Operation(
    _SF,
    "agregarContrato",
    factible_account,
    lambda client, deadline: client.create_contract(RFC, 500, deadline),
    documented(AGREGAR_CONTRATO),
    _SF_MESSAGES,
    256 * 1024,
    contracts=True,
)
LIVE_WSDL = Operation(
    _SF, "wsdl", partial(factible_account, live_wsdl=True), COUNT.call, {}, {}, _MIB
)

_LIBRE_MEANINGS = {
    "login": REJECTED_CREDENTIALS,
    "busy": UNAVAILABLE,
    "other": REJECTED_REQUEST,
}


def libre_account(endpoint: str) -> Account:
    """Return an account of the Libre at this endpoint."""
    credentials = {"user": USERNAME, "token": KEY}
    return Account("acme-libre", libre.PAC, "sandbox", credentials, endpoint)


LIBRE_STAMPS = Operation(
    libre.PAC.name,
    "stamps",
    libre_account,
    COUNT.call,
    _LIBRE_MEANINGS,
    TEXTS,
    64 * 1024,
    has_codes=False,
)
LIBRE_TRACE = replace(LIBRE_STAMPS, call=TRACE.call, name="trace")
LIBRE_CONTRACT = replace(LIBRE_STAMPS, operation="contracts", call=CONTRACT.call, contracts=True)

PAC_CASES = {
    libre.PAC.name: PacCase(
        fake_pac=lambda: LibreFake(USERNAME, KEY),
        account=libre_account,
        operations=(LIBRE_STAMPS, LIBRE_TRACE, LIBRE_CONTRACT),
        read_issuer=lambda client, rfc, deadline: client.stamps(rfc, deadline),
    ),
    _RC: PacCase(
        fake_pac=lambda: reachcore.FakeReachcore(fake_state().reachcore),
        account=reachcore_account,
        operations=(BALANCE, CSV, PDF),
        read_issuer=lambda client, rfc, deadline: _balance(client, deadline, rfc),
    ),
    _SF: PacCase(
        fake_pac=lambda: solucion_factible.FakeSolucionFactible(
            fake_state().solucion_factible, wsdl=WSDL
        ),
        account=factible_account,
        operations=(COUNT, TRACE, ACCOUNT_COUNT, CONTRACT, LIVE_WSDL),
        read_issuer=lambda client, rfc, deadline: client.stamps(rfc, deadline),
    ),
}
OPERATIONS = tuple(operation for pac in PAC_CASES.values() for operation in pac.operations)
READS = tuple(operation for operation in OPERATIONS if not operation.contracts)
CONTRACTS = tuple(operation for operation in OPERATIONS if operation.contracts)
every_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=repr)
every_read = pytest.mark.parametrize("operation", READS, ids=repr)
every_pac = pytest.mark.parametrize("pac", PAC_CASES)


def inject_fault(fake_pac: FakePac, operation: str, fault: str, **options: Any) -> None:
    """Inject a fault into an operation, permanently unless ``times`` is given."""
    payload = {"operation": operation, "fault": fault, "times": -1, **options}
    fake_pac.faults.put(parse_fault(payload, fake_pac.rules))


def calls(fake_pac: FakePac, operation: str | None = None) -> list[dict[str, Any]]:
    """Return the received calls, of one operation if it is given."""
    return [call for call in fake_pac.calls.as_json() if operation in (None, call["operation"])]


@contextmanager
def expect_pac_error(*codes: str) -> Iterator[list[PacError]]:
    """Expect a PAC error of one of these codes, without credentials; the list receives it."""
    errors: list[PacError] = []
    with pytest.raises(PacError) as caught:
        yield errors
    error = caught.value
    errors.append(error)
    assert error.problem_type.code in codes, error.detail
    assert error.detail.isprintable()
    text = f"{error!s} {error!r} {error.pac_message}"
    assert not any(credential in text for credential in CREDENTIALS)
    assert error.__suppress_context__ or error.__context__ is None
    assert error.__cause__ is None or not any(c in repr(error.__cause__) for c in CREDENTIALS)
