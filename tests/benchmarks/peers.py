"""collab-agent beside what a user would pick instead, on one real JupyterLab, with a human in the room.

    python tests/benchmarks/peers.py [--quick] [--venvs DIR] [--only NAME ...] [--think S] [--write PAGE --chart SVG]

Installs ``jupyter-mcp-server``, ``mcp-jupyter`` (with the pins that it needs) and ``pynb-cli`` into environments of
their own (``--venvs``, by default in the temporary folder, used again the next time), and measures all of them one
after the other on the same server: time, bytes that go through the model, and what becomes of the characters that a
human types into the very cell that the agent edits.  Each is used as its own README says (``rivals``); what they answer
is read as a model would read it.  ``--write docs/comparison.md --chart docs/images/comparison.svg`` puts table and
chart into the documentation.
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path

import anyio
from comparison import Row, chart, median, put, table
from latency import write_notebook
from rival_session import Session, insist, installed, known, session
from rivals import ALL, Adapter, Cell, Request
from typist import Typing, typing, write_typing_notebook

from collab_agent.config import Server
from collab_agent.jupyter.api import JupyterApi
from collab_agent.jupyter.embedded import embedded_lab
from collab_agent.testing import Human

SEEN_S = 15.0
"""So long we wait for an edit to show on the human's page."""
PAUSE_S = 2.0
"""Between steps, as a model takes; not counted.  ``nb`` looks cell ids up in the file, which lags behind the room."""


# Measuring


async def speed(at_work: Session, human: Human, path: str, repeats: int) -> dict[str, float | None]:
    """Medians in a notebook of 100 cells: until the answer came, and until the human's page had it."""
    adapter, times = at_work.adapter, at_work.times

    async def ask(what: str, at: int, make: Callable[[Adapter, Cell], Request]) -> str:
        return await insist(at_work, path, await known(human, at), make, what)

    async def seen(what: str, begin: float, predicate: Callable[[], bool]) -> None:
        await human.wait_for(predicate, SEEN_S)
        times.setdefault(f"{what} seen", []).append((time.perf_counter() - begin) * 1000)

    for _ in range(min(repeats, 5)):
        await at_work.do(adapter.open(path, at_work.server.url), "open")
        await at_work.do(adapter.leave(path))
    await at_work.do(adapter.open(path, at_work.server.url))
    read = ""
    for _ in range(repeats):
        await ask("overview", 0, lambda each, _cell: each.overview(path))
        read = await ask("read", 0, lambda each, _cell: each.read_all(path))
    assert "value_0 = 0" in read, read[:300]
    assert "value_99 = 99" in read, read[-300:]
    for source in [f"new_{number} = {number}" for number in range(repeats)] + ["1+1"]:
        begin = time.perf_counter()
        await ask("insert", 10, lambda each, cell, source=source: each.insert(path, cell, source))
        await seen("insert", begin, lambda source=source: source in human.sources())
    await anyio.sleep(PAUSE_S)
    at = human.sources().index("value_50 = 50\nprint(value_50)")
    await ask("", at, lambda each, cell: each.read(path, cell))
    for old, new in [(f"= {50 + number}", f"= {51 + number}") for number in range(repeats)]:
        begin = time.perf_counter()
        await ask("edit", at, lambda each, cell, old=old, new=new: each.edit(path, cell, old, new))
        await seen("edit", begin, lambda new=new: f"{new}\n" in human.source(at))
    at = human.sources().index("1+1")
    for _ in range(repeats):
        begin, before = time.perf_counter(), human.notebook.ycells[at]["execution_count"]
        await ask("run", at, lambda each, cell: each.run(path, cell))
        await seen("run", begin, lambda b=before: human.notebook.ycells[at]["execution_count"] not in (b, None))
    await at_work.do(adapter.leave(path))
    return {what: median(taken) for what, taken in times.items()}


