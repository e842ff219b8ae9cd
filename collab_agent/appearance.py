"""How the agent shows itself in the notebook: its caret, and for a moment what it has inserted."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
from anyio.abc import TaskGroup

from .config import Limits
from .nameplate import Nameplate
from .room.positions import Range, end_of
from .room.presence import room_state
from .room.provider import RoomProvider
from .room.replica import Written

MOST_HIGHLIGHTS = 20


class Appearance:
    """Publishes the agent's state in the room.  Reading moves nothing; editing and running do."""

    def __init__(self, room: RoomProvider, nameplate: Nameplate, limits: Limits) -> None:
        self._room = room
        self._nameplate = nameplate
        self._limits = limits
        self._highlight: anyio.CancelScope | None = None
        self._shown: Sequence[Range] = ()

    def arrive(self) -> None:
        """Be here, without a caret."""
        self._show()

    def renamed(self) -> None:
        """The same, under the name that we have now."""
        self._show(self._shown)

    def show_edit(self, written: Written, tasks: TaskGroup) -> None:
        """Put the caret at the last edit, and show what was inserted as a selection for about two seconds."""
        if not written.inserted:
            return
        self._stop_highlight()
        last = written.inserted[-1]
        shown = [each for each in written.inserted if each.cell == last.cell][-MOST_HIGHLIGHTS:]
        self._show(shown)
        tasks.start_soon(self._fade, last)

    async def _fade(self, last: Range) -> None:
        with anyio.CancelScope() as scope:
            self._highlight = scope
            await anyio.sleep(self._limits.highlight_s)
            self._show([last.collapsed()])

    def show_running(self, cell_id: str) -> None:
        """Put the caret into the cell that runs."""
        self._stop_highlight()
        here = end_of(self._room.replica.source_of(cell_id))
        self._show([Range(cell_id, here, here)])

    def _show(self, ranges: Sequence[Range] = ()) -> None:
        self._shown = ranges
        self._room.set_state(room_state(self._nameplate.identity, ranges))

    def _stop_highlight(self) -> None:
        if self._highlight is not None:
            self._highlight.cancel()
            self._highlight = None
