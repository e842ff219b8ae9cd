"""What the notebook must hold in the end, kept by plain string operations.

No Yjs, no diff, no rebase: the opposite of what is tried.  Each deed of the script is entered here too, as if the two
had taken turns.  What was typed goes in whole, right behind the words after which the human began, so that a
lost, doubled or displaced keystroke makes the notebook differ from the ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import CellNotFound, TextNotFound


@dataclass(frozen=True, slots=True)
class CellText:
    """A cell's id (or the beginning of it that a result showed) and its source."""

    id: str
    source: str

    def is_cell(self, other: str) -> bool:
        """Whether ``other`` is this cell's id, or one the beginning of the other."""
        return self.id.startswith(other) or other.startswith(self.id)


def texts_of(notebook: Mapping[str, Any]) -> tuple[CellText, ...]:
    """The cells of a notebook in nbformat's terms; a file has a source as a list of lines."""
    found = ((str(cell["id"]), cell["source"]) for cell in notebook["cells"])
    return tuple(CellText(i, source if isinstance(source, str) else "".join(source)) for i, source in found)


class Ledger:
    """The sources that must come out.  ``typed`` are the bursts: cell id, what stood before it, its text."""

    def __init__(self, cells: Iterable[CellText]) -> None:
        self._cells = list(cells)
        self.typed: list[tuple[str, str, str]] = []

    @property
    def cells(self) -> tuple[CellText, ...]:
        """The notebook as it must be."""
        return tuple(self._cells)

    @property
    def keystrokes(self) -> int:
        """How many characters the human means to type in all."""
        return sum(len(text) for _, _, text in self.typed)

    def source(self, cell: str) -> str:
        """What a cell must hold."""
        return self._cells[self._index(cell)].source

    def type(self, cell: str, after: str, text: str) -> None:
        """The human types ``text`` right behind ``after``."""
        self.typed.append((self._cells[self._index(cell)].id, after, text))
        self.replace(cell, after, after + text)

    def replace(self, cell: str, old: str, new: str) -> None:
        """``old``, which stands there exactly once, gives way to ``new``."""
        source = self.source(cell)
        if source.count(old) != 1:
            raise TextNotFound(f"The script is wrong: {old!r} stands {source.count(old)} times in {cell}.")
        self._put(cell, source.replace(old, new))

    def write(self, cell: str, source: str) -> None:
        """The agent writes the whole cell; what the human typed and the agent had not read stays."""
        self._put(cell, source)
        for where, after, text in self.typed:
            if self._cells[self._index(cell)].id == where and text not in source:
                self.replace(cell, after, after + text)

    def insert(self, index: int, cell: CellText) -> None:
        """A new cell at ``index``."""
        self._cells.insert(index, cell)

    def insert_beside(self, cell: CellText, *, before: str | None = None, after: str | None = None) -> None:
        """A new cell right above or below another, or at the end."""
        if before is not None:
            self.insert(self._index(before), cell)
        else:
            self.insert(len(self._cells) if after is None else self._index(after) + 1, cell)

    def enter(self, edits: Sequence[Mapping[str, Any]], made: Sequence[str]) -> None:
        """Edits that the agent made; ``made`` are the ids of the cells that it inserted."""
        new = iter(made)
        for edit in edits:
            if edit["op"] == "replace":
                self.replace(edit["cell"], edit["old"], edit["new"])
            elif edit["op"] == "write":
                self.write(edit["cell"], edit["source"])
            elif edit["op"] == "insert":
                cell = CellText(next(new), edit["source"])
                self.insert_beside(cell, before=edit.get("before"), after=edit.get("after"))

    def _put(self, cell: str, source: str) -> None:
        index = self._index(cell)
        self._cells[index] = replace(self._cells[index], source=source)

    def _index(self, cell: str) -> int:
        for index, known in enumerate(self._cells):
            if known.is_cell(cell):
                return index
        raise CellNotFound(f"The script is wrong: there is no cell {cell!r}.")
