"""What the agent is told of others, as text for a model: what they did, and where they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from ..notebook.budget import clip_lines, query, shares
from ..notebook.changes import Author, Change, Kind
from ..notebook.difftext import diff
from ..notebook.model import CellView, PeerView
from ..notebook.plain import count, cut, inline, visible
from ..notebook.since import line_counts, run_phrase, summary, who_did
from ..peer import NotebookPeer
from .reports import short

IDLE_S = 10.0
"""From when on somebody who does nothing is said to be idle."""
_NAME = 40
_SELECTED = 200
_DIFF_CHARS = 1_200
_LEAST_CHARS = 160
_MOST_NAMED = 8
_MOST_PEOPLE = 25
HERE_CHARS = 600
"""For all people in one line."""


def since(peer: NotebookPeer, budget: int) -> str:
    """What others did since this was last told, in one line; empty if nothing.  ``RoomClosed`` while it is away."""
    _ = peer.view  # while the room is away nothing is taken
    notice = "; ".join(filter(None, (peer.take_notice(), peer.journal.disk.take_notice(), peer.journal.losses.tell())))
    left = budget - len(notice) - 2
    news = [change for change in peer.news.take() if not peer.journal.losses.explains(change)]
    told = summary(news, lambda cell: short(peer, cell), peer.news.take_typing(), budget=left)
    return "; ".join(filter(None, (notice, told)))


def changes(peer: NotebookPeer, found: Sequence[Change], finished: Sequence[Author], waited: float, budget: int) -> str:
    """A diff per edited cell; insertions, deletions, moves and runs a line each; what to do where there is nothing.

    ``finished``: who has stopped typing while the call waited for ``waited`` seconds at most.
    """
    lines = [(change.cell, text) for change in found for text in _told(peer, change)]
    ends = [f"{who_did([author])} has finished typing" for author in finished]
    if not lines:
        ends += [_nothing(peer, waited)] if not ends else []
    given = shares([len(text) + 1 for _, text in lines], budget - sum(map(len, ends)) - len(ends))
    rooms = [max(room, _LEAST_CHARS) for room in given]
    texts = [_clipped(peer, cell, text, room) for (cell, text), room in zip(lines, rooms, strict=True)]

    def unread(first: int, number: int) -> str:
        cells = list(dict.fromkeys(short(peer, cell) for cell, _ in lines[first : first + number]))
        return query("cells", cells=cells[:_MOST_NAMED])

    return clip_lines([*texts, *ends], budget, unread)


def _clipped(peer: NotebookPeer, cell: str, text: str, room: int) -> str:
    return clip_lines(text.split("\n"), room, lambda _first, _n: query("cells", cells=[short(peer, cell)]))


def _nothing(peer: NotebookPeer, waited: float) -> str:
    if not waited:
        return f"nothing since your last call; {query('changes', wait_s=60)} waits for others"
    own = {run.cell for run in peer.runs.all if not run.over}
    running = [short(peer, cell.id) for cell in peer.view.cells if cell.running and cell.id not in own]
    goes_on = f" Others' code still runs in {', '.join(running[:_MOST_NAMED])}." if running else ""
    return (
        f"nothing in {waited:g} s: nobody else edited or ran anything.{goes_on} Here: {here(peer) or 'nobody else'}.\n"
        "Call again to go on waiting, or go on with your work."
    )


def _told(peer: NotebookPeer, change: Change) -> Iterator[str]:
    name, before, after = short(peer, change.cell), change.before, change.after
    if before is None and after is not None:
        where = f"({after.type}){_place(peer, change.cell)}"
        yield f"{_who(change, 'made')} inserted {name} {where}:\n{_whole('+', after.source)}"
    elif after is None and before is not None:
        yield f"{_who(change, 'gone')} deleted {name}, which was:\n{_whole('-', before.source)}"
    elif before is not None and after is not None:
        if change.edited:
            added, removed = line_counts(before.source, after.source)
            text = diff(before.source, after.source, limit=_DIFF_CHARS, rest=query("cells", cells=[name]))
            yield f"{_who(change, 'text')} edited {name} (+{added} -{removed} lines):\n{text}"
        if change.moved:
            yield f"{_who(change, 'moved')} moved {name}{_place(peer, change.cell)}"
        if before.type != after.type:
            yield f"{_who(change, 'type')} made {name} {after.type}, which was {before.type}"
    if change.ran and after is not None:
        see = "" if after.running else f"; {query('outputs', cells=[name])} shows the outputs"
        yield f"{_who(change, 'ran')} {run_phrase(name, after, change.error)}{see}"


def _who(change: Change, kind: Kind) -> str:
    authors = change.authors(kind)
    disk = [author for author in authors if author.is_disk]
    return who_did(authors) + (", with a change on disk," if disk and len(disk) < len(authors) else "")


def _place(peer: NotebookPeer, cell_id: str) -> str:
    """Where a cell stands now, told by the one above."""
    cells = peer.view.cells
    at = next((at for at, cell in enumerate(cells) if cell.id == cell_id), None)
    if at is None:
        return ""
    return f" below {short(peer, cells[at - 1].id)}" if at else " at the top"


def _whole(sign: str, source: str) -> str:
    """A text that came or went, in the form of a diff."""
    return "\n".join(f"{sign}{number}│{visible(line)}" for number, line in enumerate(source.split("\n"), 1))


def people(peer: NotebookPeer) -> list[str]:
    """A line per person: name, cell, line and what is selected; the humans first.

    The pages of one human, who has the notebook open twice, are one person with two carets.
    """
    everybody = sorted(enumerate(peer.peers), key=lambda each: (each[1].is_agent, each[1].username or str(each[0])))
    lines: list[tuple[bool, int, str]] = []
    for _, group in groupby(everybody, key=lambda each: (each[1].is_agent, each[1].username or str(each[0]))):
        pages = list(group)
        first = pages[0][1]
        who = f"{inline(first.name, _NAME)} (says it is an agent)" if first.is_agent else inline(first.name, _NAME)
        places = dict.fromkeys(_where(peer, page) for _, page in pages)
        lines.append((first.is_agent, pages[0][0], f"{who}: {'; in another page '.join(places)}{_idle(peer, pages)}"))
    shown = [line for _, _, line in sorted(lines)]
    left_out = len(shown) - _MOST_PEOPLE
    return [*shown[:_MOST_PEOPLE], f"… {left_out:,} more"] if left_out > 0 else shown


def everybody(peer: NotebookPeer, budget: int) -> str:
    """A line per person, as far as they fit."""
    return clip_lines(people(peer), budget, lambda _first, _n: "they are too many") or "nobody else is here"


def here(peer: NotebookPeer) -> str:
    """All people in one line, as far as they fit; empty where nobody is."""
    return cut("; ".join(people(peer)), HERE_CHARS)


def _idle(peer: NotebookPeer, pages: Sequence[tuple[int, PeerView]]) -> str:
    """How long somebody has done nothing, in the page where they did something last."""
    known = [idle for _, page in pages if (idle := peer.people.idle(page.client_id)) is not None]
    if not known:
        return ""
    seconds, exact = min(known)
    return f", idle for {'' if exact else 'at least '}{_duration(seconds)}" if seconds >= IDLE_S else ""


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds // 60:.0f} min" if seconds < 7_200 else f"{seconds // 3_600:.0f} h"


def _where(peer: NotebookPeer, page: PeerView) -> str:
    cell = next((cell for cell in peer.view.cells if cell.id == page.cell_id), None)
    if cell is None:
        return "in no cell"
    text = f"in {short(peer, cell.id)}"
    if page.head is None:
        return text
    line, column = _line_and_column(cell, page.head)
    text += f", line {line}, column {column}"
    if page.anchor is not None and page.anchor != page.head:
        start, stop = sorted((page.anchor, page.head))
        lines = [_line_and_column(cell, at)[0] for at in (start, stop)]
        span = f" on lines {lines[0]} to {lines[1]}" if lines[0] != lines[1] else ""
        selected = cut(visible(cell.source[start:stop]), _SELECTED)
        text += f", selected {count(stop - start, 'character')}{span}: {selected!r}"
    return text


def _line_and_column(cell: CellView, at: int) -> tuple[int, int]:
    """Both count from 1; a column is a character."""
    return cell.source.count("\n", 0, at) + 1, at - (cell.source.rfind("\n", 0, at) + 1) + 1
