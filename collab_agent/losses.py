"""What a notebook has lost: to restarts of the server, and to other programs that wrote its file under a living one;
and which cells others have left twice.

It is told once, and put back on request.

A page that joins again brings along what its human had typed, as far as the server had not even stored it.  The
clocks tell: where a writer's clock in the room is behind what we had seen of it, the text may still come back by
itself, and is not put back beside it unless that is forced.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from .errors import CellInUse, CellNotFound, InvalidEdit, LocalProtocolError
from .notebook.budget import clip_lines, query
from .notebook.changes import ON_DISK, SOMEBODY, Change
from .notebook.draft import Plan
from .notebook.edit_ops import Edit
from .notebook.model import CellView
from .notebook.plain import inline, visible
from .notebook.recovery import Recovery, fragments, still_lost
from .notebook.refs import resolve_many
from .notebook.seen import Seen
from .notebook.splice import diff
from .notebook.undo import CallRecord
from .notebook.undoing import Undoing
from .people import People
from .room.codec import state_vector
from .room.positions import writers
from .room.provider import RoomProvider
from .room.replica import Replica

RESTART = "the server restarted"
ANEW = "the server opened the notebook anew"
"""It does so where nobody was in the room for a minute."""
DISK = "another program wrote the file"
MOST_LOSSES = 10
_MOST_NAMED = 4
_MOST_TEXT = 1_200

Clocks = Mapping[int, int]
"""Client id -> its next clock."""


def clocks(replica: Replica) -> Clocks:
    """How much of each client's writing a replica has."""
    return state_vector(replica.state_vector())


@dataclass(frozen=True, slots=True)
class _Loss:
    """What one restart, or one write of another program, has come to.  ``why``: which of both.

    ``writers``: cell -> the clients that wrote what is lost of it.  ``doubtful``: the texts that such cells had.
    ``late``: cells of which a page may have brought a part back since.
    """

    found: Recovery
    doubtful: Mapping[str, str]
    writers: Mapping[str, frozenset[int]]
    clocks: Clocks
    late: frozenset[str]
    why: str

    @property
    def lost(self) -> CallRecord:
        return self.found.lost


