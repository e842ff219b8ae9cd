"""Writes what the agent's runs print and show into the shared document.

The agent is the one writer of the outputs of its own runs.  It writes every ``flush_s`` seconds, the cell found again
by its id each time, and stops for good as soon as somebody else runs the same cell.  The last outputs of a run, its
count and ``idle`` are one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

import anyio

from .errors import RoomClosed, SyncTimeout
from .notebook.as_nbformat import display_id
from .notebook.outputs import Append, Op, Outputs
from .notebook.payload import NextInput, place
from .notebook.plain import clean, clip
from .notebook.steps import BeginRun, EndRun, InsertCell, Step, WriteOutputs
from .run import Run

if TYPE_CHECKING:
    from .room.replica import RemoteChange, Replica

PROPOSED_CHARS = 1_000
BYTES_PER_S = 5_000_000
"""So much goes into the document on average; a picture that is shown anew all the time fills the server's store."""
SHARE = 10
"""Between two writings lies so many times as long as one takes: where an early output of many is shown anew all the
time, all behind it are written anew, too, and it takes longer each time."""
MOST_PAUSE_S = 30.0


class Room(Protocol):
    """What running needs of the room."""

    @property
    def replica(self) -> Replica:
        """The live replica; ``RoomClosed`` while the room is away."""

    def write_soon(self, steps: Sequence[Step]) -> int:
        """Write without waiting for the echo; how many bytes that took."""

    async def write(self, steps: Sequence[Step]) -> None:
        """Write, and return when the room has it; ``RoomClosed``, ``SyncTimeout``."""

    async def peace(self) -> None:
        """Return when outputs may be written: they would end a save that is under way."""

    async def wait_joined(self) -> None:
        """Return when the room is joined."""


