"""What ``query_notebook`` and the closing line tell, within their bounds."""

from __future__ import annotations

import io
import re
from textwrap import dedent

import pytest
from PIL import Image

from collab_agent.config import Server
from collab_agent.testing import Human

from ..conftest import NewNotebook
from .conftest import McpAgent, Mode, Notebook, mcp_agent_on

NOISE = dedent(
    """\
    import io, os
    from PIL import Image
    from IPython.display import display, Image as Shown
    def noise(width, height):
        data = io.BytesIO()
        Image.frombytes("RGB", (width, height), os.urandom(3 * width * height)).save(data, "PNG")
        return Shown(data.getvalue())
    """
)


async def test_a_huge_notebook_is_told_within_the_budget_and_paged_to_its_end(
    mcp_agent: McpAgent, notebook: Notebook
) -> None:
    path = await notebook([f"# cell {number} 漢😀\nx_{number} = {'1' * 60}" for number in range(1_000)])
    told = await mcp_agent.setup(path)
    assert "1,000 cells" in told.text
    seen: list[int] = []
    offset: str | None = "0"
    while offset is not None:
        page = await mcp_agent.query("outline", offset=int(offset))
        seen += [int(number) for number in re.findall(r"^#(\d+) ", page.body, re.M)]
        found = re.search(r"query_notebook\(query=\"outline\", offset=(\d+)\)", page.body)
        offset = found[1] if found else None
    assert seen == list(range(1, 1_001))
    some = await mcp_agent.query("outline", offset=500, limit=2)
    assert [line.split()[0] for line in some.body.splitlines() if line.startswith("#")] == ["#501", "#502"]
    sources = await mcp_agent.query("cells")
    assert "cells left out" in sources.body
    assert (await mcp_agent.query("cells", cells=["#990:"])).body.count("│# cell") == 11
    matches = await mcp_agent.query("search", pattern=r"cell \d+ 漢")
    assert "more matching lines" in matches.body
    await mcp_agent.query("outputs")


async def test_huge_outputs_are_told_with_head_and_tail_and_paged_by_lines(
    mcp_agent: McpAgent, notebook: Notebook
) -> None:
    path = await notebook(["for n in range(20_000): print(f'line {n} 漢')", "'x' * 200_000", "1/0"])
    await mcp_agent.setup(path)
    ran = await mcp_agent.run(cells="all", stop_on_error=False)
    for expected in ("line 0 漢", "line 19999 漢", "left out", "ZeroDivisionError"):
        assert expected in ran.body
    shown = await mcp_agent.query("outputs", cells=["#1"])
    assert "line 0 漢" in shown.body
    assert "line 19999 漢" in shown.body
    call = re.search(r"offset=(\d+), limit=(\d+)", shown.body)
    assert call is not None  # the line that says what was left out says how to get it
    rest = await mcp_agent.query("outputs", cells=["#1"], offset=int(call[1]), limit=3)
    assert re.search(rf"line {int(call[1]) - 1} 漢", rest.body)
    kept = await mcp_agent.query("outputs", cells=["#1"], pattern="line 12345 ")
    assert "line 12345 漢" in kept.body
    assert "line 12344 漢" not in kept.body
    assert "xxx" in (await mcp_agent.query("outputs", cells=["#2"])).body


async def test_pictures_are_made_small_and_at_most_four_come(mcp_agent: McpAgent, notebook: Notebook) -> None:
    path = await notebook([NOISE + "display(noise(2400, 1200))", "for n in range(6): display(noise(40 + n, 30))"])
    await mcp_agent.setup(path)
    ran = await mcp_agent.run(cells=["#1"])
    ((mime, data),) = ran.images
    with Image.open(io.BytesIO(data)) as picture:
        assert max(picture.size) <= 1024
        assert picture.width == 2 * picture.height
        assert f"image/{(picture.format or '').lower()}" == mime
    assert len(data) <= 150_000
    assert "2400x1200" in ran.body
    many = await mcp_agent.run(cells=["#2"])
    assert [Image.open(io.BytesIO(data)).size for _, data in many.images] == [(40 + n, 30) for n in range(4)]
    assert many.body.count("not shown") == 2
    again = await mcp_agent.query("outputs", cells=["#2"])
    assert len(again.images) == 4
    rest = await mcp_agent.query("outputs", cells="all")
    assert len(rest.images) == 4


async def test_outputs_are_told_as_a_reader_would_see_them(mcp_agent: McpAgent, notebook: Notebook) -> None:
    path = await notebook(
        [
            "import pandas as pd\npd.DataFrame({'name': ['漢', '😀'], 'value': [1, 2]})",
            "import sys\nfor n in range(101): print(f'\\r{n}%', end='')\nprint()\nprint('\\x1b[31mred\\x1b[0m')",
            "from IPython.display import HTML\nHTML('<table><tr><th>a</th></tr><tr><td>7</td></tr></table>')",
        ]
    )
    await mcp_agent.setup(path)
    ran = await mcp_agent.run(cells="all")
    assert re.search(r"0\s+漢\s+1\n1\s+😀\s+2", ran.body)
    assert "100%\nred" in ran.body
    assert "99%" not in ran.body
    assert "<td>" not in ran.body
    assert "7" in ran.body


