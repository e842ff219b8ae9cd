"""Both eras of the protocol, in memory: the handshake one, which stdio and HTTP speak, and the stateless one.

One session, call by call, in each: the results are the same to the letter, but for ids and durations.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

from collab_agent.config import Server
from collab_agent.testing import Human

from .conftest import DEADLINE_S, McpAgent, Mode, Notebook, mcp_agent_on

HANDSHAKE, STATELESS = "2025-11-25", "2026-07-28"
PICTURE = """\
import base64
from IPython.display import Image, display
display(Image(base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)))"""
SOURCES = ["width = 6", "area = widht * 7", "print(area)", PICTURE, ("markdown", "# Title")]


@dataclass
class Transcript:
    """What a session said, with every name that is made anew replaced by one that is not."""

    agent: McpAgent
    path: str
    said: list[object] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)

    async def call(self, tool: str, **arguments: Any) -> None:
        """Call a tool, whatever it answers."""
        result = await self.agent.call(tool, **arguments)
        for cell in self.agent.peer().view.cells if self.agent.agent.open_paths else []:
            self.names.setdefault(cell.id[:4], f"cell{len(self.names)}")
        text = result.text.replace(self.path, "PATH")
        for name, plain in self.names.items():
            text = re.sub(rf"\b{name}[0-9a-f]*\b", plain, text)
        self.said.append((tool, re.sub(r"\d+(\.\d+)? m?s\b", "T s", text), result.is_error, len(result.images)))


async def session(server: Server, path: str, mode: Mode) -> tuple[str, list[object]]:
    """The version that was agreed upon, and everything that was said."""
    async with mcp_agent_on(server, mode=mode) as agent, Human.join_server(server, path) as ada:
        talk = Transcript(agent, path)
        talk.said += [agent.client.instructions, (await agent.client.list_tools()).tools]
        await talk.call("query_notebook", query="outline", notebook_path="../outside.ipynb")
        await talk.call("setup_notebook", notebook_path=path)
        await talk.call("query_notebook", query="cells")
        await talk.call("execute_notebook_code", cells=["all"])
        await talk.call(
            "modify_notebook_cells", edits=[{"op": "replace", "cell": "#2", "old": "widht", "new": "width"}]
        )
        await talk.call("execute_notebook_code", edits=[{"op": "insert", "source": "area + 1"}], cells=["#1:"])
        await ada.insert_cell(0, "# Ada's")
        await agent.sees(ada)
        await talk.call("query_notebook", query="changes")
        await talk.call("modify_notebook_cells", edits=[{"op": "replace", "cell": "#2", "old": "widht", "new": "x"}])
        await talk.call("modify_notebook_cells", edits=[{"op": "fly"}])
        await talk.call("modify_notebook_cells", edits="all of them")
        await talk.call("query_notebook", query="variables", pattern="area|width")
        await talk.call("modify_notebook_cells", edits=[{"op": "undo", "steps": 2}])
        await talk.call("setup_notebook", action="save")
        await talk.call("setup_notebook", action="leave")
        return agent.client.protocol_version, talk.said


async def test_the_results_are_the_same_in_both_eras(jupyter: Server, own_notebook: Notebook) -> None:
    version, handshake = await session(jupyter, await own_notebook(SOURCES), "legacy")
    assert version == HANDSHAKE
    version, stateless = await session(jupyter, await own_notebook(SOURCES), "auto")
    assert version == STATELESS
    assert stateless == handshake


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_call_that_is_cancelled_interrupts_its_run_in_both_eras(
    jupyter: Server, own_notebook: Notebook, mode: Mode
) -> None:
    path = await own_notebook(["import time\nprint('begun')\ntime.sleep(600)", "1 + 1"])
    async with mcp_agent_on(jupyter, mode=mode) as agent, Human.join_server(jupyter, path) as ada:
        await agent.setup(path)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: agent.call("execute_notebook_code", cells=["#1"], wait_s=500))
            await ada.wait_for(lambda: "begun" in str(ada.document()["cells"][0]["outputs"]), DEADLINE_S)
            tasks.cancel_scope.cancel()
        assert "ok" in (await agent.run(cells=["#2"])).text
        await ada.wait_for(lambda: "KeyboardInterrupt" in str(ada.document()["cells"][0]["outputs"]), DEADLINE_S)
