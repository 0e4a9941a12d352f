"""Run MiniStack as the child process of `local.emulator_process`.

It terminates itself and all function processes when its standard input closes, so nothing remains
if the parent is killed. The patches make MiniStack behave as AWS where Timbres depends on it.
"""

import contextvars
import hashlib
import json
import os
import subprocess
import threading
import time
import types
import zipfile
from pathlib import Path
from typing import Any

from ministack import app
from ministack.core import iam_actions, iam_evaluator, lambda_runtime
from ministack.services import apigateway_v1, eventbridge, lambda_svc, s3, scheduler, sts
from ministack.services.cloudformation import provisioners


def main() -> None:
    """Serve until standard input closes or a signal arrives."""
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    _accept_one_root_key()
    _map_refusals_to_gateway_responses()
    _map_failures_to_gateway_responses()
    _import_binary_media_types()
    _replace_schedule_attributes()
    _apply_response_overrides_to_versions()
    _parse_concurrency_parameter()
    _authorize_batches_as_single_messages()
    _accept_metric_math_alarms()
    _unpack_once()
    app.main()


def _exit_with_parent() -> None:
    while os.read(0, 1):
        pass
    # Another process removes the files after all writers have ended.
    script = 'kill -s KILL -- "-$1"; rm -rf "$2" || { sleep 1; rm -rf "$2"; }'
    command = ["sh", "-c", script, "sh", str(os.getpgrp()), os.environ["TMPDIR"]]
    subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL)


def _accept_one_root_key() -> None:
    # MiniStack accepts "test" and every 12-digit key as root, without checking the signature.
    root = os.environ["AWS_ACCESS_KEY_ID"]
    iam_evaluator.is_root_access_key = sts.is_root_access_key = lambda key: not key or key == root


def _map_refusals_to_gateway_responses() -> None:
    # MiniStack bypasses the API's gateway responses for a caller without a policy.
    enforce = app._enforce_execute_api
    denied = "AccessDeniedException"
    apigateway_v1._AUTHENTICATION_GATEWAY_ERRORS[denied] = ("ACCESS_DENIED", denied)

    def enforce_execute_api(*request: Any, **kwargs: Any) -> Any:
        response = enforce(*request, **kwargs)
        api, stage, _method, _path, headers, query = request
        if response and response[1].get("x-amzn-errortype") == denied:
            error = iam_evaluator.AuthError(denied, json.loads(response[2])["message"])
            return apigateway_v1.authentication_error_response(api, stage, error, headers, query)
        return response

    app._enforce_execute_api = enforce_execute_api


def _map_failures_to_gateway_responses() -> None:
    # MiniStack returns the function's exception; AWS returns DEFAULT_5XX with 502.
    failed: contextvars.ContextVar[bool] = contextvars.ContextVar("failed", default=False)
    read, invoke = apigateway_v1._lambda_proxy_response, apigateway_v1._invoke_lambda_proxy_v1

    def lambda_proxy_response(result: Any) -> Any:
        response, error = read(result)
        failed.set(bool(error))
        return response, error

    async def invoke_lambda_proxy(*args: Any, **kwargs: Any) -> Any:
        response = await invoke(*args, **kwargs)
        if failed.get():
            return apigateway_v1._GatewayError("DEFAULT_5XX", "Internal server error")
        return response

    apigateway_v1._lambda_proxy_response = lambda_proxy_response
    apigateway_v1._invoke_lambda_proxy_v1 = invoke_lambda_proxy


def _import_binary_media_types() -> None:
    # MiniStack reads them from a property of CloudFormation, SAM writes them into the OpenAPI body.
    import_api = provisioners._apigw_v1._import_rest_api

    def import_rest_api(spec: dict[str, Any], data: dict[str, Any]) -> str:
        types = spec.get("x-amazon-apigateway-binary-media-types", [])
        api: str = import_api(spec, {**data, "binaryMediaTypes": types})
        return api

    provisioners._apigw_v1._import_rest_api = import_rest_api


