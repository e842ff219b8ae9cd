"""How long a line of output takes until it is in the .ipynb, while a cell prints 50 of them a second.

    python tests/benchmarks/to_disk.py [--seconds 60] [--cells 10 500]

A real JupyterLab, the agent's own run, and a human in the room who has autosave on and types ten keys a second.  Each
line is the moment when it was printed; the file is read whenever it has changed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import anyio

import collab_agent
from collab_agent.config import Server
from collab_agent.jupyter.embedded import embedded_lab
from collab_agent.testing import Human

CODE = """
import time
end = time.time() + {seconds}
while time.time() < end:
    print(f"<{{time.time():.4f}}>", flush=True)
    time.sleep(0.02)
"""
STAMP = re.compile(r"<(\d+\.\d+)>")
POLL_S = 0.005


class Reader:
    """Reads the file whenever it is another, and notes how old each line is when it is first there."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen: set[str] = set()
        self.ages: list[float] = []

    async def watch(self) -> None:
        """Until cancelled."""
        last = 0
        while True:
            with suppress(ValueError, FileNotFoundError):  # the server is just writing it
                changed = self._file.stat().st_mtime_ns
                if changed != last:
                    self.look()
                    last = changed
            await anyio.sleep(POLL_S)

    def look(self) -> None:
        """Read it now."""
        now = time.time()
        text = self._file.read_text("utf-8")
        json.loads(text)
        fresh = set(STAMP.findall(text)) - self._seen
        self._seen |= fresh
        self.ages += [now - float(stamp) for stamp in fresh]


def notebook(cells: int, seconds: float) -> str:
    """A notebook whose first cell prints; the second is the human's."""
    sources = [CODE.format(seconds=seconds), "", *(f"value_{n} = {n}\n" * 10 for n in range(cells - 2))]
    made = [
        {"id": f"cell{n}", "cell_type": "code", "metadata": {}, "source": text, "outputs": [], "execution_count": None}
        for n, text in enumerate(sources)
    ]
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": made})


async def measure(server: Server, root: Path, cells: int, seconds: float) -> str:
    """One row of the table."""
    file = root / f"stream-{cells}.ipynb"
    file.write_text(notebook(cells, seconds), "utf-8")
    reader = Reader(file)
    async with (
        collab_agent.join(server.url, server.token, file.name, name="Goose") as peer,
        Human.join_server(server, file.name) as ada,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(reader.watch)
        runs = await peer.run_cells([peer.view.cells[0].id])
        with anyio.move_on_after(seconds):
            await ada.type_marks(1, 1_000_000, pause=0.1)
        await peer.runs.wait(runs, 30)
        await anyio.sleep(5)
        tasks.cancel_scope.cancel()
    ages = sorted(reader.ages)
    p99 = ages[int(len(ages) * 0.99)]
    return f"| {cells:,} | {len(ages):,} | {statistics.median(ages):.2f} s | {p99:.2f} s | {ages[-1]:.2f} s |"


async def main(seconds: float, sizes: Sequence[int]) -> None:
    """Measure all, print as it comes."""
    print("| cells | lines | median | p99 | worst |\n| --- | --- | --- | --- | --- |", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        async with embedded_lab(folder, env=os.environ) as lab:
            for cells in sizes:
                print(await measure(lab.server, Path(folder), cells, seconds), flush=True)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=60.0, help="how long the cell prints")
    options.add_argument("--cells", type=int, nargs="+", default=[10, 500], help="how large the notebook is")
    chosen = options.parse_args()
    anyio.run(main, chosen.seconds, chosen.cells)
