"""Two kinds of people who work in one notebook at random: humans at real pages, agents behind real MCP tools."""

from __future__ import annotations

import random
import re
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import anyio
from mcp.client.client import Client
from pycrdt import Assoc

from collab_agent.testing import Human

from .ledger import Call, Cell, Ledger, Told

if TYPE_CHECKING:
    from .conftest import LabPage

LOOK_S = 0.3
"""So long a human looks at a cell that everybody sees them in: what was on its way into it has come by then."""
FIRST_MARKS = {"Ada": 0x4E00, "Bob": 0x6E00}
MARK = re.compile("[\u4e00-\u8dff]")

ENTER = """new Promise(async done => {
  const find = () => nb.widgets.findIndex(each => each.model.id === arg.id);
  if (find() < 0) return done(null);
  nb.deselectAll();
  nb.activeCellIndex = find();
  await nb.scrollToItem(nb.activeCellIndex).catch(() => null);
  await nb.activeCell?.ready;
  if (find() < 0 || nb.activeCell.model.id !== arg.id) return done(null);
  nb.mode = 'edit';
  const view = nb.activeCell.editor.editor, length = view.state.doc.length;
  view.focus();
  view.dispatch({selection: {anchor: Math.round(arg.part * length)}});
  done(true);
})"""
"""JavaScript: click into a cell, at this part of its text."""

INSIDE = """(() => {
  const holder = document.activeElement?.closest('.jp-Cell');
  return nb.mode === 'edit' && nb.activeCell.model.id === arg && nb.activeCell.node === holder })()"""
"""JavaScript: whether the human's focus is in this cell."""

COMMAND = """(() => {
  const index = nb.widgets.findIndex(each => each.model.id === arg.id);
  if (index < 0) return null;
  nb.deselectAll();
  nb.mode = 'command';
  nb.activeCellIndex = index;
  const source = nb.activeCell.model.sharedModel.getSource();
  lab.commands.execute(arg.command);
  return source })()"""
"""JavaScript: a command on a cell; what the cell held when it was done."""

TEXT = "nb.model.sharedModel.cells.map(cell => cell.getSource()).join('')"
HOLDS = "nb.model.sharedModel.cells.find(cell => cell.getId() === arg)?.getSource() ?? ''"
"""JavaScript: the text of a cell, as this page has it."""
CELLS = "nb.model.sharedModel.cells.map(cell => [cell.getId(), cell.cell_type])"
STRUCTURE = (
    "insert-cell-below",
    "insert-cell-above",
    "move-cell-up",
    "move-cell-down",
    "change-cell-to-markdown",
    "change-cell-to-code",
    "delete-cell",
)
DEADLINE_S = 30.0
FEWEST, MOST = 6, 24
"""Cells in the notebook."""


class Session:
    """What all four share: the clock, the ledger, and what they say that they do.

    ``rebuilding`` is held by whoever builds a cell anew.  Where two do that with one cell at one moment, and one of
    them is a page, text is lost or doubled, agents or not: Yjs 13 cannot move, and a page does not ask (contract,
    section 3).  So that is left out here.
    """

    def __init__(self, ledger: Ledger, observer: Human, seconds: float) -> None:
        self.ledger = ledger
        self.observer = observer
        self.rebuilding = anyio.Lock()
        self.until = anyio.current_time() + seconds
        self.doings: list[tuple[float, str]] = []

    @property
    def over(self) -> bool:
        """Whether it is time to stop."""
        return anyio.current_time() >= self.until

    def say(self, who: str, what: str) -> None:
        """For the transcript."""
        self.doings.append((anyio.current_time(), f"{who}: {what}"))

    def cells(self) -> list[str]:
        """The ids as they stand now."""
        return [cell.id for cell in self.now()]

    def now(self) -> tuple[Cell, ...]:
        """The cells as the room has them."""
        return self.ledger.states[-1][1]

    async def seen_in(self, name: str, cell: str) -> bool:
        """Wait until the room knows that this human's caret is in the cell; False where it goes, or is built anew."""
        found, began = self.observer, self._text_of(cell)

        def there() -> bool:
            carets = [
                caret["head"]["type"]
                for state in found.peers().values()
                if state["user"]["name"] == name
                for caret in state.get("cursors", [])
            ]
            return began != self._text_of(cell) or began in [(at["client"], at["clock"]) for at in carets if at]

        await found.wait_for(there, DEADLINE_S)
        return began is not None and began == self._text_of(cell)

    def _text_of(self, cell: str) -> tuple[int, int] | None:
        """What carets in a cell name; None where there is no such cell."""
        if cell not in self.observer.ids():
            return None
        text = self.observer.notebook.ycells[self.observer.ids().index(cell)]["source"]
        of = text.sticky_index(0, Assoc.BEFORE).to_json()["type"]
        return of["client"], of["clock"]


