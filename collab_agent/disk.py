"""What the notebook's file holds, as last read, and when the server has put another program's write into the room.

The theory (jupyter-collaboration 5.0.4, seen and read).  The server looks at the file every second, and before each
save.  Where another program has written it, the server makes the shared document what the file holds now, in one update
of its own (``authorship.py`` says how that is told): whatever was not on disk yet goes, also what somebody typed.  So
it is known beforehand what is on disk only by reading: at the join, whenever the server says that it has saved or we
have asked it to, and after such a write.  Reading is rationed, for a notebook may be large.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import anyio

from .errors import CollabAgentError, NotebookNotFound, NotebookUnreadable
from .host import Host
from .notebook.model import CellView
from .notebook.plain import inline
from .notebook.recovery import Held
from .people import People
from .room.provider import RoomProvider
from .room.replica import RemoteChange
from .saving import source_of

PAUSE_S = 0.5
SHARE = 20
"""Between two readings lies so many times as long as one takes."""
MOST_TRIES = 5
MOST_MISSES = 3
MOST_LATER = 1_000
"""So many updates later the server would have come by."""
NOTICED_S = 1.5
"""After so long the server has noticed that another program has written the file: it looks every second."""
LOADING = frozenset({0})
"""The server loads a notebook piece by piece as this client."""


@dataclass(slots=True)
class _Suspect:
    """An update that may have been the server's.  ``moment``: the one before it; ``told``: the server has come by."""

    clients: frozenset[int]
    moment: int
    told: bool = False


class Disk:
    """The file of one notebook.  ``watch`` must run while it is open.

    ``on_read`` hears of every reading, ``on_overwritten`` of the moment (``Rolling``) before another program's write.
    """

    def __init__(self, room: RoomProvider, host: Host, people: People) -> None:
        self._room = room
        self._host = host
        self._people = people
        self._wanted = anyio.Event()
        self._suspect: _Suspect | None = None
        self._missing: bool | None = False
        self._misses = 0
        self._overwrites = 0
        self._editors: dict[str, bool] = {}
        """Who has it open as text; whether that was told."""
        self._took = 0.0
        self.held: Held | None = None
        """What it held when it was last read; None: nobody knows yet."""
        self.on_read: Callable[[Held], None] = lambda _held: None
        self.on_overwritten: Callable[[int], None] = lambda _moment: None

    def look(self) -> None:
        """The file may be another now: read it soon."""
        self._wanted.set()

    def joined(self) -> None:
        """The room is joined, perhaps anew."""
        self._suspect, replica = None, self._room.replica
        if self.held is None and not replica.dirty:
            self.held = {cell.id: cell for cell in replica.view.cells}  # until it is read: it may be another by then
        self.look()

    def opened_as_text(self, who: str) -> None:
        """Somebody has the file open in a text editor, too: the server then keeps two documents for one file."""
        self._editors.setdefault(who, False)

    def take_notice(self) -> str:
        """That the file is no longer there, or is open as text, too; each is told once."""
        notices = []
        if self._missing:
            self._missing = None
            notices.append(
                "not on disk: the file was moved or deleted by another program, so nothing that is written here is "
                "saved; ask the human where it is"
            )
        if new := [who for who, told in self._editors.items() if not told]:
            self._editors = dict.fromkeys(self._editors, True)
            notices.append(
                f"{' and '.join(inline(who, 40) for who in new[:4])} has this file open as text, too: the text editor "
                "and the notebook overwrite each other on disk; ask them to close the editor"
            )
        return "; ".join(notices)

    # Who wrote it.

    def heard(self, change: RemoteChange) -> None:
        """Somebody else's update has been merged."""
        moment = self._room.replica.rolling.moment - 1
        if isinstance(change.state.get("hash"), str):
            self._suspect = None
            self.look()
        elif change.clients == LOADING:
            self.look()
        elif change.cells or change.deleted:
            if change.state.get("hash", "") is None or self._people.is_server(change.clients):
                self._overwritten(moment)
            else:  # what others sent meanwhile may have come in the same update
                unknown = frozenset(client for client in change.clients if not self._people.knows(client))
                if unknown or not change.clients:
                    self._suspect = _Suspect(unknown, moment)
        elif change.state == {"dirty": False} and self._suspect is not None:
            if change.clients and change.clients <= self._suspect.clients:
                self._overwritten(self._suspect.moment)
            else:
                self._suspect.told = True
                self.look()
        if self._suspect is None or moment - self._suspect.moment > MOST_LATER:
            self._suspect = None
            self._room.replica.rolling.trim()

    def _overwritten(self, moment: int) -> None:
        self._suspect = None
        self._overwrites += 1
        self.look()
        self.on_overwritten(moment)

    # Reading.

    async def watch(self) -> None:
        """Read the file whenever that is wanted; until cancelled."""
        tries = 0
        while True:
            await self._wanted.wait()
            self._wanted = anyio.Event()
            read = False
            with suppress(CollabAgentError):
                read = await self._read()
            tries = 0 if read else tries + 1
            if 0 < tries < MOST_TRIES:  # the server may be writing it at this very moment
                self.look()
            await anyio.sleep(max(PAUSE_S, SHARE * self._took))

    async def _read(self) -> bool:
        began = anyio.current_time()
        try:
            content, sha = await self._host.on_disk()
            self._took = anyio.current_time() - began
        except NotebookNotFound:  # once is nothing: while the server writes it, a file may not be there
            self._misses += 1
            if self._misses < MOST_MISSES:
                return False
            if self._missing is False:
                self._missing = True
            return True
        except NotebookUnreadable:
            return False
        self._missing, self._misses = False, 0
        if self._suspect is not None and self._suspect.told:  # no hash came behind it: it was no save
            self._overwritten(self._suspect.moment)
        before = self._overwrites
        if sha and self._room.connected and self._room.replica.hash not in (None, sha):
            # Another program wrote it, and the room has it soon; or the server, which somebody kept from saying so.
            await anyio.sleep(NOTICED_S)
        if self._room.connected and before == self._overwrites:
            self.held = held_by(content, with_ids=self._room.replica.format_minor >= 5)
            self.on_read(self.held)
        return True


def held_by(content: Mapping[str, Any], *, with_ids: bool) -> Held:
    """The cells of a notebook as read from disk; without ids, by place."""
    cells: dict[str, CellView] = {}
    for place, cell in enumerate(content.get("cells") or ()):
        key = str(cell.get("id", place)) if with_ids else str(place)
        type_, count = cell.get("cell_type"), cell.get("execution_count")
        if type_ in ("code", "markdown", "raw"):
            cells[key] = CellView(key, type_, source_of(cell), count if isinstance(count, int) else None)
    return cells
