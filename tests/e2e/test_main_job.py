"""The main job on the deployed template: HTTP, SOAP, queues, schedules, mails and links."""

import pytest
import requests
from local import demo
from local.start import shell_variables

from tests.support.api_calls import (
    create_contract,
    delete_account,
    eventually,
    generate_report,
    last_month,
    put_fault,
)


@pytest.mark.usefixtures("libre_account")
def test_the_demo_runs_from_end_to_end_with_every_pac(environment, recorder, capsys, tmp_path):
    demo.run(environment, demo.Shell(shell_variables(environment)), tmp_path)

    recorder.output.append(output := capsys.readouterr().out)
    assert {path.name for path in tmp_path.iterdir()} == {
        *(f"estado-de-cuenta-{last_month()}-acme-rc.{suffix}" for suffix in ("csv", "pdf")),
        *(
            f"consumo-{last_month()}-{account}.{suffix}"
            for account in ("acme-rc", "acme-sf", "acme-libre", "daily-sf", "todas")
            for suffix in ("csv", "xlsx", "pdf", "html")
        ),
    }
    assert "byte for byte" in output
    assert "Get the stamps that each issuer has left (Libre)" in output


@pytest.mark.usefixtures("libre_account")
def test_a_third_pac_needs_only_its_package_and_its_row(environment):
    stack, path, rfc = environment.stack, "/accounts/acme-libre/stamps", "ACM010203XY9"

    unlimited = stack.call("reader", "GET", path, {"rfc": "ÑAN840101AB1"}).json()
    contract = create_contract(stack, rfc, 500, "third", account="acme-libre").json()
    available = stack.call("reader", "GET", path, {"rfc": rfc}).json()["available"]

    assert (unlimited["unlimited"], contract["status"], available) == (True, "confirmed", 500)
    assert (rfc, 500) in environment.fakes["libre"].server.contracts()


@pytest.mark.parametrize("rfc", ["A&D061009TY8", "ÑAN840101AB1", " a&d061009ty8 "])
def test_an_rfc_in_a_signed_query_arrives_unchanged(stack, rfc):
    response = stack.call("reader", "GET", "/accounts/acme-sf/stamps", {"rfc": rfc})

    assert (response.status_code, response.json()["rfc"]) == (200, rfc.strip().upper())


def test_a_presigned_link_opens_only_its_report(stack):
    link = generate_report(stack, "acme-rc", "consumption", "csv")["url"]
    other = link.replace("consumption.csv", "statement.csv", 1)

    statuses = [requests.get(url, timeout=10).status_code for url in (link, other, link[:-1])]

    assert statuses == [200, 403, 403]
    assert requests.get(link.partition("?")[0], timeout=10).status_code == 403


def test_every_kind_of_event_is_mailed_in_spanish(environment):
    stack, pac = environment.stack, environment.fakes["reachcore"]
    read_mails, mails = stack.mailbox("events"), list[str]()
    secret = pac.secret(environment.urls["reachcore"])
    # To create a secret adds an account.
    for name, key in (("norte-rc", pac.spare), ("sur-rc", {"api_key": "not-a-valid-key"})):
        stack.create_account(name, secret | key)
    put_fault(environment, "reachcore", operation="pdf", fault="code", code="404", body="html")

    contract = create_contract(stack, "AAA010101AAA", 25, "mailed").json()
    generate_report(stack, "acme-rc", "statement", "csv")
    failed = generate_report(stack, "acme-rc", "statement", "pdf")
    norte, sur = (
        stack.call("reader", "GET", f"/accounts/{name}/balance", {"month": last_month()}).json()
        for name in ("norte-rc", "sur-rc")
    )

    assert failed["error"]["code"] == "pac-endpoint-not-found"
    assert (norte["plan"], sur["code"]) == ("prepaid", "pac-credentials-rejected")
    for text in (
        "Se contrataron 25 timbres para el emisor AAA010101AAA",
        contract["id"],
        "está listo",
        "No se pudo generar el estado de cuenta (PDF)",
        "rechazó las credenciales de la cuenta sur-rc",
    ):
        eventually(lambda text=text: mails.extend(read_mails()) or text in "\n".join(mails))
    delete_account(stack, "sur-rc")
