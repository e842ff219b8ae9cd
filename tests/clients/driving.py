"""Real clients, headless, at work on the script of a model; and the script by which each shows that it can pair."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from anyio.abc import Process

from .scripted_model import ScriptedModel, Step, ToolCall

DEADLINE_S = 120.0


class Running:
    """A client that runs."""

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
async def running(
    command: Sequence[str], model: ScriptedModel, env: Mapping[str, str], folder: Path
) -> AsyncIterator[Running]:
    """A client in a folder, which is its home, too; fails where the model did not expect what came."""
    log = folder / "client.log"
    here = {"HOME": str(folder), "PWD": str(folder), "NO_PROXY": "127.0.0.1,localhost"}  # opencode believes PWD
    with log.open("wb") as out:
        process = await anyio.open_process(
            list(command),
            env={**env, **here},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        try:
            yield Running(process, model, log)
        except Exception as exc:
            exc.add_note(f"The model: {model.error!r}.  The client:\n{log.read_text('utf-8')}")
            raise
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
    if model.error is not None:
        raise AssertionError(f"The model had not expected that.\n{log.read_text('utf-8')}") from model.error


def opens(path: str) -> Step:
    """The model opens the notebook."""
    return lambda _: ToolCall("setup_notebook", {"notebook_path": path})


TYPO = ("width = 6", "area = widht * 7", "print(area)")
"""The notebook that ``repairing`` mends."""


def repairing(path: str, name: str, was_seen: threading.Event) -> list[Step]:
    """The model looks, runs, sees the error, repairs the cell, sees the result, and ends when its name was seen."""

    def looks(opened: str) -> ToolCall:
        assert f"you are: {name}" in opened
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

    return [opens(path), looks, runs_all, repairs, runs_again, tells]
