"""The suggestions of one notebook, kept by the server as forks of its room.

A fork's description holds the whole suggestion, so that making one is a single request, listing them is one too, and
nothing about them ever stands in the notebook.  The fork's own document has the edits really made, for anybody who
opens it.  Deleting a fork succeeds for exactly one of all who try: that is what decides who decides.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio
from anyio.abc import TaskStatus

from .config import Limits
from .errors import CollabAgentError, sole_cause
from .jupyter.api import DocumentSession, JupyterApi
from .notebook.suggestion import Suggestion, from_json, planned, to_json
from .room.channel import Channel, websocket_channel
from .room.protocol import Event
from .room.provider import RoomProvider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

REMOVE_S = 5.0


@dataclass(frozen=True, slots=True)
class Kept:
    """A suggestion on the shelf; ``fork`` is the id of its fork."""

    fork: str
    suggestion: Suggestion


class Shelf:
    """The suggestions of one notebook.  ``path`` gives where the notebook is now: it may be renamed."""

    def __init__(self, api: JupyterApi, path: Callable[[], str], limits: Limits) -> None:
        self._api = api
        self._path = path
        self._limits = limits
        self._session: DocumentSession | None = None

    async def all(self) -> list[Kept]:
        """The open suggestions, oldest first; forks that others made for other ends are passed over."""
        forks = await self._api.forks((await self._joined()).room_id)
        found = [(fork.id, from_json(fork.description)) for fork in forks]
        return [Kept(fork, each) for fork, each in found if each is not None]

    async def put_back(self, suggestion: Suggestion) -> None:
        """Keep a suggestion that was here before, also where its edits cannot be made any more."""
        with anyio.CancelScope(shield=True):
            fork = await self._fork(suggestion)
            with suppress(CollabAgentError):
                await self._make_edits(fork, suggestion)

    async def add(self, suggestion: Suggestion) -> int:
        """Keep a new suggestion; the client id that made the edits in its fork.  The notebook's room must be open.

        Whatever fails, nothing is left behind.
        """
        with anyio.CancelScope(shield=True):  # a request that was sent cannot be taken back; all of it has deadlines
            fork = await self._fork(suggestion)
            try:
                client = await self._make_edits(fork, suggestion)
            except BaseException:
                with anyio.move_on_after(REMOVE_S), suppress(CollabAgentError):
                    await self._api.delete_fork(fork)
                raise
        return client

    async def take(self, kept: Kept) -> bool:
        """Take a suggestion off the shelf; False where somebody else already has."""
        return await self._api.delete_fork(kept.fork)

    async def _fork(self, suggestion: Suggestion) -> str:
        description = to_json(suggestion, self._path())
        return await self._api.create_fork((await self._joined()).room_id, suggestion.title, description)

    async def _make_edits(self, fork: str, suggestion: Suggestion) -> int:
        """Make the edits in the fork's own document."""
        session = await self._joined()
        url = self._api.ws_url(f"api/collaboration/room/{fork}?sessionId={session.session_id}")

        @asynccontextmanager
        async def connect() -> AsyncIterator[Channel]:
            async with websocket_channel(url, self._api.headers, self._limits, tls=self._api.tls) as channel:
                yield channel

        room = RoomProvider(connect, _ignore, self._limits)

        async def stay(*, task_status: TaskStatus[None]) -> None:
            await room.run(task_status=task_status)

        try:
            async with anyio.create_task_group() as tasks:
                await tasks.start(stay)
                await room.write(lambda replica: planned(suggestion, replica).steps)
                client = room.replica.client_id
                tasks.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            raise sole_cause(group) from None
        return client

    async def _joined(self) -> DocumentSession:
        """The notebook's room; asked for once, for the room stays the same when the file is renamed."""
        if self._session is None:
            self._session = await self._api.open_session_rtc(self._path())
        return self._session


def _ignore(_event: Event) -> None:
    return None
