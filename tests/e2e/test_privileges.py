"""Who may do what, asked of the services themselves: every function's role, every API policy.

A table says what each may do; whatever it does not say must be refused.
"""

from __future__ import annotations

import copy
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from local.emulator_process import Keys, Session
from local.stack import SECRET_PREFIX, STACK_NAME, Stack

# ==============================================================================
# What every function may do, and nothing beside it
# ==============================================================================

SECRETS = {
    "every secret": "secretsmanager:ListSecrets",
    "accounts' secrets": "secretsmanager:GetSecretValue",
}
ACCOUNT = {"accounts' secrets": "secretsmanager:GetSecretValue"}
# Functions that call a PAC: check for a rejected secret, and publish a rejection.
PAC = {"CredentialRejectionsTable": "dynamodb:Query dynamodb:UpdateItem", "Bus": "events:PutEvents"}
TAKES = "sqs:ReceiveMessage sqs:DeleteMessage sqs:GetQueueAttributes"

MAY: dict[str, dict[str, str]] = {
    "AccountsRole": SECRETS,
    "BalanceRole": SECRETS
    | PAC
    | {
        "IssuersTable": "dynamodb:UpdateItem",
        "SnapshotsTable": "dynamodb:Query dynamodb:BatchGetItem",
    },
    "StampCountRole": ACCOUNT
    | PAC
    | {
        "IssuersTable": "dynamodb:GetItem dynamodb:UpdateItem",
        "IssuersTable/index/urgency": "dynamodb:Query",
        "SnapshotsTable": "dynamodb:BatchGetItem",
    },
    "IssuersRole": ACCOUNT | {"IssuersTable": "dynamodb:UpdateItem dynamodb:DeleteItem"},
    "RunRole": SECRETS
    | {
        "IssuersTable": "dynamodb:Query",
        "RunsTable": "dynamodb:PutItem dynamodb:UpdateItem dynamodb:ConditionCheckItem "
        "dynamodb:Query",
        "RunsTable/index/newest": "dynamodb:Query",
        "RunsQueue": "sqs:SendMessage",
        "Bus": "events:PutEvents",
    },
    "RunWorkerRole": ACCOUNT
    | PAC
    | {
        "IssuersTable": "dynamodb:BatchGetItem dynamodb:UpdateItem dynamodb:Query",
        "SnapshotsTable": "dynamodb:PutItem dynamodb:Query",
        "RunsTable": "dynamodb:BatchGetItem dynamodb:PutItem dynamodb:UpdateItem dynamodb:Query",
        "RateLimitTable": "dynamodb:UpdateItem",
        "RunsQueue": f"sqs:ChangeMessageVisibility {TAKES}",
        "RunsDeadLetterQueue": "sqs:SendMessage",
    },
    "ContractRole": ACCOUNT
    | PAC
    | {
        "ContractsTable": "dynamodb:GetItem dynamodb:UpdateItem dynamodb:Query "
        "dynamodb:PutItem@transaction dynamodb:DeleteItem@transaction",
        "IssuersTable": "dynamodb:GetItem dynamodb:UpdateItem",
    },
    "ReconcilerRole": ACCOUNT
    | PAC
    | {
        "ContractsTable": "dynamodb:GetItem dynamodb:UpdateItem dynamodb:DeleteItem@transaction",
        "ContractsTable/index/open": "dynamodb:Query",
    },
    "ReportRole": SECRETS
    | {
        "ReportsTable": "dynamodb:GetItem dynamodb:BatchGetItem dynamodb:PutItem "
        "dynamodb:UpdateItem dynamodb:Query",
        "ReportsTable/index/unannounced": "dynamodb:Query",
        "DownloadTokensTable": "dynamodb:UpdateItem",
        "DownloadTokensTable/index/report": "dynamodb:Query",
        "reports": "s3:GetObjectVersion",
        "ReportsQueue": "sqs:SendMessage",
        "Bus": "events:PutEvents",
    },
    "ReportWorkerRole": SECRETS
    | PAC
    | {
        "IssuersTable": "dynamodb:Query",
        "SnapshotsTable": "dynamodb:Query",
        "ContractsTable": "dynamodb:Query",
        "ReportsTable": "dynamodb:GetItem dynamodb:BatchGetItem dynamodb:UpdateItem",
        "reports": "s3:PutObject s3:AbortMultipartUpload",
        "ReportsQueue": TAKES,
    },
    "MailRole": {
        "MailIdempotencyTable": "dynamodb:PutItem dynamodb:UpdateItem dynamodb:DeleteItem",
        "DownloadTokensTable": "dynamodb:PutItem",
        "MailTopic": "sns:Publish",
        "MailsDeadLetterQueue": "sqs:SendMessage",
    },
    "DownloadTokenRole": {
        "DownloadTokensTable": "dynamodb:UpdateItem",
        "reports": "s3:GetObjectVersion",
    },
}
# What EventBridge Scheduler may do; the local AWS does not look at it.
SCHEDULER = {
    **dict.fromkeys(
        (
            "BalanceFunction",
            "StampCountFunction",
            "ReconcilerFunction",
            "ReportFunction",
            "RunFunction",
        ),
        "lambda:InvokeFunction",
    ),
    "SchedulesDeadLetterQueue": "sqs:SendMessage",
}
# Lambda writes a function's log by the function's right; the local AWS does not look at it.
LOGS = "logs:CreateLogStream logs:PutLogEvents"

