"""What others did in the notebook since the agent's last call.

The theory.  The replica says of every foreign update what each changed cell was before.  ``ChangeLog`` keeps the
*first* such state per cell as the start of a segment.  Right before a transaction of our own touches a cell, its
segment is closed with the state of that moment; so own doings never count, whatever they are mixed with.  Nothing is
compared until somebody asks, and nothing costs more than what changed.

A segment also keeps who did what to its cell, as client ids: who a client is may become known only later.

News goes two ways, and each way only once: in the line at the end of a result (``take``), and as diffs (``give``),
which are asked for after the line has told that there is something.  So what the last line told is kept until its
diffs were given, or until another line tells something.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from .model import CellView, OutputSource

Live = Callable[[str], CellView | None]
"""The cell with this id as it is now; None if it is gone."""
Kind = Literal["made", "gone", "moved", "type", "text", "ran"]
"""What can be done to a cell."""


@dataclass(frozen=True, slots=True)
class Author:
    """Who did something: a human, an agent that says that it is one, or somebody who wrote the file on disk."""

    name: str
    is_agent: bool = False
    is_disk: bool = False


SOMEBODY = Author("somebody")
ON_DISK = Author("somebody on disk", is_disk=True)


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to one cell: ``before`` None: it is new; ``after`` None: it is gone."""

    cell: str
    before: CellView | None
    after: CellView | None
    who: tuple[str, ...]
    """The names of all who had a part in it; ``by`` says which."""
    moved: bool = False
    ran: bool = False
    """Whether others ran the cell: it began, or it ended."""
    error: str = ""
    """The name of the error that such a run ended with."""
    by: Mapping[Kind, tuple[Author, ...]] = field(default_factory=dict)

    @property
    def edited(self) -> bool:
        """Whether the source of a cell that stayed has changed."""
        return self.before is not None and self.after is not None and self.before.source != self.after.source

    def authors(self, kind: Kind) -> tuple[Author, ...]:
        """Who did this to the cell; ``SOMEBODY`` where it is not known."""
        everybody = dict.fromkeys(author for authors in self.by.values() for author in authors)
        return self.by.get(kind) or tuple(everybody) or (SOMEBODY,)


@dataclass(frozen=True, slots=True)
class Update:
    """Somebody else's update: what its cells were before (None: new), which are gone or rebuilt, and whose it was.

    ``moved``: those of the rebuilt that stand elsewhere now.  ``began``: those that were marked as running.  ``by``:
    the clients that had a part in it, cell by cell.
    """

    before: Mapping[str, CellView | None]
    deleted: Mapping[str, CellView] = field(default_factory=dict)
    moved: frozenset[str] = frozenset()
    began: frozenset[str] = frozenset()
    by: Mapping[str, Sequence[int]] = field(default_factory=dict)


_By = Mapping[Kind, Mapping[int, None]]


