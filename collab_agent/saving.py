"""Saving: when to ask for it, and whether a file holds what the room holds.

The server saves by itself only if some client's state asks for it, and ours never does: a human who has turned
autosave off is obeyed.  So the agent asks: where it is alone, and where a human has autosave on (then the server would
save anyway, but steady output starves its timer).  A RAW save's "success" proves nothing (``facts/faults.md``);
"saved" is said only after the file was read back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import anyio

from .config import Limits
from .errors import CollabAgentError, NotebookNotFound, NotebookUnreadable, SaveFailed
from .host import Host
from .notebook.model import CellView, NotebookView, OutputView
from .notebook.steps import Step
from .room.presence import AGENT_KEY, REVIEW_KEY
from .room.provider import RoomProvider
from .room.replica import Replica

AUTOSAVE_S = 1.0
"""How long after an own change the server is asked to save."""
RETRY_S = 0.1
STROKE_S = 0.2
HOLD_S = 0.5
"""For so long at most a run's outputs wait for a save."""
MOST_MISSES = 3
MOST_TRIES = 8
"""So often a save that did not come to writing is asked for again at once."""
MOST_MOMENTS = 200


class Saver:
    """Saves one notebook, on request and by itself."""

    def __init__(self, room: RoomProvider, host: Host, limits: Limits) -> None:
        self._room = room
        self._host = host
        self._limits = limits
        self._moments: list[NotebookView] | None = None
        self._dirty = anyio.Event()
        self._misses = 0
        self._typed = anyio.Event()
        self._peace = anyio.Event()
        self._peace.set()
        self.on_saving: Callable[[], Callable[[], None]] = lambda: _nothing
        """Called when a save is asked for; what it returns is called when the file was read and holds it."""
        self.on_asked: Callable[[], None] = _nothing
        """Called when the server has answered a request to save, whatever it says."""

    def changed(self, *, own: bool) -> None:
        """The document has changed; by us, or by somebody else."""
        if own:
            self._dirty.set()
        else:
            self._typed.set()
        if self._moments is not None and self._moments[-1] is not self._room.replica.view:
            self._moments = [*self._moments[-MOST_MOMENTS:], self._room.replica.view]

    def overwritten(self) -> None:
        """The server has made the room what another program wrote: that file is none that was to be saved."""
        if self._moments is not None:
            self._moments = [self._room.replica.view]

    async def save(self) -> None:
        """Have the file written, and read it back until it holds what the room holds; ``SaveFailed`` otherwise."""
        first = self._room.replica.view
        self._moments, self._misses = [first], 0
        saved = self.on_saving()
        answer = ""
        try:
            with anyio.move_on_after(self._limits.save_s):
                while True:
                    answer = await self._room.request_save()
                    content = await self._read_back()
                    with_ids = self._room.replica.format_minor >= 5
                    # While a human types the file may hold any of the moments since the call.
                    same = any(same_notebook(view, content, with_ids=with_ids) for view in self._moments)
                    if same and self._holds_outputs(first, content):
                        saved()
                        return
                    await anyio.sleep(RETRY_S)
        finally:
            self._moments = None
        raise SaveFailed(
            f"The file does not hold what the room holds (the server answered {answer or 'nothing'!r}). "
            "The room still has all edits.",
            "The server is still loading or saving it: save again in a few seconds."
            if answer == "skipped"
            else "The disk may be full, or somebody else writes the file, too: ask the human, then save again.",
        )

    def _holds_outputs(self, first: NotebookView, content: Mapping[str, Any]) -> bool:
        """Whether a file with the same cells has the outputs, too, of those that have not changed since the call."""
        now = self._room.replica.view.cells
        if [cell.id for cell in now] != [cell.id for cell in first.cells] or not now:
            return True
        return all(
            mine.running or mine.outputs_version != was.outputs_version or same_outputs(self._outputs(mine), theirs)
            for mine, was, theirs in zip(now, first.cells, content["cells"], strict=False)
        )

    def _outputs(self, cell: CellView) -> Sequence[OutputView]:
        return self._room.replica.outputs(cell.id)

    async def _read_back(self) -> Mapping[str, Any]:
        try:
            return await self._host.read_back()
        except NotebookNotFound as exc:
            self._misses += 1
            if self._misses < MOST_MISSES:
                return {}  # while the server writes it, a file may not be there
            raise SaveFailed(
                "Not on disk: the notebook's file was moved or deleted by another program, and nothing was written in "
                f"its place. The room still has all edits. {exc.message}",
                "Ask the human where the file is; when it is back at its place, save again.",
            ) from None
        except NotebookUnreadable:
            return {}  # the server empties the file before it writes, and may be writing at this very moment

    async def autosave(self) -> None:
        """Ask for a save soon after each own change, where that is nobody's decision but ours; until cancelled."""
        while True:
            await self._dirty.wait()
            await anyio.sleep(AUTOSAVE_S)
            await self.save_quietly(MOST_TRIES)

    async def save_quietly(self, tries: int = 1) -> None:
        """Ask for a save if there is anything of ours to be saved; a failure is told when somebody asks."""
        if not self._dirty.is_set():
            return
        self._dirty = anyio.Event()
        if not self._room.connected or not self._may_autosave():
            return
        with suppress(CollabAgentError):
            for attempt in range(tries):
                before = await self._host.modified() if tries > 1 else ""
                if attempt:
                    await self._typed_again()
                if await self._asked_in_peace() == "failed" or tries == 1 or await self._host.modified() != before:
                    break
        self.on_asked()

    async def _typed_again(self) -> None:
        """Wait for the next keystroke: the longest time without one begins behind it."""
        self._typed = anyio.Event()
        with anyio.move_on_after(STROKE_S):
            await self._typed.wait()

    async def _asked_in_peace(self) -> str:
        """Ask for a save while we write no outputs.

        The server drops a save, and says "success", where somebody writes before it has collected the notebook.
        """
        self._peace = anyio.Event()
        try:
            return await self._room.request_save()
        finally:
            self._peace.set()

    async def peace(self) -> None:
        """Return when no save is under way that a write of ours would end, or it takes too long."""
        with anyio.move_on_after(HOLD_S):
            await self._peace.wait()

    async def save_at_last(self, calls: int) -> None:
        """Have what is ours saved and read back, where that is nobody's decision but ours; a failure is told later.

        ``calls``: how many of ours are not known to be on disk.
        """
        if not self._dirty.is_set() and not calls:
            return
        with suppress(CollabAgentError):
            if self._room.connected and self._may_autosave():
                await self.save()

    def _may_autosave(self) -> bool:
        states = self._room.protocol.presence.others.values()
        humans = [state for state in states if AGENT_KEY not in state and REVIEW_KEY not in state]
        return not humans or any(state.get("autosave", True) for state in humans)


