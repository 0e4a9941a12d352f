"""Properties of template.yaml that only a deployment to AWS would show.

The local AWS accepts templates that AWS rejects, and does not throttle, bill or detect loops.
"""

from __future__ import annotations

import ast
import graphlib
import json
import re
import tomllib
from html.parser import HTMLParser
from typing import Any

import pytest
from local.build import read_template
from local.emulator_process import ROOT
from tools.doctor.stage import read_stage
from tools.transform import transform_template

from timbres.domain.run import MAX_DURATION

TEMPLATE = read_template(ROOT)
RESOURCES: dict[str, dict[str, Any]] = TEMPLATE["Resources"]
TRANSFORMED: dict[str, dict[str, Any]] = transform_template()["Resources"]


def of_type(kind: str, resources: dict[str, dict[str, Any]] = RESOURCES) -> dict[str, Any]:
    """Return the properties of each resource of a type, by its logical ID."""
    return {
        name: resource.get("Properties", {})
        for name, resource in resources.items()
        if resource["Type"] == kind
    }


FUNCTIONS = of_type("AWS::Serverless::Function")
SAMCONFIG = tomllib.loads((ROOT / "samconfig.toml").read_text(encoding="utf-8"))
STAGES: dict[str, Any] = {name: value for name, value in SAMCONFIG.items() if name != "version"}


# ---- API: one stage, with throttling on every route


def stage_of(api):
    """Return the logical ID and the properties of an API's only stage."""
    stages = of_type("AWS::ApiGateway::Stage", TRANSFORMED).items()
    ((name, stage),) = [one for one in stages if one[1]["RestApiId"] == {"Ref": api}]
    return name, stage


def test_each_api_has_a_single_stage():
    # Without OpenApiVersion, SAM's deployment creates a second stage named Stage.
    assert stage_of("Api")[1]["StageName"] == {"Ref": "Stage"}
    assert stage_of("DownloadApi")[1]["StageName"] == "d"
    assert len(of_type("AWS::ApiGateway::Stage", TRANSFORMED)) == 2
    for deployment in of_type("AWS::ApiGateway::Deployment", TRANSFORMED).values():
        assert "StageName" not in deployment


def test_the_stage_throttles_every_route_and_the_open_route_more():
    rates = {
        api: {
            (setting["HttpMethod"], setting["ResourcePath"]): setting["ThrottlingRateLimit"]
            for setting in stage_of(api)[1]["MethodSettings"]
        }
        for api in ("Api", "DownloadApi")
    }
    assert rates["Api"] == {("*", "/*"): 200, ("GET", "/~1d~1{token}"): 5, ("*", "/~1{proxy+}"): 5}
    assert rates["DownloadApi"] == {("*", "/*"): 20}


class Text(HTMLParser):
    """The language and the texts of a page."""

    def __init__(self, page):
        super().__init__()
        self.language, self.text = "", ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.language = dict(attrs)["lang"] if tag == "html" else self.language

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("name", ["DEFAULT_4XX", "THROTTLED", "WAF_FILTERED", "DEFAULT_5XX"])
def test_the_gateway_answers_people_with_a_page_in_spanish(name):
    responses = RESOURCES["DownloadApi"]["Properties"]["GatewayResponses"]
    assert len(responses) == 4
    headers = responses[name]["ResponseParameters"]["Headers"]
    assert headers["Content-Type"] == "'text/html; charset=utf-8'"
    assert headers["Cache-Control"] == "'no-store'"
    # API Gateway selects this template for a request without Content-Type.
    (page,) = (Text(text) for text in [responses[name]["ResponseTemplates"]["application/json"]])
    assert page.language == "es-MX"
    assert "Qué hacer: " in page.text
    busy = name in ("THROTTLED", "WAF_FILTERED")
    assert (headers.get("Retry-After"), responses[name].get("StatusCode")) == (
        ("'60'", 429) if busy else (None, None)
    )


# ---- Loops: Lambda stops a chain of invocations over SQS, SNS, S3 or Lambda after 16 rounds

