"""What the agent is told of others: who did what, also on disk, who is typing; and waiting for it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from jupyter_ydoc import YNotebook

import collab_agent.news
import collab_agent.server.others
from collab_agent.config import Limits, Server
from collab_agent.room.codec import var_bytes
from collab_agent.room.presence import encode
from collab_agent.room.protocol import Changed, Event, Lost
from collab_agent.room.replica import RemoteChange
from collab_agent.testing import Human
from tests.faults.wire import Wire, wire_to
from tests.files import notebook_in

from .conftest import McpAgent, Notebook, Result, mcp_agent_on

SINCE = "since your last call: "


def short(agent: McpAgent, index: int, path: str | None = None) -> str:
    view = agent.peer(path).view
    return agent.peer(path).seen.short(view.cells[index].id, view)


# On disk.


class Disk:
    """Somebody who writes the file itself: an editor, git."""

    def __init__(self, server: Server, agent: McpAgent, path: str) -> None:
        assert server.root_dir is not None
        self._file = Path(server.root_dir) / path
        self._agent = agent

    async def write(self, change: Callable[[list[dict[str, Any]]], object] | None = None) -> None:
        """Write the file (None: as it is) and wait until the agent has what the server makes of it."""
        notebook = notebook_in(self._file)
        if change is not None:
            change(notebook["cells"])
        async with heard_of(self._agent, lambda changed: "dirty" in changed.state and "hash" not in changed.state):
            before = self._file.stat().st_mtime_ns
            self._file.write_text(json.dumps(notebook), "utf-8")
            if self._file.stat().st_mtime_ns <= before:
                os.utime(self._file, ns=(before + 10**7, before + 10**7))


@asynccontextmanager
async def heard_of(agent: McpAgent, wanted: Callable[[RemoteChange], bool]) -> AsyncIterator[None]:
    """Wait at the end of the block until the agent has heard of such a change since its beginning."""
    found: list[RemoteChange] = []

    def listen(event: Event) -> None:
        if isinstance(event, Changed) and wanted(event.change):
            found.append(event.change)

    unsubscribe = agent.peer().observe(listen)
    try:
        yield
        await agent.hears(lambda: bool(found))
    finally:
        unsubscribe()


def source(index: int, text: str) -> Callable[[list[dict[str, Any]]], None]:
    def change(cells: list[dict[str, Any]]) -> None:
        cells[index]["source"] = text

    return change


@asynccontextmanager
async def pair(
    agent: McpAgent, server: Server, notebook: Notebook, *sources: str
) -> AsyncIterator[tuple[Human, Disk, list[str]]]:
    """The agent and Ada in one notebook, its file, and the short ids of its cells."""
    path = await notebook(sources or ["a = 1\nb = 2", "second", "third", "fourth"])
    async with Human.join_server(server, path) as human:
        await agent.setup(path)
        yield human, Disk(server, agent, path), [short(agent, at) for at in range(len(agent.peer().view.cells))]


async def saved(agent: McpAgent, human: Human) -> None:
    """Have the human's edit saved, so that the server has put down the file's hash."""
    async with heard_of(agent, lambda change: "hash" in change.state):
        await human.type(0, "#")


async def test_a_change_on_disk_is_told_as_such_and_is_nobodys_typing(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    async with pair(mcp_agent, jupyter, notebook) as (ada, disk, names):
        await disk.write(source(0, "a = 1\nb = 3"))
        assert mcp_agent.peer().people.in_use(ada.ids()[0]) == ""
        assert (await mcp_agent.query()).since == f"{SINCE}changed on disk: edited {names[0]} (+1 -1 lines)"
        told = await mcp_agent.query("changes")
        assert told.text == f"changed on disk: edited {names[0]} (+1 -1 lines):\n 1│a = 1\n-2│b = 2\n+2│b = 3"
        await disk.write(lambda cells: cells.insert(1, cells.pop()))
        assert (await mcp_agent.query()).since == f"{SINCE}changed on disk: moved {names[3]}"


async def test_a_cell_that_is_deleted_on_disk_is_nobodys_deed_whether_or_not_the_server_knew_the_files_hash(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    async with pair(mcp_agent, jupyter, notebook) as (ada, disk, names):
        await ada.place_caret(3)
        await disk.write(lambda cells: cells.pop(3))
        assert (await mcp_agent.query()).since == f"{SINCE}changed on disk: deleted {names[3]}"
        await ada.place_caret(2)
        await disk.write(lambda cells: cells.pop(2))
        assert (await mcp_agent.query()).since == f"{SINCE}changed on disk: deleted {names[2]}"
        await saved(mcp_agent, ada)
        await mcp_agent.query()
        await ada.place_caret(1)
        await disk.write(lambda cells: cells.pop(1))
        assert (await mcp_agent.query()).since == f"{SINCE}changed on disk: deleted {names[1]}"


async def test_a_cell_that_a_human_deletes_is_theirs_though_the_file_is_saved_or_touched_thereafter(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    async with pair(mcp_agent, jupyter, notebook) as (ada, disk, names):
        await ada.place_caret(3)
        async with heard_of(mcp_agent, lambda change: "hash" in change.state):
            await ada.delete_cell(3)
        assert (await mcp_agent.query()).since == f"{SINCE}Ada deleted {names[3]}"
        await ada.place_caret(2)
        async with heard_of(mcp_agent, lambda change: "hash" in change.state):
            await ada.delete_cell(2)
        await disk.write()
        assert (await mcp_agent.query()).since == f"{SINCE}Ada deleted {names[2]}"
        assert (await mcp_agent.query()).since == ""


async def test_a_change_on_disk_while_a_human_types_is_told_beside_what_they_typed(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    async with pair(mcp_agent, jupyter, notebook) as (ada, disk, names):
        async with anyio.create_task_group() as tasks:

            async def type_on() -> None:
                while True:
                    await ada.type(0, "x", pause=0.02)

            tasks.start_soon(type_on)
            await mcp_agent.hears(lambda: "xxx" in mcp_agent.peer().view.cells[0].source)
            await disk.write(lambda cells: [source(1, "SECOND")(cells), source(0, "DISK")(cells), cells.pop(2)])
            tasks.cancel_scope.cancel()
        since = (await mcp_agent.query()).since
        assert f"Ada edited {names[0]}" in since
        assert f"changed on disk: edited {names[1]} (+1 -1 lines), deleted {names[2]}" in since
        assert since.index(names[0]) < since.index("(also changed on disk)") < since.index(names[1])


# Who did it.


async def test_two_humans_and_an_agent_are_each_told_with_their_own(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    async with pair(mcp_agent, jupyter, notebook) as (ada, _disk, names):
        path = mcp_agent.peer().path
        async with Human.join_server(jupyter, path, "Bob") as bob, mcp_agent_on(jupyter, name="claude") as claude:
            await claude.setup(path)
            await mcp_agent.hears(lambda: len(mcp_agent.peer().peers) == 3)
            await ada.type(0, "\nc = 3")
            await bob.type(1, "!")
            await claude.edit({"op": "write", "cell": "#3", "source": "THIRD"})
            await bob.place_caret(0, 3)
            await bob.mark_running(0, True)
            await mcp_agent.hears(lambda: mcp_agent.peer().view.cells[0].running)
            await mcp_agent.hears(lambda: mcp_agent.peer().view.cells[2].source == "THIRD")
            told = (await mcp_agent.query()).since
            assert told == (
                f"{SINCE}Ada edited {names[0]} (+1 -0 lines); Bob is running {names[0]}, "
                f"edited {names[1]} (+1 -1 lines); Claude (agent) edited {names[2]} (+1 -1 lines)"
            )
            await bob.backspace()
            await mcp_agent.sees(bob)
            # Both carets are in the cell; only his is where a character went.
            assert (await mcp_agent.query()).since == f"{SINCE}Bob edited {names[0]} (+1 -1 lines)"


async def test_of_several_authors_of_one_update_each_is_told_with_their_own(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    async with pair(mcp_agent, jupyter, notebook) as (relay, _disk, names):
        people = {name: YNotebook() for name in ("Ann", "Ben")}
        for page in people.values():
            page.ydoc.apply_update(relay.notebook.ydoc.get_update())
        ann, ben = people.values()
        with ann.ydoc.transaction():
            write(ann, 0, "\n漢 = 3")
            write(ann, 2, "😀 ", at=0)
        with ben.ydoc.transaction():
            write(ben, 1, "!")
            write(ben, 2, " 字")
            ben.ycells.insert(4, ben.create_ycell({"cell_type": "code", "source": "new", "metadata": {}}))
        states = [(page.ydoc.client_id, 1, {"user": {"name": name}}) for name, page in people.items()]
        relay._emit(bytes([1]) + var_bytes(encode(states)))
        ben.ydoc.apply_update(ann.ydoc.get_update(relay.notebook.ydoc.get_state()))
        async with heard_of(mcp_agent, lambda change: len(change.clients) == 2):
            relay.notebook.ydoc.apply_update(ben.ydoc.get_update(relay.notebook.ydoc.get_state()))
        told = (await mcp_agent.query()).since.removeprefix(SINCE)
        mine, new = re.sub("Ann and Ben|Ben and Ann", "both", told), short(mcp_agent, 4)
        did = {who: set(what.split(", ")) for who, what in (part.split(" ", 1) for part in mine.split("; "))}
        assert did == {
            "Ann": {f"edited {names[0]} (+1 -0 lines)"},
            "Ben": {f"edited {names[1]} (+1 -1 lines)", f"inserted {new}"},
            "both": {f"edited {names[2]} (+1 -1 lines)"},
        }


def write(page: YNotebook, cell: int, text: str, at: int | None = None) -> None:
    source = page.ycells[cell]["source"]
    source.insert(len(str(source).encode()) if at is None else at, text)


async def test_whoever_has_gone_is_told_by_name_and_one_human_here_is_the_one_who_deleted(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    async with pair(mcp_agent, jupyter, notebook) as (ada, _disk, names):
        async with Human.join_server(jupyter, mcp_agent.peer().path, "Bob") as bob:
            await mcp_agent.hears(lambda: len(mcp_agent.peer().peers) == 2)
            await bob.type(1, "!")
        await mcp_agent.hears(lambda: len(mcp_agent.peer().peers) == 1)
        await ada.delete_cell(3)
        await mcp_agent.sees(ada)
        told = f"{SINCE}Bob edited {names[1]} (+1 -1 lines); Ada deleted {names[3]}"
        assert (await mcp_agent.query()).since == told


async def test_what_a_page_does_by_rebuilding_cells_is_told_as_what_its_human_did(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    async with pair(mcp_agent, jupyter, notebook) as (ada, _disk, names):
        await ada.move_cell(3, 1)
        await mcp_agent.sees(ada)
        assert (await mcp_agent.query()).since == f"{SINCE}Ada moved {names[3]}"
        await rebuild(ada, 0, cell_type="markdown")
        await mcp_agent.hears(lambda: mcp_agent.peer().view.cells[0].type == "markdown")
        assert (await mcp_agent.query()).since == f"{SINCE}Ada made {names[0]} markdown"
        told = (await mcp_agent.query("changes")).body
        assert told == f"Ada made {names[0]} markdown, which was code"
        await ada.move_cell(0, 2)
        await mcp_agent.sees(ada)
        assert (await mcp_agent.query("changes")).body == f"Ada moved {names[0]} below {names[1]}"


async def test_a_save_between_the_two_halves_of_a_rebuilding_hides_neither_the_cell_nor_whose_doing_it_was(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    """The server gives the second of two cells that differ, and have one id, an id of its own."""
    async with pair(mcp_agent, jupyter, notebook) as (ada, _disk, names):
        before = ada.ids()
        double = {"id": before[3], "cell_type": "markdown", "source": ada.source(3), "metadata": {}}
        ada.notebook.ycells.insert(3, ada.notebook.create_ycell(double))
        await ada.wait_for(lambda: len(set(ada.ids())) == 5, 30)  # it has saved
        assert ada.ids()[:4] == before
        await ada.delete_cell(4)
        await mcp_agent.sees(ada)
        assert (await mcp_agent.query()).since == f"{SINCE}Ada made {names[3]} markdown"


async def rebuild(human: Human, index: int, **changed: Any) -> None:
    """Delete a cell and insert it again in its place, as a page does to change its type."""
    value = {**(human.notebook.ycells[index].to_py() or {}), **changed}
    for key in ("outputs", "execution_count", "execution_state"):
        value.pop(key, None)
    with human.notebook.ydoc.transaction():
        del human.notebook.ycells[index]
        human.notebook.ycells.insert(index, human.notebook.create_ycell(value))


# Who is typing.


async def test_who_is_typing_is_told_once_for_the_same_keystrokes_and_never_of_agents(
    jupyter: Server, notebook: Notebook
) -> None:
    async with (
        mcp_agent_on(jupyter, limits=Limits(typed_out_s=600)) as goose,
        pair(goose, jupyter, notebook) as (ada, _disk, names),
        mcp_agent_on(jupyter, name="claude") as claude,
    ):
        await claude.setup(goose.peer().path)
        await ada.type(0, "漢\nx")
        await typed_by(goose, ada)
        await claude.edit({"op": "replace", "cell": "#2", "old": "second", "new": "SECOND"})
        await goose.hears(lambda: goose.peer().view.cells[1].source == "SECOND")
        told = f"Ada edited {names[0]} (+2 -1 lines), is typing in {names[0]}, line 3"
        assert (await goose.query()).since == f"{SINCE}{told}; Claude (agent) edited {names[1]} (+1 -1 lines)"
        assert (await goose.query()).since == ""
        await ada.type(0, "y")
        await typed_by(goose, ada)
        await ada.backspace()
        await typed_by(goose, ada)
        assert (await goose.query()).since == f"{SINCE}Ada is typing in {names[0]}, line 3"
        await ada.place_caret(0, 0)
        await ada.place_caret(2)
        await typed_by(goose, ada)
        assert (await goose.query()).since == ""  # moving about is nothing
        await ada.type(2, "z")
        await ada.place_caret(3)
        await typed_by(goose, ada)
        assert (await goose.query()).since == f"{SINCE}Ada edited {names[2]} (+1 -1 lines)"  # and has gone elsewhere


async def test_whoever_runs_a_cell_has_finished_typing_in_it(jupyter: Server, notebook: Notebook) -> None:
    async with (
        mcp_agent_on(jupyter, limits=Limits(typed_out_s=600)) as goose,
        pair(goose, jupyter, notebook) as (ada, _disk, names),
    ):
        await ada.type(1, "!")
        await typed_by(goose, ada)
        await ada.mark_running(1, True)
        await goose.hears(lambda: goose.peer().view.cells[1].running)
        assert (await goose.query()).since == f"{SINCE}Ada edited {names[1]} (+1 -1 lines), is running {names[1]}"


async def typed_by(agent: McpAgent, human: Human) -> None:
    """Wait until the agent has what this human wrote, and knows where the caret is."""
    await agent.sees(human)
    assert human.caret is not None
    cell_id, head = human.caret
    await agent.hears(
        lambda: [(p.cell_id, p.head) for p in agent.peer().peers if p.name == human.name] == [(cell_id, head)]
    )


# Diffs.


async def test_changes_give_what_the_last_line_told_and_what_is_newer_each_once(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    async with pair(mcp_agent, jupyter, notebook) as (ada, _disk, names):
        await ada.type(1, "!")
        await mcp_agent.sees(ada)
        await mcp_agent.query("cells", cells=["last"])
        error = await mcp_agent.refused("query_notebook", query="cells", cells=["#99"])
        assert error.since == ""
        await ada.type(2, "?")
        await mcp_agent.sees(ada)
        told = await mcp_agent.query("changes")
        assert told.text == (
            f"Ada edited {names[1]} (+1 -1 lines):\n-1│second\n+1│second!\n"
            f"Ada edited {names[2]} (+1 -1 lines):\n-1│third\n+1│third?\n"
            f"{SINCE}Ada edited {names[2]} (+1 -1 lines)"
        )
        again = await mcp_agent.query("changes")
        assert again.text.startswith('nothing since your last call; query_notebook(query="changes", wait_s=60)')
        refused = await mcp_agent.edit_refused({"op": "write", "cell": names[1], "source": "x"})
        assert "since you saw it" in refused.text  # a diff is no reading


async def test_a_refused_call_tells_what_others_did_and_its_diffs_are_behind_it(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    async with pair(mcp_agent, jupyter, notebook) as (ada, _disk, names):
        await ada.insert_cell(1, "new = 1")
        await ada.mark_running(0, True)
        await mcp_agent.hears(lambda: mcp_agent.peer().view.cells[0].running)
        error = await mcp_agent.refused("query_notebook", query="cells", cells=["#99"])
        new = short(mcp_agent, 1)
        assert error.since == f"{SINCE}Ada inserted {new}, is running {names[0]}"
        told = await mcp_agent.query("changes")
        assert told.text == f"Ada inserted {new} (code) below {names[0]}:\n+1│new = 1\nAda is running {names[0]}"
        await ada.mark_running(0, False, 4)
        await mcp_agent.hears(lambda: mcp_agent.peer().view.cells[0].execution_count == 4)
        assert (await mcp_agent.query()).since == f"{SINCE}Ada ran {names[0]} [4] ok"


async def test_what_happens_in_other_open_notebooks_is_told_with_their_names(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    other = await notebook(["elsewhere"])
    async with pair(mcp_agent, jupyter, notebook) as (ada, _disk, names):
        here = mcp_agent.peer().path
        async with Human.join_server(jupyter, other, "Bob") as bob:
            await mcp_agent.setup(other)
            await bob.type(0, "!")
            await mcp_agent.sees(bob, other)
            await ada.type(1, "!")
            await mcp_agent.sees(ada, here)
            told = await mcp_agent.query(notebook_path=here)
            there = short(mcp_agent, 0, other)
            assert told.since == (
                f"{SINCE}Ada edited {names[1]} (+1 -1 lines); in {other}: Bob edited {there} (+1 -1 lines)"
            )
            await bob.type(0, "?")
            await mcp_agent.sees(bob, other)
            left = await mcp_agent.ok("setup_notebook", action="leave", notebook_path=other)
            assert left.since == f"{SINCE}Bob edited {there} (+1 -1 lines)"
            assert (await mcp_agent.query()).since == ""


# Waiting.

TYPED_OUT_S = 0.4


@asynccontextmanager
async def waiting(agent: McpAgent, wait_s: float = 60, **arguments: Any) -> AsyncIterator[list[Result]]:
    """``query="changes"`` with ``wait_s`` under way for the length of the block; it has answered at the end of it."""
    answers: list[Result] = []

    async def ask() -> None:
        answers.append(await agent.call("query_notebook", query="changes", wait_s=wait_s, **arguments))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        yield answers


@pytest.fixture
async def patient(jupyter: Server) -> AsyncIterator[McpAgent]:
    """An agent to which a human has typed out soon."""
    async with mcp_agent_on(jupyter, limits=Limits(typed_out_s=TYPED_OUT_S)) as made:
        yield made


async def test_waiting_returns_when_a_human_has_finished_typing_with_all_that_they_typed(
    patient: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    async with pair(patient, jupyter, notebook) as (ada, _disk, names):
        async with waiting(patient) as answers:
            await ada.type(1, " thoughts", pause=TYPED_OUT_S / 10)
            assert answers == []
        (answer,) = answers
        assert (
            answer.body
            == f"Ada edited {names[1]} (+1 -1 lines):\n-1│second\n+1│second thoughts\nAda has finished typing"
        )
        assert answer.since == f"{SINCE}Ada edited {names[1]} (+1 -1 lines)"


async def test_waiting_returns_at_once_where_there_is_news_and_on_everything_but_typing(
    patient: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    async with pair(patient, jupyter, notebook) as (ada, _disk, names):
        await ada.delete_cell(3)
        await patient.sees(ada)
        at_once = await patient.query("changes", wait_s=3600)
        assert f"Ada deleted {names[3]}" in at_once.body
        async with waiting(patient, 3600) as answers:
            await ada.mark_running(0, True)
        assert answers[0].body == f"Ada is running {names[0]}"
        async with waiting(patient, 3600) as answers:
            await ada.place_caret(1)
            await patient.hears(lambda: [peer.cell_id for peer in patient.peer().peers] == [ada.ids()[1]])
            assert answers == []  # the run goes on, and the caret is no news
            await ada.mark_running(0, False, 3)
        assert answers[0].body.startswith(f"Ada ran {names[0]} [3] ok")


async def test_the_agents_own_doings_end_no_waiting(patient: McpAgent, jupyter: Server, notebook: Notebook) -> None:
    async with pair(patient, jupyter, notebook, "print(1)", "second") as (ada, _disk, _names):
        async with waiting(patient) as answers:
            done = await patient.run(edits=[{"op": "replace", "cell": "#1", "old": "1", "new": "2"}])
            assert (" ok " in done.text, done.since) == (True, "")
            await patient.edit({"op": "insert", "source": "third"})
            await patient.edit({"op": "move", "cell": "last", "before": "first"})
            await patient.edit({"op": "undo"})
            await ada.wait_for(lambda: ada.sources() == ["print(2)", "second", "third"])
            assert answers == []
            await ada.delete_cell(1)
        assert answers[0].body == answers[0].body.partition("\n")[0] + "\n-1│second"


async def test_waiting_says_plainly_when_the_time_is_up(
    patient: McpAgent, jupyter: Server, notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collab_agent.server.others, "IDLE_S", float("inf"))  # this machine may be slow
    async with pair(patient, jupyter, notebook) as (ada, _disk, names):
        await ada.place_caret(1)
        await patient.hears(lambda: [peer.cell_id for peer in patient.peer().peers] == [ada.ids()[1]])
        await ada.mark_running(2, True)
        await patient.hears(lambda: patient.peer().view.cells[2].running)
        await patient.query("changes")
        answer = await patient.query("changes", wait_s=0.2)
        assert answer.text == (
            f"nothing in 0.2 s: nobody else edited or ran anything. Others' code still runs in {names[2]}. "
            f"Here: Ada: in {names[1]}, line 1, column 7.\nCall again to go on waiting, or go on with your work."
        )


async def test_waiting_ends_with_the_time_though_somebody_types_on(jupyter: Server, notebook: Notebook) -> None:
    async with (
        mcp_agent_on(jupyter, limits=Limits(typed_out_s=600)) as goose,
        pair(goose, jupyter, notebook) as (ada, _disk, names),
    ):
        await ada.type(1, "!")
        await typed_by(goose, ada)
        answer = await goose.query("changes", wait_s=0.2)
        assert answer.body == f"Ada edited {names[1]} (+1 -1 lines):\n-1│second\n+1│second!"
        assert answer.since.endswith(f"Ada edited {names[1]} (+1 -1 lines), is typing in {names[1]}, line 1")
        assert "Here: Ada: in" in (await goose.query("changes", wait_s=0.2)).body


async def test_news_that_another_call_has_told_meanwhile_still_ends_the_waiting(
    patient: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    async with pair(patient, jupyter, notebook) as (ada, _disk, names):
        async with waiting(patient) as answers:
            await ada.type(1, "!")
            await patient.sees(ada)
            assert (await patient.query()).since != ""
        assert answers[0].body.startswith(f"Ada edited {names[1]} (+1 -1 lines):\n-1│second\n+1│second!")


async def test_a_cancelled_waiting_takes_no_news_away(patient: McpAgent, jupyter: Server, notebook: Notebook) -> None:
    async with pair(patient, jupyter, notebook) as (ada, _disk, names):
        with anyio.CancelScope() as scope:
            async with waiting(patient):
                scope.cancel()
        await ada.delete_cell(1)
        await patient.sees(ada)
        assert f"Ada deleted {names[1]}" in (await patient.query("changes", wait_s=60)).body


async def test_waiting_ends_when_the_notebook_is_left(patient: McpAgent, jupyter: Server, notebook: Notebook) -> None:
    async with pair(patient, jupyter, notebook), waiting(patient) as answers:
        await patient.ok("setup_notebook", action="leave")
    assert answers[0].is_error
    assert answers[0].text.startswith("The notebook was left")


async def test_waiting_outlives_a_short_loss_of_the_room_and_tells_what_happened_meanwhile(
    jupyter: Server, notebook: Notebook
) -> None:
    path = await notebook(["first", "second"])
    async with (
        wire_to(jupyter) as wire,
        mcp_agent_on(wire.server, limits=Limits(typed_out_s=0)) as goose,
        Human.join_server(jupyter, path) as ada,
    ):
        await goose.setup(path)
        names = [short(goose, at) for at in range(2)]
        async with waiting(goose) as answers:
            await cut(goose, wire)
            await ada.type(1, "!")
            assert answers == []
            wire.mend()
        assert f"Ada edited {names[1]} (+1 -1 lines):\n-1│second\n+1│second!" in answers[0].body


async def test_waiting_for_a_room_that_is_away_for_good_is_an_error(
    jupyter: Server, notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collab_agent.news, "REJOIN_S", 0.3)
    path = await notebook(["first"])
    async with wire_to(jupyter) as wire, mcp_agent_on(wire.server) as goose:
        await goose.setup(path)
        async with waiting(goose, 3600) as answers:
            await cut(goose, wire)
        assert answers[0].is_error
        assert "The connection to the notebook's room is away" in answers[0].text
        wire.mend()


async def cut(agent: McpAgent, wire: Wire) -> None:
    """Cut the wire, and wait until the agent knows."""
    lost = anyio.Event()
    unsubscribe = agent.peer().observe(lambda event: lost.set() if isinstance(event, Lost) else None)
    wire.cut()
    with anyio.fail_after(30):
        await lost.wait()
    unsubscribe()
