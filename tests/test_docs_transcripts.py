"""The transcripts of ``docs/usage.md``, replayed on a real server: what the page shows is what a model gets.

A block holds ``>>>`` calls, written as Python, ``--`` lines, which are the human's doings (``Stage.ACTIONS``), and
answers.  A lone ``…`` stands for any lines.  Durations and sizes of pictures may differ; ids of new cells are made
predictable.  Each ``##`` section has an agent of its own, on the notebooks that ``NOTEBOOKS`` gives.
"""

from __future__ import annotations

import ast
import json
import random
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import anyio
import pytest

import collab_agent.notebook.edits
import collab_agent.server.others
import collab_agent.server.tools
from collab_agent.config import Limits, Server
from collab_agent.jupyter.api import JupyterApi
from collab_agent.kernel.client import KernelClient
from collab_agent.review import Reviewer
from collab_agent.testing import Human, notebook_of

from .integration.conftest import McpAgent, Result, mcp_agent_on

PAGE = Path(__file__).parents[1] / "docs" / "usage.md"
SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
BLOCK = re.compile(r"^```transcript\n(.*?)^```$", re.MULTILINE | re.DOTALL)
VARYING = re.compile(r'\d+\.\d s\b|\d+x\d+, \d+ kB|\b[0-9a-f]{6}(?= ")')
"""Durations, the sizes of pictures, and the ids of suggestions."""
LOAD = 'import pandas as pd\n\nsales = pd.read_csv("sales.csv")\n'
NOTEBOOKS: dict[str, list[tuple[str, str, str]]] = {
    "sales.ipynb": [("5d1c0a7e", "markdown", "# Sales 2025"), ("7c41e2b0", "code", LOAD + "sales.head(3)")],
    "report.ipynb": [
        ("3b0f9d12", "code", LOAD.removesuffix("\n")),
        ("a1f96c55", "code", 'by_region = sales.groupby("Region")["revenue"].sum()'),
        ("c2e8047d", "code", "by_region.idxmax()"),
    ],
    "clean.ipynb": [
        (
            "e47a10c9",
            "code",
            "def clean(frame, year=None):\n    frame = frame.dropna()\n    return frame\n\ncleaned = clean(sales)",
        ),
        ("0d9b7f31", "code", "sales.sample(5)"),
    ],
    "tidy.ipynb": [
        ("c95e3a74", "code", "def clean(frame):\n    frame = frame.dropna()\n    return frame"),
        ("47d0be16", "code", "clean(sales).sample(5)"),
    ],
    "train.ipynb": [
        (
            "b8d21f06",
            "code",
            'import os, time\n\nprint("waiting for the export", flush=True)\nwhile not os.path.exists("export.csv"):\n'
            '    time.sleep(0.1)\nmodel = "trained"\nprint("done")',
        ),
        ("41ce95aa", "code", "while True:\n    time.sleep(0.1)"),
        ("9f603e7b", "code", "model.upper()"),
        ("62d5b8ec", "code", 'while not os.path.exists("ready"):\n    time.sleep(0.1)'),
    ],
    "ask.ipynb": [("d3f0a864", "code", 'region = input("Which region? ")\nprint(f"Looking at {region}")')],
    "notes.ipynb": [
        ("f5521b9d", "markdown", "# Notes"),
        ("18ac4e70", "code", "threshold = 10"),
        ("2e7b96d4", "code", "limit = threshold * 2"),
    ],
    "loop.ipynb": [
        (
            "6fd20b3e",
            "code",
            'total = 0\nfor revenue in sales["revenue"]:\n    total += revenue\nprint(total)',
        )
    ],
    "todo.ipynb": [("84b1d0f7", "code", "1 + 1")],
}
SALES = "month,region,revenue\n" + "".join(
    f"2025-{month:02},{region},{base + 35 * month * step}\n"
    for month in range(1, 7)
    for region, base, step in [("north", 900, 1), ("south", 1200, 2)]
)


