"""The scripted agent: an MCP client on real stdio, like the one that a model sits behind."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anyio
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, ImageContent, Implementation, TextContent

from ..config import Server
from ..errors import CollabAgentError, sole_cause
from .ledger import CellText, Ledger
from .report import Report, quoted
from .tempo import Tempo
from .typist import Typist

NAME = "Goose"
_SINCE = "since your last call: "
_RUN = re.compile(r"^run \S+ (\S+) \[(.*?)\] (\w+) [\d.]+ s$", re.MULTILINE)
_MADE = re.compile(r"^inserted (\S+) \(", re.MULTILINE)
_LINE = re.compile(r"^ *\d+│(.*)$", re.MULTILINE)
_HEADER = re.compile(r"^(?:#\d+ )?(\S+) (?:code|markdown|raw) \[", re.MULTILINE)
_RAISED = re.compile(r"(?<=^│)\w+(?:Error|Exception): .*$", re.MULTILINE)
_POLL_S = 0.05
_HEARS_S = 10.0
_RUN_S = 90.0
"""The first import of scikit-learn and matplotlib after an installation compiles them, and looks for fonts."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a tool answered."""

    text: str
    images: tuple[ImageContent, ...] = ()
    refused: bool = False

    @property
    def since(self) -> str:
        """What others did meanwhile, as the last line tells; empty if nothing."""
        last = self.text.rpartition("\n")[2]
        return last.removeprefix(_SINCE) if last.startswith(_SINCE) else ""


@dataclass(slots=True)
class Count:
    """What the agent has done.  ``between``: how many of its edits fell between two keystrokes of one burst."""

    edits: int = 0
    between: int = 0
    refused: int = 0
    runs: int = 0
    failed: list[str] = field(default_factory=list)
    pictures: int = 0


class ScriptedAgent:
    """An agent with a script.  What it edits is entered in the ledger and told by the report."""

    def __init__(self, client: Client, ledger: Ledger, report: Report, tempo: Tempo, beside: Typist) -> None:
        self.name = NAME
        self.count = Count()
        self._client = client
        self._ledger = ledger
        self._report = report
        self._tempo = tempo
        self._beside = beside

    # Its deeds.

    async def opens(self, path: str) -> None:
        """Join the notebook's room."""
        answer = await self._call("setup_notebook", notebook_path=path)
        here, kernel = _after(answer.text, "here: "), _after(answer.text, "kernel: ")
        self._report.line(NAME, f"joins over MCP: {_first(answer.text)}; here is {here}; kernel {kernel}")

    async def reads(self) -> None:
        """Read the sources of all cells: later edits are made on the text that is shown now."""
        answer = await self._call("query_notebook", query="cells", cells=["all"])
        self._report.line(NAME, f"reads all {len(_HEADER.findall(answer.text))} cells")

    async def lists(self) -> None:
        """Have an outline shown: ``#N`` counts as listed there."""
        answer = await self._call("query_notebook", query="outline")
        self._report.line(NAME, f"looks at the outline: {_first(answer.text)}")

    async def hears(self, text: str, of: str) -> None:
        """Wait until what somebody typed is in this agent's replica; a search does not count as reading the cell."""
        told = ""
        with anyio.move_on_after(_HEARS_S) as scope:
            while True:
                answer = await self._call("query_notebook", query="search", pattern=re.escape(text))
                told = answer.since or told
                if not answer.text.startswith("no line matches"):
                    break
                await anyio.sleep(_POLL_S)
        if scope.cancelled_caught:
            raise CollabAgentError(f"What {of} typed, {text!r}, did not reach {NAME} within {_HEARS_S:.0f} s.")
        if told:
            self._report.line(NAME, f"is told: since your last call: {told}")

    async def edits(self, *edits: Mapping[str, Any], to: str | None = None) -> Answer:
        """Edit cells, all or none; ``to`` is the cell that is meant where a reference of another kind is given."""
        await self._pace()
        answer = await self._call("modify_notebook_cells", edits=list(edits))
        self._made([{**edit, "cell": to} for edit in edits] if to else edits, answer)
        return answer

    async def is_refused(self, edit: Mapping[str, Any]) -> Answer:
        """Try an edit that must be refused, with nothing written."""
        await self._pace()
        answer = await self._try("modify_notebook_cells", edits=[edit])
        if not answer.refused:
            raise CollabAgentError(f"An edit that touches what a human typed was not refused: {answer.text}")
        self.count.refused += 1
        self._report.line(NAME, f"wants to {_told(edit)}")
        self._report.line("", f"is refused: {_first(answer.text)}")
        return answer

    async def runs(self, *cells: str, edits: Sequence[Mapping[str, Any]] = (), fails: bool = False) -> Answer:
        """Run cells, or make edits and run what they touched; ``fails``: whether a cell may raise."""
        await self._pace()
        given: dict[str, Any] = {"edits": list(edits)} if edits else {"cells": list(cells)}
        answer = await self._call("execute_notebook_code", **given, wait_s=_RUN_S)
        self._made(edits, answer)
        ran = _RUN.findall(answer.text)
        self._report.line(NAME, f"runs {', '.join(f'{cell}: [{count}] {state}' for cell, count, state in ran)}")
        for cell, _, state in ran:
            self.count.runs += 1
            if state not in ("ok", "error") or (state == "error" and not fails):
                raise CollabAgentError(f"{NAME}'s run of {cell} came to {state!r}:\n{answer.text[-600:]}")
        for error in _RAISED.findall(answer.text)[-1:]:
            self.count.failed.append(error)
            self._report.line(NAME, f"sees {error}")
        for image in answer.images:
            self.count.pictures += 1
            self._report.line(NAME, f"gets the figure ({image.mime_type}, {len(image.data) * 3 // 4 // 1000} kB)")
        return answer

    async def asks(self, code: str) -> str:
        """Run code aside, which leaves no trace in the notebook."""
        await self._pace()
        answer = await self._call("execute_notebook_code", code=code)
        self._report.line(NAME, f"asks the kernel, aside: {code}")
        return answer.text

    async def saves(self) -> None:
        """Have the file written."""
        answer = await self._call("setup_notebook", action="save")
        self._report.line(NAME, _first(answer.text))

    async def leaves(self) -> None:
        """Leave the room."""
        await self._call("setup_notebook", action="leave")
        self._report.line(NAME, "leaves; the kernel goes on")

    async def view(self) -> tuple[CellText, ...]:
        """The whole notebook as this agent is shown it, a call per cell."""
        outline = await self._call("query_notebook", query="outline")
        found: list[CellText] = []
        for cell in _HEADER.findall(outline.text):
            answer = await self._call("query_notebook", query="cells", cells=[cell])
            found.append(CellText(cell, "\n".join(_LINE.findall(answer.text))))
        return tuple(found)

    # How.

    async def _pace(self) -> None:
        await self._beside.presses(self._tempo.keys_between)
        await anyio.sleep(self._tempo.step_s)

    def _made(self, edits: Sequence[Mapping[str, Any]], answer: Answer) -> None:
        self._ledger.enter(edits, _MADE.findall(answer.text))
        for edit in edits:
            self.count.edits += 1
            self.count.between += self._beside.amid
            self._report.line(NAME, _told(edit, done=True))

    async def _call(self, tool: str, **arguments: Any) -> Answer:
        """A call that must succeed."""
        answer = await self._try(tool, **arguments)
        if answer.refused:
            raise CollabAgentError(f"{NAME}'s call of {tool} was refused: {answer.text}")
        return answer

    async def _try(self, tool: str, **arguments: Any) -> Answer:
        result: CallToolResult = await self._client.call_tool(tool, arguments)
        texts = [part.text for part in result.content if isinstance(part, TextContent)]
        images = tuple(part for part in result.content if isinstance(part, ImageContent))
        return Answer("\n".join(texts), images, bool(result.is_error))


