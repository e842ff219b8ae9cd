"""Who is here: the awareness states of a room, and our own among them.

The theory (y-protocols, ``awareness``).  Every client owns one JSON state under its client id, with a clock that only
it may raise; ``null`` means that it has left.  States are not stored by the room: each is published again within 15 s
and counts as gone after 30 s.  There is no dump on joining, so ours is published again whenever somebody new appears.

Rules: what arrives under *our* client id is never believed (another peer could evict or impersonate us); it only
raises our clock, and our state is published again.  Time is passed in, in seconds of any monotonic clock.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..config import Identity
from ..errors import RemoteProtocolError
from ..notebook.model import PeerView
from ..notebook.names import person
from .codec import Reader, var_bytes, var_uint
from .positions import Range

MOST_OTHERS = 1_000
MOST_STATE = 200_000
"""Characters of one state.  What goes beyond either is not taken in: a flood by one peer must not fill our memory."""
RENEW_S = 14.0
EXPIRE_S = 30.0
LAST_CLOCK = 2**53 - 1
"""Pages read no larger number: what is announced with one reaches nobody."""
OWN_CLOCKS = 2**32
"""So many announcements must be left to us."""
AGENT_KEY = "collab_agent"
"""An agent marks its state with this key, so that humans can be told from agents."""

REVIEW_KEY = "collab_agent_review"
"""Under this key whoever decides about suggestions says which, and what came of them."""

State = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PresenceChange:
    """Whose states appeared, changed or went; ``must_publish``: ours has to be sent again now."""

    added: frozenset[int] = frozenset()
    updated: frozenset[int] = frozenset()
    removed: frozenset[int] = frozenset()
    must_publish: bool = False
    spoiled: bool = False
    """Somebody has taken our clock so far in our name that we could hardly raise it: only a new client id helps."""


@dataclass(slots=True)
class _Entry:
    clock: int
    state: State | None
    seen: float


class Presence:
    """The awareness of one room, for the client with this id."""

    def __init__(self, client_id: int) -> None:
        self.client_id = client_id
        self._clock = 0
        self._state: State | None = None
        self._published = float("-inf")
        self._others: dict[int, _Entry] = {}

    @property
    def clock(self) -> int:
        """The clock of our last state."""
        return self._clock

    @property
    def others(self) -> dict[int, State]:
        """The states of everybody else who is here."""
        return {client: entry.state for client, entry in self._others.items() if entry.state is not None}

    def publish(self, state: State | None, now: float) -> bytes:
        """Set our state (None: we leave) and return the awareness update that says so."""
        self._clock += 1
        self._state = state
        self._published = now
        return encode([(self.client_id, self._clock, state)])

    def renew(self, now: float) -> bytes:
        """Our state once more, under a new clock."""
        return self.publish(self._state, now)

    def due(self, now: float) -> bool:
        """Whether our state must be renewed by now."""
        return self._state is not None and now - self._published >= RENEW_S

    def apply(self, update: bytes, now: float) -> PresenceChange:
        """Merge an awareness update of the room; ``RemoteProtocolError`` where it is malformed."""
        added: set[int] = set()
        updated: set[int] = set()
        removed: set[int] = set()
        evicted = spoiled = False
        for client, clock, said in decode(update):
            state = said or None  # the server itself announces ``{}`` every 15 s: that is nobody
            if clock > LAST_CLOCK:
                continue
            if client == self.client_id:
                spoiled |= clock > LAST_CLOCK - OWN_CLOCKS
                if clock > self._clock or (clock == self._clock and state is None and self._state is not None):
                    self._clock = max(clock, self._clock)
                    evicted = True
                continue
            known = self._others.get(client)
            if known is None and len(self._others) >= MOST_OTHERS and not self._forgot_one():
                continue
            if known is not None and not (clock > known.clock or (clock == known.clock and state is None)):
                continue
            if state is None:
                if known is not None and known.state is not None:
                    removed.add(client)
            elif known is None or known.state is None:
                added.add(client)
            elif known.state != state:
                updated.add(client)
            self._others[client] = _Entry(clock, state, now)
        must = self._state is not None and (evicted or bool(added))
        return PresenceChange(frozenset(added), frozenset(updated), frozenset(removed), must, spoiled)

    def _forgot_one(self) -> bool:
        """Make room for somebody new by forgetting the clock of somebody who has left; False where all are here."""
        gone = next((client for client, entry in self._others.items() if entry.state is None), None)
        if gone is not None:
            del self._others[gone]
        return gone is not None

    def expire(self, now: float) -> PresenceChange:
        """Forget who has not been heard of for 30 s."""
        gone = [c for c, entry in self._others.items() if entry.state is not None and now - entry.seen >= EXPIRE_S]
        for client in gone:
            self._others[client].state = None
        return PresenceChange(removed=frozenset(gone))


def encode(entries: Sequence[tuple[int, int, State | None]]) -> bytes:
    """An awareness update of ``(client id, clock, state)``."""
    parts = [var_uint(len(entries))]
    for client, clock, state in entries:
        # ASCII only: some decoders take the string's length for characters.
        text = json.dumps(state, separators=(",", ":"), ensure_ascii=True)
        parts += (var_uint(client), var_uint(clock), var_bytes(text.encode()))
    return b"".join(parts)


def decode(update: bytes) -> list[tuple[int, int, State | None]]:
    """The ``(client id, clock, state)`` of an awareness update; ``RemoteProtocolError`` where it is malformed."""
    reader = Reader(update)
    entries: list[tuple[int, int, State | None]] = []
    for _ in range(reader.var_uint()):
        client, clock, text = reader.var_uint(), reader.var_uint(), reader.var_string()
        if len(text) > MOST_STATE:
            continue
        try:
            state = json.loads(text)
        except (ValueError, RecursionError) as exc:
            raise RemoteProtocolError("A peer announced itself in something that is not JSON.") from exc
        entries.append((client, clock, state if isinstance(state, dict) else None))
    return entries


def user_state(identity: Identity, color: str) -> dict[str, Any]:
    """The ``user`` field as JupyterLab reads it."""
    return {
        "username": identity.username,
        "name": identity.name,
        "display_name": identity.name,
        "initials": identity.initials,
        "color": color,
        "avatar_url": None,
    }


def room_state(identity: Identity, ranges: Sequence[Range] = ()) -> dict[str, Any]:
    """Our state in a notebook's room.  The last range holds the caret.

    ``autosave`` false: a human who has turned autosave off is obeyed (the server saves if any client wants it).
    """
    cursors = [each.to_json(primary=each is ranges[-1]) for each in ranges]
    user = user_state(identity, identity.caret_color)
    return {"user": user, AGENT_KEY: {"since": identity.since}, "autosave": False, "cursors": cursors}


@dataclass(frozen=True, slots=True)
class Review:
    """What somebody who decides about suggestions says of it: the ids of those that they look at, or have decided."""

    name: str
    open: frozenset[str] = frozenset()
    merged: frozenset[str] = frozenset()
    dropped: frozenset[str] = frozenset()


def review_state(identity: Identity, review: Review) -> dict[str, Any]:
    """The state of a human's terminal in a notebook's room: no caret, no agent, and no word on autosave."""
    said = {"name": review.name, "open": sorted(review.open)}
    said |= {"merged": sorted(review.merged), "dropped": sorted(review.dropped)}
    user = user_state(identity, identity.caret_color)
    return {"user": user, REVIEW_KEY: said, "autosave": False, "cursors": []}


def review_of(state: State) -> Review | None:
    """What a state says about suggestions; None where it says nothing.  Total, for any JSON."""
    said = state.get(REVIEW_KEY)
    if not isinstance(said, dict):
        return None
    open_, merged, dropped = (
        frozenset(each for each in listed if isinstance(each, str)) if isinstance(listed, list) else frozenset[str]()
        for listed in (said.get(key) for key in ("open", "merged", "dropped"))
    )
    return Review(person(str(said.get("name") or "somebody")), open_, merged, dropped)


def global_state(identity: Identity, documents: Iterable[str], current: str | None) -> dict[str, Any]:
    """Our state in ``JupyterLab:globalAwareness``: what the collaborators panel lists."""
    user = user_state(identity, identity.badge_color)
    state: dict[str, Any] = {"user": user, AGENT_KEY: {"since": identity.since}, "documents": list(documents)}
    if current is not None:
        state["current"] = f"notebook:{current}"  # without the prefix the panel shows nothing
    return state


CaretFinder = Callable[[Mapping[str, Any]], tuple[str | None, int | None, int | None]]
"""A cursor's JSON -> (cell id, anchor, head) in characters."""


def peer_view(client: int, state: State, find: CaretFinder, *, is_self: bool = False) -> PeerView:
    """What a state says of its peer; total, for any JSON."""
    user = state.get("user")
    user = user if isinstance(user, dict) else {}
    name = next((str(user[key]) for key in ("display_name", "name", "username") if user.get(key)), f"client {client}")
    primary = primary_cursor(state)
    cell, anchor, head = (None, None, None) if primary is None else find(primary)
    username = user.get("username")
    username = username if isinstance(username, str) else ""
    return PeerView(client, person(name), bool(state.get(AGENT_KEY)), is_self, cell, anchor, head, username)


def primary_cursor(state: State) -> Mapping[str, Any] | None:
    """Of the cursors that a state shows, the one that holds the caret; total, for any JSON."""
    cursors = state.get("cursors")
    listed = [c for c in cursors if isinstance(c, dict)] if isinstance(cursors, list) else []
    return next((c for c in listed if c.get("primary")), listed[0] if listed else None)
