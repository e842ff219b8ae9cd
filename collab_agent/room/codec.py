"""lib0's variable-length integers and the few Yjs headers that we read ourselves.

pycrdt's ``Decoder`` slices past the end without a word; this one raises ``RemoteProtocolError`` and nothing else.
Formats: y-protocols ``PROTOCOL.md``, Yjs update encoding v1.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence

from ..errors import RemoteProtocolError

_MAX_VAR_UINT_BYTES = 10
_NEIGHBOURS, _KEY, _NAMED = 0xC0, 0x20, 1
"""Of a struct: that it names its neighbours instead of its parent, that it has a key; and a parent with a name."""


class Reader:
    """Reads lib0 values off a bytes object; ``RemoteProtocolError`` at its end or on malformed data."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def at_end(self) -> bool:
        return self._at >= len(self._data)

    def byte(self) -> int:
        """One byte."""
        if self.at_end:
            raise RemoteProtocolError("A frame ends where a byte should come.")
        self._at += 1
        return self._data[self._at - 1]

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


def encoded_vector(clocks: Mapping[int, int]) -> bytes:
    """``{client id: next clock}`` as a state vector."""
    return var_uint(len(clocks)) + b"".join(var_uint(client) + var_uint(clock) for client, clock in clocks.items())


def deletions(update: bytes) -> Mapping[int, Sequence[range]]:
    """The clocks of what is deleted, by client id, as an update says that holds nothing but that."""
    reader = Reader(update)
    if reader.var_uint():
        raise RemoteProtocolError("An update holds more than deletions.")
    found: dict[int, list[range]] = {}
    for _ in range(reader.var_uint()):
        client = reader.var_uint()
        starts = ((reader.var_uint(), reader.var_uint()) for _ in range(reader.var_uint()))
        found[client] = [range(start, start + length) for start, length in starts]
    return found


def first_put(update: bytes) -> tuple[str, str] | None:
    """The shared type of the document, and the key in it, that the first struct of an update puts; None: no such.

    Only where nothing had that key before: else the struct names what stood there instead.
    """
    reader = Reader(update)
    if not reader.var_uint() or not reader.var_uint():
        return None
    for _client_and_clock in range(2):
        reader.var_uint()
    info = reader.byte()
    if info & _NEIGHBOURS or not info & _KEY or reader.var_uint() != _NAMED:
        return None
    return reader.var_string(), reader.var_string()


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
