"""The doctor's judgements: of a WSDL against the bundled one, of versions, times and settings."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import pytest
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    ProfileNotFound,
    ReadTimeoutError,
)
from local.emulator_process import ROOT
from tools.doctor import cloud, machine
from tools.doctor.accounts import find_remarks
from tools.doctor.checks import CheckResults, ok, run_safely
from tools.doctor.cloud import Deployed
from tools.doctor.stage import StageError, read_stage
from tools.doctor.wsdl import NO_ACTION, UPDATE_TIMBRES, USE_LIVE_WSDL, WsdlError, compare_wsdls

from timbres.domain.account import parse_account
from timbres.errors import PacError
from timbres.pacs import solucion_factible
from timbres.pacs.errors import UNREACHABLE
from timbres.pacs.registry import PACS

WSDL_FILE = Path(solucion_factible.__file__).with_name("utilerias.wsdl")
WSDL = WSDL_FILE.read_text()
NS = "http://utilerias.timbrado.ws.cfdi.solucionfactible.com"
RFC = '<xs:element name="rfcEmisor" type="xs:string" minOccurs="0" nillable="true"/>'
SWAPPED = "usuario, rfcEmisor, password, not usuario, password, rfcEmisor"
PASSWORD = RFC.replace("rfcEmisor", "password")


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "its words"}}, "ListSecrets")


def put(*pairs: tuple[str, str], count: int = -1) -> str:
    text = WSDL
    for old, new in pairs:
        assert re.search(old, text)
        text = re.sub(old, new, text, count=max(count, 0))
    return text


def reads(live: str) -> list[tuple[str, str]]:
    return [(one.text, one.remedy) for one in compare_wsdls(WSDL_FILE.read_bytes(), live.encode())]


@pytest.mark.parametrize(
    "live",
    [
        WSDL,
        put(('location=""', 'location="https://other.example/ws"')),
        put(("<xs:all>", "<xs:sequence>"), ("</xs:all>", "</xs:sequence>")),
        put(("xs:", "xsd:"), ("xmlns:xs=", "xmlns:xsd=")),
        # Other operations, as the live service has more, and one more field in a reply.
        put(("<xs:all>", '<xs:all><xs:element name="nuevo" type="xs:string" minOccurs="0"/>')),
    ],
    ids=["itself", "another address", "fields in order", "another prefix", "one field more"],
)
def test_a_wsdl_that_says_the_same_otherwise_fits(live: str) -> None:
    assert reads(live) == []


@pytest.mark.parametrize(
    ("live", "expected"),
    [
        (
            put((r"getTimbres(?!Impl)", "consultarTimbres")),
            [("getTimbres is missing; there is consultarTimbres.", UPDATE_TIMBRES)],
        ),
        (
            put((re.escape(PASSWORD) + r"(\s*)" + re.escape(RFC), RFC + r"\1" + PASSWORD), count=1),
            [(f"getTimbres: the parameters' order is {SWAPPED}.", USE_LIVE_WSDL)],
        ),
        (
            put(('name="timbres" type="xs:int"', 'name="timbres" type="xs:string"')),
            [("agregarContrato: the parameter timbres is of type string, not int.", USE_LIVE_WSDL)],
        ),
        (
            put(('name="timbres"', 'name="cantidad"')),
            [
                ("agregarContrato: the parameter timbres is missing.", UPDATE_TIMBRES),
                ("agregarContrato: a parameter cantidad is new, and optional.", NO_ACTION),
            ],
        ),
        (
            put(('name="timbres"', 'name="timbres" type="xs:int"/><xs:element name="motivo"')),
            [("agregarContrato: a parameter motivo is new, and optional.", NO_ACTION)],
        ),
        (
            put(("(<xs:element name=.timbres..*)", r'\1<xs:element name="motivo" type="xs:int"/>')),
            [("agregarContrato: a parameter motivo is new and required.", UPDATE_TIMBRES)],
        ),
        (
            put(("urn:agregarContrato", "urn:contrato")),
            [
                (
                    "agregarContrato: SOAPAction is urn:contrato, not urn:agregarContrato.",
                    USE_LIVE_WSDL,
                )
            ],
        ),
        (
            put(('(Action="urn:getTimbres" style=)"document"', r'\1"rpc"')),
            [("getTimbres: style is rpc, not document.", USE_LIVE_WSDL)],
        ),
        (
            put(('name="disponibles"', 'name="restantes"')),
            [
                (f"{name}: the reply's disponibles is missing.", UPDATE_TIMBRES)
                for name in ("getTimbres", "getTimbresImplementacion")
            ],
        ),
    ],
    ids=["an operation renamed", "parameters reordered", "a type changed", "a parameter renamed",
         "one more", "one more required", "SOAPAction", "style", "a reply's field renamed"],
)  # fmt: skip
def test_each_difference_of_a_wsdl_is_reported(live: str, expected: list[tuple[str, str]]) -> None:
    found = reads(live)
    assert found[: len(expected)] == expected
    # An rpc binding has its parameters elsewhere: more differs then.
    assert len(found) == len(expected) or "style" in found[0][0]


def test_another_namespace_is_reported_for_every_element() -> None:
    other = NS.replace("utilerias.", "servicios.")
    found = [text for text, _ in reads(WSDL.replace(NS, other))]
    assert (
        f"getTimbres: the request's element is {{{other}}}getTimbres, not {{{NS}}}getTimbres."
        in found
    )
    assert f"getTimbres: the parameter usuario has the namespace {other}, not {NS}." in found
    assert (
        f"agregarContrato: the reply's status has the namespace {other}/xsd, not {NS}/xsd." in found
    )


def test_unqualified_parameters_are_reported() -> None:
    text = WSDL.replace(
        f'qualified"\n        targetNamespace="{NS}">', f'unqualified"\n targetNamespace="{NS}">'
    )
    assert (
        "getTimbres: the parameter usuario has the namespace none, not " + NS + ".",
        USE_LIVE_WSDL,
    ) in reads(text)


@pytest.mark.parametrize(
    ("live", "why"),
    [
        ("<html/>", "no operation of SOAP 1.1"),
        ("", "cannot be read"),
        (WSDL[:3000], "cannot be read"),
        ('<!DOCTYPE x [<!ENTITY y "z">]>' + WSDL.partition("?>")[2], "cannot be read"),
        ('<definitions xmlns="http://schemas.xmlsoap.org/wsdl/"/>', "no operation of SOAP 1.1"),
        (WSDL.replace("schemas.xmlsoap.org/wsdl/soap/", "schemas.xmlsoap.org/wsdl/soap12/"),
         "no operation of SOAP 1.1"),
        (put(("<wsdl:types>", '<wsdl:import namespace="urn:x" location="file:///etc/passwd"/><wsdl:types>')),
         "imports another document"),
    ],
    ids=["HTML", "nothing", "half of one", "DTD", "empty", "SOAP 1.2 only", "an import"],
)  # fmt: skip
def test_an_invalid_wsdl_is_reported(live: str, why: str) -> None:
    with pytest.raises(WsdlError, match=why):
        reads(live)


@pytest.mark.parametrize(
    ("output", "version", "level"),
    [
        ("curl 7.75.0 (x86_64-pc-linux-gnu) libcurl/7.75.0 OpenSSL/3.0.19", (7, 75, 0), "ok"),
        ("curl 8.11.1-DEV (aarch64-apple-darwin24) libcurl/8.11.1", (8, 11, 1), "ok"),
        ("curl 7.74.0 (x86_64-pc-linux-gnu) libcurl/7.74.0", (7, 74, 0), "warning"),
        ("curl 7.9.8 (i686)", (7, 9, 8), "warning"),
        ("command not found", None, "warning"),
        (None, None, "warning"),
    ],
)
def test_curl_has_to_sign(output: str | None, version: tuple[int, ...] | None, level: str) -> None:
    assert machine.parse_version(output) == version
    assert machine.check_curl(output).level == level


@pytest.mark.parametrize(
    ("found", "level"), [((3, 10, 13), "failed"), ((3, 11, 0), "ok"), ((3, 13, 0), "ok")]
)
def test_python_is_3_11_or_later(found: tuple[int, ...], level: str) -> None:
    assert machine.check_python(found).level == level


def test_a_full_disk_and_a_read_only_folder_are_reported(tmp_path: Path) -> None:
    assert machine.check_disk(1024**3).level == "ok"
    assert machine.check_disk(1024**3 - 1).level == "failed"
    (tmp_path / ".aws-sam").write_text("a file where make wants a folder")
    levels = {one.subject: one.level for one in machine.check_machine(tmp_path)}
    assert (levels[".local"], levels[".aws-sam"]) == ("ok", "failed")


@pytest.mark.parametrize(
    ("place", "script", "level"),
    [
        ("bin", "echo Python 3.13.5", "ok"),
        ("pyenv/versions/3.13.5/bin", "echo Python 3.13.5", "ok"),
        # pyenv's, where it has a 3.13 that was not chosen.
        ("bin", "echo 'pyenv: python3.13: command not found' >&2; exit 127", "failed"),
        ("bin", "echo Python 3.12.1", "failed"),
        ("elsewhere", "echo Python 3.13.5", "failed"),
    ],
)
def test_a_python_3_13_has_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, script: str, level: str
) -> None:
    program = tmp_path / place / "python3.13"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    levels = {one.subject: one.level for one in machine.check_machine(tmp_path)}
    assert (levels["python3.13"], levels["curl"]) == (level, "warning")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (NoCredentialsError(), "There are no AWS credentials. Sign in"),
        (ProfileNotFound(profile="nobody"), "profile (nobody) could not be found. Sign in"),
        (EndpointConnectionError(endpoint_url="https://sts"), "AWS cannot be reached"),
        (ReadTimeoutError(endpoint_url="https://sts"), "AWS cannot be reached"),
        (refused("ExpiredToken"), "have expired (ExpiredToken). Sign in"),
        (refused("InvalidClientTokenId"), "the region is not enabled"),
        (refused("SignatureDoesNotMatch"), "the secret key is wrong, or this clock is"),
        (refused("AccessDeniedException"), "Not allowed: ListSecrets"),
        (refused("ThrottlingException"), "ListSecrets: ThrottlingException its words"),
        (ValueError("a-password"), "raised ValueError"),
        (
            PacError(UNREACHABLE, "It could not be reached.", pac="reachcore"),
            "could not be reached",
        ),
    ],
    ids=repr,
)
def test_a_check_that_breaks_off_says_why_and_what_to_do(error: Exception, says: str) -> None:
    def check() -> CheckResults:
        yield ok("first", "was there")
        raise error

    first, second = run_safely("second", check)
    assert first.level == "ok"
    assert (second.level, second.subject) == ("failed", "second")
    assert says in second.text
    assert "a-password" not in str(second)


@pytest.mark.parametrize(
    ("seconds", "level"),
    [
        (0, "ok"),
        (-59, "ok"),
        (60, "warning"),
        (-299, "warning"),
        (300, "failed"),
        (-7200, "failed"),
    ],
)
def test_a_wrong_clock_is_reported_before_aws_rejects_it(seconds: int, level: str) -> None:
    now = datetime(2026, 11, 21, 12, tzinfo=UTC)
    date = format_datetime(datetime.fromtimestamp(now.timestamp() + seconds, UTC), usegmt=True)
    assert cloud.check_clock(date, now).level == level


@pytest.mark.parametrize("date", [None, "", "yesterday"])
def test_a_date_that_aws_did_not_send_is_no_failure(date: str | None) -> None:
    assert cloud.check_clock(date, datetime.now(UTC)).level == "warning"


@pytest.mark.parametrize(
    ("arns", "level", "says"),
    [
        ([], "warning", "NotificationEmail"),
        (["PendingConfirmation"], "failed", "someone1@example.com is not confirmed"),
        (
            ["arn:aws:sns:mx-central-1:1:t:1", "PendingConfirmation"],
            "failed",
            "someone2@example.com",
        ),
        (["arn:aws:sns:mx-central-1:1:t:1", "arn:aws:sns:mx-central-1:1:t:2"], "ok", "2 × email"),
    ],
)
def test_a_subscription_has_to_be_confirmed(arns: list[str], level: str, says: str) -> None:
    listed = [
        {"SubscriptionArn": arn, "Protocol": "email", "Endpoint": f"someone{n}@example.com"}
        for n, arn in enumerate(arns, 1)
    ]
    finding = cloud.check_subscriptions("mails", listed, "NotificationEmail")
    assert finding.level == level
    assert says in finding.text


@pytest.mark.parametrize(
    ("status", "level"),
    [
        ("CREATE_COMPLETE", "ok"),
        ("UPDATE_COMPLETE", "ok"),
        ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "warning"),
        ("UPDATE_ROLLBACK_COMPLETE", "warning"),
        ("ROLLBACK_COMPLETE", "failed"),
        ("UPDATE_ROLLBACK_FAILED", "failed"),
        ("DELETE_FAILED", "failed"),
    ],
)
def test_a_stack_is_as_its_status_says(status: str, level: str) -> None:
    stack = Deployed("timbres", status, {}, {})
    assert cloud.check_status(stack).level == level
    assert status in cloud.check_status(stack).text


def test_outputs_that_an_older_stack_lacks_are_named() -> None:
    finding = cloud.check_outputs(
        Deployed("timbres", "", {"ApiUrl": "x"}, {}), ROOT / "template.yaml"
    )
    assert finding.level == "warning"
    assert "AlarmsTopicArn" in finding.text
    assert "ApiUrl" not in finding.text


def test_the_stages_are_read_as_sam_reads_them(tmp_path: Path) -> None:
    dev = read_stage(ROOT / "samconfig.toml", "dev")
    assert (dev.stack_name, dev.region) == ("timbres-dev", "mx-central-1")
    assert dev.parameters == {"Stage": "dev", "SecretPrefix": "timbres-dev/accounts/"}
    config = tmp_path / "samconfig.toml"
    config.write_text(
        'version = 0.1\n[x.deploy.parameters]\nstack_name = "s"\nprofile = "p"\n'
        'parameter_overrides = ["Stage=prod", "NotificationEmail=a@example.com"]\n'
        "[y.deploy.parameters]\n"
    )
    own = read_stage(config, "x")
    assert (own.stack_name, own.region, own.profile) == ("s", None, "p")
    assert own.parameters == {"Stage": "prod", "NotificationEmail": "a@example.com"}
    for name, why in (("prod", "it has x, y"), ("y", "stack_name")):
        with pytest.raises(StageError, match=why):
            read_stage(config, name)
    config.write_text("[x")
    with pytest.raises(StageError, match=r"samconfig\.toml cannot be read"):
        read_stage(config, "x")


SF = '{"pac": "solucion-factible", "environment": "%s", "username": "u", "password": "p"%s}'
RC = '{"pac": "reachcore", "environment": "production", "api_key": "k"%s}'


@pytest.mark.parametrize(
    ("secret", "says"),
    [
        (SF % ("production", ', "low_stamps": 100, "wsdl": "live"'), None),
        (SF % ("testing", ""), "testing"),
        (SF % ("sandbox", ', "endpoint": "http://127.0.0.1:8000"'), "not a real PAC"),
        (SF % ("production", ', "low_days": 0'), "no issuer is low"),
        (SF % ("production", ', "max_stamps_per_day": 0'), "no contract can be created"),
        (SF % ("production", ', "max_stamps_per_day": 9'), "exceeds max_stamps_per_day"),
        (SF % ("production", ', "max_stamp_per_day": 9'), "similar to max_stamps_per_day"),
        (SF % ("production", ', "hunter2": 9'), None),
        (RC % "", None),
        (RC % ', "low_stamps": 100', "no effect"),
    ],
)
def test_what_is_allowed_in_a_secret_but_hardly_meant_is_remarked(
    secret: str, says: str | None
) -> None:
    found = list(find_remarks(parse_account("acme", secret, PACS), set(json.loads(secret)), "prod"))
    assert len(found) == (says is not None)
    assert says is None or says in found[0]
