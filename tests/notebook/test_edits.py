"""Planning edits: on the text that was shown, all or none.  The replica is a real one; what it writes is read back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from collab_agent.errors import (
    CellInUse,
    CellNotFound,
    CellNotSeen,
    CollabAgentError,
    EditConflict,
    InvalidEdit,
    TextNotFound,
)
from collab_agent.notebook.draft import Plan
from collab_agent.notebook.edits import Planner
from collab_agent.notebook.model import CellType
from collab_agent.notebook.seen import Seen
from collab_agent.notebook.splice import diff
from collab_agent.notebook.steps import BeginRun, InsertCell, SpliceSource
from collab_agent.room.replica import Replica

Cell = tuple[str, CellType, str]


class Desk:
    """One agent at one notebook, without a room: edits are planned and written at once."""

    def __init__(self, *cells: Cell, shown: bool = True) -> None:
        self.replica = Replica()
        self.replica.write([InsertCell(id_, n, type_, text) for n, (id_, type_, text) in enumerate(cells)])
        self.seen = Seen()
        if shown:
            self.show()
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
        self.replica.write([SpliceSource(cell, diff(now.source, text))])

    def edit(self, *edits: dict[str, Any]) -> Plan:
        plan = Planner(self.replica, self.seen, (), self.in_use).plan(list(edits))
        self.replica.write(plan.steps)
        for cell, text in plan.wanted.items():
            if text is None:
                self.seen.forget(cell)
            else:
                self.seen.texts[cell] = text
        return plan

    def refuses(self, error: type[CollabAgentError], *edits: dict[str, Any]) -> str:
        """The edits are refused with this error, and nothing at all has changed."""
        before, version = self.cells, self.replica.version
        with pytest.raises(error) as caught:
            self.edit(*edits)
        assert self.cells == before
        assert self.replica.version == version
        assert "Nothing was written" in str(caught.value)
        return str(caught.value)

    @property
    def cells(self) -> list[Cell]:
        return [(cell.id, cell.type, cell.source) for cell in self.replica.view.cells]

    @property
    def sources(self) -> list[str]:
        return [cell.source for cell in self.replica.view.cells]

    @property
    def ids(self) -> list[str]:
        return [cell.id for cell in self.replica.view.cells]


def code(*sources: str) -> list[Cell]:
    return [(f"cell{letter}", "code", source) for letter, source in zip("abcdefgh", sources, strict=False)]


def desk(*sources: str, shown: bool = True) -> Desk:
    return Desk(*code(*sources), shown=shown)


# replace


def test_replace_keeps_what_a_human_added_elsewhere() -> None:
    at = desk("x = 1\ny = 2\n")
    at.human("cella", "# 😀 header\nx = 1\ny = 2\nz = 3\n")
    at.edit({"op": "replace", "cell": "cella", "old": "y = 2", "new": "y = 20"})
    assert at.sources == ["# 😀 header\nx = 1\ny = 20\nz = 3\n"]


def test_replace_goes_by_the_text_that_was_shown_first() -> None:
    at = desk("x = 1\n\nend\n")
    at.human("cella", "x = 1\n\nend\nx = 1\n")  # a second one, which the agent has not seen
    at.edit({"op": "replace", "cell": "cella", "old": "x = 1", "new": "x = 5"})
    assert at.sources == ["x = 5\n\nend\nx = 1\n"]


def test_replace_goes_by_the_text_now_where_the_shown_one_has_no_such_place() -> None:
    at = desk("x = 1\n")
    at.human("cella", "x = 1\nnew = 2\n")
    at.edit({"op": "replace", "cell": "cella", "old": "new = 2", "new": "new = 3"})
    assert at.sources == ["x = 1\nnew = 3\n"]


def test_replace_in_a_cell_that_was_never_shown_does_not_show_it() -> None:
    at = desk("x = 1\nsecret = 2\n", shown=False)
    at.edit({"op": "replace", "cell": "cella", "old": "x = 1", "new": "x = 3"})
    at.refuses(CellNotSeen, {"op": "write", "cell": "cella", "source": ""})


def test_replace_wants_exactly_one_place() -> None:
    at = desk("a\na\n")
    assert "lines 1, 2" in at.refuses(TextNotFound, {"op": "replace", "cell": "cella", "old": "a", "new": "b"})
    at.edit({"op": "replace", "cell": "cella", "old": "a", "new": "b", "all": True})
    assert at.sources == ["b\nb\n"]


def test_replace_that_finds_nothing_lists_the_nearest_lines() -> None:
    at = desk("value = compute(1)\nother\n")
    text = at.refuses(TextNotFound, {"op": "replace", "cell": "cella", "old": "value = compute(2)", "new": ""})
    assert "1: value = compute(1)" in text


def test_replace_that_touches_a_change_is_refused_with_the_text_now_and_the_change() -> None:
    at = desk("x = 1\n")
    at.human("cella", "x = 12\n")
    text = at.refuses(EditConflict, {"op": "replace", "cell": "cella", "old": "x = 1", "new": "x = 9"})
    assert "x = 12" in text
    assert "+1│x = 12" in text


def test_a_conflict_shows_the_cell_so_that_the_next_edit_works() -> None:
    at = desk("x = 1\n")
    at.human("cella", "x = 12\n")
    at.refuses(EditConflict, {"op": "write", "cell": "cella", "source": "x = 9\n"})
    at.edit({"op": "write", "cell": "cella", "source": "x = 9\n"})
    assert at.sources == ["x = 9\n"]


def test_a_huge_conflict_does_not_count_as_shown() -> None:
    at = desk("x = 1\n" + "line\n" * 3_000)
    at.human("cella", "x = 12\n" + "line\n" * 3_000)
    at.refuses(EditConflict, {"op": "replace", "cell": "cella", "old": "x = 1", "new": "x = 9"})
    at.refuses(EditConflict, {"op": "replace", "cell": "cella", "old": "x = 1\n", "new": "x = 9\n"})


def test_several_replaces_in_one_cell_build_on_each_other() -> None:
    at = desk("a = 1\nb = 2\n")
    at.human("cella", "a = 1\nb = 2\n# human\n")
    at.edit(
        {"op": "replace", "cell": "cella", "old": "a = 1", "new": "a = 10"},
        {"op": "replace", "cell": "cella", "old": "a = 10\nb", "new": "a = 10\nbb"},
        {"op": "replace", "cell": "cella", "old": "bb = 2", "new": "bb = 3"},
    )
    assert at.sources == ["a = 10\nbb = 3\n# human\n"]


# write


def test_write_keeps_what_a_human_typed_since() -> None:
    at = desk("import x\n\ndef f():\n    return 1\n")
    at.human("cella", "import x\nimport human\n\ndef f():\n    return 1\n")
    at.edit({"op": "write", "cell": "cella", "source": "import x\n\ndef f():\n    return 2\n\nf()\n"})
    assert at.sources == ["import x\nimport human\n\ndef f():\n    return 2\n\nf()\n"]


def test_write_again_after_an_own_edit_still_keeps_the_humans_text() -> None:
    at = desk("a\nb\n")
    at.human("cella", "a\nhuman\nb\n")
    at.edit({"op": "write", "cell": "cella", "source": "a\nb\nc\n"})
    at.edit({"op": "write", "cell": "cella", "source": "a\nb\nc\nd\n"})
    assert at.sources == ["a\nhuman\nb\nc\nd\n"]


def test_write_needs_a_look_unless_the_cell_is_empty() -> None:
    at = desk("x = 1", "", shown=False)
    assert 'query="cells"' in at.refuses(CellNotSeen, {"op": "write", "cell": "cella", "source": "y"})
    at.edit({"op": "write", "cell": "cellb", "source": "y"})
    assert at.sources == ["x = 1", "y"]


# all or none


def test_one_bad_edit_stops_all_of_them() -> None:
    at = desk("x = 1", "y = 1")
    at.refuses(
        TextNotFound,
        {"op": "insert", "source": "new"},
        {"op": "replace", "cell": "cella", "old": "x", "new": "z"},
        {"op": "delete", "cell": "cellb"},
        {"op": "replace", "cell": "cella", "old": "nowhere", "new": "z"},
    )


def test_an_unknown_cell_is_named_with_the_edit() -> None:
    at = desk("x = 1")
    text = at.refuses(CellNotFound, {"op": "insert", "source": ""}, {"op": "delete", "cell": "zzzz"})
    assert text.startswith("edits[1] (delete):")


def test_editing_a_cell_that_an_earlier_edit_deletes_is_refused() -> None:
    at = desk("x = 1", "y")
    at.refuses(
        InvalidEdit,
        {"op": "delete", "cell": "cella"},
        {"op": "replace", "cell": "cella", "old": "x", "new": "y"},
    )
    at.refuses(InvalidEdit, {"op": "delete", "cell": "cella"}, {"op": "insert", "source": "", "after": "cella"})


# the order of cells


def test_numbers_mean_what_was_shown_though_a_human_inserts_above() -> None:
    at = desk("first", "second", "third")
    at.replica.write([InsertCell("newcomer", 0, "code", "human")])
    at.edit({"op": "replace", "cell": "#2", "old": "second", "new": "SECOND"})
    assert at.sources == ["human", "first", "SECOND", "third"]


def test_inserts_stand_where_they_are_told_and_in_their_order() -> None:
    at = desk("a", "b")
    at.edit(
        {"op": "insert", "source": "1", "after": "cella"},
        {"op": "insert", "source": "2", "after": "cella", "type": "markdown"},
        {"op": "insert", "source": "0", "before": "cella"},
        {"op": "insert", "source": "end"},
    )
    assert at.sources == ["0", "a", "1", "2", "b", "end"]
    assert [kind for _, kind, _ in at.cells] == ["code", "code", "code", "markdown", "code", "code"]


@pytest.mark.parametrize(
    ("edit", "order"),
    [
        ({"after": "celld"}, "bcda"),
        ({"before": "celld"}, "bcad"),
        ({"after": "cellb"}, "bacd"),
        ({"before": "cellb"}, "abcd"),
    ],
)
def test_move(edit: dict[str, str], order: str) -> None:
    at = desk("a", "b", "c", "d")
    at.edit({"op": "move", "cell": "cella", **edit})
    assert "".join(at.sources) == order
    assert sorted(at.ids) == ["cella", "cellb", "cellc", "celld"]


def test_a_cell_in_use_stays_and_the_others_go_round_it() -> None:
    at = desk("a", "b", "c", "d")
    at.in_use = lambda cell: "Ada's caret is in it" if cell == "cella" else ""
    plan = at.edit({"op": "move", "cell": "cella", "after": "cellc"})
    assert "".join(at.sources) == "bcad"
    assert not any(getattr(step, "cell", "") == "cella" for step in plan.steps)
    at.edit({"op": "move", "cell": "cella", "before": "first"})
    assert "".join(at.sources) == "abcd"


def test_a_move_among_cells_in_use_is_refused_unless_forced() -> None:
    at = desk("a", "b")
    at.in_use = lambda _cell: "Ada typed in it 2 s ago"
    move = {"op": "move", "cell": "cella", "after": "cellb"}
    assert "Ada typed in it 2 s ago" in at.refuses(CellInUse, move)
    at.edit({**move, "force": True})
    assert at.sources == ["b", "a"]


@pytest.mark.parametrize(
    "edit",
    [
        {"op": "delete", "cell": "cella"},
        {"op": "retype", "cell": "cella", "type": "markdown"},
        {"op": "split", "cell": "cella", "line": 2},
        {"op": "merge", "cell": "cella"},
    ],
)
def test_what_rebuilds_a_cell_in_use_is_refused_unless_forced(edit: dict[str, Any]) -> None:
    at = desk("1\n2\n", "b")
    at.in_use = lambda cell: "Ada's caret is in it" if cell == "cella" else ""
    assert "Ada's caret is in it" in at.refuses(CellInUse, edit)
    at.edit({**edit, "force": True})


def test_delete_needs_a_look_and_an_unchanged_cell() -> None:
    at = desk("x = 1", "", shown=False)
    at.refuses(CellNotSeen, {"op": "delete", "cell": "cella"})
    at.edit({"op": "delete", "cell": "cellb"})
    at.show()
    at.human("cella", "x = 2")
    assert "x = 2" in at.refuses(EditConflict, {"op": "delete", "cell": "cella"})
    at.edit({"op": "delete", "cell": "cella"})
    assert at.sources == []


def test_retype_keeps_id_and_text() -> None:
    at = desk("# Title")
    at.edit({"op": "retype", "cell": "cella", "type": "markdown"})
    assert at.cells == [("cella", "markdown", "# Title")]


def test_split_and_merge_are_each_others_inverse() -> None:
    at = desk("a = 1\nb = 2\nc = 3\n", "rest")
    plan = at.edit({"op": "split", "cell": "cella", "line": 2})
    assert at.sources == ["a = 1", "b = 2\nc = 3\n", "rest"]
    assert plan.done[0].made == at.ids[1]
    at.edit({"op": "merge", "cell": "cella"})
    assert at.sources == ["a = 1\nb = 2\nc = 3\n", "rest"]


def test_split_follows_the_line_that_was_shown() -> None:
    at = desk("a\nb\nc\n")
    at.human("cella", "human\na\nb\nc\n")
    at.edit({"op": "split", "cell": "cella", "line": 3})
    assert at.sources == ["human\na\nb", "c\n"]


def test_split_where_a_human_is_changing_the_line_is_refused() -> None:
    at = desk("a\nb\nc\n")
    at.human("cella", "a\nbb\nc\n")
    at.refuses(InvalidEdit, {"op": "split", "cell": "cella", "line": 9})
    at.human("cella", "a\nbb\nXc\n")
    at.refuses(EditConflict, {"op": "split", "cell": "cella", "line": 3})


def test_merge_has_nothing_below_the_last_cell() -> None:
    at = desk("a")
    at.refuses(InvalidEdit, {"op": "merge", "cell": "cella"})


def test_clear_leaves_text_cells_alone_and_refuses_a_running_one() -> None:
    at = Desk(("text", "markdown", "# T"), ("code1", "code", "1"))
    plan = at.edit({"op": "clear", "cells": ["all"]})
    assert [done.cell for done in plan.done] == ["code1"]
    at.replica.write([BeginRun("code1")])
    at.refuses(CellInUse, {"op": "clear", "cells": ["all"]})


def test_the_code_cells_that_edits_touch_are_named() -> None:
    at = Desk(("text", "markdown", "# T"), ("code1", "code", "1"), ("code2", "code", "2"))
    plan = at.edit(
        {"op": "write", "cell": "text", "source": "# U"},
        {"op": "write", "cell": "code2", "source": "22"},
        {"op": "insert", "source": "3"},
        {"op": "move", "cell": "code1", "before": "first"},
    )
    assert plan.code == ("code2", at.ids[-1])


# what makes no sense


@pytest.mark.parametrize(
    "edits",
    [
        [],
        "replace",
        [1],
        [{}],
        [{"op": "explode"}],
        [{"op": "insert"}],
        [{"op": "insert", "source": 1}],
        [{"op": "insert", "source": "x", "after": "cella", "before": "cella"}],
        [{"op": "insert", "source": "x", "type": "heading"}],
        [{"op": "insert", "source": "half \ud83d"}],
        [{"op": "insert", "source": "nul \0"}],
        [{"op": "replace", "cell": "cella", "old": "", "new": "x"}],
        [{"op": "write", "cell": "cella", "source": "x", "old": "y"}],
        [{"op": "move", "cell": "cella"}],
        [{"op": "move", "cell": "cella", "after": "cella"}],
        [{"op": "split", "cell": "cella", "line": "2"}],
        [{"op": "split", "cell": "cella", "line": True}],
        [{"op": "delete", "cell": "cella", "force": "yes"}],
        [{"op": "clear", "cells": 3}],
        [{"op": "undo"}],
    ],
)
def test_edits_that_make_no_sense_are_refused(edits: Sequence[Any]) -> None:
    at = desk("x = 1")
    before = at.cells
    with pytest.raises(InvalidEdit, match="Nothing was written"):
        Planner(at.replica, at.seen).plan(edits)
    assert at.cells == before


def test_line_ends_of_other_systems_become_ours() -> None:
    at = desk()
    at.edit({"op": "insert", "source": "a\r\nb\rc"})
    assert at.sources == ["a\nb\nc"]
