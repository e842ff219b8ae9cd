"""What a restarted server has lost, or a file that another program wrote: the agent's own edits, which are put back,
and what others had typed.

The theory.  A restarted server goes back to what the file held: every replica loses what was younger, also what the
room had acknowledged (``facts/faults.md``, section 1).  ``last`` is the notebook as we saw it last, ``now`` what the
room holds after the restart: an earlier moment, with whatever others have done since.  The records of our own calls say
what of ``last`` is ours.

Rules:

* An edit of ours is put back only where it is plainly lost: all that it had put in is gone, all that it had taken out
  is back, nobody has written at that place, and what it had put in stands nowhere else in what is new.
* What one call did to several cells is put back in all of them, or in none: half a merge would lose text.  In none:
  then these cells are told with their texts, and not brought back on request either: half a split would double text.
* A cell that is there is never inserted, a cell whose id stands there twice is never touched.
* All else that ``last`` held and ``now`` lacks is kept, so that it can be brought back on request (``restore``).
* Where another program wrote the file under a living server, ``held`` is what it held before: what was in it was taken
  out on purpose, and is not lost (``unsaved.py``).
* Without cell ids on disk (nbformat below 4.5) a restart gives all cells new ids: there nothing is put back; what is
  missing is told by its content.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from ..errors import CollabAgentError
from . import steps as st
from .draft import Plan
from .edit_ops import Edit
from .model import CellView
from .seen import Seen
from .sheet import Desk, Sheet, State, Value
from .splice import Splice, Touching, apply, diff, inverse, normalise, rebase
from .undo import CallRecord, CellChange
from .undoing import Undoing
from .unravel import unravel
from .unsaved import Spans, with_lost, with_unsaved, without_come_back

_TELLING = 4
"""A text of so many characters that comes up elsewhere was carried there, not typed again."""
Held = Mapping[str, CellView]
"""What a file holds, by cell id; where its format has no ids, by place."""
_RECOVERY = Edit("restore", "what the server had lost")


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a restart has come to.  ``plan``: what puts our own edits back; None: nothing is to be put back.

    ``again``: the cells that it is about.  ``doubtful``: cells with edits of ours that may be lost, wholly or in part,
    and are neither put back nor among ``lost``.  ``lost``: what is missing; ``before``: with it, ``after``: without.
    """

    plan: Plan | None
    again: tuple[str, ...]
    doubtful: tuple[str, ...]
    lost: CallRecord


def recover(
    last: Desk,
    now: Desk,
    records: Sequence[CallRecord],
    seen: Seen,
    in_use: Callable[[str], str] = lambda _cell: "",
    held: Held | None = None,
    since: Mapping[str, Spans] | None = None,
) -> Recovery:
    """Compare the notebook before a restart, or another program's write, with the one behind it.

    ``records``: our own calls, oldest first.  ``held``: what the file held before that write; None: a restart.
    ``since``: by cell, what of ``now`` people wrote who had been there before, later than ``last``.
    """
    ours = _Ours(last, now, records)
    ours.look()
    plan = ours.plan(seen, in_use)
    sheet = Sheet(now)
    for step in plan.steps:
        sheet.do(step)
    lost = _losses(last, now, sheet, ours.doubled | ours.torn, held or {}, since or {})
    changed = {step.cell for step in plan.steps} & {*ours.record.cells, *ours.record.moved}
    places = {cell: place for place, cell in enumerate(sheet.order)}
    again = tuple(sorted(changed, key=lambda cell: places.get(cell, -1)))
    doubtful = tuple(cell for cell in ours.doubtful if cell not in lost.cells)
    return Recovery(plan if plan.steps else None, again, doubtful, lost)


def missing_by_content(last: Desk, now: Desk, held: Held | None = None) -> list[CellView]:
    """The cells that are missing where ids say nothing: those whose text no cell has now, nor had on disk before."""
    there = Counter(cell.source.strip() for cell in now.view.cells)
    there |= Counter(cell.source.strip() for cell in (held or {}).values())
    missing = []
    for cell in last.view.cells:
        text = cell.source.strip()
        if text and not there[text]:
            missing.append(cell)
        there[text] -= 1 if there[text] else 0
    return missing


