"""Cells that two peers rebuilt at once: Yjs 13 cannot move, so that each has left a copy, with the same id.

Whoever has rebuilt such a cell in the last ten seconds deletes all copies but the first.  All who do so delete the
same ones, whatever they have heard of each other: what is first for all is first for each.  A copy that holds any
text that the first one lacks stays: the server gives it an id of its own with its next save.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..notebook.batches import DropDoubled
from ..notebook.model import NotebookView
from ..notebook.splice import diff
from ..notebook.steps import MoveCell, RestoreCell, RetypeCell, Step

LATELY_S = 10.0


class Twins:
    """The cells that one peer has rebuilt lately; survives the connection."""

    def __init__(self) -> None:
        self._rebuilt: dict[str, float] = {}

    def note(self, steps: Iterable[object], now: float) -> None:
        """We have written these steps, at ``now``, in seconds of the caller's clock."""
        rebuilding = [step.cell for step in steps if isinstance(step, MoveCell | RestoreCell | RetypeCell)]
        if rebuilding:
            self._rebuilt = {cell: at for cell, at in self._rebuilt.items() if now - at <= LATELY_S}
            self._rebuilt |= dict.fromkeys(rebuilding, now)

    def drop(self, view: NotebookView, cells: Iterable[str] | None, now: float) -> list[Step | DropDoubled]:
        """What to delete, of these cells or of all, so that each stands there once."""
        lately = {cell for cell, at in self._rebuilt.items() if now - at <= LATELY_S}
        lately &= lately if cells is None else set(cells)
        copies: dict[str, list[str]] = {}
        for cell in view.cells if lately else ():
            if cell.id in lately:
                copies.setdefault(cell.id, []).append(cell.source)
        return [
            DropDoubled(cell, twins=True)
            for cell, (first, *later) in copies.items()
            if later and not any(splice.insert for text in later for splice in diff(first, text))
        ]
