"""`python -m local.start`: the demo environment until Ctrl-C, and `.local/env` for a shell."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from local.build import BuildError
from local.emulator_process import ROOT, AwsError
from local.environment import LocalEnvironment, log_steps, running_environment
from local.stack import DeployError

ENV_FILE = ROOT / ".local" / "env"

_READY = """
Timbres is running.

  API                {api_url}
  AWS                {endpoint_url} (region {region})
{pacs}
  log                .local/aws.log

In another shell:

  . .local/env
  curl --aws-sigv4 "aws:amz:$AWS_REGION:execute-api" \\
    --user "$TIMBRES_READER_ACCESS_KEY_ID:$TIMBRES_READER_SECRET_ACCESS_KEY" \\
    "$TIMBRES_API_URL/accounts/{account}/stamps?rfc=A%26D061009TY8"

Ctrl-C ends it all.
"""


class AlreadyUpError(Exception):
    """Another `make up` of this folder is running; the message says so."""


def main() -> int:
    """Runs until Ctrl-C or SIGTERM: 0; 1 with the reason when it cannot start or breaks off."""
    # Both by name: a shell that starts it in the background has SIGINT ignored.
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.default_int_handler)
    try:
        with _single_instance(), running_environment() as world:
            write_env_file(ENV_FILE, shell_variables(world))
            try:
                print(_ready(world), flush=True)
                world.stack.wait()
            finally:
                ENV_FILE.unlink(missing_ok=True)
    except KeyboardInterrupt:
        print("\nStopped.")
    except (AlreadyUpError, AwsError, BuildError, DeployError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


@contextlib.contextmanager
def _single_instance() -> Iterator[None]:
    """Holds this folder for one `make up`: a second one would take the first one's env away."""
    ENV_FILE.parent.mkdir(parents=True, exist_ok=True)
    with (ENV_FILE.parent / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyUpError("`make up` runs here already; its .local/env is good.") from None
        print("Building and starting Timbres…", flush=True)
        log_steps()
        yield


def shell_variables(local_env: LocalEnvironment) -> dict[str, str]:
    """What a shell needs to know of `world`, by the name of the variable."""
    stack = local_env.stack
    admin = stack.keys["admin"]
    variables = {
        "AWS_ENDPOINT_URL": stack.endpoint_url,
        "AWS_REGION": stack.region,
        "AWS_DEFAULT_REGION": stack.region,
        "AWS_ACCESS_KEY_ID": admin.access_key_id,
        "AWS_SECRET_ACCESS_KEY": admin.secret_access_key,
        # One left in the shell would be sent along, and refused.
        "AWS_SESSION_TOKEN": "",
        "TIMBRES_API_URL": stack.api_url,
    }
    for pac, url in local_env.urls.items():
        variables[f"TIMBRES_{pac.upper().replace('-', '_')}_URL"] = url
    for identity in ("reader", "reporter", "contract_manager"):
        keys = stack.keys[identity]
        prefix = f"TIMBRES_{identity.upper()}"
        variables[f"{prefix}_ACCESS_KEY_ID"] = keys.access_key_id
        variables[f"{prefix}_SECRET_ACCESS_KEY"] = keys.secret_access_key
    for name, value in stack.outputs.items():
        if name.endswith("FunctionName"):
            words = re.findall("[A-Z][a-z]+", name.removesuffix("Name"))
            variables["_".join(["TIMBRES", *(word.upper() for word in words)])] = value
    return variables


def write_env_file(path: Path, variables: dict[str, str]) -> None:
    """Writes `variables` to `path` for a shell to source, for its owner alone to read."""
    lines = [f"export {name}='{value}'\n" for name, value in variables.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.writelines(lines)


def _ready(local_env: LocalEnvironment) -> str:
    return _READY.format(
        api_url=local_env.stack.api_url,
        endpoint_url=local_env.stack.endpoint_url,
        region=local_env.stack.region,
        pacs="\n".join(
            f"  {fake.pac.display_name:18} {local_env.urls[pac]}"
            for pac, fake in local_env.fakes.items()
        ),
        account=next(
            fake.account for fake in local_env.fakes.values() if "stamps" in fake.pac.capabilities
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
