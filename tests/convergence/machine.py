"""Two humans and two agents at random in one room in this process, with cuts and delays.

What is judged, by implementations that share no code: the humans are raw pycrdt Docs (``collab_agent.testing.Human``),
the room is pycrdt-websocket's, the agents are whole ``NotebookPeer`` objects with their Planner, Replica and
RoomProvider.

At every barrier (all frames delivered): all replicas and the room hold the same cells; no replica waits for an update
that never came; no cell id is there twice; every character that a human typed is there exactly once, unless somebody
deleted it on purpose.  Each human types characters that nobody else ever types (``Human.type_marks``), so that
"exactly once" can be counted.

A cell that is rebuilt (deleted, moved, retyped, split or merged: Yjs 13 cannot move) at the very moment when somebody
types into it loses what is typed (``facts/rtc.md``, section 4); an agent refuses that as far as it can know.  So the
machine lets structural edits loose in two ways: after a barrier (then nothing may be lost) and at any time (then the
characters under way in the cells concerned are not counted, and all else must hold).
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import anyio

from collab_agent.config import Identity, Limits
from collab_agent.errors import CellNotFound, CollabAgentError
from collab_agent.peer import NotebookPeer
from collab_agent.testing import Human, InProcessRoom, RoomHost, converged

FIRST = 0x4E00
"""Marks are CJK characters, one range for each human: three UTF-8 bytes each, so that no offset is right by chance."""
SPAN = 0x1000
WORDS = ("x = 1", "y = x + 2", "print(y)", "# é 😀", "for i in range(3):", "    total += i", "", "df.head()")
DEADLINE_S = 30.0
MOST_CELLS = 12
MOST_CHARS = 400
LIMITS = Limits(echo_s=0.02, ack_s=0.05, typing_s=0.0, highlight_s=0.01, line_quiet_s=0.0, line_wait_s=0.0)


@dataclass
class Session:
    """One room with everybody in it, and the count of what was typed."""

    rng: random.Random
    room: InProcessRoom
    humans: Sequence[Human]
    agents: Sequence[NotebookPeer]
    done: Counter[str] = field(default_factory=Counter)
    excused: set[str] = field(default_factory=set)
    """Marks that somebody deleted on purpose, or that were under way into a cell that was rebuilt."""
    doomed: set[str] = field(default_factory=set)
    """Cells that were deleted or rebuilt since the last barrier: what others type into them may be lost."""
    marks: list[int] = field(default_factory=lambda: [0, 0])
    failures: list[str] = field(default_factory=list)
    stirred: anyio.Event = field(default_factory=anyio.Event)
    """Set, and made anew, whenever anybody has heard anything."""

    def stir(self) -> None:
        """Somebody has heard something."""
        self.stirred.set()
        self.stirred = anyio.Event()

    async def step(self) -> None:
        """One random deed of somebody."""
        names, weights = zip(*_WEIGHTS.items(), strict=True)
        name = self.rng.choices(names, weights)[0]
        self.done[name] += 1
        with suppress(CellNotFound):  # a human's cell went while they typed: a page has no caret there any more
            await _DEEDS[name](self)

    # What is there.

    def pick(self, ids: Sequence[str]) -> str | None:
        """A cell that a human and an agent may name; None in an empty notebook."""
        return self.rng.choice(ids) if ids else None

    def human(self) -> Human:
        """One of the humans."""
        return self.rng.choice(self.humans)

    def agent(self) -> NotebookPeer:
        """One of the agents."""
        return self.rng.choice(self.agents)

    def next_marks(self, human: Human, count: int) -> str:
        """Characters that nobody has typed in this session; None are left after ``SPAN``."""
        number = list(self.humans).index(human)
        start = self.marks[number]
        self.marks[number] += count
        return "".join(chr(FIRST + number * SPAN + (start + i) % SPAN) for i in range(count))

    def excuse(self, text: str) -> None:
        """Do not count the marks of this text from now on."""
        self.excused.update(filter(_is_mark, text))

    def excuse_cell(self, cell_id: str) -> None:
        """Do not count the marks that anybody has in this cell, nor those that are typed there before the barrier."""
        self.doomed.add(cell_id)
        for human in self.humans:
            if cell_id in human.ids():
                self.excuse(human.source(cell_id))
        for cell in self.room.notebook.ycells:
            if str(cell["id"]) == cell_id:
                self.excuse(str(cell["source"]))

    # Barriers.

    async def barrier(self) -> None:
        """Deliver everything, and hold the session to what must be true then."""
        self.room.release()
        await self._settle()
        self._judge()
        self.doomed.clear()

    async def _settle(self) -> None:
        with anyio.move_on_after(DEADLINE_S) as scope:
            while not (self._alike() and self._at_rest()):
                await self.stirred.wait()
        if scope.cancelled_caught:
            self.failures.append("no convergence: " + self._differences())
            raise AssertionError(self.failures[-1])

    def _alike(self) -> bool:
        expected = [(cell.id, cell.source) for cell in _cells(self.room)]
        seen = [[(i, s) for i, s in zip(human.ids(), human.sources(), strict=True)] for human in self.humans]
        try:
            seen += [[(cell.id, cell.source) for cell in agent.view.cells] for agent in self.agents]
        except CollabAgentError:
            return False
        return all(each == expected for each in seen)

    def _at_rest(self) -> bool:
        return all(human.failure is None for human in self.humans)

    def _differences(self) -> str:
        return repr({"room": self.room.sources(), **{human.name: human.sources() for human in self.humans}})

    def _judge(self) -> None:
        assert converged(self.room, *self.humans), self._differences()
        ids = [cell.id for cell in _cells(self.room)]
        assert len(ids) == len(set(ids)), f"ids are doubled: {ids}"
        text = Counter("".join(self.room.sources()))
        typed = {mark for human in self.humans for mark in human.keystrokes if _is_mark(mark)}
        lost = sorted(typed - set(text) - self.excused)
        assert not lost, f"{len(lost)} typed characters are lost: {lost[:20]}"
        twice = sorted(mark for mark in typed if text[mark] > 1)
        assert not twice, f"{len(twice)} typed characters stand there twice: {twice[:20]}"


async def _listen(human: Human, to: Session) -> None:
    """Tell whoever waits of each frame that this human gets."""
    while True:
        await _hear_a_frame(human)
        to.stir()


async def _hear_a_frame(human: Human) -> None:
    heard = iter((False, True))
    await human.wait_for(lambda: next(heard), math.inf)


def _is_mark(character: str) -> bool:
    return FIRST <= ord(character) < FIRST + 2 * SPAN


def _cells(room: InProcessRoom) -> list[Any]:
    @dataclass(frozen=True)
    class Cell:
        id: str
        source: str

    return [Cell(str(cell["id"]), str(cell["source"])) for cell in room.notebook.ycells]


@asynccontextmanager
async def session(seed: int) -> AsyncIterator[Session]:
    """A fresh room with two humans and two agents."""
    rng = random.Random(seed)
    async with AsyncExitStack() as stack:
        room = await stack.enter_async_context(InProcessRoom(["x = 1", "", ("markdown", "# a\n\nb"), "y\nz"]))
        humans = [await stack.enter_async_context(Human.join(room.connect, name)) for name in ("Ada", "Ben")]
        agents = [
            await stack.enter_async_context(
                NotebookPeer.joined(RoomHost(room), "notebook.ipynb", Identity.named(name), LIMITS)
            )
            for name in ("Goose", "Cursor")
        ]
        made = Session(rng, room, humans, agents)
        tasks = await stack.enter_async_context(anyio.create_task_group())
        for agent in agents:
            stack.callback(agent.observe(lambda _event: made.stir()))
        for human in humans:
            tasks.start_soon(_listen, human, made)
        yield made
        room.release()
        tasks.cancel_scope.cancel()


# Deeds.


async def _type(at: Session) -> None:
    human = at.human()
    cell = at.pick(human.ids())
    if cell is not None and len(human.source(cell)) < MOST_CHARS:
        index = at.rng.randint(0, len(human.source(cell))) if at.rng.random() < 0.3 else None
        marks = at.next_marks(human, at.rng.randint(1, 4))
        if cell in at.doomed:
            at.excuse(marks)
        await human.type(cell, marks, index)


async def _newline(at: Session) -> None:
    human = at.human()
    cell = at.pick(human.ids())
    if cell is not None and len(human.source(cell)) < MOST_CHARS:
        await human.type(cell, at.rng.choice(["\n", " ", "a", "é", "😀"]), at.rng.randint(0, len(human.source(cell))))


async def _erase(at: Session) -> None:
    human = at.human()
    for _ in range(at.rng.randint(1, 3)):
        if human.caret is not None and human.caret[0] in human.ids():
            cell, index = human.caret
            at.excuse(human.source(cell)[max(0, index - 1) : index])
            await human.backspace()


async def _human_insert(at: Session) -> None:
    human = at.human()
    if len(human.ids()) < MOST_CELLS:
        await human.insert_cell(at.rng.randint(0, len(human.ids())), at.rng.choice(WORDS))


async def _human_delete(at: Session) -> None:
    human = at.human()
    cell = at.pick(human.ids())
    if cell is not None and len(human.ids()) > 2:
        at.excuse_cell(cell)
        await human.delete_cell(cell)


async def _agent_edit(at: Session) -> None:
    """A call of one to three edits; refusals are an agent's good right, and leave nothing behind."""
    agent = at.agent()
    try:
        cells = list(agent.view.cells)
        for cell in cells:
            if at.rng.random() < 0.5:
                agent.seen.show(cell)
        edits = [edit for _ in range(at.rng.randint(1, 3)) if (edit := _edit(at, agent)) is not None]
        if edits:
            await agent.edit(edits)
            at.done["agent edited"] += 1
    except CollabAgentError as exc:
        at.done[f"refused: {type(exc).__name__}"] += 1


