"""The agent's runs: one queue per notebook, each run written into the shared document as its outputs come.

The theory.  A kernel runs one request after another, whoever sent it.  What is handed to it cannot be taken back, and
an interrupt hits whatever runs.  So the agent's cells wait on *our* side while a human's code runs, and go to the
kernel one by one; only so is an interrupt of the agent's never a human's.

How outputs get into the document is in ``run_writer``.

Rules:

* A run belongs to the notebook's task group, not to the call that asked for it: a call that ends loses no output.
* The source is read and sent without an ``await`` in between.
* A run is over on reply *and* idle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio

from .errors import CellBusy, CollabAgentError, KernelDied, NoKernel
from .kernel.observer import is_rate_limit_notice
from .notebook.payload import NextInput, payloads, results_of
from .run import Run, RunState
from .run_writer import Room, RunWriter
from .widgets import OutputWidgets

if TYPE_CHECKING:
    from .kernel.client import KernelClient
    from .kernel.observer import ForeignRun
    from .kernel.wire import Message
    from .room.replica import RemoteChange

MOST_REMEMBERED = 200
"""Of how many runs the outputs are kept."""
MOST_QUEUED = 10_000
DROPPED = "the server dropped output that came too fast: what is shown is incomplete; print less, or to a file"


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
        trust: bool = False,
        on_start: Callable[[str], None] = lambda _cell: None,
        on_state: Callable[[Run], None] = lambda _run: None,
        label: Callable[[str], str] = lambda cell: cell[:8],
        who: Callable[[ForeignRun], str] = lambda run: run.username or "somebody else",
        silence: Callable[[], str] = lambda: "",
    ) -> None:
        self._room = room
        self._kernel = kernel
        self._interrupt_kernel = interrupt
        self._on_start = on_start
        self._on_state = on_state  # it is queued, it is about to be sent, it is over
        self._label = label
        self._who = who
        self._silence = silence
        self._queue: list[_Batch] = []
        self._changed = anyio.Event()
        self._numbers = 0
        self.all: list[Run] = []
        """Every run of this session, oldest first."""
        self._latest: Run | None = None
        """Our run, if no code began after it."""
        self._widgets = OutputWidgets()
        self._writer = RunWriter(
            room, lambda: self.all, label, flush_s=flush_s, trust=trust, on_flush=self._update_widgets
        )

    # For callers.

    def submit(self, cells: Sequence[str], *, stop_on_error: bool = True) -> list[Run]:
        """Queue these cells in this order.  ``CellBusy``: somebody else is running one of them; none is queued.

        So it is where more than ``MOST_QUEUED`` would wait.
        """
        waiting = sum(len(batch.runs) for batch in self._queue)
        if waiting + len(cells) > MOST_QUEUED:
            raise CellBusy(
                f"{waiting} runs are waiting already, and at most {MOST_QUEUED} may. Nothing was run.",
                'Wait for them: query_notebook(query="runs", wait_s=60).',
            )
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

    def submit_aside(self, code: str, expressions: Mapping[str, str], *, silent: bool = True) -> Run:
        """Queue code that leaves no trace in the notebook, the history, ``In``, ``Out`` and ``_``.

        ``silent`` False: for kernels that would show nothing of it otherwise, as they have no user expressions.
        """
        run = self._new(code=code, expressions=expressions)
        run.silent = silent
        return self._add([run], True)[0]

    async def wait(self, runs: Sequence[Run], seconds: float, *, even_for_input: bool = False) -> None:
        """Return when all are over, when the kernel asks for input (of whichever run: no other can go on), or in time.

        Also when nothing is heard of the kernel, once for each run and silence.  ``even_for_input``: wait although it
        asks, for a run that is being interrupted.
        """
        with anyio.move_on_after(max(seconds, 0)):
            while not all(run.over for run in runs) and (even_for_input or self.asking is None):
                if self._falls_silent(runs):
                    return
                await self._changed.wait()

    def _falls_silent(self, runs: Sequence[Run]) -> bool:
        """Whether nothing is heard of one of these, and nobody was told so."""
        silent = bool(self._silence())
        untold = [run for run in runs if silent and not run.over and not run.told_silence]
        for run in runs:
            run.told_silence = silent
        return bool(untold)

    def wake(self) -> None:
        """Look again, whoever waits."""
        self._wake()

    @property
    def busy(self) -> bool:
        """Whether the kernel has, or is to have, a run of ours."""
        return not all(run.over for run in self.all)

    async def wait_busy(self) -> None:
        """Return when it is."""
        while not self.busy:
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
        prompt = None if run is None or run.execution is None else run.execution.prompt
        if run is not None and run.execution is not None and prompt is not None:
            self._kernel().send_input_reply(text, run.execution.msg_id)
            self._writer.feed(run, "stream", prompt.echo(text))
            run.prompt = None
            self._wake()
        return run

    # For the peer.

    def on_change(self, change: RemoteChange) -> None:
        """Somebody else changed the document."""
        self._writer.on_change(change)

    def on_rejoined(self) -> None:
        """The replica is a fresh one."""
        self._writer.on_rejoined()

    def on_others(self, message: Message) -> None:
        """A message whose parent is no request of ours: it may still change what ours have shown."""
        if message.msg_type == "update_display_data":
            self._writer.update_display(message.content)
        own = message.parent_session == self._kernel().session_id
        if own and message.msg_type == "stream" and self._latest is not None:
            # ipykernel 7 gives what a thread prints to the request that began last, even if that is not code.
            self._writer.feed(self._latest, "stream", message.content)
        elif not own and message.parent_type == "execute_request":
            self._latest = None
        self._widgets.note(message.msg_type, message.content, own=own)
        if self._widgets.waiting:
            self._writer.flush_soon()

    async def work(self) -> None:
        """Run what is queued, one after another, until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._writer.flush_regularly)
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
            self._writer.begin(run)
        else:
            run.source = run.code or ""
        run.started = anyio.current_time()
        run.state = "running"
        self._on_state(run)
        try:
            msg_id = kernel.send_execute(
                run.source,
                cell_id=run.cell,
                silent=run.silent,
                store_history=run.cell is not None,
                user_expressions=run.expressions or None,
                on_message=lambda event: self._receive(run, event),
            )
        except CollabAgentError:
            self._writer.withdraw(run)
            raise
        run.execution = kernel.execution(msg_id)
        self._latest = run
        if run.cell is not None:
            self._on_start(run.cell)
        self._wake()

    def _receive(self, run: Run, event: Any) -> None:
        """Take in one message of a run; also after its end, for threads print on."""
        kind, content = getattr(event, "msg_type", ""), getattr(event, "content", {})
        if kind == "update_display_data":
            self._writer.update_display(content)
            self._widgets.note(kind, content)
        elif getattr(event, "channel", "") == "iopub" and self._widgets.divert(event.parent_id, kind, content):
            run.captured.feed(kind, content)
            self._writer.flush_soon()
        elif getattr(event, "channel", "") == "iopub":
            self._writer.feed(run, kind, content)
            if is_rate_limit_notice(event, event.parent_session) and DROPPED not in run.notes:
                run.notes.append(DROPPED)
        execution = run.execution
        if execution is not None:
            run.count = execution.execution_count
            run.prompt = execution.prompt.text if execution.prompt is not None else None
            if execution.over or run.prompt is not None:
                self._wake()

    def _update_widgets(self) -> None:
        """Tell the kernel what its Output widgets hold, between our runs: only then can it take that up."""
        current = self.current
        if not self._widgets.waiting or (current is not None and current.execution and not current.execution.over):
            return
        with suppress(KernelDied, NoKernel):
            kernel = self._kernel()
            for comm, data in self._widgets.take_updates():
                kernel.send("shell", "comm_msg", {"comm_id": comm, "data": data})

    async def _finish(self, run: Run) -> None:
        """Take the reply in, have the end written, and say how it went."""
        execution = run.execution
        if execution is None:
            return
        proposed: NextInput | None = None
        state: RunState = execution.state
        if not execution.over:
            state = "aborted"
            run.notes.append("this agent left the notebook while it ran; the kernel runs on")
        if execution.reply is not None:
            run.results = results_of(execution.reply)
            if state == "ok" and any(each.get("status") == "error" for each in run.results.values()):
                state = "error"  # the value of code aside is computed behind the code
        if state == "ok":
            for payload in payloads(execution.reply):
                if isinstance(payload, NextInput):
                    proposed = payload
                else:
                    self._writer.feed(run, "display_data", payload.content)
        if execution.gap:
            run.notes.append("the connection to the kernel was away meanwhile: outputs may be missing")
        run.count = execution.execution_count
        if state == "died":
            self._widgets.clear()
        self._update_widgets()
        if run.captured.state:
            run.notes.append("what it printed in an Output widget stands in the widget, and last in this answer")
        await self._writer.finish(run, proposed)
        if state == "died":
            left = (
                "how it ended is not known; its variables are there: look at them before you run it again"
                if execution.end_lost
                else "its variables are gone"
            )
            run.notes.append(f"the kernel {execution.reason or 'went away'}: {left}")
        self._end(run, state)

    # Bookkeeping.

    def _new(self, *, cell: str | None = None, code: str | None = None, expressions: Any = None) -> Run:
        self._numbers += 1
        run = Run(f"r{self._numbers}", cell, code, expressions or {})
        self._on_state(run)
        return run

    def _add(self, runs: list[Run], stop_on_error: bool) -> list[Run]:
        kept = self.all[-MOST_REMEMBERED:]
        self.all = [*(run for run in self.all[:-MOST_REMEMBERED] if not run.over), *kept, *runs]
        self._queue.append(_Batch(runs, stop_on_error))
        self._wake()
        return runs

    def _end(self, run: Run, state: RunState, reason: str = "") -> None:
        run.state = state
        run.prompt = None
        run.ended = anyio.current_time() if run.started is not None else None
        if reason:
            run.notes.append(reason)
        self._on_state(run)
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
