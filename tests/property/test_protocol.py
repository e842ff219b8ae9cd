"""Peers on a relay that delays, loses, repeats and restarts: all end with the room's notebook; garbage stays outside.

The oracle is that of Yjs's own tests: equal JSON, equal state vectors, and a document rebuilt from the room's updates.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jupyter_ydoc import YNotebook
from pycrdt import (
    Doc,
    create_awareness_message,
    create_sync_message,
    create_update_message,
    handle_sync_message,
    read_message,
    write_message,
)

from collab_agent.errors import RemoteProtocolError
from collab_agent.notebook.splice import diff
from collab_agent.notebook.steps import DeleteCell, InsertCell, MoveCell, SpliceSource, Step
from collab_agent.room.codec import Reader, state_vector, update_key
from collab_agent.room.presence import decode, encode
from collab_agent.room.protocol import Acknowledged, Phase, RoomProtocol, Synced
from collab_agent.room.replica import Replica
from collab_agent.testing import converged, notebook_of

AGENTS, PAGES = 3, 2
PEERS = AGENTS + PAGES


class Line:
    """A peer's connection: frames on their way to the room and back, each direction in order."""

    def __init__(self) -> None:
        self.up: list[bytes] = []
        self.down: list[bytes] = []


class Page:
    """A pycrdt peer that speaks by pycrdt's own functions and keeps its Doc, as JupyterLab does."""

    def __init__(self) -> None:
        self.notebook = YNotebook()
        self.line = Line()
        self._remote = False
        self._subscription = self.notebook.ydoc.observe(self._on_update)

    def _on_update(self, event: Any) -> None:
        if not self._remote:
            self.line.up.append(create_update_message(event.update))

    def receive(self, frame: bytes) -> None:
        if frame[0] == 0:
            self._remote = True
            reply = handle_sync_message(frame[1:], self.notebook.ydoc)
            self._remote = False
            if reply is not None:
                self.line.up += [reply, create_sync_message(self.notebook.ydoc)]

    def edit(self, kind: int, a: int, b: int, text: str) -> None:
        cells = self.notebook.ycells
        if not len(cells):
            return
        index, source = a % len(cells), cells[a % len(cells)]["source"]
        current = str(source)
        if kind == 0:
            source.insert(len(current[:b].encode()), text)
        elif kind == 1:
            del source[: len(current[:b].encode())]
        elif kind == 2:
            cells.insert(index, self.notebook.create_ycell({"cell_type": "code", "source": text, "metadata": {}}))
        else:
            value = cells[index].to_py()
            with self.notebook.ydoc.transaction():
                del cells[index]
                cells.insert(b % (len(cells) + 1), self.notebook.create_ycell(value))


