"""What of the agent's edits is plainly lost after a restart, and what is only told.  The replicas are real ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from collab_agent.notebook.batches import batches
from collab_agent.notebook.edit_ops import Edit
from collab_agent.notebook.edits import Planner
from collab_agent.notebook.model import CellView
from collab_agent.notebook.outputs import Append
from collab_agent.notebook.recovery import (
    Recovery,
    come_back,
    fragments,
    misplaced,
    missing_by_content,
    recover,
    still_lost,
)
from collab_agent.notebook.seen import Seen
from collab_agent.notebook.splice import diff
from collab_agent.notebook.steps import EndRun, InsertCell, SpliceSource, Step, WriteOutputs
from collab_agent.notebook.undo import CallRecord, record_of
from collab_agent.notebook.undoing import Undoing
from collab_agent.room.replica import Replica

STREAM = {"output_type": "stream", "name": "stdout", "text": "21\n"}


def page_of(*sources: str) -> Replica:
    """A notebook with the cells ``cella``, ``cellb`` …"""
    replica = Replica()
    write(replica, [InsertCell(f"cell{chr(97 + n)}", n, "code", text) for n, text in enumerate(sources)])
    return replica


def write(replica: Replica, steps: Sequence[Step]) -> None:
    """Write steps as a room would."""
    for batch in batches(steps):
        replica.write(batch)


def human(replica: Replica, cell: str, text: str) -> None:
    """A human changes a text."""
    found = replica.cell(cell)
    assert found is not None
    write(replica, [SpliceSource(cell, diff(found.source, text))])


def sources(replica: Replica) -> list[str]:
    """The texts of all cells."""
    return [cell.source for cell in replica.view.cells]


class Agent:
    """An agent on ``last``, the notebook as it was before the server died."""

    def __init__(self, *was: str) -> None:
        self.last = page_of(*was)
        self.now = page_of(*was)
        self.seen = Seen()
        self.records: list[CallRecord] = []

    def call(self, *edits: dict[str, Any]) -> None:
        """A confirmed call."""
        for cell in self.last.view.cells:
            self.seen.show(cell)
        made = f"made{len(self.records)}"
        plan = Planner(self.last, self.seen, new_id=lambda: made).plan(edits)
        self.records.append(record_of(self.last, plan, len(self.records) + 1, self.seen.shown_text))
        write(self.last, plan.steps)

    def recover(self, in_use: Callable[[str], str] = lambda _cell: "") -> Recovery:
        """The server is back, and holds ``now``."""
        found = recover(self.last, self.now, self.records, self.seen, in_use)
        write(self.now, () if found.plan is None else found.plan.steps)
        return found


def test_a_lost_edit_is_put_back_over_what_a_human_has_typed_elsewhere_since() -> None:
    agent = Agent("a = 1\nb = 2\nc = 3\n")
    agent.call({"op": "replace", "cell": "cella", "old": "a = 1", "new": "a = 10"})
    human(agent.now, "cella", "a = 1\nb = 2\nc = 33\n")
    found = agent.recover()
    assert sources(agent.now) == ["a = 10\nb = 2\nc = 33\n"]
    assert (found.again, found.doubtful, dict(found.lost.cells)) == (("cella",), (), {})


def test_an_edit_that_is_there_is_not_put_in_again_beside_what_looks_the_same() -> None:
    agent = Agent("a\nb\n")
    agent.call({"op": "write", "cell": "cella", "source": "a\na\nb\n"})
    human(agent.now, "cella", "x\na\na\nb\n")
    found = agent.recover()
    assert sources(agent.now) == ["x\na\na\nb\n"]
    assert found.again == ()


def test_where_somebody_has_written_at_the_same_place_nothing_is_guessed() -> None:
    agent = Agent("a = 1\n")
    agent.call({"op": "write", "cell": "cella", "source": "a = agent\n"})
    human(agent.now, "cella", "a = human\n")
    found = agent.recover()
    assert sources(agent.now) == ["a = human\n"]
    assert found.plan is None
    assert fragments(found.lost.cells["cella"]) == ["agent"]


def test_a_text_that_was_carried_elsewhere_is_not_put_back() -> None:
    agent = Agent("top\n", "end\n")
    agent.call({"op": "write", "cell": "cella", "source": "carried = 1\ntop\n"})
    human(agent.now, "cella", "top\ncarried = 1\n")
    assert agent.recover().plan is None
    assert sources(agent.now)[0].count("carried") == 1


def test_what_one_call_did_to_two_cells_is_put_back_in_both_or_in_none() -> None:
    agent = Agent("a = 1\n", "b = 2\n")
    agent.call({"op": "merge", "cell": "cella"})
    human(agent.now, "cella", "a = 1\nhuman = 3\n")
    found = agent.recover()
    assert sources(agent.now) == ["a = 1\nhuman = 3\n", "b = 2\n"]
    assert (found.plan, set(found.doubtful)) == (None, {"cella", "cellb"})
    assert not found.lost.cells


def test_a_cell_in_which_somebody_works_is_not_rebuilt() -> None:
    agent = Agent("a = 1", "b = 2")
    agent.call(
        {"op": "retype", "cell": "cellb", "type": "markdown"},
        {"op": "replace", "cell": "cella", "old": "1", "new": "2"},
    )
    agent.call({"op": "insert", "source": "c = 3"})
    found = agent.recover(in_use=lambda cell: "Ada types there" if cell == "cellb" else "")
    assert sources(agent.now) == ["a = 1", "b = 2", "c = 3"]
    assert (found.again, set(found.doubtful)) == (("made1",), {"cella", "cellb"})


def test_a_cell_whose_id_stands_there_twice_is_left_alone() -> None:
    agent = Agent("a = 1")
    agent.call({"op": "write", "cell": "cella", "source": "a = 2"})
    write(agent.now, [InsertCell("cella", 1, "code", "a = 1")])
    found = agent.recover()
    assert sources(agent.now) == ["a = 1", "a = 1"]
    assert found.doubtful == ("cella",)


def test_outputs_that_are_lost_come_back_unless_the_cell_was_run_since() -> None:
    agent = Agent("21", "22")
    write(agent.last, [WriteOutputs("cella", (Append(STREAM),)), EndRun("cella", 1), EndRun("cellb", 2)])
    found = agent.recover()
    assert found.again == ()
    write(agent.now, [EndRun("cellb", 1)])
    left = still_lost(found.lost, agent.now)
    assert list(left.cells) == ["cella"]
    write(agent.now, Undoing(agent.now, agent.seen).bring_back(Edit("restore", "edits[0]"), left).steps)
    assert [output.text for output in agent.now.outputs("cella")] == ["21\n"]


@pytest.mark.parametrize(
    ("now", "typed", "wanted"),
    [
        ("DEF hers\n", (0, 4), {"ABC", "DEF", "hers"}),
        ("hers DEF\n", (4, 8), {"ABC", "DEF", "hers"}),
        ("hers\nDEF\n", (5, 9), {"ABC", "DEF", "hers"}),
        ("hers before\n", (0, 0), {"ABC", "hers"}),
    ],
)
def test_what_a_page_brings_along_is_not_taken_out_for_what_is_lost(
    now: str, typed: tuple[int, int], wanted: set[str]
) -> None:
    """It joined before the agent did, with what its human had typed meanwhile."""
    agent = Agent("hers\n")
    human(agent.last, "cella", "hers ABC\n")
    human(agent.now, "cella", now)
    lost = recover(agent.last, agent.now, [], agent.seen, since={"cella": [typed]}).lost
    write(agent.now, Undoing(agent.now, agent.seen).bring_back(Edit("restore", "edits[0]"), lost).steps)
    (text,) = sources(agent.now)
    assert {word for word in ("ABC", "DEF", "hers", "before") if text.count(word) == 1} == wanted


def test_what_has_come_back_is_no_longer_lost() -> None:
    agent = Agent("a\n", "b\n")
    human(agent.last, "cella", "a\nhuman\n")
    write(agent.last, [InsertCell("hers", 2, "code", "mine")])
    lost = agent.recover().lost
    assert set(lost.cells) == {"cella", "hers"}
    human(agent.now, "cella", "a\nhuman\nand more\n")
    assert set(still_lost(lost, agent.now).cells) == {"hers"}


@pytest.mark.parametrize("came", ["DEF since", "DEF", "since"])
def test_of_what_has_come_back_in_part_only_the_rest_is_still_lost(came: str) -> None:
    """A server has stored an update a little after it has sent it on; a page brings along what it had not stored."""
    agent = Agent("a\n")
    human(agent.last, "cella", "a\nABC DEF")
    lost = agent.recover().lost
    human(agent.now, "cella", f"{came}a\n")
    left = still_lost(lost, agent.now, {"cella"})
    write(agent.now, Undoing(agent.now, agent.seen).bring_back(Edit("restore", "edits[0]"), left).steps)
    assert [sources(agent.now)[0].count(text) for text in ("ABC", "DEF", came)] == [1, 1, 1]


@pytest.mark.parametrize("since", ["", "# human\n"])
def test_our_first_writing_that_a_page_brings_along_stands_there_once(since: str) -> None:
    agent = Agent("a = 1\n")
    agent.call({"op": "write", "cell": "cella", "source": "a = 1\nb = 2\n"}, {"op": "insert", "source": "c = 3"})
    found = recover(agent.last, agent.now, agent.records, agent.seen)
    assert found.plan is not None
    put_back = record_of(agent.now, found.plan, 0, agent.seen.shown_text)
    write(agent.now, found.plan.steps)
    before = {"cella": agent.now.cell("cella"), "made0": agent.now.cell("made0")}
    human(agent.now, "cella", f"{since}a = 1\nb = 2\nb = 2\n")
    write(agent.now, [InsertCell("made0", 2, "code", "c = 3")])
    write(agent.now, come_back(put_back, before, agent.now))
    assert sources(agent.now) == [f"{since}a = 1\nb = 2\n", "c = 3"]


def test_without_ids_a_cell_is_missing_whose_text_no_cell_has() -> None:
    last, now = page_of("a", "b", "b", ""), Replica()
    write(now, [InsertCell(f"new{n}", n, "code", text) for n, text in enumerate(["b", "a"])])
    assert [cell.id for cell in missing_by_content(last, now)] == ["cellc"]


# Another program's write.


def held(*cells: tuple[str, str]) -> dict[str, CellView]:
    """What a file held."""
    return {cell: CellView(cell, "code", source) for cell, source in cells}


def test_what_the_file_had_held_is_not_lost() -> None:
    last, now = page_of("a = 1", "b = 2"), page_of("a = 9")
    found = recover(last, now, [], Seen(), held=held(("cella", "a = 1"), ("cellb", "b = 2")))
    assert found.plan is None
    assert not found.lost.cells


def test_only_what_was_typed_beyond_the_file_is_lost() -> None:
    last, now = page_of("a = 1  # typed", "b = 2  # typed", "c = 3"), page_of("a = 9")
    found = recover(last, now, [], Seen(), held=held(("cella", "a = 1"), ("cellb", "b = 2")))
    assert [(cell, fragments(change)) for cell, change in found.lost.cells.items()] == [
        ("cella", ["  # typed"]),
        ("cellb", ["b = 2  # typed"]),
        ("cellc", ["c = 3"]),
    ]


def test_a_cell_that_the_file_has_and_the_room_has_not_is_misplaced() -> None:
    last, now = page_of("a = 1", "b = 2", "c = 3"), page_of("a = 1")
    found = misplaced(last, now, held(("cella", "a = 1"), ("cellc", "c = 3")))
    assert [(cell, fragments(change)) for cell, change in found.cells.items()] == [("cellc", ["c = 3"])]
    plan = Undoing(now, Seen()).bring_back(Edit("restore", "edit 1"), found)
    write(now, plan.steps)
    assert sources(now) == ["a = 1", "c = 3"]
