"""How long a tool call takes, over MCP stdio against a real JupyterLab with a human peer in the room.

    python tests/benchmarks/latency.py [--quick] [--markdown FILE]

Everything is measured side by side in one run, because machines differ and are noisy: medians, and their ratios.
The plain websocket client is what a user would write: `websockets.connect`, one `execute_request`, wait for reply and
idle.  The bare MCP server is the SDK's own high-level server with one tool.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from mcp import StdioServerParameters
from mcp.client.client import Client
from mcp.client.stdio import stdio_client
from mcp_types import Implementation
from websockets.asyncio.client import ClientConnection, connect

from collab_agent.config import Server
from collab_agent.jupyter.api import JupyterApi
from collab_agent.jupyter.embedded import embedded_lab
from collab_agent.kernel.messages import MessageFactory
from collab_agent.kernel.wire import SUBPROTOCOL, decode
from collab_agent.testing import Human

Call = Callable[..., Awaitable[str]]

BARE_SERVER = """
from mcp.server.mcpserver import MCPServer
server = MCPServer("bare")
@server.tool()
def hello() -> str:
    return "hello"
server.run()
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; times in milliseconds."""

    what: str
    median_ms: float
    goal: str
    best_ms: float


async def medians(repeats: int, work: Callable[[int], Awaitable[Any]], what: str, goal: str = "") -> Row:
    """The median over ``repeats`` runs of ``work``, after two that do not count."""
    times: list[float] = []
    for number in range(-2, repeats):
        start = time.perf_counter()
        await work(number)
        if number >= 0:
            times.append((time.perf_counter() - start) * 1000)
    return Row(what, statistics.median(times), goal, min(times))


@asynccontextmanager
async def mcp_client(command: Sequence[str], env: dict[str, str], cwd: Path) -> AsyncIterator[Client]:
    """A real MCP client with its server as a child process."""
    parameters = StdioServerParameters(command=command[0], args=list(command[1:]), env=env, cwd=str(cwd))
    with (cwd / "stderr.log").open("a") as log:
        transport = stdio_client(parameters, errlog=log)
        async with Client(transport, mode="legacy", client_info=Implementation(name="bench", version="1")) as client:
            yield client


def caller(client: Client) -> Call:
    """Calls a tool and insists on success."""

    async def call(tool: str, **arguments: Any) -> str:
        result = await client.call_tool(tool, arguments)
        text = "\n".join(block.text for block in result.content if block.type == "text")
        if result.is_error:
            raise RuntimeError(text)
        return text

    return call


def write_notebook(root: Path, name: str, cells: int, output_mb: int = 0) -> str:
    """A notebook of ``cells`` code cells, of which ten share ``output_mb`` megabytes of picture-like outputs."""
    made = [
        {
            "id": uuid.uuid4().hex[:12],
            "cell_type": "code",
            "metadata": {},
            "source": f"value_{number} = {number}\nprint(value_{number})",
            "outputs": [],
            "execution_count": None,
        }
        for number in range(cells)
    ]
    for number in range(10 if output_mb else 0):
        payload = "QUJD" * (output_mb * 1_000_000 // 40)
        made[number]["outputs"] = [{"output_type": "display_data", "metadata": {}, "data": {"image/png": payload}}]
    document = {"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (root / name).write_text(json.dumps(document))
    return name


async def plain_execution(server: Server, kernel_id: str, repeats: int) -> Row:
    """``1+1`` by a client that does nothing special."""
    messages = await MessageFactory.create("plain")
    url = f"ws{server.url.removeprefix('http')}api/kernels/{kernel_id}/channels?session_id={messages.session_id}"
    headers = {"Authorization": f"token {server.token}"}
    async with connect(url, subprotocols=[SUBPROTOCOL], additional_headers=headers, max_size=None) as socket:  # type: ignore[list-item]

        async def execute(_number: int) -> None:
            await _execute_plainly(socket, messages)

        return await medians(repeats, execute, "`1+1`, plain websocket client")


async def _execute_plainly(socket: ClientConnection, messages: MessageFactory) -> None:
    msg_id, frame = messages.execute_request(
        "1+1",
        cell_id=None,
        silent=False,
        store_history=True,
        user_expressions=None,
        allow_stdin=False,
        subshell_id=None,
    )
    await socket.send(frame)
    waiting = {"execute_reply", "idle"}
    while waiting:
        message = decode(bytes(await socket.recv()))  # type: ignore[arg-type]
        if message.parent_id == msg_id:
            waiting.discard(message.msg_type)
            waiting.discard(str(message.content.get("execution_state")))


async def tool_rows(server: Server, root: Path, call: Call, repeats: int) -> list[Row]:
    """The calls of a usual session, in a notebook of 100 cells."""
    path = write_notebook(root, "hundred.ipynb", 100)
    async with Human.join_server(server, path, "Ada"):
        await call("setup_notebook", notebook_path=path)
        made = await call("execute_notebook_code", edits=[{"op": "insert", "source": "1+1"}])
        cell = made.split()[1]

        async def run(_n: int) -> None:
            await call("execute_notebook_code", cells=[cell], wait_s=30)

        async def insert(number: int) -> None:
            await call("modify_notebook_cells", edits=[{"op": "insert", "source": f"x = {number}", "after": "first"}])

        async def replace(number: int) -> None:
            old, new = f"value_50 = {49 + number + 3}", f"value_50 = {49 + number + 4}"
            await call("modify_notebook_cells", edits=[{"op": "replace", "cell": target, "old": old, "new": new}])

        async def outline(_n: int) -> None:
            await call("query_notebook", limit=100)

        async with JupyterApi(server) as api:
            kernel = next(each.kernel.id for each in await api.sessions() if each.path == path)
        found = await call("query_notebook", query="search", pattern="^value_50 = ")
        target = found.partition(":")[0]
        await call(
            "modify_notebook_cells",
            edits=[{"op": "replace", "cell": target, "old": "value_50 = 50", "new": "value_50 = 50"}],
        )
        rows = [
            await plain_execution(server, kernel, repeats),
            await medians(repeats, run, "`1+1`, execute_notebook_code", "a quarter of the plain client's"),
            await medians(repeats, outline, "outline of 100 cells", "2 ms"),
            await medians(repeats, replace, "replace, echo awaited", "5 ms"),
            await medians(repeats, insert, "insert, echo awaited", "5 ms"),
        ]
        await call("setup_notebook", notebook_path=path, action="leave")
        return rows


async def growth_rows(
    server: Server, root: Path, call: Call, repeats: int, sizes: Sequence[tuple[int, int]]
) -> list[Row]:
    """Edits in notebooks of growing size: (cells, megabytes of outputs)."""
    rows: list[Row] = []
    for cells, megabytes in sizes:
        path = write_notebook(root, f"grown-{cells}-{megabytes}.ipynb", cells, megabytes)
        async with Human.join_server(server, path, "Ada"):
            await call("setup_notebook", notebook_path=path)
            found = await call("query_notebook", notebook_path=path, query="search", pattern="^value_50 = ")
            target = found.partition(":")[0]

            async def replace(number: int, target: str = target, path: str = path) -> None:
                edit = {"op": "replace", "cell": target, "old": f"= {number + 52}", "new": f"= {number + 53}"}
                await call("modify_notebook_cells", notebook_path=path, edits=[edit])

            async def insert(number: int, target: str = target, path: str = path) -> None:
                edit = {"op": "insert", "source": f"x = {number}", "after": target}
                await call("modify_notebook_cells", notebook_path=path, edits=[edit])

            async def outline(_n: int, path: str = path) -> None:
                await call("query_notebook", notebook_path=path, limit=100)

            size = f"{cells:,} cells" + (f" and {megabytes} MB of outputs" if megabytes else "")
            edit = {"op": "write", "cell": target, "source": "value_50 = 50"}
            await call("query_notebook", notebook_path=path, query="cells", cells=[target])
            await call("modify_notebook_cells", notebook_path=path, edits=[edit])
            rows.append(await medians(repeats, replace, f"replace in {size}", "twice that in 100"))
            rows.append(await medians(repeats, insert, f"insert in {size}", "twice that in 100"))
            rows.append(await medians(repeats, outline, f"outline of 100 in {size}"))
            await call("setup_notebook", notebook_path=path, action="leave")
    return rows


async def start_rows(root: Path, env: dict[str, str], repeats: int) -> list[Row]:
    """From spawning the process to the answer to ``initialize``, ours and the bare one's by turns."""
    bare = root / "bare_server.py"
    bare.write_text(BARE_SERVER)
    commands = {"bare": [sys.executable, str(bare)], "ours": [sys.executable, "-m", "collab_agent"]}
    times: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(repeats + 1):
        for name, command in commands.items():
            start = time.perf_counter()
            async with mcp_client(command, env, root):
                if number:
                    times[name].append((time.perf_counter() - start) * 1000)
    return [
        Row("spawn to initialize, bare MCP server", statistics.median(times["bare"]), "", min(times["bare"])),
        Row("spawn to initialize, collab-agent", statistics.median(times["ours"]), "1.1 of bare", min(times["ours"])),
    ]


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| what | median ms | best ms | goal |", "|---|---:|---:|---|"]
    lines += [f"| {row.what} | {row.median_ms:.1f} | {row.best_ms:.1f} | {row.goal} |" for row in rows]
    return "\n".join(lines)


async def main(quick: bool, markdown: Path | None) -> None:
    """Measure all, print as it comes."""
    repeats = 30 if quick else 100
    sizes = [(100, 0), (1_000, 0), (100, 50)] if quick else [(100, 0), (1_000, 0), (4_000, 0), (10_000, 0), (100, 50)]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        async with embedded_lab(root, env=os.environ) as lab:
            env = {**os.environ, "JUPYTER_URL": lab.server.url, "JUPYTER_TOKEN": lab.server.token}
            rows += await start_rows(root, env, 3 if quick else 9)
            print(table(rows), flush=True)
            async with mcp_client([sys.executable, "-m", "collab_agent"], env, root) as client:
                call = caller(client)
                for more in (
                    await tool_rows(lab.server, root, call, repeats),
                    await growth_rows(lab.server, root, call, repeats, sizes),
                ):
                    rows += more
                    print("\n".join(table(more).splitlines()[2:]), flush=True)
    if markdown is not None:
        await anyio.Path(markdown).write_text(table(rows) + "\n")


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="fewer repeats, no huge notebooks")
    options.add_argument("--markdown", type=Path, help="write the table into this file")
    chosen = options.parse_args()
    anyio.run(main, chosen.quick, chosen.markdown)
