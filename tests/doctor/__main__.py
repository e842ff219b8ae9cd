"""``python -m tests.doctor [FOLDER] [NAME …]``: the doctor on servers that other packages have changed.

Each gets an environment of its own in ``FOLDER`` (made once, some 20 s and 300 MB each; a temporary one without
``FOLDER``), a real JupyterLab, and what is said of it is printed and held to what is expected.  Beside
jupyter-server-nbmodel a human at a real page and an agent then run cells at the same time, and the outputs are counted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from playwright.async_api import async_playwright, expect

from collab_agent.config import Server, Settings
from collab_agent.doctor import diagnose
from tests.browser.conftest import CHROMIUM, EXPOSE, FLAGS, PATIENCE_MS, LabPage
from tests.conftest import notebook_json
from tests.faults.conftest import MortalLab
from tests.integration.conftest import mcp_agent_on

LAB = ("jupyterlab>=4.4,<5", "ipykernel>=7")
ENVIRONMENTS: Mapping[str, tuple[tuple[str, ...], str, bool]] = {
    "plain": (LAB, "jupyter-collaboration is not installed", False),
    "old": ((*LAB, "jupyter-collaboration==3.*"), "jupyter-collaboration 3.1.2 is older", False),
    "nbmodel": ((*LAB, "jupyter-collaboration>=5,<6", "jupyter-server-nbmodel"), "each has exactly one writer", True),
    "documents": ((*LAB, "jupyter-server-documents"), "an agent cannot join", False),
    "both": ((*LAB, "jupyter-server-documents", "jupyter-collaboration>=5,<6"), "an agent cannot join", False),
}
"""Name -> what is installed, what the doctor says of it, and whether the agent can be used all the same."""

COUNT = "import time\nfor n in range(20):\n    print({mark!r}, n, flush=True)\n    time.sleep(0.05)"


def environment(folder: Path, name: str) -> Path:
    """The Python of this environment, made if it is not there."""
    python = folder / name / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder / name], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *ENVIRONMENTS[name][0]], check=True)
    return python


class LabOf(MortalLab):
    """A JupyterLab of another environment."""

    python = Path(sys.executable)

    def command(self) -> list[str]:
        """See ``MortalLab``.  Where both are installed one turns the other off, unless somebody turns it on again."""
        on = (
            "{'jupyter_server_ydoc': True, 'jupyter_server_documents': True}"
            if self.python.parts[-3] == "both"
            else "{}"
        )
        return [str(self.python), *super().command()[1:], f"--ServerApp.jpserver_extensions={on}"]


@asynccontextmanager
async def lab_of(python: Path, work: Path) -> AsyncIterator[tuple[Server, dict[str, str]]]:
    """A running JupyterLab of this environment, and the environment variables that it was given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "VIRTUAL_ENV"))}
    folders = {name: work / name for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "root")}
    for each in folders.values():
        each.mkdir(parents=True)
    env = kept | {name: str(path) for name, path in folders.items() if name != "root"}
    lab = LabOf(folders["root"], env, work / "lab.log")
    lab.python = python
    try:
        await lab.start()
        yield lab.server, env
    finally:
        with anyio.CancelScope(shield=True):
            await lab.end()


async def examined(name: str, python: Path, work: Path) -> None:
    """Print what the doctor says, and hold it to what is expected."""
    _, part, usable = ENVIRONMENTS[name]
    async with lab_of(python, work) as (server, env):
        findings = await diagnose(Settings(server=server), env, work)
        print(f"== {name}", *findings, sep="\n", flush=True)
        (finding,) = [each for each in findings if part in each.text]
        assert str(python) in finding.remedy
        assert all(each.ok for each in findings) == usable
        if usable:
            await one_writer_each(server)


async def one_writer_each(server: Server) -> None:
    """A human at a page and an agent run a cell each at the same time: every line of output is there once."""
    path = "both.ipynb"
    file = anyio.Path(str(server.root_dir), path)
    await file.write_text(json.dumps(notebook_json([COUNT.format(mark="human"), COUNT.format(mark="agent")])), "utf-8")
    async with async_playwright() as playwright, mcp_agent_on(server) as agent:
        expect.set_options(timeout=PATIENCE_MS)
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        page = LabPage(await browser.new_page())
        await page.page.add_init_script(EXPOSE)
        await page.goto(server, path)
        await agent.setup(path)
        await page.click_into(0)
        await page.page.keyboard.press("Control+Enter")
        await expect(page.cell(0).locator(".jp-OutputArea-output")).to_contain_text("human 0")
        ran = await agent.run(cells="#2", wait_s=60)
        assert "ok" in ran.text, ran.text
        await expect(page.cell(0).locator(".jp-InputPrompt")).to_have_text("[1]:")
        await expect(page.cell(1).locator(".jp-InputPrompt")).to_have_text("[2]:")
        shown = [await page.cell(index).locator(".jp-OutputArea-output").all_inner_texts() for index in (0, 1)]
        await agent.ok("setup_notebook", action="save")
        await browser.close()
    cells = json.loads(await file.read_text("utf-8"))["cells"]
    for index, mark in enumerate(("human", "agent")):
        wanted = [f"{mark} {n}" for n in range(20)]
        assert "".join(shown[index]).split("\n")[:20] == wanted, shown[index]
        assert "".join("".join(output["text"]) for output in cells[index]["outputs"]).splitlines() == wanted
    print("   a human's cell and an agent's, run at the same time: 20 lines each, each line once, in page and file")


async def main(folder: Path, names: list[str]) -> None:
    """One after the other."""
    for name in names or list(ENVIRONMENTS):
        with tempfile.TemporaryDirectory() as work:
            await examined(name, environment(folder, name), Path(work))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        anyio.run(main, Path(sys.argv[1]), sys.argv[2:])
    else:
        with tempfile.TemporaryDirectory() as made:
            anyio.run(main, Path(made), [])
