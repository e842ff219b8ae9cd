"""A human at a real JupyterLab page in headless Chromium, and an agent that works through the real MCP tools.

Every page fails its test on an uncaught error and on every ``console.error``; nothing is filtered.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from mcp.client.client import Client
from mcp_types import Implementation
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    Locator,
    Page,
    Route,
    async_playwright,
    expect,
)

from collab_agent.agent import Agent, agent
from collab_agent.config import Server, Settings
from collab_agent.server.app import build_server

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 30_000
"""A deadline, not a measure: the machine may be busy."""

PutSettings = Callable[..., Awaitable[None]]

EXPOSE = """document.addEventListener('readystatechange', () => {
    const config = document.getElementById('jupyter-config-data');
    if (config && document.readyState === 'interactive')
        config.textContent = JSON.stringify({...JSON.parse(config.textContent), exposeAppInBrowser: true});
})"""
"""JavaScript: have JupyterLab put itself into ``window.jupyterapp`` (its own option, otherwise set on the server)."""

EDITOR = "cell => { const c = cell.querySelector('.cm-content'); return (c.cmTile ?? c.cmView).view }"
"""JavaScript: a cell's element -> its CodeMirror view."""


class LabPage:
    """A notebook in JupyterLab as its human sees it and works in it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []
        page.on("pageerror", self._on_error)
        page.on("console", self._on_console)

    def _on_error(self, error: Error) -> None:
        self.errors.append(f"uncaught: {error.stack or error.message}")

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(f"console: {message.text} ({message.location.get('url')})")

    async def be(self, name: str, color: str) -> None:
        """The human at this page has a name; before ``goto``."""
        known = {"name": name, "display_name": name, "initials": name[0], "color": color}

        async def answer(route: Route) -> None:
            response = await route.fetch()
            me = await response.json()
            me["identity"] |= known
            await route.fulfill(response=response, body=json.dumps(me))

        await self.page.route("**/api/me*", answer)

    async def goto(self, server: Server, path: str) -> None:
        """Open a notebook in a workspace of its own; ready when its cells and its kernel are there."""
        workspace = f"test-{uuid.uuid4().hex[:8]}"
        url = f"{server.url}lab/workspaces/{workspace}/tree/{quote(path)}?token={server.token}&reset"
        await self.page.goto(url)
        await self.page.locator(".jp-Notebook .jp-Cell").first.wait_for()
        await self.page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for()

    def cell(self, index: int) -> Locator:
        """The cell at ``index``, counted from 0."""
        return self.page.locator(f'.jp-Notebook .jp-Cell[data-windowed-list-index="{index}"]')

    async def click_into(self, index: int) -> None:
        """Put the human's caret at the end of a cell's source."""
        await self.cell(index).locator(".cm-content").click()
        await self.page.keyboard.press("Control+End")

    async def place_caret(self, index: int, offset: int) -> None:
        """Put the human's caret before character ``offset`` of a cell's source, by the keyboard alone."""
        await self.cell(index).locator(".cm-content").click()
        await self.page.keyboard.press("Control+Home")
        for _ in range(offset):
            await self.page.keyboard.press("ArrowRight")

    async def text(self, index: int) -> str:
        """A cell's source as the editor holds it."""
        return str(await self._in_editor(index, "view.state.doc.toString()"))

    async def texts(self) -> list[str]:
        """The sources of all cells."""
        count = await self.page.locator(".jp-Notebook .jp-Cell").count()
        return [await self.text(index) for index in range(count)]

    async def selection(self, index: int) -> tuple[int, int, bool]:
        """Anchor and head of a cell's selection in UTF-16 units, and whether the editor has the focus."""
        main = "view.state.selection.main"
        anchor, head, focus = await self._in_editor(index, f"[{main}.anchor, {main}.head, view.hasFocus]")
        return anchor, head, focus

    async def _in_editor(self, index: int, expression: str) -> Any:
        return await self.cell(index).evaluate(f"cell => {{ const view = ({EDITOR})(cell); return {expression} }}")

    async def wait_for_text(self, index: int, fragment: str) -> None:
        """Wait until a cell's editor holds ``fragment``."""
        await self.page.wait_for_function(
            f"""([index, fragment]) => {{
                const cell = document.querySelector(
                    `.jp-Notebook .jp-Cell[data-windowed-list-index="${{index}}"]:has(.cm-content)`);
                return cell && ({EDITOR})(cell).state.doc.toString().includes(fragment) }}""",
            arg=[index, fragment],
        )

    async def notebook(self, expression: str, arg: Any = None) -> Any:
        """What JupyterLab itself says of its notebook: JavaScript over ``nb`` (the widget), ``lab`` and ``arg``."""
        return await self.page.evaluate(
            f"arg => {{ const lab = window.jupyterapp, nb = lab.shell.currentWidget.content; return {expression} }}",
            arg,
        )

    async def command(self, name: str) -> None:
        """What a menu entry or a key does: a command of JupyterLab, on the active cell."""
        await self.notebook("lab.commands.execute(arg).then(() => null)", name)

    async def open_collaborators(self) -> None:
        """Open the collaborators panel in the left sidebar."""
        panel = self.page.locator(".jp-CollaboratorsPanel")
        if not await panel.is_visible():
            await self.page.locator('.lm-TabBar-tab[data-id="jp-collaboration-panel"]').click()
        await panel.wait_for()

    def collaborator(self, name: str) -> Locator:
        """An entry of the collaborators panel."""
        return self.page.locator(".jp-CollaboratorsPanel .jp-Collaborator").filter(has_text=name)

    def caret(self, index: int) -> Locator:
        """The caret of somebody else in a cell."""
        return self.cell(index).locator(".jp-remote-cursor.jp-mod-primary")

    def flag(self, name: str) -> Locator:
        """The name pill of somebody else; it fades two seconds after they did something, and stays in the page."""
        return self.page.locator(".jp-remote-userFlag").filter(has_text=name)

    def visible_flag(self, name: str) -> Locator:
        """The name pill of somebody else while it is to be seen."""
        return self.flag(name).and_(self.page.locator(":not(.jp-mod-idle)"))

    def tint(self, index: int) -> Locator:
        """The selections of somebody else in a cell."""
        return self.cell(index).locator(".jp-remote-selection")


