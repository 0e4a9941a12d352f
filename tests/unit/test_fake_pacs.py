"""The fake PACs match the PACs' documentation; tests call them in process, without sockets."""

from __future__ import annotations

import io
import json
import re
import unicodedata
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from local.fake_pacs import fake_data
from local.fake_pacs.fake_data import (
    BulkMonth,
    FakePacState,
    Movement,
    Plan,
    ReachcoreAccount,
    ReachcoreState,
    demo_state,
)
from local.fake_pacs.reachcore import PATH, FakeReachcore
from local.fake_pacs.solucion_factible import PATHS, FakeSolucionFactible
from lxml import etree
from werkzeug.test import Client, TestResponse

from timbres.domain.month import month_of

TODAY = date(2026, 11, 19)
NOW = datetime(2026, 11, 19, 19, 53, 41, tzinfo=UTC)
ACME_KEY = "acme-key-0001"
NORTE_KEY = "norte-key-0002"
USERNAME = "pruebas@example.com"
PASSWORD = "contraseña & <secreta>"
SERVICE = "http://utilerias.timbrado.ws.cfdi.solucionfactible.com"
TYPES = f"{SERVICE}/xsd"
SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
XSI = "http://www.w3.org/2001/XMLSchema-instance"
WSDL = """<wsdl:definitions xmlns:wsdl="http://schemas.xmlsoap.org/wsdl/"
  xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/"><wsdl:service name="Utilerias">
  <wsdl:port name="UtileriasHttpsSoap11Endpoint"><soap:address location="https://example.com/x"/>
  </wsdl:port></wsdl:service></wsdl:definitions>"""


@pytest.fixture
def pac_state() -> FakePacState:
    return demo_state(
        TODAY,
        acme_api_key=ACME_KEY,
        norte_api_key=NORTE_KEY,
        username=USERNAME,
        password=PASSWORD,
    )


