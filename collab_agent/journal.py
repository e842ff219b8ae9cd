"""The agent's own edits until they are on disk, to be put back when the server has lost them.

Three levels: *sent*, *in the room* (the call has answered), *on disk* (the file was read and holds it: the journal ends
here).  A network cut is no reason to put anything back: what is different then is others' doing.  After a restart of
the server, or when another program has written the file and the server has made that the room's, ``recovery.py``
decides what of ours is plainly lost; that is written at once, before anything else is.

The server stores an update behind sending it on.  One that dies at that moment has never known the edit, and a page
that joins again later brings our *first* writing of it along.  The clocks tell: where the room's clock of the client
that we were is behind, and then moves, what was put back is taken out again, so that nothing stands there twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import anyio

from .disk import Disk
from .errors import LocalProtocolError
from .host import Host
from .losses import ANEW, DISK, RESTART, Clocks, Losses, clocks
from .notebook.recovery import Held, come_back, misplaced, missing_by_content, recover
from .notebook.seen import Seen
from .notebook.steps import Step
from .notebook.undo import CallRecord, record_of
from .notebook.unsaved import Spans
from .people import People
from .room.codec import encoded_vector, first_put
from .room.positions import written_since
from .room.provider import RoomProvider
from .room.replica import RemoteChange, Replica

SETTLED_S = 2.0
"""An edit so old is in the file that the server says it has just written."""
MOST_RECORDS = 200
MOST_BYTES = 20_000_000
"""About as many characters; what is beyond is told as a loss, and not put back by itself."""
MOST_TEXTS = 500
MOST_AGAIN = 3
"""So often one edit is put back where another program writes the file again and again."""


@dataclass(slots=True)
class _Pending:
    """A call that is not known to be on disk.  ``texts``: what its cells have been since.  ``again``: see above."""

    at: float
    record: CallRecord
    texts: dict[str, set[str]] = field(default_factory=dict)
    again: int = 0

    def see(self, cell: str, text: str) -> None:
        """A cell has another text now."""
        if cell in self.record.cells:
            texts = self.texts.setdefault(cell, set())
            if len(texts) >= MOST_TEXTS:
                texts.clear()
            texts.add(text)

    def is_in(self, held: Held) -> bool:
        """Whether a file that holds this has the whole call."""
        for cell, change in self.record.cells.items():
            there = held.get(cell)
            if (there is None) != (change.after is None):
                return False
            if there is not None and there.source not in self.texts.get(cell, ()):
                return False
        return not self.record.moved


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
        self._pending: list[_Pending] = []
        self._noted = 0
        self._last: Replica | None = None
        self._process = ""
        self._clients: set[int] = set()
        self._put_back: CallRecord | None = None
        """What a page may still bring along: our first writing of it."""
        self._overwritten: Replica | None = None
        """The notebook before the last write of another program, until the file was read again."""
        self.losses = Losses(room, people, seen, self._clients)
        self.disk = Disk(room, host, people)
        self.disk.on_overwritten, self.disk.on_read = self._overwrite, self._read
        self.on_overwritten: Callable[[], None] = lambda: None
        """Called when another program's write is in the room, and what of ours it had taken out is back."""

    # Our own calls.

    def note(self, record: CallRecord, again: int = 0) -> None:
        """This call of ours is just being written into the document."""
        if record.empty:
            return
        self._pending.append(_Pending(anyio.current_time(), record, again=again))
        self._noted += 1
        self._see({cell: change.after.source for cell, change in record.cells.items() if change.after is not None})
        size = sum(each.record.size for each in self._pending)
        while len(self._pending) > MOST_RECORDS or size > MOST_BYTES:
            size -= self._pending.pop(0).record.size

    def unsaved(self) -> int:
        """How many calls of ours the room has that are not known to be on disk."""
        return len(self._pending)

    def withdraw(self, record: CallRecord) -> None:
        """The room has not confirmed this call: it was answered so, and is not put back."""
        self._pending = [each for each in self._pending if each.record is not record]

    def saving(self) -> Callable[[], None]:
        """The server is asked to save now; the result is to be called when the file was read and holds all."""
        noted = self._noted

        def saved() -> None:
            newer = self._noted - noted
            del self._pending[: max(len(self._pending) - newer, 0)]
            self.disk.look()

        return saved

    def _see(self, texts: Mapping[str, str]) -> None:
        for cell, text in texts.items():
            for each in self._pending:
                each.see(cell, text)

    def _taken(self) -> list[CallRecord]:
        """The calls that may be put back; from now on they are no longer pending."""
        taken, self._pending = [each.record for each in self._pending if self._may_write()], []
        return taken

    # What others do, the server among them.

    def heard(self, change: RemoteChange) -> None:
        """Somebody else's update has been merged: of the server, that the file is written, or of a page."""
        if isinstance(change.state.get("hash"), str):
            old = anyio.current_time() - SETTLED_S
            self._pending = [each for each in self._pending if each.at > old]
        if self._pending:
            views = (self._room.replica.cell(cell) for cell in change.edited)
            self._see({view.id: view.source for view in views if view is not None})
        if self._put_back is not None and change.clients & self._clients:
            steps = come_back(self._put_back, change.before, self._room.replica)
            if steps:
                out = {step.cell for step in steps}
                left = {cell: each for cell, each in self._put_back.cells.items() if cell not in out}
                moved = tuple(cell for cell in self._put_back.moved if cell not in out)
                self._put_back = replace(self._put_back, cells=left, moved=moved)
                self._write(steps)
        self.disk.heard(change)

    def joined(self) -> None:
        """The room is joined, and nothing is written yet."""
        last, now = self._last, self._room.replica
        process, self._process = self._process, self._host.process
        self._last, self._overwritten = now, None
        self.disk.joined()
        if last is not None:
            self._clients.add(last.client_id)
        # A room that is loaded piece by piece begins without cells: it says nothing about what is lost.
        if last is None or (last.view.cells and not now.view.cells):
            return
        if process != self._process or _opened_anew(last, now):
            self._put_back = None
            why = RESTART if process != self._process else ANEW
            record = self._recover(last, None, self._taken(), 0, why)
            if record is not None and self._room_lacks(last):
                self._put_back = record
        elif _overwritten_since(last, now):
            self._recover(last, self.disk.held or {}, self._taken(), 0, DISK)

    def _overwrite(self, moment: int) -> None:
        """The server has made the room what another program has written; ``moment``: the one before that."""
        update = self._room.replica.rolling.at(moment)
        if update is None:
            return
        last = Replica()
        last.apply(update)
        last.close()
        self._overwritten = last
        again = max((each.again for each in self._pending), default=0) + 1
        taken = self._taken()
        self._recover(last, self.disk.held or {}, taken if again <= MOST_AGAIN else [], again, DISK)
        self.on_overwritten()

    def _recover(
        self, last: Replica, held: Held | None, records: Sequence[CallRecord], again: int, why: str
    ) -> CallRecord | None:
        """Put back what is plainly lost of ours, and have the rest told; ``held`` None: all but the file was lost."""
        now = self._room.replica
        if min(last.format_minor, now.format_minor) < 5:
            if missing := missing_by_content(last, now, held):
                self.losses.add_texts(missing, {cell for record in records for cell in record.cells}, why)
            return None
        since = _written_since(last, now) if held is None else None
        found = recover(last, now, records, self._seen, self._people.in_use, held, since)
        record = None
        if found.plan is not None:
            record = record_of(now, found.plan, 0, self._seen.shown_text)
            self._write(found.plan.steps)
            self.note(record, again)
        self.losses.add(last, found, why)
        return record

    def _read(self, held: Held) -> None:
        """The file was read."""
        self._pending = [each for each in self._pending if not each.is_in(held)]
        last, self._overwritten = self._overwritten, None
        if last is not None and min(last.format_minor, self._room.replica.format_minor) >= 5:
            self.losses.add_cells(last, misplaced(last, self._room.replica, held), DISK)

    def _room_lacks(self, last: Replica) -> bool:
        """Whether the room does not know all that we had written."""
        before, here = clocks(last), clocks(self._room.replica)
        return any(here.get(client, 0) < before.get(client, 0) for client in self._clients)

    def _write(self, steps: Sequence[Step]) -> None:
        self._room.write_soon(steps)
        self._wrote()


