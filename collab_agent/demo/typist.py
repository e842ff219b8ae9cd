"""The scripted human: types into cells, keystroke by keystroke, while the agent works."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio

from ..errors import CollabAgentError, sole_cause
from ..testing import Human
from .ledger import CellText, Ledger
from .report import Report, quoted
from .tempo import Tempo

_HELD = 4
"""So many keystrokes at the end of a burst wait until the agent has done its part."""


class Typist:
    """A human with a script.  What she types is entered in the ledger and told by the report."""

    def __init__(self, human: Human, ledger: Ledger, report: Report, tempo: Tempo) -> None:
        self.human = human
        self.pressed = 0
        """Keystrokes in all."""
        self.amid = False
        """Whether she has begun a burst and not ended it."""
        self._ledger = ledger
        self._report = report
        self._tempo = tempo
        self._waits = True
        self._next = anyio.Event()

    @asynccontextmanager
    async def typing(self, cell: str, text: str, *, after: str) -> AsyncIterator[None]:
        """Type ``text`` right behind ``after`` while the block goes on; its last keystrokes come after the block.

        So every call in the block falls between two keystrokes, on the slowest machine too.
        """
        done = anyio.Event()
        try:
            async with anyio.create_task_group() as tasks:
                await self._begin(cell, text, after)
                tasks.start_soon(self._burst, cell, text, done)
                await self.presses(1)
                yield
                done.set()
        except BaseExceptionGroup as group:
            raise sole_cause(group) from None
        self._check_caret(text)

    async def presses(self, count: int) -> None:
        """Wait until she has pressed so many more keys, or waits herself."""
        goal = self.pressed + count
        while self.pressed < goal and not self._waits:
            await self._next.wait()

    async def inserts(self, index: int, source: str) -> None:
        """Put a markdown cell above what stands at ``index``."""
        new = await self.human.insert_cell(index, source, "markdown")
        self._ledger.insert(index, CellText(new, source))
        self._report.line(self.human.name, f"inserts a cell at #{index + 1}: {quoted(source)}")

    async def sees(self, name: str) -> None:
        """Wait until her page shows a peer of this name."""
        await self.human.wait_for(lambda: any(_name(state) == name for state in self.human.peers().values()), 20)

    async def sees_no(self, name: str) -> None:
        """Wait until her page shows no peer of this name any more."""
        await self.human.wait_for(lambda: all(_name(state) != name for state in self.human.peers().values()), 20)

    async def press(self, cell: str, character: str) -> None:
        """Press one key."""
        await self.human.type(cell, character, pause=self._tempo.key_s)

    async def _begin(self, cell: str, text: str, after: str) -> None:
        source = self.human.source(cell)
        if source.count(after) != 1:
            raise CollabAgentError(f"{self.human.name} finds {after!r} {source.count(after)} times in {cell[:4]}.")
        self._ledger.type(cell, after, text)
        await self.human.place_caret(cell, source.index(after) + len(after))
        self.amid, self._waits = True, False

    async def _burst(self, cell: str, text: str, done: anyio.Event) -> None:
        for index, character in enumerate(text):
            if len(text) - index == _HELD:
                self._waits = True
                self._notify()
                await done.wait()
            self._report.key(self.human.name, cell[:4], character)
            await self.press(cell, character)
            self.pressed += 1
            self._notify()
        self.amid = False

    def _notify(self) -> None:
        self._next.set()
        self._next = anyio.Event()

    def _check_caret(self, text: str) -> None:
        """The caret must still stand behind the last character typed, whatever was written around it."""
        self._report.flush()
        before = self.human.caret_text().partition("|")[0]
        if not before.endswith(text[-1:]):
            raise CollabAgentError(
                f"{self.human.name}'s caret was moved: it stands behind {quoted(before[-20:])}, "
                f"though she has just typed {quoted(text[-20:])}."
            )


def _name(state: Mapping[str, Any]) -> str:
    return str((state.get("user") or {}).get("name", ""))
