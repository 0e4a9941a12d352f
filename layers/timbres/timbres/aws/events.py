"""Publishes events to EventBridge; their source is ``timbres``."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from timbres.repositories.dynamodb import batched


class EventPublisher:
    """Publishes to one event bus.

    ``client`` returns the client, which most requests do not need; ``name`` is that of the bus.
    """

    def __init__(self, client: Callable[[], Any], name: str) -> None:
        self._client = client
        self._name = name

    def publish(self, event_type: str, *details: dict[str, Any]) -> None:
        """Publish one event per detail. Raises RuntimeError if EventBridge rejects one."""
        for batch in batched(details, 10):
            response = self._client().put_events(
                Entries=[
                    {
                        "EventBusName": self._name,
                        "Source": "timbres",
                        "DetailType": event_type,
                        "Detail": json.dumps(detail, ensure_ascii=False),
                    }
                    for detail in batch
                ]
            )
            if response.get("FailedEntryCount"):
                codes = {entry.get("ErrorCode") for entry in response["Entries"]} - {None}
                raise RuntimeError(f"{event_type} was not published: {', '.join(sorted(codes))}")
