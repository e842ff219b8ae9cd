"""The kernel's wire: round trip, agreement with jupyter_server's own serialiser, and garbage."""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from jupyter_client.session import json_packer, json_unpacker
from jupyter_server.services.kernels.connection.base import deserialize_msg_from_ws_v1, serialize_msg_to_ws_v1

from collab_agent.errors import RemoteProtocolError
from collab_agent.kernel.wire import Channel, Message, decode, encode

NAMES = ("header", "parent_header", "metadata", "content")

texts = st.text()  # no lone surrogates: jupyter_server cannot write them
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(texts, values, max_size=5)
headers = st.builds(lambda rest, a, b: rest | {"msg_id": a, "msg_type": b}, objects, texts, texts)
channels: st.SearchStrategy[Channel] = st.sampled_from(["shell", "control", "stdin", "iopub"])
messages = st.fixed_dictionaries(
    {"header": headers, "parent_header": objects, "metadata": objects, "content": objects},
    optional={"buffers": st.lists(st.binary(max_size=64), max_size=4)},
)


def as_dict(message: Message) -> dict[str, Any]:
    return {name: getattr(message, name) for name in NAMES}


@given(messages, channels)
def test_round_trip(message: dict[str, Any], channel: Channel) -> None:
    decoded = decode(encode(message, channel))
    buffers = message.pop("buffers", [])
    assert (decoded.channel, as_dict(decoded), decoded.buffers) == (channel, message, tuple(buffers))


@given(messages, channels)
def test_frames_are_those_of_jupyter_server(message: dict[str, Any], channel: Channel) -> None:
    message.pop("buffers", None)  # the server's packer leaves them out
    assert encode(message, channel) == serialize_msg_to_ws_v1(message, channel, json_packer)


@given(messages, channels)
def test_jupyter_server_reads_our_frames(message: dict[str, Any], channel: Channel) -> None:
    their_channel, parts = deserialize_msg_from_ws_v1(encode(message, channel))
    buffers = message.pop("buffers", [])
    assert their_channel == channel
    assert [json_unpacker(part) for part in parts[:4]] == [message[name] for name in NAMES]
    assert parts[4:] == buffers


@given(messages, channels, st.lists(st.binary(max_size=64), max_size=4))
def test_we_read_the_frames_of_jupyter_server(message: dict[str, Any], channel: Channel, buffers: list[bytes]) -> None:
    message.pop("buffers", None)  # drawn apart
    decoded = decode(serialize_msg_to_ws_v1([*(json_packer(message[name]) for name in NAMES), *buffers], channel))
    assert (decoded.channel, as_dict(decoded), decoded.buffers) == (channel, message, tuple(buffers))


def decode_or_refuse(frame: bytes) -> None:
    """The one invariant: a message, or ``RemoteProtocolError``."""
    try:
        message = decode(frame)
    except RemoteProtocolError:
        return
    assert isinstance(message.msg_id, str)
    assert isinstance(message.parent_id, str)


@given(st.binary(max_size=300))
@example(b"\xff" * 8)
def test_random_bytes(frame: bytes) -> None:
    decode_or_refuse(frame)


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 400), min_size=1, max_size=12), st.binary(max_size=200))
def test_random_offsets(words: list[int], rest: bytes) -> None:
    decode_or_refuse(struct.pack(f"<{len(words)}Q", *words) + rest)


@given(messages, channels, st.data())
def test_truncated_frames_are_refused(message: dict[str, Any], channel: Channel, data: st.DataObject) -> None:
    frame = encode(message, channel)
    length = data.draw(st.integers(0, len(frame) - 1))
    try:
        decode(frame[:length])
    except RemoteProtocolError:
        return
    raise AssertionError(f"{length} of {len(frame)} bytes were taken for a whole frame")


@given(messages, channels, st.data())
def test_frames_with_a_changed_byte(message: dict[str, Any], channel: Channel, data: st.DataObject) -> None:
    frame = bytearray(encode(message, channel))
    frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    decode_or_refuse(bytes(frame))


@given(st.lists(st.binary(max_size=40) | values.map(json_packer), max_size=8))
def test_well_formed_frames_of_random_parts(parts: list[bytes]) -> None:
    decode_or_refuse(serialize_msg_to_ws_v1(parts, "iopub"))
