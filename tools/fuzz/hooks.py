"""Schemathesis hooks: signatures, and additional checks of the responses."""

from __future__ import annotations

import os
from typing import Any

import requests
import schemathesis
from botocore.session import Session
from schemathesis.core.failures import AcceptedNegativeData

from timbres_client.connection import Signature

# Errors that begin with pac- but are errors of Timbres.
_TIMBRES_ERRORS = {"pac-protocol-error", "pac-credentials-rejected", "pac-endpoint-not-found"}


class FuzzSignature(Signature):
    """Signs a request as it is sent; the signature does not cover generated headers."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Return the signed request."""
        # A signature encodes a blank as %20; a literal plus is %2B here.
        request.url = str(request.url).replace("+", "%20")
        return super().__call__(request)


_SESSION = Session()
_SESSION.set_credentials(os.environ["FUZZ_ACCESS_KEY_ID"], os.environ["FUZZ_SECRET_ACCESS_KEY"])
_SIGNATURE = FuzzSignature(_SESSION, os.environ["FUZZ_REGION"])
# Its attribute is set at run time.
schemathesis.auth.set_from_requests(_SIGNATURE).skip_for(path="/d/{token}")  # type: ignore[attr-defined]


@schemathesis.check
def no_error_of_timbres(
    _context: schemathesis.CheckContext,
    response: schemathesis.Response,
    case: schemathesis.Case[Any],
) -> None:
    """Fail for a 5xx that is not a rejection by the PAC, even if it is documented."""
    if response.status_code < 500:
        return
    problem: Any = response.json()
    code = problem["code"] if isinstance(problem, dict) else None
    if not str(code).startswith("pac-") or code in _TIMBRES_ERRORS:
        raise AssertionError(f"{case.operation.label} failed: {response.text[:500]}")


@schemathesis.check
def rejection_names_the_input(
    _context: schemathesis.CheckContext,
    response: schemathesis.Response,
    case: schemathesis.Case[Any],
) -> None:
    """Fail for a rejection that names neither the invalid input nor the PAC's message."""
    if response.status_code in (400, 413, 422) and not response.json().keys() & {"field", "pac"}:
        raise AssertionError(f"{case.operation.label} names no field: {response.text[:500]}")


@schemathesis.hook
def filter_failure(
    _context: schemathesis.HookContext,
    failure: Any,
    _case: schemathesis.Case[Any],
    response: schemathesis.Response,
) -> bool:
    """Ignore accepted invalid rows that the response lists, because of `on_invalid=skip`."""
    listed = response.status_code == 200 and '"rejected":[{' in response.text
    return not (listed and isinstance(failure, AcceptedNegativeData))