class Goose:
    """An agent as its model has it: four tools, text back."""

    def __init__(self, client: Client, inner: Agent) -> None:
        self.inner = inner
        self._client = client

    async def setup(self, path: str | None = None, action: str = "open") -> str:
        """``setup_notebook``."""
        given = {} if path is None else {"notebook_path": path}
        return await self._call("setup_notebook", action=action, **given)

    async def modify(self, *edits: dict[str, Any], **arguments: Any) -> str:
        """``modify_notebook_cells``."""
        return await self._call("modify_notebook_cells", edits=list(edits), **arguments)

    async def execute(self, **arguments: Any) -> str:
        """``execute_notebook_code``."""
        return await self._call("execute_notebook_code", **arguments)

    async def query(self, **arguments: Any) -> str:
        """``query_notebook``."""
        return await self._call("query_notebook", **arguments)

    def sources(self) -> list[str]:
        """What the agent's own replica holds."""
        return [cell.source for cell in self.inner.get(None).view.cells]

    async def _call(self, tool: str, **arguments: Any) -> str:
        result = await self._client.call_tool(tool, arguments)
        text = "\n".join(block.text for block in result.content if block.type == "text")
        assert not result.is_error, text
        return text


@asynccontextmanager
async def joined_agent(server: Server, client_name: str, *, trust_outputs: bool = True) -> AsyncIterator[Goose]:
    """An agent for the MCP client of this name; leaves at the end of the block."""

    async def find_server(_stack: AsyncExitStack) -> Server:
        return server

    async with (
        agent(Settings(server=server, trust_outputs=trust_outputs), find_server) as inner,
        Client(build_server(inner), mode="legacy", client_info=Implementation(name=client_name, version="1")) as client,
    ):
        yield Goose(client, inner)


@pytest.fixture(scope="session")
async def browser(anyio_backend: str) -> AsyncIterator[Browser]:
    """One Chromium with a new, empty profile."""
    async with async_playwright() as playwright:
        expect.set_options(timeout=PATIENCE_MS)
        launched = await playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield launched
        await launched.close()


@pytest.fixture
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """A browser session without cookies; its pages are 1200 x 900, at twice the resolution."""
    made = await browser.new_context(viewport={"width": 1200, "height": 900}, device_scale_factor=2)
    made.set_default_timeout(PATIENCE_MS)
    await made.add_init_script(EXPOSE)
    yield made
    await made.close()


@pytest.fixture
async def page(context: BrowserContext) -> AsyncIterator[LabPage]:
    """An empty tab; the test fails if anything is reported as an error on it."""
    made = LabPage(await context.new_page())
    yield made
    assert made.errors == []


@pytest.fixture
async def user_settings(jupyter: Server) -> AsyncIterator[PutSettings]:
    """``await user_settings(plugin, name=value)``: what a page that is opened now finds in its user's settings."""
    changed: set[str] = set()

    async def put(plugin: str, **values: Any) -> None:
        changed.add(plugin)
        async with httpx2.AsyncClient(headers={"Authorization": f"token {jupyter.token}"}) as client:
            url = f"{jupyter.url}lab/api/settings/{plugin}"
            (await client.put(url, json={"raw": json.dumps(values)})).raise_for_status()

    yield put
    for plugin in changed:
        await put(plugin)


@pytest.fixture
async def goose(jupyter: Server) -> AsyncIterator[Goose]:
    """An agent whose MCP client is Goose."""
    async with joined_agent(jupyter, "goose") as made:
        yield made


@pytest.fixture
async def another_agent(jupyter: Server) -> AsyncIterator[Goose]:
    """An agent whose MCP client is Cursor."""
    async with joined_agent(jupyter, "cursor-vscode") as made:
        yield made


@pytest.fixture
def image_path(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Path]:
    """``image_path("pairing.png")``: where a picture of the documentation goes; a throw-away without the option."""
    update = request.config.getoption("--update-images")
    return lambda name: (request.config.rootpath / "docs" / "images" if update else tmp_path) / name
