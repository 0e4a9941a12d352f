"""The four operations as they are usually written: everything imported and made at the top."""

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

logger = Logger(service="usual")
tracer = Tracer(service="usual")
metrics = Metrics(namespace="usual", service="usual")
app = APIGatewayRestResolver(enable_validation=True)
secrets = boto3.client("secretsmanager")
dynamodb = boto3.resource("dynamodb")
s3 = boto3.client("s3")
sqs = boto3.client("sqs")
events = boto3.client("events")
idempotency = DynamoDBPersistenceLayer(table_name="idempotency")
config = IdempotencyConfig()
WSDL = Path(os.environ["USUAL_WSDL"])
PORT = "/ws/services/Utilerias.UtileriasHttpsSoap11Endpoint/"


class Contract(BaseModel):
    """What is bought."""

    rfc: str
    stamps: int


class Report(BaseModel):
    """What is asked for."""

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
    # A call that the PAC refused costs less than the one that is compared with ours.
    if reply.status != 200:
        raise RuntimeError(f"the PAC answered {reply.status}: {reply.mensaje}")
    return reply


@app.get("/accounts/<account>/balance")
@tracer.capture_method
def balance(account: str, month: str) -> dict[str, Any]:
    """Ask Reachcore for a month."""
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
    """Count an issuer's stamps."""
    own = _account(account)
    reply = _soap(own).getTimbres(usuario=own["username"], password=own["password"], rfcEmisor=rfc)
    return {"available": _check_reply(reply).disponibles}


@app.post("/accounts/<account>/contracts")
@tracer.capture_method
def contract(account: str, body: Contract) -> dict[str, Any]:
    """Buy stamps."""
    own = _account(account)
    reply = _soap(own).agregarContrato(
        usuario=own["username"],
        password=own["password"],
        rfcEmisor=body.rfc,
        timbres=body.stamps,
    )
    dynamodb.Table(os.environ["CONTRACTS_TABLE"]).put_item(
        Item={
            "account": account,
            "entry": f"usual#{uuid.uuid4()}",
            "status": _check_reply(reply).status,
        }
    )
    return {"status": reply.status}


@app.post("/accounts/<account>/reports")
@tracer.capture_method
def report(account: str, body: Report) -> dict[str, Any]:
    """Put a report into the queue."""
    _account(account)
    sqs.send_message(QueueUrl=os.environ["REPORTS_QUEUE_URL"], MessageBody=body.model_dump_json())
    return {"status": "pending"}


@logger.inject_lambda_context
@tracer.capture_lambda_handler
@metrics.log_metrics
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer a request of the gateway."""
    return app.resolve(event, context)
