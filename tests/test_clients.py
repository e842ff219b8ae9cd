"""The snippets are what the clients parse: YAML for Goose, TOML for Codex, JSON for the others."""

from __future__ import annotations

import json
import tomllib

import pytest

from collab_agent.clients import CLIENTS, Client, snippet

COMMAND = ["/opt/my env/bin/collab-agent", "--name", "Ada: #1"]


def goose_entry(text: str) -> dict[str, object]:
    """The flat mapping under ``extensions: collab-agent:``; scalars are JSON or plain words."""
    _, _, yaml = text.partition("extensions:\n  collab-agent:\n")
    entry: dict[str, object] = {}
    for line in yaml.splitlines():
        key, _, value = line.strip().partition(": ")
        try:
            entry[key] = json.loads(value)
        except ValueError:
            entry[key] = value
    return entry


def test_goose_gets_a_timeout_that_outlives_a_long_run() -> None:
    assert goose_entry(snippet("goose", COMMAND)) == {
        "enabled": True,
        "type": "stdio",
        "name": "collab-agent",
        "cmd": COMMAND[0],
        "args": COMMAND[1:],
        "envs": {},
        "timeout": 600,
    }
    assert "goose session --with-extension collab-agent\n" in snippet("goose")


@pytest.mark.parametrize(("client", "key"), [("cursor", "mcpServers"), ("claude", "mcpServers"), ("vscode", "servers")])
def test_the_others_get_json_under_their_own_key(client: Client, key: str) -> None:
    text = snippet(client, COMMAND)
    entry = json.loads(text[text.index("{") :])[key]["collab-agent"]
    assert entry["command"] == COMMAND[0]
    assert entry["args"] == COMMAND[1:]


def test_codex_gets_toml_that_hands_on_the_variables_and_waits() -> None:
    assert tomllib.loads(snippet("codex", COMMAND))["mcp_servers"]["collab-agent"] == {
        "command": COMMAND[0],
        "args": COMMAND[1:],
        "env_vars": ["JUPYTER_URL", "JUPYTER_TOKEN"],
        "tool_timeout_sec": 600,
        "required": True,
    }


def test_opencode_gets_one_list_as_the_command_and_a_timeout_in_milliseconds() -> None:
    text = snippet("opencode", COMMAND)
    entry = {"type": "local", "command": COMMAND, "timeout": 600_000}
    assert json.loads(text[text.index("{") :]) == {"mcp": {"collab-agent": entry}}


@pytest.mark.parametrize("client", CLIENTS)
def test_every_client_has_one_that_names_its_file_and_no_token(client: Client) -> None:
    text = snippet(client)
    assert text.endswith("\n")
    assert "In " in text or "in " in text
    assert "token" not in text.lower().replace('"jupyter_token"', "")  # a name of a variable, not its value
