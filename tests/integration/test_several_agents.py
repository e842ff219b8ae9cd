"""Several agents on one server: each under a name of its own, each told of the others, no call in a wrong notebook."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import StdioServerParameters
from mcp.client.client import Client
from mcp.client.stdio import stdio_client
from mcp_types import Implementation

from collab_agent.config import Identity, Server
from collab_agent.errors import NotebookNotFound
from collab_agent.host import JupyterHost
from collab_agent.jupyter.api import JupyterApi
from collab_agent.testing import Human
from tests.files import notebook_in

from .conftest import DEADLINE_S, McpAgent, Notebook, Rest, agents_seen, mcp_agent_on, panel_on, result_of

NewNotebook = Callable[..., str]


def names_seen(human: Human) -> list[str]:
    """The names of the agents that this human's page shows."""
    return sorted(str(state["user"]["name"]) for state in agents_seen(human))


async def test_windows_of_one_client_that_come_at_once_take_names_and_colours_of_their_own(
    jupyter: Server, notebook: Notebook
) -> None:
    path, other = await notebook(["a = 1"]), await notebook(["b = 2"])
    async with (
        Human.join_server(jupyter, path) as ada,
        panel_on(jupyter) as panel,
        AsyncExitStack() as stack,
    ):
        geese = [await stack.enter_async_context(mcp_agent_on(jupyter)) for _ in range(5)]
        wanted = ["Goose", *(f"Goose {number}" for number in range(2, 6))]
        async with anyio.create_task_group() as tasks:
            for number, goose in enumerate(geese):
                tasks.start_soon(goose.setup, other if number == 4 else path)
        await panel.wait_for(lambda: names_seen(panel) == wanted)
        await geese[4].setup(path)
        await ada.wait_for(lambda: names_seen(ada) == wanted)
        assert len({state["user"]["color"] for state in agents_seen(ada)}) == 5
        assert len({state["user"]["username"] for state in agents_seen(ada)}) == 5
        told = [(await goose.setup(path)).text.splitlines()[-1] for goose in geese]
        assert sorted(told) == [f"you are: {name}" for name in wanted]
        assert sorted(goose.peer(path).identity.name for goose in geese) == wanted


async def by_name(*geese: McpAgent) -> dict[str, McpAgent]:
    """The agents by the names that they have taken."""
    await geese[0].hears(lambda: {goose.peer().identity.name for goose in geese} == {"Goose", "Goose 2"})
    return {goose.peer().identity.name: goose for goose in geese}


async def test_who_came_first_keeps_the_name_and_each_is_told_of_the_other_by_name(
    jupyter: Server, notebook: Notebook
) -> None:
    path = await notebook(["a = 1", "b = 2", "c = 3"])
    async with (
        Human.join_server(jupyter, path) as ada,
        mcp_agent_on(jupyter) as first,
        mcp_agent_on(jupyter) as second,
        mcp_agent_on(jupyter, name="cursor-vscode") as cursor,
    ):
        await first.setup(path)
        await second.setup(path)
        await cursor.setup(path)
        assert await by_name(first, second) == {"Goose": first, "Goose 2": second}
        await first.edit({"op": "replace", "cell": "#1", "old": "1", "new": "10"})
        await second.edit({"op": "replace", "cell": "#2", "old": "2", "new": "20"})
        await ada.wait_for(lambda: ada.sources() == ["a = 10", "b = 20", "c = 3"])
        await first.sees(ada)
        await cursor.sees(ada)
        ids = [cursor.peer().seen.short(cell.id, cursor.peer().view) for cell in cursor.peer().view.cells]
        told = (await first.query("runs")).since
        assert f"Goose 2 (agent) edited {ids[1]} (+1 -1 lines)" in told
        assert ids[0] not in told
        told = (await cursor.query("runs")).since
        assert f"Goose (agent) edited {ids[0]}" in told
        assert f"Goose 2 (agent) edited {ids[1]}" in told
        # Their carets can be named.
        await cursor.hears(lambda: cells_of_agents(cursor) == {cell.id for cell in cursor.peer().view.cells[:2]})
        assert "b = 20" in (await cursor.query("cells", cells=["@goose 2"])).body
        assert "a = 10" in (await cursor.query("cells", cells=["@Goose"])).body
        # The first one leaves: nobody's name changes, and the next one has the free name.
        await first.ok("setup_notebook", action="leave")
        await ada.wait_for(lambda: names_seen(ada) == ["Cursor", "Goose 2"])
        async with mcp_agent_on(jupyter) as third:
            await third.setup(path)
            await ada.wait_for(lambda: names_seen(ada) == ["Cursor", "Goose", "Goose 2"])
            assert await by_name(third, second) == {"Goose": third, "Goose 2": second}


