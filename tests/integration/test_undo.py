"""Undo and redo of the agent's own calls, in the presence of humans who go on writing."""

from __future__ import annotations

import copy
from typing import Any

from pycrdt import UndoManager

from collab_agent.config import Limits, Server
from collab_agent.testing import Human
from tests.faults.wire import wire_to

from .away import mended, until_away
from .conftest import Notebook, fence, mcp_agent_on, unwritten

UNDO = {"op": "undo"}
REDO = {"op": "redo"}
QUIET = Limits(line_quiet_s=0.0, typing_s=0.0)
"""These tests are about undoing, not about waiting for a line to fall quiet."""


def whole(human: Human, cell: str) -> dict[str, Any]:
    """A cell of the human's page in nbformat's terms."""
    return dict(human.notebook.ycells[human.ids().index(cell)].to_py() or {})


def put(human: Human, index: int, value: dict[str, Any]) -> None:
    """The human's own undo brings a cell back, under its id."""
    given = copy.deepcopy(value)
    given.pop("execution_state", None)
    human.notebook.ycells.insert(index, human.notebook.create_ycell(given))


async def test_undo_takes_back_the_agents_text_and_leaves_the_humans_and_their_caret(
    jupyter: Server, notebook: Notebook
) -> None:
    path = await notebook(["a = 1\nb = 2\n"])
    async with mcp_agent_on(jupyter, limits=QUIET) as goose, Human.join_server(jupyter, path) as ada:
        await goose.setup(path)
        await goose.query("cells")
        text = ada.notebook.ycells[0]["source"]
        own_undo = UndoManager(scopes=[text], capture_timeout_millis=0)
        own_undo.include_origin("ada")
        await goose.edit({"op": "replace", "cell": "#1", "old": "b = 2\n", "new": "漢 = '😀'\nx = 1\nb = 2\n"})
        await ada.wait_for(lambda: "x = 1" in ada.source(0))
        with ada.notebook.ydoc.transaction(origin="ada"):
            text += "mine"
        await ada.type(0, "2", at=ada.source(0).index("x = 1") + 5)  # inside what the agent wrote
        await goose.sees(ada)

        result = await goose.edit(UNDO)
        await ada.wait_for(lambda: ada.source(0) == "a = 1\n2\nb = 2\nmine")
        name = goose.peer().seen.short(ada.ids()[0], goose.peer().view)
        assert result.body == (
            f"undid call 1: edited {name}\n"
            f"{name}: kept what others have written into that text since: '2'\n"
            f"{name} now:\n 1│a = 1\n-2│漢 = '😀'\n-3│x = 12\n+2│2\n 3│b = 2\n…\n"
            f"nothing more to undo; next redo: call 1 (edited {name})"
        )
        assert result.since.startswith("since your last call: Ada edited")
        assert ada.caret_text() == "a = 1\n2|\nb = 2\nmine"
        redone = await goose.edit(REDO)
        await ada.wait_for(lambda: ada.source(0) == "a = 1\n漢 = '😀'\nx = 12\nb = 2\nmine")
        assert redone.since == ""  # its own doings are no news
        assert own_undo.undo()  # the human's own undo knows only of what the human did
        assert ada.source(0) == "a = 1\n漢 = '😀'\nx = 12\nb = 2\n"
        assert not own_undo.can_undo()
        assert ada.lost() == []


async def test_undoing_an_insertion_that_the_human_has_edited_asks_first(jupyter: Server, notebook: Notebook) -> None:
    path = await notebook(["a = 1"])
    async with mcp_agent_on(jupyter, limits=QUIET) as goose, Human.join_server(jupyter, path) as ada:
        await goose.setup(path)
        await goose.edit({"op": "insert", "source": "b = 2"})
        await ada.wait_for(lambda: len(ada.ids()) == 2)
        new = ada.ids()[1]
        await ada.type(1, "0 😀", at=5)
        await goose.sees(ada)
        error = await goose.edit_refused(UNDO)
        assert "with what others have changed in it since" in error.text
        assert "+1│b = 20 😀" in error.text
        assert "force=true" in error.text
        await ada.place_caret(0)
        await goose.hears(lambda: goose.peer().peers[0].cell_id == ada.ids()[0])
        await goose.edit({**UNDO, "force": True})
        await ada.wait_for(lambda: ada.sources() == ["a = 1"])
        await goose.edit(REDO)
        await ada.wait_for(lambda: ada.sources() == ["a = 1", "b = 20 😀"])
        assert ada.ids()[1] == new


