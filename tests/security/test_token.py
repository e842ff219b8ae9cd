"""The Jupyter server's token: in the Authorization header of requests to its server, and nowhere else."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from collab_agent.config import Limits, Server, Settings
from collab_agent.doctor import diagnose
from collab_agent.errors import CollabAgentError
from collab_agent.jupyter.api import JupyterApi
from collab_agent.kernel.channel import open_connection
from collab_agent.kernel.messages import MessageFactory
from collab_agent.room.channel import websocket_channel
from collab_agent.server.schema import TOOLS
from tests.integration.conftest import Notebook, Rest

from .conftest import ADA, remote, served

TOKEN = "s3cr3t-t0k3n-0123456789"


@asynccontextmanager
async def answering(head: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that answers every request with this head; its port, and all that it was sent."""
    heard: list[bytes] = []

    async def answer(stream: SocketStream) -> None:
        async with stream:
            heard.append(await stream.receive())
            await stream.send(head + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, answer)
        yield listener.extra(SocketAttribute.local_port), heard
        tasks.cancel_scope.cancel()


async def _rest(server: Server) -> None:
    async with JupyterApi(server) as api:
        await api.sessions()


async def _room(server: Server) -> None:
    async with JupyterApi(server) as api, AsyncExitStack() as stack:
        url = api.ws_url("api/collaboration/room/JupyterLab:globalAwareness")
        await stack.enter_async_context(websocket_channel(url, api.headers))


async def _kernel(server: Server) -> None:
    await open_connection(server, "k", (await MessageFactory.create("x")).session_id, Limits())


async def _doctor(server: Server) -> None:
    findings = await diagnose(Settings(server=server), {}, Path.cwd())
    assert TOKEN not in repr(findings)
    raise CollabAgentError("; ".join(finding.text for finding in findings))