async def ten_steps(at_work: Session, human: Human, path: str) -> tuple[int, float]:
    """Bytes through the model, and seconds in calls, of a session in which a cell is written, fails and is mended."""
    at_work.sent = at_work.received = 0
    at_work.spent_s = 0.0
    wrong, note = "total = sum(value for value in range(10)\nprint(total)", "The total is **45**."

    async def step(at: int, make: Callable[[Adapter, Cell], Request]) -> str:
        answer = await insist(at_work, path, await known(human, at), make)
        await anyio.sleep(PAUSE_S)
        return answer

    await at_work.do(at_work.adapter.open(path, at_work.server.url))  # 1
    await step(0, lambda each, _cell: each.overview(path))  # 2
    await step(7, lambda each, cell: each.read(path, cell))  # 3
    await step(7, lambda each, cell: each.insert(path, cell, wrong))  # 4
    at = human.sources().index(wrong)
    await step(at, lambda each, cell: each.run(path, cell))  # 5: fails
    await step(at, lambda each, cell: each.edit(path, cell, "range(10)", "range(10))"))  # 6
    answer = await step(at, lambda each, cell: each.run(path, cell))  # 7
    assert "45" in answer, answer
    await step(at, lambda each, cell: each.read(path, cell))  # 8
    await step(at, lambda each, cell: each.insert(path, cell, note, "markdown"))  # 9
    await step(0, lambda each, _cell: each.overview(path))  # 10
    assert note in human.sources()
    moved, taken = at_work.sent + at_work.received, at_work.spent_s
    await at_work.do(at_work.adapter.leave(path))
    return moved, taken


# All of it


@dataclass
class Found:
    """What was measured of one program."""

    version: str
    medians: dict[str, float | None] = field(default_factory=dict)
    tool_bytes: int = 0
    session_bytes: int = 0
    session_s: float = 0.0
    typing: Typing | None = None


async def starts(
    chosen: Sequence[Adapter], places: dict[str, Path], server: Server, folder: Path, repeats: int
) -> dict[str, float | None]:
    """From spawning a program to its answer to ``initialize``, by turns; of ``nb``, its ``connect``."""
    times: dict[str, list[float]] = {each.program.name: [] for each in chosen}
    for number in range(repeats + 1):
        for each in chosen:
            async with session(each, places[each.program.name], server, folder) as at_work:
                times[each.program.name] += at_work.times["start"] if number else []  # the first warms the disk's cache
    return {name: median(taken) for name, taken in times.items()}


async def measure(adapter: Adapter, binaries: Path, server: Server, folder: Path, options: argparse.Namespace) -> Found:
    """Everything, for one program."""
    found = Found("")
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(JupyterApi(server))
        humans = []
        for name, cells in (("hundred", 100), ("twenty", 20), ("typing", 3)):
            path = write_notebook(folder, f"{re.sub(r'[^a-z]', '', adapter.program.name)}-{name}.ipynb", cells)
            if name == "typing":
                write_typing_notebook(folder / path)
            await api.ensure_session(path)  # as a page does
            humans.append((path, await stack.enter_async_context(Human.join_server(server, path, "Ada"))))
        at_work = await stack.enter_async_context(session(adapter, binaries, server, folder))
        (long, ada), (short, bea), (typed, eve) = humans
        found.medians = await speed(at_work, ada, long, 5 if options.quick else 10)
        found.tool_bytes = at_work.tool_bytes
        found.session_bytes, found.session_s = await ten_steps(at_work, bea, short)
        rounds = 5 if options.quick else 15
        found.typing = await typing(at_work, eve, typed, rounds, options.think, options.seed)
    return found


TIMES = (
    ("start", "start"),
    ("open", "open a notebook"),
    ("overview", "overview of 100 cells"),
    ("read", "read 100 cells in full"),
    ("insert", "insert a cell"),
    ("insert seen", "… until the human sees it"),
    ("edit", "edit a cell"),
    ("edit seen", "… until the human sees it"),
    ("run", "execute `1+1`"),
    ("run seen", "… until the human sees its count"),
)


