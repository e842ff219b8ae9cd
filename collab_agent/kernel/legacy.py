"""Kernel messages as frames of a websocket *without* a subprotocol, and back: the dialect before ``wire``'s.

A frame is text, the JSON of ``{channel, header, parent_header, metadata, content}``; or, for a message with buffers,
binary: ``u32be n | n x u32be offset | that JSON | buffers…``, where ``n`` is the number of parts and offsets count
bytes from the frame's start.  (jupyter_server, ``services/kernels/connection/base.py: serialize_binary_message``.)
A server whose kernels are run by a kernel gateway speaks nothing else (its ``gateway/connections.py``).

No I/O here.  Whatever comes in, ``decode`` gives a ``Message`` or raises ``RemoteProtocolError``.
"""

from __future__ import annotations

import json
import struct
from itertools import pairwise
from typing import Any, cast, get_args

from ..errors import LocalProtocolError, RemoteProtocolError
from .wire import Channel, Message, parts_of

_DICTS = ("header", "parent_header", "metadata", "content")
_WORD = 4


def encode(frame: bytes) -> str:
    """The text frame of a v1 frame of ours.  ``LocalProtocolError``: it has buffers, which no request of ours has."""
    channel, parts = parts_of(frame)
    if len(parts) != len(_DICTS):
        raise LocalProtocolError(f"a {channel} message of {len(parts)} parts cannot be sent as text")
    objects = (f'"{name}":{part.decode()}' for name, part in zip(_DICTS, parts, strict=True))
    return f'{{"channel":"{channel}",{",".join(objects)},"buffers":[]}}'


def decode(frame: str | bytes) -> Message:
    """The message in ``frame``.  ``RemoteProtocolError``: the frame is broken or truncated."""
    text, *buffers = [frame] if isinstance(frame, str) else _split(frame)
    try:
        value = json.loads(text if isinstance(text, str) else text.decode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise RemoteProtocolError(f"a kernel frame is no JSON: {error}") from None
    if not isinstance(value, dict) or value.get("channel") not in get_args(Channel):
        raise RemoteProtocolError("a kernel frame names no channel that is known")
    header, parent, metadata, content = (_object(value, name) for name in _DICTS)
    for key in ("msg_id", "msg_type"):
        if not isinstance(header.get(key), str):
            raise RemoteProtocolError(f"the header of a kernel message has no {key}")
    return Message(cast("Channel", value["channel"]), header, parent, metadata, content, tuple(cast("Any", buffers)))


def _object(message: dict[str, Any], name: str) -> dict[str, Any]:
    value = message.get(name)
    if value is None and name in ("parent_header", "metadata"):
        return {}
    if not isinstance(value, dict):
        raise RemoteProtocolError(f"the {name} of a kernel message is {type(value).__name__}, not an object")
    return value


def _split(frame: bytes) -> list[bytes]:
    count = struct.unpack_from(">I", frame)[0] if len(frame) >= _WORD else 0
    # Before anything is allocated: a hostile count can be as large as 2**32.
    if count < 1 or _WORD * (count + 1) > len(frame):
        raise RemoteProtocolError(f"a kernel frame of {len(frame)} bytes claims {count} parts")
    offsets = [*struct.unpack_from(f">{count}I", frame, _WORD), len(frame)]
    if offsets[0] < _WORD * (count + 1) or any(low > high for low, high in pairwise(offsets)):
        raise RemoteProtocolError(f"the offsets of a kernel frame of {len(frame)} bytes lead outside of it")
    return [frame[start:stop] for start, stop in pairwise(offsets)]
