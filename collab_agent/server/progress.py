"""While a call waits for runs, the client is told the last line of output: for its human, no client feeds it to the
model.  Some clients also wait longer for a call that reports.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import anyio

from ..errors import RoomClosed, sole_cause

if TYPE_CHECKING:
    from ..peer import NotebookPeer
    from ..run import Run

Report = Callable[[float, str], Awaitable[None]]
"""Takes the seconds that the call has waited, which only grow, and one line."""

INTERVAL_S = 0.5
"""At most so often."""
SILENCE_S = 5.0
"""At least so often, although nothing has changed."""
_WIDEST = 160
_TAIL = 4_000
"""Characters at a stream's end among which its last line is looked for."""


@asynccontextmanager
async def reporting(peer: NotebookPeer, runs: Sequence[Run], report: Report | None) -> AsyncIterator[None]:
    """Report how these runs go on, until the block is left."""
    if report is None:
        yield
        return
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_report_regularly, peer, runs, report)
            yield
            tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise sole_cause(group) from None


async def _report_regularly(peer: NotebookPeer, runs: Sequence[Run], report: Report) -> None:
    from .reports import short

    began = told_at = anyio.current_time()
    told = ""
    while True:
        await anyio.sleep(INTERVAL_S)
        now = anyio.current_time()
        try:
            line = progress_line(runs, partial(short, peer))
        except RoomClosed:
            line = "the notebook's room is away; joining it again"
        if line and (line != told or now - told_at >= SILENCE_S):
            await report(now - began, line)
            told, told_at = line, now


def progress_line(runs: Sequence[Run], name_of: Callable[[str], str]) -> str:
    """``a1f9, 2 of 5: Epoch 3``; empty once all are over."""
    from ..notebook.plain import inline

    at, run = next(((at, run) for at, run in enumerate(runs, 1) if not run.over), (0, None))
    if run is None:
        return ""
    name = "aside" if run.cell is None else name_of(run.cell)
    place = f"{name}, {at} of {len(runs)}" if len(runs) > 1 else name
    if run.prompt is not None:
        said = f"asks for input: {run.prompt}"
    elif run.state == "queued":
        said = f"waits until the code of {run.waits_for} has ended" if run.waits_for else "queued"
    else:
        said = last_line(run) or "running, no output yet"
    return inline(f"{place}: {said}", _WIDEST)


def last_line(run: Run) -> str:
    """The last line that a run printed, or what it showed last; empty if nothing."""
    from ..notebook.display import output_summary
    from ..notebook.plain import clean
    from ..run import output_view

    last = run.outputs.last
    if last is None:
        return ""
    view = output_view(last)
    if view.kind != "stream":
        return output_summary(view)
    lines = clean(view.text[-_TAIL:]).split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
