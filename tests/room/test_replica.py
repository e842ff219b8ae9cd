"""Steps do what they say, and what others do is reported and found."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jupyter_ydoc import YNotebook
from pycrdt import Array, Assoc, Map, Text

from collab_agent.errors import LocalProtocolError, RemoteProtocolError
from collab_agent.notebook import steps
from collab_agent.notebook.batches import batches
from collab_agent.notebook.outputs import Append, EditStream, Truncate
from collab_agent.notebook.splice import Splice, apply, diff
from collab_agent.room.positions import character_of
from collab_agent.room.replica import Replica
from collab_agent.testing import notebook_of

EMPTY = b"\0"
STREAM = {"output_type": "stream", "name": "stdout", "text": "a\n"}
RESULT = {"output_type": "execute_result", "data": {"text/plain": "é😀"}, "metadata": {}, "execution_count": 3}


def replica_of(*cells: Any) -> Replica:
    """A replica of a notebook as the server would load it."""
    page = YNotebook()
    page.set(notebook_of(cells))
    made = Replica()
    made.apply(page.ydoc.get_update())
    return made


def page_of(replica: Replica) -> YNotebook:
    """What somebody who joins now gets."""
    page = YNotebook()
    page.ydoc.apply_update(replica.update_since(EMPTY))
    return page


def fresh(replica: Replica) -> Replica:
    made = Replica()
    made.apply(replica.update_since(EMPTY))
    return made


def ids(replica: Replica) -> list[str]:
    return [cell.id for cell in replica.view.cells]


def sources(replica: Replica) -> list[str]:
    return [cell.source for cell in replica.view.cells]


# Steps.


def test_splices_are_characters_of_the_text_before() -> None:
    replica = replica_of("é😀x = 1 # 字")
    written = replica.write([steps.SpliceSource(ids(replica)[0], (Splice(1, 2, "🐢🐢"), Splice(7, 9, "")))])
    assert sources(replica) == [apply("é😀x = 1 # 字", (Splice(1, 2, "🐢🐢"), Splice(7, 9, "")))]
    text = replica.source_of(ids(replica)[0])
    first = written.inserted[0]
    assert [character_of(text, end.to_json()) for end in (first.anchor, first.head)] == [1, 3]


@given(st.text("ab é😀\n字", max_size=30), st.text("ab é😀\n字", max_size=30))
@settings(deadline=None)
def test_a_diff_written_as_splices_gives_the_wanted_text(before: str, after: str) -> None:
    replica = replica_of(before)
    replica.write([steps.SpliceSource(ids(replica)[0], diff(before, after))])
    assert sources(replica) == [after]
    assert page_of(replica).get()["cells"][0]["source"] == after


def test_all_steps_of_a_call_are_one_update() -> None:
    replica = replica_of("a", "b")
    a, b = ids(replica)
    other = fresh(replica)
    written = replica.write(
        [
            steps.InsertCell("new", 1, "markdown", "# new"),
            steps.SpliceSource("new", (Splice(2, 2, "very "),)),
            steps.MoveCell(a, 2),
            steps.SpliceSource(a, (Splice(1, 1, "!"),)),
            steps.RetypeCell(b, "markdown"),
            steps.DeleteCell("new"),
            steps.InsertCell("last", 2, "raw", ""),
        ]
    )
    assert written.update is not None
    other.apply(written.update)
    for each in (replica, other):
        assert [(cell.id, cell.type, cell.source) for cell in each.view.cells] == [
            (b, "markdown", "b"),
            (a, "code", "a!"),
            ("last", "raw", ""),
        ]


def test_a_moved_cell_keeps_id_outputs_count_and_what_runs_in_it() -> None:
    replica = replica_of("a", "b")
    a = ids(replica)[0]
    replica.write([steps.BeginRun(a), steps.WriteOutputs(a, (Append(STREAM), Append(RESULT)))])
    before = replica.outputs(a)
    replica.write([steps.MoveCell(a, 1)])
    moved = replica.cell(a)
    assert moved is not None
    assert moved.running
    assert replica.outputs(a) == before
    replica.write([steps.EndRun(a, 3), steps.MoveCell(a, 0)])
    assert page_of(replica).get()["cells"][0]["execution_count"] == 3
    replica.write([steps.WriteOutputs(a, (EditStream(0, ""), Truncate(1), Append(RESULT), Append(STREAM)))])
    replica.write([steps.WriteOutputs(a, (EditStream(2, "b\n"),))])
    assert replica.outputs(a)[-1].text == "a\nb\n"  # the stream of a rebuilt cell can still be appended to


def test_a_run_clears_shows_and_ends() -> None:
    replica = replica_of({"cell_type": "code", "source": "1", "outputs": [RESULT], "execution_count": 2})
    (cell,) = ids(replica)
    version = replica.view.cells[0].outputs_version
    replica.write([steps.BeginRun(cell)])
    assert (replica.outputs(cell), replica.view.cells[0].running) == ((), True)
    assert replica.view.cells[0].execution_count is None
    replica.write([steps.WriteOutputs(cell, (Append(STREAM), EditStream(2, "é😀")))])
    assert replica.outputs(cell)[0].text == "a\né😀"
    assert replica.view.cells[0].outputs_version > version
    replica.write([steps.EndRun(cell, 7)])
    ended = replica.view.cells[0]
    assert (ended.running, ended.execution_count) == (False, 7)
    raw = page_of(replica).ycells[0]["execution_count"]
    assert isinstance(raw, float)  # a page cannot read an integer: it comes as a BigInt
    replica.write([steps.ClearCell(cell)])
    assert (replica.outputs(cell), replica.view.cells[0].execution_count) == ((), None)


def test_a_step_that_names_no_cell_is_a_bug_of_ours() -> None:
    replica = replica_of("a")
    for step in (steps.DeleteCell("x"), steps.SpliceSource("x", (Splice(0, 0, "a"),)), steps.BeginRun("x")):
        with pytest.raises(LocalProtocolError):
            replica.write([step])


def test_the_source_is_edited_in_place() -> None:
    replica = replica_of("abc")
    page = page_of(replica)
    editor = page.ycells[0]["source"]
    written = replica.write([steps.SpliceSource(ids(replica)[0], diff("abc", "xyz"))])
    assert written.update is not None
    page.ydoc.apply_update(written.update)
    assert str(editor) == "xyz"  # an open editor on a replaced text would be dead


def test_a_humans_caret_stays_at_its_character_while_the_agent_rewrites_around_it() -> None:
    before = "def area(r):\n    return 3.14 * r * r  # 面積 😀\n"
    after = 'def area(radius):\n    """Of a circle."""\n    return math.pi * radius ** 2  # 面積 😀\n'
    page, replica = YNotebook(), Replica()
    page.set(notebook_of([before]))
    replica.apply(page.ydoc.get_update())
    text = page.ycells[0]["source"]
    carets = {word: text.sticky_index(len(before[: before.index(word)].encode()), 0) for word in ("def", "return")}
    written = replica.write([steps.SpliceSource(ids(replica)[0], diff(before, after))])
    assert written.update is not None
    page.ydoc.apply_update(written.update)
    assert str(text) == after
    for word, caret in carets.items():
        assert caret.get_index() == len(after[: after.index(word)].encode())


# What others do.


def test_remote_changes_name_who_and_where() -> None:
    replica = replica_of("a", "b")
    page = page_of(replica)
    a, b = ids(replica)
    vector = page.ydoc.get_state()
    page.ycells[1]["source"].insert(0, "é")
    change = replica.apply(page.ydoc.get_update(vector))
    assert [set(change.clients), set(change.cells), set(change.edited)] == [{page.ydoc.client_id}, {b}, {b}]
    vector = page.ydoc.get_state()
    page.ycells[0]["execution_state"] = "running"
    change = replica.apply(page.ydoc.get_update(vector))
    assert [set(change.cells), set(change.edited), set(change.began)] == [{a}, set(), {a}]
    assert replica.view.cells[0].running
    vector = page.ydoc.get_state()
    del page.ycells[0]
    change = replica.apply(page.ydoc.get_update(vector))
    assert [set(change.clients), set(change.deleted)] == [set(), {a}]


def test_an_update_that_waits_for_another_is_a_gap() -> None:
    replica = replica_of("a")
    page, updates = page_of(replica), []
    subscription = page.ydoc.observe(lambda event: updates.append(event.update))
    for character in "xyz":
        page.ycells[0]["source"].insert(0, character)
    page.ydoc.unobserve(subscription)
    assert not replica.apply(updates[0]).gap
    assert replica.apply(updates[2]).gap
    assert not replica.apply(updates[1]).gap
    assert not replica.apply(updates[1]).gap  # a duplicate is none
    assert sources(replica) == ["zyxa"]


def test_what_waits_for_another_clients_update_is_a_gap_too() -> None:
    replica = replica_of("a")
    first, second = page_of(replica), page_of(replica)
    vector = first.ydoc.get_state()
    first.ycells[0]["source"].insert(1, "bcd")
    missing = first.ydoc.get_update(vector)
    second.ydoc.apply_update(missing)
    vector = second.ydoc.get_state()
    second.ycells[0]["source"].insert(2, "!")
    assert replica.apply(second.ydoc.get_update(vector)).gap
    replica.apply(missing)
    assert sources(replica) == ["ab!cd"]


def test_of_two_cells_with_one_id_the_first_answers_and_its_twin_when_it_goes() -> None:
    replica = replica_of({"id": "twin", "cell_type": "code", "source": "one"}, "between")
    page = page_of(replica)
    page.append_cell({"id": "twin", "cell_type": "code", "source": "two", "metadata": {}, "outputs": []})
    replica.apply(page.ydoc.get_update())
    first = replica.cell("twin")
    assert first is not None
    assert first.source == "one"
    del page.ycells[0]
    replica.apply(page.ydoc.get_update())
    second = replica.cell("twin")
    assert second is not None
    assert second.source == "two"
    replica.write([steps.DeleteCell("twin")])
    assert (sources(replica), replica.cell("twin")) == (["between"], None)


def test_a_text_that_a_peer_has_replaced_is_found_again() -> None:
    replica = replica_of("old")
    page = page_of(replica)
    (cell,) = ids(replica)
    before = page.ycells[0]["source"].sticky_index(0, Assoc.BEFORE).to_json()["type"]
    assert replica.cell_of_text(before["client"], before["clock"]) == cell
    page.ycells[0]["source"] = Text("new")
    replica.apply(page.ydoc.get_update())
    after = page.ycells[0]["source"].sticky_index(0, Assoc.BEFORE).to_json()["type"]
    assert replica.cell_of_text(before["client"], before["clock"]) is None
    assert replica.cell_of_text(after["client"], after["clock"]) == cell
    assert sources(replica) == ["new"]


def test_what_is_no_cell_at_all_stands_in_the_array_and_can_change() -> None:
    replica = replica_of("a")
    page = page_of(replica)
    page.ycells.extend([Array([1]), Text("t"), 1.5, Map({}), Map({"source": Map({"x": Text("")})})])
    replica.apply(page.ydoc.get_update())
    page.ycells[1].append(2)
    page.ycells[2].insert(0, "x")
    page.ycells[5]["source"]["x"].insert(0, "y")
    replica.apply(page.ydoc.get_update())
    assert sources(replica) == ["a", "", "", "", "", ""]
    replica.write([steps.SpliceSource(ids(replica)[0], (Splice(0, 0, "b"),))])
    assert sources(replica)[0] == "ba"


@pytest.mark.parametrize("update", [b"", b"\1", b"\1\1\5\0\4", b"\0\1\5\1\0", b"\xff" * 20])
def test_what_is_no_update_is_the_other_sides_fault(update: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        replica_of("a").apply(update)


def test_a_cell_that_is_doubled_and_then_dropped_where_it_was_is_told_as_moved() -> None:
    """As an agent moves a cell, in two transactions: never as gone, never as new."""
    ours = replica_of("a", "b", "c")
    a, b, c = ids(ours)
    page, theirs = page_of(ours), fresh(ours)
    before = theirs.cell(a)
    changes = []
    for batch in batches([steps.MoveCell(a, 2)]):
        update = ours.write(batch).update
        assert update is not None
        page.ydoc.apply_update(update)
        assert len(page.get()["cells"]) == 3  # a file that is written at this moment has every cell once
        changes.append(theirs.apply(update))
    assert [change.before for change in changes] == [{a: before}, {a: before}]
    assert [list(change.deleted) for change in changes] == [[], [a]]
    assert ids(ours) == ids(theirs) == [b, c, a]
    assert theirs.cell(a) == before
    assert theirs.source_of(a) is not None


@pytest.mark.parametrize("step", ["move", "retype"])
def test_the_server_may_save_between_the_two_halves_of_a_rebuilding_and_the_cell_keeps_its_id(step: str) -> None:
    """It names the second of two that differ anew (jupyter_ydoc 3.4): that is the one that goes."""
    ours = replica_of("a", "b", "c")
    a, b, c = ids(ours)
    page, theirs = page_of(ours), fresh(ours)
    page.ycells[2]["source"].insert(1, "!")  # on its way to us, as are the server's ids
    parts = [steps.MoveCell(c, 0)] if step == "move" else [steps.RetypeCell(c, "markdown")]
    first, second = (ours.write(batch).update for batch in batches(parts))
    assert first is not None
    assert second is not None
    page.ydoc.apply_update(first)
    theirs.apply(page.ydoc.get_update(theirs.state_vector()))
    seen = page.ydoc.get_state()
    with pytest.warns(UserWarning, match="Non-unique cell ID"):
        assert len(page.get()["cells"]) == 4
    change = theirs.apply(page.ydoc.get_update(seen))
    (renamed,) = change.cells - {c}
    assert change.before[renamed] is None
    assert change.before[c] == change.deleted[c]
    assert change.moved == ({c} if step == "move" else set())
    page.ydoc.apply_update(second)
    assert theirs.apply(second).deleted.keys() == {renamed}
    assert ids(theirs) == [str(cell["id"]) for cell in page.ycells] == ([c, a, b] if step == "move" else [a, b, c])


def test_a_deletion_says_whose_it_is() -> None:
    ours = replica_of("a", "b")
    theirs = fresh(ours)
    update = ours.write([steps.DeleteCell(ids(ours)[0])]).update
    assert update is not None
    assert theirs.apply(update).clients == {ours.client_id}
    assert [cell.source for cell in theirs.view.cells] == ["b"]
