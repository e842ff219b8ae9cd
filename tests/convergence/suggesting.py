"""Suggestions in a session: agents make them, and humans decide about them while everybody works on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from collab_agent.config import Identity
from collab_agent.review import Reviewer
from collab_agent.suggestions import Suggestions
from collab_agent.testing import RoomHost

from .calls import begin, drawn_edits, pick
from .ledger import marks_in
from .session import Session

MOST_OPEN = 4


async def suggest(at: Session) -> None:
    """An agent suggests edits of texts: nothing of them is in the notebook."""
    if (picked := pick(at)) is None or len(at.suggested.shelf.kept) >= MOST_OPEN:
        return
    seat, peer, cells = picked
    edits, fresh, taken = drawn_edits(at, seat, peer, cells)
    if not edits:
        return
    suggestions = Suggestions(peer, at.suggested.shelf)

    async def call() -> None:
        before = [str(cell["source"]) for cell in at.room.notebook.ycells] if calm else []
        shown = await suggestions.suggest("as one might", edits)
        at.suggested.marks[shown.suggestion.id] = fresh, taken
        at.done["an agent suggests"] += 1
        assert not calm or before == at.room.sources()

    calm = at.chance.random() < 0.2
    if calm:
        await at.barrier()
    await begin(at, seat, call, calm=calm)


async def decide(at: Session) -> None:
    """A human merges a suggestion or drops it, in a terminal: one more peer, for as long as that takes."""
    if not at.suggested.shelf.kept:
        return
    seat, merged = at.chance.choice(at.humans), at.chance.random() < 0.8
    kept = at.chance.choice(await at.suggested.shelf.all())
    fresh, taken = at.suggested.marks.get(kept.suggestion.id, ("", set()))

    async def call() -> None:
        reviewer = Reviewer(RoomHost(at.room), at.suggested.shelf, Identity.named(seat.name), at.limits)
        async with reviewer.here():
            if not merged:
                await reviewer.drop(kept)
                at.done["a human drops a suggestion"] += 1
                return
            # Refused or not known to be there: the marks stay excused.
            at.ledger.excuse(taken)
            await reviewer.merge(kept)
            at.ledger.due |= marks_in(fresh)
            for edit in kept.suggestion.edits:
                at.ledger.excuse(marks_in(_text(edit)) if edit.get("cell") in at.doomed else ())
            at.done["a human merges a suggestion"] += 1

    await begin(at, seat, call, calm=at.chance.random() < 0.3)


def _text(edit: Mapping[str, Any]) -> str:
    return "".join(str(edit.get(key, "")) for key in ("source", "new"))
