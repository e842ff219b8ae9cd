"""Whether all replicas hold the same notebook, and where not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from ..testing import converged
from .ledger import CellText
from .report import quoted

_AROUND = 12


def differences(expected: Sequence[CellText], found: Sequence[CellText]) -> list[str]:
    """Where ``found`` is not what it must be, character by character; a line per cell, none if all is well."""
    lines: list[str] = []
    for number, (wanted, cell) in enumerate(zip_longest(expected, found), 1):
        if cell is None:
            lines.append(f"#{number} {wanted.id[:4]} is missing: {quoted(wanted.source, 40)}")
        elif wanted is None:
            lines.append(f"#{number} {cell.id[:4]} should not be there: {quoted(cell.source, 40)}")
        elif not wanted.is_cell(cell.id):
            lines.append(f"#{number} should be {wanted.id[:4]}, but is {cell.id[:4]}")
        elif wanted.source != cell.source:
            lines.append(f"#{number} {cell.id[:4]} {first_difference(wanted.source, cell.source)}")
    return lines


def first_difference(wanted: str, found: str) -> str:
    """``differs at character 57 (line 2): … where … is meant``."""
    pairs = zip(wanted, found, strict=False)
    at = next((index for index, (one, other) in enumerate(pairs) if one != other), min(len(wanted), len(found)))
    line = wanted.count("\n", 0, at) + 1
    has, meant = (quoted(text[at : at + _AROUND]) if text[at:] else "nothing more" for text in (found, wanted))
    before = wanted[max(at - _AROUND, 0) : at]
    return f"differs at character {at + 1} (line {line}), behind {quoted(before)}: {has} for {meant}"


def output_differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The cells whose outputs, counts or metadata differ between two notebooks in nbformat's terms."""
    if len(one["cells"]) != len(other["cells"]):
        return [f"{len(one['cells'])} cells against {len(other['cells'])}"]
    pairs = enumerate(zip(one["cells"], other["cells"], strict=True), 1)
    return [
        f"#{number} {str(cell['id'])[:4]} differs in {', '.join(_differing(cell, rival))}"
        for number, (cell, rival) in pairs
        if not converged({"cells": [cell]}, {"cells": [rival]})
    ]


def _differing(cell: Mapping[str, Any], rival: Mapping[str, Any]) -> list[str]:
    names = sorted({*cell, *rival})
    return [name for name in names if not converged({"cells": [cell.get(name)]}, {"cells": [rival.get(name)]})]


def misplaced(typed: Sequence[tuple[str, str, str]], found: Sequence[CellText]) -> list[str]:
    """The bursts (cell, what stood before, text) that do not stand whole, once and where they were begun."""
    lines: list[str] = []
    for cell, after, text in typed:
        sources = [each.source for each in found if each.is_cell(cell)]
        if len(sources) != 1 or sources[0].count(after + text) != 1:
            lines.append(f"{quoted(text, 40)} does not stand whole behind {quoted(after, 30)} in {cell[:4]}")
    return lines
