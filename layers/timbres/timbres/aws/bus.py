"""Events on the bus; their source is ``timbres``."""

from __future__ import annotations

import json
from typing import Any


class Bus:
    """The event bus; ``events`` is a boto3 client, ``name`` the bus's."""

    def __init__(self, events: Any, name: str) -> None:
        self._events = events
        self._name = name

    def publish(self, kind: str, detail: dict[str, Any]) -> None:
        """Publish one event, ``Report Ready`` say. Raises RuntimeError when it is refused."""
        answer = self._events.put_events(
            Entries=[
                {
                    "EventBusName": self._name,
                    "Source": "timbres",
                    "DetailType": kind,
                    "Detail": json.dumps(detail, ensure_ascii=False),
                }
            ]
        )
        if answer.get("FailedEntryCount"):
            raise RuntimeError(f"{kind} was not taken: {answer['Entries'][0].get('ErrorCode')}")
