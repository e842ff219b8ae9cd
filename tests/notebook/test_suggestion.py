"""Suggestions as data: what is kept of the edits, and how they stand to a notebook that has moved on."""

from __future__ import annotations

from typing import Any

import pytest

from collab_agent.errors import CellInUse, CellNotFound, EditConflict, InvalidEdit
from collab_agent.notebook.preview import CellPreview
from collab_agent.notebook.seen import Seen
from collab_agent.notebook.splice import diff
from collab_agent.notebook.steps import DeleteCell, InsertCell, MoveCell, SpliceSource
from collab_agent.notebook.suggestion import Suggestion, ago, planned, standing, suggestion, to_json
from collab_agent.room.replica import Replica


class Page:
    """A notebook that an agent has read: cells ``cella``, ``cellb``, ..."""

    def __init__(self, *sources: str) -> None:
        self.replica = Replica()
        self.replica.write([InsertCell(f"cell{'abcd'[n]}", n, "code", text) for n, text in enumerate(sources)])
        self.seen = Seen()
        self.seen.show_order(self.replica.view)
        for cell in self.replica.view.cells:
            self.seen.show(cell)

    def human(self, cell: str, text: str) -> None:
        """A human brings a cell to this text."""
        now = self.replica.cell(cell)
        assert now is not None
        self.replica.write([SpliceSource(cell, diff(now.source, text))])

    def suggest(self, *edits: dict[str, Any]) -> Suggestion:
        return suggestion("T", list(edits), self.replica, self.seen, (), sid="abc123", by="Goose", at=0.0)

    def merge(self, found: Suggestion) -> list[str]:
        self.replica.write(planned(found, self.replica).steps)
        return self.sources

    @property
    def sources(self) -> list[str]:
        return [cell.source for cell in self.replica.view.cells]


def test_references_are_kept_as_cells_and_force_is_not_kept() -> None:
    page = Page("a", "b", "c")
    found = page.suggest(
        {"op": "move", "cell": "#3", "before": "first", "force": True}, {"op": "clear", "cells": "all"}
    )
    assert found.edits == (
        {"op": "move", "cell": "cellc", "before": "cella"},
        {"op": "clear", "cells": ["cella", "cellb", "cellc"]},
    )
    page.replica.write([InsertCell("new", 0, "code", "above"), MoveCell("cella", 3)])
    assert page.sources == ["above", "b", "c", "a"]
    assert page.merge(found) == ["above", "b", "c", "a"]


def test_a_suggestion_is_made_on_the_text_that_was_shown() -> None:
    page = Page("x = 1\ny = 2")
    page.human("cella", "x = 1\ny = 2\nz = 3")
    found = page.suggest({"op": "write", "cell": "#1", "source": "x = 10\ny = 2"})
    page.human("cella", "x = 1\ny = 2\nz = 3\n# more")
    assert page.merge(found) == ["x = 10\ny = 2\nz = 3\n# more"]


def test_what_was_merged_cannot_be_merged_again() -> None:
    page = Page("x = 1")
    found = page.suggest({"op": "insert", "source": "new"})
    page.merge(found)
    with pytest.raises(EditConflict, match="is in the notebook already"):
        planned(found, page.replica)


def test_what_a_human_did_themselves_is_in_the_notebook_already() -> None:
    page = Page("x = 1")
    found = page.suggest({"op": "write", "cell": "#1", "source": "x = 2"})
    page.human("cella", "x = 2")
    assert standing(found, page.replica).state == "is in the notebook already"


def test_a_conflict_says_what_was_changed_and_what_was_meant() -> None:
    page = Page("x = 1", "y = 1")
    found = page.suggest({"op": "write", "cell": "#1", "source": "x = 2"})
    page.human("cella", "x = 3")
    now = standing(found, page.replica, short=lambda _cell: "cell #1")
    assert now.state == "conflicts with what was changed since in cell #1"
    assert isinstance(now.error, EditConflict)
    assert "-1│x = 1\n+1│x = 3" in now.error.message
    assert now.cells == [CellPreview("cella", "code", "x = 1", "x = 2")]


def test_a_cell_that_is_gone_is_told_with_what_was_meant() -> None:
    page = Page("x = 1", "y = 1")
    found = page.suggest({"op": "write", "cell": "#1", "source": "x = 2"})
    page.replica.write([DeleteCell("cella")])
    now = standing(found, page.replica)
    assert now.state == "cannot be merged: a cell that it is about is gone (cella)"
    assert isinstance(now.error, CellNotFound)
    assert now.cells == [CellPreview("cella", "code", "x = 1", "x = 2")]


def test_a_cell_in_use_is_for_whoever_merges() -> None:
    page = Page("x = 1", "y = 1")
    found = page.suggest({"op": "delete", "cell": "#2", "force": True})
    with pytest.raises(CellInUse):
        planned(found, page.replica, in_use=lambda cell: "Ada's caret is in it" if cell == "cellb" else "")
    assert page.merge(found) == ["x = 1"]


@pytest.mark.parametrize("op", ["undo", "redo"])
def test_calls_cannot_be_suggested_away(op: str) -> None:
    with pytest.raises(InvalidEdit, match="cannot be suggested"):
        Page("x").suggest({"op": op})


def test_what_would_change_nothing_is_no_suggestion() -> None:
    with pytest.raises(InvalidEdit, match="would change nothing"):
        Page("x").suggest({"op": "write", "cell": "#1", "source": "x"})


def test_what_is_too_long_is_refused() -> None:
    found = Page("x").suggest({"op": "insert", "source": "x" * 600_000})
    with pytest.raises(InvalidEdit, match="too long"):
        to_json(found, "a.ipynb")


def test_edits_that_cannot_be_kept_truly_are_refused() -> None:
    page = Page("a = 1\nmiddle\nend")
    page.human("cella", "a = 1\nmiddle\nend\nb = 1\nc = a = 1")
    with pytest.raises(InvalidEdit, match="cannot be kept as one suggestion"):
        page.suggest(
            {"op": "replace", "cell": "#1", "old": "a = 1", "new": "a = 2"},  # once in the text that was shown
            {"op": "replace", "cell": "#1", "old": "b = 1", "new": "b = 2"},  # once in the text now
        )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "just now"),
        (59, "just now"),
        (60, "1 min ago"),
        (7_199, "119 min ago"),
        (7_200, "2 h ago"),
        (200_000, "2 days ago"),
    ],
)
def test_times_are_told_as_people_do(seconds: float, text: str) -> None:
    assert ago(seconds) == text
