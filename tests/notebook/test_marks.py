"""A mark for each cell whose text or type a call changes, behind the last change of it; none for all others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from collab_agent.notebook.marks import mark_of, marked
from collab_agent.notebook.splice import Splice
from collab_agent.notebook.steps import (
    BeginRun,
    ClearCell,
    DeleteCell,
    EndRun,
    InsertCell,
    MarkCell,
    MoveCell,
    RetypeCell,
    SpliceSource,
    Step,
)

MARK = mark_of("Goose", "1f2e3d4c", datetime(2026, 11, 22, 9, 5, 7, 999, tzinfo=UTC))


def test_a_mark_says_who_when_and_in_which_call() -> None:
    assert MARK == {"by": "Goose", "at": "2026-11-22T09:05:07Z", "call": "1f2e3d4c"}
    east = datetime(2026, 11, 22, 23, 30, tzinfo=timezone(timedelta(hours=5.5)))
    assert mark_of("Goose", "x", east)["at"] == "2026-11-22T18:00:00Z"


def test_what_is_changed_is_marked_once_and_what_is_moved_run_or_cleared_is_not() -> None:
    change, again = SpliceSource("a", (Splice(0, 0, "x"),)), SpliceSource("a", (Splice(1, 1, "y"),))
    steps: list[Step] = [
        change,
        InsertCell("new", 1, "code", "1"),
        again,
        MoveCell("b", 0),
        ClearCell("c"),
        BeginRun("d"),
        EndRun("d", 1),
        RetypeCell("e", "raw"),
    ]
    found = marked(steps, MARK)
    marks = [MarkCell(cell, MARK) for cell in ("new", "a", "e")]
    assert [step for step in found if isinstance(step, MarkCell)] == marks
    assert [step for step in found if not isinstance(step, MarkCell)] == steps
    assert [found[found.index(mark) - 1] for mark in marks] == [steps[1], again, steps[7]]


def test_what_goes_again_is_not_marked() -> None:
    steps: list[Step] = [InsertCell("new", 0, "code", "1"), SpliceSource("a", (Splice(0, 0, "x"),)), DeleteCell("new")]
    assert marked([*steps, DeleteCell("a")], MARK) == (*steps, DeleteCell("a"))
