"""Cells that two peers rebuilt at once: Yjs 13 cannot move, so that each has left a copy, with the same id.

Who deletes which copy must be clear without a word between them, for two who yield to each other would delete both.  So
an agent that has rebuilt a cell in the last ten seconds deletes *its own* copy and no other: where a human's page has
left one, which yields to nobody, or where another one stands before it.  Who is not known to be a human counts as an
agent.  A copy that holds any text that the other lacks stays: the server gives it an id of its own with its next save.

An agent's rebuilding comes in two updates, so that a cell may stand there twice for a moment and all is well: a copy is
deleted where two looks, a second apart, have found it needless.  What still stands there twice a few looks later is
nobody's to mend but a human's: it is told.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from ..notebook.batches import DropDoubled
from ..notebook.recovery import doubled
from ..notebook.splice import diff
from ..notebook.steps import MoveCell, RestoreCell, RetypeCell
from .presence import AGENT_KEY, State
from .replica import Replica

LATELY_S = 10.0
LOOKS = 5
"""After so many, a second apart, whoever would drop a copy has dropped it."""


class Twins:
    """The cells that one peer has rebuilt lately; survives the connection."""

    def __init__(self) -> None:
        self._rebuilt: dict[str, float] = {}
        self._own: set[int] = set()
        self._needless: dict[str, list[int]] = {}
        self._looks: dict[str, int] = {}

    @property
    def lasting(self) -> frozenset[str]:
        """The ids that stand there more than once, and will go on doing so."""
        return frozenset(cell for cell, looks in self._looks.items() if looks >= LOOKS)

    def note(self, steps: Iterable[object], client: int, now: float) -> None:
        """We have written these steps as this client, at ``now``, in seconds of the caller's clock."""
        rebuilding = [step.cell for step in steps if isinstance(step, MoveCell | RestoreCell | RetypeCell)]
        if rebuilding:
            self._own.add(client)
            self._rebuilt = {cell: at for cell, at in self._rebuilt.items() if now - at <= LATELY_S}
            self._rebuilt |= dict.fromkeys(rebuilding, now)

    def drop(self, replica: Replica, others: Mapping[int, State], now: float) -> list[DropDoubled]:
        """Which copies of cells we are to delete, to be asked once a second.

        ``others``: the awareness states of those who are here.
        """
        self._looks = {cell: self._looks.get(cell, 0) + 1 for cell in doubled(replica)}
        lately = [cell for cell, at in self._rebuilt.items() if now - at <= LATELY_S]
        humans = {client for client, state in others.items() if AGENT_KEY not in state} if lately else ()
        before, self._needless = self._needless, {}
        dropped = []
        for cell in lately:
            copies = replica.copies(cell)
            if len(copies) > 1 and (out := self._yielding(copies, humans)):
                self._needless[cell] = makers = [maker for _, maker in copies]
                if before.get(cell) == makers:
                    dropped.append(DropDoubled(cell, out))
        return dropped

    def _yielding(self, copies: Sequence[tuple[str, int]], humans: Collection[int]) -> tuple[int, ...]:
        """The places, among the copies, of those of ours that others make needless."""
        return tuple(
            at
            for at, (text, maker) in enumerate(copies)
            if maker in self._own
            and any(
                (whose in humans or place < at) and _holds(other, text)
                for place, (other, whose) in enumerate(copies)
                if place != at
            )
        )


def needless_of(copies: Sequence[tuple[str, int]]) -> tuple[int, ...]:
    """The place of the one copy of two that may go, whoever has made it; none where each has text of its own."""
    if len(copies) != 2:
        return ()
    first, second = (text for text, _ in copies)
    if _holds(first, second):
        return (1,)
    return (0,) if _holds(second, first) else ()


def _holds(text: str, other: str) -> bool:
    """Whether a text lacks nothing that the other one has."""
    return not any(splice.insert for splice in diff(text, other))
