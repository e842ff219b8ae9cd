"""Suggestions: edits that wait for a human's word, as plain data.

The theory.  A suggestion must still mean the same when it is merged, perhaps hours later, by another process, into a
notebook that has moved on.  So it is kept as what was *asked for*: the edit objects with every reference resolved to
a full cell id, the ids of the cells that they would make, and the texts that the edits were made on (``bases``).
Merging plans those edits again, on exactly those texts: the rebase and the refusals are those of any edit
(``edits.py``), and no newer text of a human is lost.

Rules:

* A suggestion is planned from its data before it is given out, and must come to the very steps of the edits as they
  were written; what cannot be kept truly is refused.
* ``force`` is not kept: whether a cell that somebody works in is rebuilt is for whoever merges.
* What comes from a server is anybody's: ``from_json`` believes nothing and gives None for what is no suggestion.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any
from uuid import uuid4

from ..errors import CellInUse, CellNotFound, CollabAgentError, EditConflict, EditError, InvalidEdit, TargetError
from . import steps as st
from .difftext import diff
from .draft import Notebook, Plan
from .edits import Planner
from .model import CellType, NotebookView, PeerView
from .plain import inline
from .refs import resolve, resolve_many
from .seen import Seen
from .splice import apply

KEY = "collab_agent"
"""Under this key a fork's description holds our data; the rest of it is ``jupyter-suggestions-rtc``'s."""
VERSION = 1
MOST_CHARS = 500_000
"""The longest description: the server sends it to every page when the fork is made."""
TITLE_CHARS = 120
_BASED = ("replace", "write", "delete", "split", "merge")


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Edits that wait for a human's word.  ``at``: seconds since the epoch."""

    id: str
    title: str
    by: str
    at: float
    edits: tuple[Mapping[str, Any], ...]
    """Edit objects (contract, section 3) whose references are full cell ids."""
    bases: Mapping[str, str]
    """Cell id -> the text that the edits were made on."""
    made: tuple[str, ...]
    """The ids of the cells that merging makes, in order."""
    removed: tuple[str, ...]
    """The ids of the cells that merging removes."""

    @property
    def name(self) -> str:
        """How results and errors name it."""
        return f'suggestion {self.id} "{self.title}"'

    @property
    def cells(self) -> list[str]:
        """The ids of the cells that the edits name, each once."""
        named: list[str] = []
        for edit in self.edits:
            named += [edit[key] for key in ("cell", "after", "before") if key in edit]
            named += edit.get("cells", ())
        return list(dict.fromkeys(named))


def suggestion(
    title: str, edits: Any, notebook: Notebook, seen: Seen, peers: Sequence[PeerView], *, sid: str, by: str, at: float
) -> Suggestion:
    """What these edits suggest; the errors of any edit, and ``InvalidEdit`` for what cannot be suggested."""
    given = [edits] if isinstance(edits, Mapping) else edits
    for number, edit in enumerate(given if isinstance(given, Sequence) else ()):
        if isinstance(edit, Mapping) and edit.get("op") in ("undo", "redo"):
            raise InvalidEdit(
                f"edits[{number}] ({edit['op']}) cannot be suggested. Nothing was written.", "Suggest the edit itself."
            )
    made: list[str] = []

    def new_id() -> str:
        made.append(str(uuid4()))
        return made[-1]

    plan = Planner(notebook, seen, peers, new_id=new_id).plan(edits)
    if not plan.steps:
        raise InvalidEdit("These edits would change nothing: nothing was suggested. Nothing was written.")
    view = notebook.view
    full = [_resolved(edit, view, seen, peers) for edit in given]
    based = {edit["cell"] for edit in full if edit["op"] in _BASED} | plan.before.keys()
    removed = tuple(dict.fromkeys(step.cell for step in plan.steps if isinstance(step, st.DeleteCell)))
    bases: dict[str, str] = {}
    for cell_id in based:
        cell, shown = notebook.cell(cell_id), seen.shown_text(cell_id)
        if cell is not None:
            caught_up = cell_id in plan.wanted and plan.wanted[cell_id] is None
            bases[cell_id] = cell.source if shown is None or caught_up or cell_id in removed else shown
    found = Suggestion(sid, inline(title, TITLE_CHARS), by, at, tuple(full), bases, tuple(made), removed)
    again = standing(found, notebook).plan
    if again is None or again.steps != plan.steps:
        raise InvalidEdit(
            "These edits cannot be kept as one suggestion: some were made on text that you were not shown. Nothing was "
            "written.",
            "Read the cells first, or suggest the edits one by one.",
        )
    return found


