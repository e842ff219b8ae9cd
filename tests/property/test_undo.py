"""Whatever others write between the agent's calls and their undoing, every character of theirs survives, in order.

Where they wrote nothing, undo restores exactly what was, and redo what had been made of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pycrdt import Array, Doc, Map, Text

from collab_agent.errors import CollabAgentError, InvalidEdit
from collab_agent.notebook.batches import batches
from collab_agent.notebook.draft import Plan
from collab_agent.notebook.edit_ops import parse
from collab_agent.notebook.edits import Planner
from collab_agent.notebook.outputs import Append
from collab_agent.notebook.seen import Seen
from collab_agent.notebook.splice import Splice, apply
from collab_agent.notebook.steps import EndRun, InsertCell, RefillCell, SpliceSource, WriteOutputs
from collab_agent.notebook.undo import CallRecord, UndoLog, record_of
from collab_agent.notebook.undoing import Undoing
from collab_agent.notebook.unravel import closely, unravel
from collab_agent.room.replica import Replica

IDS = ("aaaa1", "bbbb2", "cccc3", "dddd4")
LINES = st.lists(st.sampled_from(["x = 1", "x = 12", "é = '😀'", "", "print(x)", "中文", "x"]), max_size=5)
TEXTS = LINES.map("\n".join)
MARKS = [chr(0xAC00 + number) for number in range(200)]
"""What humans type here: no agent writes these, and none is typed twice."""
STROKES = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(["type", "type", "type", "enter", "delete"])), max_size=12
)


def typed(text: str, strokes: Sequence[tuple[float, str]], marks: list[str]) -> str:
    """The text after somebody's keystrokes; they take from ``marks`` what they type."""
    for where, what in strokes:
        at = round(where * len(text))
        if what == "delete":
            text = text[:at] + text[at + 4 :]
        else:
            text = text[:at] + marks.pop() + ("\n" if what == "enter" else "") + text[at:]
    return text


def theirs(text: str) -> str:
    """The marks in a text, in order."""
    return "".join(character for character in text if character in MARKS)


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_without_others_a_text_becomes_exactly_what_it_was(before: str, after: str) -> None:
    assert apply(after, unravel(after, before, after).splices) == before
    assert unravel(after, before, before).splices == ()


@settings(deadline=None)
@given(TEXTS, TEXTS, STROKES)
def test_every_character_that_others_typed_survives_in_order(
    before: str, after: str, strokes: list[tuple[float, str]]
) -> None:
    now = typed(after, strokes, MARKS[:])
    found = unravel(after, before, now)
    undone = apply(now, found.splices)
    assert theirs(undone) == theirs(now)
    if not found.lost and not any(what == "delete" for _, what in strokes):
        assert Counter(before) <= Counter(undone)  # nothing of what stood there before the call is missing


@settings(deadline=None)
@given(TEXTS, st.text(alphabet="ab\n", max_size=30), st.text(alphabet="ab\n", max_size=30))
def test_texts_of_few_letters_and_many_repetitions_lose_nothing_that_the_diff_calls_theirs(
    before: str, after: str, now: str
) -> None:
    own = closely(after, now)
    assert apply(after, own) == now
    splices = unravel(after, before, now).splices
    gone = {at for splice in splices for at in range(splice.start, splice.stop)}
    shift = 0
    for splice in own:
        start = splice.start + shift
        assert gone.isdisjoint(range(start, start + len(splice.insert)))
        shift += splice.growth


def is_within(part: str, text: str) -> bool:
    """Whether the characters of ``part`` stand in ``text``, in order."""
    rest = iter(text)
    return all(character in rest for character in part)


REFS = st.sampled_from([*IDS, "first", "last"])


