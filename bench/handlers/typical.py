"""A typical implementation of four operations: all imports and clients at module level."""

import json
import os
import uuid
from pathlib import Path
from typing import Any

import boto3
import requests
import zeep
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.event_handler import APIGatewayRestResolver
from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
)
from pydantic import BaseModel

logger = Logger(service="typical")
tracer = Tracer(service="typical")
metrics = Metrics(namespace="typical", service="typical")
app = APIGatewayRestResolver(enable_validation=True)
secrets = boto3.client("secretsmanager")
dynamodb = boto3.resource("dynamodb")
s3 = boto3.client("s3")
sqs = boto3.client("sqs")
events = boto3.client("events")
idempotency = DynamoDBPersistenceLayer(table_name="idempotency")
config = IdempotencyConfig()
WSDL = Path(os.environ["TYPICAL_WSDL"])
PORT = "/ws/services/Utilerias.UtileriasHttpsSoap11Endpoint/"


class Contract(BaseModel):
    """The body of a contract request."""

    rfc: str
    stamps: int


class Report(BaseModel):
    """The body of a report request."""

    month: str
    kind: str
    format: str


def _account(name: str) -> dict[str, Any]:
    secret = secrets.get_secret_value(SecretId=os.environ["SECRET_PREFIX"] + name)
    return json.loads(secret["SecretString"])


def _soap(account: dict[str, Any]) -> zeep.proxy.ServiceProxy:
    client = zeep.Client(str(WSDL))
    return client.create_service(next(iter(client.wsdl.bindings)), account["endpoint"] + PORT)


def _check_reply(reply: Any) -> Any:
    # A rejected call costs less and would not be comparable.
    if reply.status != 200:
        raise RuntimeError(f"the PAC answered {reply.status}: {reply.mensaje}")
    return reply


@app.get("/accounts/<account>/balance")
@tracer.capture_method
def balance(account: str, month: str) -> dict[str, Any]:
    """Return a month's transactions from Reachcore."""
    own = _account(account)
    reply = requests.post(
        f"{own['endpoint']}/api/rest/Timbre/saldos",
        headers={"RCApiKey": own["api_key"]},
        json={"MesConsulta": month},
        timeout=10,
    )
    reply.raise_for_status()
    return {"transactions": reply.json()["Transacciones"]}


@app.get("/accounts/<account>/stamps")
@tracer.capture_method
def stamps(account: str, rfc: str) -> dict[str, Any]:
    """Return the stamps that an issuer has left."""
    own = _account(account)
    reply = _soap(own).getTimbres(usuario=own["username"], password=own["password"], rfcEmisor=rfc)
    return {"available": _check_reply(reply).disponibles}


@app.post("/accounts/<account>/contracts")
@tracer.capture_method
def contract(account: str, body: Contract) -> dict[str, Any]:
    """Create a contract at the PAC, with a count before and after, and store it."""
    own = _account(account)
    service = _soap(own)
    issuer = {"usuario": own["username"], "password": own["password"], "rfcEmisor": body.rfc}
    before = _check_reply(service.getTimbres(**issuer)).contratados
    reply = _check_reply(service.agregarContrato(**issuer, timbres=body.stamps))
    after = _check_reply(service.getTimbres(**issuer)).contratados
    dynamodb.Table(os.environ["CONTRACTS_TABLE"]).put_item(
        Item={
            "account": account,
            "entry": f"typical#{uuid.uuid4()}",
            "status": reply.status,
            "before": before,
            "after": after,
        }
    )
    return {"stamps": after - before}


@app.post("/accounts/<account>/reports")
@tracer.capture_method
def report(account: str, body: Report) -> dict[str, Any]:
    """Enqueue a report."""
    _account(account)
    sqs.send_message(QueueUrl=os.environ["REPORTS_QUEUE_URL"], MessageBody=body.model_dump_json())
    return {"status": "pending"}


@logger.inject_lambda_context
@tracer.capture_lambda_handler
@metrics.log_metrics
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Handle an event of API Gateway."""
    return app.resolve(event, context)
