"""Suggestions as text for a model: what was suggested, and how the open ones stand."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

from ..notebook.budget import clip_lines, query
from ..notebook.difftext import diff
from ..notebook.plain import count, cut, inline, visible
from ..notebook.preview import CellPreview
from ..notebook.suggestion import ago
from ..peer import NotebookPeer
from ..suggestions import Shown

_CELL_CHARS = 1_200
_LINE_CHARS = 300
_LEAST_CHARS = 500


def made(peer: NotebookPeer, shown: Shown, budget: int) -> str:
    """The answer to a suggestion: that nothing was written, what merging would do, and who decides how."""
    one = shown.suggestion
    command = f"collab-agent suggestions {inline(peer.view.path or peer.path, 200)}"
    lines = [
        f'suggested, not written: {one.id} "{one.title}". The notebook is as it was. Merging it would do this:',
        *_cells(peer, shown.standing.cells),
        f"Tell the human: they merge or drop it with `{command}` in a terminal. The line "
        '"since your last call:" will tell you what became of it; until then do not make these edits yourself.',
    ]
    return clip_lines(lines, budget, lambda _first, _n: query("suggestions"), tail=0.2)


def listing(peer: NotebookPeer, found: Sequence[Shown], offset: int, limit: int | None, budget: int) -> str:
    """Each open suggestion: id, title, by whom, when, how it stands, and what merging it would do now."""
    page = found[offset : offset + limit if limit is not None else None]
    if not page:
        return "no open suggestions" if not found else f"there are {count(len(found), 'open suggestion')}"
    share = max(budget // len(page) - 1, _LEAST_CHARS)
    lines: list[str] = []
    if any(shown.standing.plan is None for shown in page):
        lines.append(
            "Those that cannot be merged stay until the human drops them; suggest anew on the text as it is now."
        )
    for at, shown in enumerate(page, offset):
        one, now = shown.suggestion, shown.standing
        by = "you" if one.by == peer.identity.name else one.by
        part = [f'{one.id} "{one.title}" by {by}, {ago(time.time() - one.at)}: {now.state}']
        if now.error is not None:
            part += [*now.error.message.splitlines()[1:], "what it was meant to do:"]
        part += _cells(peer, now.cells)
        whole = query("suggestions", offset=at, limit=1)
        lines += clip_lines(part, share, partial(_same, whole)).splitlines()
    return clip_lines(lines, budget, partial(_same, query("suggestions", offset=offset + 1, limit=1)))


def _same(text: str, _first: int, _lines: int) -> str:
    return text


def _cells(peer: NotebookPeer, cells: Sequence[CellPreview]) -> list[str]:
    lines: list[str] = []
    for cell in cells:
        name = peer.seen.short(cell.cell, peer.view) if cell.before is not None else ""
        if cell.before is None:
            above = "at the top" if cell.above is None else f"after {_above(peer, cells, cell.above)}"
            lines.append(f"new {cell.type} cell {above}:")
            lines += _whole("+", cell.after or "")
        elif cell.after is None:
            lines += [f"delete {name}, which is:", *_whole("-", cell.before)]
        else:
            if cell.before != cell.after:
                rest = query("cells", cells=[name])
                lines += [f"edit {name}:", *diff(cell.before, cell.after, limit=_CELL_CHARS, rest=rest).splitlines()]
            lines += [f"{name} {note}" for note in cell.notes]
    return lines


def _above(peer: NotebookPeer, cells: Sequence[CellPreview], above: str) -> str:
    """How the cell above a new one is named: it may be new itself."""
    new = any(cell.cell == above and cell.before is None for cell in cells)
    return "that" if new else peer.seen.short(above, peer.view)


def _whole(sign: str, source: str) -> list[str]:
    """A text that comes or goes, in the form of a diff."""
    lines = [f"{sign}{number}│{cut(visible(line), _LINE_CHARS)}" for number, line in enumerate(source.split("\n"), 1)]
    return clip_lines(lines, _CELL_CHARS, lambda _first, _n: "(cut)").splitlines()
