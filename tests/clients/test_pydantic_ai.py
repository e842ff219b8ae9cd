"""pydantic-ai with a model that is a function, over stdio, in a notebook that a human has open."""

from __future__ import annotations

import sys
from collections.abc import Callable

from fastmcp.client.transports import StdioTransport
from mcp_types import Implementation
from pydantic_ai import Agent
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from collab_agent.config import Server
from collab_agent.testing import Human


async def test_pydantic_ai_repairs_a_failing_cell_beside_a_human(
    jupyter: Server, jupyter_env: dict[str, str], new_notebook: Callable[..., str]
) -> None:
    path = new_notebook(["width = 6", "area = widht * 7\nprint(area)"])
    repair = {"op": "replace", "cell": "#2", "old": "widht", "new": "width"}
    steps = [
        ("", "setup_notebook", {"notebook_path": path}),
        ("here: Ada", "execute_notebook_code", {"cells": ["#1", "#2"]}),
        ("NameError: name 'widht' is not defined", "execute_notebook_code", {"edits": [repair]}),
    ]

    def model(messages: list[ModelMessage], _info: AgentInfo) -> ModelResponse:
        answers = [
            part.model_response_str()
            for message in messages
            if isinstance(message, ModelRequest)
            for part in message.parts
            if isinstance(part, ToolReturnPart)
        ]
        if len(answers) == len(steps):
            assert "42" in answers[-1]
            return ModelResponse([TextPart("the area is 42")])
        expected, tool, arguments = steps[len(answers)]
        assert expected in (answers[-1] if answers else "")
        return ModelResponse([ToolCallPart(tool, arguments)])

    env = jupyter_env | {"JUPYTER_URL": jupyter.url, "JUPYTER_TOKEN": jupyter.token}
    server = StdioTransport(command=sys.executable, args=["-m", "collab_agent"], env=env, keep_alive=False)
    tools = MCPToolset(server, client_info=Implementation(name="pydantic-ai", version="2"))
    async with Human.join_server(jupyter, path) as ada:
        async with Agent(FunctionModel(model), toolsets=[tools]) as agent:
            done = await agent.run("Why does it fail?")
            assert [state["user"]["name"] for state in ada.peers().values()] == ["Pydantic-ai"]
        await ada.wait_for(lambda: ada.peers() == {})
        await ada.wait_for(lambda: ada.source(1) == "area = width * 7\nprint(area)")
    assert done.output == "the area is 42"
