"""What ``peers.py`` has measured, as a table and a chart.  Nothing here does any I/O."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

MARKERS = ("<!-- measured -->", "<!-- end of what was measured -->")
"""Between these lines of a page stands the table."""


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that was measured: program -> value, None where a program has no such thing.

    ``exact`` values are counts, of which no ratio is told.
    """

    what: str
    unit: str
    values: Mapping[str, float | None]
    exact: bool = False


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the characters that a human typed in one line of a cell."""

    typed: int
    lost: int
    displaced: int
    doubled: int


def median(values: Sequence[float]) -> float | None:
    """The median, None of nothing."""
    return statistics.median(values) if values else None


def tally(typed: Sequence[str], sources: Sequence[str], anchor: str) -> Tally:
    """Count marks (no two typed are the same) in the notebook as everybody has it at the end.

    They were typed one behind the other after ``anchor``, which stands in one line: one that stands before it, in
    another line or cell, or there in another order, is displaced.
    """
    marks = set(typed)
    found = Counter(character for source in sources for character in source if character in marks)
    line = next((line for source in sources for line in source.split("\n") if anchor in line), "").partition(anchor)[2]
    order = {mark: number for number, mark in enumerate(typed)}
    in_place = longest_rise([order[character] for character in line if character in marks])
    return Tally(len(marks), len(marks) - len(found), len(found) - in_place, found.total() - len(found))


def longest_rise(numbers: Sequence[int]) -> int:
    """The length of the longest strictly increasing subsequence."""
    tails: list[int] = []
    for number in numbers:
        place = next((index for index, tail in enumerate(tails) if tail >= number), len(tails))
        tails[place : place + 1] = [number]
    return len(tails)


def shown(value: float | None, unit: str) -> str:
    """A value as the table writes it."""
    if value is None:
        return "none"
    return f"{value:,.1f}" if unit == "ms" and value < 10 else f"{value:,.0f}"


def ratio(value: float | None, base: float | None) -> str:
    """How many times the first program's; empty where there is nothing to divide."""
    if value is None or not base:
        return ""
    times = value / base
    return f" ({times:.1f}x)" if times < 10 else f" ({times:,.0f}x)"


def table(rows: Sequence[Row], programs: Sequence[str]) -> str:
    """The rows as Markdown; behind each value but the first program's how many times that one's it is."""
    lines = [f"| | {' | '.join(programs)} |", "|---|" + "---:|" * len(programs)]
    for row in rows:
        base = None if row.exact else row.values.get(programs[0])
        cells = [shown(row.values.get(programs[0]), row.unit)]
        for name in programs[1:]:
            value = row.values.get(name)
            cells.append(shown(value, row.unit) + ratio(value, base))
        unit = f", {row.unit}" if row.unit else ""
        lines.append(f"| {row.what}{unit} | {' | '.join(cells)} |")
    return "\n".join(lines)


def put(page: str, text: str) -> str:
    """The page with this text between the markers.

    Raises ValueError if the page lacks them.
    """
    begin, end = MARKERS
    if begin not in page or end not in page:
        raise ValueError(f"The page needs the lines {begin} and {end}.")
    return f"{page.partition(begin)[0]}{begin}\n\n{text}\n\n{end}{page.partition(end)[2]}"


# The chart: a panel per row, a bar per program.

COLORS = ("#2a6f97", "#b5a642", "#b5651d", "#7d8597")
WIDTH, PANEL_W, PANEL_H, GAP, BAR, LEFT, TOP = 800, 380, 146, 20, 22, 146, 60
FONT = 'font-family="system-ui, Segoe UI, Helvetica, Arial, sans-serif"'


def chart(rows: Sequence[Row], programs: Sequence[str], title: str) -> str:
    """Small multiples as SVG: each panel has a scale of its own, the longest bar fills it."""
    height = TOP + -(-len(rows) // 2) * (PANEL_H + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="{escape(title)}" {FONT}>',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="20" y="38" font-size="20" font-weight="600" fill="#1b1b1b">{escape(title)}</text>',
    ]
    for number, row in enumerate(rows):
        x = GAP + number % 2 * (PANEL_W + GAP)
        parts += _panel(row, programs, x, TOP + number // 2 * (PANEL_H + GAP))
    return "\n".join([*parts, "</svg>", ""])


def _panel(row: Row, programs: Sequence[str], x: float, y: float) -> list[str]:
    unit = f", {row.unit}" if row.unit else ""
    name = row.what.replace("`", "")
    parts = [f'<text x="{x}" y="{y + 14}" font-size="15" font-weight="600" fill="#1b1b1b">{escape(name + unit)}</text>']
    most = max((value for value in row.values.values() if value), default=1.0)
    room = PANEL_W - LEFT - 58
    for number, program in enumerate(programs):
        value = row.values.get(program)
        top = y + 26 + number * (BAR + 6)
        middle = top + BAR * 0.7
        length = 0.0 if not value else max(room * value / most, 1.5)
        parts += [
            f'<text x="{x + LEFT - 8}" y="{middle:.1f}" font-size="14" text-anchor="end" fill="#444444">'
            f"{escape(program)}</text>",
            f'<rect x="{x + LEFT}" y="{top}" width="{length:.1f}" height="{BAR}" fill="{COLORS[number % 4]}"/>',
            f'<text x="{x + LEFT + length + 6:.1f}" y="{middle:.1f}" font-size="14" fill="#1b1b1b">'
            f"{shown(value, row.unit)}</text>",
        ]
    return parts
