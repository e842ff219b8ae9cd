"""Floods: what a kernel shows, how many runs wait and how much a call writes have an end, and a human types on."""

from __future__ import annotations

from random import Random
from typing import Any

import anyio
import pytest

from collab_agent.config import Identity, Server
from collab_agent.errors import CellBusy, InvalidEdit
from collab_agent.notebook.edit_ops import MOST_CHARS, MOST_EDITS
from collab_agent.notebook.outputs import MOST_OUTPUTS
from collab_agent.peer import NotebookPeer
from collab_agent.runs import MOST_QUEUED, MOST_REMEMBERED
from collab_agent.testing import Human, InProcessRoom
from tests.convergence.clock import LeapingLoop, repeatable
from tests.convergence.kernel import Kernel, KernelHost

from .conftest import DEADLINE_S, Notebook, mcp_agent_on

FLOOD = f"""
import time
from IPython.display import clear_output, display
handle = display("first", display_id=True)
for number in range(200):
    display(number)
    handle.update("update %d" % number)
    print("\\r%d%%" % number, end="")
    time.sleep(0.006)
for number in range(200):
    clear_output(wait=True)
    display(number)
    time.sleep(0.004)
for number in range({MOST_OUTPUTS} + 50):
    display(number)
    time.sleep(0.002)
raise RuntimeError("how it ended")
"""
"""Fewer than the 1,000 messages a second of which the server drops the rest."""


async def test_a_flood_of_outputs_is_cut_and_a_human_types_on(jupyter: Server, notebook: Notebook) -> None:
    path = await notebook([FLOOD, ""])
    async with Human.join_server(jupyter, path) as ada, mcp_agent_on(jupyter) as agent:
        await agent.setup(path)
        updates: list[int] = []
        subscription = ada.notebook.ydoc.observe(lambda event: updates.append(len(event.update)))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ada.type, 1, "typed by Ada, key by key, all the while")
            ran = await agent.call("execute_notebook_code", cells=["first"], wait_s=DEADLINE_S)
        ada.notebook.ydoc.unobserve(subscription)
        assert f"[outputs cut by collab-agent at {MOST_OUTPUTS} outputs]" in ran.text
        assert "RuntimeError: how it ended" in ran.text
        await ada.wait_for(lambda: ada.notebook.ycells[0]["execution_state"] == "idle", DEADLINE_S)
        assert len(ada.notebook.ycells[0]["outputs"]) == MOST_OUTPUTS + 2, "and the line that says so, and the error"
        assert len(updates) < MOST_OUTPUTS, "of more than 2,000 messages"
        assert ada.sources()[1] == "typed by Ada, key by key, all the while"
        saved = await agent.call("setup_notebook", action="save")
        assert "saved" in saved.text, saved.text


def in_process(play: Any) -> None:
    async def run() -> None:
        async with InProcessRoom(["a"]) as room, anyio.create_task_group() as tasks:
            kernel = Kernel(Random(0))
            tasks.start_soon(kernel.work)
            host = KernelHost(room, kernel, "Goose")
            async with NotebookPeer.joined(host, "notebook.ipynb", Identity.named("Goose")) as peer:
                await play(room, peer)
            tasks.cancel_scope.cancel()

    with repeatable(0):
        anyio.run(run, backend_options={"loop_factory": LeapingLoop})


def test_no_run_is_forgotten_before_it_is_over_and_the_queue_has_an_end() -> None:
    async def play(room: InProcessRoom, peer: NotebookPeer) -> None:
        cell = peer.view.cells[0].id
        runs = [run for _ in range(3) for run in await peer.run_cells([cell] * MOST_REMEMBERED, stop_on_error=False)]
        with pytest.raises(CellBusy, match="Nothing was run"):
            await peer.run_cells([cell] * MOST_QUEUED)
        while not all(run.over for run in runs):
            assert all(run in peer.runs.all for run in runs if not run.over)
            await peer.runs.wait(peer.runs.all, 30)
        assert {run.state for run in runs} <= {"ok", "error"}
        await peer.run_cells([cell])
        assert len(peer.runs.all) == MOST_REMEMBERED + 1

    in_process(play)


def test_a_call_writes_so_much_and_no_more() -> None:
    async def play(room: InProcessRoom, peer: NotebookPeer) -> None:
        for edits in (
            [{"op": "insert", "source": "x"}] * (MOST_EDITS + 1),
            [{"op": "insert", "source": "x" * (MOST_CHARS // 2 + 1)}] * 2,
            [{"op": "replace", "cell": "#1", "old": "a", "new": "x" * (MOST_CHARS + 1)}],
        ):
            with pytest.raises(InvalidEdit, match="Nothing was written"):
                await peer.edit(edits)
        assert room.sources() == ["a"]

    in_process(play)
