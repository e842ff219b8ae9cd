"""A program of the comparison at work: installed into an environment of its own, started, asked, and counted."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

import anyio
from latency import mcp_client
from mcp.client.client import Client
from rivals import Adapter, Cell, Nb, Request

from collab_agent.config import Server
from collab_agent.testing import Human

TRIES = 3
"""How often a model repeats an edit that was refused, each time after reading again."""


@dataclass
class Session:
    """One program at work, and what went through its model."""

    adapter: Adapter
    server: Server
    ask: Callable[[Request], Awaitable[tuple[str, bool]]]
    tool_bytes: int = 0
    sent: int = 0
    received: int = 0
    refused: int = 0
    spent_s: float = 0.0
    times: dict[str, list[float]] = field(default_factory=dict)

    async def do(self, request: Request | None, what: str = "") -> str:
        """Call, count, and note the time of a success under ``what``.

        Raises Refused with the answer.
        """
        if request is None:
            return ""
        begin = time.perf_counter()
        text, failed = await self.ask(request)
        taken = (time.perf_counter() - begin) * 1000
        self.spent_s += taken / 1000
        self.sent += len(request.text().encode())
        self.received += len(text.encode())
        if failed:
            self.refused += 1
            raise Refused(text)
        if what:
            self.times.setdefault(what, []).append(taken)
        return text


class Refused(Exception):
    """The program answered with an error."""


# Installing and starting


def installed(adapter: Adapter, venvs: Path) -> tuple[Path, str]:
    """The folder of the program's executables and its version; installs it where it is missing."""
    program = adapter.program
    if not program.packages:
        return Path(sys.executable).parent, version("collab-agent")
    home = venvs / re.sub(r"\W+", "-", " ".join(program.packages)).strip("-")
    done = home / "installed"
    if not done.exists():
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
        uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", str(home / "bin" / "python")]
        subprocess.run([*uv, *program.packages], check=True, env=os.environ | {"VIRTUAL_ENV": str(home)})
        done.touch()
    uv = [sys.executable, "-m", "uv", "pip", "show", "--python", str(home / "bin" / "python")]
    told = subprocess.run([*uv, program.shown], check=True, capture_output=True, text=True).stdout
    return home / "bin", re.findall(r"^Version: (.+)$", told, re.MULTILINE)[0]


@asynccontextmanager
async def session(adapter: Adapter, binaries: Path, server: Server, folder: Path) -> AsyncIterator[Session]:
    """The program, ready to be asked."""
    assert server.token is not None
    env = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")}
    env |= adapter.env(server.url, server.token)
    if isinstance(adapter, Nb):
        nb = str(binaries / "nb")
        connect = [nb, "connect", "--server", server.url.rstrip("/"), "--token", server.token]
        begin = time.perf_counter()
        await anyio.run_process(connect, cwd=folder, env=env)
        made = Session(adapter, server, _asker_of_program(nb, folder, env))
        made.times["start"] = [(time.perf_counter() - begin) * 1000]
        helps = [await anyio.run_process([nb, *words, "--help"]) for words in adapter.help]
        made.tool_bytes = sum(len(each.stdout) for each in helps)
        yield made
        return
    command = (
        [str(binaries / adapter.program.command)] if adapter.program.command else [sys.executable, "-m", "collab_agent"]
    )
    begin = time.perf_counter()
    async with mcp_client(command, env, folder) as client:
        made = Session(adapter, server, _asker_of_mcp(client))
        made.times["start"] = [(time.perf_counter() - begin) * 1000]
        made.tool_bytes = await tool_bytes(client)
        yield made


def _asker_of_mcp(client: Client) -> Callable[[Request], Awaitable[tuple[str, bool]]]:
    async def ask(request: Request) -> tuple[str, bool]:
        result = await client.call_tool(request.tool, dict(request.arguments))
        text = "\n".join(block.text for block in result.content if block.type == "text")
        return text, bool(result.is_error) or '"error": "' in text.replace('"error": ""', "")

    return ask


def _asker_of_program(nb: str, folder: Path, env: dict[str, str]) -> Callable[[Request], Awaitable[tuple[str, bool]]]:
    async def ask(request: Request) -> tuple[str, bool]:
        done = await anyio.run_process([nb, *request.argv], cwd=folder, env=env, check=False)
        return (done.stdout + done.stderr).decode(), done.returncode != 0 and "@@output" not in done.stdout.decode()

    return ask


async def tool_bytes(client: Client) -> int:
    """UTF-8 bytes of what a client puts before the model: instructions, names, descriptions, input schemas."""
    tools = [
        {"name": tool.name, "description": tool.description, "input_schema": tool.input_schema}
        for tool in (await client.list_tools()).tools
    ]
    text = json.dumps(tools, ensure_ascii=False, separators=(",", ":")) + (client.instructions or "")
    return len(text.encode())


# What a model does with it


async def known(human: Human, index: int) -> Cell:
    """The cell that stands at this index, as an overview, or the model's own last edit, would have told."""
    return Cell(human.ids()[index], index, human.source(index))


async def insist(
    at_work: Session, path: str, cell: Cell, make: Callable[[Adapter, Cell], Request], what: str = ""
) -> str:
    """Ask; where it is refused, read again and repeat, as a model would.

    Raises Refused the third time.
    """
    for _ in range(TRIES - 1):
        try:
            return await at_work.do(make(at_work.adapter, cell), what)
        except Refused:
            with suppress(Refused):
                cell = await reading(at_work, path, cell)
    return await at_work.do(make(at_work.adapter, cell), what)


async def reading(at_work: Session, path: str, cell: Cell, what: str = "") -> Cell:
    """Read a cell; what the model then knows of it."""
    answer = await at_work.do(at_work.adapter.read(path, cell), what)
    return replace(cell, source=at_work.adapter.source(answer))
