"""The stamps of an account at a PAC: what is known, what is unknown, and what is an error."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from local.fake_pacs.fake_data import SolucionFactibleState
from local.fake_pacs.faults import FaultKind
from local.fake_pacs.solucion_factible import FakeSolucionFactible
from tests.support.pac_cases import (
    ACCOUNT_COUNT,
    CREDENTIALS,
    PASSWORD,
    RFC,
    USERNAME,
    WSDL,
    calls,
    expect_pac_error,
    factible_account,
    fake_state,
    inject_fault,
    shorten_timeouts,
)
from tests.support.pac_servers import PacServer, respond_with
from tools.doctor.wsdl import NO_ACTION, compare_wsdls

from timbres.deadline import Deadline
from timbres.domain.stamps import Stamps
from timbres.pacs import solucion_factible
from timbres.pacs.errors import redact_messages
from timbres.pacs.registry import create_client

UNKNOWN = Stamps(None, None, None)
OPERATION = ACCOUNT_COUNT.operation


@pytest.fixture(autouse=True)
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten_timeouts(monkeypatch)


@pytest.fixture
def state() -> SolucionFactibleState:
    return fake_state().solucion_factible


@pytest.fixture
def pac(state: SolucionFactibleState, pac_server: PacServer) -> FakeSolucionFactible:
    fake_pac = FakeSolucionFactible(state, wsdl=WSDL)
    pac_server.serve_app(fake_pac)
    return fake_pac


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """The lines that are logged, none of which has a credential."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    # The logger of the functions passes nothing on to its parents.
    logger = logging.getLogger("timbres")
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)
    assert not any(credential in line for credential in CREDENTIALS for line in lines)


def test_the_counts_of_the_account_are_returned(pac: FakeSolucionFactible, url: str) -> None:
    assert ACCOUNT_COUNT(url) == Stamps(10_000, 1050, 8950)
    (call,) = calls(pac)
    assert (call["operation"], call["account"], call["rfc"]) == (OPERATION, USERNAME, None)


@pytest.mark.parametrize("fault", sorted(ACCOUNT_COUNT.unknown_after))
def test_what_the_pac_does_not_return_is_unknown(
    fault: str, pac: FakeSolucionFactible, url: str
) -> None:
    assert FaultKind(fault) in pac.rules.kinds[OPERATION]
    inject_fault(pac, OPERATION, fault)
    assert ACCOUNT_COUNT(url) == UNKNOWN
    assert len(calls(pac)) == 1


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize(
    "text",
    [
        "The operation is not found",
        "The endpoint reference (EPR) for the Operation not found is /ws/services/Utilerias",
        USERNAME,
        PASSWORD,
    ],
)
def test_a_soap_fault_is_unknown_and_logged_without_credentials(
    status: int, text: str, pac_server: PacServer, url: str, logged: list[str]
) -> None:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;")
    fault = (
        '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body><e:Fault>'
        f"<faultcode>e:Server</faultcode><faultstring>{escaped}</faultstring></e:Fault>"
        "</e:Body></e:Envelope>"
    )
    pac_server.serve_app(respond_with(fault, status=status))
    account = factible_account(url)
    with redact_messages(account.redact):
        assert create_client(account).account_stamps(Deadline(5)) == UNKNOWN
    assert [line.startswith(f"{OPERATION}: SOAP fault") for line in logged] == [True]
    assert len(pac_server.requests) == 1


def test_a_live_wsdl_without_the_operation_is_unknown_and_everything_else_works(
    pac: FakeSolucionFactible, url: str
) -> None:
    wsdl = WSDL.read_text().replace(OPERATION, "getTimbresDeOtraCosa")
    inject_fault(pac, "wsdl", "wrong-shape", reply=wsdl)
    client = create_client(factible_account(url, live_wsdl=True))
    assert client.account_stamps(Deadline(5)) == UNKNOWN
    assert client.stamps(RFC, Deadline(5)) == Stamps(1000, 250, 750)
    assert client.create_contract(RFC, 500, Deadline(20)).code == "200"
    operations = [call["operation"] for call in calls(pac)]
    assert operations == ["wsdl", "getTimbres", "agregarContrato"]


def test_the_doctor_reports_the_missing_operation_as_optional() -> None:
    optional = solucion_factible.PAC.wsdl.optional if solucion_factible.PAC.wsdl else frozenset()
    live = WSDL.read_text().replace(OPERATION, "getTimbresDeOtraCosa").encode()
    (difference,) = compare_wsdls(WSDL.read_bytes(), live, optional)
    assert difference.remedy == NO_ACTION
    assert OPERATION in difference.text


def test_an_empty_account_has_no_stamps_left_and_creates_no_contract(
    state: SolucionFactibleState, pac: FakeSolucionFactible, url: str
) -> None:
    account = factible_account(url)
    client = create_client(account)
    state.set_account(contratados=1050)
    assert client.account_stamps(Deadline(5)) == Stamps(1050, 1050, 0)
    with expect_pac_error("account-stamps-exhausted"):
        client.create_contract(RFC, 500, Deadline(20))
    assert pac.contracts() == []


@pytest.mark.parametrize("counts", ["", "<x:usados>9</x:usados><x:contratados>9</x:contratados>"])
def test_code_630_states_that_no_stamps_are_left(
    counts: str, pac: FakeSolucionFactible, url: str
) -> None:
    reply = (
        '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body>'
        "<n:getTimbresImplementacionResponse "
        'xmlns:n="http://utilerias.timbrado.ws.cfdi.solucionfactible.com">'
        '<n:return xmlns:x="http://utilerias.timbrado.ws.cfdi.solucionfactible.com/xsd">'
        f"<x:status>630</x:status>{counts}</n:return></n:getTimbresImplementacionResponse>"
        "</e:Body></e:Envelope>"
    )
    inject_fault(pac, OPERATION, "wrong-shape", reply=reply)
    used = 9 if counts else None
    assert ACCOUNT_COUNT(url) == Stamps(used, used, 0)
