"""Finding the text that an edit names, and saying helpfully that it is not there."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from ..errors import TextNotFound
from .edit_ops import Edit


def occurrences(text: str, part: str) -> list[int]:
    """Where ``part`` stands in ``text``, in characters, without overlaps."""
    found: list[int] = []
    at = text.find(part)
    while at >= 0:
        found.append(at)
        at = text.find(part, at + len(part))
    return found


def not_found(edit: Edit, short: str, text: str, found: Sequence[int]) -> TextNotFound:
    """The error for an ``old`` that stands nowhere, or in several places (``found``)."""
    if found:
        lines = ", ".join(str(text.count("\n", 0, at) + 1) for at in found[:10])
        return TextNotFound(
            f"{edit.where}: old occurs {len(found)} times in {short} (lines {lines}). Nothing was written.",
            "Take more of the text around it into old, or say all=true.",
        )
    first = edit.old.strip().splitlines()[0].strip() if edit.old.strip() else edit.old
    all_lines = text.splitlines()
    close = get_close_matches(first, [line.strip() for line in all_lines], n=3, cutoff=0.5)
    near = [f"  {n}: {line}" for n, line in enumerate(all_lines, 1) if line.strip() in close][:3]
    listing = "\nThe nearest lines:\n" + "\n".join(line[:200] for line in near) if near else ""
    return TextNotFound(
        f"{edit.where}: old does not occur in {short}. Nothing was written.{listing}",
        f'Copy it exactly, white space included: query_notebook(query="cells", cells=["{short}"]).',
    )
