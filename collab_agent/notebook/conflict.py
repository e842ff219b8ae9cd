"""What stands against an edit, as it is told: what others changed since the cell was shown, or put in its place."""

from __future__ import annotations

from ..errors import EditError
from .difftext import diff
from .model import CellView
from .plain import visible

MOST_CHARS = 5_000


def refuse_unless_editable(where: str, cell: CellView, short: str) -> None:
    """``EditError`` where a cell has no text that can be edited."""
    if not cell.editable:
        raise EditError(
            f"{where}: {short} has no text that can be edited: somebody has put something else there. "
            "Nothing was written.",
            "Insert a new cell with the text that is wanted, and tell the human.",
        )


def conflict_text(cell: CellView, shown: str, short: str) -> tuple[str, bool]:
    """The text of an edit conflict, and whether it holds the cell's whole text (which then counts as shown)."""
    changes = diff(shown, cell.source, limit=1_500)
    lines = [f"{number:>4}│{visible(line)}" for number, line in enumerate(cell.source.split("\n"), 1)]
    whole = "\n".join(lines)
    complete = len(whole) <= MOST_CHARS
    now = f"The text of {short} now:\n{whole}\n" if complete else ""
    return f"{now}What was changed since you saw it:\n{changes}", complete
