"""A provider in an in-process room, with all that it heard."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace

import anyio
import pytest

from collab_agent.config import Identity, Limits
from collab_agent.room.presence import room_state
from collab_agent.room.protocol import Event
from collab_agent.room.provider import RoomProvider
from collab_agent.testing import InProcessRoom

LIMITS = replace(Limits(), echo_s=0.2, ack_s=1.0, join_s=2.0, save_s=0.3)


class Joined:
    """A provider, its events so far, and a way to wait for one."""

    def __init__(self, room: InProcessRoom, limits: Limits) -> None:
        self.events: list[Event] = []
        self._heard = anyio.Event()
        self.provider = RoomProvider(room.connect, self._hear, limits)

    def _hear(self, event: Event) -> None:
        self.events.append(event)
        self._heard.set()
        self._heard = anyio.Event()

    def count(self, kind: type[Event]) -> int:
        return sum(isinstance(event, kind) for event in self.events)

    async def wait_for(self, predicate: Callable[[], bool], timeout_s: float = 5.0) -> None:
        with anyio.fail_after(timeout_s):
            while not predicate():
                await self._heard.wait()

    def sources(self) -> list[str]:
        return [cell.source for cell in self.provider.replica.view.cells]


Join = Callable[..., AbstractAsyncContextManager[Joined]]


@pytest.fixture
def join() -> Join:
    """``join(room, limits=...)``: a provider in the room, named Agent, for the length of the block."""

    @asynccontextmanager
    async def joined(room: InProcessRoom, limits: Limits = LIMITS) -> AsyncIterator[Joined]:
        made = Joined(room, limits)
        made.provider.set_state(room_state(Identity.named("Agent")))
        async with anyio.create_task_group() as tasks:

            async def run(*, task_status: anyio.abc.TaskStatus[None]) -> None:
                await made.provider.run(task_status=task_status)

            await tasks.start(run)
            try:
                yield made
            finally:
                tasks.cancel_scope.cancel()

    return joined
