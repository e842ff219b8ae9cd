"""What a replica can do to the shared document, as plain values.

A call's edits are planned as a list of steps (``edits.py``, ``outputs.py``) and written in one transaction
(``room/replica.py``).  Cells are named by their full id and found again at the moment of writing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .model import CellType
from .outputs import Op
from .splice import Splices

MARK_KEY = "collab_agent"
"""The name of a mark in a cell's metadata."""


@dataclass(frozen=True, slots=True)
class SpliceSource:
    """Edit a cell's source in place; positions are characters of the source as it is now.

    ``rebuild``: part of a split or a merge, which has rules of its own for a cell that somebody works in.
    """

    cell: str
    splices: Splices
    rebuild: bool = False


@dataclass(frozen=True, slots=True)
class InsertCell:
    """Insert a new cell so that it stands at ``index`` (0 is the first).

    ``trusted``: a page shows its rich outputs, scripts and widgets too, at once; pages read this once, at insertion.
    """

    cell: str
    index: int
    type: CellType
    source: str
    trusted: bool = False


@dataclass(frozen=True, slots=True)
class RestoreCell:
    """Insert a cell that was there before, whole and under its id, so that it stands at ``index``."""

    cell: str
    index: int
    value: Mapping[str, Any]
    """The cell in nbformat's terms."""


@dataclass(frozen=True, slots=True)
class DeleteCell:
    """Delete a cell."""

    cell: str


@dataclass(frozen=True, slots=True)
class MoveCell:
    """Rebuild a cell so that it stands at ``index``, counted without the cell itself.  Yjs 13 cannot move."""

    cell: str
    index: int


@dataclass(frozen=True, slots=True)
class RetypeCell:
    """Rebuild a cell in its place, with its id, as another type."""

    cell: str
    type: CellType


@dataclass(frozen=True, slots=True)
class ClearCell:
    """Remove a code cell's outputs and execution count."""

    cell: str


@dataclass(frozen=True, slots=True)
class RefillCell:
    """Give a cell back what a call took from it: a code cell its outputs and its count, another one its attachments."""

    cell: str
    outputs: tuple[Mapping[str, Any], ...] = ()
    count: float | None = None
    attachments: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class MarkCell:
    """Say in a cell's metadata who changed it last (``marks.py``); its other metadata stay."""

    cell: str
    mark: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class BeginRun:
    """Clear a code cell's outputs and count and mark it as running (``[*]``)."""

    cell: str


@dataclass(frozen=True, slots=True)
class WriteOutputs:
    """Apply output operations to a code cell's shared outputs."""

    cell: str
    ops: tuple[Op, ...]


@dataclass(frozen=True, slots=True)
class EndRun:
    """Set the count and ``idle`` together: every page forces idle when it sees a count alone."""

    cell: str
    count: int | None


Step = (
    SpliceSource
    | InsertCell
    | RestoreCell
    | DeleteCell
    | MoveCell
    | RetypeCell
    | ClearCell
    | RefillCell
    | MarkCell
    | BeginRun
    | WriteOutputs
    | EndRun
)
