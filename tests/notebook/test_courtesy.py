"""Keystrokes keep their lines whatever is done around them, and only what changes such a line has to wait."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collab_agent.notebook.courtesy import Keystrokes, Typing
from collab_agent.notebook.model import CellView
from collab_agent.notebook.splice import Splice, Splices, apply, diff
from collab_agent.notebook.steps import ClearCell, DeleteCell, InsertCell, MoveCell, SpliceSource, Step

QUIET_S = 3.0
TEXT = "import math\ntotal = 0\n\nfor x in data:\n    total += x\nprint(total)"
"""Six lines; the third is empty."""


class Cell:
    """One cell in which a human types and an agent would like to write."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.people = {1: "Ada", 2: "Bob"}
        self.keystrokes = Keystrokes(QUIET_S, lambda who: " and ".join(filter(None, map(self.people.get, who))))

    def types(self, at: int, text: str, *, taken: int = 0, who: int = 1, now: float = 0.0) -> None:
        """Somebody types at this character, in place of ``taken`` characters."""
        after = apply(self.text, [Splice(at, at + taken, text)])
        self.keystrokes.note("c", (who,), self.text, after, now)
        self.text = after

    def becomes(self, text: str) -> None:
        """The text changes by other hands, of which the keystrokes are not told."""
        self.text = text

    def writes(self, splices: Splices, now: float = 0.0) -> None:
        """The agent writes."""
        self.keystrokes.wrote([SpliceSource("c", splices)], self.live, now)
        self.text = apply(self.text, splices)

    def live(self, cell_id: str) -> CellView | None:
        return CellView("c", "code", self.text) if cell_id == "c" else None

    def busy(self, steps: Sequence[Step], now: float = 0.0) -> Typing | None:
        return self.keystrokes.busy(steps, self.live, now)

    def busy_for(self, wanted: str, now: float = 0.0) -> Typing | None:
        """Who is in the way of this text."""
        return self.busy([SpliceSource("c", diff(self.text, wanted))], now)

    def busy_lines(self) -> list[int]:
        """The lines, from 0, that may not be changed."""
        starts = [0, *(at + 1 for at, character in enumerate(self.text) if character == "\n")]
        changes = ((line, SpliceSource("c", (Splice(at, at, "!"),))) for line, at in enumerate(starts))
        return [line for line, step in changes if self.busy([step]) is not None]


def typed_at_total() -> Cell:
    """Ada has typed ``1`` at the end of the second line."""
    cell = Cell(TEXT)
    cell.types(TEXT.index("\n\n"), "1")
    return cell


def test_the_line_is_told_with_who_types_and_until_when() -> None:
    cell = typed_at_total()
    assert cell.busy_for(cell.text.replace("total = 01", "total = 7"), now=2.9) == Typing(
        "Ada", "c", 2, "total = 01", QUIET_S
    )
    assert cell.busy_for(cell.text.replace("total = 01", "total = 7"), now=3.0) is None


@pytest.mark.parametrize(
    ("wanted", "waits"),
    [
        # its own line: changed, deleted, split, joined with the line above or below
        ("import math\nsum = 01\n\nfor x in data:\n    total += x\nprint(total)", True),
        ("import math\n\nfor x in data:\n    total += x\nprint(total)", True),
        ("import math\ntotal =\n01\n\nfor x in data:\n    total += x\nprint(total)", True),
        ("import math\n\ntotal = 01\n\nfor x in data:\n    total += x\nprint(total)", False),
        ("import math; total = 01\n\nfor x in data:\n    total += x\nprint(total)", True),
        ("import math\ntotal = 01for x in data:\n    total += x\nprint(total)", True),
        ("", True),
        # other lines: inserted above and below, changed, deleted, several at once
        ("import math\nimport os\ntotal = 01\n\nfor x in data:\n    total += x\nprint(total)", False),
        ("import math\ntotal = 0\ntotal = 01\n\nfor x in data:\n    total += x\nprint(total)", False),
        ("import math\ntotal = 01\nmore = 2\n\nfor x in data:\n    total += x\nprint(total)", False),
        ("import cmath\ntotal = 01\n\nfor y in data:\n    total += y\nprint(total)\n", False),
        ("total = 01\n\nfor x in data:\n    total += x\nprint(total)", False),
        ("import math\ntotal = 01", False),
        ("# new\nimport math\ntotal = 01\nprint(total)\nend()", False),
        (TEXT.replace("total = 0", "total = 01").replace("print", "show").replace("math", "os"), False),
        (TEXT.replace("total", "sum").replace("= 0", "= 01"), True),
    ],
)
def test_only_what_changes_the_typed_line_waits(wanted: str, waits: bool) -> None:
    assert (typed_at_total().busy_for(wanted) is not None) == waits


