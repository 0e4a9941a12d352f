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
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ministack import app
from ministack.core import iam_actions, iam_evaluator, lambda_runtime
from ministack.services import apigateway_v1, eventbridge, lambda_svc, s3, scheduler, sts
from ministack.services.cloudformation import provisioners


def main() -> None:
    """Serve until standard input closes or a signal arrives."""
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    app.main()


def _exit_with_parent() -> None:
    while os.read(0, 1):
        pass
    # Another process removes the files after all writers have ended.
    script = 'kill -s KILL -- "-$1"; rm -rf "$2" || { sleep 1; rm -rf "$2"; }'
    command = ["sh", "-c", script, "sh", str(os.getpgrp()), os.environ["TMPDIR"]]
    subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL)


def _replaces(module: Any, name: str) -> Callable[[Any], Any]:
    """Let a function replace one of MiniStack's, which it gets as its first argument."""

    def replace(function: Any) -> Any:
        setattr(module, name, partial(function, getattr(module, name)))
        return function

    return replace


# MiniStack accepts "test" and every 12-digit key as root, without checking the signature.
_ROOT = os.environ["AWS_ACCESS_KEY_ID"]
iam_evaluator.is_root_access_key = sts.is_root_access_key = lambda key: not key or key == _ROOT

# MiniStack bypasses the API's gateway responses for a caller without a policy.
_DENIED = "AccessDeniedException"
apigateway_v1._AUTHENTICATION_GATEWAY_ERRORS[_DENIED] = ("ACCESS_DENIED", _DENIED)


@_replaces(app, "_enforce_execute_api")
def _enforce_execute_api(enforce: Any, *request: Any, **kwargs: Any) -> Any:
    response = enforce(*request, **kwargs)
    api, stage, _method, _path, headers, query = request
    if response and response[1].get("x-amzn-errortype") == _DENIED:
        error = iam_evaluator.AuthError(_DENIED, json.loads(response[2])["message"])
        return apigateway_v1.authentication_error_response(api, stage, error, headers, query)
    return response


# MiniStack returns the function's exception; AWS returns DEFAULT_5XX with 502.
_failed: contextvars.ContextVar[bool] = contextvars.ContextVar("failed", default=False)


@_replaces(apigateway_v1, "_lambda_proxy_response")
def _lambda_proxy_response(read: Any, result: Any) -> Any:
    response, error = read(result)
    _failed.set(bool(error))
    return response, error


@_replaces(apigateway_v1, "_invoke_lambda_proxy_v1")
async def _invoke_lambda_proxy(invoke: Any, *args: Any, **kwargs: Any) -> Any:
    response = await invoke(*args, **kwargs)
    failed = _failed.get()
    return (
        apigateway_v1._GatewayError("DEFAULT_5XX", "Internal server error") if failed else response
    )


# MiniStack reads them from a property of CloudFormation, SAM writes them into the OpenAPI body.
@_replaces(provisioners._apigw_v1, "_import_rest_api")
def _import_rest_api(import_api: Any, spec: dict[str, Any], data: dict[str, Any]) -> Any:
    types = spec.get("x-amazon-apigateway-binary-media-types", [])
    return import_api(spec, {**data, "binaryMediaTypes": types})


# MiniStack checks schedules every ten seconds and does not replace context attributes in Input.
scheduler._SCHEDULE_TICK_INTERVAL = 1


@_replaces(eventbridge, "_invoke_target")
def _invoke_target(invoke: Any, target: dict[str, Any], event: dict[str, Any], *args: Any) -> None:
    if event.get("Source") == "aws.scheduler" and target.get("Input"):
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(event["Time"]))
        text = target["Input"]
        for name, value in (
            ("schedule-arn", event["Resources"][0]),
            ("scheduled-time", now),
            ("execution-id", event["EventId"]),
            ("attempt-number", "1"),
        ):
            text = text.replace(f"<aws.scheduler.{name}>", json.dumps(value)[1:-1])
        target = {**target, "Input": text}
    invoke(target, event, *args)


# MiniStack ignores ResponseContentDisposition and similar if the link has a version.
@_replaces(s3, "_get_object")
def _get_object(get: Any, bucket: str, key: str, headers: Any, query: Any = None) -> Any:
    response = get(bucket, key, headers, query)
    if response[0] == 200:
        s3._apply_response_overrides(response[1], query or {})
    return response


# MiniStack stores a parameter of type Number as text and cannot compare it.
@_replaces(lambda_svc, "_sqs_esm_concurrency")
def _sqs_esm_concurrency(concurrency: Any, mapping: dict[str, Any], *args: Any) -> Any:
    scaling = mapping.get("ScalingConfig") or {}
    numbers = {name: int(value) for name, value in scaling.items()}
    return concurrency({**mapping, "ScalingConfig": numbers}, *args)


# MiniStack requires sqs:SendMessageBatch, which IAM does not have; sqs:SendMessage permits it.
@_replaces(iam_actions, "extract_iam_action")
def _extract_iam_action(extract: Any, service: str, *request: Any, **kwargs: Any) -> Any:
    action = extract(service, *request, **kwargs)
    return action.removesuffix("Batch") if service == "sqs" and action else action


# MiniStack rejects an alarm with several metrics; here it evaluates the first metric.
@_replaces(provisioners, "_cw_metric_alarm_record")
def _metric_alarm_record(record: Any, name: str, props: dict[str, Any]) -> Any:
    stats = [query["MetricStat"] for query in props.get("Metrics", []) if "MetricStat" in query]
    for stat in stats[:1]:
        first = {**stat["Metric"], "Period": stat["Period"], "Statistic": stat["Stat"]}
        props = {**props, **first, "Metrics": None}
    return record(name, props)


# MiniStack unpacks function and layer for each execution environment, which is most of a cold
# start, and keeps their archives. On Lambda both are read-only; here they are unpacked once and
# linked, and the archives, gigabytes in a session, are deleted.
_UNPACKED, _LOCK = Path(os.environ["TMPDIR"]) / "unpacked", threading.Lock()


class _ZipFile(zipfile.ZipFile):
    def extractall(self, path: Any = None, *_args: Any) -> None:
        contents = repr([(entry.filename, entry.CRC) for entry in self.infolist()])
        folder = _UNPACKED / hashlib.sha256(contents.encode()).hexdigest()
        with _LOCK:
            if not folder.exists():
                super().extractall(folder)
        for entry in folder.iterdir():
            (Path(path) / entry.name).symlink_to(entry)
        Path(str(self.filename)).unlink()


lambda_runtime.zipfile = types.SimpleNamespace(**{**vars(zipfile), "ZipFile": _ZipFile})

if __name__ == "__main__":
    main()
