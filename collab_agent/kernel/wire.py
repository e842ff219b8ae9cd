"""Kernel messages as frames of the websocket subprotocol ``v1.kernel.websocket.jupyter.org``, and back.

A frame is ``u64le n | n x u64le offset | channel | header | parent_header | metadata | content | buffers…``.
Offsets count bytes from the frame's start; part ``i`` lies between offset ``i`` and offset ``i + 1``, so that
``n`` is the number of parts plus one.  The four dictionaries are UTF-8 JSON.  There is no signature: the server
signs for us.  (jupyter_server, ``services/kernels/connection/base.py: serialize_msg_to_ws_v1``.)

No I/O here.  Whatever bytes come in, ``decode`` gives a ``Message`` or raises ``RemoteProtocolError``.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise
from typing import Any, Literal, cast, get_args

from ..errors import LocalProtocolError, RemoteProtocolError

SUBPROTOCOL = "v1.kernel.websocket.jupyter.org"

Channel = Literal["shell", "control", "stdin", "iopub"]

_DICTS = ("header", "parent_header", "metadata", "content")
_WORD = 8


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the Jupyter messaging protocol.  ``parent_header`` is empty where there is no parent."""

    channel: Channel
    header: Mapping[str, Any]
    parent_header: Mapping[str, Any]
    metadata: Mapping[str, Any]
    content: Mapping[str, Any]
    buffers: tuple[bytes, ...] = ()

    @property
    def msg_id(self) -> str:
        return str(self.header["msg_id"])

    @property
    def msg_type(self) -> str:
        return str(self.header["msg_type"])

    @property
    def session(self) -> str:
        """The session of whoever made this message; empty where the header names none."""
        return _text(self.header.get("session"))

    @property
    def parent_id(self) -> str:
        """The ``msg_id`` of the request that caused this message; empty where there is none."""
        return _text(self.parent_header.get("msg_id"))

    @property
    def parent_type(self) -> str:
        return _text(self.parent_header.get("msg_type"))

    @property
    def parent_session(self) -> str:
        """The session of whoever made the request that caused this message; empty where there is none."""
        return _text(self.parent_header.get("session"))


def encode(message: Mapping[str, Any], channel: Channel) -> bytes:
    """The frame of ``message``, a dictionary as ``jupyter_client.session.Session.msg`` builds it.

    Its ``buffers``, where present, follow the content.  ``LocalProtocolError``: it is no JSON.
    """
    try:
        parts = [channel.encode(), *(_pack(message[name]) for name in _DICTS)]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise LocalProtocolError(f"a {channel} message cannot be sent as JSON: {error}") from error
    return _join([*parts, *(bytes(buffer) for buffer in message.get("buffers", ()))])


def decode(frame: bytes) -> Message:
    """The message in ``frame``.  ``RemoteProtocolError``: the frame is broken, truncated, or no v1 frame."""
    return message_of(*parts_of(frame))


def parts_of(frame: bytes) -> tuple[Channel, list[bytes]]:
    """The channel, and header, parent header, metadata, content and buffers as they stand in ``frame``."""
    channel, *rest = _split(frame)
    name = channel.decode("ascii", "replace")
    if name not in get_args(Channel):
        raise RemoteProtocolError(f"a kernel frame names the unknown channel {name[:20]!r}")
    return cast("Channel", name), rest


def message_of(channel: Channel, parts: Sequence[bytes]) -> Message:
    """The message whose header, parent header, metadata, content and buffers these are; errors as ``decode``."""
    if len(parts) < len(_DICTS):
        raise RemoteProtocolError(f"a kernel message has {len(parts)} parts where at least 4 are needed")
    header, parent, metadata, content = (_unpack(part, what) for part, what in zip(parts[:4], _DICTS, strict=True))
    for key in ("msg_id", "msg_type"):
        if not isinstance(header.get(key), str):
            raise RemoteProtocolError(f"the header of a kernel message has no {key}")
    return Message(channel, header, parent, metadata, content, tuple(parts[4:]))


def _join(parts: list[bytes]) -> bytes:
    offsets = [_WORD * (len(parts) + 2)]
    for part in parts:
        offsets.append(offsets[-1] + len(part))
    return b"".join([struct.pack(f"<{1 + len(offsets)}Q", len(offsets), *offsets), *parts])


def _split(frame: bytes) -> list[bytes]:
    if len(frame) < _WORD:
        raise RemoteProtocolError(f"a kernel frame of {len(frame)} bytes is too short")
    (count,) = struct.unpack_from("<Q", frame)
    # Before anything is allocated: a hostile count can be as large as 2**64.
    if count < 2 or _WORD * (count + 1) > len(frame):
        raise RemoteProtocolError(f"a kernel frame of {len(frame)} bytes claims {count} offsets")
    offsets = struct.unpack_from(f"<{count}Q", frame, _WORD)
    if offsets[0] < _WORD * (count + 1) or offsets[-1] > len(frame) or not _ascending(offsets):
        raise RemoteProtocolError(f"the offsets of a kernel frame of {len(frame)} bytes lead outside of it")
    return [frame[start:stop] for start, stop in pairwise(offsets)]


def _ascending(numbers: tuple[int, ...]) -> bool:
    return all(low <= high for low, high in pairwise(numbers))


def _pack(value: Any) -> bytes:
    text = json.dumps(value, default=_default, ensure_ascii=False, allow_nan=False)
    try:
        return text.encode()
    except UnicodeEncodeError:  # a lone surrogate: UTF-8 cannot hold it, a JSON escape can
        return json.dumps(value, default=_default, allow_nan=False).encode()


def _default(value: object) -> object:
    """What ``json`` does not know, as jupyter_client's ``json_default`` writes it."""
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.astimezone()
        return aware.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Iterable) and not isinstance(value, (bytes, bytearray, memoryview)):
        return list(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


def _unpack(part: bytes, what: str) -> Mapping[str, Any]:
    try:
        value = json.loads(part.decode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise RemoteProtocolError(f"the {what} of a kernel message is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise RemoteProtocolError(f"the {what} of a kernel message is {type(value).__name__}, not an object")
    return value


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
