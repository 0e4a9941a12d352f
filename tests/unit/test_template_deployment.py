"""Properties of template.yaml that only a deployment to AWS would show.

The local AWS accepts templates that AWS rejects, and does not throttle, bill or detect loops.
"""

from __future__ import annotations

import graphlib
import json
import re
import tomllib

import pytest
from tests.support.template import ROOT, names_in, of_type, statements_of, template, transformed
from tools.doctor.stage import read_stage

from timbres.domain.run import MAX_DURATION

TRANSFORMED = transformed()
RESOURCES, PARAMETERS = template().resources, template().text["Parameters"]
FUNCTIONS, ALARMS = of_type("AWS::Serverless::Function"), of_type("AWS::CloudWatch::Alarm")
RUNBOOK = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def section(title):
    """Return a section of docs/operations.md, with its subsections."""
    pattern = rf"^(#+ {re.escape(title)}\n.*?)(?=^## |\Z)"
    (text,) = re.findall(pattern, RUNBOOK, re.DOTALL | re.MULTILINE)
    return text


# ---- API: one stage, with throttling on every route


def stage_of(api):
    """Return the logical ID and the properties of an API's only stage."""
    stages = of_type("AWS::ApiGateway::Stage", TRANSFORMED).items()
    ((name, stage),) = [one for one in stages if one[1]["RestApiId"] == {"Ref": api}]
    return name, stage


@pytest.mark.parametrize(
    ("api", "stage", "rates"),
    [
        ("Api", {"Ref": "Stage"}, {"* /*": 200, "GET /~1d~1{token}": 5, "* /~1{proxy+}": 5}),
        ("DownloadApi", "d", {"* /*": 20}),
    ],
)
def test_an_api_has_a_single_stage_which_throttles_every_route(api, stage, rates):
    # Without OpenApiVersion, SAM's deployment creates a second stage named Stage.
    deployments = of_type("AWS::ApiGateway::Deployment", TRANSFORMED).values()
    assert not any("StageName" in deployment for deployment in deployments)
    assert len(of_type("AWS::ApiGateway::Stage", TRANSFORMED)) == 2
    settings = stage_of(api)[1]["MethodSettings"]
    assert stage_of(api)[1]["StageName"] == stage
    assert rates == {
        f"{one['HttpMethod']} {one['ResourcePath']}": one["ThrottlingRateLimit"] for one in settings
    }
    # Metrics of a method are billed, and no alarm uses them.
    assert not [one for one in settings if one.get("MetricsEnabled")]
    dimensions = [name for alarm in ALARMS.values() for name in alarm.get("Dimensions", ())]
    assert not {"Resource", "Method"} & {dimension["Name"] for dimension in dimensions}


PAGES = RESOURCES["DownloadApi"]["Properties"]["GatewayResponses"]


@pytest.mark.parametrize("name", sorted(PAGES.keys() | {"DEFAULT_4XX", "THROTTLED", "DEFAULT_5XX"}))
def test_the_gateway_answers_people_with_a_page_in_spanish(name):
    headers = PAGES[name]["ResponseParameters"]["Headers"]
    assert headers["Content-Type"] == "'text/html; charset=utf-8'"
    assert headers["Cache-Control"] == "'no-store'"
    # API Gateway selects this template for a request without Content-Type.
    page = PAGES[name]["ResponseTemplates"]["application/json"]
    assert re.search(r'<html lang="?es-MX.*Qué hacer: ', page, re.DOTALL)
    busy = name in ("THROTTLED", "WAF_FILTERED")
    assert (headers.get("Retry-After"), PAGES[name].get("StatusCode")) == (
        ("'60'", 429) if busy else (None, None)
    )


def test_a_list_of_issuers_reaches_the_function_byte_for_byte():
    # The gateway converts the body of every other media type to UTF-8, and loses bytes.
    body = TRANSFORMED["Api"]["Properties"]["Body"]
    assert body["x-amazon-apigateway-binary-media-types"] == ["text/csv"]


# ---- Loops: Lambda stops a chain of invocations over SQS, SNS, S3 or Lambda after 16 rounds

# What lets a function cause another invocation, by the action of its role.
SENDS = {"SendMessage", "Publish", "PutEvents", "InvokeFunction", "PutObject"}


