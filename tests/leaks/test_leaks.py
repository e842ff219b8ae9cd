"""A short form of ``python -m tests.leaks``, in CI."""

from __future__ import annotations

from collab_agent.config import Server
from tests.conftest import NewNotebook
from tests.integration.conftest import mcp_agent_on

from .cycles import Left, in_a_room_of_this_process, on_a_server, repeat, slope, told

MOST_BYTES = 12_000
"""A cycle that left a replica behind left some 40 kB; noise was at most 4 kB, with few cycles on a busy machine."""
EVERY = 5
"""After so many cycles is counted: a collection takes long where pytest has loaded much."""


def assert_nothing_is_left(found: list[Left]) -> None:
    first, last = found[0], found[-1]
    figures = told("here", found)
    assert (last.sockets, last.tasks) == (first.sockets, first.tasks), figures
    assert last.threads <= first.threads + 2, figures  # idle workers of the pool that reads files
    assert slope([each.python for each in found]) / EVERY < MOST_BYTES, figures


async def test_in_a_room_of_this_process(anyio_backend: str) -> None:
    assert_nothing_is_left(await repeat(in_a_room_of_this_process, 60, every=EVERY))


async def test_on_a_server(jupyter: Server, new_notebook: NewNotebook) -> None:
    async with mcp_agent_on(jupyter) as agent:
        assert_nothing_is_left(await repeat(on_a_server(agent, new_notebook(["1"])), 30, every=EVERY))
