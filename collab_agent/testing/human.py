"""A scripted human: what a JupyterLab page does on the wire, keystroke by keystroke.

Written without ``collab_agent.room``'s protocol, replica or positions, so that one implementation judges the other.
As in a page: every keystroke is a transaction and then a caret in awareness; the caret moves along with what others
type, and is published again; the state says ``autosave``; after a loss the *same* Doc is joined again, and what was
typed meanwhile is merged.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Self, cast
from uuid import uuid4

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from jupyter_ydoc import YNotebook
from pycrdt import (
    Awareness,
    Text,
    create_awareness_message,
    create_sync_message,
    create_update_message,
    handle_sync_message,
    read_message,
)

from ..config import Server
from ..errors import CellNotFound, CollabAgentError, sole_cause
from ..room.channel import Channel, ChannelClosed, Connect
from .carets import place_of, right_of
from .server import human_channel

CellRef = int | str
"""A cell's index, or its id."""
Pause = float | Callable[[], float]
"""Seconds after each keystroke."""

_SYNC, _AWARENESS, _STEP1, _STEP2 = 0, 1, 0, 1
_RETRY_S = 0.1
_FIRST_MARK = 0x4E00


class Human:
    """A human at a page.  Made by ``join`` or ``join_server``.

    ``keystrokes``: the characters typed and not taken back.  ``failure``: why the room is away, if it is.
    """

    def __init__(self, name: str, color: str, *, announces: bool = True, autosave: bool = True) -> None:
        self.name = name
        self.notebook = YNotebook()
        self.client_id = self.notebook.ydoc.client_id
        self.keystrokes: list[str] = []
        self.failure: CollabAgentError | None = None
        self._announces = announces
        self._autosave = autosave
        self._doc = self.notebook.ydoc
        self._awareness = Awareness(self._doc)
        self._user = _user(name, color)
        self._caret: tuple[str, int] | None = None  # cell id, UTF-8 bytes
        self._marks = 0
        self._outbox: MemoryObjectSendStream[bytes] | None = None
        self._emptied = anyio.Event()
        self._synced = anyio.Event()
        self._changed = anyio.Event()
        self._remote = False
        self._events: list[Any] = []
        self._ids: list[str] | None = None
        self._subscriptions = [self._doc.observe(self._on_update), self.notebook.ycells.observe_deep(self._on_cells)]
        self._awareness.observe(self._on_awareness)

    # Coming and going.

    @classmethod
    @asynccontextmanager
    async def join(
        cls,
        connect: Connect,
        name: str = "Ada",
        color: str = "var(--jp-collaborator-color3)",
        *,
        announces: bool = True,
        autosave: bool = True,
        timeout_s: float = 10.0,
    ) -> AsyncIterator[Self]:
        """Join a room and leave it at the end of the block.

        ``announces`` false: as an idle page, which a newcomer hears of only when its state is renewed (15 s).
        ``autosave`` false: this human has turned it off.
        """
        human = cls(name, color, announces=announces, autosave=autosave)
        try:
            async with anyio.create_task_group() as tasks:
                await tasks.start(human._awareness.start)
                tasks.start_soon(human._stay, connect)
                with anyio.fail_after(timeout_s):
                    await human._synced.wait()
                try:
                    yield human
                finally:
                    await human._leave()
                    tasks.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            raise sole_cause(group) from None  # a failing test should show its own error
        finally:  # what listens is held by Yjs, and would keep the whole notebook for ever
            for observed, listens in zip((human._doc, human.notebook.ycells), human._subscriptions, strict=True):
                observed.unobserve(listens)

    @classmethod
    @asynccontextmanager
    async def join_server(cls, server: Server, path: str, name: str = "Ada", **options: Any) -> AsyncIterator[Self]:
        """Join a notebook's room on a Jupyter server; options as of ``join``."""
        async with cls.join(lambda: human_channel(server, path), name, **options) as human:
            yield human

    async def _stay(self, connect: Connect) -> None:
        """Keep joined, as a page does; the first failure is raised."""
        while True:
            try:
                async with connect() as channel, anyio.create_task_group() as tasks:
                    self._outbox, frames = anyio.create_memory_object_stream[bytes](math.inf)
                    self._emptied = anyio.Event()
                    tasks.start_soon(_send, channel, frames, self._emptied)
                    await self._receive(channel, tasks.cancel_scope)
            except CollabAgentError as exc:
                self.failure = exc
            finally:
                if self._outbox is not None:
                    self._outbox.close()
                self._outbox = None
            if not self._synced.is_set() and self.failure is not None:
                raise self.failure
            await anyio.sleep(_RETRY_S)

    async def _receive(self, channel: Channel, scope: anyio.CancelScope) -> None:
        asked = False
        while True:
            try:
                frame = await channel.receive()
            except ChannelClosed as exc:
                self.failure = exc.error
                scope.cancel()
                return
            if frame[0] == _SYNC:
                self._merge(frame)
                if frame[1] == _STEP1 and not asked:
                    asked = True
                    self._emit(create_sync_message(self._doc))
                    self._publish()
                if frame[1] == _STEP2:
                    self.failure = None
                    self._synced.set()
            elif frame[0] == _AWARENESS:
                self._awareness.apply_awareness_update(read_message(frame[1:]), "remote")
            self._changed.set()
            self._changed = anyio.Event()

    def _merge(self, frame: bytes) -> None:
        self._events.clear()  # what this human did is in the caret already
        self._remote = True
        try:
            reply = handle_sync_message(frame[1:], self._doc)
        finally:
            self._remote = False
        if reply is not None:
            self._emit(reply)
        self._carry_caret()

    async def _leave(self) -> None:
        self._awareness.set_local_state(None)
        if self._outbox is not None:
            self._outbox.close()
            with anyio.move_on_after(1, shield=True):
                await self._emptied.wait()

    def _emit(self, frame: bytes) -> None:
        """Offline nothing is sent: the Doc has it, and the next sync hands it over."""
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            if self._outbox is not None:
                self._outbox.send_nowait(frame)

    def _on_update(self, event: Any) -> None:
        if not self._remote:
            self._emit(create_update_message(event.update))

    def _on_cells(self, events: list[Any]) -> None:
        self._events += events
        if any(not event.path or "id" in getattr(event, "keys", ()) for event in events):
            self._ids = None

    def _on_awareness(self, topic: str, event: tuple[dict[str, Any], Any]) -> None:
        changes, origin = event
        if origin == "local":
            if topic == "update":
                self._emit(create_awareness_message(self._awareness.encode_awareness_update([self.client_id])))
        elif topic == "change" and changes["added"] and self._announces:
            self._awareness.set_local_state(self._awareness.get_local_state())

    # Typing.

    async def type(self, cell: CellRef, text: str, at: int | None = None, *, pause: Pause = 0.0) -> None:
        """Type into a cell, one transaction per character.

        ``at``: the character before which to start; None: the caret if it is in the cell, else the cell's end.
        """
        cell_id = self._id(cell)
        if at is not None or self._caret is None or self._caret[0] != cell_id:
            self._put_caret(cell_id, at)
        for character in text:
            self._press(cell_id, character)
            await _rest(pause)

    async def type_marks(self, cell: CellRef, count: int, at: int | None = None, *, pause: Pause = 0.0) -> str:
        """Type ``count`` characters that this human never types twice, so that ``lost`` is exact; returns them."""
        marks = "".join(chr(_FIRST_MARK + self._marks + i) for i in range(count))
        self._marks += count
        await self.type(cell, marks, at, pause=pause)
        return marks

    async def backspace(self, count: int = 1, *, pause: Pause = 0.0) -> None:
        """Take back characters to the left of the caret, one transaction each."""
        for _ in range(count):
            cell_id, offset = self._require_caret()
            before = str(self._text(cell_id)).encode()[:offset].decode(errors="ignore")
            if not before:
                return
            offset = len(before.encode())  # a cell that was rebuilt meanwhile may be shorter
            start = offset - len(before[-1].encode())
            del self._text(cell_id)[start:offset]
            if before[-1] in self.keystrokes:
                self.keystrokes.remove(before[-1])
            self._caret = (cell_id, start)
            self._publish()
            await _rest(pause)

    async def place_caret(self, cell: CellRef, index: int | None = None) -> None:
        """Click before character ``index`` of a cell; None: at its end."""
        self._put_caret(self._id(cell), index)
        self._publish()
        await _rest(0)

    async def leave_cell(self) -> None:
        """Click elsewhere: no caret any more."""
        self._caret = None
        self._publish()
        await _rest(0)

    def _press(self, cell_id: str, character: str) -> None:
        """A keystroke at the caret; where the cell is rebuilt meanwhile, the caret goes with its id."""
        text = self._text(cell_id)
        # In a rebuilt cell it may lie inside a character, where pycrdt would make an update that deletes the text.
        offset = len(str(text).encode()[: self._require_caret()[1]].decode(errors="ignore").encode())
        text.insert(offset, character)
        self.keystrokes.append(character)
        self._caret = (cell_id, offset + len(character.encode()))
        self._publish()

    def _put_caret(self, cell_id: str, index: int | None) -> None:
        current = str(self._text(cell_id))
        self._caret = (cell_id, len(current[:index].encode()))

    def _carry_caret(self) -> None:
        """Move the caret along with what others did to its cell, as CodeMirror does."""
        if self._caret is None or not self._events:
            return
        cell_id, offset = self._caret
        for event in self._events:
            if len(event.path) == 2 and event.path[1] == "source" and self._id(event.path[0]) == cell_id:
                offset = place_of(offset, event.delta)
        self._caret = (cell_id, offset)
        self._publish()

    def _publish(self) -> None:
        cursors: list[Any] = []
        if self._caret is not None and self._caret[0] in self.ids():
            position = right_of(self.notebook, self.ids().index(self._caret[0]), self._caret[1])
            cursors = [{"anchor": position, "head": position, "primary": True, "empty": True}]
        self._awareness.set_local_state({"user": self._user, "autosave": self._autosave, "cursors": cursors})

    # Cells.

    async def insert_cell(self, index: int, source: str = "", type: str = "code") -> str:
        """Insert a cell so that it stands at ``index``; returns its id."""
        cell: dict[str, Any] = {"id": uuid4().hex, "cell_type": type, "source": source, "metadata": {}}
        if type == "code":
            cell |= {"outputs": [], "execution_count": None}
        self.notebook.ycells.insert(index, self.notebook.create_ycell(cell))
        await _rest(0)
        return str(cell["id"])

    async def delete_cell(self, cell: CellRef) -> None:
        """Delete a cell."""
        del self.notebook.ycells[self._index(cell)]
        await _rest(0)

    async def move_cell(self, cell: CellRef, to: int) -> None:
        """Rebuild a cell at index ``to``, counted without it, as a page does."""
        index = self._index(cell)
        value = self.notebook.ycells[index].to_py() or {}
        with self._doc.transaction():
            del self.notebook.ycells[index]
            self.notebook.ycells.insert(to, self.notebook.create_ycell(value))
        await _rest(0)

    async def mark_running(self, cell: CellRef, running: bool, count: int | None = None) -> None:
        """What a page writes when its human runs a cell, and when the run ends (with its count)."""
        handle = self.notebook.ycells[self._index(cell)]
        with self._doc.transaction():
            handle["execution_count"] = None if count is None else float(count)
            handle["execution_state"] = "running" if running else "idle"
        await _rest(0)

    # Looking.

    @property
    def caret(self) -> tuple[str, int] | None:
        """The id of the caret's cell, and the character before which it stands."""
        if self._caret is None:
            return None
        cell_id, offset = self._caret
        return cell_id, len(str(self._text(cell_id)).encode()[:offset].decode(errors="ignore"))

    def caret_text(self) -> str:
        """The source of the caret's cell with ``|`` for the caret."""
        cell_id, offset = self._require_caret()
        encoded = str(self._text(cell_id)).encode()
        return f"{encoded[:offset].decode()}|{encoded[offset:].decode()}"

    def document(self) -> dict[str, Any]:
        """The notebook in nbformat's terms, as this page has it."""
        return dict(self.notebook.get(deduplicate=False))

    def source(self, cell: CellRef) -> str:
        """The source of a cell."""
        return str(self._text(self._id(cell)))

    def sources(self) -> list[str]:
        """The sources of all cells."""
        return [str(cell["source"]) for cell in self.notebook.ycells]

    def ids(self) -> list[str]:
        """The ids of all cells."""
        if self._ids is None:  # asking Yjs takes longer than a keystroke
            self._ids = [str(cell["id"]) for cell in self.notebook.ycells]
        return list(self._ids)

    def peers(self) -> dict[int, Mapping[str, Any]]:
        """The awareness states of the others, by client id."""
        return {c: s for c, s in self._awareness.states.items() if c != self.client_id and s}

    def lost(self) -> list[str]:
        """The typed characters that stand nowhere in the notebook any more; exact where no two were the same."""
        return list((Counter(self.keystrokes) - Counter("".join(self.sources()))).elements())

    async def wait_for(self, predicate: Callable[[], bool], timeout_s: float = 5.0) -> None:
        """Wait until a frame of the room makes this true; ``TimeoutError`` says what the page shows instead."""
        try:
            with anyio.fail_after(timeout_s):
                while not predicate():
                    await self._changed.wait()
        except TimeoutError:
            raise TimeoutError(f"{self.name} still sees {self.sources()!r} and {self.peers()!r}") from None

    def _id(self, cell: CellRef) -> str:
        return cell if isinstance(cell, str) else self.ids()[cell]

    def _index(self, cell: CellRef) -> int:
        if not isinstance(cell, int) and cell not in self.ids():
            raise CellNotFound(f"{self.name} sees no cell {cell!r}.")
        return cell if isinstance(cell, int) else self.ids().index(cell)

    def _text(self, cell: CellRef) -> Text:
        return cast(Text, self.notebook.ycells[self._index(cell)]["source"])

    def _require_caret(self) -> tuple[str, int]:
        if self._caret is not None:
            return self._caret
        raise CellNotFound(f"{self.name} has no caret in any cell.")


def _user(name: str, color: str) -> dict[str, Any]:
    """The user as JupyterLab publishes it."""
    named = {"name": name, "display_name": name, "initials": name[:1].upper()}
    return {"username": uuid4().hex, **named, "color": color, "avatar_url": None}


async def _send(channel: Channel, frames: MemoryObjectReceiveStream[bytes], emptied: anyio.Event) -> None:
    with suppress(ChannelClosed):  # the receiving side says why
        async with frames:
            async for frame in frames:
                await channel.send(frame)
    emptied.set()


async def _rest(pause: Pause) -> None:
    await anyio.sleep(pause() if callable(pause) else pause)