# What lets a function cause another invocation, by the action of its role.
SENDS = {
    "sqs:SendMessage",
    "sns:Publish",
    "events:PutEvents",
    "lambda:InvokeFunction",
    "s3:PutObject",
}


def names_in(value: Any) -> set[str]:
    """Return the logical IDs that a value of the template refers to."""
    if isinstance(value, list):
        return set().union(*map(names_in, value))
    if not isinstance(value, dict):
        return set()
    if "Ref" in value:
        return {value["Ref"]}
    if "Fn::GetAtt" in value:
        attribute = value["Fn::GetAtt"]
        return {attribute[0] if isinstance(attribute, list) else attribute.partition(".")[0]}
    if "Fn::Sub" in value:
        return set(re.findall(r"\$\{(\w+)", str(value["Fn::Sub"])))
    return set().union(*map(names_in, value.values()))


def statements_of(role: str) -> list[dict[str, Any]]:
    """Return the statements of a role's policies."""
    policies = RESOURCES[role]["Properties"]["Policies"]
    return [one for policy in policies for one in policy["PolicyDocument"]["Statement"]]


def causes() -> dict[str, set[str]]:
    """Return, for each function, queue, bus and topic, what it sends to or invokes."""
    edges: dict[str, set[str]] = {}
    for name, function in FUNCTIONS.items():
        (role,) = names_in(function["Role"])
        edges[name] = set()
        for statement in statements_of(role):
            actions = statement["Action"]
            if SENDS & set([actions] if isinstance(actions, str) else actions):
                edges[name] |= names_in(statement["Resource"])
        # On-failure destinations are sent with the function's role, and named here too.
        edges[name] |= names_in(function.get("EventInvokeConfig", {}))
        for event in function.get("Events", {}).values():
            for key in ("Queue", "EventBusName", "Topic", "Bucket"):
                for source in names_in(event["Properties"].get(key)):
                    edges.setdefault(source, set()).add(name)
    for name, queue in of_type("AWS::SQS::Queue").items():
        edges.setdefault(name, set()).update(names_in(queue.get("RedrivePolicy")))
    for subscription in of_type("AWS::SNS::Subscription").values():
        edges.setdefault(subscription["TopicArn"]["Ref"], set())
    return edges


def test_no_function_causes_its_own_invocation():
    # TopologicalSorter raises CycleError with the cycle.
    order = tuple(graphlib.TopologicalSorter(causes()).static_order())
    assert {"RunFunction", "RunsQueue", "RunWorkerFunction", "Bus", "MailFunction"} <= set(order)


@pytest.mark.parametrize(
    ("change", "cycle"),
    [
        (("RunWorkerFunction", "RunsQueue"), {"RunWorkerFunction", "RunsQueue"}),
        (("MailFunction", "Bus"), {"MailFunction", "Bus"}),
        (("ReportWorkerFunction", "ReportFunction"), {"ReportFunction", "ReportsQueue"}),
    ],
)
def test_a_loop_is_found(change, cycle):
    edges = causes()
    edges[change[0]].add(change[1])
    with pytest.raises(graphlib.CycleError) as error:
        graphlib.TopologicalSorter(edges).prepare()
    assert cycle <= set(error.value.args[1])


def test_no_function_changes_the_loop_detection():
    # Lambda counts the messages that functions send, not how often SQS delivers them.
    assert [name for name, function in FUNCTIONS.items() if "RecursiveLoop" in function] == []


def test_only_the_queue_module_sends_messages_and_a_worker_only_delays_its_own():
    layer = ROOT / "layers" / "timbres" / "timbres"
    senders = {
        path.relative_to(layer).as_posix()
        for path in layer.rglob("*.py")
        if re.search(r"\.send_message(_batch)?\(", path.read_text(encoding="utf-8"))
    }
    assert senders == {"aws/queues.py"}
    calls = {
        ast.unparse(node.func)
        for node in ast.walk(ast.parse((layer / "services/daily_run/worker.py").read_text("utf-8")))
        if isinstance(node, ast.Call)
    }
    assert {"self.queue.delay", "self.dead_letters.send"} <= calls
    assert "self.queue.send" not in calls


