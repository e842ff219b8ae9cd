"""``python -m tests.convergence.server SEED OPERATIONS FAULTS``: the same people on a real JupyterLab that fails.

Humans are real Yjs peers who keep their documents and join again, as pages do; agents are whole ``NotebookPeer``
objects.  Between the deeds the server is killed or asked to end, and started again; another program writes into the
file; a kernel dies; all connections break.  After each fault, and at the end, all replicas, a fresh peer and the file
agree, no id and no mark is doubled, and what an agent's call had been told is in the room is there, or told as lost.
What humans typed and the server lost (the disk wins) is counted, and whether the agents tell of it.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, cast

import anyio

from collab_agent.errors import CellNotFound, CollabAgentError
from collab_agent.library import joined
from collab_agent.testing import Human, converged
from tests.faults.conftest import MortalLab

from . import calls, people
from .ledger import marks_in
from .session import AGENTS, HUMANS, Room, Seat, Session, view_of

SETTLE_S = 60.0
POLL_S = 0.05
DEEDS = {
    people.type_marks: 30.0,
    people.type_others: 6.0,
    people.erase: 3.0,
    people.insert: 1.0,
    people.caret: 3.0,
    calls.edit: 12.0,
    calls.structure: 0.5,
}


class _Page:
    """What a session reads of its room, as the first human's page has it."""

    def __init__(self, human: Human) -> None:
        self.notebook = human.notebook
        self.sources = human.sources
        self.channels: list[Any] = []

    def release(self) -> None:
        """Nothing is held back here."""


class OnServer(Session):
    """A session on a server."""

    lab: MortalLab
    path: str

    async def barrier(self) -> None:
        """Wait until all have the same, then judge."""
        with anyio.move_on_after(SETTLE_S) as scope:
            while True:  # nobody tells when several have the same
                if not any(seat.calls for seat in self.seats) and self._same():
                    break
                await anyio.sleep(POLL_S)
        assert not scope.cancelled_caught, f"no convergence: {self._everything()}"
        if self.failure is not None:
            raise self.failure
        ids = [str(cell["id"]) for cell in self.room.notebook.ycells]
        assert len(ids) == len(set(ids)), f"ids are doubled: {ids}"
        text = "".join(self.room.sources())
        lost, twice = self.ledger.lost(text), self.ledger.twice(text)
        assert not lost, f"{len(lost)} marks are lost: {lost[:20]}: {self._everything()}"
        assert not twice, f"{len(twice)} marks stand there twice: {twice[:20]}: {self._everything()}"
        self.doomed.clear()
        self.rebuilders.clear()

    def _same(self) -> bool:
        humans = [list(zip(s.human.ids(), s.human.sources(), strict=True)) for s in self.humans if s.human is not None]
        if any(seat.peer is None or not seat.peer._room.connected for seat in self.agents):
            return False
        agents = [[(cell.id, cell.source) for cell in view_of(seat)] for seat in self.agents]
        return all(each == humans[0] for each in [*humans, *agents])

    def on_disk(self) -> str:
        """All texts in the file."""
        return "".join(self.lab.sources_on_disk(self.path))

    async def at_the_end(self) -> None:
        """The file and a newcomer have what all have."""
        await self.barrier()
        peer = self.agents[0].peer
        assert peer is not None
        await peer.save()
        human = self.humans[0].human
        assert human is not None
        async with Human.join_server(self.lab.server, self.path, "Eve") as eve:
            assert eve.sources() == human.sources()
            assert converged({"cells": self.lab.on_disk(self.path)}, eve)


async def _dies(at: OnServer, number: signal.Signals) -> None:
    """The server dies when its store has all, and its file perhaps not.

    A store that is behind the file is a fault of its own: the server inserts from the file what it does not find there,
    and the pages bring it along once more.
    """
    await at.barrier()
    await at.lab.has_stored(*at.room.sources())
    file, ledger = at.on_disk(), at.ledger
    at_risk = {m: peer for m, peer in at.confirmed.items() if m not in file and ledger.excused[m] <= 0}
    humans = {m for m in ledger.due.difference(file) if ledger.excused[m] <= 0 and m not in at_risk}
    known = {m for m in humans if any(m in at.text_of(seat) for seat in at.agents)}
    ledger.excuse(ledger.due.difference(file))
    at.doomed.update(str(cell["id"]) for cell in at.room.notebook.ycells)
    await at.lab.die(number)
    await at.lab.start()
    await at.barrier()
    now, told = "".join(at.room.sources()), ""
    for seat in at.agents:
        assert seat.peer is not None
        losses = seat.peer.journal.losses
        mine = losses.tell() + losses.show(1_000_000)
        gone = [m for m, owner in at_risk.items() if owner is seat.peer and m not in now and m not in mine]
        assert not gone, f"confirmed marks {gone} of {seat.name} are neither there nor told: {mine!r}"
        told += mine
    at.refused["an agent's marks at risk"] += len(at_risk)
    at.refused["an agent's marks there again"] += len(marks_in(now) & at_risk.keys())
    at.refused["a human's marks that the server lost"] += len(humans - marks_in(now))
    at.refused["of these, known to an agent"] += len(known - marks_in(now))
    at.refused["of these, told by an agent"] += len((known - marks_in(now)) & marks_in(told))
    ledger.recount({*at_risk, *humans}, now)


