"""Opening, saving, leaving, losing the connection, and the library's face; on the real server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

import collab_agent
from collab_agent.config import Limits, Server
from collab_agent.errors import EditConflict, NotebookNotFound, RoomClosed, Unauthorized
from collab_agent.testing import Human, converged
from tests.faults.wire import Wire, wire_to
from tests.files import notebook_in

from .away import mended, until_away
from .conftest import DEADLINE_S, McpAgent, Notebook, Rest, agents_seen, fence, mcp_agent_on, panel_on


def on_disk(server: Server, path: str) -> dict[str, Any]:
    """The notebook as the file holds it."""
    return notebook_in(Path(str(server.root_dir)) / path)


# Opening.


async def test_a_missing_notebook_is_made_with_its_folders(mcp_agent: McpAgent, jupyter: Server) -> None:
    told = await mcp_agent.setup("deep 漢/er 😀/new #1")
    path = "deep 漢/er 😀/new #1.ipynb"
    assert path in told.text
    assert "kernel: none" not in told.text
    assert on_disk(jupyter, path)["nbformat"] == 4
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.edit({"op": "insert", "source": "print('漢😀')"})
        await ada.wait_for(lambda: "print('漢😀')" in ada.sources())
        assert "漢😀" in (await mcp_agent.run(cells="last")).body
        await mcp_agent.ok("setup_notebook", action="save")
    assert on_disk(jupyter, path)["cells"][-1]["outputs"][0]["text"] == ["漢😀\n"]
    again = await mcp_agent.setup("deep 漢/er 😀/new #1.ipynb")  # twice is harmless
    assert "print('漢😀')" in again.text


async def test_an_unknown_kernel_makes_no_notebook(mcp_agent: McpAgent, jupyter: Server) -> None:
    error = await mcp_agent.refused("setup_notebook", notebook_path="never-made.ipynb", kernel="fortran")
    assert "'fortran'" in error.text
    assert "python3" in error.text
    assert not (Path(str(jupyter.root_dir)) / "never-made.ipynb").exists()


@pytest.mark.parametrize("content", ["{", '{"nbformat": 4}', "[]", ""], ids=["cut", "no cells", "list", "empty"])
async def test_no_room_is_opened_for_what_is_no_notebook(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook, page: Rest, content: str
) -> None:
    good = await notebook(["x"])
    file = Path(str(jupyter.root_dir)) / f"broken-{len(content)}.ipynb"
    file.write_text(content, "utf-8")
    async with Human.join_server(jupyter, good) as ada, Human.join_server(jupyter, good, "Bob") as bob:
        error = await mcp_agent.refused("setup_notebook", notebook_path=file.name)
        assert repr(file.name) in error.text
        assert "notebook" in error.text
        assert file.read_text("utf-8") == content
        assert await page.sessions(file.name) == []
        # A room for such a file would have stopped every other room from broadcasting.
        await ada.type(0, " 漢")
        await bob.wait_for(lambda: bob.source(0) == "x 漢")
        await bob.type(0, "😀")
        await ada.wait_for(lambda: ada.source(0) == "x 漢😀")
        await mcp_agent.setup(good)
        await fence(mcp_agent, ada)


@pytest.mark.parametrize("path", ["../up", "/etc/passwd", "a/../../b", "http://x/y.ipynb", "", "%2e%2e/x", "a\\b"])
async def test_paths_that_leave_the_root_are_refused(mcp_agent: McpAgent, path: str) -> None:
    error = await mcp_agent.refused("setup_notebook", notebook_path=path)
    assert "is no notebook path" in error.text


async def test_a_wrong_token_is_told_and_never_shown(jupyter: Server, notebook: Notebook) -> None:
    path = await notebook(["x"])
    async with mcp_agent_on(replace(jupyter, token="wrong-secret")) as goose:
        error = await goose.refused("setup_notebook", notebook_path=path)
        assert "token" in error.text
        assert "wrong-secret" not in error.text
        assert (await goose.refused("query_notebook", query="server")).is_error


async def test_a_server_that_is_not_there_is_told(jupyter: Server) -> None:
    async with mcp_agent_on(replace(jupyter, url="http://127.0.0.1:1/")) as goose:
        error = await goose.refused("setup_notebook", notebook_path="x.ipynb")
        assert "http://127.0.0.1:1/" in error.text
        assert jupyter.token not in error.text


# Saving.


async def test_saved_is_said_when_the_file_holds_what_the_room_holds(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    path = await notebook(["a = 1", ("markdown", "# 漢")])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        await mcp_agent.edit({"op": "replace", "cell": "#1", "old": "1", "new": "'😀'"})
        await mcp_agent.run(cells=["#1"])
        await ada.type(1, " typed")
        await mcp_agent.sees(ada)
        saved = await mcp_agent.ok("setup_notebook", action="save")
        assert f"saved: {path}" in saved.body
        assert converged(ada, on_disk(jupyter, path))
        cells = on_disk(jupyter, path)["cells"]
        assert ["".join(cell["source"]) for cell in cells] == ["a = '😀'", "# 漢 typed"]


async def test_a_notebook_can_be_saved_while_a_human_types(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    path = await notebook(["x = "])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        saved = anyio.Event()

        async def type_on() -> None:
            while not saved.is_set():
                await ada.type_marks(0, 1, pause=0.01)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(type_on)
            await ada.wait_for(lambda: True)
            await mcp_agent.ok("setup_notebook", action="save")
            saved.set()
        assert ada.lost() == []


async def test_a_save_that_did_not_reach_the_file_is_told(jupyter: Server, notebook: Notebook, page: Rest) -> None:
    path = await notebook(["a"])
    async with mcp_agent_on(jupyter, limits=Limits(save_s=2.0)) as goose, Human.join_server(jupyter, path) as ada:
        await goose.setup(path)
        await goose.edit({"op": "insert", "source": "not saved"})
        await page.send("DELETE", f"api/contents/{path}")
        error = await goose.refused("setup_notebook", action="save")
        assert "The room still has all edits." in error.text or "server has no" in error.text
        await ada.wait_for(lambda: ada.sources() == ["a", "not saved"])


# Leaving.


async def test_leaving_takes_the_agent_off_the_page_at_once(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    one, two = await notebook(["a"]), await notebook(["b"])
    async with (
        Human.join_server(jupyter, one) as ada,
        Human.join_server(jupyter, two, "Bob") as bob,
        panel_on(jupyter) as panel,
    ):
        await mcp_agent.setup(one)
        await ada.wait_for(lambda: len(agents_seen(ada)) == 1)
        await panel.wait_for(lambda: [state["documents"] for state in agents_seen(panel)] == [[one]])
        (state,) = agents_seen(panel)
        assert state["current"] == f"notebook:{one}"
        assert state["user"]["username"] == agents_seen(ada)[0]["user"]["username"]
        await mcp_agent.setup(two)
        await panel.wait_for(lambda: [state["documents"] for state in agents_seen(panel)] == [sorted([one, two])])
        left = await mcp_agent.ok("setup_notebook", action="leave", notebook_path=one)
        assert f"left {one}" in left.text
        await ada.wait_for(lambda: not agents_seen(ada))
        await panel.wait_for(lambda: [state["documents"] for state in agents_seen(panel)] == [[two]])
        assert len(agents_seen(bob)) == 1
        await mcp_agent.ok("setup_notebook", action="leave")
        await bob.wait_for(lambda: not agents_seen(bob))
        await panel.wait_for(lambda: not agents_seen(panel))
        assert "No notebook is open." in (await mcp_agent.refused("query_notebook")).text

        await mcp_agent.setup(one)
        await ada.wait_for(lambda: len(agents_seen(ada)) == 1)
        await panel.wait_for(lambda: len(agents_seen(panel)) == 1)


async def test_the_end_of_the_client_takes_the_agent_off_the_page(jupyter: Server, own_notebook: Notebook) -> None:
    path = await own_notebook(["import time\nwhile True: time.sleep(0.01)"])
    async with Human.join_server(jupyter, path) as ada, panel_on(jupyter) as panel:
        async with mcp_agent_on(jupyter) as goose:
            await goose.setup(path)
            await goose.run(cells=["#1"], wait_s=0)
            await ada.wait_for(lambda: ada.notebook.ycells[0]["execution_state"] == "running")
            await panel.wait_for(lambda: len(agents_seen(panel)) == 1)
        await ada.wait_for(lambda: not agents_seen(ada))
        await panel.wait_for(lambda: not agents_seen(panel))
        await ada.wait_for(lambda: ada.notebook.ycells[0]["execution_state"] == "idle")


# Losing the connection.


@asynccontextmanager
async def behind_a_wire(jupyter: Server) -> AsyncIterator[tuple[McpAgent, Wire]]:
    async with wire_to(jupyter) as wire, mcp_agent_on(wire.server) as goose:
        yield goose, wire


async def test_a_lost_connection_refuses_edits_and_comes_back_with_a_fresh_replica(
    jupyter: Server, notebook: Notebook
) -> None:
    path = await notebook(["a = 1\nb = 2", "c = 3"])
    async with behind_a_wire(jupyter) as (goose, wire), Human.join_server(jupyter, path) as ada:
        await goose.setup(path)
        await goose.query("cells")
        await goose.edit({"op": "insert", "source": "before the cut 漢😀"})
        await ada.wait_for(lambda: len(ada.sources()) == 3)
        old = {client for client, state in ada.peers().items() if "collab_agent" in state}

        wire.cut()
        await until_away(goose)
        refused = await goose.edit_refused({"op": "replace", "cell": "#1", "old": "a = 1", "new": "a = 10"})
        assert "connection to the notebook's room is away" in refused.text
        assert "call again" in refused.text
        await ada.type(0, "0 + 漢😀", at=len("a = 1\nb = 2"))
        await ada.delete_cell(1)
        await mended(goose, wire.mend)

        after = await goose.edit({"op": "replace", "cell": "#1", "old": "a = 1", "new": "a = 100"})
        await ada.wait_for(lambda: ada.sources() == ["a = 100\nb = 20 + 漢😀", "before the cut 漢😀"])
        assert "edited" in after.since  # what the human did meanwhile is told
        assert "deleted" in after.since
        gone = await goose.edit_refused({"op": "replace", "cell": "#2", "old": "c", "new": "x"})
        assert "was deleted since" in gone.text
        await ada.wait_for(lambda: len(agents_seen(ada)) == 1)  # no ghost of the old connection
        assert old.isdisjoint(client for client, state in ada.peers().items() if "collab_agent" in state)
        assert [cell.source for cell in goose.peer().view.cells] == ada.sources()
        assert ada.lost() == []
        await goose.ok("setup_notebook", action="save")
        assert converged(ada, on_disk(jupyter, path))


async def test_a_run_goes_on_over_a_lost_connection_and_nothing_is_written_twice(
    jupyter: Server, own_notebook: Notebook, tmp_path: Path
) -> None:
    gate = tmp_path / "go"
    waiting = f"import pathlib, time\nwhile not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.005)\n"
    path = await own_notebook([f"print('one 漢')\n{waiting}print('two 😀')"])
    async with behind_a_wire(jupyter) as (goose, wire), Human.join_server(jupyter, path) as ada:
        await goose.setup(path)
        await goose.run(cells=["#1"], wait_s=0)
        await ada.wait_for(lambda: texts(ada) == ["one 漢\n"])
        wire.cut()
        await until_away(goose)
        gate.touch()
        await mended(goose, wire.mend)
        done = await goose.query("runs", wait_s=30)
        assert "[1] ok" in done.body
        await ada.wait_for(lambda: ada.notebook.ycells[0]["execution_state"] == "idle")
        assert texts(ada) == ["one 漢\ntwo 😀\n"]
        assert ada.notebook.ycells[0]["execution_count"] == 1


def texts(human: Human) -> list[str]:
    return [str(output["text"]) for output in human.notebook.ycells[0]["outputs"]]


# The library's face.


async def test_the_library_gives_the_same_peer_without_mcp(jupyter: Server, notebook: Notebook) -> None:
    path = await notebook(["a = 1", "a + 1"])
    async with Human.join_server(jupyter, path) as ada, panel_on(jupyter) as panel:
        async with collab_agent.join(jupyter.url, jupyter.token, path, name="Helper") as helper:
            heard: list[object] = []
            helper.observe(heard.append)
            await panel.wait_for(lambda: [state["user"]["name"] for state in agents_seen(panel)] == ["Helper"])
            await ada.wait_for(lambda: [state["user"]["name"] for state in agents_seen(ada)] == ["Helper"])
            edited = await helper.edit([{"op": "replace", "cell": "first", "old": "1", "new": "'漢😀'"}])
            assert [text for _, _, text in edited.texts] == ["a = '漢😀'"]
            runs = await helper.run_cells([cell.id for cell in helper.view.cells], stop_on_error=False)
            await helper.runs.wait(runs, DEADLINE_S)
            assert [run.state for run in runs] == ["ok", "error"]
            await ada.type(1, "  # 漢")
            with anyio.fail_after(DEADLINE_S):
                while helper.cell("last").source != "a + 1  # 漢":
                    await anyio.lowlevel.checkpoint()
            assert heard
            await helper.save()
            helper.seen.show(replace(helper.cell("last"), source="a + 1"))
            with pytest.raises(EditConflict):
                await helper.edit([{"op": "write", "cell": "last", "source": "a + 1 + 1"}])
        await ada.wait_for(lambda: not agents_seen(ada))
        await panel.wait_for(lambda: not agents_seen(panel))
        with pytest.raises(RoomClosed):
            _ = helper.view
    assert converged(ada, on_disk(jupyter, path))


async def test_the_library_says_what_is_wrong_as_it_is(jupyter: Server, notebook: Notebook) -> None:
    path = await notebook(["a"])
    with pytest.raises(NotebookNotFound):
        async with collab_agent.join(jupyter.url, jupyter.token, "missing.ipynb"):
            pass
    with pytest.raises(Unauthorized):
        async with collab_agent.join(jupyter.url, "wrong", path):
            pass
    with pytest.raises(ZeroDivisionError):  # the block's own error, in no group
        async with collab_agent.join(jupyter.url, jupyter.token, path):
            raise ZeroDivisionError
