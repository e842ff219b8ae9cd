"""Modes and patterns, through the tools, on the real server: what is forbidden leaves no trace."""

from __future__ import annotations

from pathlib import Path

import pytest

from collab_agent.config import Server
from collab_agent.policy import Policy
from collab_agent.testing import Human

from .conftest import McpAgent, Notebook, Rest, mcp_agent_on

WRITES = (
    {"edits": [{"op": "insert", "source": "1"}]},
    {"edits": [{"op": "write", "cell": "first", "source": "1"}]},
    {"edits": [{"op": "delete", "cell": "first", "force": True}]},
    {"edits": [{"op": "clear", "cells": "all"}]},
    {"edits": [{"op": "insert", "source": "1"}], "suggest": "an idea"},
)
RUNS = (
    {"cells": "all"},
    {"code": "open('trace', 'w')"},
    {"edits": [{"op": "insert", "source": "1"}]},
    {"action": "restart"},
    {"action": "install", "packages": ["six"]},
)


async def _forbidden(agent: McpAgent, policy: Policy) -> None:
    told = [(await agent.refused("execute_notebook_code", **call)).text for call in RUNS]
    if policy.read_only:
        told += [(await agent.refused("modify_notebook_cells", **call)).text for call in WRITES]
        told.append((await agent.refused("setup_notebook", action="save")).text)
    assert all("This agent may" in text and "Nothing was" in text for text in told), told


@pytest.mark.parametrize("policy", [Policy(read_only=True), Policy(no_run=True)], ids=lambda policy: policy.label)
async def test_a_mode_is_held_below_the_tools_and_shown_in_the_name(
    policy: Policy, jupyter: Server, notebook: Notebook, page: Rest
) -> None:
    path = await notebook(["x = 1", "x"])
    kernels = len(await page.send("GET", "api/kernels"))
    async with Human.join_server(jupyter, path) as ada, mcp_agent_on(jupyter, policy=policy) as agent:
        opened = await agent.setup(path)
        assert f"you are: Goose ({policy.label})" in opened.text
        before = ada.sources()
        await _forbidden(agent, policy)

        assert "x = 1" in (await agent.query("cells")).text
        shown = f"Goose ({policy.label})"
        await ada.wait_for(lambda: shown in [state["user"]["name"] for state in ada.peers().values()])
        assert ada.sources() == before
        if not policy.read_only:
            await agent.edit({"op": "replace", "cell": "first", "old": "1", "new": "2"})
            assert agent.peer().view.cells[0].source == "x = 2"
    assert len(await page.send("GET", "api/kernels")) == kernels


async def test_reading_only_makes_no_notebook_and_no_kernel(jupyter: Server, page: Rest) -> None:
    assert jupyter.root_dir is not None
    async with mcp_agent_on(jupyter, policy=Policy(read_only=True)) as agent:
        refused = await agent.refused("setup_notebook", notebook_path="not-there.ipynb")
    assert "not-there.ipynb" in refused.text
    assert not (Path(jupyter.root_dir) / "not-there.ipynb").exists()
    assert await page.sessions("not-there.ipynb") == []


async def test_only_allowed_notebooks_are_opened_also_after_a_rename(
    jupyter: Server, notebook: Notebook, page: Rest
) -> None:
    inside, outside = await notebook(["1"]), await notebook(["2"])
    folder, _, name = inside.rpartition("/")
    policy = Policy(allow=(inside,))
    async with mcp_agent_on(jupyter, policy=policy) as agent:
        refused = await agent.refused("setup_notebook", notebook_path=outside)
        assert inside in refused.text
        await agent.setup(inside)
        moved = f"{folder}/moved-{name}".lstrip("/")
        await page.send("PATCH", f"api/contents/{inside}", json={"path": moved})
        await agent.hears(lambda: agent.peer().view.path == moved)

        text = (await agent.refused("modify_notebook_cells", edits=[{"op": "insert", "source": "3"}])).text

        assert moved in text
        assert "Nothing was done." in text