# ---- A failed first deployment leaves nothing that blocks the next one

RETAINED = {
    name: resource
    for name, resource in RESOURCES.items()
    if str(resource.get("DeletionPolicy", "Delete")).startswith("Retain")
}


@pytest.mark.parametrize("name", RETAINED)
def test_a_retained_resource_is_removed_when_the_first_deployment_fails(name):
    resource = RETAINED[name]
    # CloudFormation cannot delete a protected table: the rollback itself would fail.
    protected = resource["Properties"].get("DeletionProtectionEnabled", False)
    assert resource["DeletionPolicy"] == ("Retain" if protected else "RetainExceptOnCreate")
    assert resource["UpdateReplacePolicy"] == "Retain"


@pytest.mark.parametrize("name", RETAINED)
def test_a_retained_resource_has_a_generated_name(name):
    # A fixed name would exist already when the stack is created again.
    properties = RETAINED[name]["Properties"]
    assert not {"TableName", "BucketName", "QueueName", "LogGroupName"} & properties.keys()


def test_everything_with_data_states_what_happens_to_it():
    kinds = {"AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::Logs::LogGroup"}
    for name, resource in RESOURCES.items():
        if resource["Type"] in kinds:
            assert resource.keys() >= {"DeletionPolicy", "UpdateReplacePolicy"}, name


@pytest.mark.parametrize("stage", STAGES)
def test_a_stack_whose_creation_fails_is_deleted(stage):
    assert STAGES[stage]["deploy"]["parameters"]["on_failure"] == "DELETE"


# ---- Bodies of requests: bytes that are not UTF-8 arrive unchanged


def test_a_list_of_issuers_reaches_the_function_byte_for_byte():
    # The gateway converts the body of every other media type to UTF-8, and loses bytes.
    assert TRANSFORMED["Api"]["Properties"]["Body"]["x-amazon-apigateway-binary-media-types"] == [
        "text/csv"
    ]


# ---- Cost: nothing is billed that nobody uses


def test_no_method_has_metrics_of_its_own_without_an_alarm():
    watched = {
        dimension["Name"]
        for alarm in of_type("AWS::CloudWatch::Alarm").values()
        for dimension in alarm.get("Dimensions", ())
    }
    assert not {"Resource", "Method"} & watched
    stages = of_type("AWS::ApiGateway::Stage", TRANSFORMED).values()
    settings = [one for stage in stages for one in stage["MethodSettings"]]
    assert [one for one in settings if one.get("MetricsEnabled")] == []


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
    condition, own_key, default = RESOURCES[name]["Properties"]["SSESpecification"]["Fn::If"]
    assert (condition, default) == ("HasKey", {"SSEEnabled": False})
    assert own_key == {"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": {"Ref": "KmsKeyArn"}}


# ---- Scheduled starts: an outage of ten minutes is made up for, and no failed start is lost

# Lambda waits a minute and then two minutes before it repeats a function that failed.
LAMBDA_RETRIES_SECONDS = 180
OUTAGE_SECONDS = 600
SCHEDULES = {
    (function, name): event["Properties"]
    for function, properties in FUNCTIONS.items()
    for name, event in properties.get("Events", {}).items()
    if event["Type"] == "ScheduleV2"
}


def started_asynchronously() -> set[str]:
    """Return the functions that a schedule, a rule, or a user's own schedule may start."""
    from_rules = {
        name
        for name, function in FUNCTIONS.items()
        for event in function.get("Events", {}).values()
        if event["Type"] in ("EventBridgeRule", "ScheduleV2")
    }
    (allowed,) = (
        names_in(statement["Resource"])
        for statement in statements_of("SchedulerRole")
        if statement["Action"] == "lambda:InvokeFunction"
    )
    return from_rules | allowed