class Clock:
    """The fake time of the PACs; only `forward` advances it."""

    def __init__(self) -> None:
        self.at = NOW

    def __call__(self) -> datetime:
        return self.at

    def forward(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reachcore(pac_state: FakePacState, clock: Clock) -> Client:
    return Client(FakeReachcore(pac_state.reachcore, clock=clock))


@pytest.fixture
def factible(pac_state: FakePacState, tmp_path: Path, clock: Clock) -> Client:
    wsdl = tmp_path / "utilerias.wsdl"
    wsdl.write_text(WSDL)
    return Client(FakeSolucionFactible(pac_state.solucion_factible, wsdl=wsdl, clock=clock))


def ask(client: Client, month: object = "2026-10", path: str = "", **fields: Any) -> TestResponse:
    body = {"MesConsulta": month, **fields}
    return client.post(PATH + path, json=body, headers={"RCApiKey": ACME_KEY})


def soap(
    client: Client,
    operation: str = "getTimbres",
    *,
    path: str | None = None,
    action: str | None = None,
    **parameters: str | None,
) -> TestResponse:
    values = {"usuario": USERNAME, "password": PASSWORD, "rfcEmisor": "A&D061009TY8"}
    if operation == "agregarContrato":
        values["timbres"] = "500"
    envelope = etree.Element(f"{{{SOAP}}}Envelope")
    call = etree.SubElement(
        etree.SubElement(envelope, f"{{{SOAP}}}Body"), f"{{{SERVICE}}}{operation}"
    )
    for name, value in {**values, **parameters}.items():
        if value is not None:
            etree.SubElement(call, f"{{{SERVICE}}}{name}").text = value
    return client.post(
        path or PATHS[0],
        data=etree.tostring(envelope, xml_declaration=True, encoding="UTF-8"),
        content_type="text/xml; charset=utf-8",
        headers={"SOAPAction": f'"{action or f"urn:{operation}"}"'},
    )


def returned(response: TestResponse, operation: str = "getTimbres") -> dict[str, str | None]:
    """Return the fields of `<operation>Response/return`; check their elements."""
    assert response.status_code == 200
    assert response.content_type == "text/xml; charset=UTF-8"
    root = etree.fromstring(response.data)
    result = root.find(f"{{{SOAP}}}Body/{{{SERVICE}}}{operation}Response/{{{SERVICE}}}return")
    assert result is not None
    assert all(field.tag.startswith(f"{{{TYPES}}}") for field in result)
    return {field.tag.removeprefix(f"{{{TYPES}}}"): field.text for field in result}


def control(client: Client, path: str, **payload: Any) -> TestResponse:
    return client.post(f"/_control/{path}", json=payload)


def set_fault(client: Client, operation: str, fault: str, **options: Any) -> None:
    response = control(client, "faults", operation=operation, fault=fault, **options)
    assert response.status_code == 201, response.text


def get(client: Client, path: str) -> Any:
    response = client.get(f"/_control/{path}")
    assert response.status_code == 200
    return response.get_json()


def user(client: Client) -> Any:
    return get(client, "state")["accounts"][0]


def issuer(client: Client, rfc: str) -> Any:
    return next(entry for entry in user(client)["issuers"] if entry["rfc"] == rfc)


# ------------------------------------------------------------------------------- fake data


def test_the_demo_state_has_five_valid_rfcs_and_no_future_movements() -> None:
    for today in (TODAY, date(2026, 1, 1), date(2028, 2, 29)):
        states = [
            demo_state(today, acme_api_key="a", norte_api_key="b", username="u", password="p")
            for _ in range(2)
        ]
        assert states[0].reachcore.as_json() == states[1].reachcore.as_json()
        accounts = states[0].reachcore.as_json()["accounts"]
        assert [(account_state["name"], account_state["plan"]) for account_state in accounts] == [
            ("Acme Timbrado", "Postpago"),
            ("Norte Prepago", "Prepago"),
        ]
        rfcs = {entry["rfc"] for account_state in accounts for entry in account_state["rfcs"]}
        assert len(rfcs) == 5
        assert all(fake_data.is_rfc(rfc) for rfc in rfcs)
        assert {len(rfc) for rfc in rfcs} == {12, 13}
        assert any("Ñ" in rfc for rfc in rfcs)
        assert any("&" in rfc for rfc in rfcs)
        last_month = month_of(today).previous()
        for account in accounts:
            months = [last_month.previous(), last_month, month_of(today)]
            assert sorted(account["months"]) == list(map(str, months))
            days = [
                row["date"] for month in account["months"].values() for row in month["movements"]
            ]
            assert max(days) <= today.isoformat()


@pytest.mark.parametrize(
    "wrong",
    ["", "a&d061009ty8", "AB061009TY8", "ABCDE061009TY8", "AAA011301AAA", "AAA010132AAA",
     "AAA010101AAB", "AAA010101AAA ", unicodedata.normalize("NFD", "ÑAN840101AB1")],
)  # fmt: skip
def test_the_rfc_pattern_rejects_invalid_rfcs(wrong: str) -> None:
    assert not fake_data.is_rfc(wrong)


def test_generated_rfcs_are_valid_distinct_and_ascending() -> None:
    rfcs = [fake_data.bulk_rfc(index) for index in [*range(3000), 12_959, 12_960, 10_000_000]]
    assert all(fake_data.is_rfc(rfc) for rfc in rfcs)
    assert rfcs == sorted(set(rfcs))


@pytest.mark.parametrize("rows", [0, 1, 27, 28, 29, 1000])
def test_bulk_movements_agree_with_their_totals(rows: int) -> None:
    bulk = BulkMonth("2026-02", rows)
    movements = list(bulk.movements())
    assert len(movements) == bulk.count() == rows
    assert sum(row.amount for row in movements) == bulk.total()
    assert len({row.rfc for row in movements}) == bulk.stamping()
    assert len({(row.rfc, row.date) for row in movements}) == rows
    assert movements == sorted(movements, key=lambda row: (row.date, row.rfc))
    for rfc in {row.rfc for row in movements} | {"AAA010101AAA"}:
        issuer_movements = [row for row in movements if row.rfc == rfc]
        assert list(bulk.movements(rfc)) == issuer_movements
        assert bulk.count(rfc) == len(issuer_movements)
        assert bulk.total(rfc) == sum(row.amount for row in issuer_movements)


# ---------------------------------------------------------------------- Reachcore: saldos


def test_saldos_has_the_documented_structure(reachcore: Client) -> None:
    response = ask(reachcore)
    assert response.status_code == 200
    assert response.mimetype == "application/json"
    balance = json.loads(response.data)
    assert list(balance) == [
        "TipoConsumo", "FechaActual", "Registrados", "Autorizados", "GeneraronTimbre",
        "Transacciones", "Detalle",
    ]  # fmt: skip
    assert balance["TipoConsumo"] == "Postpago"
    assert balance["FechaActual"] == "2026-11-19T13:53:41"
    counts = balance["Registrados"], balance["Autorizados"], balance["GeneraronTimbre"]
    assert counts == (5, 4, 3)
    assert balance["Transacciones"] == sum(row["Monto"] for row in balance["Detalle"])
    assert balance["Detalle"][0] == {
        "RFC": "A&D061009TY8",
        "Fecha": "2026-10-01T00:00:00",
        "TipoMovimiento": "Consumo de timbre",
        "Monto": 6,
    }
    assert {row["RFC"] for row in balance["Detalle"]} == {
        "A&D061009TY8", "ÑAN840101AB1", "AAA010101AAA",
    }  # fmt: skip


@pytest.mark.parametrize("rfc", ["A&D061009TY8", "ÑAN840101AB1", "ACM010203XY9"])
def test_saldos_of_one_rfc(reachcore: Client, rfc: str) -> None:
    everything = ask(reachcore).get_json()
    balance = ask(reachcore, RFCConsulta=rfc).get_json()
    assert balance["Detalle"] == [row for row in everything["Detalle"] if row["RFC"] == rfc]
    assert balance["Transacciones"] == sum(row["Monto"] for row in balance["Detalle"])
    for count in ("Registrados", "Autorizados", "GeneraronTimbre"):
        assert balance[count] == everything[count]


def test_a_month_without_movements_is_an_empty_balance(reachcore: Client) -> None:
    balance = ask(reachcore, "2031-02").get_json()
    assert (balance["Transacciones"], balance["GeneraronTimbre"]) == (0, 0)
    assert balance["Detalle"] == []
    assert balance["Registrados"] == 5


def test_each_key_selects_its_account(reachcore: Client) -> None:
    response = reachcore.post(
        PATH, json={"MesConsulta": "2026-10"}, headers={"RCApiKey": NORTE_KEY}
    )
    balance = response.get_json()
    assert (balance["TipoConsumo"], balance["Registrados"]) == ("Prepago", 2)
    assert {row["RFC"] for row in balance["Detalle"]} == {"GOMP800101QX2"}


def assert_error(response: TestResponse, status: int, code: str, message: str) -> None:
    assert response.status_code == status
    assert response.mimetype == "application/json"
    assert response.get_json() == {"errors": [{"Code": code, "Message": message}]}


INVALID_MONTH = "'MesConsulta' se encuentra en un formato inválido."
UNKNOWN_RFC = (
    "El RFC proporcionado no pertenece a los RFC registrados en la cuenta a la que pertenece "
    "el API KEY."
)
NO_RFC = "No es necesario mandar el 'RFCConsulta'"


@pytest.mark.parametrize("path", ["", "/csv", "/pdf"])
@pytest.mark.parametrize(
    "month", [None, "", "2026", "2026-13", "2026-00", "10-2026", "2026-1", "2026-10-01",
              " 2026-10", "2026-10\n", "٢٠٢٦-10", "0000-01", 202610, ["2026-10"]],
)  # fmt: skip
def test_400_001_for_an_invalid_month(reachcore: Client, path: str, month: object) -> None:
    assert_error(ask(reachcore, month, path), 400, "400-001", INVALID_MONTH)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"2026-10"', b"MesConsulta=2026-10"])
def test_a_body_without_a_json_object_has_no_month(reachcore: Client, body: bytes) -> None:
    headers = {"RCApiKey": ACME_KEY, "Content-Type": "application/json"}
    assert_error(reachcore.post(PATH, data=body, headers=headers), 400, "400-001", INVALID_MONTH)


@pytest.mark.parametrize("rfc", ["XXX010101XX1", "a&d061009ty8", "A&D061009TY8 ", "", 7])
def test_400_002_on_saldos(reachcore: Client, rfc: object) -> None:
    assert_error(ask(reachcore, RFCConsulta=rfc), 400, "400-002", UNKNOWN_RFC)


@pytest.mark.parametrize("path", ["/csv", "/pdf"])
@pytest.mark.parametrize("rfc", ["A&D061009TY8", "XXX010101XX1", ""])
def test_400_002_on_statements(reachcore: Client, path: str, rfc: str) -> None:
    assert_error(ask(reachcore, path=path, RFCConsulta=rfc), 400, "400-002", NO_RFC)


@pytest.mark.parametrize("path", ["/xlsx", "/xml", "/CSV"])
def test_400_003_for_an_unknown_format(reachcore: Client, path: str) -> None:
    message = "El formato (formatoSolicitado) no está soportado"
    assert_error(ask(reachcore, path=path), 400, "400-003", message)


@pytest.mark.parametrize("path", ["", "/csv", "/pdf", "/xlsx"])
@pytest.mark.parametrize("headers", [{}, {"RCApiKey": ""}, {"RCApiKey": "wrong"}])
def test_401_for_a_wrong_key(reachcore: Client, path: str, headers: dict[str, str]) -> None:
    response = reachcore.post(PATH + path, json={"MesConsulta": "bad"}, headers=headers)
    assert_error(response, 401, "401", "El API Key no es válido.")


@pytest.mark.parametrize("path", ["/", "/api/rest/Timbre", f"{PATH}/csv/x", f"{PATH}s", f"{PATH}/"])
def test_404_for_an_unknown_path(reachcore: Client, path: str) -> None:
    response = reachcore.post(path, json={"MesConsulta": "2026-10"})
    assert_error(response, 404, "404", "La URL no existe.")


@pytest.mark.parametrize("path", ["", "/csv", "/pdf"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_only_post_is_allowed(reachcore: Client, path: str, method: str) -> None:
    response = reachcore.open(PATH + path, method=method, headers={"RCApiKey": ACME_KEY})
    assert response.status_code == 405
    assert response.headers["Allow"] == "POST"
    assert response.get_json()["errors"][0]["Code"] == "405"


def test_only_json_is_accepted(reachcore: Client) -> None:
    headers = {"RCApiKey": ACME_KEY, "Content-Type": "text/plain"}
    response = reachcore.post(PATH, data=b'{"MesConsulta": "2026-10"}', headers=headers)
    assert response.status_code == 415
    assert response.get_json()["errors"][0]["Code"] == "415"


def test_transactions_count_the_stamps_of_authorised_rfcs(reachcore: Client) -> None:
    month = "2027-01"
    for rfc, kind in (
        ("ACM010203XY9", "Consumo de timbre"),
        ("AAA010101AAA", "Ajuste de saldo"),
        ("GOMP800101QX2", "Consumo de timbre"),
    ):
        row = {"rfc": rfc, "date": f"{month}-05", "kind": kind, "amount": 3}
        done = control(reachcore, "movements", account="Acme Timbrado", movements=[row, row])
        assert done.status_code == 201
    balance = ask(reachcore, month).get_json()
    assert balance["Transacciones"] == 6
    assert balance["GeneraronTimbre"] == 2
    assert [(row["RFC"], row["Monto"]) for row in balance["Detalle"]] == [
        ("AAA010101AAA", 6), ("ACM010203XY9", 6), ("GOMP800101QX2", 6),
    ]  # fmt: skip


def test_a_large_balance_is_streamed(pac_state: FakePacState) -> None:
    app = FakeReachcore(pac_state.reachcore, clock=lambda: NOW)
    client = Client(app)
    rows = 200_000
    created = control(client, "bulk", account="Acme Timbrado", month="2026-12", rows=rows)
    assert created.status_code == 201
    response = ask(client, "2026-12")
    pieces = response.iter_encoded()
    head = next(pieces)
    assert b'"Detalle": [' in head
    sizes, text = [], head
    for piece in pieces:
        sizes.append(len(piece))
        text += piece
    assert max(sizes) < 200_000
    balance = json.loads(text)
    assert len(balance["Detalle"]) == rows
    assert balance["Transacciones"] == sum(row["Monto"] for row in balance["Detalle"])
    assert balance["GeneraronTimbre"] == len({row["RFC"] for row in balance["Detalle"]})
    assert balance["Registrados"] == 5 + balance["GeneraronTimbre"]
    rfc = balance["Detalle"][-1]["RFC"]
    rows_of_rfc = ask(client, "2026-12", RFCConsulta=rfc).get_json()["Detalle"]
    assert rows_of_rfc == [row for row in balance["Detalle"] if row["RFC"] == rfc]


# ------------------------------------------------------------------- Reachcore: statements


def test_the_csv_has_the_documented_layout() -> None:
    account = ReachcoreAccount("Pruebas", Plan.POSTPAID, {"AAA010101AAA": True})
    account.add(Movement(date(2019, 10, 17), "AAA010101AAA", amount=3))
    now = datetime(2019, 11, 20, 22, 57, 53, tzinfo=UTC)
    client = Client(FakeReachcore(ReachcoreState({ACME_KEY: account}), clock=lambda: now))
    response = ask(client, "2019-10", "/csv")
    assert response.status_code == 200
    assert response.content_type == "text/csv; charset=utf-8"
    assert re.match(r'attachment; filename=".+\.csv"$', response.headers["Content-Disposition"])
    assert response.content_length == len(response.data)
    assert response.data.decode().split("\r\n") == [
        "Cuenta,TipoConsumo,FechaInicioConsulta,FechaFinConsulta,FechaActual",
        "Pruebas,Postpago,2019-10-01T00:00:00,2019-10-31T00:00:00,2019-11-20T16:57:53",
        "",
        "Estado de los RFC",
        "Registrados,1",
        "Autorizados,1",
        "Generaron Timbre,1",
        "",
        "Transacciones",
        "Consumo de todos los RFC:,3",
        "",
        "RFC,Fecha,Tipo movimiento,Monto",
        "AAA010101AAA ,10/17/2019 12:00:00 AM,Consumo de timbre,3",
        "",
    ]


def test_the_csv_matches_saldos(reachcore: Client) -> None:
    lines = ask(reachcore, path="/csv").data.decode().split("\r\n")
    rows = [line.split(",") for line in lines[12:-1]]
    balance = ask(reachcore).get_json()
    assert lines[9] == f"Consumo de todos los RFC:,{balance['Transacciones']}"
    assert [(rfc, kind, int(amount)) for rfc, _, kind, amount in rows] == [
        (f"{row['RFC']} ", row["TipoMovimiento"], row["Monto"]) for row in balance["Detalle"]
    ]


@pytest.mark.parametrize("rows", [0, 1, 50, 5000])
def test_the_pdf_shows_every_row(reachcore: Client, rows: int) -> None:
    pypdf = pytest.importorskip("pypdf")
    control(reachcore, "bulk", account="Acme Timbrado", month="2027-03", rows=rows)
    response = ask(reachcore, "2027-03", "/pdf")
    assert response.status_code == 200
    assert response.content_type == "application/pdf"
    assert re.match(r'attachment; filename=".+\.pdf"$', response.headers["Content-Disposition"])
    pages = [page.extract_text() for page in pypdf.PdfReader(io.BytesIO(response.data)).pages]
    text = "\n".join(pages)
    assert text.count("Consumo de timbre") == rows
    for expected in ("Estado de cuenta", "Acme Timbrado", "Postpago", "marzo de 2027",
                     "01/03/2027 al 31/03/2027", "19/11/2026 13:53:41"):  # fmt: skip
        assert expected in pages[0]
    assert f"Página {len(pages)} de {len(pages)}" in pages[-1]
    assert ("Sin movimientos" in text) == (rows == 0)


@pytest.mark.parametrize("file_format", ["csv", "pdf"])
def test_statements_are_the_same_bytes_for_the_same_moment(
    pac_state: FakePacState, file_format: str
) -> None:
    moment = NOW
    client = Client(FakeReachcore(pac_state.reachcore, clock=lambda: moment))
    served = f"/_control/served/Acme%20Timbrado/2026-10/{file_format}"
    assert client.get(served).status_code == 404
    first = ask(client, path=f"/{file_format}").data
    assert ask(client, path=f"/{file_format}").data == first
    assert client.get(served).data == first
    moment = NOW + timedelta(seconds=1)
    later = ask(client, path=f"/{file_format}").data
    assert later != first
    remembered = client.get(served)
    assert remembered.data == later
    assert remembered.content_length == len(later)


# ------------------------------------------------------------------- Solución Factible


@pytest.mark.parametrize("path", PATHS)
def test_get_timbres_returns_the_counts(factible: Client, path: str) -> None:
    assert returned(soap(factible, path=path)) == {
        "status": "200",
        "mensaje": "La transacción ha sido completada satisfactoriamente.",
        "contratados": "1000",
        "usados": "250",
        "disponibles": "750",
    }


@pytest.mark.parametrize(
    ("operation", "type_name"),
    [("getTimbres", "ResponseTimbres"), ("agregarContrato", "Response")],
)
def test_the_return_element_has_its_type(factible: Client, operation: str, type_name: str) -> None:
    root = etree.fromstring(soap(factible, operation).data)
    result = root.find(f".//{{{SERVICE}}}return")
    assert result is not None
    prefix, _, name = result.get(f"{{{XSI}}}type", "").partition(":")
    assert (result.nsmap[prefix], name) == (TYPES, type_name)


@pytest.mark.parametrize("rfc", ["A&D061009TY8", "ÑAN840101AB1", "NUE010101AB0"])
def test_a_contract_adds_stamps_for_known_and_new_issuers(factible: Client, rfc: str) -> None:
    before = returned(soap(factible, rfcEmisor=rfc))
    result = returned(soap(factible, "agregarContrato", rfcEmisor=rfc), "agregarContrato")
    assert list(result) == ["status", "mensaje"]
    assert result["status"] == "200"
    after = returned(soap(factible, rfcEmisor=rfc))
    assert int(after["contratados"] or 0) == int(before.get("contratados") or 0) + 500
    assert user(factible)["contracts"] == [
        {"rfc": rfc, "timbres": 500, "time": "2026-11-19T13:53:41-06:00", "reply_sent": True}
    ]


def test_601_then_604_until_cleared(factible: Client) -> None:
    for _ in range(5):
        assert returned(soap(factible, password="wrong"))["status"] == "601"
    for password in ("wrong", PASSWORD):
        assert returned(soap(factible, password=password))["status"] == "604"
    assert user(factible)["state"] == "too-many-attempts"
    assert control(factible, "account", username=USERNAME, state="active").status_code == 200
    assert returned(soap(factible))["status"] == "200"


def test_a_correct_password_resets_the_failed_attempts(factible: Client) -> None:
    for _ in range(3):
        for _ in range(4):
            assert returned(soap(factible, password="wrong"))["status"] == "601"
        assert returned(soap(factible))["status"] == "200"


def test_an_unknown_user_is_a_601(factible: Client) -> None:
    assert returned(soap(factible, usuario="nadie"))["status"] == "601"


def test_a_changed_password_replaces_the_old_one(factible: Client) -> None:
    control(factible, "account", password="nueva")
    assert returned(soap(factible))["status"] == "601"
    assert returned(soap(factible, password="nueva"))["status"] == "200"


@pytest.mark.parametrize("operation", ["getTimbres", "agregarContrato"])
@pytest.mark.parametrize(
    ("state", "status"),
    [("locked", "602"), ("expired", "603"), ("too-many-attempts", "604"), ("inactive", "605")],
)
def test_a_blocked_user_is_rejected(
    factible: Client, operation: str, state: str, status: str
) -> None:
    control(factible, "account", state=state)
    assert returned(soap(factible, operation), operation)["status"] == status
    assert user(factible)["contracts"] == []


@pytest.mark.parametrize("value", [None, "", "  "])
@pytest.mark.parametrize(
    ("operation", "parameter"),
    [
        (operation, parameter)
        for operation in ("getTimbres", "agregarContrato")
        for parameter in ("usuario", "password", "rfcEmisor", "timbres")
        if (operation, parameter) != ("getTimbres", "timbres")
    ],
)
def test_611_for_incomplete_data(
    factible: Client, operation: str, parameter: str, value: str | None
) -> None:
    result = returned(soap(factible, operation, **{parameter: value}), operation)
    assert result["status"] == "611"
    assert parameter in str(result["mensaje"])
    assert user(factible)["failed_attempts"] == 0


def test_611_for_an_unknown_issuer(factible: Client) -> None:
    result = returned(soap(factible, rfcEmisor="NUE010101AB0"))
    assert result["status"] == "611"
    assert "NUE010101AB0" in str(result["mensaje"])
    assert "contratados" not in result


@pytest.mark.parametrize("operation", ["getTimbres", "agregarContrato"])
@pytest.mark.parametrize("rfc", ["NO-ES-RFC", "a&d061009ty8", "A&amp;D061009TY8"])
def test_612_for_a_malformed_rfc(factible: Client, operation: str, rfc: str) -> None:
    assert returned(soap(factible, operation, rfcEmisor=rfc), operation)["status"] == "612"


@pytest.mark.parametrize("timbres", ["0", "-5", "1.5", "quinientos", "٥", "99999999999"])
def test_612_for_a_malformed_number(factible: Client, timbres: str) -> None:
    result = returned(soap(factible, "agregarContrato", timbres=timbres), "agregarContrato")
    assert result["status"] == "612"
    assert user(factible)["contracts"] == []


def test_620_for_a_denied_issuer(factible: Client) -> None:
    assert control(factible, "issuer", rfc="A&D061009TY8", denied=True).status_code == 201
    assert returned(soap(factible, "agregarContrato"), "agregarContrato")["status"] == "620"
    assert returned(soap(factible))["contratados"] == "1000"


def soap_fault(response: TestResponse) -> str:
    root = etree.fromstring(response.data)
    text = root.findtext(f"{{{SOAP}}}Body/{{{SOAP}}}Fault/faultstring")
    assert text
    return text


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"<not-closed>",
        b"<x/>",
        f'<e:Envelope xmlns:e="{SOAP}"><e:Body/></e:Envelope>'.encode(),
        f'<e:Envelope xmlns:e="{SOAP}"><e:Body><getTimbres/></e:Body></e:Envelope>'.encode(),
        f'<!DOCTYPE e [<!ENTITY x "y">]><e:Envelope xmlns:e="{SOAP}"><e:Body>&x;</e:Body>'
        f"</e:Envelope>".encode(),
    ],
)
def test_an_invalid_request_is_a_soap_fault(factible: Client, message: bytes) -> None:
    response = factible.post(PATHS[0], data=message, content_type="text/xml")
    assert response.status_code == 500
    assert soap_fault(response)


def test_the_soap_action_must_match(factible: Client) -> None:
    response = soap(factible, action="urn:agregarContrato")
    assert response.status_code == 500
    assert "urn:agregarContrato" in soap_fault(response)
    assert soap(factible, "otraCosa").status_code == 500


@pytest.mark.parametrize("path", PATHS)
def test_the_wsdl_is_served_without_addresses(factible: Client, path: str) -> None:
    response = factible.get(f"{path}?wsdl")
    assert response.status_code == 200
    assert response.mimetype == "text/xml"
    addresses = list(etree.fromstring(response.data).iter("{*}address"))
    assert [address.get("location") for address in addresses] == [""]


def test_without_a_wsdl_file_the_response_is_404(pac_state: FakePacState, tmp_path: Path) -> None:
    for wsdl in (None, tmp_path / "none.wsdl"):
        client = Client(FakeSolucionFactible(pac_state.solucion_factible, wsdl=wsdl))
        assert client.get(f"{PATHS[0]}?wsdl").status_code == 404
        assert client.get(PATHS[0]).status_code == 405


# ----------------------------------------------------------------------- faults, codes

GET_TIMBRES_CODES = ["200", "500", "501", "502", "503", "601", "602", "603", "604", "605", "611",
                     "612", "624", "630", "631", "632", "633"]  # fmt: skip
AGREGAR_CONTRATO_CODES = [*GET_TIMBRES_CODES, "620"]


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        *(("getTimbres", code) for code in GET_TIMBRES_CODES),
        *(("agregarContrato", code) for code in AGREGAR_CONTRATO_CODES),
    ],
)
def test_every_documented_soap_code(factible: Client, operation: str, code: str) -> None:
    set_fault(factible, operation, "code", code=int(code))
    result = returned(soap(factible, operation), operation)
    assert list(result) == ["status", "mensaje"]
    assert result["status"] == code
    assert len(str(result["mensaje"])) > 10
    assert user(factible)["contracts"] == []
    assert returned(soap(factible, operation), operation)["status"] == "200"