class Losses:
    """The losses of one notebook.  ``own``: the client ids that have been ours."""

    def __init__(self, room: RoomProvider, people: People, seen: Seen, own: Collection[int]) -> None:
        self._room = room
        self._people = people
        self._seen = seen
        self._own = own
        self._kept: list[_Loss] = []
        self._untold: list[_Loss] = []
        self._unshown: list[_Loss] = []
        self._missing: list[tuple[str, str]] = []
        self._twice: frozenset[str] = frozenset()

    def add(self, last: Replica, found: Recovery, why: str = RESTART) -> None:
        """This has been lost; ``last``: the notebook before."""
        by = {cell: _writers(last, cell, found.lost) for cell in found.lost.cells}
        had = {cell: was.source for cell in found.doubtful if (was := last.cell(cell)) is not None}
        then = clocks(last)
        behind = self._behind(then)
        late = frozenset(cell for cell, clients in by.items() if clients & behind)
        loss = _Loss(found, had, by, then, late, why)
        self._kept = [*self._kept, loss][-MOST_LOSSES:]
        self._untold = [*self._untold, loss][-MOST_LOSSES:]
        self._unshown = [*self._unshown, loss][-MOST_LOSSES:]

    def add_cells(self, last: Replica, lost: CallRecord, why: str) -> None:
        """These cells are lost."""
        if lost.cells:
            self.add(last, Recovery(None, (), (), lost), why)

    def add_texts(self, missing: Sequence[CellView], ours: Collection[str], why: str = RESTART) -> None:
        """All cells have got new ids, and these are missing."""
        names = [f"{self._short(c.id)}{' (which you had edited)' if c.id in ours else ''}" for c in missing]
        told = (
            f"{why}, and the server gave all cells new ids, for this notebook's format (before 4.5) keeps none on "
            f"disk; of what had been there is missing: the text of {_some(names)} ({query('changes')} shows it)"
        )
        texts = (f"missing since {why}: {self._short(c.id)} was\n{_whole(c.source)}" for c in missing)
        self._missing = [*self._missing, (told, "\n".join(texts))][-MOST_LOSSES:]

    # Telling.

    def tell(self) -> str:
        """What restarts have come to, in one line; each is told once.  What has come back is not told."""
        parts: dict[str, list[str]] = {}
        for loss in self._untold:
            parts.setdefault(loss.why, []).extend(self._told(loss))
        self._untold = []
        line = [f"{why}: {'; '.join(several)}" for why, several in parts.items() if several]
        line += [told for told, _ in self._missing if told]
        self._twice, before = self._room.twins.lasting, self._twice
        if new := sorted(self._twice - before):
            line.append(
                f"{self._named(new)} stands there twice, which is not your doing: neither can be edited or run until a "
                "human has deleted one of them"
            )
        self._missing = [("", text) for _, text in self._missing]
        return "; ".join(line)

    def _told(self, loss: _Loss) -> list[str]:
        left = list(self._left(loss).cells)
        late = self._late(loss, left)
        gone = [cell for cell in left if cell not in late]
        parts = []
        if loss.found.again:
            parts.append(f"your edit of {self._named(loss.found.again)}, which it had lost, is in again")
        if gone:
            what = _some([self._what(cell, loss) for cell in gone])
            parts.append(f'lost: {what} ({{"op": "restore"}} puts it back; {query("changes")} shows it)')
        if late:
            what = _some([self._what(cell, loss) for cell in late])
            parts.append(f"not there yet: {what} (comes back when the page that has it joins again)")
        if loss.found.doubtful:
            names = self._named(loss.found.doubtful)
            parts.append(f"your edit of {names} may be lost: read it again ({query('changes')} shows what it was)")
        return parts

    def show(self, budget: int) -> str:
        """The texts that are lost, for whoever asks for changes; each is given once, in ``budget`` characters."""
        texts = [text for loss in self._unshown for text in self._shown(loss)]
        texts += [text for _, text in self._missing]
        self._unshown, self._missing = [], []
        lines = "\n".join(texts).splitlines()
        return clip_lines(lines, budget, lambda _first, _n: '{"op": "restore"} puts back all of it')

    def _shown(self, loss: _Loss) -> list[str]:
        texts = []
        left = self._left(loss)
        late = self._late(loss, left.cells)
        for cell, change in left.cells.items():
            how = f'{{"op": "restore", "cells": ["{self._short(cell)}"]}} puts it back'
            if cell in late:
                how = "it comes back when the page that has it joins again"
            gone = "\n".join(map(_whole, fragments(change))) or "(outputs)"
            texts.append(f"lost when {loss.why}: {self._what(cell, loss)}; {how}:\n{gone}")
        for cell, was in loss.doubtful.items():
            texts.append(f"before {loss.why}, {self._short(cell)} was, with your edit:\n{_whole(was)}")
        return texts

    def explains(self, change: Change) -> bool:
        """Whether a difference is nothing but what is told as a loss."""
        if change.before is None or change.ran or change.moved:
            return False
        for loss in self._kept:
            lost = loss.lost.cells.get(change.cell)
            if lost is not None and lost.before is not None and lost.before.source == change.before.source:
                left = None if lost.after is None else (lost.after.source, change.before.type)
                return left == (None if change.after is None else (change.after.source, change.after.type))
        return False

    def _what(self, cell: str, loss: _Loss) -> str:
        """What is lost of a cell, and whose it was; "you" is the agent."""
        change, clients, name = loss.lost.cells[cell], loss.writers[cell], self._short(cell)
        authors = [self._people.author(client) for client in sorted(clients) if client not in self._own]
        names = [inline(author.name, 40) for author in authors if author not in (SOMEBODY, ON_DISK)]
        who = " and ".join(dict.fromkeys([*names, *(["you"] if clients & set(self._own) else [])]))
        if change.after is None:
            return f"the cell {name}{f' of {who}' if who else ''}"
        if not fragments(change):
            return f"the outputs of {name}"
        return f"what {who} had written in {name}" if who else f"text in {name}"

    def _named(self, cells: Sequence[str]) -> str:
        return _some([self._short(cell) for cell in cells])

    def _short(self, cell: str) -> str:
        return self._seen.short(cell, self._room.replica.view)

    # What is still lost.

    def _left(self, loss: _Loss) -> CallRecord:
        return still_lost(loss.lost, self._room.replica, loss.late)

    def _late(self, loss: _Loss, cells: Iterable[str]) -> list[str]:
        """Those cells that a page may bring back: of whose writers the room does not know all that they had written."""
        behind = self._behind(loss.clocks)
        return [cell for cell in cells if loss.writers[cell] & behind]

    def _behind(self, before: Clocks) -> set[int]:
        """The clients of whose writing the room has less than it had."""
        here = clocks(self._room.replica)
        return {client for client, clock in before.items() if here.get(client, 0) < clock}

    # Bringing back.

    def restore(self, edit: Edit, replica: Replica) -> Plan:
        """Plan to bring back what is lost of these cells; an ``EditError``: nothing is written."""
        lefts = [(loss, self._left(loss)) for loss in reversed(self._kept)]
        lost = {cell: loss for loss, left in lefts for cell in left.cells}
        if not lost:
            raise InvalidEdit(
                f"{edit.where}: nothing is known to be lost. Nothing was written.",
                "It puts back only what a restart of the server, or another program that wrote the file, has lost, and "
                "what has not come back since.",
            )
        cells = self._resolve(edit, list(lost), replica)
        late = [cell for loss, _ in lefts for cell in self._late(loss, [c for c in cells if lost[c] is loss])]
        if late and not edit.force:
            raise CellInUse(
                f"{edit.where}: {self._named(late)}: it comes back by itself when the page that has it joins again, "
                "and would stand there twice. Nothing was written.",
                "Wait for that page; if it was closed for good, repeat the restore with force=true.",
            )
        changes = [replace(left, cells={c: each for c, each in left.cells.items() if c in cells}) for _, left in lefts]
        return Undoing(replica, self._seen, self._people.in_use).bring_back(edit, *changes)

    def restored(self, plan: Plan) -> None:
        """What this plan brings back is no longer lost."""
        back = {step.cell for step in plan.steps}
        for at, loss in enumerate(self._kept):
            left = {cell: change for cell, change in loss.lost.cells.items() if cell not in back}
            found = replace(loss.found, lost=replace(loss.lost, cells=left))
            self._kept[at] = replace(loss, found=found)

    def _resolve(self, edit: Edit, lost: Sequence[str], replica: Replica) -> list[str]:
        """The lost cells that the references name; a cell that is gone is named by the short id that was told."""
        refs = [edit.cells] if isinstance(edit.cells, str) else list(edit.cells)
        if not refs or refs == ["all"]:
            return list(lost)
        found: dict[str, None] = {}
        for ref in refs:
            given = self._seen.given(ref.strip()) or ref.strip()
            known = [given] if given in lost else []
            if not known:
                try:
                    named = resolve_many(ref, replica.view, self._seen, self._people.all if "@" in ref else ())
                    known = [cell for cell in named if cell in lost]
                except CellNotFound:
                    known = []
            if not known:
                raise InvalidEdit(
                    f"{edit.where}: nothing is lost of {inline(ref, 60)!r}. Nothing was written.",
                    f"Something is lost of {self._named(lost)}.",
                )
            found |= dict.fromkeys(known)
        return list(found)


def _writers(last: Replica, cell: str, lost: CallRecord) -> frozenset[int]:
    """Who had written what is lost of a cell; of a cell that is gone, whoever wrote in it."""
    change = lost.cells[cell]
    assert change.before is not None
    try:
        text = last.source_of(cell)
    except LocalProtocolError:  # a peer may have put anything there
        return frozenset()
    source = change.before.source
    spans = [(0, len(source))]
    if change.after is not None:
        spans = [(splice.start, splice.stop) for splice in diff(source, change.after.source)]
    return frozenset(client for start, stop in spans for client in writers(text, start, stop))


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def _whole(source: str) -> str:
    """A text that is gone, in the form of a diff."""
    lines = visible(source[:_MOST_TEXT]).split("\n")
    more = ["…"] if len(source) > _MOST_TEXT else []
    return "\n".join(f"-│{line}" for line in [*lines, *more])