def misplaced(last: Desk, now: Desk, held: Held) -> CallRecord:
    """The cells that a file holds and the room does not, though nobody has taken them out.

    A server that puts a file into a large room while others write there deletes some others (``facts/faults.md``).
    """
    cells: dict[str, CellChange] = {}
    for was in last.view.cells:
        saved = held.get(was.id) if was.id else None
        if saved is not None and now.cell(was.id) is None and (saved.source.strip() or was.execution_count is not None):
            cells[was.id] = CellChange(State(saved.type, saved.source, last.nbformat(was.id)), None)
    return CallRecord(0, (), cells, tuple(cell.id for cell in last.view.cells))


def still_lost(lost: CallRecord, now: Desk, late: Collection[str] = ()) -> CallRecord:
    """What has not come back meanwhile, with a page that joins again; ``late``: cells of which a part may have."""
    left = {cell: _still(cell, change, now, cell in late) for cell, change in lost.cells.items()}
    return replace(lost, cells={cell: change for cell, change in left.items() if change is not None})


def come_back(put_back: CallRecord, before: Mapping[str, CellView | None], now: Desk) -> list[st.Step]:
    """The steps that take out again what was put back, where an update has brought our first writing of it.

    ``before``: the cells that the update has changed, as they were.  Cells that were rebuilt stand there twice then.
    """
    twice = doubled(now) & {*put_back.cells, *put_back.moved}
    steps: list[st.Step] = [st.DeleteCell(cell) for cell in sorted(twice)]
    for cell, change in put_back.cells.items():
        here, was = None if cell in twice else now.cell(cell), before.get(cell)
        if change.before is None or change.after is None or was is None or here is None or not here.editable:
            continue
        ours = diff(change.before.source, change.after.source)
        came = [splice.insert for splice in diff(was.source, here.source)]
        put_in = [splice.insert for splice in ours if splice.insert]
        if put_in and all(any(text in each for each in came) for text in put_in):
            without = apply(change.before.source, [Splice(each.start, each.stop, "") for each in ours])
            splices = unravel(change.after.source, without, here.source).splices
            steps += [st.SpliceSource(cell, splices)] if splices else []
    return steps


def fragments(change: CellChange) -> list[str]:
    """The texts that are lost of one cell, in order."""
    before, after = change.before, change.after
    if before is None:
        return []
    if after is None:
        return [before.source]
    return [splice.insert for splice in diff(after.source, before.source) if splice.insert.strip()]


def _still(cell: str, change: CellChange, now: Desk, late: bool) -> CellChange | None:
    here, before, after = now.cell(cell), change.before, change.after
    assert before is not None
    if here is None:
        return CellChange(_whole(before), None)
    if after is None:
        return None
    if before.source == after.source:  # outputs
        return None if here.execution_count is not None else change
    hunks = [
        splice
        for splice in diff(after.source, before.source)
        if not splice.insert.strip() or here.source.count(splice.insert) < before.source.count(splice.insert)
    ]
    if late:
        hunks = without_come_back(hunks, diff(after.source, here.source))
    if here.source == before.source or not any(splice.insert.strip() for splice in hunks):
        return None
    return CellChange(replace(before, source=apply(after.source, hunks)), after)


def _whole(state: State) -> State:
    """A state from which a cell can be made anew."""
    if state.value is not None:
        return state
    code: Value = {"outputs": [], "execution_count": None} if state.type == "code" else {}
    return replace(state, value={"metadata": {}, **code})


