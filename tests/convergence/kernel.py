"""A kernel in this process, behind the seam for runs: real clients on real frames, and no Python behind them.

What a run prints follows from its number alone, so that the outputs which must stand in the notebook are known.
"""

from __future__ import annotations

import math
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self, cast

import anyio
from jupyter_client.session import Session as Wire

from collab_agent.config import Limits, Server
from collab_agent.kernel.channel import FastConnection, Link
from collab_agent.kernel.client import KernelClient
from collab_agent.kernel.messages import MessageFactory
from collab_agent.kernel.wire import Message, decode, encode
from collab_agent.testing import InProcessRoom, RoomHost

KERNEL_ID = "in-this-process"


@dataclass
class _Request:
    message: Message
    connection: _Connection | None


@dataclass
class Printed:
    """What the kernel printed for one request, and how it ended."""

    text: str = ""
    count: int = 0
    ended: str = ""


class _Connection:
    """A client's socket to the kernel, in the form that ``Link`` drives."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.death: bytes | None = None
        """What tells this client of a kernel's death, until it has heard it: what it asks before, nobody gets."""
        self._to_client, self._frames = anyio.create_memory_object_stream[bytes](math.inf)

    def send_now(self, frame: bytes) -> bool:
        """Hand the kernel a request."""
        if self.death is None:
            self._kernel.take(decode(frame), self)
        return True

    def deliver(self, frame: bytes) -> None:
        """Hand the client a message."""
        self._to_client.send_nowait(frame)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            frame = await self._frames.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            raise StopAsyncIteration from None
        self.death = None if frame is self.death else self.death
        return frame

    async def close(self) -> None:
        """Hang up."""
        self._kernel.connections.pop(self, None)
        self._to_client.close()
        self._frames.close()


class _Link(Link):
    def __init__(self, kernel: Kernel, name: str) -> None:
        wire = Wire(session=f"session of {name}", username=name, key=b"signed by nobody")
        super().__init__(Server("", ""), KERNEL_ID, MessageFactory(wire), (), Limits())
        self._kernel = kernel

    async def open(self) -> None:
        connection = _Connection(self._kernel)
        self._kernel.connections[connection] = None
        self._connection = cast(FastConnection, connection)
        self._flush()


