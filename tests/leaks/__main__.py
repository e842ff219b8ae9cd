"""``python -m tests.leaks [CYCLES]``: the long form, with figures."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

import anyio

from collab_agent.jupyter.embedded import embedded_lab
from tests.conftest import notebook_json
from tests.integration.conftest import mcp_agent_on

from .cycles import in_a_room_of_this_process, on_a_server, repeat, told


async def main(cycles: int, folder: str) -> None:
    """In this process, then on a JupyterLab of our own."""
    print(told("a room in this process", await repeat(in_a_room_of_this_process, cycles)), flush=True)
    env = {**os.environ, "JUPYTER_RUNTIME_DIR": os.path.join(folder, "runtime")}
    async with embedded_lab(folder, env=env) as lab, mcp_agent_on(lab.server) as agent:
        print(told("a JupyterLab", await repeat(on_a_server(agent, "a.ipynb"), cycles)), flush=True)


with tempfile.TemporaryDirectory() as made:
    Path(made, "a.ipynb").write_text(json.dumps(notebook_json(["1"])), "utf-8")
    anyio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 1_000, made)
