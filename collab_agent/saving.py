"""Whether a file holds what the room holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .notebook.model import CellView, NotebookView


def same_notebook(view: NotebookView, content: Mapping[str, Any], *, with_ids: bool) -> bool:
    """Whether a notebook read from disk has the same cells: types, sources, counts, and ids where the format has them.

    A server writes one empty code cell for a notebook without any.
    """
    cells = content.get("cells")
    if not isinstance(cells, list):
        return False
    if not view.cells:
        return all(not _source(cell) for cell in cells)
    return len(cells) == len(view.cells) and all(
        _same(mine, theirs, with_ids) for mine, theirs in zip(view.cells, cells, strict=True)
    )


def _same(mine: CellView, theirs: Mapping[str, Any], with_ids: bool) -> bool:
    return (
        theirs.get("cell_type") == mine.type
        and _source(theirs) == mine.source
        and (not with_ids or theirs.get("id") == mine.id)
        and (mine.type != "code" or mine.running or theirs.get("execution_count") == mine.execution_count)
    )


def _source(cell: Mapping[str, Any]) -> str:
    source = cell.get("source", "")
    return "".join(source) if isinstance(source, list) else str(source)
