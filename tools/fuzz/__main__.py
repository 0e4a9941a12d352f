"""`python -m tools.fuzz`: fuzz every route of a new local stack; takes minutes.

Options are passed to Schemathesis, for example `--seed 7` to repeat a run.
"""

from __future__ import annotations

import sys

from local.build import BuildError
from local.emulator_process import ROOT, AwsError
from local.environment import running_environment
from local.stack import DeployError

from tools.fuzz.run import fuzz

_OPTIONS = ("--max-examples", "200", "--continue-on-failure")


def main() -> int:
    """Print each failure with a request that reproduces it. Return 0 if nothing failed."""
    print("Building and starting Timbres…", flush=True)
    try:
        with running_environment(ROOT / ".local" / "aws-fuzz.log") as local_env:
            # The routes of runs need a run.
            local_env.stack.fire("RunFunctionDaily")
            return fuzz(local_env.stack, (*_OPTIONS, *sys.argv[1:])).returncode
    except (AwsError, BuildError, DeployError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
