"""Whatever several peers do: the views that events keep up are what a fresh look at the whole document shows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from jupyter_ydoc import YNotebook
from pycrdt import Array, Assoc, Map, Text

from collab_agent.errors import LocalProtocolError
from collab_agent.notebook import steps
from collab_agent.notebook.outputs import Append, EditStream
from collab_agent.notebook.splice import diff
from collab_agent.room.replica import Replica
from collab_agent.testing import notebook_of

EMPTY = b"\0"
STREAM = {"output_type": "stream", "name": "stdout", "text": "a\n"}


def fresh(replica: Replica) -> Replica:
    made = Replica()
    made.apply(replica.update_since(EMPTY))
    return made


def ids(replica: Replica) -> list[str]:
    return [cell.id for cell in replica.view.cells]


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
