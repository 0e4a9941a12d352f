"""Mailed links to reports: their public routes, their tokens and their error pages."""

import base64
import hashlib
import re
from functools import reduce
from operator import and_, or_

import pytest
from lxml import html
from tests.support.template import template

from timbres.domain.download_token import download_token_hash, is_download_token, new_download_token
from timbres.handlers.download_pages import (
    CONTENT_SECURITY_POLICY,
    limit_page,
    not_found_page,
    unavailable_page,
)

TOKEN = "sample-token--sample_TOKEN--sample--token-g"
PAGES = {"not found": not_found_page(30), "unavailable": unavailable_page()}
PAGES |= {f"limit {is_valid}": limit_page(61, is_valid=is_valid) for is_valid in (True, False)}


def test_only_the_routes_of_mailed_links_are_public():
    api = template().text["Resources"]["Api"]["Properties"]

    public = [
        trigger.label
        for trigger in template().triggers()
        if trigger.kind == "Api"
        and ("Auth" in trigger.properties or trigger.properties["RestApiId"] != {"Ref": "Api"})
    ]

    assert public == ["download_token/Mailed", "download_token/Open", "download_token/Unknown"]
    assert api["Auth"] == {"DefaultAuthorizer": "AWS_IAM", "InvokeRole": "NONE"}


def test_tokens_are_256_random_bits():
    tokens = [new_download_token() for _ in range(500)]

    numbers = [int.from_bytes(base64.urlsafe_b64decode(token + "=")) for token in tokens]
    assert all(map(is_download_token, tokens))
    # Each of the 256 bits takes both values.
    assert (reduce(and_, numbers), reduce(or_, numbers)) == (0, 2**256 - 1)


@pytest.mark.parametrize(
    "text",
    [
        *("", TOKEN[:-1], TOKEN + "g", TOKEN + "\n", TOKEN[:-1] + "="),
        # The last character has four significant bits, and a mail program could omit - or _.
        *(TOKEN[:-1] + "h", TOKEN[:-1] + "-", TOKEN[:-1] + "_"),
        *(TOKEN.replace("-", "+"), TOKEN.replace("s", "ｓ"), "٣" * 43),
    ],
)
def test_a_modified_token_is_invalid(text):
    assert is_download_token(TOKEN)
    assert not is_download_token(text)


@pytest.mark.parametrize("text", [TOKEN, "Ñandú-☃-\U0001f9fe", "half a pair: \ud83e"])
def test_the_hash_of_any_text_is_its_sha_256(text):
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    assert download_token_hash(text) == digest


@pytest.mark.parametrize("text", PAGES.values(), ids=PAGES)
def test_a_page_loads_only_the_style_that_its_policy_allows(text):
    page = html.document_fromstring(text)
    meta = {item.get("name"): item.get("content") for item in page.iter("meta")}
    digest = base64.b64encode(hashlib.sha256(page.findtext(".//style").encode()).digest()).decode()
    policy = [item.strip().split(" ", 1) for item in CONTENT_SECURITY_POLICY.split(";")]

    assert text.startswith("<!doctype html>\n")
    # No element or attribute that a browser would load, send or run.
    tags = {"html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "p", "ul", "li"}
    assert {element.tag for element in page.iter()} <= tags
    attributes = {name for element in page.iter() for name in element.attrib}
    assert attributes <= {"lang", "charset", "name", "content", "class"}
    assert not re.search(r"url\(|@import|https?:|//", text)
    assert (page.get("lang"), meta["robots"]) == ("es-MX", "noindex, nofollow")
    assert dict(policy) == {
        "style-src": f"'sha256-{digest}'",
        **dict.fromkeys(("default-src", "base-uri", "form-action", "frame-ancestors"), "'none'"),
    }


@pytest.mark.parametrize(
    ("page", "texts"),
    [
        (not_found_page(30), ["Este enlace ya no funciona", "sirven 30 días", "lo canceló",
                              "quien administra Timbres en su empresa",
                              "El correo del próximo mes trae enlaces nuevos"]),
        (not_found_page(1), ["sirven un día"]),
        (limit_page(600, is_valid=True), ["Abra el enlace mañana"]),
        (limit_page(60, is_valid=False), ["Espere un minuto y"]),
        (limit_page(61, is_valid=False), ["Espere 2 minutos y"]),
        (unavailable_page(), ["Por ahora no se puede abrir el reporte", "Espere un minuto",
                              "Su enlace no tiene nada malo"]),
    ],
)  # fmt: skip
def test_a_page_gives_the_cause_and_the_fix(page, texts):
    body = " ".join(html.document_fromstring(page).find("body").text_content().split())

    assert [text for text in texts if text not in body] == []