@pytest.mark.parametrize("name", sorted(started_asynchronously()))
def test_a_failed_start_is_kept_in_an_encrypted_queue_with_an_alarm(name):
    config = FUNCTIONS[name]["EventInvokeConfig"]
    destination = config["DestinationConfig"]["OnFailure"]
    assert destination["Type"] == "SQS"
    (queue,) = names_in(destination["Destination"])
    properties = RESOURCES[queue]["Properties"]
    assert properties["MessageRetentionPeriod"] == 14 * 24 * 3600
    assert properties["SqsManagedSseEnabled"]
    # Lambda sends to it with the role of the function.
    (role,) = names_in(FUNCTIONS[name]["Role"])
    assert [
        one
        for one in statements_of(role)
        if one["Action"] == "sqs:SendMessage" and names_in(one["Resource"]) == {queue}
    ]
    alarms = of_type("AWS::CloudWatch::Alarm").values()
    assert [one for one in alarms if names_in(one.get("Dimensions")) == {queue}]


@pytest.mark.parametrize(("function", "name"), SCHEDULES)
def test_a_schedule_keeps_what_a_function_did_not_accept(function, name):
    schedule = SCHEDULES[function, name]
    assert names_in(schedule["DeadLetterConfig"]) == {"SchedulesDeadLetterQueue"}
    assert schedule["RetryPolicy"]["MaximumRetryAttempts"] >= 0


def start_seconds(expression: str) -> list[int]:
    """Return the seconds of the day at which a schedule starts, on a day on which it does."""
    if rate := re.fullmatch(r"rate\((\d+) (minutes|hour)\)", expression):
        step = int(rate[1]) * (60 if rate[2] == "minutes" else 3600)
        return list(range(0, 86_400, step))
    minutes, hours = re.fullmatch(r"cron\((\S+) (\S+) \S+ \* \? \*\)", expression).groups()
    offset, _, step = minutes.partition("/")
    first, _, last = hours.partition("-")
    return [
        hour * 3600 + minute * 60
        for hour in range(int(first), int(last or first) + 1)
        for minute in range(int(offset), 60, int(step or 60))
    ]


@pytest.mark.parametrize(("function", "name"), SCHEDULES)
def test_an_outage_of_ten_minutes_is_followed_by_another_start(function, name):
    starts = start_seconds(SCHEDULES[function, name]["ScheduleExpression"])
    assert [start for start in starts if start >= starts[0] + OUTAGE_SECONDS]
    # Without its repeats, the start would end with Lambda's retries.
    assert LAMBDA_RETRIES_SECONDS < OUTAGE_SECONDS


@pytest.mark.parametrize(
    ("function", "name", "time"),
    [("RunFunction", "Daily", "05:00"), ("ReportFunction", "Monthly", "06:00")],
)
def test_repeated_starts_belong_to_the_first(function, name, time):
    schedule = SCHEDULES[function, name]
    first = start_seconds(schedule["ScheduleExpression"])[0]
    assert f"{first // 3600:02}:{first % 3600 // 60:02}" == time
    assert json.loads(schedule["Input"])["time"] == time
    # As long as Lambda keeps a start, and the daily run must be complete within six hours.
    (last,) = start_seconds(schedule["ScheduleExpression"])[-1:]
    age = FUNCTIONS[function]["EventInvokeConfig"]["MaximumEventAgeInSeconds"]
    assert last - first + age < MAX_DURATION.total_seconds()


# ---- Alarms of a new stack

ALARMS: dict[str, dict[str, Any]] = of_type("AWS::CloudWatch::Alarm")
RUNBOOK = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """Return a section of docs/operations.md, with its subsections."""
    (text,) = re.findall(
        rf"^(#+ {re.escape(title)}\n.*?)(?=^## |\Z)", RUNBOOK, re.DOTALL | re.MULTILINE
    )
    return str(text)


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


def test_the_first_hour_repeats_the_mails_that_nobody_received():
    text = section("First hour")
    assert text.index("confirm") < text.index("aws cloudwatch set-alarm-state")
    assert "--state-value INSUFFICIENT_DATA" in text
    assert "make doctor" in text


# ---- samconfig.toml

PARAMETERS = {name: read_stage(ROOT / "samconfig.toml", name).parameters for name in STAGES}