async def test_an_insertion_with_a_humans_caret_in_it_stays_unless_forced(jupyter: Server, notebook: Notebook) -> None:
    path = await notebook(["a = 1"])
    async with mcp_agent_on(jupyter) as goose, Human.join_server(jupyter, path) as ada:
        await goose.setup(path)
        await goose.edit({"op": "insert", "source": "b = 2"})
        await ada.wait_for(lambda: len(ada.ids()) == 2)
        await ada.place_caret(1)
        await goose.hears(lambda: goose.peer().peers[0].cell_id == ada.ids()[1])
        assert "Ada's caret is in it" in (await goose.edit_refused(UNDO)).text
        await unwritten(goose, ada, ["a = 1", "b = 2"])


async def test_a_deleted_cell_comes_back_as_it_was_and_only_once(jupyter: Server, notebook: Notebook) -> None:
    path = await notebook(["a = 1", "print('漢😀'); 6 * 7", ("markdown", "# end")])
    async with mcp_agent_on(jupyter, limits=QUIET) as goose, Human.join_server(jupyter, path) as ada:
        await goose.setup(path)
        await goose.query("cells")
        await goose.run(cells=["#2"])
        cell = ada.ids()[1]
        await ada.wait_for(
            lambda: whole(ada, cell)["execution_state"] == "idle" and len(whole(ada, cell)["outputs"]) == 2
        )
        before, ids = whole(ada, cell), ada.ids()
        await goose.edit({"op": "delete", "cell": "#2"}, {"op": "delete", "cell": "#3"})
        await ada.wait_for(lambda: len(ada.ids()) == 1)
        await ada.insert_cell(0, "above")
        await goose.sees(ada)
        result = await goose.edit(UNDO)
        await ada.wait_for(lambda: ada.ids()[1:] == ids)
        assert whole(ada, cell) == before
        assert "put back" in result.body
        # Still known to the agent, and no news to it.
        result = await goose.edit({"op": "replace", "cell": cell[:8], "old": "6 * 7", "new": "43"})
        assert result.since == ""
        await ada.wait_for(lambda: ada.source(cell) == "print('漢😀'); 43")

        # Deleted again, and brought back by the human: it is not doubled.
        await goose.edit(UNDO)
        await goose.edit(REDO)
        await goose.edit({"op": "delete", "cell": cell[:8]})
        await ada.wait_for(lambda: cell not in ada.ids())
        put(ada, 0, {**before, "source": "theirs"})
        await goose.sees(ada)
        result = await goose.edit(UNDO)
        assert "is there again already" in result.body
        await fence(goose, ada)
        assert (ada.ids().count(cell), ada.source(cell)) == (1, "theirs")


async def test_undo_waits_for_a_cell_that_the_human_has_deleted_to_come_back(
    jupyter: Server, notebook: Notebook
) -> None:
    path = await notebook(["a = 1", "b = 2"])
    async with mcp_agent_on(jupyter, limits=QUIET) as goose, Human.join_server(jupyter, path) as ada:
        await goose.setup(path)
        await goose.query("cells")
        await goose.edit(
            {"op": "write", "cell": "#1", "source": "a = 10"}, {"op": "write", "cell": "#2", "source": "b = 20"}
        )
        await ada.wait_for(lambda: ada.sources() == ["a = 10", "b = 20"])
        cell, value = ada.ids()[0], whole(ada, ada.ids()[0])
        await ada.delete_cell(0)
        await goose.sees(ada)
        error = await goose.edit_refused(UNDO)
        assert "which somebody has deleted since" in error.text
        await unwritten(goose, ada, ["b = 20"])
        await goose.edit(UNDO)  # the fence
        put(ada, 1, value)
        await goose.sees(ada)
        await goose.edit(UNDO)
        await ada.wait_for(lambda: dict(zip(ada.ids(), ada.sources(), strict=True))[cell] == "a = 1")
        assert sorted(ada.sources()) == ["a = 1", "b = 2"]


