"""Solución Factible's client against the fake PAC, over loopback HTTP."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import pytest
from local.fake_pacs.fake_data import SolucionFactibleState
from local.fake_pacs.server import serve
from local.fake_pacs.solucion_factible import PATHS, FakeSolucionFactible
from lxml import etree
from tests.support.further_cases import COUNTS, DONE, SERVICE, SOAP_11, envelope, fault
from tests.support.pac_cases import (
    ACCOUNT_COUNT,
    ATTEMPTS,
    CONTRACT,
    CREDENTIALS,
    PASSWORD,
    RFC,
    RFC_N,
    USERNAME,
    WSDL,
    calls,
    expect_pac_error,
    factible_account,
    fake_state,
    inject_fault,
    new_client,
)
from tests.support.pac_servers import PacServer, respond_with

from timbres.deadline import Deadline
from timbres.domain.rfc import Rfc
from timbres.domain.stamps import Stamps
from timbres.errors import TimbresError
from timbres.pacs.base import PacClient, Receipt
from timbres.pacs.errors import redact_messages
from timbres.pacs.registry import create_client

XS = 'xmlns:xs="http://www.w3.org/2001/XMLSchema"'
GET, CREATE, ACCOUNT = "getTimbres", "agregarContrato", "getTimbresImplementacion"
INITIAL, UNKNOWN = Stamps(1000, 250, 750), Stamps(None, None, None)
Act = Callable[[PacClient], Any]
every_act = pytest.mark.parametrize("operation", [GET, CREATE])


@pytest.fixture
def state() -> SolucionFactibleState:
    return fake_state().solucion_factible


@pytest.fixture
def pac(state: SolucionFactibleState, pac_server: PacServer) -> FakeSolucionFactible:
    """The fake PAC in its initial state."""
    fake_pac = FakeSolucionFactible(state, wsdl=WSDL)
    pac_server.serve_app(fake_pac)
    return fake_pac


@pytest.fixture(scope="module")
def warm_client(pac_server_and_url: tuple[PacServer, str]) -> PacClient:
    """A client that a warm function keeps between calls."""
    return new_client(factible_account(pac_server_and_url[1]))


@pytest.fixture
def client(warm_client: PacClient, pac: FakeSolucionFactible) -> PacClient:
    return warm_client


@pytest.fixture
def live(pac: FakeSolucionFactible, url: str) -> PacClient:
    """A client that reads the PAC's own WSDL."""
    return new_client(factible_account(url, live_wsdl=True))


def count(client: PacClient, rfc: Rfc = RFC) -> Stamps:
    return client.stamps(rfc, Deadline(10))


def create_contract(client: PacClient, seconds: float = 10) -> Receipt:
    return client.create_contract(RFC, 500, Deadline(seconds))


ACTS: dict[str, Act] = {
    GET: count,
    CREATE: create_contract,
    ACCOUNT: lambda client: client.account_stamps(Deadline(10)),
}


def reply(operation: str, fields: str) -> str:
    """Return an envelope whose result has these fields, prefixed `x`."""
    return envelope(
        f'<n:{operation}Response xmlns:n="{SERVICE}" xmlns:x="{SERVICE}/xsd" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
        f"<n:return>{fields}</n:return></n:{operation}Response>"
    )


OK = "<x:status>200</x:status>"


def expect_protocol_error(
    pac: FakeSolucionFactible, client: PacClient, operation: str, content: str, says: str = ""
) -> None:
    """Check that this response is an error, after which the contract may exist."""
    inject_fault(pac, operation, "wrong-shape", reply=content)
    with expect_pac_error("pac-protocol-error") as errors:
        ACTS[operation](client)
    assert says in errors[0].detail
    assert errors[0].problem_type.may_have_taken_effect
    assert len(calls(pac)) == 1


# -------------------------------------------------------------------------------- stamps


def test_stamps_match_the_state_of_the_pac(pac: FakeSolucionFactible, client: PacClient) -> None:
    issuers = pac.state_json()["accounts"][0]["issuers"]
    for issuer in issuers:
        assert count(client, issuer["rfc"]) == Stamps(
            issuer["contratados"], issuer["usados"], issuer["disponibles"]
        )
    assert [call["rfc"] for call in calls(pac)] == [issuer["rfc"] for issuer in issuers]


