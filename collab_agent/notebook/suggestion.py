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
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any
from uuid import uuid4

from ..errors import CellInUse, CellNotFound, CollabAgentError, EditConflict, EditError, InvalidEdit, TargetError
from . import steps as st
from .difftext import diff
from .draft import Notebook, Plan
from .edit_ops import parse
from .edits import Planner
from .model import CellView, NotebookView, PeerView
from .plain import inline
from .preview import CellPreview, preview
from .refs import resolve, resolve_many
from .seen import Seen

KEY = "collab_agent"
"""Under this key a fork's description holds our data; the rest of it is ``jupyter-suggestions-rtc``'s."""
VERSION = 1
MOST_CHARS = 500_000
"""The longest description: the server sends it to every page when the fork is made."""
TITLE_CHARS = 120
_OPS = ("insert", "replace", "write", "delete", "move", "retype", "split", "merge", "clear")
_BASED = ("replace", "write", "delete", "split", "merge")
_MERGED = "is in the notebook already"


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
    for edit in parse(edits):
        if edit.op not in _OPS:  # undo and its like are about calls, not about cells
            raise InvalidEdit(f"{edit.where} cannot be suggested. Nothing was written.", "Suggest the edit itself.")
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
    removed = _removed(plan)
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

    ``state``: a clause, e.g. ``applies cleanly``.  ``plan``: what merging would write, and ``cells`` what that looks
    like.  Where merging would be refused there is no plan, ``error`` says why, and ``cells`` shows what was meant, on
    the texts that it was made on.
    """

    state: str
    plan: Plan | None = None
    error: CollabAgentError | None = None
    cells: Sequence[CellPreview] = ()


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
        return _refused(EditConflict, found, _MERGED)
    gone = [cell_id for cell_id in found.cells if notebook.cell(cell_id) is None]
    if gone:
        names = ", ".join(filter(None, map(short, gone)))
        state = f"cannot be merged: a cell that it is about is gone{f' ({names})' if names else ''}"
        return _refused(CellNotFound, found, state, cells=_meant(found, notebook))
    working: list[str] = []

    def watched(cell_id: str) -> str:
        if who := in_use(cell_id):
            working.append(f"{short(cell_id)}, and {who}: what is typed at that moment would be lost")
        return who

    try:
        plan = _plan(found, notebook, watched, trust)
    except CellInUse as exc:
        what = f"would rebuild {working[-1]}" if working else exc.message.removesuffix(". Nothing was written.")
        error = CellInUse(f"{found.name} {what}. Nothing was written.", "Merge it when the cell is free.")
        return Standing("would rebuild a cell that somebody works in", error=error, cells=_meant(found, notebook))
    except (EditError, TargetError) as exc:
        return _conflict(found, notebook, exc, short)
    if not plan.steps:
        return _refused(EditConflict, found, _MERGED)
    if _removed(plan) != found.removed:
        state = "cannot be merged: the cells that it joins no longer stand together"
        return _refused(EditConflict, found, state, cells=_meant(found, notebook))
    return Standing("applies cleanly", plan, cells=preview(plan, notebook))


def _plan(
    found: Suggestion, notebook: Notebook, in_use: Callable[[str], str] = lambda _cell: "", trust: bool = False
) -> Plan:
    view, seen = notebook.view, Seen()
    seen.texts.update(found.bases)
    edits = [_referring(edit, lambda cell_id: seen.short(cell_id, view)) for edit in found.edits]
    ids = iter(found.made)
    return Planner(notebook, seen, (), in_use, lambda: next(ids, str(uuid4())), trust).plan(edits)


def _removed(plan: Plan) -> tuple[str, ...]:
    return tuple(dict.fromkeys(step.cell for step in plan.steps if isinstance(step, st.DeleteCell)))


def _referring(edit: Mapping[str, Any], short: Callable[[str], str]) -> dict[str, Any]:
    """An edit object with references that surely lead to its cells: a full id may read like ``last`` or ``[3]``."""
    kept = dict(edit)
    for key in ("cell", "after", "before"):
        if key in kept:
            kept[key] = short(kept[key])
    if "cells" in kept:
        kept["cells"] = [short(cell_id) for cell_id in kept["cells"]]
    return kept


def _refused(
    kind: type[CollabAgentError], found: Suggestion, state: str, theirs: str = "", cells: Sequence[CellPreview] = ()
) -> Standing:
    hint = "Drop it." if state == _MERGED else "Drop it; the agent can suggest it anew."
    return Standing(state, error=kind(f"{found.name} {state}. Nothing was written.{theirs}", hint), cells=cells)


def _conflict(found: Suggestion, notebook: Notebook, why: CollabAgentError, short: Callable[[str], str]) -> Standing:
    """The refusal, with what was changed since in the cells that the suggestion is about."""
    meant = _meant(found, notebook)
    if meant and all(_is_so(cell, notebook) for cell in meant):
        return _refused(EditConflict, found, _MERGED)
    changed = {
        cell_id: diff(base, cell.source, limit=1_500)
        for cell_id, base in found.bases.items()
        if (cell := notebook.cell(cell_id)) is not None and cell.source != base
    }
    if not changed:
        reason = inline(why.message.partition("\n")[0].removesuffix("Nothing was written.").rstrip(" ."), 200)
        state = f"cannot be merged: {reason}"
        return _refused(EditConflict, found, state, cells=meant)
    state = f"conflicts with what was changed since in {', '.join(map(short, changed))}"
    theirs = "".join(f"\nchanged in {short(cell_id)} since:\n{text}" for cell_id, text in changed.items())
    return _refused(EditConflict, found, state, theirs, meant)


def _is_so(meant: CellPreview, notebook: Notebook) -> bool:
    now = notebook.cell(meant.cell)
    return not meant.notes and meant.before is not None and now is not None and now.source == meant.after


@dataclass(frozen=True, slots=True)
class _AsItWas:
    """The notebook now, with the texts that a suggestion was made on, and with the cells that are gone."""

    view: NotebookView

    def cell(self, cell_id: str) -> CellView | None:
        """See ``Notebook``."""
        return next((cell for cell in self.view.cells if cell.id == cell_id), None)


def _meant(found: Suggestion, notebook: Notebook) -> Sequence[CellPreview]:
    """What was meant, as far as it can be shown without the notebook of that time."""
    view, bases = notebook.view, found.bases
    cells = [replace(cell, source=bases.get(cell.id, cell.source)) for cell in view.cells]
    here = {cell.id for cell in cells}
    cells += [CellView(cell_id, "code", bases.get(cell_id, "")) for cell_id in found.cells if cell_id not in here]
    was = _AsItWas(replace(view, cells=tuple(cells)))
    try:
        return preview(_plan(found, was), was)
    except CollabAgentError:
        return ()


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
    if edit["op"] not in _OPS:
        raise ValueError(f"{edit['op']!r} cannot be suggested")
    for key in ("cell", "after", "before"):
        if key in edit:
            _text(edit[key])
    if "cells" in edit:
        edit["cells"] = [_text(cell_id) for cell_id in edit["cells"]]
    edit.pop("force", None)
    return edit
