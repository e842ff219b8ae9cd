"""No edit on a line where a human is typing: the call waits for quiet, and then says who types there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from collab_agent.config import Limits, Server
from collab_agent.testing import Human

from .conftest import DEADLINE_S, Notebook, fence, mcp_agent_on, unwritten

TEXT = "import math\ntotal = 0\nfor x in data:\n    total += x\nprint(total)"
NEVER_QUIET = Limits(line_quiet_s=1_000, line_wait_s=0.01)
ON_THE_LINE: list[Mapping[str, Any]] = [
    {"op": "replace", "cell": "#1", "old": "total = ", "new": "count = "},
    {"op": "write", "cell": "#1", "source": TEXT.replace("total = 0\n", "")},
    {"op": "write", "cell": "#1", "source": TEXT.replace("total = 0", "total = \\\n0")},
    {"op": "replace", "cell": "#1", "old": "math\ntotal", "new": "math; total"},
    {"op": "replace", "cell": "#1", "old": "total", "new": "count", "all": True},
]


@pytest.mark.parametrize("edit", ON_THE_LINE, ids=["change", "delete", "split", "join", "all"])
async def test_an_edit_of_a_line_that_is_typed_on_says_who_types_where_and_writes_nothing(
    jupyter: Server, notebook: Notebook, edit: Mapping[str, Any]
) -> None:
    path = await notebook([TEXT, "other = 1"])
    async with (
        mcp_agent_on(jupyter, limits=NEVER_QUIET) as goose,
        Human.join_server(jupyter, path) as ada,
        Human.join_server(jupyter, path, "Bob") as bob,
    ):
        await goose.setup(path)
        await goose.query("cells")
        await ada.type(0, "0_漢😀", at=TEXT.index("\nfor"))
        await bob.type(0, " # the end")
        await ada.wait_for(lambda: ada.sources() == bob.sources() and ada.source(0).endswith("the end"))
        await goose.sees(ada)
        await goose.query("cells")
        before, vector = ada.sources(), ada.notebook.ydoc.get_state()
        given = dict(edit)
        if "source" in given:  # made on the text with what was typed
            given["source"] = given["source"].replace("0\n", "00_漢😀\n", 1) + " # the end"
        error = await goose.edit_refused({"op": "insert", "source": "new"}, given)
        short = goose.peer().seen.short(goose.peer().view.cells[0].id, goose.peer().view)
        first, *rest = error.text.splitlines()
        who, line, text = ("Ada", 2, "total = 00_漢😀") if "all" not in edit else ("Bob", 5, "print(total) # the end")
        assert first == (
            f"{who} is typing on line {line} of {short}, which this call would change: {text!r}. "
            "It waited 0.01 s for the line to fall quiet. Nothing was written."
        )
        assert 'query_notebook(query="changes", wait_s=30)' in rest[0]
        assert ada.notebook.ydoc.get_state() == vector
        await unwritten(goose, ada, before)


async def test_other_lines_of_the_cell_are_edited_at_once(jupyter: Server, notebook: Notebook) -> None:
    path = await notebook([TEXT])
    async with (
        mcp_agent_on(jupyter, limits=Limits(line_quiet_s=1_000, line_wait_s=1_000)) as goose,
        Human.join_server(jupyter, path) as ada,
    ):
        await goose.setup(path)
        await goose.query("cells")
        await ada.type(0, "  # sum", at=TEXT.index("\nfor"))
        await goose.sees(ada)
        wanted = "import os\nimport math\nbegin = 1\ntotal = 0\nend = 2\nfor y in data:\n    total += y\nprint('漢')"
        await goose.edit({"op": "write", "cell": "#1", "source": wanted})
        await goose.edit({"op": "replace", "cell": "#1", "old": "begin = 1\n", "new": ""})
        typed = wanted.replace("begin = 1\n", "").replace("total = 0", "total = 0  # sum")
        await ada.wait_for(lambda: ada.source(0) == typed)
        assert ada.caret_text() == typed.replace("# sum", "# sum|")


async def test_the_call_waits_for_quiet_and_holds_up_neither_reading_nor_another_notebook(
    jupyter: Server, notebook: Notebook
) -> None:
    path, other = await notebook([TEXT]), await notebook(["a = 1"])
    async with (
        mcp_agent_on(jupyter, limits=Limits(line_quiet_s=1.0, line_wait_s=DEADLINE_S)) as goose,
        Human.join_server(jupyter, path) as ada,
    ):
        await goose.setup(path)
        await goose.setup(other)
        await goose.query("cells", notebook_path=path)
        await ada.type_marks(0, 1, at=TEXT.index("\nfor"))
        await goose.sees(ada, path)
        edited = anyio.Event()

        async def edit() -> None:
            replace = {"op": "replace", "cell": "#1", "old": "total = ", "new": "count = "}
            await goose.edit(replace, notebook_path=path)
            edited.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(edit)
            for number in range(20):
                await ada.type_marks(0, 1)
                assert "count" not in ada.source(0)
                if number == 10:
                    shown = await goose.query("cells", notebook_path=path)
                    assert ada.keystrokes[0] in shown.text
                    await goose.edit({"op": "insert", "source": "b = 2"}, notebook_path=other)
            assert not edited.is_set()
        assert ada.lost() == []
        marks = "".join(ada.keystrokes)
        await ada.wait_for(lambda: ada.source(0) == TEXT.replace("total = 0", f"count = 0{marks}"))
        assert [cell.source for cell in goose.peer(other).view.cells] == ["a = 1", "b = 2"]


async def test_what_was_typed_while_it_waited_decides(jupyter: Server, notebook: Notebook) -> None:
    path = await notebook([TEXT])
    async with (
        mcp_agent_on(jupyter, limits=Limits(line_quiet_s=1.0, line_wait_s=DEADLINE_S)) as goose,
        Human.join_server(jupyter, path) as ada,
    ):
        await goose.setup(path)
        await goose.query("cells")
        await ada.type(0, "1", at=TEXT.index("\nfor"))
        await goose.sees(ada)
        async with anyio.create_task_group() as tasks:
            replace = {"op": "replace", "cell": "#1", "old": "total = ", "new": "count = "}
            refused: list[str] = []

            async def edit() -> None:
                refused.append((await goose.edit_refused(replace)).text)

            # It waits for the line; then somebody writes where it would write: it is planned again, and is a conflict.
            tasks.start_soon(edit)
            await ada.type(0, "-", at=TEXT.index("total"))
        assert "somebody changed" in refused[0]
        assert "-total = 01" in refused[0]
        assert ada.source(0) == TEXT.replace("total = 0", "-total = 01")


async def test_a_run_with_edits_waits_too_and_force_is_for_rebuilding_only(jupyter: Server, notebook: Notebook) -> None:
    path = await notebook([TEXT])
    async with mcp_agent_on(jupyter, limits=NEVER_QUIET) as goose, Human.join_server(jupyter, path) as ada:
        await goose.setup(path)
        await ada.type(0, "0", at=TEXT.index("\nfor"))
        await goose.sees(ada)
        await goose.query("cells")
        change = {"op": "replace", "cell": "#1", "old": "total = 00", "new": "total = 5"}
        ran = await goose.refused("execute_notebook_code", edits=[change])
        assert "Ada is typing on line 2" in ran.text
        assert (await goose.query("runs")).body == "no runs"
        await goose.edit_refused({**change, "force": True})
        # What rebuilds the cell asks for force, and then does not ask again.
        split = {"op": "split", "cell": "#1", "line": 2}
        assert "Ada's caret is in it" in (await goose.edit_refused(split)).text
        await goose.edit({**split, "force": True})
        await ada.wait_for(lambda: ada.sources() == [TEXT.split("\n")[0], TEXT.split("\n", 1)[1].replace("0", "00", 1)])


async def test_agents_and_outputs_do_not_type(jupyter: Server, notebook: Notebook) -> None:
    path = await notebook([TEXT, "print(1)"])
    async with (
        mcp_agent_on(jupyter, limits=NEVER_QUIET) as goose,
        mcp_agent_on(jupyter, name="cursor-vscode") as cursor,
        Human.join_server(jupyter, path) as ada,
    ):
        await goose.setup(path)
        await cursor.setup(path)
        await cursor.query("cells")
        await cursor.edit({"op": "replace", "cell": "#1", "old": "total = 0", "new": "total = 漢"})
        await cursor.edit({"op": "replace", "cell": "#1", "old": "(total)", "new": "()"})  # which only takes away
        await cursor.run(cells=["#2"])
        await ada.wait_for(lambda: ada.source(0).endswith("()") and "漢" in ada.source(0))
        await goose.sees(ada)
        await goose.query("cells")
        await goose.edit(
            {"op": "replace", "cell": "#1", "old": "total = 漢", "new": "total = 2"},
            {"op": "replace", "cell": "#1", "old": "print()", "new": "print(2)"},
            {"op": "write", "cell": "#2", "source": "print(3)"},
        )
        await ada.wait_for(lambda: ada.source(0) == TEXT.replace("= 0", "= 2").replace("(total)", "(2)"))


async def test_what_another_program_writes_into_the_file_is_not_typed(jupyter: Server, notebook: Notebook) -> None:
    path = await notebook([TEXT, "other = 1"])
    async with mcp_agent_on(jupyter, limits=NEVER_QUIET) as goose, Human.join_server(jupyter, path) as ada:
        await goose.setup(path)
        await ada.place_caret(1)
        file = anyio.Path(str(jupyter.root_dir), path)
        content = json.loads(await file.read_text("utf-8"))
        content["cells"][0]["source"] = TEXT.replace("total = 0", "total = 漢").replace("math", "os")
        await file.write_text(json.dumps(content), "utf-8")
        await ada.wait_for(lambda: "漢" in ada.source(0))
        await goose.sees(ada)
        peer = goose.peer()
        # What the server does next gives it away.
        await goose.hears(lambda: not peer.people.in_use(peer.view.cells[0].id))
        await goose.query("cells")
        await goose.edit({"op": "replace", "cell": "#1", "old": "total = 漢", "new": "total = 2"})
        await ada.wait_for(lambda: "total = 2" in ada.source(0))


async def test_undo_and_redo_leave_a_typed_line_alone_too(jupyter: Server, notebook: Notebook) -> None:
    path = await notebook([TEXT])
    async with mcp_agent_on(jupyter, limits=NEVER_QUIET) as goose, Human.join_server(jupyter, path) as ada:
        await goose.setup(path)
        await goose.query("cells")
        await goose.edit({"op": "replace", "cell": "#1", "old": "math", "new": "os"})
        await goose.edit({"op": "replace", "cell": "#1", "old": "total = 0", "new": "count = 0"})
        await ada.wait_for(lambda: "count" in ada.source(0))
        await ada.type(0, "  # sum", at=ada.source(0).index("\nfor"))
        await goose.sees(ada)
        before = ada.sources()
        refused = await goose.edit_refused({"op": "undo"})
        assert "Ada is typing on line 2" in refused.text
        refused = await goose.edit_refused({"op": "undo", "steps": 2, "force": True})
        assert "Ada is typing on line 2" in refused.text
        await unwritten(goose, ada, before)


async def test_who_has_not_announced_themselves_is_somebody(jupyter: Server, notebook: Notebook) -> None:
    path = await notebook([TEXT])
    async with (
        Human.join_server(jupyter, path, announces=False) as ada,
        mcp_agent_on(jupyter, limits=NEVER_QUIET) as goose,
    ):
        await goose.setup(path)
        await ada.type(0, "0", at=TEXT.index("\nfor"))
        await goose.sees(ada)
        await goose.query("cells")
        error = await goose.edit_refused({"op": "replace", "cell": "#1", "old": "total = 00", "new": ""})
        assert error.text.startswith(("somebody is typing on line 2", "Ada is typing on line 2"))
        await fence(goose, ada)
