"""The configuration that makes an MCP client start ``collab-agent`` on stdio.

No snippet holds a token: the server is discovered, or named in the client's own environment.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Literal, get_args

Client = Literal["goose", "cursor", "claude", "vscode", "codex", "opencode"]
CLIENTS: tuple[Client, ...] = get_args(Client)

_NAME = "collab-agent"
_TIMEOUT_S = 600
"""Clients' own limits, such as Goose's 300 s, end a call that still works (MCP facts, section 2)."""


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
    if client == "codex":
        return "# In ~/.codex/config.toml:\n" + _codex_toml(command)
    if client == "opencode":
        return "# In opencode.json:\n" + _opencode_json(command)
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
        f"    timeout: {_TIMEOUT_S}\n"
    )


def _codex_toml(command: Sequence[str]) -> str:
    """The entry.  Strings are written as JSON, which TOML reads the same way.

    Codex 0.169 hands on no variable that is not named, and its first turn does not wait for a server that is not
    required: the model would have to do without our tools.
    """
    return (
        f"[mcp_servers.{_NAME}]\n"
        f"command = {json.dumps(command[0])}\n"
        f"args = {json.dumps(list(command[1:]))}\n"
        'env_vars = ["JUPYTER_URL", "JUPYTER_TOKEN"]\n'
        f"tool_timeout_sec = {_TIMEOUT_S}\n"
        "required = true\n"
    )


def _opencode_json(command: Sequence[str]) -> str:
    entry = {"type": "local", "command": list(command), "timeout": _TIMEOUT_S * 1000}
    return json.dumps({"mcp": {_NAME: entry}}, indent=2) + "\n"


def _servers(key: str, command: Sequence[str], **more: str) -> str:
    entry = {**more, "command": command[0], "args": list(command[1:])}
    return json.dumps({key: {_NAME: entry}}, indent=2) + "\n"