@asynccontextmanager
async def mcp_client(server: Server, env: Mapping[str, str], cwd: Path, log: Path) -> AsyncIterator[Client]:
    """A client of ``collab-agent`` in a process of its own, on stdio; the token goes through the environment.

    What the process says on stderr goes to ``log``; its last line is told if it ends too soon.
    """
    command = StdioServerParameters(
        command=sys.executable,
        args=["-m", "collab_agent"],
        env={**env, "JUPYTER_URL": server.url, "JUPYTER_TOKEN": server.token},
        cwd=cwd,
    )
    info = Implementation(name=NAME, version=version("collab-agent"))
    try:
        with log.open("w", encoding="utf-8", errors="replace") as errors:
            async with Client(stdio_client(command, errors), mode="legacy", client_info=info) as client:
                yield client
    except (MCPError, BaseExceptionGroup) as exc:
        cause = sole_cause(exc)
        if not isinstance(cause, MCPError):
            raise
        raise CollabAgentError(f"collab-agent on stdio: {cause}. The end of its stderr: {_last_line(log)}") from None


def _last_line(log: Path) -> str:
    return log.read_text("utf-8", "replace").strip().rpartition("\n")[2] or "(empty)"


def _after(text: str, start: str) -> str:
    """The rest of the first line that begins so."""
    return next((line.removeprefix(start) for line in text.splitlines() if line.startswith(start)), "")


def _first(text: str) -> str:
    return text.partition("\n")[0]


def _told(edit: Mapping[str, Any], *, done: bool = False) -> str:
    """An edit in words."""
    s = "s" if done else ""
    if edit["op"] == "replace":
        return f"replace{s} {quoted(edit['old'], 30)} by {quoted(edit['new'], 44)} in {edit['cell'][:4]}"
    if edit["op"] == "write":
        return f"write{s} the whole of {edit['cell'][:4]} anew: {quoted(edit['source'], 50)}"
    where = f"above {edit['before'][:4]}" if "before" in edit else f"below {edit['after'][:4]}"
    return f"insert{s} a {edit.get('type', 'code')} cell {where}: {quoted(edit['source'], 56)}"
