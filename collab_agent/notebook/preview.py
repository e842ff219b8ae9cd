"""What a plan would do to the notebook, cell by cell, for whoever has to decide about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from . import steps as st
from .draft import Notebook, Plan
from .model import CellType
from .splice import apply


@dataclass(slots=True)
class CellPreview:
    """One cell that a plan touches.  ``before`` None: it is new; ``after`` None: it goes."""

    cell: str
    type: CellType
    before: str | None
    after: str | None
    above: str | None = None
    """A new cell: the id of the cell above it; None at the top."""
    notes: list[str] = field(default_factory=list)
    """What else is done to it: ``moved``, ``made markdown``, ``outputs cleared``."""


def preview(plan: Plan, notebook: Notebook) -> Sequence[CellPreview]:
    """The cells that a plan touches, in page order; a new one behind the cell that it is put behind."""
    order = [cell.id for cell in notebook.view.cells]
    places: dict[str, tuple[int, int]] = {cell_id: (at, 0) for at, cell_id in enumerate(order)}
    found: dict[str, CellPreview] = {}
    for step in plan.steps:
        if isinstance(step, st.InsertCell):
            order.insert(step.index, step.cell)
            found[step.cell] = CellPreview(step.cell, step.type, None, step.source)
            continue
        if step.cell not in found:
            cell = notebook.cell(step.cell)
            assert cell is not None
            found[step.cell] = CellPreview(step.cell, cell.type, cell.source, cell.source)
        _carry_out(step, found[step.cell], order)
    for place, cell_id in enumerate(order):
        if cell_id in found and found[cell_id].before is None:
            above = order[place - 1] if place else None
            found[cell_id].above = above
            at, behind = (-1, 0) if above is None else places[above]
            places[cell_id] = at, behind + 1
    stays = [cell for cell in found.values() if cell.before is not None or cell.after is not None]
    return sorted(stays, key=lambda cell: places[cell.cell])


def _carry_out(step: st.Step, shown: CellPreview, order: list[str]) -> None:
    match step:
        case st.SpliceSource(_, splices):
            shown.after = apply(shown.after or "", splices)
        case st.DeleteCell(cell):
            order.remove(cell)
            shown.after = None
        case st.MoveCell(cell, index):
            order.remove(cell)
            order.insert(index, cell)
            shown.notes.append(f"moved to place {index + 1}")
        case st.RetypeCell(_, type_):
            shown.notes.append(f"made {type_}")
        case st.ClearCell():
            shown.notes.append("outputs cleared")