def test_a_code_may_have_a_message_and_take_effect(factible: Client) -> None:
    set_fault(factible, "agregarContrato", "code", code="500", mensaje="Ups & <ay>", processed=True)
    result = returned(soap(factible, "agregarContrato"), "agregarContrato")
    assert result == {"status": "500", "mensaje": "Ups & <ay>"}
    assert issuer(factible, "A&D061009TY8")["contratados"] == 1500
    assert [entry["reply_sent"] for entry in user(factible)["contracts"]] == [False]


REST_CODES = {"400-001": 400, "400-002": 400, "400-003": 400, "401": 401, "404": 404, "500": 500}


@pytest.mark.parametrize("operation", ["saldos", "csv", "pdf"])
@pytest.mark.parametrize("code", REST_CODES)
@pytest.mark.parametrize("body", ["json", "empty", "html"])
def test_every_documented_rest_code(
    reachcore: Client, operation: str, code: str, body: str
) -> None:
    path = "" if operation == "saldos" else f"/{operation}"
    set_fault(reachcore, operation, "code", code=code, body=body)
    response = ask(reachcore, path=path)
    assert response.status_code == REST_CODES[code]
    if body == "json":
        (error,) = response.get_json()["errors"]
        assert error["Code"] == code
        assert error["Message"]
    elif body == "empty":
        assert response.data == b""
    else:
        assert response.mimetype == "text/html"
    assert ask(reachcore, path=path).status_code == 200


