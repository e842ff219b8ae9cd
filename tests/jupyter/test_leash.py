"""The embedded JupyterLab when whoever started it is killed: nothing of it is left, its kernels included."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream
from websockets.asyncio.client import connect

from collab_agent.jupyter.api import JupyterApi
from collab_agent.jupyter.discovery import pid_lives, running_servers, runtime_dir

DEADLINE_S = 90.0
POLL_S = 0.05

HOLDER = """
import os, sys, anyio
from pathlib import Path
from collab_agent.jupyter.embedded import embedded_lab

async def hold():
    async with embedded_lab(sys.argv[1], env=os.environ, log_path=Path(sys.argv[1], "lab.log")) as lab:
        print(lab.pid, lab.server.url, flush=True)
        await anyio.sleep_forever()

anyio.run(hold)
"""


async def gone(pids: list[int]) -> None:
    """Wait until none of these processes is there."""
    with anyio.fail_after(DEADLINE_S):
        while True:
            if not any(pid_lives(pid) for pid in pids):
                return
            await anyio.sleep(POLL_S)  # nobody tells the end of a process that is not our child


def descendants(pid: int) -> list[int]:
    """The processes below this one, kernels and what their code has started among them."""
    found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("utf-8").split()]
    return [*found, *(below for child in found for below in descendants(child))]


async def test_it_ends_when_its_starter_is_killed(jupyter_env: dict[str, str], tmp_path: Path) -> None:
    """Although a client is in a room, with which the server would hang."""
    async with await anyio.open_process(
        [sys.executable, "-c", HOLDER, str(tmp_path)], env=jupyter_env, stderr=None
    ) as holder:
        assert holder.stdout is not None
        with anyio.fail_after(DEADLINE_S):
            line = await BufferedByteReceiveStream(holder.stdout).receive_until(b"\n", 1_000)
        lab, url = int(line.split()[0]), line.split()[1].decode()
        servers = [found.server for found in running_servers(runtime_dir(jupyter_env)) if found.server.url == url]
        async with JupyterApi(servers[0]) as api:
            await api.create_notebook("a.ipynb")
            await api.ensure_session("a.ipynb")
            room = await api.open_session_rtc("a.ipynb")
            address = api.ws_url(f"api/collaboration/room/{room.room_id}?sessionId={room.session_id}")
            socket = await connect(address, additional_headers=api.headers)
        pids = [lab, *descendants(lab)]
        assert len(pids) > 1
        holder.send_signal(signal.SIGKILL)
        await gone(pids)
        await socket.close()
