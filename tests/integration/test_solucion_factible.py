"""Solución Factible's client against the fake PAC, over loopback HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from local.fake_pacs.server import serve
from local.fake_pacs.solucion_factible import PATHS, FakeSolucionFactible
from lxml import etree
from tests.support.pac_cases import (
    ATTEMPTS,
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
)
from tests.support.pac_servers import PacServer, respond_with

from timbres.deadline import Deadline
from timbres.domain.rfc import Rfc
from timbres.domain.stamps import Stamps
from timbres.errors import TimbresError
from timbres.pacs.base import PacClient
from timbres.pacs.registry import create_client

SERVICE = "http://utilerias.timbrado.ws.cfdi.solucionfactible.com"
ENVELOPE = "http://schemas.xmlsoap.org/soap/envelope/"
XS = 'xmlns:xs="http://www.w3.org/2001/XMLSchema"'
GET, CREATE = "getTimbres", "agregarContrato"
Act = Callable[[PacClient], Any]


@pytest.fixture
def pac(pac_server: PacServer) -> FakeSolucionFactible:
    """The fake PAC in its initial state."""
    fake_pac = FakeSolucionFactible(fake_state().solucion_factible, wsdl=WSDL)
    pac_server.serve_app(fake_pac)
    return fake_pac


@pytest.fixture(scope="module")
def warm_client(pac_server_and_url: tuple[PacServer, str]) -> PacClient:
    """A client that a warm function keeps between calls."""
    return create_client(factible_account(pac_server_and_url[1]))


@pytest.fixture
def client(warm_client: PacClient, pac: FakeSolucionFactible) -> PacClient:
    return warm_client


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timbres.pacs.http.BACKOFF_SECONDS", 0.001)


def count(client: PacClient, rfc: Rfc = RFC, seconds: float = 10) -> Stamps:
    return client.stamps(rfc, Deadline(seconds))


def create_contract(
    client: PacClient, stamps: int = 500, rfc: Rfc = RFC, seconds: float = 10
) -> Any:
    return client.create_contract(rfc, stamps, Deadline(seconds))


def pac_contracts(pac: FakeSolucionFactible) -> list[tuple[str, int]]:
    return [
        (contract["rfc"], contract["timbres"])
        for contract in pac.state_json()["accounts"][0]["contracts"]
    ]


def reply(operation: str, fields: str, namespace: str = f"{SERVICE}/xsd") -> str:
    """Return an envelope whose result has these fields, prefixed `x`."""
    return (
        f'<e:Envelope xmlns:e="{ENVELOPE}"><e:Body><n:{operation}Response xmlns:n="{SERVICE}" '
        f'xmlns:x="{namespace}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
        f"<n:return>{fields}</n:return></n:{operation}Response></e:Body></e:Envelope>"
    )


COUNTS = (
    "<x:contratados>1000</x:contratados><x:usados>250</x:usados><x:disponibles>750</x:disponibles>"
)
OK = "<x:status>200</x:status>"


# -------------------------------------------------------------------------------- stamps


def test_stamps_match_the_state_of_the_pac(pac: FakeSolucionFactible, client: PacClient) -> None:
    issuers = pac.state_json()["accounts"][0]["issuers"]
    assert len(issuers) == 5
    for issuer in issuers:
        assert count(client, issuer["rfc"]) == Stamps(
            issuer["contratados"], issuer["usados"], issuer["disponibles"]
        )
    assert [call["rfc"] for call in calls(pac)] == [issuer["rfc"] for issuer in issuers]


def test_an_issuer_that_the_account_does_not_have(
    pac: FakeSolucionFactible, client: PacClient
) -> None:
    with expect_pac_error("pac-rejected-request") as errors:
        count(client, Rfc("NUE200229AB3"))
    assert errors[0].pac_code == "611"
    assert "NUE200229AB3" in str(errors[0].pac_message)
    assert len(calls(pac)) == 1


@pytest.mark.parametrize(
    ("fields", "stamps"),
    [
        (COUNTS, Stamps(1000, 250, 750)),
        ("<x:disponibles>5</x:disponibles>", Stamps(None, None, 5)),
        ("<x:contratados>5</x:contratados>", Stamps(5, None, None)),
        ("<x:usados>0</x:usados><x:disponibles/>", Stamps(None, 0, None)),
        ('<x:contratados>0</x:contratados><x:usados xsi:nil="true"/>', Stamps(0, None, None)),
        ("<x:contratados>\n 7 \n</x:contratados>", Stamps(7, None, None)),
        ("<x:disponibles>-3</x:disponibles>", Stamps(None, None, None)),
        ("<x:mensaje/>" + COUNTS, Stamps(1000, 250, 750)),
        ('<x:mensaje xsi:nil="true"/>' + COUNTS, Stamps(1000, 250, 750)),
        ("<!-- a remark -->" + COUNTS, Stamps(1000, 250, 750)),
        ("<x:mas>1</x:mas>" + COUNTS + "<x:otro><x:status>500</x:status></x:otro>",
         Stamps(1000, 250, 750)),
    ],
)  # fmt: skip
def test_missing_fields_are_none(
    pac: FakeSolucionFactible, client: PacClient, fields: str, stamps: Stamps
) -> None:
    for content in (OK + fields, fields + OK):
        inject_fault(pac, GET, "wrong-shape", reply=reply(GET, content), times=1)
        assert count(client) == stamps


@pytest.mark.parametrize("operation", [GET, CREATE])
@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ("", "status"),
        (COUNTS, "status"),
        ("<x:mensaje>hecho</x:mensaje>", "status"),
        ("<x:status/>", "status"),
        ('<x:status xsi:nil="true"/>', "status"),
        ("<x:status> </x:status>", "status"),
        ("<x:status>OK</x:status>", "status"),
        ("<x:status>200.5</x:status>", "status"),
        ("<x:status>2e-2</x:status>", "status"),
        ("<x:status>0xC8</x:status>", "status"),
        ("<x:status>2 00</x:status>", "status"),
        ("<x:status>２００</x:status>", "status"),
        ("<x:status>true</x:status>", "status"),
        ("<x:status><x:code>200</x:code></x:status>", "status"),
        (f"<x:status>{'9' * 13}</x:status>", "status"),
        (f"<x:status>{'9' * 5000}</x:status>", "status"),
        (OK + OK, "status"),
        (OK + "<x:status>500</x:status>", "status"),
        ("<x:status>0</x:status>" + COUNTS, "0"),
        ("<x:status>-200</x:status>" + COUNTS, "-200"),
        ("<x:status>201</x:status>" + COUNTS, "201"),
        ("<x:status>599</x:status>" + COUNTS, "599"),
        ("<x:status>999</x:status>" + COUNTS, "999"),
    ],
)
def test_a_result_that_is_not_as_documented(
    pac: FakeSolucionFactible, client: PacClient, operation: str, fields: str, says: str
) -> None:
    inject_fault(pac, operation, "wrong-shape", reply=reply(operation, fields))
    with expect_pac_error("pac-protocol-error") as errors:
        count(client) if operation == GET else create_contract(client)
    assert says in errors[0].detail
    assert errors[0].problem_type.may_have_taken_effect
    assert len(calls(pac)) == 1


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ("<x:contratados>mil</x:contratados>", "contratados"),
        ("<x:usados>1,000</x:usados>", "usados"),
        ("<x:disponibles>NaN</x:disponibles>", "disponibles"),
        ("<x:disponibles>1.5</x:disponibles>", "disponibles"),
        ("<x:disponibles><x:n>1</x:n></x:disponibles>", "disponibles"),
        (f"<x:disponibles>{'9' * 30}</x:disponibles>", "disponibles"),
        (COUNTS + COUNTS, "contratados"),
    ],
)
def test_counts_that_are_not_as_documented(
    pac: FakeSolucionFactible, client: PacClient, fields: str, says: str
) -> None:
    inject_fault(pac, GET, "wrong-shape", reply=reply(GET, OK + fields))
    with expect_pac_error("pac-protocol-error") as errors:
        count(client)
    assert says in errors[0].detail
    # Further fields of a contract's reply do not change its 200.
    inject_fault(pac, CREATE, "wrong-shape", reply=reply(CREATE, OK + fields))
    assert create_contract(client).code == "200"


@pytest.mark.parametrize("operation", [GET, CREATE])
@pytest.mark.parametrize(
    "content",
    [
        "200",
        '{"status": 200}',
        "<e:Envelope",
        f'<e:Envelope xmlns:e="{ENVELOPE}"/>',
        f'<e:Envelope xmlns:e="{ENVELOPE}"><e:Body/></e:Envelope>',
        f'<e:Envelope xmlns:e="{ENVELOPE}"><e:Header/><e:Body>200</e:Body></e:Envelope>',
        f'<e:Body xmlns:e="{ENVELOPE}"/>',
        reply(GET, OK + COUNTS).replace(ENVELOPE, "http://elsewhere.example"),
        reply("otraCosa", OK + COUNTS),
        reply(GET, OK + COUNTS).replace("</n:return>", "</n:return><n:return/>"),
        reply(GET, OK + COUNTS)[:-5],
        reply(GET, OK + COUNTS) + "x",
        reply(GET, "").replace("<n:return></n:return>", ""),
        reply(GET, "").replace("<n:return>", '<n:return xsi:nil="true">'),
        "\x00",
    ],
    ids=range(15),
)
def test_an_invalid_envelope_is_a_protocol_error(
    pac: FakeSolucionFactible, client: PacClient, operation: str, content: str
) -> None:
    inject_fault(pac, operation, "wrong-shape", reply=content.replace(GET, operation))
    with expect_pac_error("pac-protocol-error") as errors:
        count(client) if operation == GET else create_contract(client)
    assert errors[0].problem_type.may_have_taken_effect
    assert len(calls(pac)) == 1


@pytest.mark.parametrize(("operation", "other"), [(GET, CREATE), (CREATE, GET)])
def test_the_reply_to_another_operation_is_an_error(
    pac: FakeSolucionFactible, client: PacClient, operation: str, other: str
) -> None:
    inject_fault(pac, operation, "wrong-shape", reply=reply(other, OK + COUNTS))
    with expect_pac_error("pac-protocol-error") as errors:
        count(client) if operation == GET else create_contract(client)
    assert operation in errors[0].detail


# ---------------------------------------------------------------------------- contracts


@pytest.mark.parametrize("rfc", [RFC, RFC_N, Rfc("NUE200229AB3")])
@pytest.mark.parametrize("stamps", [1, 500, 1_000_000])
def test_a_contract_is_one_request(
    pac: FakeSolucionFactible, client: PacClient, rfc: Rfc, stamps: int
) -> None:
    response = create_contract(client, stamps, rfc)
    assert (response.code, response.message) == (
        "200",
        "La transacción ha sido completada satisfactoriamente.",
    )
    assert pac_contracts(pac) == [(rfc, stamps)]
    assert [(call["operation"], call["timbres"]) for call in calls(pac)] == [(CREATE, stamps)]


def test_a_confirmation_may_have_no_message(pac: FakeSolucionFactible, client: PacClient) -> None:
    for message_field in (
        "",
        "<x:mensaje/>",
        '<x:mensaje xsi:nil="true"/>',
        "<x:mensaje> </x:mensaje>",
    ):
        inject_fault(pac, CREATE, "wrong-shape", reply=reply(CREATE, OK + message_field), times=1)
        response = create_contract(client)
        assert (response.code, response.message) == ("200", None)


@pytest.mark.parametrize(("fault", "at_once"), [("slow", False), ("slow-after", True)])
def test_a_contract_response_has_a_timeout(
    monkeypatch: pytest.MonkeyPatch,
    pac: FakeSolucionFactible,
    client: PacClient,
    fault: str,
    at_once: bool,
) -> None:
    monkeypatch.setattr("timbres.pacs.solucion_factible.client.CONTRACT_READ_SECONDS", 0.4)
    inject_fault(pac, CREATE, fault, seconds=1.2)
    with expect_pac_error("pac-timeout") as errors:
        create_contract(client)
    assert errors[0].problem_type.may_have_taken_effect
    assert pac_contracts(pac) == ([(RFC, 500)] if at_once else [])
    limit = time.monotonic() + 3
    while not pac_contracts(pac):
        assert time.monotonic() < limit
        time.sleep(0.02)
    assert len(calls(pac)) == 1


@pytest.mark.parametrize("seconds", [-1, 0, 0.3, 3, 5.5])
def test_no_contract_is_sent_without_time_for_the_response(
    pac_server: PacServer, pac: FakeSolucionFactible, client: PacClient, seconds: float
) -> None:
    with pytest.raises(TimbresError) as caught:
        create_contract(client, seconds=seconds)
    assert caught.value.problem_type.code == "out-of-time"
    assert not caught.value.problem_type.may_have_taken_effect
    assert pac_server.requests == []


# ------------------------------------------------------------------------------ the wire


def test_the_requests_are_the_documented_ones(
    pac_server: PacServer, pac: FakeSolucionFactible, client: PacClient
) -> None:
    bodies = []

    def record_body(environ: Any, start_response: Any) -> Any:
        from io import BytesIO

        content = environ["wsgi.input"].read()
        bodies.append(content)
        environ["wsgi.input"] = BytesIO(content)
        return pac(environ, start_response)

    pac_server.serve_app(record_body)
    count(client)
    create_contract(client, 500)
    for content, environ, operation in zip(bodies, pac_server.requests, (GET, CREATE), strict=True):
        assert environ["REQUEST_METHOD"] == "POST"
        assert environ["PATH_INFO"] == PATHS[-1]
        assert environ["QUERY_STRING"] == ""
        assert environ["CONTENT_TYPE"].startswith("text/xml")
        assert environ["HTTP_SOAPACTION"].strip('"') == f"urn:{operation}"
        (call,) = etree.fromstring(content).find(f"{{{ENVELOPE}}}Body")
        assert call.tag == f"{{{SERVICE}}}{operation}"
        sent = {etree.QName(field).localname: field.text for field in call}
        assert all(field.tag.startswith(f"{{{SERVICE}}}") for field in call)
        expected = {"usuario": USERNAME, "password": PASSWORD, "rfcEmisor": RFC}
        assert sent == (expected if operation == GET else {**expected, "timbres": "500"})
        assert b"A&amp;D061009TY8" in content


# ------------------------------------------------------------------------- the live WSDL


@pytest.fixture
def live(pac: FakeSolucionFactible, url: str) -> PacClient:
    return create_client(factible_account(url, live_wsdl=True))


def test_the_live_wsdl_is_loaded_once_and_its_empty_address_ignored(
    pac: FakeSolucionFactible, live: PacClient
) -> None:
    assert count(live) == Stamps(1000, 250, 750)
    assert create_contract(live).code == "200"
    assert count(live).contracted == 1500
    assert [call["operation"] for call in calls(pac)] == ["wsdl", GET, CREATE, GET]


def test_credentials_go_to_the_account_s_endpoint_whatever_the_wsdl_says(
    pac: FakeSolucionFactible, live: PacClient, pac_server: PacServer
) -> None:
    elsewhere = PacServer()
    elsewhere.serve_app(FakeSolucionFactible(fake_state().solucion_factible))
    with serve(elsewhere) as other:
        wsdl = WSDL.read_text().replace('location=""', f'location="{other}{PATHS[-1]}"')
        inject_fault(pac, "wsdl", "wrong-shape", reply=wsdl)
        assert count(live) == Stamps(1000, 250, 750)
    assert elsewhere.requests == []
    assert len(pac_server.requests) == 2


def _wsdl(**changes: str) -> str:
    text = WSDL.read_text()
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize(
    "wsdl",
    [
        _wsdl(getTimbres="getSaldo"),
        _wsdl(agregarContrato="nuevoContrato"),
        _wsdl().replace(f'xmlns:soap="{SERVICE}', "").replace("/wsdl/soap/", "/wsdl/soap12/"),
        '<definitions xmlns="http://schemas.xmlsoap.org/wsdl/"/>',
        "no XML at all",
        _wsdl()[:3000],
        '<!DOCTYPE x [<!ENTITY y "z">]>' + _wsdl().partition("?>")[2],
    ],
    ids=["no getTimbres", "no agregarContrato", "SOAP 1.2 only", "empty", "text", "half",
         "DTD"],
)  # fmt: skip
@pytest.mark.parametrize("act", [count, create_contract])
def test_a_live_wsdl_without_the_operations_is_reported(
    pac: FakeSolucionFactible, live: PacClient, act: Act, wsdl: str
) -> None:
    inject_fault(pac, "wsdl", "wrong-shape", reply=wsdl)
    with expect_pac_error("pac-protocol-error") as errors:
        act(live)
    assert "WSDL" in errors[0].detail
    assert [call["operation"] for call in calls(pac)] == ["wsdl"]


@pytest.mark.parametrize(
    ("fault", "code", "attempts"),
    [
        ("cut-before", "pac-timeout", ATTEMPTS),
        ("truncated", "pac-timeout", ATTEMPTS),
        ("html-200", "pac-unavailable", ATTEMPTS),
        ("empty-body", "pac-protocol-error", 1),
        ("redirect", "pac-protocol-error", 1),
    ],
)
def test_without_the_live_wsdl_no_contract_is_sent(
    pac: FakeSolucionFactible, live: PacClient, fault: str, code: str, attempts: int
) -> None:
    inject_fault(pac, "wsdl", fault)
    with expect_pac_error(code) as errors:
        create_contract(live)
    assert [call["operation"] for call in calls(pac)] == ["wsdl"] * attempts
    assert not errors[0].problem_type.may_have_taken_effect


def test_a_missing_wsdl_is_reported(pac_server: PacServer, live: PacClient) -> None:
    pac_server.serve_app(FakeSolucionFactible(fake_state().solucion_factible))
    with expect_pac_error("pac-endpoint-not-found"):
        count(live)


def test_a_failed_wsdl_is_loaded_again(pac: FakeSolucionFactible, live: PacClient) -> None:
    inject_fault(pac, "wsdl", "empty-body", times=1)
    with expect_pac_error("pac-protocol-error"):
        count(live)
    assert count(live) == Stamps(1000, 250, 750)


def test_a_wsdl_with_more_operations_and_bindings_is_accepted(
    pac: FakeSolucionFactible, live: PacClient
) -> None:
    text = WSDL.read_text()
    start = text.index("  <wsdl:binding ")
    end = text.index("</wsdl:binding>") + len("</wsdl:binding>\n")
    soap12_binding = (
        text[start:end]
        .replace("UtileriasSoap11Binding", "UtileriasSoap12Binding")
        .replace("soap:", "soap12:")
    )
    wsdl = (text[:start] + soap12_binding + text[start:]).replace(
        "<wsdl:definitions",
        '<wsdl:definitions xmlns:soap12="http://schemas.xmlsoap.org/wsdl/soap12/"',
    )
    inject_fault(pac, "wsdl", "wrong-shape", reply=wsdl)
    assert count(live) == Stamps(1000, 250, 750)
    assert [call["operation"] for call in calls(pac)] == ["wsdl", GET]


@pytest.mark.parametrize("of_same_server", [True, False])
def test_a_wsdl_imports_schemas_of_its_own_server_only(
    pac: FakeSolucionFactible,
    live: PacClient,
    pac_server: PacServer,
    *,
    of_same_server: bool,
) -> None:
    text = WSDL.read_text()
    start = text.index('    <xs:schema elementFormDefault="qualified"')
    end = text.index("</xs:schema>") + len("</xs:schema>")
    schema = text[start:end].replace("<xs:schema", f"<xs:schema {XS}", 1)
    location = "?xsd=1" if of_same_server else "https://pac.example/?xsd=1"
    importing = f'/xsd" schemaLocation="{location}"/>'
    wsdl = (text[:start] + text[end:]).replace('/xsd"/>', importing, 1)
    inject_fault(pac, "wsdl", "wrong-shape", reply=wsdl)
    serve_pac = pac_server.app
    pac_server.app = lambda environ, start_response: (
        respond_with(schema, "text/xml") if environ["QUERY_STRING"] == "xsd=1" else serve_pac
    )(environ, start_response)

    if of_same_server:
        assert count(live) == Stamps(1000, 250, 750)
    else:
        with expect_pac_error("pac-protocol-error"):
            count(live)
    assert len(pac_server.requests) == (3 if of_same_server else 1)


def test_a_slow_wsdl_ends_at_the_deadline_and_sends_no_contract(
    monkeypatch: pytest.MonkeyPatch, pac: FakeSolucionFactible, live: PacClient
) -> None:
    monkeypatch.setattr("timbres.pacs.solucion_factible.client.MIN_CONTRACT_SECONDS", 0.6)
    inject_fault(pac, "wsdl", "slow", seconds=1.5)
    with expect_pac_error("pac-timeout") as errors:
        create_contract(live, seconds=0.7)
    assert not errors[0].problem_type.may_have_taken_effect
    assert calls(pac, CREATE) == []
