"""The configuration that makes an MCP client start ``collab-agent`` on stdio.

No snippet holds a token: the server is discovered, or named in the client's own environment.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Literal, get_args

Client = Literal["goose", "cursor", "claude", "vscode"]
CLIENTS: tuple[Client, ...] = get_args(Client)

_NAME = "collab-agent"
_GOOSE_TIMEOUT_S = 600
"""Goose's own 300 s end a call that still works, and progress does not extend them (MCP facts, section 2)."""


def snippet(client: Client, command: Sequence[str] = ("collab-agent",)) -> str:
    """What to put where for ``client``, as text to print.  ``command``: how collab-agent is started."""
    line = shlex.join(command)
    if client == "goose":
        return (
            "# Try it at once:\n"
            f"goose session --with-extension {shlex.quote(line)}\n\n"
            "# For good, in ~/.config/goose/config.yaml:\n" + _goose_yaml(command)
        )
    if client == "claude":
        return (
            "# Claude Code:\n"
            f"claude mcp add {_NAME} -- {line}\n\n"
            "# Claude Desktop, in claude_desktop_config.json:\n" + _servers("mcpServers", command)
        )
    if client == "cursor":
        return "# In .cursor/mcp.json:\n" + _servers("mcpServers", command)
    return "# In .vscode/mcp.json:\n" + _servers("servers", command, type="stdio")


def _goose_yaml(command: Sequence[str]) -> str:
    """The extension entry.  Scalars are written as JSON, which YAML reads the same way."""
    return (
        "extensions:\n"
        f"  {_NAME}:\n"
        "    enabled: true\n"
        "    type: stdio\n"
        f"    name: {_NAME}\n"
        f"    cmd: {json.dumps(command[0])}\n"
        f"    args: {json.dumps(list(command[1:]))}\n"
        "    envs: {}\n"
        f"    timeout: {_GOOSE_TIMEOUT_S}\n"
    )


def _servers(key: str, command: Sequence[str], **more: str) -> str:
    entry = {**more, "command": command[0], "args": list(command[1:])}
    return json.dumps({key: {_NAME: entry}}, indent=2) + "\n"