def _edit(at: Session, agent: NotebookPeer) -> Mapping[str, Any] | None:
    cells = agent.view.cells
    if not cells or at.rng.random() < 0.15:
        return {"op": "insert", "source": at.rng.choice(WORDS)} if len(cells) < MOST_CELLS else None
    cell = at.rng.choice(cells)
    if len(cell.source) > MOST_CHARS:
        return None
    lines = (agent.seen.shown_text(cell.id) or cell.source).split("\n")
    line = at.rng.randrange(len(lines))
    if at.rng.random() < 0.6:
        # As a model writes: the text that it was shown, with a line added, changed or taken out.  Lines with a human's
        # characters are left as they are: to take them out would be on purpose.
        if any(map(_is_mark, lines[line])) or at.rng.random() < 0.5:
            lines.insert(line + at.rng.randint(0, 1), at.rng.choice(WORDS))
        else:
            lines[line : line + 1] = [at.rng.choice(WORDS)] if at.rng.random() < 0.7 else []
        return {"op": "write", "cell": cell.id, "source": "\n".join(lines)}
    old = lines[line]
    if old.strip() and not any(map(_is_mark, old)):
        return {"op": "replace", "cell": cell.id, "old": old, "new": at.rng.choice(WORDS), "all": True}
    return None


async def _agent_structure(at: Session) -> None:
    """Delete, move, retype, split, merge: half of the time with nothing under way."""
    calm = at.rng.random() < 0.5
    if calm:
        await at.barrier()
    agent = at.agent()
    try:
        cells = agent.view.cells
        if len(cells) < 3:
            return
        cell, other = at.rng.sample(list(cells), 2)
        agent.seen.show(cell)
        below = cells[min(cells.index(cell) + 1, len(cells) - 1)]
        op = at.rng.choice(["delete", "move", "move", "retype", "split", "merge"])
        if op == "delete" or not calm:
            at.excuse_cell(cell.id)
            at.excuse_cell(below.id)
        if op == "move" and not calm:  # the cells that are crossed may be rebuilt instead
            for each in cells:
                at.excuse_cell(each.id)
        # Until they hear of it, the humans may type into what is rebuilt.
        at.doomed.update(each.id for each in (cells if op == "move" else (cell, below)))
        fields: dict[str, Any] = {"op": op, "cell": cell.id}
        if op == "move":
            fields[at.rng.choice(["after", "before"])] = other.id
        if op == "retype":
            fields["type"] = at.rng.choice(["code", "markdown", "raw"])
        if op == "split":
            fields["line"] = at.rng.randint(1, cell.source.count("\n") + 1)
        await agent.edit([fields])
        at.done[f"agent: {op}"] += 1
    except CollabAgentError as exc:
        at.done[f"refused: {type(exc).__name__}"] += 1


