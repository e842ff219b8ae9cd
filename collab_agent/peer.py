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

from .config import Identity, Limits
from .errors import CellBusy, KernelError, NoKernel, NotACodeCell, RoomClosed, SaveFailed, sole_cause
from .host import Host
from .notebook.aside import split_value
from .notebook.changes import Change, ChangeLog
from .notebook.edits import Done, Plan, Planner
from .notebook.model import CellView, NotebookView, OutputView, PeerView
from .notebook.refs import resolve, resolve_many
from .notebook.seen import Seen
from .notebook.steps import Step
from .room.positions import Range, character_of, end_of
from .room.presence import AGENT_KEY, peer_view, room_state
from .room.protocol import Changed, Event, PeersChanged, Synced
from .room.provider import RoomProvider
from .room.replica import RemoteChange, Replica, Written
from .runs import Run, RunQueue
from .saving import same_notebook

if TYPE_CHECKING:
    from .kernel.client import KernelClient

SAVE_RETRY_S = 0.1
MOST_HIGHLIGHTS = 20


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

    def __init__(self, host: Host, path: str, identity: Identity, limits: Limits | None = None) -> None:
        self.path = path
        self.identity = identity
        self.limits = limits or Limits()
        self.seen = Seen()
        self.lock = anyio.Lock()
        """Serialises the calls of one client that change something."""
        self._host = host
        self._room = RoomProvider(host.connect, self._on_event, self.limits)
        self._log = ChangeLog()
        self._joined_at = float("-inf")
        self._typed: dict[str, tuple[float, str]] = {}
        self._listeners: list[Callable[[Event], None]] = []
        self._saving: list[NotebookView] | None = None
        self._highlight: anyio.CancelScope | None = None
        self._tasks: TaskGroup | None = None
        self._kernel_id: str | None = None
        self._kernel: KernelClient | None = None
        self._kernel_done = anyio.Event()
        self._kernel_lost = ""
        self._restarting = False
        self.runs = RunQueue(
            self._room,
            self._live_kernel,
            self._interrupt,
            flush_s=self.limits.flush_s,
            on_start=self._show_running,
            label=lambda cell: self.seen.short(cell, self.view),
        )

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
            self._room.set_state(room_state(self.identity))
            await room_tasks.start(self._run_room)
            try:
                async with anyio.create_task_group() as tasks:
                    self._tasks = tasks
                    tasks.start_soon(self.runs.work)
                    task_status.started()
                    await anyio.sleep_forever()
            finally:
                # Runs end first: their last outputs still need the room.
                self._tasks = None
                room_tasks.cancel_scope.cancel()

    async def _run_room(self, *, task_status: TaskStatus[None]) -> None:
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

    @property
    def kernel_notice(self) -> str:
        """Why the kernel's variables are gone; each notice is given once."""
        notice, self._kernel_lost = self._kernel_lost, ""
        return notice

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
            planner = Planner(replica, self.seen, self.peers, self.in_use)
            plans.append(planner.plan(edits))
            self._log.close(_touched(plans[0].steps), replica.cell)
            return plans[0].steps

        try:
            written = await self._room.write(plan)
        finally:
            if plans:
                self._remember(plans[0])
        self._show(written)
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
        for peer in self.peers:
            if not peer.is_agent and peer.cell_id == cell_id:
                return f"{peer.name}'s caret is in it"
        when, who = self._typed.get(cell_id, (float("-inf"), ""))
        ago = anyio.current_time() - when
        if ago < self.limits.typing_s:
            return f"{who} typed in it {ago:.0f} s ago"
        cell = self._room.replica.cell(cell_id)
        return "it is running" if cell is not None and cell.running else ""

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
            return self.runs.submit_aside(code, {})
        body, value = split_value(code)
        return self.runs.submit_aside(body, {} if value is None else {"value": value})

    @property
    def kernel(self) -> KernelClient | None:
        """The connected kernel client, if any."""
        return self._kernel

    async def ensure_kernel(self, kernel: str | None = None) -> KernelClient:
        """The kernel of the human's session, connected; one is started where there is none."""
        if self._kernel is not None and self._kernel.gone is None:
            return self._kernel
        if self._tasks is None:
            raise RoomClosed("The notebook is not open.", "Call setup_notebook first.")
        await self._close_kernel()
        humans = any(not peer.is_agent for peer in self.peers)
        self._kernel_id = await self._host.kernel_id(kernel or self._room.replica.kernelspec, human_here=humans)
        await self._tasks.start(self._hold_kernel, self._kernel_id)
        return self._live_kernel()

    async def restart_kernel(self) -> None:
        """Restart the kernel; ``CellBusy`` while somebody else's code runs."""
        client = await self.ensure_kernel()
        if client.foreign_busy is not None:
            who = client.foreign_busy.username or "somebody else"
            raise CellBusy(f"The kernel is running code of {who}. It was not restarted.", "Wait until it has ended.")
        self.runs.drop_queued("not run: the kernel was restarted")
        assert self._kernel_id is not None
        self._restarting = True
        try:
            await self._host.restart(self._kernel_id)
        finally:
            self._restarting = False

    def _live_kernel(self) -> KernelClient:
        if self._kernel is None:
            raise NoKernel("There is no kernel for this notebook.", "Call setup_notebook: it takes or starts one.")
        return self._kernel

    async def _hold_kernel(self, kernel_id: str, *, task_status: TaskStatus[None]) -> None:
        """Keep one kernel client open until ``_close_kernel``."""
        self._kernel_done = anyio.Event()
        async with self._host.kernel_client(kernel_id) as client:
            self._kernel = client
            unsubscribe = client.on_life(self._on_kernel_life)
            try:
                task_status.started()
                await self._kernel_done.wait()
            finally:
                unsubscribe()
                self._kernel = None

    async def _close_kernel(self) -> None:
        self._kernel_done.set()
        self._kernel = None

    async def _interrupt(self) -> None:
        if self._kernel_id is None:
            raise KernelError("There is no kernel to interrupt.")
        await self._host.interrupt(self._kernel_id)

    def _on_kernel_life(self, event: Any) -> None:
        reason = getattr(event, "reason", None)
        if reason and not self._restarting:
            self._kernel_lost = f"the kernel {reason}: all variables are gone"

    # Saving.

    async def save(self) -> None:
        """Have the file written, and read it back until it holds what the room holds; ``SaveFailed`` otherwise."""
        self._saving = [self.view]
        answer = ""
        try:
            with anyio.move_on_after(self.limits.save_s):
                while True:
                    answer = await self._room.request_save()
                    content = await self._host.read_back()
                    minor = self._room.replica.format_minor
                    # While a human types the file may hold any of the moments since the call.
                    if any(same_notebook(view, content, with_ids=minor >= 5) for view in self._saving):
                        return
                    await anyio.sleep(SAVE_RETRY_S)
        finally:
            self._saving = None
        raise SaveFailed(
            f"The file does not hold what the room holds (the server answered {answer or 'nothing'!r}). "
            "The room still has all edits.",
            "Was the file moved or deleted? Look with query_notebook(query='server'), then save again.",
        )

    # Events.

    def _on_event(self, event: Event) -> None:
        match event:
            case Synced():
                self._joined_at = anyio.current_time()
                self.runs.on_rejoined()
            case Changed(change):
                self._note(change)
                self.runs.on_change(change)
            case PeersChanged():
                pass
        if self._saving is not None and isinstance(event, Changed) and self._saving[-1] is not self.view:
            self._saving = [*self._saving[-200:], self.view]
        for listener in list(self._listeners):
            listener(event)

    def _note(self, change: RemoteChange) -> None:
        """Who did it: the client whose clock advanced; deletions advance none, so whose caret is in the cell."""
        others = self._room.protocol.presence.others if self._room.connected else {}
        authors = {client: others[client] for client in change.clients if client in others}
        names = [peer_view(client, state, _no_caret).name for client, state in authors.items()]
        if not names and (change.cells or change.deleted):
            names = [peer.name for peer in self.peers if peer.cell_id in change.cells]
        self._log.note(change.before, change.deleted, names)
        human = not authors or any(AGENT_KEY not in state for state in authors.values())
        if human:
            for cell_id in change.edited:
                self._typed[cell_id] = (anyio.current_time(), " and ".join(names) or "somebody")

    def _find_caret(self, cursor: Mapping[str, Any]) -> tuple[str | None, int | None, int | None]:
        replica = self._room.replica
        for end in ("head", "anchor"):
            position = cursor.get(end)
            of = position.get("type") if isinstance(position, dict) else None
            if not isinstance(of, dict):
                continue
            try:
                cell_id = replica.cell_of_text(int(of["client"]), int(of["clock"]))
            except (KeyError, TypeError, ValueError, OverflowError):
                continue
            if cell_id is not None:
                text = replica.source_of(cell_id)
                return cell_id, character_of(text, cursor.get("anchor")), character_of(text, cursor.get("head"))
        return None, None, None

    # Presence.

    def _show(self, written: Written) -> None:
        """Put the caret at the last edit, and show what was inserted as a selection for a moment."""
        if not written.inserted or self._tasks is None:
            return
        if self._highlight is not None:
            self._highlight.cancel()
        last = written.inserted[-1]
        shown = [each for each in written.inserted if each.cell == last.cell][-MOST_HIGHLIGHTS:]
        self._room.set_state(room_state(self.identity, shown))
        self._tasks.start_soon(self._fade, last)

    async def _fade(self, last: Range) -> None:
        with anyio.CancelScope() as scope:
            self._highlight = scope
            await anyio.sleep(self.limits.highlight_s)
            self._room.set_state(room_state(self.identity, [last.collapsed()]))

    def _show_running(self, cell_id: str) -> None:
        if self._highlight is not None:
            self._highlight.cancel()
        here = end_of(self._room.replica.source_of(cell_id))
        self._room.set_state(room_state(self.identity, [Range(cell_id, here, here)]))


def _touched(steps: Sequence[Step]) -> list[str]:
    return list(dict.fromkeys(step.cell for step in steps))


def _no_caret(_cursor: Mapping[str, Any]) -> tuple[None, None, None]:
    return None, None, None