@dataclass(eq=False)
class Kernel:
    """One kernel for all who are in the room.  ``work`` must run beside them."""

    rng: random.Random
    connections: dict[_Connection, None] = field(default_factory=dict)
    printed: dict[str, Printed] = field(default_factory=dict)
    """By the id of the request."""
    _queue: list[_Request] = field(default_factory=list)
    _came: anyio.Event = field(default_factory=anyio.Event)
    _wire: Wire = field(default_factory=lambda: Wire(session="kernel", username="kernel", key=b"signed by nobody"))
    _count: int = 0
    _number: int = 0
    _current: anyio.CancelScope | None = None
    _interrupted: bool = False
    _died: bool = False
    _deaths: int = 0

    @property
    def at_rest(self) -> bool:
        """Whether nothing runs or waits."""
        return self._current is None and not self._queue

    def take(self, message: Message, connection: _Connection | None) -> None:
        """Take in a request."""
        if message.msg_type in ("kernel_info_request", "execute_request"):
            self._queue.append(_Request(message, connection))
            self._came.set()

    def run_for_human(self, code: str) -> None:
        """A human runs a cell: their page is one more client."""
        header = self._wire.msg_header("execute_request") | {"session": "a page", "msg_id": f"page {self._number}"}
        self._number += 1
        self.take(Message("shell", header, {}, {}, {"code": code}), None)

    def interrupt(self) -> None:
        """Stop what runs, as SIGINT does."""
        if self._current is not None:
            self._interrupted = True
            self._current.cancel()

    def die(self) -> None:
        """Lose what runs and what waits; the server says so, and starts another under the same id."""
        self._queue.clear()
        if self._current is not None:
            self._died = True
            self._current.cancel()
        self._tell_all("restarting")
        self._deaths += 1
        self._wire = Wire(session=f"kernel {self._deaths}", username="kernel", key=b"signed by nobody")
        self._tell_all("starting")

    def _tell_all(self, state: str) -> None:
        frame = encode(self._wire.msg("status", {"execution_state": state}, parent={}), "iopub")
        for connection in list(self.connections):
            connection.death = frame if state == "restarting" else connection.death
            connection.deliver(frame)

    async def work(self) -> None:
        """Work off the requests, one after the other, until cancelled."""
        while True:
            while not self._queue:
                self._came = anyio.Event()
                await self._came.wait()
            request = self._queue.pop(0)
            with anyio.CancelScope() as self._current:
                self._say(request, "status", {"execution_state": "busy"})
                if request.message.msg_type == "execute_request":
                    await self._execute(request)
                else:
                    content = {"status": "ok", "protocol_version": "5.3", "implementation": "none"}
                    self._reply(request, "kernel_info_reply", content)
                if not self._died:
                    self._say(request, "status", {"execution_state": "idle"})
            self._current, self._died = None, False

    async def _execute(self, request: _Request) -> None:
        self._count += 1
        done = self.printed[request.message.msg_id] = Printed(count=self._count)
        content = {"code": request.message.content["code"], "execution_count": self._count}
        self._say(request, "execute_input", content)
        how = self.rng.random()
        with anyio.CancelScope() as self._current:
            for line in range(self.rng.randint(0, 4)):
                await anyio.sleep(self.rng.choice((0.0, 0.01, 0.1, 0.7)))
                text = f"run {self._count} line {line}\n"
                done.text += text
                self._say(request, "stream", {"name": "stdout", "text": text})
        if self._died:
            done.ended = "died"
            return
        interrupted, self._interrupted = self._interrupted, False
        done.ended = "error" if interrupted or how < 0.1 else "ok"
        status: dict[str, Any] = {"status": done.ended, "execution_count": self._count}
        if done.ended == "error":
            raised = {"ename": "KeyboardInterrupt" if interrupted else "Oops", "evalue": "", "traceback": []}
            self._say(request, "error", raised)
            status |= raised
        self._reply(request, "execute_reply", status)

    def _say(self, request: _Request, kind: str, content: dict[str, Any]) -> None:
        frame = self._frame(request, kind, content, "iopub")
        for connection in list(self.connections):
            connection.deliver(frame)

    def _reply(self, request: _Request, kind: str, content: dict[str, Any]) -> None:
        if request.connection is not None and request.connection in self.connections:
            request.connection.deliver(self._frame(request, kind, content, "shell"))

    def _frame(self, request: _Request, kind: str, content: dict[str, Any], channel: Any) -> bytes:
        return encode(self._wire.msg(kind, content, parent={"header": dict(request.message.header)}), channel)


class KernelHost(RoomHost):
    """A ``RoomHost`` with a kernel."""

    def __init__(self, room: InProcessRoom, kernel: Kernel, name: str) -> None:
        super().__init__(room)
        self._kernel = kernel
        self._name = name

    async def kernel_id(self, kernel: str | None, *, human_here: bool) -> str:
        """The one that there is."""
        return KERNEL_ID

    async def interrupt(self, kernel_id: str) -> None:
        """Interrupt whatever it runs."""
        self._kernel.interrupt()

    @asynccontextmanager
    async def kernel_client(self, kernel_id: str) -> AsyncIterator[KernelClient]:
        """A client of the kernel, as ``KernelClient.connect`` makes one, on a link in memory."""
        link = _Link(self._kernel, self._name)
        await link.open()
        client = KernelClient(kernel_id, link)
        async with anyio.create_task_group() as tasks:
            client._mark()
            tasks.start_soon(client._receive_all)
            tasks.start_soon(client._nudge)
            try:
                yield client
            finally:
                await client.aclose()
                tasks.cancel_scope.cancel()
