"""An agent alone, without a human or a server, on a JupyterLab of its own; then a human comes and finds it at work."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from playwright.async_api import expect

from collab_agent.config import Server
from collab_agent.jupyter.discovery import running_servers
from tests.integration.test_stdio import spawned

if TYPE_CHECKING:
    from .conftest import LabPage

NOTEBOOK = "work/harvest.ipynb"
SHOWN = {"x": 0, "y": 0, "width": 1200, "height": 400}
"""What is cut out of a page of 1200 x 900, in its pixels: the rest of it is empty."""
TITLE = "# Harvest, estimated over night"
STEPS = """\
import pathlib, sys, time
print(sys.prefix)
for step in range(1, 4):
    print(f"step {step} of 3", flush=True)
    while not pathlib.Path(f"go-{step}").exists():
        time.sleep(0.02)"""


async def test_a_human_may_come_at_any_time_and_finds_it_at_work(
    jupyter_env: dict[str, str], tmp_path: Path, page: LabPage, image_path: Callable[[str], Path]
) -> None:
    env = {**jupyter_env, "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"), "TMPDIR": str(tmp_path)}
    (root := tmp_path / "root").mkdir()
    async with spawned(env, cwd=root) as goose:
        await goose.start()
        assert "1 cell" in await goose.call("setup_notebook", notebook_path=NOTEBOOK)
        title = {"op": "insert", "source": TITLE, "type": "markdown", "before": "#1"}
        edits = [{"op": "write", "cell": "#1", "source": STEPS}, title]
        ran = await goose.call("execute_notebook_code", edits=edits, wait_s=1)
        assert "running" in ran, ran
        assert (saved := await goose.call("setup_notebook", action="save")).startswith("saved"), saved
        on_disk = json.loads((root / NOTEBOOK).read_text("utf-8"))["cells"]
        assert ["".join(cell["source"]) for cell in on_disk] == [TITLE, STEPS]

        (found,) = running_servers(tmp_path / "runtime")
        await come(page, found.server)
        output = page.cell(1).locator(".jp-OutputArea-output")
        await expect(page.cell(1).locator(".jp-InputPrompt")).to_have_text("[*]:")
        await expect(output).to_contain_text("step 1 of 3")
        await expect(output).to_contain_text(sys.prefix)
        await expect(page.caret(1)).to_be_visible()
        await page.open_collaborators()
        await expect(page.collaborator("Goose")).to_be_visible()
        (root / "work" / "go-1").touch()
        await expect(output).to_contain_text("step 2 of 3")
        await goose.call("modify_notebook_cells", edits=[{"op": "insert", "source": "tons_per_hectare = 3.2"}])
        await expect(page.caret(2)).to_be_visible()
        await expect(page.visible_flag("Goose")).to_be_visible()
        await page.page.screenshot(path=image_path("headless.png"), clip=SHOWN)
        (root / "work" / "go-2").touch()
        (root / "work" / "go-3").touch()
        await expect(page.cell(1).locator(".jp-InputPrompt")).to_have_text("[1]:")
        assert "ok" in await goose.call("query_notebook", query="runs", wait_s=30)
        await expect(page.page.get_by_text("official Jupyter news")).to_have_count(0)
        await page.page.close()
        await goose.hang_up()
        assert await goose.ends() == 0, goose.err.decode()
    assert running_servers(tmp_path / "runtime") == []


async def come(page: LabPage, server: Server) -> None:
    """Open the page of the agent's notebook, as its human does."""
    await page.be("Ada", "var(--jp-collaborator-color3)")
    await page.page.goto(f"{server.url}lab/tree/{quote(NOTEBOOK)}?token={server.token}")
    await page.page.locator(".jp-Notebook .jp-Cell").first.wait_for()
