"""The replica's views, kept up by events, are what a fresh look at the whole document shows; steps do what they say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jupyter_ydoc import YNotebook
from pycrdt import Array, Assoc, Map, Text

from collab_agent.errors import LocalProtocolError, RemoteProtocolError
from collab_agent.notebook import steps
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


# Whatever several peers do.

Op = tuple[int, str, int, int, str]
PAGE_OPS = ["type", "erase", "insert", "delete", "garbage", "field", "double", "rename", "source"]
PAGE_OPS += ["outputs", "stream", "state", "meta", "sync"]
OUR_OPS = ["splice", "new", "drop", "shift", "turn", "begin", "write", "end", "clear", "sync"]
GARBAGE: list[Any] = [None, True, 1.5, float("inf"), float("nan"), "text", [1, {"a": None}], {"id": "x"}, b"\0"]


class Room:
    """Three peers, each with a queue of updates that it has not seen: our replicas 0 and 1, a page 2."""

    def __init__(self) -> None:
        self.page = YNotebook()
        self.page.set(notebook_of(["a é😀", ("markdown", "# b"), "c\nd"]))
        self.replicas = (Replica(), Replica())
        self.queues: list[list[bytes]] = [[], [], []]
        for replica in self.replicas:
            replica.apply(self.page.ydoc.get_update())
        self.subscription = self.page.ydoc.observe(lambda event: self.sent(2, event.update))
        self.receiving = False

    def sent(self, by: int, update: bytes | None) -> None:
        for peer, queue in enumerate(self.queues):
            if peer != by and update is not None and not self.receiving:
                queue.append(update)

    def receive(self, peer: int, count: int) -> None:
        arrived, self.queues[peer][:count] = self.queues[peer][:count], []
        for update in arrived:
            if peer < 2:
                self.replicas[peer].apply(update)
            else:
                self.receiving = True
                self.page.ydoc.apply_update(update)
                self.receiving = False

    def do(self, op: Op) -> None:
        peer, kind, a, b, text = op
        if kind == "sync":
            self.receive(peer, 1 + a % 4)
        elif peer < 2:
            self.write(self.replicas[peer], kind, a, b, text)
        else:
            with self.page.ydoc.transaction():
                on_page(self.page, kind, a, b, text)

    def write(self, replica: Replica, kind: str, a: int, b: int, text: str) -> None:
        cells = [cell for cell in replica.view.cells if replica.cell(cell.id) is cell and is_whole(replica, cell.id)]
        index = a % (len(replica.view.cells) + 1)
        step: steps.Step | None = None
        if kind == "new":
            step = steps.InsertCell(f"{replica.client_id}-{replica.version}", index, "code", text)
        elif cells:
            step = step_on(cells[a % len(cells)], kind, b % len(replica.view.cells), text)
        if step is not None:
            self.sent(self.replicas.index(replica), replica.write([step]).update)


def is_whole(replica: Replica, cell_id: str) -> bool:
    try:
        replica.source_of(cell_id)
    except LocalProtocolError:
        return False
    return True


def step_on(cell: Any, kind: str, b: int, text: str) -> steps.Step | None:
    code = cell.type == "code"
    match kind:
        case "splice":
            return steps.SpliceSource(cell.id, diff(cell.source, cell.source[:b] + text + cell.source[b + 1 :]))
        case "drop":
            return steps.DeleteCell(cell.id)
        case "shift":
            return steps.MoveCell(cell.id, b)
        case "turn":
            return steps.RetypeCell(cell.id, "markdown" if code else "code")
        case "begin" if code:
            return steps.BeginRun(cell.id)
        case "write" if code:
            return steps.WriteOutputs(cell.id, (Append(STREAM), EditStream(1, text)))
        case "end" if code:
            return steps.EndRun(cell.id, b)
        case "clear":
            return steps.ClearCell(cell.id)
        case _:
            return None


def on_page(page: YNotebook, kind: str, a: int, b: int, text: str) -> None:
    """What a page, or a peer that means no good, does to the document."""
    cells, garbage = page.ycells, GARBAGE[b % len(GARBAGE)]
    index = a % len(cells) if len(cells) else 0
    if kind in ("insert", "double"):
        ids = [str(cell["id"]) for cell in cells if isinstance(cell, Map) and "id" in cell]
        cell_id = ids[b % len(ids)] if ids and kind == "double" else f"page-{a}-{b}"
        value = {"id": cell_id, "cell_type": "code", "source": text, "metadata": {}, "outputs": []}
        cells.insert(index, page.create_ycell(value))
    elif kind == "garbage":
        made = {0: Map({"id": text}), 1: Array([garbage]), 2: Text(text), 3: Map({})}.get(b % 5, garbage)
        cells.insert(index, made)
    elif kind == "meta":
        page.ydoc.get("meta", type=Map)["metadata"] = Map({"kernelspec": {"language": text}}) if b % 2 else garbage
    elif not len(cells):
        return
    elif kind == "delete":
        del cells[index]
    elif isinstance(cells[index], Map):
        on_cell(page, index, kind, b, text)
    elif isinstance(cells[index], Text):  # what is no cell at all can change, too
        cells[index].insert(0, text)
    elif isinstance(cells[index], Array):
        cells[index].append(text)


def on_cell(page: YNotebook, index: int, kind: str, b: int, text: str) -> None:
    cell, garbage = page.ycells[index], GARBAGE[b % len(GARBAGE)]
    source, outputs = cell.get("source"), cell.get("outputs")
    if kind == "type" and isinstance(source, Text):
        source.insert(len(str(source)[:b].encode()), text)
    elif kind == "erase" and isinstance(source, Text):
        del source[: len(str(source)[:b].encode())]
    elif kind == "field":
        cell[["id", "cell_type", "source", "outputs", "execution_count", "execution_state"][b % 6]] = garbage
    elif kind == "rename":
        cell["id"] = text
    elif kind == "source":
        cell["source"] = Text(text)
    elif kind == "state":
        cell["execution_state"] = "running" if b % 2 else "idle"
    elif kind == "outputs" and isinstance(outputs, Array):
        outputs.append(Map({"output_type": "stream", "name": "stdout", "text": Text(text)}) if b % 2 else garbage)
    elif kind == "stream" and isinstance(outputs, Array):
        for output in outputs:
            if isinstance(output, Map) and isinstance(output.get("text"), Text):
                output["text"] += text


small = st.integers(0, 9)
written = st.text("a\né😀", max_size=4)
ops = st.one_of(
    st.tuples(st.sampled_from([0, 1]), st.sampled_from(OUR_OPS), small, small, written),
    st.tuples(st.just(2), st.sampled_from(PAGE_OPS), small, small, written),
)


@given(st.lists(ops, max_size=30))
@settings(deadline=None, max_examples=150)
def test_views_are_always_what_a_fresh_look_shows(made: list[Op]) -> None:
    room = Room()
    for op in made:
        room.do(op)
        for replica in room.replicas:
            assert_current(replica)
    for peer in (0, 1, 2):
        room.receive(peer, len(room.queues[peer]))
    for replica in room.replicas:
        assert_current(replica)
    assert comparable(room.replicas[0]) == comparable(room.replicas[1])
    page = Replica()
    page.apply(room.page.ydoc.get_update())
    assert comparable(room.replicas[0]) == comparable(page)


def comparable(replica: Replica) -> Any:
    return [replace(cell, outputs_version=0) for cell in replica.view.cells], replica.view.language


def assert_current(replica: Replica) -> None:
    look = fresh(replica)
    assert comparable(replica) == comparable(look)
    known = ids(replica)
    for cell in replica.view.cells:
        found = replica.cell(cell.id)
        assert found is not None
        assert found is cell or known.count(cell.id) > 1
        if known.count(cell.id) == 1:
            assert repr(replica.outputs(cell.id)) == repr(look.outputs(cell.id))  # NaN is not equal to itself
            assert replica.output_count(cell.id) == look.output_count(cell.id)
            if is_whole(replica, cell.id):
                text = replica.source_of(cell.id).sticky_index(0, Assoc.BEFORE).to_json()["type"]
                assert replica.cell_of_text(text["client"], text["clock"]) == cell.id
