"""Two humans at two real pages and two agents in processes of their own, all at random: nothing is lost or untold.

``pytest tests/browser/test_random_session.py --session-seconds 600 --seed 7`` works longer, and does the same again (as
far as four that are not in step can).  A transcript of all of it is written to a file, which a failure names.
"""

from __future__ import annotations

import random
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import StdioServerParameters
from mcp.client.client import Client
from mcp.client.stdio import stdio_client
from mcp_types import Implementation
from playwright.async_api import Browser

from collab_agent.config import Server
from collab_agent.testing import Human, converged
from tests.files import notebook_in

from .actors import DEADLINE_S, MARK, Model, PageHuman, Session
from .conftest import EXPOSE, PATIENCE_MS, LabPage
from .ledger import SLACK_S, Ledger, Observer, transcript
from .verdict import Verdict

START = [
    ("markdown", "# A session of four"),
    "value_1 = 1",
    "import time\nfor step in range(5):\n    print('value_2', step, flush=True)\n    time.sleep(0.05)",
    "value_3 = 3\nvalue_4 = 4\nvalue_3 + value_4",
    ("markdown", "Some words\n\n* value_5\n* value_6"),
    "value_7 = [\n    1,\n    2,\n]",
    "value_8 = 8",
    "print('value_9')",
    "value_10 = 10\nvalue_10",
    ("raw", "value_11"),
]
COLORS = {"Ada": "var(--jp-collaborator-color4)", "Bob": "var(--jp-collaborator-color6)"}
LAG_S = 10.0
"""A page on a busy machine may be so late."""
COMMS = "Comm not found for comm id"
IDLE = '.jp-Notebook-ExecutionIndicator[data-status="idle"]'


@asynccontextmanager
async def page_of(browser: Browser, server: Server, path: str, name: str) -> AsyncIterator[LabPage]:
    """A human's browser with the notebook in it."""
    context = await browser.new_context(viewport={"width": 1200, "height": 900})
    context.set_default_timeout(PATIENCE_MS)
    await context.add_init_script(EXPOSE)
    page = LabPage(await context.new_page())
    await page.be(name, COLORS[name])
    await page.goto(server, path)
    assert [error for error in page.errors if COMMS not in error] == []
    yield page
    await context.close()


@asynccontextmanager
async def client_of(env: dict[str, str], name: str, folder: Path) -> AsyncIterator[Client]:
    """An agent in a process of its own, as a client starts it."""
    parameters = StdioServerParameters(
        command=sys.executable, args=["-m", "collab_agent", "--name", name], env=env, cwd=str(folder)
    )
    info = Implementation(name="random", version="1")
    async with Client(stdio_client(parameters), mode="legacy", client_info=info) as client:
        yield client


