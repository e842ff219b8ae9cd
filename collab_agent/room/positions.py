"""Places in a shared text that stay true while others type: Yjs relative positions.

A position is published as JSON with all four keys, nulls included: JupyterLab's cursor code throws where one is
missing, and the human's keystrokes then show on screen but never reach the document (``facts/rtc.md``).  pycrdt's
``StickyIndex.to_json()`` leaves nulls out, panics at the end of a text, and counts bytes where clocks count UTF-16
units; so only what can be vouched for is taken from it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pycrdt import Assoc, StickyIndex, Text

from ..notebook.splice import byte_offset, utf16_length
from .codec import deletions, state_vector

ItemId = tuple[int, int]
"""Client id and clock (UTF-16 units)."""

_MOST_LOOKS = 500
_MOST_READ = 5_000
_MARK = "|"
AFTER_LEFT, BEFORE_RIGHT = -1, 0
"""Yjs's ``assoc``: a position sticks to the character on its left, or to the one on its right."""


@dataclass(frozen=True, slots=True)
class Position:
    """A relative position: beside ``item``, or at an end of a text where there is none; ``type`` names the text.

    Yjs itself puts both into a position, and whoever looks for a caret's cell goes by the text.
    """

    type: ItemId
    item: ItemId | None
    assoc: int

    def to_json(self) -> dict[str, Any]:
        """The form that awareness carries, with all four keys."""
        return {"type": _id_json(self.type), "tname": None, "item": _id_json(self.item), "assoc": self.assoc}


@dataclass(frozen=True, slots=True)
class Range:
    """A selection in the source of one cell; a caret where both ends are equal."""

    cell: str
    anchor: Position
    head: Position

    def collapsed(self) -> Range:
        """Only the caret of it."""
        return Range(self.cell, self.head, self.head)

    def to_json(self, *, primary: bool) -> dict[str, Any]:
        """One element of the awareness field ``cursors``."""
        return {
            "anchor": self.anchor.to_json(),
            "head": self.head.to_json(),
            "primary": primary,
            "empty": self.anchor == self.head,
        }


def _id_json(item: ItemId | None) -> dict[str, int] | None:
    return None if item is None else {"client": item[0], "clock": item[1]}


def text_id(text: Text) -> ItemId:
    """The id of a text itself: what a caret's ``type`` names."""
    found = text.sticky_index(0, Assoc.BEFORE).to_json()["type"]
    return (int(found["client"]), int(found["clock"]))


def start_of(text: Text) -> Position:
    """The start of a text."""
    return Position(text_id(text), None, AFTER_LEFT)


def end_of(text: Text) -> Position:
    """The end of a text."""
    return Position(text_id(text), None, BEFORE_RIGHT)


def inserted(text: Text, client: int, first: int, last: int) -> tuple[Position, Position]:
    """Around characters of our own in ``text``: clocks (UTF-16 units) of the first and of the last unit."""
    of = text_id(text)
    return Position(of, (client, first), BEFORE_RIGHT), Position(of, (client, last), AFTER_LEFT)


def at_character(text: Text, index: int) -> Position:
    """The place before character ``index``, or the nearest end of the text where that cannot be vouched for."""
    current = str(text)
    if index >= len(current):
        return end_of(text)
    found = _item_at(text, byte_offset(current, index))
    if found is not None:
        client, clock = found
        position = Position(text_id(text), (client, clock), BEFORE_RIGHT)
        # Wrong after non-ASCII text in the same block; it may even be the second half of the very character.
        halves = (replace(position, item=(client, clock + n)) for n in range(utf16_length(current[index])))
        if all(character_of(text, half.to_json()) == index for half in halves):
            return position
    return start_of(text) if index * 2 < len(current) else end_of(text)


