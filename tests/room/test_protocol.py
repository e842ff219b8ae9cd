"""Frames in, frames and events out: the order of joining, acknowledgements, requests, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jupyter_ydoc import YNotebook
from pycrdt import create_sync_message, create_update_message, handle_sync_message, read_message, write_message

from collab_agent.errors import LocalProtocolError, RemoteProtocolError
from collab_agent.notebook.splice import Splice
from collab_agent.notebook.steps import SpliceSource
from collab_agent.room.codec import Reader, encoded_vector, first_put, state_vector, update_key, var_uint, whole
from collab_agent.room.presence import LAST_CLOCK, RENEW_S, decode, encode
from collab_agent.room.protocol import (
    Acknowledged,
    Changed,
    Conflict,
    PeersChanged,
    Phase,
    RoomProtocol,
    SaveAnswered,
    Synced,
)
from collab_agent.room.replica import Replica
from collab_agent.testing import notebook_of

STATE = {"user": {"name": "Agent"}}


class Server:
    """The server's side, by pycrdt's own functions; ``updates`` are what it would send to everybody."""

    def __init__(self, *sources: str) -> None:
        self.notebook = YNotebook()
        self.notebook.set(notebook_of(sources))
        self.updates: list[bytes] = []
        self._subscription = self.notebook.ydoc.observe(self._on_update)

    def _on_update(self, event: Any) -> None:
        self.updates.append(create_update_message(event.update))

    def hello(self) -> bytes:
        return create_sync_message(self.notebook.ydoc)

    def answers(self, frames: list[bytes]) -> list[bytes]:
        replies = (handle_sync_message(frame[1:], self.notebook.ydoc) for frame in frames if frame[0] == 0)
        return [reply for reply in replies if reply is not None]


def joined(server: Server) -> RoomProtocol:
    protocol = RoomProtocol(Replica())
    protocol.receive(server.hello(), 0)
    (step2,) = server.answers(protocol.frames_to_send())
    assert protocol.receive(step2, 0) == [Synced()]
    server.updates.clear()
    return protocol


def edit(protocol: RoomProtocol, text: str) -> int:
    cell = protocol.replica.view.cells[0]
    return protocol.write([SpliceSource(cell.id, (Splice(0, 0, text),))])[1]


def raw(message: Any) -> bytes:
    text = message if isinstance(message, bytes) else json.dumps(message).encode()
    return b"\2" + write_message(text)


def test_joining() -> None:
    server, protocol = Server("x", "y"), RoomProtocol(Replica())
    assert (protocol.phase, protocol.has_frames) == (Phase.CONNECTING, False)
    assert protocol.receive(server.hello(), 0) == []
    answer, question = protocol.frames_to_send()
    assert (answer[:2], read_message(answer[2:])) == (b"\0\1", b"\0\0")
    assert (question[:2], state_vector(read_message(question[2:]))) == (b"\0\0", {})
    assert protocol.frames_to_send() == []
    (step2,) = server.answers([question])
    assert protocol.receive(step2, 0) == [Synced()]
    assert [cell.source for cell in protocol.replica.view.cells] == ["x", "y"]


def test_an_empty_room_is_joined_too() -> None:
    protocol = RoomProtocol(Replica())
    protocol.receive(b"\0\0\1\0", 0)
    assert protocol.receive(b"\0\1\2\0\0", 0) == [Synced()]


def test_what_comes_while_joining_is_not_reported_as_a_change() -> None:
    server, protocol = Server("x"), RoomProtocol(Replica())
    protocol.receive(server.hello(), 0)
    frames = protocol.frames_to_send()
    (step2,) = server.answers(frames)
    server.notebook.ycells[0]["source"].insert(0, "early ")
    assert protocol.receive(server.updates[-1], 0) == []
    assert protocol.receive(step2, 0) == [Synced()]
    assert protocol.replica.view.cells[0].source == "early x"


def test_nothing_is_written_before_the_room_is_in_step() -> None:
    server, protocol = Server("x"), RoomProtocol(Replica())
    protocol.ask()
    assert not protocol.has_frames
    protocol.receive(server.hello(), 0)
    with pytest.raises(LocalProtocolError):
        protocol.write([])


def test_an_echo_acknowledges_it_and_all_before() -> None:
    server = Server("x")
    protocol = joined(server)
    first, second, third = edit(protocol, "a"), edit(protocol, "b"), edit(protocol, "c")
    server.answers(protocol.frames_to_send())
    assert protocol.receive(server.updates[1], 0) == [Acknowledged(second)]
    assert (first, second, third) == (1, 2, 3)
    late = protocol.receive(server.updates[0], 0)  # acknowledged already: a change by nobody
    assert [event.change.clients for event in late if isinstance(event, Changed)] == [frozenset()]
    assert protocol.receive(server.updates[2], 0) == [Acknowledged(third)]


def test_the_echo_of_a_deletion_acknowledges_it() -> None:
    server = Server("abc")
    protocol = joined(server)
    cell = protocol.replica.view.cells[0]
    number = protocol.write([SpliceSource(cell.id, (Splice(0, 1, ""), Splice(2, 3, "")))])[1]
    server.answers(protocol.frames_to_send())
    assert protocol.receive(server.updates[-1], 0) == [Acknowledged(number)]


def test_a_step_2_acknowledges_what_was_sent_before_its_question() -> None:
    server = Server("x")
    protocol = joined(server)
    number = edit(protocol, "a")
    protocol.ask()
    edit(protocol, "b")
    update, question, later = protocol.frames_to_send()
    (step2,) = server.answers([update, question])
    assert protocol.receive(step2, 0) == [Acknowledged(number)]
    server.answers([later])
    assert protocol.receive(server.updates[-1], 0) == [Acknowledged(number + 1)]


def test_a_step_2_that_nobody_asked_for_acknowledges_nothing() -> None:
    protocol = joined(Server("x"))
    edit(protocol, "a")
    assert protocol.receive(b"\0\1\2\0\0", 0) == []


def test_a_gap_is_asked_for_once_and_filled() -> None:
    server = Server("x")
    protocol = joined(server)
    for character in "abc":
        server.notebook.ycells[0]["source"].insert(0, character)
    protocol.receive(server.updates[2], 0)
    (question,) = protocol.frames_to_send()
    (step2,) = server.answers([question])
    protocol.receive(step2, 0)
    assert protocol.frames_to_send() == []
    assert protocol.replica.view.cells[0].source == "cbax"


def test_a_gap_that_the_room_has_itself_is_not_asked_for_for_ever() -> None:
    server, stranger = Server("x"), YNotebook()
    protocol = joined(server)
    stranger.ydoc.apply_update(server.notebook.ydoc.get_update())
    stranger.ycells[0]["source"].insert(0, "never sent")
    vector = stranger.ydoc.get_state()
    stranger.ycells[0]["source"].insert(5, "!")
    update = stranger.ydoc.get_update(vector)
    server.notebook.ydoc.apply_update(update)
    protocol.receive(create_update_message(update), 0)
    (question,) = protocol.frames_to_send()
    for step2 in server.answers([question]):
        protocol.receive(step2, 0)
    assert protocol.frames_to_send() == []
    assert edit(protocol, "still works ") == 1


def test_a_step_2_that_leaves_a_gap_is_not_answered_with_a_question() -> None:
    stranger = YNotebook()
    stranger.set(notebook_of(["x"]))
    vector = stranger.ydoc.get_state()
    stranger.ycells[0]["source"].insert(0, "y")
    protocol = joined(Server("x"))
    protocol.receive(b"\0\1" + write_message(stranger.ydoc.get_update(vector)), 0)
    assert protocol.frames_to_send() == []


def test_the_server_may_ask_at_any_time() -> None:
    server = Server("x")
    protocol = joined(server)
    edit(protocol, "a")
    protocol.frames_to_send()  # lost
    assert protocol.receive(server.hello(), 0) == []
    server.answers(protocol.frames_to_send())
    assert str(server.notebook.ycells[0]["source"]) == "ax"


def test_presence_is_published_renewed_and_answered() -> None:
    protocol = joined(Server("x"))
    protocol.publish(STATE, 0)
    events = protocol.receive(b"\1" + write_message(encode([(5, 1, STATE)])), 1)
    assert [event.change.added for event in events if isinstance(event, PeersChanged)] == [{5}]
    assert protocol.tick(RENEW_S) == []  # published at 1 for the newcomer
    assert protocol.tick(1 + RENEW_S) == []
    (gone,) = protocol.tick(40)
    assert isinstance(gone, PeersChanged)
    protocol.withdraw(99, 7)
    published = [decode(read_message(frame[1:]))[0] for frame in protocol.frames_to_send()]
    me = protocol.replica.client_id
    assert published == [(me, 1, STATE), (me, 2, STATE), (me, 3, STATE), (me, 4, STATE), (99, 7, None)]


def test_a_save_is_numbered_and_answered() -> None:
    protocol = joined(Server("x"))
    assert protocol.request_save() == 1
    assert protocol.frames_to_send() == [b"\2\4save\1"]
    answer = {"type": "save", "responseTo": 1, "status": "success"}
    assert protocol.receive(raw(answer), 0) == [SaveAnswered(1, "success")]
    assert protocol.receive(raw({"type": "conflict"}), 0) == [Conflict()]


@pytest.mark.parametrize(
    "message",
    [
        *({}, [], None, 1, "save", {"type": "other"}, {"type": "save"}, {"type": "save", "responseTo": "1"}),
        *(b'{"type":"save","responseTo":Infinity}', b'{"type":"save","responseTo":NaN}', {"type": ["conflict"]}),
    ],
)
def test_messages_that_mean_nothing_to_us_are_ignored(message: Any) -> None:
    assert joined(Server("x")).receive(raw(message), 0) == []


@pytest.mark.parametrize("frame", [b"\1", b"\1\3\1\1", b"\1\5\1\5\1\1x", b"\1\1\xff"])
def test_awareness_that_is_none_is_passed_over(frame: bytes) -> None:
    """The server hands on whatever a peer says of itself before it looks at it."""
    protocol = joined(Server("x"))
    assert protocol.receive(frame, 0) == []
    assert protocol.phase is Phase.SYNCED


def test_a_client_id_whose_clock_somebody_has_used_up_is_given_up() -> None:
    protocol = joined(Server("x"))
    protocol.publish(STATE, 0)
    with pytest.raises(RemoteProtocolError):
        protocol.receive(b"\1" + write_message(encode([(protocol.replica.client_id, LAST_CLOCK, STATE)])), 0)
    other = joined(Server("x"))
    assert other.receive(b"\1" + write_message(encode([(5, LAST_CLOCK + 1, STATE)])), 0) == []


def test_frames_of_a_later_protocol_are_ignored() -> None:
    assert joined(Server("x")).receive(b"\5\1\2\3", 0) == []


@pytest.mark.parametrize(
    "frame",
    [
        *(b"", b"\0", b"\0\0", b"\0\2", b"\0\2\5ab", b"\0\3\0", b"\0\2\2\1\1"),
        *(b"\2\1[", b"\2\2\xff\xff", b"\x80" * 11, raw(b"[" * 100_000), b"\0\0\3\5\5\5"),
    ],
)
def test_a_broken_frame_closes_the_connection_for_good(frame: bytes) -> None:
    server = Server("x")
    protocol = joined(server)
    with pytest.raises(RemoteProtocolError):
        protocol.receive(frame, 0)
    assert protocol.phase is Phase.CLOSED
    with pytest.raises(LocalProtocolError):
        protocol.receive(server.hello(), 0)
    with pytest.raises(LocalProtocolError):
        edit(protocol, "a")


def test_an_update_is_known_by_its_client_and_clock_whoever_encodes_it() -> None:
    replica = joined(Server("abc")).replica
    cell = replica.view.cells[0]
    for splices in ((Splice(1, 1, "é😀"),), (Splice(0, 2, ""),), (Splice(0, 1, "x"), Splice(2, 3, ""))):
        vector = replica.state_vector()
        written = replica.write([SpliceSource(cell.id, splices)])
        if written.update is not None and splices[0].insert:
            assert written.key == update_key(replica.update_since(vector))
            assert written.key == (replica.client_id, state_vector(vector).get(replica.client_id, 0))


@pytest.mark.parametrize("number", [0, 1, 127, 128, 2**53 - 1, 2**63, 2**64 - 1])
def test_numbers_come_back(number: int) -> None:
    reader = Reader(var_uint(number))
    assert (reader.var_uint(), reader.at_end) == (number, True)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [(1, 1), (2.0, 2), (float("inf"), None), (float("nan"), None), (True, None), ("1", None), (10**400, 10**400)],
)
def test_whole_numbers_of_json(value: object, wanted: int | None) -> None:
    assert whole(value) == wanted


def test_an_update_that_begins_with_a_key_that_was_new_says_which() -> None:
    notebook = YNotebook()
    assert first_put(notebook.ydoc.get_update()) is None
    notebook.path = "a.ipynb"
    assert first_put(notebook.ydoc.get_update()) == ("state", "path")
    after = encoded_vector(state_vector(notebook.ydoc.get_state()))
    assert after == notebook.ydoc.get_state()
    notebook.path = "b.ipynb"
    assert first_put(notebook.ydoc.get_update()) == ("state", "path"), "what was there first is remembered"
    assert first_put(notebook.ydoc.get_update(after)) is None, "it names what stood there"
