"""The fake PACs match the PACs' documentation; tests call them in process, without sockets."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from html import escape
from typing import Any

import pytest
from local.fake_pacs.fake_data import (
    FakePacState,
    Movement,
    Plan,
    ReachcoreAccount,
    ReachcoreState,
)
from local.fake_pacs.reachcore import PATH, FakeReachcore
from local.fake_pacs.solucion_factible import PATHS, FakeSolucionFactible
from lxml import etree
from tests.support.clock import Clock
from tests.support.further_cases import DONE, SERVICE, SOAP_11, envelope
from tests.support.pac_cases import (
    ACME,
    DOCUMENTED_CSV,
    KEY,
    OTHER_KEY,
    PASSWORD,
    RFC,
    RFC_N,
    USERNAME,
    WSDL,
    fake_state,
    inject_fault,
)
from werkzeug.test import Client, TestResponse

NEW = "NUE010101AB0"
GET, CREATE, ACCOUNT = "getTimbres", "agregarContrato", "getTimbresImplementacion"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def state() -> FakePacState:
    return fake_state()


@pytest.fixture
def reachcore(state: FakePacState, clock: Clock) -> Client:
    return Client(FakeReachcore(state.reachcore, clock=clock))


@pytest.fixture
def factible(state: FakePacState, clock: Clock) -> Client:
    return Client(FakeSolucionFactible(state.solucion_factible, wsdl=WSDL, clock=clock))


def ask(
    client: Client, month: object = "2026-10", path: str = "", *, key: str = KEY, **fields: Any
) -> TestResponse:
    body = {"MesConsulta": month, **fields}
    return client.post(PATH + path, json=body, headers={"RCApiKey": key})


def soap(client: Client, operation: str = GET, path: str = PATHS[0], **changes: Any) -> Any:
    """Return the fields of ``<operation>Response/return``; a parameter of None is not sent."""
    values = {"usuario": USERNAME, "password": PASSWORD, "rfcEmisor": RFC}
    if operation == CREATE:
        values["timbres"] = "500"
    fields = "".join(
        f"<n:{name}>{escape(value)}</n:{name}>"
        for name, value in {**values, **changes}.items()
        if value is not None
    )
    response = client.post(
        path,
        data=envelope(f'<n:{operation} xmlns:n="{SERVICE}">{fields}</n:{operation}>').encode(),
        content_type="text/xml; charset=utf-8",
        headers={"SOAPAction": f'"urn:{operation}"'},
    )
    assert (response.status_code, response.content_type) == (200, "text/xml; charset=UTF-8")
    path = f"{{{SOAP_11}}}Body/{{{SERVICE}}}{operation}Response/{{{SERVICE}}}return"
    result = etree.fromstring(response.data).find(path)
    assert result is not None
    assert {etree.QName(field).namespace for field in result} == {f"{SERVICE}/xsd"}
    return {etree.QName(field).localname: field.text for field in result}


def control(client: Client, path: str, **payload: Any) -> TestResponse:
    return client.post(f"/_control/{path}", json=payload)


def set_fault(client: Client, operation: str, fault: str, **options: Any) -> None:
    inject_fault(client.application, operation, fault, **{"times": 1, **options})


def get(client: Client, path: str) -> Any:
    return client.get(f"/_control/{path}").get_json()


def user(client: Client) -> Any:
    return get(client, "state")["accounts"][0]


def counts(client: Client, rfc: str = RFC, operation: str = GET) -> tuple[int, ...] | None:
    """Return contratados, usados and disponibles; None for an unknown issuer."""
    result = soap(client, operation, rfcEmisor=None if operation == ACCOUNT else rfc)
    names = ("contratados", "usados", "disponibles")
    return tuple(int(result[name]) for name in names) if result["status"] == "200" else None


# ------------------------------------------------------------------------------- Reachcore


def test_saldos_has_the_documented_structure(reachcore: Client) -> None:
    response = ask(reachcore)

    assert (response.status_code, response.mimetype) == (200, "application/json")
    balance = json.loads(response.data)
    rows = balance.pop("Detalle")
    assert list(balance.items()) == [
        ("TipoConsumo", "Postpago"),
        ("FechaActual", "2026-11-19T13:53:41"),
        ("Registrados", 5),
        ("Autorizados", 4),
        ("GeneraronTimbre", 3),
        ("Transacciones", sum(row["Monto"] for row in rows)),
    ]
    assert rows[0] == {
        "RFC": RFC,
        "Fecha": "2026-10-01T00:00:00",
        "TipoMovimiento": "Consumo de timbre",
        "Monto": 6,
    }
    assert ask(reachcore, RFCConsulta=RFC).get_json()["Detalle"] == [
        row for row in rows if row["RFC"] == RFC
    ]


INVALID_MONTHS = [None, "", "2026", "2026-13", "10-2026", "2026-1", "2026-10-01", " 2026-10", 7]
NO_MONTH = "'MesConsulta' se encuentra en un formato inválido."
NO_RFC = "No es necesario mandar el 'RFCConsulta'"
UNKNOWN_RFC = (
    "El RFC proporcionado no pertenece a los RFC registrados en la cuenta a la que pertenece "
    "el API KEY."
)
REJECTED = [
    *((path, {"month": month}, "400-001", NO_MONTH)
      for path in ("", "/csv", "/pdf") for month in INVALID_MONTHS),
    *(("", {"RFCConsulta": rfc}, "400-002", UNKNOWN_RFC)
      for rfc in ("XXX010101XX1", "a&d061009ty8", "A&D061009TY8 ", "", 7)),
    *((path, {"RFCConsulta": rfc}, "400-002", NO_RFC)
      for path in ("/csv", "/pdf") for rfc in (RFC, "XXX010101XX1", "")),
    *((path, {}, "400-003", "El formato (formatoSolicitado) no está soportado")
      for path in ("/xlsx", "/CSV")),
    *((path, {"key": key, "month": "bad"}, "401", "El API Key no es válido.")
      for path in ("", "/csv", "/pdf", "/xlsx") for key in ("", "wrong")),
]  # fmt: skip


@pytest.mark.parametrize(("path", "fields", "code", "message"), REJECTED)
def test_an_invalid_request_has_the_documented_error(
    reachcore: Client, path: str, fields: dict[str, Any], code: str, message: str
) -> None:
    response = ask(reachcore, path=path, **fields)

    assert (response.status_code, response.mimetype) == (int(code[:3]), "application/json")
    assert response.get_json() == {"errors": [{"Code": code, "Message": message}]}


def test_transactions_count_the_stamps_of_authorised_rfcs(
    state: FakePacState, reachcore: Client
) -> None:
    rows = [("ACM010203XY9", "Consumo de timbre"), ("AAA010101AAA", "Ajuste de saldo"),
            ("GOMP800101QX2", "Consumo de timbre")]  # fmt: skip
    for rfc, kind in rows * 2:
        state.reachcore.add_movements(ACME, [Movement(date(2027, 1, 5), rfc, kind, 3)])

    balance = ask(reachcore, "2027-01").get_json()

    assert (balance["Transacciones"], balance["GeneraronTimbre"]) == (6, 2)
    assert [row["Monto"] for row in balance["Detalle"]] == [6, 6, 6]


def test_the_csv_has_the_documented_layout() -> None:
    account = ReachcoreAccount("Pruebas", Plan.POSTPAID, {"AAA010101AAA": True})
    account.add(Movement(date(2019, 10, 17), "AAA010101AAA", amount=3))
    now = datetime(2019, 11, 20, 22, 57, 53, tzinfo=UTC)
    client = Client(FakeReachcore(ReachcoreState({KEY: account}), clock=lambda: now))

    response = ask(client, "2019-10", "/csv")

    assert response.content_type == "text/csv; charset=utf-8"
    expected = DOCUMENTED_CSV.replace("Registrados,0", "Registrados,1").replace("\n", "\r\n")
    assert response.text == expected


# ----------------------------------------------------------------------- Solución Factible


@pytest.mark.parametrize("path", PATHS)
def test_both_documented_addresses_serve_counts_and_the_wsdl(factible: Client, path: str) -> None:
    assert soap(factible, path=path) == {
        "status": "200",
        "mensaje": DONE,
        "contratados": "1000",
        "usados": "250",
        "disponibles": "750",
    }
    wsdl = factible.get(f"{path}?wsdl")
    assert wsdl.mimetype == "text/xml"
    addresses = list(etree.fromstring(wsdl.data).iter("{*}address"))

    assert [address.get("location") for address in addresses] == [""]


@pytest.mark.parametrize("rfc", [RFC, RFC_N, NEW])
def test_a_contract_adds_stamps_for_known_and_new_issuers(factible: Client, rfc: str) -> None:
    before, of_account = counts(factible, rfc) or (0, 0, 0), counts(factible, operation=ACCOUNT)

    assert soap(factible, CREATE, rfcEmisor=rfc) == {"status": "200", "mensaje": DONE}

    after = counts(factible, rfc)
    assert after == (before[0] + 500, before[1], before[2] + 500)
    assert user(factible)["contracts"] == [
        {"rfc": rfc, "timbres": 500, "time": "2026-11-19T13:53:41-06:00"}
    ]
    # A contract allots stamps of the account and creates none.
    assert counts(factible, operation=ACCOUNT) == of_account


def test_concurrent_contracts_are_all_applied(factible: Client) -> None:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: soap(factible, CREATE, timbres="1"), range(100)))

    assert counts(factible) == (1100, 250, 850)


def test_every_stamp_that_an_issuer_uses_is_the_account_s(
    state: FakePacState, factible: Client
) -> None:
    accounts = state.solucion_factible
    accounts.set_issuer(NEW, contratados=0, usados=7)
    assert counts(factible, operation=ACCOUNT) == (10_000, 1057, 8943)

    accounts.consume(RFC, 3)
    accounts.consume(NEW, 5)
    assert counts(factible) == (1000, 253, 747)
    assert counts(factible, NEW) == (0, 12, 0)
    assert counts(factible, operation=ACCOUNT) == (10_000, 1065, 8935)
    accounts.set_account(contratados=1070)
    for rfc, stamps in ((RFC, 6), (NEW, 6), (RFC_N, 21)):
        with pytest.raises(ValueError, match="does not have"):
            accounts.consume(rfc, stamps)


def test_601_then_604_until_cleared(factible: Client) -> None:
    for _ in range(5):
        assert soap(factible, password="wrong")["status"] == "601"
    for password in ("wrong", PASSWORD):
        assert soap(factible, password=password)["status"] == "604"

    assert user(factible)["state"] == "too-many-attempts"
    assert control(factible, "account", username=USERNAME, state="active").status_code == 200
    assert soap(factible)["status"] == "200"


STATES = [("locked", "602"), ("expired", "603"), ("too-many-attempts", "604"), ("inactive", "605")]


@pytest.mark.parametrize("operation", [GET, CREATE])
@pytest.mark.parametrize(("state_of_user", "status"), STATES)
def test_a_blocked_user_is_rejected(
    factible: Client, operation: str, state_of_user: str, status: str
) -> None:
    control(factible, "account", state=state_of_user)

    assert soap(factible, operation)["status"] == status
    assert user(factible)["contracts"] == []


INCOMPLETE = [
    *((operation, {name: value}, "611", name)
      for operation in (GET, CREATE) for name in ("usuario", "password", "rfcEmisor")
      for value in (None, "", "  ")),
    (CREATE, {"timbres": None}, "611", "timbres"),
    (GET, {"rfcEmisor": NEW}, "611", NEW),
    *((operation, {"rfcEmisor": rfc}, "612", "")
      for operation in (GET, CREATE) for rfc in ("NO-ES-RFC", "a&d061009ty8")),
    *((CREATE, {"timbres": number}, "612", "")
      for number in ("0", "-5", "1.5", "quinientos", "٥", "99999999999")),
]  # fmt: skip


@pytest.mark.parametrize(("operation", "parameters", "status", "says"), INCOMPLETE)
def test_incomplete_and_malformed_data_is_rejected(
    factible: Client, operation: str, parameters: dict[str, str | None], status: str, says: str
) -> None:
    result = soap(factible, operation, **parameters)

    assert (result["status"], says in result["mensaje"]) == (status, True)
    assert "contratados" not in result
    assert (user(factible)["failed_attempts"], user(factible)["contracts"]) == (0, [])


# ---------------------------------------------------------------------------------- faults


def test_faults_have_a_number_of_times_and_an_rfc(factible: Client) -> None:
    set_fault(factible, GET, "code", code="503", times=2, rfc=RFC_N)
    set_fault(factible, GET, "code", code="501", times=-1, rfc="AAA010101AAA")

    def statuses(rfc: str) -> list[str]:
        return [soap(factible, rfcEmisor=rfc)["status"] for _ in range(3)]

    assert statuses(RFC) == ["200", "200", "200"]
    assert statuses(RFC_N) == ["503", "503", "200"]
    assert statuses("AAA010101AAA") == ["501", "501", "501"]
    assert get(factible, "faults")["faults"] == [
        {"operation": GET, "fault": "code", "times": -1, "rfc": "AAA010101AAA", "code": "501"}
    ]
    assert factible.delete("/_control/faults").status_code == 204
    assert statuses("AAA010101AAA") == ["200", "200", "200"]


@pytest.mark.parametrize(("options", "seconds"), [({}, 8), ({"seconds": 2.5}, 2.5)])
def test_lagging_reads_do_not_show_the_last_seconds(
    factible: Client, clock: Clock, options: dict[str, float], seconds: float
) -> None:
    set_fault(factible, GET, "lagging-reads", times=-1, **options)
    for rfc in (RFC, NEW):
        soap(factible, CREATE, rfcEmisor=rfc)

    clock.forward(seconds=seconds - 0.001)
    assert (counts(factible), counts(factible, NEW)) == ((1000, 250, 750), None)
    clock.forward(seconds=0.001)
    assert (counts(factible), counts(factible, NEW)) == ((1500, 250, 1250), (500, 0, 500))


EXPIRED = [
    ("doubled-contract", {}, (2000, 250)),
    ("expiring-contract", {}, (1400, 200)),
    ("expiring-contract", {"contratados": 300, "usados": 250}, (1200, 0)),
    # Everything except the new contract expires.
    ("expiring-contract", {"contratados": 9000, "usados": 9000}, (0, 0)),
    ("expiring-contract", {"contratados": 1400, "usados": 0}, (100, 100)),
]


@pytest.mark.parametrize("reply", ["200", "624", "cut-after"])
@pytest.mark.parametrize(("fault", "options", "expected"), EXPIRED)
def test_a_contract_may_be_doubled_or_expire_another_whatever_its_reply(
    factible: Client, reply: str, fault: str, options: dict[str, int], expected: tuple[int, int]
) -> None:
    set_fault(factible, CREATE, fault, **options)
    if reply == "cut-after":
        set_fault(factible, CREATE, reply)
        with pytest.raises(ConnectionAbortedError):
            soap(factible, CREATE)
    else:
        if reply == "624":
            # As for a repeated request: the contract exists, and the second one is rejected.
            set_fault(factible, CREATE, "code", code="624", processed=True)
        assert soap(factible, CREATE)["status"] == reply

    assert (counts(factible) or ())[:2] == expected
    assert get(factible, "faults")["faults"] == []


# --------------------------------------------------------------------------------- control


def test_calls_have_their_request_and_outcome_and_no_credentials(
    reachcore: Client, factible: Client
) -> None:
    ask(reachcore, RFCConsulta=RFC)
    ask(reachcore, "nonsense", "/csv")
    ask(reachcore, key="guess-key")
    reachcore.get(PATH)
    set_fault(factible, CREATE, "code", code="624")
    soap(factible, CREATE)
    soap(factible, usuario="secret-in-wrong-place", password="guess-pass")

    calls = get(reachcore, "calls")["calls"]
    assert calls[0] == {
        "time": "2026-11-19T13:53:41.000-06:00",
        "operation": "saldos",
        "account": ACME,
        "rfc": RFC,
        "month": "2026-10",
        "timbres": None,
        "fault": None,
        "outcome": "200",
    }
    outcomes = [(call["operation"], call["outcome"]) for call in calls[1:]]
    assert outcomes == [("csv", "400-001"), ("saldos", "401"), ("other", "405")]
    call, _ = get(factible, "calls")["calls"]
    values = [call[name] for name in ("account", "timbres", "fault", "outcome")]
    assert values == [USERNAME, 500, "code", "624"]
    secrets = (KEY, OTHER_KEY, PASSWORD, "guess-key", "guess-pass", "secret-in-wrong-place")
    for client in (reachcore, factible):
        text = "".join(client.get(f"/_control/{path}").text for path in ("state", "calls"))
        assert not [secret for secret in secrets if secret in text]
    assert factible.delete("/_control/calls").status_code == 204
    assert get(factible, "calls")["calls"] == []


@pytest.mark.parametrize(
    ("path", "payload", "complaint"),
    [
        ("faults", {"operation": GET}, "fault"),
        ("faults", {"operation": "saldos", "fault": "slow", "seconds": 1}, "operation"),
        ("faults", {"operation": GET, "fault": "missing-comma"}, "fault"),
        ("faults", {"operation": GET, "fault": "slow"}, "seconds"),
        ("faults", {"operation": GET, "fault": "slow", "seconds": 1, "code": "500"}, "code"),
        ("faults", {"operation": GET, "fault": "code", "code": "400-001"}, "code"),
        ("faults", {"operation": GET, "fault": "html-200", "times": 0}, "times"),
        ("account", {"username": USERNAME, "state": "asleep"}, "state"),
        ("account", {"username": USERNAME, "contratados": 10}, "usados"),
        ("account", {"username": "nobody", "password": "x"}, "nobody"),
        ("issuer", {"rfc": RFC, "usados": 1001}, "usados"),
        ("issuer", {"rfc": "nope"}, "nope"),
    ],
)
def test_a_mistake_of_a_test_is_an_error(
    factible: Client, path: str, payload: dict[str, Any], complaint: str
) -> None:
    response = control(factible, path, **payload)

    assert response.status_code == 400
    assert complaint in response.get_json()["error"]
    assert get(factible, "faults")["faults"] == []
