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
from tests.support.events import ApiResponse, check_problem
from tests.support.fake_stack import RC, RFC, SF, FakeStack, PacServers
from werkzeug import Response


def read(stack: FakeStack, account: str) -> ApiResponse:
    if account == RC:
        return stack.get(f"/accounts/{RC}/balance", month="2026-10")
    return stack.get(f"/accounts/{SF}/stamps", rfc=RFC)


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


def assert_hidden(stack: FakeStack, *credentials: str) -> None:
    """Check that no part of a credential left the functions."""
    everything = html.unescape(unquote(stack.all_output())).casefold()
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
    stack = shared_stack
    message = "x" * filling + ENCODINGS[encoding](stack.credentials.password)
    stack.pacs.fault(operation, "code", code=code, mensaje=message, processed=code == "200")

    response = stack.create_contract(RFC, 7)

    if (operation, code) == ("agregarContrato", "200"):
        assert response.status == 201
    if operation == "agregarContrato":
        assert "***" in response.text or filling
    assert_hidden(stack, stack.credentials.password)


@pytest.mark.parametrize("filling", FILLINGS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_soap_fault_is_free_of_credentials(
    shared_stack: FakeStack, encoding: str, filling: int
) -> None:
    stack = shared_stack
    text = html.escape("x" * filling + ENCODINGS[encoding](stack.credentials.password))
    fault = f"<f:Fault><faultcode>f:Server</faultcode><faultstring>{text}</faultstring></f:Fault>"
    envelope = (
        '<f:Envelope xmlns:f="http://schemas.xmlsoap.org/soap/envelope/">'
        f"<f:Body>{fault}</f:Body></f:Envelope>"
    )
    stack.pacs.fault("getTimbres", "wrong-shape", reply=envelope, times=-1)

    body = check_problem(read(stack, SF), 502, "pac-error")

    stack.pacs.solucion_factible.faults.clear()
    assert body["pac"]["message"]
    assert_hidden(stack, stack.credentials.password)


# Every encoding with every status and every filling.
WORDS_OF_REACHCORE = [
    ([400, 401, 500][number % 3], encoding, filling)
    for number, (encoding, filling) in enumerate(product(ENCODINGS, FILLINGS))
]


@pytest.mark.parametrize(("status", "encoding", "filling"), WORDS_OF_REACHCORE)
def test_messages_and_codes_of_reachcore_are_free_of_credentials(
    shared_stack: FakeStack, pac_servers: PacServers, status: int, encoding: str, filling: int
) -> None:
    stack = shared_stack
    text = "x" * filling + ENCODINGS[encoding](stack.credentials.api_key)
    body = json.dumps({"errors": [{"Code": text, "Message": text}]})
    reply = Response(body, status, content_type="application/json")
    switch = pac_servers["reachcore"][0]
    switch.app, before = reply, switch.app
    try:
        response = read(stack, RC)
    finally:
        switch.app = before

    assert response.status in (400, 502)
    assert_hidden(stack, stack.credentials.api_key)


@pytest.mark.parametrize("place", ["summary", "movement"])
def test_a_repeated_field_whose_name_is_a_credential_is_not_quoted(
    shared_stack: FakeStack, place: str
) -> None:
    stack = shared_stack
    twice = f'"{stack.credentials.api_key}": 1, "{stack.credentials.api_key}": 2'
    movement = "{" + twice + "}" if place == "movement" else ""
    summary = (
        '"TipoConsumo": "Postpago", "FechaActual": "2026-11-19T00:00:00", "Registrados": 1, '
        '"Autorizados": 1, "GeneraronTimbre": 1, "Transacciones": 1, '
    )
    head = summary + (f"{twice}, " if place == "summary" else "")
    reply = "{" + head + f'"Detalle": [{movement}]' + "}"
    stack.pacs.fault("saldos", "wrong-shape", reply=reply)

    body = check_problem(read(stack, RC), 502, "pac-protocol-error")

    assert "a field appears twice" in body["detail"]
    assert_hidden(stack, stack.credentials.api_key)
