"""A human and an agent in the same cell at the same time: no keystroke is lost, moved, or written over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from collab_agent.config import Server
from collab_agent.room.positions import character_of
from collab_agent.testing import Human, converged

from .conftest import McpAgent, Mode, Notebook, fence, mcp_agent_on, unwritten

KEYSTROKES, EDITS, AHEAD = 160, 24, 7
START = """\
# 😀 漢字 header
total = 0
note = "«»"
for item in 😀:
    total += item  # 日本語
print(total)
"""


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_no_keystroke_is_lost_or_moved_beside_the_agents_edits(
    jupyter: Server, notebook: Notebook, mode: Mode
) -> None:
    path = await notebook([START])
    async with mcp_agent_on(jupyter, mode=mode) as goose, Human.join_server(jupyter, path) as ada:
        await goose.setup(path)
        await goose.query("cells")
        spans: list[tuple[int, int]] = []  # how many keystrokes there were when each edit began and when it was over
        edited = anyio.Event()

        async def type_on() -> None:
            await ada.place_caret(0, START.index("«") + 1)
            for stroke in range(KEYSTROKES):
                await ada.type_marks(0, 1)
                while stroke >= AHEAD * (len(spans) + 2):  # never ahead of all edits
                    await edited.wait()

        wanted = START
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(type_on)
            for number in range(EDITS):
                began = len(ada.keystrokes)
                wanted = await edit_elsewhere(goose, wanted, number)
                spans.append((began, len(ada.keystrokes)))
                edited.set()
                edited = anyio.Event()
        await fence(goose, ada)

        marks = "".join(ada.keystrokes)
        assert (len(marks), len(set(marks)), ada.lost()) == (KEYSTROKES, KEYSTROKES, [])
        assert ada.caret_text() == wanted.replace("«»", f"«{marks}|»")
        await goose.sees(ada)
        within = [(began, over) for began, over in spans if began < over and over < KEYSTROKES]
        assert len(within) >= 15, spans  # typing went on while the edit was made, and after it
        await goose.ok("setup_notebook", action="save")
        async with Human.join_server(jupyter, path, "Bob") as bob:
            assert converged(ada, bob)


async def edit_elsewhere(goose: McpAgent, text: str, number: int) -> str:
    """Edit lines above and below the human's, by ``replace`` and by ``write``; the whole text as the agent knows it."""
    changes: list[tuple[str, str]] = [
        (" 漢字 header", f" {number} 漢 漢字 header"),
        ("total = 0\n", f"total = 0\nextra_{number} = '漢字 😀'\n"),
        ("print(total)\n", f"print({number}, '😀')\nprint(total)\n"),
        ("    total += item", f"    check_{number}(item)  # 語\n    total += item"),
    ]
    old, new = changes[number % 4]
    after = text.replace(old, new, 1)
    if number % 3:
        await goose.edit({"op": "replace", "cell": "#1", "old": old, "new": new})
    else:
        await goose.edit({"op": "write", "cell": "#1", "source": after})
    return after


