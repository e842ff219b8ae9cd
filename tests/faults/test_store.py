"""The server's store of updates is deleted or locked, its disk is full, and the file is open elsewhere, too.

A human types throughout, and has autosave off: so it is certain what the file holds.  The matrix (``test_matrix.py``)
has the same befall an agent at every moment of its life; here is what it says, and what was saved before.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import anyio
import httpx2
import pytest

from collab_agent.testing import Human
from tests.integration.conftest import McpAgent, mcp_agent_on, panel_on

from .conftest import STORE, MortalLab
from .file_faults import fill
from .rig import SMALL_DISK, Scenery
from .stage import lab_for
from .test_files import LIMITS, Pair, pair, typing

FIRST, SECOND = "x = 1\n", "y = 2"
DEADLINE_S = 60.0


async def rejoined(agent: McpAgent, wanted: Callable[[Sequence[str]], bool]) -> None:
    """Wait until the agent is in the room again, and it holds what is wanted."""

    def there() -> bool:
        peer = agent.peer()
        return peer._room.connected and wanted([cell.source for cell in peer.view.cells])

    await agent.hears(there)


async def one_notebook(lab: MortalLab, agent: McpAgent, path: str) -> list[str]:
    """The agent, somebody new and the file hold the same texts; what they are."""
    async with Human.join_server(lab.server, path, "Newcomer", autosave=False) as newcomer:
        await agent.sees(newcomer)
        await agent.setup(path, action="save")
        assert lab.sources_on_disk(path) == newcomer.sources()
        return newcomer.sources()


@pytest.mark.parametrize("minor", [4, 5], ids=["nbformat 4.4", "nbformat 4.5"])
async def test_a_store_that_was_deleted_doubles_nothing(mortal: MortalLab, minor: int) -> None:
    """A page that keeps its document may differ from the room for good (jupyter-collaboration 597): not the agent."""
    path = mortal.notebook([FIRST, SECOND], minor=minor)
    async with mcp_agent_on(mortal.server, limits=LIMITS) as agent:
        async with Human.join_server(mortal.server, path, autosave=False) as ada:
            await agent.setup(path)
            await ada.type(1, "  # hers")
            await agent.sees(ada)
            await agent.edit({"op": "insert", "source": "mine"})
            await agent.setup(path, action="save")
        await mortal.die()
        mortal.forget_all()
        await mortal.start()
        await agent.hears(lambda: agent.peer()._room.connected)
        assert await one_notebook(mortal, agent, path) == [FIRST, "y = 2  # hers", "mine"]
        assert "lost" not in (await agent.query()).since


async def test_a_store_that_is_gone_beside_a_file_that_was_changed_is_no_riddle(mortal: MortalLab) -> None:
    """A page that kept its document could not even read the room's then (jupyter-collaboration 583)."""
    path = mortal.notebook([FIRST, SECOND])
    async with mcp_agent_on(mortal.server, limits=LIMITS) as agent:
        async with Human.join_server(mortal.server, path, autosave=False) as ada, typing(ada):
            await agent.setup(path)
            await agent.edit({"op": "insert", "source": "mine"})
            await agent.setup(path, action="save")
        await mortal.die()
        mortal.forget_all()
        notebook = json.loads((mortal.root / path).read_text("utf-8"))
        notebook["cells"][0]["source"] = "x = 'writer'\n"
        notebook["cells"].insert(0, {**notebook["cells"][1], "id": "new", "source": "'new'"})
        (mortal.root / path).write_text(json.dumps(notebook), "utf-8")
        await mortal.start()
        await agent.hears(lambda: agent.peer()._room.connected)
        texts = await one_notebook(mortal, agent, path)
        assert texts[:2] == ["'new'", "x = 'writer'\n"]
        assert texts[3:] == ["mine"]


async def test_a_locked_store_doubles_nothing_of_ours(mortal: MortalLab) -> None:
    """As a backup locks it.  What a page doubles then (jupyter-collaboration 621) is told."""
    async with pair(mortal) as both:
        with closing(sqlite3.connect(mortal.root / STORE)) as store:
            store.execute("BEGIN EXCLUSIVE")
            async with typing(both.ada):
                await both.agent.edit({"op": "insert", "source": "while locked"})
                await both.ada.wait_for(lambda: "while locked" in both.ada.sources())
                await both.agent.setup(both.path, action="save")
            store.rollback()
        await mortal.die()
        await mortal.start()
        await rejoined(both.agent, lambda texts: "while locked" in texts)
        await both.agent.sees(both.ada)
        ids = [cell.id for cell in both.agent.peer().view.cells]
        if len(set(ids)) < len(ids):
            await _is_told(both.agent, "stands there twice, which is not your doing")
        assert both.ada.lost() == []
        await both.agent.setup(both.path, action="save")
        assert mortal.sources_on_disk(both.path).count("while locked") == 1


async def _has_said(log: Path, text: str) -> None:
    """Wait until the server has printed this."""
    with anyio.fail_after(DEADLINE_S):
        while True:  # nobody tells when a log has a line
            if text in await anyio.Path(log).read_text("utf-8"):
                return
            await anyio.sleep(0.05)


