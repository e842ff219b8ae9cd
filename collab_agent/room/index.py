"""The cells of the shared array with their views, kept up by the document's events.

Everything in the array is untrusted: two cells may have one id, and an element may be no cell at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pycrdt import Map, Text

from ..errors import LocalProtocolError
from ..notebook.model import CellView, OutputView
from .cells import read_cell
from .positions import ItemId, text_id


class Cell:
    """A cell of the shared array: its handles, its last view, and what was read of it on demand."""

    __slots__ = ("formerly", "map", "outputs", "text_id", "view")

    def __init__(self, handle: Any) -> None:
        self.map: Map[Any] | None = handle if isinstance(handle, Map) else None
        self.view = read_cell(self.map)
        self.outputs: tuple[OutputView, ...] | None = None
        self.text_id: tuple[int, int] | None = None
        self.formerly = ""
        """The id that it had, and shared with another one, before the server named it anew."""

    @property
    def source(self) -> Text | None:
        text = None if self.map is None else self.map.get("source")
        return text if isinstance(text, Text) else None


@dataclass(slots=True)
class Settled:
    """What a batch of events has changed, by cell id; the fields are those of ``RemoteChange``."""

    changed: set[str] = field(default_factory=set)
    edited: set[str] = field(default_factory=set)
    began: set[str] = field(default_factory=set)
    before: dict[str, CellView | None] = field(default_factory=dict)
    deleted: dict[str, CellView] = field(default_factory=dict)
    moved: set[str] = field(default_factory=set)


class CellIndex:
    """The cells by place, by id and by the id of their text.  ``views`` are theirs, in order."""

    def __init__(self) -> None:
        self.cells: list[Cell] = []
        self.views: list[CellView] = []
        self._by_id: dict[str, Cell] = {}
        self._by_text: dict[ItemId, Cell] = {}

    def get(self, cell_id: str) -> Cell | None:
        """The cell with this id; of two that share it, one."""
        return self._by_id.get(cell_id)

    def require(self, cell_id: str) -> Cell:
        """As ``get``; ``LocalProtocolError`` where there is none."""
        cell = self.get(cell_id)
        if cell is None:
            raise LocalProtocolError(f"There is no cell {cell_id!r} to write into.")
        return cell

    def map(self, cell_id: str) -> Map[Any]:
        """What the cell is in the shared document; ``LocalProtocolError`` where that is no map."""
        handle = self.require(cell_id).map
        if handle is None:
            raise LocalProtocolError(f"The cell {cell_id!r} is no map.")
        return handle

    def copies(self, cell_id: str) -> list[Cell]:
        """All cells with this id, in order, and those that the server has named anew because there were several."""
        return [cell for cell in self.cells if cell_id in (cell.view.id, cell.formerly)]

    def running(self, cell_id: str) -> list[Map[Any]]:
        """The copies of this cell that say that they run, as those made meanwhile do, under whatever id."""
        return [cell.map for cell in self.copies(cell_id) if cell.map is not None and cell.view.running]

    def texts(self, cell_id: str) -> list[tuple[str, int]]:
        """The text of each cell that has this id, and the client that made it, in order."""
        found = [cell.source for cell in self.copies(cell_id)]
        return [(str(text), text_id(text)[0]) for text in found if text is not None]

    def position(self, cell: Cell) -> int:
        """Where the cell stands."""
        return self.cells.index(cell)

    def of_text(self, text: ItemId) -> Cell | None:
        """The cell whose source has this id."""
        if text not in self._by_text:
            for cell in self.cells:
                if cell.text_id is None and (source := cell.source) is not None:
                    cell.text_id = text_id(source)
                    self._by_text[cell.text_id] = cell
        return self._by_text.get(text)

    # What we do ourselves is known at once: later steps of the same transaction may name the cell.

    def insert(self, index: int, handle: Any) -> Cell:
        """Note a cell that we have inserted."""
        cell = Cell(handle)
        self.cells.insert(index, cell)
        self.views.insert(index, cell.view)
        self._by_id[cell.view.id] = cell
        return cell

    def remove(self, index: int) -> None:
        """Note that we have deleted the cell that stands there."""
        del self.views[index]
        self._drop(self.cells.pop(index))

    def read_again(self, made: Sequence[Cell]) -> None:
        """Read cells made in this transaction: Yjs tells of no change inside what was not there when it began."""
        for cell in made:
            if cell in self.cells:
                cell.view = self.views[self.position(cell)] = read_cell(cell.map)

    def settle(self, events: Sequence[Any], *, own: bool) -> Settled:
        """Bring the views up to what events of one transaction say; ``own``: the array itself is known already."""
        settled = Settled()
        for event in events:
            if not event.path and not own:
                before = list(self.cells)
                self._restructure(event.delta, settled)
                settled.moved |= _moved(before, self.cells)
        for event in events:
            if event.path:
                self._refresh(event, settled)
        return settled

    def _restructure(self, delta: Iterable[Mapping[str, Any]], settled: Settled) -> None:
        """Follow what others inserted into the array and deleted from it."""
        at = 0
        for part in delta:
            if "retain" in part:
                at += int(part["retain"])
            elif "delete" in part:
                gone = self.cells[at : at + int(part["delete"])]
                del self.cells[at : at + len(gone)], self.views[at : at + len(gone)]
                for cell in gone:
                    settled.deleted[cell.view.id] = cell.view
                    self._drop(cell)
                    if cell.view.id in self._by_id:  # its double stays: it was moved
                        settled.before.setdefault(cell.view.id, cell.view)
                        settled.changed.add(cell.view.id)
            else:
                cells = [Cell(handle) for handle in part["insert"]]
                self.cells[at:at] = cells
                self.views[at:at] = [cell.view for cell in cells]
                at += len(cells)
                for cell in cells:
                    known = self._by_id.setdefault(cell.view.id, cell)
                    settled.before[cell.view.id] = None if known is cell else known.view
                    settled.changed.add(cell.view.id)

    def _drop(self, cell: Cell) -> None:
        self._release_id(cell.view.id, cell)
        self._forget_text(cell)

    def _forget_text(self, cell: Cell) -> None:
        if cell.text_id is not None:
            self._by_text.pop(cell.text_id, None)
            cell.text_id = None

    def _refresh(self, event: Any, settled: Settled) -> None:
        """Read again what one event says has changed inside a cell."""
        index = event.path[0]
        if not isinstance(index, int) or index >= len(self.cells):
            return
        cell = self.cells[index]
        if cell.map is None:
            return
        before = cell.view
        field = event.path[1] if len(event.path) > 1 else None
        if field == "source":
            cell.view = replace(before, source="" if cell.source is None else str(cell.source))
        elif field == "outputs" or (field is None and "outputs" in event.keys):
            cell.outputs = None
            cell.view = replace(before, outputs_version=before.outputs_version + 1)
        if field is None:
            if event.keys.get("execution_state", {}).get("newValue") == "running":
                settled.began.add(before.id)
                cell.formerly = ""  # whoever runs it has taken it for a cell of its own
            if "source" in event.keys:
                self._forget_text(cell)
            cell.view = replace(read_cell(cell.map), outputs_version=cell.view.outputs_version)
        self.views[index] = cell.view
        if cell.view.id != before.id:
            self._rename(cell, before, settled)
            return
        settled.before.setdefault(cell.view.id, before)
        settled.changed.add(cell.view.id)
        if cell.view.source != before.source:
            settled.edited.add(cell.view.id)

    def _rename(self, cell: Cell, before: CellView, settled: Settled) -> None:
        """Of two cells that have one id, and differ, the server names the second anew when it saves.

        The first may be the double of a cell that is being rebuilt: then that cell is now the double.
        """
        cell.formerly, known = before.id, self._by_id.get(before.id) is cell
        self._release_id(before.id, cell)
        self._by_id.setdefault(cell.view.id, cell)
        settled.before[cell.view.id] = None
        settled.changed.add(cell.view.id)
        if not known:
            return
        settled.deleted[before.id] = before
        if (double := self._by_id.get(before.id)) is not None:
            settled.before.setdefault(before.id, before)
            settled.changed.add(before.id)
            first = [before.id if each is cell else each.view.id for each in self.cells if each is not double]
            second = [each.view.id for each in self.cells if each is not cell]
            if _places(first, {before.id}) != _places(second, {before.id}):
                settled.moved.add(before.id)

    def _release_id(self, cell_id: str, cell: Cell) -> None:
        """The id no longer means this cell; where two peers had doubled it, it means the other one."""
        if self._by_id.get(cell_id) is cell:
            del self._by_id[cell_id]
            twin = next((other for other in self.cells if other.view.id == cell_id and other is not cell), None)
            if twin is not None:
                self._by_id[cell_id] = twin


def _moved(before: Sequence[Cell], after: Sequence[Cell]) -> set[str]:
    """The ids of rebuilt cells that have another place among the cells that stayed."""
    left = set(after)
    rebuilt = {cell.view.id for cell in before if cell not in left} & {cell.view.id for cell in after}
    if not rebuilt:
        return set()
    was = _places([cell.view.id for cell in before if cell.view.id not in rebuilt or cell not in left], rebuilt)
    now = _places([cell.view.id for cell in after], rebuilt)
    return {cell_id for cell_id in rebuilt if was[cell_id] != now[cell_id]}


def _places(ids: Sequence[str], rebuilt: set[str]) -> dict[str, tuple[str | None, int]]:
    """For each rebuilt cell the cell above it that was not rebuilt, and how many rebuilt ones are between them."""
    places: dict[str, tuple[str | None, int]] = {}
    above, between = None, 0
    for cell_id in ids:
        if cell_id in rebuilt:
            places[cell_id] = (above, between)
            between += 1
        else:
            above, between = cell_id, 0
    return places