@dataclass(slots=True)
class _Segment:
    before: CellView | None
    began: bool = False
    by: dict[Kind, dict[int, None]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Part:
    """A closed segment."""

    cell: str
    before: CellView | None
    after: CellView | None
    ran: bool
    error: str
    by: _By


_Parts = dict[str, list[_Part]]


class ChangeLog:
    """Collects what others do.  ``live``, ``outputs``: the notebook now; ``author``: who a client is."""

    def __init__(self, live: Live, outputs: OutputSource, author: Callable[[int], Author]) -> None:
        self._live = live
        self._outputs = outputs
        self._author = author
        self._open: dict[str, _Segment] = {}
        self._closed: _Parts = {}
        self._given: _Parts = {}
        """What ``give`` has given and no line has told."""
        self._told: _Parts = {}
        """What the last line told and ``give`` has not given."""

    def note(self, update: Update) -> None:
        """Take in somebody else's update, which has been merged."""
        for cell_id, was in {**update.before, **update.deleted}.items():
            now, began = self._live(cell_id), cell_id in update.began
            rebuilt = cell_id in update.deleted and now is not None and not now.running
            if rebuilt:  # a cell that is built anew comes without its mark; its code goes on
                was = _unmarked(was)
            kinds = _kinds(was, now, moved=cell_id in update.moved, ran=began)
            segment = self._open.setdefault(cell_id, _Segment(was))
            if rebuilt:
                segment.before = _unmarked(segment.before)
            if now is None:
                if segment.before is None:  # it came and went
                    del self._open[cell_id]
                    continue
                segment.by.clear()  # who typed in a cell that is gone no longer matters
            segment.began = segment.began or began
            for kind in kinds:
                segment.by.setdefault(kind, {}).update(dict.fromkeys(update.by.get(cell_id, ())))

    def blame(self, by: Mapping[str, Sequence[int]]) -> None:
        """It has turned out who really deleted these cells."""
        for cell_id, clients in by.items():
            gone: dict[Kind, dict[int, None]] = {"gone": dict.fromkeys(clients)}
            closed = self._closed.get(cell_id, [])
            if cell_id in self._open:
                self._open[cell_id].by |= gone
            elif closed and closed[-1].after is None:
                closed[-1] = replace(closed[-1], by=gone)

    def close(self, cells: Iterable[str]) -> None:
        """We are about to write into these cells: what others did in them so far ends here."""
        for cell_id in cells:
            segment = self._open.pop(cell_id, None)
            if segment is not None:
                after = self._live(cell_id)
                ran = segment.began or _ran(segment.before, after)
                over = ran and after is not None and not after.running
                error = next((o.ename for o in self._outputs(cell_id) if o.kind == "error"), "") if over else ""
                _add(self._closed, _Part(cell_id, segment.before, after, ran, error, segment.by))

    def take(self) -> list[Change]:
        """All that no line has told yet, in the order in which the cells were first touched; each only once."""
        news = self._news()
        found = self._changes(_joined(self._given, news))
        if self._changes(news):
            self._told = news
        self._given, self._closed = {}, {}
        return found

    def give(self) -> list[Change]:
        """All whose diffs were not given yet: what the last line told, and what is newer; each only once."""
        news = self._news()
        found = self._changes(_joined(self._told, news))
        self._given = _joined(self._given, news)
        self._told, self._closed = {}, {}
        return found

    def peek(self) -> list[Change]:
        """What ``give`` would give now; it still will."""
        return self._changes(_joined(self._told, self._news()))

    def _news(self) -> _Parts:
        self.close(list(self._open))
        return self._closed

    def _changes(self, parts: _Parts) -> list[Change]:
        found = (self._change(part) for several in parts.values() for part in several)
        return [change for change in found if _matters(change)]

    def _change(self, part: _Part) -> Change:
        by = {kind: tuple(dict.fromkeys(map(self._author, clients))) for kind, clients in part.by.items() if clients}
        who = tuple(dict.fromkeys(author.name for authors in by.values() for author in authors if author != SOMEBODY))
        moved = "moved" in part.by
        return Change(part.cell, part.before, part.after, who, moved, part.ran, part.error, by)


def _kinds(was: CellView | None, now: CellView | None, *, moved: bool, ran: bool) -> list[Kind]:
    if was is None or now is None:
        found: list[tuple[Kind, bool]] = [("made", now is not None), ("gone", was is not None), ("ran", ran)]
    else:
        found = [
            ("text", was.source != now.source),
            ("type", was.type != now.type),
            ("moved", moved),
            ("ran", ran or _ran(was, now)),
        ]
    return [kind for kind, happened in found if happened]


def _ran(before: CellView | None, after: CellView | None) -> bool:
    if before is None or after is None:
        return False
    return after.running != before.running or after.execution_count not in (None, before.execution_count)


def _unmarked(cell: CellView | None) -> CellView | None:
    return None if cell is None else replace(cell, running=False)


def _joined(one: _Parts, other: _Parts) -> _Parts:
    found = {cell: list(parts) for cell, parts in one.items()}
    for parts in other.values():
        for part in parts:
            _add(found, part)
    return found


def _add(parts: _Parts, part: _Part) -> None:
    """Parts between which we changed no text become one; what we ran or printed there is no part of it."""
    known = parts.setdefault(part.cell, [])
    last = known[-1] if known else None
    if last is None or not _joins(last.after, part.before):
        known.append(part)
        return
    by = {kind: {**last.by.get(kind, {}), **part.by.get(kind, {})} for kind in {**last.by, **part.by}}
    ran, error = last.ran or part.ran, part.error if part.ran else last.error
    if last.before is None and part.after is None:  # it came and went
        known.pop()
        return
    known[-1] = replace(part, before=last.before, ran=ran, error=error, by=part.by if part.after is None else by)


def _joins(one: CellView | None, other: CellView | None) -> bool:
    return one is not None and other is not None and (one.source, one.type) == (other.source, other.type)


def _matters(change: Change) -> bool:
    if change.before is None or change.after is None:
        return change.before is not change.after
    return change.edited or change.ran or change.moved or change.before.type != change.after.type
