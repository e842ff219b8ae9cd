"""What tests use that is written for Node.js: installed from the lock file of a folder, once."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest


def install(folder: Path) -> str:
    """``npm ci`` in a folder where something is missing; the path of ``node``.  Fails the test where it cannot be."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.fail("node and npm are needed: apt-get install nodejs npm")
    wanted = json.loads((folder / "package.json").read_text("utf-8"))["dependencies"]
    if not all((folder / "node_modules" / name).is_dir() for name in wanted):
        done = subprocess.run(
            [npm, "ci"], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.fail(f"npm ci in {folder} failed:\n{done.stderr}")
    return node
