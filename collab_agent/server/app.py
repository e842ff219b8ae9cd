"""The MCP server: lists the tools, calls them, and translates every error for the model."""

from __future__ import annotations

import logging
import traceback
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import anyio
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
from ..audit import Text
from ..errors import CollabAgentError, InvalidEdit
from ..notebook.plain import inline, visible
from .progress import Report
from .schema import INSTRUCTIONS, TOOLS
from .tools import Tools

if TYPE_CHECKING:
    from ..notebook.render import Rendered

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
        arguments, began = params.arguments or {}, anyio.current_time()
        agent.audit.begin(params.name, arguments)

        async def report(seconds: float, line: str) -> None:
            await context.session.report_progress(seconds, message=agent.scrub(visible(line)))

        outcome = "cancelled"
        said = ""
        try:
            try:
                rendered = await answer(params.name, arguments, report)
                outcome = "ok"
                content = _content(rendered, agent)
            except CollabAgentError as exc:
                outcome = type(exc).__name__
                content = [_text(visible(str(exc))[: agent.settings.limits.result_chars], agent)]
            except Exception as exc:
                log.error("%s failed\n%s", params.name, agent.scrub(traceback.format_exc()))
                outcome = type(exc).__name__
                bug = (
                    f"{params.name} failed inside collab-agent ({outcome}); this is a bug of collab-agent. "
                    "What state the notebook is in is not known."
                )
                content = [_text(bug, agent)]
            said = "\n".join(part.text for part in content if isinstance(part, TextContent))
            return CallToolResult(content=content, is_error=outcome != "ok")
        finally:
            seconds = round(anyio.current_time() - began, 3)
            agent.audit.note("result", result=outcome, seconds=seconds, text=Text(said))

    async def answer(name: str, arguments: dict[str, Any], report: Report) -> Rendered:
        if name not in by_name:
            raise InvalidEdit(f"There is no tool {inline(name, 60)!r}. There are {', '.join(by_name)}.")
        return await tools.call(by_name[name], arguments, report)

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


def _text(text: str, agent: Agent) -> TextContent:
    """The last thing done to a text: whatever it was put together from, it holds no secret and nothing hidden."""
    return TextContent(type="text", text=visible(agent.scrub(text)))


def _content(rendered: Rendered, agent: Agent) -> list[ContentBlock]:
    content: list[ContentBlock] = [_text(rendered.text, agent)]
    if rendered.images:
        from .images import downscale

        limits = agent.settings.limits
        for image in rendered.images[: limits.images]:
            small = downscale(image, limits)
            if small is None:
                content.append(_text(f"[{image.caption}: cannot be shown]", agent))
            else:
                content.append(ImageContent(type="image", mime_type=small[0], data=small[1]))
    return content
