"""PAC messages on every path to a caller contain no part of a credential.

The contract journal, responses, events and logs are searched after each test, in a shared stack.
"""

from __future__ import annotations

import html
import json
import unicodedata
from collections.abc import Callable
from itertools import product
from urllib.parse import quote, unquote

import pytest
from tests.integration.conftest import PacServers
from tests.integration.harness import RC, RFC, SF, ApiResponse, FakeStack, check_problem
from werkzeug import Response


def read(world: FakeStack, account: str) -> ApiResponse:
    if account == RC:
        return world.get(f"/accounts/{RC}/balance", month="2026-10")
    return world.get(f"/accounts/{SF}/stamps", rfc=RFC)


# Characters before a credential, so that the cut at 300 falls into it.
FILLINGS = [0, 270, 281, 290]
ENCODINGS: dict[str, Callable[[str], str]] = {
    "itself": str,
    "upper case": str.upper,
    "without blanks": lambda secret: secret.replace(" ", ""),
    "percent": quote,
    "XML": html.escape,
    "decomposed": lambda secret: unicodedata.normalize("NFD", secret),
    "cut off by the PAC": lambda secret: secret[:-3],
}


def parts_of(credential: str) -> set[str]:
    """Return every sequence of six ASCII letters or digits of a credential."""
    plain = "".join(c for c in credential.casefold() if c.isascii() and c.isalnum())
    return {plain[at : at + 6] for at in range(len(plain) - 5)}


def assert_hidden(world: FakeStack, *credentials: str) -> None:
    """Check that no part of a credential left the functions."""
    everything = html.unescape(unquote(world.all_output())).casefold()
    for credential in credentials:
        # The prefix is a common word, which a message may contain.
        assert not [part for part in parts_of(credential[-36:]) if part in everything]


# Every operation with every code in every encoding, and every encoding with every filling.
WORDS_OF_SOLUCION_FACTIBLE = [
    (operation, code, encoding, FILLINGS[number % len(FILLINGS)])
    for number, (encoding, operation, code) in enumerate(
        product(ENCODINGS, ["getTimbres", "agregarContrato"], ["601", "632", "200"])
    )
]


@pytest.mark.parametrize(("operation", "code", "encoding", "filling"), WORDS_OF_SOLUCION_FACTIBLE)
def test_messages_of_solucion_factible_are_free_of_credentials(
    shared_stack: FakeStack, operation: str, code: str, encoding: str, filling: int
) -> None:
    world = shared_stack
    message = "x" * filling + ENCODINGS[encoding](world.credentials.password)
    world.fault(operation, "code", code=code, mensaje=message, processed=code == "200")

    response = world.create_contract(RFC, 7)

    if (operation, code) == ("agregarContrato", "200"):
        assert response.status == 201
    if operation == "agregarContrato":
        assert "***" in response.text or filling
    assert_hidden(world, world.credentials.password)


@pytest.mark.parametrize("filling", FILLINGS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_soap_fault_is_free_of_credentials(
    shared_stack: FakeStack, encoding: str, filling: int
) -> None:
    world = shared_stack
    text = html.escape("x" * filling + ENCODINGS[encoding](world.credentials.password))
    fault = f"<f:Fault><faultcode>f:Server</faultcode><faultstring>{text}</faultstring></f:Fault>"
    envelope = (
        '<f:Envelope xmlns:f="http://schemas.xmlsoap.org/soap/envelope/">'
        f"<f:Body>{fault}</f:Body></f:Envelope>"
    )
    world.fault("getTimbres", "wrong-shape", reply=envelope, times=-1)

    body = check_problem(read(world, SF), 502, "pac-error")

    world.factible.faults.clear()
    assert body["pac"]["message"]
    assert_hidden(world, world.credentials.password)


# Every encoding with every status and every filling.
WORDS_OF_REACHCORE = [
    ([400, 401, 500][number % 3], encoding, filling)
    for number, (encoding, filling) in enumerate(product(ENCODINGS, FILLINGS))
]


@pytest.mark.parametrize(("status", "encoding", "filling"), WORDS_OF_REACHCORE)
def test_messages_and_codes_of_reachcore_are_free_of_credentials(
    shared_stack: FakeStack, pac_servers: PacServers, status: int, encoding: str, filling: int
) -> None:
    world = shared_stack
    text = "x" * filling + ENCODINGS[encoding](world.credentials.api_key)
    body = json.dumps({"errors": [{"Code": text, "Message": text}]})
    reply = Response(body, status, content_type="application/json")
    switch = pac_servers["reachcore"][0]
    switch.app, before = reply, switch.app
    try:
        response = read(world, RC)
    finally:
        switch.app = before

    assert response.status in (400, 502)
    assert_hidden(world, world.credentials.api_key)


@pytest.mark.parametrize("place", ["summary", "movement"])
def test_a_repeated_field_whose_name_is_a_credential_is_not_quoted(
    shared_stack: FakeStack, place: str
) -> None:
    world = shared_stack
    twice = f'"{world.credentials.api_key}": 1, "{world.credentials.api_key}": 2'
    movement = "{" + twice + "}" if place == "movement" else ""
    summary = (
        '"TipoConsumo": "Postpago", "FechaActual": "2026-11-19T00:00:00", "Registrados": 1, '
        '"Autorizados": 1, "GeneraronTimbre": 1, "Transacciones": 1, '
    )
    head = summary + (f"{twice}, " if place == "summary" else "")
    reply = "{" + head + f'"Detalle": [{movement}]' + "}"
    world.fault("saldos", "wrong-shape", reply=reply)

    body = check_problem(read(world, RC), 502, "pac-protocol-error")

    assert "a field appears twice" in body["detail"]
    assert_hidden(world, world.credentials.api_key)
