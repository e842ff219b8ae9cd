from __future__ import annotations

import struct
from datetime import UTC, datetime

import pytest

from collab_agent.errors import LocalProtocolError, RemoteProtocolError
from collab_agent.kernel.wire import decode, encode

MESSAGE = {
    "header": {"msg_id": "1", "msg_type": "status", "session": "kernel"},
    "parent_header": {"msg_id": "0", "msg_type": "execute_request", "session": "page"},
    "metadata": {},
    "content": {"execution_state": "busy"},
}


def frame(*parts: bytes) -> bytes:
    """A well-formed frame of whatever parts."""
    offsets = [8 * (len(parts) + 2)]
    for part in parts:
        offsets.append(offsets[-1] + len(part))
    return struct.pack(f"<{len(offsets) + 1}Q", len(offsets), *offsets) + b"".join(parts)


def test_a_message_names_its_parent_and_its_maker() -> None:
    message = decode(encode(MESSAGE, "iopub"))
    assert (message.channel, message.msg_id, message.msg_type, message.session) == ("iopub", "1", "status", "kernel")
    assert (message.parent_id, message.parent_type, message.parent_session) == ("0", "execute_request", "page")


def test_a_message_without_parent_has_empty_parent_names() -> None:
    message = decode(encode(MESSAGE | {"parent_header": {}}, "iopub"))
    assert (message.parent_id, message.parent_type, message.parent_session) == ("", "", "")


def test_buffers_survive() -> None:
    assert decode(encode(MESSAGE | {"buffers": [b"a", memoryview(b"\x00b")]}, "iopub")).buffers == (b"a", b"\x00b")


def test_a_lone_surrogate_survives() -> None:
    message = decode(encode(MESSAGE | {"content": {"code": "x = '\ud83d'"}}, "shell"))
    assert message.content["code"] == "x = '\ud83d'"


def test_dates_become_iso_8601() -> None:
    header = MESSAGE["header"] | {"date": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)}
    assert decode(encode(MESSAGE | {"header": header}, "shell")).header["date"] == "2026-01-02T03:04:05Z"


@pytest.mark.parametrize("content", [{"x": object()}, {"x": float("nan")}, {"x": b"bytes"}])
def test_what_is_no_json_is_our_own_fault(content: dict[str, object]) -> None:
    with pytest.raises(LocalProtocolError):
        encode(MESSAGE | {"content": content}, "shell")


HEADER = b'{"msg_id": "1", "msg_type": "status"}'


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\x01",
        struct.pack("<Q", 2**64 - 1),
        struct.pack("<QQ", 1, 16),
        struct.pack("<QQQ", 2, 24, 2**63),
        struct.pack("<QQQ", 2, 2**63, 24),
        struct.pack("<QQQ", 2, 0, 24),
        frame(b"iopub"),
        frame(b"iopub", HEADER, b"{}", b"{}"),
        frame(b"heartbeat", HEADER, b"{}", b"{}", b"{}"),
        frame(b"\xff\xfe", HEADER, b"{}", b"{}", b"{}"),
        frame(b"iopub", b"{}", b"{}", b"{}", b"{}"),
        frame(b"iopub", b'{"msg_id": 1, "msg_type": "status"}', b"{}", b"{}", b"{}"),
        frame(b"iopub", HEADER, b"[]", b"{}", b"{}"),
        frame(b"iopub", HEADER, b"{}", b"{", b"{}"),
        frame(b"iopub", HEADER, b"{}", b"{}", b"[" * 100_000),
        frame(b"iopub", HEADER, b"{}", b"{}", b'{"x": ' + b"1" * 5000 + b"}"),
    ],
)
def test_garbage_is_the_other_sides_fault(garbage: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode(garbage)
