"""The doctor, on a server at whose page somebody is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from collab_agent.config import Server, Settings
from collab_agent.doctor import diagnose

if TYPE_CHECKING:
    from .conftest import LabPage


async def test_a_notebook_that_somebody_has_open_as_text_too_is_found(
    jupyter: Server, jupyter_env: dict[str, str], new_notebook: Callable[..., str], page: LabPage
) -> None:
    """Nothing happens on their page, which says so every 15 s only: the doctor listens for as long."""
    path = new_notebook(["1 + 1"])
    await page.be("Ada", "red")
    await page.goto(jupyter, path)
    await page.notebook(
        "lab.commands.execute('docmanager:open', {path: arg, factory: 'Editor'}).then(() => null)", path
    )
    findings = await diagnose(Settings(server=jupyter), jupyter_env, Path("/"))
    (found,) = [finding for finding in findings if "open as text" in finding.text]
    assert found.text.startswith(f"Ada has {path} open as text")
    assert [finding for finding in findings if not finding.ok] == [found]