async def test_four_work_at_random_and_nothing_is_lost_doubled_or_untold(
    jupyter: Server,
    jupyter_env: dict[str, str],
    new_notebook: Callable[..., str],
    browser: Browser,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    seconds = request.config.getoption("--session-seconds")
    seed = request.config.getoption("--seed")
    seed = random.randrange(2**32) if seed is None else seed
    told = tmp_path / "transcript.txt"
    print(f"seed {seed}, transcript {told}")
    path = new_notebook(START)
    env = jupyter_env | {"RUST_BACKTRACE": "0", "JUPYTER_URL": jupyter.url, "JUPYTER_TOKEN": jupyter.token}
    async with AsyncExitStack() as stack:
        pages = {name: await stack.enter_async_context(page_of(browser, jupyter, path, name)) for name in COLORS}
        observer = await stack.enter_async_context(Observer.join_server(jupyter, path, "Observer"))
        clients = {name: await stack.enter_async_context(client_of(env, name, tmp_path)) for name in ("Goose", "Cleo")}
        session = Session(Ledger(observer), observer, seconds)
        humans = [PageHuman(name, page, session, seed) for name, page in pages.items()]
        models = [Model(name, client, session, seed) for name, client in clients.items()]
        for human in humans:
            human.watch_errors()
            human.others = [other for other in humans if other is not human]
        try:
            await work_and_stop(session, humans, models, path)
            different = await those_who_differ(jupyter, path, observer, humans, models)
        finally:
            told.write_text(transcript(session.ledger, [model.told for model in models], session.doings), "utf-8")
    assert different == []
    nothing_lost_or_doubled(observer, humans)
    assert [text for human in humans for at, text in human.errors if not is_jupyterlabs_own(at, text, session)] == []
    agents = frozenset(clients)
    found = [line for each in models for line in Verdict(session.ledger, each.told, agents).discrepancies()]
    assert not found, "\n".join([f"seed {seed}, transcript {told}", *found])


async def work_and_stop(session: Session, humans: list[PageHuman], models: list[Model], path: str) -> None:
    """All four at once until the time is over; then every run ends, and each agent makes a last call."""
    for model in models:
        opened = await model.call("setup_notebook", notebook_path=path)
        assert not opened.is_error, opened.text
    session.until += anyio.current_time() - session.ledger.states[0][0]
    async with anyio.create_task_group() as tasks:
        for actor in (*humans, *models):
            tasks.start_soon(actor.work)
    for model in models:
        await model.call("query_notebook", query="runs", wait_s=30)
    for human in humans:
        await human.page.page.locator(IDLE).wait_for()
    await anyio.sleep(2 * SLACK_S)  # what an agent must be told by its last call lies so far before it
    for model in models:
        await model.call("query_notebook", query="outline")


PAGE = """JSON.parse(JSON.stringify(nb.model.sharedModel.toJSON(),
  (key, value) => key === 'attachments' ? undefined : value))"""
"""JavaScript: the notebook as the page has it; a page says of cells without attachments that they have none."""


async def those_who_differ(
    jupyter: Server, path: str, observer: Human, humans: list[PageHuman], models: list[Model]
) -> list[str]:
    """Of both pages, both agents, a fresh peer and the file: those that hold another notebook than the observer."""
    saved = await models[0].call("setup_notebook", action="save")
    assert not saved.is_error, saved.text
    assert jupyter.root_dir is not None
    file = notebook_in(Path(jupyter.root_dir) / path)
    shown = {human.name: await shown_at_last(human, observer) for human in humans}
    async with Human.join_server(jupyter, path, "Fresh") as fresh:
        held = {"Fresh": fresh.document(), "file": file, **shown}
        found = [
            f"{name}: {difference(observer.document(), other)}"
            for name, other in held.items()
            if not converged(observer, other)
        ]
    for model in models:
        text = (await model.call("query_notebook", query="cells", limit=100)).text
        read = re.findall(r"^ *\d+│(.*)$", text, re.MULTILINE)
        if read != [line for source in observer.sources() if source for line in source.split("\n")]:
            found.append(model.told.name)
    return found


def difference(one: Any, other: Any) -> str:
    """The first two cells that are not alike."""
    pairs = zip_longest(one["cells"], other["cells"])
    return next((f"{mine} != {theirs}" for mine, theirs in pairs if not converged(*cells(mine, theirs))), "")


def cells(*each: Any) -> list[dict[str, Any]]:
    """A notebook of each of these cells, or of none."""
    return [{"cells": [cell] if cell else []} for cell in each]


async def shown_at_last(human: PageHuman, observer: Human) -> Any:
    """What a page shows when it holds what the room holds, or when it has had time enough for that."""
    shown: Any = None
    with anyio.move_on_after(DEADLINE_S):
        while not converged(observer, shown := await human.page.notebook(PAGE)):
            await human.page.page.evaluate("() => new Promise(requestAnimationFrame)")
    return shown


def is_jupyterlabs_own(at: float, text: str, session: Session) -> bool:
    """Whether a page complains of what two stock pages do to each other, also where no agent is near.

    A second page on a kernel hears of the comms of the first.  And where two mark one cell as running at the same
    moment, one of the marks is overwritten as it arrives, which ``getChanges`` of @jupyter/ydoc 4.0.0 does not expect.
    """
    if text.startswith(COMMS):
        return True
    runners: dict[str, set[str | None]] = {}
    for fact in session.ledger.facts:
        if fact.kind in ("began", "ended") and -SLACK_S < at - fact.at < LAG_S:
            name = None if fact.client is None else session.ledger.names.get(fact.client)
            runners.setdefault(fact.cell, set()).add(name)
    for when, doing in session.doings:  # of a mark that was overwritten as it arrived the ledger holds nothing
        if (pressed := re.fullmatch(r"(\w+): runs (\S+)", doing)) and -SLACK_S < at - when < LAG_S:
            runners.setdefault(pressed[2], set()).add(pressed[1])
    return "reading 'oldValue'" in text and any(len(names) > 1 for names in runners.values())


def nothing_lost_or_doubled(observer: Human, humans: list[PageHuman]) -> None:
    """Every keystroke that its human did not take away is there once, and every id is."""
    there = Counter(MARK.findall("".join(observer.sources())))
    assert [mark for mark, count in there.items() if count > 1] == []
    assert len(set(observer.ids())) == len(observer.ids())
    for human in humans:
        assert human.typed > 0
        assert human.own("".join(there)) == human.marks, human.name
