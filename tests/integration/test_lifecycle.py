"""Beginning and end of the agent's process: whatever ends it, it leaves in order, in time, and nothing stays behind."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from collab_agent.config import Server
from collab_agent.testing import Human
from tests.faults.wire import wire_to
from tests.files import notebook_in
from tests.jupyter.test_leash import descendants, gone
from tests.security.conftest import ADA, BOB, Served, remote, secrets, served

from .conftest import DEADLINE_S, Notebook, Rest, agents_seen
from .test_stdio import Spoken, environment, spawned

__all__ = ["environment", "secrets"]

ENDLESS = "import time\nprint('on', flush=True)\nwhile True: time.sleep(0.01)"
ENDS = ["EOF", "SIGTERM", "SIGINT"]


async def end(goose: Spoken, how: str) -> int:
    """End it in this way; its exit status."""
    if how == "EOF":
        await goose.hang_up()
    else:
        goose.process.send_signal(signal.SIGINT if how == "SIGINT" else signal.SIGTERM)
    return await goose.ends()


async def running(goose: Spoken, ada: Human, path: str, *, amid_a_call: bool = False) -> None:
    """The agent is in the notebook, its edit is just in the room, and its run prints."""
    await goose.start()
    await goose.call("setup_notebook", notebook_path=path)
    await goose.call("modify_notebook_cells", edits=[{"op": "insert", "source": "last = 'words'", "type": "raw"}])
    if amid_a_call:
        arguments = {"name": "execute_notebook_code", "arguments": {"cells": ["first"], "wait_s": 3_000}}
        await goose.say({"id": 99, "method": "tools/call", "params": arguments})
    else:
        await goose.call("execute_notebook_code", cells=["first"], wait_s=0)
    await ada.wait_for(lambda: len(agents_seen(ada)) == 1 and len(ada.notebook.ycells[0]["outputs"]) == 1, DEADLINE_S)


async def kernel_state(page: Rest, path: str) -> str:
    (session,) = await page.sessions(path)
    return str(session["kernel"]["execution_state"])


async def end_kernel(page: Rest, path: str) -> None:
    for session in await page.sessions(path):
        await page.send("DELETE", f"api/sessions/{session['id']}")


def on_disk(server: Server, path: str) -> list[str]:
    cells = notebook_in(Path(str(server.root_dir), path))["cells"]
    return ["".join(cell["source"]) for cell in cells]


@pytest.mark.parametrize("how", ENDS)
async def test_its_edit_is_on_disk_and_its_run_goes_on(
    jupyter: Server, environment: dict[str, str], own_notebook: Notebook, page: Rest, how: str
) -> None:
    path = await own_notebook([ENDLESS])
    async with Human.join_server(jupyter, path) as ada, spawned(environment) as goose:
        await running(goose, ada, path)
        assert await end(goose, how) == 0, goose.err.decode()
        assert on_disk(jupyter, path) == [ENDLESS, "last = 'words'"]
        await ada.wait_for(lambda: not agents_seen(ada))
        assert ada.notebook.ycells[0]["execution_state"] == "idle"
        assert await kernel_state(page, path) == "busy"
        assert goose.err == b""
    await end_kernel(page, path)


async def test_its_run_is_interrupted_if_that_is_wanted(
    jupyter: Server, environment: dict[str, str], own_notebook: Notebook, page: Rest
) -> None:
    path = await own_notebook([ENDLESS])
    async with Human.join_server(jupyter, path) as ada, spawned(environment, "--interrupt-on-exit") as goose:
        await running(goose, ada, path)
        assert await end(goose, "SIGTERM") == 0, goose.err.decode()
        await ada.wait_for(lambda: not agents_seen(ada))
        await ada.wait_for(lambda: ada.notebook.ycells[0]["execution_state"] == "idle")
        assert ada.notebook.ycells[0]["outputs"][1]["ename"] == "KeyboardInterrupt"
        assert await kernel_state(page, path) == "idle"


@pytest.mark.parametrize("how", ENDS)
async def test_a_run_that_a_call_waits_for_is_interrupted_when_the_client_goes(
    jupyter: Server, environment: dict[str, str], own_notebook: Notebook, page: Rest, how: str
) -> None:
    """Goose's Ctrl-C: EOF and SIGTERM within a millisecond, and no word of the call."""
    path = await own_notebook([ENDLESS])
    async with Human.join_server(jupyter, path) as ada, spawned(environment) as goose:
        await running(goose, ada, path, amid_a_call=True)
        assert await end(goose, how) == 0, goose.err.decode()
        await ada.wait_for(lambda: not agents_seen(ada))
        await ada.wait_for(lambda: ada.notebook.ycells[0]["execution_state"] == "idle")
        assert ada.notebook.ycells[0]["outputs"][1]["ename"] == "KeyboardInterrupt"
        assert await kernel_state(page, path) == "idle"