@pytest.mark.parametrize(
    ("fields", "stamps"),
    [
        ("<x:disponibles>5</x:disponibles>", Stamps(None, None, 5)),
        ("<x:contratados>5</x:contratados>", Stamps(5, None, None)),
        ("<x:usados>0</x:usados><x:disponibles/>", Stamps(None, 0, None)),
        ('<x:contratados>0</x:contratados><x:usados xsi:nil="true"/>', Stamps(0, None, None)),
        ("<x:contratados>\n 7 \n</x:contratados>", Stamps(7, None, None)),
        ("<x:disponibles>-3</x:disponibles>", UNKNOWN),
        ("<x:mensaje/>" + COUNTS, Stamps(1000, 480, 520)),
        ('<x:mensaje xsi:nil="true"/>' + COUNTS, Stamps(1000, 480, 520)),
        ("<!-- a remark -->" + COUNTS, Stamps(1000, 480, 520)),
        ("<x:mas>1</x:mas>" + COUNTS + "<x:otro><x:status>500</x:status></x:otro>",
         Stamps(1000, 480, 520)),
    ],
)  # fmt: skip
def test_missing_fields_are_none(
    pac: FakeSolucionFactible, client: PacClient, fields: str, stamps: Stamps
) -> None:
    for content in (OK + fields, fields + OK):
        inject_fault(pac, GET, "wrong-shape", reply=reply(GET, content), times=1)
        assert count(client) == stamps


STATUSES = ["", " ", "OK", "200.5", "2e-2", "0xC8", "2 00", "２００", "true", "9" * 13,
            "9" * 5000, "<x:code>200</x:code>"]  # fmt: skip


@every_act
@pytest.mark.parametrize(
    ("fields", "says"),
    [
        *((f"<x:status>{text}</x:status>", "status") for text in STATUSES),
        *((text, "status") for text in ("", COUNTS, "<x:mensaje>hecho</x:mensaje>")),
        ('<x:status xsi:nil="true"/>', "status"),
        (OK + OK, "status"),
        (OK + "<x:status>500</x:status>", "status"),
        *((f"<x:status>{code}</x:status>{COUNTS}", code)
          for code in ("0", "-200", "201", "599", "999")),
    ],
)  # fmt: skip
def test_a_status_that_is_not_as_documented(
    pac: FakeSolucionFactible, client: PacClient, operation: str, fields: str, says: str
) -> None:
    expect_protocol_error(pac, client, operation, reply(operation, fields), says)


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("contratados", "mil"),
        ("usados", "1,000"),
        ("disponibles", "NaN"),
        ("disponibles", "1.5"),
        ("disponibles", "<x:n>1</x:n>"),
        ("disponibles", "9" * 30),
        ("contratados", "5</x:contratados><x:contratados>5"),
    ],
)
def test_counts_that_are_not_as_documented(
    pac: FakeSolucionFactible, client: PacClient, field: str, text: str
) -> None:
    content = f"{OK}<x:{field}>{text}</x:{field}>"
    expect_protocol_error(pac, client, GET, reply(GET, content), field)
    # Further fields of a contract's reply do not change its 200.
    inject_fault(pac, CREATE, "wrong-shape", reply=reply(CREATE, content))
    assert create_contract(client).code == "200"


@every_act
@pytest.mark.parametrize(
    "content",
    [
        "200",
        '{"status": 200}',
        "<e:Envelope",
        f'<e:Envelope xmlns:e="{SOAP_11}"/>',
        envelope(""),
        envelope("200", head="<e:Header/>"),
        f'<e:Body xmlns:e="{SOAP_11}"/>',
        reply(GET, OK + COUNTS).replace(SOAP_11, "http://elsewhere.example"),
        reply("otraCosa", OK + COUNTS),
        reply("getTimbresagregarContrato", OK + COUNTS),
        reply(GET, OK + COUNTS).replace("</n:return>", "</n:return><n:return/>"),
        reply(GET, OK + COUNTS)[:-5],
        reply(GET, OK + COUNTS) + "x",
        reply(GET, "").replace("<n:return></n:return>", ""),
        reply(GET, "").replace("<n:return>", '<n:return xsi:nil="true">'),
        "\x00",
    ],
    ids=range(16),
)
def test_an_invalid_envelope_is_a_protocol_error(
    pac: FakeSolucionFactible, client: PacClient, operation: str, content: str
) -> None:
    expect_protocol_error(pac, client, operation, content.replace(GET, operation))


# ------------------------------------------------------------------ stamps of the account


def test_the_counts_of_the_account_are_returned(pac: FakeSolucionFactible, url: str) -> None:
    assert ACCOUNT_COUNT(url) == Stamps(10_000, 1050, 8950)
    (call,) = calls(pac)
    assert (call["operation"], call["account"], call["rfc"]) == (ACCOUNT, USERNAME, None)


