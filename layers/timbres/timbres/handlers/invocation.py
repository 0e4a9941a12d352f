"""What every function needs for an invocation, without HTTP: logger, deadline, AWS errors."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger
from botocore.exceptions import BotoCoreError, ClientError

from timbres.deadline import Deadline

# Part of the function's time, reserved to store the result and to respond.
_TIMEOUT_MARGIN_SECONDS = 3.0

logger = Logger(service="timbres", name="timbres")


def invocation_deadline(context: Any) -> Deadline:
    """Return when the work of an invocation ends: three seconds before its function."""
    return Deadline(context.get_remaining_time_in_millis() / 1000 - _TIMEOUT_MARGIN_SECONDS)


def describe_aws_error(error: BotoCoreError | ClientError) -> str:
    """Return the AWS operation that failed and its error code, without the request's content."""
    if isinstance(error, ClientError):
        return f"{error.operation_name} {error.response.get('Error', {}).get('Code')}"
    return type(error).__name__
