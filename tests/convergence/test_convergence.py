"""The random machine for as long as CI has time; ``python -m tests.convergence SEED OPERATIONS`` for longer."""

from __future__ import annotations

import os
import subprocess
import sys

OPERATIONS = 50_000


def test_everybody_agrees_and_no_keystroke_is_lost_or_doubled() -> None:
    # In processes of its own: it has a clock of its own, and a seed repeats only where hashes do.
    command = [sys.executable, "-m", "tests.convergence", "1", str(OPERATIONS), "2"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONHASHSEED": "0"}
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2_000:]
