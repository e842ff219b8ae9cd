"""One agent in one notebook: the use cases, and the library's face.

``NotebookPeer`` joins a room and a kernel, which know nothing of each other.  Everything that it tells an agent is
read from the shared document; everything that it is told to do is planned on what the agent was *shown* (``seen``).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import TaskGroup, TaskStatus

from .appearance import Appearance
from .audit import Audit, Text
from .config import Identity, Limits
from .editing import Edited, Editor
from .errors import CellBusy, CollabAgentError, KernelSilent, NotACodeCell, RoomClosed, sole_cause
from .host import Host
from .journal import Journal
from .kernel_holder import KernelHolder
from .nameplate import Nameplate
from .news import News
from .notebook.aside import split_value
from .notebook.changes import Change
from .notebook.draft import Notebook
from .notebook.model import CellView, NotebookView, OutputView, PeerView
from .notebook.plain import inline
from .notebook.refs import resolve, resolve_many
from .notebook.seen import Seen
from .notebook.undo import UndoLog
from .people import People
from .policy import Policy
from .room.protocol import Changed, Event, Lost, PeersChanged, Synced
from .room.provider import RoomProvider
from .run import Run
from .runs import RunQueue
from .saving import RunRoom, Saver
from .whereabouts import Whereabouts

if TYPE_CHECKING:
    from .kernel.client import KernelClient
    from .kernel.observer import ForeignRun

LEAVE_S = 1.0
INTERRUPT_S = 0.6  # for what an interrupted run says last


class NotebookPeer:
    """One agent in one notebook.  Made by ``collab_agent.join`` or ``NotebookPeer.joined``."""

    def __init__(
        self,
        host: Host,
        path: str,
        identity: Identity | Nameplate,
        limits: Limits | None = None,
        *,
        trust_outputs: bool = True,
        policy: Policy | None = None,
        mark_cells: bool = False,
        audit: Audit | None = None,
    ) -> None:
        self._policy = policy or Policy()
        self._audit = audit or Audit()
        self._nameplate = identity if isinstance(identity, Nameplate) else Nameplate(identity)
        self.limits = limits or Limits()
        self.seen = Seen()
        self.lock = anyio.Lock()
        """Serialises the calls of one client that change something."""
        self._room = RoomProvider(host.connect, self._on_event, self.limits)
        self.whereabouts = Whereabouts(host, self._room, path)
        self.people = People(self._room, self.limits)
        self.news = News(self._room, self.people, self.limits)
        self._listeners: list[Callable[[Event], None]] = []
        self._tasks: TaskGroup | None = None
        self._room_scope = anyio.CancelScope(shield=True)
        self._saver = Saver(self._room, host, self.limits)
        self.journal = Journal(
            self._room, host, self.people, self.seen, self._may_write, lambda: self._saver.changed(own=True)
        )
        self._saver.on_saving, self._saver.on_asked = self.journal.saving, self.journal.disk.look
        self.journal.on_overwritten = self._saver.overwritten
        self._appearance = Appearance(self._room, self._nameplate, self.limits)
        self._editor = Editor(
            self._room,
            self.seen,
            self.people,
            self.news,
            self._appearance,
            self._saver,
            trust_outputs,
            self.limits,
            UndoLog(self.limits.undo_calls),
            self.journal,
            mark_as=(lambda: self.identity.name) if mark_cells else None,
        )
        self._kernel = KernelHolder(host, self.limits)
        self.runs = RunQueue(
            RunRoom(self._room, self._saver, self.news.close),
            self._kernel.live,
            self._kernel.interrupt,
            flush_s=self.limits.flush_s,
            trust=trust_outputs,
            on_start=self._appearance.show_running,
            on_state=self._note_run,
            label=lambda cell: self.seen.short(cell, self.view) if self._room.connected else cell[:8],
            who=self.who_runs,
            silence=lambda: self._kernel.silence,
        )
        self._kernel.on_others, self._kernel.on_silence = self.runs.on_others, self.runs.wake

    # Life.

    @classmethod
    @asynccontextmanager
    async def joined(
        cls,
        host: Host,
        path: str,
        identity: Identity | Nameplate,
        limits: Limits | None = None,
        *,
        mark_cells: bool = False,
    ) -> AsyncIterator[NotebookPeer]:
        """A peer that is in the room; leaving the block leaves the room, visibly and at once."""
        peer = cls(host, path, identity, limits, mark_cells=mark_cells)
        try:
            async with anyio.create_task_group() as tasks:
                await tasks.start(peer.run)
                yield peer
                tasks.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            raise sole_cause(group) from None

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Join the room and stay until cancelled; ready when joined."""
        with self._nameplate.read_by(self._renamed):
            await self._stay(task_status)

    async def _stay(self, task_status: TaskStatus[None]) -> None:
        async with anyio.create_task_group() as room_tasks:
            try:
                self._appearance.arrive()
                await room_tasks.start(self._run_room)
                async with anyio.create_task_group() as tasks:
                    self._tasks = tasks
                    tasks.start_soon(self.runs.work)
                    tasks.start_soon(self._kernel.watch, self.runs)
                    tasks.start_soon(self._saver.autosave)
                    tasks.start_soon(self.journal.disk.watch)
                    tasks.start_soon(self.whereabouts.follow)
                    task_status.started()
                    await anyio.sleep_forever()
            finally:
                # Runs have ended by now, and their last outputs are in the room; only now the room may go.
                self._tasks = None
                self.news.end()
                self._room.vanish()
                with anyio.move_on_after(LEAVE_S, shield=True):
                    await self._saver.save_at_last(self.journal.unsaved())
                self._room_scope.cancel()

    async def stop_runs(self) -> None:
        """Interrupt the agent's own run and drop its queued ones; a human's code goes on."""
        with anyio.move_on_after(INTERRUPT_S), suppress(CollabAgentError):
            current, _ = await self.runs.interrupt("the agent has ended")
            if current is not None:
                await self.runs.wait([current], INTERRUPT_S, even_for_input=True)

    def _renamed(self) -> None:
        self._appearance.renamed()
        if self._kernel.client is not None:
            self._kernel.client.sign_as(self.identity.name)

    async def _run_room(self, *, task_status: TaskStatus[None]) -> None:
        with self._room_scope:
            await self._room.run(task_status=task_status)

    # Reading.

    @property
    def path(self) -> str:
        """Where the notebook is now."""
        return self.whereabouts.path

    @property
    def identity(self) -> Identity:
        """How this agent appears on the page now."""
        return self._nameplate.identity

    @property
    def document(self) -> Notebook:
        """The live notebook, for planning on it."""
        return self._room.replica

    def check_write(self) -> None:
        """``NotAllowed`` where this agent may not write into the notebook."""
        self.whereabouts.hold_to(self._policy.check_write)

    def _may_write(self) -> bool:
        try:
            self.check_write()
        except CollabAgentError:
            return False
        return True

    @property
    def view(self) -> NotebookView:
        """The notebook now."""
        return self._room.replica.view

    def cell(self, ref: str) -> CellView:
        """The cell that a reference (contract, section 2) leads to; ``CellNotFound`` or ``AmbiguousCell``."""
        cell = self._room.replica.cell(self.resolve([ref])[0])
        assert cell is not None
        return cell

    def outputs(self, cell_id: str) -> tuple[OutputView, ...]:
        """The outputs of the cell with this full id."""
        return self._room.replica.outputs(cell_id)

    @property
    def peers(self) -> list[PeerView]:
        """Everybody else who is here."""
        return self.people.all

    def resolve(self, refs: str | Sequence[str]) -> list[str]:
        """Full cell ids for references."""
        if refs == "last" or refs == ["last"]:  # cheap, and the most usual
            return [resolve("last", self.view, self.seen)]
        return resolve_many(refs, self.view, self.seen, self.peers if "@" in "".join(refs) else ())

    def take_changes(self) -> list[Change]:
        """What others did since this was last asked; each change is given once."""
        return self.news.take()

    def code_cells(self, cells: Sequence[str]) -> list[str]:
        """Those of these cells that can be run and hold anything."""
        found = (self._room.replica.cell(cell_id) for cell_id in cells)
        return [cell.id for cell in found if cell is not None and cell.type == "code" and cell.source.strip()]

    def take_notice(self) -> str:
        """Why the kernel's variables are gone, or what is wrong with the room; each notice is given once."""
        return "; ".join(filter(None, (self._kernel.take_notice(), self._room.take_notice())))

    def observe(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Call ``listener`` for every event of the room; the result unsubscribes it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    # Editing.

    async def edit(self, edits: Sequence[Mapping[str, Any]]) -> Edited:
        """Apply edits (contract, section 3), all or none; returns when the room has them.

        Any ``EditError`` or ``TargetError``: nothing was written.
        """
        self.whereabouts.hold_to(self._policy.check_write)
        made = await self._editor.edit(edits, self._open())
        self._note_edit(made)
        return made

    def _note_edit(self, made: Edited) -> None:
        """For the audit log: what was done, and the text of every cell that it touched, as it is now."""
        done = [{"op": each.op, "cell": each.cell} for each in made.done]
        touched = [*(each.cell for each in made.done), *(each.made for each in made.done), *(t[0] for t in made.texts)]
        cells = (self._room.replica.cell(cell_id) for cell_id in dict.fromkeys(touched) if cell_id)
        texts = {cell.id: Text(cell.source) for cell in cells if cell is not None}
        self._audit.note("edit", notebook=self.path, done=done, texts=texts)

    def _open(self) -> TaskGroup:
        if self._tasks is None:
            raise RoomClosed(
                f"{self.path!r} is not open any more. Nothing was written.",
                f'Call setup_notebook("{self.path}") first.',
            )
        return self._tasks

    # Running.

    async def run_cells(self, cells: Sequence[str], *, stop_on_error: bool = True) -> list[Run]:
        """Queue code cells, by full id, in this order; the runs go on whatever becomes of the caller."""
        self.whereabouts.hold_to(self._policy.check_run)
        for cell_id in cells:
            cell = self._room.replica.cell(cell_id)
            if cell is None or cell.type != "code":
                short = self.seen.short(cell_id, self.view)
                raise NotACodeCell(
                    f"{short} is {'gone' if cell is None else 'a ' + cell.type + ' cell'}. Nothing was run.",
                    "Name code cells only.",
                )
        await self.ensure_kernel()
        return self.runs.submit(cells, stop_on_error=stop_on_error)

    def _note_run(self, run: Run) -> None:
        """For the audit log: which call a run is of, what is about to go to the kernel, and its end."""
        head = {"call": run.call, "notebook": self.path, "run": run.id, "cell": run.cell}
        if run.state == "queued":
            run.call = self._audit.call
        elif run.state == "running":
            code = "\n".join(filter(None, (run.source, *run.expressions.values())))
            self._audit.note("run", **head, code=Text(code))
        else:
            seconds = round(run.seconds(anyio.current_time()), 3)
            self._audit.note("end", **head, state=run.state, count=run.count, seconds=seconds)

    async def run_aside(self, code: str) -> Run:
        """Queue code that enters neither the notebook nor the kernel's history, ``In``, ``Out`` and ``_``."""
        await self.ensure_kernel()
        if self.view.language not in ("python", ""):
            run = self.runs.submit_aside(code, {}, silent=False)
            if self.view.language != "R":
                run.notes.append(f"the {inline(self.view.language, 30)} kernel may count code aside, too")
            return run
        body, value = split_value(code)
        return self.runs.submit_aside(body, {} if value is None else {"value": value})

    @property
    def kernel(self) -> KernelClient | None:
        """The connected kernel client, if any."""
        return self._kernel.client

    @property
    def kernel_silence(self) -> str:
        """How it comes that nothing is heard of a run, to complete "the kernel …"; empty where all is well."""
        return self._kernel.silence

    async def ensure_kernel(self, kernel: str | None = None) -> KernelClient:
        """The kernel of the human's session, connected; one is started where there is none."""
        tasks = self._open()
        self.whereabouts.hold_to(self._policy.check_run)
        spec = kernel or self._room.replica.kernelspec
        client = await self._kernel.ensure(tasks, spec, human_here=self.people.humans_here)
        client.sign_as(self.identity.name)
        return client

    async def restart_kernel(self) -> None:
        """Restart the kernel; ``CellBusy`` while somebody else's code runs."""
        try:
            busy = (await self.ensure_kernel()).foreign_busy
        except KernelSilent:
            busy = None  # nobody's code goes on there; and a restart is what helps
        if busy is not None and not (self._kernel.silence and not busy.msg_id):
            who = self.who_runs(busy)
            raise CellBusy(f"The kernel is running code of {who}. It was not restarted.", "Wait until it has ended.")
        self.runs.drop_queued("not run: the kernel was restarted")
        await self._kernel.restart()

    def who_runs(self, run: ForeignRun) -> str:
        """Whose code a foreign run is: the cell that is running with this text, and whose caret is in it."""
        cells = self.view.cells if self._room.connected else ()
        cell = next((cell for cell in cells if cell.running and cell.source == run.code), None)
        humans = [peer for peer in self.peers if not peer.is_agent]
        inside = [peer.name for peer in humans if cell is not None and peer.cell_id == cell.id]
        names = inside or [peer.name for peer in humans[:2] if len(humans) == 1 and run.msg_id]
        if any(peer.is_agent and peer.name == run.username for peer in self.peers):
            names = [run.username]  # agents sign their requests, pages do not
        unknown = "somebody else" if run.msg_id else "somebody before you (or its own start)"
        name = " or ".join(names) or run.username or unknown
        return name if cell is None else f"{name} (cell {self.seen.short(cell.id, self.view)})"

    async def rejoin(self) -> None:
        """Where the room is away, try at once whether it can be joined again."""
        await self._room.rejoin()

    # Saving.

    async def save(self) -> None:
        """Have the file written, and read it back until it holds what the room holds; ``SaveFailed`` otherwise."""
        self.whereabouts.hold_to(self._policy.check_write)
        await self._saver.save()

    # Events.

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Synced | Changed):
            self.whereabouts.listen()
        if isinstance(event, Synced | PeersChanged) and self._room.connected:
            self._nameplate.meet(self._room.protocol.presence.others.values())
        match event:
            case Synced():
                self.people.joined()
                self.journal.joined()
                self.news.joined()
                self.runs.on_rejoined()
            case Lost():
                self.news.lost()
            case PeersChanged(presence):
                self.people.heard(presence)
            case Changed(change):
                self.news.note(change)
                self.journal.heard(change)
                self.runs.on_change(change)
                self._saver.changed(own=False)
        for listener in list(self._listeners):
            listener(event)
