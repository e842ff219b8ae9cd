"""Where an open notebook is: a human may rename it, and it stays the notebook that it was.

The room says its path within a second of a renaming, but anybody may write one there.  So that is only a hint; the
server is asked, which knows the file by its id.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import anyio

from .errors import CollabAgentError
from .host import Host
from .room.provider import RoomProvider


class Whereabouts:
    """The path of one open notebook.  ``follow`` must run while it is open."""

    def __init__(self, host: Host, room: RoomProvider, path: str) -> None:
        self._host = host
        self._room = room
        self.path = path
        """Where the notebook is now, as far as the server has told."""
        self.former: frozenset[str] = frozenset()
        """Where it was before."""
        self.on_moved: Callable[[str, str], None] = lambda _old, _new: None
        """Is called with the old and the new path."""
        self._said = path
        self._hint = anyio.Event()

    def listen(self) -> None:
        """The document has changed: perhaps the room says another path now."""
        if self._room.replica.path != self._said:
            self._said = self._room.replica.path
            self._hint.set()

    async def locate(self) -> None:
        """Ask the server where the notebook is now."""
        path = await self._host.where()
        if path and path != self.path:
            old, self.path = self.path, path
            self.former = (self.former | {old}) - {path}
            self.on_moved(old, path)

    async def follow(self) -> None:
        """Ask whenever the room says another path; until cancelled."""
        while True:
            await self._hint.wait()
            self._hint = anyio.Event()
            with suppress(CollabAgentError):
                await self.locate()

    def hold_to(self, rule: Callable[[str], None]) -> None:
        """Raise whatever ``rule`` raises for the path that we know, or for the one that the room says."""
        rule(self.path)
        if self._said:
            rule(self._said)
