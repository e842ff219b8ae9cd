"""One agent behind its real MCP tools, on the real server; humans are ``collab_agent.testing.Human``."""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

import anyio
import httpx2
import pytest
from mcp.client.client import Client
from mcp_types import CallToolResult, ImageContent, Implementation, TextContent

from collab_agent.agent import Agent, agent
from collab_agent.config import Limits, Server, Settings
from collab_agent.peer import NotebookPeer
from collab_agent.policy import Policy
from collab_agent.room.channel import Channel, websocket_channel
from collab_agent.server.app import build_server
from collab_agent.testing import Human

DEADLINE_S = 60.0
MOST_CHARS = 8_000

Source = str | tuple[str, str]
Mode = Literal["legacy", "auto"]


@dataclass(frozen=True)
class Result:
    """What a model gets: text, pictures as (MIME type, bytes), and whether it is an error."""

    text: str
    images: tuple[tuple[str, bytes], ...]
    is_error: bool

    @property
    def body(self) -> str:
        """The text without the closing line, and without the bars behind which the lines of outputs stand."""
        return re.sub("^│", "", self.text.partition("\nsince your last call:")[0], flags=re.MULTILINE)

    @property
    def since(self) -> str:
        """The closing line about others; empty where there is none."""
        lines = [line for line in self.text.splitlines() if line.startswith("since your last call:")]
        assert len(lines) <= 1, self.text
        assert not lines or self.text.splitlines()[-1] == lines[0], self.text
        return lines[0] if lines else ""


def result_of(answer: CallToolResult) -> Result:
    """A tool's answer, held to what every answer promises: text first, bounded, no structured output, no ANSI."""
    assert answer.structured_content is None
    texts = [part.text for part in answer.content if isinstance(part, TextContent)]
    images = [part for part in answer.content if isinstance(part, ImageContent)]
    assert isinstance(answer.content[0], TextContent)
    assert sum(map(len, texts)) <= MOST_CHARS, f"{sum(map(len, texts))} characters"
    assert "\x1b" not in "".join(texts)
    assert len(images) <= 4
    pictures = tuple((image.mime_type, base64.b64decode(image.data)) for image in images)
    return Result("\n".join(texts), pictures, bool(answer.is_error))


class Caller:
    """A model's view of the tools, wherever they are."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def call(self, tool: str, **arguments: Any) -> Result:
        """Call a tool; whatever it answers."""
        with anyio.fail_after(DEADLINE_S):
            return result_of(await self.client.call_tool(tool, arguments))


class McpAgent(Caller):
    """Such a view, and the ``Agent`` behind the tools for looking inside."""

    def __init__(self, client: Client, inner: Agent) -> None:
        super().__init__(client)
        self.agent = inner

    async def ok(self, tool: str, **arguments: Any) -> Result:
        """Call a tool that must not fail."""
        result = await self.call(tool, **arguments)
        assert not result.is_error, result.text
        return result

    async def refused(self, tool: str, **arguments: Any) -> Result:
        """Call a tool that must fail."""
        result = await self.call(tool, **arguments)
        assert result.is_error, result.text
        return result

    async def setup(self, path: str, **arguments: Any) -> Result:
        """``setup_notebook``."""
        return await self.ok("setup_notebook", notebook_path=path, **arguments)

    async def query(self, query: str = "outline", **arguments: Any) -> Result:
        """``query_notebook``."""
        return await self.ok("query_notebook", query=query, **arguments)

    async def edit(self, *edits: Mapping[str, Any], **arguments: Any) -> Result:
        """``modify_notebook_cells``."""
        return await self.ok("modify_notebook_cells", edits=list(edits), **arguments)

    async def edit_refused(self, *edits: Mapping[str, Any], **arguments: Any) -> Result:
        """``modify_notebook_cells`` that must be refused, with nothing written."""
        result = await self.refused("modify_notebook_cells", edits=list(edits), **arguments)
        assert "Nothing was written." in result.text
        return result

    async def run(self, **arguments: Any) -> Result:
        """``execute_notebook_code``."""
        return await self.ok("execute_notebook_code", **arguments)

    def peer(self, path: str | None = None) -> NotebookPeer:
        """The peer in an open notebook."""
        return self.agent.get(path)

    async def hears(self, reached: Callable[[], bool], path: str | None = None) -> None:
        """Wait until an event of the room makes this true."""
        changed = anyio.Event()
        unsubscribe = self.peer(path).observe(lambda _event: changed.set())
        try:
            with anyio.fail_after(DEADLINE_S):
                while not reached():
                    await changed.wait()
                    changed = anyio.Event()
        finally:
            unsubscribe()

    async def sees(self, human: Human, path: str | None = None) -> None:
        """Wait until the agent has all that this human has."""
        await self.hears(lambda: [cell.source for cell in self.peer(path).view.cells] == human.sources(), path)


@asynccontextmanager
async def mcp_agent_on(
    server: Server,
    *,
    name: str = "goose",
    mode: Mode = "legacy",
    limits: Limits | None = None,
    trust_outputs: bool = True,
    policy: Policy | None = None,
    mark_cells: bool = False,
) -> AsyncIterator[McpAgent]:
    """An agent of its own on this server, behind an MCP client in memory.

    To the usual one nobody is typing as soon as they have typed; so what it is told does not hang on the clock.
    """

    async def find_server(_stack: AsyncExitStack) -> Server:
        return server

    settings = Settings(
        limits=limits or Limits(typed_out_s=0),
        trust_outputs=trust_outputs,
        policy=policy or Policy(),
        mark_cells=mark_cells,
    )
    async with (
        agent(settings, find_server) as inner,
        Client(build_server(inner), mode=mode, client_info=Implementation(name=name, version="1")) as client,
    ):
        yield McpAgent(client, inner)


@pytest.fixture
async def mcp_agent(jupyter: Server) -> AsyncIterator[McpAgent]:
    """The usual agent: Goose, in the handshake era."""
    async with mcp_agent_on(jupyter) as made:
        yield made


@pytest.fixture
async def brisk_agent(jupyter: Server) -> AsyncIterator[McpAgent]:
    """An agent to which a line is quiet at once, for what comes after a human has typed there."""
    async with mcp_agent_on(jupyter, limits=Limits(line_quiet_s=0, typed_out_s=0)) as made:
        yield made


class Rest:
    """The server's REST interface as a page uses it."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self.client = client

    async def send(self, method: str, url: str, **options: Any) -> Any:
        """A request; its JSON, or None."""
        answer = await self.client.request(method, url, **options)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    async def start_kernel(self) -> str:
        """A kernel without a session."""
        return str((await self.send("POST", "api/kernels", json={"name": "python3"}))["id"])

    async def open_session(self, path: str, kernel_id: str | None = None) -> dict[str, Any]:
        """The session of a notebook, as the human's page makes it."""
        kernel = {"name": "python3"} if kernel_id is None else {"id": kernel_id}
        body = {"path": path, "name": path, "type": "notebook", "kernel": kernel}
        found: dict[str, Any] = await self.send("POST", "api/sessions", json=body)
        return found

    async def sessions(self, path: str) -> list[dict[str, Any]]:
        """The sessions of a notebook."""
        return [each for each in await self.send("GET", "api/sessions") if each["path"] == path]