@pytest.mark.parametrize("reach", [_rest, _room, _kernel, _doctor])
@pytest.mark.parametrize("status", [b"301 Moved", b"302 Found", b"307 Temporary Redirect", b"308 Permanent Redirect"])
async def test_no_redirect_carries_it_to_another_origin(
    reach: Callable[[Server], Awaitable[None]], status: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with answering(b"HTTP/1.1 200 OK") as (thief, stolen):
        for scheme in (b"http", b"ws"):
            location = b"%s://127.0.0.1:%d/api?x=1" % (scheme, thief)
            async with answering(b"HTTP/1.1 " + status + b"\r\nLocation: " + location) as (port, heard):
                with pytest.raises(CollabAgentError) as caught:
                    await reach(Server(f"http://127.0.0.1:{port}/", TOKEN))
            assert any(f"token {TOKEN}".encode() in request for request in heard)
            assert all(TOKEN.encode() not in request.split(b"\r\n")[0] for request in heard)
            assert TOKEN not in str(caught.value) + repr(caught.value)
    assert stolen == [], "nobody was asked there, with the token or without it"
    assert TOKEN not in caplog.text


def _shown_to_all(pid: int) -> bytes:
    """What every user of the machine can read of a process (Linux): argv, title and state."""
    return b"".join((Path("/proc") / str(pid) / name).read_bytes() for name in ("cmdline", "comm", "status"))


def _files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


async def test_a_whole_session_leaves_it_nowhere(
    environment: dict[str, str], secrets: Path, jupyter: Server, notebook: Notebook, page: Rest, tmp_path: Path
) -> None:
    """Argv and title of the process, all that it says, answers, logs and saves, and what the server logs of it."""
    path, log = await notebook(["x = 1"]), tmp_path / "audit.jsonl"
    environment |= {"PYTHONASYNCIODEBUG": "1"}
    options = ("--http-token-file", str(secrets), "--audit", str(log), "--audit-contents")
    told = ""
    async with served(environment, *options) as agents, remote(agents.url, ADA) as client:
        calls: list[tuple[str, dict[str, object]]] = [
            ("setup_notebook", {"notebook_path": path}),
            ("setup_notebook", {"notebook_path": "no/such\u00e9/folder%/x"}),
            ("execute_notebook_code", {"code": f"print({jupyter.token!r}, {ADA!r})"}),
            ("execute_notebook_code", {"edits": [{"op": "insert", "source": f"raise ValueError({jupyter.token!r})"}]}),
            ("query_notebook", {"query": "outputs"}),
            ("query_notebook", {"query": "cells"}),
            ("query_notebook", {"query": "server"}),
            ("query_notebook", {"query": jupyter.token}),
            ("modify_notebook_cells", {"edits": [{"op": jupyter.token}]}),
            (jupyter.token, {}),
            ("setup_notebook", {"notebook_path": path, "kernel": jupyter.token}),
            ("setup_notebook", {"action": "save"}),
        ]
        for tool, arguments in calls:
            told += (await client.call(tool, **arguments)).text
        shown = _shown_to_all(agents.process.pid)
    assert b"collab_agent" in shown
    assert jupyter.token.encode() not in shown
    assert ADA.encode() not in shown
    said = agents.said.decode()
    assert jupyter.token not in told
    assert ADA not in told
    assert jupyter.token not in said
    assert ADA not in said
    for file in _files(tmp_path):
        if file != secrets:
            assert jupyter.token not in file.read_text("utf-8", "replace"), file
            assert ADA not in file.read_text("utf-8", "replace"), file


async def test_no_url_that_the_server_logs_holds_it(
    jupyter: Server, environment: dict[str, str], secrets: Path, notebook: Notebook
) -> None:
    """A man in the middle sees every request line and every header: the token stands in Authorization alone."""
    path, heard = await notebook(["1 + 1"]), bytearray()
    port = int(jupyter.url.rstrip("/").rpartition(":")[2])

    async def between(client: SocketStream) -> None:
        async with client, await anyio.connect_tcp("127.0.0.1", port) as server, anyio.create_task_group() as tasks:

            async def pump(source: SocketStream, to: SocketStream, *, keep: bool) -> None:
                try:
                    async for chunk in source:
                        if keep:
                            heard.extend(chunk)
                        await to.send(chunk)
                except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                    pass  # one side has hung up
                tasks.cancel_scope.cancel()

            tasks.start_soon(partial(pump, client, server, keep=True))
            tasks.start_soon(partial(pump, server, client, keep=False))

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, between)
        url = f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}/"
        env = environment | {"JUPYTER_URL": url}
        async with served(env, "--http-token-file", str(secrets)) as agents, remote(agents.url, ADA) as client:
            await client.call("setup_notebook", notebook_path=path)
            assert " ok " in (await client.call("execute_notebook_code", cells="all")).text
            await client.call("setup_notebook", action="save")
        tasks.cancel_scope.cancel()
    token = jupyter.token.encode()
    lines = [line for line in bytes(heard).split(b"\r\n") if token in line]
    assert len(lines) >= 3
    assert all(line.lower().startswith(b"authorization: token ") for line in lines), lines
    assert ADA.encode() not in heard


def test_no_tool_takes_an_address_or_a_token() -> None:
    for tool in TOOLS:
        names = str(tool.input_schema).lower()
        assert not [word for word in ("url", "token", "host", "server_", "password") if f"'{word}" in names], tool.name


def test_a_repr_never_shows_it() -> None:
    server = Server("http://127.0.0.1:1/", TOKEN)
    assert TOKEN not in repr(server) + repr(Settings(server=server)) + repr(JupyterApi(server))


def test_it_is_never_taken_from_the_command_line() -> None:
    from collab_agent.cli import parser

    with pytest.raises(SystemExit):
        parser().parse_args(["--token", TOKEN])


def test_what_a_kernel_is_told_is_readable_by_us_alone(jupyter: Server) -> None:
    """The runtime folder is Jupyter's: its files with tokens and keys are 0600, and we have written none."""
    assert jupyter.runtime_dir is not None
    for file in jupyter.runtime_dir.glob("*.json"):
        if jupyter.token in file.read_text("utf-8"):
            assert file.name.startswith("jpserver-")
            assert os.stat(file).st_mode & 0o077 == 0
