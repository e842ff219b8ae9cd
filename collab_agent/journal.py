"""The agent's own edits until they are on disk, to be put back when a restarted server has lost them.

Three levels: *sent*, *in the room* (the call has answered: the journal begins here), *on disk* (it ends here).  A
network cut is no reason to put anything back: what is different then is others' doing.  After a restart of the server
``recovery.py`` decides what of ours is plainly lost; that is written at once, before anything else is.

The server stores an update behind sending it on.  One that dies at that moment has never known the edit, and a page
that joins again later brings our *first* writing of it along.  The clocks tell: where the room's clock of the client
that we were is behind, and then moves, what was put back is taken out again, so that nothing stands there twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import anyio

from .host import Host
from .losses import Losses, clocks
from .notebook.recovery import come_back, doubled, missing_by_content, recover
from .notebook.seen import Seen
from .notebook.steps import Step
from .notebook.undo import CallRecord, record_of
from .people import People
from .room.provider import RoomProvider
from .room.replica import RemoteChange, Replica

SETTLED_S = 2.0
"""An edit so old is in the file that the server says it has just written."""
MOST_RECORDS = 200
MOST_BYTES = 20_000_000
"""About as many characters; what is beyond is told as a loss, and not put back by itself."""


class Journal:
    """The journal of one agent in one notebook.  ``may_write``, ``wrote``: asked before, and called when, it writes."""

    def __init__(
        self,
        room: RoomProvider,
        host: Host,
        people: People,
        seen: Seen,
        may_write: Callable[[], bool],
        wrote: Callable[[], None],
    ) -> None:
        self._room = room
        self._host = host
        self._people = people
        self._seen = seen
        self._may_write = may_write
        self._wrote = wrote
        self._records: list[tuple[float, CallRecord]] = []
        self._noted = 0
        self._last: Replica | None = None
        self._process = ""
        self._clients: set[int] = set()
        self._put_back: CallRecord | None = None
        """What a page may still bring along: our first writing of it."""
        self.losses = Losses(room, people, seen, self._clients)

    def note(self, record: CallRecord) -> None:
        """The room has this call of ours."""
        if record.empty:
            return
        self._records.append((anyio.current_time(), record))
        self._noted += 1
        size = sum(record.size for _, record in self._records)
        while len(self._records) > MOST_RECORDS or size > MOST_BYTES:
            size -= self._records.pop(0)[1].size

    def saving(self) -> Callable[[], None]:
        """The server is asked to save now; the result is to be called when it has."""
        noted = self._noted

        def saved() -> None:
            newer = self._noted - noted
            del self._records[: max(len(self._records) - newer, 0)]

        return saved

    def heard(self, change: RemoteChange) -> None:
        """Somebody else's update has been merged: of the server, that the file is written, or of a page."""
        if isinstance(change.state.get("hash"), str):
            old = anyio.current_time() - SETTLED_S
            self._records = [(at, record) for at, record in self._records if at > old]
        if self._put_back is not None and change.clients & self._clients:
            steps = come_back(self._put_back, change.before, self._room.replica)
            if steps:
                out = {step.cell for step in steps}
                left = {cell: each for cell, each in self._put_back.cells.items() if cell not in out}
                moved = tuple(cell for cell in self._put_back.moved if cell not in out)
                self._put_back = replace(self._put_back, cells=left, moved=moved)
                self._write(steps)

    def joined(self) -> None:
        """The room is joined, and nothing is written yet."""
        last, now = self._last, self._room.replica
        process, self._process = self._process, self._host.process
        self._last = now
        if last is not None:
            self._clients.add(last.client_id)
        # A room that is loaded piece by piece begins without cells: it says nothing about what is lost.
        if last is None or process == self._process or (last.view.cells and not now.view.cells):
            return
        records, self._records = [record for _, record in self._records if self._may_write()], []
        self._put_back = None
        if min(last.format_minor, now.format_minor) < 5:
            if missing := missing_by_content(last, now):
                self.losses.add_texts(missing, {cell for record in records for cell in record.cells})
            return
        found = recover(last, now, records, self._seen, self._people.in_use)
        twice = sorted(doubled(now) - doubled(last))
        if found.plan is not None:
            record = record_of(now, found.plan, 0, self._seen.shown_text)
            if self._room_lacks(last):
                self._put_back = record
            self._write(found.plan.steps)
            self.note(record)
        self.losses.add(last, found, twice)

    def _room_lacks(self, last: Replica) -> bool:
        """Whether the room does not know all that we had written."""
        before, here = clocks(last), clocks(self._room.replica)
        return any(here.get(client, 0) < before.get(client, 0) for client in self._clients)

    def _write(self, steps: Sequence[Step]) -> None:
        self._room.write_soon(steps)
        self._wrote()
