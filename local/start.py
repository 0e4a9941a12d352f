"""`python -m local.start`: run the demo environment until Ctrl-C; write `.local/env`."""

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

In another shell, in this folder:

  .venv/bin/timbres accounts
  .venv/bin/timbres stamps --low
  .venv/bin/timbres contract {account} 'A&D061009TY8' 500 --key my-first

Press Ctrl-C to stop.
"""


class AlreadyUpError(Exception):
    """Another `make up` is running in this folder."""


def main() -> int:
    """Run until Ctrl-C or SIGTERM. Return 0, or 1 with the reason if it fails."""
    # SIGINT explicitly, because a shell starts background processes with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        with _single_instance(), running_environment() as local_env:
            write_env_file(ENV_FILE, shell_variables(local_env))
            try:
                print(_ready_message(local_env), flush=True)
                local_env.stack.wait()
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
    """Lock this folder, because a second `make up` would overwrite the first's `.local/env`."""
    ENV_FILE.parent.mkdir(parents=True, exist_ok=True)
    with (ENV_FILE.parent / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = "`make up` is already running in this folder; use its .local/env."
            raise AlreadyUpError(text) from None
        print("Building and starting Timbres…", flush=True)
        log_steps()
        yield


def shell_variables(local_env: LocalEnvironment) -> dict[str, str]:
    """Return the variables of `.local/env`, by name."""
    stack = local_env.stack
    admin = stack.keys["admin"]
    variables = {
        "AWS_ENDPOINT_URL": stack.endpoint_url,
        "AWS_REGION": stack.region,
        "AWS_DEFAULT_REGION": stack.region,
        "AWS_ACCESS_KEY_ID": admin.access_key_id,
        "AWS_SECRET_ACCESS_KEY": admin.secret_access_key,
        # A token left in the shell would be sent too and rejected.
        "AWS_SESSION_TOKEN": "",
        "TIMBRES_API_URL": stack.api_url,
    }
    for pac, url in local_env.urls.items():
        variables[f"TIMBRES_{pac.upper().replace('-', '_')}_URL"] = url
    for identity in ("READER", "REPORTER", "CONTRACT_MANAGER"):
        keys = stack.keys[identity.lower()]
        variables[f"TIMBRES_{identity}_ACCESS_KEY_ID"] = keys.access_key_id
        variables[f"TIMBRES_{identity}_SECRET_ACCESS_KEY"] = keys.secret_access_key
    for name, value in stack.outputs.items():
        if name.endswith("FunctionName"):
            parts = re.findall("[A-Z][a-z]+", name.removesuffix("Name"))
            variables["_".join(["TIMBRES", *parts]).upper()] = value
    return variables


def write_env_file(path: Path, variables: dict[str, str]) -> None:
    """Write `variables` to `path` as shell exports, readable only by the owner."""
    lines = [f"export {name}='{value}'\n" for name, value in variables.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.writelines(lines)


def _ready_message(local_env: LocalEnvironment) -> str:
    stack, fakes = local_env.stack, local_env.fakes
    lines = (f"  {fake.pac.display_name:18} {local_env.urls[pac]}" for pac, fake in fakes.items())
    return _READY.format(
        api_url=stack.api_url,
        endpoint_url=stack.endpoint_url,
        region=stack.region,
        pacs="\n".join(lines),
        account=next(f.account for f in fakes.values() if "stamps" in f.pac.capabilities),
    )


if __name__ == "__main__":
    sys.exit(main())
