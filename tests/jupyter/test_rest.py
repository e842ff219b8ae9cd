"""What a failing request means, against a scripted server on a real socket; and where the token never goes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from collab_agent.config import Server
from collab_agent.errors import CollabAgentError, ConfigError, ServerRefused, Unauthorized, Unreachable
from collab_agent.jupyter.embedded import free_port
from collab_agent.jupyter.rest import Rest

TOKEN = "s3cr3t-t0k3n"


@dataclass
class Scripted:
    """A server that answers everything with one response and keeps what it was sent."""

    url: str = ""
    requests: list[str] = field(default_factory=list)


@contextlib.asynccontextmanager
async def scripted(status: str, body: str = "", *headers: str, silent: bool = False) -> AsyncIterator[Scripted]:
    server = Scripted()
    payload = body.encode()
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(payload)}", "Connection: close", *headers, "", ""]

    async def answer(stream: SocketStream) -> None:
        async with stream:
            server.requests.append((await stream.receive()).decode("latin-1"))
            if silent:
                await anyio.sleep_forever()
            await stream.send("\r\n".join(lines).encode() + payload)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        server.url = f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}/"
        tasks.start_soon(listener.serve, answer)
        yield server
        tasks.cancel_scope.cancel()


async def failure(url: str, timeout_s: float = 5.0) -> CollabAgentError:
    """The error that a GET raises; it holds no token anywhere."""
    rest = Rest(Server(url, TOKEN), timeout_s=timeout_s)
    try:
        with pytest.raises(CollabAgentError) as caught:
            await rest.request("GET", "api/x")
    finally:
        await rest.aclose()
    error = caught.value
    assert TOKEN not in str(error) + repr(error)
    assert error.hint
    return error


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
async def test_a_refused_token_is_unauthorized(status: str) -> None:
    async with scripted(status, '{"message": "Forbidden"}') as server:
        assert isinstance(await failure(server.url), Unauthorized)
        assert f"Authorization: token {TOKEN}".lower() in server.requests[0].lower()
        assert TOKEN not in server.requests[0].splitlines()[0]


async def test_a_redirect_is_not_followed_and_says_where_it_leads() -> None:
    async with scripted("200 OK", "{}") as thief:
        location = f"Location: {thief.url}other/?token={TOKEN}"
        async with scripted("307 Temporary Redirect", "", location) as server:
            error = await failure(server.url)
    assert isinstance(error, ServerRefused)
    assert thief.url + "other/" in error.message
    assert thief.requests == []


async def test_being_sent_to_a_login_page_is_unauthorized() -> None:
    async with scripted("302 Found", "", "Location: /hub/login?next=%2Fapi") as server:
        assert isinstance(await failure(server.url), Unauthorized)


async def test_the_servers_own_words_are_quoted_bounded_and_clean() -> None:
    message = f"no\x1b[31m {TOKEN}\n\u202e" + "x" * 5_000
    async with scripted("500 Internal Server Error", json.dumps({"message": message})) as server:
        error = await failure(server.url)
    assert isinstance(error, ServerRefused)
    assert "500" in error.message
    assert len(error.message) < 600
    assert error.message.isprintable()


async def test_a_page_instead_of_json_is_told() -> None:
    async with scripted("200 OK", "<html>Welcome</html>") as server:
        rest = Rest(Server(server.url, TOKEN), timeout_s=5.0)
        answer = await rest.request("GET", "api")
        for read in (rest.object, rest.array):
            with pytest.raises(ServerRefused, match="not as a Jupyter server"):
                read(answer)
        await rest.aclose()


async def test_nobody_there_is_unreachable() -> None:
    error = await failure(f"http://127.0.0.1:{free_port()}/")
    assert isinstance(error, Unreachable)


async def test_a_host_that_has_no_address_is_unreachable() -> None:
    assert isinstance(await failure("http://no-such-host.invalid/"), Unreachable)


async def test_a_silent_server_is_unreachable_within_the_timeout() -> None:
    async with scripted("200 OK", silent=True) as server:
        with anyio.fail_after(10):
            assert isinstance(await failure(server.url, timeout_s=0.2), Unreachable)


@pytest.mark.parametrize("token", ["tök-s3cr3t", "s3cr3t\r\nX-Evil: 1", "a s3cr3t"])
def test_a_token_that_no_header_can_carry_is_refused_without_being_shown(token: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Rest(Server("http://127.0.0.1:1/", token), timeout_s=1.0)
    assert "s3cr3t" not in str(caught.value)


def test_without_a_token_no_header_is_sent() -> None:
    assert Rest(Server("http://127.0.0.1:1/", ""), timeout_s=1.0).headers == {}
