"""Many clients and many notebooks in one process: ``collab-agent serve --http`` under load.

    python tests/benchmarks/http_load.py [--clients 20] [--notebooks 5] [--minutes 10] [--pace 3]

A real JupyterLab, one agent process, and real MCP clients over HTTP, each with a secret of its own.  Every client has
all notebooks open, and about every ``pace`` seconds looks, edits a cell of its own or runs it, in one of them.  At the
end a human's replica of each notebook, and its file, must hold exactly what the clients were told that they wrote.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import httpx2
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import Implementation, TextContent

from collab_agent.config import Server
from collab_agent.jupyter.discovery import running_servers
from collab_agent.jupyter.embedded import embedded_lab
from collab_agent.testing import Human

CALL_S = 90.0
ADDRESS = re.compile(r"serves MCP at (\S+)")
NEW_ID = re.compile(r"^inserted (\w+)|\binserted \W*(\w{4,})", re.MULTILINE)
KINDS = {"outline": 30, "cells": 15, "changes": 10, "edit": 30, "run": 15}
"""What a client does next, and how often of a hundred."""


@dataclass(frozen=True)
class Load:
    """How much."""

    clients: int
    notebooks: int
    seconds: float
    pace_s: float
    seed: int = 1

    @property
    def paths(self) -> list[str]:
        return [f"load-{n}.ipynb" for n in range(self.notebooks)]


@dataclass
class Record:
    """What was measured."""

    took: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Seconds of each kind of call that was answered well."""
    errors: list[str] = field(default_factory=list)
    wanted: dict[tuple[str, str], str] = field(default_factory=dict)
    """What a client was told that its cell in a notebook holds."""
    wrong: list[str] = field(default_factory=list)
    """Where a replica or a file does not hold that, or holds it twice."""
    memory: list[tuple[float, float]] = field(default_factory=list)
    """Resident MB of the agent process and of the Jupyter server: when all were there, and at the end."""
    agents_seen: int = 0
    """How many agents a human saw in one notebook."""


class Worker:
    """One MCP client, and the cells that it has made."""

    def __init__(self, name: str, client: Client, load: Load, record: Record) -> None:
        self.name = name
        self._client = client
        self._load = load
        self._record = record
        self._random = random.Random(f"{load.seed} {name}")
        self._cells: dict[str, str] = {}

    async def _call(self, kind: str, tool: str, **arguments: object) -> str | None:
        """The answer's text, timed; None where it failed, which is noted."""
        began = time.perf_counter()
        try:
            with anyio.fail_after(CALL_S):
                answer = await self._client.call_tool(tool, arguments)
        except Exception as error:
            self._record.errors.append(f"{kind}: {type(error).__name__}: {error}"[:300])
            return None
        text = "\n".join(part.text for part in answer.content if isinstance(part, TextContent))
        if answer.is_error:
            self._record.errors.append(f"{kind}: {text}"[:300])
            return None
        self._record.took[kind].append(time.perf_counter() - began)
        return text

    async def open_all(self) -> None:
        """Open every notebook, and make a cell in it."""
        for path in self._load.paths:
            await self._call("open", "setup_notebook", notebook_path=path)
            source = f"# {self.name}"
            told = await self._call(
                "insert",
                "modify_notebook_cells",
                notebook_path=path,
                edits=[{"op": "insert", "source": source}],
            )
            found = NEW_ID.search(told or "")
            assert found is not None, told
            self._cells[path] = found[1] or found[2]
            self._record.wanted[path, self.name] = source

    async def work(self) -> None:
        """Do this and that until cancelled."""
        while True:
            await anyio.sleep(self._random.expovariate(1 / self._load.pace_s))
            path = self._random.choice(self._load.paths)
            with anyio.CancelScope(shield=True):  # what was begun is known in the end
                await self._step(self._random.choices(list(KINDS), list(KINDS.values()))[0], path)

    async def _step(self, kind: str, path: str) -> None:
        cell = self._cells[path]
        match kind:
            case "outline" | "changes":
                await self._call(kind, "query_notebook", notebook_path=path, query=kind)
            case "cells":
                await self._call(kind, "query_notebook", notebook_path=path, query="cells", cells=[cell])
            case "edit":
                old = self._record.wanted[path, self.name]
                new = f"# {self.name}\n{self._random.getrandbits(30)} + {len(old)}"
                edits = [{"op": "write", "cell": cell, "source": new}]
                if await self._call(kind, "modify_notebook_cells", notebook_path=path, edits=edits) is not None:
                    self._record.wanted[path, self.name] = new
            case "run":
                await self._call(kind, "execute_notebook_code", notebook_path=path, cells=[cell])


@asynccontextmanager
async def client_of(url: str, secret: str, name: str) -> AsyncIterator[Client]:
    """An MCP client that has this secret."""
    headers = {"Authorization": f"Bearer {secret}"}
    async with AsyncExitStack() as stack:
        web = await stack.enter_async_context(httpx2.AsyncClient(headers=headers, trust_env=False, timeout=CALL_S))
        transport = streamable_http_client(url, http_client=web)
        info = Implementation(name=name, version="1")
        yield await stack.enter_async_context(Client(transport, mode="auto", client_info=info))


