"""The embedded JupyterLab: what it is started with, and that nothing of it is left behind."""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import pytest
from websockets.asyncio.client import connect

from collab_agent.config import Server
from collab_agent.errors import ConfigError, Unreachable
from collab_agent.jupyter import embedded
from collab_agent.jupyter.api import JupyterApi
from collab_agent.jupyter.discovery import is_alive, pid_lives, running_servers, runtime_dir
from collab_agent.jupyter.embedded import embedded_lab, lab_command


def command_line_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text("utf-8")


async def test_it_answers_inside_the_block_and_is_gone_after_it(jupyter_env: dict[str, str], tmp_path: Path) -> None:
    with anyio.fail_after(90):
        async with embedded_lab(tmp_path, env=jupyter_env) as lab:
            assert await is_alive(lab.server)
            assert lab.server.root_dir == str(tmp_path)
            assert lab.server.url.startswith("http://127.0.0.1:")
            assert lab.log_path.stat().st_mode & 0o077 == 0
            assert lab.server.token not in command_line_of(lab.pid)
            assert lab.server.token not in repr(lab)
        assert not pid_lives(lab.pid)
        assert lab.server not in [found.server for found in running_servers(runtime_dir(jupyter_env))]
        assert lab.server.token not in lab.log_path.read_text()
    lab.log_path.unlink()


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("utf-8").split()]


async def test_it_ends_with_its_kernels_even_while_a_client_is_in_a_room(
    jupyter_env: dict[str, str], tmp_path: Path
) -> None:
    with anyio.fail_after(90):
        async with embedded_lab(tmp_path, env=jupyter_env, log_path=tmp_path / "lab.log") as lab:
            async with JupyterApi(lab.server) as api:
                await api.create_notebook("a.ipynb")
                await api.ensure_session("a.ipynb")
                room = await api.open_session_rtc("a.ipynb")
                url = api.ws_url(f"api/collaboration/room/{room.room_id}?sessionId={room.session_id}")
                socket = await connect(url, additional_headers=api.headers)
            await socket.recv()
            kernels = children_of(lab.pid)
            assert kernels
        assert not any(pid_lives(pid) for pid in (lab.pid, *kernels))
        await socket.close()


async def test_it_is_stopped_when_the_block_is_cancelled(jupyter_env: dict[str, str], tmp_path: Path) -> None:
    with anyio.fail_after(90), anyio.CancelScope() as scope:
        async with embedded_lab(tmp_path, env=jupyter_env, log_path=tmp_path / "lab.log") as lab:
            scope.cancel()
            await anyio.sleep_forever()
    assert not pid_lives(lab.pid)


async def test_the_shared_server_answers(jupyter: Server) -> None:
    assert await is_alive(jupyter)


def test_the_command_line_holds_the_notebook_and_no_token() -> None:
    argv = lab_command(Path("/data"), port=8888, open_browser=True, notebook="a b.ipynb")
    assert argv[-1] == os.path.join("/data", "a b.ipynb")
    assert "--ServerApp.open_browser=True" in argv
    assert not any("token" in argument.lower() for argument in argv)


async def test_a_missing_package_is_named_with_the_command_that_brings_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(embedded, "_NEEDED", ("jupyterlab", "no_such_package_here"))
    with pytest.raises(ConfigError, match="no_such_package_here") as caught:
        async with embedded_lab(tmp_path, env={}):
            pass
    assert "pip install 'collab-agent[lab]'" in caught.value.hint


async def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a folder"):
        async with embedded_lab(tmp_path / "nowhere", env={}):
            pass


async def test_a_server_that_ends_at_once_is_reported_with_its_log(jupyter_env: dict[str, str], tmp_path: Path) -> None:
    log = tmp_path / "lab.log"
    with anyio.fail_after(90), pytest.raises(Unreachable, match="ended with") as caught:
        async with embedded_lab(tmp_path, env=jupyter_env, log_path=log, extra_args=["--ServerApp.port=not-a-number"]):
            pass
    assert "not-a-number" in caught.value.message
