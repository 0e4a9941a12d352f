"""A PAC's words, on each way to a caller: no part of a credential is in them.

Journal, answers, events and logs are searched, after each test in a world that all share.
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


# So many characters before a credential that a cut at 300 falls into it.
FILLINGS = [0, 270, 281, 290]
WORDS: dict[str, Callable[[str], str]] = {
    "itself": str,
    "upper case": str.upper,
    "without blanks": lambda secret: secret.replace(" ", ""),
    "percent": quote,
    "XML": html.escape,
    "decomposed": lambda secret: unicodedata.normalize("NFD", secret),
    "cut off by the PAC": lambda secret: secret[:-3],
}


def parts_of(credential: str) -> set[str]:
    """Return what would show of a credential: any six of its characters, in whatever way."""
    plain = "".join(c for c in credential.casefold() if c.isascii() and c.isalnum())
    return {plain[at : at + 6] for at in range(len(plain) - 5)}


def assert_hidden(world: FakeStack, *credentials: str) -> None:
    """Check that no part of a credential left the functions."""
    everything = html.unescape(unquote(world.all_output())).casefold()
    for credential in credentials:
        # The last 32: what comes before is a word that a message may have by itself.
        assert not [part for part in parts_of(credential[-36:]) if part in everything]


# Every operation with every code in every way, and every way with every filling.
WORDS_OF_SOLUCION_FACTIBLE = [
    (operation, code, way, FILLINGS[number % len(FILLINGS)])
    for number, (way, operation, code) in enumerate(
        product(WORDS, ["getTimbres", "agregarContrato"], ["601", "632", "200"])
    )
]


@pytest.mark.parametrize(("operation", "code", "way", "filling"), WORDS_OF_SOLUCION_FACTIBLE)
def test_words_of_solucion_factible_are_free_of_credentials(
    shared_stack: FakeStack, operation: str, code: str, way: str, filling: int
) -> None:
    world = shared_stack
    words = "x" * filling + WORDS[way](world.credentials.password)
    world.fault(operation, "code", code=code, mensaje=words, processed=code == "200")

    answer = world.create_contract(RFC, 7)

    if (operation, code) == ("agregarContrato", "200"):
        assert answer.status == 201
    if operation == "agregarContrato":
        assert "***" in answer.text or filling
    assert_hidden(world, world.credentials.password)


@pytest.mark.parametrize("filling", FILLINGS)
@pytest.mark.parametrize("way", WORDS)
def test_a_soap_fault_is_free_of_credentials(
    shared_stack: FakeStack, way: str, filling: int
) -> None:
    world = shared_stack
    text = html.escape("x" * filling + WORDS[way](world.credentials.password))
    fault = f"<f:Fault><faultcode>f:Server</faultcode><faultstring>{text}</faultstring></f:Fault>"
    envelope = (
        '<f:Envelope xmlns:f="http://schemas.xmlsoap.org/soap/envelope/">'
        f"<f:Body>{fault}</f:Body></f:Envelope>"
    )
    world.fault("getTimbres", "wrong-shape", reply=envelope, times=-1)

    body = check_problem(read(world, SF), 502, "pac-error")

    world.factible.faults.clear()
    assert body["pac"]["message"].startswith("SOAP fault:")
    assert_hidden(world, world.credentials.password)


# Every way with every status and every filling.
WORDS_OF_REACHCORE = [
    ([400, 401, 500][number % 3], way, filling)
    for number, (way, filling) in enumerate(product(WORDS, FILLINGS))
]


@pytest.mark.parametrize(("status", "way", "filling"), WORDS_OF_REACHCORE)
def test_words_and_code_of_reachcore_are_free_of_credentials(
    shared_stack: FakeStack, pac_servers: PacServers, status: int, way: str, filling: int
) -> None:
    world = shared_stack
    text = "x" * filling + WORDS[way](world.credentials.api_key)
    body = json.dumps({"errors": [{"Code": text, "Message": text}]})
    answer = Response(body, status, content_type="application/json")
    switch = pac_servers["reachcore"][0]
    switch.app, before = answer, switch.app
    try:
        read_ = read(world, RC)
    finally:
        switch.app = before

    assert read_.status in (400, 502)
    assert_hidden(world, world.credentials.api_key)


@pytest.mark.parametrize("place", ["summary", "movement"])
def test_a_member_twice_whose_name_is_a_credential_is_not_named(
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
