"""Constraints between parts of template.yaml, samconfig.toml and the documents.

Most of them would show only in AWS: the local AWS accepts templates that AWS rejects, and does not
throttle, bill or detect loops.
"""

from __future__ import annotations

import graphlib
import json
import re
import tomllib
from functools import cache

import pytest
from tests.support.template import ROOT, names_in, of_type, statements_of, template, transformed
from tools.doctor.stage import read_stage
from tools.gradual import GRADUAL, add_gradual_deployment
from tools.transform import transform_template

from timbres.domain.run import MAX_DURATION, MAX_RETRY_SECONDS, retry_delay
from timbres.handlers.settings import get_env

RESOURCES, PARAMETERS = template().resources, template().text["Parameters"]
FUNCTIONS, QUEUES = of_type("AWS::Serverless::Function"), of_type("AWS::SQS::Queue")
TRIGGERS = template().triggers()
README = (ROOT / "README.md").read_text(encoding="utf-8")
RUNBOOK = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


# ---- API


@pytest.mark.parametrize("api", of_type("AWS::Serverless::Api"))
def test_an_api_has_a_single_stage_which_throttles_every_route(api):
    # Without OpenApiVersion, SAM's deployment creates a second stage named Stage.
    deployments = of_type("AWS::ApiGateway::Deployment", transformed()).values()
    assert not any("StageName" in deployment for deployment in deployments)
    stages = of_type("AWS::ApiGateway::Stage", transformed()).values()
    (stage,) = (one for one in stages if one["RestApiId"] == {"Ref": api})
    limits = {
        f"{one['HttpMethod']} {one['ResourcePath']}": one["ThrottlingRateLimit"]
        for one in stage["MethodSettings"]
    }
    unsigned = {
        f"{own['Method'].replace('ANY', '*')} /{own['Path'].replace('/', '~1')}"
        for own in (trigger.properties for trigger in TRIGGERS)
        if own.get("RestApiId") == {"Ref": api} and own.get("Auth") == {"Authorizer": "NONE"}
    }

    assert limits.pop("* /*") > max(limits.values(), default=0)
    assert limits.keys() == unsigned
    # Metrics of a method are billed, and no alarm uses them.
    assert not [one for one in stage["MethodSettings"] if one.get("MetricsEnabled")]


PAGES = RESOURCES["DownloadApi"]["Properties"]["GatewayResponses"]


@pytest.mark.parametrize("name", sorted(PAGES.keys() | {"DEFAULT_4XX", "THROTTLED", "DEFAULT_5XX"}))
def test_the_gateway_answers_people_with_a_page_in_spanish(name):
    headers = PAGES[name]["ResponseParameters"]["Headers"]
    # API Gateway selects this template for a request without Content-Type.
    page = PAGES[name]["ResponseTemplates"]["application/json"]

    assert headers["Content-Type"] == "'text/html; charset=utf-8'"
    assert headers["Cache-Control"] == "'no-store'"
    assert re.search(r'<html lang="?es-MX.*Qué hacer: ', page, re.DOTALL)


def test_an_access_log_has_the_caller_and_no_path():
    first, *others = (api["AccessLogSetting"] for api in of_type("AWS::Serverless::Api").values())
    assert others == [first]
    _, setting, _ = first["Fn::If"]
    values = set(json.loads(setting["Format"]).values())

    assert {"$context.identity.userArn", "$context.resourcePath", "$context.status"} <= values
    # The path of a mailed link contains its token, and a query an RFC.
    assert not {one for one in values if re.search(r"\.(path|protocol)$|query|extended", one)}
    # The log group's own ARN ends with an asterisk, which API Gateway does not accept.
    assert setting["DestinationArn"]["Fn::Sub"].endswith(":log-group:${ApiAccessLogGroup}")


