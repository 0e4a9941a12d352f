"""A warm function keeps its clients: a client per call would cost more than the call."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
import requests
import zeep
from tests.support.fake_stack import RC, RFC, SF, FakeStack


@pytest.mark.parametrize(
    ("path", "query"),
    [
        (f"/accounts/{RC}/balance", {"month": "2026-10"}),
        (f"/accounts/{SF}/stamps", {"rfc": RFC}),
    ],
    ids=["REST", "SOAP"],
)
def test_a_second_request_creates_no_client(
    stack: FakeStack, monkeypatch: pytest.MonkeyPatch, path: str, query: dict[str, str]
) -> None:
    created: list[str] = []

    def count(cls: type[Any], method: str) -> None:
        original = getattr(cls, method)

        def create(self: Any, *args: Any, **options: Any) -> Any:
            created.append(cls.__name__)
            return original(self, *args, **options)

        monkeypatch.setattr(cls, method, create)

    count(boto3.Session, "client")
    count(requests.Session, "__init__")
    count(zeep.Client, "__init__")
    assert stack.get(path, **query).status == 200
    first = list(created)

    assert stack.get(path, **query).status == 200

    assert first
    assert created == first