def _resolved(edit: Mapping[str, Any], view: NotebookView, seen: Seen, peers: Sequence[PeerView]) -> dict[str, Any]:
    """An edit object with full ids for references."""
    kept = {key: value for key, value in edit.items() if value is not None and key != "force"}
    for key in ("cell", "after", "before"):
        if key in kept:
            kept[key] = resolve(kept[key], view, seen, peers)
    if "cells" in kept:
        kept["cells"] = resolve_many(kept["cells"], view, seen, peers)
    return kept


@dataclass(frozen=True, slots=True)
class Standing:
    """How a suggestion stands to the notebook now.

    ``state``: a clause, e.g. ``applies cleanly``.  ``plan``: what merging would write; None where ``error`` says why
    it would be refused.
    """

    state: str
    plan: Plan | None = None
    error: CollabAgentError | None = None


def planned(found: Suggestion, notebook: Notebook, **options: Any) -> Plan:
    """Plan a suggestion on the notebook as it is now, or raise what refuses it; options as of ``standing``.

    ``CellNotFound``: a cell that it names is gone; ``CellInUse``: it would rebuild a cell that somebody works in;
    ``EditConflict``: it touches what was changed since, or is in the notebook already.  Nothing is written.
    """
    now = standing(found, notebook, **options)
    if now.plan is None:
        assert now.error is not None
        raise now.error
    return now.plan


def standing(
    found: Suggestion,
    notebook: Notebook,
    *,
    in_use: Callable[[str], str] = lambda _cell: "",
    trust: bool = False,
    short: Callable[[str], str] = lambda cell_id: cell_id[:8],
) -> Standing:
    """How a suggestion stands to the notebook now.

    ``in_use(cell id)`` says who works in a cell, ``short`` gives the name of a cell in what is said.
    """
    if any(notebook.cell(cell_id) is not None for cell_id in found.made):
        return _merged_already(found)
    view, seen = notebook.view, Seen()
    gone = [cell_id for cell_id in found.cells if notebook.cell(cell_id) is None]
    if gone:
        return _refused(
            CellNotFound,
            found,
            f"cannot be merged: {', '.join(map(short, gone))}, which it is about, is gone",
        )
    seen.texts.update(found.bases)
    edits = [_referring(edit, lambda cell_id: seen.short(cell_id, view)) for edit in found.edits]
    ids = iter(found.made)
    planner = Planner(notebook, seen, (), in_use, lambda: next(ids, str(uuid4())), trust)
    try:
        plan = planner.plan(edits)
    except CellInUse as exc:
        return Standing("would rebuild a cell that somebody works in", error=exc)
    except (EditError, TargetError) as exc:
        return _conflict(found, notebook, exc, short)
    if not plan.steps:
        return _merged_already(found)
    removed = dict.fromkeys(step.cell for step in plan.steps if isinstance(step, st.DeleteCell))
    if tuple(removed) != found.removed:
        return _refused(EditConflict, found, "cannot be merged: the cells that it joins no longer stand together")
    return Standing("applies cleanly", plan)


def _referring(edit: Mapping[str, Any], short: Callable[[str], str]) -> dict[str, Any]:
    """An edit object with references that surely lead to its cells: a full id may read like ``last`` or ``[3]``."""
    kept = dict(edit)
    for key in ("cell", "after", "before"):
        if key in kept:
            kept[key] = short(kept[key])
    if "cells" in kept:
        kept["cells"] = [short(cell_id) for cell_id in kept["cells"]]
    return kept


def _refused(kind: type[CollabAgentError], found: Suggestion, state: str, hint: str = "Drop it.") -> Standing:
    return Standing(state, error=kind(f"{found.name} {state}. Nothing was written.", hint))


def _merged_already(found: Suggestion) -> Standing:
    return _refused(EditConflict, found, "is in the notebook already")


def _conflict(found: Suggestion, notebook: Notebook, why: CollabAgentError, short: Callable[[str], str]) -> Standing:
    """The refusal, with what was changed since in the cells that the suggestion is about."""
    changed = {
        cell_id: diff(base, cell.source, limit=1_500)
        for cell_id, base in found.bases.items()
        if (cell := notebook.cell(cell_id)) is not None and cell.source != base
    }
    if not changed:
        return _refused(EditConflict, found, f"cannot be merged: {why.message.removesuffix(' Nothing was written.')}")
    state = f"conflicts with what was changed since in {', '.join(map(short, changed))}"
    theirs = "\n".join(f"changed in {short(cell_id)} since:\n{text}" for cell_id, text in changed.items())
    return Standing(state, error=EditConflict(f"{found.name} {state}. Nothing was written.\n{theirs}", "Drop it."))


# What it would look like.


