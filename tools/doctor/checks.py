"""Results of checks, one line each, without tracebacks."""

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
    """Level of a result: `failed` prevents Timbres from working, `warning` may need attention."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class CheckResult:
    """The subject and the result of a check, with the fix if it is not ok."""

    level: Level
    subject: str
    text: str

    def __str__(self) -> str:
        """Return the line of the output."""
        return f"{self.level:<9}{self.subject:<24} {' '.join(self.text.split())}"


CheckResults = Iterator[CheckResult]


def ok(subject: str, text: str) -> CheckResult:
    """Return a result without a problem."""
    return CheckResult(Level.OK, subject, text)


def warning(subject: str, text: str) -> CheckResult:
    """Return a result that may need attention."""
    return CheckResult(Level.WARNING, subject, text)


def failed(subject: str, text: str) -> CheckResult:
    """Return a result that prevents Timbres from working."""
    return CheckResult(Level.FAILED, subject, text)


def skipped(subject: str, text: str) -> CheckResult:
    """Return the result of a check that was not run, with the reason."""
    return CheckResult(Level.SKIPPED, subject, text)


def run_safely(subject: str, check: Callable[[], CheckResults]) -> CheckResults:
    """Yield the results of `check`; an exception becomes a failed result about `subject`."""
    try:
        yield from check()
    except (BotoCoreError, ClientError) as error:
        yield failed(subject, describe_aws_error(error))
    except TimbresError as error:
        yield failed(subject, error.detail)
    except Exception as error:
        # The other checks continue. The exception's text may contain a secret.
        yield failed(subject, f"The check raised {type(error).__name__}.")


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
    """Return a description of an AWS error and its fix."""
    if isinstance(error, ClientError):
        return _describe_client_error(error)
    if isinstance(error, ProfileNotFound):
        return f"{error}. {_SIGN_IN}"
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return f"There are no AWS credentials. {_SIGN_IN}"
    if isinstance(error, CredentialRetrievalError | SSOError):
        return f"The AWS credentials cannot be loaded ({type(error).__name__}). {_SIGN_IN}"
    if isinstance(error, AwsConnectionError | HTTPClientError):
        return (
            f"AWS cannot be reached ({type(error).__name__}). Check the network, HTTPS_PROXY "
            "and AWS_ENDPOINT_URL."
        )
    return f"{error}."


def _describe_client_error(error: ClientError) -> str:
    code = error.response.get("Error", {}).get("Code", "no code")
    if code in _EXPIRED:
        return f"The AWS credentials have expired ({code}). {_SIGN_IN}"
    if code in _UNKNOWN_KEY:
        return (
            f"AWS does not know the access key ({code}): it is wrong or deleted, or the region is "
            "not enabled for its account (aws account enable-region), or the session token is of "
            f"the global STS endpoint (AWS_STS_REGIONAL_ENDPOINTS=regional). {_SIGN_IN}"
        )
    if code in _WRONG_SIGNATURE:
        return f"AWS rejects the signature ({code}): the secret key is wrong, or this clock is."
    if code.startswith(("AccessDenied", "UnauthorizedOperation", "AuthorizationError")):
        return f"Not allowed: {error.operation_name}. Request the permission."
    message = error.response.get("Error", {}).get("Message", "")
    return f"{error.operation_name}: {code} {message}"