def test_the_link_of_a_mail_is_below_the_custom_domain():
    mapping = RESOURCES["DownloadApiDomainMapping"]["Properties"]["BasePath"]
    link = template().environment("mail", lambda value: value)["DOWNLOAD_URL"]
    below, root = mapping["Fn::If"][1:]
    _, link_below, link_root = link["Fn::If"][1]["Fn::If"]

    assert link_below["Fn::Sub"] == f"https://${{DomainName}}/{below['Fn::Sub']}/"
    assert link_root["Fn::Sub"] == f"https://${{DomainName}}/{root}/"


# ---- Functions


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_has_its_own_role_and_log_group(name):
    role = FUNCTIONS[name]["Role"]["Fn::GetAtt"][0]
    log = FUNCTIONS[name]["LoggingConfig"]["LogGroup"]["Ref"]
    assert (role, log) == (name.replace("Function", "Role"), name.replace("Function", "LogGroup"))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_has_the_variables_that_it_reads(function):
    folder = ROOT / FUNCTIONS[function]["CodeUri"]
    shared = ROOT / "layers/timbres/timbres/handlers/dependencies.py"
    read, read_by_dependencies = (
        set(re.findall(r'get_env\("([A-Z_]+)"', path.read_text(encoding="utf-8")))
        for path in (folder / "app.py", shared)
    )
    names = template().environment(folder.name, str)
    declared = {name for name in names if not name.startswith("POWERTOOLS_")}

    # The end-to-end tests start every function with the variables of the template only.
    assert read <= declared <= read | read_by_dependencies


def test_a_missing_variable_is_named(monkeypatch):
    monkeypatch.delenv("EVENT_BUS", raising=False)
    with pytest.raises(RuntimeError, match="EVENT_BUS"):
        get_env("EVENT_BUS")


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
    for name, queue in QUEUES.items():
        edges.setdefault(name, set()).update(names_in(queue.get("RedrivePolicy")))
    return edges


def test_no_function_causes_its_own_invocation():
    # Lambda stops a chain of invocations over SQS, SNS, S3 or Lambda after 16 rounds.
    # TopologicalSorter raises CycleError with the cycle.
    order = tuple(graphlib.TopologicalSorter(causes()).static_order())
    assert {"RunFunction", "RunsQueue", "RunWorkerFunction", "Bus", "MailFunction"} <= set(order)


# ---- Queues, schedules and runs

SCHEDULES = {trigger.label: trigger for trigger in TRIGGERS if trigger.kind == "ScheduleV2"}
(STARTED,) = (
    names_in(statement["Resource"])
    for statement in statements_of("SchedulerRole")
    if statement["Action"] == "lambda:InvokeFunction"
)


def test_a_queue_has_a_worker_or_keeps_its_messages_for_14_days():
    workers = {
        names_in(event["Properties"]["Queue"]).pop(): function
        for function in FUNCTIONS.values()
        for event in function.get("Events", {}).values()
        if event["Type"] == "SQS"
    }
    for name, queue in QUEUES.items():
        if name in workers:
            # AWS recommends six times the timeout of the function.
            assert queue["VisibilityTimeout"] == 6 * workers[name]["Timeout"]
            (kept,) = names_in(queue["RedrivePolicy"]) - workers.keys()
        else:
            kept = name
        assert QUEUES[kept]["MessageRetentionPeriod"] == 14 * 24 * 3600


@pytest.mark.parametrize("name", sorted({*STARTED, "MailFunction"}))
def test_a_failed_start_is_kept_in_a_queue(name):
    # Lambda sends to it with the role of the function: tests/unit/test_policies.py.
    destination = FUNCTIONS[name]["EventInvokeConfig"]["DestinationConfig"]["OnFailure"]
    assert names_in(destination["Destination"]) <= QUEUES.keys()


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


@pytest.mark.parametrize("base", [1, 60, 900])
def test_the_receive_count_covers_all_attempts_of_a_run(base):
    parameter = PARAMETERS["RunRetryDelaySeconds"]
    assert parameter["MinValue"] <= base <= parameter["MaxValue"]
    seconds, attempts = 0.0, 1
    while seconds < MAX_DURATION.total_seconds():
        seconds += retry_delay(attempts, base)
        attempts += 1

    # The message is received once more after the run was closed.
    assert attempts + 1 < QUEUES["RunsQueue"]["RedrivePolicy"]["maxReceiveCount"] <= 1000


