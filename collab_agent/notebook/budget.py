"""How texts are brought under a number of characters, and the calls that show what was left out."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from collab_agent.notebook.model import CellView, NotebookView
from collab_agent.notebook.plain import count, cut
from collab_agent.notebook.seen import Seen

_MOST_REFS = 8


def shares(sizes: Sequence[int], room: int) -> list[int]:
    """How much of ``room`` each part gets: small ones all they need, large ones equally what is left."""
    given = [0] * len(sizes)
    left = max(room, 0)
    for rank, at in enumerate(sorted(range(len(sizes)), key=sizes.__getitem__)):
        given[at] = min(sizes[at], left // (len(sizes) - rank))
        left -= given[at]
    return given


def clip_lines(
    lines: Sequence[str],
    budget: int,
    how: Callable[[int, int], str],
    *,
    tail: float = 0.4,
) -> str:
    """The lines in at most ``budget`` characters: head and tail, between them how many are missing.

    ``how(first, n)`` gives the call that shows ``n`` lines from index ``first`` on.
    """
    if sum(map(len, lines)) + len(lines) - 1 <= budget:
        return "\n".join(lines)
    room = budget - len(how(len(lines), len(lines))) - 40
    if room < 20:
        return cut(lines[0] if lines else "", budget)
    stop, left = len(lines), int(room * tail)
    while stop > 1 and len(lines[stop - 1]) < left:
        stop -= 1
        left -= len(lines[stop]) + 1
    left += room - int(room * tail)
    start = 0
    while start < stop and len(lines[start]) < left:
        left -= len(lines[start]) + 1
        start += 1
    # A line that is longer than the whole room is cut, but stays among those left out.
    head = list(lines[:start]) or [cut(lines[0], left - 1)]
    marker = f"… {count(stop - start, 'line')} left out; {how(start, stop - start)} …"
    return "\n".join([*head, marker, *lines[stop:]])


def query(what: str, *, cells: Sequence[str] = (), pattern: str | None = None, **numbers: int | None) -> str:
    """A ``query_notebook`` call as the model is to write it; what is None or empty is left out."""
    args = [f'query="{what}"']
    if cells:
        args.append(f"cells={json.dumps(list(cells))}")
    if pattern is not None:
        args.append(f"pattern={json.dumps(pattern)}" if len(pattern) <= 100 else "pattern=(the same)")
    args.extend(f"{name}={value}" for name, value in numbers.items() if value is not None)
    return f"query_notebook({', '.join(args)})"


def refs_of(cells: Sequence[CellView], view: NotebookView, seen: Seen) -> list[str]:
    """References for these cells: neighbours on the page become a range; the first eight ranges only."""
    position = {cell.id: at for at, cell in enumerate(view.cells)}
    runs: list[list[int]] = []
    for cell in cells:
        at = position[cell.id]
        if runs and runs[-1][-1] == at - 1:
            runs[-1].append(at)
        else:
            runs.append([at])
    found: list[str] = []
    for run in runs[:_MOST_REFS]:
        first, last = (seen.short(view.cells[at].id, view) for at in (run[0], run[-1]))
        if len(run) == 1:
            found.append(first)
        else:
            found.append(f"{first}:" if run[-1] == len(view.cells) - 1 else f"{first}:{last}")
    return found


def chosen(view: NotebookView, ids: Sequence[str]) -> list[CellView]:
    """The cells with these ids, in the order given; ids that are gone are passed over."""
    by_id = {cell.id: cell for cell in reversed(view.cells)}
    return [by_id[cell_id] for cell_id in ids if cell_id in by_id]
