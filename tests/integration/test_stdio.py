"""``python -m collab_agent`` on stdio, as a client starts it and as it leaves it."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream
from mcp import StdioServerParameters
from mcp.client.client import Client
from mcp.client.stdio import stdio_client
from mcp_types import Implementation

from collab_agent.config import Server
from collab_agent.jupyter.embedded import embedded_lab
from collab_agent.testing import Human

from .conftest import DEADLINE_S, Notebook, agents_seen, panel_on, result_of


class Spoken:
    """A process that is spoken to line by line, with everything that it ever said."""

    def __init__(self, process: Process) -> None:
        assert process.stdout is not None
        self.process = process
        self.out = b""
        self.err = b""
        self._lines = BufferedByteReceiveStream(process.stdout)
        self._number = 0

    async def listen_to_stderr(self) -> None:
        assert self.process.stderr is not None
        async for chunk in self.process.stderr:
            self.err += chunk

    async def say(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        await self.process.stdin.send(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    async def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """A request, and the result that it is answered with."""
        self._number += 1
        await self.say({"id": self._number, "method": method, "params": params})
        with anyio.fail_after(DEADLINE_S):
            while True:
                line = await self._lines.receive_until(b"\n", 10_000_000)
                self.out += line + b"\n"
                message = json.loads(line)  # nothing but messages on this wire
                if message.get("id") == self._number:
                    return dict(message["result"])

    async def line(self) -> bytes:
        """The next line that it says, whatever that is."""
        with anyio.fail_after(DEADLINE_S):
            return await self._lines.receive_until(b"\n", 10_000_000)

    async def call(self, tool: str, **arguments: Any) -> str:
        """A tool call's text."""
        result = await self.ask("tools/call", {"name": tool, "arguments": arguments})
        return "\n".join(part["text"] for part in result["content"] if part["type"] == "text")

    async def start(self) -> dict[str, Any]:
        """The handshake, as Goose does it."""
        client = {"name": "goose", "version": "1.52.0"}
        given = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client}
        result = await self.ask("initialize", given)
        await self.say({"method": "notifications/initialized"})
        return result

    async def hang_up(self) -> None:
        """Close its stdin."""
        assert self.process.stdin is not None
        await self.process.stdin.aclose()

    async def ends(self) -> int:
        """Wait for its end and take in what it said last."""
        with anyio.fail_after(DEADLINE_S):
            while True:
                try:
                    self.out += await self._lines.receive()
                except anyio.EndOfStream:
                    return await self.process.wait()


@pytest.fixture
def environment(jupyter: Server, jupyter_env: dict[str, str]) -> dict[str, str]:
    return jupyter_env | {"JUPYTER_URL": jupyter.url, "JUPYTER_TOKEN": jupyter.token}


@asynccontextmanager
async def spawned(env: dict[str, str], *arguments: str, cwd: Path | None = None) -> AsyncIterator[Spoken]:
    async with (
        await anyio.open_process(
            [sys.executable, "-m", "collab_agent", *arguments], env=env, cwd=cwd or Path(__file__).parents[2]
        ) as process,
        anyio.create_task_group() as tasks,
    ):
        spoken = Spoken(process)
        tasks.start_soon(spoken.listen_to_stderr)
        try:
            yield spoken
        finally:
            if process.returncode is None:
                process.kill()


async def test_a_client_works_over_stdio(
    jupyter: Server, environment: dict[str, str], notebook: Notebook, tmp_path: Path
) -> None:
    path = await notebook(["a = 1"])
    parameters = StdioServerParameters(
        command=sys.executable, args=["-m", "collab_agent"], env=environment, cwd=str(tmp_path)
    )
    async with Human.join_server(jupyter, path) as ada:
        async with Client(
            stdio_client(parameters), mode="legacy", client_info=Implementation(name="cursor-vscode", version="1")
        ) as client:
            tools = (await client.list_tools()).tools
            assert [tool.name for tool in tools] == [
                "setup_notebook",
                "query_notebook",
                "modify_notebook_cells",
                "execute_notebook_code",
            ]
            assert all(tool.annotations is not None and tool.output_schema is None for tool in tools)
            opened = result_of(await client.call_tool("setup_notebook", {"notebook_path": path}))
            assert "you are: Cursor" in opened.text
            await ada.wait_for(lambda: [state["user"]["name"] for state in agents_seen(ada)] == ["Cursor"])
            edits = [{"op": "write", "cell": "#1", "source": "print('漢😀')"}]
            ran = result_of(await client.call_tool("execute_notebook_code", {"edits": edits}))
            assert "漢😀" in ran.text
            await ada.wait_for(lambda: ada.sources() == ["print('漢😀')"])
        await ada.wait_for(lambda: not agents_seen(ada))


