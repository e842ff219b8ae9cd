"""``collab-agent serve --http``: each client an agent of its own, and nobody else comes in."""

from __future__ import annotations

import signal
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpx2
import pytest
from mcp_types.version import LATEST_HANDSHAKE_VERSION

from collab_agent.cli import main
from collab_agent.config import Server
from collab_agent.testing import Human
from tests.integration.conftest import DEADLINE_S, Notebook, agents_seen

from .conftest import ADA, BOB, Certificate, Served, remote, served

HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": LATEST_HANDSHAKE_VERSION,
        "capabilities": {},
        "clientInfo": {"name": "goose", "version": "1"},
    },
}
ACCEPT = {"Accept": "application/json, text/event-stream"}


@pytest.fixture(scope="module")
async def agents(jupyter: Server, jupyter_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One served process for all that only knocks at its door."""
    file = tmp_path_factory.mktemp("http") / "secrets"
    file.write_text(f"ada {ADA}\nbob {BOB}\n")
    file.chmod(0o600)
    env = jupyter_env | {"JUPYTER_URL": jupyter.url, "JUPYTER_TOKEN": jupyter.token}
    async with served(env, "--http-token-file", str(file), "--max-clients", "3") as made:
        yield made


@pytest.fixture
async def web(agents: Served) -> AsyncIterator[httpx2.AsyncClient]:
    """Raw requests, with the right secret unless a test says otherwise."""
    headers = {"Authorization": f"Bearer {ADA}", **ACCEPT}
    async with httpx2.AsyncClient(headers=headers, trust_env=False, timeout=DEADLINE_S) as client:
        yield client


async def test_two_clients_are_two_agents_on_the_page_and_leave_one_by_one(
    agents: Served, jupyter: Server, notebook: Notebook
) -> None:
    path = await notebook(["x = 1"])
    async with Human.join_server(jupyter, path) as human:
        names = lambda: sorted(state["user"]["name"] for state in agents_seen(human))  # noqa: E731
        async with remote(agents.url, ADA) as one:
            assert "you are: Goose" in (await one.call("setup_notebook", notebook_path=path)).text
            async with remote(agents.url, BOB, name="cursor") as two:
                await two.call("setup_notebook", notebook_path=path)
                await human.wait_for(lambda: names() == ["Cursor", "Goose"])
                ran = await one.call("execute_notebook_code", edits=[{"op": "insert", "source": "6 * 7"}])
                assert " ok " in ran.text
                assert "42" in ran.text
                assert "Goose (agent) inserted" in (await two.call("query_notebook", query="outline")).since
            await human.wait_for(lambda: names() == ["Goose"])
            assert "x = 1" in (await one.call("query_notebook", query="cells")).text
        await human.wait_for(lambda: names() == [])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1"}, 421),
        ({"Host": "127.0.0.1.evil.example:80"}, 421),
        ({"Host": ""}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://localhost:3000"}, 403),
        ({"Origin": "http://127.0.0.1:8888"}, 403),
        ({"Origin": "null"}, 403),
        ({"Authorization": ""}, 401),
        ({"Authorization": "Bearer x"}, 401),
        ({"Authorization": f"Basic {ADA}"}, 401),
        ({"Authorization": f"Bearer {ADA}x"}, 401),
        ({"Authorization": f"Bearer {ADA[:-1]}"}, 401),
        ({"Authorization": f"token {ADA}"}, 401),
    ],
)
async def test_a_request_from_elsewhere_is_refused_whatever_it_asks(
    agents: Served, web: httpx2.AsyncClient, headers: dict[str, str], status: int
) -> None:
    root = agents.url.removesuffix("/mcp")
    for method, url in (("POST", agents.url), ("GET", agents.url), ("DELETE", agents.url), ("GET", root + "/other")):
        answer = await web.request(method, url, json=HELLO if method == "POST" else None, headers=headers)
        assert answer.status_code == status, (method, url, answer.text)
        assert ADA not in answer.text
        assert "access-control-allow-origin" not in answer.headers


async def test_the_servers_own_token_opens_nothing_and_no_secret_is_taken_from_the_address(
    agents: Served, jupyter: Server, web: httpx2.AsyncClient
) -> None:
    for kind in ("Bearer", "token"):
        refused = await web.post(agents.url, json=HELLO, headers={"Authorization": f"{kind} {jupyter.token}"})
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"
    refused = await web.post(f"{agents.url}?token={ADA}&access_token={ADA}", json=HELLO, headers={"Authorization": ""})
    assert refused.status_code == 401


async def _begin(web: httpx2.AsyncClient, url: str) -> str:
    answer = await web.post(url, json=HELLO)
    assert answer.status_code == 200, answer.text
    return str(answer.headers["mcp-session-id"])


async def test_a_session_belongs_to_the_secret_that_began_it(agents: Served, web: httpx2.AsyncClient) -> None:
    session = {"Mcp-Session-Id": await _begin(web, agents.url)}
    thief = {**session, "Authorization": f"Bearer {BOB}"}
    ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}

    assert (await web.post(agents.url, json=ping, headers=thief)).status_code == 404
    assert (await web.delete(agents.url, headers=thief)).status_code == 404
    assert (await web.post(agents.url, json=ping, headers=session)).status_code == 200
    assert (await web.delete(agents.url, headers=session)).status_code == 200
    assert (await web.post(agents.url, json=ping, headers=session)).status_code == 404


async def test_there_are_no_more_clients_than_allowed_and_failed_beginnings_do_not_count(
    agents: Served, web: httpx2.AsyncClient
) -> None:
    for _ in range(5):
        assert (await web.post(agents.url, json={"jsonrpc": "2.0", "id": 1, "method": "ping"})).status_code == 400
    sessions = [await _begin(web, agents.url) for _ in range(3)]
    try:
        full = await web.post(agents.url, json=HELLO)
        assert full.status_code == 503
        assert "No more than 3 clients" in full.text
    finally:
        for session in sessions:
            await web.delete(agents.url, headers={"Mcp-Session-Id": session})
    await web.delete(agents.url, headers={"Mcp-Session-Id": await _begin(web, agents.url)})


async def test_what_is_too_big_is_refused_unread(agents: Served, web: httpx2.AsyncClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(80):
            yield b" " * 65_536

    declared = await web.post(agents.url, content=b" " * (4 * 1024 * 1024 + 1), headers={"Content-Type": "text/json"})
    assert declared.status_code == 413
    assert (await web.post(agents.url, content=endless())).status_code == 413


async def test_a_made_secret_is_kept_in_a_file_of_ours_and_only_its_path_is_told(
    environment: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "state" / "collab-agent" / "http.secret"
    async with served(environment) as first:
        secret = file.read_text().strip()
        assert str(file) in first.said.decode()
        assert secret not in first.said.decode()
        async with remote(first.url, secret) as client:
            assert "kernelspecs:" in (await client.call("query_notebook", query="server")).text
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(secret) >= 40
    async with served(environment):
        assert file.read_text().strip() == secret


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_takes_every_agent_off_the_page(
    number: signal.Signals, environment: dict[str, str], secrets: Path, jupyter: Server, notebook: Notebook
) -> None:
    path = await notebook(["x = 1"])
    async with (
        Human.join_server(jupyter, path) as human,
        served(environment, "--http-token-file", str(secrets)) as agents,
        anyio.create_task_group() as tasks,
    ):

        async def stay(secret: str, *, task_status: Any) -> None:
            async with remote(agents.url, secret) as client:
                await client.call("setup_notebook", notebook_path=path)
                task_status.started()
                await anyio.sleep_forever()

        await tasks.start(stay, ADA)
        await tasks.start(stay, BOB)
        await human.wait_for(lambda: len(agents_seen(human)) == 2)
        agents.process.send_signal(number)
        assert await agents.ends() == 0
        await human.wait_for(lambda: agents_seen(human) == [])
        tasks.cancel_scope.cancel()
    assert b"Traceback" not in agents.said, agents.said.decode()


async def test_over_tls_only_a_client_that_knows_the_authority_speaks(
    environment: dict[str, str], secrets: Path, certify: Any
) -> None:
    import ssl

    made: Certificate = certify("http")
    options = ("--http-token-file", str(secrets), "--tls-cert", str(made.cert), "--tls-key", str(made.key))
    async with served(environment, *options, "--allow-host", "localhost", http="0.0.0.0:0") as agents:
        port = urlsplit(agents.url).port
        assert agents.url.startswith("https://0.0.0.0:")
        url = f"https://localhost:{port}/mcp"
        async with remote(url, ADA, verify=ssl.create_default_context(cafile=made.ca)) as client:
            assert "kernelspecs:" in (await client.call("query_notebook", query="server")).text
        async with httpx2.AsyncClient(trust_env=False) as stranger:
            with pytest.raises(httpx2.ConnectError, match=r"(?i)certificate"):
                await stranger.post(url, json=HELLO)
        async with httpx2.AsyncClient(trust_env=False, verify=False) as careless:
            assert (await careless.post(f"https://127.0.0.1:{port}/mcp", json=HELLO)).status_code == 421


def _refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(["serve", *argv]) == 1
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--http", "0.0.0.0:8765"], "without TLS"),
        (["--http", "[::]:8765"], "without TLS"),
        (["--http", "192.0.2.1:8765"], "without TLS"),
        (["--http", "this-machine:8765"], "without TLS"),
        (["--http", "0.0.0.0:8765", "--tls-cert", "c", "--tls-key", "k"], "--allow-host"),
        (["--http", "127.0.0.1:0", "--tls-cert", "c"], "belong together"),
        (["--http", "127.0.0.1:0", "--tls-cert", "no-cert", "--tls-key", "no-key"], "certificate"),
        (["--http", "8765"], "HOST:PORT"),
        (["--http", "::1:8765"], "HOST:PORT"),
        (["--http", "127.0.0.1:99999"], "HOST:PORT"),
        (["--http", "127.0.0.1:"], "HOST:PORT"),
    ],
)
def test_what_would_not_be_safe_is_not_served(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str], secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JUPYTER_URL", raising=False)
    error = _refused(capsys, *argv, "--http-token-file", str(secrets))
    assert said in error
    assert "Traceback" not in error


def test_a_taken_port_is_told(capsys: pytest.CaptureFixture[str], secrets: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        assert "it is taken" in _refused(capsys, "--http", where, "--http-token-file", str(secrets))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no secret"),
        ("hunter2\n", "shorter than 20"),
        ("a b c\n", "Line 1"),
        (f"ada {ADA}\nada {BOB}\n", "Line 2"),
        (f"ada {ADA}\nbob {ADA}\n", "Line 2"),
        ("ünsafe-secret-of-more-than-twenty\n", "Line 1"),
    ],
)
def test_a_file_of_secrets_that_cannot_be_meant_is_refused_without_being_shown(
    text: str, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "secrets"
    file.write_text(text)
    file.chmod(0o600)
    error = _refused(capsys, "--http", "127.0.0.1:0", "--http-token-file", str(file))
    assert said in error
    assert not [word for word in text.split() if len(word) > 4 and word in error]


def test_a_file_of_secrets_that_others_can_read_is_refused(capsys: pytest.CaptureFixture[str], secrets: Path) -> None:
    secrets.chmod(0o640)
    assert "chmod 600" in _refused(capsys, "--http", "127.0.0.1:0", "--http-token-file", str(secrets))


def test_the_jupyter_servers_token_is_no_bearer_secret(
    capsys: pytest.CaptureFixture[str], secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_URL", "http://127.0.0.1:1/")
    monkeypatch.setenv("JUPYTER_TOKEN", ADA)
    error = _refused(capsys, "--http", "127.0.0.1:0", "--http-token-file", str(secrets))
    assert "must be another one" in error
    assert ADA not in error
