"""One room with everybody in it: who comes and goes, what is under way, and what must hold at each barrier.

What is judged, by implementations that share no code: the humans are raw pycrdt Docs (``collab_agent.testing.Human``),
the room is pycrdt-websocket's, the agents are whole ``NotebookPeer`` objects with their Planner, Replica and
RoomProvider, and real kernel clients on a kernel in this process.

At every barrier (all frames delivered, all calls answered, all runs over): all replicas and the room hold the same
document, down to its outputs; no replica waits for an update that never came, and a document rebuilt from the room's
updates is the same again; no cell id is there twice; no mark is missing or doubled (``ledger``); no cell still says
that it runs, and what a run of an agent printed stands below its cell.
"""

from __future__ import annotations

import random
import warnings
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import anyio
from anyio.abc import TaskGroup, TaskStatus
from jupyter_ydoc import YNotebook
from pycrdt import Decoder

from collab_agent.config import Identity, Limits
from collab_agent.errors import CollabAgentError
from collab_agent.peer import NotebookPeer
from collab_agent.room.provider import TICK_S
from collab_agent.room.twins import LOOKS
from collab_agent.run import Run
from collab_agent.testing import CellSpec, Human, InProcessChannel, InProcessRoom, converged

from .kernel import Kernel, KernelHost
from .ledger import Ledger, marks_in
from .shelf import Open

T = TypeVar("T")
DEADLINE_S = 120.0
"""On the clock that leaps."""
TWINS_S = 3 * TICK_S
"""Within this agents have dropped their copies of cells that others have rebuilt, too."""
HASTY = Limits(typing_s=0.0, line_quiet_s=0.0, line_wait_s=0.0)
"""For agents without manners, who write where somebody types."""
HUMANS = ("Ada", "Ben", "Cem")
AGENTS = ("Goose", "Cursor")
SERVER = "the server"


class Chance(Protocol):
    """Where decisions come from: ``random.Random``, or Hypothesis."""

    def random(self) -> float:
        """From 0 to below 1."""

    def randint(self, a: int, b: int, /) -> int:
        """From ``a`` to ``b``, inclusive."""

    def choice(self, seq: Sequence[T], /) -> T:
        """One of these."""

    def sample(self, population: Sequence[T], k: int) -> list[T]:
        """``k`` of these."""


