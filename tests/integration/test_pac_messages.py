"""PAC messages on every path to a caller are cleaned, and contain no part of a credential.

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
from tests.support.fake_stack import RC, RFC, RFC_N, SF, FakeStack, PacServers
from tests.support.further_cases import fault
from werkzeug import Response

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
every_text = pytest.mark.parametrize(("encoding", "filling"), [*product(ENCODINGS, FILLINGS)])


def read_balance(stack: FakeStack) -> ApiResponse:
    return stack.get(f"/accounts/{RC}/balance", month="2026-10")


def assert_hidden(stack: FakeStack, credential: str) -> None:
    """Check that no six letters or digits of a credential left the functions."""
    everything = html.unescape(unquote(stack.all_output())).casefold()
    # The prefix is a common word, which a message may contain.
    plain = "".join(c for c in credential[-36:].casefold() if c.isascii() and c.isalnum())
    parts = {plain[at : at + 6] for at in range(len(plain) - 5)}
    assert not [part for part in parts if part in everything]


# Every operation with every code in every encoding, and every encoding with every filling.
CODES = [
    (operation, code, encoding, FILLINGS[number % len(FILLINGS)])
    for number, (encoding, operation, code) in enumerate(
        product(ENCODINGS, ["getTimbres", "agregarContrato"], ["601", "632", "200"])
    )
]


@pytest.mark.parametrize(("operation", "code", "encoding", "filling"), CODES)
def test_messages_of_solucion_factible_are_free_of_credentials(
    shared_stack: FakeStack, operation: str, code: str, encoding: str, filling: int
) -> None:
    password = shared_stack.credentials.password
    message = "x" * filling + ENCODINGS[encoding](password)
    shared_stack.pacs.fault(operation, "code", code=code, mensaje=message, processed=code == "200")

    response = shared_stack.create_contract(RFC, 7)

    if operation == "agregarContrato":
        assert (response.status == 201) == (code == "200")
        assert "***" in response.text or filling
    assert_hidden(shared_stack, password)


@every_text
def test_a_soap_fault_is_free_of_credentials(
    shared_stack: FakeStack, encoding: str, filling: int
) -> None:
    password = shared_stack.credentials.password
    text = html.escape("x" * filling + ENCODINGS[encoding](password))
    shared_stack.pacs.fault("getTimbres", "wrong-shape", reply=fault("soap:Server", text), times=-1)

    body = check_problem(shared_stack.get(f"/accounts/{SF}/stamps", rfc=RFC), 502, "pac-error")

    assert body["pac"]["message"]
    assert_hidden(shared_stack, password)


@every_text
def test_messages_and_codes_of_reachcore_are_free_of_credentials(
    shared_stack: FakeStack, pac_servers: PacServers, encoding: str, filling: int
) -> None:
    api_key = shared_stack.credentials.api_key
    text = "x" * filling + ENCODINGS[encoding](api_key)
    body = json.dumps({"errors": [{"Code": text, "Message": text}]})
    status = [400, 401, 500, 400][FILLINGS.index(filling)]
    switch = pac_servers["reachcore"][0]
    switch.app, before = Response(body, status, content_type="application/json"), switch.app
    try:
        response = read_balance(shared_stack)
    finally:
        switch.app = before

    assert response.status in (400, 502)
    assert_hidden(shared_stack, api_key)


HOSTILE_MESSAGE = (
    "=cmd|'/c calc'!A1\r\nSubject: hola\r\n\r\n<script>alert(1)</script> javascript:alert(1) "
    "\u202egpj.exe\u2066 ${jndi:ldap://x} %n%s\tfin " + "x" * 50_000
)
CLEANED_MESSAGE = (
    "=cmd|'/c calc'!A1 Subject: hola <script>alert(1)</script> javascript:alert(1) "
    "gpj.exe ${jndi:ldap://x} %n%s fin " + "x" * 300
)[:300]


def test_a_hostile_message_is_cleaned_and_truncated_everywhere(shared_stack: FakeStack) -> None:
    fault = {"fault": "code", "mensaje": HOSTILE_MESSAGE}
    shared_stack.pacs.fault("agregarContrato", code="632", **fault)
    contract = shared_stack.create_contract(RFC, 9)
    shared_stack.pacs.fault("getTimbres", code="601", **fault)
    count = shared_stack.get(f"/accounts/{SF}/stamps", rfc=RFC_N)

    rejection = check_problem(contract, 422, "transaction-limit-exceeded")
    credentials = check_problem(count, 502, "pac-credentials-rejected")
    assert rejection["pac"]["message"] == credentials["pac"]["message"] == CLEANED_MESSAGE
    assert CLEANED_MESSAGE in {item.get("pac_message") for item in shared_stack.contract_items()}
    event = shared_stack.events("Credentials Rejected")[-1]
    assert event["pac"]["message"] == CLEANED_MESSAGE
    subject, _, text = shared_stack.mails()[-1].partition("\n\n")
    assert subject == f"Timbres: credenciales rechazadas, cuenta {SF}"
    assert not [line for line in text.splitlines() if line.startswith(("Subject:", "=cmd"))]
    assert all(len(json.dumps(line)) < 2_000 for line in shared_stack.logs.lines())
    assert "x" * 301 not in shared_stack.all_output()
    assert "\u202e" not in shared_stack.all_output()
