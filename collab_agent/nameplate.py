"""The name under which one agent appears, in every room that it is in: one that no other agent there has.

The theory.  Two windows of one client are two agents that would both be called *Goose*.  Every agent's awareness state
says since when the agent is there.  Of two with the same name the one that came later takes the name with the next
number, and a colour of its own; at the same time, the one whose user name sorts higher.  So exactly one of any two
gives way, the first one never does, and numbers only grow: after as many changes as there are agents all names differ.

Joining waits for none of this: agents announce themselves at once to whoever appears, so a name is settled a round
trip later.  Nobody takes back a name because its first bearer has left: the others know them by it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from .config import Identity
from .room.codec import finite
from .room.presence import AGENT_KEY, State


class Nameplate:
    """One agent's identity, as it is now."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self._first = identity
        self._number = 1
        self._readers: list[Callable[[], None]] = []

    @property
    def name(self) -> str:
        """The name, as it is now."""
        return self.identity.name

    @contextmanager
    def read_by(self, reader: Callable[[], None]) -> Iterator[None]:
        """Call ``reader`` whenever the identity changes within the block."""
        self._readers.append(reader)
        try:
            yield
        finally:
            self._readers.remove(reader)

    def meet(self, states: Iterable[State]) -> None:
        """These are in a room with us: perhaps we change our name.  A state is a claim, and may hold anything."""
        others = [found for state in states if (found := _agent_of(state)) and found[1] != self.identity.username]
        us = (self.identity.since, self.identity.username)
        if all(name != _folded(self.name) or (since, username) > us for since, username, name in others):
            return
        taken = {name for _, _, name in others}
        while _folded(self.name) in taken:
            self._number += 1
            self.identity = self._first.numbered(self._number)
        for reader in list(self._readers):
            reader()


def _agent_of(state: State) -> tuple[float, str, str] | None:
    """Since when an agent is there, its user name, and its name folded; None where this is no agent with a name."""
    mark, user = state.get(AGENT_KEY), state.get("user")
    if not mark or not isinstance(user, dict) or not isinstance(user.get("name"), str):
        return None
    said: Any = mark.get("since") if isinstance(mark, Mapping) else None
    since = finite(said)
    return (-math.inf if since is None else since), str(user.get("username")), _folded(user["name"])


def _folded(name: str) -> str:
    return " ".join(name.split()).casefold()
