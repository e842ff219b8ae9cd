"""A notebook's room in this process, on connections that can be made to fail."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Self

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectSendStream
from jupyter_ydoc import YNotebook
from pycrdt import Decoder, read_message, write_message
from pycrdt.websocket import YRoom

from ..errors import CollabAgentError, RoomClosed
from ..room.channel import ChannelClosed
from ..room.codec import UpdateKey, update_key
from .documents import CellSpec, notebook_of

_UPDATE = b"\0\2"
_RAW = b"\2"
_GONE = (anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError)


class InProcessChannel:
    """A client's connection to an ``InProcessRoom``: a ``Channel`` with faults to order."""

    def __init__(self, room: InProcessRoom) -> None:
        self._room = room
        self._to_client, self._at_client = anyio.create_memory_object_stream[bytes](math.inf)
        self._to_room, self.at_room = anyio.create_memory_object_stream[bytes](math.inf)
        self._held: list[tuple[MemoryObjectSendStream[bytes], bytes]] | None = None
        self._own: set[UpdateKey] = set()
        self._error: CollabAgentError | None = None
        self.sent: list[bytes] = []
        """Every frame that the client has sent, in order."""
        self.received = 0
        """How many bytes the client has been given."""

    async def send(self, frame: bytes) -> None:
        """Send one frame to the room."""
        await anyio.lowlevel.checkpoint()
        if self._error is not None:
            raise ChannelClosed(self._error)
        self.sent.append(frame)
        if frame.startswith(_UPDATE):
            self._own.add(update_key(read_message(frame[2:])))
        self._pass(self._to_room, frame)

    async def receive(self) -> bytes:
        """The next frame of the room."""
        frame = b""
        with suppress(*_GONE):
            frame = await self._at_client.receive()
        if self._error is not None:
            raise ChannelClosed(self._error)
        self.received += len(frame)
        return frame

    def cut(self, error: CollabAgentError | None = None) -> None:
        """End the connection at once; what is under way is lost."""
        self._error = self._error or error or RoomClosed("The connection was cut by the test.")
        for stream in (self._to_client, self._at_client, self._to_room, self.at_room):
            stream.close()

    def hold(self) -> None:
        """Keep back all frames, both ways, until ``release``."""
        if self._held is None:
            self._held = []

    def release(self) -> None:
        """Let the held frames go, in their order."""
        held, self._held = self._held or [], None
        for stream, frame in held:
            self._pass(stream, frame)

    @property
    def waiting(self) -> int:
        """How many frames the client has not taken yet."""
        return self._at_client.statistics().current_buffer_used

    def deliver(self, frame: bytes) -> None:
        """Hand the client this frame, as the room does."""
        self._pass(self._to_client, frame)

    def is_echo(self, frame: bytes) -> bool:
        """Whether this frame of the room is an update that came from this client."""
        return frame.startswith(_UPDATE) and update_key(read_message(frame[2:])) in self._own

    def leave(self) -> None:
        """End the connection as a client does who hangs up: the room still gets what was sent."""
        self._error = self._error or RoomClosed("The connection was closed.")
        self._to_room.close()
        self._at_client.close()

    def _pass(self, stream: MemoryObjectSendStream[bytes], frame: bytes) -> None:
        if self._held is not None:
            self._held.append((stream, frame))
            return
        with suppress(*_GONE):
            stream.send_nowait(frame)


class _RoomEnd:
    """The room's end of a channel, in the form that ``YRoom.serve`` takes."""

    def __init__(self, channel: InProcessChannel, room: InProcessRoom) -> None:
        self.path = "notebook"
        self._channel = channel
        self._room = room

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        with suppress(*_GONE):
            return await self.recv()
        raise StopAsyncIteration

    async def recv(self) -> bytes:
        """The next frame that ``YRoom`` understands: it knows nothing of Jupyter's RAW messages."""
        while (frame := await self._channel.at_room.receive()).startswith(_RAW):
            self._room.answer_save(self._channel, frame)
        return frame

    async def send(self, message: bytes) -> None:
        unwanted = self._room.mute and message.startswith(_UPDATE)
        if not unwanted and (self._room.echo or not self._channel.is_echo(message)):
            self._channel.deliver(message)


