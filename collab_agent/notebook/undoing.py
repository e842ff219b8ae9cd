"""Plans the undoing of the agent's own calls, over what others have done since; redoing is the same.

Rules, beside those of ``unravel.py`` for texts:

* All calls of one ``undo`` are undone together, or none is.
* A cell that the call inserted is taken away; if others have changed it since, or work in it, only with ``force``.
* A cell that the call deleted comes back as it was, behind the nearest cell that it stood behind and that is still
  there; if somebody has brought it back already, it is not doubled.
* A text that the call had carried into a cell of its own (a split) does not come back where others have deleted that
  cell, or joined it to another: there it may stand already.  Nor does a cell whose text the call had carried into
  another (a merge), where others have taken all of that out again.
* A cell that others have deleted cannot be changed back: the call is refused until it is there again; ``force`` leaves
  it out.
* A cell that somebody works in is not rebuilt (moved, retyped, deleted), unless forced.
* Outputs come back only to a cell that still is as the call left it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import CellInUse, CellNotFound, EditConflict
from . import steps as st
from .conflict import refuse_unless_editable
from .difftext import diff as diff_lines
from .draft import Done, Plan
from .edit_ops import Edit
from .moves import moving
from .plain import inline
from .seen import Seen
from .sheet import Desk, Sheet, State
from .splice import apply, diff
from .undo import CallRecord, CellChange, Recorder, Turn, UndoLog, told
from .unravel import unravel


@dataclass
class Undoing:
    """Plans one ``undo`` or ``redo``.  ``in_use(cell id)`` says who works in a cell, empty where nobody does."""

    notebook: Desk
    seen: Seen
    in_use: Callable[[str], str] = lambda _cell: ""
    _edit: Edit = field(init=False)
    _sheet: Sheet = field(init=False)
    _call: CallRecord = field(init=False)
    _recorder: Recorder = field(init=False)
    _inverses: list[CallRecord] = field(default_factory=list)
    _steps: list[st.Step] = field(default_factory=list)
    _done: dict[Done, None] = field(default_factory=dict)
    _call_done: list[Done] = field(default_factory=list)
    _carried_on: set[str] = field(default_factory=set)
    """What this call had put into texts where nothing of it is left."""
    _notes: dict[str, None] = field(default_factory=dict)
    _before: dict[str, str] = field(default_factory=dict)
    _wanted: dict[str, str | None] = field(default_factory=dict)

    def plan(self, edit: Edit, log: UndoLog) -> Plan:
        """Plan it; an ``EditError`` or a ``TargetError`` means that nothing is to be written.

        The log is not changed: ``log.turned(plan.turn)`` does that, once the plan is written.
        """
        self._begin(edit)
        heads = []
        for call in log.last(edit.op, edit.steps, edit.where, self._short):
            self._take_back(call)
            heads.append(f"{edit.op.replace('do', 'did')} call {call.number}: {told(call.done, self._short)}")
            if not self._call_done:
                heads[-1] += " (nothing of it was left to change)"
        code = self._code()
        if any(self._has_run(cell) for cell in code):
            self._note(f"runs are not {edit.op}ne: outputs, and the kernel's variables, stay as they are")
        lines, turn = (*heads, *self._notes), Turn(edit.op, tuple(self._inverses))
        return Plan(tuple(self._steps), tuple(self._done), self._before, self._wanted, code, lines, turn)

    def bring_back(self, edit: Edit, *changes: CallRecord) -> Plan:
        """Plan to bring cells from ``after`` to ``before`` that no undo is about: what a server has lost.

        What is planned is a call of its own, which can be undone.  Errors as of ``plan``.
        """
        self._begin(edit)
        for change in changes:
            self._take_back(change)
        code = self._code()
        return Plan(tuple(self._steps), tuple(self._done), self._before, self._wanted, code, tuple(self._notes))

    def _begin(self, edit: Edit) -> None:
        self._edit = edit
        self._sheet = Sheet(self.notebook)

    def _take_back(self, call: CallRecord) -> None:
        self._call = call
        self._recorder = Recorder(self._sheet)
        self._call_done, self._carried_on = [], set()
        for cell, change in call.cells.items():
            if change.before is not None and change.after is not None:
                self._change_back(cell, change.before, change.after)
        self._put_in_place(call)
        for cell, change in call.cells.items():
            if change.before is None and change.after is not None:
                self._remove(cell, change.after)
        moved = [done.cell for done in self._call_done if done.op == "move"]
        self._inverses.append(self._recorder.record(call.number, call.done, moved, self._shown))

    # Cells that were there before the call and after it.

    def _change_back(self, cell: str, before: State, after: State) -> None:
        if self._sheet.cell(cell) is None:
            self._miss(cell)
            return
        if before.source != after.source:
            self._text_back(cell, before.source, after.source)
        if before.type != after.type:
            self._type_back(cell, before, after)
        elif before.outputs != after.outputs:
            self._outputs_back(cell, before, after)

    def _miss(self, cell: str) -> None:
        """Somebody has deleted a cell that is to be changed back."""
        if self._edit.force:
            self._note(f"{self._short(cell)} is no longer there: left out")
            return
        raise CellNotFound(
            f"{self._edit.where} of {self._name} would change {self._short(cell)}, which somebody has deleted since. "
            "Nothing was written.",
            f"If it is brought back (their own undo does that), the {self._edit.op} works; with force=true it leaves "
            "that cell out.",
        )

    def _text_back(self, cell: str, before: str, after: str) -> None:
        now, name = self._source(cell), self._short(cell)
        if now != before:
            before = self._without_carried(name, before, after)
        found = unravel(after, before, now)
        if found.kept:
            self._note(f"{name}: kept what others have written into that text since: {_quoted(found.kept)}")
        if found.lost:
            self._note(
                f"{name}: others have rewritten or removed what stood there; not put back: {_quoted(found.lost)}"
            )
        shown = self._shown(cell)
        if shown is not None:
            self._wanted[cell] = apply(shown, unravel(after, before, shown).splices)
        if not any(splice.stop > splice.start for splice in found.splices):
            self._carried_on |= {splice.insert.strip("\n") for splice in diff(before, after) if splice.insert.strip()}
        if found.splices:
            if (here := self.notebook.cell(cell)) is not None:
                refuse_unless_editable(self._edit.where, here, name)
                self._before.setdefault(cell, now)
            self._do(st.SpliceSource(cell, found.splices), Done("text", cell))

    def _without_carried(self, name: str, before: str, after: str) -> str:
        """``before`` without what the call had carried into a cell of its own that is no longer there."""
        made = [
            change.after.source.strip("\n")
            for other, change in self._call.cells.items()
            if change.before is None and change.after is not None and self._sheet.cell(other) is None
        ]
        hunks = diff(after, before)
        carried = [hunk for hunk in hunks if hunk.insert.strip() and hunk.insert.strip("\n") in made]
        if not carried:
            return before
        gone = _quoted([hunk.insert for hunk in carried])
        self._note(f"{name}: the cell that {gone} went to is no longer there; that text is not put back here")
        return apply(after, [hunk for hunk in hunks if hunk not in carried])

    def _type_back(self, cell: str, before: State, after: State) -> None:
        now = self._sheet.kept(cell)
        assert now is not None
        if now.type == before.type:
            return
        if now.type != after.type:
            self._note(f"{self._short(cell)} was made {now.type} since: left so")
            return
        self._refuse_if_in_use(cell, "rebuild")
        self._do(st.RetypeCell(cell, before.type), Done("retype", cell))
        self._refill(cell, before)

    def _outputs_back(self, cell: str, before: State, after: State) -> None:
        now = self._sheet.kept(cell)
        assert now is not None
        if now.type != "code" or now.outputs == before.outputs:
            return
        if self._sheet.running(cell) or now.outputs != after.outputs:
            self._note(f"{self._short(cell)} has been run since: its outputs stay")
            return
        if before.outputs == ([], None):
            self._do(st.ClearCell(cell), Done("clear", cell))
        else:
            self._refill(cell, before)

    def _refill(self, cell: str, before: State) -> None:
        outputs, count = before.outputs
        if before.type == "code" and (outputs or count is not None):
            self._do(st.RefillCell(cell, tuple(outputs), count), Done("outputs", cell))
        attachments = (before.value or {}).get("attachments")
        if before.type != "code" and attachments:
            self._do(st.RefillCell(cell, attachments=attachments))

    # The order of cells.

    def _put_in_place(self, call: CallRecord) -> None:
        """Bring back what the call deleted and move back what it moved: from the top, each behind its old neighbour."""
        gone = {cell for cell, change in call.cells.items() if change.after is None}
        places = {cell: place for place, cell in enumerate(call.order) if cell in gone or cell in call.moved}
        for cell, place in places.items():
            if cell in gone:
                self._restore(cell, call.cells[cell], place)
            elif self._sheet.cell(cell) is not None:
                self._move(cell, place)

    def _restore(self, cell: str, change: CellChange, place: int) -> None:
        if self._sheet.cell(cell) is not None:
            self._note(f"{self._short(cell)} is there again already")
            return
        assert change.before is not None
        if change.before.source.strip("\n") in self._carried_on:
            gone = _quoted([change.before.source])
            self._note(f"{self._short(cell)}: others have taken its text {gone} to elsewhere, or away: not put back")
            return
        index = self._index(place, self._sheet.order)
        self._do(st.RestoreCell(cell, index, change.before.whole(cell)), Done("restore", cell))
        self._wanted[cell] = self._call.shown.get(cell)

    def _move(self, cell: str, place: int) -> None:
        order = self._sheet.order
        steps = moving(order, cell, self._index(place, [other for other in order if other != cell]), self._someone_in)
        if steps is None:
            self._refuse_if_in_use(cell, "move")
        for step in steps or ():
            self._do(step, Done("move", cell))

    def _index(self, place: int, order: Sequence[str]) -> int:
        """Where a cell belongs that stood at ``place`` of the call's order: behind what it stood behind."""
        at = {cell: index for index, cell in enumerate(order)}
        before = self._call.order[:place]
        left = next((at[cell] for cell in reversed(before) if cell in at), None)
        if left is not None or not before:
            return 0 if left is None else left + 1
        return next((at[cell] for cell in self._call.order[place + 1 :] if cell in at), len(order))

    def _remove(self, cell: str, after: State) -> None:
        now = self._sheet.cell(cell)
        if now is None:
            self._note(f"{self._short(cell)} is gone already")
            return
        if (now.source, now.type) != (after.source, after.type) and not self._edit.force:
            raise EditConflict(
                f"{self._edit.where} of {self._name} would delete {self._short(cell)}, with what others have changed "
                "in it since. Nothing was written.\n"
                f"What was changed since:\n{diff_lines(after.source, now.source, limit=1_500)}",
                f"Ask the human whether that may go, too; if so, repeat the {self._edit.op} with force=true.",
            )
        self._refuse_if_in_use(cell, "delete")
        if self.notebook.cell(cell) is not None:
            self._before.setdefault(cell, now.source)
        self._do(st.DeleteCell(cell), Done("delete", cell))
        self._wanted[cell] = None

    # Helpers.

    @property
    def _name(self) -> str:
        """The call, as an error names it."""
        return f"call {self._call.number} ({told(self._call.done, self._short)})"

    def _do(self, step: st.Step, done: Done | None = None) -> None:
        self._recorder.do(step)
        self._steps.append(step)
        if done is not None and done not in self._call_done:
            self._call_done.append(done)
            if done.op != "text":  # a text is told by its diff
                self._done[done] = None

    def _note(self, note: str) -> None:
        self._notes[note] = None

    def _source(self, cell: str) -> str:
        state = self._sheet.cell(cell)
        return "" if state is None else state.source

    def _shown(self, cell: str) -> str | None:
        """The text that the agent has been shown, what is planned so far included."""
        return self._wanted[cell] if cell in self._wanted else self.seen.shown_text(cell)

    def _short(self, cell: str) -> str:
        return self.seen.short(cell, self.notebook.view)

    def _someone_in(self, cell: str) -> str:
        return "" if self._edit.force or self.notebook.cell(cell) is None else self.in_use(cell)

    def _refuse_if_in_use(self, cell: str, what: str) -> None:
        who = self._someone_in(cell)
        if who:
            raise CellInUse(
                f"{self._edit.where} would {what} {self._short(cell)}, and {who}: what is typed at that moment would "
                "be lost. Nothing was written.",
                f"Wait until the cell is free, or repeat the {self._edit.op} with force=true if the human has agreed.",
            )

    def _code(self) -> tuple[str, ...]:
        """The code cells whose text or type is another now, or that have come back."""
        changing = (st.SpliceSource, st.RetypeCell, st.RestoreCell)
        touched = dict.fromkeys(step.cell for step in self._steps if isinstance(step, changing))
        states = {cell: self._sheet.cell(cell) for cell in touched}
        return tuple(cell for cell, state in states.items() if state is not None and state.type == "code")

    def _has_run(self, cell: str) -> bool:
        found = self.notebook.cell(cell)
        return found is not None and (found.running or found.execution_count is not None)


def _quoted(texts: Sequence[Any]) -> str:
    shown = ", ".join(repr(inline(text, 80)) for text in texts[:3])
    return f"{shown} and {len(texts) - 3} more" if len(texts) > 3 else shown
