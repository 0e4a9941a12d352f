"""A warm function keeps its clients: a client per call would cost more than the call."""

from __future__ import annotations

from contextlib import ExitStack
from unittest.mock import patch

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
    stack: FakeStack, path: str, query: dict[str, str]
) -> None:
    constructors = [(boto3.Session, "client"), (requests.Session, "__init__")]
    constructors.append((zeep.Client, "__init__"))
    with ExitStack() as patches:
        spies = [
            patches.enter_context(
                patch.object(cls, name, autospec=True, side_effect=getattr(cls, name))
            )
            for cls, name in constructors
        ]
        created = []
        for _ in range(2):
            assert stack.get(path, **query).status == 200
            created.append(sum(spy.call_count for spy in spies))

    assert created[0] == created[1] > 0
