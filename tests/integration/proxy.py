"""A wire between the agent and the server that a test can cut."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketStream

from collab_agent.config import Server
from collab_agent.room.protocol import Synced

from .conftest import DEADLINE_S, McpAgent

_GONE = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)


class Proxy:
    """Forwards TCP connections to a server; ``server`` is how it is reached through here."""

    def __init__(self, target: Server, port: int) -> None:
        self._target = urlsplit(target.url)
        self._calls: set[anyio.CancelScope] = set()
        self._cut = False
        self.server = replace(target, url=f"http://127.0.0.1:{port}/")

    def cut(self) -> None:
        """Drop all connections, and take no new ones."""
        self._cut = True
        for call in self._calls:
            call.cancel()

    def mend(self) -> None:
        """Take connections again."""
        self._cut = False

    async def handle(self, client: SocketStream) -> None:
        """Forward one connection both ways until either side ends it."""
        async with client:
            if self._cut:
                return
            async with await anyio.connect_tcp("127.0.0.1", self._target.port or 80) as server:
                async with anyio.create_task_group() as tasks:
                    self._calls.add(tasks.cancel_scope)
                    tasks.start_soon(_pump, client, server, tasks.cancel_scope)
                    tasks.start_soon(_pump, server, client, tasks.cancel_scope)
                self._calls.discard(tasks.cancel_scope)


async def _pump(source: ByteStream, sink: ByteStream, scope: anyio.CancelScope) -> None:
    try:
        while True:
            await sink.send(await source.receive())
    except _GONE:
        scope.cancel()


@asynccontextmanager
async def proxy_to(target: Server) -> AsyncIterator[Proxy]:
    """A proxy in front of ``target`` for the length of the block."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        proxy = Proxy(target, listener.extra(SocketAttribute.local_port))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, proxy.handle)
            yield proxy
            tasks.cancel_scope.cancel()


async def until_away(goose: McpAgent) -> None:
    """Wait until the agent knows that the room is away."""
    with anyio.fail_after(DEADLINE_S):
        while not (await goose.call("query_notebook")).is_error:
            await anyio.lowlevel.checkpoint()


async def mended(goose: McpAgent, mend: Callable[[], None]) -> None:
    """Mend the wire and wait until the agent is in the room again."""
    joined = anyio.Event()
    unsubscribe = goose.peer().observe(lambda event: joined.set() if isinstance(event, Synced) else None)
    mend()
    with anyio.fail_after(DEADLINE_S):
        await joined.wait()
    unsubscribe()