class Agent:
    """Our protocol; starts afresh with every connection, and counts what was acknowledged."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.protocol = RoomProtocol(Replica())
        self.line = Line()
        self.acknowledged = 0
        self.written = 0
        self.synced = 0

    def receive(self, frame: bytes) -> None:
        for event in self.protocol.receive(frame, 0.0):
            if isinstance(event, Acknowledged):
                assert event.number <= self.written
                self.acknowledged = max(self.acknowledged, event.number)
            self.synced += isinstance(event, Synced)
        self.line.up += self.protocol.frames_to_send()

    def edit(self, kind: int, a: int, b: int, text: str) -> None:
        cells = self.protocol.replica.view.cells if self.protocol.phase is Phase.SYNCED else ()
        if not cells:
            return
        cell = cells[a % len(cells)]
        wanted = cell.source[:b] + text + cell.source[b + kind :]
        step: Step = SpliceSource(cell.id, diff(cell.source, wanted))
        if kind == 2:
            step = InsertCell(f"{self.protocol.replica.client_id}-{self.written}", a % len(cells), "markdown", text)
        elif kind == 3:
            step = MoveCell(cell.id, b % len(cells)) if b % 4 else DeleteCell(cell.id)
        self.written = self.protocol.write([step])[1]
        self.line.up += self.protocol.frames_to_send()

    def ask(self) -> None:
        self.protocol.ask()
        self.line.up += self.protocol.frames_to_send()


class Relay:
    """The room: merges what comes, sends every change to all, and answers; any line may be slow, and may break."""

    def __init__(self, *, echo: bool = True) -> None:
        self.echo = echo
        self.notebook = YNotebook()
        self.notebook.set(notebook_of(["x = 1", ("markdown", "# é😀"), ""]))
        self.updates = [self.notebook.ydoc.get_update()]
        self.peers: list[Agent | Page] = [*(Agent() for _ in range(AGENTS)), *(Page() for _ in range(PAGES))]
        self._from: Agent | Page | None = None
        self._subscription = self.notebook.ydoc.observe(self._on_update)
        for peer in self.peers:
            self.open(peer)

    def open(self, peer: Agent | Page) -> None:
        """A new connection: what was under way is lost, and the server opens with its step 1."""
        if isinstance(peer, Agent):
            peer.restart()
        else:
            peer.line = Line()
        peer.line.down.append(create_sync_message(self.notebook.ydoc))

    def _on_update(self, event: Any) -> None:
        self.updates.append(event.update)
        for peer in self.peers:
            if self.echo or peer is not self._from:
                peer.line.down.append(create_update_message(event.update))

    def up(self, peer: Agent | Page, count: int) -> None:
        self._from = peer
        arrived, peer.line.up[:count] = peer.line.up[:count], []
        for frame in arrived:
            if frame[0] == 0 and (reply := handle_sync_message(frame[1:], self.notebook.ydoc)) is not None:
                peer.line.down.append(reply)

    def down(self, peer: Agent | Page, count: int) -> None:
        for _ in range(min(count, len(peer.line.down))):
            peer.receive(peer.line.down.pop(0))

    def do(self, action: tuple[str, int, int, int, int, str]) -> None:
        what, who, kind, a, b, text = action
        peer = self.peers[who]
        match what:
            case "edit":
                peer.edit(kind, a, b, text)
            case "up":
                self.up(peer, a + 1)
            case "down":
                self.down(peer, a + 1)
            case "repeat":  # an update comes twice, late
                peer.line.down.append(create_update_message(self.updates[a % len(self.updates)]))
            case "lose" if peer.line.down and peer.line.down[a % len(peer.line.down)][:2] == b"\0\2":
                del peer.line.down[a % len(peer.line.down)]
            case "cut":
                self.open(peer)

    def settle(self) -> None:
        """Everything arrives; whoever lost an update asks once."""
        for round_ in range(2):
            while any(peer.line.up or peer.line.down for peer in self.peers):
                for peer in self.peers:
                    self.up(peer, len(peer.line.up))
                    self.down(peer, len(peer.line.down))
            for peer in self.peers if round_ == 0 else ():
                if isinstance(peer, Agent):
                    peer.ask()
                else:
                    peer.line.up.append(create_sync_message(peer.notebook.ydoc))


actions = st.tuples(
    st.sampled_from(["edit"] * 4 + ["up", "down"] * 3 + ["repeat", "lose", "cut"]),
    st.integers(0, PEERS - 1),
    st.integers(0, 3),
    st.integers(0, 6),
    st.integers(0, 6),
    st.text("ab\né😀", max_size=3),
)


@given(st.lists(actions, max_size=60), st.booleans())
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_peers_converge_whatever_the_relay_does(made: list[tuple[str, int, int, int, int, str]], echo: bool) -> None:
    relay = Relay(echo=echo)
    for action in made:
        relay.do(action)
    relay.settle()
    rebuilt = YNotebook()
    for update in relay.updates:
        rebuilt.ydoc.apply_update(update)
    room = relay.notebook.get(deduplicate=False)
    vector = state_vector(relay.notebook.ydoc.get_state())
    assert converged(room, rebuilt.get(deduplicate=False))
    for peer in relay.peers:
        if isinstance(peer, Page):
            assert converged(room, peer.notebook.get(deduplicate=False))
            assert state_vector(peer.notebook.ydoc.get_state()) == vector
            continue
        replica = peer.protocol.replica
        assert (peer.protocol.phase, peer.synced) == (Phase.SYNCED, 1)
        assert peer.acknowledged == peer.written
        assert state_vector(replica.state_vector()) == vector
        assert [(cell.id, cell.type, cell.source) for cell in replica.view.cells] == [
            (cell["id"], cell["cell_type"], cell["source"]) for cell in room["cells"]
        ]
        held = YNotebook()
        held.ydoc.apply_update(replica.update_since(b"\0"))
        assert converged(room, held.get(deduplicate=False))


# Garbage.


def transcript() -> tuple[bytes, list[bytes]]:
    """A room's whole state at first, and frames as they come afterwards, all by one client, so that clocks meet."""
    notebook = YNotebook(Doc(client_id=7))
    notebook.set(notebook_of(["x = é😀", ("markdown", "# T")]))
    start = notebook.ydoc.get_update()
    updates: list[bytes] = []
    subscription = notebook.ydoc.observe(lambda event: updates.append(event.update))
    notebook.ycells[0]["source"].insert(2, "é😀")
    del notebook.ycells[0]["source"][0:2]
    notebook.ycells[0]["outputs"].append({"output_type": "error", "traceback": ["a", 1.5, None, True]})
    notebook.append_cell({"cell_type": "raw", "source": "z", "metadata": {"a": {"b": [1, 2.5]}}})
    del notebook.ycells[1]
    notebook.ydoc.unobserve(subscription)
    return start, [
        create_sync_message(notebook.ydoc),
        *(b"\0\1" + write_message(update) for update in (start, notebook.ydoc.get_update())),
        *(create_update_message(update) for update in updates),
        create_awareness_message(encode([(5, 1, {"user": {"name": "é😀"}}), (6, 2, None)])),
        b"\2" + write_message(b'{"type":"save","responseTo":1,"status":"success"}'),
    ]