def edits() -> st.SearchStrategy[dict[str, Any]]:
    one = st.fixed_dictionaries
    return st.one_of(
        one({"op": st.just("insert"), "source": TEXTS, "after": REFS}),
        one({"op": st.just("replace"), "cell": REFS, "old": st.sampled_from(["x", "print", "é"]), "new": TEXTS}),
        one({"op": st.just("write"), "cell": REFS, "source": TEXTS}),
        one({"op": st.just("move"), "cell": REFS, "before": REFS}),
        one({"op": st.just("retype"), "cell": REFS, "type": st.sampled_from(["code", "markdown", "raw"])}),
        one({"op": st.just("split"), "cell": REFS, "line": st.integers(1, 5)}),
        one({"op": st.just("merge"), "cell": REFS}),
        one({"op": st.just("delete"), "cell": REFS}),
        one({"op": st.just("clear"), "cells": REFS}),
    )


CALLS = st.lists(st.lists(edits(), min_size=1, max_size=4), min_size=1, max_size=6)


class Agent:
    """An agent at a replica, without a room."""

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self.seen = Seen()
        self.log = UndoLog(100)
        self.updates: list[bytes] = []

    def look(self) -> None:
        """Be shown everything."""
        for cell in self.replica.view.cells:
            self.seen.show(cell)

    def edit(self, edits: list[dict[str, Any]]) -> None:
        """A call; ``CollabAgentError`` where it is refused."""
        plan = Planner(self.replica, self.seen).plan(edits)
        record = record_of(self.replica, plan, self.log.number, self.seen.shown_text)
        self._do(plan)
        self.log.note(record)

    def turn(self, op: str, steps: int = 1) -> Plan:
        """Undo or redo; ``CollabAgentError`` where it is refused."""
        plan = Undoing(self.replica, self.seen).plan(parse([{"op": op, "steps": steps, "force": True}])[0], self.log)
        self._do(plan)
        assert plan.turn is not None
        self.log.turned(plan.turn)
        return plan

    def can(self, op: str) -> int:
        """How many calls can be undone (redone)."""
        for steps in range(1, 100):
            try:
                self.log.last(op, steps, "", str)
            except InvalidEdit:
                return steps - 1
        return 100

    def _do(self, plan: Plan) -> None:
        for batch in batches(plan.steps):
            written = self.replica.write(batch)
            self.updates += [] if written.update is None else [written.update]
        for cell, text in plan.wanted.items():
            if text is None:
                self.seen.forget(cell)
            else:
                self.seen.texts[cell] = text

    @property
    def cells(self) -> list[dict[str, Any] | None]:
        """The notebook in nbformat's terms."""
        return [self.replica.nbformat(cell.id) for cell in self.replica.view.cells]


def agent_with(sources: Sequence[str]) -> Agent:
    replica = Replica()
    replica.write([InsertCell(id_, n, "code", text) for n, (id_, text) in enumerate(zip(IDS, sources, strict=True))])
    output = {"output_type": "stream", "name": "stdout", "text": "漢\n"}
    for count, id_ in enumerate(IDS[:2], 1):
        replica.write([WriteOutputs(id_, (Append(output),)), EndRun(id_, count)])
    return Agent(replica)


SOURCES = st.lists(TEXTS, min_size=4, max_size=4)


@settings(deadline=None)
@given(SOURCES, CALLS)
def test_undoing_all_calls_and_redoing_them_is_the_identity_at_every_step(
    sources: list[str], calls: list[list[dict[str, Any]]]
) -> None:
    goose = agent_with(sources)
    states = [goose.cells]
    for call in calls:
        goose.look()
        try:
            goose.edit(call)
        except CollabAgentError:
            continue
        if goose.cells != states[-1]:
            states.append(goose.cells)
        assert goose.can("undo") == len(states) - 1
    for state in reversed(states[:-1]):
        goose.turn("undo")
        assert goose.cells == state
    assert goose.can("undo") == 0
    for state in states[1:]:
        goose.turn("redo")
        assert goose.cells == state
    if len(states) > 1:
        goose.turn("undo", len(states) - 1)
        assert goose.cells == states[0]
        goose.turn("redo", len(states) - 1)
        assert goose.cells == states[-1]