def cells_of_agents(goose: McpAgent) -> set[str | None]:
    """Where this agent believes the carets of the others to be."""
    return {peer.cell_id for peer in goose.peer().peers if peer.is_agent}


async def hears_of_a_run(goose: McpAgent) -> None:
    """Wait until the kernel has told this agent that somebody else's code runs."""
    kernel = goose.peer().kernel
    assert kernel is not None
    began = anyio.Event()
    unsubscribe = kernel.on_foreign(lambda _run: began.set())
    with anyio.fail_after(DEADLINE_S):
        while kernel.foreign_busy is None:
            await began.wait()
    unsubscribe()


async def test_a_run_of_another_agents_is_told_waited_for_and_never_interrupted(
    jupyter: Server, own_notebook: Notebook
) -> None:
    path = await own_notebook(["import time\nwhile not go.exists(): time.sleep(0.01)", "print('second')"])
    async with (
        Human.join_server(jupyter, path) as ada,
        mcp_agent_on(jupyter) as first,
        mcp_agent_on(jupyter) as second,
    ):
        await first.setup(path)
        await second.setup(path)
        await by_name(first, second)
        gate = f"import pathlib; go = pathlib.Path({str(jupyter.root_dir)!r}) / {path + '.go'!r}"
        await second.run(code=gate)
        assert " running " in (await second.run(cells=["#1"], wait_s=0)).text
        await ada.wait_for(lambda: ada.notebook.ycells[0]["execution_state"] == "running")
        await first.hears(lambda: first.peer().view.cells[0].running)
        await hears_of_a_run(first)
        queued = await first.run(cells=["#2"], wait_s=0)
        assert " queued " in queued.text
        assert "waits until the code of Goose 2 (cell " in queued.text
        refused = await first.refused("execute_notebook_code", cells=["#1"])
        assert "is being run by Goose 2" in refused.text
        refused = await first.refused("execute_notebook_code", action="restart")
        assert "running code of Goose 2" in refused.text
        dropped = await first.run(action="interrupt")
        assert "aborted" in dropped.text
        assert ada.notebook.ycells[0]["execution_state"] == "running"
        again = await first.run(cells=["#2"], wait_s=0)
        assert " queued " in again.text
        await anyio.Path(str(jupyter.root_dir), path + ".go").touch()
        ended = await first.query("runs", wait_s=DEADLINE_S)
        assert " ok " in ended.text
        assert "second" in ended.text
        assert " ok " in (await second.query("runs", wait_s=DEADLINE_S)).text


async def rename(page: Rest, old: str, new: str) -> None:
    """What a page does when its human renames a notebook: the file, and the session with it."""
    await page.send("PATCH", f"api/contents/{old}", json={"path": new})
    for session in await page.sessions(old):
        await page.send("PATCH", f"api/sessions/{session['id']}", json={"path": new, "name": new, "type": "notebook"})


async def test_a_renamed_notebook_is_known_by_its_new_name_and_its_old_one_leads_to_no_other(
    jupyter: Server, notebook: Notebook, new_notebook: NewNotebook, page: Rest, mcp_agent: McpAgent
) -> None:
    old, other = await notebook(["mine = 1"]), await notebook(["other = 1"])
    new = old.replace("test-", "renamed 漢 ")
    async with Human.join_server(jupyter, old) as ada, panel_on(jupyter) as panel:
        await mcp_agent.setup(old)
        await mcp_agent.setup(other)
        peer = mcp_agent.peer(old)
        await rename(page, old, new)
        await mcp_agent.hears(lambda: peer.view.path == new, old)
        await panel.wait_for(lambda: [set(state["documents"]) for state in agents_seen(panel)] == [{new, other}])
        told = await mcp_agent.refused(
            "modify_notebook_cells", notebook_path=old, edits=[{"op": "insert", "source": "x"}]
        )
        assert told.text.splitlines()[0] == (
            f"The notebook that was {old!r} is {new!r} now: somebody has renamed it. Nothing was done."
        )
        assert f'notebook_path="{new}"' in told.text
        # Opening the old name again does not make a notebook of that name.
        assert "renamed it" in (await mcp_agent.refused("setup_notebook", notebook_path=old)).text
        assert not await anyio.Path(str(jupyter.root_dir), old).exists()

        # Another notebook under the old name: the open one keeps being the one that it was.
        new_notebook(["stranger = 1"], name=old)
        edit = {"op": "insert", "source": "second = 2"}
        assert "renamed it" in (await mcp_agent.refused("modify_notebook_cells", notebook_path=old, edits=[edit])).text
        await mcp_agent.edit(edit, notebook_path=new)
        assert " ok " in (await mcp_agent.run(cells="all", notebook_path=new)).text
        await mcp_agent.ok("setup_notebook", notebook_path=new, action="save")
        await ada.wait_for(lambda: ada.sources() == ["mine = 1", "second = 2"])
        assert sources_on_disk(jupyter, new) == ["mine = 1", "second = 2"]
        assert sources_on_disk(jupyter, old) == ["stranger = 1"]

        # It can be opened beside the other one, and each name means what it says.
        assert "stranger = 1" in (await mcp_agent.setup(old)).text
        assert mcp_agent.peer(old) is not peer
        assert mcp_agent.peer(new) is peer
        await mcp_agent.edit({"op": "insert", "source": "third = 3"}, notebook_path=old)
        await mcp_agent.ok("setup_notebook", notebook_path=old, action="save")
        assert sources_on_disk(jupyter, old) == ["stranger = 1", "third = 3"]
        assert ada.sources() == ["mine = 1", "second = 2"]
        await mcp_agent.ok("setup_notebook", notebook_path=new, action="leave")
        await ada.wait_for(lambda: not agents_seen(ada))
        await panel.wait_for(lambda: [set(state["documents"]) for state in agents_seen(panel)] == [{old, other}])


