"""Failed requests of the functions to AWS, and lost responses."""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Callable
from typing import Any

from botocore.awsrequest import AWSResponse
from moto.core.botocore_stubber import MockRawResponse

from tests.support.moto_patches import LOST, REFUSED
from timbres.aws import clients


class AwsFaults:
    """Injects faults into the requests of the functions to AWS."""

    def __init__(self) -> None:
        self._hooks: list[Callable[[], None]] = []

    def reject(
        self,
        service: str,
        operation: str,
        code: str,
        status: int = 400,
        *,
        after: int = 0,
        times: int = 1_000,
        about: str = "",
    ) -> None:
        """Reject requests with an error code, after the first ``after``; they have no effect.

        ``about`` is a text in the body of the rejected requests.
        """
        text = json.dumps({"__type": code, "message": "no"})
        if service == "s3":
            text = f"<Error><Code>{code}</Code><Message>no</Message></Error>"
        headers: Any = {"Content-Type": "application/x-amz-json-1.0"}
        numbers = itertools.count()

        def hook(request: Any, **_: Any) -> AWSResponse | None:
            if about and about.encode() not in request.body:
                return None
            if not after <= next(numbers) < after + times:
                return None
            request.headers[REFUSED] = "yes"
            return AWSResponse(request.url, status, headers, MockRawResponse(text.encode()))

        self.watch(service, operation, hook)

    def lose_response(self, service: str, operation: str) -> None:
        """Apply the next request and lose its response; botocore retries."""
        numbers = itertools.count()

        def hook(request: Any, **_: Any) -> None:
            if next(numbers) == 0:
                request.headers[LOST] = str(uuid.uuid4())

        self.watch(service, operation, hook)

    def before(
        self, service: str, operation: str, action: Callable[[], Any], about: str = ""
    ) -> list[str]:
        """Run an action once, before the first request whose body contains the text ``about``.

        Returns a list that is empty until then.
        """
        done: list[str] = []

        def hook(request: Any, **_: Any) -> None:
            if not done and about.encode() in request.body:
                done.append(operation)
                action()

        self.watch(service, operation, hook)
        return done

    def watch(self, service: str, operation: str, hook: Callable[..., Any]) -> None:
        """Call ``hook`` with each request of the functions before it is sent."""
        events, name = clients.client(service).meta.events, f"before-send.{service}.{operation}"
        events.register(name, hook)
        self._hooks.append(lambda: events.unregister(name, hook))

    def restore(self) -> None:
        """End all faults and watches."""
        for remove in self._hooks:
            remove()
        self._hooks.clear()
