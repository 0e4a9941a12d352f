"""The checks of the doctor: a live WSDL, the machine, AWS's responses, the stage, the accounts."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from botocore import exceptions
from botocore.exceptions import ClientError
from tests.support.template import ROOT, WSDL, template
from tools.doctor import cloud, machine
from tools.doctor.accounts import find_remarks
from tools.doctor.checks import ok, run_safely
from tools.doctor.cloud import Deployed
from tools.doctor.stage import StageError, read_stage
from tools.doctor.wsdl import NO_ACTION, UPDATE_TIMBRES, USE_LIVE_WSDL, WsdlError, compare_wsdls

from timbres.domain.account import parse_account
from timbres.errors import PacError
from timbres.pacs.errors import UNREACHABLE
from timbres.pacs.registry import PACS

TEXT = WSDL.read_text()
NS = "http://utilerias.timbrado.ws.cfdi.solucionfactible.com"
OTHER_NS = NS.replace("utilerias.", "servicios.")
RFC = '<xs:element name="rfcEmisor" type="xs:string" minOccurs="0" nillable="true"/>'
PASSWORD = RFC.replace("rfcEmisor", "password")
MOTIVO = '<xs:element name="motivo" type="xs:int"/>'
NUEVO = '<xs:all><xs:element name="nuevo" type="xs:string" minOccurs="0"/>'
IMPORT = '<wsdl:import namespace="x" location="file:///x"/><wsdl:types>'


def altered(*changes):
    """Return the WSDL after substitutions of regular expressions."""
    text = TEXT
    for pattern, new in changes:
        text, count = re.subn(pattern, new, text)
        assert count
    return text


def differences(live):
    return [(d.text, d.remedy) for d in compare_wsdls(TEXT.encode(), live.encode())]


@pytest.mark.parametrize(
    ("remedy", "pattern", "new", "text"),
    [
        (UPDATE_TIMBRES, "getTimbres(?!Impl)", "consultarTimbres",
         "getTimbres is missing; there is consultarTimbres."),
        (USE_LIVE_WSDL, f"{PASSWORD}(\\s*){RFC}", f"{RFC}\\1{PASSWORD}",
         "order is usuario, rfcEmisor, password, not usuario, password, rfcEmisor."),
        (USE_LIVE_WSDL, 'name="timbres" type="xs:int"', 'name="timbres" type="xs:string"',
         "agregarContrato: the parameter timbres is of type string, not int."),
        (UPDATE_TIMBRES, 'name="timbres"', 'name="cantidad"',
         "agregarContrato: the parameter timbres is missing."),
        (NO_ACTION, 'name="timbres"', 'name="cantidad"',
         "agregarContrato: a parameter cantidad is new, and optional."),
        (UPDATE_TIMBRES, "(<xs:element name=.timbres..*)", rf"\1{MOTIVO}",
         "agregarContrato: a parameter motivo is new and required."),
        (USE_LIVE_WSDL, "urn:agregarContrato", "urn:contrato",
         "agregarContrato: SOAPAction is urn:contrato, not urn:agregarContrato."),
        (UPDATE_TIMBRES, 'name="disponibles"', 'name="restantes"',
         "getTimbres: the reply's disponibles is missing."),
        (USE_LIVE_WSDL, '(Action="urn:getTimbres" style=)"document"', r'\1"rpc"',
         "getTimbres: style is rpc, not document."),
        (USE_LIVE_WSDL, NS, OTHER_NS,
         f"request's element is {{{OTHER_NS}}}getTimbres, not {{{NS}}}getTimbres."),
        (USE_LIVE_WSDL, NS, OTHER_NS,
         f"getTimbres: the parameter usuario has the namespace {OTHER_NS}, not {NS}."),
        (USE_LIVE_WSDL, NS, OTHER_NS,
         f"the reply's status has the namespace {OTHER_NS}/xsd, not {NS}/xsd."),
        (USE_LIVE_WSDL, rf'qualified"(\s*targetNamespace="{NS}">)', r'unqualified"\1',
         f"getTimbres: the parameter usuario has the namespace none, not {NS}."),
        # An equivalent WSDL: another address, prefix or order of fields, or an optional field.
        (None, "", "", ""),
        (None, 'location=""', 'location="https://other.example/ws"', ""),
        (None, "xs:all>", "xs:sequence>", ""),
        (None, "xs([:=])", r"xsd\1", ""),
        (None, "<xs:all>", NUEVO, ""),
    ],
)  # fmt: skip
def test_each_difference_of_a_wsdl_is_reported(remedy, pattern, new, text):
    reported = differences(altered((pattern, new)))
    if remedy is None:
        assert reported == []
    else:
        assert [fix for difference, fix in reported if difference.endswith(text)][:1] == [remedy]


def test_an_optional_operation_may_be_missing():
    name = "getTimbresImplementacion"
    live = TEXT.replace(name, "getOtraCosa").encode()
    (difference,) = compare_wsdls(TEXT.encode(), live, frozenset({name}))
    assert (difference.text, difference.remedy) == (f"{name} is missing, and optional.", NO_ACTION)


@pytest.mark.parametrize(
    ("live", "reason"),
    [
        ("<html/>", "no operation of SOAP 1.1"),
        (altered(("xmlsoap.org/wsdl/soap/", "xmlsoap.org/wsdl/soap12/")), "no operation of SOAP 1"),
        (TEXT[:3000], "cannot be read"),
        ('<!DOCTYPE x [<!ENTITY y "z">]>' + TEXT.partition("?>")[2], "cannot be read"),
        (altered(("<wsdl:types>", IMPORT)), "imports another document"),
    ],
    ids=["HTML", "SOAP 1.2", "truncated", "DTD", "import"],
)
def test_an_invalid_wsdl_is_reported(live, reason):
    with pytest.raises(WsdlError, match=reason):
        differences(live)


def clock_off_by(seconds):
    now = datetime(2026, 11, 21, 12, tzinfo=UTC)
    return cloud.check_clock(format_datetime(now + timedelta(seconds=seconds), usegmt=True), now)


TOPIC = "arn:aws:sns:mx-central-1:111122223333:timbres-mails"
SIGNED = "--authenticate-on-unsubscribe true"
PENDING = "PendingConfirmation"


def mails(*arns, address="a@x.com", signed="true"):
    rows = [
        {"SubscriptionArn": arn, "Protocol": "email", "Endpoint": f"to-{arn}@x.com"}
        | ({"ConfirmationWasAuthenticated": signed} if arn.startswith("arn:") else {})
        for arn in arns
    ]
    return cloud.check_subscriptions("mails", TOPIC, rows, address)


def outputs(*names):
    stack = Deployed("timbres", "", dict.fromkeys(names, "x"), {})
    return cloud.check_outputs(stack, ROOT / "template.yaml")


def status(name):
    return cloud.check_status(Deployed("timbres", name, {}, {}))


def alarms(**states):
    at = datetime(2026, 11, 26, 5, 1, tzinfo=UTC)
    own = {"StateReason": "26 missing.", "StateUpdatedTimestamp": at}
    listed = {name: own | {"StateValue": state} for name, state in states.items() if state}
    (result,) = cloud.check_alarms([name for name in states if name != "Other"], listed)
    return result


opt_in, stages = cloud.check_opt_in, cloud.check_stages


@pytest.mark.parametrize(
    ("result", "level", "text"),
    [
        (machine.check_curl("curl 7.75.0 (x86_64-pc-linux-gnu) OpenSSL/3.0.19"), "ok", "7.75.0"),
        (machine.check_curl("curl 7.74.0 (x86_64-pc-linux-gnu)"), "warning", "7.75 or later"),
        (machine.check_curl("curl 7.9.8 (i686)"), "warning", "7.9.8"),
        (machine.check_curl("command not found"), "warning", "Not installed"),
        (machine.check_curl(None), "warning", "Not installed"),
        (machine.check_python((3, 10, 13)), "failed", "3.11 or later"),
        (machine.check_python((3, 11, 0)), "ok", "3.11.0"),
        (machine.check_disk(1024**3), "ok", "1.0 GB"),
        (machine.check_disk(1024**3 - 1), "failed", "1 GB is required"),
        (clock_off_by(-59), "ok", "59 s"),
        (clock_off_by(60), "warning", "60 s"),
        (clock_off_by(-299), "warning", "299 s"),
        (clock_off_by(300), "failed", "300 s"),
        (cloud.check_clock(None, datetime.now(UTC)), "warning", "no Date header"),
        (cloud.check_clock("yesterday", datetime.now(UTC)), "warning", "no Date header"),
        (mails(address=""), "warning", "NotificationEmail"),
        (mails("Deleted", address=""), "warning", "NotificationEmail"),
        (mails(address="none"), "ok", "none"),
        (mails(), "failed", f"aws sns subscribe --topic-arn {TOPIC}"),
        (mails("Deleted"), "failed", "--notification-endpoint a@x.com Then"),
        (mails("Deleted"), "failed", SIGNED),
        (mails(PENDING), "failed", f"to-{PENDING}@x.com is not"),
        (mails("arn:1", PENDING), "failed", SIGNED),
        (mails("arn:1", signed="false"), "warning", "--subscription-arn arn:1 Subscribe"),
        (mails("arn:1", "Deleted", "arn:2"), "ok", "2 × email"),
        (outputs("ApiUrl"), "warning", "AlarmsTopicArn"),
        (outputs(*template().text["Outputs"]), "ok", "exist"),
        (status("CREATE_COMPLETE"), "ok", "CREATE_COMPLETE"),
        (status("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"), "warning", "check again"),
        (status("UPDATE_ROLLBACK_COMPLETE"), "warning", "rolled back"),
        (status("ROLLBACK_COMPLETE"), "failed", "delete it"),
        (status("UPDATE_ROLLBACK_FAILED"), "failed", "events"),
        (opt_in("here", "ENABLED"), "ok", "here is enabled"),
        (opt_in("here", "ENABLED_BY_DEFAULT"), "ok", "here is enabled"),
        (opt_in("here", "ENABLING"), "warning", "wait some minutes"),
        (opt_in("here", "DISABLING"), "failed", "aws account enable-region --region-name here"),
        (stages("a1", ["dev"], {}), "ok", "its only stage is dev"),
        (stages("a1", ["prod"], {"Stage": "prod"}), "ok", "its only stage is prod"),
        (stages("a1", ["Stage", "dev"], {"Stage": "dev"}), "failed",
         "delete-stage --rest-api-id a1 --stage-name Stage"),
        (alarms(Run="ALARM", Queue="OK", Other="ALARM"), "warning",
         "Run is active since 2026-11-26 05:01 UTC: 26 missing."),
        (alarms(Run="INSUFFICIENT_DATA"), "ok", "none of 1 is active"),
        (alarms(Run=None), "failed", "Run: deleted"),
    ],
    ids=str,
)  # fmt: skip
def test_a_check_has_a_level_and_a_text(result, level, text):
    assert result.level == level
    assert text in result.text


@pytest.mark.parametrize(
    ("folder", "script", "level"),
    [
        ("bin", "echo Python 3.13.5", "ok"),
        ("pyenv/versions/3.13.5/bin", "echo Python 3.13.5", "ok"),
        # pyenv's shim without a selected 3.13.
        ("bin", "echo 'pyenv: python3.13: command not found' >&2; exit 127", "failed"),
        ("bin", "echo Python 3.12.1", "failed"),
        ("other", "echo Python 3.13.5", "failed"),
    ],
)
def test_the_machine_needs_a_python_3_13_and_writable_folders(
    tmp_path, monkeypatch, folder, script, level
):
    program = tmp_path / folder / "python3.13"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    (tmp_path / ".aws-sam").write_text("a file instead of a folder")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))

    levels = {result.subject: result.level for result in machine.check_machine(tmp_path)}

    assert (levels["python3.13"], levels["curl"]) == (level, "warning")
    assert (levels[".local"], levels[".aws-sam"]) == ("ok", "failed")


def rejected(code):
    return ClientError({"Error": {"Code": code, "Message": "a message"}}, "ListSecrets")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (exceptions.NoCredentialsError(), "There are no AWS credentials. Sign in"),
        (exceptions.ProfileNotFound(profile="x"), "profile (x) could not be found. Sign in"),
        (exceptions.SSOTokenLoadError(error_msg="x"), "cannot be loaded (SSOTokenLoadError)"),
        (exceptions.EndpointConnectionError(endpoint_url="https://sts"), "AWS cannot be reached"),
        (exceptions.ReadTimeoutError(endpoint_url="https://sts"), "AWS cannot be reached"),
        (rejected("ExpiredToken"), "have expired (ExpiredToken). Sign in"),
        (rejected("InvalidClientTokenId"), "the region is not enabled"),
        (rejected("SignatureDoesNotMatch"), "the secret key is wrong, or this clock is"),
        (rejected("AccessDeniedException"), "Not allowed: ListSecrets"),
        (rejected("ThrottlingException"), "ListSecrets: ThrottlingException a message"),
        (ValueError("a-password"), "raised ValueError"),
        (PacError(UNREACHABLE, "It could not be reached.", pac="x"), "could not be reached"),
    ],
    ids=repr,
)
def test_a_failed_check_gives_the_reason_and_the_fix(error, text):
    def check():
        yield ok("first", "exists")
        raise error

    first, second = run_safely("second", check)

    assert (first.level, second.level, second.subject) == ("ok", "failed", "second")
    assert text in second.text
    assert "a-password" not in str(second)


def test_a_stage_is_read_as_sam_reads_it(tmp_path):
    config = tmp_path / "samconfig.toml"
    config.write_text(
        'version = 0.1\n[x.deploy.parameters]\nstack_name = "s"\nprofile = "p"\n'
        'parameter_overrides = ["Stage=prod", "NotificationEmail=a@example.com"]\n'
        "[y.deploy.parameters]\n"
    )

    dev, own = read_stage(ROOT / "samconfig.toml", "dev"), read_stage(config, "x")

    assert (dev.stack_name, dev.region) == ("timbres-dev", "mx-central-1")
    assert dev.parameters == {"Stage": "dev", "SecretPrefix": "timbres-dev/accounts/"}
    assert (own.stack_name, own.region, own.profile) == ("s", None, "p")
    assert own.parameters == {"Stage": "prod", "NotificationEmail": "a@example.com"}
    for name, reason in (("prod", "it has x, y"), ("y", "stack_name")):
        with pytest.raises(StageError, match=reason):
            read_stage(config, name)
    config.write_text("[x")
    with pytest.raises(StageError, match=r"samconfig\.toml cannot be read"):
        read_stage(config, "x")


SF = '{"pac": "solucion-factible", "environment": "%s", "username": "u", "password": "p"%s}'
RC = '{"pac": "reachcore", "environment": "production", "api_key": "k"%s}'


@pytest.mark.parametrize(
    ("secret", "text"),
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
def test_an_unlikely_setting_of_a_secret_is_remarked(secret, text):
    account = parse_account("acme", secret, PACS, allow_sandbox=True)
    remarks = list(find_remarks(account, set(json.loads(secret)), "prod"))
    assert len(remarks) == (text is not None)
    assert text is None or text in remarks[0]


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("README.md", "enable-region --region-name {}"),
        ("README.md", "get-region-opt-status --region-name {}"),
        ("docs/api.md", "AWS_STS_REGIONAL_ENDPOINTS=regional"),
        ("docs/api.md", "{}"),
    ],
)
def test_a_page_says_what_a_region_that_is_not_enabled_by_default_needs(page, text):
    region = read_stage(ROOT / "samconfig.toml", "prod").region
    content = (ROOT / page).read_text(encoding="utf-8")
    assert text.format(region) in re.sub(r"\s+", " ", content)
