"""The dialect of a kernel's websocket that has no subprotocol, judged by jupyter_server's own serialiser."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jupyter_server.services.kernels.connection.base import serialize_binary_message

from collab_agent.errors import LocalProtocolError, RemoteProtocolError
from collab_agent.kernel import legacy, wire

HEADER = {"msg_id": "1", "msg_type": "status", "session": "kernel"}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner, max_size=3)
)
OBJECTS = st.dictionaries(st.text(max_size=5), VALUES, max_size=3)


def message(**more: Any) -> dict[str, Any]:
    return {"header": HEADER, "parent_header": {}, "metadata": {}, "content": {}} | more


@given(OBJECTS, st.sampled_from(["shell", "control", "stdin"]))
def test_a_request_says_the_same_in_both_dialects(content: dict[str, Any], channel: wire.Channel) -> None:
    frame = wire.encode(message(content=content), channel)
    assert legacy.decode(legacy.encode(frame)) == wire.decode(frame)
    assert json.loads(legacy.encode(frame))["buffers"] == []


@given(OBJECTS, st.lists(st.binary(max_size=20), max_size=3))
def test_what_the_server_sends_is_understood(content: dict[str, Any], buffers: list[bytes]) -> None:
    sent = message(content=content, channel="iopub", parent_header={"msg_id": "0"})
    frame = serialize_binary_message(sent | {"buffers": buffers}) if buffers else json.dumps(sent)
    found = legacy.decode(frame)
    assert (found.channel, found.content, found.parent_id, list(found.buffers)) == ("iopub", content, "0", buffers)


def test_a_request_with_buffers_is_our_own_fault() -> None:
    with pytest.raises(LocalProtocolError):
        legacy.encode(wire.encode(message(buffers=[b"x"]), "shell"))


@given(st.binary(max_size=60) | st.text(max_size=60) | VALUES.map(json.dumps))
def test_garbage_is_the_other_sides_fault_and_nothing_else(frame: str | bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        legacy.decode(frame)


@pytest.mark.parametrize(
    "frame",
    [
        json.dumps(message()),
        json.dumps(message(channel="heartbeat")),
        json.dumps(message(channel="iopub", header={"msg_id": "1"})),
        json.dumps(message(channel="iopub", content=[])),
        struct.pack(">I", 2**32 - 1),
        struct.pack(">II", 1, 4) + b"{}",
        struct.pack(">III", 2, 12, 99) + b"{}",
        "[" * 100_000,
    ],
)
def test_a_frame_that_is_nearly_right_is_refused(frame: str | bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        legacy.decode(frame)