START, FRAMES = transcript()


def joined() -> RoomProtocol:
    protocol = RoomProtocol(Replica())
    protocol.receive(b"\0\0\1\0", 0)
    protocol.receive(b"\0\1" + write_message(START), 0)
    assert protocol.phase is Phase.SYNCED
    protocol.frames_to_send()
    return protocol


def assert_contained(frame: bytes) -> None:
    """It is handled, or refused by the one error; the views can still be read, and a later frame be handled."""
    protocol = joined()
    try:
        protocol.receive(frame, 0)
    except RemoteProtocolError:
        assert protocol.phase is Phase.CLOSED
        return
    for cell in protocol.replica.view.cells:
        assert isinstance(cell.source, str)
        assert isinstance(protocol.replica.outputs(cell.id), tuple)
    protocol.tick(1)
    protocol.ask()
    protocol.frames_to_send()


@given(st.binary(max_size=60))
@settings(deadline=None)
def test_random_bytes_are_contained(frame: bytes) -> None:
    assert_contained(frame)


@given(st.sampled_from([b"\0\0", b"\0\1", b"\0\2", b"\1", b"\2"]), st.binary(max_size=60))
@settings(deadline=None, max_examples=300)
def test_random_payloads_are_contained(head: bytes, payload: bytes) -> None:
    assert_contained(head + write_message(payload))


@given(st.sampled_from(FRAMES), st.data())
@settings(deadline=None)
def test_a_truncated_frame_is_refused(frame: bytes, data: st.DataObject) -> None:
    cut = frame[: data.draw(st.integers(0, len(frame) - 1))]
    if cut[:1] == b"\1":  # a peer's own word
        assert joined().receive(cut, 0) == []
        return
    with pytest.raises(RemoteProtocolError):
        joined().receive(cut, 0)


edits = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 5), st.binary(max_size=4)), min_size=1, max_size=4)


@given(st.sampled_from(FRAMES), edits)
@settings(deadline=None, max_examples=600)
def test_mutated_frames_are_contained(frame: bytes, changes: list[tuple[int, int, bytes]]) -> None:
    """The payload is mutated and then framed again, so that it reaches pycrdt."""
    head = 1 if frame[0] else 2
    payload = bytearray(read_message(frame[head:]))
    for at, removed, added in changes:
        start = at % (len(payload) + 1)
        payload[start : start + removed] = added
    assert_contained(frame[:head] + write_message(bytes(payload)))


@pytest.mark.parametrize("payload", [b"\1\0\7\0\0", b"\1\0\7\x08\1\2\1a|"])
def test_a_panic_of_pycrdt_is_the_other_sides_fault(payload: bytes) -> None:
    """Found by mutation: a client without structs.  pycrdt 0.14.13 panics, with a ``BaseException``."""
    doc: Doc[Any] = Doc()
    doc.apply_update(START)
    kinds: list[type[BaseException]] = []
    try:
        doc.apply_update(payload)
    except BaseException as panic:
        kinds.append(type(panic))
    assert kinds
    assert not issubclass(kinds[0], Exception), "pycrdt has mended it: find another one"
    with pytest.raises(RemoteProtocolError):
        joined().receive(b"\0\2" + write_message(payload), 0)


@given(st.binary(max_size=40))
def test_readers_end_in_a_value_or_in_the_one_error(data: bytes) -> None:
    for read in (state_vector, update_key, decode, lambda data: Reader(data).var_string()):
        with suppress(RemoteProtocolError):
            read(data)
