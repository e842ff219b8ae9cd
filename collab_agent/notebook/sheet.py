"""The notebook as it will be behind steps that are not yet written.

A ``Sheet`` lies over the live notebook and holds only what steps have done to it.  It says what a call leads to before
the call is written, for once it is written others may have been quicker than a reading of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from . import steps as st
from .draft import Notebook
from .model import CellType
from .splice import apply

Value = Mapping[str, Any]
"""A cell in nbformat's terms."""


class Desk(Notebook, Protocol):
    """The live notebook, as much of it as undoing needs."""

    def nbformat(self, cell_id: str) -> dict[str, Any] | None:
        """The whole cell in nbformat's terms, a copy; None if it is gone."""


@dataclass(frozen=True, slots=True)
class State:
    """One cell at one moment.  ``value``: the whole cell, but ``type`` and ``source`` may be newer; None: not kept."""

    type: CellType
    source: str
    value: Value | None = None

    def whole(self, cell_id: str) -> dict[str, Any]:
        """The cell in nbformat's terms."""
        return {**(self.value or {"metadata": {}}), "id": cell_id, "cell_type": self.type, "source": self.source}

    @property
    def outputs(self) -> tuple[list[Any], Any]:
        """Its outputs and its count, as far as ``value`` holds them."""
        value = self.value or {}
        return list(value.get("outputs") or []), value.get("execution_count")


class Sheet:
    """The live notebook behind the steps done so far."""

    def __init__(self, notebook: Desk) -> None:
        self._notebook = notebook
        self._cells: dict[str, State | None] = {}
        self._order: list[str] | None = None

    @property
    def order(self) -> list[str]:
        """The ids of the cells, in page order; not to be changed."""
        if self._order is None:
            self._order = [cell.id for cell in self._notebook.view.cells]
        return self._order

    def cell(self, cell_id: str) -> State | None:
        """The cell as it will be, None if it will not be there; ``value`` is there only if a step has brought it."""
        if cell_id in self._cells:
            return self._cells[cell_id]
        found = self._notebook.cell(cell_id)
        return None if found is None else State(found.type, found.source)

    def running(self, cell_id: str) -> bool:
        """Whether the cell is marked as running."""
        found = self._notebook.cell(cell_id)
        return found is not None and found.running

    def kept(self, cell_id: str) -> State | None:
        """As ``cell``, with ``value``: reads the cell's outputs, however many they are."""
        state = self.cell(cell_id)
        if state is not None and state.value is None:
            state = self._cells[cell_id] = replace(state, value=self._notebook.nbformat(cell_id) or {"metadata": {}})
        return state

    def do(self, step: st.Step) -> None:
        """Do a step here.  Steps of runs, and whatever touches neither text nor place nor type, change nothing."""
        cell = step.cell
        match step:
            case st.InsertCell(_, index, type_, source, trusted):
                metadata = {"trusted": True} if trusted else {}
                self._put(cell, index, State(type_, source, _retyped({"metadata": metadata}, type_)))
            case st.RestoreCell(_, index, value):
                self._put(cell, index, State(value["cell_type"], value["source"], value))
            case st.DeleteCell():
                self.order.remove(cell)
                self._cells[cell] = None
            case st.MoveCell(_, index):
                self.order.remove(cell)
                self.order.insert(index, cell)
            case _ if (state := self.cell(cell)) is not None:
                self._change(step, state)

    def _change(self, step: st.Step, state: State) -> None:
        match step:
            case st.SpliceSource(cell, splices):
                self._cells[cell] = replace(state, source=apply(state.source, splices))
            case st.RetypeCell(cell, type_):
                self._cells[cell] = replace(state, type=type_, value=_retyped(self._value(cell), type_))
            case st.ClearCell(cell):
                self._cells[cell] = replace(state, value={**self._value(cell), "outputs": [], "execution_count": None})
            case st.RefillCell(cell, outputs, count, attachments):
                filled: Value = {"outputs": list(outputs), "execution_count": count}
                if state.type != "code":
                    filled = {} if attachments is None else {"attachments": attachments}
                self._cells[cell] = replace(state, value={**self._value(cell), **filled})

    def _put(self, cell: str, index: int, state: State) -> None:
        self.order.insert(index, cell)
        self._cells[cell] = state

    def _value(self, cell: str) -> Value:
        state = self.kept(cell)
        return {} if state is None or state.value is None else state.value


def _retyped(value: Value, type_: CellType) -> Value:
    """What is left of a cell that becomes another type."""
    kept = {"metadata": value.get("metadata") or {}}
    if type_ == "code":
        return {**kept, "outputs": [], "execution_count": None}
    return {**kept, "attachments": value["attachments"]} if value.get("attachments") else kept
