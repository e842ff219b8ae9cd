"""Plans a call's edits: all are checked against the notebook as it is now, and become one list of steps, or none does.

The theory.  An edit is made on the text that the agent was *shown* (``Seen``).  For every cell that the call touches a
``Draft`` keeps that text (``base``), the agent's splices of it (``ours``) and the text that is there now; when the
cell is written, ``ours`` is rebased over what the others changed (``diff(base, now)``).  Where the two touch, the whole
call fails and the error shows the text as it is now.

Rules:

* Planning reads the live notebook and writes nothing; plan and writing happen without an ``await`` in between.
* After an edit of its own the agent has seen *what it wanted*, not the merge: what the human added stays the human's.
* Delete, move, retype, split and merge rebuild a cell (Yjs 13 cannot move), so text that is being typed into it would
  be lost: they are refused where somebody works in the cell, unless forced.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from ..errors import CellInUse, CellNotSeen, EditConflict, InvalidEdit, TargetError
from . import steps as st
from .conflict import conflict_text, refuse_unless_editable
from .draft import Done, Draft, Notebook, Plan
from .edit_ops import BACK, Edit, parse
from .find import not_found, occurrences
from .model import CellView, NotebookView, PeerView
from .moves import moving
from .refs import resolve, resolve_many
from .seen import Seen
from .splice import Splice, Splices, Touching, apply, compose, diff, map_point, rebase


@dataclass
class Planner:
    """Plans one call.  ``in_use(cell id)`` says who works in a cell right now, empty where nobody does."""

    notebook: Notebook
    seen: Seen
    peers: Sequence[PeerView] = ()
    in_use: Callable[[str], str] = lambda _cell: ""
    new_id: Callable[[], str] = lambda: str(uuid4())
    trust: bool = False
    """Whether pages shall trust the outputs of code cells that the agent itself inserts."""
    _view: NotebookView = field(init=False)
    _steps: list[st.Step] = field(default_factory=list)
    _done: list[Done] = field(default_factory=list)
    _before: dict[str, str] = field(default_factory=dict)
    _wanted: dict[str, str | None] = field(default_factory=dict)
    _drafts: dict[str, Draft] = field(default_factory=dict)
    _order: list[str] | None = None
    _behind: dict[str, str] = field(default_factory=dict)

    def plan(self, edits: Any) -> Plan:
        """Check all edits and plan them; any ``EditError`` or ``TargetError`` means that nothing is to be written."""
        self._view = self.notebook.view
        for edit in parse(edits):
            try:
                self._plan_one(edit)
            except TargetError as exc:
                raise type(exc)(f"{edit.where}: {exc.message} Nothing was written.", exc.hint) from None
        for cell_id, draft in list(self._drafts.items()):
            self._write_text(cell_id, draft.where)
        written = (done for done in self._done if done.op not in ("delete", "move", "clear"))
        touched = dict.fromkeys(cell for done in written for cell in (done.cell, done.made) if cell)
        code = tuple(cell for cell in touched if (left := self._drafts.get(cell)) and left.cell.type == "code")
        return Plan(tuple(self._steps), tuple(self._done), self._before, self._wanted, code)

    def _plan_one(self, edit: Edit) -> None:
        match edit.op:
            case "insert":
                self._insert(edit)
            case "clear":
                self._clear(edit)
            case op if op in BACK:  # ``undoing.py`` and ``journal.py`` do these
                raise InvalidEdit(
                    f"{edit.where}: {op} is about what was done before; it cannot be suggested. Nothing was written."
                )
            case _:
                cell_id = resolve(edit.cell, self._view, self.seen, self.peers)
                handlers = {
                    "replace": self._replace,
                    "write": self._write,
                    "delete": self._delete,
                    "move": self._move,
                    "retype": self._retype,
                    "split": self._split,
                    "merge": self._merge,
                }
                handlers[edit.op](edit, cell_id)

    # Texts.

    def _replace(self, edit: Edit, cell_id: str) -> None:
        draft = self._draft(cell_id, edit)
        found = occurrences(draft.wanted, edit.old)
        if not found and draft.base is not None:
            self._catch_up(draft, edit)
            found = occurrences(draft.wanted, edit.old)
        if not found or (len(found) > 1 and not edit.all):
            raise not_found(edit, self._short(cell_id), draft.wanted, found)
        text = draft.base if draft.base is not None else draft.now
        new: list[Splice] = []
        for at in found:
            new += [Splice(at + s.start, at + s.stop, s.insert) for s in diff(edit.old, edit.new)]
        draft.ours = compose(text, draft.ours, tuple(new)) if new else draft.ours
        self._done.append(Done("replace", cell_id))

    def _write(self, edit: Edit, cell_id: str) -> None:
        draft = self._draft(cell_id, edit)
        if draft.base is None and draft.now.strip():
            raise CellNotSeen(
                f"{edit.where}: you have not been shown the text of {self._short(cell_id)}, and it is not empty. "
                "Nothing was written.",
                f'Read it first: query_notebook(query="cells", cells=["{self._short(cell_id)}"]).',
            )
        draft.ours = diff(draft.now if draft.base is None else draft.base, edit.source)
        self._done.append(Done("write", cell_id))

    def _catch_up(self, draft: Draft, edit: Edit) -> None:
        """Go on with the text that is there now, the agent's edits so far included."""
        if draft.ours:
            draft.ours = self._rebased(draft, edit.where)
        draft.caught_up = draft.caught_up or draft.base != draft.now
        draft.base = draft.now

    def _rebased(self, draft: Draft, where: str) -> Splices:
        if draft.base is None or draft.base == draft.now:
            return draft.ours
        theirs = diff(draft.base, draft.now)
        try:
            return rebase(draft.ours, theirs)
        except Touching:
            text, complete = conflict_text(draft.cell, draft.base, self._short(draft.cell.id))
            if complete:
                self.seen.show(draft.cell)
            raise EditConflict(
                f"{where}: somebody changed {self._short(draft.cell.id)} at the same place since you saw it. "
                f"Nothing was written.\n{text}",
                "Make the edit again on the text as it is now."
                if complete
                else f'Read it first: query_notebook(query="cells", cells=["{self._short(draft.cell.id)}"]).',
            ) from None

    def _write_text(self, cell_id: str, where: str) -> None:
        """Turn a draft's splices into a step; the draft then stands at the merged text."""
        draft = self._drafts[cell_id]
        if not draft.ours:
            return
        refuse_unless_editable(where, draft.cell, self._short(cell_id))
        splices = self._rebased(draft, where)
        wanted = draft.wanted
        self._before.setdefault(cell_id, draft.now)
        self._steps.append(st.SpliceSource(cell_id, splices))
        draft.now = apply(draft.now, splices)
        # A replace in text that was never shown does not show it.
        self._wanted[cell_id] = None if draft.base is None or draft.caught_up else wanted
        draft.base = wanted if draft.base is not None else None
        draft.ours = ()

    # The order of cells.

    def _insert(self, edit: Edit) -> None:
        order = self._ids()
        index = self._place(edit) if edit.after or edit.before else len(order)
        new = self.new_id()
        cell = CellView(new, edit.type, edit.source)
        order.insert(index, new)
        self._drafts[new] = Draft(cell, edit.source, edit.source)
        self._steps.append(st.InsertCell(new, index, edit.type, edit.source, self.trust and edit.type == "code"))
        self._wanted[new] = edit.source
        self._done.append(Done("insert", new, made=new))
        if edit.after:
            anchor = resolve(edit.after, self._view, self.seen, self.peers)
            self._behind[anchor] = new

    def _place(self, edit: Edit) -> int:
        """Where ``after`` or ``before`` points; cells inserted after the same cell follow each other."""
        order = self._ids()
        if edit.before:
            return order.index(self._living(edit.before))
        anchor = self._living(edit.after or "last")
        behind = self._behind.get(anchor, anchor)
        return order.index(behind if behind in order else anchor) + 1

    def _living(self, ref: str) -> str:
        cell_id = resolve(ref, self._view, self.seen, self.peers)
        if cell_id not in self._ids():
            raise InvalidEdit(
                f"{self._short(cell_id)} is deleted by an earlier edit of this call. Nothing was written."
            )
        return cell_id

    def _delete(self, edit: Edit, cell_id: str) -> None:
        draft = self._draft(cell_id, edit)
        if draft.now.strip() and draft.base is None:
            raise CellNotSeen(
                f"{edit.where}: you have not been shown the text of {self._short(cell_id)}, and it is not empty. "
                "Nothing was written.",
                f'Read it first: query_notebook(query="cells", cells=["{self._short(cell_id)}"]).',
            )
        if draft.base is not None and draft.base != draft.now:
            text, complete = conflict_text(draft.cell, draft.base, self._short(cell_id))
            if complete:
                self.seen.show(draft.cell)
            raise EditConflict(
                f"{edit.where}: somebody changed {self._short(cell_id)} since you saw it. Nothing was written.\n{text}",
                "If it is still to go, delete it again.",
            )
        self._refuse_if_in_use(edit, cell_id)
        self._before.setdefault(cell_id, draft.now)
        self._remove(cell_id)
        self._done.append(Done("delete", cell_id))

    def _remove(self, cell_id: str) -> None:
        self._ids().remove(cell_id)
        self._drafts.pop(cell_id, None)
        self._steps.append(st.DeleteCell(cell_id))
        self._wanted[cell_id] = None

    def _move(self, edit: Edit, cell_id: str) -> None:
        self._draft(cell_id, edit)
        order = self._ids()
        anchor = self._living(edit.before or edit.after or "last")
        if anchor == cell_id:
            raise InvalidEdit(f"{edit.where}: a cell cannot stand beside itself. Nothing was written.")
        rest = [other for other in order if other != cell_id]
        index = rest.index(anchor) + (0 if edit.before else 1)
        steps = moving(order, cell_id, index, lambda other: self._in_use(edit, other))
        if steps is None:
            self._refuse_if_in_use(edit, cell_id)
        self._steps += steps or ()
        self._done.append(Done("move", cell_id))
        rest.insert(index, cell_id)
        self._order = rest

    def _retype(self, edit: Edit, cell_id: str) -> None:
        draft = self._draft(cell_id, edit)
        self._done.append(Done("retype", cell_id))
        if draft.cell.type == edit.type:
            return
        self._refuse_if_in_use(edit, cell_id)
        self._write_text(cell_id, edit.where)
        self._steps.append(st.RetypeCell(cell_id, edit.type))
        draft.cell = CellView(cell_id, edit.type, draft.cell.source)

    def _split(self, edit: Edit, cell_id: str) -> None:
        draft = self._draft(cell_id, edit)
        if draft.base is None:
            raise CellNotSeen(
                f"{edit.where}: you have not been shown the text of {self._short(cell_id)}. Nothing was written.",
                f'Read it first: query_notebook(query="cells", cells=["{self._short(cell_id)}"]).',
            )
        lines = draft.wanted.split("\n")  # as results number them
        if not 2 <= edit.line <= len(lines):
            raise InvalidEdit(
                f"{edit.where}: line must be from 2 to {len(lines)}: the line that starts the new cell. "
                "Nothing was written."
            )
        self._refuse_if_in_use(edit, cell_id)
        self._write_text(cell_id, edit.where)
        base = draft.base
        at = len("\n".join(base.split("\n")[: edit.line - 1])) + 1
        point = map_point(at, diff(base, draft.now))
        if point is None:
            draft.ours = (Splice(at - 1, at, ""),)
            self._rebased(draft, edit.where)
            raise InvalidEdit(f"{edit.where}: somebody is changing that line. Nothing was written.")
        self._split_at(draft, cell_id, at, point)

    def _split_at(self, draft: Draft, cell_id: str, at: int, point: int) -> None:
        """Cut the live text at ``point``, which is character ``at`` of the text that was shown."""
        refuse_unless_editable(draft.where, draft.cell, self._short(cell_id))
        base = draft.base or ""
        index = self._ids().index(cell_id) + 1
        new = self.new_id()
        self._before.setdefault(cell_id, draft.now)
        tail = draft.now[point:]
        cut = point - 1 if draft.now[point - 1 : point] == "\n" else point
        self._steps += [
            st.SpliceSource(cell_id, (Splice(cut, len(draft.now), ""),), rebuild=True),
            st.InsertCell(new, index, draft.cell.type, tail),
        ]
        self._ids().insert(index, new)
        self._drafts[new] = Draft(CellView(new, draft.cell.type, tail), tail, base[at:])
        draft.now, draft.base = draft.now[:cut], base[:at].removesuffix("\n")
        self._wanted[cell_id], self._wanted[new] = draft.base, base[at:]
        self._done.append(Done("split", cell_id, made=new))

    def _merge(self, edit: Edit, cell_id: str) -> None:
        draft = self._draft(cell_id, edit)
        order = self._ids()
        index = order.index(cell_id) + 1
        if index >= len(order):
            raise InvalidEdit(f"{edit.where}: there is no cell below {self._short(cell_id)}. Nothing was written.")
        if order.count(order[index]) > 1:
            raise InvalidEdit(
                f"{edit.where}: the cell below {self._short(cell_id)} has the same id as another one. "
                "Nothing was written."
            )
        below = self._draft(order[index], edit)
        self._refuse_if_in_use(edit, cell_id)
        self._refuse_if_in_use(edit, below.cell.id)
        self._write_text(cell_id, edit.where)
        self._write_text(below.cell.id, edit.where)
        refuse_unless_editable(edit.where, draft.cell, self._short(cell_id))
        joint = "\n" if draft.now and below.now else ""
        self._before.setdefault(cell_id, draft.now)
        self._before.setdefault(below.cell.id, below.now)
        end = len(draft.now)
        self._steps.append(st.SpliceSource(cell_id, (Splice(end, end, joint + below.now),), rebuild=True))
        self._remove(below.cell.id)
        seen = None if draft.base is None or below.base is None else draft.base + joint + below.base
        draft.now, draft.base = draft.now + joint + below.now, seen
        self._wanted[cell_id] = seen
        self._done.append(Done("merge", cell_id))

    def _clear(self, edit: Edit) -> None:
        for cell_id in resolve_many(edit.cells, self._view, self.seen, self.peers):
            draft = self._draft(cell_id, edit)
            if draft.cell.type != "code":
                continue
            if draft.cell.running:
                raise CellInUse(
                    f"{edit.where}: {self._short(cell_id)} is running. Nothing was written.", "Wait for it."
                )
            self._steps.append(st.ClearCell(cell_id))
            self._done.append(Done("clear", cell_id))

    # Helpers.

    def _draft(self, cell_id: str, edit: Edit) -> Draft:
        if cell_id not in self._drafts:
            cell = self.notebook.cell(cell_id)
            if cell is None or (self._order is not None and cell_id not in self._order):
                raise InvalidEdit(
                    f"{edit.where}: {self._short(cell_id)} is deleted by an earlier edit of this call. "
                    "Nothing was written."
                )
            shown = self.seen.shown_text(cell_id)
            self._drafts[cell_id] = Draft(cell, cell.source, "" if shown is None and not cell.source else shown)
        self._drafts[cell_id].where = edit.where
        return self._drafts[cell_id]

    def _ids(self) -> list[str]:
        if self._order is None:
            self._order = list(self.seen.ids(self._view))
        return self._order

    def _short(self, cell_id: str) -> str:
        return self.seen.short(cell_id, self._view)

    def _in_use(self, edit: Edit, cell_id: str) -> str:
        if edit.force or self.notebook.cell(cell_id) is None:
            return ""
        return self.in_use(cell_id)

    def _refuse_if_in_use(self, edit: Edit, cell_id: str) -> None:
        who = self._in_use(edit, cell_id)
        if who:
            raise CellInUse(
                f"{edit.where} would rebuild {self._short(cell_id)}, and {who}: what is typed at that moment would be "
                "lost. Nothing was written.",
                "Wait until the cell is free, or repeat the edit with force=true if the human has agreed.",
            )