async def test_what_is_not_on_disk_is_told(jupyter: Server, environment: dict[str, str], notebook: Notebook) -> None:
    """Ada has autosave off: that her file is written is for her to decide."""
    path = await notebook(["a"])
    async with Human.join_server(jupyter, path, autosave=False) as ada, spawned(environment) as goose:
        await goose.start()
        await goose.call("setup_notebook", notebook_path=path)
        await ada.wait_for(lambda: len(agents_seen(ada)) == 1, DEADLINE_S)
        await goose.call("modify_notebook_cells", edits=[{"op": "insert", "source": "b"}])
        left = await goose.call("setup_notebook", action="leave")
        assert "what 1 of your calls wrote, but it is not known to be on disk" in left
        await goose.call("setup_notebook", notebook_path=path)
        await goose.call("modify_notebook_cells", edits=[{"op": "insert", "source": "c"}])
        assert await end(goose, "EOF") == 0
        assert goose.err.decode() == f"collab-agent: not known to be on disk: {path} (1 of the agent's calls)\n"
        assert on_disk(jupyter, path) == ["a"]


@pytest.mark.parametrize("how", ["EOF", "SIGTERM"])
async def test_a_server_that_is_silent_holds_up_no_end(
    jupyter: Server, environment: dict[str, str], notebook: Notebook, how: str
) -> None:
    """The wire is open and passes nothing until the process is gone: only its own clock can end it."""
    path = await notebook(["a"])
    async with wire_to(jupyter) as wire, spawned({**environment, "JUPYTER_URL": wire.server.url}) as goose:
        await goose.start()
        await goose.call("setup_notebook", notebook_path=path)
        await goose.call("modify_notebook_cells", edits=[{"op": "insert", "source": "b"}])
        wire.stall()
        assert await end(goose, how) == 1
        assert goose.err.decode().startswith(f"collab-agent: not known to be on disk: {path} (")


CLIENT = """
import subprocess, sys
process = subprocess.Popen([sys.executable, "-m", "collab_agent"], stdin=subprocess.PIPE, stdout=sys.stdout)
print(process.pid, flush=True)
for line in sys.stdin:
    process.stdin.write(line.encode())
    process.stdin.flush()
"""


async def test_it_ends_when_its_client_is_killed(
    jupyter: Server, environment: dict[str, str], own_notebook: Notebook, page: Rest
) -> None:
    path = await own_notebook([ENDLESS])
    async with Human.join_server(jupyter, path) as ada, client_process(environment) as goose:
        pid = int((await goose.line()).decode())
        await running(goose, ada, path)
        goose.process.send_signal(signal.SIGKILL)
        await gone([pid])
        await ada.wait_for(lambda: not agents_seen(ada))
        assert on_disk(jupyter, path) == [ENDLESS, "last = 'words'"]
    await end_kernel(page, path)


@asynccontextmanager
async def client_process(env: dict[str, str]) -> AsyncIterator[Spoken]:
    async with await anyio.open_process([sys.executable, "-c", CLIENT], env=env, stderr=None) as process:
        yield Spoken(process)


@pytest.mark.parametrize("how", ["EOF", "SIGKILL"])
async def test_nothing_is_left_of_an_embedded_jupyterlab(jupyter_env: dict[str, str], tmp_path: Path, how: str) -> None:
    env = apart(jupyter_env, tmp_path)
    work = tmp_path / "work"
    work.mkdir()
    async with spawned(env, cwd=work) as goose:
        await goose.start()
        opened = await goose.call("setup_notebook", notebook_path="new.ipynb")
        assert "kernel: idle" in opened, opened
        await goose.call("modify_notebook_cells", edits=[{"op": "insert", "source": "x = 1"}])
        await goose.call("execute_notebook_code", code="import subprocess; subprocess.Popen(['sleep', '3600'])")
        pids = descendants(goose.process.pid)
        assert len(pids) >= 3, "the server, its kernel, and what the kernel has started"
        if how == "EOF":
            assert await end(goose, "EOF") == 0, goose.err.decode()
        else:
            goose.process.send_signal(signal.SIGKILL)
            await goose.ends()
        await gone(pids)
    assert left_in(tmp_path) == []


def apart(env: dict[str, str], folder: Path) -> dict[str, str]:
    """Where no other server is found, and what a process leaves can be seen."""
    return {**env, "JUPYTER_RUNTIME_DIR": str(folder / "runtime"), "TMPDIR": str(folder)}


def left_in(folder: Path) -> list[Path]:
    """What a JupyterLab of ours needed only while it ran."""
    return list(folder.glob("collab-agent-jupyter-*"))