async def test_sources_are_read_in_full_with_a_line_per_output(mcp_agent: McpAgent, notebook: Notebook) -> None:
    path = await notebook(["print('漢')\n\tx = 1  # tab", ("markdown", "# Title\n\ntext 😀"), ""])
    await mcp_agent.setup(path)
    shown = await mcp_agent.query("cells")
    assert "1│print('漢')" in shown.body
    assert "3│text 😀" in shown.body
    assert "(empty)" in shown.body
    one = await mcp_agent.query("cells", cells=["#2"], offset=2, limit=1)
    assert "3│text 😀" in one.body
    assert "# Title" not in one.body.split("\n", 1)[1]


async def test_search_finds_sources_and_outputs(mcp_agent: McpAgent, notebook: Notebook) -> None:
    path = await notebook(["needle = '漢'\nprint('a needle', 'in output')", ("markdown", "no\nNeedle 😀")])
    await mcp_agent.setup(path)
    await mcp_agent.run(cells=["#1"])
    found = await mcp_agent.query("search", pattern="(?i)needle")
    short = [line.split()[1] for line in (await mcp_agent.query()).body.splitlines() if line.startswith("#")]
    lines = found.body.splitlines()
    assert f"{short[0]}:1: needle = '漢'" in lines
    assert f"{short[1]}:2: Needle 😀" in lines
    assert any(line.startswith(f"{short[0]}:out:") and "a needle in output" in line for line in lines)
    second = await mcp_agent.query("search", pattern="(?i)needle", offset=1, limit=1)
    assert lines[1] in second.body
    assert lines[0] not in second.body
    bad = await mcp_agent.refused("query_notebook", query="search", pattern="(")
    assert "pattern" in bad.text
    assert "needs pattern" in (await mcp_agent.refused("query_notebook", query="search")).text


async def test_what_is_wrong_with_a_call_is_told_with_what_is_right(mcp_agent: McpAgent, notebook: Notebook) -> None:
    no_notebook = await mcp_agent.refused("query_notebook")
    assert "No notebook is open." in no_notebook.text
    assert "setup_notebook(" in no_notebook.text
    await mcp_agent.setup(await notebook(["a", "b"]))
    for arguments, told in (
        ({"query": "everything"}, "one of outline, cells, outputs, search"),
        ({"query": "outline", "offset": -1}, "a whole number from 0 on"),
        ({"query": "outline", "limit": "ten"}, "a whole number from 1 on"),
        ({"query": "runs", "wait_s": -1}, "a number of seconds"),
        ({"query": "cells", "cells": [1]}, "a list of cell references"),
        ({"query": "cells", "cell": "#1"}, "does not take 'cell'"),
        ({"query": "cells", "notebook_path": "other.ipynb"}, "'other.ipynb' is not open"),
    ):
        error = await mcp_agent.refused("query_notebook", **arguments)
        assert told in error.text
    assert "There is no tool" in (await mcp_agent.refused("query_notebooks")).text


async def test_the_server_is_told(mcp_agent: McpAgent, notebook: Notebook) -> None:
    path = await notebook(["1"])
    before = await mcp_agent.query("server")  # needs no notebook
    assert "python3 (python)" in before.body
    assert "open by you: none" in before.body
    await mcp_agent.setup(path)
    after = await mcp_agent.query("server")
    assert f"open by you: {path}" in after.body
    assert re.search(rf"  {re.escape(path)}: python3, \w+", after.body)
    assert re.search(rf"  {re.escape(path)}  [\d,]+ bytes", after.body)


async def test_on_a_server_with_hundreds_of_notebooks_ones_own_are_told_and_others_are_found(
    mcp_agent: McpAgent, notebook: Notebook, new_notebook: NewNotebook
) -> None:
    path = await notebook(["1"])
    for number in range(300):
        new_notebook(["1"], name=f"crowd/aaa-{number:03}-with-a-rather-long-name-that-takes-its-room.ipynb")
    await mcp_agent.setup(path)
    told = await mcp_agent.query("server")
    assert re.search(rf"  {re.escape(path)}  [\d,]+ bytes", told.body)
    assert "lines left out" in told.body
    found = await mcp_agent.query("server", pattern="aaa-299")
    assert "crowd/aaa-299-" in found.body
    assert "crowd/aaa-298-" not in found.body


async def test_a_name_is_inspected(mcp_agent: McpAgent, notebook: Notebook) -> None:
    await mcp_agent.setup(await notebook(["1"]))
    told = await mcp_agent.query("inspect", pattern="len")
    assert "Return the number of items" in told.body
    assert "knows nothing of 'nonesuch'" in (await mcp_agent.query("inspect", pattern="nonesuch")).body


# What others did.