async def test_undo_and_redo_survive_a_lost_connection(jupyter: Server, notebook: Notebook) -> None:
    path = await notebook(["a = 1", "b = 2", "c = 3"])
    async with (
        wire_to(jupyter) as wire,
        mcp_agent_on(wire.server, limits=QUIET) as goose,
        Human.join_server(jupyter, path) as ada,
    ):
        await goose.setup(path)
        await goose.query("cells")
        await goose.edit({"op": "write", "cell": "#1", "source": "a = 'agent'\nprint(a)"})
        await goose.edit({"op": "delete", "cell": "#2"})
        await goose.edit({"op": "move", "cell": "#3", "before": "first"})
        await ada.wait_for(lambda: ada.sources() == ["c = 3", "a = 'agent'\nprint(a)"])
        replica = goose.peer().document
        wire.cut()
        await until_away(goose)
        await ada.type(1, "# mine\n", at=0)
        await ada.insert_cell(2, "new")
        await mended(goose, wire.mend)
        assert goose.peer().document is not replica
        await goose.sees(ada)
        result = await goose.edit({**UNDO, "steps": 3})
        await ada.wait_for(lambda: ada.sources() == ["# mine\na = 1", "b = 2", "c = 3", "new"])
        assert [line.partition(":")[0] for line in result.body.splitlines()[:3]] == [
            "undid call 3",
            "undid call 2",
            "undid call 1",
        ]
        await goose.edit({**REDO, "steps": 2})
        await ada.wait_for(lambda: ada.sources() == ["# mine\na = 'agent'\nprint(a)", "c = 3", "new"])
        assert ada.lost() == []


async def test_each_agent_undoes_its_own_calls_only(jupyter: Server, notebook: Notebook) -> None:
    path = await notebook(["x = 1\ny = 1\n"])
    async with (
        mcp_agent_on(jupyter, limits=QUIET) as goose,
        mcp_agent_on(jupyter, name="crane", limits=QUIET) as crane,
        Human.join_server(jupyter, path) as ada,
    ):
        await goose.setup(path)
        await crane.setup(path)
        assert "there is nothing to undo" in (await crane.edit_refused(UNDO)).text
        await goose.edit({"op": "replace", "cell": "#1", "old": "x = 1", "new": "x = 2"})
        await ada.wait_for(lambda: "x = 2" in ada.source(0))
        await crane.sees(ada)
        await crane.edit({"op": "replace", "cell": "#1", "old": "y = 1", "new": "y = 2"})
        await ada.wait_for(lambda: "y = 2" in ada.source(0))
        await goose.sees(ada)
        await goose.edit(UNDO)
        await ada.wait_for(lambda: ada.source(0) == "x = 1\ny = 2\n")
        await crane.sees(ada)
        error = await crane.edit_refused({**UNDO, "steps": 2})
        assert "only 1 can be undone: call 1 (edited" in error.text
        await crane.edit(UNDO)
        await ada.wait_for(lambda: ada.source(0) == "x = 1\ny = 1\n")


async def test_undoing_before_a_run_runs_the_cells_that_it_changed_and_says_that_runs_stay(
    jupyter: Server, notebook: Notebook
) -> None:
    path = await notebook(["21 * 2", "nothing"])
    async with mcp_agent_on(jupyter, limits=QUIET) as goose, Human.join_server(jupyter, path) as ada:
        await goose.setup(path)
        await goose.query("cells")
        await goose.run(edits=[{"op": "write", "cell": "#1", "source": "21 * 3"}])
        result = await goose.run(edits=[UNDO])
        assert "undid call 1: rewrote" in result.body
        assert "runs are not undone" in result.body
        assert "\n42" in result.body
        await ada.wait_for(lambda: ada.source(0) == "21 * 2")
