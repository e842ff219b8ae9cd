"""The real Goose, headless, with a scripted model, in a notebook that a human has open.

Goose itself comes from npm: 300 MB, which Debian does not have.
"""

from __future__ import annotations

import shlex
import sys
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import expect

from collab_agent.clients import snippet
from collab_agent.config import Server
from tests.browser.conftest import LabPage

from .driving import (
    DEADLINE_S,
    SLEEPS,
    TYPO,
    Running,
    interrupted_by_ctrl_c,
    opens,
    repairing,
    running,
    timing_out,
    waits,
)
from .scripted_model import ScriptedModel, Step, serving

GOOSE = Path(__file__).parent / "node_modules/@aaif/goose-binary-linux-x64/bin/goose"
COMMAND = [sys.executable, "-m", "collab_agent"]


@asynccontextmanager
async def goose(steps: Sequence[Step], env: dict[str, str], folder: Path, *options: str) -> AsyncIterator[Running]:
    """Goose at work on a script, in a folder and with a home of its own."""
    with serving(ScriptedModel(steps)) as model:
        told = {
            "GOOSE_PATH_ROOT": str(folder / "goose"),
            "GOOSE_DISABLE_KEYRING": "1",
            "GOOSE_TELEMETRY_ENABLED": "false",
            "GOOSE_MODE": "auto",
            "GOOSE_PROVIDER": "openai",
            "GOOSE_MODEL": "gpt-4o",
            "OPENAI_HOST": f"http://127.0.0.1:{model.port}",
            "OPENAI_BASE_PATH": "v1/chat/completions",
            "OPENAI_API_KEY": "x",
        }
        command = [str(GOOSE), "run", "--no-session", *options, "--output-format", "json"]
        async with running(command, model, env | told, folder) as made:
            yield made


PAIR = ("--recipe", str(Path(__file__).parents[2] / "docs" / "clients" / "pair.yaml"))
ALONE = ("--no-profile", "--with-extension", shlex.join(COMMAND), "-t", "Why does it fail?")


async def test_goose_repairs_a_failing_cell_beside_a_human(
    client_env: dict[str, str], new_notebook: Callable[..., str], jupyter: Server, page: LabPage, tmp_path: Path
) -> None:
    path = new_notebook(TYPO)
    was_seen = threading.Event()
    given = ("--params", f"notebook={path}", "--params", "task=Why does it fail?")
    await page.goto(jupyter, path)
    async with goose(repairing(path, "Goose", was_seen), client_env, tmp_path, *PAIR, *given) as made:
        await expect(page.flag("Goose").first).to_be_attached(timeout=DEADLINE_S * 1000)
        was_seen.set()
        said = await made.ended()
    assert "the area is 42" in said
    assert f"Open {path}. Why does it fail?" in said
    assert "Look before you edit." in made.model.told
    assert sorted(name.rpartition("__")[2] for name in made.model.tools if "notebook" in name) == [
        "execute_notebook_code",
        "modify_notebook_cells",
        "query_notebook",
        "setup_notebook",
    ]
    await page.wait_for_text(1, "area = width * 7")
    await expect(page.cell(2).locator(".jp-OutputArea-output")).to_have_text("42\n")
    await expect(page.flag("Goose")).to_have_count(0)  # it has left


async def test_ctrl_c_in_goose_interrupts_the_cell_that_it_waits_for(
    client_env: dict[str, str], new_notebook: Callable[..., str], jupyter: Server, tmp_path: Path
) -> None:
    path = new_notebook(SLEEPS)
    async with goose([opens(path), waits("Goose")], client_env, tmp_path, *ALONE) as made:
        await interrupted_by_ctrl_c(made, jupyter, path)


async def test_a_timeout_in_goose_interrupts_the_cell_that_it_waits_for(
    client_env: dict[str, str], new_notebook: Callable[..., str], jupyter: Server, tmp_path: Path
) -> None:
    path = new_notebook(SLEEPS)
    config = tmp_path / "goose/config/config.yaml"
    config.parent.mkdir(parents=True)
    _, _, entry = snippet("goose", COMMAND).partition("config.yaml:\n")
    assert entry.count("600") == 1
    config.write_text(entry.replace("600", "10"), "utf-8")

    async with goose(timing_out(path, "Goose"), client_env, tmp_path, "-t", "Run it.") as made:
        assert "too slow" in await made.ended()