@dataclass(slots=True)
class CellPreview:
    """One cell that a plan touches.  ``before`` None: it is new; ``after`` None: it goes."""

    cell: str
    type: CellType
    before: str | None
    after: str | None
    number: int | None
    """Its place on the page now, 1 is the first; None for a new one."""
    behind: str | None = None
    """A new cell: the id of the cell above it."""
    notes: list[str] = field(default_factory=list)
    """What else is done to it: ``moved``, ``made markdown``, ``outputs cleared``."""


def preview(plan: Plan, notebook: Notebook) -> list[CellPreview]:
    """What a plan would do to the notebook as it is now, cell by cell, in the order in which they are touched."""
    order = [cell.id for cell in notebook.view.cells]
    numbers = {cell_id: at + 1 for at, cell_id in enumerate(order)}
    found: dict[str, CellPreview] = {}
    for step in plan.steps:
        if isinstance(step, st.InsertCell):
            order.insert(step.index, step.cell)
            found[step.cell] = CellPreview(step.cell, step.type, None, step.source, None)
            continue
        if step.cell not in found:
            cell = notebook.cell(step.cell)
            assert cell is not None
            found[step.cell] = CellPreview(step.cell, cell.type, cell.source, cell.source, numbers[step.cell])
        _carry_out(step, found[step.cell], order)
    for place, cell_id in enumerate(order):
        if cell_id in found and found[cell_id].before is None:
            found[cell_id].behind = order[place - 1] if place else None
    return list(found.values())


def _carry_out(step: st.Step, shown: CellPreview, order: list[str]) -> None:
    match step:
        case st.SpliceSource(_, splices):
            shown.after = apply(shown.after or "", splices)
        case st.DeleteCell(cell):
            order.remove(cell)
            shown.after = None
        case st.MoveCell(cell, index):
            order.remove(cell)
            order.insert(index, cell)
            shown.notes.append("moved" if index == 0 else f"moved to place {index + 1}")
        case st.RetypeCell(_, type_):
            shown.notes.append(f"made {type_}")
        case st.ClearCell():
            shown.notes.append("outputs cleared")


def ago(seconds: float) -> str:
    """``just now``, ``5 min ago``, ``3 h ago``, ``2 days ago``."""
    minutes = int(seconds // 60)
    if minutes < 1:
        return "just now"
    if minutes < 120:
        return f"{minutes} min ago"
    return f"{minutes // 60} h ago" if minutes < 48 * 60 else f"{minutes // (24 * 60):,} days ago"


# As a fork's description.


def to_json(found: Suggestion, path: str) -> str:
    """A fork's description: what ``jupyter-suggestions-rtc`` reads, and our own data beside it.

    ``InvalidEdit`` where it would be too long.
    """
    first = next(iter(found.cells), "")
    kind = "delete" if all(edit["op"] == "delete" for edit in found.edits) else "change"
    ours = {
        "version": VERSION,
        "id": found.id,
        "title": found.title,
        "by": found.by,
        "at": found.at,
        "edits": list(found.edits),
        "bases": dict(found.bases),
        "made": list(found.made),
        "removed": list(found.removed),
    }
    text = json.dumps(
        {
            "cellId": first,
            "path": path,
            "mimeType": "text/plain",
            "suggestionType": kind,
            "metadata": {"author": {"name": found.by, "display_name": found.by}},
            KEY: ours,
        }
    )
    if len(text) > MOST_CHARS:
        raise InvalidEdit(
            f"The suggestion is too long ({len(text):,} characters with the texts that it is about; {MOST_CHARS:,} at "
            "most). Nothing was written.",
            "Suggest less at once.",
        )
    return text


def from_json(text: str) -> Suggestion | None:
    """A suggestion from a fork's description; None for anything that is not whole."""
    try:
        value = json.loads(text)[KEY]
        if value["version"] != VERSION:
            return None
        found = Suggestion(
            id=_text(value["id"]),
            title=inline(_text(value["title"]), TITLE_CHARS),
            by=inline(_text(value["by"]), 40),
            at=float(value["at"]),
            edits=tuple(_edit(edit) for edit in value["edits"]),
            bases={_text(cell): _text(base) for cell, base in value["bases"].items()},
            made=tuple(map(_text, value["made"])),
            removed=tuple(map(_text, value["removed"])),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        return None
    whole = found.id.isalnum() and len(found.id) <= 12 and found.edits and isfinite(found.at)
    return found if whole else None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    value.encode()  # half a character cannot be shown
    return value


def _edit(value: Any) -> dict[str, Any]:
    edit = dict(value)
    edit["op"] = _text(edit["op"])
    for key in ("cell", "after", "before"):
        if key in edit:
            _text(edit[key])
    if "cells" in edit:
        edit["cells"] = [_text(cell_id) for cell_id in edit["cells"]]
    edit.pop("force", None)
    return edit
