"""One agent in one notebook: the use cases, and the library's face.

``NotebookPeer`` joins a room and a kernel, which know nothing of each other.  Everything that it tells an agent is
read from the shared document; everything that it is told to do is planned on what the agent was *shown* (``seen``).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import TaskGroup, TaskStatus

from .appearance import Appearance
from .config import Identity, Limits
from .errors import CellBusy, NotACodeCell, RoomClosed, sole_cause
from .host import Host
from .kernel_holder import KernelHolder
from .notebook.aside import split_value
from .notebook.changes import Change, ChangeLog
from .notebook.draft import Done, Plan
from .notebook.edits import Planner
from .notebook.model import CellView, NotebookView, OutputView, PeerView
from .notebook.plain import inline
from .notebook.refs import resolve, resolve_many
from .notebook.seen import Seen
from .notebook.steps import Step
from .room.positions import character_of
from .room.presence import AGENT_KEY, peer_view
from .room.protocol import Changed, Event, Synced
from .room.provider import RoomProvider
from .room.replica import RemoteChange, Replica
from .run import Run
from .runs import RunQueue
from .saving import RunRoom, Saver

if TYPE_CHECKING:
    from .kernel.client import KernelClient
    from .kernel.observer import ForeignRun

LEAVE_S = 2.0


@dataclass(frozen=True, slots=True)
class Edited:
    """What a call's edits came to: what was done, and each touched text before and after the merge."""

    done: tuple[Done, ...]
    texts: tuple[tuple[str, str, str], ...]
    """Cell id, the text before, the text after (empty where the cell is gone)."""
    code: tuple[str, ...]
    """The code cells that the edits touched."""


