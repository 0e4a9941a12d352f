"""Runs `python -m tools.doctor` against a deployed stack."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

from local.emulator_process import ROOT, Keys
from local.stack import Stack

from tests.support.output_recorder import OutputRecorder

# Returns the exit status, and the last level and all texts about each subject.
RunDoctor = Callable[..., tuple[int, dict[str, tuple[str, str]]]]


def doctor_of(stack: Stack, recorder: OutputRecorder) -> RunDoctor:
    """Return a function that runs the doctor with options; ``recorder`` keeps its output."""

    def run(
        *options: str, keys: Keys = stack.keys["admin"], path: str = ""
    ) -> tuple[int, dict[str, tuple[str, str]]]:
        process = subprocess.run(
            [sys.executable, "-m", "tools.doctor", *options],
            cwd=ROOT,
            env={
                "PATH": path + os.environ["PATH"],
                "HOME": "/nonexistent",
                "PYTHONPATH": str(ROOT / "layers" / "timbres"),
                "AWS_EC2_METADATA_DISABLED": "true",
                "AWS_ENDPOINT_URL": stack.endpoint_url,
                "AWS_ACCESS_KEY_ID": keys.access_key_id,
                "AWS_SECRET_ACCESS_KEY": keys.secret_access_key,
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert process.stderr == ""
        recorder.output.append(process.stdout)
        lines = process.stdout.splitlines()[:-2]
        results: dict[str, tuple[str, str]] = {}
        for line in lines:
            level, subject, text = line[:9].strip(), line[9:33].strip(), line[34:]
            results[subject] = (level, "\n".join((*results.get(subject, ())[1:], text)))
        return process.returncode, results

    return run