Right = tuple[str, str]
IN_TRANSACTION = "@transaction"


def stated(table: dict[str, str]) -> set[Right]:
    """Return the rights that a table states, (action, resource) each."""
    return {(action, name) for name, actions in table.items() for action in actions.split()}


def rights(table: dict[str, str]) -> set[Right]:
    """Return the rights that follow from a table, (action, resource) each.

    A right to write an item is one to write it within a transaction, too.
    """
    plain = stated(table)
    writes = {"dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"}
    return plain | {
        (f"{action}{IN_TRANSACTION}", name) for action, name in plain if action in writes
    }


# ==============================================================================
# The stack, and its roles in a test's hands
# ==============================================================================

ELSEWHERE = "timbres/other"
# A function that returns its environment.
RETURNS_ENVIRONMENT = (
    "import os\n\ndef handler(event, context):\n    return [os.environ[n] for n in event]\n"
)


@dataclass(frozen=True)
class Deployed:
    """Physical names by logical ids, and what the tests call a resource by its ARN."""

    names: dict[str, str]
    types: dict[str, str]
    arns: dict[str, str]

    def of(self, kind: str) -> list[str]:
        return [name for name, type_ in self.types.items() if type_ == kind]


class Clients:
    """One client per service, with the keys that `become` set last: new clients take longer."""

    def __init__(self, stack: Stack) -> None:
        self._session = Session(stack.endpoint_url, stack.keys["admin"])
        self._credentials = self._session._boto3.get_credentials()
        self._clients: dict[str, Any] = {}

    def become(self, keys: Keys) -> None:
        self._credentials.access_key = keys.access_key_id
        self._credentials.secret_key = keys.secret_access_key
        self._credentials.token = keys.session_token

    def __getitem__(self, service: str) -> Any:
        if service not in self._clients:
            config = Config(
                connect_timeout=2,
                read_timeout=10,
                retries={"total_max_attempts": 1},
                # A probe may be nonsense on purpose: whether it is allowed is looked at first.
                parameter_validation=False,
            )
            self._clients[service] = self._session.client(service, config)
        return self._clients[service]


@pytest.fixture(scope="module")
def clients(stack: Stack) -> Clients:
    return Clients(stack)


