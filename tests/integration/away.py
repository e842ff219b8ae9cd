"""Waiting until an agent has noticed that its room is away, and until it is back."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from collab_agent.room.protocol import Synced

from .conftest import DEADLINE_S, McpAgent


async def until_away(goose: McpAgent) -> None:
    """Wait until the agent knows that the room is away."""
    with anyio.fail_after(DEADLINE_S):
        while not (await goose.call("query_notebook")).is_error:
            await anyio.lowlevel.checkpoint()


async def mended(goose: McpAgent, mend: Callable[[], None]) -> None:
    """Mend the wire and wait until the agent is in the room again."""
    joined = anyio.Event()
    unsubscribe = goose.peer().observe(lambda event: joined.set() if isinstance(event, Synced) else None)
    mend()
    with anyio.fail_after(DEADLINE_S):
        await joined.wait()
    unsubscribe()
