"""What others did in the notebook, for an agent that looks only now and then, and waiting for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import anyio

from .config import Limits
from .errors import RoomClosed
from .notebook.changes import Author, Change, ChangeLog, Update
from .notebook.model import CellView, OutputView
from .notebook.since import TypingNow
from .notebook.steps import Step
from .people import People
from .room.provider import RoomProvider
from .room.replica import RemoteChange, Replica

LOADING = frozenset({0})
"""The server loads a notebook piece by piece as this client: that is nobody's doing."""
REJOIN_S = 5.0
"""How long somebody who waits for news puts up with a room that is away."""


@dataclass(frozen=True, slots=True)
class _Stroke:
    """A human's last keystroke; ``told``: a line has said that they are typing."""

    cell: str
    at: float
    told: bool = False


class News:
    """Collects the doings of others in one notebook; each is given out once."""

    def __init__(self, room: RoomProvider, people: People, limits: Limits) -> None:
        self._room = room
        self._people = people
        self._limits = limits
        self._log = ChangeLog(self._cell, self._outputs, people.author)
        self._strokes: dict[int, _Stroke] = {}
        self._last: Replica | None = None
        self._heard = anyio.Event()
        self._over = False

    # What happens.

    def note(self, change: RemoteChange) -> None:
        """Somebody else's update has been merged."""
        if change.clients == LOADING:
            return
        by = self._people.note(change)
        self._log.blame(self._people.turned_out(change, by))
        self._log.note(Update(change.before, change.deleted, change.moved, change.began, by))
        now = anyio.current_time()
        for client in [client for cell_id in change.began for client in by.get(cell_id, ())]:
            self._strokes.pop(client, None)  # who runs a cell has finished typing
        rebuilds = change.deleted or None in change.before.values()  # as a split or a merge does
        for cell_id in () if rebuilds else change.edited:
            for client in by.get(cell_id, ()):
                if not (author := self._people.author(client)).is_agent and not author.is_disk:
                    self._strokes[client] = _Stroke(cell_id, now)
        self._wake()

    def close(self, steps: Sequence[Step]) -> None:
        """We are about to write: what others did in these cells so far is told apart from it."""
        self._log.close(dict.fromkeys(step.cell for step in steps))

    def joined(self) -> None:
        """The room is joined.  After a rejoin: note what is different from what it held when it was lost."""
        now, before = self._room.replica, self._last
        self._last = now
        if before is None:
            return
        known = {cell.id: cell for cell in before.view.cells}
        there = {cell.id: cell for cell in now.view.cells}
        changed: dict[str, CellView | None] = {
            cell_id: known.get(cell_id) for cell_id, cell in there.items() if not _alike(known.get(cell_id), cell)
        }
        gone = {cell_id: known[cell_id] for cell_id in known.keys() - there.keys()}
        by = self._people.of_difference(changed, (before.client_id, now.client_id))
        self._log.note(Update(changed, gone, by=by))
        self._wake()

    def lost(self) -> None:
        """The connection to the room is away."""
        self._wake()

    def end(self) -> None:
        """The notebook is left: whoever waits for news is told so."""
        self._over = True
        self._wake()

    # What is told.

    def take(self) -> list[Change]:
        """What others did since this was last asked; each change is given once."""
        return self._log.take()

    def give(self) -> list[Change]:
        """What lies behind the last ``take``, and what is newer, unless it was given here already."""
        return self._log.give()

    def typing(self) -> list[TypingNow]:
        """The humans who are typing at this moment, each where the last keystroke was."""
        return [now for client in self._typing() if (now := self._typing_now(client)) is not None]

    def take_typing(self) -> list[TypingNow]:
        """As ``typing``, without those of whom it has been told and who have typed nothing since."""
        new: list[TypingNow] = []
        for client in self._typing():
            now = None if self._strokes[client].told else self._typing_now(client)
            if now is not None:
                self._strokes[client] = replace(self._strokes[client], told=True)
                new.append(now)
        return new

    async def wait(self, seconds: float) -> list[Author]:
        """Return when there is something to be told that nobody is still typing at, or the time is up.

        Returns at once if there is.  The result: who has finished typing meanwhile.  ``RoomClosed`` where the room is
        lost and does not come back, or the notebook is left.
        """
        deadline = anyio.current_time() + seconds
        lost_at, typed = float("inf"), set(self._typing())
        while True:
            heard, now = self._heard, anyio.current_time()
            if self._over:
                raise RoomClosed("The notebook was left: nothing is heard of it.", "setup_notebook opens it again.")
            if self._room.connected:
                lost_at, until = float("inf"), self._next_look(deadline)
                finished = typed.difference(self._typing())
                if finished or now >= deadline or self._ready():
                    return [self._people.author(client) for client in sorted(finished)]
                typed |= set(self._typing())
            else:
                lost_at = min(lost_at, now)
                until = min(deadline, lost_at + REJOIN_S)
                if now >= until:
                    _ = self._room.protocol  # says that it is away, and why
            with anyio.move_on_after(until - now):
                await heard.wait()

    def _ready(self) -> bool:
        """Whether there is anything to be told beside what somebody is still typing."""
        busy = {self._strokes[client].cell for client in self._typing()}
        return any(change.ran or change.cell not in busy for change in self._log.peek())

    def _next_look(self, deadline: float) -> float:
        return min([deadline, *(self._strokes[client].at + self._limits.typed_out_s for client in self._typing())])

    def _wake(self) -> None:
        heard, self._heard = self._heard, anyio.Event()
        heard.set()

    def _typing(self) -> list[int]:
        """Whose last keystroke is so young that they are still typing."""
        since = anyio.current_time() - self._limits.typed_out_s
        self._strokes = {client: stroke for client, stroke in self._strokes.items() if stroke.at > since}
        return list(self._strokes)

    def _typing_now(self, client: int) -> TypingNow | None:
        """Where somebody is typing; None where they have gone elsewhere since."""
        cell_id = self._strokes[client].cell
        cell, peer = self._cell(cell_id), self._people.peer(client)
        if cell is None or peer is None or peer.cell_id not in (None, cell_id):
            return None
        line = None if peer.head is None else cell.source.count("\n", 0, peer.head) + 1
        return TypingNow(self._people.author(client), cell_id, line)

    def _cell(self, cell_id: str) -> CellView | None:
        return self._room.replica.cell(cell_id)

    def _outputs(self, cell_id: str) -> Sequence[OutputView]:
        return self._room.replica.outputs(cell_id)


def _alike(one: CellView | None, other: CellView) -> bool:
    return one is not None and (one.source, one.type, one.execution_count, one.running) == (
        other.source,
        other.type,
        other.execution_count,
        other.running,
    )