class InProcessRoom:
    """A notebook's room without a server; an async context manager.  ``connect`` is what a ``RoomProvider`` takes.

    ``refuse``: makes connecting fail; ``attempts``: how often somebody tried.  ``echo`` false: clients do not get
    their own updates back; ``mute``: nobody gets any, except as an answer.  ``save_status``: the answer to requests
    to save, None for silence; ``saves``: their numbers.  ``channels``: the connections so far, in order, the dead
    ones too.
    """

    def __init__(self, cells: Sequence[CellSpec] = (), path: str = "notebook.ipynb") -> None:
        self.notebook = YNotebook()
        self.notebook.set(notebook_of(cells))
        self.notebook.path = path
        self.refuse: CollabAgentError | None = None
        self.attempts = 0
        self.echo = True
        self.mute = False
        self.save_status: str | None = "success"
        self.saves: list[int] = []
        self.channels: list[InProcessChannel] = []
        self._room = YRoom(ydoc=self.notebook.ydoc)
        self._stack = AsyncExitStack()
        self._tasks: TaskGroup | None = None
        self._changed = anyio.Event()
        self._subscription = self.notebook.ydoc.observe(lambda _event: self._notify())

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._room)
        self._tasks = await self._stack.enter_async_context(anyio.create_task_group())
        await self._room.ydoc_observed.wait()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()
        self.notebook.ydoc.unobserve(self._subscription)
        if self._tasks is not None:
            self._tasks.cancel_scope.cancel()
        await self._stack.__aexit__(None, None, None)  # a failing test should show its own error, not a group
        for stream in (self._room._update_send_stream, self._room._update_receive_stream):
            stream.close()  # pycrdt-websocket leaves them open

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[InProcessChannel]:
        """A new connection to the room."""
        self.attempts += 1
        self._notify()
        if self.refuse is not None:
            raise self.refuse
        assert self._tasks is not None, "enter the room first"
        channel = InProcessChannel(self)
        self.channels.append(channel)
        self._tasks.start_soon(self._serve, channel)
        try:
            yield channel
        finally:
            channel.leave()

    async def _serve(self, channel: InProcessChannel) -> None:
        try:
            await self._room.serve(_RoomEnd(channel, self))
        finally:
            channel.cut()

    def cut(self, error: CollabAgentError | None = None) -> None:
        """Drop all connections."""
        for channel in self.channels:
            channel.cut(error)

    def hold(self) -> None:
        """Keep back all frames of the connections that there are, both ways."""
        for channel in self.channels:
            channel.hold()

    def release(self) -> None:
        """Let the held frames go."""
        for channel in self.channels:
            channel.release()

    def say(self, message: Mapping[str, Any]) -> None:
        """Send all clients a RAW message, such as ``{"type": "conflict"}``."""
        for channel in self.channels:
            channel.deliver(_RAW + write_message(json.dumps(message).encode()))

    def answer_save(self, channel: InProcessChannel, frame: bytes) -> None:
        """Answer a RAW request to save, unless the test wants silence."""
        decoder = Decoder(frame[1:])
        decoder.read_message()
        number = decoder.read_var_uint()
        self.saves.append(number)
        if self.save_status is not None:
            answer = {"type": "save", "responseTo": number, "status": self.save_status}
            channel.deliver(_RAW + write_message(json.dumps(answer).encode()))

    def document(self) -> dict[str, Any]:
        """The room's notebook in nbformat's terms."""
        return dict(self.notebook.get(deduplicate=False))

    def sources(self) -> list[str]:
        """The sources of the room's cells."""
        return [str(cell["source"]) for cell in self.notebook.ycells]

    async def wait_for(self, predicate: Callable[[], bool], timeout_s: float = 5.0) -> None:
        """Wait until a change of the document, or somebody who connects, makes this true; else ``TimeoutError``."""
        with anyio.fail_after(timeout_s):
            while not predicate():
                await self._changed.wait()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
