"""The optional webhook of template.yaml: every event, a key, a day of attempts, a kept event."""

from __future__ import annotations

import re

from tests.support.template import ROOT, template

RESOURCES = template().resources
TABLE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def test_a_webhook_needs_a_key() -> None:
    (assertion,) = template().text["Rules"]["WebhookHasKey"]["Assertions"]
    assert "WebhookKeySecret" in str(assertion["Assert"])


def test_the_address_is_https_and_the_name_of_the_secret_has_no_brace() -> None:
    for name, valid, invalid in (
        ("WebhookUrl", "https://erp.empresa.mx/timbres", "http://erp.empresa.mx"),
        ("WebhookKeySecret", "timbres-webhook-key", "a}}b"),
    ):
        pattern = template().text["Parameters"][name]["AllowedPattern"]
        assert re.fullmatch(pattern, valid)
        assert not re.fullmatch(pattern, invalid)


def test_every_event_is_posted_with_the_key_for_a_day_and_then_kept() -> None:
    rule = RESOURCES["WebhookRule"]["Properties"]
    (target,) = rule["Targets"]
    key = RESOURCES["WebhookConnection"]["Properties"]["AuthParameters"]["ApiKeyAuthParameters"]
    destination = RESOURCES["WebhookDestination"]["Properties"]

    assert rule["EventPattern"] == {"source": ["timbres"]}
    assert rule["EventBusName"] == {"Ref": "Bus"}
    assert target["RetryPolicy"]["MaximumEventAgeInSeconds"] == 24 * 3600
    assert target["DeadLetterConfig"]["Arn"]["Fn::GetAtt"][0] == "WebhookDeadLetterQueue"
    assert destination["HttpMethod"] == "POST"
    assert destination["InvocationEndpoint"] == {"Ref": "WebhookUrl"}
    # The key is never a parameter: CloudFormation shows parameters.
    assert key["ApiKeyValue"] == {"Fn::Sub": "{{resolve:secretsmanager:${WebhookKeySecret}}}"}


def test_each_event_is_documented() -> None:
    source = "".join(path.read_text() for path in (ROOT / "layers" / "timbres").rglob("*.py"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    readme = readme.partition("Events go to the bus")[2].partition("A start that still fails")[0]
    section = TABLE.partition("### Webhook\n")[2].partition("### ")[0]
    events = set(re.findall(r"^\| ((?:`[A-Z][A-Za-z ]+`(?:, )?)+) \| ", readme, re.MULTILINE))
    names = {name for row in events for name in re.findall("`([^`]+)`", row)}

    assert len(names) > 12
    for name in names:
        assert f'"{name}"' in source or name.endswith(("Low", "Exhausted")), name
        assert name in section or name.removeprefix("Contract ") in section, name
