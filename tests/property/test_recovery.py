"""Whatever agent and humans did, and whenever the file was written: what a dead server has lost is put back once.

No id and no text is ever doubled, nothing that is there goes, and where nobody else wrote, nothing is missing at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from collab_agent.errors import CollabAgentError
from collab_agent.notebook.batches import batches
from collab_agent.notebook.draft import Plan
from collab_agent.notebook.edit_ops import Edit
from collab_agent.notebook.edits import Planner
from collab_agent.notebook.recovery import Recovery, recover, still_lost
from collab_agent.notebook.seen import Seen
from collab_agent.notebook.splice import Splice
from collab_agent.notebook.steps import DeleteCell, InsertCell, RestoreCell, SpliceSource, Step
from collab_agent.notebook.undo import CallRecord, record_of
from collab_agent.notebook.undoing import Undoing
from collab_agent.room.replica import Replica

AGENTS, HUMANS, FIRST = 0xA000, 0xAC00, 0x4E00
"""Where the characters begin that only the agent types, that only humans type, that were there; none comes twice."""
PLACES = st.floats(0, 1)
ACTIONS = st.tuples(
    st.sampled_from(
        ["write", "line", "insert", "delete", "move", "retype", "split", "merge", "type", "type", "rub out"]
    ),
    PLACES,
    PLACES,
)


class Page:
    """A notebook of three cells with two lines each, an agent in it, and humans."""

    def __init__(self) -> None:
        self.replica = Replica()
        self.seen = Seen()
        self.records: list[CallRecord] = []
        self._agents, self._humans, self._new = count(AGENTS), count(HUMANS), count(1)
        texts = [f"{chr(FIRST + 4 * n)} = {chr(FIRST + 4 * n + 1)}\n{chr(FIRST + 4 * n + 2)}\n" for n in range(3)]
        self.write([InsertCell(f"cell{n}", n, "code", text) for n, text in enumerate(texts)])

    def write(self, steps: Sequence[Step]) -> None:
        """Write into the room; by whom does not matter."""
        for batch in batches(steps):
            self.replica.write(batch)

    def saved(self) -> list[dict[str, Any]]:
        """What a file would hold now."""
        return [value for cell in self.replica.view.cells if (value := self.replica.nbformat(cell.id)) is not None]

    def restarted(self, cells: Sequence[dict[str, Any]]) -> Replica:
        """The room behind a restart, from what the file held."""
        now = Replica()
        for batch in batches([RestoreCell(cell["id"], n, cell) for n, cell in enumerate(cells)]):
            now.write(batch)
        return now

    def act(self, action: tuple[str, float, float]) -> None:
        """One edit of the agent's, or of a human's."""
        what, where, at = action
        cells = self.replica.view.cells
        if not cells:
            return
        cell = cells[round(where * (len(cells) - 1))]
        if what in ("type", "rub out"):
            self.write(keystroke(cell.id, cell.source, what, at, self._humans))
            return
        other = cells[round(at * (len(cells) - 1))]
        lines = cell.source.split("\n")
        mark = chr(next(self._agents))
        edits: dict[str, dict[str, Any]] = {
            "write": {"source": f"{mark} = 1\n"},
            "line": {"source": "\n".join([*lines[: round(at * len(lines))], mark, *lines[round(at * len(lines)) :]])},
            "insert": {"source": mark, "after": cell.id},
            "delete": {},
            "move": {"after": other.id},
            "retype": {"type": "markdown" if cell.type == "code" else "code"},
            "split": {"line": 2},
            "merge": {},
        }
        target = {} if what == "insert" else {"cell": cell.id}
        for each in cells:
            self.seen.show(each)
        with suppress(CollabAgentError):
            self.call({"op": "write" if what == "line" else what, **target, **edits[what]})

    def call(self, edit: dict[str, Any]) -> None:
        """A call of the agent's."""
        plan = Planner(self.replica, self.seen, new_id=lambda: f"made{next(self._new)}").plan([edit])
        self.records.append(record_of(self.replica, plan, len(self.records) + 1, self.seen.shown_text))
        self.write(plan.steps)


def keystroke(cell: str, source: str, what: str, where: float, marks: Any) -> list[Step]:
    """Somebody types a character that nobody has typed before, or rubs one out."""
    at = round(where * len(source))
    splice = Splice(at, at, chr(next(marks))) if what == "type" else Splice(at, min(at + 1, len(source)), "")
    return [SpliceSource(cell, (splice,))] if splice.insert or splice.stop > at else []


def written(replica: Replica, plan: Plan | None) -> None:
    """Write what was planned."""
    for batch in batches(() if plan is None else plan.steps):
        replica.write(batch)