def causes():
    """Return, for each function, queue, bus and topic, what it sends to or invokes."""
    edges = {}
    for name, function in FUNCTIONS.items():
        (role,) = names_in(function["Role"])
        # On-failure destinations are sent with the function's role, and named here too.
        edges[name] = names_in(function.get("EventInvokeConfig", {}))
        for statement in statements_of(role):
            if SENDS & set(re.findall(r"\w+:(\w+)", str(statement["Action"]))):
                edges[name] |= names_in(statement["Resource"])
        for event in function.get("Events", {}).values():
            for key in ("Queue", "EventBusName", "Topic", "Bucket"):
                for source in names_in(event["Properties"].get(key)):
                    edges.setdefault(source, set()).add(name)
    for name, queue in of_type("AWS::SQS::Queue").items():
        edges.setdefault(name, set()).update(names_in(queue.get("RedrivePolicy")))
    return edges


def test_no_function_causes_its_own_invocation():
    # TopologicalSorter raises CycleError with the cycle.
    order = tuple(graphlib.TopologicalSorter(causes()).static_order())
    assert {"RunFunction", "RunsQueue", "RunWorkerFunction", "Bus", "MailFunction"} <= set(order)
    # Lambda counts the messages that functions send, not how often SQS delivers them.
    assert [name for name, function in FUNCTIONS.items() if "RecursiveLoop" in function] == []


# ---- A failed first deployment leaves nothing that blocks the next one

KEPT = ("AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::Logs::LogGroup")
RETAINED = [
    name
    for name, one in RESOURCES.items()
    if one["Type"] in KEPT or one.get("DeletionPolicy", "").startswith("Retain")
]


@pytest.mark.parametrize("name", RETAINED)
def test_data_is_retained_except_when_the_first_deployment_fails(name):
    resource = RESOURCES[name]
    retained = resource["DeletionPolicy"].startswith("Retain")
    # CloudFormation cannot delete a protected table: the rollback itself would fail.
    protected = resource["Properties"].get("DeletionProtectionEnabled", False)
    if retained:
        assert resource["DeletionPolicy"] == ("Retain" if protected else "RetainExceptOnCreate")
    assert resource["UpdateReplacePolicy"] == ("Retain" if retained else "Delete")
    # A fixed name would exist already when the stack is created again.
    fixed = {"TableName", "BucketName", "QueueName", "LogGroupName"}
    assert not (retained and fixed & resource["Properties"].keys())


# ---- Cost: nothing is billed that nobody uses


def test_the_cost_table_adds_up_in_every_column():
    rows = [line.strip("| ").split(" | ") for line in section("Monthly cost").splitlines()]
    table = [row for row in rows if len(row) == 5 and re.search(r"\d$|\*$", row[-1])]
    *parts, (label, *totals) = (row for row in table if not row[0].startswith("idle"))
    assert label == "**together**"
    sums = [sum(float(row[column]) for row in parts) for column in range(1, 5)]
    assert [round(one) for one in sums] == [int(total.strip("*")) for total in totals]


@pytest.mark.parametrize("name", of_type("AWS::DynamoDB::Table"))
def test_a_table_uses_the_key_of_dynamodb_which_is_free(name):
    # SSEEnabled without a key selects aws/dynamodb, whose requests KMS bills.
    own_key = {"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": {"Ref": "KmsKeyArn"}}
    setting = RESOURCES[name]["Properties"]["SSESpecification"]
    assert setting == {"Fn::If": ["HasKey", own_key, {"SSEEnabled": False}]}


# ---- Scheduled starts: an outage of ten minutes is made up for, and no failed start is lost

SCHEDULES = {t.label: t for t in template().triggers() if t.kind == "ScheduleV2"}
(ALLOWED,) = (
    names_in(statement["Resource"])
    for statement in statements_of("SchedulerRole")
    if statement["Action"] == "lambda:InvokeFunction"
)
STARTED = ALLOWED | {
    name
    for name, function in FUNCTIONS.items()
    for event in function.get("Events", {}).values()
    if event["Type"] in ("EventBridgeRule", "ScheduleV2")
}


@pytest.mark.parametrize("name", sorted(STARTED))
def test_a_failed_start_is_kept_in_an_encrypted_queue_with_an_alarm(name):
    destination = FUNCTIONS[name]["EventInvokeConfig"]["DestinationConfig"]["OnFailure"]
    assert destination["Type"] == "SQS"
    (queue,) = names_in(destination["Destination"])
    assert RESOURCES[queue]["Properties"]["MessageRetentionPeriod"] == 14 * 24 * 3600
    # Lambda sends to it with the role of the function: tests/unit/test_policies.py.
    assert [alarm for alarm in ALARMS.values() if names_in(alarm.get("Dimensions")) == {queue}]


def start_seconds(expression):
    """Return the seconds of the day at which a schedule starts, on a day on which it does."""
    if rate := re.fullmatch(r"rate\((\d+) (minutes|hour)\)", expression):
        return list(range(0, 86_400, int(rate[1]) * (60 if rate[2] == "minutes" else 3600)))
    minutes, hours = re.fullmatch(r"cron\((\S+) (\S+) \S+ \* \? \*\)", expression).groups()
    offset, _, step = minutes.partition("/")
    first, _, last = hours.partition("-")
    return [
        hour * 3600 + minute * 60
        for hour in range(int(first), int(last or first) + 1)
        for minute in range(int(offset), 60, int(step or 60))
    ]