def _nothing() -> None:
    return None


def same_notebook(view: NotebookView, content: Mapping[str, Any], *, with_ids: bool) -> bool:
    """Whether a notebook read from disk has the same cells: types, sources, counts, and ids where the format has them.

    A server writes one empty code cell for a notebook without any, and of cells that are alike, id and all, only one.
    """
    cells = content.get("cells")
    if not isinstance(cells, list):
        return False
    if not view.cells:
        return all(not source_of(cell) for cell in cells)
    own = list(dict.fromkeys(replace(cell, outputs_version=0) for cell in view.cells)) if with_ids else view.cells
    return len(cells) == len(own) and all(
        _same(mine, theirs, with_ids) for mine, theirs in zip(own, cells, strict=True)
    )


def _same(mine: CellView, theirs: Mapping[str, Any], with_ids: bool) -> bool:
    return (
        theirs.get("cell_type") == mine.type
        and source_of(theirs) == mine.source
        and (not with_ids or theirs.get("id") == mine.id)
        and (mine.type != "code" or mine.running or theirs.get("execution_count") == mine.execution_count)
    )


def same_outputs(mine: Sequence[OutputView], theirs: Mapping[str, Any]) -> bool:
    """Whether a cell that was read from disk has as many outputs, of the same kinds, and the streams' whole texts."""
    there = theirs.get("outputs") or []
    if not isinstance(there, list) or not all(isinstance(each, dict) for each in there):
        return False  # another program has just written it
    return [(each.kind, each.text) for each in mine] == [
        (each.get("output_type"), _joined(each.get("text", ""))) for each in there
    ]


def source_of(cell: Mapping[str, Any]) -> str:
    """The text of a cell in nbformat's terms."""
    return _joined(cell.get("source", ""))


def _joined(text: object) -> str:
    return "".join(map(str, text)) if isinstance(text, list) else str(text)


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

    def write_soon(self, steps: Sequence[Step]) -> int:
        """Write without waiting for the echo; how many bytes that took."""
        self._before(steps)
        written = self._room.write_soon(steps)
        self._saver.changed(own=True)
        return len(written.update or b"")

    async def write(self, steps: Sequence[Step]) -> None:
        """Write, and return when the room has it; ``RoomClosed``, ``SyncTimeout``."""
        self._before(steps)
        self._saver.changed(own=True)
        await self._room.write(lambda _replica: steps)

    async def peace(self) -> None:
        """Return when outputs may be written: they would end a save that is under way."""
        await self._saver.peace()

    async def wait_joined(self) -> None:
        """Return when the room is joined."""
        await self._room.wait_joined()
