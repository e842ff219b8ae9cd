"""The agent's runs: one queue per notebook, each run written into the shared document as its outputs come.

The theory.  A kernel runs one request after another, whoever sent it.  What is handed to it cannot be taken back, and
an interrupt hits whatever runs.  So the agent's cells wait on *our* side while a human's code runs, and go to the
kernel one by one; only so is an interrupt of the agent's never a human's.

The agent is the one writer of the outputs of its own runs.  It writes every ``flush_s`` seconds, the cell found again
by its id each time, and stops for good as soon as somebody else runs the same cell.

Rules:

* A run belongs to the notebook's task group, not to the call that asked for it: a call that ends loses no output.
* The source is read and sent without an ``await`` in between.
* A run is over on reply *and* idle; its last outputs, its count and ``idle`` are one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from .errors import CellBusy, CollabAgentError, KernelDied, RoomClosed
from .notebook.outputs import Append, Op, Outputs
from .notebook.steps import BeginRun, EndRun, Step, WriteOutputs
from .run import Run, RunState

if TYPE_CHECKING:
    from .kernel.client import KernelClient
    from .kernel.observer import ForeignRun
    from .room.replica import RemoteChange, Replica

MOST_REMEMBERED = 200
"""Of how many runs the outputs are kept."""


class Room(Protocol):
    """What running needs of the room."""

    @property
    def replica(self) -> Replica:
        """The live replica; ``RoomClosed`` while the room is away."""

    def write_soon(self, steps: Sequence[Step]) -> object:
        """Write without waiting for the echo."""

    async def wait_joined(self) -> None:
        """Return when the room is joined."""


@dataclass
class _Batch:
    runs: list[Run]
    stop_on_error: bool


class RunQueue:
    """The runs of one agent in one notebook.  ``work`` must run in the notebook's task group."""

    def __init__(
        self,
        room: Room,
        kernel: Callable[[], KernelClient],
        interrupt: Callable[[], Any],
        *,
        flush_s: float,
        on_start: Callable[[str], None] = lambda _cell: None,
        label: Callable[[str], str] = lambda cell: cell[:8],
        who: Callable[[ForeignRun], str] = lambda run: run.username or "somebody else",
    ) -> None:
        self._room = room
        self._kernel = kernel
        self._interrupt_kernel = interrupt
        self._flush_s = flush_s
        self._on_start = on_start
        self._label = label
        self._who = who
        self._queue: list[_Batch] = []
        self._changed = anyio.Event()
        self._output_came = anyio.Event()
        self._numbers = 0
        self.all: list[Run] = []
        """Every run of this session, oldest first."""

    # For callers.

    def submit(self, cells: Sequence[str], *, stop_on_error: bool = True) -> list[Run]:
        """Queue these cells in this order.  ``CellBusy``: somebody else is running one of them; none is queued."""
        foreign = self._kernel().foreign_busy
        for cell_id in cells:
            cell = self._room.replica.cell(cell_id)
            own = any(run.cell == cell_id and not run.over for run in self.all)
            if cell is not None and cell.running and foreign is not None and not own:
                raise CellBusy(
                    f"{self._label(cell_id)} is being run by {self._who(foreign)} right now. Nothing was run.",
                    'Wait for it: query_notebook(query="outputs") shows what it prints; then run it again.',
                )
        return self._add([self._new(cell=cell_id) for cell_id in cells], stop_on_error)

    def submit_aside(self, code: str, expressions: Mapping[str, str]) -> Run:
        """Queue code that leaves no trace in the notebook, the history, ``In``, ``Out`` and ``_``."""
        return self._add([self._new(code=code, expressions=expressions)], True)[0]

    async def wait(self, runs: Sequence[Run], seconds: float, *, even_for_input: bool = False) -> None:
        """Return when all are over, when the kernel asks for input (of whichever run: no other can go on), or in time.

        ``even_for_input``: wait although it asks, for a run that is being interrupted.
        """
        with anyio.move_on_after(max(seconds, 0)):
            while not all(run.over for run in runs) and (even_for_input or self.asking is None):
                await self._changed.wait()

    @property
    def asking(self) -> Run | None:
        """The run that asks for input."""
        return next((run for run in self.all if run.prompt is not None), None)

    @property
    def current(self) -> Run | None:
        """The run that the kernel has."""
        return next((run for run in self.all if run.state == "running"), None)

    def drop_queued(self, reason: str) -> list[Run]:
        """Take back what the kernel does not have yet."""
        return self.drop(self.all, reason)

    def drop(self, runs: Sequence[Run], reason: str) -> list[Run]:
        """Take back those of these runs that the kernel does not have yet."""
        dropped = [run for run in runs if run.state == "queued"]
        for run in dropped:
            self._end(run, "aborted", reason)
        return dropped

    async def interrupt(self, reason: str = "interrupted") -> tuple[Run | None, list[Run]]:
        """Interrupt the agent's own run and drop its queued ones; never a human's code."""
        dropped = self.drop_queued(f"not run: {reason}")
        current = self.current
        if current is None or self._kernel().foreign_busy is not None:
            return None, dropped
        await self._interrupt_kernel()
        return current, dropped

    def reply(self, text: str) -> Run | None:
        """Answer the kernel's pending ``input()``; None where nothing is asked."""
        run = self.asking
        if run is not None and run.execution is not None:
            self._kernel().send_input_reply(text, run.execution.msg_id)
            run.prompt = None
            self._wake()
        return run

    # For the peer.

    def on_change(self, change: RemoteChange) -> None:
        """Somebody else changed the document: whoever runs our cell anew owns its outputs from now on.

        What is still queued has its turn, and its outputs, later.  A moved cell is another one, without ``[*]``.
        """
        for run in self.all:
            if run.state != "running" or run.taken_over:
                continue
            if run.cell in change.began:
                run.taken_over = True
                run.notes.append("somebody else ran the cell meanwhile; its outputs are theirs")
            elif run.cell in change.deleted:
                run.written_version = -1
                self._output_came.set()

    def on_rejoined(self) -> None:
        """The replica is a fresh one: write the outputs of what is still running again, from the start."""
        for run in self.all:
            if not run.over:
                run.written_version = -1
        self._output_came.set()

    async def work(self) -> None:
        """Run what is queued, one after another, until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._flush_regularly)
            while True:
                while not self._queue:
                    await self._changed.wait()
                await self._work_off(self._queue.pop(0))

    async def _work_off(self, batch: _Batch) -> None:
        failed: Run | None = None
        for run in batch.runs:
            if failed is not None and not run.over:
                what = failed.id if failed.cell is None else self._label(failed.cell)
                self._end(run, "aborted", f"not run: {what} ended with {failed.state}")
            if run.over:
                continue
            try:
                await self._run(run)
            except CollabAgentError as exc:
                self._end(run, "died" if isinstance(exc, KernelDied) else "aborted", exc.message)
            if run.state in ("died", "aborted") or (run.state == "error" and batch.stop_on_error):
                failed = run

    async def _run(self, run: Run) -> None:
        kernel = self._kernel()
        while kernel.foreign_busy is not None:
            run.waits_for = self._who(kernel.foreign_busy)
            await kernel.wait_idle()
        run.waits_for = ""
        if run.over:
            return
        if run.cell is not None:
            await self._room.wait_joined()
        self._send(run, kernel)
        execution = run.execution
        try:
            while execution is not None and not execution.over:
                await self._changed.wait()
        finally:
            with anyio.CancelScope(shield=True):
                await self._finish(run)

    def _send(self, run: Run, kernel: KernelClient) -> None:
        """Read the source, mark the cell and send, all in one go."""
        if run.cell is not None:
            cell = self._room.replica.cell(run.cell)
            if cell is None or cell.type != "code":
                self._end(run, "aborted", "the cell is gone" if cell is None else "the cell is no code cell any more")
                return
            run.source = cell.source
            self._room.write_soon([BeginRun(run.cell)])
            self._note_version(run)
        else:
            run.source = run.code or ""
        aside = run.cell is None
        run.started = anyio.current_time()
        run.state = "running"
        try:
            msg_id = kernel.send_execute(
                run.source,
                cell_id=run.cell,
                silent=aside,
                store_history=not aside,
                user_expressions=run.expressions or None,
                on_message=lambda event: self._receive(run, event),
            )
        except CollabAgentError:
            if run.cell is not None:
                self._room.write_soon([EndRun(run.cell, None)])
            raise
        run.execution = kernel.execution(msg_id)
        if run.cell is not None:
            self._on_start(run.cell)
        self._wake()

    def _receive(self, run: Run, event: Any) -> None:
        """Take in one message of a run; also after its end, for threads print on."""
        kind, content = getattr(event, "msg_type", ""), getattr(event, "content", {})
        if kind == "update_display_data":
            self._update_display(content)
        elif getattr(event, "channel", "") == "iopub":
            run.outputs.feed(kind, content)
            run.unwritten.append((kind, content))
            self._output_came.set()
        execution = run.execution
        if execution is not None:
            run.count = execution.execution_count
            run.prompt = execution.prompt.text if execution.prompt is not None else None
            if execution.over or run.prompt is not None:
                self._wake()

    def _update_display(self, content: Mapping[str, Any]) -> None:
        display_id = content.get("transient", {}).get("display_id")
        for run in self.all:
            if isinstance(display_id, str) and run.outputs.has_display(display_id):
                run.outputs.update_display(content)
                run.unwritten.append(("update_display_data", content))
                self._output_came.set()

    async def _finish(self, run: Run) -> None:
        """Write what is left, the count and ``idle`` in one transaction, as soon as the room is there."""
        execution = run.execution
        if execution is None:
            return
        state: RunState = execution.state
        if not execution.over:
            state = "aborted"
            run.notes.append("this agent left the notebook while it ran; the kernel runs on")
        if execution.reply is not None:
            run.results = execution.reply.get("user_expressions") or {}
            if state == "ok" and any(each.get("status") == "error" for each in run.results.values()):
                state = "error"  # the value of code aside is computed behind the code
        if execution.gap:
            run.notes.append("the connection to the kernel was away meanwhile: outputs may be missing")
        run.count = execution.execution_count
        if run.cell is not None and not run.taken_over:
            with anyio.move_on_after(30):
                while not self._write_end(run):
                    await self._room.wait_joined()
        if state == "died":
            run.notes.append(f"the kernel {execution.reason or 'went away'}: its variables are gone")
        self._end(run, state)

    def _write_end(self, run: Run) -> bool:
        assert run.cell is not None
        try:
            replica = self._room.replica
            cell = replica.cell(run.cell)
            if cell is None:
                run.notes.append("the cell was deleted while it ran; its outputs are in this answer only")
                return True
            if cell.source != run.source:
                run.notes.append("the cell's text was changed while it ran; this is the result of the earlier text")
            self._room.write_soon([*self._output_steps(run), EndRun(run.cell, run.count)])
            self._note_version(run)
        except RoomClosed:
            return False
        return True

    # Outputs.

    async def _flush_regularly(self) -> None:
        """Write at most every ``flush_s``: each write is one broadcast, one row in the store, one drawing per page."""
        while True:
            await self._output_came.wait()
            self._output_came = anyio.Event()
            await anyio.sleep(self._flush_s)
            for run in self.all:
                if run.cell is None or run.taken_over or run.state == "queued":
                    continue
                if run.unwritten or run.written_version < 0:
                    self._flush(run)

    def _flush(self, run: Run) -> None:
        try:
            steps = self._output_steps(run)
            if steps:
                self._room.write_soon(steps)
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
                self._start_over(run)  # the human cleared the cell: only what is new goes on
            else:
                run.outputs.flush()
                run.unwritten.clear()
                whole: tuple[Op, ...] = tuple(Append(dict(output)) for output in run.outputs.state)
                return [BeginRun(run.cell), WriteOutputs(run.cell, whole)]
        run.unwritten.clear()
        ops = run.outputs.flush()
        return [WriteOutputs(run.cell, ops)] if ops else []

    def _start_over(self, run: Run) -> None:
        run.outputs = Outputs()
        for kind, content in run.unwritten:
            run.outputs.feed(kind, content)

    def _note_version(self, run: Run) -> None:
        cell = self._room.replica.cell(run.cell or "")
        run.written_version = -1 if cell is None else cell.outputs_version

    # Bookkeeping.

    def _new(self, *, cell: str | None = None, code: str | None = None, expressions: Any = None) -> Run:
        self._numbers += 1
        return Run(f"r{self._numbers}", cell, code, expressions or {})

    def _add(self, runs: list[Run], stop_on_error: bool) -> list[Run]:
        self.all = [*self.all[-MOST_REMEMBERED:], *runs]
        self._queue.append(_Batch(runs, stop_on_error))
        self._wake()
        return runs

    def _end(self, run: Run, state: RunState, reason: str = "") -> None:
        run.state = state
        run.prompt = None
        run.ended = anyio.current_time() if run.started is not None else None
        if reason:
            run.notes.append(reason)
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
