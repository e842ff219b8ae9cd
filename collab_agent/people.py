"""Everybody else in a notebook's room: who is here, where their carets are, and who has typed where."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anyio

from .config import Limits
from .notebook.courtesy import Keystrokes
from .notebook.model import PeerView
from .room.positions import character_of
from .room.presence import AGENT_KEY, Review, State, peer_view, review_of
from .room.provider import RoomProvider
from .room.replica import RemoteChange


class People:
    """The others in one room, as their awareness states and their edits show them.

    What a state says is a claim, not an identity; nothing here raises on one, whatever it holds.
    """

    def __init__(self, room: RoomProvider, limits: Limits) -> None:
        self._room = room
        self._limits = limits
        self._joined_at = float("-inf")
        self._typed: dict[str, tuple[float, str]] = {}
        self.keystrokes = Keystrokes(limits.line_quiet_s)
        """Where humans have typed in the last seconds."""

    def joined(self) -> None:
        """We are in the room, from now on."""
        self._joined_at = anyio.current_time()

    async def wait_for_all(self, period_s: float) -> None:
        """Wait until everybody has had time to announce themselves: an idle page does so only every 15 s."""
        with anyio.move_on_after(self._joined_at + period_s + 1 - anyio.current_time()):
            await anyio.sleep_forever()

    @property
    def all(self) -> list[PeerView]:
        """Everybody else who is here."""
        return [peer_view(client, state, self._find_caret) for client, state in self._states().items()]

    def carets(self) -> list[tuple[str, bool, str | None]]:
        """Everybody else: name, whether an agent, and the cell of the caret; cheaper than ``all``."""
        views = [
            peer_view(client, state, lambda cursor: (self._caret_cell(cursor), None, None))
            for client, state in self._states().items()
        ]
        return [(view.name, view.is_agent, view.cell_id) for view in views]

    @property
    def humans_here(self) -> bool:
        """Whether any human is here, as far as is known."""
        return any(AGENT_KEY not in state for state in self._states().values())

    def reviews(self) -> list[Review]:
        """What those say who decide about suggestions at this moment."""
        return [review for state in self._states().values() if (review := review_of(state)) is not None]

    def note(self, change: RemoteChange) -> list[str]:
        """Take in what others did; the names of those who did it.

        It was the client whose clock advanced; deletions advance none, so then whose caret is in the cell.
        """
        states = self._states()
        authors = {client: states[client] for client in change.clients if client in states}
        names = [peer_view(client, state, _no_caret).name for client, state in authors.items()]
        if not names and (change.cells or change.deleted):
            names = [name for name, _, cell in self.carets() if cell in change.cells]
        if not authors or any(AGENT_KEY not in state for state in authors.values()):
            now, who = anyio.current_time(), " and ".join(names) or "somebody"
            for cell_id in change.edited:
                self._typed[cell_id] = (now, who)
                before, after = change.before.get(cell_id), self._room.replica.cell(cell_id)
                if before is not None and after is not None:
                    self.keystrokes.note(cell_id, who, before.source, after.source, now)
        return names

    def in_use(self, cell_id: str) -> str:
        """Who works in a cell right now, as a clause; empty where nobody does."""
        for name, is_agent, cell in self.carets():
            if not is_agent and cell == cell_id:
                return f"{name}'s caret is in it"
        when, who = self._typed.get(cell_id, (float("-inf"), ""))
        ago = anyio.current_time() - when
        if ago < self._limits.typing_s:
            return f"{who} typed in it {ago:.0f} s ago"
        cell_now = self._room.replica.cell(cell_id)
        return "it is running" if cell_now is not None and cell_now.running else ""

    def _states(self) -> dict[int, State]:
        return self._room.protocol.presence.others if self._room.connected else {}

    def _find_caret(self, cursor: Mapping[str, Any]) -> tuple[str | None, int | None, int | None]:
        cell_id = self._caret_cell(cursor)
        if cell_id is None:
            return None, None, None
        text = self._room.replica.source_of(cell_id)
        return cell_id, character_of(text, cursor.get("anchor")), character_of(text, cursor.get("head"))

    def _caret_cell(self, cursor: Mapping[str, Any]) -> str | None:
        """The cell whose text a cursor names, as far as that can be believed."""
        for end in ("head", "anchor"):
            position = cursor.get(end)
            of = position.get("type") if isinstance(position, dict) else None
            try:
                if isinstance(of, dict) and (
                    found := self._room.replica.cell_of_text(int(of["client"]), int(of["clock"]))
                ):
                    return found
            except (KeyError, TypeError, ValueError, OverflowError):
                continue
        return None


def _no_caret(_cursor: Mapping[str, Any]) -> tuple[None, None, None]:
    return None, None, None