@pytest.mark.parametrize("how", ["EOF", "SIGTERM twice", "SIGINT", "EOF and SIGTERM twice"])
async def test_it_leaves_visibly_however_it_is_told_to_go(
    jupyter: Server, environment: dict[str, str], own_notebook: Notebook, how: str
) -> None:
    path = await own_notebook(["print('漢', flush=True)\nimport time\nwhile True: time.sleep(0.01)", "2"])
    async with (
        Human.join_server(jupyter, path) as ada,
        panel_on(jupyter) as panel,
        spawned(environment) as goose,
    ):
        await goose.start()
        await goose.call("setup_notebook", notebook_path=path)
        await goose.call("execute_notebook_code", cells="all", wait_s=0)
        await ada.wait_for(lambda: len(agents_seen(ada)) == 1 and len(ada.notebook.ycells[0]["outputs"]) == 1)
        await panel.wait_for(lambda: len(agents_seen(panel)) == 1)
        if "EOF" in how:
            await goose.hang_up()
        if "SIGTERM" in how:
            goose.process.send_signal(signal.SIGTERM)
            goose.process.send_signal(signal.SIGTERM)
        if how == "SIGINT":
            goose.process.send_signal(signal.SIGINT)
        assert await goose.ends() == 0, goose.err.decode()
        await ada.wait_for(lambda: not agents_seen(ada))
        await panel.wait_for(lambda: not agents_seen(panel))
        await ada.wait_for(lambda: ada.notebook.ycells[0]["execution_state"] == "idle")
        assert str(ada.notebook.ycells[0]["outputs"][0]["text"]) == "漢\n"
        assert b"Traceback" not in goose.err


async def test_a_token_appears_nowhere(
    jupyter: Server, environment: dict[str, str], notebook: Notebook, tmp_path: Path
) -> None:
    path = await notebook(["1 / 0"])
    async with spawned(environment) as goose:
        argv = await anyio.Path(f"/proc/{goose.process.pid}/cmdline").read_bytes()
        hello = await goose.start()
        assert hello["serverInfo"]["name"] == "collab-agent"
        assert "since your last call:" in hello["instructions"]
        await goose.ask("tools/list", {})
        await goose.call("setup_notebook", notebook_path=path)
        await goose.call("query_notebook", query="server")
        await goose.call("execute_notebook_code", cells="all")
        await goose.call("setup_notebook", notebook_path="../out")
        await goose.call("setup_notebook", action="save")
        await goose.hang_up()
        await goose.ends()
    assert jupyter.token.encode() not in argv + goose.out + goose.err

    secret = "wrong-" + jupyter.token[:8]
    (tmp_path / "token").write_text(secret + "\n")
    plain = {name: value for name, value in environment.items() if not name.startswith("JUPYTER_TOKEN")}
    async with spawned(plain, "--url", jupyter.url, "--token-file", str(tmp_path / "token")) as goose:
        await goose.start()
        refused = await goose.call("setup_notebook", notebook_path=path)
        assert "token" in refused
        await goose.hang_up()
        await goose.ends()
    assert secret.encode() not in goose.out + goose.err


async def test_the_server_of_the_current_folder_is_found(
    jupyter: Server, jupyter_env: dict[str, str], notebook: Notebook
) -> None:
    path = await notebook(["a"])
    async with spawned(jupyter_env, "--no-embedded", "--name", "Pair 漢", cwd=Path(str(jupyter.root_dir))) as goose:
        await goose.start()
        opened = await goose.call("setup_notebook", notebook_path=path)
        assert f"{path}: 1 cell" in opened
        assert "you are: Pair 漢" in opened
        await goose.hang_up()
        assert await goose.ends() == 0


async def test_a_jupyterlab_of_the_user_is_found_without_any_configuration(
    jupyter_env: dict[str, str], tmp_path: Path
) -> None:
    """It runs in another folder, with a password, a token and a base URL of its own; nothing is set for the agent."""
    from jupyter_server.auth import passwd

    env = {**jupyter_env, "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime")}
    options = [
        "--ServerApp.base_url=/users/ada/",
        f"--PasswordIdentityProvider.hashed_password={passwd('x', 'sha256')}",
    ]
    for folder in ("theirs", "elsewhere"):
        (tmp_path / folder).mkdir()
    with anyio.fail_after(DEADLINE_S * 2):
        async with (
            embedded_lab(tmp_path / "theirs", env=env, log_path=tmp_path / "lab.log", extra_args=options) as lab,
            spawned(env, "--no-embedded", cwd=tmp_path / "elsewhere") as goose,
        ):
            assert lab.server.url.endswith("/users/ada/")
            await goose.start()
            assert "new.ipynb: 1 cell" in await goose.call("setup_notebook", notebook_path="new.ipynb")
            write = {"op": "write", "cell": "#1", "source": "6 * 7"}
            assert "42" in await goose.call("execute_notebook_code", edits=[write])
            assert "saved" in await goose.call("setup_notebook", action="save")
            assert (tmp_path / "theirs" / "new.ipynb").exists()
            await goose.hang_up()
            assert await goose.ends() == 0, goose.err.decode()


async def test_without_a_server_the_error_says_how_to_get_one(jupyter_env: dict[str, str], tmp_path: Path) -> None:
    env = {**jupyter_env, "JUPYTER_RUNTIME_DIR": str(tmp_path)}
    async with spawned(env, "--no-embedded", cwd=tmp_path) as goose:
        await goose.start()
        refused = await goose.call("setup_notebook", notebook_path="x.ipynb")
        assert "collab-agent lab" in refused
        await goose.hang_up()
        assert await goose.ends() == 0


async def test_a_client_that_never_speaks_costs_nothing(jupyter_env: dict[str, str]) -> None:
    async with spawned({**jupyter_env, "JUPYTER_URL": "http://127.0.0.1:1", "HOME": os.devnull}) as goose:
        await goose.hang_up()
        assert await goose.ends() == 0
        assert (goose.out, goose.err) == (b"", b"")
