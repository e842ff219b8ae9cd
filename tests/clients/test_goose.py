"""The real Goose, headless, with a scripted model, in a notebook that a human has open.

Goose itself comes from npm: 300 MB, which Debian does not have.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.abc import Process
from playwright.async_api import expect

from collab_agent.config import Server
from collab_agent.testing import Human
from tests import npm
from tests.browser.conftest import LabPage
from tests.integration.conftest import mcp_agent_on

from .scripted_model import ScriptedModel, Step, ToolCall, serving

GOOSE = Path(__file__).parent / "node_modules/@aaif/goose-binary-linux-x64/bin/goose"
DEADLINE_S = 120.0
COMMAND = shlex.join([sys.executable, "-m", "collab_agent"])


class Goose:
    """A running Goose."""

    def __init__(self, process: Process, model: ScriptedModel, log: Path) -> None:
        self.process, self.model, self._log = process, model, log

    async def ended(self) -> str:
        """Wait until it has ended by itself; what it printed."""
        with anyio.fail_after(DEADLINE_S):
            code = await self.process.wait()
        said = self._log.read_text("utf-8")
        assert code == 0 or self.model.error is not None, said
        return said


@asynccontextmanager
async def goose(steps: Sequence[Step], env: dict[str, str], folder: Path, *options: str) -> AsyncIterator[Goose]:
    """Goose at work on a script, in a folder and with a home of its own."""
    log = folder / "goose.log"
    with serving(ScriptedModel(steps)) as model, log.open("wb") as out:
        told = {
            "HOME": str(folder),
            "GOOSE_PATH_ROOT": str(folder / "goose"),
            "GOOSE_DISABLE_KEYRING": "1",
            "GOOSE_TELEMETRY_ENABLED": "false",
            "GOOSE_MODE": "auto",
            "GOOSE_PROVIDER": "openai",
            "GOOSE_MODEL": "gpt-4o",
            "OPENAI_HOST": f"http://127.0.0.1:{model.port}",
            "OPENAI_BASE_PATH": "v1/chat/completions",
            "OPENAI_API_KEY": "x",
            "NO_PROXY": "127.0.0.1,localhost",
        }
        command = [str(GOOSE), "run", "--no-session", *options, "--output-format", "json"]
        process = await anyio.open_process(
            command, env=env | told, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
        )
        try:
            yield Goose(process, model, log)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
    if model.error is not None:
        raise AssertionError(f"The model had not expected that.\n{log.read_text('utf-8')}") from model.error


@pytest.fixture
def goose_env(jupyter: Server, jupyter_env: dict[str, str]) -> dict[str, str]:
    """The environment of a user whose JupyterLab runs on this machine."""
    npm.install(Path(__file__).parent)
    here = f"{Path(sys.executable).parent}{os.pathsep}{jupyter_env['PATH']}"  # where the command collab-agent is
    return jupyter_env | {"JUPYTER_URL": jupyter.url, "JUPYTER_TOKEN": jupyter.token, "PATH": here}


PAIR = ("--recipe", str(Path(__file__).parents[2] / "docs" / "clients" / "pair.yaml"))
ALONE = ("--no-profile", "--with-extension", COMMAND, "-t", "Why does it fail?")


async def test_goose_repairs_a_failing_cell_beside_a_human(
    goose_env: dict[str, str], new_notebook: Callable[..., str], jupyter: Server, page: LabPage, tmp_path: Path
) -> None:
    path = new_notebook(["width = 6", "area = widht * 7", "print(area)"])
    was_seen = threading.Event()
    given = ("--params", f"notebook={path}", "--params", "task=Why does it fail?")

    def looks(opened: str) -> ToolCall:
        assert "you are: Goose" in opened
        return ToolCall("query_notebook", {"query": "cells"})

    def runs_all(shown: str) -> ToolCall:
        assert "area = widht * 7" in shown
        return ToolCall("execute_notebook_code", {"cells": ["#1", "#2", "#3"]})

    def repairs(failed: str) -> ToolCall:
        assert "NameError: name 'widht' is not defined" in failed
        edit = {"op": "replace", "cell": "#2", "old": "widht", "new": "width"}
        return ToolCall("modify_notebook_cells", {"edits": [edit]})

    def runs_again(edited: str) -> ToolCall:
        assert "+1│area = width * 7" in edited
        return ToolCall("execute_notebook_code", {"cells": ["#2", "#3"]})

    def tells(printed: str) -> str:
        assert "42" in printed
        assert was_seen.wait(DEADLINE_S)
        return "It was a typing error: the area is 42."

    await page.goto(jupyter, path)
    steps = [opens(path), looks, runs_all, repairs, runs_again, tells]
    async with goose(steps, goose_env, tmp_path, *PAIR, *given) as made:
        await expect(page.flag("Goose").first).to_be_attached()
        was_seen.set()
        said = await made.ended()
    assert "the area is 42" in said
    assert f"Open {path}. Why does it fail?" in said
    assert "Look before you edit." in made.model.system
    assert sorted(name.rpartition("__")[2] for name in made.model.tools if "notebook" in name) == [
        "execute_notebook_code",
        "modify_notebook_cells",
        "query_notebook",
        "setup_notebook",
    ]
    await page.wait_for_text(1, "area = width * 7")
    await expect(page.cell(2).locator(".jp-OutputArea-output")).to_have_text("42\n")
    await expect(page.flag("Goose")).to_have_count(0)  # it has left


SLEEPS = """\
import time
try:
    print('begun', flush=True)
    time.sleep(600)