@pytest.mark.parametrize(
    ("fault", "expected"),
    [("missing-fields", "absent"), ("empty-fields", "empty"), ("nil-fields", "nil")],
)
def test_counts_may_be_absent_empty_or_nil(factible: Client, fault: str, expected: str) -> None:
    set_fault(factible, "getTimbres", fault)
    response = soap(factible)
    result = returned(response)
    assert result["status"] == "200"
    assert ("contratados" in result) == (expected != "absent")
    assert result.get("disponibles") is None
    nils = re.findall(rb'xsi:nil="true"', response.data)
    assert len(nils) == (3 if expected == "nil" else 0)


@pytest.mark.parametrize("operation", ["getTimbres", "agregarContrato"])
def test_a_reply_may_carry_a_dtd_and_an_entity(factible: Client, operation: str) -> None:
    set_fault(factible, operation, "dtd")
    data = soap(factible, operation).data
    assert b"<!DOCTYPE" in data
    assert b"&mensaje;" in data
    root = etree.fromstring(data, etree.XMLParser(resolve_entities=True))
    assert root.findtext(f".//{{{TYPES}}}mensaje") == (
        "La transacción ha sido completada satisfactoriamente."
    )


@pytest.mark.parametrize("operation", ["getTimbres", "agregarContrato"])
def test_a_configured_soap_fault(factible: Client, operation: str) -> None:
    set_fault(factible, operation, "soap-fault")
    response = soap(factible, operation)
    assert response.status_code == 500
    assert soap_fault(response)
    assert user(factible)["contracts"] == []


