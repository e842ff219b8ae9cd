"""Steps in as many transactions as a JupyterLab page can follow without moving its human.

After every change of the list of cells JupyterLab 4.6 looks up where its active cell now stands, in a document that
holds the *whole* transaction already, while its own list of widgets has only come to the first of the changes
(``Notebook._onCellsChanged``).  Where a transaction inserts or deletes at two places above, another cell becomes active
and the human's editor loses the focus in the middle of a word.  So no transaction changes the list at two places: cells
that are inserted one behind the other are one change, and a cell that is rebuilt (move, retype) is inserted anew in one
transaction and deleted where it was in the next.  In this order, because a connection that breaks between the two then
leaves a cell twice, which jupyter_ydoc leaves out of the file, and never none.  All are written without an ``await`` in
between, and leave in this order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .model import CellType
from .steps import DeleteCell, InsertCell, MoveCell, RestoreCell, RetypeCell, Step


@dataclass(frozen=True, slots=True)
class DoubleCell:
    """Insert a cell's double where a rebuilt one belongs; the next step deletes the first of the two.

    ``index``: as of ``MoveCell``; None: where it is.  ``type`` None: what it is.
    """

    cell: str
    index: int | None = None
    type: CellType | None = None


@dataclass(frozen=True, slots=True)
class DropDoubled:
    """Delete the cell that ``DoubleCell`` has doubled; the double stays.

    ``copies``: delete these instead, counted among the cells that have this id.
    """

    cell: str
    copies: tuple[int, ...] = ()


Part = Step | DoubleCell | DropDoubled


def batches(steps: Iterable[Part]) -> Iterator[list[Part]]:
    """The steps in order, in lists that change the list of cells at one place at most; none is empty."""
    batch: list[Part] = []
    changes = False  # whether this batch changes the list of cells
    follows: int | None = None  # where one more insertion is part of the same change
    for step in steps:
        for part in _parts(step):
            if isinstance(part, InsertCell | RestoreCell | DeleteCell | DoubleCell | DropDoubled):
                index = part.index if isinstance(part, InsertCell | RestoreCell) else None
                if changes and (index is None or index != follows):
                    yield batch
                    batch = []
                changes, follows = True, None if index is None else index + 1
            batch.append(part)
    if batch:
        yield batch


def _parts(step: Part) -> tuple[Part, ...]:
    match step:
        case MoveCell(cell, index):
            return DoubleCell(cell, index), DropDoubled(cell)
        case RetypeCell(cell, type_):
            return DoubleCell(cell, type=type_), DropDoubled(cell)
        case _:
            return (step,)