def test_a_message_outlives_the_run_and_a_start_does_not():
    (source,) = FUNCTIONS["RunWorkerFunction"]["Events"].values()
    queue, run = QUEUES["RunsQueue"], FUNCTIONS["RunFunction"]
    retry = run["Events"]["Daily"]["Properties"]["RetryPolicy"]
    seconds = MAX_DURATION.total_seconds()

    assert source["Properties"]["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    longest = seconds + max(MAX_RETRY_SECONDS, queue["VisibilityTimeout"])
    assert longest < queue["MessageRetentionPeriod"]
    assert retry["MaximumEventAgeInSeconds"] + run["Timeout"] < seconds


def test_the_webhook_gets_every_event_and_needs_a_key_which_is_no_parameter():
    # The local AWS has no webhooks. CloudFormation shows parameters.
    (assertion,) = template().text["Rules"]["WebhookHasKey"]["Assertions"]
    key = RESOURCES["WebhookConnection"]["Properties"]["AuthParameters"]["ApiKeyAuthParameters"]

    assert RESOURCES["WebhookRule"]["Properties"]["EventPattern"] == {"source": ["timbres"]}
    assert names_in(assertion["Assert"]) == {"WebhookKeySecret"}
    assert key["ApiKeyValue"] == {"Fn::Sub": "{{resolve:secretsmanager:${WebhookKeySecret}}}"}


# ---- Data and keys

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


@pytest.mark.parametrize("name", of_type("AWS::DynamoDB::Table"))
def test_a_table_uses_the_key_of_dynamodb_which_is_free(name):
    # SSEEnabled without a key selects aws/dynamodb, whose requests KMS bills.
    own_key = {"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": {"Ref": "KmsKeyArn"}}
    setting = RESOURCES[name]["Properties"]["SSESpecification"]
    assert setting == {"Fn::If": ["HasKey", own_key, {"SSEEnabled": False}]}


def test_every_function_may_use_the_own_key_for_secrets_tables_and_reports():
    policy = RESOURCES["KeyPolicy"]["Properties"]
    roles = {name for function in FUNCTIONS.values() for name in names_in(function["Role"])}
    (statement,) = policy["PolicyDocument"]["Statement"]
    services = statement["Condition"]["StringEquals"]["kms:ViaService"]
    assert {role["Ref"] for role in policy["Roles"]} == roles
    assert {"kms:Decrypt", "kms:GenerateDataKey"} <= set(statement["Action"])
    assert {one["Fn::Sub"].partition(".")[0] for one in services} == {
        *("secretsmanager", "dynamodb", "s3")
    }
    for bucket in of_type("AWS::S3::Bucket").values():
        (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert names_in(rule["Fn::If"][1]) == {"KmsKeyArn"}


# ---- Parameters and stages

SAMCONFIG = (ROOT / "samconfig.toml").read_text(encoding="utf-8")
STAGES = [name for name in tomllib.loads(SAMCONFIG) if name != "version"]
OPTIONAL = re.compile("WAFv2|DomainName|BasePathMapping|Connection|ApiDestination|Subscription")


@pytest.mark.parametrize(
    "name", [name for name, one in RESOURCES.items() if OPTIONAL.search(one["Type"])]
)
def test_an_optional_part_has_a_condition(name):
    assert RESOURCES[name]["Condition"] in template().text["Conditions"]


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


ADDRESSES = (["", "none", "a@example.com"], ["nobody"])


@pytest.mark.parametrize(
    ("name", "valid", "invalid"),
    [
        ("NotificationEmail", *ADDRESSES),
        ("AlarmEmail", *ADDRESSES),
        ("WebhookUrl", ["", "https://erp.empresa.mx/timbres"], ["http://erp.empresa.mx"]),
        # CloudFormation reads the secret where braces surround its name.
        ("WebhookKeySecret", ["timbres-webhook-key"], ["a}}b"]),
    ],
)
def test_a_parameter_accepts_only_its_format(name, valid, invalid):
    pattern = PARAMETERS[name]["AllowedPattern"]
    assert [text for text in (*valid, *invalid) if re.fullmatch(pattern, text)] == valid


@pytest.mark.parametrize("name", ["NotificationEmail", "AlarmEmail"])
def test_the_stage_prod_says_where_a_recipient_belongs(name):
    prod = SAMCONFIG.partition("[prod.deploy.parameters]")[2]
    assert re.search(rf'^ *#? ?"{name}=\S+@\S+",$', prod, re.MULTILINE)


# ---- Documents


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_parameter_is_in_the_readme_with_its_default(name):
    (default,) = re.findall(rf"^\| `{name}` \| (.*?) \|", README, re.MULTILINE)
    value = str(PARAMETERS[name]["Default"])
    assert default.strip("`") in ({value} if value else {"none", "NotificationEmail"})


def test_each_event_is_documented():
    source = "".join(path.read_text() for path in (ROOT / "layers" / "timbres").rglob("*.py"))
    rows = README.partition("Events go to the bus")[2].partition("A start that still fails")[0]
    webhook = RUNBOOK.partition("### Webhook\n")[2].partition("### ")[0]
    events = set(re.findall(r"^\| ((?:`[A-Z][A-Za-z ]+`(?:, )?)+) \| ", rows, re.MULTILINE))
    names = {name for row in events for name in re.findall("`([^`]+)`", row)}

    assert len(names) > 12
    for name in names:
        assert f'"{name}"' in source or name.endswith(("Low", "Exhausted")), name
        assert name in webhook or name.removeprefix("Contract ") in webhook, name


def test_the_cost_table_adds_up_in_every_column():
    section = RUNBOOK.partition("## Monthly cost\n")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines()]
    table = [row for row in rows if len(row) == 5 and re.search(r"\d$|\*$", row[-1])]
    *parts, (label, *totals) = (row for row in table if not row[0].startswith("idle"))
    assert label == "**together**"
    sums = [sum(float(row[column]) for row in parts) for column in range(1, 5)]

    assert [round(one) for one in sums] == [int(total.strip("*")) for total in totals]


# ---- Gradual deployment


@cache
def released(release):
    """Return the resources of a gradual deployment after SAM's transform."""
    return transform_template(lambda text: add_gradual_deployment(text, release))["Resources"]


def test_only_a_gradual_deployment_publishes_a_version_each_time():
    first, second = (of_type("AWS::Lambda::Version", released(name)) for name in ("1", "2"))
    assert len(first) == len(second) == len(GRADUAL)
    assert not first.keys() & second.keys()
    assert of_type("AWS::Lambda::Version", transformed()) == {}


@pytest.mark.parametrize("name", GRADUAL)
def test_an_alarm_returns_a_function_to_its_version(name):
    group = released("1")[f"{name}DeploymentGroup"]["Properties"]
    alarms = [one["Name"]["Ref"] for one in group["AlarmConfiguration"]["Alarms"]]

    assert "DEPLOYMENT_STOP_ON_ALARM" in group["AutoRollbackConfiguration"]["Events"]
    assert tuple(alarms) == GRADUAL[name]
    assert {RESOURCES[alarm]["Type"] for alarm in alarms} == {"AWS::CloudWatch::Alarm"}


def test_the_api_and_the_schedules_call_the_alias():
    body = released("1")["Api"]["Properties"]["Body"]
    schedule = released("1")["ReconcilerFunctionEveryFiveMinutes"]["Properties"]["Target"]
    (policy,) = released("1")["SchedulerRole"]["Properties"]["Policies"]
    allowed = policy["PolicyDocument"]["Statement"][0]["Resource"]

    assert "ContractFunctionAliaslive" in str(body["paths"]["/accounts/{account}/contracts"])
    assert schedule["Arn"] == {"Ref": "ReconcilerFunctionAliaslive"}
    assert {"Fn::Sub": "${ReconcilerFunction.Arn}:live"} in allowed