@pytest.fixture(scope="module")
def deployed(stack: Stack, clients: Clients) -> Deployed:
    clients.become(stack.keys["admin"])
    answer = clients["cloudformation"].describe_stack_resources(StackName=STACK_NAME)
    names = {r["LogicalResourceId"]: r["PhysicalResourceId"] for r in answer["StackResources"]}
    types = {r["LogicalResourceId"]: r["ResourceType"] for r in answer["StackResources"]}
    here = f"{stack.region}:{clients['sts'].get_caller_identity()['Account']}"
    formats = {
        "AWS::DynamoDB::Table": f"arn:aws:dynamodb:{here}:table/{{}}",
        "AWS::Events::EventBus": f"arn:aws:events:{here}:event-bus/{{}}",
        "AWS::Lambda::Function": f"arn:aws:lambda:{here}:function:{{}}",
        "AWS::Logs::LogGroup": f"arn:aws:logs:{here}:log-group:{{}}:*",
        "AWS::SQS::Queue": f"arn:aws:sqs:{here}:{{}}",
    }
    arns = {
        # A queue is called by its address, which ends with its name.
        formats[types[logical]].format(name.rsplit("/", 1)[-1] if "://" in name else name): logical
        for logical, name in names.items()
        if types[logical] in formats
    }
    arns[names["MailTopic"]] = "MailTopic"
    arns[f"arn:aws:s3:::{names['ReportsBucket']}/reports/*"] = "reports"
    arns[f"arn:aws:secretsmanager:{here}:secret:{SECRET_PREFIX}*"] = "accounts' secrets"
    arns["*"] = "every secret"
    return Deployed(names, types, arns)


@pytest.fixture(scope="module")
def keys(stack: Stack, deployed: Deployed, clients: Clients) -> dict[str, Keys]:
    """The keys that Lambda gives a function of each role, as such a function returns them."""
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("tell.py", RETURNS_ENVIRONMENT)
    clients.become(stack.keys["admin"])
    iam, functions = clients["iam"], clients["lambda"]
    names = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]
    keys_by_role = {}
    for role in MAY:
        # A function of its own: one whose role is changed may keep the keys of the role before.
        functions.create_function(
            FunctionName=f"as-{role}",
            Runtime="python3.13",
            Handler="tell.handler",
            Role=iam.get_role(RoleName=deployed.names[role])["Role"]["Arn"],
            Code={"ZipFile": code.getvalue()},
        )
        answer = functions.invoke(FunctionName=f"as-{role}", Payload=json.dumps(names))
        keys_by_role[role] = Keys(*json.loads(answer["Payload"].read()))
        functions.delete_function(FunctionName=f"as-{role}")
    return keys_by_role


# ==============================================================================
# The probes: one call for each action and resource, harmless where it is allowed
# ==============================================================================

Probe = Callable[[Clients], Any]


def asks(service: str, operation: str, **arguments: Any) -> Probe:
    return lambda clients: getattr(clients[service], operation)(**arguments)


REFUSED = {"AccessDenied", "AccessDeniedException", "AuthorizationError"}
# What an allowed probe runs into, where it does not succeed.
HARMLESS = {
    "ConditionalCheckFailedException",
    "EntityAlreadyExists",
    "InvalidDigest",
    "InvalidParameter",
    "InvalidParameterValue",
    "MalformedPolicyDocument",
    "MissingParameter",
    "NoSuchKey",
    "NoSuchUpload",
    "NoSuchVersion",
    "ReceiptHandleIsInvalid",
    "ResourceNotFoundException",
    "TransactionCanceledException",
}


def tables(table: str, name: str, keys: list[str]) -> dict[Right, Probe]:
    """Return a probe for each way to an item of a table; no item has this key."""
    key = {attribute: {"S": "nobody"} for attribute in keys}
    one = {"TableName": name, "Key": key}
    names = {"ExpressionAttributeNames": {"#k": keys[0]}}
    fails = {"ConditionExpression": "attribute_exists(#k)", **names}
    probes = {
        "GetItem": asks("dynamodb", "get_item", **one),
        "BatchGetItem": asks("dynamodb", "batch_get_item", RequestItems={name: {"Keys": [key]}}),
        "Query": query(keys[0], TableName=name),
        "Scan": asks("dynamodb", "scan", TableName=name, Limit=1),
        "PutItem": asks("dynamodb", "put_item", TableName=name, Item=key, **fails),
        "UpdateItem": asks("dynamodb", "update_item", **one, **fails),
        "DeleteItem": asks("dynamodb", "delete_item", **one, **fails),
        "ConditionCheckItem": asks(
            "dynamodb",
            "transact_write_items",
            TransactItems=[{"ConditionCheck": {**one, **fails}}],
        ),
    }
    steps: dict[str, dict[str, Any]] = {
        "PutItem": {"Put": {"TableName": name, "Item": key, **fails}},
        "UpdateItem": {
            "Update": {
                **one,
                **fails,
                "UpdateExpression": "SET probe = :k",
                "ExpressionAttributeValues": {":k": {"S": "nobody"}},
            }
        },
        "DeleteItem": {"Delete": {**one, **fails}},
    }
    probes |= {
        f"{action}{IN_TRANSACTION}": asks("dynamodb", "transact_write_items", TransactItems=[step])
        for action, step in steps.items()
    }
    return {(f"dynamodb:{action}", table): probe for action, probe in probes.items()}