async def test_a_rewrite_of_a_text_that_the_human_changed_meanwhile_keeps_what_they_typed(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    path = await notebook([START])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        await mcp_agent.query("cells")
        await ada.type(0, "ma漢😀", at=START.index("«") + 1)
        await ada.type(0, "  # sum", at=ada.source(0).index("\nnote"))
        await mcp_agent.sees(ada)
        rewritten = START.replace("for item in 😀:\n    total += item  # 日本語\n", "total = sum(😀)\n")
        rewritten = rewritten.replace("header", "HEADER 漢")
        result = await mcp_agent.edit({"op": "write", "cell": "first", "source": rewritten})
        merged = rewritten.replace("«»", "«ma漢😀»").replace("total = 0", "total = 0  # sum")
        await ada.wait_for(lambda: ada.source(0) == merged)
        assert "+4│total = sum(😀)" in result.body
        assert result.since == f"since your last call: Ada edited {short(mcp_agent)} (+2 -2 lines)"

        # What was typed was not shown by that result: a second rewrite does not take it away either.
        await mcp_agent.edit({"op": "write", "cell": "first", "source": rewritten + "print('end')\n"})
        await ada.wait_for(lambda: ada.source(0) == merged + "print('end')\n")


def short(goose: McpAgent, index: int = 0) -> str:
    view = goose.peer().view
    return goose.peer().seen.short(view.cells[index].id, view)


TOUCHING: dict[str, tuple[Callable[[str], str], dict[str, object]]] = {
    "overlaps": (lambda text: text, {"op": "replace", "old": 'note = "«»"', "new": "note = None"}),
    "same point": (lambda text: text, {"op": "replace", "old": "«»", "new": "«x»"}),
    "rewrite": (lambda text: text.replace("«»", "«new»"), {"op": "write"}),
}


@pytest.mark.parametrize("name", TOUCHING)
async def test_a_touching_edit_is_refused_with_the_text_now_and_what_was_changed(
    brisk_agent: McpAgent, jupyter: Server, notebook: Notebook, name: str
) -> None:
    change, edit = TOUCHING[name]
    path = await notebook([START, "other = 1"])
    async with Human.join_server(jupyter, path) as ada:
        await brisk_agent.setup(path)
        await brisk_agent.query("cells")
        await ada.type(0, "漢😀", at=START.index("«") + 1)
        await brisk_agent.sees(ada)
        before, vector = ada.sources(), ada.notebook.ydoc.get_state()
        given = {"cell": "#1", "source": change(START), **edit} if edit["op"] == "write" else {"cell": "#1", **edit}
        error = await brisk_agent.edit_refused(
            {"op": "write", "cell": "#2", "source": "other = 2"}, {"op": "insert", "source": "new"}, given
        )
        for number, line in enumerate(ada.source(0).split("\n"), 1):
            assert f"{number}│{line}\n" in error.text  # the text now
        assert "What was changed since you saw it:" in error.text
        assert '+3│note = "«漢😀»"' in error.text
        assert ada.notebook.ydoc.get_state() == vector
        await unwritten(brisk_agent, ada, before)

        # The error showed the text: made on that, the edit goes through.
        again = ada.source(0).replace("«漢😀»", "«done»")
        await brisk_agent.edit({"op": "write", "cell": "#1", "source": again})
        await ada.wait_for(lambda: ada.source(0) == again)


async def test_all_edits_of_a_call_are_applied_or_none(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    path = await notebook(["a = 1", "b = 2", ("markdown", "# c")])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        await mcp_agent.query("cells")
        before, vector = ada.sources(), ada.notebook.ydoc.get_state()
        good = [
            {"op": "replace", "cell": "#1", "old": "1", "new": "10"},
            {"op": "insert", "source": "z", "before": "first"},
            {"op": "delete", "cell": "#2"},
            {"op": "retype", "cell": "#3", "type": "raw"},
        ]
        bad = [
            {"op": "replace", "cell": "#1", "old": "nowhere", "new": "x"},
            {"op": "write", "cell": "zzzz", "source": "x"},
            {"op": "split", "cell": "#3", "line": 9},
            {"op": "merge", "cell": "#3"},
            {"op": "write", "cell": "#2", "source": "b"},  # deleted above
            {"op": "insert", "sauce": "x"},
            {"op": "delete"},
            {"op": "undo"},
        ]
        for wrong in bad:
            await mcp_agent.edit_refused(*good, wrong)
        assert ada.notebook.ydoc.get_state() == vector
        await unwritten(mcp_agent, ada, before)
        await mcp_agent.edit(*good)
        await ada.wait_for(lambda: ada.sources()[:3] == ["z", "a = 10", "# c"])
        assert ada.notebook.ycells[2]["cell_type"] == "raw"


async def test_an_insertion_above_between_looking_and_editing_shifts_no_number(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    path = await notebook(["first", "second", "third"])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        await ada.insert_cell(0, "inserted above")
        await ada.move_cell(3, 1)
        await mcp_agent.sees(ada)
        assert ada.sources() == ["inserted above", "third", "first", "second"]
        await mcp_agent.edit({"op": "write", "cell": "#2", "source": "SECOND"})
        await ada.wait_for(lambda: ada.sources() == ["inserted above", "third", "first", "SECOND"])
        await mcp_agent.query()  # an outline numbers the page anew
        await mcp_agent.edit({"op": "write", "cell": "#2", "source": "THIRD"})
        await ada.wait_for(lambda: ada.sources() == ["inserted above", "THIRD", "first", "SECOND"])


async def test_the_humans_caret_stays_at_its_character_while_the_agent_rewrites_the_whole_cell(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    path = await notebook([START])
    async with Human.join_server(jupyter, path) as ada, Human.join_server(jupyter, path, "Bob") as bob:
        await mcp_agent.setup(path)
        await mcp_agent.query("cells")
        await ada.place_caret(0, START.index("item  # 日"))
        await bob.wait_for(lambda: bool(cursors_of(bob, "Ada")))
        (published,) = cursors_of(bob, "Ada")
        rewritten = "import math  # 😀😀\n\n" + START.replace("漢字 header", "字").replace("print(total)", "total")
        await mcp_agent.edit({"op": "write", "cell": "#1", "source": rewritten})
        await ada.wait_for(lambda: ada.source(0) == rewritten)
        assert ada.caret_text() == rewritten.replace("item  # 日", "|item  # 日")
        # The very position that the page published before the rewrite still means that character.
        assert character_of(ada.notebook.ycells[0]["source"], published["head"]) == rewritten.index("item  # 日")
        await ada.type(0, "漢😀")
        await mcp_agent.sees(ada)
        typed = rewritten.replace("item  # 日", "漢😀item  # 日")
        assert mcp_agent.peer().view.cells[0].source == typed
        await mcp_agent.hears(lambda: caret_of(mcp_agent, "Ada") == typed.index("item  # 日"))


async def test_the_agents_caret_goes_to_its_last_edit_and_shows_what_was_inserted(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    path = await notebook([START, "漢😀 = 1"])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        await mcp_agent.edit({"op": "replace", "cell": "#2", "old": "1", "new": "2 + 三😀"})
        await ada.wait_for(lambda: any(not cursor["empty"] for cursor in cursors_of(ada, "Goose")))
        (cursor,) = cursors_of(ada, "Goose")
        text = ada.notebook.ycells[1]["source"]
        assert all(set(cursor[end]) == {"type", "tname", "item", "assoc"} for end in ("anchor", "head"))
        source = ada.source(1)
        assert (character_of(text, cursor["anchor"]), character_of(text, cursor["head"])) == (
            source.index("2"),
            len(source),
        )
        await ada.wait_for(lambda: all(cursor["empty"] for cursor in cursors_of(ada, "Goose")))  # it fades
        (cursor,) = cursors_of(ada, "Goose")
        assert character_of(text, cursor["head"]) == len(source)
        (state,) = (state for state in ada.peers().values() if state["user"]["name"] == "Goose")
        assert state["autosave"] is False


def cursors_of(human: Human, name: str) -> list[dict[str, Any]]:
    """The cursors that somebody's page publishes, as this human's page gets them."""
    return [
        cursor
        for state in human.peers().values()
        if state.get("user", {}).get("name") == name
        for cursor in state.get("cursors", [])
    ]


def caret_of(goose: McpAgent, name: str) -> int | None:
    """Where the agent believes somebody's caret to be."""
    return next((peer.head for peer in goose.peer().peers if peer.name == name), None)
