"""A human types into the very cell that an agent edits, a line above: what becomes of characters and edits."""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass
from pathlib import Path

import anyio
from comparison import Tally, tally
from rival_session import TRIES, Refused, Session, known, reading

from collab_agent.errors import CellNotFound
from collab_agent.testing import Human

ANCHOR = "# notes: "
STEP = "step = "
SETTLE_S = 4.0
"""After the last edit: what the server notices of the file, it notices within about a second."""


def write_typing_notebook(file: Path) -> None:
    """Three cells; in the second one the human takes notes above the line that the agent changes."""
    document = json.loads(file.read_text("utf-8"))
    document["cells"][1]["source"] = f"{ANCHOR}\n{STEP}0\nprint(step)"
    file.write_text(json.dumps(document), "utf-8")


@dataclass
class Typist:
    """A human who types marks in bursts at the end of the line of notes, and clicks there again when thrown out."""

    human: Human
    seed: int
    clicks: int = 0
    over: bool = False

    async def work(self) -> None:
        """Type until it is over.  Every mark is a character that is never typed twice."""
        choose = random.Random(self.seed)
        while not self.over:
            await self._click()
            for _ in range(choose.randint(8, 16)):
                try:
                    await self.human.type_marks(self._cell(), 1, pause=choose.uniform(0.06, 0.16))
                except CellNotFound:  # the cell was taken away under the fingers: the key goes nowhere
                    break
            await anyio.sleep(choose.uniform(0.3, 1.2))

    def _cell(self) -> str:
        caret = self.human.caret
        if caret is None:
            raise CellNotFound("There is no caret anywhere.")
        return caret[0]

    async def _click(self) -> None:
        """Look where the caret is; click behind the notes if it is not there (any more)."""
        at = next((index for index, source in enumerate(self.human.sources()) if ANCHOR in source), None)
        if at is None:
            return
        source = self.human.source(at)
        end = source.index(ANCHOR) + len(source[source.index(ANCHOR) :].partition("\n")[0])
        try:
            caret = self.human.caret
        except CellNotFound:
            caret = None
        if caret != (self.human.ids()[at], end):
            self.clicks += 1
            await self.human.place_caret(at, end)


@dataclass(frozen=True)
class Typing:
    """What became of what the human typed, and of the agent's edits."""

    tally: Tally
    clicks: int
    """How often the human had to click into their line again."""
    asked: int
    landed: int
    refused: int


async def typing(at_work: Session, human: Human, path: str, rounds: int, think_s: float, seed: int) -> Typing:
    """The agent counts ``step`` up, a line below the one in which the human types; reading, thinking, editing."""
    adapter, typist, refused = at_work.adapter, Typist(human, seed), at_work.refused
    await at_work.do(adapter.open(path, at_work.server.url))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(typist.work)
        choose = random.Random(seed)
        for _ in range(rounds):
            await one_round(at_work, human, path, think_s * choose.uniform(0.3, 1.7))
        typist.over = True
    await anyio.sleep(SETTLE_S)
    await at_work.do(adapter.leave(path))
    async with Human.join_server(at_work.server, path, "Fresh") as fresh:
        sources = fresh.sources()
    landed = re.findall(rf"^{STEP}(\d+)", "\n".join(sources), re.MULTILINE)
    counted = tally(human.keystrokes, sources, ANCHOR)
    return Typing(counted, typist.clicks - 1, rounds, max(map(int, landed), default=0), at_work.refused - refused)


async def one_round(at_work: Session, human: Human, path: str, think_s: float) -> None:
    """One edit, repeated where it is refused."""
    for _ in range(TRIES):
        at = next((index for index, source in enumerate(human.sources()) if STEP in source), None)
        if at is None:
            return
        try:
            cell = await reading(at_work, path, await known(human, at))
            now = re.findall(rf"^{STEP}(\d+)", cell.source, re.MULTILINE)
            await anyio.sleep(think_s)
            if now:
                edit = at_work.adapter.edit(path, cell, f"{STEP}{now[0]}\n", f"{STEP}{int(now[0]) + 1}\n")
                await at_work.do(edit)
            return
        except Refused:
            continue
