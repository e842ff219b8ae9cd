"""A human's page in a test, which can be closed and opened again."""

from __future__ import annotations

import anyio
from anyio.abc import TaskGroup, TaskStatus

from collab_agent.config import Server
from collab_agent.testing import Human, human_channel

OPEN_S = 30.0


class Page:
    """Ada's page, which she can close and open again.  ``tasks``: where it lives."""

    def __init__(self, server: Server, path: str, tasks: TaskGroup) -> None:
        self._server = server
        self._path = path
        self._tasks = tasks
        self._close = anyio.Event()
        self._closed = anyio.Event()
        self.opened = anyio.Event()
        self.human = Human("Ada", "")

    async def open(self) -> None:
        """Open it; what she has typed before counts on."""
        self._close, self._closed = anyio.Event(), anyio.Event()
        typed, self.human = self.human, await self._tasks.start(self._live)
        self.human.keystrokes, self.human._marks = typed.keystrokes, typed._marks
        self.opened.set()

    async def close(self) -> None:
        """Close it: what only this page had is gone."""
        self.opened = anyio.Event()
        self._close.set()
        await self._closed.wait()

    async def _live(self, *, task_status: TaskStatus[Human]) -> None:
        channel = lambda: human_channel(self._server, self._path)  # noqa: E731
        async with Human.join(channel, "Ada", autosave=False, timeout_s=OPEN_S) as human:
            await human.wait_for(lambda: bool(human.ids()), OPEN_S)  # it may be loaded piece by piece
            task_status.started(human)
            await self._close.wait()
        self._closed.set()
