"""A TCP wire in this process that a test can break: between an agent, or a human's page, and the real server.

Everything goes over it, REST and websockets alike.  What a fault does to the connections that there are, and what it
does to new ones, is said with each; ``mend`` ends all of them.  A direction is ``up`` (to the server) or ``down``.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Literal
from urllib.parse import urlsplit

import anyio

from collab_agent.config import Server

Direction = Literal["up", "down"]
BOTH: tuple[Direction, ...] = ("up", "down")
CHUNK = 65_536
BACKLOG = 16
PACE_S = 0.05
_ABORT = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class _Way:
    """One direction, for all connections.  ``flows``: bytes pass."""

    flows: asyncio.Event = field(default_factory=asyncio.Event)
    delay_s: float = 0.0
    bytes_per_s: float | None = None


class _Link:
    """One connection: the client's end and the server's end."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.sink: dict[Direction, asyncio.StreamWriter] = {"up": server, "down": client}

    def abort(self, *, reset: bool) -> None:
        for writer in self.sink.values():
            raw = writer.get_extra_info("socket")
            if reset and raw is not None:
                with suppress(OSError):
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
            writer.transport.abort()


class Wire:
    """Forwards TCP connections to a server; ``server`` is how it is reached through here."""

    def __init__(self, target: Server, port: int) -> None:
        self._port = urlsplit(target.url).port or 80
        self._ways: dict[Direction, _Way] = {way: _Way() for way in BOTH}
        self._links: set[_Link] = set()
        self._refuses = False
        self._passed = asyncio.Event()
        self._seen: dict[Direction, bytes] = {"up": b"", "down": b""}
        self.server = replace(target, url=f"http://127.0.0.1:{port}/")
        self.mend()

    # Faults.

    def cut(self) -> None:
        """Drop all connections, and take no new ones."""
        self._refuses = True
        self._abort(reset=False)

    def reset(self) -> None:
        """End all connections with a TCP reset; new ones work."""
        self._abort(reset=True)

    def stall(self, ways: Iterable[Direction] = BOTH) -> None:
        """Let nothing more pass, old connections and new ones; they stay open: both ways, a half-open socket."""
        for way in ways:
            self._ways[way].flows.clear()

    def delay(self, seconds: float, ways: Iterable[Direction] = BOTH) -> None:
        """Let everything pass so much later."""
        for way in ways:
            self._ways[way].delay_s = seconds

    def throttle(self, bytes_per_s: float, ways: Iterable[Direction] = BOTH) -> None:
        """Let no more pass than this, on each connection."""
        for way in ways:
            self._ways[way].bytes_per_s = bytes_per_s

    def half_close(self, way: Direction) -> None:
        """End one direction of all connections in order (FIN), and leave the other open; new ones work."""
        for link in self._links:
            with suppress(OSError, RuntimeError):
                link.sink[way].write_eof()

    def mend(self) -> None:
        """End all faults: what was stalled flows on."""
        self._refuses = False
        for way in self._ways.values():
            way.flows.set()
            way.delay_s, way.bytes_per_s = 0.0, None

    # Looking.

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._links)

    def forget(self) -> None:
        """``passed`` looks at nothing that has passed before."""
        self._seen = {"up": b"", "down": b""}

    async def passed(self, text: bytes = b"", way: Direction = "up") -> None:
        """Return as soon as bytes that hold ``text`` have come in on one direction since ``forget``."""
        while not self._seen[way] or text not in self._seen[way]:
            await self._passed.wait()

    # Forwarding.

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection both ways until both sides have ended it."""
        link: _Link | None = None
        try:
            if self._refuses:
                return
            with suppress(OSError):
                there, there_writer = await asyncio.open_connection("127.0.0.1", self._port)
                link = _Link(writer, there_writer)
                self._links.add(link)
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._carry("up", reader, link))
                    tasks.create_task(self._carry("down", there, link))
        finally:
            writer.transport.abort()
            if link is not None:
                self._links.discard(link)
                link.abort(reset=False)

    async def _carry(self, way: Direction, source: asyncio.StreamReader, link: _Link) -> None:
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(BACKLOG)

        async def read() -> None:
            with suppress(OSError):
                while data := await source.read(CHUNK):
                    self._note(way, data)
                    await queue.put((loop.time() + self._ways[way].delay_s, data))
            await queue.put((loop.time() + self._ways[way].delay_s, b""))

        reading = asyncio.create_task(read())
        sink = link.sink[way]
        try:
            while True:
                due, data = await queue.get()
                await asyncio.sleep(max(due - loop.time(), 0))
                await self._ways[way].flows.wait()
                with suppress(OSError, RuntimeError):  # the other side, or a fault, has ended it
                    if not data:
                        sink.write_eof()
                        return
                    await self._write(way, sink, data)
        finally:
            reading.cancel()

    async def _write(self, way: Direction, sink: asyncio.StreamWriter, data: bytes) -> None:
        while data:
            rate = self._ways[way].bytes_per_s
            part = data if rate is None else data[: max(int(rate * PACE_S), 1)]
            data = data[len(part) :]
            sink.write(part)
            await sink.drain()
            if rate is not None:
                await asyncio.sleep(len(part) / rate)

    def _note(self, way: Direction, data: bytes) -> None:
        self._seen[way] = (self._seen[way] + data)[-4 * CHUNK :]
        self._passed.set()
        self._passed = asyncio.Event()

    def _abort(self, *, reset: bool) -> None:
        for link in list(self._links):
            link.abort(reset=reset)


@asynccontextmanager
async def wire_to(target: Server) -> AsyncIterator[Wire]:
    """A wire in front of ``target`` for the length of the block."""
    wires: list[Wire] = []
    calls: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        calls.add(task)
        task.add_done_callback(calls.discard)
        with suppress(asyncio.CancelledError):  # the wire is taken away
            await wires[0].handle(reader, writer)

    listener = await asyncio.start_server(handle, "127.0.0.1", 0)
    wires.append(Wire(target, listener.sockets[0].getsockname()[1]))
    try:
        yield wires[0]
    finally:
        listener.close()
        with anyio.CancelScope(shield=True):
            for call in list(calls):
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
