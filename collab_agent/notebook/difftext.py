"""A short diff of one cell's text, for the answer to an edit and for "what changed"."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher

from collab_agent.notebook.budget import clip_lines
from collab_agent.notebook.plain import cut, visible

_WIDEST = 300
_MOST_LINES = 1_000
"""Beyond this many changed lines no alignment is sought: it would be slow, and too long to be shown."""

_Op = tuple[str, int, int, int, int]


def diff(
    before: str,
    after: str,
    *,
    context: int = 1,
    limit: int = 2_000,
    rest: str = 'query_notebook(query="cells")',
) -> str:
    """The changed lines with ``context`` neighbours, as ``-12│old``, ``+12│new`` and `` 12│same``.

    Removed lines carry their old number, all others the new one.  ``limit``: characters at most, head and
    tail kept; ``rest``: the call that shows the whole text.
    """
    if before == after:
        return cut("(no change)", limit)
    old, new = before.split("\n"), after.split("\n")
    lines: list[str] = []
    end = 0
    for tag, i, i_end, j, j_end in _hunks(old, new, max(context, 0)):
        if tag == "gap":
            lines.append("…")
        elif tag == "equal":
            lines.extend(_line(" ", at, new) for at in range(j, j_end))
        else:
            lines.extend(_line("-", at, old) for at in range(i, i_end))
            lines.extend(_line("+", at, new) for at in range(j, j_end))
        end = j_end
    if end < len(new):
        lines.append("…")
    return clip_lines(lines, limit, lambda _first, _n: rest)


def _line(sign: str, at: int, lines: list[str]) -> str:
    return f"{sign}{at + 1}│{cut(visible(lines[at][: _WIDEST + 1]), _WIDEST)}"


def _hunks(old: list[str], new: list[str], context: int) -> Iterator[_Op]:
    """The opcodes in order, equal stretches cut to the context, a "gap" where lines are passed over."""
    ops = _opcodes(old, new)
    for at, (tag, i, i_end, j, j_end) in enumerate(ops):
        if tag != "equal":
            yield tag, i, i_end, j, j_end
            continue
        head = context if at > 0 else 0
        foot = context if at < len(ops) - 1 else 0
        if j_end - j <= head + foot:
            yield tag, i, i_end, j, j_end
            continue
        if head:
            yield tag, i, i + head, j, j + head
        if foot or at == 0:
            yield "gap", 0, 0, 0, 0
        if foot:
            yield tag, i_end - foot, i_end, j_end - foot, j_end


def _opcodes(old: list[str], new: list[str]) -> list[_Op]:
    """Like ``SequenceMatcher.get_opcodes``, with common ends taken off and hopeless cases not aligned."""
    shortest = min(len(old), len(new))
    start = next((at for at in range(shortest) if old[at] != new[at]), shortest)
    foot = 0
    while foot < shortest - start and old[-1 - foot] == new[-1 - foot]:
        foot += 1
    i_end, j_end = len(old) - foot, len(new) - foot
    ops: list[_Op] = [("equal", 0, start, 0, start)] if start else []
    if max(i_end, j_end) - start > _MOST_LINES:
        ops.append(("replace", start, i_end, start, j_end))
    else:
        matcher = SequenceMatcher(None, old[start:i_end], new[start:j_end])
        for tag, i, i_stop, j, j_stop in matcher.get_opcodes():
            ops.append((tag, i + start, i_stop + start, j + start, j_stop + start))
    if foot:
        ops.append(("equal", i_end, len(old), j_end, len(new)))
    return ops