@pytest.fixture(scope="module")
async def page(jupyter: Server) -> AsyncIterator[Rest]:
    """What a page does over REST."""
    headers = {"Authorization": f"token {jupyter.token}"}
    async with httpx2.AsyncClient(base_url=jupyter.url, headers=headers, trust_env=False, timeout=60) as client:
        yield Rest(client)


@pytest.fixture(scope="module")
async def shared_kernel(page: Rest) -> str:
    """A kernel that no test of the module destroys."""
    return await page.start_kernel()


Notebook = Callable[[Sequence[Source]], Awaitable[str]]


@pytest.fixture
def notebook(new_notebook: Callable[..., str], page: Rest, shared_kernel: str) -> Notebook:
    """``await notebook(["1+1"]) -> path``: a notebook whose human has a session, on the kernel that tests share."""

    async def make(sources: Sequence[Source] = ()) -> str:
        path = new_notebook(sources)
        await page.open_session(path, shared_kernel)
        return path

    return make


@pytest.fixture
def own_notebook(new_notebook: Callable[..., str], page: Rest) -> Notebook:
    """As ``notebook``, on a fresh kernel of its own."""

    async def make(sources: Sequence[Source] = ()) -> str:
        path = new_notebook(sources)
        await page.open_session(path)
        return path

    return make


async def fence(agent: McpAgent, human: Human, path: str | None = None) -> str:
    """Have the agent insert a cell and wait until the human sees it: all that it wrote before has come, too."""
    mark = f"fence {uuid.uuid4().hex}"
    await agent.edit(
        {"op": "insert", "source": mark, "type": "raw"}, **({} if path is None else {"notebook_path": path})
    )
    await human.wait_for(lambda: mark in human.sources())
    return mark


async def unwritten(agent: McpAgent, human: Human, before: list[str]) -> None:
    """Prove that the agent has written nothing since the human saw these sources."""
    mark = await fence(agent, human)
    assert human.sources() == [*before, mark]
    assert [cell.source for cell in agent.peer().view.cells] == [*before, mark]


@asynccontextmanager
async def panel_on(server: Server) -> AsyncIterator[Human]:
    """The collaborators panel of a human's page: their end of the room that feeds it."""
    headers = {"Authorization": f"token {server.token}"}
    address = f"ws{server.url.removeprefix('http')}api/collaboration/room/JupyterLab:globalAwareness"

    @asynccontextmanager
    async def channel() -> AsyncIterator[Channel]:
        async with websocket_channel(address, headers) as opened:
            yield opened

    async with Human.join(channel, "Panel") as human:
        yield human


def agents_seen(human: Human) -> list[Mapping[str, Any]]:
    """The awareness states of the agents that this human's page shows."""
    return [state for state in human.peers().values() if "collab_agent" in state]
