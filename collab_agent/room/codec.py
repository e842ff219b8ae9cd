"""lib0's variable-length integers and the few Yjs headers that we read ourselves.

pycrdt's ``Decoder`` slices past the end without a word; this one raises ``RemoteProtocolError`` and nothing else.
Formats: y-protocols ``PROTOCOL.md``, Yjs update encoding v1.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping

from ..errors import RemoteProtocolError

_MAX_VAR_UINT_BYTES = 10


class Reader:
    """Reads lib0 values off a bytes object; ``RemoteProtocolError`` at its end or on malformed data."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def at_end(self) -> bool:
        return self._at >= len(self._data)

    def var_uint(self) -> int:
        """An unsigned integer of at most 64 bits."""
        number = 0
        for position in range(_MAX_VAR_UINT_BYTES):
            if self._at >= len(self._data):
                raise RemoteProtocolError("A frame ends in the middle of a number.")
            byte = self._data[self._at]
            self._at += 1
            number |= (byte & 0x7F) << (7 * position)
            if byte < 0x80:
                return number
        raise RemoteProtocolError("A frame holds a number of more than 64 bits.")

    def var_bytes(self) -> bytes:
        """A byte string behind its length in bytes."""
        length = self.var_uint()
        if length > len(self._data) - self._at:
            raise RemoteProtocolError("A frame announces more bytes than it holds.")
        self._at += length
        return self._data[self._at - length : self._at]

    def var_string(self) -> str:
        """A UTF-8 string behind its length in bytes."""
        try:
            return self.var_bytes().decode("utf-8")
        except UnicodeDecodeError as exc:
            raise RemoteProtocolError("A frame holds a string that is not UTF-8.") from exc


def var_uint(number: int) -> bytes:
    """``number`` in lib0's variable-length form."""
    out = bytearray()
    while number > 0x7F:
        out.append(0x80 | (number & 0x7F))
        number >>= 7
    out.append(number)
    return bytes(out)


def var_bytes(data: bytes) -> bytes:
    """``data`` behind its length in bytes."""
    return var_uint(len(data)) + data


def state_vector(encoded: bytes) -> Mapping[int, int]:
    """A state vector as ``{client id: next clock}``; clocks count UTF-16 units and other items."""
    reader = Reader(encoded)
    return {reader.var_uint(): reader.var_uint() for _ in range(reader.var_uint())}


def whole(value: object) -> int | None:
    """A number that came as JSON or through Yjs (where all are floats) as an int; None for anything else.

    Infinity and NaN come through both.
    """
    if isinstance(value, float) and math.isfinite(value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def finite(value: object) -> float | None:
    """A number that came as JSON as a float; None for anything else, and for what no float can hold."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if -sys.float_info.max <= value <= sys.float_info.max else None


UpdateKey = tuple[int, int] | frozenset[tuple[int, int, int]] | None


def update_key(update: bytes) -> UpdateKey:
    """What tells one small update from another, whoever encoded it: its client and first clock.

    An update that only deletes is told by its deleted ranges ``{(client, clock, length)}``.  None: an update
    of several clients, which is never one of our own transactions.
    """
    reader = Reader(update)
    clients = reader.var_uint()
    if clients == 1:
        reader.var_uint()  # number of structs
        return (reader.var_uint(), reader.var_uint())
    if clients > 1:
        return None
    ranges: set[tuple[int, int, int]] = set()
    for _ in range(reader.var_uint()):
        client = reader.var_uint()
        for _ in range(reader.var_uint()):
            ranges.add((client, reader.var_uint(), reader.var_uint()))
    return frozenset(ranges)


def remote_error(exc: BaseException, message: str) -> BaseException:
    """pycrdt panics with a ``BaseException`` on some malformed input; that must not escape as one."""
    if isinstance(exc, KeyboardInterrupt | SystemExit):
        return exc
    return RemoteProtocolError(message, "The notebook is joined afresh; call again.")
