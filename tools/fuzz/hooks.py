"""What the fuzzer is told besides the document: how to sign, and what no answer may say."""

from __future__ import annotations

import os
from typing import Any

import requests
import schemathesis
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from schemathesis.core.failures import AcceptedNegativeData

# A PAC may refuse what is asked of it; that its answer is not understood is our failure.
_OURS = {"pac-protocol-error", "pac-credentials-rejected", "pac-endpoint-not-found"}


class SigV4Signer(requests.auth.AuthBase):
    """Signs a request as it goes over the wire, with the keys of the environment."""

    def __init__(self) -> None:
        keys = Credentials(os.environ["FUZZ_ACCESS_KEY_ID"], os.environ["FUZZ_SECRET_ACCESS_KEY"])
        self._signer = SigV4Auth(keys, "execute-api", os.environ["FUZZ_REGION"])

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Return the request with its signature, which no made-up header is part of."""
        # What is signed writes a blank as %20; a plus that is meant is %2B here.
        request.url = str(request.url).replace("+", "%20")
        bare = AWSRequest(method=request.method, url=request.url, data=request.body)
        self._signer.add_auth(bare)
        for name, value in bare.headers.items():
            request.headers[name] = value
        return request


# Its attribute is set at run time.
schemathesis.auth.set_from_requests(SigV4Signer()).skip_for(path="/d/{token}")  # type: ignore[attr-defined]


@schemathesis.check
def no_failure_of_our_own(
    _context: schemathesis.CheckContext,
    response: schemathesis.Response,
    case: schemathesis.Case[Any],
) -> None:
    """Fail for a 5xx that is not the PAC's refusal, documented though it be."""
    if response.status_code < 500:
        return
    answer: Any = response.json()
    code = answer["code"] if isinstance(answer, dict) else None
    if not str(code).startswith("pac-") or code in _OURS:
        raise AssertionError(f"{case.operation.label} failed: {response.text[:500]}")


@schemathesis.check
def what_is_wrong_is_named(
    _context: schemathesis.CheckContext,
    response: schemathesis.Response,
    case: schemathesis.Case[Any],
) -> None:
    """Fail for a refusal of bad input that says neither which input nor what the PAC said."""
    if response.status_code in (400, 413, 422) and not response.json().keys() & {"field", "pac"}:
        raise AssertionError(f"{case.operation.label} names no field: {response.text[:500]}")


@schemathesis.hook
def filter_failure(
    _context: schemathesis.HookContext,
    failure: Any,
    _case: schemathesis.Case[Any],
    response: schemathesis.Response,
) -> bool:
    """Let a bad row of a list pass where the answer names it, as `on_invalid=skip` asks for."""
    named = response.status_code == 200 and '"rejected":[{' in response.text
    return not (named and isinstance(failure, AcceptedNegativeData))