def query(key: str, **where: str) -> Probe:
    """Return a probe that asks a table, or an index of it, for items of a key that none has."""
    return asks(
        "dynamodb",
        "query",
        **where,
        KeyConditionExpression="#k = :k",
        ExpressionAttributeNames={"#k": key},
        ExpressionAttributeValues={":k": {"S": "nobody"}},
    )


def queues(queue: str, url: str) -> dict[Right, Probe]:
    """Return a probe for each end of a queue; none puts a message in or takes one out."""
    of_it = {"QueueUrl": url}
    return {
        # Without a message.
        ("sqs:SendMessage", queue): asks("sqs", "send_message", **of_it),
        # More than there may be.
        ("sqs:ReceiveMessage", queue): asks(
            "sqs", "receive_message", **of_it, MaxNumberOfMessages=99
        ),
        ("sqs:DeleteMessage", queue): asks("sqs", "delete_message", **of_it, ReceiptHandle="none"),
        ("sqs:ChangeMessageVisibility", queue): asks(
            "sqs",
            "change_message_visibility",
            **of_it,
            ReceiptHandle="none",
            VisibilityTimeout=0,
        ),
        ("sqs:GetQueueAttributes", queue): asks(
            "sqs", "get_queue_attributes", **of_it, AttributeNames=["All"]
        ),
    }


def topics(topic: str, arn: str) -> dict[Right, Probe]:
    """Return a probe for each end of a topic; none publishes."""
    too_long = "x" * (256 * 1024 + 1)
    return {
        ("sns:Publish", topic): asks("sns", "publish", TopicArn=arn, Message=too_long),
        ("sns:ListSubscriptionsByTopic", topic): asks(
            "sns", "list_subscriptions_by_topic", TopicArn=arn
        ),
    }


