"""Views -> bounded text for a model.

Every function is total, whatever the texts hold, and answers with at most ``budget`` characters; what does
not fit is named, with the call that shows it.  Whatever reference is printed, ``refs.resolve`` takes back.
``Seen`` is told what the text really holds: a cell counts as shown only where its whole source is in it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from collab_agent.notebook.budget import chosen, clip_lines, query, refs_of
from collab_agent.notebook.difftext import diff
from collab_agent.notebook.display import Image, body, kinds, output_summary
from collab_agent.notebook.model import CellView, NotebookView, OutputSource
from collab_agent.notebook.output_pages import Rendered, count_mark, outputs
from collab_agent.notebook.pattern import compile_pattern
from collab_agent.notebook.plain import clean, clip, count, cut, inline, visible
from collab_agent.notebook.refs import label
from collab_agent.notebook.seen import Seen

__all__ = [
    "Image",
    "Rendered",
    "cells",
    "clean",
    "clip",
    "count_mark",
    "diff",
    "label",
    "outline",
    "output_summary",
    "outputs",
    "search",
]

_FIRST_LINE = 80
_SHORTEST_ROW = 25
_MARGIN = 300
"""Characters kept for the closing lines that say what was left out."""
_HEADING = re.compile(r"^[ ]{0,3}#{1,6}[ \t]+\S[^\n]*", re.MULTILINE)
_SUMMARIES = 8


def outline(
    view: NotebookView,
    outputs: OutputSource,
    seen: Seen,
    *,
    offset: int = 0,
    limit: int | None = None,
    budget: int = 8_000,
) -> str:
    """A head line, then a line per cell: ``#3 a1f9 code [12] 3 lines: import pandas → text, image/png``.

    ``offset`` and ``limit`` count cells.  Numbers the page (``Seen.show_order``); a cell of one line that was
    not cut counts as shown.  Loads only the outputs of the cells it lists.
    """
    renumbered = seen.order is not None and seen.order != seen.ids(view)
    seen.show_order(view)
    total = len(view.cells)
    head = f"{inline(view.path, 200) or 'notebook'}: {count(total, 'cell')}"
    lines = [f"{head}, {inline(view.language, 40)}" if view.language else head]
    start = min(max(offset, 0), total)
    stop = total if limit is None else min(start + max(limit, 0), total)
    room = budget - len(lines[0]) - _MARGIN
    most = max(room, 0) // _SHORTEST_ROW
    seen.give([cell.id for cell in view.cells[start : min(stop, start + most)]], view)
    at = start
    while at < stop:
        cell = view.cells[at]
        row, whole = _row(at + 1, cell, view, seen, outputs)
        room -= len(row) + 1
        if room < 0:
            break
        lines.append(row)
        if whole:
            seen.show(cell)
        at += 1
    if at < total:
        lines.append(f"… #{at + 1} to #{total} not shown; {query('outline', offset=at)}")
    if renumbered and (at < total or start > 0):
        lines.append("Cells came, went or moved since the last outline: #N now counts as the page is now.")
    return cut("\n".join(lines), budget)


def _row(
    number: int,
    cell: CellView,
    view: NotebookView,
    seen: Seen,
    outputs: OutputSource,
) -> tuple[str, bool]:
    """The outline's line for a cell, and whether it holds the whole source."""
    source = cell.source
    lines = source.count("\n") + 1 if source else 0
    first = visible(_first_line(source) if lines > 1 else source[: _FIRST_LINE + 1])
    text = cut(first, _FIRST_LINE)
    if cell.type == "markdown" and lines > 1 and not _HEADING.match(text):
        heading = _HEADING.search(source, 0, 4_000)
        text += f" … {cut(visible(heading[0][:_FIRST_LINE]).strip(), _FIRST_LINE)}" if heading else ""
    row = f"#{number} {seen.short(cell.id, view)} {cell.type} [{count_mark(cell)}] {count(lines, 'line')}"
    row += f": {text}" if text else ""
    found = kinds(outputs(cell.id)) if cell.type == "code" else ""
    return f"{row} → {found}" if found else row, lines <= 1 and text == first


def _first_line(source: str) -> str:
    """The first line that is not blank, as far as it can be of use."""
    for line in source[:1_000].split("\n"):
        if line.strip():
            return line[: _FIRST_LINE + 1]
    return ""


def cells(
    view: NotebookView,
    ids: Sequence[str],
    outputs: OutputSource,
    seen: Seen,
    *,
    offset: int = 0,
    limit: int | None = None,
    budget: int = 8_000,
) -> str:
    """The sources of these cells, every line as ``12│text`` (the text begins right after the bar).

    Below each source a line per output.  ``offset`` and ``limit`` count lines where one cell is asked for,
    else cells.  A cell that is here in full counts as shown.
    """
    wanted = chosen(view, ids)
    if len(wanted) == 1:
        return _one(wanted[0], view, outputs, seen, max(offset, 0), limit, budget)
    start = max(offset, 0)
    window = wanted[start:] if limit is None else wanted[start : start + max(limit, 0)]
    room = budget - _MARGIN
    texts: list[str] = []
    for cell in window:
        source = _source(cell, view, seen)
        if len(source) + 2 > room:
            break
        text = _with_summaries(source, cell, outputs, room - 2)
        room -= len(text) + 2
        texts.append(text)
        seen.show(cell)
    shown = len(texts)
    if window and not texts:
        texts.append(_one(window[0], view, outputs, seen, 0, None, budget - _MARGIN))
        shown = 1
    left_out = wanted[start + shown :]
    if left_out:
        how = query("cells", cells=refs_of(left_out, view, seen))
        texts.append(f"… {count(len(left_out), 'cell')} left out; {how}")
    return cut("\n\n".join(texts) or "no cells", budget)


