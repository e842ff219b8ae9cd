"""Everybody else in a notebook's room: who is here, where their carets are, and who has typed where."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import anyio

from .authorship import Authorship
from .config import Limits
from .notebook.changes import SOMEBODY, Author
from .notebook.courtesy import Keystrokes
from .notebook.model import CellView, PeerView
from .room.positions import character_of
from .room.presence import AGENT_KEY, PresenceChange, Review, State, peer_view, primary_cursor, review_of
from .room.provider import RoomProvider
from .room.replica import RemoteChange

MOST_SEATS = 1_000
MOST_CHARS = 20_000
"""In longer texts that are not ASCII a caret is looked for only when somebody asks where it is."""
Place = tuple[str | None, int | None, int | None]
"""Cell id, anchor, head; in characters."""
NOWHERE: Place = (None, None, None)


@dataclass(frozen=True, slots=True)
class _Seat:
    """Where somebody's caret was when they last said so.

    ``since``: when we first heard of them; ``active``: when they last edited or moved the caret, as we saw it.
    """

    since: float
    active: float | None = None
    place: Place = NOWHERE
    cursor: Mapping[str, Any] | None = None


class People:
    """The others in one room, as their awareness states and their edits show them.

    What a state says is a claim, not an identity; nothing here raises on one, whatever it holds.
    """

    def __init__(self, room: RoomProvider, limits: Limits) -> None:
        self._room = room
        self._limits = limits
        self._joined_at = float("-inf")
        self._first_here = False
        self._typed: dict[str, tuple[float, tuple[int, ...]]] = {}
        self._authorship = Authorship(room)
        self._seats: dict[int, _Seat] = {}
        self.keystrokes = Keystrokes(limits.line_quiet_s, self._typists)
        """Where humans have typed in the last seconds."""

    def joined(self) -> None:
        """We are in the room, from now on."""
        self._first_here = self._first_here and self._joined_at == float("-inf")
        self._joined_at = anyio.current_time()
        self.heard(PresenceChange(added=frozenset(self._states())))

    def first_here(self) -> None:
        """The notebook was made for us: nobody can have been in its room before.  Who comes announces themselves."""
        self._first_here = True

    async def wait_for_all(self, period_s: float) -> None:
        """Wait until everybody has had time to announce themselves: an idle page does so only every 15 s."""
        if self._first_here:
            return
        with anyio.move_on_after(self._joined_at + period_s + 1 - anyio.current_time()):
            await anyio.sleep_forever()

    @property
    def all(self) -> list[PeerView]:
        """Everybody else who is here."""
        return [peer_view(client, state, self._find_caret) for client, state in self._states().items()]

    def peer(self, client: int) -> PeerView | None:
        """Somebody who is here."""
        state = self._states().get(client)
        return None if state is None else peer_view(client, state, self._find_caret)

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

    def heard(self, change: PresenceChange) -> None:
        """Somebody came, moved, renewed or went.  Only a caret that stands elsewhere now is an activity."""
        now, states = anyio.current_time(), self._states()
        said = (change.added | change.updated) & states.keys()
        self._authorship.learn([peer_view(client, states[client], lambda _cursor: NOWHERE) for client in said])
        for client in said:
            cursor, known = primary_cursor(states[client]), self._seats.get(client)
            if known is None:
                self._seats[client] = _Seat(now, None, self._place(cursor), cursor)
            elif cursor != known.cursor:
                place = self._place(cursor)
                # Others' edits move a caret, too: then it stands where it stood, by its neighbours or by its number.
                same = None not in place and place in (known.place, self._place(known.cursor))
                active = known.active if same else now
                self._seats[client] = _Seat(known.since, active, place, cursor)
        for client in self._seats.keys() - states.keys() if len(self._seats) > MOST_SEATS else ():
            del self._seats[client]

    def note(self, change: RemoteChange) -> dict[str, tuple[int, ...]]:
        """Take in what others did; the clients that did it, cell by cell."""
        by = self._authorship.of(change, lambda: [self._where_last_seen(peer) for peer in self.all])
        now = anyio.current_time()
        inserted = {cell_id for cell_id, was in change.before.items() if was is None}
        for cell_id in inserted.union(change.edited, change.deleted, change.began):  # outputs come by themselves
            for client in by.get(cell_id, ()):
                self._seats[client] = replace(self._seats.get(client, _Seat(now)), active=now)
        for cell_id in change.edited:
            self._typed[cell_id] = (now, by[cell_id])
            before, after = change.before.get(cell_id), self._room.replica.cell(cell_id)
            if self._typists(by[cell_id]) and before is not None and after is not None:
                self.keystrokes.note(cell_id, by[cell_id], before.source, after.source, now)
        return by

    def author(self, client: int) -> Author:
        """Who a client is, or was, as far as is known by now."""
        return self._authorship.author(client)

    def knows(self, client: int) -> bool:
        """Whether somebody has said who this client is."""
        return self._authorship.knows(client)

    def is_server(self, clients: Collection[int]) -> bool:
        """Whether the server is among these clients."""
        return self._authorship.is_server(clients)

    def of_difference(
        self, touched: Mapping[str, CellView | None], ours: Collection[int]
    ) -> dict[str, tuple[int, ...]]:
        """Who wrote what is new in cells that were not watched for a while."""
        return self._authorship.of_difference(touched, ours)

    def turned_out(self, change: RemoteChange, by: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        """Cells that somebody else has deleted than was said of an earlier update."""
        return self._authorship.turned_out(change, by)

    def idle(self, client: int) -> tuple[float, bool] | None:
        """For how many seconds somebody has neither edited nor moved their caret; whether that is known exactly.

        Not exactly: it is so long that we have known them, and they have done neither since.
        """
        seat = self._seats.get(client)
        if seat is None:
            return None
        since = seat.since if seat.active is None else seat.active
        return anyio.current_time() - since, seat.active is not None

    def in_use(self, cell_id: str) -> str:
        """Who works in a cell right now, as a clause; empty where nobody does."""
        for name, is_agent, cell in self.carets():
            if not is_agent and cell == cell_id:
                return f"{name}'s caret is in it"
        when, clients = self._typed.get(cell_id, (float("-inf"), ()))
        ago, who = anyio.current_time() - when, self._typists(clients)
        if ago < self._limits.typing_s and who:
            return f"{who} typed in it {ago:.0f} s ago"
        cell_now = self._room.replica.cell(cell_id)
        return "it is running" if cell_now is not None and cell_now.running else ""

    def _typists(self, clients: Sequence[int]) -> str:
        """The names of those who are not known to be agents, or the file on disk; empty if all are."""
        authors = [self.author(client) for client in clients] or [SOMEBODY]
        return " and ".join(dict.fromkeys(a.name for a in authors if not a.is_agent and not a.is_disk))

    def _states(self) -> dict[int, State]:
        return self._room.protocol.presence.others if self._room.connected else {}

    def _find_caret(self, cursor: Mapping[str, Any]) -> Place:
        replica = self._room.replica
        cells = {end: self._cell_of(cursor.get(end)) for end in ("anchor", "head")}
        cell_id = cells["head"] or cells["anchor"]
        if cell_id is None:
            return NOWHERE
        text = replica.source_of(cell_id)
        anchor, head = (character_of(text, cursor.get(end)) if cells[end] == cell_id else None for end in cells)
        return cell_id, anchor, head

    def _place(self, cursor: Mapping[str, Any] | None) -> Place:
        """Where a cursor is; in a text where finding it would take long, only the cell."""
        cell_id = None if cursor is None else self._caret_cell(cursor)
        cell = None if cell_id is None else self._room.replica.cell(cell_id)
        if cursor is None or cell is None:
            return NOWHERE
        quick = cell.source.isascii() or len(cell.source) <= MOST_CHARS
        return self._find_caret(cursor) if quick else (cell_id, None, None)

    def _where_last_seen(self, peer: PeerView) -> PeerView:
        """A peer whose caret was in a cell that has just gone, as it was before."""
        seat = self._seats.get(peer.client_id)
        return peer if peer.cell_id is not None or seat is None else replace(peer, cell_id=seat.place[0])

    def _caret_cell(self, cursor: Mapping[str, Any]) -> str | None:
        """The cell whose text a cursor names, as far as that can be believed."""
        return self._cell_of(cursor.get("head")) or self._cell_of(cursor.get("anchor"))

    def _cell_of(self, position: object) -> str | None:
        return self._room.replica.cell_of_position(position) if isinstance(position, dict) else None