def test_the_missing_comma_of_the_documentation(reachcore: Client) -> None:
    set_fault(reachcore, "saldos", "missing-comma")
    text = ask(reachcore).text
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)
    corrected = re.sub(r'("FechaActual": "[^"]*")', r"\1,", text)
    assert json.loads(corrected) == ask(reachcore).get_json()


@pytest.mark.parametrize("fault", ["html-200", "wrong-shape", "empty-body", "redirect"])
@pytest.mark.parametrize("operation", ["saldos", "csv", "pdf", "getTimbres", "agregarContrato"])
def test_replies_without_processing(
    reachcore: Client, factible: Client, operation: str, fault: str
) -> None:
    rest = operation in ("saldos", "csv", "pdf")
    client = reachcore if rest else factible
    set_fault(client, operation, fault)
    path = "" if operation == "saldos" else f"/{operation}"
    response = ask(client, path=path) if rest else soap(client, operation)
    assert response.status_code == (302 if fault == "redirect" else 200)
    if fault == "html-200":
        assert response.mimetype == "text/html"
    if fault == "redirect":
        assert response.headers["Location"].endswith("/_control/elsewhere")
    assert (response.data == b"") == (fault in ("empty-body", "redirect"))
    if fault == "wrong-shape" and not rest:
        assert etree.fromstring(response.data).find(f".//{{{SERVICE}}}return") is None
    assert get(client, "calls")["calls"][-1]["outcome"] == "not-processed"
    assert user(factible)["contracts"] == []