class RunWriter:
    """The outputs of one agent's runs in one notebook.  ``flush_regularly`` must run beside the runs."""

    def __init__(
        self,
        room: Room,
        runs: Callable[[], Sequence[Run]],
        label: Callable[[str], str],
        *,
        flush_s: float,
        trust: bool = False,
        on_flush: Callable[[], None] = lambda: None,
    ) -> None:
        self._room = room
        self._runs = runs
        self._label = label
        self._flush_s = flush_s
        self._trust = trust
        self._on_flush = on_flush
        self._came = anyio.Event()
        self._bytes, self._took = 0, 0.0
        """How much the last writing was, and how long it took."""
        self._clients: set[int] = set()
        """Who we have been in the room while runs began."""

    def begin(self, run: Run) -> None:
        """Clear the cell and mark it as running."""
        if run.cell is not None:
            self._room.write_soon([BeginRun(run.cell)])
            self._clients.add(self._room.replica.client_id)
            self._note_version(run)

    def withdraw(self, run: Run) -> None:
        """It was not sent after all."""
        if run.cell is not None:
            self._room.write_soon([EndRun(run.cell, None)])

    def feed(self, run: Run, kind: str, content: Mapping[str, Any]) -> None:
        """Take in one output message of a run."""
        run.outputs.feed(kind, content)
        if run.cell is not None:
            run.unwritten.append((kind, content))
            self._came.set()

    def update_display(self, content: Mapping[str, Any]) -> None:
        """Take in an ``update_display_data`` of whatever request: of ours, of code aside, or of somebody else's."""
        named = display_id(content)
        for run in self._runs():
            if named is not None and run.outputs.has_display(named):
                run.outputs.update_display(content)
                if run.cell is not None:
                    run.unwritten.append(("update_display_data", content))
                    self._came.set()

    def on_change(self, change: RemoteChange) -> None:
        """Somebody else changed the document: whoever runs our cell anew owns its outputs from now on.

        What is still queued has its turn, and its outputs, later.  A moved cell is another one, without ``[*]``.  A
        page that joins a restarted server again may bring along that our cell runs, as we had written it before.
        """
        brought = not self._clients.isdisjoint(change.clients)
        for cell_id, run in {run.cell: run for run in self._runs()}.items() if brought else ():
            cell = self._room.replica.cell(cell_id or "")
            if cell is None or cell.id not in change.cells or run.taken_over:
                continue
            if not run.over:
                run.written_version = -1  # what it had printed would stand there twice
                self._came.set()
            elif cell.running or (cell.outputs_version != run.written_version and run.outputs.state):
                self._write_again(run, cell.id)
        for run in self._runs():
            if run.state != "running" or run.taken_over:
                continue
            if run.cell in change.began and not brought:
                run.taken_over = True
                run.notes.append("somebody else ran the cell meanwhile; its outputs are theirs")
            elif run.cell in change.deleted or (run.cell in change.cells and change.state.get("hash", "") is None):
                run.written_version = -1  # another program's write, which took ``hash`` out, knows nothing of the run
                self._came.set()
        for cell_id, run in {run.cell: run for run in self._runs() if run.over}.items() if change.deleted else ():
            was, now = change.deleted.get(cell_id or ""), self._room.replica.cell(cell_id or "")
            if was is None or now is None or now.type != "code" or run.taken_over or cell_id in change.began:
                continue
            # Who rebuilt it had not heard of the end; ours it is where nothing was run there since.
            ours = not was.running and was.execution_count == run.count
            if ours and (now.running or now.execution_count != run.count):
                self._write_again(run, now.id)

    def _write_again(self, run: Run, cell: str) -> None:
        """Write all that a run which is over has left in its cell, in place of what stands there."""
        whole = tuple(Append(dict(output)) for output in run.outputs.state)
        self._room.write_soon([BeginRun(cell), WriteOutputs(cell, whole), EndRun(cell, run.count)])
        self._note_version(run)

    def on_rejoined(self) -> None:
        """The replica is a fresh one: write the outputs of what is still running again, from the start.

        A server that was started anew may have gone back to a file in which a run of ours that is over was going on.
        """
        for run in self._runs():
            if not run.over:
                run.written_version = -1
                self._clients.add(self._room.replica.client_id)
        for cell_id, run in {run.cell: run for run in self._runs()}.items():
            cell = None if cell_id is None else self._room.replica.cell(cell_id)
            if cell is not None and cell.running and run.over and not run.taken_over and cell.source == run.source:
                self._room.write_soon([EndRun(cell.id, run.count)])
        self._came.set()

    async def finish(self, run: Run, proposed: NextInput | None) -> None:
        """Write what is left, the count and ``idle`` in one transaction, as soon as the room is there."""
        if run.cell is not None and not run.taken_over:
            with anyio.move_on_after(30):
                while not await self._write_end(run):
                    await self._room.wait_joined()
        self._flush_waiting()  # what it updated in other cells is there with its end, too
        if proposed is not None:
            self._propose(run, proposed)

    async def _write_end(self, run: Run) -> bool:
        """Write what is left and the end of a run; whether the room has it."""
        assert run.cell is not None
        try:
            replica = self._room.replica
            cell = replica.cell(run.cell)
            if cell is None:
                run.note("the cell was deleted while it ran; its outputs are in this answer only")
                return True
            if cell.type != "code":
                run.note(f"the cell was made {cell.type} while it ran; its outputs are in this answer only")
                return True
            if cell.source != run.source:
                run.note("the cell's text was changed while it ran; this is the result of the earlier text")
            steps = [*self._output_steps(run), EndRun(run.cell, run.count)]
            if not run.taken_over:
                run.written_version = 0
                await self._room.write(steps)
                if run.written_version < 0:
                    return False  # somebody has rebuilt the cell meanwhile, and had not heard of this
                self._note_version(run)
            cell = self._room.replica.cell(run.cell)
        except (RoomClosed, SyncTimeout):
            return False
        return cell is None or not cell.running or run.taken_over  # who moved it meanwhile has moved one that ran

    def _propose(self, run: Run, proposed: NextInput) -> None:
        """Write the code that the kernel proposes, or show it where there is no place for it."""
        step = None
        try:
            if run.cell is not None:
                view = self._room.replica.view
                step = place(proposed, view, run.cell, run.source, str(uuid4()), trusted=self._trust)
            if step is not None:
                self._room.write_soon([step])
        except RoomClosed:
            step = None
        if isinstance(step, InsertCell):
            changed = " (the cell itself was changed meanwhile)" if proposed.replace else ""
            run.notes.append(f"it put code into a new cell below, {self._label(step.cell)}{changed}; that was not run")
        elif step is not None:
            run.notes.append("it replaced the cell's own text; the new text was not run")
        else:
            text = clip(clean(proposed.text), PROPOSED_CHARS, "the rest was cut")
            run.notes.append(f"it proposes code for a new cell, which was not inserted:\n{text}")

    async def flush_regularly(self) -> None:
        """Write at most every ``flush_s``: each write is one broadcast, one row in the store, one drawing per page.

        Behind a large one the pause is longer.
        """
        while True:
            await self._came.wait()
            self._came = anyio.Event()
            pause = max(self._bytes / BYTES_PER_S, SHARE * self._took)
            await anyio.sleep(max(self._flush_s, min(pause, MOST_PAUSE_S)))
            await self._room.peace()
            began, self._bytes = anyio.current_time(), 0
            self._flush_waiting()
            self._took = anyio.current_time() - began
            self._on_flush()

    def flush_soon(self) -> None:
        """Something came that ``on_flush`` is to see to."""
        self._came.set()

    def _flush_waiting(self) -> None:
        for run in self._runs():
            if run.cell is None or run.taken_over or run.state == "queued":
                continue
            if run.unwritten or run.written_version < 0:
                self._flush(run)

    def _flush(self, run: Run) -> None:
        try:
            steps = self._output_steps(run)
            if steps:
                self._bytes += self._room.write_soon(steps)
                self._note_version(run)
        except RoomClosed:
            run.written_version = -1

    def _output_steps(self, run: Run) -> list[Step]:
        """What is to be written of a run's outputs; mends or gives up where somebody else changed them."""
        assert run.cell is not None
        replica = self._room.replica
        cell = replica.cell(run.cell)
        if cell is None or cell.type != "code":
            run.unwritten.clear()
            return []
        if cell.outputs_version != run.written_version:
            if run.over:
                run.taken_over = True  # the cell has gone on to other outputs
                return []
            if run.written_version >= 0 and cell.outputs_version and not replica.output_count(run.cell):
                _start_over(run)  # the human cleared the cell: only what is new goes on
                run.note("its outputs were cleared while it ran; what it had printed before is left out")
            else:
                run.outputs.flush()
                run.unwritten.clear()
                whole: tuple[Op, ...] = tuple(Append(dict(output)) for output in run.outputs.state)
                return [BeginRun(run.cell), WriteOutputs(run.cell, whole)]
        run.unwritten.clear()
        ops = run.outputs.flush()
        return [WriteOutputs(run.cell, ops)] if ops else []

    def _note_version(self, run: Run) -> None:
        cell = self._room.replica.cell(run.cell or "")
        run.written_version = -1 if cell is None else cell.outputs_version


def _start_over(run: Run) -> None:
    run.outputs = Outputs()
    for kind, content in run.unwritten:
        run.outputs.feed(kind, content)
