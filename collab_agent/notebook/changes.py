"""What others did in the notebook since the agent's last call.

The theory.  The replica says of every foreign update what each changed cell was before.  ``ChangeLog`` keeps the
*first* such state per cell as the start of a segment.  Right before a transaction of our own touches a cell, its
segment is closed with the state of that moment; so own doings never count, whatever they are mixed with.  Nothing is
compared until somebody asks, and nothing costs more than what changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher

from .model import CellView, OutputView

Live = Callable[[str], CellView | None]
"""The cell with this id as it is now; None if it is gone."""


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to one cell: ``before`` None: it is new; ``after`` None: it is gone."""

    cell: str
    before: CellView | None
    after: CellView | None
    who: tuple[str, ...]
    moved: bool = False
    ran: bool = False
    """Whether others ran the cell: it began, or it ended with a count."""

    @property
    def edited(self) -> bool:
        """Whether the source of a cell that stayed has changed."""
        return self.before is not None and self.after is not None and self.before.source != self.after.source


@dataclass(slots=True)
class _Segment:
    before: CellView | None
    who: dict[str, None] = field(default_factory=dict)
    moved: bool = False


class ChangeLog:
    """Collects what others do; ``take`` gives it out once."""

    def __init__(self) -> None:
        self._open: dict[str, _Segment] = {}
        self._closed: dict[str, list[Change]] = {}

    def note(self, before: Mapping[str, CellView | None], deleted: Mapping[str, CellView], who: Sequence[str]) -> None:
        """Somebody else's update: what its cells were before, and which are gone."""
        for cell_id, view in {**before, **deleted}.items():
            segment = self._open.setdefault(cell_id, _Segment(view))
            segment.moved = segment.moved or (cell_id in deleted and cell_id in before)
            segment.who |= dict.fromkeys(who)

    def close(self, cells: Iterable[str], live: Live) -> None:
        """We are about to write into these cells: what others did in them so far ends here."""
        for cell_id in cells:
            segment = self._open.pop(cell_id, None)
            if segment is not None:
                before, after = segment.before, live(cell_id)
                change = Change(cell_id, before, after, tuple(segment.who), segment.moved, _ran(before, after))
                self._closed.setdefault(cell_id, []).append(change)

    def take(self, live: Live) -> list[Change]:
        """All that others did, in the order in which the cells were first touched; afterwards there is nothing."""
        found = self.peek(live)
        self._closed.clear()
        return found

    def peek(self, live: Live) -> list[Change]:
        """What ``take`` would give now; it still will."""
        self.close(list(self._open), live)
        return [change for changes in self._closed.values() for change in _merged(changes) if _matters(change)]


def _ran(before: CellView | None, after: CellView | None) -> bool:
    if before is None or after is None:
        return False
    return after.running != before.running or after.execution_count not in (None, before.execution_count)


def _merged(changes: Sequence[Change]) -> list[Change]:
    """Segments between which we changed no text become one; what we ran or printed there is no part of it."""
    merged: list[Change] = []
    for change in changes:
        last = merged[-1] if merged else None
        if last is not None and _joins(last.after, change.before):
            who = tuple(dict.fromkeys((*last.who, *change.who)))
            moved, ran = last.moved or change.moved, last.ran or change.ran
            merged[-1] = Change(change.cell, last.before, change.after, who, moved, ran)
        else:
            merged.append(change)
    return merged


def _joins(one: CellView | None, other: CellView | None) -> bool:
    return one is not None and other is not None and (one.source, one.type) == (other.source, other.type)


def _matters(change: Change) -> bool:
    if change.before is None or change.after is None:
        return change.before is not change.after
    return change.edited or change.ran or change.moved or change.before.type != change.after.type


def summary(
    changes: Sequence[Change], short: Callable[[str], str], outputs: Callable[[str], Sequence[OutputView]]
) -> str:
    """One line: ``Ada edited a1f9 (+3 -1 lines), ran c3d4 [12] ok``; empty if nothing happened."""
    by_person: dict[str, list[str]] = {}
    for change in changes:
        by_person.setdefault(" and ".join(change.who) or "somebody", []).extend(_phrases(change, short, outputs))
    return "; ".join(f"{who} {', '.join(phrases)}" for who, phrases in by_person.items() if phrases)


def _phrases(change: Change, short: Callable[[str], str], outputs: Callable[[str], Sequence[OutputView]]) -> list[str]:
    name = short(change.cell)
    if change.before is None:
        return [f"inserted {name}"]
    if change.after is None:
        return [f"deleted {name}"]
    phrases: list[str] = []
    if change.edited:
        added, removed = line_counts(change.before.source, change.after.source)
        phrases.append(f"edited {name} (+{added} -{removed} lines)")
    if change.moved:
        phrases.append(f"moved {name}")
    if change.before.type != change.after.type:
        phrases.append(f"made {name} {change.after.type}")
    if change.ran:
        phrases.append(_run_phrase(name, change.after, outputs))
    return phrases


def _run_phrase(name: str, after: CellView, outputs: Callable[[str], Sequence[OutputView]]) -> str:
    if after.running:
        return f"is running {name}"
    if after.execution_count is None:
        return f"stopped {name}"
    error = next((output.ename for output in outputs(after.id) if output.kind == "error"), None)
    return f"ran {name} [{after.execution_count}] {'error ' + error if error is not None else 'ok'}"


def line_counts(before: str, after: str) -> tuple[int, int]:
    """How many lines were added and removed."""
    old, new = before.split("\n"), after.split("\n")
    matcher = SequenceMatcher(None, old, new, autojunk=len(old) * len(new) > 4_000_000)
    kept = sum(block.size for block in matcher.get_matching_blocks())
    return len(new) - kept, len(old) - kept