async def _killed(at: OnServer) -> None:
    await _dies(at, signal.SIGKILL)


async def _ended(at: OnServer) -> None:
    await _dies(at, signal.SIGTERM)


async def _written(at: OnServer) -> None:
    """Another program adds a line to a cell in the file, while nobody types."""
    await at.barrier()
    peer = at.agents[0].peer
    assert peer is not None
    await peer.save()
    file = at.lab.root / at.path
    content = json.loads(file.read_text("utf-8"))
    cell = content["cells"][0]
    at.refused["lines that another program wrote"] += 1
    line = f"\n# by another program {at.refused['lines that another program wrote']}"
    cell["source"] = "".join(cell["source"]) + line
    file.write_text(json.dumps(content, ensure_ascii=False, indent=1), "utf-8")
    with anyio.fail_after(SETTLE_S):
        while True:
            if line in "".join(at.room.sources()):
                break
            await anyio.sleep(POLL_S)
    await at.barrier()


async def _kernel_dies(at: OnServer) -> None:
    peer = at.chance.choice(at.agents).peer
    assert peer is not None
    with suppress(CollabAgentError):
        await peer.runs.wait([await peer.run_aside("import os; os._exit(1)")], 10)
    await at.barrier()


async def _cut(at: OnServer) -> None:
    """All agents lose their connections at once."""
    for seat in at.agents:
        if seat.peer is not None:
            seat.peer._room._give_up(CollabAgentError("The connection was cut by the test."))
    await at.barrier()


FAULTS = (_killed, _ended, _written, _kernel_dies, _cut)


async def _sit(at: OnServer, stack: AsyncExitStack, seat: Seat) -> None:
    if seat.name in HUMANS:
        seat.human = await stack.enter_async_context(Human.join_server(at.lab.server, at.path, seat.name))
    else:
        at_ = at.lab.server
        seat.peer = await stack.enter_async_context(joined(at_.url, at_.token, at.path, seat.name))


async def play(seed: int, operations: int, faults: int) -> Counter[str]:
    """One session; what was done, and what the faults came to."""
    rng = random.Random(seed)
    env = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        for name in ("RUNTIME_DIR", "DATA_DIR", "CONFIG_DIR"):
            env[f"JUPYTER_{name}"] = str(home / name)
        env["IPYTHONDIR"] = str(home / "ipython")
        (home / "root").mkdir()
        lab = MortalLab(home / "root", env, home / "log")
        await lab.start()
        try:
            return await _session(lab, rng, operations, faults)
        finally:
            with anyio.CancelScope(shield=True):
                await lab.end()


async def _session(lab: MortalLab, rng: random.Random, operations: int, faults: int) -> Counter[str]:
    path = lab.notebook(["x = 1", "", "# a\n\nb", "y\nz", "a = 1", "b"])
    async with anyio.create_task_group() as tasks, AsyncExitStack() as stack:
        seats = [Seat(name, number) for number, name in enumerate((*HUMANS[:2], "", *AGENTS)) if name]
        first = await stack.enter_async_context(Human.join_server(lab.server, path, seats[0].name))
        at = OnServer(rng, cast(Room, _Page(first)), cast(Any, None), tasks, cast(Any, None), seats)
        at.lab, at.path, seats[0].human = lab, path, first
        for seat in seats[1:]:
            await _sit(at, stack, seat)
        deeds, weights = zip(*DEEDS.items(), strict=True)
        struck = 0
        while at.operations < operations:
            if at.operations * faults >= (struck + 0.5) * operations:
                fault = FAULTS[struck % len(FAULTS)]
                struck += 1
                print(f"operation {at.operations}: {fault.__name__.strip('_')}", flush=True)
                await fault(at)
                at.refused["faults"] += 1
            with suppress(CellNotFound):
                await rng.choices(deeds, weights)[0](at)
            if at.failure is not None:
                raise at.failure
            await anyio.sleep(rng.choice((0.0, 0.0, 0.01, 0.05)))
        await at.at_the_end()
    return at.done + at.refused


def main(seed: int, operations: int, faults: int) -> None:
    """Play, and print what was done."""
    began = time.monotonic()
    try:
        done = anyio.run(play, seed, operations, faults)
    except BaseException:
        print(f"seed {seed} has failed")
        raise
    for what, times in sorted(done.items()):
        print(f"{times:>9}  {what}")
    print(f"{time.monotonic() - began:>9.0f}  seconds")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