@pytest.mark.parametrize(
    ("above", "lines"),
    [("import os\n", [2]), ("import os\n\n\n", [4]), ("x", [1])],
)
def test_text_that_comes_above_takes_the_line_along(above: str, lines: list[int]) -> None:
    told, untold = typed_at_total(), typed_at_total()
    told.writes((Splice(0, 0, above),))
    untold.becomes(above + untold.text)
    assert told.busy_lines() == untold.busy_lines() == lines


def test_of_equal_lines_the_typed_one_is_still_known_after_an_own_insertion() -> None:
    cell = Cell("x = 1\n")
    cell.types(5, "0")
    cell.writes((Splice(0, 0, "x = 10\n"),))  # no diff can tell these two apart
    assert cell.busy_lines() == [1]


@pytest.mark.parametrize(
    ("at", "lines"),
    [
        (TEXT.index("\nprint"), [5]),  # behind a line: that line is done with
        (TEXT.index(" += x"), [4, 5]),  # within a line: both halves
        (len(TEXT), [6]),
        (0, [0]),  # before a line: an empty one above it
    ],
)
@pytest.mark.parametrize("enter", ["\n", "\n    "])
def test_enter_is_typed_on_the_new_line_and_on_a_line_that_it_parts(at: int, enter: str, lines: list[int]) -> None:
    cell = Cell(TEXT)
    cell.types(at, enter)
    assert cell.busy_lines() == (lines if at or enter == "\n" else [0, 1])  # before a line it indents that line, too
    below = cell.text.replace("\nprint", "\nx = 1\nprint")
    assert cell.busy_for(below) is None


def test_taking_text_away_is_typing_and_an_emptied_line_stays_its_typists() -> None:
    cell = Cell(TEXT)
    cell.types(TEXT.index("total"), "", taken=len("total = 0"))
    assert cell.busy_lines() == [1]
    assert cell.busy_for("import math\nx = 1\n\nfor x in data:\n    total += x\nprint(total)") is not None
    cell.writes((Splice(0, 0, "import os\n"),))
    assert cell.busy_lines() == [2]
    cell.writes((Splice(22, 22, "import sys\n"),))  # whole lines, right where nothing is left
    assert cell.busy_lines() == [3]


def test_each_keystroke_counts_for_its_own_line_and_time() -> None:
    cell = Cell(TEXT)
    cell.types(0, "#", now=0.0)
    cell.types(len(cell.text), ")", who=2, now=1.0)
    cell.types(1, " ", now=2.0)
    both = cell.text.replace("math", "os").replace("print", "show")
    assert cell.busy_for(both, now=2.5) == Typing("Ada", "c", 1, "# import math", 5.0)
    assert cell.busy_for(cell.text.replace("print", "show"), now=3.9) == Typing("Bob", "c", 6, "print(total))", 4.0)
    assert cell.busy_for(cell.text.replace("print", "show"), now=4.0) is None
    assert cell.busy_for(both, now=5.0) is None


def test_who_turns_out_not_to_have_typed_is_in_nobodys_way() -> None:
    cell = Cell(TEXT)
    cell.types(TEXT.index("\n\n"), "1", who=2)
    assert cell.busy_lines() == [1]
    cell.people[2] = ""  # the server, which has read the file
    assert cell.busy_lines() == []