def character_of(text: Text, position: Any) -> int | None:
    """The character index in ``text`` of a position that a peer has published; None where it cannot be found.

    ``position`` is untrusted JSON.  pycrdt adds up bytes for the blocks before the item and UTF-16 units inside the
    item's own block; the block's start is found by walking back clock by clock until the sum jumps.
    """
    if not isinstance(position, dict):
        return None
    current = str(text)
    item = position.get("item")
    if not isinstance(item, dict):
        return 0 if position.get("assoc") == AFTER_LEFT else len(current)
    try:
        client, clock = int(item["client"]), int(item["clock"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    if not _has_come(text, client, clock):
        return None
    summed, beyond = (_summed(text, client, clock, assoc) for assoc in (BEFORE_RIGHT, AFTER_LEFT))
    if summed is None or beyond is None:
        return None
    after = beyond - summed if position.get("assoc") == AFTER_LEFT else 0  # 0 also where the item is deleted
    if current.isascii():
        return min(summed + after, len(current))
    back = _to_block_start(text, client, clock, summed)
    encoded = current.encode()
    block = encoded[summed - back :].decode(errors="ignore")
    units = block.encode("utf-16-le")[: 2 * (back + after)].decode("utf-16-le", errors="ignore")
    return len(encoded[: summed - back].decode(errors="ignore")) + len(units)


def holder(texts: Iterable[tuple[str, Text]], item: ItemId) -> str | None:
    """The name of the text in which the character with this id stands.

    None where there is none, where it was deleted, and where it cannot be told: behind non-ASCII text an index also
    names items that its block has not, so that two texts may look as if they had it.  Never the name of another text.
    """
    summed: int | None = None
    found: list[str] = []
    for name, text in texts:
        if summed is None:  # the same for all: Yjs finds the item's own text, whichever it is asked of
            summed = _summed(text, *item, BEFORE_RIGHT) if _has_come(text, *item) else None
            if summed is None:
                return None
        # Sum and index both count from the start of the item's block, so in its own text they agree.
        if _item_at(text, summed) == item:
            found.append(name)
    return found[0] if len(found) == 1 else None


def _to_block_start(text: Text, client: int, clock: int, summed: int) -> int:
    """How many UTF-16 units an item is behind the start of its block.

    An earlier clock may be of what is gone with another cell, where pycrdt panics, on stderr; so it is asked for only
    where the text's own index leads to it, and only if it is not deleted: behind non-ASCII text that index errs.
    """
    back, gone = 0, None
    while back < min(clock, summed):
        item, at = (client, clock - back - 1), summed - back - 1
        if _item_at(text, at) != item:
            break
        gone = _deleted_by(text, client) if gone is None else gone
        if any(item[1] in clocks for clocks in gone) or _summed(text, *item, BEFORE_RIGHT) != at:
            break
        back += 1
    return back


def _deleted_by(text: Text, client: int) -> Sequence[range]:
    """The clocks of a client's characters, and of what else it made, that are deleted."""
    assert text.doc is not None
    return deletions(text.doc.get_update(text.doc.get_state())).get(client, ())


def _item_at(text: Text, offset: int) -> ItemId | None:
    """The item at a UTF-8 offset, None at the text's end; wrong behind non-ASCII text in the same block."""
    if offset >= len(text):
        return None
    item = text.sticky_index(offset, Assoc.AFTER).to_json().get("item")
    return None if item is None else (int(item["client"]), int(item["clock"]))


def writers(text: Text, start: int, stop: int) -> set[int]:
    """The clients that wrote the characters ``start`` to ``stop`` (exclusive); of many only some are looked at."""
    current = str(text)
    at, found = byte_offset(current, start), set()
    step = max(1, (stop - start) // _MOST_LOOKS)
    for first in range(start, stop, step):
        item = _item_at(text, at)
        found |= set() if item is None else {item[0]}
        at += len(current[first : first + step].encode())
    return found


def written_since(text: Text, known: Mapping[int, int]) -> list[tuple[int, int]]:
    """The characters (from, to) that writers in ``known`` (client id -> their next clock then) have written since.

    ``text`` is of a copy, which is spoilt: only of a block's first character the clock is sure, so that one is made of
    each.  A text longer than ``_MOST_READ`` is not looked at.
    """
    current, found = str(text), list[tuple[int, int]]()
    at = len(current.encode())
    if text.doc is None or len(current) > _MOST_READ:
        return []
    with text.doc.transaction():
        for index in range(len(current) - 1, -1, -1):
            at -= len(current[index].encode())
            text.insert(at, _MARK)
            item = _item_at(text, at + len(_MARK))
            if item is None or item[1] < known.get(item[0], math.inf):
                continue
            if found and found[-1][0] == index + 1:
                found[-1] = (index, found[-1][1])
            else:
                found.append((index, index + 1))
    return found[::-1]


def _has_come(text: Text, client: int, clock: int) -> bool:
    """Whether the item is here: a caret often comes before the text it is in, and pycrdt would panic, on stderr."""
    return text.doc is not None and 0 <= clock < state_vector(text.doc.get_state()).get(client, 0)


def _summed(text: Text, client: int, clock: int, assoc: int) -> int | None:
    try:
        sticky = StickyIndex.from_json({"item": {"client": client, "clock": clock}, "assoc": assoc}, text)
        return sticky.get_index()
    except BaseException as exc:
        if isinstance(exc, KeyboardInterrupt | SystemExit):
            raise
        return None
