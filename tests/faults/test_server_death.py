"""A server that dies takes along what is younger than its last save; the agent puts back what is its own, and tells.

Nobody here has autosave on, so that it is certain what the file holds.  A server has *stored* an update a little after
it has sent it on; the page of a human keeps its document, joins again by itself, and merges.
"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import pytest

from collab_agent.room.protocol import Event, Synced
from collab_agent.testing import Human, human_channel
from tests.integration.conftest import DEADLINE_S, McpAgent, mcp_agent_on

from .conftest import MortalLab

FIRST, SECOND = "import math\nx = 1\n", "y = 2"
REJOIN_S = 30.0


class Rejoined:
    """Waits until the agent has joined a room again."""

    def __init__(self, agent: McpAgent) -> None:
        self._joined = anyio.Event()
        self._unsubscribe = agent.peer().observe(self._note)

    def _note(self, event: Event) -> None:
        if isinstance(event, Synced):
            self._joined.set()

    async def wait(self) -> None:
        """Return when it has."""
        with anyio.fail_after(DEADLINE_S):
            await self._joined.wait()
        self._unsubscribe()


class Page:
    """A human's page, which a test can keep from joining again."""

    def __init__(self, human: Human) -> None:
        self.human = human
        self.may_join = anyio.Event()
        self.may_join.set()


@asynccontextmanager
async def page_on(lab: MortalLab, path: str) -> AsyncIterator[Page]:
    """Ada's page; autosave is off."""
    pages: list[Page] = []

    @asynccontextmanager
    async def connect() -> AsyncIterator[object]:
        if pages:
            await pages[0].may_join.wait()
        async with human_channel(lab.server, path) as channel:
            yield channel

    async with Human.join(connect, "Ada", autosave=False) as human:
        pages.append(Page(human))
        yield pages[0]