class _Ours:
    """Finds what of our own calls is lost."""

    def __init__(self, last: Desk, now: Desk, records: Sequence[CallRecord]) -> None:
        self._last = last
        self._now = now
        self._records = records
        self._cells: dict[str, CellChange] = {}
        self._moved: tuple[str, ...] = ()
        self.doubtful: dict[str, None] = {}
        self.doubled = doubled(now) | {""}  # what has no id, cell or not, cannot be told from what was there before

    def look(self) -> None:
        """Look at every cell that our calls have touched, then at the order."""
        chains: dict[str, list[CellChange]] = {}
        for record in self._records:
            for cell, change in record.cells.items():
                chains.setdefault(cell, []).append(change)
        for cell, chain in chains.items():
            if cell in self.doubled:
                self.doubtful[cell] = None
            else:
                self._look_at(cell, chain)
        self._look_at_order()
        self._keep_calls_whole()

    def plan(self, seen: Seen, in_use: Callable[[str], str]) -> Plan:
        """The plan that puts back what is plainly lost, where nobody is in the way."""
        try:
            return Undoing(self._now, seen, in_use).bring_back(_RECOVERY, self.record)
        except CollabAgentError:
            for cell in dict.fromkeys((*self._cells, *self._moved)):
                change = {cell: self._cells[cell]} if cell in self._cells else {}
                alone = replace(self.record, cells=change, moved=(cell,) if cell in self._moved else ())
                try:
                    Undoing(self._now, seen, in_use).bring_back(_RECOVERY, alone)
                except CollabAgentError:
                    self.doubtful[cell] = None
            if not self.doubtful.keys() & {*self._cells, *self._moved}:
                self.doubtful |= dict.fromkeys((*self._cells, *self._moved))
            self._keep_calls_whole()
            return self.plan(seen, in_use)

    def _keep_calls_whole(self) -> None:
        """Leave out whatever belongs to a call of which something is left out."""
        linked, count = set(self.doubtful), -1
        while count != len(linked):
            count = len(linked)
            for record in self._records:
                cells = {*record.cells, *record.moved}
                linked |= cells if linked & cells else set()
        self.doubtful |= dict.fromkeys(cell for cell in (*self._cells, *self._moved) if cell in linked)
        self._cells = {cell: change for cell, change in self._cells.items() if cell not in self.doubtful}
        self._moved = tuple(cell for cell in self._moved if cell not in self.doubtful)

    @property
    def torn(self) -> frozenset[str]:
        """The doubtful cells of calls that touched several: a split or a merge may have left their text elsewhere."""
        several = (record.cells.keys() for record in self._records if len(record.cells) > 1)
        return frozenset(cell for cells in several for cell in cells if cell in self.doubtful)

    @property
    def record(self) -> CallRecord:
        """What is plainly lost: ``before``: with it, ``after``: without."""
        return CallRecord(0, (), self._cells, tuple(cell.id for cell in self._last.view.cells), self._moved)

    def _look_at(self, cell: str, chain: Sequence[CellChange]) -> None:
        was, here = self._last.cell(cell), self._now.cell(cell)
        if was is None:
            deleted = chain[-1].before if chain[-1].after is None else None
            if here is None or deleted is None:
                return
            types = {deleted.type, *(change.before.type for change in chain if change.before is not None)}
            if here.type in types and here.source in _states(deleted.source, chain[:-1]):
                self._cells[cell] = CellChange(None, State(here.type, here.source))
            else:
                self.doubtful[cell] = None
        elif here is None:
            if any(change.before is None for change in chain):
                self._cells[cell] = CellChange(State(was.type, was.source, self._last.nbformat(cell)), None)
            else:
                self.doubtful[cell] = None
        else:
            self._compare(was, here, chain)

    def _compare(self, was: CellView, here: CellView, chain: Sequence[CellChange]) -> None:
        text = _lost_text(was.source, _states(was.source, chain), here.source)
        if text is None:
            self.doubtful[was.id] = None
            return
        type_, value, old = was.type, None, None
        for change in chain:
            if change.before is None or change.after is None:
                continue
            if change.before.type != change.after.type and here.type == change.before.type != was.type:
                type_, value = here.type, self._last.nbformat(was.id)
            if change.before.value is not None and change.after.value is not None and was.type == here.type == "code":
                value, old = self._last.nbformat(was.id), change.before.value
        before = State(was.type, was.source, value)
        after = State(type_, text, old)
        if old is not None and before.outputs == after.outputs:
            before, after = replace(before, value=None), replace(after, value=None)
        if (before.source, before.type, before.value) != (after.source, after.type, after.value):
            self._cells[was.id] = CellChange(before, after)

    def _look_at_order(self) -> None:
        """A move is lost where the order is what it was before the move."""
        was, here = [[cell.id for cell in view.cells] for view in (self._last.view, self._now.view)]
        doubtful: dict[str, None] = {}
        for number, record in enumerate(self._records):
            common = set(was) & set(here) & set(record.order) - self.doubled
            if not record.moved or _only(was, common) == _only(here, common):
                continue
            later = dict.fromkeys(cell for each in self._records[number:] for cell in each.moved if cell in common)
            if _only(here, common) == _only(record.order, common):
                self._moved = tuple(later)
                return
            doubtful |= later
        self.doubtful |= doubtful