class Room(InProcessRoom):
    """A room that has a file, or what counts as one."""

    def __init__(self, cells: Sequence[CellSpec]) -> None:
        super().__init__(cells)
        self._room.clients = _InOrder()  # type: ignore[assignment]
        self.save()

    def save(self) -> None:
        """Write the file, as the server does; of two cells with one id, one gets another or is left out."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Non-unique cell ID")
            self.file: dict[str, Any] = dict(self.notebook.get())

    def answer_save(self, channel: InProcessChannel, frame: bytes) -> None:
        """Save, and say so."""
        self.save()
        super().answer_save(channel, frame)


@dataclass(eq=False)
class Seat:
    """A place at the table: whoever sits there has this name and these marks."""

    name: str
    number: int
    human: Human | None = None
    peer: NotebookPeer | None = None
    host: KernelHost | None = None
    leaving: anyio.Event = field(default_factory=anyio.Event)
    left: anyio.Event = field(default_factory=anyio.Event)
    calls: int = 0
    """Calls of this agent that are not answered yet."""
    touched: set[str] = field(default_factory=set)
    """Marks that calls of this agent have written or taken away: what an undo or a redo may change."""
    rebuilt: set[str] = field(default_factory=set)
    """Cells that calls of this agent have made, moved, deleted, split and the like."""


@dataclass(eq=False)
class Session:
    """One session.  Made by ``session``."""

    chance: Chance
    room: Room
    kernel: Kernel
    tasks: TaskGroup
    limits: Limits
    seats: list[Seat] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)
    done: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    doomed: set[str] = field(default_factory=set)
    """Cells deleted or rebuilt since the last barrier: what others type into them may be lost."""
    rebuilders: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Who has rebuilt which cell since the last barrier."""
    owners: dict[str, Run] = field(default_factory=dict)
    """Whose outputs stand below a cell, where that is certain."""
    runners: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Who has run which cell, or done anything else to its outputs, since the last barrier."""
    confirmed: dict[str, NotebookPeer] = field(default_factory=dict)
    """Marks of which an agent's call has answered that the room has them."""
    takers: dict[str, str] = field(default_factory=dict)
    """Which agent was the first to take a mark away."""
    suggested: Open = field(default_factory=Open)
    process: str = "first"
    """Which server process the room is said to be in."""
    failure: BaseException | None = None

    @property
    def operations(self) -> int:
        """How much was done to the notebook and to the room so far."""
        return self.done.total()

    # Who is there.

    @property
    def humans(self) -> list[Seat]:
        """The humans at the table."""
        return [seat for seat in self.seats if seat.human is not None]

    @property
    def agents(self) -> list[Seat]:
        """The agents at the table."""
        return [seat for seat in self.seats if seat.peer is not None]

    async def join(self, seat: Seat) -> None:
        """Somebody comes."""
        seat.leaving, seat.left = anyio.Event(), anyio.Event()
        seat.touched, seat.rebuilt = set(), set()
        await self.tasks.start(self._sit, seat)

    async def _sit(self, seat: Seat, *, task_status: TaskStatus[None]) -> None:
        if seat.name in HUMANS:
            async with Human.join(self.room.connect, seat.name) as seat.human:
                task_status.started()
                await seat.leaving.wait()
            seat.human = None
            seat.left.set()
            return
        seat.host = KernelHost(self.room, self.kernel, seat.name)
        seat.host.process = self.process
        async with self._peer(seat.host, seat.name) as seat.peer:
            task_status.started()
            await seat.leaving.wait()
        seat.peer = seat.host = None
        seat.left.set()

    def _peer(self, host: KernelHost, name: str) -> AbstractAsyncContextManager[NotebookPeer]:
        return NotebookPeer.joined(host, "notebook.ipynb", Identity.named(name), self.limits)

    # What they have.

    def texts(self, cell: str) -> Iterable[str]:
        """The text of a cell in every replica that has it."""
        for seat in self.humans:
            if seat.human is not None and cell in seat.human.ids():
                yield seat.human.source(cell)
        for seat in self.agents:
            view = view_of(seat)
            yield from (each.source for each in view if each.id == cell)
        yield from (str(each["source"]) for each in self.room.notebook.ycells if each["id"] == cell)

    def text_of(self, seat: Seat) -> str:
        """The whole notebook as somebody has it."""
        if seat.human is not None:
            return "".join(seat.human.sources())
        return "".join(cell.source for cell in view_of(seat))

    def rebuild(self, cells: Iterable[str], seat: Seat, *, gone: bool = False) -> None:
        """Somebody is about to delete (``gone``) or to rebuild these cells, as they have them."""
        held = set() if gone else marks_in(self.text_of(seat))
        for cell in cells:
            self.doomed.add(cell)
            self.rebuilders[cell].add(seat.name)
            there = marks_in("".join(self.texts(cell)))
            if gone or self.runners[cell]:
                self.disown(cell)  # outputs that are being written go into what is not there any more
            if len(self.rebuilders[cell]) > 1:
                self.ledger.excuse(there)
                self.ledger.murky |= there
            else:
                self.ledger.excuse(there - held)

    def disown(self, *cells: str) -> None:
        """Nobody knows for certain any more whose outputs stand below these cells."""
        for cell in cells:
            self.owners.pop(cell, None)
            self.runners[cell].add("somebody")

    # Barriers.

    async def barrier(self) -> None:
        """Deliver everything, let all calls and runs end, and hold the session to what must be true then."""
        self.room.release()
        with anyio.move_on_after(DEADLINE_S) as scope:
            await self._settle()
            if self._doubled():
                await anyio.sleep(TWINS_S)
                await self._settle()
        if self.failure is not None:
            raise self.failure
        assert not scope.cancelled_caught, f"no convergence: {self._under_way()}: {self._everything()}"
        if self._contested():
            self.room.save()  # of two cells that differ, one gets an id of its own
            await self.barrier()
            return
        if left := self._left_by_pages():
            await self._tidy(left)
            await self.barrier()
            return
        self._judge()
        self.doomed.clear()
        self.rebuilders.clear()
        self.runners.clear()

    async def _settle(self) -> None:
        while self._under_way() or not self._alike():
            await anyio.sleep(0.05)  # of a clock that leaps
            self.room.release()

    def _under_way(self) -> list[str]:
        found = [f"{seat.name} is away" for seat in self.agents if seat.peer and not seat.peer._room.connected]
        found += [f"{seat.name} waits for a call" for seat in self.seats if seat.calls]
        runs = [run for seat in self.agents if seat.peer for run in seat.peer.runs.all if not run.over]
        found += [f"{run.id} is {run.state}" for run in runs]
        return found if self.kernel.at_rest else [*found, "the kernel runs"]

    def _doubled(self) -> dict[str, list[str]]:
        """The ids that stand there more than once, with the texts of their cells."""
        texts: defaultdict[str, list[str]] = defaultdict(list)
        for cell in self.room.notebook.ycells:
            texts[str(cell["id"])].append(str(cell["source"]))
        return {cell: found for cell, found in texts.items() if len(found) > 1}

    def _contested(self) -> bool:
        """Whether cells that several have rebuilt at once stand there with one id and different texts."""
        twice = [cell for cell, found in self._doubled().items() if len(set(found)) > 1]
        return bool(twice) and all(len(self.rebuilders[cell]) > 1 for cell in twice)

    def _left_by_pages(self) -> list[str]:
        """The cells that a page had moved just before the server died, and the server has put back where they were."""
        by = {cell: self.rebuilders[cell] for cell in self._doubled()}
        left = [cell for cell, who in by.items() if SERVER in who and who & set(HUMANS)]
        return left if len(left) == len(by) else []

    async def _tidy(self, left: Sequence[str]) -> None:
        """Agents tell of what stands there twice, and a human deletes one of both."""
        await anyio.sleep((LOOKS + 1) * TICK_S)
        human = self.humans[0].human
        assert human is not None
        for cell in left:
            for peer in [seat.peer for seat in self.agents if seat.peer is not None]:
                assert cell in peer._room.twins.lasting, f"{peer.identity.name} does not tell of {cell}"
            await human.delete_cell(cell)

    def _alike(self) -> bool:
        """Whether all have heard of all that anybody has written; what was deleted shows in the texts."""
        wanted, sources = clocks(self.room.notebook.ydoc.get_state()), self.room.sources()
        for seat in self.humans:
            if seat.human is not None and (
                clocks(seat.human.notebook.ydoc.get_state()) != wanted or seat.human.sources() != sources
            ):
                return False
        for seat in self.agents:
            if seat.peer is not None and (
                clocks(seat.peer._room.replica.state_vector()) != wanted
                or [cell.source for cell in view_of(seat)] != sources
            ):
                return False
        return True

    def _everything(self) -> str:
        found = {seat.name: [(cell.id[:4], cell.source) for cell in view_of(seat)] for seat in self.agents}
        for seat in self.humans:
            if seat.human is not None:
                found[seat.name] = list(zip([i[:4] for i in seat.human.ids()], seat.human.sources(), strict=True))
        return repr({"room": self.room.sources(), **found})

    def _judge(self) -> None:
        room = self.room.document()
        again = YNotebook()
        again.ydoc.apply_update(self.room.notebook.ydoc.get_update())
        documents = [seat.human for seat in self.humans]
        peers = [
            {"cells": [seat.peer.document.nbformat(cell.id) for cell in view_of(seat)]}
            for seat in self.agents
            if seat.peer is not None
        ]
        ids = [str(cell["id"]) for cell in room["cells"]]
        assert len(ids) == len(set(ids)), f"ids are doubled: {ids}; {dict(self.rebuilders)}"
        for each in ({"cells": list(again.get(deduplicate=False)["cells"])}, *documents, *peers):
            assert converged(_plain(room), each if isinstance(each, Human) else _plain(each)), self._everything()
        text = "".join(self.room.sources())
        lost, twice = self.ledger.lost(text), self.ledger.twice(text)
        assert not lost, f"{len(lost)} marks are lost: {lost[:20]}: {self._everything()}"
        assert not twice, f"{len(twice)} marks stand there twice: {twice[:20]}: {self._everything()}"
        self._judge_runs(room)

    def _judge_runs(self, room: Any) -> None:
        for handle in self.room.notebook.ycells:
            assert handle.get("execution_state") != "running", f"nothing runs, and cell {handle['id']} says so"
        cells = {str(cell["id"]): cell for cell in room["cells"]}
        for cell_id, run in self.owners.items():
            cell = cells.get(cell_id)
            if cell is None or cell["cell_type"] != "code" or run.execution is None:
                continue
            printed = self.kernel.printed.get(run.execution.msg_id)
            if printed is None or run.taken_over or run.execution.gap:
                continue
            shown = "".join(each.get("text", "") for each in cell["outputs"])
            assert shown == printed.text, f"{cell_id} shows {shown!r} of {printed}"
            assert cell["execution_count"] == printed.count, f"{cell_id} has the count {cell['execution_count']}"


