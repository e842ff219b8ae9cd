"""Several agents on one server: each under a name of its own, each told of the others, no call in a wrong notebook."""

from __future__ import annotations

from contextlib import AsyncExitStack

import anyio

from collab_agent.config import Server
from collab_agent.testing import Human

from .conftest import DEADLINE_S, McpAgent, Notebook, agents_seen, mcp_agent_on, panel_on


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
        await first.hears(lambda: first.peer().kernel is not None and first.peer().kernel.foreign_busy is not None)
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
