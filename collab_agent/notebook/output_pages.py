"""The outputs of cells as bounded text and pictures: the answer to ``query="outputs"``, the end of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from collab_agent.notebook.budget import chosen, clip_lines, query, refs_of, shares
from collab_agent.notebook.display import Block, Image, block, decode, fenced
from collab_agent.notebook.model import CellView, NotebookView, OutputSource
from collab_agent.notebook.pattern import LinePattern, compile_pattern
from collab_agent.notebook.plain import count, cut
from collab_agent.notebook.refs import label
from collab_agent.notebook.seen import Seen

_FLOOR = 300
"""Characters below which a cut output says nothing: rather leave out a cell than show less of each output."""
_MARGIN = 300
"""Characters kept for the line that names the cells left out."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """What goes to the model: text first, then pictures, not yet scaled down."""

    text: str
    images: tuple[Image, ...] = ()


@dataclass(frozen=True, slots=True)
class _Wish:
    """What the call asked for; ``offset`` and ``limit`` count the lines of each cell's outputs."""

    offset: int
    limit: int | None
    pattern: str | None
    matching: LinePattern | None
    images: int


@dataclass(frozen=True, slots=True)
class _Piece:
    """The wanted lines of one output; ``first`` is the index of the first among the cell's lines."""

    lines: Sequence[str]
    first: int
    tail: float

    def size(self) -> int:
        return sum(map(len, self.lines)) + len(self.lines)


@dataclass(frozen=True, slots=True)
class _Section:
    """One cell: its header, what is wanted of its outputs, a note on what there is besides (may be empty)."""

    short: str
    header: str
    pieces: tuple[_Piece, ...]
    note: str
    images: tuple[Image, ...]

    def fixed(self) -> int:
        return len(self.header) + len(self.note) + 3

    def least(self) -> int:
        return self.fixed() + sum(min(piece.size(), _FLOOR) for piece in self.pieces)


def outputs(
    view: NotebookView,
    ids: Sequence[str],
    outputs: OutputSource,
    seen: Seen,
    *,
    offset: int = 0,
    limit: int | None = None,
    pattern: str | None = None,
    budget: int = 8_000,
    images: int = 4,
) -> Rendered:
    """The outputs of these cells in at most ``budget`` characters, with at most ``images`` pictures.

    ``offset`` and ``limit`` page through the lines of each cell's outputs, labels counted; with ``pattern``,
    through the lines that match.  Where not all fits, each output keeps its head and tail.  Raises
    ``InvalidEdit`` on a bad pattern.
    """
    matching = compile_pattern(pattern) if pattern else None
    wish = _Wish(max(offset, 0), limit, pattern, matching, images)
    waiting = chosen(view, ids)
    sections: list[_Section] = []
    room = budget - _MARGIN
    pictures = 0
    for at, cell in enumerate(waiting):
        section = _section(cell, outputs, view, seen, wish, pictures)
        if sections and section.least() > room:
            break
        room -= section.least()
        pictures += len(section.images)
        sections.append(section)
        left_out = waiting[at + 1 :]
    else:
        left_out = []
    texts = _fit(sections, budget - _MARGIN if left_out else budget, pattern)
    if left_out:
        how = query("outputs", cells=refs_of(left_out, view, seen), pattern=pattern)
        texts.append(f"… {count(len(left_out), 'cell')} left out; {how}")
    text = cut("\n\n".join(texts) or "no cells", budget)
    return Rendered(text, tuple(image for section in sections for image in section.images))


def _section(
    cell: CellView, load: OutputSource, view: NotebookView, seen: Seen, wish: _Wish, pictures: int
) -> _Section:
    """What is wanted of one cell; ``pictures`` have been taken by the cells before it."""
    short = seen.short(cell.id, view)
    pieces: list[_Piece] = []
    images: list[Image] = []
    end = 0
    for output in load(cell.id) if cell.type == "code" else ():
        whole = block(output)
        lines: Sequence[str] = [whole.lines[0], *fenced(whole.lines[1:])]
        if wish.matching:
            lines = fenced(line for line in whole.lines[1:] if wish.matching.search(line))
        skip = max(wish.offset - end, 0)
        stop = len(lines) if wish.limit is None else max(wish.offset + wish.limit - end, 0)
        wanted = lines[skip:stop]
        if wanted and whole.picture and skip == 0 and not wish.matching:
            title, image = _picture(whole, pictures + len(images), wish.images, short, end)
            wanted = (title, *wanted[1:])
            images.extend([image] if image else [])
        if wanted:
            pieces.append(_Piece(wanted, end + skip, whole.tail))
        end += len(lines)
    header = f"{label(cell, view, seen)} [{count_mark(cell)}]"
    return _Section(short, header, tuple(pieces), _note(cell, short, wish, end), tuple(images))


def _picture(whole: Block, before: int, most: int, short: str, line: int) -> tuple[str, Image | None]:
    """The label of a picture's output, and the picture unless it is broken or one too many."""
    mime, encoded = whole.picture or ("", "")
    title = whole.lines[0].strip("[]")
    if before >= most:
        return (
            f"[{title}: not shown, {most} images at most; {query('outputs', cells=[short], offset=line)}]",
            None,
        )
    image = decode(mime, encoded, f"{title}, output of {short}")
    return (f"[{title}: image {before + 1}]" if image else f"[{title}: unreadable]"), image


def _note(cell: CellView, short: str, wish: _Wish, lines: int) -> str:
    """What the model must know beside the wanted lines; ``lines`` is how many there are in all."""
    if not lines:
        if wish.matching:
            return "no line of output matches"
        return "no output yet, the cell is running" if cell.running else "no output"
    if wish.offset >= lines:
        return f"no more output: it has {count(lines, 'line')}"
    if wish.limit is not None and wish.offset + wish.limit < lines:
        stop = wish.offset + max(wish.limit, 0)
        how = query("outputs", cells=[short], pattern=wish.pattern, offset=stop)
        return f"… {count(lines - stop, 'more line')}; {how}"
    return ""


def _fit(sections: Sequence[_Section], budget: int, pattern: str | None) -> list[str]:
    """A text for each section, together within the budget as long as the headers are."""
    room = budget - sum(section.fixed() for section in sections)
    given = iter(shares([piece.size() for section in sections for piece in section.pieces], room))
    texts: list[str] = []
    for section in sections:
        parts = [section.header]
        for piece in section.pieces:

            def how(first: int, n: int, section: _Section = section, piece: _Piece = piece) -> str:
                start = piece.first + first
                return query("outputs", cells=[section.short], pattern=pattern, offset=start, limit=n)

            parts.append(clip_lines(piece.lines, next(given) - 1, how, tail=piece.tail))
        texts.append("\n".join([*parts, section.note] if section.note else parts))
    return texts


def count_mark(cell: CellView) -> str:
    """What stands in the brackets: the execution count, ``*`` while the cell runs, or a space."""
    if cell.running:
        return "*"
    return " " if cell.execution_count is None else str(cell.execution_count)
