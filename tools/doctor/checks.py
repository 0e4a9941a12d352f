"""What a check has found: one line each, and never a traceback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
)
from botocore.exceptions import ConnectionError as AwsConnectionError

from timbres.errors import TimbresError


class Level(StrEnum):
    """How it stands: `failed` keeps Timbres from working, `warning` wants to be looked at."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class CheckResult:
    """What was looked at, and what was seen there: where it is not ok, what to do about it."""

    level: Level
    subject: str
    text: str

    def __str__(self) -> str:
        """The line of the output."""
        return f"{self.level:<9}{self.subject:<24} {' '.join(self.text.split())}"


CheckResults = Iterator[CheckResult]


def ok(what: str, said: str) -> CheckResult:
    """It is as it should be."""
    return CheckResult(Level.OK, what, said)


def warning(what: str, said: str) -> CheckResult:
    """It works, or may; somebody should look at it."""
    return CheckResult(Level.WARNING, what, said)


def failed(what: str, said: str) -> CheckResult:
    """It keeps Timbres, or those it serves, from what they are there for."""
    return CheckResult(Level.FAILED, what, said)


def skipped(what: str, said: str) -> CheckResult:
    """It was not looked at, for the reason given."""
    return CheckResult(Level.SKIPPED, what, said)


def run_safely(what: str, check: Callable[[], CheckResults]) -> CheckResults:
    """Yield what `check` finds; where it breaks off, a finding about `what` says why."""
    try:
        yield from check()
    except (BotoCoreError, ClientError) as error:
        yield failed(what, describe_aws_error(error))
    except TimbresError as error:
        yield failed(what, error.detail)
    except Exception as error:
        # Whatever it is, the other checks go on; its text might hold what is not to be shown.
        yield failed(what, f"The check itself broke off: {type(error).__name__}.")


_SIGN_IN = (
    "Sign in (aws sso login, aws configure), or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY."
)
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException"})
_UNKNOWN_KEY = frozenset(
    {"InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId"}
)
_WRONG_SIGNATURE = frozenset(
    {"SignatureDoesNotMatch", "InvalidSignatureException", "RequestExpired", "RequestTimeTooSkewed"}
)


def describe_aws_error(error: BotoCoreError | ClientError) -> str:
    """What went wrong with AWS, and what to do about it."""
    if isinstance(error, ClientError):
        return _describe_client_error(error)
    if isinstance(error, ProfileNotFound):
        return f"{error}. {_SIGN_IN}"
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return f"There are no AWS credentials. {_SIGN_IN}"
    if isinstance(error, CredentialRetrievalError | SSOError):
        return f"The AWS credentials cannot be had ({type(error).__name__}). {_SIGN_IN}"
    if isinstance(error, AwsConnectionError | HTTPClientError):
        return (
            f"AWS cannot be reached ({type(error).__name__}): look at the network, at HTTPS_PROXY "
            "and, if it is set, at AWS_ENDPOINT_URL."
        )
    return f"{error}."


def _describe_client_error(error: ClientError) -> str:
    code = error.response.get("Error", {}).get("Code", "no code")
    if code in _EXPIRED:
        return f"The AWS credentials have expired ({code}). {_SIGN_IN}"
    if code in _UNKNOWN_KEY:
        return (
            f"AWS does not know the access key ({code}): it is wrong or deleted, or the region is "
            f"not enabled for its account (console: Account, AWS Regions). {_SIGN_IN}"
        )
    if code in _WRONG_SIGNATURE:
        return f"AWS refuses the signature ({code}): the secret key is wrong, or this clock is."
    if code.startswith(("AccessDenied", "UnauthorizedOperation", "AuthorizationError")):
        return f"Not allowed: {error.operation_name}. Ask for that right, or run as who deploys."
    message = error.response.get("Error", {}).get("Message", "")
    return f"{error.operation_name}: {code} {message}"
