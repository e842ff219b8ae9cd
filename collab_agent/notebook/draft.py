"""What planning a call's edits works on, and what it comes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from . import steps as st
from .model import CellView, NotebookView
from .splice import Splices, apply

if TYPE_CHECKING:
    from .undo import Turn


class Notebook(Protocol):
    """The live notebook, as much of it as planning needs."""

    @property
    def view(self) -> NotebookView:
        """The notebook now."""

    def cell(self, cell_id: str) -> CellView | None:
        """The cell with this id now."""


@dataclass(frozen=True, slots=True)
class Done:
    """What one edit comes to: its operation and the cell; ``made`` is the id of a cell that it creates."""

    op: str
    cell: str
    made: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of a call, and what the agent will have seen once they are written.

    ``before``: the sources of the cells whose text changes, as they are now.  ``wanted``: cell id -> the text that the
    agent meant, None where it has not seen the cell's text any more.  ``code``: the code cells that the edits touch.
    """

    steps: tuple[st.Step, ...]
    done: tuple[Done, ...]
    before: dict[str, str]
    wanted: dict[str, str | None]
    code: tuple[str, ...]
    told: tuple[str, ...] = ()
    """Lines that the answer says besides what was done and what the texts are now."""
    turn: Turn | None = None
    """The undoing or redoing that this is; None: edits."""


@dataclass(slots=True)
class Draft:
    """One cell during planning."""

    cell: CellView
    now: str
    base: str | None
    ours: Splices = ()
    where: str = ""
    """The last edit that touched it, as an error names it."""
    caught_up: bool = False
    """Whether ``base`` holds text of others that the agent was never shown."""

    @property
    def wanted(self) -> str:
        """The text that the agent wants so far."""
        return apply(self.now if self.base is None else self.base, self.ours)
