"""The end of a process: in order, and in time, whatever hangs.

A signal asks for it; where a client is served on stdio, so does EOF.  Clients say good-bye by EOF and SIGTERM at once,
and SIGTERM twice: the handler stays installed until all is left.  From the first word on a clock runs in a thread of
its own, which nothing that hangs in the event loop holds up.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio

from .agent import Agent
from .errors import sole_cause

SIGNALS = (signal.SIGINT, signal.SIGTERM)
EXIT_S = 1.7
"""How long the end may take; the rest of two seconds is Python's."""


class Ending:
    """The end of this process.  ``scope`` is what a signal cancels: whatever is done until then stands in it."""

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self._begun = False
        self._agents: list[Agent] = []

    def begin(self) -> None:
        """From now on the end may take ``EXIT_S``; twice is harmless."""
        if not self._begun:
            self._begun = True
            threading.Thread(target=self._end, name="end", daemon=True).start()

    @asynccontextmanager
    async def answering_for(self, made: AbstractAsyncContextManager[Agent]) -> AsyncIterator[Agent]:
        """An agent in its block; behind it stderr says what of its work may be missing in files, hanging or not."""
        served: list[Agent] = []
        try:
            async with made as agent:
                served.append(agent)
                self._agents.append(agent)
                yield agent
        finally:
            for agent in served:
                self._agents.remove(agent)
                _tell(agent)

    def _end(self) -> None:
        """End this process in time; runs in a thread.  A JupyterLab of ours ends by its leash."""
        time.sleep(EXIT_S)
        status = 0
        for agent in list(self._agents):
            left = [f"{path} (the server did not answer in time)" for path in agent.open_paths]
            agent.unsaved += left
            if left:
                status = 1
                _tell(agent)
        os._exit(status)


@asynccontextmanager
async def in_time() -> AsyncIterator[Ending]:
    """Have SIGINT and SIGTERM cancel the ``scope`` of what is yielded, and its clock end the process if need be."""
    ending = Ending()

    async def listen() -> None:
        async for _ in signals:
            ending.scope.cancel()

    try:
        with anyio.open_signal_receiver(*SIGNALS) as signals:
            for number in SIGNALS:  # asyncio hears of them by its wake-up descriptor; the clock waits for no busy loop
                signal.signal(number, lambda _number, _frame: ending.begin())
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(listen)
                yield ending
                tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise sole_cause(group) from None


def _tell(agent: Agent) -> None:
    """Say on stderr what may be missing in files; past all buffers and locks, for it may be the last word."""
    if agent.unsaved:
        said = f"collab-agent: not known to be on disk: {'; '.join(agent.unsaved)}\n"
        os.write(2, agent.scrub(said).encode("utf-8", "replace"))
