"""Other real clients, headless, with a scripted model, configured by what ``collab-agent clients`` prints.

opencode is driven always; Codex and Claude Code, 770 MB from npm, with ``pytest tests/clients --every-client``.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest
from playwright.async_api import expect

from collab_agent.clients import snippet
from collab_agent.config import Server
from tests import npm
from tests.browser.conftest import LabPage

from .driving import DEADLINE_S, SLEEPS, TYPO, Running, interrupted_by_ctrl_c, opens, repairing, running, waits
from .scripted_model import ScriptedModel, Step, serving

HERE = Path(__file__).parent
HEAVY = HERE / "heavy"
OPENCODE = HERE / "node_modules/opencode-linux-x64-baseline/bin/opencode"
CODEX = HEAVY / "node_modules/@openai/codex/vendor/x86_64-unknown-linux-musl/bin/codex"
CLAUDE = HEAVY / "node_modules/@anthropic-ai/claude-code-linux-x64/claude"
COMMAND = [sys.executable, "-m", "collab_agent"]
ASKED = "Why does it fail?"


@dataclass(frozen=True)
class Client:
    """``prepare(folder, port, timeout_s)``: write its configuration; what the environment has besides.

    ``port`` is the model's, ``timeout_s`` what a call may take.
    """

    name: str
    folder: Path
    prepare: Callable[[Path, int, int], Mapping[str, str]]
    setup: tuple[str, ...]
    command: tuple[str, ...]
    options: tuple[str, ...] = ()
    deaf: bool = False
    """While opencode tries to install something of its own in the background it passes over a Ctrl-C."""


def opencode(folder: Path, port: int, timeout_s: int) -> Mapping[str, str]:
    """The snippet is the project's file, the model the user's.  Nothing is fetched from anywhere."""
    (folder / "opencode.json").write_text(printed("opencode").replace("600", str(timeout_s)), "utf-8")
    model = {"npm": "@ai-sdk/openai-compatible", "options": {"baseURL": f"http://127.0.0.1:{port}/v1", "apiKey": "x"}}
    own = folder / ".config/opencode/opencode.json"
    own.parent.mkdir(parents=True)
    own.write_text(json.dumps({"provider": {"scripted": {**model, "models": {"m": {}}}}}), "utf-8")
    return {"OPENCODE_DISABLE_MODELS_FETCH": "1", "OPENCODE_DISABLE_AUTOUPDATE": "1", "npm_config_offline": "true"}


def codex(folder: Path, port: int, timeout_s: int) -> Mapping[str, str]:
    """The snippet stands behind the model in the user's file."""
    own = folder / ".codex/config.toml"
    own.parent.mkdir()
    model = f"""\
model = "m"
model_provider = "scripted"
[model_providers.scripted]
name = "Scripted"
base_url = "http://127.0.0.1:{port}/v1"
wire_api = "responses"
env_key = "SCRIPTED_KEY"
"""
    own.write_text(model + printed("codex").replace("600", str(timeout_s)), "utf-8")
    return {"SCRIPTED_KEY": "x"}


def claude(_folder: Path, port: int, timeout_s: int) -> Mapping[str, str]:
    """The snippet is a command.  Without ``MCP_CONNECTION_NONBLOCKING`` the first turn may begin without our tools."""
    return {
        "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{port}",
        "ANTHROPIC_API_KEY": "x",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "MCP_CONNECTION_NONBLOCKING": "0",
        "MCP_TOOL_TIMEOUT": str(timeout_s * 1000),
    }


def printed(client: str) -> str:
    """The snippet without the line that says where it belongs."""
    found = {"opencode": snippet("opencode", COMMAND), "codex": snippet("codex", COMMAND)}
    _, _, entry = found[client].partition("\n")
    return entry


ADD = next(line for line in snippet("claude", COMMAND).splitlines() if line.startswith("claude "))
CODEX_OPTIONS = ("--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "--strict-config")
CLIENTS = {
    "opencode": Client(
        "OpenCode", HERE, opencode, (), (str(OPENCODE), "run", "--model", "scripted/m", ASKED), deaf=True
    ),
    "codex": Client("Codex", HEAVY, codex, (), (str(CODEX), "exec", *CODEX_OPTIONS, ASKED)),
    "claude": Client(
        "Claude",
        HEAVY,
        claude,
        (str(CLAUDE), *shlex.split(ADD)[1:]),
        (str(CLAUDE), "--print", ASKED),
        ("--allowedTools", "mcp__collab-agent"),
    ),
}
ALWAYS = ("opencode",)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The clients of this run."""
    every = metafunc.config.getoption("--every-client")
    metafunc.parametrize("client", list(CLIENTS) if every else ALWAYS)


@asynccontextmanager
async def at_work(
    client: str,
    steps: Sequence[Step],
    env: Mapping[str, str],
    folder: Path,
    *,
    timeout_s: int = 600,
    options: Sequence[str] | None = None,
) -> AsyncIterator[Running]:
    """A client on a script, configured anew in a folder and home of its own; ``options`` instead of its usual ones."""
    how = CLIENTS[client]
    npm.install(how.folder)
    command = [*how.command, *(how.options if options is None else options)]
    with serving(ScriptedModel(steps)) as model:
        env = {**env, **how.prepare(folder, model.port, timeout_s)}
        if how.setup:
            await anyio.run_process(how.setup, env={**env, "HOME": str(folder)}, cwd=folder, stdin=subprocess.DEVNULL)
        async with running(command, model, env, folder) as made:
            yield made


async def test_a_client_repairs_a_failing_cell_beside_a_human(
    client: str,
    client_env: dict[str, str],
    new_notebook: Callable[..., str],
    jupyter: Server,
    page: LabPage,
    tmp_path: Path,
) -> None:
    path, name = new_notebook(TYPO), CLIENTS[client].name
    was_seen = threading.Event()
    await page.goto(jupyter, path)
    async with at_work(client, repairing(path, name, was_seen), client_env, tmp_path) as made:
        await expect(page.flag(name).first).to_be_attached(timeout=DEADLINE_S * 1000)
        was_seen.set()
        said = await made.ended()
    assert "the area is 42" in said
    assert "Begin with setup_notebook" in made.model.told
    await page.wait_for_text(1, "area = width * 7")
    await expect(page.cell(2).locator(".jp-OutputArea-output")).to_have_text("42\n")
    await expect(page.flag(name)).to_have_count(0)  # it has left


async def test_ctrl_c_in_a_client_interrupts_the_cell_that_it_waits_for(
    client: str, client_env: dict[str, str], new_notebook: Callable[..., str], jupyter: Server, tmp_path: Path
) -> None:
    path = new_notebook(SLEEPS)
    async with at_work(client, [opens(path), waits(CLIENTS[client].name)], client_env, tmp_path) as made:
        await interrupted_by_ctrl_c(made, jupyter, path, again=CLIENTS[client].deaf)
