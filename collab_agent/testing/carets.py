"""Where carets are, as Yjs sees it; found by asking Yjs, not by counting."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from jupyter_ydoc import YNotebook
from pycrdt import Array, Assoc, Decoder, Doc

Item = tuple[int, int]
_HAS_LEFT, _HAS_RIGHT = 0x80, 0x40


def right_of(notebook: YNotebook, cell: int, offset: int) -> dict[str, Any]:
    """The relative position at UTF-8 ``offset`` of a cell's source, as Yjs's ``createRelativePositionFromTypeIndex``.

    That is: the text's own id always, and the id of the character on the right, null at the end of the text.
    """
    text = notebook.ycells[cell]["source"]
    found = text.sticky_index(0, Assoc.BEFORE).to_json()["type"]
    item = neighbours(notebook.ydoc, cell, offset)[1] if offset < len(text) else None
    return {
        "type": {"client": int(found["client"]), "clock": int(found["clock"])},
        "tname": None,
        "item": None if item is None else {"client": item[0], "clock": item[1]},
        "assoc": 0,
    }


def neighbours(doc: Doc[Any], cell: int, offset: int) -> tuple[Item | None, Item | None]:
    """The ids (client, clock in UTF-16 units) of the items left and right of a place in a cell's source.

    A character inserted there, in a copy of the document, names both as its origins in its update (Yjs encoding v1).
    pycrdt's own sticky indices count bytes where clocks count UTF-16 units.
    """
    copy: Doc[Any] = Doc()
    cells: Array[Any] = copy.get("cells", type=Array)
    copy.apply_update(doc.get_update())
    updates: list[bytes] = []
    subscription = copy.observe(lambda event: updates.append(event.update))
    cells[cell]["source"].insert(offset, "|")
    copy.unobserve(subscription)
    decoder = Decoder(updates[-1])
    for _ in range(4):  # one client, one struct, which client, its clock
        decoder.read_var_uint()
    info = updates[-1][decoder.i0]  # one plain byte
    decoder.i0 += 1
    decoder.length -= 1
    left = (decoder.read_var_uint(), decoder.read_var_uint()) if info & _HAS_LEFT else None
    right = (decoder.read_var_uint(), decoder.read_var_uint()) if info & _HAS_RIGHT else None
    return left, right


def place_of(offset: int, delta: Iterable[Mapping[str, Any]]) -> int:
    """Where a caret at UTF-8 ``offset`` stands after a text event; it stays before what is inserted right there."""
    at = 0
    for part in delta:
        if "retain" in part:
            at += int(part["retain"])
        elif "delete" in part:
            offset -= min(int(part["delete"]), max(0, offset - at))
        else:
            size = len(str(part["insert"]).encode())
            if at < offset:
                offset += size
            at += size
    return offset