async def restart(
    lab: MortalLab,
    agent: McpAgent,
    number: signal.Signals = signal.SIGKILL,
    meanwhile: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Kill the server, start it again, and wait until the agent is back."""
    rejoined = Rejoined(agent)
    await lab.die(number)
    if meanwhile is not None:
        await meanwhile()
    await lab.start()
    await rejoined.wait()


async def once(lab: MortalLab, agent: McpAgent, page: Page, path: str, wanted: list[str]) -> None:
    """The page, the agent and the file agree on these texts; no id is there twice."""
    await page.human.wait_for(lambda: page.human.sources() == wanted, REJOIN_S)
    assert len(set(page.human.ids())) == len(wanted)
    await agent.hears(lambda: [cell.source for cell in agent.peer().view.cells] == wanted)
    await agent.setup(path, action="save")
    assert lab.sources_on_disk(path) == wanted


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_what_the_agent_wrote_is_put_back_and_what_the_human_typed_is_told_and_restored(
    mortal: MortalLab, number: signal.Signals
) -> None:
    path = mortal.notebook([FIRST, SECOND])
    async with mcp_agent_on(mortal.server) as agent, page_on(mortal, path) as page:
        ada = page.human
        await agent.setup(path)
        first, second = (cell[:4] for cell in ada.ids())
        await agent.query("cells")
        await ada.type(1, "  # mine")
        hers = await ada.insert_cell(2, "by = 'Ada'")
        await agent.sees(ada)
        await agent.edit(
            {"op": "replace", "cell": first, "old": "x = 1", "new": "x = math.pi"},
            {"op": "insert", "source": "print(x)", "after": first},
        )
        await mortal.has_stored("# mine", "by = 'Ada'", "math.pi", "print(x)")
        assert mortal.sources_on_disk(path) == [FIRST, SECOND]
        await restart(mortal, agent, number)

        told = (await agent.query()).since
        made = agent.peer().view.cells[1].id[:4]
        assert f"the server restarted: your edit of {first}, {made}, which it had lost, is in again; " in told
        assert f"lost: what Ada had written in {second}, the cell {hers[:4]} of Ada" in told
        assert '{"op": "restore"} puts it back' in told
        assert "edited" not in told, "the loss is told once"
        shown = (await agent.query("changes")).body
        assert f'{{"op": "restore", "cells": ["{second}"]}} puts it back:\n-│  # mine' in shown
        assert "by = 'Ada'" in shown
        assert (await agent.query()).since == ""
        with_ours = [FIRST.replace("1", "math.pi"), "print(x)", SECOND]
        await once(mortal, agent, page, path, with_ours)

        answer = (await agent.edit({"op": "restore", "cells": [second]})).body
        assert "+1│y = 2  # mine" in answer
        assert (await agent.edit({"op": "restore"})).body == f"put back {hers[:4]} (code, 1 line)"
        await once(mortal, agent, page, path, [*with_ours[:2], "y = 2  # mine", "by = 'Ada'"])
        refused = await agent.edit_refused({"op": "restore"})
        assert "nothing is known to be lost" in refused.text
        await agent.edit({"op": "undo", "steps": 3})
        await once(mortal, agent, page, path, [FIRST, SECOND])


@pytest.mark.parametrize("page_first", [True, False])
async def test_what_a_page_brings_back_by_itself_is_there_once(mortal: MortalLab, page_first: bool) -> None:
    """A server that has not even stored the edits does not know them; the page does."""
    path = mortal.notebook([FIRST, SECOND])
    async with mcp_agent_on(mortal.server) as agent, page_on(mortal, path) as page:
        await agent.setup(path)
        first, second = (cell[:4] for cell in page.human.ids())
        await agent.query("cells")
        await mortal.has_stored(SECOND)
        stored = mortal.mark()
        await page.human.type(1, "  # mine")
        await agent.sees(page.human)
        await agent.edit(
            {"op": "replace", "cell": first, "old": "x = 1", "new": "x = math.pi"},
            {"op": "insert", "source": "print(x)", "after": first},
        )
        await page.human.wait_for(lambda: "print(x)" in page.human.sources())
        page.may_join = anyio.Event()

        async def forget() -> None:
            mortal.forget_since(stored)
            if page_first:
                page.may_join.set()

        await restart(mortal, agent, meanwhile=forget)
        if not page_first:
            told = (await agent.query()).since
            assert f"your edit of {first}, " in told
            assert f"not there yet: what Ada had written in {second}" in told
            refused = await agent.edit_refused({"op": "restore"})
            assert "comes back by itself" in refused.text
            page.may_join.set()
        await once(mortal, agent, page, path, [FIRST.replace("1", "math.pi"), "print(x)", SECOND + "  # mine"])


async def test_what_was_saved_is_never_put_back(mortal: MortalLab) -> None:
    """Another program may have changed the file while the server was away, and meant it."""
    path = mortal.notebook([FIRST, SECOND])
    before = (mortal.root / path).read_bytes()
    async with mcp_agent_on(mortal.server) as agent, page_on(mortal, path) as page:
        await agent.setup(path)
        first = page.human.ids()[0][:4]
        await agent.edit({"op": "replace", "cell": first, "old": "x = 1", "new": "x = math.pi"})
        await agent.setup(path, action="save")

        async def checkout() -> None:
            (mortal.root / path).write_bytes(before)

        await restart(mortal, agent, meanwhile=checkout)
        told = (await agent.query()).since
        assert "is in again" not in told
        assert f"what you had written in {first}" in told
        await once(mortal, agent, page, path, [FIRST, SECOND])


async def test_without_ids_on_disk_what_is_missing_is_told_with_its_text(mortal: MortalLab) -> None:
    path = mortal.notebook([FIRST, SECOND], minor=4)
    async with mcp_agent_on(mortal.server) as agent, page_on(mortal, path) as page:
        await agent.setup(path)
        await agent.query("cells")
        await agent.edit({"op": "insert", "source": "print(x)"})
        await mortal.has_stored("print(x)")
        page.may_join = anyio.Event()
        await restart(mortal, agent)
        told = (await agent.query()).since
        assert "gave all cells new ids" in told
        shown = (await agent.query("changes")).body
        assert "-│print(x)" in shown
        assert [cell.source for cell in agent.peer().view.cells] == [FIRST, SECOND]


async def test_with_the_store_gone_nothing_of_ours_is_doubled(mortal: MortalLab) -> None:
    path = mortal.notebook([FIRST, SECOND])
    async with mcp_agent_on(mortal.server) as agent, page_on(mortal, path) as page:
        await agent.setup(path)
        first = page.human.ids()[0][:4]
        await agent.edit(
            {"op": "replace", "cell": first, "old": "x = 1", "new": "x = math.pi"},
            {"op": "insert", "source": "print(x)", "after": first},
        )
        await page.human.wait_for(lambda: "print(x)" in page.human.sources())
        page.may_join = anyio.Event()

        async def forget() -> None:
            mortal.forget_all()

        await restart(mortal, agent, meanwhile=forget)
        assert f"your edit of {first}, " in (await agent.query()).since
        page.may_join.set()
        await once(mortal, agent, page, path, [FIRST.replace("1", "math.pi"), "print(x)", SECOND])