class Stage:
    """One section: the agent, and Ada at her page."""

    def __init__(self, server: Server, agent: McpAgent, stack: AsyncExitStack) -> None:
        assert server.root_dir is not None
        self.server, self.agent, self.stack = server, agent, stack
        self.root = Path(server.root_dir)
        self.path = ""
        self.ada: Human | None = None
        self.kernel: KernelClient | None = None

    async def act(self, line: str) -> None:
        """Do what a ``--`` line says, and wait until the agent has heard of it."""
        if opened := re.fullmatch(r"Ada opens (\S+) in JupyterLab", line):
            await self.open(opened[1])
            return
        await self.ACTIONS[line](self)
        if self.ada is not None and self.agent.agent.open_paths:
            await self.agent.sees(self.ada)

    async def open(self, path: str) -> None:
        """Ada's page: she is in the room, and her page has a session with a kernel."""
        self.path = path
        api = await self.stack.enter_async_context(JupyterApi(self.server))
        session = await api.ensure_session(path)
        self.ada = await self.stack.enter_async_context(Human.join_server(self.server, path))
        self.kernel = await self.stack.enter_async_context(
            KernelClient.connect(self.server, session.kernel.id, username="Ada")
        )
        await self.kernel.wait_idle()  # it has started
        if self.agent.agent.open_paths:
            await self.agent.hears(lambda: bool(self.agent.peer().peers))

    @property
    def human(self) -> Human:
        assert self.ada is not None
        return self.ada

    async def _drop_duplicates(self) -> None:
        await self.human.type(0, ".drop_duplicates()", self.human.source(0).index("\n    return"))

    async def _add_year(self) -> None:
        await self.human.type(0, ", 2025", len(self.human.source(0)) - 1)

    async def _click(self) -> None:
        await self.human.place_caret(1)
        await self.agent.hears(lambda: [peer.cell_id for peer in self.agent.peer().peers] == [self.human.ids()[1]])

    async def _entitle(self) -> None:
        await self.human.wait_for(lambda: len(self.human.ids()) == 3)
        await self.human.type(2, " and counted")

    async def _arrive(self) -> None:
        (self.root / "export.csv").touch()

    async def _run_last(self) -> None:
        assert self.kernel is not None
        await self.human.place_caret(3)
        await self.human.mark_running(3, True)
        await self.agent.hears(lambda: self.agent.peer().view.cells[3].running)
        self.kernel.send_execute(self.human.source(3), cell_id=self.human.ids()[3], on_message=lambda _event: None)
        client = self.agent.peer().kernel
        assert client is not None
        begun = anyio.Event()
        unsubscribe = client.on_foreign(lambda _event: begun.set())
        with anyio.fail_after(30):
            while client.foreign_busy is None:
                await begun.wait()
        unsubscribe()

    async def _end_run(self) -> None:
        assert self.kernel is not None
        (self.root / "ready").touch()
        await self.kernel.wait_idle()
        await self.human.mark_running(3, False, 4)
        await self.agent.hears(lambda: self.agent.peer().view.cells[3].execution_count == 4)

    async def _take_notes(self) -> None:
        await self.human.insert_cell(1, "Ask Bob about the threshold.", "markdown")
        await self.human.type(3, "  # why 2?")
        await self.agent.hears(lambda: [peer.cell_id for peer in self.agent.peer().peers] == [self.human.ids()[3]])

    async def _comment(self) -> None:
        await self.human.type(0, "# in euros\n", 0)

    async def _merge(self) -> None:
        async with JupyterApi(self.server) as api:
            limits = Limits(line_quiet_s=0)
            async with Reviewer.joined(api, self.path, "Ada", limits, announced_s=0) as reviewer:
                (kept,) = await reviewer.suggestions()
                await reviewer.merge(kept)
        await self.human.wait_for(lambda: "sum()" in self.human.source(0))

    async def _note_threshold(self) -> None:
        await self.human.type(2, "  # Bob says 12")
        await self.agent.hears(lambda: [peer.head for peer in self.agent.peer().peers] == [len(self.human.source(2))])

    ACTIONS: ClassVar[dict[str, Callable[[Stage], Awaitable[None]]]] = {
        "Ada types `.drop_duplicates()` at the end of line 2": _drop_duplicates,
        "Ada changes `clean(sales)` to `clean(sales, 2025)`": _add_year,
        "Ada clicks into the second cell": _click,
        "Ada types ` and counted` at the end of the new cell": _entitle,
        "the file that the cell waits for arrives": _arrive,
        "Ada runs the last cell, which takes a while": _run_last,
        "her run ends": _end_run,
        "Ada inserts a cell below the first one, and types in the last one": _take_notes,
        "Ada types `# in euros` above the first line": _comment,
        "Ada merges the suggestion, with `m` in her terminal": _merge,
        "Ada types `  # Bob says 12` at the end of the second cell": _note_threshold,
    }


