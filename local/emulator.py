"""MiniStack as a child process: what `local.emulator_process` runs, in an environment of its own.

It ends itself, and every function it has started, when its standard input closes: however the
parent dies, nothing stays behind. Where MiniStack departs from AWS in a way that Timbres would
notice, it is put right here, before it serves.
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
    """Serve until standard input closes or a signal comes."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _one_root_key()
    _refusals_as_gateway_responses()
    _failures_as_gateway_responses()
    _schedules_as_on_aws()
    _apply_response_overrides_to_versions()
    _concurrency_by_parameter()
    _batches_by_the_right_to_one()
    _alarms_of_one_metric()
    _unpack_once()
    app.main()


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    # Another process tidies up: files can go only when nobody is left to write them.
    script = 'kill -s KILL -- "-$1"; rm -rf "$2" || { sleep 1; rm -rf "$2"; }'
    command = ["sh", "-c", script, "sh", str(os.getpgrp()), os.environ["TMPDIR"]]
    subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL)


def _one_root_key() -> None:
    # MiniStack takes "test" and every 12-digit key for root, without looking at the signature.
    root = os.environ["AWS_ACCESS_KEY_ID"]
    iam_evaluator.is_root_access_key = sts.is_root_access_key = lambda key: not key or key == root


def _refusals_as_gateway_responses() -> None:
    # MiniStack answers a caller without a policy past the API's gateway responses.
    enforce = app._enforce_execute_api
    denied = "AccessDeniedException"
    apigateway_v1._AUTHENTICATION_GATEWAY_ERRORS[denied] = ("ACCESS_DENIED", denied)

    def enforce_execute_api(*request: Any, **rest: Any) -> Any:
        answer = enforce(*request, **rest)
        api, stage, _method, _path, headers, query = request
        if answer and answer[1].get("x-amzn-errortype") == denied:
            error = iam_evaluator.AuthError(denied, json.loads(answer[2])["message"])
            return apigateway_v1.authentication_error_response(api, stage, error, headers, query)
        return answer

    app._enforce_execute_api = enforce_execute_api


def _failures_as_gateway_responses() -> None:
    # MiniStack shows the caller what the function raised; AWS says DEFAULT_5XX, with 502.
    failed: contextvars.ContextVar[bool] = contextvars.ContextVar("failed", default=False)
    read, invoke = apigateway_v1._lambda_proxy_response, apigateway_v1._invoke_lambda_proxy_v1

    def lambda_proxy_response(result: Any) -> Any:
        response, error = read(result)
        failed.set(bool(error))
        return response, error

    async def invoke_lambda_proxy(*args: Any, **kwargs: Any) -> Any:
        answer = await invoke(*args, **kwargs)
        if failed.get():
            return apigateway_v1._GatewayError("DEFAULT_5XX", "Internal server error")
        return answer

    apigateway_v1._lambda_proxy_response = lambda_proxy_response
    apigateway_v1._invoke_lambda_proxy_v1 = invoke_lambda_proxy


def _schedules_as_on_aws() -> None:
    # MiniStack looks at its schedules every ten seconds, and passes Input on as it is written:
    # AWS replaces the context attributes in it.
    scheduler._SCHEDULE_TICK_INTERVAL = 1
    invoke = eventbridge._invoke_target

    def invoke_target(target: dict[str, Any], event: dict[str, Any], *rest: Any) -> None:
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
        invoke(target, event, *rest)

    eventbridge._invoke_target = invoke_target


def _apply_response_overrides_to_versions() -> None:
    # MiniStack forgets ResponseContentDisposition and its like where a link names a version.
    get = s3._get_object

    def get_object(bucket: str, key: str, headers: Any, query: Any = None) -> Any:
        answer = get(bucket, key, headers, query)
        if answer[0] == 200:
            s3._apply_response_overrides(answer[1], query or {})
        return answer

    s3._get_object = get_object


def _concurrency_by_parameter() -> None:
    # MiniStack keeps a parameter of the type Number as text, and cannot compare it then.
    concurrency = lambda_svc._sqs_esm_concurrency

    def sqs_esm_concurrency(mapping: dict[str, Any], *rest: Any) -> int:
        scaling = mapping.get("ScalingConfig") or {}
        numbers = {name: int(value) for name, value in scaling.items()}
        limit: int = concurrency({**mapping, "ScalingConfig": numbers}, *rest)
        return limit

    lambda_svc._sqs_esm_concurrency = sqs_esm_concurrency


def _batches_by_the_right_to_one() -> None:
    # MiniStack asks for a right sqs:SendMessageBatch, which IAM does not have: whoever may send
    # one message may send ten.
    extract = iam_actions.extract_iam_action

    def extract_iam_action(service: str, *request: Any, **rest: Any) -> str | None:
        action: str | None = extract(service, *request, **rest)
        return action.removesuffix("Batch") if service == "sqs" and action else action

    iam_actions.extract_iam_action = extract_iam_action


def _alarms_of_one_metric() -> None:
    # MiniStack refuses an alarm over several metrics: here it is kept, and watches the first.
    record = provisioners._cw_metric_alarm_record

    def metric_alarm_record(name: str, props: dict[str, Any]) -> Any:
        stats = [one["MetricStat"] for one in props.get("Metrics", []) if "MetricStat" in one]
        for stat in stats[:1]:
            first = {**stat["Metric"], "Period": stat["Period"], "Statistic": stat["Stat"]}
            props = {**props, **first, "Metrics": None}
        return record(name, props)

    provisioners._cw_metric_alarm_record = metric_alarm_record


def _unpack_once() -> None:
    # MiniStack unpacks function and layer for every execution environment anew, which is most
    # of a cold start. On Lambda both are read-only: here they are unpacked once, and linked.
    unpacked = Path(os.environ["TMPDIR"]) / "unpacked"
    lock = threading.Lock()

    class ZipFile(zipfile.ZipFile):
        def extractall(self, path: Any = None, *_rest: Any) -> None:
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