class PageHuman:
    """A human at a page.  ``marks``: every character that they typed and that nobody took away again."""

    def __init__(self, name: str, page: LabPage, session: Session, seed: int) -> None:
        self.name, self.page, self._session = name, page, session
        self._random = random.Random(f"{seed} {name}")
        self.errors: list[tuple[float, str]] = []
        self.hands = anyio.Lock()
        """Held while they type: as colleagues who talk, no human moves cells about under another one's hands."""
        self.others: list[PageHuman] = []
        self.marks: set[str] = set()
        self.typed = 0

    def watch_errors(self) -> None:
        """From now on the time of every error of the page is known."""
        self.page.page.on("pageerror", lambda error: self._on_error(error.message))
        self.page.page.on("console", lambda said: self._on_error(said.text) if said.type == "error" else None)

    def _on_error(self, text: str) -> None:
        self.errors.append((anyio.current_time(), text))
        self._session.say(self.name, f"the page says: {text}")

    async def work(self) -> None:
        """Act until the time is over."""
        doings: list[Callable[[], Awaitable[None]]] = [self._type, self._run, self._arrange, self._take_back]
        while not self._session.over:
            (doing,) = self._random.choices(doings, (8, 3, 3, 2))
            await doing()
            await anyio.sleep(self._random.random() * 0.5)

    async def _enter(self) -> str | None:
        """Click into some cell and look at it; None where it went away meanwhile."""
        cell = self._random.choice(self._session.cells())
        if await self.page.notebook(ENTER, {"id": cell, "part": self._random.random()}) is None:
            return None
        if not await self._seen_in(cell):
            return None
        await anyio.sleep(LOOK_S)
        await self._caught_up()
        return cell if await self.page.notebook(INSIDE, cell) else None

    async def _seen_in(self, cell: str) -> bool:
        """Wait until everybody sees them in it; False where a busy page has taken them elsewhere: they ran a cell."""
        with anyio.fail_after(DEADLINE_S):
            while True:
                with anyio.move_on_after(LOOK_S):
                    return await self._session.seen_in(self.name, cell)
                if not await self.page.notebook(INSIDE, cell):
                    return False

    async def _caught_up(self) -> None:
        """Wait until the page shows the cells that the room has: a busy page lags behind, and so may the room."""
        with anyio.fail_after(DEADLINE_S):
            while await self.page.notebook(CELLS) != [[cell.id, cell.type] for cell in self._session.now()]:
                await self.page.page.evaluate("() => new Promise(requestAnimationFrame)")

    async def _of_one_mind(self) -> None:
        """Wait until every page has what was typed at the others: who moves a cell, moves what their page shows."""
        with anyio.fail_after(DEADLINE_S):
            while len({frozenset(MARK.findall(await each.page.notebook(TEXT))) for each in (self, *self.others)}) > 1:
                await self.page.page.evaluate("() => new Promise(requestAnimationFrame)")

    async def _type(self) -> None:
        async with self.hands:
            cell = await self._enter()
            if cell is None:
                return
            count = self._random.randint(1, 12)
            self._session.say(self.name, f"types {count} marks in {cell}")
            for _ in range(count):
                mark = chr(FIRST_MARKS[self.name] + self.typed)
                self.typed += 1
                self.marks.add(mark)
                await self.page.page.keyboard.type(mark)
                if self._random.random() < 0.1:
                    await self.page.page.keyboard.press("Enter")
                if self._random.random() < 0.1:
                    await self.page.page.keyboard.press("Shift+ArrowLeft")  # selects, and takes it back
                    await self.page.page.keyboard.press("ArrowRight")
                await anyio.sleep(self._random.random() * 0.1)

    async def _take_back(self) -> None:
        """Undo, or a backspace: what of their own is gone then, they took away themselves."""
        async with self.hands:
            cell = await self._enter()
            if cell is None:
                return
            key = self._random.choice(("Control+z", "Backspace"))
            before = self.own(await self.page.notebook(TEXT))
            if key == "Backspace" and not await self.page.notebook(BEHIND_OWN, self._range()):
                return
            self._session.say(self.name, f"presses {key} in {cell}")
            await self.page.page.keyboard.press(key)
            after = self.own(await self.page.notebook(TEXT))
            self.marks = (self.marks - (before - after)) | (after - before)

    async def _run(self) -> None:
        async with self.hands:
            cell = await self._enter()
            if cell is not None:
                self._session.say(self.name, f"runs {cell}")
                await self.page.page.keyboard.press("Shift+Enter")

    async def _arrange(self) -> None:
        """Insert, move, retype or delete a cell."""
        async with AsyncExitStack() as held:
            for human in sorted([self, *self.others], key=lambda each: each.name):
                await held.enter_async_context(human.hands)
            await held.enter_async_context(self._session.rebuilding)
            count, cell = len(self._session.cells()), self._random.choice(self._session.cells())
            command = self._random.choice(STRUCTURE if count < MOST else STRUCTURE[-1:])
            if command == "delete-cell" and count <= FEWEST:
                return
            await self._of_one_mind()
            held_by = [set(await each.page.notebook(HOLDS, cell)) for each in (self, *self.others)]  # pages lag behind
            self._session.say(self.name, f"{command} {cell}")
            source = await self.page.notebook(COMMAND, {"id": cell, "command": f"notebook:{command}"})
            if command == "delete-cell" and source is not None:
                for human in (self, *self.others):
                    human.marks -= set(source).union(*held_by)
            await self._caught_up()

    def own(self, text: str) -> set[str]:
        """Those of their marks that a text holds."""
        first, last = self._range()
        return {mark for mark in MARK.findall(text) if first <= ord(mark) < last}

    def _range(self) -> tuple[int, int]:
        first = FIRST_MARKS[self.name]
        return first, first + 0x2000


