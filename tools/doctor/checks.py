"""Results of checks, one line each, without tracebacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from botocore import exceptions
from botocore.exceptions import BotoCoreError, ClientError

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

# Each takes the subject and the text.
ok, warning, failed, skipped = (partial(CheckResult, level) for level in Level)


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
_EXPIRED = f"The AWS credentials have expired ({{}}). {_SIGN_IN}"
_UNKNOWN_KEY = (
    "AWS does not know the access key ({}): it is wrong or deleted, or the region is not enabled "
    "for its account (aws account enable-region), or the session token is of the global STS "
    f"endpoint (AWS_STS_REGIONAL_ENDPOINTS=regional). {_SIGN_IN}"
)
_WRONG_SIGNATURE = "AWS rejects the signature ({}): the secret key is wrong, or this clock is."
_TEXTS = {
    **dict.fromkeys(("ExpiredToken", "ExpiredTokenException"), _EXPIRED),
    **dict.fromkeys(
        ("InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId"), _UNKNOWN_KEY
    ),
    **dict.fromkeys(("SignatureDoesNotMatch", "InvalidSignatureException"), _WRONG_SIGNATURE),
    **dict.fromkeys(("RequestExpired", "RequestTimeTooSkewed"), _WRONG_SIGNATURE),
}


def describe_aws_error(error: BotoCoreError | ClientError) -> str:
    """Return a description of an AWS error and its fix."""
    name = type(error).__name__
    match error:
        case ClientError():
            return _describe_client_error(error)
        case exceptions.ProfileNotFound():
            return f"{error}. {_SIGN_IN}"
        case exceptions.NoCredentialsError() | exceptions.PartialCredentialsError():
            return f"There are no AWS credentials. {_SIGN_IN}"
        case exceptions.CredentialRetrievalError() | exceptions.SSOError():
            return f"The AWS credentials cannot be loaded ({name}). {_SIGN_IN}"
        case exceptions.ConnectionError() | exceptions.HTTPClientError():
            return (
                f"AWS cannot be reached ({name}). Check the network, HTTPS_PROXY and "
                "AWS_ENDPOINT_URL."
            )
    return f"{error}."


def _describe_client_error(error: ClientError) -> str:
    details = error.response.get("Error", {})
    code = details.get("Code", "no code")
    if code in _TEXTS:
        return _TEXTS[code].format(code)
    if code.startswith(("AccessDenied", "UnauthorizedOperation", "AuthorizationError")):
        return f"Not allowed: {error.operation_name}. Request the permission."
    return f"{error.operation_name}: {code} {details.get('Message', '')}"
