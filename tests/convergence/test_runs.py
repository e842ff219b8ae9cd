"""Runs whose last words are on the way when something happens; found by the random machine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest
from jupyter_ydoc import YNotebook
from pycrdt import Doc

from collab_agent.run import Run

from .clock import LeapingLoop, repeatable
from .session import Session, session


async def _cut(at: Session) -> None:
    at.room.channels[2].cut()  # Goose's: Ada and Ben have come first


async def _move(at: Session) -> None:
    human = at.humans[0].human
    assert human is not None
    await human.move_cell(0, 2)
    at.room.channels[2].release()


@pytest.mark.parametrize("happens", [_cut, _move], ids=["the connection breaks", "a human moves the cell"])
@pytest.mark.parametrize("seed", range(3))
def test_what_a_run_printed_stands_below_its_cell_whatever_happens_at_its_end(
    happens: Callable[[Session], Awaitable[None]], seed: int
) -> None:
    async def play() -> Run:
        async with session(seed) as at:
            peer = at.agents[0].peer
            assert peer is not None
            cell = peer.view.cells[0].id
            (run,) = await peer.run_cells([cell])
            at.owners[cell] = run
            await anyio.lowlevel.checkpoint()
            at.room.channels[2].hold()
            await anyio.sleep(4)  # of a clock that leaps: longer than any run takes
            assert at.kernel.at_rest
            await happens(at)
            await at.barrier()  # which judges what stands below the cell, and that nothing says that it runs
            return run

    with repeatable(seed):
        run = anyio.run(play, backend_options={"loop_factory": LeapingLoop})

    assert run.state in ("ok", "error")


def test_a_page_that_brings_along_that_our_cell_runs_leaves_no_mark() -> None:
    """A restarted server has not stored what the agent wrote when the run began; the page has it from then."""

    async def play() -> None:
        async with session(1) as at:
            peer = at.agents[0].peer
            assert peer is not None
            cell = peer.view.cells[0].id
            (run,) = await peer.run_cells([cell])
            at.owners[cell] = run
            await anyio.sleep(40)  # of a clock that leaps: longer than any run takes
            await at.barrier()
            once = peer._room.replica.client_id
            at.room.channels[2].cut()
            await anyio.sleep(10)  # as above: longer than joining again takes
            assert peer._room.replica.client_id != once
            page = YNotebook(Doc(client_id=once))
            page.ydoc.apply_update(at.room.notebook.ydoc.get_update())
            page.ycells[0]["execution_state"] = "running"
            at.room.notebook.ydoc.apply_update(page.ydoc.get_update())
            await at.barrier()
            assert at.room.notebook.ycells[0]["execution_state"] == "idle"

    with repeatable(1):
        anyio.run(play, backend_options={"loop_factory": LeapingLoop})