def others(names: dict[str, str]) -> dict[Right, Probe]:
    """Return a probe for each thing there is one of, by its physical name, and what is beside."""
    secret, none = {"SecretId": f"{SECRET_PREFIX}acme-rc"}, {"SecretId": f"{SECRET_PREFIX}none"}
    bucket = {"Bucket": names["ReportsBucket"]}
    report, beside = bucket | {"Key": "reports/none"}, bucket | {"Key": "none"}
    version = {"VersionId": "0" * 32}
    contract = {"FunctionName": names["ContractFunction"]}
    # Of a source that no rule looks for.
    event = {"Source": "nobody", "DetailType": "Nothing", "Detail": "{}"}
    probes: dict[str, dict[str, tuple[str, dict[str, Any]]]] = {
        "secretsmanager every secret": {"ListSecrets": ("list_secrets", {"MaxResults": 1})},
        "secretsmanager accounts' secrets": {
            "GetSecretValue": ("get_secret_value", secret),
            "DescribeSecret": ("describe_secret", secret),
            "PutSecretValue": ("put_secret_value", none | {"SecretString": "{}"}),
            "DeleteSecret": ("delete_secret", none),
        },
        "secretsmanager another secret": {
            "GetSecretValue": ("get_secret_value", {"SecretId": ELSEWHERE})
        },
        "s3 reports": {
            "GetObject": ("get_object", report),
            "GetObjectVersion": ("get_object", report | version),
            "PutObject": ("put_object", report | {"ContentMD5": "none"}),
            "DeleteObject": ("delete_object", report),
            "DeleteObjectVersion": ("delete_object", report | version),
            "AbortMultipartUpload": ("abort_multipart_upload", report | {"UploadId": "none"}),
        },
        "s3 beside reports": {
            "GetObjectVersion": ("get_object", beside | version),
            "PutObject": ("put_object", beside | {"ContentMD5": "none"}),
        },
        "s3 bucket": {
            "ListBucket": ("list_objects_v2", bucket | {"MaxKeys": 1}),
            "GetBucketPolicy": ("get_bucket_policy", bucket),
        },
        "events Bus": {
            "PutEvents": ("put_events", {"Entries": [event | {"EventBusName": names["Bus"]}]})
        },
        "events default bus": {"PutEvents": ("put_events", {"Entries": [event]})},
        "lambda ContractFunction": {
            "InvokeFunction": ("invoke", contract | {"InvocationType": "DryRun"}),
            "GetFunctionConfiguration": ("get_function_configuration", contract),
        },
        "scheduler schedules": {"DeleteSchedule": ("delete_schedule", {"Name": "none"})},
        "iam ContractRole": {
            "PutRolePolicy": (
                "put_role_policy",
                {
                    "RoleName": names["ContractRole"],
                    "PolicyName": "none",
                    "PolicyDocument": "none",
                },
            )
        },
        "iam users": {"CreateUser": ("create_user", {"UserName": "admin"})},
        "logs ContractLogGroup": {
            "FilterLogEvents": (
                "filter_log_events",
                {"logGroupName": names["ContractLogGroup"], "limit": 1},
            )
        },
        "cloudformation stack": {"DescribeStacks": ("describe_stacks", {"StackName": STACK_NAME})},
    }
    found = {}
    for place, actions in probes.items():
        service, _, resource = place.partition(" ")
        for action, (operation, arguments) in actions.items():
            found[f"{service}:{action}", resource] = asks(service, operation, **arguments)
    return found


@pytest.fixture(scope="module")
def probes(stack: Stack, deployed: Deployed, clients: Clients) -> Iterator[dict[Right, Probe]]:
    """A probe for each action and each resource of the stack, and for some of others."""
    clients.become(stack.keys["admin"])
    found: dict[Right, Probe] = others(deployed.names)
    for table in deployed.of("AWS::DynamoDB::Table"):
        shape = clients["dynamodb"].describe_table(TableName=deployed.names[table])["Table"]
        keys = [key["AttributeName"] for key in shape["KeySchema"]]
        found |= tables(table, deployed.names[table], keys)
        for one in shape.get("GlobalSecondaryIndexes", ()):
            key = one["KeySchema"][0]["AttributeName"]
            name = f"{table}/index/{one['IndexName']}"
            where = {"TableName": deployed.names[table], "IndexName": one["IndexName"]}
            found["dynamodb:Query", name] = query(key, **where)
    for queue in deployed.of("AWS::SQS::Queue"):
        found |= queues(queue, deployed.names[queue])
    for topic in deployed.of("AWS::SNS::Topic"):
        found |= topics(topic, deployed.names[topic])
    clients["secretsmanager"].create_secret(Name=ELSEWHERE, SecretString="{}")
    yield found
    clients.become(stack.keys["admin"])
    clients["secretsmanager"].delete_secret(SecretId=ELSEWHERE, ForceDeleteWithoutRecovery=True)


def outcome(probe: Probe, clients: Clients) -> str:
    """Return the code that a service refuses a probe with, or an empty text."""
    try:
        probe(clients)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


# ==============================================================================
# Tests of the roles
# ==============================================================================


def test_every_role_is_in_the_table(deployed: Deployed) -> None:
    assert sorted(deployed.of("AWS::IAM::Role")) == sorted([*MAY, "SchedulerRole"])
    assert len(deployed.of("AWS::Lambda::Function")) == len(MAY)


