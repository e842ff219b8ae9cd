"""The MCP server: lists the tools, calls them, and translates every error for the model."""

from __future__ import annotations

import logging
from importlib.metadata import version
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    ContentBlock,
    ImageContent,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
)

from ..agent import Agent
from ..config import Limits
from ..errors import CollabAgentError
from .schema import INSTRUCTIONS, TOOLS
from .tools import Tools

NAME = "collab-agent"

log = logging.getLogger(__name__)


def build_server(agent: Agent) -> Server[Any]:
    """The MCP server of one agent.  Connects to nothing; the first notebook that is opened does."""
    tools = Tools(agent)
    by_name = {tool.name: tool for tool in TOOLS}

    async def list_tools(
        _context: ServerRequestContext[Any], _params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        return ListToolsResult(tools=list(TOOLS))

    async def call_tool(context: ServerRequestContext[Any], params: CallToolRequestParams) -> CallToolResult:
        _learn_name(agent, context)
        tool = by_name.get(params.name)
        if tool is None:
            return _failure(f"There is no tool {params.name!r}. There are {', '.join(by_name)}.")

        async def report(seconds: float, line: str) -> None:
            await context.session.report_progress(seconds, message=line)

        try:
            rendered = await tools.call(tool, params.arguments or {}, report)
            return CallToolResult(content=_content(rendered, agent.settings.limits))
        except CollabAgentError as exc:
            return _failure(str(exc)[: agent.settings.limits.result_chars])
        except Exception as exc:
            log.exception("%s failed", params.name)
            return _failure(
                f"{params.name} failed inside collab-agent ({type(exc).__name__}); this is a bug of collab-agent. "
                "What state the notebook is in is not known.",
            )

    return Server(
        NAME, version=version(NAME), instructions=INSTRUCTIONS, on_list_tools=list_tools, on_call_tool=call_tool
    )


def _learn_name(agent: Agent, context: ServerRequestContext[Any]) -> None:
    """The client's own name is the agent's display name, e.g. ``Goose``."""
    params = context.session.client_params
    if params is not None and params.client_info.name:
        agent.client_name = display_name(params.client_info.title or params.client_info.name)


def display_name(client: str) -> str:
    """A client's name as people write it: ``goose`` and ``goose-desktop`` are ``Goose``."""
    known = {"goose": "Goose", "cursor": "Cursor", "claude": "Claude", "codex": "Codex", "opencode": "OpenCode"}
    for prefix, name in known.items():
        if client.lower().startswith(prefix):
            return name
    return client[:1].upper() + client[1:]


def _failure(text: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=True)


def _content(rendered: Any, limits: Limits) -> list[ContentBlock]:
    content: list[ContentBlock] = [TextContent(type="text", text=rendered.text)]
    if rendered.images:
        from .images import downscale

        for image in rendered.images[: limits.images]:
            small = downscale(image, limits)
            if small is None:
                content.append(TextContent(type="text", text=f"[{image.caption}: cannot be shown]"))
            else:
                content.append(ImageContent(type="image", mime_type=small[0], data=small[1]))
    return content
