"""What each function's role and each caller of the API may do; everything else is denied."""

from __future__ import annotations

IN_TRANSACTION = "@transaction"
# The service of a resource, by the end of its name in the tables.
_SERVICES = {
    "Table": "dynamodb",
    "Bus": "events",
    "Destination": "events",
    "Queue": "sqs",
    "Topic": "sns",
    "Function": "lambda",
    "LogGroup": "logs",
    "reports/*": "s3",
    "secrets": "secretsmanager",
}

_SECRET = {"secrets": "GetSecretValue"}
_ALL_SECRETS = {"all secrets": "ListSecrets", **_SECRET}
# Functions that call a PAC check for rejected credentials, and publish a rejection.
_PAC = {**_SECRET, "CredentialRejectionsTable": "Query UpdateItem", "Bus": "PutEvents"}
# Lambda stores a failed scheduled invocation with the permission of the function.
_KEEP = {"SchedulesDeadLetterQueue": "SendMessage"}
_RECEIVE = "ReceiveMessage DeleteMessage GetQueueAttributes"

# fmt: off
ROLES: dict[str, dict[str, str]] = {
    "AccountsRole": {**_ALL_SECRETS, "CredentialRejectionsTable": "BatchGetItem"},
    "BalanceRole": {**_ALL_SECRETS, **_PAC, **_KEEP,
        "IssuersTable": "Query UpdateItem", "SnapshotsTable": "Query BatchGetItem"},
    "StampCountRole": {**_ALL_SECRETS, **_PAC, **_KEEP,
        "IssuersTable": "BatchGetItem GetItem UpdateItem",
        "IssuersTable/index/urgency": "Query",
        "SnapshotsTable": "BatchGetItem", "ContractsTable/index/issuer": "Query"},
    "IssuersRole": {**_SECRET, "IssuersTable": "Query BatchGetItem UpdateItem DeleteItem"},
    "RunRole": {**_ALL_SECRETS, **_KEEP,
        "IssuersTable": "Query", "RunsTable": "PutItem UpdateItem ConditionCheckItem Query",
        "RunsTable/index/newest": "Query", "RunsQueue": "SendMessage", "Bus": "PutEvents"},
    "RunWorkerRole": {**_PAC,
        "IssuersTable": "BatchGetItem UpdateItem Query", "SnapshotsTable": "PutItem Query",
        "RunsTable": "BatchGetItem PutItem UpdateItem Query", "RateLimitTable": "UpdateItem",
        "RunsQueue": f"ChangeMessageVisibility {_RECEIVE}", "RunsDeadLetterQueue": "SendMessage"},
    "ContractRole": {**_ALL_SECRETS, **_PAC,
        "ContractsTable": "GetItem UpdateItem Query PutItem@transaction DeleteItem@transaction",
        "IssuersTable": "GetItem BatchGetItem UpdateItem", "SnapshotsTable": "BatchGetItem"},
    "ReconcilerRole": {**_ALL_SECRETS, **_PAC, **_KEEP,
        "ContractsTable": "GetItem UpdateItem Query DeleteItem@transaction",
        "ContractsTable/index/open": "Query", "MailTopic": "ListSubscriptionsByTopic"},
    "ReportRole": {**_ALL_SECRETS, **_KEEP,
        "ReportsTable": "GetItem BatchGetItem PutItem UpdateItem Query",
        "ReportsTable/index/unannounced": "Query", "DownloadTokensTable": "UpdateItem GetItem Scan",
        "DownloadTokensTable/index/report": "Query",
        "ReportsBucket/reports/*": "GetObjectVersion",
        "ReportsQueue": "SendMessage", "Bus": "PutEvents"},
    "ReportWorkerRole": {**_ALL_SECRETS, **_PAC,
        "IssuersTable": "Query", "SnapshotsTable": "Query", "ContractsTable": "Query",
        "ReportsTable": "GetItem BatchGetItem UpdateItem", "ReportsQueue": _RECEIVE,
        "ReportsBucket/reports/*": "PutObject AbortMultipartUpload"},
    "MailRole": {
        "MailIdempotencyTable": "PutItem UpdateItem DeleteItem", "MailTopic": "Publish",
        "DownloadTokensTable": "PutItem", "MailsDeadLetterQueue": "SendMessage"},
    "DownloadTokenRole": {
        "DownloadTokensTable": "UpdateItem", "ReportsBucket/reports/*": "GetObjectVersion"},
}
# fmt: on
_STARTED = ("Balance", "StampCount", "Reconciler", "Report", "Run")
# The role of EventBridge Scheduler.
SCHEDULER = {f"{name}Function": "InvokeFunction" for name in _STARTED}
SCHEDULER["SchedulesDeadLetterQueue"] = "SendMessage"
# The roles of other services; they write no logs.
SERVICE_ROLES = {
    "SchedulerRole": SCHEDULER,
    "WebhookRole": {"WebhookDestination": "InvokeApiDestination"},
}

READ = {"reader", "reporter", "contract_manager"}
_REPORT = {"reporter"}
_CONTRACT = {"contract_manager"}
# The code of the response to a caller without permission.
ERROR_CODES = {
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
    "GET /accounts/{account}/issuers": READ,
    "PUT /accounts/{account}/issuers": _CONTRACT,
    "DELETE /accounts/{account}/issuers": _CONTRACT,
    "GET /runs": READ,
    "GET /runs/{id}": READ,
    "GET /runs/{id}/failures": READ,
    "POST /accounts/{account}/contracts": _CONTRACT,
    "GET /accounts/{account}/contracts": READ,
    "GET /accounts/{account}/contracts/{id}": READ,
    "POST /accounts/{account}/contracts/{id}/settlement": _CONTRACT,
    "POST /accounts/{account}/reports": _REPORT,
    "GET /accounts/{account}/reports": _REPORT,
    "GET /accounts/{account}/reports/{id}": _REPORT,
    "DELETE /accounts/{account}/reports/{id}/tokens": _REPORT,
    "POST /reports/revocation": _REPORT,
    "POST /reports/mail": _REPORT,
    "GET /d/{token}": {*READ, *ERROR_CODES},
}


def permissions(table: dict[str, str]) -> set[str]:
    """Return the permissions of a role's table, ``service:Action resource`` each."""
    result = set()
    for resource, actions in table.items():
        name = resource.partition("/index/")[0] if "/index/" in resource else resource
        (service,) = {s for end, s in _SERVICES.items() if name.endswith(end)}
        result |= {f"{service}:{action} {resource}" for action in actions.split()}
    return result