def sections() -> dict[str, list[str]]:
    """Section title -> its transcripts."""
    parts = SECTION.split(PAGE.read_text("utf-8"))[1:]
    found = {title: BLOCK.findall(text) for title, text in zip(parts[::2], parts[1::2], strict=True)}
    return {title: blocks for title, blocks in found.items() if blocks}


def call_of(line: str) -> tuple[str, dict[str, Any]]:
    """``setup_notebook("x.ipynb", action="open")`` -> its name and arguments."""
    call = ast.parse(line.removeprefix(">>> ").replace("true", "True"), mode="eval").body
    assert isinstance(call, ast.Call)
    assert isinstance(call.func, ast.Name)
    arguments = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    if call.args:
        arguments["notebook_path"] = ast.literal_eval(call.args[0])
    return call.func.id, arguments


def text_of(result: Result) -> list[str]:
    """An answer as the page writes it."""
    return [*result.text.splitlines(), *(f"(picture: {kind})" for kind, _data in result.images)]


async def replayed(stage: Stage, block: str) -> str:
    """The block with the answers that come now."""
    lines: list[str] = []
    for line in block.splitlines():
        if line.startswith(">>> "):
            tool, arguments = call_of(line)
            lines += [line, *text_of(await stage.agent.call(tool, **arguments))]
        elif line.startswith("-- "):
            await stage.act(line.removeprefix("-- "))
            lines.append(line)
    return "\n".join(lines) + "\n"


def pattern_of(block: str) -> str:
    """What an answer must look like."""
    parts = ["(?:.*\n)+?" if line == "…" else re.escape(VARYING.sub("N", line)) + "\n" for line in block.splitlines()]
    return "".join(parts)


@asynccontextmanager
async def staged(server: Server, seed: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    """A stage with fresh notebooks; ids of new cells follow from ``seed``."""
    assert server.root_dir is not None
    root = Path(server.root_dir)
    for name, cells in NOTEBOOKS.items():
        specs = [{"id": cell_id, "cell_type": kind, "source": source} for cell_id, kind, source in cells]
        (root / name).write_text(json.dumps(notebook_of(specs)), "utf-8")
    (root / "sales.csv").write_text(SALES, "utf-8")
    numbers = random.Random(seed)
    monkeypatch.setattr(collab_agent.notebook.edits, "uuid4", lambda: uuid.UUID(int=numbers.getrandbits(128)))
    monkeypatch.setattr("collab_agent.testing.human.uuid4", lambda: uuid.UUID(int=numbers.getrandbits(128)))
    monkeypatch.setattr(collab_agent.server.tools, "PEOPLE_S", 0.0)  # Ada's page has announced itself
    monkeypatch.setattr(collab_agent.server.others, "IDLE_S", float("inf"))  # this machine may be slow
    async with AsyncExitStack() as stack:
        limits = Limits(line_quiet_s=0, typed_out_s=0)  # between what Ada does and the next call some seconds go by
        agent = await stack.enter_async_context(mcp_agent_on(server, limits=limits))
        yield Stage(server, agent, stack)


@pytest.mark.parametrize("title", sections())
async def test_what_the_page_shows_is_what_a_model_gets(
    jupyter: Server, monkeypatch: pytest.MonkeyPatch, title: str
) -> None:
    async with staged(jupyter, title, monkeypatch) as stage:
        for block in sections()[title]:
            now = await replayed(stage, block)
            assert re.fullmatch(pattern_of(block), VARYING.sub("N", now)), now