async def test_an_empty_room_that_was_dropped_is_joined_again_without_loss(mortal: MortalLab, tmp_path: Path) -> None:
    """And a notebook that is loaded piece by piece comes whole, also where its server is killed."""
    config = {"YDocExtension": {"document_cleanup_delay": 0.1, "document_load_progressively": True}}
    async with lab_for(Scenery(config=config), mortal, tmp_path) as lab:
        texts = [f"value_{n} = {n}\n" for n in range(300)]
        path = lab.notebook(texts)
        async with mcp_agent_on(lab.server, limits=replace(LIMITS, save_s=20)) as agent:
            await agent.setup(path)
            await agent.hears(lambda: len(agent.peer().view.cells) == 300)
            await agent.edit({"op": "insert", "source": "mine"})
            await agent.setup(path, action="save")
            await agent.setup(path, action="leave")
            await _has_said(lab.log, "deleted")
            async with Human.join_server(lab.server, path, autosave=False) as ada:
                await agent.setup(path)
                both = Pair(lab, path, agent, ada)
                await agent.hears(lambda: len(agent.peer().view.cells) == 301)
                await ada.wait_for(lambda: len(ada.ids()) == 301, DEADLINE_S)
                await ada.type_marks(299, 5)
                await agent.sees(ada)
                await both.agree()
                await lab.die()
                await lab.start()
                await agent.hears(lambda: agent.peer()._room.connected and len(agent.peer().view.cells) == 301)
                await ada.wait_for(lambda: len(set(ada.ids())) == len(ada.ids()) == 301, DEADLINE_S)
                await both.agree()
                assert ada.sources() == [*texts[:299], texts[299] + "".join(ada.keystrokes), "mine"]


async def test_a_notebook_of_fifty_megabytes_is_joined_edited_and_left(mortal: MortalLab) -> None:
    async with pair(mortal) as both:
        file = mortal.root / "large.ipynb"
        notebook = json.loads(both.file.read_text("utf-8"))
        text = "0123456789 abcdefghij\n" * 240_000
        output = {"output_type": "stream", "name": "stdout", "text": text}
        for n in range(10):
            cell = {"id": f"large{n}", "cell_type": "code", "metadata": {}, "source": f"n = {n}", "outputs": [output]}
            notebook["cells"].append({**cell, "execution_count": n})
        file.write_text(json.dumps(notebook), "utf-8")
        assert file.stat().st_size > 50_000_000
        await both.agent.setup("large.ipynb")
        await both.agent.edit({"op": "insert", "source": "mine"}, notebook_path="large.ipynb")
        assert both.agent.peer("large.ipynb").view.cells[-1].source == "mine"
        assert len((await both.agent.query("outputs", notebook_path="large.ipynb", cells=["last"])).text) < 8_000
        await both.agent.setup("large.ipynb", action="leave")
        async with typing(both.ada):
            await both.agent.edit({"op": "insert", "source": "others go on"})
        await both.agree()


async def _is_told(agent: McpAgent, text: str) -> None:
    """Call until the agent was told this."""
    with anyio.fail_after(DEADLINE_S):
        while True:  # looks are taken once a second, and make no event
            if text in (await agent.query()).since:
                return
            await anyio.sleep(0.05)


async def test_a_full_disk_is_told_and_nothing_is_lost_when_there_is_room_again(
    mortal: MortalLab, tmp_path: Path
) -> None:
    async with lab_for(SMALL_DISK, mortal, tmp_path) as lab, pair(lab) as both:
        await both.agent.setup(both.path, action="save")
        before = both.file.read_bytes()
        filler = fill(lab.root)
        async with typing(both.ada):
            await both.agent.edit({"op": "insert", "source": "m = 1\n" * 2_000})
            error = await both.agent.refused("setup_notebook", action="save")
            assert "The room still has all edits." in error.text
        assert both.file.read_bytes() == before or not both.file.read_bytes()
        filler.unlink()
        await both.agree()


async def test_a_notebook_that_is_open_on_another_server_is_refused(mortal: MortalLab, tmp_path: Path) -> None:
    async with MortalLab.running(mortal.root, mortal.env, tmp_path / "lab.log") as other, pair(mortal) as both:
        headers = {"Authorization": f"token {other.server.token}"}
        async with httpx2.AsyncClient(base_url=other.server.url, headers=headers, trust_env=False) as client:
            kernel = {"name": "python3"}
            body = {"path": both.path, "name": both.path, "type": "notebook", "kernel": kernel}
            session = (await client.post("api/sessions", json=body)).raise_for_status().json()
            here = replace(mortal.server, runtime_dir=mortal.runtime_dir)
            async with mcp_agent_on(here) as goose:
                error = await goose.refused("setup_notebook", notebook_path=both.path)
                assert "is open on another Jupyter server of this user, too" in error.text
                assert other.server.url in error.text
                assert other.server.token not in error.text
                (await client.delete(f"api/sessions/{session['id']}")).raise_for_status()
                await goose.setup(both.path)


async def test_a_file_that_is_open_as_text_too_is_warned_of(mortal: MortalLab) -> None:
    async with pair(mortal) as both, panel_on(mortal.server) as panel:
        user = {"username": "ada", "name": "Ada", "display_name": "Ada", "initials": "A", "color": "red"}
        panel._awareness.set_local_state({"user": user, "current": f"editor:{both.path}"})
        told = await both.hears_of("open as text")
        assert "Ada has this file open as text, too" in told
        assert "open as text" not in (await both.agent.query()).since