async def test_who_opens_a_notebook_by_a_name_that_it_has_just_got_is_not_in_it_twice(
    jupyter: Server, notebook: Notebook, page: Rest, mcp_agent: McpAgent
) -> None:
    old = await notebook(["mine = 1"])
    new = old.replace("test-", "renamed-")
    async with Human.join_server(jupyter, old) as ada:
        await mcp_agent.setup(old)
        peer = mcp_agent.peer(old)
        await rename(page, old, new)
        await mcp_agent.setup(new)  # the room has not told yet
        assert mcp_agent.agent.peers == [peer]
        assert mcp_agent.peer(new) is peer
        await ada.wait_for(lambda: len(agents_seen(ada)) == 1)


async def test_the_name_that_anybody_can_write_into_a_room_is_not_believed(
    jupyter: Server, notebook: Notebook, mcp_agent: McpAgent
) -> None:
    path, other = await notebook(["mine = 1"]), await notebook(["other = 1"])
    async with Human.join_server(jupyter, path) as mallory:
        await mcp_agent.setup(path)
        mallory.notebook.path = other
        await mcp_agent.hears(lambda: mcp_agent.peer(path).view.path == other, path)
        await mcp_agent.peer(path).whereabouts.locate()
        assert "is not open" in (await mcp_agent.refused("query_notebook", notebook_path=other)).text
        assert "mine = 1" in (await mcp_agent.query(notebook_path=path)).text
        assert "other = 1" in (await mcp_agent.setup(other)).text


async def test_a_connection_that_comes_back_finds_the_renamed_notebook_and_not_another_of_that_name(
    jupyter: Server, notebook: Notebook, new_notebook: NewNotebook, page: Rest
) -> None:
    path = await notebook(["mine = 1"])
    new = path.replace("test-", "renamed-")
    async with JupyterApi(jupyter) as api:
        host = JupyterHost(api, path, Identity.named("Goose"))
        async with host.connect():
            pass
        await rename(page, path, new)
        new_notebook(["stranger = 1"], name=path)
        async with host.connect():
            pass
        assert await host.where() == new
        assert (await host.read_back())["cells"][0]["source"] == "mine = 1"
        await page.send("DELETE", f"api/contents/{new}")
        new_notebook(["stranger = 2"], name=new)
        with pytest.raises(NotebookNotFound):
            async with host.connect():
                pass


def sources_on_disk(server: Server, path: str) -> list[str]:
    """The sources of the cells in a file."""
    return ["".join(cell["source"]) for cell in notebook_in(Path(str(server.root_dir), path))["cells"]]


CALLS = 12