def texts(replica: Replica) -> list[tuple[str, str, str]]:
    """All cells, in order."""
    return [(cell.id, cell.type, cell.source) for cell in replica.view.cells]


def characters(replica: Replica) -> Counter[str]:
    """How often each character stands in the notebook, of those that nobody typed twice."""
    return Counter(c for cell in replica.view.cells for c in cell.source if ord(c) >= FIRST)


def check(page: Page, now: Replica) -> Recovery:
    """Recover, and hold the result to what always holds."""
    before, ids = characters(now), [cell.id for cell in now.view.cells]
    humans = {cell.id: theirs(cell.source) for cell in now.view.cells}
    found = recover(page.replica, now, page.records, page.seen)
    written(now, found.plan)
    after = characters(now)
    there = [cell.id for cell in now.view.cells]
    assert len(set(there)) == len(there)
    assert not [c for c, times in after.items() if times > 1]
    deleted = {step.cell for step in (() if found.plan is None else found.plan.steps) if isinstance(step, DeleteCell)}
    assert deleted >= set(ids) - set(there)
    assert not deleted & {cell.id for cell in page.replica.view.cells}
    wanted = characters(page.replica)
    assert not [c for c in before if c not in after and c in wanted], "what is there and was there stays"
    for cell in now.view.cells:
        if cell.id in humans:
            kept = [c for c in theirs(cell.source) if c in humans[cell.id]]
            assert kept == [c for c in humans[cell.id] if c in kept]
    lost = still_lost(found.lost, now).cells
    missing = {c for c in wanted if c not in after}
    held = "".join(change.before.source for change in lost.values() if change.before is not None)
    held += "".join(cell.source for cell in page.replica.view.cells if cell.id in found.doubtful)
    assert missing <= set(held), "what is missing is told, with its text"
    return found


def theirs(text: str) -> list[str]:
    """The characters that humans typed, in order."""
    return [c for c in text if ord(c) >= HUMANS]


@settings(max_examples=100, deadline=None)
@given(st.lists(ACTIONS, max_size=8), PLACES)
@example([("merge", 0.0, 0.0), ("line", 0.0, 0.0), ("type", 0.0, 1.0)], 0.0)
@example([("split", 0.0, 0.0), ("write", 0.0, 0.0), ("type", 0.0, 1.0)], 0.0)
def test_what_the_file_had_not_is_put_back_once_or_told(actions: list[tuple[str, float, float]], moment: float) -> None:
    page = Page()
    moments = [page.saved()]
    for action in actions:
        page.act(action)
        moments.append(page.saved())
    now = page.restarted(moments[round(moment * len(actions))])
    found = check(page, now)
    if not any(action[0] in ("type", "rub out") for action in actions):
        assert texts(now) == texts(page.replica)
        assert not found.lost.cells
        assert not found.doubtful


@settings(max_examples=100, deadline=None)
@given(st.lists(ACTIONS, max_size=6), PLACES, st.lists(st.tuples(PLACES, PLACES), max_size=4))
def test_what_humans_have_typed_since_stays(
    actions: list[tuple[str, float, float]], moment: float, strokes: list[tuple[float, float]]
) -> None:
    page, marks = Page(), count(HUMANS + 1_000)
    moments = [page.saved()]
    for action in actions:
        page.act(action)
        moments.append(page.saved())
    now = page.restarted(moments[round(moment * len(actions))])
    for where, at in strokes:
        cells = now.view.cells
        if cells:
            cell = cells[round(where * (len(cells) - 1))]
            written_now = keystroke(cell.id, cell.source, "type", at, marks)
            for batch in batches(written_now):
                now.write(batch)
    typed = {c for c in characters(now) if ord(c) >= HUMANS + 1_000}
    check(page, now)
    assert typed <= set(characters(now))


@settings(max_examples=100, deadline=None)
@given(st.lists(ACTIONS, max_size=8), PLACES)
def test_restoring_all_brings_back_all_once(actions: list[tuple[str, float, float]], moment: float) -> None:
    page = Page()
    moments = [page.saved()]
    for action in actions:
        page.act(action)
        moments.append(page.saved())
    now = page.restarted(moments[round(moment * len(actions))])
    found = check(page, now)
    plan = Undoing(now, page.seen).bring_back(Edit("restore", "edits[0]"), still_lost(found.lost, now))
    written(now, plan)
    after = characters(now)
    assert not [c for c, times in after.items() if times > 1]
    told = {c for cell in page.replica.view.cells if cell.id in found.doubtful for c in cell.source}
    assert set(characters(page.replica)) <= set(after) | told