def doubled(notebook: Desk) -> frozenset[str]:
    """The ids that stand in the notebook more than once."""
    counts = Counter(cell.id for cell in notebook.view.cells)
    return frozenset(cell for cell, count in counts.items() if count > 1)


def _only(order: Sequence[str], cells: set[str]) -> list[str]:
    return [cell for cell in order if cell in cells]


def _states(text: str, chain: Sequence[CellChange]) -> list[str]:
    """A text without our changes from the n-th on, for every n; the oldest first, all of them in the last."""
    states = [text]
    for change in reversed(chain):
        if change.before is None or change.after is None:
            break
        if change.before.source != change.after.source:
            taken = unravel(change.after.source, change.before.source, states[-1])
            states.append(apply(states[-1], taken.splices))
    return states[::-1]


def _lost_text(last: str, states: Sequence[str], now: str) -> str | None:
    """The text ``last`` without what is plainly lost; None where nobody can say."""
    if now == last or now in states:
        return now
    for number, base in enumerate(states):
        if base != last and _plainly(base, last, now):
            return base if _untouched(states[:number], base, now) else None
    return last if _untouched(states, last, now) else None


def _untouched(states: Sequence[str], text: str, now: str) -> bool:
    """Whether nobody has touched what led from any of these states to a text: our calls before it are not lost."""
    theirs = diff(text, now)
    for base in states:
        try:
            rebase(inverse(base, diff(base, text)), theirs)
        except Touching:
            return False
    return True


def _plainly(base: str, last: str, now: str) -> bool:
    """Whether all that led from ``base`` to ``last`` is missing in ``now``, and can be put back without a doubt."""
    ours = diff(base, last)
    try:
        placed = rebase(ours, diff(base, now))
    except Touching:
        return False
    lost = diff(last, now)
    own = inverse(base, ours)
    if not all(any(_covers(theirs, splice) for theirs in lost) for splice in own):
        return False
    put_in = [text for splice in ours if len(text := splice.insert.strip()) >= _TELLING]
    if any(text in theirs.insert for text in put_in for theirs in lost):
        return False
    return apply(now, placed) == apply(now, normalise(unravel(base, last, now).splices, now))


def _covers(theirs: Splice, own: Splice) -> bool:
    return theirs.start <= own.start and own.stop <= theirs.stop and own.insert in theirs.insert


def _losses(
    last: Desk, now: Desk, sheet: Sheet, twice: frozenset[str], held: Held, since: Mapping[str, Spans]
) -> CallRecord:
    """What ``last`` held and the sheet lacks."""
    cells: dict[str, CellChange] = {}
    for was in last.view.cells:
        here, saved = sheet.cell(was.id), held.get(was.id)
        if was.id in twice:
            continue
        if here is None:
            if (was.source.strip() or was.execution_count is not None) and not _same(saved, was):
                cells[was.id] = CellChange(State(was.type, was.source, last.nbformat(was.id)), None)
            continue
        view, wanted = now.cell(was.id), was.source
        if saved is not None:
            wanted = with_unsaved(saved.source, was.source, here.source)
        elif view is not None and view.source == here.source:
            wanted = with_lost(was.source, here.source, since.get(was.id, ()))
        if any(wanted[splice.start : splice.stop].strip() for splice in diff(wanted, here.source)):
            cells[was.id] = CellChange(State(here.type, wanted), State(here.type, here.source))
            continue
        ran = was.type == "code" and was.execution_count is not None and not was.running
        ran = ran and (saved is None or saved.execution_count != was.execution_count)
        if ran and here.type == "code" and view is not None and view.execution_count is None:
            before, after = (State("code", here.source, desk.nbformat(was.id)) for desk in (last, now))
            if before.outputs != after.outputs:  # equal where the id stood there twice, and another one has run
                cells[was.id] = CellChange(before, after)
    return CallRecord(0, (), cells, tuple(cell.id for cell in last.view.cells))


def _same(saved: CellView | None, was: CellView) -> bool:
    return saved is not None and (saved.type, saved.source) == (was.type, was.source)