def test_the_text_of_a_wrong_shape_can_be_set(reachcore: Client) -> None:
    set_fault(reachcore, "saldos", "wrong-shape", reply='{"Detalle": null}')
    response = ask(reachcore)
    assert (response.mimetype, response.text) == ("application/json", '{"Detalle": null}')


def test_the_log_shows_whether_a_redirect_was_followed_with_the_key(reachcore: Client) -> None:
    reachcore.get("/_control/elsewhere", headers={"RCApiKey": ACME_KEY})
    reachcore.get("/_control/elsewhere")
    calls = get(reachcore, "calls")["calls"]
    assert [(call["operation"], call["outcome"]) for call in calls] == [
        ("elsewhere", "with-credentials-or-body"),
        ("elsewhere", "followed"),
    ]


@pytest.mark.parametrize(
    ("fault", "processed"), [("cut-before", False), ("cut-after", True), ("truncated", True)]
)
def test_a_connection_cut_before_or_after_the_contract(
    factible: Client, fault: str, processed: bool
) -> None:
    set_fault(factible, "agregarContrato", fault)
    with pytest.raises(ConnectionAbortedError):
        assert soap(factible, "agregarContrato").data
    assert issuer(factible, "A&D061009TY8")["contratados"] == (1500 if processed else 1000)
    sent = [entry["reply_sent"] for entry in user(factible)["contracts"]]
    assert sent == ([False] if processed else [])
    (call,) = get(factible, "calls")["calls"]
    assert call["outcome"] == ("200" if processed else "not-processed")
    assert call["answered"] is False


def test_faults_have_a_number_of_times_and_an_rfc(factible: Client) -> None:
    set_fault(factible, "getTimbres", "code", code="503", times=2, rfc="ÑAN840101AB1")
    set_fault(factible, "getTimbres", "code", code="501", times=-1, rfc="AAA010101AAA")

    def statuses(rfc: str) -> list[str | None]:
        return [returned(soap(factible, rfcEmisor=rfc))["status"] for _ in range(3)]

    assert statuses("A&D061009TY8") == ["200", "200", "200"]
    assert statuses("ÑAN840101AB1") == ["503", "503", "200"]
    assert statuses("AAA010101AAA") == ["501", "501", "501"]
    assert get(factible, "faults")["faults"] == [
        {"operation": "getTimbres", "fault": "code", "times": -1, "rfc": "AAA010101AAA",
         "code": "501"},
    ]  # fmt: skip
    assert factible.delete("/_control/faults").status_code == 204
    assert statuses("AAA010101AAA") == ["200", "200", "200"]


def test_faults_may_be_limited_to_an_account(reachcore: Client) -> None:
    set_fault(reachcore, "saldos", "code", code="500", account="Norte Prepago")
    assert ask(reachcore).status_code == 200
    norte = {"RCApiKey": NORTE_KEY}
    statuses = [
        reachcore.post(PATH, json={"MesConsulta": "2026-10"}, headers=norte).status_code
        for _ in range(2)
    ]
    assert statuses == [500, 200]


def test_faults_of_an_operation_are_queued(reachcore: Client) -> None:
    set_fault(reachcore, "saldos", "code", code="500")
    set_fault(reachcore, "saldos", "html-200")
    assert ask(reachcore, path="/csv").status_code == 200
    assert ask(reachcore).status_code == 500
    assert ask(reachcore).mimetype == "text/html"
    assert ask(reachcore).mimetype == "application/json"


def test_the_wsdl_can_have_faults(factible: Client) -> None:
    set_fault(factible, "wsdl", "html-200")
    assert factible.get(f"{PATHS[0]}?wsdl").mimetype == "text/html"
    assert factible.get(f"{PATHS[0]}?wsdl").mimetype == "text/xml"


# ------------------------------------------------------------- faults of the effect

RFC = "A&D061009TY8"
NEW = "NUE010101AB0"


def counts(client: Client, rfc: str = RFC) -> tuple[int, int] | None:
    """Return contracted and used stamps of getTimbres, None for an unknown issuer."""
    result = returned(soap(client, rfcEmisor=rfc))
    if result["status"] == "611":
        return None
    return int(result["contratados"] or 0), int(result["usados"] or 0)


@pytest.mark.parametrize(("seconds", "lag"), [(None, 8), (2.5, 2.5), (60, 60)])
def test_lagging_reads_do_not_show_the_last_seconds(
    factible: Client, clock: Clock, seconds: float | None, lag: float
) -> None:
    set_fault(factible, "getTimbres", "lagging-reads", times=-1, seconds=seconds)
    for rfc in (RFC, NEW):
        assert returned(soap(factible, "agregarContrato", rfcEmisor=rfc), "agregarContrato")
    clock.forward(1)
    assert control(factible, "consume", rfc=RFC, timbres=30).status_code == 200
    assert (counts(factible), counts(factible, NEW)) == ((1000, 250), None)
    # The PAC's state has the contract nevertheless.
    assert issuer(factible, RFC)["contratados"] == 1500
    clock.forward(lag - 1.001)
    assert (counts(factible), counts(factible, NEW)) == ((1000, 250), None)
    clock.forward(0.001)
    assert (counts(factible), counts(factible, NEW)) == ((1500, 250), (500, 0))
    clock.forward(1)
    assert counts(factible) == (1500, 280)


def test_lagging_reads_end_with_their_fault(factible: Client) -> None:
    set_fault(factible, "getTimbres", "lagging-reads", rfc=RFC, times=2)
    soap(factible, "agregarContrato")
    assert [counts(factible) for _ in range(3)] == [(1000, 250), (1000, 250), (1500, 250)]
    faults = [call["fault"] for call in get(factible, "calls")["calls"]]
    assert faults == [None, "lagging-reads", "lagging-reads", None]


