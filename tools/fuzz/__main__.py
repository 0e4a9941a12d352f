"""`python -m tools.fuzz`: fuzz every route of a Timbres of its own, for minutes.

Options are Schemathesis' own, such as `--seed 7` to repeat a run.
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
    """Ends with 0 when nothing failed; what did is shown with a request that repeats it."""
    print("Building and starting Timbres…", flush=True)
    try:
        with running_environment(ROOT / ".local" / "aws-fuzz.log") as world:
            # So that there is a run to be looked at.
            world.stack.fire("RunFunctionDaily")
            return fuzz(world.stack, (*_OPTIONS, *sys.argv[1:])).returncode
    except (AwsError, BuildError, DeployError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