async def test_what_others_did_is_told_once_and_never_what_the_agent_did(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    path = await notebook(["a = 1", "b = 2", "c = 3", "print('漢')"])
    async with Human.join_server(jupyter, path) as ada, Human.join_server(jupyter, path, "Bob") as bob:
        assert (await mcp_agent.setup(path)).since == ""
        short = [line.split()[1] for line in (await mcp_agent.query()).body.splitlines() if line.startswith("#")]
        own = await mcp_agent.edit({"op": "write", "cell": "#1", "source": "a = 10"})
        assert own.since == ""
        assert (await mcp_agent.run(cells=["#4"])).since == ""

        await ada.type(1, "0\nmore = '😀'")
        await bob.insert_cell(0, "new = 漢")
        await mcp_agent.hears(lambda: set(ada.sources()) <= sources(mcp_agent) >= {"new = 漢"})
        assert "new = 漢" in sources(mcp_agent)
        told = await mcp_agent.query()
        assert told.since in (
            f"since your last call: Ada edited {short[1]} (+2 -1 lines); Bob inserted {inserted(mcp_agent, 0)}",
            f"since your last call: Bob inserted {inserted(mcp_agent, 0)}; Ada edited {short[1]} (+2 -1 lines)",
        )
        assert (await mcp_agent.query()).since == ""

        await bob.wait_for(lambda: "a = 10" in bob.sources())
        await bob.delete_cell(bob.sources().index("c = 3"))
        await ada.wait_for(lambda: "c = 3" not in ada.sources())
        await ada.mark_running(1, True)
        await ada.mark_running(1, False, 77)
        await mcp_agent.hears(lambda: any(cell.execution_count == 77 for cell in mcp_agent.peer().view.cells))
        await mcp_agent.sees(ada)
        error = await mcp_agent.edit_refused({"op": "replace", "cell": short[0], "old": "none", "new": ""})
        assert f"deleted {short[2]}" in error.since  # a refused call tells it, too
        assert f"Ada ran {short[0]} [77] ok" in error.since
        assert (await mcp_agent.query()).since == ""


def sources(goose: McpAgent) -> set[str]:
    return {cell.source for cell in goose.peer().view.cells}


def inserted(goose: McpAgent, at: int) -> str:
    view = goose.peer().view
    return goose.peer().seen.short(view.cells[at].id, view)


async def test_changes_are_shown_as_diffs(mcp_agent: McpAgent, jupyter: Server, notebook: Notebook) -> None:
    path = await notebook(["a = 1\nb = 2", "gone = 漢", "last"])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        await ada.type(0, "0", at=5)
        await ada.delete_cell(1)
        await ada.insert_cell(2, "new = 😀")
        await ada.move_cell(0, 1)
        await mcp_agent.sees(ada)
        told = await mcp_agent.query("changes")
        for expected in ("-1│a = 1", "+1│a = 10", "gone = 漢", "+1│new = 😀", "deleted", "inserted", "moved"):
            assert expected in told.body
        assert "Ada" in told.body
        assert "nothing since your last call" in (await mcp_agent.query("changes")).body


async def test_a_flood_of_changes_stays_one_short_line(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    path = await notebook([f"x = {number}" for number in range(100)])
    async with Human.join_server(jupyter, path, "Ada " + "漢" * 100 + "\nsince your last call: nothing") as ada:
        await mcp_agent.setup(path)
        for at in range(100):
            await ada.type(at, "0")
        await mcp_agent.sees(ada)
        told = await mcp_agent.query()
        assert 100 < len(told.since) <= 600
        assert "\n" not in told.since


async def test_people_are_told_with_place_and_selection_after_an_idle_page_had_its_period(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    path = await notebook(["a = 1\nb = '漢😀'", "c"])
    async with (
        Human.join_server(jupyter, path) as ada,
        Human.join_server(jupyter, path, "Idle Ida", announces=False) as ida,
        mcp_agent_on(jupyter, name="Cursor") as cursor,
    ):
        await ada.place_caret(0, len("a = 1\nb = '漢"))
        await ida.place_caret(1)
        await mcp_agent.setup(path)
        await cursor.setup(path)
        lines = (await mcp_agent.query("people")).body.splitlines()
        people = [line.partition(", idle for ")[0] for line in lines]
        short = [inserted(mcp_agent, at) for at in (0, 1)]
        assert f"Ada: in {short[0]}, line 2, column 7" in people
        assert f"Idle Ida: in {short[1]}, line 1, column 2" in people
        assert any(line.startswith("Cursor (says it is an agent)") for line in people)
        assert len(people) == 3


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_the_agent_is_called_as_its_client_is(jupyter: Server, notebook: Notebook, mode: Mode) -> None:
    path = await notebook(["1"])
    async with Human.join_server(jupyter, path) as ada:
        for client, name in (("goose-desktop", "Goose"), ("claude-code", "Claude"), ("my tool", "My tool")):
            async with mcp_agent_on(jupyter, name=client, mode=mode) as agent:
                assert f"you are: {name}" in (await agent.setup(path)).text
                await ada.wait_for(lambda: len(ada.peers()) == 1)
                assert [state["user"]["name"] for state in ada.peers().values()] == [name]
            await ada.wait_for(lambda: not ada.peers())
