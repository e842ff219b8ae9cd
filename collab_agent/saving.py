"""Saving: when to ask for it, and whether a file holds what the room holds.

The server saves by itself only if some client's state asks for it, and ours never does: a human who has turned
autosave off is obeyed.  So the agent asks: where it is alone, and where a human has autosave on (then the server would
save anyway, but steady output starves its timer).  A RAW save's "success" proves nothing (``facts/faults.md``);
"saved" is said only after the file was read back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import anyio

from .config import Limits
from .errors import CollabAgentError, NotebookUnreadable, SaveFailed
from .host import Host
from .notebook.model import CellView, NotebookView
from .notebook.steps import Step
from .room.presence import AGENT_KEY, REVIEW_KEY
from .room.provider import RoomProvider
from .room.replica import Replica

AUTOSAVE_S = 1.0
"""How long after an own change the server is asked to save."""
RETRY_S = 0.1
MOST_MOMENTS = 200


class Saver:
    """Saves one notebook, on request and by itself."""

    def __init__(self, room: RoomProvider, host: Host, limits: Limits) -> None:
        self._room = room
        self._host = host
        self._limits = limits
        self._moments: list[NotebookView] | None = None
        self._dirty = anyio.Event()
        self.on_saving: Callable[[], Callable[[], None]] = lambda: _nothing
        """Called when a save is asked for; what it returns is called when the file was read and holds it."""
        self.on_asked: Callable[[], None] = _nothing
        """Called when the server has answered a request to save, whatever it says."""

    def changed(self, *, own: bool) -> None:
        """The document has changed; by us, or by somebody else."""
        if own:
            self._dirty.set()
        if self._moments is not None and self._moments[-1] is not self._room.replica.view:
            self._moments = [*self._moments[-MOST_MOMENTS:], self._room.replica.view]

    async def save(self) -> None:
        """Have the file written, and read it back until it holds what the room holds; ``SaveFailed`` otherwise."""
        self._moments = [self._room.replica.view]
        saved = self.on_saving()
        answer = ""
        try:
            with anyio.move_on_after(self._limits.save_s):
                while True:
                    answer = await self._room.request_save()
                    content = await self._read_back()
                    with_ids = self._room.replica.format_minor >= 5
                    # While a human types the file may hold any of the moments since the call.
                    if any(same_notebook(view, content, with_ids=with_ids) for view in self._moments):
                        saved()
                        return
                    await anyio.sleep(RETRY_S)
        finally:
            self._moments = None
        raise SaveFailed(
            f"The file does not hold what the room holds (the server answered {answer or 'nothing'!r}). "
            "The room still has all edits.",
            'Was the file moved or deleted? Look with query_notebook(query="server"), then save again.',
        )

    async def _read_back(self) -> Mapping[str, Any]:
        try:
            return await self._host.read_back()
        except NotebookUnreadable:
            return {}  # the server empties the file before it writes, and may be writing at this very moment

    async def autosave(self) -> None:
        """Ask for a save soon after each own change, where that is nobody's decision but ours; until cancelled."""
        while True:
            await self._dirty.wait()
            await anyio.sleep(AUTOSAVE_S)
            await self.save_quietly()

    async def save_quietly(self) -> None:
        """Ask for a save if there is anything of ours to be saved; a failure is told when somebody asks."""
        if not self._dirty.is_set():
            return
        self._dirty = anyio.Event()
        if not self._room.connected or not self._may_autosave():
            return
        with suppress(CollabAgentError):
            await self._room.request_save()
            self.on_asked()

    def _may_autosave(self) -> bool:
        states = self._room.protocol.presence.others.values()
        humans = [state for state in states if AGENT_KEY not in state and REVIEW_KEY not in state]
        return not humans or any(state.get("autosave", True) for state in humans)


def _nothing() -> None:
    return None


def same_notebook(view: NotebookView, content: Mapping[str, Any], *, with_ids: bool) -> bool:
    """Whether a notebook read from disk has the same cells: types, sources, counts, and ids where the format has them.

    A server writes one empty code cell for a notebook without any.
    """
    cells = content.get("cells")
    if not isinstance(cells, list):
        return False
    if not view.cells:
        return all(not source_of(cell) for cell in cells)
    return len(cells) == len(view.cells) and all(
        _same(mine, theirs, with_ids) for mine, theirs in zip(view.cells, cells, strict=True)
    )


def _same(mine: CellView, theirs: Mapping[str, Any], with_ids: bool) -> bool:
    return (
        theirs.get("cell_type") == mine.type
        and source_of(theirs) == mine.source
        and (not with_ids or theirs.get("id") == mine.id)
        and (mine.type != "code" or mine.running or theirs.get("execution_count") == mine.execution_count)
    )


def source_of(cell: Mapping[str, Any]) -> str:
    """The text of a cell in nbformat's terms."""
    source = cell.get("source", "")
    return "".join(source) if isinstance(source, list) else str(source)


class RunRoom:
    """The room for runs: what they write is ours, and is to be saved."""

    def __init__(self, room: RoomProvider, saver: Saver, before: Callable[[Sequence[Step]], None]) -> None:
        self._room = room
        self._saver = saver
        self._before = before

    @property
    def replica(self) -> Replica:
        """The live replica; ``RoomClosed`` while the room is away."""
        return self._room.replica

    def write_soon(self, steps: Sequence[Step]) -> None:
        """Write without waiting for the echo."""
        self._before(steps)
        self._room.write_soon(steps)
        self._saver.changed(own=True)

    async def wait_joined(self) -> None:
        """Return when the room is joined."""
        await self._room.wait_joined()