@pytest.mark.parametrize("label", SCHEDULES)
def test_an_outage_of_ten_minutes_is_followed_by_another_start(label):
    schedule = SCHEDULES[label].properties
    starts = start_seconds(schedule["ScheduleExpression"])
    # Lambda's own retries of a failed function end after three minutes.
    assert starts[-1] >= starts[0] + 600
    assert names_in(schedule["DeadLetterConfig"]) == {"SchedulesDeadLetterQueue"}
    assert schedule["RetryPolicy"]["MaximumRetryAttempts"] >= 0


@pytest.mark.parametrize(
    ("function", "name", "time"),
    [("RunFunction", "Daily", "05:00"), ("ReportFunction", "Monthly", "06:00")],
)
def test_repeated_starts_belong_to_the_first(function, name, time):
    schedule = FUNCTIONS[function]["Events"][name]["Properties"]
    first, *_, last = start_seconds(schedule["ScheduleExpression"])
    assert f"{first // 3600:02}:{first % 3600 // 60:02}" == time
    assert json.loads(schedule["Input"])["time"] == time
    # As long as Lambda keeps a start, and the daily run must be complete within six hours.
    age = FUNCTIONS[function]["EventInvokeConfig"]["MaximumEventAgeInSeconds"]
    assert last - first + age < MAX_DURATION.total_seconds()


# ---- Alarms of a new stack


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_that_starts_active_reports_its_end(name):
    # Its first mail may be sent before the subscription is confirmed, and is not repeated.
    breaching = ALARMS[name]["TreatMissingData"] == "breaching"
    assert ALARMS[name].get("OKActions") == ([{"Ref": "AlarmsTopic"}] if breaching else None)
    assert (f"`{name}`" in section("First hour")) == breaching


@pytest.mark.parametrize("alarm", ["ApiFunctionsSlowAlarm", "BackgroundFunctionsSlowAlarm"])
def test_an_alarm_on_duration_uses_the_timeouts_of_its_functions(alarm):
    judged, *metrics = ALARMS[alarm]["Metrics"]
    seconds = {name: int(text) for text, name in re.findall(r"(\d+) - (\w+)", judged["Expression"])}
    for metric in metrics:
        (dimension,) = metric["MetricStat"]["Metric"]["Dimensions"]
        timeout = FUNCTIONS[dimension["Value"]["Ref"]].get("Timeout", 29)
        assert seconds.get(metric["Id"], seconds.get("MAX")) == timeout


# ---- samconfig.toml, and parameters

