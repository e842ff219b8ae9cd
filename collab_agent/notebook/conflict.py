"""How a conflict is told: the cell's text as it is now, and what the others changed since it was shown."""

from __future__ import annotations

from .difftext import diff
from .model import CellView
from .plain import visible

MOST_CHARS = 5_000


def conflict_text(cell: CellView, shown: str, short: str) -> tuple[str, bool]:
    """The text of an edit conflict, and whether it holds the cell's whole text (which then counts as shown)."""
    changes = diff(shown, cell.source, limit=1_500)
    lines = [f"{number:>4}│{visible(line)}" for number, line in enumerate(cell.source.split("\n"), 1)]
    whole = "\n".join(lines)
    complete = len(whole) <= MOST_CHARS
    now = f"The text of {short} now:\n{whole}\n" if complete else ""
    return f"{now}What was changed since you saw it:\n{changes}", complete
