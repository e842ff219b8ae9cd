"""Kernels elsewhere: a real kernel gateway runs them, and the agent reaches them through the Jupyter server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from collab_agent.config import Server
from collab_agent.testing import Human
from tests.conftest import notebook_json
from tests.integration.conftest import McpAgent, mcp_agent_on


@pytest.fixture
async def goose(gateway_lab: Server) -> AsyncIterator[McpAgent]:
    """An agent on the server whose kernels are elsewhere."""
    async with mcp_agent_on(gateway_lab) as agent:
        yield agent


def write(server: Server, name: str, *sources: str) -> str:
    """A notebook in the server's root folder."""
    assert server.root_dir is not None
    Path(server.root_dir, name).write_text(json.dumps(notebook_json(sources)), "utf-8")
    return name


def outputs(human: Human, cell: int) -> str:
    """The outputs of a cell, as the human's replica has them."""
    return str(human.notebook.get_cell(cell)["outputs"])


async def test_cells_run_elsewhere_and_their_outputs_stream_into_the_document(
    gateway_lab: Server, goose: McpAgent
) -> None:
    loop = "import time, sys\nprint('first')\nwhile not stop.exists():\n    time.sleep(0.05)\nprint('last')\n1 + 1"
    flag = Path(str(gateway_lab.root_dir), "stop")
    path = write(gateway_lab, "stream.ipynb", f"from pathlib import Path\nstop = Path({str(flag)!r})", loop, "1 / 0")
    async with Human.join_server(gateway_lab, path) as human:
        await goose.setup(path)
        assert " ok " in (await goose.run(cells=["#1"])).text
        await goose.run(cells=["#2"], wait_s=0)
        await human.wait_for(lambda: "first" in outputs(human, 1))
        assert "last" not in outputs(human, 1)
        await anyio.Path(flag).touch()
        assert " ok " in (await goose.query("runs", wait_s=30)).text
        await human.wait_for(lambda: "'text/plain': '2'" in outputs(human, 1))
        failed = await goose.run(cells=["#3"])
        assert "ZeroDivisionError" in failed.text
        await goose.setup(path, action="save")


async def test_a_run_elsewhere_is_interrupted_and_the_kernel_restarted(gateway_lab: Server, goose: McpAgent) -> None:
    path = write(gateway_lab, "long.ipynb", "x = 1", "import time\nprint('begun', flush=True)\ntime.sleep(600)", "x")
    async with Human.join_server(gateway_lab, path) as human:
        await goose.setup(path)
        await goose.run(cells=["#1"])
        await goose.run(cells=["#2"], wait_s=0)
        await human.wait_for(lambda: "begun" in outputs(human, 1))
        await goose.run(action="interrupt")
        assert "KeyboardInterrupt" in (await goose.query("outputs", cells=["#2"])).text
        assert " ok " in (await goose.run(cells=["#3"])).text
        await goose.run(action="restart")
        assert "NameError" in (await goose.run(cells=["#3"])).text


async def test_a_kernel_that_dies_elsewhere_is_told(gateway_lab: Server, goose: McpAgent) -> None:
    path = write(gateway_lab, "dies.ipynb", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "'again'")
    async with Human.join_server(gateway_lab, path) as human:
        await goose.setup(path)
        assert " died " in (await goose.run(cells=["#1"])).text
        await human.wait_for(lambda: human.notebook.ycells[0]["execution_state"] == "idle")
        assert "'again'" in (await goose.run(cells=["#2"])).text


async def test_variables_names_and_questions_work_elsewhere(gateway_lab: Server, goose: McpAgent) -> None:
    path = write(gateway_lab, "look.ipynb", "answer = 42", "who = input('who? ')")
    await goose.setup(path)
    await goose.run(cells=["#1"])
    assert "answer" in (await goose.query("variables")).text
    assert "print" in (await goose.query("inspect", pattern="print")).text
    asked = await goose.run(cells=["#2"])
    assert "who?" in asked.text
    await goose.run(action="reply", reply="Ada")
    await goose.query("runs", wait_s=30)
    assert "'Ada'" in (await goose.run(code="who")).text