def view_of(seat: Seat) -> Sequence[Any]:
    """The cells as an agent has them; none while its room is away."""
    try:
        return () if seat.peer is None else seat.peer.view.cells
    except CollabAgentError:
        return ()


def clocks(state: bytes) -> dict[int, int]:
    """A state vector, decoded."""
    decoder = Decoder(state)
    return {decoder.read_var_uint(): decoder.read_var_uint() for _ in range(decoder.read_var_uint())}


def _plain(document: Any) -> dict[str, Any]:
    """Without what only a live document has."""
    return {"cells": [{k: v for k, v in cell.items() if k != "execution_state"} for cell in document["cells"]]}


class _InOrder(dict[Any, None]):
    """A set that is walked in the order of coming, so that a session repeats."""

    add = dict[Any, None].setdefault
    remove = dict[Any, None].pop

    def discard(self, value: Any) -> None:
        """Remove it if it is there."""
        self.pop(value, None)


@asynccontextmanager
async def session(
    seed: int, chance: Chance | None = None, *, hear: Callable[[Session], object] = lambda _session: None
) -> AsyncIterator[Session]:
    """A fresh room with two humans and two agents."""
    rng = random.Random(seed)
    cells = ["x = 1", "", ("markdown", "# a\n\nb"), "y\nz"]
    async with Room(cells) as room, anyio.create_task_group() as tasks:
        kernel = Kernel(random.Random(seed))
        tasks.start_soon(kernel.work)
        made = Session(chance or rng, room, kernel, tasks, rng.choice([HASTY, Limits()]))
        made.seats = [Seat(name, number) for number, name in enumerate((*HUMANS, *AGENTS))]
        for seat in made.seats:
            if seat.name != HUMANS[-1]:
                await made.join(seat)
        hear(made)
        try:
            yield made
        except BaseException as exc:
            made.failure = exc
            room.release()
            tasks.cancel_scope.cancel()
        room.release()
        with anyio.move_on_after(DEADLINE_S):
            for seat in [*made.humans, *made.agents]:
                seat.leaving.set()
                await seat.left.wait()
        tasks.cancel_scope.cancel()
    if made.failure is not None:
        raise made.failure
