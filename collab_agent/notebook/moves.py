"""How a cell comes to stand elsewhere: by a step that rebuilds it, or, while somebody works in it, by the others'."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .steps import MoveCell

MOST_MOVED_INSTEAD = 20
"""Up to how many other cells are moved so that a cell in use can stay where it is."""


def moving(order: Sequence[str], cell: str, index: int, in_use: Callable[[str], str]) -> list[MoveCell] | None:
    """The steps after which ``cell`` stands at ``index``, counted without it; None: somebody is in the way.

    ``in_use(cell id)`` says who works in a cell, empty where nobody does.
    """
    start = order.index(cell)
    rest = [other for other in order if other != cell]
    crossed = rest[start:index] if index > start else rest[index:start]
    if not crossed:
        return []
    if not in_use(cell):
        return [MoveCell(cell, index)]
    if len(crossed) <= MOST_MOVED_INSTEAD and not any(in_use(other) for other in crossed):
        return [MoveCell(other, start + at if index > start else start) for at, other in enumerate(crossed)]
    return None