@asynccontextmanager
async def served(server: Server, folder: Path, names: list[str]) -> AsyncIterator[tuple[str, dict[str, str], int]]:
    """The agent process: its address, the secret of each client, its process id."""
    known = {name: secrets.token_hex(20) for name in names}
    file = folder / "secrets"
    file.write_text("".join(f"{name} {secret}\n" for name, secret in known.items()), "utf-8")
    file.chmod(0o600)
    argv = ["-m", "collab_agent", "serve", "--http", "127.0.0.1:0", "--http-token-file", str(file)]
    env = os.environ | {"JUPYTER_URL": server.url, "JUPYTER_TOKEN": server.token}
    said = folder / "agent.log"
    with said.open("wb") as log:
        process = await anyio.open_process(
            [sys.executable, *argv, "--max-clients", str(len(names))], env=env, stdout=subprocess.DEVNULL, stderr=log
        )
    try:
        with anyio.fail_after(CALL_S):
            while True:
                if (found := ADDRESS.search(await anyio.Path(said).read_text("utf-8"))) is not None:
                    break
                await anyio.sleep(0.05)
        yield found[1], known, process.pid
    finally:
        process.terminate()
        with anyio.CancelScope(shield=True):
            await process.wait()


def resident_mb(pid: int) -> float:
    """What a process holds in memory (Linux)."""
    return int(re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text("utf-8"))[0]) / 1024


def write_notebooks(root: Path, load: Load) -> None:
    """The notebooks, each with a few cells of its own."""
    cells = [
        {
            "id": f"base{n}",
            "cell_type": "code",
            "metadata": {},
            "source": f"v{n} = {n}",
            "outputs": [],
            "execution_count": None,
        }
        for n in range(20)
    ]
    for path in load.paths:
        (root / path).write_text(
            json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}), "utf-8"
        )


async def drive(server: Server, folder: Path, load: Load) -> Record:
    """Put the load on; ``folder`` is for what the agent process needs and says."""
    assert server.root_dir is not None
    assert server.runtime_dir is not None
    server_pid = next(each.pid for each in running_servers(server.runtime_dir) if each.server.url == server.url)
    write_notebooks(Path(server.root_dir), load)
    record = Record()
    names = [f"client-{n}" for n in range(load.clients)]
    async with served(server, folder, names) as (url, known, pid), AsyncExitStack() as stack:
        workers = [
            Worker(name, await stack.enter_async_context(client_of(url, known[name], name)), load, record)
            for name in names
        ]
        humans = [await stack.enter_async_context(Human.join_server(server, path)) for path in load.paths]
        async with anyio.create_task_group() as tasks:
            for worker in workers:
                tasks.start_soon(worker.open_all)
        await humans[0].wait_for(lambda: len(_agents(humans[0])) == load.clients)
        record.agents_seen = len(_agents(humans[0]))
        record.memory.append((resident_mb(pid), resident_mb(server_pid)))
        async with anyio.create_task_group() as tasks:
            for worker in workers:
                tasks.start_soon(worker.work)
            await anyio.sleep(load.seconds)
            tasks.cancel_scope.cancel()
        record.memory.append((resident_mb(pid), resident_mb(server_pid)))
        for path, human in zip(load.paths, humans, strict=True):
            await _compare(path, human, workers[0], record, Path(server.root_dir, path))
    return record


def _agents(human: Human) -> set[str]:
    return {state["user"]["name"] for state in human.peers().values() if "collab_agent" in state}


async def _compare(path: str, human: Human, worker: Worker, record: Record, file: Path) -> None:
    """A human's replica and the file against what the clients were told."""
    wanted = sorted(source for (where, _), source in record.wanted.items() if where == path)
    own = lambda sources: sorted(source for source in sources if source.startswith("# client-"))  # noqa: E731
    with anyio.move_on_after(CALL_S):
        await human.wait_for(lambda: own(human.sources()) == wanted)
    await worker._call("save", "setup_notebook", notebook_path=path, action="save")
    cells = json.loads(await anyio.Path(file).read_text("utf-8"))["cells"]
    for what, sources in (("replica", human.sources()), ("file", ["".join(cell["source"]) for cell in cells])):
        if own(sources) != wanted or len(sources) != 20 + len(wanted):
            record.wrong.append(f"{path}: the {what} differs from what was told")


def table(load: Load, record: Record) -> str:
    """What was measured, as the page shows it."""
    rows = ["| call | how many | median | p99 | worst |", "| --- | ---: | ---: | ---: | ---: |"]
    for kind, took in record.took.items():
        ms = sorted(1000 * each for each in took)
        p99 = ms[min(len(ms) - 1, int(len(ms) * 0.99))]
        rows.append(f"| {kind} | {len(ms):,} | {statistics.median(ms):.0f} ms | {p99:.0f} ms | {ms[-1]:.0f} ms |")
    (agent, lab), (agent_end, lab_end) = record.memory
    calls = sum(map(len, record.took.values()))
    return "\n".join(
        [
            *rows,
            "",
            f"{load.clients} clients, {load.notebooks} notebooks, {load.seconds:.0f} s, {calls:,} calls; "
            f"{record.agents_seen} agents seen in one notebook.",
            f"{len(record.errors)} errors; {len(record.wrong)} replicas or files that differ.",
            f"Agent process: {agent:.0f} MB when all were there, {agent_end:.0f} MB at the end; "
            f"JupyterLab: {lab:.0f} MB, {lab_end:.0f} MB.",
            f"Load average of the machine at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.",
            *record.errors[:20],
            *record.wrong,
        ]
    )


async def main(load: Load) -> None:
    """Measure, and print."""
    with tempfile.TemporaryDirectory() as folder:
        await anyio.Path(root := Path(folder, "notebooks")).mkdir()
        async with embedded_lab(root, env=os.environ) as lab:
            print(table(load, await drive(lab.server, Path(folder), load)), flush=True)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--clients", type=int, default=20)
    options.add_argument("--notebooks", type=int, default=5)
    options.add_argument("--minutes", type=float, default=10.0)
    options.add_argument("--pace", type=float, default=3.0, help="seconds between two calls of a client, on average")
    chosen = options.parse_args()
    anyio.run(main, Load(chosen.clients, chosen.notebooks, 60 * chosen.minutes, chosen.pace))
