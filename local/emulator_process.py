"""Run a local AWS on a free loopback port for the duration of a `with` block."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import boto3
import botocore.config
import botocore.session

# Logs the slow steps.
logger = logging.getLogger("local")

ROOT = Path(__file__).resolve().parent.parent
REGION = "mx-central-1"


class AwsError(Exception):
    """The local AWS failed; the message ends with the last lines of its log."""


@dataclass(frozen=True)
class Keys:
    """An access key of an IAM identity; a role's key has a session token too."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


class Session:
    """boto3 clients of the local AWS with the credentials `keys`.

    The user's own profile, endpoint and proxy have no effect.
    """

    def __init__(self, endpoint_url: str, keys: Keys) -> None:
        nothing, no_file = (None, None, None, None), (None, None, os.devnull, None)
        files = {"config_file": no_file, "credentials_file": no_file}
        variables: Any = {"profile": nothing, "ca_bundle": nothing, **files}
        core = botocore.session.Session(session_vars=variables)
        self.endpoint_url = endpoint_url
        self._boto3: Any = boto3.Session(
            aws_access_key_id=keys.access_key_id,
            aws_secret_access_key=keys.secret_access_key,
            aws_session_token=keys.session_token,
            region_name=REGION,
            botocore_session=core,
        )

    def use(self, keys: Keys) -> None:
        """Sign with other keys from now on; clients that exist use them, too."""
        credentials = self._boto3.get_credentials()
        credentials.access_key = keys.access_key_id
        credentials.secret_key = keys.secret_access_key
        credentials.token = keys.session_token

    def client(self, service: str, config: botocore.config.Config | None = None) -> Any:
        """Return a client, as `boto3.Session.client`."""
        # Path style, because a bucket name cannot be a subdomain of 127.0.0.1.
        local = botocore.config.Config(proxies={}, s3={"addressing_style": "path"})
        merged = local.merge(config) if config else local
        return self._boto3.client(service, endpoint_url=self.endpoint_url, config=merged)


@dataclass(frozen=True)
class LocalAws:
    """A running local AWS and its administrator."""

    endpoint_url: str
    admin: Keys
    process: subprocess.Popen[bytes]
    log: Path

    def wait(self) -> NoReturn:
        """Wait. Raises `AwsError` if the local AWS exits; never returns."""
        raise AwsError(f"the local AWS exited with {self.process.wait()}:\n{_tail(self.log)}")

    def session(self, keys: Keys) -> Session:
        """Return a boto3 session with the credentials `keys`."""
        return Session(self.endpoint_url, keys)

    def create_user(
        self, name: str, policy_arns: tuple[str, ...] = (), policy: dict[str, Any] | None = None
    ) -> Keys:
        """Create an IAM user with managed policies, an inline policy, or neither; return keys."""
        iam = self.session(self.admin).client("iam")
        iam.create_user(UserName=name)
        for arn in policy_arns:
            iam.attach_user_policy(UserName=name, PolicyArn=arn)
        if policy:
            iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return Keys(key["AccessKeyId"], key["SecretAccessKey"])


@contextlib.contextmanager
def running_aws(log: Path = ROOT / ".local" / "aws.log") -> Iterator[LocalAws]:
    """Start MiniStack, wait until it responds, and stop it with all its child processes.

    It writes its output to `log` and stores nothing permanently. Raises `AwsError` if it does not
    start.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix="timbres-aws-"))
    root = Keys("ROOT" + secrets.token_hex(8).upper(), secrets.token_urlsafe(30))
    port = _free_port()
    endpoint_url = f"http://127.0.0.1:{port}"
    logger.info("starting a local AWS")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "local.emulator"],
            cwd=ROOT,
            env=_environment(port, temporary, root),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait(process, endpoint_url, log)
        statement = {"Effect": "Allow", "Action": "*", "Resource": "*"}
        policy = {"Version": "2012-10-17", "Statement": [statement]}
        aws = LocalAws(endpoint_url, root, process, log)
        yield replace(aws, admin=aws.create_user("admin", policy=policy))
    finally:
        # It stores nothing permanently. The functions are in its process group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdin:
            process.stdin.close()
        _remove(temporary)


def _environment(port: int, temporary: Path, root: Keys) -> dict[str, str]:
    """Return the complete environment of the local AWS, which every function inherits."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(temporary),
        "TMPDIR": str(temporary),
        "LANG": "C.UTF-8",
        "PYTHONUTF8": "1",
        "PYTHONUNBUFFERED": "1",
        "AUTH": "true",
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "MINISTACK_HOST": "localhost",
        "MINISTACK_REGION": REGION,
        "AWS_ACCESS_KEY_ID": root.access_key_id,
        "AWS_SECRET_ACCESS_KEY": root.secret_access_key,
        "AWS_EC2_METADATA_DISABLED": "true",
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "LAMBDA_EXECUTOR": "local",
        # Seconds before it retries a failed asynchronous invocation; AWS waits minutes.
        "LAMBDA_ASYNC_RETRY_BASE_SECONDS": "0.1",
        # Otherwise it removes the containers of another MiniStack on this machine.
        "DOCKER_HOST": f"unix://{temporary}/none.sock",
        "PERSIST_STATE": "0",
        "S3_PERSIST": "0",
        "S3_DATA_DIR": str(temporary / "s3"),
        "STATE_DIR": str(temporary / "state"),
    }


def _remove(folder: Path) -> None:
    # Function processes may still be exiting and writing files.
    for _ in range(50):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(process: subprocess.Popen[bytes], endpoint_url: str, log: Path) -> None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AwsError(f"the local AWS exited with {process.returncode}:\n{_tail(log)}")
        try:
            with direct.open(f"{endpoint_url}/_ministack/health", timeout=2):
                return
        except OSError:
            time.sleep(0.05)
    raise AwsError(f"the local AWS did not answer within a minute:\n{_tail(log)}")


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])
