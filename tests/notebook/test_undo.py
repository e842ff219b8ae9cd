"""Undoing the agent's own calls over what others have done since.  The replica is a real one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from collab_agent.errors import CellInUse, CellNotFound, CollabAgentError, EditConflict, InvalidEdit
from collab_agent.notebook.batches import batches
from collab_agent.notebook.draft import Plan
from collab_agent.notebook.edit_ops import parse
from collab_agent.notebook.edits import Planner
from collab_agent.notebook.model import CellType
from collab_agent.notebook.outputs import Append
from collab_agent.notebook.seen import Seen
from collab_agent.notebook.splice import apply, diff
from collab_agent.notebook.steps import (
    BeginRun,
    DeleteCell,
    EndRun,
    InsertCell,
    MarkCell,
    MoveCell,
    RestoreCell,
    RetypeCell,
    SpliceSource,
    Step,
    WriteOutputs,
)
from collab_agent.notebook.undo import UndoLog, record_of
from collab_agent.notebook.undoing import Undoing
from collab_agent.notebook.unravel import unravel
from collab_agent.room.replica import Replica

Cell = tuple[str, CellType, str]
STREAM = {"output_type": "stream", "name": "stdout", "text": "21\n"}
FIGURE = {"output_type": "display_data", "data": {"text/html": "<b>1</b>"}, "metadata": {}}


# one text


@pytest.mark.parametrize(
    ("before", "after", "now", "left"),
    [
        ("", "x = 1", "x = 12", "2"),
        ("a\nb", "a\nx = 1\nb", "a\nx = 12\nb", "a\n2\nb"),  # its line keeps its end: "2b" would be b's ruin
        ("a\nb", "a\nx = 1\nb", "a\n2x = 1\nb", "a\n2\nb"),
        ("a\nb", "a\nx = 1\nb", "a\nx = 1\n2\nb", "a\n2\nb"),
        ("a", "a\nx = 1", "a\nx = 12", "a\n2"),
        ("", "compute", "c1omp2ute", "12"),
        ("a(0)\n", "a(100)\n", "a(1200)\n", "a(20)\n"),
        ("old = 0\n", "new = 0\n", "n😀ew = 0\n", "old😀 = 0\n"),
        ("keep\nsame\n", "keep\nagent\nsame\n", "keep\nhuman\nsame\n", "keep\nhuman\nsame\n"),  # rewritten: theirs
    ],
)
def test_what_was_typed_into_text_that_goes_stays(before: str, after: str, now: str, left: str) -> None:
    assert apply(now, unravel(after, before, now).splices) == left


@pytest.mark.parametrize(
    ("before", "after", "now", "left"),
    [
        ("x = 1  # why", "x = 1", "x = 1 + 1", "x = 1 + 1  # why"),
        ("old", "", "new", "old\nnew"),
        ("foo.bar()", "bar()", "baz_bar()", "foo.baz_bar()"),
        ("a\nb\nc", "a\nc", "a\nnew\nc", "a\nb\nnew\nc"),
        ("def f():\n    pass\n", "", "g()\n", "def f():\n    pass\ng()\n"),
        ("x = old\n", "x = new\n", "x = \n", "x = old\n"),  # the agent's word alone was taken out
        ("x = 1\ny = 2\n", "x = 1\n", "x = 9\n", "x = 9\ny = 2\n"),
    ],
)
def test_what_was_taken_out_comes_back_beside_what_was_typed(before: str, after: str, now: str, left: str) -> None:
    assert apply(now, unravel(after, before, now).splices) == left


@pytest.mark.parametrize(
    ("before", "after", "now", "left"),
    [
        ("x = 1\n", "x = 2\n", "", ""),  # the whole line went: a lone "1" would be nonsense
        ("x = 1\n", "x = 2\n", "y = 3\n", "y = 3\n"),
        ("one two three", "one three", "", ""),
        ("f(a, b)\n", "f(a)\n", "g\n", "g\n"),
    ],
)
def test_what_has_no_place_any_more_is_named_and_not_put_anywhere(before: str, after: str, now: str, left: str) -> None:
    found = unravel(after, before, now)
    assert apply(now, found.splices) == left
    assert found.lost == (before.removesuffix("\n"),)


@pytest.mark.parametrize(
    ("before", "after", "now"),
    [
        ("x = 1\n", "x = 2\n", "x = 1\n"),
        ("a\nb\nc\n", "a\nc\n", "new\na\nb\nc\n"),  # typed again by hand, and something else beside
        ("a\nc\n", "a\nb\nc\n", "a\nc\nd\n"),
    ],
)
def test_what_somebody_has_already_taken_back_by_hand_is_not_done_twice(before: str, after: str, now: str) -> None:
    assert apply(now, unravel(after, before, now).splices) == now


def test_a_line_below_what_goes_keeps_its_indentation() -> None:
    before = "def f():\n    return 1\n"
    after = 'def f(x):\n    """Doc."""\n    return x\n'
    now = 'def f(x):\n    """Doc of it."""\n    return x\n'
    assert apply(now, unravel(after, before, now).splices) == "def f():\n of it\n    return 1\n"


def test_similar_lines_do_not_garble_each_other() -> None:
    before = "total = compute(a)\ntotal = compute(b)\n"
    after = "total = compute(a)\ntotal = compute(c)\ntotal = compute(b)\n"
    now = "total = compute(a)\ntotal = compute(c, n=2)\ntotal = compute(b)  # mine\n"
    assert apply(now, unravel(after, before, now).splices) == "total = compute(a)\n, n=2\ntotal = compute(b)  # mine\n"


# calls


class Desk:
    """One agent at one notebook, without a room: calls are planned and written at once."""

    def __init__(self, *cells: Cell, calls: int = 100, most_bytes: int = 50_000_000) -> None:
        self.replica = Replica()
        self.replica.write([InsertCell(id_, n, type_, text) for n, (id_, type_, text) in enumerate(cells)])
        self.seen = Seen()
        self.show()
        self.log = UndoLog(calls, most_bytes)
        self.in_use: Callable[[str], str] = lambda _cell: ""

    def show(self) -> None:
        """Show the agent everything."""
        self.seen.show_order(self.replica.view)
        for cell in self.replica.view.cells:
            self.seen.show(cell)

    def human(self, cell: str, text: str) -> None:
        """Somebody else brings a cell to this text."""
        now = self.replica.cell(cell)
        assert now is not None
        self.write(SpliceSource(cell, diff(now.source, text)))

    def write(self, *steps: Step) -> None:
        """Somebody else does these steps."""
        for batch in batches(steps):
            self.replica.write(batch)

    def ran(self, cell: str, count: int, *outputs: dict[str, Any]) -> None:
        """Somebody runs a cell."""
        self.write(BeginRun(cell), WriteOutputs(cell, tuple(map(Append, outputs))), EndRun(cell, count))

    def edit(self, *edits: dict[str, Any]) -> Plan:
        plan = Planner(self.replica, self.seen, (), self.in_use).plan(list(edits))
        record = record_of(self.replica, plan, self.log.number, self.seen.shown_text)
        self._do(plan)
        self.log.note(record)
        return plan

    def undo(self, op: str = "undo", **options: Any) -> Plan:
        plan = Undoing(self.replica, self.seen, self.in_use).plan(parse([{"op": op, **options}])[0], self.log)
        assert plan.turn is not None
        self._do(plan)
        self.log.turned(plan.turn)
        return plan

    def redo(self, **options: Any) -> Plan:
        return self.undo("redo", **options)

    def _do(self, plan: Plan) -> None:
        self.write(*plan.steps)
        for cell, text in plan.wanted.items():
            if text is None:
                self.seen.forget(cell)
            else:
                self.seen.texts[cell] = text

    def refuses(self, error: type[CollabAgentError], op: str = "undo", **options: Any) -> str:
        """The undo is refused with this error, and nothing at all has changed."""
        before, version = self.cells, self.replica.version
        with pytest.raises(error) as caught:
            self.undo(op, **options)
        assert self.cells == before
        assert self.replica.version == version
        assert "Nothing was written" in str(caught.value)
        return str(caught.value)

    @property
    def cells(self) -> list[dict[str, Any] | None]:
        return [self.replica.nbformat(cell.id) for cell in self.replica.view.cells]

    @property
    def sources(self) -> list[str]:
        return [cell.source for cell in self.replica.view.cells]

    @property
    def ids(self) -> list[str]:
        return [cell.id for cell in self.replica.view.cells]


def desk(*sources: str, **options: Any) -> Desk:
    cells: list[Cell] = [(letter * 4, "code", text) for letter, text in zip("abcdefgh", sources, strict=False)]
    return Desk(*cells, **options)


CALLS: dict[str, list[dict[str, Any]]] = {
    "insert": [
        {"op": "insert", "source": "new", "after": "aaaa"},
        {"op": "insert", "source": "# top", "before": "first"},
    ],
    "replace": [{"op": "replace", "cell": "aaaa", "old": "a", "new": "漢😀", "all": True}],
    "write": [{"op": "write", "cell": "aaaa", "source": "another\ntext"}],
    "delete": [{"op": "delete", "cell": "aaaa"}, {"op": "delete", "cell": "bbbb"}, {"op": "delete", "cell": "dddd"}],
    "move": [{"op": "move", "cell": "aaaa", "after": "last"}, {"op": "move", "cell": "bbbb", "after": "last"}],
    "retype": [{"op": "retype", "cell": "bbbb", "type": "markdown"}],
    "split": [{"op": "split", "cell": "aaaa", "line": 2}],
    "merge": [{"op": "merge", "cell": "aaaa"}],
    "clear": [{"op": "clear", "cells": "all"}],
    "delete and move": [{"op": "delete", "cell": "bbbb"}, {"op": "move", "cell": "cccc", "before": "first"}],
    "clear and retype": [{"op": "clear", "cells": ["bbbb"]}, {"op": "retype", "cell": "bbbb", "type": "raw"}],
    "all of one cell": [
        {"op": "split", "cell": "aaaa", "line": 2},
        {"op": "replace", "cell": "aaaa", "old": "a", "new": "A"},
        {"op": "retype", "cell": "aaaa", "type": "markdown"},
        {"op": "move", "cell": "aaaa", "after": "cccc"},
    ],
    "insert and delete": [{"op": "insert", "source": "new"}, {"op": "delete", "cell": "cccc"}],
}


@pytest.mark.parametrize("name", CALLS)
def test_undo_brings_back_what_was_and_redo_what_had_been_made_of_it(name: str) -> None:
    at = desk("a = 1\nb = a\nc", "print(21)", "# three", "d = 4")
    at.ran("bbbb", 3, STREAM, FIGURE)
    before = at.cells
    at.edit(*CALLS[name])
    after = at.cells
    assert after != before
    for _ in range(2):
        at.undo()
        assert at.cells == before
        at.redo()
        assert at.cells == after


def test_many_calls_go_back_and_forth_in_one_step_each_or_all_at_once() -> None:
    at = desk("a = 1\nb = a\nc", "print(21)", "# three", "d = 4")
    at.ran("bbbb", 3, STREAM, FIGURE)
    states = [at.cells]
    for edit in (
        {"op": "clear", "cells": ["bbbb"]},
        {"op": "replace", "cell": "aaaa", "old": "a = 1", "new": "a = 2"},
        {"op": "move", "cell": "dddd", "before": "first"},
        {"op": "merge", "cell": "aaaa"},
        {"op": "retype", "cell": "cccc", "type": "markdown"},
        {"op": "delete", "cell": "aaaa"},
    ):
        at.edit(edit)
        states.append(at.cells)
    for state in reversed(states[:-1]):
        at.undo()
        assert at.cells == state
    at.redo(steps=6)
    assert at.cells == states[-1]
    at.undo(steps=4)
    assert at.cells == states[2]
    at.redo()
    assert at.cells == states[3]
    assert "only 3 can be redone" in at.refuses(InvalidEdit, "redo", steps=4)


def test_what_a_human_wrote_since_stays_and_is_told() -> None:
    at = desk("x = 0\nprint(x)\n")
    at.edit({"op": "write", "cell": "aaaa", "source": "x = 0\ny = 1\nprint(x)\n"})
    at.human("aaaa", "# mine 😀\nx = 0\ny = 12\nprint(x)\n")
    told = at.undo().told
    assert at.sources == ["# mine 😀\nx = 0\n2\nprint(x)\n"]
    assert told[0] == "undid call 1: rewrote aaaa"
    assert told[1:] == ("aaaa: kept what others have written into that text since: '2'",)
    assert at.seen.shown_text("aaaa") == "x = 0\nprint(x)\n"  # what the human wrote was not shown to the agent
    at.redo()
    assert at.sources == ["# mine 😀\nx = 0\ny = 12\nprint(x)\n"]


def test_a_cell_that_somebody_has_rewritten_is_left_to_them() -> None:
    at = desk("x = 0")
    at.edit({"op": "write", "cell": "aaaa", "source": "y = 1"})
    at.human("aaaa", "import this")
    told = at.undo().told
    assert at.sources == ["import this"]
    assert told[0] == "undid call 1: rewrote aaaa (nothing of it was left to change)"
    assert "not put back: 'x" in told[1]
    assert "nothing to redo" in at.refuses(InvalidEdit, "redo")


def test_a_new_edit_leaves_nothing_to_redo_and_one_that_changes_nothing_is_no_call() -> None:
    at = desk("x = 0")
    at.edit({"op": "write", "cell": "aaaa", "source": "x = 1"})
    at.undo()
    at.edit({"op": "write", "cell": "aaaa", "source": "x = 0"})
    at.edit({"op": "clear", "cells": ["aaaa"]})
    at.redo()
    at.undo()
    at.edit({"op": "write", "cell": "aaaa", "source": "x = 2"})
    at.refuses(InvalidEdit, "redo")


def test_too_many_steps_are_refused_with_what_there_is() -> None:
    at = desk("x = 0", "y")
    assert "nothing to undo" in at.refuses(InvalidEdit)
    at.edit({"op": "write", "cell": "aaaa", "source": "x = 1"}, {"op": "delete", "cell": "bbbb"})
    at.edit({"op": "insert", "source": "z"})
    error = at.refuses(InvalidEdit, steps=3)
    assert "only 2 can be undone: call 2 (inserted " in error
    assert "; call 1 (rewrote aaaa, deleted bbbb)." in error


def test_only_so_many_calls_are_kept_and_only_so_many_bytes() -> None:
    at = desk("x = 0", "big", calls=2)
    for number in range(1, 5):
        at.edit({"op": "write", "cell": "aaaa", "source": f"x = {number}"})
    assert "Older ones are no longer kept" in at.refuses(InvalidEdit, steps=3)
    at.undo(steps=2)
    assert at.sources[0] == "x = 2"

    at = desk("x = 0", "big", most_bytes=10_000)
    at.ran("bbbb", 1, {**STREAM, "text": "x" * 20_000})
    at.edit({"op": "write", "cell": "aaaa", "source": "x = 1"})
    at.edit({"op": "delete", "cell": "bbbb"})
    assert "no longer kept" in at.refuses(InvalidEdit)
    at.edit({"op": "write", "cell": "aaaa", "source": "x = 2"})
    at.undo()
    assert at.sources == ["x = 1"]


def test_steps_are_undone_all_or_none() -> None:
    at = desk("a", "b")
    at.edit({"op": "write", "cell": "aaaa", "source": "A"})
    at.edit({"op": "write", "cell": "bbbb", "source": "B"})
    at.write(DeleteCell("aaaa"))
    at.refuses(CellNotFound, steps=2)
    at.undo()
    assert at.sources == ["b"]


def test_marks_on_cells_are_neither_undone_nor_in_the_way() -> None:
    at = desk("a", "b")
    at.edit({"op": "write", "cell": "aaaa", "source": "A"}, {"op": "delete", "cell": "bbbb"})
    at.write(MarkCell("aaaa", {"by": "Goose", "at": "2026-11-22T18:00:00Z", "call": "c1"}))
    at.undo()
    assert at.sources == ["a", "b"]
    at.write(MarkCell("bbbb", {"by": "Goose", "at": "2026-11-22T18:00:01Z", "call": "c2"}))
    at.redo()
    at.undo()
    assert [cell["metadata"].get("collab_agent", {}).get("call") for cell in at.cells if cell] == ["c1", "c2"]


# insertions


def test_an_insertion_that_a_human_has_edited_is_undone_only_when_forced() -> None:
    at = desk("x")
    new = at.edit({"op": "insert", "source": "y = 1"}).done[0].cell
    at.human(new, "y = 1  # good!")
    error = at.refuses(EditConflict)
    assert "+1│y = 1  # good!" in error
    assert "force=true" in error
    at.undo(force=True)
    assert at.sources == ["x"]
    at.redo()
    assert at.sources == ["x", "y = 1  # good!"]
    assert at.ids[1] == new


def test_an_insertion_that_a_human_works_in_is_undone_only_when_forced() -> None:
    at = desk("x")
    at.edit({"op": "insert", "source": "y = 1"})
    at.in_use = lambda cell: "Ada's caret is in it" if cell != "aaaa" else ""
    assert "Ada's caret is in it" in at.refuses(CellInUse)
    at.undo(force=True)
    assert at.sources == ["x"]


def test_an_insertion_that_is_gone_needs_no_undoing() -> None:
    at = desk("x")
    new = at.edit({"op": "insert", "source": "y"}, {"op": "write", "cell": "aaaa", "source": "z"}).done[0].cell
    at.write(DeleteCell(new))
    told = at.undo().told
    assert at.sources == ["x"]
    assert told[-1].endswith("is gone already")


def test_undoing_a_split_takes_the_new_cell_away_and_asks_where_a_human_wrote_in_it() -> None:
    at = desk("one\ntwo\nthree")
    new = at.edit({"op": "split", "cell": "aaaa", "line": 2}).done[0].made
    assert new is not None
    at.human("aaaa", "ONE")
    at.undo()
    assert at.sources == ["ONE\ntwo\nthree"]
    at.redo()
    at.human(new, "two\nthree\nfour")
    at.refuses(EditConflict)


def test_a_split_that_somebody_has_joined_again_and_changed_is_not_undone_into_a_double() -> None:
    at = desk("one\ntwo\nthree")
    new = at.edit({"op": "split", "cell": "aaaa", "line": 2}).done[0].made
    assert new is not None
    at.write(DeleteCell(new))
    at.human("aaaa", "one\ntwo!\nthree")
    told = at.undo().told
    assert at.sources == ["one\ntwo!\nthree"]
    assert any("is no longer there; that text is not put back here" in line for line in told)


def test_lines_that_others_have_brought_back_beside_what_they_changed_do_not_come_back_once_more() -> None:
    before = "    total += i\nprint(yé)\n" + "a long line that somebody goes on writing"
    after = before.replace("print(yé)", "# é 😀")
    now = before.replace("total", "total2") + ", and writing"  # as where a server has gone back to its file
    assert apply(now, unravel(after, before, now).splices) == now


def test_a_merge_that_somebody_has_split_again_is_not_undone_into_a_double() -> None:
    at = desk("one", "two\nthree")
    at.edit({"op": "merge", "cell": "aaaa"})
    at.human("aaaa", "one!")
    at.write(InsertCell("newcomer", 1, "code", "two\nthree"))
    told = at.undo().told
    assert at.sources == ["one!", "two\nthree"]
    assert any("not put back" in line for line in told)


def test_a_merge_into_which_somebody_has_typed_is_undone_with_all_that_was_typed() -> None:
    at = desk("one", "two\nthree")
    at.edit({"op": "merge", "cell": "aaaa"})
    at.human("aaaa", "one\ntwo!\nthree")
    at.undo()
    assert at.sources == ["one\n!", "two\nthree"]


def test_what_a_call_took_out_comes_back_though_a_cell_that_it_made_is_gone() -> None:
    at = desk("x\ny = 2")
    new = at.edit({"op": "write", "cell": "aaaa", "source": "x"}, {"op": "insert", "source": "y"}).done[1].cell
    at.write(DeleteCell(new))
    at.human("aaaa", "x!")
    at.undo()
    assert at.sources == ["x!\ny = 2"]


# deletions


def test_a_deleted_cell_comes_back_whole_behind_its_nearest_old_neighbour() -> None:
    at = desk("a", "b", "c", "d")
    value = {"cell_type": "code", "source": "é", "metadata": {"trusted": True, "tags": ["x"]}}
    at.write(RestoreCell("rich", 3, {**value, "outputs": [FIGURE], "execution_count": 7.0}))
    at.show()
    before = at.replica.nbformat("rich")
    at.edit({"op": "delete", "cell": "rich"})
    at.write(DeleteCell("cccc"), InsertCell("newcomer", 0, "code", "top"))
    at.undo()
    assert at.ids == ["newcomer", "aaaa", "bbbb", "rich", "dddd"]
    assert at.replica.nbformat("rich") == before
    assert at.seen.shown_text("rich") == "é"


def test_redoing_a_deletion_asks_where_others_have_changed_the_cell_since() -> None:
    at = desk("a", "b")
    at.edit({"op": "delete", "cell": "bbbb"})
    at.undo()
    at.human("bbbb", "b = 1")
    error = at.refuses(EditConflict, "redo")
    assert "edits[0] (redo) of call 1 (deleted bbbb) would delete bbbb, with what others have changed" in error
    at.redo(force=True)
    assert at.sources == ["a"]
    at.undo()
    assert at.sources == ["a", "b = 1"]


def test_a_deleted_cell_that_somebody_has_brought_back_is_not_doubled() -> None:
    at = desk("a", "b")
    at.edit({"op": "delete", "cell": "bbbb"})
    at.write(RestoreCell("bbbb", 0, {"cell_type": "code", "source": "b, changed", "metadata": {}}))
    told = at.undo().told
    assert told[-1] == "bbbb is there again already"
    assert (at.ids, at.sources) == (["bbbb", "aaaa"], ["b, changed", "a"])


def test_a_change_of_a_cell_that_somebody_has_deleted_is_refused_until_it_is_back() -> None:
    at = desk("a", "b")
    at.edit({"op": "write", "cell": "aaaa", "source": "A"}, {"op": "write", "cell": "bbbb", "source": "B"})
    at.write(DeleteCell("aaaa"))
    assert "of call 1 (rewrote aaaa, rewrote bbbb) would change aaaa, which somebody has deleted" in at.refuses(
        CellNotFound
    )
    at.write(RestoreCell("aaaa", 1, {"cell_type": "code", "source": "A!", "metadata": {}}))
    at.undo()
    assert at.sources == ["b", "a!"]


def test_force_undoes_the_rest_of_a_call_one_of_whose_cells_is_gone() -> None:
    at = desk("a", "b")
    at.edit({"op": "write", "cell": "aaaa", "source": "A"}, {"op": "write", "cell": "bbbb", "source": "B"})
    at.write(DeleteCell("aaaa"))
    told = at.undo(force=True).told
    assert at.sources == ["b"]
    assert told[-1] == "aaaa is no longer there: left out"


def test_undo_through_deletions_of_both_kinds() -> None:
    at = desk("a", "b", "c")
    at.edit({"op": "write", "cell": "bbbb", "source": "B"})
    at.edit({"op": "delete", "cell": "bbbb"})
    at.undo()  # the agent's own deletion
    at.human("bbbb", "B, too")
    at.undo()
    assert at.sources == ["a", "b, too", "c"]
    at.redo(steps=1)
    assert at.sources == ["a", "B, too", "c"]


# moves, types, outputs


def test_a_move_is_undone_around_a_cell_in_use_or_refused() -> None:
    at = desk("a", "b", "c", "d")
    at.edit({"op": "move", "cell": "aaaa", "after": "cccc"})
    at.in_use = lambda cell: "Ada's caret is in it" if cell == "aaaa" else ""
    plan = at.undo()
    assert "".join(at.sources) == "abcd"
    assert {step.cell for step in plan.steps} == {"bbbb", "cccc"}
    at.redo()
    assert "".join(at.sources) == "bcad"
    at.in_use = lambda _cell: "Ada typed in it 2 s ago"
    assert "would move aaaa, and Ada typed in it 2 s ago" in at.refuses(CellInUse)
    at.undo(force=True)
    assert "".join(at.sources) == "abcd"


def test_a_moved_cell_goes_back_behind_the_neighbour_that_is_left() -> None:
    at = desk("a", "b", "c", "d")
    at.edit({"op": "move", "cell": "dddd", "before": "first"})
    at.write(DeleteCell("cccc"), MoveCell("bbbb", 0))
    assert "".join(at.sources) == "bda"
    at.undo()
    assert "".join(at.sources) == "bda"  # behind b, where it stands already


def test_retyping_takes_attachments_and_undoing_it_brings_them_back() -> None:
    at = desk("a")
    picture = {"it.png": {"image/png": "aGk="}}
    value = {"cell_type": "markdown", "source": "![it](attachment:it.png)", "metadata": {}, "attachments": picture}
    at.write(RestoreCell("note", 1, value))
    at.show()
    before = at.cells
    at.edit({"op": "retype", "cell": "note", "type": "code"})
    assert at.cells[1] is not None
    assert "attachments" not in at.cells[1]
    at.undo()
    assert at.cells == before
    at.redo()
    at.human("note", "text")
    at.undo()
    assert at.cells[1] == {**value, "id": "note", "source": "text"}


def test_a_cell_retyped_by_hand_since_is_left_so() -> None:
    at = desk("a")
    at.edit({"op": "retype", "cell": "aaaa", "type": "markdown"})
    at.write(RetypeCell("aaaa", "raw"))
    assert at.undo().told[-1] == "aaaa was made raw since: left so"


def test_a_retyping_under_somebodys_caret_is_undone_only_when_forced() -> None:
    at = desk("a")
    at.ran("aaaa", 3, STREAM)
    before = at.cells
    at.edit({"op": "retype", "cell": "aaaa", "type": "markdown"})
    at.in_use = lambda _cell: "Ada's caret is in it"
    assert "would rebuild aaaa" in at.refuses(CellInUse)
    at.undo(force=True)
    assert at.cells == before


def test_cleared_outputs_come_back_unless_the_cell_has_been_run_since() -> None:
    at = desk("a", "b", "c")
    for number, cell in enumerate(("aaaa", "bbbb", "cccc"), 1):
        at.ran(cell, number, STREAM)
    at.edit({"op": "clear", "cells": "all"})
    at.ran("aaaa", 9, FIGURE)
    at.write(BeginRun("bbbb"))
    told = at.undo().told
    assert at.cells[0] is not None
    assert at.cells[2] is not None
    assert (at.cells[0]["execution_count"], at.cells[0]["outputs"]) == (9, [FIGURE])
    assert (at.cells[2]["execution_count"], at.cells[2]["outputs"]) == (3, [STREAM])
    assert told[1:] == ("aaaa has been run since: its outputs stay", "bbbb has been run since: its outputs stay")


def test_that_runs_are_not_undone_is_said_where_a_cell_has_run() -> None:
    at = desk("x = 1", "y")
    at.edit({"op": "write", "cell": "aaaa", "source": "x = 2"})
    at.ran("aaaa", 1)
    assert at.undo().told[-1] == "runs are not undone: outputs, and the kernel's variables, stay as they are"
    at.edit({"op": "write", "cell": "bbbb", "source": "z"})
    assert len(at.undo().told) == 1


# edits as a model writes them


@pytest.mark.parametrize(
    ("edits", "told"),
    [
        ([{"op": "undo"}, {"op": "insert", "source": "x"}], "only edit of its call"),
        ([{"op": "redo", "steps": 0}], "number from 1"),
        ([{"op": "redo", "steps": True}], "number from 1"),
        ([{"op": "undo", "steps": "all"}], "number from 1"),
        ([{"op": "undo", "cell": "aaaa"}], "does not take cell"),
    ],
)
def test_what_makes_no_sense_is_refused(edits: list[dict[str, Any]], told: str) -> None:
    with pytest.raises(InvalidEdit, match=told):
        parse(edits)
