"""What an ``execute_reply`` asks of whoever sent the request: its payloads (Jupyter messaging, "Payloads").

Deprecated and still in use: ``%load``, ``%recall`` and ``set_next_input`` propose code, ``x?`` and ``%page`` show text
in a pager.  Everything here is untrusted: what is not as the protocol says is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .as_nbformat import output_of
from .model import NotebookView
from .splice import diff
from .steps import InsertCell, SpliceSource, Step


@dataclass(frozen=True, slots=True)
class NextInput:
    """Code for a new cell below the one that ran; or, to ``replace``, for that cell itself."""

    text: str
    replace: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """What a pager is to show: a MIME bundle."""

    data: Mapping[str, Any]

    @property
    def content(self) -> dict[str, Any]:
        """As the content of a ``display_data`` message."""
        return {"data": dict(self.data), "metadata": {}}


def payloads(reply: Mapping[str, Any] | None) -> tuple[NextInput | Page, ...]:
    """The payloads of an ``execute_reply``'s content; of several next inputs, as on a page, only the last counts."""
    listed = reply.get("payload") if reply else None
    pages: list[Page] = []
    proposed: NextInput | None = None
    for each in listed if isinstance(listed, list) else []:
        match each:
            case {"source": "set_next_input", "text": str(text)}:
                proposed = NextInput(text, each.get("replace") is True)
            case {"source": "page", "data": {**data}} if data:
                pages.append(Page({str(kind): value for kind, value in data.items()}))
    return (*pages, *([] if proposed is None else [proposed]))


def results_of(reply: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """What the ``user_expressions`` of an ``execute_reply``'s content came to, by name."""
    found = reply.get("user_expressions")
    items = found.items() if isinstance(found, Mapping) else ()
    kinds = {"ok": "display_data", "error": "error"}
    return {
        str(name): {"status": status, **output_of(kinds[status], result)}
        for name, result in items
        if isinstance(result, Mapping) and (status := "error" if result.get("status") == "error" else "ok")
    }


def place(
    proposed: NextInput, view: NotebookView, cell_id: str, sent: str, new_id: str, *, trusted: bool
) -> Step | None:
    """The step that does what ``proposed`` asks of the cell that ran the text ``sent``; None where it is gone.

    A cell whose text was changed since it was sent is not replaced: the new text goes below it.
    """
    at = next((index for index, cell in enumerate(view.cells) if cell.id == cell_id), None)
    if at is None:
        return None
    if proposed.replace and view.cells[at].source == sent and view.cells[at].editable:
        return SpliceSource(cell_id, diff(sent, proposed.text))
    return InsertCell(new_id, at + 1, "code", proposed.text, trusted)
