"""The agent's own calls, kept so that they can be undone and redone.

A call is kept as what it made of each cell that it touched, not as a Yjs undo stack: that would die with its Doc (every
rejoin makes a fresh one) and would lose a cell that is deleted and comes back under its id.  Undoing (``undoing.py``)
brings a cell from ``after`` to ``before``, over whatever others have done since, and is itself such a call: the redo.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..errors import InvalidEdit
from . import steps as st
from .draft import Done, Plan
from .plain import inline
from .sheet import Desk, Sheet, State

MOST_BYTES = 50_000_000
"""How much all calls together may hold, mostly outputs of deleted cells; about as many characters."""
_MOST_TOLD = 5


@dataclass(frozen=True, slots=True)
class CellChange:
    """What a call made of one cell: None: it was not there.  ``value`` is kept where text and type are not enough."""

    before: State | None
    after: State | None


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call of the agent's, or the undoing of one.

    ``done``: what the call did, as it was told.  ``order``: the ids of all cells before it, if it changed the list of
    cells.  ``moved``: the cells that it meant to move.  ``shown``: the texts that the agent was shown of cells that
    went away.
    """

    number: int
    done: tuple[Done, ...]
    cells: Mapping[str, CellChange]
    order: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()
    shown: Mapping[str, str] = field(default_factory=dict)
    size: int = 0
    """About how many bytes it holds."""

    @property
    def empty(self) -> bool:
        """Whether it changed nothing that can be undone."""
        return not self.cells and not self.moved


def _size(value: object) -> int:
    match value:
        case str():
            return len(value)
        case Mapping():
            return sum(_size(part) + len(str(key)) for key, part in value.items())
        case list() | tuple():
            return sum(map(_size, value))
    return 8


class Recorder:
    """Does the steps of one call on a sheet, and says what they came to."""

    def __init__(self, sheet: Sheet) -> None:
        self._sheet = sheet
        self._before: dict[str, State | None] = {}
        self._order: tuple[str, ...] = ()
        self._moves = False

    def do(self, step: st.Step) -> None:
        """Do one step."""
        cell = step.cell
        match step:
            case st.InsertCell() | st.RestoreCell() | st.MoveCell() | st.DeleteCell():
                self._order = self._order or tuple(self._sheet.order)
                self._moves = self._moves or isinstance(step, st.MoveCell)
            case st.SpliceSource() | st.RetypeCell() | st.ClearCell() | st.RefillCell():
                pass
            case _:
                return  # a mark, or part of a run: not to be undone
        was = self._before.setdefault(cell, self._sheet.cell(cell))
        destroys = isinstance(step, st.DeleteCell | st.RetypeCell | st.ClearCell | st.RefillCell)
        if destroys and was is not None and was.value is None:
            now = self._sheet.kept(cell)
            self._before[cell] = replace(was, value=None if now is None else now.value)
        self._sheet.do(step)

    def record(
        self, number: int, done: Sequence[Done], moved: Sequence[str], shown: Callable[[str], str | None]
    ) -> CallRecord:
        """What the steps so far came to.  ``shown``: the text of a cell that the agent has been shown."""
        cells: dict[str, CellChange] = {}
        for cell, was in self._before.items():
            change = _needed(was, self._sheet.cell(cell))
            if change.before != change.after:
                cells[cell] = change
        gone = {cell: text for cell in cells if self._sheet.cell(cell) is None and (text := shown(cell)) is not None}
        states = (state for change in cells.values() for state in (change.before, change.after) if state is not None)
        size = sum(len(state.source) + _size(state.value) for state in states) + 8 * len(self._order)
        return CallRecord(
            number, tuple(done), cells, self._order, tuple(moved) if self._has_moved() else (), gone, size
        )

    def _has_moved(self) -> bool:
        """Whether the cells that were there before and still are stand in another order."""
        if not self._moves:
            return False
        before, after = set(self._order), set(self._sheet.order)
        return [cell for cell in self._order if cell in after] != [cell for cell in self._sheet.order if cell in before]


def record_of(notebook: Desk, plan: Plan, number: int, shown: Callable[[str], str | None]) -> CallRecord:
    """The call that this plan will have been, once it is written."""
    recorder = Recorder(Sheet(notebook))
    for step in plan.steps:
        recorder.do(step)
    return recorder.record(number, plan.done, [done.cell for done in plan.done if done.op == "move"], shown)


