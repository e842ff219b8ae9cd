"""Who is here, where, with what selected, and since when idle; and the cell that ``@human`` leads to."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

import collab_agent.server.others
import collab_agent.server.tools
from collab_agent.config import Server
from collab_agent.testing import Human
from collab_agent.testing.carets import right_of

from .conftest import McpAgent, Notebook, mcp_agent_on

UNICODE = "é = '漢字'\n# e\u0301 👩‍👩‍👧 한글\nx = '😀|'"


@pytest.fixture(autouse=True)
def everybody_has_announced_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collab_agent.server.tools, "PEOPLE_S", -1.0)


@asynccontextmanager
async def pair(agent: McpAgent, server: Server, notebook: Notebook, *sources: str) -> AsyncIterator[Human]:
    """The agent and Ada in one notebook."""
    path = await notebook(sources)
    async with Human.join_server(server, path) as ada:
        await agent.setup(path)
        await agent.hears(lambda: len(agent.peer().peers) == 1)
        yield ada


async def people(agent: McpAgent) -> list[str]:
    return (await agent.query("people")).body.splitlines()


def short(agent: McpAgent, index: int) -> str:
    view = agent.peer().view
    return agent.peer().seen.short(view.cells[index].id, view)


def at(human: Human, cell: int, index: int) -> dict[str, Any]:
    """The position before a character, as a page publishes it."""
    return right_of(human.notebook, cell, len(human.source(cell)[:index].encode()))


async def publish(human: Human, agent: McpAgent, *cursors: Mapping[str, Any]) -> None:
    """Publish these cursors as they are, and wait until the agent has them."""
    human._awareness.set_local_state({"user": human._user, "cursors": list(cursors)})
    await agent.hears(lambda: list(cursors) in [s.get("cursors") for s in agent.peer().people._states().values()])


def cursor(anchor: Any, head: Any, **more: Any) -> dict[str, Any]:
    return {"anchor": anchor, "head": head, "primary": True, "empty": anchor == head, **more}


async def test_no_unicode_before_the_caret_shifts_it(mcp_agent: McpAgent, jupyter: Server, notebook: Notebook) -> None:
    async with pair(mcp_agent, jupyter, notebook, "# 漢", UNICODE) as ada:
        name = short(mcp_agent, 1)
        for index in range(len(UNICODE) + 1):
            before = UNICODE[:index]
            line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
            await publish(ada, mcp_agent, cursor(at(ada, 1, index), at(ada, 1, index)))
            assert await people(mcp_agent) == [f"Ada: in {name}, line {line}, column {column}"]
        assert (await mcp_agent.query("cells", cells=["@human"])).body.startswith(f"#2 {name} ")


async def test_what_is_selected_is_told_with_its_text_forwards_and_backwards_over_lines_and_cut(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    long = "y" * 1_000
    async with pair(mcp_agent, jupyter, notebook, UNICODE, long, "") as ada:
        name = short(mcp_agent, 0)
        await publish(ada, mcp_agent, cursor(at(ada, 0, 5), at(ada, 0, 7)))
        assert await people(mcp_agent) == [f"Ada: in {name}, line 1, column 8, selected 2 characters: '漢字'"]
        await publish(ada, mcp_agent, cursor(at(ada, 0, 12), at(ada, 0, 4)))
        told = f"Ada: in {name}, line 1, column 5, selected 8 characters on lines 1 to 2: \"'漢字'\\n# e\""
        assert await people(mcp_agent) == [told]
        await publish(ada, mcp_agent, cursor(at(ada, 1, 0), at(ada, 1, 1_000)))
        (told,) = await people(mcp_agent)
        assert f"column 1001, selected 1,000 characters: '{'y' * 199}…'" in told
        await publish(ada, mcp_agent, cursor(at(ada, 2, 0), at(ada, 2, 0)))
        assert await people(mcp_agent) == [f"Ada: in {short(mcp_agent, 2)}, line 1, column 1"]
        # Ends in two cells: the head counts, and there is no text between.
        await publish(ada, mcp_agent, cursor(at(ada, 1, 7), at(ada, 0, 1)))
        assert await people(mcp_agent) == [f"Ada: in {name}, line 1, column 2"]


async def test_a_position_that_names_only_the_text_or_only_a_character_is_found(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    async with pair(mcp_agent, jupyter, notebook, "same 漢字", "same 漢字", "same 漢字") as ada:
        await ada.type(1, "😀é", at=2)
        await mcp_agent.sees(ada)
        for cell in range(3):
            name = short(mcp_agent, cell)
            for index in range(len(ada.source(cell))):
                only_item = {**at(ada, cell, index), "type": None}
                await publish(ada, mcp_agent, cursor(only_item, only_item))
                assert await people(mcp_agent) == [f"Ada: in {name}, line 1, column {index + 1}"]
            for assoc, column in ((-1, 1), (0, len(ada.source(cell)) + 1)):
                only_type = {**at(ada, cell, 0), "item": None, "assoc": assoc}
                await publish(ada, mcp_agent, cursor(only_type, only_type))
                assert await people(mcp_agent) == [f"Ada: in {name}, line 1, column {column}"]


async def test_a_caret_in_what_was_deleted_is_where_it_went_or_in_no_cell(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    async with pair(mcp_agent, jupyter, notebook, "é漢字 tail", "gone") as ada:
        here, gone = at(ada, 0, 2), at(ada, 1, 2)
        text = ada.notebook.ycells[0]["source"]
        del text[len("é".encode()) : len("é漢字".encode())]
        await mcp_agent.sees(ada)
        await publish(ada, mcp_agent, cursor(here, here))
        assert await people(mcp_agent) == [f"Ada: in {short(mcp_agent, 0)}, line 1, column 2"]
        await ada.delete_cell(1)
        await mcp_agent.sees(ada)
        await publish(ada, mcp_agent, cursor(gone, gone))
        assert await people(mcp_agent) == ["Ada: in no cell"]
        error = await mcp_agent.refused("query_notebook", query="cells", cells=["@human"])
        assert "@Ada is here, but in no cell" in error.text


RUBBISH: Sequence[Any] = (None, 7, "x", [], {}, {"type": {}}, {"item": {"client": -1, "clock": 10**30}}, {"type": 1})


@pytest.mark.parametrize("rubbish", RUBBISH, ids=repr)
async def test_of_several_cursors_the_primary_one_counts_and_rubbish_is_no_caret(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook, rubbish: Any
) -> None:
    async with pair(mcp_agent, jupyter, notebook, "first", "second") as ada:
        second = cursor(at(ada, 1, 3), at(ada, 1, 3))
        first = {**cursor(at(ada, 0, 1), at(ada, 0, 1)), "primary": False}
        await publish(ada, mcp_agent, first, second)
        assert await people(mcp_agent) == [f"Ada: in {short(mcp_agent, 1)}, line 1, column 4"]
        await publish(ada, mcp_agent, cursor(rubbish, rubbish))
        assert await people(mcp_agent) == ["Ada: in no cell"]


async def test_several_humans_are_listed_where_human_could_be_any_of_them(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    async with (
        pair(mcp_agent, jupyter, notebook, "first", "second", "third") as ada,
        Human.join_server(jupyter, mcp_agent.peer().path, "Ann: 😀 @home") as ann,
        Human.join_server(jupyter, mcp_agent.peer().path, "Ada") as other,
        mcp_agent_on(jupyter, name="claude") as claude,
    ):
        await claude.setup(mcp_agent.peer().path)
        for at_cell, human in enumerate((ada, ann, other)):
            await human.place_caret(at_cell, 1)
        await mcp_agent.hears(lambda: sum(peer.cell_id is not None for peer in mcp_agent.peer().peers) == 3)
        names = [short(mcp_agent, index) for index in range(3)]
        error = await mcp_agent.refused("query_notebook", query="cells", cells=["@human"])
        for line in (f"@Ada in #1 {names[0]}", f'@"Ann: 😀 @home" in #2 {names[1]}', f"@Ada in #3 {names[2]}"):
            assert line in error.text
        found = await mcp_agent.query("cells", cells=["@Ann: 😀 @home"])
        assert found.body.startswith(f"#2 {names[1]}")
        twice = await mcp_agent.refused("query_notebook", query="cells", cells=["@Ada"])
        assert f"@Ada in #1 {names[0]}" in twice.text
        assert sorted(await people(mcp_agent)) == sorted(
            [
                f"Ada: in {names[0]}, line 1, column 2",
                f'"Ann: 😀 @home": in {names[1]}, line 1, column 2',
                f"Ada: in {names[2]}, line 1, column 2",
                "Claude (says it is an agent): in no cell",
            ]
        )
        assert (await people(mcp_agent))[-1].startswith("Claude")


async def test_two_pages_of_one_human_are_one_person_with_two_carets(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    async with (
        pair(mcp_agent, jupyter, notebook, "first", "second") as ada,
        Human.join_server(jupyter, mcp_agent.peer().path, "Ada") as tab,
    ):
        tab._user = ada._user
        await ada.place_caret(0, 1)
        await tab.place_caret(1, 2)
        await mcp_agent.hears(lambda: len({peer.cell_id for peer in mcp_agent.peer().peers} - {None}) == 2)
        (told,) = await people(mcp_agent)
        assert re.fullmatch(r"Ada: in (\w+), line 1, column \d; in another page in (\w+), line 1, column \d", told)
        error = await mcp_agent.refused("query_notebook", query="cells", cells=["@human"])
        assert "Write @NAME where the names differ, else the cell's short id" in error.text
        await tab.place_caret(0, 1)
        await mcp_agent.hears(lambda: len({peer.cell_id for peer in mcp_agent.peer().peers}) == 1)
        await mcp_agent.query("cells", cells=["@human"])


async def test_idle_is_said_of_what_was_seen_and_no_renewal_or_edit_of_ours_ends_it(
    brisk_agent: McpAgent, jupyter: Server, notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collab_agent.server.others, "IDLE_S", 0.0)
    async with pair(brisk_agent, jupyter, notebook, "first", "second") as ada:
        (told,) = await people(brisk_agent)
        assert re.fullmatch(r"Ada: in no cell, idle for at least \d+ s", told)  # what was before we cannot know
        await ada.type(0, "!", at=0)
        await brisk_agent.sees(ada)
        name = short(brisk_agent, 0)
        await brisk_agent.hears(lambda: [peer.head for peer in brisk_agent.peer().peers] == [1])
        (told,) = await people(brisk_agent)
        assert re.fullmatch(rf"Ada: in {name}, line 1, column 2, idle for \d+ s", told)
        (client,) = (peer.client_id for peer in brisk_agent.peer().peers)
        idle = brisk_agent.peer().people.idle
        since = anyio.current_time() - (idle(client) or (0, False))[0]

        await brisk_agent.query("cells")
        for source in ("漢 first", "漢 !first and more", ""):
            await brisk_agent.edit({"op": "insert", "source": source, "before": "first"})
        await brisk_agent.run(edits=[{"op": "replace", "cell": name, "old": "first", "new": "1; 1"}])
        await ada.wait_for(lambda: ada.source(3) == "!1; 1")
        ada._awareness.set_local_state(ada._awareness.get_local_state())  # a renewal
        await brisk_agent.query()
        assert anyio.current_time() - (idle(client) or (0, False))[0] == pytest.approx(since, abs=0.01)

        await ada.place_caret(3, 0)
        await brisk_agent.hears(lambda: [peer.head for peer in brisk_agent.peer().peers] == [0])
        assert anyio.current_time() - (idle(client) or (0, False))[0] > since


async def test_nobody_is_waited_for_in_a_notebook_that_was_made_just_now(
    mcp_agent: McpAgent, jupyter: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collab_agent.server.tools, "PEOPLE_S", 3_600.0)
    path = f"made-{id(mcp_agent)}.ipynb"
    await mcp_agent.setup(path)
    assert (await mcp_agent.query("people")).body == "nobody else is here"
    async with Human.join_server(jupyter, path):
        await mcp_agent.hears(lambda: len(mcp_agent.peer().peers) == 1)
        assert await people(mcp_agent) == ["Ada: in no cell"]