def test_values_set_by_a_test_do_not_lag(factible: Client) -> None:
    set_fault(factible, "getTimbres", "lagging-reads", times=-1)
    control(factible, "issuer", rfc=NEW, contratados=10, usados=4)
    soap(factible, "agregarContrato", rfcEmisor=NEW)
    control(factible, "issuer", rfc=RFC, contratados=700)
    assert (counts(factible, NEW), counts(factible)) == ((10, 4), (700, 250))


@pytest.mark.parametrize("path", ["", "/csv"])
def test_a_lagging_balance_does_not_show_the_last_seconds(
    reachcore: Client, clock: Clock, path: str
) -> None:
    month = "2027-01"
    set_fault(reachcore, path[1:] or "saldos", "lagging-reads", times=-1)

    def total() -> int:
        response = ask(reachcore, month, path)
        if path:
            return int(response.text.partition("Consumo de todos los RFC:,")[2].split()[0])
        balance = response.get_json()
        assert balance["GeneraronTimbre"] == len({row["RFC"] for row in balance["Detalle"]})
        assert balance["Transacciones"] == sum(row["Monto"] for row in balance["Detalle"])
        return int(balance["Transacciones"])

    totals = []
    for _ in range(4):
        row = {"rfc": RFC, "date": f"{month}-05", "amount": 3}
        control(reachcore, "movements", account="Acme Timbrado", movements=[row])
        totals.append(total())
        clock.forward(5)
    assert totals == [0, 0, 3, 6]


def test_a_contract_may_take_effect_twice(factible: Client) -> None:
    set_fault(factible, "agregarContrato", "doubled-contract")
    for contracted in (2000, 2500):
        assert returned(soap(factible, "agregarContrato"), "agregarContrato")["status"] == "200"
        assert counts(factible) == (contracted, 250)
    assert [entry["timbres"] for entry in user(factible)["contracts"]] == [500] * 3


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (1400, 200)),
        ({"contratados": 300, "usados": 250}, (1200, 0)),
        ({"contratados": 40}, (1460, 210)),
        # Everything except the new contract expires.
        ({"contratados": 9000, "usados": 9000}, (0, 0)),
        ({"contratados": 1400, "usados": 0}, (100, 100)),
    ],
)
def test_an_older_contract_may_expire_as_a_new_one_takes_effect(
    factible: Client, given: dict[str, int], expected: tuple[int, int]
) -> None:
    set_fault(factible, "agregarContrato", "expiring-contract", **given)
    assert returned(soap(factible, "agregarContrato"), "agregarContrato")["status"] == "200"
    assert counts(factible) == expected
    assert [entry["timbres"] for entry in user(factible)["contracts"]] == [500]


@pytest.mark.parametrize(
    ("effect", "contracted"),
    [(None, 1500), ("doubled-contract", 2000), ("expiring-contract", 1400)],
)
@pytest.mark.parametrize("reply", ["624", "cut-after"])
def test_a_call_may_have_a_fault_of_its_effect_and_of_its_reply(
    factible: Client, effect: str | None, contracted: int, reply: str
) -> None:
    if reply == "624":
        # As for a repeated request: the contract exists, and the second one is rejected.
        set_fault(factible, "agregarContrato", "code", code="624", processed=True)
    else:
        set_fault(factible, "agregarContrato", reply)
    if effect:
        set_fault(factible, "agregarContrato", effect)
    if reply == "624":
        assert returned(soap(factible, "agregarContrato"), "agregarContrato")["status"] == "624"
    else:
        with pytest.raises(ConnectionAbortedError):
            soap(factible, "agregarContrato")
    assert issuer(factible, RFC)["contratados"] == contracted
    assert not any(entry["reply_sent"] for entry in user(factible)["contracts"])
    assert get(factible, "faults")["faults"] == []


@pytest.mark.parametrize("fault", ["doubled-contract", "expiring-contract"])
def test_a_rejected_contract_changes_nothing(factible: Client, fault: str) -> None:
    set_fault(factible, "agregarContrato", fault, times=-1)
    assert returned(soap(factible, "agregarContrato", timbres="0"), "agregarContrato")
    set_fault(factible, "agregarContrato", "code", code="630")
    assert returned(soap(factible, "agregarContrato"), "agregarContrato")["status"] == "630"
    assert (counts(factible), user(factible)["contracts"]) == ((1000, 250), [])


# ---------------------------------------------------------------------------- control


def test_consumed_stamps_are_not_available(factible: Client) -> None:
    done = control(factible, "consume", rfc="A&D061009TY8", timbres=50)
    assert done.get_json()["disponibles"] == 700
    assert returned(soap(factible))["disponibles"] == "700"


def test_issuers_can_be_generated(factible: Client) -> None:
    assert control(factible, "issuers", count=300).status_code == 201
    rfcs = [entry["rfc"] for entry in user(factible)["issuers"]]
    assert len(rfcs) == 305
    result = returned(soap(factible, rfcEmisor=fake_data.bulk_rfc(299)))
    assert (result["contratados"], result["usados"]) == ("399", "99")


def test_state_calls_and_faults_show_no_credentials(reachcore: Client, factible: Client) -> None:
    ask(reachcore)
    reachcore.post(PATH, json={"MesConsulta": "2026-10"}, headers={"RCApiKey": "guess-key"})
    soap(factible)
    soap(factible, usuario="secret-in-wrong-place", password="guess-pass")
    for client in (reachcore, factible):
        for path in ("state", "calls", "faults"):
            text = client.get(f"/_control/{path}").text
            for secret in (ACME_KEY, NORTE_KEY, PASSWORD, "guess-key", "guess-pass",
                           "secret-in-wrong-place"):  # fmt: skip
                assert secret not in text


def test_calls_have_their_request_and_outcome(reachcore: Client, factible: Client) -> None:
    assert ask(reachcore, RFCConsulta="A&D061009TY8").data
    assert ask(reachcore, "nonsense", "/csv").data
    assert reachcore.get(PATH).data
    calls = get(reachcore, "calls")["calls"]
    assert calls[0] == {
        "number": 1,
        "time": "2026-11-19T19:53:41.000+00:00",
        "operation": "saldos",
        "account": "Acme Timbrado",
        "rfc": "A&D061009TY8",
        "month": "2026-10",
        "timbres": None,
        "fault": None,
        "outcome": "200",
        "answered": True,
    }
    assert [(call["operation"], call["outcome"]) for call in calls[1:]] == [
        ("csv", "400-001"), ("other", "405"),
    ]  # fmt: skip
    set_fault(factible, "agregarContrato", "code", code="624")
    soap(factible, "agregarContrato")
    (call,) = get(factible, "calls")["calls"]
    assert (call["account"], call["timbres"], call["fault"], call["outcome"]) == (
        USERNAME, 500, "code", "624",
    )  # fmt: skip
    assert factible.delete("/_control/calls").status_code == 204
    assert get(factible, "calls")["calls"] == []


