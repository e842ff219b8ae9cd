"""Whatever the agent edits, what a human typed since it last looked survives, once and whole; a refused call changes
nothing.  What the agent was shown, be it by a conflict, it may delete."""

from __future__ import annotations

import itertools
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from collab_agent.errors import CollabAgentError
from collab_agent.notebook.edits import Planner
from collab_agent.notebook.seen import Seen
from collab_agent.notebook.splice import Splice
from collab_agent.notebook.steps import InsertCell, SpliceSource
from collab_agent.room.replica import Replica

IDS = ("aaaa1", "bbbb2", "cccc3", "dddd4")
LINES = st.lists(st.sampled_from(["x = 1", "é = '😀'", "", "print(x)", "中文"]), max_size=5)
SOURCES = LINES.map("\n".join)
REFS = st.sampled_from([*IDS, "#1", "#3", "first", "last"])
KEYSTROKES = st.lists(st.tuples(st.sampled_from(IDS), st.floats(0, 1)), max_size=6)
MARK = re.compile(r"<h\d+>")


def edits() -> st.SearchStrategy[dict[str, Any]]:
    one = st.fixed_dictionaries
    return st.one_of(
        one({"op": st.just("insert"), "source": SOURCES, "after": REFS}),
        one({"op": st.just("replace"), "cell": REFS, "old": st.sampled_from(["x = 1", "print", "é"]), "new": SOURCES}),
        one({"op": st.just("write"), "cell": REFS, "source": SOURCES}),
        one({"op": st.just("move"), "cell": REFS, "before": REFS}),
        one({"op": st.just("retype"), "cell": REFS, "type": st.sampled_from(["code", "markdown", "raw"])}),
        one({"op": st.just("split"), "cell": REFS, "line": st.integers(1, 5)}),
        one({"op": st.just("merge"), "cell": REFS}),
        one({"op": st.just("delete"), "cell": REFS}),
    )


@given(
    st.lists(SOURCES, min_size=4, max_size=4),
    st.lists(st.tuples(st.lists(edits(), min_size=1, max_size=3), KEYSTROKES), max_size=5),
)
def test_human_text_survives_every_accepted_call(
    sources: list[str], calls: list[tuple[list[dict[str, Any]], list[tuple[str, float]]]]
) -> None:
    replica, seen = Replica(), Seen()
    replica.write([InsertCell(id_, n, "code", text) for n, (id_, text) in enumerate(zip(IDS, sources, strict=True))])
    seen.show_order(replica.view)
    for cell in replica.view.cells:
        seen.show(cell)
    numbers = itertools.count()
    typed: set[str] = set()
    for call, keystrokes in calls:
        for cell_id, where in keystrokes:
            cell_now = replica.cell(cell_id)
            if cell_now is not None:
                mark = f"<h{next(numbers)}>"
                # Between lines or inside one, but never inside another mark: a human types it in one go.
                places = [at for at in range(len(cell_now.source) + 1) if not _inside_mark(cell_now.source, at)]
                at = places[min(int(where * len(places)), len(places) - 1)]
                replica.write([SpliceSource(cell_id, (Splice(at, at, mark),))])
                typed.add(mark)
        unseen = typed - set(MARK.findall("\n".join(seen.texts.values())))
        before = [(cell.id, cell.type, cell.source) for cell in replica.view.cells]
        try:
            plan = Planner(replica, seen).plan(call)
        except CollabAgentError:
            assert [(cell.id, cell.type, cell.source) for cell in replica.view.cells] == before
            continue
        replica.write(plan.steps)
        for cell_id, text in plan.wanted.items():
            if text is None:
                seen.forget(cell_id)
            else:
                seen.texts[cell_id] = text
        found = MARK.findall("\n".join(cell.source for cell in replica.view.cells))
        assert len(found) == len(set(found))
        assert unseen <= set(found) <= typed
        typed = set(found)
        ids = [cell.id for cell in replica.view.cells]
        assert len(ids) == len(set(ids))


def _inside_mark(text: str, at: int) -> bool:
    return any(match.start() < at < match.end() for match in MARK.finditer(text))
