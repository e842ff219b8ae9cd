"""Another program writes the .ipynb under a live room: the server makes that the room's, over what was not on disk yet.

Nobody here has autosave on, and the agent does not ask for saves then: so it is certain what the file holds.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from collab_agent.config import Limits
from collab_agent.room.protocol import Changed, Event
from collab_agent.testing import Human
from tests.files import notebook_in
from tests.integration.conftest import McpAgent, mcp_agent_on

from .conftest import MortalLab

Cells = list[dict[str, Any]]
DEADLINE_S = 20.0
FIRST, SECOND, THIRD = "import math\nx = 1\n", "y = 2", "z = 3"


@dataclass(frozen=True)
class Shared:
    """A notebook in which the agent and Ada are."""

    lab: MortalLab
    path: str
    agent: McpAgent
    ada: Human

    @property
    def names(self) -> list[str]:
        """The short ids of the cells."""
        return [cell[:4] for cell in self.ada.ids()]

    async def overwrite(self, change: Callable[[Cells], object]) -> None:
        """Another program changes the file; returns when the room has it, and the agent has looked at the file."""
        heard = anyio.Event()

        def listen(event: Event) -> None:
            if isinstance(event, Changed) and event.change.state == {"dirty": False}:
                heard.set()

        unsubscribe = self.agent.peer().observe(listen)
        write(self.lab, self.path, change)
        with anyio.fail_after(DEADLINE_S):
            await heard.wait()
        unsubscribe()
        if self.agent.peer().journal.disk.held and self.lab.on_disk(self.path)[0].get("id"):
            await self.has_read()

    async def has_read(self) -> None:
        """Wait until the agent knows what the file holds."""
        disk = self.agent.peer().journal.disk
        with anyio.fail_after(DEADLINE_S):
            while True:  # nobody is told when it has
                held = {cell.id: cell.source for cell in (disk.held or {}).values()}
                if held == {cell["id"]: cell["source"] for cell in self.lab.on_disk(self.path)}:
                    return
                await anyio.sleep(0.05)

    async def agree(self, *wanted: str) -> None:
        """Ada, the agent, somebody new and the file hold these texts, each cell once."""
        await self.ada.wait_for(lambda: self.ada.sources() == list(wanted), DEADLINE_S)
        assert len(set(self.ada.ids())) == len(wanted)
        await self.agent.hears(lambda: [cell.source for cell in self.agent.peer().view.cells] == list(wanted))
        async with Human.join_server(self.lab.server, self.path, "Newcomer", autosave=False) as newcomer:
            assert newcomer.sources() == list(wanted)
        await self.agent.setup(self.path, action="save")
        assert self.lab.sources_on_disk(self.path) == list(wanted)


def write(lab: MortalLab, path: str, change: Callable[[Cells], object]) -> None:
    """Write the file as another program does: at once, and with a later time."""
    file = lab.root / path
    notebook = notebook_in(file)
    change(notebook["cells"])
    before = file.stat().st_mtime_ns
    new = file.with_suffix(".new")
    new.write_text(json.dumps(notebook, ensure_ascii=False), "utf-8")
    os.utime(new, ns=(before + 10**9, before + 10**9))
    os.replace(new, file)


def text(index: int, source: str) -> Callable[[Cells], None]:
    """Give a cell another text."""

    def change(cells: Cells) -> None:
        cells[index]["source"] = source

    return change


@asynccontextmanager
async def shared(lab: MortalLab, *sources: str, minor: int = 5) -> AsyncIterator[Shared]:
    path = lab.notebook(sources or (FIRST, SECOND, THIRD), minor=minor)
    async with (
        mcp_agent_on(lab.server, limits=Limits(line_quiet_s=0, typed_out_s=0)) as agent,
        Human.join_server(lab.server, path, autosave=False) as ada,
    ):
        await agent.setup(path)
        await agent.query("cells")
        both = Shared(lab, path, agent, ada)
        if minor >= 5:
            await both.has_read()
        yield both


@pytest.mark.parametrize("known", [True, False], ids=["the server knew the hash", "the server knew no hash"])
async def test_what_was_not_saved_is_put_back_or_told_and_what_the_writer_meant_stays(
    mortal: MortalLab, known: bool
) -> None:
    async with shared(mortal) as both:
        agent, ada = both.agent, both.ada
        first, second, third = both.names
        if known:
            await agent.setup(both.path, action="save")
        await ada.type(1, "  # mine")
        hers = await ada.insert_cell(3, "by = 'Ada'")
        await agent.sees(ada)
        await agent.edit({"op": "replace", "cell": first, "old": "x = 1", "new": "x = math.pi"})
        await agent.edit({"op": "insert", "source": "print(x)", "after": third})
        await both.overwrite(text(2, "z = 'writer'"))

        told = (await agent.query()).since
        made = next(cell.id[:4] for cell in agent.peer().view.cells if cell.source == "print(x)")
        assert f"another program wrote the file: your edit of {first}, {made}, which it had lost, is in again" in told
        assert f"lost: what Ada had written in {second}, the cell {hers[:4]} of Ada" in told
        assert f"changed on disk: edited {third}" in told
        shown = (await agent.query("changes")).body
        assert f'{{"op": "restore", "cells": ["{second}"]}} puts it back:\n-│  # mine' in shown
        ours = FIRST.replace("1", "math.pi")
        await both.agree(ours, SECOND, "z = 'writer'", "print(x)")
        await agent.edit({"op": "restore", "cells": [second]})
        await agent.edit({"op": "restore"})
        assert "nothing is known to be lost" in (await agent.edit_refused({"op": "restore"})).text
        texts = sorted([ours, "y = 2  # mine", "z = 'writer'", "print(x)", "by = 'Ada'"])
        await ada.wait_for(lambda: sorted(ada.sources()) == texts)
        await both.agree(*ada.sources())
        assert ada.lost() == []


async def test_what_the_file_held_before_is_never_put_back(mortal: MortalLab) -> None:
    """``git checkout`` takes out what was saved, of the agent's and of Ada's."""
    async with shared(mortal) as both:
        agent, ada = both.agent, both.ada
        before = (mortal.root / both.path).read_bytes()
        await ada.type(1, "  # mine")
        await agent.sees(ada)
        await agent.edit({"op": "replace", "cell": both.names[0], "old": "x = 1", "new": "x = math.pi"})
        await agent.edit({"op": "insert", "source": "print(x)"})
        await agent.setup(both.path, action="save")
        await both.has_read()
        await agent.query()
        await both.overwrite(lambda cells: cells.__setitem__(slice(None), json.loads(before)["cells"]))
        told = (await agent.query()).since
        assert "changed on disk: " in told
        assert "lost" not in told
        assert "is in again" not in told
        assert "nothing is known to be lost" in (await agent.edit_refused({"op": "restore"})).text
        await both.agree(FIRST, SECOND, THIRD)


async def test_what_ada_typed_where_the_writer_wrote_is_put_back_beside_it(mortal: MortalLab) -> None:
    async with shared(mortal) as both:
        agent, ada = both.agent, both.ada
        await ada.type(1, "  # mine")
        await agent.sees(ada)
        await both.overwrite(text(1, "y = 22"))
        assert f"lost: what Ada had written in {both.names[1]}" in (await agent.query()).since
        await agent.edit({"op": "restore"})
        await both.agree(FIRST, "y = 22  # mine", THIRD)


async def test_a_cell_that_was_deleted_on_disk_comes_back_only_with_what_was_not_saved_in_it(
    mortal: MortalLab,
) -> None:
    async with shared(mortal) as both:
        agent, ada = both.agent, both.ada
        await ada.type(1, "  # mine")
        await agent.sees(ada)
        second = both.names[1]
        await both.overwrite(lambda cells: cells.__delitem__(slice(1, None)))
        told = (await agent.query()).since
        assert f"lost: the cell {second} of Ada" in told
        await both.agree(FIRST)
        await agent.edit({"op": "restore"})
        await both.agree(FIRST, "y = 2  # mine")


async def test_without_ids_what_is_missing_is_told_with_its_text(mortal: MortalLab) -> None:
    async with shared(mortal, minor=4) as both:
        await both.ada.insert_cell(3, "by = 'Ada'")
        await both.agent.sees(both.ada)
        await both.overwrite(text(2, "z = 'writer'"))
        told = (await both.agent.query()).since
        assert "another program wrote the file" in told
        shown = (await both.agent.query("changes")).body
        assert "-│by = 'Ada'" in shown
        assert [cell.source for cell in both.agent.peer().view.cells] == [FIRST, SECOND, "z = 'writer'"]


async def test_keystrokes_while_the_file_is_written_again_and_again_can_all_be_put_back(mortal: MortalLab) -> None:
    async with shared(mortal) as both:
        agent, ada = both.agent, both.ada
        done = anyio.Event()

        async def type_on() -> None:
            while not done.is_set():
                await ada.type_marks(1, 1, pause=0.02)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(type_on)
            for turn in range(3):
                await both.overwrite(text(2, f"z = {turn}"))
            done.set()
        await agent.sees(ada)
        lost = ada.lost()
        assert lost
        assert "what Ada had written" in (await agent.query()).since
        await agent.edit({"op": "restore"})
        await ada.wait_for(lambda: ada.lost() == [])
        assert sorted(ada.source(1)) == sorted(SECOND + "".join(ada.keystrokes)), "nothing is doubled"


async def test_cells_that_the_server_deletes_by_mistake_can_be_put_back(mortal: MortalLab) -> None:
    """Where somebody inserts cells while the server puts the file into a large room, it deletes some others."""
    texts = [f"value_{n} = {n}" for n in range(800)]
    async with shared(mortal, *texts) as both:
        agent, ada = both.agent, both.ada
        done = anyio.Event()

        async def insert_on() -> None:
            while not done.is_set():
                await ada.insert_cell(0, "'hers'")
                await anyio.sleep(0.02)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(insert_on)
            await both.overwrite(text(799, "value_799 = 'writer'"))
            done.set()
        await agent.sees(ada)
        await agent.query()
        missing = set(texts[:799]) - set(ada.sources())
        if missing:
            await agent.edit({"op": "restore"})
            await ada.wait_for(lambda: set(texts[:799]) <= set(ada.sources()))
        assert len(set(ada.ids())) == len(ada.ids())


async def test_what_a_run_printed_before_the_write_stands_there_again(mortal: MortalLab) -> None:
    async with shared(mortal) as both:
        gate = both.lab.root / f"{both.path}.go"
        waiting = f"import os, time\nwhile not os.path.exists({str(gate)!r}):\n    time.sleep(0.02)\n"
        await both.agent.edit({"op": "insert", "source": f"print('before')\n{waiting}print('after')"})
        await both.agent.setup(both.path, action="save")
        await both.agent.run(cells="last", wait_s=0)
        await both.ada.wait_for(lambda: _printed(both.ada) == "before\n", DEADLINE_S)
        await both.overwrite(text(2, "z = 'writer'"))
        gate.touch()
        ended = (await both.agent.query("runs", wait_s=20)).body
        assert "before\nafter" in ended
        assert "cleared" not in ended
        await both.ada.wait_for(lambda: _printed(both.ada) == "before\nafter\n", DEADLINE_S)


def _printed(human: Human) -> str:
    """What the last cell shows."""
    return "".join(output.get("text", "") for output in human.document()["cells"][-1]["outputs"])
