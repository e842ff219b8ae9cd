"""How long the human's page takes to show what the agent's cells print: JupyterLab in headless Chromium.

    python tests/benchmarks/page.py [--repeats N] [--markdown FILE]

A time is from the call that runs the cell to the moment when the page has drawn its last output, beside the time in
which the run itself was over.  Medians of one run, by turns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import anyio
from playwright.async_api import Page, async_playwright

from collab_agent.config import Identity, Server
from collab_agent.host import JupyterHost
from collab_agent.jupyter.api import JupyterApi
from collab_agent.jupyter.embedded import embedded_lab
from collab_agent.peer import NotebookPeer

CHROMIUM = "/usr/bin/chromium"
PATIENCE_MS = 120_000

PICTURE = """\
import os, base64
from IPython.display import display
display({"image/png": base64.b64encode(PNG).decode(), "text/plain": "picture"}, raw=True)
"""
NOISE = """\
import io, os
from PIL import Image
with io.BytesIO() as buffer:
    Image.frombytes("RGB", (1150, 1150), os.urandom(1150 * 1150 * 3)).save(buffer, "PNG")
    PNG = buffer.getvalue()
"""

WORK: tuple[tuple[str, str, str], ...] = (
    ("`1+1`", "1+1", "[...outputs.querySelectorAll('pre')].some(each => each.textContent.trim() === '2')"),
    (
        "10,000 flushed lines",
        "for n in range(10_000):\n    print('line', n, flush=True)",
        "outputs.textContent.includes('line 9999')",
    ),
    (
        "a picture of 5 MB (base64)",
        PICTURE,
        "[...outputs.querySelectorAll('img')].some(each => each.complete && each.naturalWidth > 0)",
    ),
)


async def timed(notebook: NotebookPeer, page: Page, code: str, shown: str) -> tuple[float, float]:
    """Seconds until the run was over, and until the page shows its last output."""
    made = await notebook.edit([{"op": "insert", "source": code}])
    index = len(notebook.view.cells) - 1
    finder = (
        f"() => {{ const cell = document.querySelectorAll('.jp-Notebook .jp-Cell')[{index}]; if (!cell) return false;"
    )
    # A windowed page draws only what is in sight.
    scroll = f"{finder} cell.scrollIntoView({{block: 'end'}}); return true }}"
    await page.wait_for_function(scroll, timeout=PATIENCE_MS)
    # JupyterLab draws long texts only as far as they are in sight, so a human scrolls, too.
    look = "const outputs = cell.querySelector('.jp-OutputArea'); outputs?.scrollIntoView({block: 'end'});"
    looks = f"{finder} {look} return !!outputs && ({shown}) }}"
    start = time.perf_counter()
    runs = await notebook.run_cells(made.code)
    await notebook.runs.wait(runs, PATIENCE_MS / 1000)
    over = time.perf_counter() - start
    await page.wait_for_function(looks, polling=5, timeout=PATIENCE_MS)
    seen = time.perf_counter() - start
    await notebook.edit([{"op": "clear", "cells": ["last"]}])  # what was measured shall not slow what comes
    return over, seen


async def measure(server: Server, page: Page, path: str, repeats: int) -> list[str]:
    """The rows of the table."""
    rows: list[str] = []
    me = Identity.named("Goose")
    async with JupyterApi(server) as api, NotebookPeer.joined(JupyterHost(api, path, me), path, me) as notebook:
        kernel = await notebook.ensure_kernel()
        await kernel.route_settled()  # by the server's websocket most of the lines would be dropped
        prepared = await notebook.run_aside(NOISE)
        await notebook.runs.wait([prepared], 60)
        for what, code, shown in WORK:
            times = [await timed(notebook, page, code, shown) for _ in range(repeats + 1)][1:]
            over, seen = (statistics.median(column) * 1000 for column in zip(*times, strict=True))
            rows.append(f"| {what} | {over:,.0f} | {seen:,.0f} |")
            print(rows[-1], flush=True)
    return rows


def table(rows: Sequence[str]) -> str:
    """The rows as Markdown."""
    return "\n".join(["| what | run over, ms | on the page, ms |", "|---|---:|---:|", *rows])


async def main(repeats: int, markdown: Path | None) -> None:
    """Measure with a JupyterLab and a page of our own."""
    with tempfile.TemporaryDirectory() as folder:
        document = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        await anyio.Path(folder, "page.ipynb").write_text(json.dumps(document))
        async with embedded_lab(folder, env=os.environ) as lab, async_playwright() as driver:
            browser = await driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
            page = await browser.new_page()
            await page.goto(f"{lab.server.url}lab/tree/page.ipynb?reset&token={lab.server.token}")
            await page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=PATIENCE_MS)
            rows = await measure(lab.server, page, "page.ipynb", repeats)
            await browser.close()
    if markdown is not None:
        await anyio.Path(markdown).write_text(table(rows) + "\n")


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--markdown", type=Path, help="write the table into this file")
    chosen = options.parse_args()
    anyio.run(main, chosen.repeats, chosen.markdown)
