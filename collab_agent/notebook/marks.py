"""Provenance: which cells an agent made or last changed, in their metadata (``--mark-cells``).

nbformat leaves names in a cell's metadata to whoever uses them, and asks for one that is one's own.  A mark is one
entry there, beside all others: ``{"by": name, "at": UTC time, "call": id}``, where all cells that one call changed have
the same id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from .steps import DeleteCell, InsertCell, MarkCell, RetypeCell, SpliceSource, Step


def mark_of(name: str, call: str, at: datetime) -> dict[str, str]:
    """The mark of one call of the agent called ``name``; ``at`` is written in UTC, to the second."""
    return {"by": name, "at": f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}", "call": call}


def marked(steps: Sequence[Step], mark: Mapping[str, str]) -> tuple[Step, ...]:
    """The steps, and behind the last that changes a cell's text or type the mark of that cell.

    Moving a cell, running it and clearing its outputs is no change of it; what goes again is not marked.
    """
    last: dict[str, int] = {}
    for number, step in enumerate(steps):
        if isinstance(step, SpliceSource | InsertCell | RetypeCell):
            last[step.cell] = number
        elif isinstance(step, DeleteCell):
            last.pop(step.cell, None)
    ends = {number: cell for cell, number in last.items()}
    found: list[Step] = []
    for number, step in enumerate(steps):
        found.append(step)
        if number in ends:
            found.append(MarkCell(ends[number], mark))
    return tuple(found)