def test_each_stack_has_accounts_of_its_own():
    prefixes = [parameters["SecretPrefix"] for parameters in PARAMETERS.values()]
    assert len(prefixes) == 3
    for prefix in prefixes:
        # A prefix of another prefix would contain the other stack's accounts.
        assert [other for other in prefixes if other.startswith(prefix)] == [prefix]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_sets_only_existing_parameters(stage):
    assert PARAMETERS[stage].keys() <= TEMPLATE["Parameters"].keys()


def test_prod_says_where_the_recipients_belong():
    text = (ROOT / "samconfig.toml").read_text(encoding="utf-8")
    prod = text[text.index("[prod.deploy.parameters]") :]
    assert re.search(r'^ *#? ?"NotificationEmail=\S+@\S+",$', prod, re.MULTILINE)
    assert re.search(r'^ *#? ?"AlarmEmail=\S+@\S+",$', prod, re.MULTILINE)


@pytest.mark.parametrize("address", ["", "none", "a@example.com"])
@pytest.mark.parametrize("name", ["NotificationEmail", "AlarmEmail"])
def test_a_recipient_is_an_address_none_or_empty(name, address):
    pattern = TEMPLATE["Parameters"][name]["AllowedPattern"]
    assert re.fullmatch(pattern, address)
    assert not re.fullmatch(pattern, "nobody")


# ---- Parameters are documented


@pytest.mark.parametrize("name", TEMPLATE["Parameters"])
def test_a_parameter_is_in_the_readme_with_its_default(name):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (default,) = re.findall(rf"^\| `{name}` \| (.*?) \|", readme, re.MULTILINE)
    value = str(TEMPLATE["Parameters"][name]["Default"])
    assert default.strip("`") in ({value} if value else {"none", "`NotificationEmail`".strip("`")})


# ---- Optional parts exist only with their parameter


def test_a_custom_domain_maps_the_only_stage_over_tls_1_2():
    domain = TRANSFORMED["ApiDomain"]
    assert domain["Properties"]["SecurityPolicy"] == "TLS_1_2"
    assert domain["Properties"]["EndpointConfiguration"] == {"Types": ["REGIONAL"]}
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


OPTIONAL = {
    "ApiAccessLogs": ("HasAccessLogs", {"ApiAccessLogGroup"}),
    "DownloadFirewall": ("HasFirewall", {"DownloadWebAcl", "DownloadWebAclAssociation"}),
    "KmsKeyArn": ("HasKey", {"KeyPolicy"}),
    "DomainName": ("HasDomain", {"ApiDomain", "ApiDomainMapping", "DownloadApiDomainMapping"}),
    "WebhookUrl": (
        "HasWebhook",
        {"WebhookConnection", "WebhookDestination", "WebhookRole", "WebhookRule"},
    ),
    "NotificationEmail": ("HasMail", {"MailSubscription"}),
    "AlarmEmail": ("HasOperator", {"AlarmsSubscription"}),
}


@pytest.mark.parametrize("parameter", OPTIONAL)
def test_an_optional_part_exists_only_with_its_parameter(parameter):
    condition, names = OPTIONAL[parameter]
    assert {n for n, r in TRANSFORMED.items() if r.get("Condition") == condition} == names
    assert TEMPLATE["Parameters"][parameter]["Default"] in ("", "false")


def test_every_condition_of_a_resource_belongs_to_a_parameter():
    conditions = {one["Condition"] for one in RESOURCES.values() if "Condition" in one}
    assert conditions == {condition for condition, _ in OPTIONAL.values()}


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
    (rule,) = TRANSFORMED["DownloadWebAcl"]["Properties"]["Rules"]
    assert TRANSFORMED["DownloadWebAcl"]["Properties"]["DefaultAction"] == {"Allow": {}}
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
    assert {one["Fn::Sub"].partition(".")[0] for one in services} == {
        "secretsmanager",
        "dynamodb",
        "s3",
    }
    (bucket,) = of_type("AWS::S3::Bucket").values()
    ((rule,),) = (bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"],)
    assert names_in(rule["Fn::If"][1]) == {"KmsKeyArn"}