BEHIND_OWN = """(() => {
  const state = nb.activeCell.editor.editor.state, main = state.selection.main;
  const code = main.empty && main.from > 0 ? state.sliceDoc(main.from - 1, main.from).charCodeAt(0) : 0;
  return code >= arg[0] && code < arg[1] })()"""
"""JavaScript: whether the caret stands right behind a mark of one's own."""


class Model:
    """What a model does with the four tools, if it does it at random."""

    def __init__(self, name: str, client: Client, session: Session, seed: int) -> None:
        self.told = Told(name)
        self._client, self._session = client, session
        self._random = random.Random(f"{seed} {name}")
        self._token = 0

    async def call(self, tool: str, **arguments: Any) -> Call:
        """Call a tool; errors are answers, too, but never one of the program's own."""
        began = anyio.current_time()
        result = await self._client.call_tool(tool, arguments)
        text = "\n".join(block.text for block in result.content if block.type == "text")
        made = Call(began, anyio.current_time(), tool, arguments, text, bool(result.is_error))
        self.told.calls.append(made)
        assert "bug of collab-agent" not in text, text
        return made

    async def work(self) -> None:
        """Act until the time is over."""
        doings: list[Callable[[], Awaitable[object]]] = [
            self._look,
            self._insert,
            self._change,
            self._arrange,
            self._run,
        ]
        doings.append(self._undo)
        while not self._session.over:
            (doing,) = self._random.choices(doings, (6, 3, 7, 4, 4, 1))
            await doing()
            await anyio.sleep(self._random.random() * 0.6)

    async def _look(self) -> None:
        query = self._random.choice(("outline", "outline", "cells", "changes", "runs", "search", "outputs"))
        more: dict[str, Any] = {"pattern": "_1"} if query == "search" else {}
        if query == "changes" and self._random.random() < 0.5:
            more = {"wait_s": 1}
        await self.call("query_notebook", query=query, **more)

    async def _insert(self) -> None:
        if len(self._session.cells()) < MOST:
            edit = {"op": "insert", "source": self._code(), "after": self._cell()}
            await self.call("modify_notebook_cells", edits=[edit])

    async def _read(self, cell: str) -> str:
        """A cell's text, as the tool shows it."""
        shown = await self.call("query_notebook", query="cells", cells=[cell])
        return "\n".join(re.findall(r"^ *\d+│(.*)$", shown.text, re.MULTILINE))

    async def _change(self) -> None:
        """Replace in, or rewrite, a cell that was just read; what humans typed stays in it."""
        cell = self._cell()
        source = await self._read(cell)
        tokens = re.findall(r"(?:goose|cleo|value)_\d+", source)
        if tokens and self._random.random() < 0.6:
            old = self._random.choice(tokens)
            edit = {"op": "replace", "cell": cell, "old": old, "new": self._name(), "all": True}
        else:
            lines = source.split("\n")
            lines.insert(self._random.randint(0, len(lines)), f"{self._name()} = {self._token}")
            edit = {"op": "write", "cell": cell, "source": "\n".join(lines)}
        await self.call("modify_notebook_cells", edits=[edit])

    async def _arrange(self) -> None:
        cell, other = self._cell(), self._cell()
        op = self._random.choice(("move", "split", "merge", "delete", "retype", "clear"))
        edit: dict[str, Any] = {"op": op, "cell": cell}
        if op == "move":
            edit |= {self._random.choice(("after", "before")): other}
        elif op == "split":
            edit["line"] = 2
        elif op == "retype":
            edit["type"] = self._random.choice(("code", "markdown"))
        elif op == "clear":
            edit = {"op": op, "cells": [cell]}
        elif op == "delete" and (len(self._session.cells()) <= FEWEST or MARK.search(await self._read(cell))):
            return  # what humans typed stays
        async with self._session.rebuilding:
            await self.call("modify_notebook_cells", edits=[edit])

    async def _run(self) -> None:
        await self.call("execute_notebook_code", cells=[self._cell()], wait_s=self._random.choice((0, 3)))

    async def _undo(self) -> None:
        async with self._session.rebuilding:
            await self.call("modify_notebook_cells", edits=[{"op": self._random.choice(("undo", "undo", "redo"))}])

    def _cell(self) -> str:
        return self._random.choice(self._session.cells())

    def _name(self) -> str:
        self._token += 1
        return f"{self.told.name.lower()}_{self._token}"

    def _code(self) -> str:
        name = self._name()
        return f"{name} = {self._token}\nfor step in range(3):\n    print({name!r}, step)"