@pytest.mark.parametrize(
    ("path", "payload", "complaint"),
    [
        ("faults", [], "object"),
        ("faults", {}, "operation"),
        ("faults", {"operation": "getTimbres", "fault": "slow", "seconds": 1}, "operation"),
        ("faults", {"operation": "saldos"}, "fault"),
        ("faults", {"operation": "saldos", "fault": "soap-fault"}, "fault"),
        ("faults", {"operation": "csv", "fault": "missing-comma"}, "fault"),
        ("faults", {"operation": "saldos", "fault": "slow"}, "seconds"),
        ("faults", {"operation": "saldos", "fault": "slow", "seconds": "2"}, "seconds"),
        ("faults", {"operation": "saldos", "fault": "slow", "seconds": -1}, "seconds"),
        ("faults", {"operation": "saldos", "fault": "code"}, "code"),
        ("faults", {"operation": "saldos", "fault": "code", "code": "624"}, "code"),
        ("faults", {"operation": "saldos", "fault": "code", "code": 401, "body": "x"}, "body"),
        ("faults", {"operation": "saldos", "fault": "code", "code": 401, "mensaje": "x"}, "mens"),
        ("faults", {"operation": "saldos", "fault": "html-200", "times": 0}, "times"),
        ("faults", {"operation": "saldos", "fault": "html-200", "times": True}, "times"),
        ("faults", {"operation": "saldos", "fault": "html-200", "rfc": 7}, "rfc"),
        ("faults", {"operation": "saldos", "fault": "html-200", "seconds": 1}, "seconds"),
        ("faults", {"operation": "saldos", "fault": "cut-after", "processed": True}, "processed"),
        ("faults", {"operation": "saldos", "fault": "lagging-reads", "seconds": 0}, "seconds"),
        ("faults", {"operation": "saldos", "fault": "lagging-reads", "seconds": 901}, "seconds"),
        ("faults", {"operation": "saldos", "fault": "lagging-reads", "usados": 1}, "usados"),
        ("faults", {"operation": "saldos", "fault": "doubled-contract"}, "fault"),
        ("movements", {"account": "Nadie", "movements": []}, "Nadie"),
        ("movements", {"account": "Acme Timbrado"}, "movements"),
        ("movements", {"account": "Acme Timbrado", "movements": [{"rfc": "A&D061009TY8"}]}, "date"),
        ("movements", {"account": "Acme Timbrado", "movements": [
            {"rfc": "A&D061009TY8", "date": "11/19/2026"}]}, "date"),
        ("movements", {"account": "Acme Timbrado", "movements": [
            {"rfc": "XXX010101XX1", "date": "2026-11-19"}]}, "XXX010101XX1"),
        ("movements", {"account": "Acme Timbrado", "movements": [
            {"rfc": "A&D061009TY8", "date": "2026-11-19", "amount": 0}]}, "amount"),
        ("bulk", {"account": "Acme Timbrado", "month": "2026-13", "rows": 1}, "month"),
        ("bulk", {"account": "Acme Timbrado", "month": "2026-12", "rows": -1}, "rows"),
        ("bulk", {"account": "Acme Timbrado", "month": "2026-12", "rows": "9"}, "rows"),
        ("rfcs", {"account": "Acme Timbrado", "rfc": "nope"}, "nope"),
    ],
)  # fmt: skip
def test_invalid_control_input_at_reachcore(
    reachcore: Client, path: str, payload: object, complaint: str
) -> None:
    response = reachcore.post(f"/_control/{path}", json=payload)
    assert response.status_code == 400
    assert complaint in response.get_json()["error"]
    assert get(reachcore, "faults")["faults"] == []


@pytest.mark.parametrize(
    ("path", "payload", "complaint"),
    [
        ("faults", {"operation": "getTimbres", "fault": "code", "code": 620}, "code"),
        ("faults", {"operation": "getTimbres", "fault": "code", "code": 999}, "code"),
        ("faults", {"operation": "agregarContrato", "fault": "nil-fields"}, "fault"),
        ("faults", {"operation": "getTimbres", "fault": "code", "code": 611, "body": "x"}, "body"),
        ("faults", {"operation": "getTimbres", "fault": "doubled-contract"}, "fault"),
        ("faults", {"operation": "agregarContrato", "fault": "lagging-reads"}, "fault"),
        (
            "faults",
            {
                "operation": "agregarContrato",
                "fault": "expiring-contract",
                "contratados": 10,
                "usados": 11,
            },
            "usados",
        ),
        (
            "faults",
            {"operation": "agregarContrato", "fault": "expiring-contract", "contratados": 0},
            "contratados",
        ),
        ("consume", {"rfc": "A&D061009TY8"}, "timbres"),
        ("consume", {"rfc": "A&D061009TY8", "timbres": 751}, "750"),
        ("consume", {"rfc": "A&D061009TY8", "timbres": 0}, "timbres"),
        ("consume", {"rfc": "NUE010101AB0", "timbres": 1}, "NUE010101AB0"),
        ("account", {"username": USERNAME}, "state"),
        ("account", {"username": "nadie", "state": "locked"}, "nadie"),
        ("account", {"username": USERNAME, "state": "asleep"}, "state"),
        ("issuer", {"rfc": "nope"}, "nope"),
        ("issuer", {"rfc": "A&D061009TY8", "usados": 1001}, "usados"),
        ("issuers", {"count": -1}, "count"),
        ("issuers", {}, "count"),
    ],
)
def test_invalid_control_input_at_solucion_factible(
    factible: Client, path: str, payload: object, complaint: str
) -> None:
    response = factible.post(f"/_control/{path}", json=payload)
    assert response.status_code == 400
    assert complaint in response.get_json()["error"]


def test_unknown_control_paths_and_methods(reachcore: Client) -> None:
    assert reachcore.get("/_control/nothing").status_code == 404
    wrong = reachcore.put("/_control/faults")
    assert wrong.status_code == 405
    assert wrong.get_json() == {"error": "Method Not Allowed"}


def test_rfcs_can_be_registered_and_authorised(reachcore: Client) -> None:
    done = control(reachcore, "rfcs", account="Acme Timbrado", rfc="NUE010101AB0", authorized=False)
    assert done.status_code == 201
    balance = ask(reachcore, RFCConsulta="NUE010101AB0").get_json()
    assert (balance["Registrados"], balance["Autorizados"]) == (6, 4)
    control(reachcore, "rfcs", account="Acme Timbrado", rfc="NUE010101AB0")
    assert ask(reachcore).get_json()["Autorizados"] == 5