class NotebookPeer:
    """One agent in one notebook.  Made by ``collab_agent.join`` or ``NotebookPeer.joined``."""

    def __init__(
        self, host: Host, path: str, identity: Identity, limits: Limits | None = None, *, trust_outputs: bool = True
    ) -> None:
        self.path = path
        self.identity = identity
        self.limits = limits or Limits()
        self.seen = Seen()
        self.lock = anyio.Lock()
        """Serialises the calls of one client that change something."""
        self._trust = trust_outputs
        self._room = RoomProvider(host.connect, self._on_event, self.limits)
        self._log = ChangeLog()
        self._joined_at = float("-inf")
        self._typed: dict[str, tuple[float, str]] = {}
        self._listeners: list[Callable[[Event], None]] = []
        self._tasks: TaskGroup | None = None
        self._room_scope = anyio.CancelScope(shield=True)
        self._last: Replica | None = None
        self._saver = Saver(self._room, host, self.limits)
        self._appearance = Appearance(self._room, identity, self.limits)
        self._kernel = KernelHolder(host)
        self.runs = RunQueue(
            RunRoom(self._room, self._saver, self._close_log),
            self._kernel.live,
            self._kernel.interrupt,
            flush_s=self.limits.flush_s,
            trust=trust_outputs,
            on_start=self._appearance.show_running,
            label=lambda cell: self.seen.short(cell, self.view),
            who=self.who_runs,
        )
        self._kernel.on_others = self.runs.on_others

    # Life.

    @classmethod
    @asynccontextmanager
    async def joined(
        cls, host: Host, path: str, identity: Identity, limits: Limits | None = None
    ) -> AsyncIterator[NotebookPeer]:
        """A peer that is in the room; leaving the block leaves the room, visibly and at once."""
        peer = cls(host, path, identity, limits)
        try:
            async with anyio.create_task_group() as tasks:
                await tasks.start(peer.run)
                yield peer
                tasks.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            raise sole_cause(group) from None

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Join the room and stay until cancelled; ready when joined."""
        async with anyio.create_task_group() as room_tasks:
            try:
                self._appearance.arrive()
                await room_tasks.start(self._run_room)
                async with anyio.create_task_group() as tasks:
                    self._tasks = tasks
                    tasks.start_soon(self.runs.work)
                    tasks.start_soon(self._kernel.watch, self.runs.wait_busy)
                    tasks.start_soon(self._saver.autosave)
                    task_status.started()
                    await anyio.sleep_forever()
            finally:
                # Runs have ended by now, and their last outputs are in the room; only now the room may go.
                self._tasks = None
                with anyio.move_on_after(LEAVE_S, shield=True):
                    await self._saver.save_quietly()
                self._room_scope.cancel()

    async def _run_room(self, *, task_status: TaskStatus[None]) -> None:
        with self._room_scope:
            await self._room.run(task_status=task_status)

    # Reading.

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
        protocol = self._room.protocol
        return [peer_view(client, state, self._find_caret) for client, state in protocol.presence.others.items()]

    def resolve(self, refs: str | Sequence[str]) -> list[str]:
        """Full cell ids for references."""
        if refs == "last" or refs == ["last"]:  # cheap, and the most usual
            return [resolve("last", self.view, self.seen)]
        return resolve_many(refs, self.view, self.seen, self.peers if "@" in "".join(refs) else ())

    def take_changes(self) -> list[Change]:
        """What others did since this was last asked; each change is given once."""
        return self._log.take(self._room.replica.cell)

    def peek_changes(self) -> list[Change]:
        """What ``take_changes`` would give now; it still will."""
        return self._log.peek(self._room.replica.cell)

    def code_cells(self, cells: Sequence[str]) -> list[str]:
        """Those of these cells that can be run and hold anything."""
        found = (self._room.replica.cell(cell_id) for cell_id in cells)
        return [cell.id for cell in found if cell is not None and cell.type == "code" and cell.source.strip()]

    async def wait_for_people(self, period_s: float) -> None:
        """Wait until everybody has had time to announce themselves: an idle page does so only every 15 s."""
        with anyio.move_on_after(self._joined_at + period_s + 1 - anyio.current_time()):
            await anyio.sleep_forever()

    def take_kernel_notice(self) -> str:
        """Why the kernel's variables are gone; each notice is given once."""
        return self._kernel.take_notice()

    def observe(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Call ``listener`` for every event of the room; the result unsubscribes it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    # Editing.

    async def edit(self, edits: Sequence[Mapping[str, Any]]) -> Edited:
        """Apply edits (contract, section 3), all or none; returns when the room has them.

        Any ``EditError`` or ``TargetError``: nothing was written.
        """
        plans: list[Plan] = []

        def plan(replica: Replica) -> Sequence[Step]:
            peers = self.peers if "@" in repr(edits) else ()  # finding carets in long texts takes time
            planner = Planner(replica, self.seen, peers, self.in_use, trust=self._trust)
            plans.append(planner.plan(edits))
            self._close_log(plans[0].steps)
            return plans[0].steps

        try:
            written = await self._room.write(plan)
        finally:
            if plans:
                self._remember(plans[0])
        if self._tasks is not None:
            self._appearance.show_edit(written, self._tasks)
        self._saver.changed(own=True)
        made = plans[0]
        texts = []
        for cell_id, before in made.before.items():
            cell = self._room.replica.cell(cell_id)
            texts.append((cell_id, before, "" if cell is None else cell.source))
        return Edited(made.done, tuple(texts), made.code)

    def _remember(self, plan: Plan) -> None:
        """After an edit of its own the agent has seen what it wanted."""
        for cell_id, text in plan.wanted.items():
            if text is None:
                self.seen.forget(cell_id)
            else:
                self.seen.texts[cell_id] = text

    def in_use(self, cell_id: str) -> str:
        """Who works in a cell right now, as a clause; empty where nobody does."""
        for name, is_agent, cell in self._carets():
            if not is_agent and cell == cell_id:
                return f"{name}'s caret is in it"
        when, who = self._typed.get(cell_id, (float("-inf"), ""))
        ago = anyio.current_time() - when
        if ago < self.limits.typing_s:
            return f"{who} typed in it {ago:.0f} s ago"
        cell_now = self._room.replica.cell(cell_id)
        return "it is running" if cell_now is not None and cell_now.running else ""

    # Running.

    async def run_cells(self, cells: Sequence[str], *, stop_on_error: bool = True) -> list[Run]:
        """Queue code cells, by full id, in this order; the runs go on whatever becomes of the caller."""
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

    async def ensure_kernel(self, kernel: str | None = None) -> KernelClient:
        """The kernel of the human's session, connected; one is started where there is none."""
        if self._tasks is None:
            raise RoomClosed("The notebook is not open.", "Call setup_notebook first.")
        humans = any(not is_agent for _, is_agent, _ in self._carets())
        return await self._kernel.ensure(self._tasks, kernel or self._room.replica.kernelspec, human_here=humans)

    async def restart_kernel(self) -> None:
        """Restart the kernel; ``CellBusy`` while somebody else's code runs."""
        busy = (await self.ensure_kernel()).foreign_busy
        if busy is not None:
            who = self.who_runs(busy)
            raise CellBusy(f"The kernel is running code of {who}. It was not restarted.", "Wait until it has ended.")
        self.runs.drop_queued("not run: the kernel was restarted")
        await self._kernel.restart()

    def who_runs(self, run: ForeignRun) -> str:
        """Whose code a foreign run is: the cell that is running with this text, and whose caret is in it."""
        cell = next((cell for cell in self.view.cells if cell.running and cell.source == run.code), None)
        humans = [peer for peer in self.peers if not peer.is_agent]
        inside = [peer.name for peer in humans if cell is not None and peer.cell_id == cell.id]
        names = inside or [peer.name for peer in humans[:2] if len(humans) == 1]
        if any(peer.is_agent and peer.name == run.username for peer in self.peers):
            names = [run.username]  # agents sign their requests, pages do not
        name = " or ".join(names) or run.username or "somebody else"
        return name if cell is None else f"{name} (cell {self.seen.short(cell.id, self.view)})"

    # Saving.

    async def save(self) -> None:
        """Have the file written, and read it back until it holds what the room holds; ``SaveFailed`` otherwise."""
        await self._saver.save()

    # Events.

    def _on_event(self, event: Event) -> None:
        match event:
            case Synced():
                self._joined_at = anyio.current_time()
                self._note_absence()
                self.runs.on_rejoined()
            case Changed(change):
                self._note(change)
                self.runs.on_change(change)
                self._saver.changed(own=False)
        for listener in list(self._listeners):
            listener(event)

    def _note_absence(self) -> None:
        """After a rejoin: what is different from what the room held when it was lost."""
        now, before = self._room.replica, self._last
        self._last = now
        if before is None:
            return
        known = {cell.id: cell for cell in before.view.cells}
        there = {cell.id: cell for cell in now.view.cells}
        changed: dict[str, CellView | None] = {
            cell_id: known.get(cell_id) for cell_id, cell in there.items() if not _alike(known.get(cell_id), cell)
        }
        self._log.note(changed, {cell_id: known[cell_id] for cell_id in known.keys() - there.keys()}, ())

    def _note(self, change: RemoteChange) -> None:
        """Who did it: the client whose clock advanced; deletions advance none, so whose caret is in the cell."""
        others = self._room.protocol.presence.others if self._room.connected else {}
        authors = {client: others[client] for client in change.clients if client in others}
        names = [peer_view(client, state, _no_caret).name for client, state in authors.items()]
        if not names and (change.cells or change.deleted):
            names = [name for name, _, cell in self._carets() if cell in change.cells]
        self._log.note(change.before, change.deleted, names)
        human = not authors or any(AGENT_KEY not in state for state in authors.values())
        if human:
            for cell_id in change.edited:
                self._typed[cell_id] = (anyio.current_time(), " and ".join(names) or "somebody")

    def _close_log(self, steps: Sequence[Step]) -> None:
        """We are about to write: what others did in these cells so far is told apart from it."""
        self._log.close(dict.fromkeys(step.cell for step in steps), self._room.replica.cell)

    def _carets(self) -> list[tuple[str, bool, str | None]]:
        """Everybody else: name, whether an agent, and the cell of the caret; cheaper than ``peers``."""
        if not self._room.connected:
            return []
        views = [
            peer_view(client, state, lambda cursor: (self._caret_cell(cursor), None, None))
            for client, state in self._room.protocol.presence.others.items()
        ]
        return [(view.name, view.is_agent, view.cell_id) for view in views]

    def _find_caret(self, cursor: Mapping[str, Any]) -> tuple[str | None, int | None, int | None]:
        cell_id = self._caret_cell(cursor)
        if cell_id is None:
            return None, None, None
        text = self._room.replica.source_of(cell_id)
        return cell_id, character_of(text, cursor.get("anchor")), character_of(text, cursor.get("head"))

    def _caret_cell(self, cursor: Mapping[str, Any]) -> str | None:
        """The cell whose text a cursor names, as far as that can be believed."""
        for end in ("head", "anchor"):
            position = cursor.get(end)
            of = position.get("type") if isinstance(position, dict) else None
            try:
                if isinstance(of, dict) and (
                    found := self._room.replica.cell_of_text(int(of["client"]), int(of["clock"]))
                ):
                    return found
            except (KeyError, TypeError, ValueError, OverflowError):
                continue
        return None


def _alike(one: CellView | None, other: CellView) -> bool:
    return one is not None and (one.source, one.type, one.execution_count) == (
        other.source,
        other.type,
        other.execution_count,
    )


def _no_caret(_cursor: Mapping[str, Any]) -> tuple[None, None, None]:
    return None, None, None