def _one(
    cell: CellView,
    view: NotebookView,
    outputs: OutputSource,
    seen: Seen,
    offset: int,
    limit: int | None,
    budget: int,
) -> str:
    """One cell, paged by lines."""
    source = _source(cell, view, seen)
    lines = _numbered(cell.source)
    stop = len(lines) if limit is None else min(offset + max(limit, 0), len(lines))
    if offset == 0 and stop == len(lines) and len(source) <= budget:
        seen.show(cell)
        return _with_summaries(source, cell, outputs, budget)
    short = seen.short(cell.id, view)
    header = f"{label(cell, view, seen)} [{count_mark(cell)}], {count(len(lines), 'line')} in all"
    note = f"… {count(len(lines) - stop, 'more line')}; {query('cells', cells=[short], offset=stop)}"
    parts = [header, note] if stop < len(lines) else [header]

    def how(first: int, n: int) -> str:
        return query("cells", cells=[short], offset=offset + first, limit=n)

    if offset < stop:
        parts.insert(1, clip_lines(lines[offset:stop], budget - sum(map(len, parts)) - 2, how))
    return cut("\n".join(parts), budget)


def _source(cell: CellView, view: NotebookView, seen: Seen) -> str:
    header = f"{label(cell, view, seen)} [{count_mark(cell)}]"
    return "\n".join([header, *_numbered(cell.source)]) if cell.source else f"{header}\n(empty)"


def _numbered(source: str) -> list[str]:
    lines = visible(source).split("\n")
    width = len(str(len(lines)))
    return [f"{at:>{width}}│{line}" for at, line in enumerate(lines, 1)]


def _with_summaries(text: str, cell: CellView, outputs: OutputSource, budget: int) -> str:
    """The text and below it a line per output, as many as fit."""
    if cell.type != "code":
        return text
    found = outputs(cell.id)
    lines = [f"→ {output_summary(output)}" for output in found[:_SUMMARIES]]
    if len(found) > _SUMMARIES:
        lines.append(f"→ … {count(len(found) - _SUMMARIES, 'more output')}")
    for line in lines:
        if len(text) + 1 + len(line) > budget:
            break
        text = f"{text}\n{line}"
    return text


def search(
    view: NotebookView,
    outputs: OutputSource,
    seen: Seen,
    pattern: str,
    *,
    offset: int = 0,
    limit: int | None = None,
    budget: int = 8_000,
) -> str:
    """The matching lines as ``ID:LINE: text``, those of outputs as ``ID:out:LINE: text``; both count from 1.

    Output lines are numbered as ``query="outputs"`` pages through them.  ``offset`` and ``limit`` count
    matches.  Raises ``InvalidEdit`` on a bad pattern.
    """
    matching = compile_pattern(pattern)
    start = max(offset, 0)
    stop = None if limit is None else start + max(limit, 0)
    room = budget - _MARGIN
    lines: list[str] = []
    total, full = 0, False
    longest = 0
    for cell in view.cells:
        for where, text in _searched(cell, outputs):
            longest = max(longest, len(text))
            match = matching.search(text)
            if match is None:
                continue
            total += 1
            if full or total <= start or (stop is not None and total > stop):
                continue
            line = f"{seen.short(cell.id, view)}:{where}: {_around(text, match.start())}"
            room -= len(line) + 1
            full = room < 0
            lines.extend([] if full else [line])
    if not total:
        searched = f"{count(len(view.cells), 'cell')} and their outputs"
        lines.append(f"no line matches {inline(pattern, 100)}; searched: {searched}")
    elif total > start + len(lines):
        next_call = query("search", pattern=pattern, offset=start + len(lines))
        lines.append(f"… {total - start - len(lines):,} more matching lines; {next_call}")
    elif not lines:
        lines.append(f"no more matches: there are {total:,}")
    if longest > matching.reach:
        lines.append(f"Of longer lines only the first {matching.reach:,} characters were searched.")
    return cut("\n".join(lines), budget)


def _searched(cell: CellView, outputs: OutputSource) -> list[tuple[str, str]]:
    """The lines of a cell that a search goes through, each with the place that names it."""
    found = [(str(at), line) for at, line in enumerate(visible(cell.source).split("\n"), 1)]
    if cell.type == "code":
        found.extend((f"out:{at}", line) for at, line in enumerate(body(outputs(cell.id)), 1))
    return found


def _around(line: str, start: int) -> str:
    """The line, or the 200 characters of it that hold the match."""
    begin = max(start - 60, 0) if len(line) > 200 else 0
    return ("…" if begin else "") + cut(line[begin:], 200)