def test_a_long_line_that_is_typed_without_pause_is_one_stretch_of_text() -> None:
    cell = Cell(TEXT)
    for number in range(50):
        cell.types(number, "#", now=number / 10)
    assert cell.busy_lines() == [0]
    assert cell.busy_for(cell.text.replace("math", "os"), now=7.0) is not None


def test_what_stands_in_the_place_of_typed_text_is_treated_like_it() -> None:
    cell = typed_at_total()
    cell.becomes(cell.text.replace("total = 01", "count = [\n    1,\n]"))
    assert set(cell.busy_lines()) & {1, 2, 3}
    assert set(cell.busy_lines()) <= {1, 2, 3}


def test_what_rebuilds_runs_and_clears_cells_has_rules_of_its_own() -> None:
    cell = typed_at_total()
    steps = [
        ClearCell("c"),
        MoveCell("c", 3),
        InsertCell("d", 0, "code", "x"),
        SpliceSource("c", (Splice(0, len(cell.text), ""),), rebuild=True),
        DeleteCell("c"),
    ]
    assert cell.busy(steps) is None
    assert cell.busy([SpliceSource("elsewhere", (Splice(0, 0, "x"),))]) is None


def test_later_steps_of_a_call_are_held_against_the_text_that_the_earlier_ones_leave() -> None:
    cell = typed_at_total()
    up = SpliceSource("c", (Splice(0, 12, ""),))  # the first line goes: Ada's is the first now
    assert cell.busy([up, SpliceSource("c", (Splice(12, 12, "!"),))]) is None
    assert cell.busy([up, SpliceSource("c", (Splice(3, 3, "!"),))]) == Typing("Ada", "c", 1, "total = 01", QUIET_S)


MARKS = "αβγδεζηθικλμνξοπ"


@given(data=st.data())
def test_the_busy_lines_are_those_that_hold_what_was_typed(data: st.DataObject) -> None:
    cell = Cell(data.draw(st.text("ab \n", max_size=40)))
    for mark in data.draw(st.permutations(MARKS))[:6]:
        cell.types(data.draw(st.integers(0, len(cell.text))), mark)
        for _ in range(data.draw(st.integers(0, 2))):
            cell.writes((data.draw(splices_beside_marks(cell.text)),))
    holding = [line for line, text in enumerate(cell.text.split("\n")) if set(text) & set(MARKS)]
    assert cell.busy_lines() == holding


@st.composite
def splices_beside_marks(draw: st.DrawFn, text: str) -> Splice:
    """What an agent does: whole lines above or below others, words in a line, and text taken away."""
    kind = draw(st.sampled_from(["above", "below", "within", "gone"]))
    if kind == "above":
        at = draw(st.sampled_from([0, *(at + 1 for at, c in enumerate(text) if c == "\n")]))
        return Splice(at, at, draw(st.text("ab\n", max_size=5)) + "\n")
    if kind == "below":
        at = draw(st.sampled_from([*(at for at, c in enumerate(text) if c == "\n"), len(text)]))
        return Splice(at, at, "\n" + draw(st.text("ab\n", max_size=5)))
    start = draw(st.integers(0, len(text)))
    if kind == "within":
        return Splice(start, start, draw(st.text("ab", min_size=1, max_size=3)))
    stop = start
    while stop < len(text) and text[stop] not in MARKS and stop < start + 6:
        stop += 1
    return Splice(start, stop, "" if stop > start else "a")


@given(data=st.data())
def test_what_does_not_wait_leaves_the_typed_line_as_it_is(data: st.DataObject) -> None:
    cell = Cell(data.draw(st.text("ab\n", max_size=12)))
    cell.types(data.draw(st.integers(0, len(cell.text))), "漢")
    start = data.draw(st.integers(0, len(cell.text)))
    splice = Splice(start, data.draw(st.integers(start, len(cell.text))), data.draw(st.text("ab\n", max_size=5)))
    if cell.busy([SpliceSource("c", (splice,))]) is None:
        (line,) = (line for line in cell.text.split("\n") if "漢" in line)
        assert line in apply(cell.text, [splice]).split("\n")
