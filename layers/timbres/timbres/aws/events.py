"""Events on the bus; their source is ``timbres``."""

from __future__ import annotations

import json
from typing import Any

from timbres.repositories.dynamodb import batched


class EventPublisher:
    """The event bus; ``events`` is a client, ``name`` the bus's."""

    def __init__(self, events: Any, name: str) -> None:
        self._events = events
        self._name = name

    def publish(self, event_type: str, *details: dict[str, Any]) -> None:
        """Publish events of one kind, ``Report Ready`` say. Raises RuntimeError on a refusal."""
        for some in batched(details, 10):
            answer = self._events.put_events(
                Entries=[
                    {
                        "EventBusName": self._name,
                        "Source": "timbres",
                        "DetailType": event_type,
                        "Detail": json.dumps(detail, ensure_ascii=False),
                    }
                    for detail in some
                ]
            )
            if answer.get("FailedEntryCount"):
                codes = {entry.get("ErrorCode") for entry in answer["Entries"]} - {None}
                raise RuntimeError(f"{event_type} was not taken: {', '.join(sorted(codes))}")
