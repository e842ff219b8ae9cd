"""A real JupyterLab behind TLS, with a certificate of an authority that no system knows."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

import collab_agent
from collab_agent.cli import main
from collab_agent.config import Limits, Server, Settings
from collab_agent.doctor import diagnose
from collab_agent.errors import CollabAgentError, Unreachable
from collab_agent.jupyter.api import JupyterApi
from collab_agent.jupyter.discovery import is_alive
from collab_agent.jupyter.embedded import free_port, lab_command
from collab_agent.kernel.channel import open_connection
from collab_agent.kernel.messages import MessageFactory
from collab_agent.room.channel import websocket_channel
from tests.conftest import notebook_json
from tests.integration.conftest import mcp_agent_on

from .conftest import Certificate

Certify = Callable[..., Certificate]


@pytest.fixture(scope="module")
async def behind_tls(
    jupyter_env: dict[str, str], certify: Certify, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Server]:
    """Its ``ca_file`` is the right authority."""
    made, root, token = certify("jupyter"), tmp_path_factory.mktemp("tls"), "s3cr3t-behind-tls-0123456789"
    (root / "a.ipynb").write_text(json.dumps(notebook_json(["6 * 7"])))
    port = free_port()
    argv = lab_command(root, port=port, as_root=os.geteuid() == 0)
    argv += [f"--ServerApp.certfile={made.cert}", f"--ServerApp.keyfile={made.key}"]
    server = Server(f"https://127.0.0.1:{port}/", token, str(root), ca_file=str(made.ca))
    log = (root / "lab.log").open("wb")
    async with await anyio.open_process(
        argv, env=jupyter_env | {"JUPYTER_TOKEN": token}, cwd=root, stdout=log, stderr=log, start_new_session=True
    ) as process:
        try:
            with anyio.fail_after(60):
                while not await is_alive(server):
                    assert process.returncode is None, (root / "lab.log").read_text()
                    await anyio.sleep(0.1)  # nobody tells when a server begins to answer
            yield server
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            log.close()


async def test_with_the_right_authority_rest_room_and_kernel_work(behind_tls: Server) -> None:
    async with mcp_agent_on(behind_tls) as agent:
        await agent.setup("a.ipynb")
        assert "\n42" in (await agent.run(cells="all", wait_s=60)).body
        await agent.edit({"op": "insert", "source": "# written"})
        await agent.ok("setup_notebook", action="save")


async def test_the_library_takes_the_authority_too(behind_tls: Server) -> None:
    url, token = behind_tls.url, behind_tls.token
    async with collab_agent.join(url, token, "a.ipynb", ca_file=Path(str(behind_tls.ca_file))) as notebook:
        assert notebook.cell("first").source == "6 * 7"
    with pytest.raises(Unreachable, match="is not trusted"):
        async with collab_agent.join(url, token, "a.ipynb"):
            pass


async def _rest(server: Server) -> None:
    async with JupyterApi(server) as api:
        await api.version()


async def _room(server: Server) -> None:
    async with JupyterApi(server) as api, AsyncExitStack() as stack:
        url = api.ws_url("api/collaboration/room/JupyterLab:globalAwareness")
        await stack.enter_async_context(websocket_channel(url, api.headers, tls=api.tls))


async def _kernel(server: Server) -> None:
    await open_connection(server, "nobody", (await MessageFactory.create("x")).session_id, Limits())


@pytest.mark.parametrize("reach", [_rest, _room, _kernel])
@pytest.mark.parametrize("authority", ["another one", "the system's"])
async def test_a_certificate_that_cannot_be_verified_is_refused_before_the_token_is_sent(
    reach: Callable[[Server], Awaitable[None]], authority: str, behind_tls: Server, certify: Certify
) -> None:
    wrong = None if authority == "the system's" else str(certify("wrong").ca)
    with pytest.raises(Unreachable) as caught:
        await reach(replace(behind_tls, ca_file=wrong))
    error = caught.value
    assert behind_tls.token not in str(error) + repr(error)
    if reach is not _room:  # which is opened after REST has told
        assert "is not trusted" in error.message
        assert "--ca-file" in error.hint


async def test_the_doctor_says_why_a_running_server_is_passed_over(behind_tls: Server, tmp_path: Path) -> None:
    """Nobody has named its authority, so it is not found; with it, it is."""
    info = {"url": behind_tls.url, "token": behind_tls.token, "root_dir": behind_tls.root_dir, "pid": os.getpid()}
    (tmp_path / "jpserver-1.json").write_text(json.dumps(info))
    env = {"JUPYTER_RUNTIME_DIR": str(tmp_path)}
    told, embedded = await diagnose(Settings(), env, tmp_path)
    assert "passed over" in told.text
    assert "is not trusted" in told.text
    assert "--ca-file" in told.remedy
    assert "embedded" in embedded.text
    findings = await diagnose(Settings(ca_file=behind_tls.ca_file), env, tmp_path)
    assert findings[0].text.startswith(f"Server: {behind_tls.url} (running")
    assert all(finding.ok for finding in findings)


async def test_a_certificate_for_another_name_is_refused_and_no_request_is_sent(certify: Certify) -> None:
    made = certify("elsewhere", "DNS:elsewhere.example")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(made.cert, made.key)
    heard: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read())
        writer.close()

    listener = await asyncio.start_server(listen, "127.0.0.1", 0, ssl=tls)
    async with listener:
        url = f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}/"
        with pytest.raises(Unreachable, match="not trusted"):
            await _rest(Server(url, "s3cr3t-t0k3n", ca_file=str(made.ca)))
    assert b"".join(heard) == b""


async def test_a_server_that_speaks_no_tls_is_told_as_such() -> None:
    async def plain(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, plain)
        port = listener.extra(SocketAttribute.local_port)
        with pytest.raises(Unreachable, match="does not speak TLS"):
            await _rest(Server(f"https://127.0.0.1:{port}/", "s3cr3t"))
        tasks.cancel_scope.cancel()


def test_the_command_line_names_the_authority(
    behind_tls: Server,
    jupyter_env: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in jupyter_env.items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "token"
    file.write_text(behind_tls.token)
    options = ["doctor", "--url", behind_tls.url, "--token-file", str(file)]
    main(options)
    assert "not trusted" in capsys.readouterr().out
    main([*options, "--ca-file", str(behind_tls.ca_file)])
    told = capsys.readouterr().out
    assert "BAD" not in told.replace("BAD The notebook", ""), told
    main([*options, "--ca-file", str(tmp_path / "none")])
    assert "cannot be used" in "".join(capsys.readouterr())


async def test_an_authority_that_is_none_is_a_clear_error(behind_tls: Server, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("no certificate")
    with pytest.raises(CollabAgentError, match="cannot be used"):
        await _rest(replace(behind_tls, ca_file=str(file)))