@st.composite
def sessions(draw: st.DrawFn) -> list[tuple[str, Any]]:
    """What an agent and a human do, in which order, and when they hear of each other."""
    doing = st.one_of(
        st.tuples(st.just("edit"), st.lists(edits(), min_size=1, max_size=3)),
        st.tuples(st.sampled_from(["undo", "redo"]), st.integers(1, 2)),
        st.tuples(st.just("type"), st.tuples(st.integers(0, 5), STROKES)),
        st.tuples(st.sampled_from(["meet", "look"]), st.none()),
    )
    return draw(st.lists(doing, min_size=3, max_size=14))


@settings(deadline=None)
@given(SOURCES, sessions())
def test_two_documents_that_merge_lose_no_keystroke_to_undoing(
    sources: list[str], session: list[tuple[str, Any]]
) -> None:
    """The human's page is a Doc of its own; cells that the agent rebuilds or deletes take with them what is in them."""
    goose = agent_with(sources)
    page: Doc[Any] = Doc()
    page.apply_update(goose.replica.update_since(b"\0"))
    cells = page.get("cells", type=Array)
    marks = MARKS[:]

    def meet() -> None:
        """Both hear of all that the other has done."""
        for update in goose.updates:
            page.apply_update(update)
        goose.updates.clear()
        goose.replica.apply(page.get_update(goose.replica.state_vector()))

    for what, given_ in session:
        match what:
            case "edit":
                meet()
                with suppress(CollabAgentError):
                    goose.edit(given_)
            case "undo" | "redo":
                held = {cell.id: theirs(cell.source) for cell in goose.replica.view.cells}
                fresh = {
                    str(cell["id"]): set(theirs(str(cell["source"]))) - set("".join(held.values())) for cell in cells
                }
                with suppress(CollabAgentError):
                    known = texts_of(goose.log.last(what, given_, "", str))
                    plan = goose.turn(what, given_)
                    # What is typed into a cell while it is rebuilt is lost: a fact of Yjs, not of undoing.
                    rebuilt = {each.cell for each in plan.steps if not isinstance(each, SpliceSource | RefillCell)}
                    left = {cell.id: theirs(cell.source) for cell in goose.replica.view.cells}
                    since = {cell: "".join(mark for mark in text if mark not in known) for cell, text in held.items()}
                    assert all(is_within(text, left[cell]) for cell, text in since.items() if cell in left)
                    meet()
                    now = {cell.id: theirs(cell.source) for cell in goose.replica.view.cells}
                    assert all(text <= set(now[cell]) for cell, text in fresh.items() if cell not in rebuilt)
            case "type":
                index, strokes = given_
                if index < len(cells):
                    write(cells[index], strokes, marks)
            case "meet":
                meet()
            case "look":
                goose.look()
    meet()
    assert [str(cell["source"]) for cell in cells] == [cell.source for cell in goose.replica.view.cells]
    ids = [str(cell["id"]) for cell in cells]
    assert len(ids) == len(set(ids))


def texts_of(calls: Sequence[CallRecord]) -> str:
    """All that stood in the cells of these calls, before them and after them."""
    states = [state for call in calls for change in call.cells.values() for state in (change.before, change.after)]
    return "".join(state.source for state in states if state is not None)


def write(cell: Map[Any], strokes: Sequence[tuple[float, str]], marks: list[str]) -> None:
    """A human's keystrokes on their own page."""
    text: Text = cell["source"]
    for stroke in strokes:
        now = str(text)
        for splice in reversed(closely(now, typed(now, [stroke], marks))):
            replace(text, now, splice)


def replace(text: Text, now: str, splice: Splice) -> None:
    start, stop = (len(now[:at].encode()) for at in (splice.start, splice.stop))
    if stop > start:
        del text[start:stop]
    if splice.insert:
        text.insert(start, splice.insert)
