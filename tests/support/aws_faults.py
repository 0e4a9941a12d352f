"""Failed requests of the functions to AWS, and lost responses."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from botocore.awsrequest import AWSResponse
from moto.core.botocore_stubber import MockRawResponse

from tests.support.moto_patches import LOST, REFUSED
from timbres.aws import clients


class AwsFaults:
    """Injects faults into the requests of the functions to AWS."""

    def __init__(self) -> None:
        self._remaining: list[list[int]] = []
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
        members: Mapping[str, Any] | None = None,
        about: str = "",
    ) -> list[str]:
        """Reject requests with an error code, after the first ``after``; they have no effect.

        ``about`` is a text in the body of the rejected requests. ``members`` are added to the
        error's body. Returns a list that grows with each rejection.
        """

        def response(request: Any) -> AWSResponse:
            request.headers[REFUSED] = "yes"
            text = json.dumps({"__type": code, "message": "no", **(members or {})})
            if service == "s3":
                text = f"<Error><Code>{code}</Code><Message>no</Message></Error>"
            headers: Any = {"Content-Type": "application/x-amz-json-1.0"}
            return AWSResponse(request.url, status, headers, MockRawResponse(text.encode()))

        return self._affect(service, (operation,), response, after, times, about)

    def lose_response(
        self, service: str, *operations: str, after: int = 0, times: int = 1
    ) -> list[str]:
        """Apply requests, after the first ``after``, and lose their responses; botocore retries.

        Returns a list that grows with each lost response.
        """

        def mark(request: Any) -> None:
            request.headers[LOST] = str(uuid.uuid4())

        return self._affect(service, operations, mark, after, times)

    def before(
        self, service: str, operation: str, action: Callable[[], Any], about: str = ""
    ) -> list[str]:
        """Run an action once, before the first request whose body contains the text ``about``.

        Returns a list that is empty until then.
        """

        def effect(_: Any) -> None:
            action()

        return self._affect(service, (operation,), effect, 0, 1, about)

    def _affect(
        self,
        service: str,
        operations: Sequence[str],
        effect: Callable[[Any], AWSResponse | None],
        after: int,
        times: int,
        about: str = "",
    ) -> list[str]:
        affected: list[str] = []
        left = [after, times]
        self._remaining.append(left)

        def hook(request: Any, event_name: str, **_: Any) -> AWSResponse | None:
            if about and about.encode() not in request.body:
                return None
            if left[0] > 0 or left[1] <= 0:
                left[0] -= 1
                return None
            left[1] -= 1
            affected.append(event_name.rpartition(".")[2])
            return effect(request)

        for operation in operations:
            self.watch(service, operation, hook)
        return affected

    def watch(self, service: str, operation: str, hook: Callable[..., Any]) -> None:
        """Call ``hook`` with each request of the functions before it is sent."""
        events, name = clients.client(service).meta.events, f"before-send.{service}.{operation}"
        events.register(name, hook)
        self._hooks.append(lambda: events.unregister(name, hook))

    def restore(self) -> None:
        """End all faults."""
        for left in self._remaining:
            left[1] = 0

    def remove(self) -> None:
        """Remove all hooks, because the clients are used by the next test."""
        for remove in self._hooks:
            remove()
        self._hooks.clear()