@pytest.mark.parametrize("role", [*MAY, "SchedulerRole"])
def test_a_roles_policy_says_what_the_table_says(
    stack: Stack, deployed: Deployed, clients: Clients, role: str
) -> None:
    clients.become(stack.keys["admin"])
    iam, name = clients["iam"], deployed.names[role]
    assert iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"] == []
    (policy,) = iam.list_role_policies(RoleName=name)["PolicyNames"]
    document = iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]

    messages = {
        (f"{action}{IN_TRANSACTION}" if "Condition" in statement else action, named(deployed, arn))
        for statement in document["Statement"]
        for action in many(statement["Action"])
        for arn in many(statement["Resource"])
    }

    assert {frozenset(statement.keys() - {"Condition"}) for statement in document["Statement"]} == {
        frozenset({"Effect", "Action", "Resource"})
    }
    for statement in document["Statement"]:
        if "Condition" in statement:
            operation = {"dynamodb:EnclosingOperation": "TransactWriteItems"}
            assert statement["Condition"]["ForAnyValue:StringEquals"] == operation
    assert {statement["Effect"] for statement in document["Statement"]} == {"Allow"}
    own = {role.removesuffix("Role") + "LogGroup": LOGS}
    assert messages == stated(SCHEDULER if role == "SchedulerRole" else MAY[role] | own)


def named(deployed: Deployed, arn: str) -> str:
    table, slash, index = arn.partition("/index/")
    return deployed.arns[table] + slash + index