async def _caret(at: Session) -> None:
    human = at.human()
    cell = at.pick(human.ids())
    if cell is None or at.rng.random() < 0.5:
        await human.leave_cell()
    else:
        await human.place_caret(cell, at.rng.randint(0, len(human.source(cell))))


async def _hold(at: Session) -> None:
    at.rng.choice(at.room.channels[-8:]).hold()


async def _release(at: Session) -> None:
    at.room.release()


async def _cut(at: Session) -> None:
    """A connection breaks; what was under way on it is gone, for an agent too: it is told, and starts afresh."""
    at.rng.choice(at.room.channels[-4:]).cut()


async def _rest(at: Session) -> None:
    for _ in range(at.rng.randint(1, 30)):
        await anyio.lowlevel.checkpoint()


_WEIGHTS = {
    "type": 30.0,
    "newline": 6.0,
    "erase": 3.0,
    "human inserts": 1.5,
    "human deletes": 0.7,
    "agent edits": 14.0,
    "agent structure": 2.0,
    "caret": 3.0,
    "hold": 2.0,
    "release": 2.0,
    "cut": 0.15,
    "rest": 10.0,
    "barrier": 0.6,
}
_DEEDS: Mapping[str, Callable[[Session], Awaitable[None]]] = {
    "type": _type,
    "newline": _newline,
    "erase": _erase,
    "human inserts": _human_insert,
    "human deletes": _human_delete,
    "agent edits": _agent_edit,
    "agent structure": _agent_structure,
    "caret": _caret,
    "hold": _hold,
    "release": _release,
    "cut": _cut,
    "rest": _rest,
    "barrier": Session.barrier,
}


async def run(seed: int, operations: int) -> Counter[str]:
    """One session of so many deeds; what was done.  ``AssertionError`` names the seed and the deed."""
    async with session(seed) as at:
        for number in range(operations):
            try:
                await at.step()
            except Exception as exc:
                raise AssertionError(f"seed {seed}, deed {number}: {exc!r}") from exc
        try:
            await at.barrier()
        except AssertionError as exc:
            raise AssertionError(f"seed {seed}, at the end: {exc}") from exc
        return at.done
