"""Real clients, headless, at work on the script of a model; and the script by which each shows that it can pair."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from anyio.abc import Process

from collab_agent.config import Server
from collab_agent.testing import Human
from tests.integration.conftest import mcp_agent_on

from .scripted_model import ScriptedModel, Step, ToolCall

DEADLINE_S = 120.0
BETWEEN_S = 1.0
"""Between two presses of a key, which are one to a process that has not taken the first."""


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


SLEEPS = (
    """\
import time
try:
    print('begun', flush=True)
    time.sleep(600)
except KeyboardInterrupt:
    how = 'it was interrupted'
""",
    "print(how)",
)
"""The notebook in which a call waits until something ends it."""


def waits(name: str) -> Step:
    """The model runs the first cell, and waits for longer than it is let."""

    def runs(opened: str) -> ToolCall:
        assert f"you are: {name}" in opened
        return ToolCall("execute_notebook_code", {"cells": ["#1"], "wait_s": 500})

    return runs


async def interrupted_by_ctrl_c(made: Running, server: Server, path: str, *, again: bool = False) -> None:
    """Press Ctrl-C while the cell runs, ``again`` until it is taken: the client ends, and the cell was interrupted."""
    async with Human.join_server(server, path) as ada:
        await ada.wait_for(lambda: "begun" in str(ada.document()["cells"][0]["outputs"]), DEADLINE_S)
        with anyio.fail_after(DEADLINE_S):
            while made.process.returncode is None:
                made.process.send_signal(signal.SIGINT)
                with anyio.move_on_after(BETWEEN_S if again else DEADLINE_S):
                    await made.process.wait()
        await ada.wait_for(lambda: ada.peers() == {}, DEADLINE_S)
    async with mcp_agent_on(server, name="another") as other:
        await other.setup(path)
        assert "it was interrupted" in (await other.run(cells=["#2"])).text


def timing_out(path: str, name: str) -> list[Step]:
    """The model waits for a cell until the client gives the call up, and then sees that the cell was interrupted."""

    def goes_on(timed_out: str) -> ToolCall:
        assert "timeout" in timed_out.lower() or "timed out" in timed_out
        return ToolCall("execute_notebook_code", {"cells": ["#2"], "wait_s": 100})

    def tells(printed: str) -> str:
        assert "it was interrupted" in printed
        return "It was too slow."

    return [opens(path), waits(name), goes_on, tells]
