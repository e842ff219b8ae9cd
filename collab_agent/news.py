"""What others did in the notebook, for an agent that looks only now and then."""

from __future__ import annotations

from collections.abc import Sequence

from .notebook.changes import Change, ChangeLog
from .notebook.model import CellView
from .notebook.steps import Step
from .people import People
from .room.provider import RoomProvider
from .room.replica import RemoteChange, Replica


class News:
    """Collects the doings of others in one notebook; each is given out once."""

    def __init__(self, room: RoomProvider, people: People) -> None:
        self._room = room
        self._people = people
        self._log = ChangeLog()
        self._last: Replica | None = None

    def take(self) -> list[Change]:
        """What others did since this was last asked; each change is given once."""
        return self._log.take(self._room.replica.cell)

    def peek(self) -> list[Change]:
        """What ``take`` would give now; it still will."""
        return self._log.peek(self._room.replica.cell)

    def note(self, change: RemoteChange) -> None:
        """Somebody else's update has been merged."""
        self._log.note(change.before, change.deleted, self._people.note(change))

    def close(self, steps: Sequence[Step]) -> None:
        """We are about to write: what others did in these cells so far is told apart from it."""
        self._log.close(dict.fromkeys(step.cell for step in steps), self._room.replica.cell)

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
        self._log.note(changed, {cell_id: known[cell_id] for cell_id in known.keys() - there.keys()}, ())


def _alike(one: CellView | None, other: CellView) -> bool:
    return one is not None and (one.source, one.type, one.execution_count) == (
        other.source,
        other.type,
        other.execution_count,
    )
