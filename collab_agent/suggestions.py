"""The agent's side of suggestions: it makes them, looks at them, and hears once what became of its own."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import anyio

from .errors import CollabAgentError, InvalidEdit
from .notebook.plain import inline
from .notebook.suggestion import Standing, Suggestion, standing, suggestion
from .peer import NotebookPeer
from .room.protocol import Changed, Event, PeersChanged
from .shelf import Kept, Shelf

LOOK_S = 2.0
"""How long a call that is about something else may be held up by the question what became of suggestions."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A suggestion as it stands now."""

    suggestion: Suggestion
    standing: Standing


@dataclass(slots=True)
class _Own:
    """One of ours that is open, as far as we know.  ``client`` made the edits in its fork."""

    title: str
    client: int
    outcome: str = ""


class Suggestions:
    """One agent's suggestions for one notebook that it has open."""

    def __init__(self, peer: NotebookPeer, shelf: Shelf) -> None:
        self._peer = peer
        self._shelf = shelf
        self._own: dict[str, _Own] = {}
        peer.observe(self._on_event)

    async def suggest(self, title: str, edits: Sequence[Mapping[str, Any]]) -> Shown:
        """Keep edits for a human to decide about; any ``EditError`` or ``TargetError``: nothing was kept.

        Nothing of it enters the notebook, whatever happens.
        """
        self._peer.check_write()
        if not title.strip():
            raise InvalidEdit(
                "suggest must be a title. Nothing was written.",
                'E.g. suggest="Vectorise the loop"; without suggest the edits are made at once.',
            )
        peers = self._peer.peers if "@" in repr(edits) else ()
        document, by = self._peer.document, self._peer.identity.name
        sid = secrets.token_hex(3)
        made = suggestion(title, edits, document, self._peer.seen, peers, sid=sid, by=by, at=time.time())
        now = standing(made, document)
        self._own[sid] = _Own(made.title, await self._shelf.add(made))
        return Shown(made, now)

    async def all(self) -> list[Shown]:
        """All open suggestions for the notebook, whoever made them, oldest first."""
        return [self._shown(kept) for kept in await self._shelf.all()]

    def _shown(self, kept: Kept) -> Shown:
        peer = self._peer
        now = standing(kept.suggestion, peer.document, short=lambda cell: peer.seen.short(cell, peer.view))
        return Shown(kept.suggestion, now)

    async def news(self) -> list[str]:
        """What became of our own suggestions, each told once; asks the server only where one may still be open."""
        if any(not own.outcome for own in self._own.values()):
            with suppress(CollabAgentError), anyio.move_on_after(LOOK_S):  # the server is away: told next time
                await self._look()
        told = [f'suggestion "{own.title}" {own.outcome}' for own in self._own.values() if own.outcome]
        self._own = {sid: own for sid, own in self._own.items() if not own.outcome}
        return told

    async def _look(self) -> None:
        """Find those that are gone though nobody has said what became of them."""
        there = {kept.suggestion.id for kept in await self._shelf.all()}
        self._hear_decisions()  # one may have been decided while we were still making it
        being_decided = frozenset[str]().union(*(review.open for review in self._peer.people.reviews()))
        for sid, own in self._own.items():
            if sid not in there and not own.outcome and sid not in being_decided:
                own.outcome = (
                    "is no longer open: it was dropped, merged by another tool, or lost with a restart of the server"
                )

    def _on_event(self, event: Event) -> None:
        if not self._own:
            return
        match event:
            case PeersChanged():
                self._hear_decisions()
            case Changed(change):
                for own in self._own.values():
                    if own.client in change.clients:  # the server's own merge brings in the fork's very edits
                        own.outcome = own.outcome or "was merged"

    def _hear_decisions(self) -> None:
        for review in self._peer.people.reviews():
            for sid, own in self._own.items():
                if sid in review.merged:
                    own.outcome = f"was merged by {inline(review.name, 40)}"
                elif sid in review.dropped:
                    own.outcome = f"was dropped by {inline(review.name, 40)}"
