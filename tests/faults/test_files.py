"""The notebook's file is moved, deleted, cut short, renamed, too large for the disk, or somebody else's, too.

A human types throughout.  Nobody has autosave on where it matters what the file holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import httpx2
import pytest

from collab_agent.config import Limits
from collab_agent.testing import Human
from tests.integration.conftest import McpAgent, Rest, mcp_agent_on

from .conftest import MortalLab

DEADLINE_S = 20.0
FIRST, SECOND = "x = 1\n", "y = 2"
LIMITS = Limits(line_quiet_s=0, typed_out_s=0, save_s=3.0)


@dataclass(frozen=True)
class Pair:
    """The agent and Ada in one notebook."""

    lab: MortalLab
    path: str
    agent: McpAgent
    ada: Human

    @property
    def file(self) -> Path:
        """The notebook's file."""
        return self.lab.root / self.path

    async def agree(self) -> None:
        """Ada, the agent, somebody new and the file hold the same texts, no id twice; and what Ada typed is there."""
        path = self.agent.peer().path
        assert self.ada.lost() == []
        await self.agent.sees(self.ada)
        async with Human.join_server(self.lab.server, path, "Newcomer", autosave=False) as newcomer:
            assert newcomer.sources() == self.ada.sources()
        await self.agent.setup(path, action="save")
        assert self.lab.sources_on_disk(path) == self.ada.sources()
        assert len(set(self.ada.ids())) == len(self.ada.ids())

    async def hears_of(self, text: str) -> str:
        """Call until a result ends with this; the line."""
        with anyio.fail_after(DEADLINE_S):
            while True:
                told = (await self.agent.query()).since
                if text in told:
                    return told
                await anyio.sleep(0.2)


@asynccontextmanager
async def pair(lab: MortalLab, *sources: str, autosave: bool = False, minor: int = 5) -> AsyncIterator[Pair]:
    path = lab.notebook(sources or (FIRST, SECOND), minor=minor)
    async with (
        mcp_agent_on(lab.server, limits=LIMITS) as agent,
        Human.join_server(lab.server, path, autosave=autosave) as ada,
    ):
        await agent.setup(path)
        await agent.query("cells")
        yield Pair(lab, path, agent, ada)


@asynccontextmanager
async def typing(human: Human, cell: int = 1) -> AsyncIterator[None]:
    """The human types all the time."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: human.type_marks(cell, 1_000_000, pause=0.05))
        yield
        tasks.cancel_scope.cancel()


async def rest(lab: MortalLab, method: str, path: str, **options: object) -> None:
    """A request of a page's."""
    headers = {"Authorization": f"token {lab.server.token}"}
    async with httpx2.AsyncClient(base_url=lab.server.url, headers=headers, trust_env=False) as client:
        answer = await client.request(method, f"api/contents/{path}", **options)  # type: ignore[arg-type]
        answer.raise_for_status()


@pytest.mark.parametrize("how", ["mv", "rm", "API delete"])
async def test_a_file_that_is_gone_is_told_and_never_made_anew(mortal: MortalLab, how: str) -> None:
    async with pair(mortal, autosave=True) as both:
        agent, ada = both.agent, both.ada
        kept = both.file.read_bytes()
        async with typing(ada):
            if how == "API delete":
                await rest(mortal, "DELETE", both.path)
            else:
                both.file.unlink()
            await agent.edit({"op": "insert", "source": "still here"})
            await ada.wait_for(lambda: "still here" in ada.sources())
            error = await agent.refused("setup_notebook", action="save")
            assert "Not on disk: the notebook's file was moved or deleted" in error.text
            assert "The room still has all edits." in error.text
            await agent.setup(both.path)
        assert not both.file.exists()
        assert ada.lost() == []
        await agent.edit({"op": "insert", "source": "and here"})
        assert await both.hears_of("not on disk: ")
        assert not both.file.exists()
        if how == "mv":  # and back again
            both.file.write_bytes(kept)
            await agent.hears(lambda: [cell.source for cell in agent.peer().view.cells][:1] == [FIRST])


async def test_a_notebook_whose_file_was_taken_away_is_not_made_anew_over_what_a_human_has(mortal: MortalLab) -> None:
    """The server would put the empty notebook into their room.  Who deletes it through the server, means it."""
    path = mortal.notebook((FIRST, SECOND))
    headers = {"Authorization": f"token {mortal.server.token}"}
    async with (
        httpx2.AsyncClient(base_url=mortal.server.url, headers=headers, trust_env=False, timeout=60) as client,
        mcp_agent_on(mortal.server, limits=LIMITS) as agent,
        Human.join_server(mortal.server, path, autosave=False) as ada,
    ):
        await Rest(client).open_session(path)
        await ada.type(1, "  # mine")
        file = mortal.root / path
        kept = file.read_bytes()
        file.unlink()
        refused = await agent.refused("setup_notebook", notebook_path=path)
        assert "another program has moved or deleted the file" in refused.text
        assert not file.exists()
        assert ada.sources() == [FIRST, "y = 2  # mine"]
        file.write_bytes(kept)
        await agent.setup(path)
        await agent.setup(path, action="leave")
        await rest(mortal, "DELETE", path)
        await agent.setup(path)
        assert ada.lost() == []


async def test_a_renaming_is_followed_while_everybody_works(mortal: MortalLab) -> None:
    async with pair(mortal) as both:
        async with typing(both.ada):
            await both.agent.edit({"op": "insert", "source": "before"})
            await rest(mortal, "PATCH", both.path, json={"path": f"new-{both.path}"})
            await both.agent.hears(lambda: both.agent.peer().path == f"new-{both.path}")
            await both.agent.edit({"op": "insert", "source": "after"})
            await both.agent.ok("setup_notebook", action="save")
        assert not both.file.exists()
        await both.ada.wait_for(lambda: both.ada.sources()[2:] == ["before", "after"])
        await both.agree()


async def test_the_file_follows_while_a_cell_prints(mortal: MortalLab) -> None:
    """Autosave that waits for a pause never comes: the cell goes on until its first lines are in the file."""
    async with pair(mortal, autosave=True) as both:
        gate = both.file.with_suffix(".go")
        code = (
            f"import pathlib, time\nn = 0\nwhile not pathlib.Path({str(gate)!r}).exists():\n"
            "    n += 1\n    print(n, flush=True)\n    time.sleep(0.02)\n"
        )
        await both.agent.edit({"op": "insert", "source": code})
        async with typing(both.ada):
            await both.agent.run(cells="last", wait_s=0)
            with anyio.fail_after(DEADLINE_S):
                for _ in range(3):
                    await _prints_more(both.file)
            assert "running" in (await both.agent.query("runs")).body
            gate.touch()
            await both.agent.query("runs", wait_s=20)
        await both.agree()


async def _prints_more(file: Path) -> None:
    """Wait until the file has a later line than now."""
    last = _last_number(file)
    while True:  # nobody tells when a file has a line
        if _last_number(file) > last:
            return
        await anyio.sleep(0.05)


def _last_number(file: Path) -> int:
    """The last number that a notebook's cells have printed, as far as the file has it; 0 while it is being written."""
    try:
        cells = json.loads(file.read_text("utf-8"))["cells"]
    except ValueError:
        return 0
    texts = ["".join(output.get("text", "")) for cell in cells for output in cell.get("outputs", ())]
    return max((int(found) for found in re.findall(r"^\d+$", "\n".join(texts), re.MULTILINE)), default=0)
