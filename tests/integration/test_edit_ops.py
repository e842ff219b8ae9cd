"""Every operation of ``modify_notebook_cells``, as a human's page sees it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from collab_agent.config import Limits, Server
from collab_agent.testing import Human

from .conftest import McpAgent, Notebook, mcp_agent_on, unwritten

LONG = "def f(x):\n    # 漢字 😀\n    return x\n"


def types(human: Human) -> list[str]:
    return [str(cell["cell_type"]) for cell in human.notebook.ycells]


async def test_cells_are_inserted_where_they_are_told_to(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    path = await notebook(["a", "b"])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        result = await mcp_agent.edit(
            {"op": "insert", "source": "end 😀"},
            {"op": "insert", "source": "# top 漢", "type": "markdown", "before": "#1"},
            {"op": "insert", "source": "after a, one", "after": "#1"},
            {"op": "insert", "source": "after a, two", "after": "#1", "type": "raw"},
        )
        sources = ["# top 漢", "a", "after a, one", "after a, two", "b", "end 😀"]
        await ada.wait_for(lambda: ada.sources() == sources)
        assert types(ada) == ["markdown", "code", "code", "raw", "code", "code"]
        # The answer names the new ids, and they can be used at once.
        ids = [line.split()[1] for line in result.body.splitlines() if line.startswith("inserted")]
        assert [ada.ids().index(next(i for i in ada.ids() if i.startswith(short))) for short in ids] == [5, 0, 2, 3]
        await mcp_agent.edit({"op": "write", "cell": ids[0], "source": "END"})
        await ada.wait_for(lambda: ada.sources()[-1] == "END")


async def test_an_empty_notebook_takes_its_first_cell(mcp_agent: McpAgent, jupyter: Server, notebook: Notebook) -> None:
    path = await notebook([])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        cells = len(ada.sources())
        await mcp_agent.edit({"op": "insert", "source": "x"}, {"op": "insert", "source": "y", "before": "first"})
        await ada.wait_for(lambda: len(ada.sources()) == cells + 2)
        assert [source for source in ada.sources() if source] == ["y", "x"]


async def test_replace_looks_in_the_text_that_was_shown_and_only_then_in_the_text_now(
    brisk_agent: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    path = await notebook(["x = 1\ny = 2\nz = 3", "x\nx"])
    async with Human.join_server(jupyter, path) as ada:
        await brisk_agent.setup(path)
        await brisk_agent.query("cells")
        await ada.type(0, "\nx = 1\nw = 4", at=len(ada.source(0)))
        await brisk_agent.sees(ada)
        # Twice now, once in what was shown: that one is meant.
        await brisk_agent.edit({"op": "replace", "cell": "#1", "old": "x = 1", "new": "x = 10"})
        await ada.wait_for(lambda: ada.source(0) == "x = 10\ny = 2\nz = 3\nx = 1\nw = 4")
        # Never shown, but there now.
        await brisk_agent.edit({"op": "replace", "cell": "#1", "old": "w = 4", "new": "w = 😀"})
        await ada.wait_for(lambda: ada.source(0).endswith("w = 😀"))

        twice = await brisk_agent.edit_refused({"op": "replace", "cell": "#2", "old": "x", "new": "漢"})
        assert "old occurs 2 times" in twice.text
        assert "all=true" in twice.text
        none = await brisk_agent.edit_refused({"op": "replace", "cell": "#1", "old": "y  = 2", "new": ""})
        assert "does not occur" in none.text
        assert "2: y = 2" in none.text  # the nearest line
        await brisk_agent.edit({"op": "replace", "cell": "#2", "old": "x", "new": "漢", "all": True})
        await ada.wait_for(lambda: ada.source(1) == "漢\n漢")


async def test_several_edits_of_one_cell_build_on_each_other(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    path = await notebook(["a = 1\nb = 2"])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        await mcp_agent.edit(
            {"op": "replace", "cell": "#1", "old": "a = 1", "new": "a = one"},
            {"op": "replace", "cell": "#1", "old": "one", "new": "'😀'"},
            {"op": "replace", "cell": "#1", "old": "b = 2", "new": "b = a"},
        )
        await ada.wait_for(lambda: ada.source(0) == "a = '😀'\nb = a")


async def test_write_and_delete_want_a_text_that_was_shown(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    path = await notebook([LONG, "short", "", "x = " + "1" * 300])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)  # the outline shows #2 and #3 in full, of #1 a line, and #4 cut
        before = ada.sources()
        for number in (1, 4):
            for edit in ({"op": "write", "source": "new"}, {"op": "delete"}, {"op": "split", "line": 2}):
                error = await mcp_agent.edit_refused({**edit, "cell": f"#{number}"})
                assert "have not been shown" in error.text
                assert 'query_notebook(query="cells"' in error.text
        await unwritten(mcp_agent, ada, before)
        await mcp_agent.edit({"op": "write", "cell": "#2", "source": "S"}, {"op": "write", "cell": "#3", "source": "E"})
        await mcp_agent.query("cells", cells=["#1", "#4"])
        await mcp_agent.edit({"op": "delete", "cell": "#4"}, {"op": "write", "cell": "#1", "source": "L 😀"})
        await ada.wait_for(lambda: ada.sources()[:3] == ["L 😀", "S", "E"] and len(ada.sources()) == 4)


async def test_a_cell_that_a_human_changed_since_is_not_deleted(jupyter: Server, notebook: Notebook) -> None:
    path = await notebook(["keep = 1", "gone = 2"])
    async with (
        mcp_agent_on(jupyter, limits=Limits(typing_s=0.0)) as goose,
        Human.join_server(jupyter, path) as ada,
    ):
        await goose.setup(path)
        await ada.type(1, "  # 漢😀 mine")
        await goose.hears(lambda: any(peer.cell_id is not None for peer in goose.peer().peers))
        await ada.leave_cell()
        await goose.sees(ada)
        await goose.hears(lambda: all(peer.cell_id is None for peer in goose.peer().peers))
        before = ada.sources()
        error = await goose.edit_refused({"op": "delete", "cell": "#2"})
        assert "1│gone = 2  # 漢😀 mine" in error.text
        assert "What was changed since you saw it:" in error.text
        await unwritten(goose, ada, before)
        await goose.edit({"op": "delete", "cell": "#2"})  # shown by the error
        await ada.wait_for(lambda: "gone = 2  # 漢😀 mine" not in ada.sources())


REBUILDING: list[dict[str, Any]] = [
    {"op": "delete", "cell": "#2"},
    {"op": "retype", "cell": "#2", "type": "markdown"},
    {"op": "split", "cell": "#2", "line": 2},
    {"op": "merge", "cell": "#2"},
    {"op": "merge", "cell": "#1"},
]


@pytest.mark.parametrize("edit", REBUILDING, ids=lambda edit: f"{edit['op']} {edit['cell']}")
@pytest.mark.parametrize("by", ["caret", "typing"])
async def test_a_cell_in_use_is_rebuilt_by_force_only(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook, edit: dict[str, Any], by: str
) -> None:
    path = await notebook(["one", "a 漢\nb 😀", "three"])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        if by == "caret":
            await ada.place_caret(1, 2)
        else:
            await ada.type(1, "!")
        await mcp_agent.hears(lambda: any(peer.cell_id == ada.ids()[1] for peer in mcp_agent.peer().peers))
        if by == "typing":
            await ada.leave_cell()
            await mcp_agent.hears(lambda: all(peer.cell_id is None for peer in mcp_agent.peer().peers))
        await mcp_agent.query("cells")
        before = ada.sources()
        error = await mcp_agent.edit_refused(edit)
        assert ("Ada's caret is in it" if by == "caret" else "Ada typed in it") in error.text
        assert "force=true" in error.text
        await unwritten(mcp_agent, ada, before)
        await mcp_agent.edit({**edit, "force": True})
        after = {
            "delete": ["one", "three"],
            "retype": before,
            "split": ["one", *before[1].split("\n"), "three"],
            "merge": [f"one\n{before[1]}", "three"] if edit["cell"] == "#1" else ["one", f"{before[1]}\nthree"],
        }[edit["op"]]
        kind = "markdown" if edit["op"] == "retype" else "code"
        await ada.wait_for(lambda: ada.sources()[:-1] == after and types(ada)[1] == kind)  # the last is the fence


async def test_a_move_across_a_cell_in_use_is_made_by_moving_the_others(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    path = await notebook(["mine 😀", "b", "c", "d"])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        mine = ada.ids()[0]
        await ada.place_caret(0, 4)
        await mcp_agent.hears(lambda: any(peer.cell_id == mine for peer in mcp_agent.peer().peers))
        handle = ada.notebook.ycells[0]["source"]
        await mcp_agent.edit({"op": "move", "cell": "#1", "after": "#3"})
        await ada.type(mine, "漢")  # typed before the page knows of the move
        await ada.wait_for(lambda: ada.sources() == ["b", "c", "mine漢 😀", "d"])
        handle.insert(0, "> ")  # the very text that the editor is bound to still lives
        await ada.wait_for(lambda: ada.sources()[2] == "> mine漢 😀")
        await mcp_agent.sees(ada)
        assert ada.ids()[2] == mine

        await mcp_agent.edit({"op": "move", "cell": mine[:8], "before": "first"})
        await ada.wait_for(lambda: ada.sources() == ["> mine漢 😀", "b", "c", "d"])
        await mcp_agent.edit({"op": "move", "cell": "last", "before": "first"})  # nobody is in the way of that one
        await ada.wait_for(lambda: ada.sources() == ["d", "> mine漢 😀", "b", "c"])
        assert ada.lost() == []


async def test_a_move_that_needs_a_cell_in_use_to_be_rebuilt_is_refused(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    path = await notebook(["mine", "theirs", "c"])
    async with Human.join_server(jupyter, path) as ada, Human.join_server(jupyter, path, "Bob") as bob:
        await mcp_agent.setup(path)
        await ada.place_caret(0)
        await bob.place_caret(1)
        await mcp_agent.hears(lambda: {peer.cell_id for peer in mcp_agent.peer().peers} == set(ada.ids()[:2]))
        before = ada.sources()
        error = await mcp_agent.edit_refused({"op": "move", "cell": "#1", "after": "#2"})
        assert "Ada's caret is in it" in error.text
        await unwritten(mcp_agent, ada, before)
        await mcp_agent.edit({"op": "move", "cell": "#1", "after": "#2", "force": True})
        await ada.wait_for(lambda: ada.sources()[:3] == ["theirs", "mine", "c"])
        await bob.type(1 if bob.sources()[0] == "mine" else 0, "!")
        await ada.wait_for(lambda: ada.sources()[0] == "theirs!")


async def test_split_and_merge_keep_what_the_human_typed_elsewhere_in_the_cell(
    jupyter: Server, notebook: Notebook
) -> None:
    path = await notebook(["one\ntwo 漢\nthree 😀\nfour", ("markdown", "below")])
    async with (
        mcp_agent_on(jupyter, limits=Limits(typing_s=0.0)) as goose,
        Human.join_server(jupyter, path) as ada,
    ):
        await goose.setup(path)
        await goose.query("cells")
        await ada.type(0, "# mine\n", at=0)
        await ada.type(0, "!", at=len(ada.source(0)))
        await goose.hears(lambda: any(peer.cell_id is not None for peer in goose.peer().peers))
        await ada.leave_cell()
        await goose.sees(ada)
        await goose.hears(lambda: all(peer.cell_id is None for peer in goose.peer().peers))
        result = await goose.edit({"op": "split", "cell": "#1", "line": 3})  # of the lines that were shown
        await ada.wait_for(lambda: ada.sources() == ["# mine\none\ntwo 漢", "three 😀\nfour!", "below"])
        assert types(ada) == ["code", "code", "markdown"]
        new = result.body.split("the new cell is ")[1].split()[0]
        assert ada.ids()[1].startswith(new)
        await goose.edit({"op": "merge", "cell": "first"})
        await ada.wait_for(lambda: ada.sources() == ["# mine\none\ntwo 漢\nthree 😀\nfour!", "below"])
        error = await goose.edit_refused({"op": "merge", "cell": "last"})
        assert "no cell below" in error.text


async def test_lines_are_split_as_they_were_numbered(mcp_agent: McpAgent, jupyter: Server, notebook: Notebook) -> None:
    path = await notebook(["a = '\u2028'\nb = '\x0c'\n"])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        shown = await mcp_agent.query("cells")
        assert "3│" in shown.text
        assert "4│" not in shown.text
        error = await mcp_agent.edit_refused({"op": "split", "cell": "#1", "line": 4})
        assert "from 2 to 3" in error.text
        await mcp_agent.edit({"op": "split", "cell": "#1", "line": 2})
        await ada.wait_for(lambda: ada.sources() == ["a = '\u2028'", "b = '\x0c'\n"])


async def test_retype_keeps_id_text_and_place(mcp_agent: McpAgent, jupyter: Server, notebook: Notebook) -> None:
    path = await notebook(["a", "# 漢 😀\ntext", "c"])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        ids = ada.ids()
        await mcp_agent.edit({"op": "retype", "cell": "#2", "type": "markdown"})
        await ada.wait_for(lambda: types(ada) == ["code", "markdown", "code"])
        assert (ada.ids(), ada.sources()) == (ids, ["a", "# 漢 😀\ntext", "c"])
        assert "outputs" not in ada.notebook.ycells[1]
        await mcp_agent.edit({"op": "retype", "cell": "#2", "type": "code"})
        await ada.wait_for(lambda: types(ada) == ["code", "code", "code"])
        assert len(ada.notebook.ycells[1]["outputs"]) == 0
        await mcp_agent.ok("setup_notebook", action="save")


async def test_clear_removes_outputs_and_counts(mcp_agent: McpAgent, jupyter: Server, notebook: Notebook) -> None:
    path = await notebook(["print('漢')", "2 + 2", ("markdown", "# text")])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        await mcp_agent.run(cells=["#1:#2"])
        await ada.wait_for(lambda: all(len(ada.notebook.ycells[at]["outputs"]) == 1 for at in (0, 1)))
        await mcp_agent.edit({"op": "clear", "cells": ["#1"]})
        await ada.wait_for(lambda: len(ada.notebook.ycells[0]["outputs"]) == 0)
        assert ada.notebook.ycells[0]["execution_count"] is None
        assert len(ada.notebook.ycells[1]["outputs"]) == 1
        await mcp_agent.edit({"op": "clear", "cells": "all"})
        await ada.wait_for(lambda: len(ada.notebook.ycells[1]["outputs"]) == 0)


async def test_the_answer_is_read_back_after_the_merge(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    path = await notebook(["a = 1\nb = 2\nc = 3"])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        await mcp_agent.query("cells")
        await ada.type(0, "0", at=5)
        await mcp_agent.sees(ada)
        result = await mcp_agent.edit({"op": "replace", "cell": "#1", "old": "c = 3", "new": "c = 漢"})
        assert " 2│b = 2\n-3│c = 3\n+3│c = 漢" in result.body
        assert "a = 1" not in result.body.replace("a = 10", "")
        same = await mcp_agent.edit({"op": "replace", "cell": "#1", "old": "b = 2", "new": "b = 2"})
        assert "nothing to change" in same.body or "already" in same.body


async def test_what_a_model_may_get_wrong_is_told(mcp_agent: McpAgent, notebook: Notebook) -> None:
    await mcp_agent.setup(await notebook(["a", "b"]))
    wrong: list[tuple[Any, str]] = [
        ([{"op": "undo"}], "there is nothing to undo"),
        ([{"op": "redo", "steps": 1}], "there is nothing to redo"),
        ([{"op": "undo", "steps": 0}], "a number from 1"),
        ([{"op": "undo"}, {"op": "insert", "source": "x"}], "must be the only edit"),
        ([], "at least one object"),
        ("{", "list of objects"),
        ([{"op": "explode"}], "op must be one of"),
        ([{"op": "replace", "cell": "#1", "old": "", "new": "x"}], "old is empty"),
        ([{"op": "insert", "source": "x", "after": "#1", "before": "#2"}], "not both"),
        ([{"op": "insert", "source": "half \ud83d"}], "half of a character"),
        ([{"op": "insert", "source": "nul \0"}], "NUL"),
        ([{"op": "move", "cell": "#1"}], "after or before"),
        ([{"op": "move", "cell": "#1", "after": "#1"}], "beside itself"),
        ([{"op": "retype", "cell": "#1", "type": "sql"}], "type must be one of"),
        ([{"op": "write", "cell": "#1", "source": "x", "force": True}], "does not take force"),
        ([{"op": "write", "cell": "all", "source": "x"}], "one reference must name one cell"),
        ([{"op": "write", "cell": "#7", "source": "x"}], "no cell #7"),
    ]
    for edits, told in wrong:
        error = await mcp_agent.refused("modify_notebook_cells", edits=edits)
        assert told in error.text, (edits, error.text)
        assert "Nothing was written." in error.text
    await mcp_agent.ok("modify_notebook_cells", edits=json.dumps([{"op": "insert", "source": "as text"}]))
    assert [cell.source for cell in mcp_agent.peer().view.cells] == ["a", "b", "as text"]