@pytest.mark.parametrize("name", sorted(ACCOUNT_COUNT.unknown_after))
def test_what_the_pac_does_not_return_is_unknown(
    name: str, pac: FakeSolucionFactible, url: str
) -> None:
    inject_fault(pac, ACCOUNT, name)
    assert ACCOUNT_COUNT(url) == UNKNOWN
    assert len(calls(pac)) == 1


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("text", ["The endpoint reference (EPR) is not found", USERNAME, PASSWORD])
def test_a_soap_fault_is_unknown_and_logged_without_credentials(
    status: int, text: str, pac_server: PacServer, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    pac_server.serve_app(respond_with(fault("e:Server", escape(text)), status=status))
    account = factible_account(url)

    with redact_messages(account.redact), caplog.at_level("WARNING", "timbres"):
        assert new_client(account).account_stamps(Deadline(5)) == UNKNOWN

    (line,) = caplog.messages
    assert line.startswith(f"{ACCOUNT}: SOAP fault")
    assert not any(credential in line for credential in CREDENTIALS)
    assert len(pac_server.requests) == 1


@pytest.mark.parametrize("counts", ["", "<x:usados>9</x:usados><x:contratados>9</x:contratados>"])
def test_code_630_states_that_no_stamps_are_left(
    counts: str, pac: FakeSolucionFactible, url: str
) -> None:
    content = reply(ACCOUNT, f"<x:status>630</x:status>{counts}")
    inject_fault(pac, ACCOUNT, "wrong-shape", reply=content)
    used = 9 if counts else None
    assert ACCOUNT_COUNT(url) == Stamps(used, used, 0)


# ---------------------------------------------------------------------------- contracts


def test_a_contract_is_one_request(pac: FakeSolucionFactible, client: PacClient) -> None:
    assert client.create_contract(RFC_N, 1_000_000, Deadline(10)) == Receipt("200", DONE)
    assert pac.contracts() == [(RFC_N, 1_000_000)]
    assert len(calls(pac)) == 1


@pytest.mark.parametrize(
    "message",
    ["", "<x:mensaje/>", '<x:mensaje xsi:nil="true"/>', "<x:mensaje> </x:mensaje>"],
)
def test_a_confirmation_may_have_no_message(
    pac: FakeSolucionFactible, client: PacClient, message: str
) -> None:
    inject_fault(pac, CREATE, "wrong-shape", reply=reply(CREATE, OK + message))
    response = create_contract(client)
    assert (response.code, response.message) == ("200", None)


def test_a_contract_response_has_its_own_timeout(pac: FakeSolucionFactible, url: str) -> None:
    inject_fault(pac, CREATE, "slow-after", seconds=1)
    with expect_pac_error("pac-timeout") as errors:
        CONTRACT(url, 10, contract_read_seconds=0.1)
    assert errors[0].problem_type.may_have_taken_effect


def test_no_contract_is_sent_without_time_for_the_response(
    pac: FakeSolucionFactible, url: str
) -> None:
    with pytest.raises(TimbresError) as caught:
        create_contract(create_client(factible_account(url)), seconds=5.5)
    assert caught.value.problem_type.code == "out-of-time"
    assert not caught.value.problem_type.may_have_taken_effect
    assert calls(pac) == []


# ------------------------------------------------------------------------------ the wire


def test_the_requests_are_the_documented_ones(pac_server: PacServer, client: PacClient) -> None:
    count(client)
    create_contract(client)
    for environ, operation in zip(pac_server.requests, (GET, CREATE), strict=True):
        assert (environ["REQUEST_METHOD"], environ["PATH_INFO"]) == ("POST", PATHS[-1])
        assert environ["QUERY_STRING"] == ""
        assert environ["CONTENT_TYPE"].startswith("text/xml")
        assert environ["HTTP_SOAPACTION"].strip('"') == f"urn:{operation}"
        (call,) = etree.fromstring(environ["body"]).find(f"{{{SOAP_11}}}Body")
        assert call.tag == f"{{{SERVICE}}}{operation}"
        assert all(field.tag.startswith(f"{{{SERVICE}}}") for field in call)
        sent = {etree.QName(field).localname: field.text for field in call}
        expected = {"usuario": USERNAME, "password": PASSWORD, "rfcEmisor": RFC}
        assert sent == (expected if operation == GET else {**expected, "timbres": "500"})


# ------------------------------------------------------------------------- the live WSDL

WSDL_TEXT = WSDL.read_text()


def test_the_live_wsdl_is_loaded_once_and_its_empty_address_ignored(
    pac: FakeSolucionFactible, live: PacClient
) -> None:
    assert count(live) == INITIAL
    assert create_contract(live).code == "200"
    assert count(live).contracted == 1500
    assert [call["operation"] for call in calls(pac)] == ["wsdl", GET, CREATE, GET]


def test_credentials_go_to_the_account_s_endpoint_whatever_the_wsdl_says(
    pac: FakeSolucionFactible, live: PacClient, pac_server: PacServer
) -> None:
    elsewhere = PacServer(FakeSolucionFactible(fake_state().solucion_factible))
    with serve(elsewhere) as other:
        wsdl = WSDL_TEXT.replace('location=""', f'location="{other}{PATHS[-1]}"')
        inject_fault(pac, "wsdl", "wrong-shape", reply=wsdl)
        assert count(live) == INITIAL
    assert elsewhere.requests == []
    assert len(pac_server.requests) == 2


@pytest.mark.parametrize(
    "wsdl",
    [
        WSDL_TEXT.replace(GET, "getSaldo"),
        WSDL_TEXT.replace(CREATE, "nuevoContrato"),
        WSDL_TEXT.replace("/wsdl/soap/", "/wsdl/soap12/"),
        '<definitions xmlns="http://schemas.xmlsoap.org/wsdl/"/>',
        "no XML at all",
        WSDL_TEXT[:3000],
        '<!DOCTYPE x [<!ENTITY y "z">]>' + WSDL_TEXT.partition("?>")[2],
    ],
    ids=["no getTimbres", "no agregarContrato", "SOAP 1.2 only", "empty", "text", "half", "DTD"],
)
@every_act
def test_a_live_wsdl_without_the_operations_is_reported(
    pac: FakeSolucionFactible, live: PacClient, operation: str, wsdl: str
) -> None:
    inject_fault(pac, "wsdl", "wrong-shape", reply=wsdl)
    with expect_pac_error("pac-protocol-error") as errors:
        ACTS[operation](live)
    assert "WSDL" in errors[0].detail
    assert [call["operation"] for call in calls(pac)] == ["wsdl"]


def test_without_the_operation_the_stamps_of_the_account_are_unknown_and_all_else_works(
    pac: FakeSolucionFactible, live: PacClient
) -> None:
    inject_fault(pac, "wsdl", "wrong-shape", reply=WSDL_TEXT.replace(ACCOUNT, "getOtraCosa"))

    assert ACTS[ACCOUNT](live) == UNKNOWN
    assert count(live) == INITIAL
    assert create_contract(live).code == "200"
    assert [call["operation"] for call in calls(pac)] == ["wsdl", GET, CREATE]


@pytest.mark.parametrize(
    ("name", "code", "attempts"),
    [
        ("cut-before", "pac-timeout", ATTEMPTS),
        ("html-200", "pac-unavailable", ATTEMPTS),
        ("redirect", "pac-protocol-error", 1),
    ],
)
def test_without_the_live_wsdl_no_contract_is_sent(
    pac: FakeSolucionFactible, live: PacClient, name: str, code: str, attempts: int
) -> None:
    inject_fault(pac, "wsdl", name, times=attempts)
    with expect_pac_error(code) as errors:
        create_contract(live)

    assert not errors[0].problem_type.may_have_taken_effect
    assert [call["operation"] for call in calls(pac)] == ["wsdl"] * attempts
    # It is loaded again.
    assert count(live) == INITIAL


# test_hostile_pacs.py has other references.
def test_a_wsdl_imports_a_schema_of_its_own_server(
    pac: FakeSolucionFactible, live: PacClient, pac_server: PacServer
) -> None:
    start = WSDL_TEXT.index('    <xs:schema elementFormDefault="qualified"')
    end = WSDL_TEXT.index("</xs:schema>") + len("</xs:schema>")
    schema = WSDL_TEXT[start:end].replace("<xs:schema", f"<xs:schema {XS}", 1)
    importing = '/xsd" schemaLocation="?xsd=1"/>'
    wsdl = (WSDL_TEXT[:start] + WSDL_TEXT[end:]).replace('/xsd"/>', importing, 1)
    inject_fault(pac, "wsdl", "wrong-shape", reply=wsdl)
    pac_server.app = lambda environ, start_response: (
        respond_with(schema) if environ["QUERY_STRING"] == "xsd=1" else pac
    )(environ, start_response)

    assert count(live) == INITIAL
    assert len(pac_server.requests) == 3