def _needed(before: State | None, after: State | None) -> CellChange:
    """A change without what undoing it will not ask for."""
    if before is None or after is None:
        return CellChange(before, after and replace(after, value=None))
    if before.type != after.type:
        return CellChange(before, replace(after, value=None))
    if before.value is not None and after.value is not None and before.outputs != after.outputs:
        return CellChange(before, after)
    return CellChange(replace(before, value=None), replace(after, value=None))


@dataclass(frozen=True, slots=True)
class Turn:
    """A planned ``undo`` or ``redo``; ``inverses``: what takes each call of it back, in its order."""

    op: str
    inverses: tuple[CallRecord, ...]


class UndoLog:
    """The calls that can be undone and redone, newest last; the oldest are forgotten where they get too many."""

    def __init__(self, most_calls: int, most_bytes: int = MOST_BYTES) -> None:
        self._most_calls = most_calls
        self._most_bytes = most_bytes
        self._stacks: dict[str, list[CallRecord]] = {"undo": [], "redo": []}
        self._forgotten = False
        self.number = 1
        """The number of the next call that changes anything."""

    def note(self, record: CallRecord) -> None:
        """The agent has made a call; what was undone before can no longer be redone."""
        if record.empty:
            return
        self._stacks["redo"].clear()
        self._stacks["undo"].append(record)
        self.number = record.number + 1
        self._bound()

    def last(self, op: str, steps: int, where: str, short: Callable[[str], str]) -> Sequence[CallRecord]:
        """The calls that ``op`` (undo, redo) is about, in the order of doing it; ``InvalidEdit``: there are too few."""
        stack = self._stacks[op]
        if steps <= len(stack):
            return stack[: -steps - 1 : -1]
        dropped = " Older ones are no longer kept." if self._forgotten and op == "undo" else ""
        if not stack:
            why = "of your calls that changed cells none is left" if op == "undo" else "you have undone nothing"
            since = "." if op == "undo" else " since your last edit."
            raise InvalidEdit(
                f"{where}: there is nothing to {op}: {why}{since}{dropped} Nothing was written.",
                "What others did is theirs to undo." if op == "undo" else "",
            )
        listed = "; ".join(f"call {record.number} ({told(record.done, short)})" for record in reversed(stack[-10:]))
        more = f"; and {len(stack) - 10} before" if len(stack) > 10 else ""
        raise InvalidEdit(
            f"{where}: {steps} steps, but only {len(stack)} can be {op}ne: {listed}{more}.{dropped} "
            "Nothing was written.",
            f'For example: {{"op": "{op}", "steps": {len(stack)}}}.',
        )

    def turned(self, turn: Turn) -> None:
        """Calls have been undone (redone), and can now be redone (undone)."""
        stack, other = self._stacks[turn.op], self._stacks["undo" if turn.op == "redo" else "redo"]
        del stack[len(stack) - len(turn.inverses) :]
        other.extend(inverse for inverse in turn.inverses if not inverse.empty)
        self._bound()

    def next(self, short: Callable[[str], str]) -> str:
        """What can be undone and redone now, in one line."""
        found = []
        for op, stack in self._stacks.items():
            last = stack[-1] if stack else None
            found.append(
                f"next {op}: call {last.number} ({told(last.done, short)})" if last else f"nothing more to {op}"
            )
        return "; ".join(found)

    def _bound(self) -> None:
        undo, redo = self._stacks["undo"], self._stacks["redo"]
        size = sum(record.size for record in (*undo, *redo))
        while len(undo) > self._most_calls or (size > self._most_bytes and (undo or redo)):
            self._forgotten = self._forgotten or bool(undo)
            size -= (undo or redo).pop(0).size


def told(done: Sequence[Done], short: Callable[[str], str]) -> str:
    """What a call did, in a few words: ``rewrote a1f9, inserted b2c3``."""
    phrases = list(dict.fromkeys(f"{VERBS[each.op]} {short(each.cell)}" for each in done))
    more = f" and {len(phrases) - _MOST_TOLD} more" if len(phrases) > _MOST_TOLD else ""
    return inline(", ".join(phrases[:_MOST_TOLD]) or "changed texts", 400) + more


VERBS: Mapping[str, str] = {
    "insert": "inserted",
    "replace": "edited",
    "write": "rewrote",
    "delete": "deleted",
    "move": "moved",
    "retype": "retyped",
    "split": "split",
    "merge": "merged the cell below into",
    "clear": "cleared the outputs of",
    "restore": "put back",
    "outputs": "put back the outputs of",
}
"""How a result tells what was done to a cell."""
