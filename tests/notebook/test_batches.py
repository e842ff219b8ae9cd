"""A transaction changes the list of cells at one place at most, and the steps come to the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collab_agent.notebook.batches import DoubleCell, DropDoubled, Part, batches
from collab_agent.notebook.splice import Splice
from collab_agent.notebook.steps import DeleteCell, InsertCell, MoveCell, RetypeCell, SpliceSource, Step

EDIT = SpliceSource("a", (Splice(0, 0, "x"),))


def insert(cell: str, index: int) -> InsertCell:
    return InsertCell(cell, index, "code", "")


CASES: dict[str, tuple[list[Step], list[list[Part]]]] = {
    "nothing": ([], []),
    "texts only": ([EDIT, EDIT], [[EDIT, EDIT]]),
    "one cell and texts": ([EDIT, insert("n", 3), EDIT], [[EDIT, insert("n", 3), EDIT]]),
    "side by side": ([insert("n", 3), EDIT, insert("m", 4)], [[insert("n", 3), EDIT, insert("m", 4)]]),
    "two places": ([insert("n", 3), insert("m", 9)], [[insert("n", 3)], [insert("m", 9)]]),
    "in front": ([insert("n", 3), insert("m", 3)], [[insert("n", 3)], [insert("m", 3)]]),
    "deletions": ([DeleteCell("a"), DeleteCell("b"), EDIT], [[DeleteCell("a")], [DeleteCell("b"), EDIT]]),
    "behind a deletion": (
        [insert("n", 3), DeleteCell("b"), insert("m", 4)],
        [[insert("n", 3)], [DeleteCell("b")], [insert("m", 4)]],
    ),
    "a move": ([EDIT, MoveCell("a", 2), EDIT], [[EDIT, DoubleCell("a", 2)], [DropDoubled("a"), EDIT]]),
    "a retyping": ([RetypeCell("a", "raw")], [[DoubleCell("a", type="raw")], [DropDoubled("a")]]),
}


@pytest.mark.parametrize("name", CASES)
def test_steps_are_batched(name: str) -> None:
    steps, wanted = CASES[name]
    assert list(batches(steps)) == wanted


@given(st.lists(st.sampled_from([EDIT, DeleteCell("a"), MoveCell("b", 1), *(insert("n", n) for n in range(3))])))
def test_no_batch_changes_two_places(steps: list[Step]) -> None:
    found = list(batches(steps))
    assert all(found)
    assert [part for batch in found for part in batch if part in steps] == [s for s in steps if s != MoveCell("b", 1)]
    for batch in found:
        changes = [part for part in batch if not isinstance(part, SpliceSource)]
        places = [part.index for part in changes if isinstance(part, InsertCell)]
        assert len(changes) <= 1 or places == list(range(places[0], places[0] + len(changes)))
