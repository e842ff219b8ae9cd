"""A cell reference -> a cell id, or an error that lists the candidates.  Nothing is ever guessed.

The forms are the contract's (section 2): a short id or unique prefix, ``#3``, ``[12]``, ``@human``,
``@NAME``, ``first``, ``last``; in lists also ``A:B``, ``A:`` and ``all``.  What was shown comes first: a
short id that was once given, and ``#N``, mean the cell they meant then, even where that cell is gone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from collab_agent.errors import AmbiguousCell, CellNotFound
from collab_agent.notebook.model import CellView, NotebookView, PeerView
from collab_agent.notebook.plain import inline
from collab_agent.notebook.seen import KEYWORDS, SHORTEST, Seen

MOST_CANDIDATES = 8
OUTLINE = 'query_notebook(query="outline") shows all cells.'
PEOPLE = 'query_notebook(query="people") shows who is here.'

_NUMBER = re.compile(r"#\s?([0-9]{1,9})")
_COUNT = re.compile(r"\[([0-9]{1,15})\]")


def resolve(ref: str, view: NotebookView, seen: Seen, peers: Sequence[PeerView] = ()) -> str:
    """The id of the one cell that ``ref`` names; raises ``CellNotFound`` or ``AmbiguousCell``."""
    return _Resolver(view, seen, peers).one(ref)


def resolve_many(
    refs: str | Sequence[str], view: NotebookView, seen: Seen, peers: Sequence[PeerView] = ()
) -> list[str]:
    """The ids that ``refs`` name, each once, in the order given; ranges expand in page order."""
    resolver = _Resolver(view, seen, peers)
    found: dict[str, None] = {}
    for ref in [refs] if isinstance(refs, str) else refs:
        found.update(dict.fromkeys(resolver.several(ref)))
    return list(found)


class _Resolver:
    """The references of one call, against one snapshot."""

    def __init__(self, view: NotebookView, seen: Seen, peers: Sequence[PeerView]) -> None:
        self.view, self.seen, self.peers = view, seen, peers
        self.position: dict[str, int] = {}
        self.doubled: set[str] = set()
        for at, cell in enumerate(view.cells):
            if self.position.setdefault(cell.id, at) != at:
                self.doubled.add(cell.id)

    # -- forms

    def several(self, ref: str) -> list[str]:
        """A reference or a range."""
        ref = ref.strip()
        if ref == "all" and "all" not in self.position:
            return self._span(0, len(self.view.cells))
        if ":" not in ref or ref in self.position or self._named(ref):
            return [self.one(ref)]
        # A name may hold a colon of its own: "@Ann: physics:last".
        first, _, last = ref.rpartition(":") if ref.startswith("@") else ref.partition(":")
        if not first.strip():
            what = f"The range {_quoted(ref)} has no beginning."
            raise CellNotFound(what, f"Write first{inline(ref, 40)} instead.")
        start = self.position[self.one(first)]
        stop = self.position[self.one(last)] if last.strip() else len(self.view.cells) - 1
        if stop < start:
            raise CellNotFound(
                f"The range {_quoted(ref)} is empty: its beginning is below its end on the page now.",
                f"Swap the two ends. {OUTLINE}",
            )
        return self._span(start, stop + 1)

    def _span(self, start: int, stop: int) -> list[str]:
        return [self._single(cell.id) for cell in self.view.cells[start:stop]]

    def one(self, ref: str) -> str:
        """Exactly one cell."""
        ref = ref.strip()
        shown = self.seen.given(ref)
        if shown is not None:
            return self._alive(shown, f"The cell that was shown as {_quoted(ref)}")
        if not self.view.cells:
            raise CellNotFound(f"No cell answers to {_quoted(ref)}: the notebook has no cells.", OUTLINE)
        if ref in KEYWORDS:
            return self._keyword(ref)
        if match := _NUMBER.fullmatch(ref):
            return self._numbered(int(match[1]))
        if match := _COUNT.fullmatch(ref):
            return self._counted(int(match[1]))
        if ref.startswith("@"):
            return self._human() if ref.casefold() == "@human" else self._peer(ref)
        return self._by_id(ref)

    def _keyword(self, ref: str) -> str:
        if ref == "all":
            both = " It is also the id of a cell." if ref in self.position else ""
            raise AmbiguousCell(
                f'"all" names every cell of the notebook, where one reference must name one cell.{both}',
                f'Name the cell by its short id; in a list, "first:" stands for every cell. {OUTLINE}',
            )
        cell = self.view.cells[0 if ref == "first" else -1]
        if self.position.get(ref, -1) not in (-1, self.position[cell.id]):
            what = f'"{ref}" is both a place in the notebook and the id of another cell'
            raise self._ambiguous(what, [cell.id, ref])
        return self._single(cell.id)

    def _numbered(self, number: int) -> str:
        shown = self.seen.order
        order = shown if shown is not None else self.seen.ids(self.view)
        if not 1 <= number <= len(order):
            when = "when it was last shown" if shown is not None else "now"
            raise self._not_found(f"There is no cell #{number}: the notebook had {len(order)} cells {when}")
        return self._alive(order[number - 1], f"The cell that was shown as #{number}")

    def _counted(self, count: int) -> str:
        found = [cell.id for cell in self.view.cells if cell.execution_count == count]
        if len(found) == 1:
            return self._single(found[0])
        if found:
            raise self._ambiguous(f"{len(found)} cells have the execution count [{count}]", found)
        ran = [cell.id for cell in self.view.cells if cell.execution_count is not None]
        raise self._not_found(f"No cell has the execution count [{count}]", ran[-MOST_CANDIDATES:])

    def _by_id(self, ref: str) -> str:
        if ref in self.position:
            return self._single(ref)
        if ":" in ref:
            raise AmbiguousCell(
                f"{_quoted(ref)} is a range, where one reference must name one cell.",
                f"Name one cell by its short id. {OUTLINE}",
            )
        found = self.seen.with_prefix(ref, self.view, MOST_CANDIDATES + 1) if ref else []
        if len(ref) >= SHORTEST and len(found) == 1:
            return self._single(found[0])
        if len(ref) >= SHORTEST and found:
            raise self._ambiguous(f"More than one cell's id begins with {_quoted(ref)}", found)
        if found:
            what = f"{_quoted(ref)} is too short: at least {SHORTEST} characters of an id"
            raise self._not_found(what, found)
        also = ""
        if _NUMBER.fullmatch(f"#{ref}"):
            also = f" (a cell's number is written #{ref}, its execution count [{ref}])"
        near = self.seen.with_prefix(ref[:2], self.view, MOST_CANDIDATES) if len(ref) > 2 else []
        raise self._not_found(f"No cell answers to {_quoted(ref)}{also}", near)

    # -- people

    def _named(self, ref: str) -> list[PeerView]:
        name = _folded(ref[1:])
        listed = [(peer, {_folded(peer.name), _folded(inline(peer.name, 40))}) for peer in self.peers]
        return [peer for peer, names in listed if ref.startswith("@") and name in names]

    def _peer(self, ref: str) -> str:
        found = self._named(ref)
        others = [peer for peer in found if not peer.is_self]
        if others:
            return self._caret(others, _quoted(ref))
        if found:
            what = f"{_quoted(ref)} is this agent itself."
            raise CellNotFound(what, f"Name the cell by its short id. {OUTLINE}")
        here = [f"  @{inline(peer.name, 40)}" for peer in self.peers if not peer.is_self][:MOST_CANDIDATES]
        raise CellNotFound("\n".join([f"Nobody here is called {_quoted(ref[1:])}.", *here]), PEOPLE)

    def _human(self) -> str:
        humans = [peer for peer in self.peers if not peer.is_self and not peer.is_agent]
        return self._caret(humans, '"@human"')

    def _caret(self, peers: Sequence[PeerView], who: str) -> str:
        placed = [(peer, peer.cell_id) for peer in peers if peer.cell_id in self.position]
        cells = {cell_id for _, cell_id in placed if cell_id is not None}
        if len(cells) == 1:
            return self._single(cells.pop())
        if not cells:
            names = ", ".join(f"@{inline(peer.name, 40)}" for peer in peers[:MOST_CANDIDATES])
            state = f"{names} is here, but in no cell" if names else "nobody is known to be here but agents"
            raise CellNotFound(f"{who} leads to no cell: {state}.", PEOPLE)
        lines = [
            f"  @{inline(peer.name, 40)} in {self._line(cell_id)}"
            for peer, cell_id in placed[:MOST_CANDIDATES]
            if cell_id is not None
        ]
        raise AmbiguousCell(
            "\n".join([f"{who} is in {len(cells)} cells:", *lines]),
            f"Write @NAME where the names differ, else the cell's short id. {PEOPLE}",
        )

    # -- results and errors

    def _alive(self, cell_id: str, what: str) -> str:
        if cell_id not in self.position:
            raise self._not_found(f"{what} was deleted since")
        return self._single(cell_id)

    def _single(self, cell_id: str) -> str:
        if cell_id in self.doubled:
            raise AmbiguousCell(
                f"Two cells have the same id {self._line(cell_id)}, as happens for a moment when two people "
                "move a cell at once.",
                f"Ask again in a few seconds; if it stays so, a human has to delete one of them. {OUTLINE}",
            )
        return cell_id

    def _not_found(self, what: str, candidates: Iterable[str] = ()) -> CellNotFound:
        near = list(candidates) or [cell.id for cell in self.view.cells[:MOST_CANDIDATES]]
        title = f"{what}. Cells of the notebook ({len(self.view.cells)} in all):"
        message = self._list(title, near) if near else f"{what}. The notebook has no cells."
        return CellNotFound(message, OUTLINE)

    def _ambiguous(self, what: str, candidates: Sequence[str]) -> AmbiguousCell:
        message = self._list(f"{what}:", candidates)
        return AmbiguousCell(message, f"Use a longer or another reference. {OUTLINE}")

    def _list(self, title: str, candidates: Sequence[str]) -> str:
        lines = [f"  {self._line(cell_id)}" for cell_id in candidates[:MOST_CANDIDATES]]
        more = ["  …"] if len(candidates) > MOST_CANDIDATES else []
        return "\n".join([title, *lines, *more])

    def _line(self, cell_id: str) -> str:
        cell = self.view.cells[self.position[cell_id]]
        return f"{label(cell, self.view, self.seen)}: {_first_line(cell)}"


def label(cell: CellView, view: NotebookView, seen: Seen) -> str:
    """How a result names a cell, by references that ``resolve`` takes back: ``#3 a1f9 code``.

    The number is left out where ``#N`` would not lead to the cell, which came in since the page was numbered.
    """
    number = seen.number(cell.id, view)
    short = seen.short(cell.id, view)
    return f"{short} {cell.type}" if number is None else f"#{number} {short} {cell.type}"


def _first_line(cell: CellView) -> str:
    return inline(cell.source[:1_000].lstrip().partition("\n")[0], 60) or "(empty)"


def _quoted(ref: str) -> str:
    return f'"{inline(ref, 60)}"'


def _folded(name: str) -> str:
    return " ".join(name.replace('"', " ").split()).casefold()
