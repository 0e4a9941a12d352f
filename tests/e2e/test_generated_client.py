"""A client that a generator writes from docs/openapi.json reads a balance; skipped without it."""

from __future__ import annotations

import shutil
import subprocess
from importlib import import_module

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from tools.openapi import PATH

from tests.support.api_calls import last_month


def test_a_generated_python_client_reads_rfcs_with_an_ampersand_and_an_n_with_a_tilde(
    stack, tmp_path, monkeypatch
):
    pytest.importorskip("httpx")
    generator = shutil.which("openapi-python-client")
    if generator is None:
        pytest.skip("openapi-python-client is not on the PATH")
    command = [generator, "generate", "--meta", "none"]
    command += ["--path", str(PATH), "--output-path", str(tmp_path / "generated_timbres")]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    monkeypatch.syspath_prepend(tmp_path)
    keys = stack.keys["reader"]
    signer = SigV4Auth(
        Credentials(keys.access_key_id, keys.secret_access_key), "execute-api", stack.region
    )

    def sign(request):
        signed = AWSRequest(request.method, str(request.url), data=request.content)
        signer.add_auth(signed)
        request.headers.update(dict(signed.headers.items()))

    client = import_module("generated_timbres.client").Client(
        base_url=stack.api_url, httpx_args={"event_hooks": {"request": [sign]}}
    )
    get_balance = import_module("generated_timbres.api.stamps.get_balance")
    for rfc in ("A&D061009TY8", "ÑAN840101AB1"):
        month = last_month()
        balance = get_balance.sync("acme-rc", client=client, month=month, rfc=rfc)
        assert [line.rfc for line in balance.by_issuer] == [rfc]