def rows_of(all_found: dict[str, Found]) -> list[Row]:
    """The table's rows."""
    rows = [Row(what, "ms", {n: f.medians.get(key) for n, f in all_found.items()}) for key, what in TIMES]
    rows += [
        Row("tool definitions", "bytes", {n: f.tool_bytes for n, f in all_found.items()}),
        Row("a session of ten steps", "bytes", {n: f.session_bytes for n, f in all_found.items()}),
        Row("a session of ten steps", "ms", {n: f.session_s * 1000 for n, f in all_found.items()}),
    ]
    typings = {n: f.typing for n, f in all_found.items() if f.typing is not None}
    for what, value in (
        ("the human typed, characters", lambda t: t.tally.typed),
        ("of these lost", lambda t: t.tally.lost),
        ("… displaced", lambda t: t.tally.displaced),
        ("… doubled", lambda t: t.tally.doubled),
        ("the human was thrown out of their line, times", lambda t: t.clicks),
        ("edits that the agent wanted", lambda t: t.asked),
        ("… that are there at the end", lambda t: t.landed),
        ("… that were refused first, times", lambda t: t.refused),
    ):
        rows.append(Row(what, "", {n: value(t) for n, t in typings.items()}, exact=True))
    return rows


def charted(rows: Sequence[Row], all_found: dict[str, Found]) -> list[Row]:
    """The panels of the chart."""
    wanted = ("edit a cell", "insert a cell", "execute `1+1`", "read 100 cells in full", "tool definitions")
    chosen = [row for name in wanted for row in rows if row.what == name]
    chosen += [row for row in rows if row.what == "a session of ten steps"]
    share = {
        name: 100 * (found.typing.tally.lost + found.typing.tally.displaced) / max(found.typing.tally.typed, 1)
        for name, found in all_found.items()
        if found.typing is not None
    }
    return [Row("typed characters lost or displaced", "%", share, exact=True), *chosen]


async def main(options: argparse.Namespace) -> None:
    """Install, measure, print."""
    load = os.getloadavg()[0]
    options.venvs.mkdir(parents=True, exist_ok=True)
    chosen = [each for each in ALL if not options.only or each.program.name.split()[0] in options.only]
    places, versions = {}, {}
    for each in chosen:
        places[each.program.name], versions[each.program.name] = installed(each, options.venvs)
    all_found: dict[str, Found] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        async with embedded_lab(folder, env=os.environ) as lab:
            began = await starts(chosen, places, lab.server, folder, 2 if options.quick else 3)
            for adapter in chosen:
                name = adapter.program.name
                found = await measure(adapter, places[name], lab.server, folder, options)
                found.medians["start"] = began[name]
                all_found[name] = replace(found, version=versions[name])
                print(name, all_found[name], flush=True)
    rows = rows_of(all_found)
    programs = ", ".join(f"{name} {found.version}" for name, found in all_found.items())
    servers = ", ".join(f"{name} {version(name)}" for name in ("jupyterlab", "jupyter-collaboration", "ipykernel"))
    machine = f"{os.cpu_count()} cores, load average {load:.0f} to {os.getloadavg()[0]:.0f}"
    text = f"{date.today()}: {programs}; on {servers}; {machine}.\n\n{table(rows, list(all_found))}"
    print(text)
    if options.write is not None:
        options.write.write_text(put(options.write.read_text("utf-8"), text), "utf-8")
    if options.chart is not None:
        svg = chart(charted(rows, all_found), list(all_found), "Four ways for a model to work in a notebook")
        options.chart.write_text(svg, "utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these programs")
    parser.add_argument("--venvs", type=Path, default=Path(tempfile.gettempdir()) / "collab-agent-peers")
    parser.add_argument("--think", type=float, default=1.0, help="seconds between reading and editing (1)")
    parser.add_argument("--seed", type=int, default=1, help="how the human types")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table into this page")
    parser.add_argument("--chart", type=Path, metavar="SVG", help="write the chart into this file")
    anyio.run(main, parser.parse_args())