except KeyboardInterrupt:
    how = 'it was interrupted'
"""


async def test_ctrl_c_in_goose_interrupts_the_cell_that_it_waits_for(
    goose_env: dict[str, str], new_notebook: Callable[..., str], jupyter: Server, tmp_path: Path
) -> None:
    path = new_notebook([SLEEPS])
    async with Human.join_server(jupyter, path) as ada:
        async with goose([opens(path), runs], goose_env, tmp_path, *ALONE) as made:
            await ada.wait_for(lambda: "begun" in str(ada.document()["cells"][0]["outputs"]), DEADLINE_S)
            made.process.send_signal(signal.SIGINT)
            with anyio.fail_after(DEADLINE_S):
                await made.process.wait()
        await ada.wait_for(lambda: ada.peers() == {}, DEADLINE_S)
    async with mcp_agent_on(jupyter, name="another") as other:
        await other.setup(path)
        assert "it was interrupted" in (await other.run(code="print(how)")).text


async def test_a_timeout_in_goose_interrupts_the_cell_that_it_waits_for(
    goose_env: dict[str, str], new_notebook: Callable[..., str], jupyter: Server, tmp_path: Path
) -> None:
    path = new_notebook([SLEEPS, "print(how)"])
    recipe = tmp_path / "short.yaml"
    recipe.write_text(RECIPE.format(python=sys.executable), "utf-8")

    def goes_on(timed_out: str) -> ToolCall:
        assert "timeout" in timed_out.lower()
        return ToolCall("execute_notebook_code", {"cells": ["#2"], "wait_s": 100})

    def tells(printed: str) -> str:
        assert "it was interrupted" in printed
        return "It was too slow."

    options = ("--recipe", str(recipe))
    async with goose([opens(path), runs, goes_on, tells], goose_env, tmp_path, *options) as made:
        assert "too slow" in await made.ended()


def opens(path: str) -> Step:
    """The model opens the notebook."""
    return lambda _: ToolCall("setup_notebook", {"notebook_path": path})


def runs(opened: str) -> ToolCall:
    """The model runs the first cell, and waits for longer than it is let."""
    assert "you are: Goose" in opened
    return ToolCall("execute_notebook_code", {"cells": ["#1"], "wait_s": 500})


RECIPE = """\
version: 1.0.0
title: A short timeout
description: Goose waits for ten seconds at most
prompt: Run it.
extensions:
  - type: stdio
    name: collab-agent
    cmd: {python}
    args: ["-m", "collab_agent"]
    timeout: 10
"""
