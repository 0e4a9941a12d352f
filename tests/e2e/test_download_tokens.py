"""Mailed links on the deployed template: the route without IAM."""

import hashlib
import re

import pytest
import requests

from tests.support.api_calls import eventually, generate_report

# Headers that differ between any two responses start with these.
VARYING = ("date", "x-am", "apigw")


def follow(stack, token):
    return stack.http.get(stack.download_url + token, allow_redirects=False, timeout=60)


def test_a_mailed_link_opens_its_report_without_a_key_until_it_is_revoked(stack):
    read_mails, mails = stack.mailbox("links"), list[str]()
    report = generate_report(stack, "acme-rc", "statement", "csv")
    eventually(lambda: mails.extend(read_mails()) or mails)
    (token,) = re.findall(rf"{re.escape(stack.download_url)}([\w-]{{43}})\s", "\n".join(mails))

    opened = follow(stack, token)
    download = requests.get(opened.headers["Location"], timeout=10)
    path = f"/accounts/acme-rc/reports/{report['id']}/tokens"
    revoked = stack.call("reporter", "DELETE", path)
    responses = [follow(stack, text) for text in (token, "A" * 43, "x", "A" * 2_000, "%25%00")]
    # The route of links that were mailed by earlier versions.
    responses.append(stack.call(None, "GET", f"/d/{token}"))

    assert (opened.status_code, opened.headers["Cache-Control"]) == (302, "no-store")
    assert hashlib.sha256(download.content).hexdigest() == report["sha256"]
    assert revoked.json() == {"account": "acme-rc", "id": report["id"], "revoked": 1}
    first, *others = (
        (
            response.status_code,
            {k: v for k, v in response.headers.items() if not k.lower().startswith(VARYING)},
            response.content,
        )
        for response in responses
    )
    assert (first[0], first[1]["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert "Este enlace ya no funciona" in responses[0].text
    assert others == [first] * 5


@pytest.mark.parametrize("path", ["", "x/y"])
def test_the_gateway_answers_a_damaged_link_with_a_page_in_spanish(stack, path):
    response = stack.http.get(stack.download_url + path, timeout=60)

    assert response.status_code == 403
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "Este enlace no está completo" in response.text