SAMCONFIG = (ROOT / "samconfig.toml").read_text(encoding="utf-8")
STAGES = [name for name in tomllib.loads(SAMCONFIG) if name != "version"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_has_accounts_of_its_own_and_deletes_a_stack_whose_creation_fails(stage):
    deploy = tomllib.loads(SAMCONFIG)[stage]["deploy"]["parameters"]
    own, *others = (
        read_stage(ROOT / "samconfig.toml", name).parameters
        for name in (stage, *(name for name in STAGES if name != stage))
    )
    assert deploy["on_failure"] == "DELETE"
    assert own.keys() <= PARAMETERS.keys()
    # A prefix of another prefix would contain the other stack's accounts.
    assert len(others) == 2
    assert not [one for one in others if one["SecretPrefix"].startswith(own["SecretPrefix"])]


@pytest.mark.parametrize("name", ["NotificationEmail", "AlarmEmail"])
def test_a_recipient_is_an_address_none_or_empty_and_prod_says_where_it_belongs(name):
    pattern = PARAMETERS[name]["AllowedPattern"]
    assert all(re.fullmatch(pattern, address) for address in ("", "none", "a@example.com"))
    assert not re.fullmatch(pattern, "nobody")
    prod = SAMCONFIG.partition("[prod.deploy.parameters]")[2]
    assert re.search(rf'^ *#? ?"{name}=\S+@\S+",$', prod, re.MULTILINE)


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_parameter_is_in_the_readme_with_its_default(name):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (default,) = re.findall(rf"^\| `{name}` \| (.*?) \|", readme, re.MULTILINE)
    value = str(PARAMETERS[name]["Default"])
    assert default.strip("`") in ({value} if value else {"none", "NotificationEmail"})


# ---- Optional parts exist only with their parameter

OPTIONAL = {
    "HasAccessLogs": ("ApiAccessLogs", {"ApiAccessLogGroup"}),
    "HasFirewall": ("DownloadFirewall", {"DownloadWebAcl", "DownloadWebAclAssociation"}),
    "HasKey": ("KmsKeyArn", {"KeyPolicy"}),
    "HasDomain": ("DomainName", {"ApiDomain", "ApiDomainMapping", "DownloadApiDomainMapping"}),
    "HasWebhook": (
        "WebhookUrl",
        {"WebhookConnection", "WebhookDestination", "WebhookRole", "WebhookRule"},
    ),
    "HasMail": ("NotificationEmail", {"MailSubscription"}),
    "HasOperator": ("AlarmEmail", {"AlarmsSubscription"}),
}


def test_an_optional_part_exists_only_with_its_parameter():
    found = {}
    for name, resource in TRANSFORMED.items():
        if "Condition" in resource:
            found.setdefault(resource["Condition"], set()).add(name)
    assert found == {condition: names for condition, (_, names) in OPTIONAL.items()}
    assert {PARAMETERS[name]["Default"] for name, _ in OPTIONAL.values()} == {"", "false"}


def test_a_custom_domain_maps_the_only_stage_over_tls_1_2():
    domain = TRANSFORMED["ApiDomain"]["Properties"]
    assert domain["SecurityPolicy"] == "TLS_1_2"
    assert domain["EndpointConfiguration"] == {"Types": ["REGIONAL"]}
    for api in ("Api", "DownloadApi"):
        mapping = TRANSFORMED[f"{api}DomainMapping"]["Properties"]
        assert (mapping["RestApiId"], mapping["Stage"]) == ({"Ref": api}, {"Ref": stage_of(api)[0]})
        assert mapping["DomainName"] == {"Ref": "ApiDomain"}
    # The link of a mail is below the domain: /d/, or /timbres-d/.
    link = RESOURCES["MailFunction"]["Properties"]["Environment"]["Variables"]["DOWNLOAD_URL"]
    below, root = mapping["BasePath"]["Fn::If"][1:]
    _, link_below, link_root = link["Fn::If"][1]["Fn::If"]
    assert link_below["Fn::Sub"] == f"https://${{DomainName}}/{below['Fn::Sub']}/"
    assert link_root["Fn::Sub"] == f"https://${{DomainName}}/{root}/"


def test_an_access_log_has_the_caller_and_no_path():
    stage, downloads = (stage_of(api)[1] for api in ("Api", "DownloadApi"))
    assert stage["AccessLogSetting"] == downloads["AccessLogSetting"]
    condition, setting, default = stage["AccessLogSetting"]["Fn::If"]
    assert (condition, default) == ("HasAccessLogs", {"Ref": "AWS::NoValue"})
    values = set(json.loads(setting["Format"]).values())
    assert {"$context.identity.userArn", "$context.resourcePath", "$context.status"} <= values
    # The path of a mailed link contains its token, and a query an RFC.
    assert not {one for one in values if re.search(r"\.(path|protocol)$|query|extended", one)}
    # The log group's own ARN ends with an asterisk, which API Gateway does not accept.
    assert names_in(setting["DestinationArn"]) >= {"ApiAccessLogGroup"}
    assert "*" not in str(setting["DestinationArn"])


def test_the_firewall_limits_only_the_api_of_the_links():
    firewall = TRANSFORMED["DownloadWebAcl"]["Properties"]
    (rule,) = firewall["Rules"]
    assert firewall["DefaultAction"] == {"Allow": {}}
    assert rule["Statement"]["RateBasedStatement"] == {"Limit": 100, "AggregateKeyType": "IP"}
    association = TRANSFORMED["DownloadWebAclAssociation"]["Properties"]
    assert f"${{{stage_of('DownloadApi')[0]}}}" in association["ResourceArn"]["Fn::Sub"]


def test_every_function_may_use_the_own_key_for_secrets_tables_and_reports():
    policy = RESOURCES["KeyPolicy"]["Properties"]
    roles = {name for function in FUNCTIONS.values() for name in names_in(function["Role"])}
    assert {role["Ref"] for role in policy["Roles"]} == roles
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert statement["Resource"] == {"Ref": "KmsKeyArn"}
    assert {"kms:Decrypt", "kms:GenerateDataKey"} <= set(statement["Action"])
    services = statement["Condition"]["StringEquals"]["kms:ViaService"]
    used = {one["Fn::Sub"].partition(".")[0] for one in services}
    assert used == {"secretsmanager", "dynamodb", "s3"}
    (bucket,) = of_type("AWS::S3::Bucket").values()
    (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert names_in(rule["Fn::If"][1]) == {"KmsKeyArn"}
