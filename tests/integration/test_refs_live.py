"""Cell references in a notebook that others change meanwhile (contract, section 2)."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from collab_agent.config import Server
from collab_agent.testing import Human, notebook_of

from .conftest import McpAgent, Notebook, Rest

Named = Callable[[Sequence[tuple[str, str]]], Awaitable[str]]


@pytest.fixture
def named(jupyter: Server, page: Rest, shared_kernel: str, new_notebook: Callable[..., str]) -> Named:
    """A notebook of (cell id, source)."""

    async def make(cells: Sequence[tuple[str, str]]) -> str:
        path = new_notebook()
        content = notebook_of([{"id": cell_id, "cell_type": "code", "source": text} for cell_id, text in cells])
        (Path(str(jupyter.root_dir)) / path).write_text(json.dumps(content), "utf-8")
        await page.open_session(path, shared_kernel)
        return path

    return make


def listed(text: str) -> list[list[str]]:
    """``#N``, short id and type of each line of an outline, or of a list of candidates."""
    return [line.split()[:3] for line in text.splitlines() if line.strip().startswith("#")]


async def shows(goose: McpAgent, *refs: str) -> list[str]:
    """The first lines of the cells that these references lead to."""
    shown = await goose.query("cells", cells=list(refs))
    return [line.partition("│")[2] for line in shown.body.splitlines() if line.startswith("1│")]


async def test_all_forms_lead_to_their_cells(mcp_agent: McpAgent, jupyter: Server, own_notebook: Notebook) -> None:
    path = await own_notebook(["'a'", "'b'", "'c'", "'d'"])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        await mcp_agent.run(cells=["#3", "#1"])
        full = ada.ids()
        assert await shows(mcp_agent, "first", "last", "#2", full[2], full[3][:4]) == ["'a'", "'d'", "'b'", "'c'"]
        assert await shows(mcp_agent, "[1]") == ["'c'"]
        assert await shows(mcp_agent, "[2]") == ["'a'"]
        assert await shows(mcp_agent, "#2:#3") == ["'b'", "'c'"]
        assert await shows(mcp_agent, "[1]:") == ["'c'", "'d'"]
        assert await shows(mcp_agent, "#4", "#1:#2", "first") == ["'d'", "'a'", "'b'"]
        assert await shows(mcp_agent, "all") == ["'a'", "'b'", "'c'", "'d'"]


async def test_human_is_the_cell_with_the_humans_cursor(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    path = await notebook(["a", "b 漢", "c"])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        nowhere = await mcp_agent.refused("query_notebook", query="cells", cells=["@human"])
        assert "@Ada is here, but in no cell" in nowhere.text
        await ada.place_caret(1)
        await mcp_agent.hears(lambda: any(peer.cell_id == ada.ids()[1] for peer in mcp_agent.peer().peers))
        assert await shows(mcp_agent, "@human") == ["b 漢"]
        async with Human.join_server(jupyter, path, "Bob: physics") as bob:
            await bob.place_caret(2)
            await mcp_agent.hears(lambda: {peer.cell_id for peer in mcp_agent.peer().peers} == set(ada.ids()[1:]))
            two = await mcp_agent.refused("query_notebook", query="cells", cells=["@human"])
            assert "@Ada in #2" in two.text
            assert '@"Bob: physics" in #3' in two.text  # a name of more than letters is quoted
            assert await shows(mcp_agent, "@Ada") == ["b 漢"]
            assert await shows(mcp_agent, "@bob: physics") == ["c"]
            assert await shows(mcp_agent, '@"Bob: physics"') == ["c"]
            unknown = await mcp_agent.refused("query_notebook", query="cells", cells=["@Eve"])
            assert "@Ada" in unknown.text
            await mcp_agent.edit({"op": "replace", "cell": "@Ada", "old": "b", "new": "B"})
            await ada.wait_for(lambda: ada.sources()[1] == "B 漢")
        await mcp_agent.hears(lambda: len(mcp_agent.peer().peers) == 1)
        assert await shows(mcp_agent, "@human") == ["B 漢"]


async def test_a_short_id_keeps_its_meaning_whatever_comes_and_goes(
    mcp_agent: McpAgent, jupyter: Server, named: Named
) -> None:
    path = await named([("abcdef01", "mine"), ("12345678", "other")])
    async with Human.join_server(jupyter, path) as ada:
        told = await mcp_agent.setup(path)
        assert [row[1] for row in listed(told.text)] == ["abcd", "1234"]
        rival = ada.notebook.create_ycell(
            {"id": "abcd9999", "cell_type": "code", "source": "rival", "metadata": {}, "outputs": []}
        )
        ada.notebook.ycells.insert(0, rival)
        await mcp_agent.sees(ada)
        assert await shows(mcp_agent, "abcd") == ["mine"]
        assert await shows(mcp_agent, "abcd9") == ["rival"]
        assert [row[1] for row in listed((await mcp_agent.query()).text)] == ["abcd9", "abcd", "1234"]
        await ada.delete_cell("abcdef01")
        await mcp_agent.sees(ada)
        for ref in ("abcd", "#2"):
            gone = await mcp_agent.edit_refused({"op": "replace", "cell": ref, "old": "mine", "new": "x"})
            assert "was deleted since" in gone.text
        assert ada.sources() == ["rival", "other"]


async def test_an_unknown_or_ambiguous_reference_lists_candidates(mcp_agent: McpAgent, named: Named) -> None:
    path = await named([("abcd1111", "one 漢"), ("abcd2222", "two"), ("ffff3333", "three"), ("last", "four")])
    await mcp_agent.setup(path)
    for ref, told in (
        ("abcd", 'More than one cell\'s id begins with "abcd"'),
        ("abc", "too short"),
        ("zzzz", "No cell answers"),
        ("#9", "no cell #9"),
        ("#0", "no cell #0"),
        ("3", "a cell's number is written #3"),
        ("[7]", "No cell has the execution count [7]"),
    ):
        error = await mcp_agent.refused("query_notebook", query="cells", cells=[ref])
        assert told in error.text, (ref, error.text)
        assert ["#1", "abcd1", "code"] in [[*row[:2], row[2].rstrip(":")] for row in listed(error.text)]
    backwards = await mcp_agent.refused("query_notebook", query="cells", cells=["#3:#1"])
    assert "is empty" in backwards.text
    headless = await mcp_agent.refused("query_notebook", query="cells", cells=[":#2"])
    assert "has no beginning" in headless.text


async def test_numbers_are_those_of_the_last_showing(mcp_agent: McpAgent, jupyter: Server, notebook: Notebook) -> None:
    path = await notebook(["a", "b", "c"])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        await mcp_agent.edit({"op": "insert", "source": "own", "before": "#1"})  # the agent's own shift nothing either
        await ada.wait_for(lambda: len(ada.sources()) == 4)
        await ada.insert_cell(0, "human's")
        await mcp_agent.sees(ada)
        assert await shows(mcp_agent, "#1", "#3") == ["a", "c"]
        assert await shows(mcp_agent, "first", "last") == ["human's", "c"]
        told = await mcp_agent.query()
        assert len(listed(told.body)) == 5
        assert await shows(mcp_agent, "#1", "#3") == ["human's", "a"]
