"""Edits as a model writes them: flat objects, checked by hand, because a schema's complaint would not help it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from ..errors import InvalidEdit
from .model import CellType

MOST_EDITS = 1_000
MOST_CHARS = 10_000_000
"""So much text may one call write."""
CELL_TYPES = ("code", "markdown", "raw")

_FIELDS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "insert": (frozenset({"source"}), frozenset({"type", "after", "before"})),
    "replace": (frozenset({"cell", "old", "new"}), frozenset({"all"})),
    "write": (frozenset({"cell", "source"}), frozenset()),
    "delete": (frozenset({"cell"}), frozenset({"force"})),
    "move": (frozenset({"cell"}), frozenset({"after", "before", "force"})),
    "retype": (frozenset({"cell", "type"}), frozenset({"force"})),
    "split": (frozenset({"cell", "line"}), frozenset({"force"})),
    "merge": (frozenset({"cell"}), frozenset({"force"})),
    "clear": (frozenset({"cells"}), frozenset()),
    "undo": (frozenset(), frozenset({"steps", "force"})),
    "redo": (frozenset(), frozenset({"steps", "force"})),
    "restore": (frozenset(), frozenset({"cells", "force"})),
}
"""Operation -> (fields it needs, fields it may have); contract, section 3."""

BACK = frozenset({"undo", "redo", "restore"})
"""The operations on what was done or lost before; one of them is the only edit of its call."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One checked edit.  Fields that its ``op`` does not have are at their defaults."""

    op: str
    where: str
    """How an error names it: ``edits[2] (replace)``."""
    cell: str = ""
    cells: str | Sequence[str] = ()
    source: str = ""
    old: str = ""
    new: str = ""
    all: bool = False
    type: CellType = "code"
    after: str | None = None
    before: str | None = None
    line: int = 0
    steps: int = 1
    force: bool = False


def parse(edits: Any) -> list[Edit]:
    """Check a list of edit objects; ``InvalidEdit`` names the first that makes no sense.  Nothing is written."""
    if isinstance(edits, Mapping):
        edits = [edits]
    if not isinstance(edits, Sequence) or isinstance(edits, str) or not edits:
        raise InvalidEdit("edits must be a list of at least one object. Nothing was written.", _example("replace"))
    if len(edits) > MOST_EDITS:
        raise InvalidEdit(f"A call may hold {MOST_EDITS} edits, not {len(edits)}. Nothing was written.", "Call again.")
    parsed = [_parse_one(value, f"edits[{number}]") for number, value in enumerate(edits)]
    if (size := sum(len(edit.source) + len(edit.new) for edit in parsed)) > MOST_CHARS:
        raise InvalidEdit(
            f"A call may write {MOST_CHARS} characters, not {size}. Nothing was written.",
            "Put large data into a file, and read it in the notebook.",
        )
    back = next((edit for edit in parsed if edit.op in BACK), None)
    if back is not None and len(parsed) > 1:
        raise InvalidEdit(
            f"{back.where} must be the only edit of its call. Nothing was written.",
            f"Call twice: once with {_example(back.op).partition(': ')[2]} alone, once with the other edits.",
        )
    return parsed


def _parse_one(value: Any, where: str) -> Edit:
    if not isinstance(value, Mapping):
        raise InvalidEdit(f"{where} is no object. Nothing was written.", _example("replace"))
    op = value.get("op")
    if not isinstance(op, str) or op not in _FIELDS:
        raise InvalidEdit(f"{where}: op must be one of {', '.join(_FIELDS)}. Nothing was written.", _example("replace"))
    where = f"{where} ({op})"
    given = {key: field for key, field in value.items() if field is not None and key != "op"}
    needed, optional = _FIELDS[op]
    missing = sorted(needed - given.keys())
    unknown = sorted(given.keys() - needed - optional)
    if missing:
        raise InvalidEdit(f"{where} lacks {', '.join(missing)}. Nothing was written.", _example(op))
    if unknown:
        raise InvalidEdit(f"{where} does not take {', '.join(unknown)}. Nothing was written.", _example(op))
    checked = {key: _check(key, field, where) for key, field in given.items()}
    if "after" in checked and "before" in checked:
        raise InvalidEdit(f"{where} takes after or before, not both. Nothing was written.", _example(op))
    if op == "move" and not ("after" in checked or "before" in checked):
        raise InvalidEdit(f"{where} needs after or before. Nothing was written.", _example(op))
    if op == "replace" and not checked["old"]:
        raise InvalidEdit(f"{where}: old is empty. Nothing was written.", "op=write replaces the whole source.")
    return Edit(op=op, where=where, **checked)


def _check(key: str, value: Any, where: str) -> Any:
    if key in ("all", "force"):
        if not isinstance(value, bool):
            raise InvalidEdit(f"{where}: {key} must be true or false. Nothing was written.")
        return value
    if key == "line":
        if isinstance(value, bool) or not isinstance(value, int):
            raise InvalidEdit(f"{where}: line must be a number, 1 is the first line. Nothing was written.")
        return value
    if key == "steps":
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InvalidEdit(f"{where}: steps must be a number from 1: how many of your calls. Nothing was written.")
        return value
    if key == "cells":
        refs = [value] if isinstance(value, str) else value
        if not isinstance(refs, Sequence) or not all(isinstance(ref, str) for ref in refs):
            raise InvalidEdit(f"{where}: cells must be a list of cell references. Nothing was written.")
        return refs
    if not isinstance(value, str):
        raise InvalidEdit(f"{where}: {key} must be a string. Nothing was written.")
    if key == "type":
        if value not in CELL_TYPES:
            raise InvalidEdit(f"{where}: type must be one of {', '.join(CELL_TYPES)}. Nothing was written.")
        return cast(CellType, value)
    return clean_text(value, f"{where}: {key}") if key in ("source", "old", "new") else value


def clean_text(text: str, where: str) -> str:
    """Text that every replica can hold and show; ``InvalidEdit`` where that is impossible.

    Line ends become ``\\n``: CodeMirror counts ``\\r\\n`` as one character, and every position behind it would be off.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidEdit(
            f"{where} holds half of a character (a lone surrogate). Nothing was written.", "Send the whole character."
        ) from None
    if "\0" in text:
        raise InvalidEdit(f"{where} holds a NUL character. Nothing was written.", "Write it as an escape, e.g. \\x00.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _example(op: str) -> str:
    examples = {
        "insert": '{"op": "insert", "source": "x = 1", "after": "a1f9"}',
        "replace": '{"op": "replace", "cell": "a1f9", "old": "x = 1", "new": "x = 2"}',
        "write": '{"op": "write", "cell": "a1f9", "source": "x = 2"}',
        "delete": '{"op": "delete", "cell": "a1f9"}',
        "move": '{"op": "move", "cell": "a1f9", "after": "c3d4"}',
        "retype": '{"op": "retype", "cell": "a1f9", "type": "markdown"}',
        "split": '{"op": "split", "cell": "a1f9", "line": 3}',
        "merge": '{"op": "merge", "cell": "a1f9"}',
        "clear": '{"op": "clear", "cells": ["a1f9"]}',
        "undo": '{"op": "undo"}',
        "redo": '{"op": "redo", "steps": 2}',
        "restore": '{"op": "restore", "cells": ["a1f9"]}',
    }
    return f"For example: {examples[op]}"