_PAGES = (None, ("state", "dirty"))
"""What a page begins with: it writes into what is there."""


def _opened_anew(last: Replica, now: Replica) -> bool:
    """Whether the server has made a new room from store and file, as it does when it has dropped the old one."""
    here = clocks(now)
    return any(_is_server(client, now, here) for client in here.keys() - clocks(last).keys())


def _overwritten_since(last: Replica, now: Replica) -> bool:
    """Whether the server has put another program's write into the room, and has not saved or moved the file since.

    That takes the file's hash out, which a save puts there.
    """
    if now.hash is not None or now.path != last.path:
        return False
    before, here = clocks(last), clocks(now)
    wrote = [client for client, clock in before.items() if here.get(client, 0) > clock]
    return last.hash is not None or any(_is_server(client, now, here) for client in wrote)


def _is_server(client: int, now: Replica, here: Clocks) -> bool:
    """Whether a client is the server's own, of one room: it begins with where the file is (``DocumentRoom``, read)."""
    return _began(client, now, here) == ("state", "path")


def _began(client: int, now: Replica, here: Clocks) -> tuple[str, str] | None:
    """The shared type and the key that a client wrote first, if nobody had before."""
    return first_put(now.update_since(encoded_vector({each: clock for each, clock in here.items() if each != client})))


def _written_since(last: Replica, now: Replica) -> Mapping[str, Spans]:
    """By cell, what people have written since: a page brings it along, or was opened before we came."""
    changed = [cell for cell in now.view.cells if (was := last.cell(cell.id)) is not None and was.source != cell.source]
    if not changed:
        return {}
    before, here = clocks(last), clocks(now)
    people = [
        client for client in here if client and _began(client, now, here) in _PAGES
    ]  # 0 is the server, loading it
    known = {client: before.get(client, 0) for client in people}
    copy = Replica()
    copy.apply(now.update_since(b"\0"))
    copy.close()
    found: dict[str, Spans] = {}
    for cell in changed:
        with suppress(LocalProtocolError):  # a peer may have put anything there
            found[cell.id] = written_since(copy.source_of(cell.id), known)
    return found
