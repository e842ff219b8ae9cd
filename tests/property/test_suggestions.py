"""A suggestion does what the edit would have done, or, later, keeps all that a human has typed since, or is refused."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from collab_agent.errors import CollabAgentError
from collab_agent.notebook.edits import Planner
from collab_agent.notebook.preview import preview
from collab_agent.notebook.seen import Seen
from collab_agent.notebook.splice import Splice
from collab_agent.notebook.steps import DeleteCell, InsertCell, SpliceSource, Step
from collab_agent.notebook.suggestion import KEY, Suggestion, from_json, standing, suggestion, to_json
from collab_agent.room.presence import REVIEW_KEY, review_of
from collab_agent.room.replica import Replica

IDS = ("aaaa1", "bbbb2", "last", "[3]", "dddd4")
"""Some of them read like references of another kind."""
LINES = st.lists(st.sampled_from(["x = 1", "é = '😀'", "", "print(x)", "中文"]), max_size=5)
SOURCES = LINES.map("\n".join)
REFS = st.sampled_from(["aaaa1", "bbbb2", "dddd4", "#3", "#4", "first"])
KEYSTROKES = st.lists(st.tuples(st.sampled_from(IDS), st.floats(0, 1)), max_size=4)
SHOWN = st.sets(st.sampled_from(IDS))
MARK = re.compile(r"<h\d+>")


def edits() -> st.SearchStrategy[list[dict[str, Any]]]:
    one = st.fixed_dictionaries
    each = st.one_of(
        one({"op": st.just("insert"), "source": SOURCES, "after": REFS}),
        one({"op": st.just("insert"), "source": SOURCES}),
        one({"op": st.just("replace"), "cell": REFS, "old": st.sampled_from(["x = 1", "print", "é"]), "new": SOURCES}),
        one({"op": st.just("write"), "cell": REFS, "source": SOURCES}),
        one({"op": st.just("move"), "cell": REFS, "before": REFS}),
        one({"op": st.just("retype"), "cell": REFS, "type": st.sampled_from(["code", "markdown", "raw"])}),
        one({"op": st.just("split"), "cell": REFS, "line": st.integers(1, 5)}),
        one({"op": st.just("merge"), "cell": REFS}),
        one({"op": st.just("delete"), "cell": REFS}),
        one({"op": st.just("clear"), "cells": st.lists(REFS, min_size=1, max_size=2)}),
    )
    return st.lists(each, min_size=1, max_size=3)


class Page:
    """A notebook in which a human types marks that never repeat."""

    def __init__(self, sources: list[str]) -> None:
        self.replica = Replica()
        steps = [InsertCell(id_, n, "code", text) for n, (id_, text) in enumerate(zip(IDS, sources, strict=True))]
        self.replica.write(steps)
        self._numbers = itertools.count()

    def types(self, keystrokes: list[tuple[str, float]]) -> set[str]:
        """Type at these places, in one go each and never inside an earlier mark."""
        typed = set()
        for cell_id, where in keystrokes:
            cell = self.replica.cell(cell_id)
            if cell is None:
                continue
            inside = [range(match.start() + 1, match.end()) for match in MARK.finditer(cell.source)]
            places = [at for at in range(len(cell.source) + 1) if not any(at in each for each in inside)]
            at = places[min(int(where * len(places)), len(places) - 1)]
            mark = f"<h{next(self._numbers)}>"
            typed.add(mark)
            self.replica.write([SpliceSource(cell_id, (Splice(at, at, mark),))])
        return typed

    @property
    def cells(self) -> list[tuple[str, str, str]]:
        return [(cell.id, cell.type, cell.source) for cell in self.replica.view.cells]


def suggested(page: Page, shown: set[str], before: list[tuple[str, float]], call: list[dict[str, Any]]) -> Suggestion:
    """What an agent suggests that was shown some cells before the human typed."""
    seen = Seen()
    seen.show_order(page.replica.view)
    for cell in page.replica.view.cells:
        if cell.id in shown:
            seen.show(cell)
    page.types(before)
    was = page.cells
    try:
        made = suggestion("Title", call, page.replica, seen, (), sid="abc123", by="Goose", at=1.0)
    except CollabAgentError:
        assert page.cells == was
        assume(False)
        raise
    direct = Planner(page.replica, seen, new_id=iter(made.made).__next__).plan(call)
    again = from_json(to_json(made, "a.ipynb"))
    assert again == made
    now = standing(made, page.replica).plan
    assert now is not None
    assert now.steps == direct.steps
    return made


NOTEBOOKS = st.lists(SOURCES, min_size=len(IDS), max_size=len(IDS))


@given(NOTEBOOKS, SHOWN, KEYSTROKES, edits(), KEYSTROKES, st.sets(st.sampled_from(IDS), max_size=1), st.booleans())
def test_what_a_human_typed_since_survives_a_merge(
    sources: list[str],
    shown: set[str],
    before: list[tuple[str, float]],
    call: list[dict[str, Any]],
    since: list[tuple[str, float]],
    deleted: set[str],
    inserts: bool,
) -> None:
    page = Page(sources)
    made = suggested(page, shown, before, call)
    typed = page.types(since)
    theirs: list[Step] = [DeleteCell(cell_id) for cell_id in deleted]
    page.replica.write([*theirs, *([InsertCell("theirs", 1, "code", "<h999>")] if inserts else [])])
    typed = typed & set(MARK.findall("\n".join(source for _, _, source in page.cells)))
    was = page.cells
    now = standing(made, page.replica)
    assert page.cells == was
    if now.plan is None:
        assert now.error is not None
        assert "Nothing was written." in now.error.message
        return
    shown_as = preview(now.plan, page.replica)
    page.replica.write(now.plan.steps)
    text = "\n".join(source for _, _, source in page.cells)
    found = MARK.findall(text)
    assert len(found) == len(set(found))
    assert typed <= set(found)
    assert ("<h999>" in found) == inserts
    after = {cell_id: source for cell_id, _, source in page.cells}
    assert {cell.cell: cell.after for cell in shown_as} == {cell.cell: after.get(cell.cell) for cell in shown_as}
    assert {cell_id for cell_id, _, _ in was} - set(after) <= set(made.removed)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.sampled_from(["write", "aaaa1", "delete"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["op", "cell", "cells", "source", "after", "line", "force"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)
WHOLE = {
    "version": 1,
    "id": "abc123",
    "title": "T",
    "by": "Goose",
    "at": 1.0,
    "edits": [{"op": "write", "cell": "aaaa1", "source": "x"}],
    "bases": {"aaaa1": ""},
    "made": [],
    "removed": [],
}


@given(st.sampled_from(sorted(WHOLE)), JSON)
def test_a_description_that_anybody_wrote_is_a_whole_suggestion_or_none(field: str, value: Any) -> None:
    found = from_json(json.dumps({KEY: {**WHOLE, field: value}}))
    page = Page(["", "x", "", "", ""])
    if found is not None:
        was = page.cells
        now = standing(found, page.replica)
        assert (now.plan is None) == (now.error is not None)
        assert page.cells == was
        assert isinstance(found.cells, list)


@given(st.dictionaries(st.sampled_from(["name", "open", "merged", "dropped"]), JSON) | JSON)
def test_what_anybody_says_about_suggestions_is_read_or_passed_over(said: Any) -> None:
    review = review_of({REVIEW_KEY: said})
    assert (review is not None) == isinstance(said, dict)
    if review is not None:
        assert all(isinstance(each, str) for each in review.open | review.merged | review.dropped)
        review.name.encode()


@given(st.text() | JSON.map(json.dumps))
def test_what_is_no_description_of_ours_is_none(text: str) -> None:
    assert from_json(text) is None


def test_a_missing_field_makes_it_none() -> None:
    assert from_json(json.dumps({KEY: WHOLE})) is not None
    for field in WHOLE:
        assert from_json(json.dumps({KEY: {name: value for name, value in WHOLE.items() if name != field}})) is None