async def test_many_calls_at_once_of_two_processes_in_three_notebooks_each_land_where_they_were_meant(
    jupyter: Server, jupyter_env: dict[str, str], own_notebook: Notebook, tmp_path: Path
) -> None:
    paths = [await own_notebook([f"begin = {number}"]) for number in range(3)]
    env = jupyter_env | {"JUPYTER_URL": jupyter.url, "JUPYTER_TOKEN": jupyter.token}
    async with AsyncExitStack() as stack:
        ada = await stack.enter_async_context(Human.join_server(jupyter, paths[0]))
        clients = [await stack.enter_async_context(spawned_client(env, tmp_path)) for _ in range(2)]

        async def work(client: Client, who: int, path: str) -> None:
            await call(client, "setup_notebook", notebook_path=path)
            async with anyio.create_task_group() as calls:
                for number in range(CALLS):
                    calls.start_soon(insert, client, path, f"{path} {who} {number}", number % 4)
            await call(client, "query_notebook", notebook_path=path, query="runs", wait_s=DEADLINE_S - 10)

        async def insert(client: Client, path: str, text: str, kind: int) -> None:
            edits = [{"op": "insert", "source": f"print({text!r})"}]
            if kind == 0:
                await call(client, "execute_notebook_code", notebook_path=path, edits=edits, wait_s=1)
                return
            if kind == 1:
                await call(client, "query_notebook", notebook_path=path, query="cells", cells=["first"])
            await call(client, "modify_notebook_cells", notebook_path=path, edits=edits)

        async with anyio.create_task_group() as tasks:
            for who, client in enumerate(clients):
                for path in paths:
                    tasks.start_soon(work, client, who, path)
        await ada.wait_for(lambda: names_seen(ada) == ["Goose", "Goose 2"], DEADLINE_S)
        for number, path in enumerate(paths):
            await call(clients[0], "setup_notebook", notebook_path=path, action="save")
            texts = {f"{path} {who} {each}": each % 4 == 0 for who in range(2) for each in range(CALLS)}
            found = cells_on_disk(jupyter, path)
            assert sorted(found) == sorted([f"begin = {number}", *(f"print({text!r})" for text in texts)])
            assert {found[f"print({text!r})"] for text, ran in texts.items() if ran} == {
                f"{text}\n" for text, ran in texts.items() if ran
            }
            assert len(sources_on_disk(jupyter, path)) == 1 + 2 * CALLS


def cells_on_disk(server: Server, path: str) -> dict[str, str]:
    """What each cell in a file has printed, by its source."""
    return {
        "".join(cell["source"]): "".join("".join(output.get("text", "")) for output in cell["outputs"])
        for cell in notebook_in(Path(str(server.root_dir), path))["cells"]
    }


@asynccontextmanager
async def spawned_client(env: dict[str, str], folder: Path) -> AsyncIterator[Client]:
    """A client with a ``collab-agent`` process of its own, as Goose starts one."""
    started = StdioServerParameters(command=sys.executable, args=["-m", "collab_agent"], env=env, cwd=str(folder))
    named = Implementation(name="goose", version="1")
    async with Client(stdio_client(started), mode="legacy", client_info=named) as client:
        yield client


async def call(client: Client, tool: str, **arguments: Any) -> str:
    """The text of a call that must not fail."""
    with anyio.fail_after(DEADLINE_S):
        result = result_of(await client.call_tool(tool, arguments))
    assert not result.is_error, result.text
    return result.text


async def test_calls_beside_leaving_and_opening_are_done_whole_or_refused(
    jupyter: Server, notebook: Notebook, mcp_agent: McpAgent
) -> None:
    path, other = await notebook(["begin = 0"]), await notebook(["begin = 1"])
    async with Human.join_server(jupyter, path) as ada, Human.join_server(jupyter, other) as bob:
        await mcp_agent.setup(path)
        await mcp_agent.setup(other)
        done: list[str] = []
        refused: list[str] = []

        async def insert(number: int) -> None:
            where = path if number % 3 else other
            source = f"{where} {number}"
            edits = [{"op": "insert", "source": source, "type": "raw"}]
            result = await mcp_agent.call("modify_notebook_cells", notebook_path=where, edits=edits)
            if result.is_error:
                refused.append(result.text)
                assert where == path
                assert "Nothing was written." in result.text or "is not open" in result.text
                assert f'setup_notebook("{path}")' in result.text
            else:
                done.append(source)

        async def come_and_go() -> None:
            for _ in range(4):
                await mcp_agent.ok("setup_notebook", notebook_path=path, action="leave")
                await mcp_agent.setup(path)

        async with anyio.create_task_group() as tasks:
            for number in range(30):
                tasks.start_soon(insert, number)
            tasks.start_soon(come_and_go)
            for number in range(30, 60):
                tasks.start_soon(insert, number)
        assert [text for text in refused if other in text.splitlines()[0]] == []
        wanted = ["begin = 0", *(text for text in done if text.startswith(path))]
        await ada.wait_for(lambda: sorted(ada.sources()) == sorted(wanted))
        wanted_other = ["begin = 1", *(text for text in done if text.startswith(other))]
        await bob.wait_for(lambda: sorted(bob.sources()) == sorted(wanted_other))
        assert len(wanted_other) == 21