def _replace_schedule_attributes() -> None:
    # MiniStack checks schedules every ten seconds and does not replace context attributes in Input.
    scheduler._SCHEDULE_TICK_INTERVAL = 1
    invoke = eventbridge._invoke_target

    def invoke_target(target: dict[str, Any], event: dict[str, Any], *args: Any) -> None:
        if event.get("Source") == "aws.scheduler" and target.get("Input"):
            now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(event["Time"]))
            attributes = {
                "schedule-arn": event["Resources"][0],
                "scheduled-time": now,
                "execution-id": event["EventId"],
                "attempt-number": "1",
            }
            text = target["Input"]
            for name, value in attributes.items():
                text = text.replace(f"<aws.scheduler.{name}>", json.dumps(value)[1:-1])
            target = {**target, "Input": text}
        invoke(target, event, *args)

    eventbridge._invoke_target = invoke_target


def _apply_response_overrides_to_versions() -> None:
    # MiniStack ignores ResponseContentDisposition and similar if the link has a version.
    get = s3._get_object

    def get_object(bucket: str, key: str, headers: Any, query: Any = None) -> Any:
        response = get(bucket, key, headers, query)
        if response[0] == 200:
            s3._apply_response_overrides(response[1], query or {})
        return response

    s3._get_object = get_object


def _parse_concurrency_parameter() -> None:
    # MiniStack stores a parameter of type Number as text and cannot compare it.
    concurrency = lambda_svc._sqs_esm_concurrency

    def sqs_esm_concurrency(mapping: dict[str, Any], *args: Any) -> int:
        scaling = mapping.get("ScalingConfig") or {}
        numbers = {name: int(value) for name, value in scaling.items()}
        limit: int = concurrency({**mapping, "ScalingConfig": numbers}, *args)
        return limit

    lambda_svc._sqs_esm_concurrency = sqs_esm_concurrency


def _authorize_batches_as_single_messages() -> None:
    # MiniStack requires sqs:SendMessageBatch, which IAM does not have; sqs:SendMessage permits it.
    extract = iam_actions.extract_iam_action

    def extract_iam_action(service: str, *request: Any, **kwargs: Any) -> str | None:
        action: str | None = extract(service, *request, **kwargs)
        return action.removesuffix("Batch") if service == "sqs" and action else action

    iam_actions.extract_iam_action = extract_iam_action


def _accept_metric_math_alarms() -> None:
    # MiniStack rejects an alarm with several metrics; here it evaluates the first metric.
    record = provisioners._cw_metric_alarm_record

    def metric_alarm_record(name: str, props: dict[str, Any]) -> Any:
        stats = [query["MetricStat"] for query in props.get("Metrics", []) if "MetricStat" in query]
        for stat in stats[:1]:
            first = {**stat["Metric"], "Period": stat["Period"], "Statistic": stat["Stat"]}
            props = {**props, **first, "Metrics": None}
        return record(name, props)

    provisioners._cw_metric_alarm_record = metric_alarm_record


def _unpack_once() -> None:
    # MiniStack unpacks function and layer for each execution environment, which is most of a cold
    # start. On Lambda both are read-only; here they are unpacked once and linked.
    unpacked = Path(os.environ["TMPDIR"]) / "unpacked"
    lock = threading.Lock()

    class ZipFile(zipfile.ZipFile):
        def extractall(self, path: Any = None, *_args: Any) -> None:
            contents = repr([(entry.filename, entry.CRC) for entry in self.infolist()])
            folder = unpacked / hashlib.sha256(contents.encode()).hexdigest()
            with lock:
                if not folder.exists():
                    super().extractall(folder)
            for entry in folder.iterdir():
                (Path(path) / entry.name).symlink_to(entry)

    lambda_runtime.zipfile = types.SimpleNamespace(**{**vars(zipfile), "ZipFile": ZipFile})


if __name__ == "__main__":
    main()
