"""Open and leave, with an edit and a run in between, and count what is left: sockets, tasks, threads, memory.

Everything but memory is counted exactly, against what there was after the first cycles, which load modules and fill
caches.  Memory is what Python has allocated (``tracemalloc``, after a collection); its slope over the cycles tells a
leak from noise.  What pycrdt allocates is not Python's: the process's resident set is told beside it.
"""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import tracemalloc
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from collab_agent.config import Identity
from collab_agent.peer import NotebookPeer
from collab_agent.testing import InProcessRoom, RoomHost
from tests.integration.conftest import McpAgent

WARM_UP = 10
Cycle = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Left:
    """What there is at one moment.  Memory in bytes."""

    sockets: int
    tasks: int
    threads: int
    python: int
    resident: int


def left() -> Left:
    """Count."""
    gc.collect()
    resident = int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return Left(
        sockets=_sockets(),
        tasks=len(asyncio.all_tasks()),
        threads=threading.active_count(),
        python=tracemalloc.get_traced_memory()[0],
        resident=resident,
    )


def _sockets() -> int:
    """How many sockets are open.  One file is the listing itself, gone by the time it is looked at."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
    return found


async def repeat(cycle: Cycle, times: int, *, every: int = 1) -> list[Left]:
    """What is left after each cycle, or every so many, but the first ``WARM_UP``."""
    tracemalloc.start()
    try:
        found = []
        for number in range(WARM_UP + times):
            await cycle()
            if number >= WARM_UP and number % every == 0:
                found.append(left())
        return found
    finally:
        tracemalloc.stop()


def slope(values: list[int]) -> float:
    """By how much a value grows from one cycle to the next: the median of all slopes (Theil and Sen), so that no
    single jump counts."""
    slopes = sorted(
        (later - earlier) / (there - here)
        for here, earlier in enumerate(values)
        for there, later in enumerate(values)
        if there - here > len(values) // 2
    )
    return slopes[len(slopes) // 2]


async def in_a_room_of_this_process() -> None:
    """A peer joins, edits, and leaves."""
    async with InProcessRoom(["a = 1\n", "b = 2\n"]) as room:
        async with NotebookPeer.joined(RoomHost(room), "notebook.ipynb", Identity.named("Goose")) as peer:
            await peer.edit([{"op": "insert", "source": "x" * 1_000}])
        assert "x" * 1_000 in room.sources()


def on_a_server(agent: McpAgent, path: str) -> Cycle:
    """The tools open, edit, run and leave; the agent and its connection to the MCP client stay."""

    async def cycle() -> None:
        await agent.setup(path)
        await agent.edit({"op": "write", "cell": "#1", "source": "1 + 1"})
        ran = await agent.run(cells=["#1"])
        assert "ok" in ran.text, ran.text
        await agent.ok("setup_notebook", action="leave")

    return cycle


def told(name: str, found: list[Left]) -> str:
    """Figures of a series of cycles, in a line."""
    first, last = found[0], found[-1]
    return (
        f"{name}: {len(found)} cycles; sockets {first.sockets} -> {last.sockets}, tasks {first.tasks} -> {last.tasks}, "
        f"threads {first.threads} -> {last.threads}, Python's memory {slope([each.python for each in found]):+.0f} "
        f"bytes a cycle, resident {first.resident / 1e6:.1f} -> {last.resident / 1e6:.1f} MB"
    )


__all__ = ["Left", "in_a_room_of_this_process", "left", "on_a_server", "repeat", "slope", "told"]