def many(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def test_every_probe_is_a_good_one(
    stack: Stack, probes: dict[Right, Probe], clients: Clients
) -> None:
    assert {right for table in MAY.values() for right in rights(table)} <= probes.keys()
    clients.become(stack.keys["admin"])
    codes = {right: outcome(probe, clients) for right, probe in probes.items()}
    assert {right: code for right, code in codes.items() if code not in {"", *HARMLESS}} == {}


@pytest.mark.parametrize("role", MAY)
def test_a_function_may_do_its_own_work_and_nothing_else(
    deployed: Deployed,
    keys: dict[str, Keys],
    probes: dict[Right, Probe],
    clients: Clients,
    role: str,
) -> None:
    clients.become(keys[role])
    who = clients["sts"].get_caller_identity()["Arn"]
    assert f":assumed-role/{deployed.names[role]}/" in who
    codes = {right: outcome(probe, clients) for right, probe in probes.items()}
    allowed = {right for right, code in codes.items() if code not in REFUSED}
    assert allowed == rights(MAY[role])
    assert {codes[right] for right in allowed} <= {"", *HARMLESS}


@pytest.mark.parametrize("role", [role for role, may in MAY.items() if PAC.items() <= may.items()])
def test_a_function_that_calls_a_pac_cannot_clear_a_rejection(
    stack: Stack, deployed: Deployed, keys: dict[str, Keys], clients: Clients, role: str
) -> None:
    table = deployed.names["CredentialRejectionsTable"]
    key = {"account": {"S": f"cleared-by-{role.lower()}"}, "entry": {"S": "v1#rejection"}}
    rejection = {"TableName": table, "Key": key}
    clients.become(keys[role])
    dynamodb = clients["dynamodb"]
    # It may note one, and may not take it away again.
    dynamodb.update_item(
        **rejection,
        UpdateExpression="SET code = :code",
        ExpressionAttributeValues={":code": {"S": "601"}},
    )
    where = f"account = '{key['account']['S']}' AND entry = 'v1#rejection'"
    attempts = {
        "delete": asks("dynamodb", "delete_item", **rejection),
        "put": asks("dynamodb", "put_item", TableName=table, Item=key),
        "batch": asks(
            "dynamodb",
            "batch_write_item",
            RequestItems={table: [{"DeleteRequest": {"Key": key}}]},
        ),
        "transaction": asks(
            "dynamodb", "transact_write_items", TransactItems=[{"Delete": rejection}]
        ),
        "PartiQL": asks(
            "dynamodb", "execute_statement", Statement=f'DELETE FROM "{table}" WHERE {where}'
        ),
        "time to live": asks(
            "dynamodb",
            "update_time_to_live",
            TableName=table,
            TimeToLiveSpecification={"AttributeName": "code", "Enabled": True},
        ),
        "table": asks("dynamodb", "delete_table", TableName=table),
    }

    codes = {name: outcome(attempt, clients) for name, attempt in attempts.items()}

    assert {name for name, code in codes.items() if code not in REFUSED} == set()
    clients.become(stack.keys["admin"])
    assert "Item" in dynamodb.get_item(**rejection)
    # An operator may.
    dynamodb.delete_item(**rejection)
    assert "Item" not in dynamodb.get_item(**rejection)


@pytest.mark.parametrize("role", MAY)
def test_not_even_an_administrator_takes_a_functions_role(
    stack: Stack, deployed: Deployed, clients: Clients, role: str
) -> None:
    clients.become(stack.keys["admin"])
    arn = clients["iam"].get_role(RoleName=deployed.names[role])["Role"]["Arn"]
    with pytest.raises(ClientError, match="AccessDenied"):
        clients["sts"].assume_role(RoleArn=arn, RoleSessionName="nobody")


# Starts that no other test makes, and an event that comes twice.
STARTS: list[tuple[str, dict[str, Any]]] = [
    ("BalanceFunction", {"account": "acme-rc", "month": "previous"}),
    ("StampCountFunction", {"account": "acme-sf", "rfc": "AAA010101AAA"}),
    ("ReconcilerFunction", {}),
    ("ReportFunction", {"close": "overdue"}),
    ("RunFunction", {"close": "overdue"}),
]


@pytest.mark.parametrize(("function", "start"), STARTS)
def test_a_start_finds_all_the_rights_it_needs(
    stack: Stack, deployed: Deployed, clients: Clients, function: str, start: dict[str, Any]
) -> None:
    invoked(stack, deployed, clients, function, start)


def test_a_mail_is_sent_once_without_a_right_to_look_up_whether_it_was(
    stack: Stack, deployed: Deployed, clients: Clients
) -> None:
    arrived = stack.mailbox("twice")
    pac = {"name": "Sovos Reachcore", "code": "401", "message": None}
    rejected = {"account": "twice-rc", "at": "2026-01-31T06:00:00-06:00", "pac": pac}
    event = {"detail-type": "Credentials Rejected", "detail": rejected}
    for _ in range(2):
        invoked(stack, deployed, clients, "MailFunction", event)
    assert sum("twice-rc" in mail for mail in arrived()) == 1


def invoked(
    stack: Stack, deployed: Deployed, clients: Clients, function: str, event: dict[str, Any]
) -> None:
    clients.become(stack.keys["admin"])
    name, payload = deployed.names[function], json.dumps(event)
    answer = clients["lambda"].invoke(FunctionName=name, Payload=payload)
    assert "FunctionError" not in answer, answer["Payload"].read()


# ==============================================================================
# Who may call which route, and no other API
# ==============================================================================

READ = {"reader", "reporter", "contract_manager"}
REPORT = {"reporter"}
CONTRACT = {"contract_manager"}
# How a caller without the right is refused.
REFUSALS = {
    "nobody": "access-denied",
    "unsigned": "access-denied",
    "stranger": "request-refused",
    "forger": "signature-invalid",
}
ROUTES: dict[str, set[str]] = {
    "GET /accounts": READ,
    "GET /accounts/{account}/balance": READ,
    "GET /accounts/{account}/stamps": READ,
    "GET /accounts/{account}/stamps/account": READ,
    "GET /accounts/{account}/stamps/history": READ,
    "PUT /accounts/{account}/issuers": CONTRACT,
    "DELETE /accounts/{account}/issuers": CONTRACT,
    "GET /runs": READ,
    "GET /runs/{id}": READ,
    "POST /accounts/{account}/contracts": CONTRACT,
    "GET /accounts/{account}/contracts": READ,
    "GET /accounts/{account}/contracts/{id}": READ,
    "POST /accounts/{account}/contracts/{id}/settlement": CONTRACT,
    "POST /accounts/{account}/reports": REPORT,
    "GET /accounts/{account}/reports": REPORT,
    "GET /accounts/{account}/reports/{id}": REPORT,
    "DELETE /accounts/{account}/reports/{id}/tokens": REPORT,
    "GET /d/{token}": {*READ, *REFUSALS},
}


@pytest.fixture(scope="module")
def callers(stack: Stack) -> Iterator[Stack]:
    """The stack with two more callers: unknown keys, and a key with a wrong secret."""
    stack.keys["stranger"] = Keys("AKIA" + "0" * 16, "none")
    stack.keys["forger"] = Keys(stack.keys["contract_manager"].access_key_id, "none")
    yield stack
    del stack.keys["stranger"], stack.keys["forger"]


def test_every_route_is_in_the_table(stack: Stack, clients: Clients) -> None:
    clients.become(stack.keys["admin"])
    pages = clients["apigateway"].get_paginator("get_resources")
    found = {
        f"{method} {resource['path']}"
        for page in pages.paginate(restApiId=stack.outputs["ApiId"])
        for resource in page["items"]
        for method in resource.get("resourceMethods", ())
    }
    assert found == ROUTES.keys()


@pytest.mark.parametrize("who", [*sorted(READ), *REFUSALS])
def test_a_caller_reaches_the_routes_of_its_policy_and_no_other(callers: Stack, who: str) -> None:
    allowed = set()
    for route in ROUTES:
        method, path = route.split()
        answer = callers.call(
            None if who == "unsigned" else who,
            method,
            # Of nobody: what is let through changes nothing and reaches no PAC.
            path.format(account="none", id="none", token="none"),
            body=None if method == "GET" else {},
        )
        assert answer.status_code < 500, route
        if answer.status_code != 403:
            allowed.add(route)
            continue
        problem = answer.json()
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert {"type", "title", "detail", "instance"} <= problem.keys()
        assert problem["code"] == REFUSALS.get(who, "access-denied")
    assert allowed == {route for route, callers_ in ROUTES.items() if who in callers_}


@pytest.mark.parametrize(
    "path",
    ["/accounts/acme-rc%2Fcontracts%2Fx/reports", "/accounts/acme-rc/reports/x%2Fcontracts%2Fy"],
)
def test_an_encoded_slash_leads_nobody_past_a_policy(stack: Stack, path: str) -> None:
    # The reader's policy has GET/accounts/*/contracts/*, and an asterisk covers slashes.
    assert stack.call("reader", "GET", path).status_code in (400, 403, 404)


@pytest.fixture(scope="module")
def elsewhere(stack: Stack, clients: Clients) -> Iterator[dict[str, Stack]]:
    """Another stage of the API, and another API, each with a GET /accounts behind AWS_IAM."""
    clients.become(stack.keys["admin"])
    gateway, api = clients["apigateway"], stack.outputs["ApiId"]
    stage = stack.api_url.rsplit("/", 1)[1]
    gateway.create_deployment(restApiId=api, stageName="other")
    other = gateway.create_rest_api(name="other")["id"]
    root = gateway.get_resources(restApiId=other)["items"][0]["id"]
    resource = gateway.create_resource(restApiId=other, parentId=root, pathPart="accounts")["id"]
    method = {"restApiId": other, "resourceId": resource, "httpMethod": "GET"}
    gateway.put_method(**method, authorizationType="AWS_IAM")
    answer = {"application/json": '{"statusCode": 200}'}
    gateway.put_integration(**method, type="MOCK", requestTemplates=answer)
    gateway.put_method_response(**method, statusCode="200")
    gateway.put_integration_response(**method, statusCode="200")
    gateway.create_deployment(restApiId=other, stageName=stage)
    places = {"stage": copy.copy(stack), "API": copy.copy(stack)}
    places["stage"].api_url = stack.api_url.removesuffix(stage) + "other"
    places["API"].api_url = stack.api_url.replace(api, other)
    yield places
    clients.become(stack.keys["admin"])
    gateway.delete_stage(restApiId=api, stageName="other")
    gateway.delete_rest_api(restApiId=other)


@pytest.mark.parametrize("place", ["stage", "API"])
def test_a_policy_is_for_one_stage_of_one_api(elsewhere: dict[str, Stack], place: str) -> None:
    codes = {who: elsewhere[place].call(who, "GET", "/accounts") for who in ("admin", *READ)}
    assert codes.pop("admin").status_code == 200
    assert {code.status_code for code in codes.values()} == {403}
