"""A model may call a tool with anything: it gets a result or an error of ours, and only what it was told is written.

Arguments follow the tools' own schemas, and go beyond them.  The notebook is on the real server; code is not run here.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collab_agent.config import Limits, Server
from collab_agent.errors import CollabAgentError
from collab_agent.notebook.edit_ops import CELL_TYPES
from collab_agent.policy import Policy
from collab_agent.server.schema import TOOLS, properties
from collab_agent.server.tools import Tools
from tests.conftest import NewNotebook
from tests.integration.conftest import mcp_agent_on

from .odd import fuzz, nearly, numbers, record, survives_json, texts, values

OPS = ["insert", "replace", "write", "delete", "move", "retype", "split", "merge", "clear", "undo", "redo", "restore"]
refs = st.sampled_from(["#1", "#2", "first", "last", "@human", "[1]", "#99", "all", "#1:#2", "zzzz", ":", "#" * 500])
edits = record(
    op=st.sampled_from(OPS),
    cell=refs,
    cells=st.lists(refs, max_size=2) | refs,
    source=texts,
    old=st.sampled_from(["a", "b = 2"]) | texts,
    new=texts,
    type=st.sampled_from(sorted(CELL_TYPES)),
    after=refs,
    before=refs,
    line=numbers,
    steps=numbers,
    all=st.booleans(),
    force=st.booleans(),
)


def by_schema(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """What the schema of an argument asks for."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "string": texts,
        "integer": numbers,
        "number": st.just(0) | numbers,
        "boolean": st.booleans(),
        "array": st.lists(refs | texts, max_size=3),
    }
    return kinds.get(str(schema.get("type")), values)


def arguments_of(name: str) -> st.SearchStrategy[dict[str, Any]]:
    """Arguments of a tool.  Nothing waits for long, nothing is suggested, and the notebook stays open."""
    (tool,) = (tool for tool in TOOLS if tool.name == name)
    fields = {field: by_schema(schema) for field, schema in properties(tool).items()}
    fields |= {"notebook_path": st.none()}  # the one that is open; instead of it, now and then, anything
    if "edits" in fields:
        fields["edits"] = st.lists(nearly(edits), max_size=3)
    if "cells" in fields:
        fields["cells"] = refs | st.lists(refs, max_size=2)
    if "wait_s" in fields:
        fields["wait_s"] = st.sampled_from([0, -1, float("nan"), 10**400, "0"])
    if name == "query_notebook":
        fields["query"] = fields["query"].filter(lambda query: query not in ("people", "server"))
    if name == "setup_notebook":
        fields["action"] = st.sampled_from(["save", "open", "close"])
    known = st.fixed_dictionaries({}, optional={field: nearly(given) for field, given in fields.items()})
    if name == "setup_notebook":
        known = known.map(lambda given: {"action": "save"} | given)
    return st.builds(lambda known, more: more | known, known, st.dictionaries(texts, values, max_size=1)).map(
        survives_json
    )


@pytest.mark.parametrize("name", [tool.name for tool in TOOLS])
async def test_no_call_fails_inside(name: str, jupyter: Server, new_notebook: NewNotebook) -> None:
    """One agent for all examples: none of them may leave it unable to work."""
    path = new_notebook(["a = 1", ("markdown", "b = 2")])
    async with mcp_agent_on(
        jupyter, policy=Policy(no_run=True, allow=(path,)), limits=Limits(save_s=2, typed_out_s=0)
    ) as agent:
        await agent.setup(path)
        tools, tool = Tools(agent.agent), next(tool for tool in TOOLS if tool.name == name)
        calls: list[dict[str, Any]] = []
        collect(arguments_of(name), calls)
        for given in calls:
            given.pop("suggest", None)
            try:
                said = (await tools.call(tool, given)).text
            except CollabAgentError as error:
                said = str(error)
            assert len(said.encode()) < 100_000, given
            cells = agent.peer(path).view.cells
            assert len({cell.id for cell in cells}) == len(cells)
        await agent.edit({"op": "insert", "source": "still here"}, notebook_path=path)
        assert agent.peer(path).view.cells[-1].source == "still here"


def collect(strategy: st.SearchStrategy[dict[str, Any]], into: list[dict[str, Any]]) -> None:
    """Examples to be tried on one agent; hypothesis runs its tests one by one, each with an agent of its own."""

    @given(strategy)
    @fuzz(100)
    def take(given_arguments: dict[str, Any]) -> None:
        into.append(given_arguments)

    take()
