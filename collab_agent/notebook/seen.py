"""What one agent was shown of one notebook so far: the memory that references and edits are read against.

Three rules.  A short id, once given, means that cell for the whole session, even after the cell is gone.  A
number ``#N`` means the N-th cell of the page as it was when a result last numbered it.  A cell's text counts
as shown only when a result held it in full.

``Seen`` is the one mutable object of this package; the peer owns it and calls it from a single thread.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable

from collab_agent.notebook.model import CellView, NotebookView
from collab_agent.notebook.splice import common_start

SHORTEST = 4
"""Characters of the shortest prefix that is given or taken as a short id (contract, section 2)."""
LONGEST = 64
"""nbformat's own bound on the length of a cell id."""
_FEW = 100
"""Up to so many ids are taken out of the sorted list one by one; each costs a shift of the list."""
KEYWORDS = frozenset({"first", "last", "all"})

_PLAIN = re.compile(r"[A-Za-z0-9_-]+")


class Seen:
    """What this agent was shown so far in one notebook."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        """Cell id -> the source that was last shown in full."""
        self.order: tuple[str, ...] | None = None
        """The ids in page order when a result last numbered the page; None before the first."""
        self._short: dict[str, str] = {}
        self._given: dict[str, str] = {}
        self._cells: tuple[CellView, ...] = ()
        self._ids: tuple[str, ...] = ()
        self._sorted: list[str] = []
        self._sorted_for: tuple[str, ...] = ()
        self._numbers: dict[str, int] = {}
        self._numbers_for: tuple[str, ...] | None = None

    # -- texts

    def show(self, cell: CellView) -> None:
        """Note that a result holds this cell's whole source."""
        self.texts[cell.id] = cell.source

    def forget(self, cell_id: str) -> None:
        """Drop the text that was shown; short ids and numbers keep their meaning."""
        self.texts.pop(cell_id, None)

    def shown_text(self, cell_id: str) -> str | None:
        """The source as it was last shown in full; None if it never was."""
        return self.texts.get(cell_id)

    # -- numbers

    def show_order(self, view: NotebookView) -> None:
        """Note that a result numbers the page as it is in ``view``."""
        self.order = self.ids(view)

    def number(self, cell_id: str, view: NotebookView) -> int | None:
        """The N under which ``#N`` leads to this cell, to be printed beside it; None if no number does.

        Numbers the page if it never was.  Cells added below the numbered ones are numbered on, because that
        shifts nothing; a cell inserted between them stays without a number until the next outline.
        """
        if self.order is None:
            self.show_order(view)
        found = self._number(cell_id)
        if found is None and self.order is not None:
            ids = self.ids(view)
            if len(ids) > len(self.order) and ids[: len(self.order)] == self.order:
                self.order = ids
                found = self._number(cell_id)
        return found

    def _number(self, cell_id: str) -> int | None:
        if self._numbers_for is not self.order:
            order = self.order or ()
            # Backwards, so that of a doubled id the first place counts.
            places = zip(range(len(order), 0, -1), reversed(order), strict=True)
            self._numbers = {cell_id: n for n, cell_id in places}
            self._numbers_for = self.order
        return self._numbers.get(cell_id)

    # -- short ids

    def given(self, short: str) -> str | None:
        """The id of the cell that this short id was given to, dead or alive; None if it was never given."""
        return self._given.get(short)

    def short(self, cell_id: str, view: NotebookView) -> str:
        """The cell's short id: the shortest prefix that is unique now and was never given to another cell.

        An id that has no such prefix (its own text was given to another cell, or reads like ``last``) gets an
        alias ``PREFIX~K``, which can be no id by nbformat's rules.
        """
        known = self.known(cell_id)
        return self._give(cell_id, self._sorted_ids(view)) if known is None else known

    def known(self, cell_id: str) -> str | None:
        """The short id that this cell was given; None if it was given none yet."""
        return self._short.get(cell_id)

    def give(self, cell_ids: Iterable[str], view: NotebookView) -> None:
        """Give short ids to a page of cells: one look over the notebook where there is no index of it yet."""
        new = [cell_id for cell_id in dict.fromkeys(cell_ids) if cell_id not in self._short]
        if not new:
            return
        if self.ids(view) is self._sorted_for:
            rivals = self._sorted
        else:
            stems = {cell_id[:SHORTEST] for cell_id in new}
            rivals = sorted([cell_id for cell_id in self._ids if cell_id[:SHORTEST] in stems])
        for cell_id in new:
            self._give(cell_id, rivals)

    def _give(self, cell_id: str, rivals: list[str]) -> str:
        """``rivals``: at least all ids now that share the first characters, in alphabetical order."""
        short = self._prefix(cell_id, rivals) or self._alias(cell_id)
        self._short[cell_id] = short
        self._given[short] = cell_id
        return short

    def _prefix(self, cell_id: str, ids: list[str]) -> str | None:
        at, after = bisect_left(ids, cell_id), bisect_right(ids, cell_id)
        shared = max(
            _shared(cell_id, ids[at - 1]) if at else 0,
            _shared(cell_id, ids[after]) if after < len(ids) else 0,
        )
        # An id that is a prefix of another one can still be said in full.
        start = min(max(SHORTEST, shared + 1), len(cell_id))
        for length in range(start, min(len(cell_id), LONGEST) + 1):
            prefix = cell_id[:length]
            if prefix not in self._given and prefix not in KEYWORDS and _PLAIN.fullmatch(prefix):
                return prefix
        return None

    def _alias(self, cell_id: str) -> str:
        stem = "".join(c for c in cell_id[:8] if _PLAIN.fullmatch(c))
        k = 1
        while f"{stem}~{k}" in self._given:
            k += 1
        return f"{stem}~{k}"

    def with_prefix(self, prefix: str, view: NotebookView, most: int) -> list[str]:
        """Up to ``most`` different ids of the notebook now that begin with ``prefix``, sorted."""
        ids = self._sorted_ids(view)
        at = bisect_left(ids, prefix)
        found: list[str] = []
        while at < len(ids) and len(found) < most and ids[at].startswith(prefix):
            found.append(ids[at])
            at = bisect_right(ids, ids[at], at)
        return found

    # -- the index, brought up to date by what changed

    def ids(self, view: NotebookView) -> tuple[str, ...]:
        """The ids in page order; the same tuple as long as they do not change."""
        if view.cells is not self._cells:
            ids = tuple([cell.id for cell in view.cells])
            if ids != self._ids:
                self._ids = ids
            self._cells = view.cells
        return self._ids

    def _sorted_ids(self, view: NotebookView) -> list[str]:
        ids = self.ids(view)
        if ids is self._sorted_for:
            return self._sorted
        before, self._sorted_for = self._sorted_for, ids
        if not before:
            self._sorted = sorted(ids)
            return self._sorted
        # Most changes touch few cells: look only at what lies between the ends that stayed, and let the sort
        # find the list almost in order.
        head = common_start(before, ids)
        foot = common_start(before[head:][::-1], ids[head:][::-1])
        change = Counter(ids[head : len(ids) - foot])
        change.subtract(before[head : len(before) - foot])
        gone = Counter({cell_id: -times for cell_id, times in change.items() if times < 0})
        if len(gone) > _FEW:
            self._sorted = sorted(ids)
            return self._sorted
        for cell_id in gone.elements():
            del self._sorted[bisect_left(self._sorted, cell_id)]
        self._sorted.extend(change.elements())
        self._sorted.sort()
        return self._sorted


def _shared(one: str, other: str) -> int:
    """How many leading characters two ids share."""
    shortest = min(len(one), len(other))
    return next((at for at in range(shortest) if one[at] != other[at]), shortest)