@pytest.mark.parametrize(("command", "number"), [("lab", signal.SIGTERM), ("demo", signal.SIGKILL)])
async def test_nothing_is_left_of_a_command_that_starts_jupyterlab(
    jupyter_env: dict[str, str], tmp_path: Path, command: str, number: signal.Signals
) -> None:
    env = apart(jupyter_env, tmp_path)
    async with spawned(env, command, "--no-browser", cwd=tmp_path) as started:
        pids: list[int] = []
        while not pids:
            await started.line()
            pids = descendants(started.process.pid)
        started.process.send_signal(number)
        await gone([started.process.pid, *pids])


STUBBORN = """
import signal, subprocess, time
for each in (signal.SIGINT, signal.SIGTERM):
    signal.signal(each, signal.SIG_IGN)
subprocess.Popen(["sleep", "3600"])
print("on", flush=True)
while True: time.sleep(0.01)
"""


async def test_a_lab_that_was_stopped_is_gone_with_a_kernel_that_takes_no_signal(
    jupyter_env: dict[str, str], tmp_path: Path
) -> None:
    env = apart(jupyter_env, tmp_path)
    async with spawned(env, "lab", "--no-browser", str(tmp_path)) as lab, spawned(env, cwd=tmp_path) as goose:
        while b"Ctrl-C" not in await lab.line():
            pass
        await goose.start()
        await goose.call("setup_notebook", notebook_path="a.ipynb")
        await goose.call("execute_notebook_code", edits=[{"op": "insert", "source": STUBBORN}], wait_s=0)
        while "│on" not in await goose.call("query_notebook", query="outputs", cells=["last"]):
            pass
        pids = descendants(lab.process.pid)
        assert len(pids) >= 3, "the server, its kernel, and what the kernel has started"
        os.kill(pids[0], signal.SIGSTOP)
        lab.process.send_signal(signal.SIGTERM)
        assert await lab.ends() == 0, lab.err.decode()
        await gone(pids)
    assert left_in(tmp_path) == []


# Over HTTP.


@asynccontextmanager
async def staying(agents: Served, path: str, *owners: str) -> AsyncIterator[None]:
    """Clients with these secrets, whose agents are in the notebook and have just written."""

    async def stay(secret: str, *, task_status: Any) -> None:
        async with remote(agents.url, secret) as client:
            await client.call("setup_notebook", notebook_path=path)
            await client.call("modify_notebook_cells", edits=[{"op": "insert", "source": "last = 'words'"}])
            task_status.started()
            await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        for secret in owners:
            await tasks.start(stay, secret)
        yield
        tasks.cancel_scope.cancel()


async def test_a_silent_server_holds_up_no_end_over_http(
    jupyter: Server, environment: dict[str, str], secrets: Path, notebook: Notebook
) -> None:
    """Uvicorn, two agents and the server's answers would take half a minute."""
    path = await notebook(["a"])
    async with wire_to(jupyter) as wire:
        env = {**environment, "JUPYTER_URL": wire.server.url}
        async with served(env, "--http-token-file", str(secrets)) as agents, staying(agents, path, ADA, BOB):
            wire.stall()
            agents.process.send_signal(signal.SIGTERM)
            assert await agents.ends() == 1
    told = agents.said.decode().splitlines()[1:]
    assert len(told) == 2
    assert all(line.startswith(f"collab-agent: not known to be on disk: {path} (") for line in told), told


async def test_what_is_not_on_disk_is_told_over_http(
    jupyter: Server, environment: dict[str, str], secrets: Path, notebook: Notebook
) -> None:
    path = await notebook(["a"])
    async with (
        Human.join_server(jupyter, path, autosave=False) as ada,
        served(environment, "--http-token-file", str(secrets)) as agents,
        staying(agents, path, ADA),
    ):
        agents.process.send_signal(signal.SIGINT)
        assert await agents.ends() == 0
        await ada.wait_for(lambda: not agents_seen(ada))
    told = agents.said.decode().splitlines()[1:]
    assert told == [f"collab-agent: not known to be on disk: {path} (1 of the agent's calls)"]


async def test_nothing_is_left_of_a_jupyterlab_that_serving_http_started(
    jupyter_env: dict[str, str], secrets: Path, tmp_path: Path
) -> None:
    env = apart(jupyter_env, tmp_path)
    (work := tmp_path / "work").mkdir()
    async with served(env, "--http-token-file", str(secrets), cwd=work) as agents, remote(agents.url, ADA) as client:
        await client.call("setup_notebook", notebook_path="new.ipynb")
        await client.call("execute_notebook_code", edits=[{"op": "insert", "source": ENDLESS}], wait_s=0)
        pids = descendants(agents.process.pid)
        assert len(pids) >= 2, "the server and its kernel"
        agents.process.send_signal(signal.SIGTERM)
        assert await agents.ends() == 0, agents.said.decode()
        await gone(pids)
    assert ENDLESS in ["".join(cell["source"]) for cell in notebook_in(work / "new.ipynb")["cells"]]
    assert left_in(tmp_path) == []
