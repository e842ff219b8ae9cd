"""Runs on the kernel that the human shares, as the human's page sees them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from collab_agent.config import Server
from collab_agent.kernel.client import KernelClient
from collab_agent.kernel.observer import ForeignRun
from collab_agent.testing import Human

from .conftest import DEADLINE_S, McpAgent, Notebook, Rest, Result, fence, mcp_agent_on


class Gate:
    """Code that waits in the kernel until the test says go."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.code = f"import pathlib, time\nwhile not pathlib.Path({str(file)!r}).exists(): time.sleep(0.005)\n"

    def open(self) -> None:
        self.file.touch()


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "go")


class Page:
    """The kernel connection of the human's page."""

    def __init__(self, client: KernelClient) -> None:
        self.client = client
        self.ended = anyio.Event()
        self.changed = anyio.Event()
        self.names: list[str] = []

    def run(self, code: str, **options: Any) -> str:
        """Send code, as a page does when its human runs a cell."""
        return self.client.send_execute(code, on_message=self._receive, **options)

    def _receive(self, _event: Any) -> None:
        self.changed.set()
        self.changed = anyio.Event()

    async def ends(self, msg_id: str) -> str:
        """Wait until a run is over; its state."""
        with anyio.fail_after(DEADLINE_S):
            while not self.client.execution(msg_id).over:
                await self.changed.wait()
        return self.client.execution(msg_id).state

    async def values(self, **expressions: str) -> dict[str, str]:
        """What Python expressions are in the kernel now, without leaving a trace."""
        msg_id = self.run("", silent=True, store_history=False, user_expressions=expressions)
        await self.ends(msg_id)
        reply = self.client.execution(msg_id).reply or {}
        return {
            name: value.get("data", {}).get("text/plain", value.get("ename"))
            for name, value in reply["user_expressions"].items()
        }


@asynccontextmanager
async def page_on(server: Server, rest: Rest, path: str) -> AsyncIterator[Page]:
    """The human's page, connected to the kernel of the notebook's session."""
    (session,) = await rest.sessions(path)
    async with KernelClient.connect(server, session["kernel"]["id"], username="ada") as client:
        yield Page(client)


async def until_foreign(goose: McpAgent) -> None:
    """Wait until the agent knows which code of somebody else's runs."""
    kernel = kernel_of(goose)
    changed = anyio.Event()
    unsubscribe = kernel.on_foreign(lambda _event: changed.set())
    try:
        with anyio.fail_after(DEADLINE_S):
            while kernel.foreign_busy is None or kernel.foreign_busy.code is None:
                await changed.wait()
                changed = anyio.Event()
    finally:
        unsubscribe()


def kernel_of(goose: McpAgent) -> KernelClient:
    """The agent's own connection to the kernel."""
    kernel = goose.peer().kernel
    assert kernel is not None
    return kernel


def cell(human: Human, at: int) -> dict[str, Any]:
    found: dict[str, Any] = human.notebook.ycells[at].to_py()
    return found


def printed(human: Human, at: int) -> str:
    """What a cell's streams show on the human's page."""
    return "".join(str(output["text"]) for output in cell(human, at)["outputs"] if output["output_type"] == "stream")


def running(human: Human, at: int) -> bool:
    return bool(cell(human, at)["execution_state"] == "running")


def state_of(text: str, at: int = 0) -> str:
    """The STATE of the at-th run line."""
    lines = [line for line in text.splitlines() if line.startswith("run r")]
    return lines[at].rpartition("]")[2].split()[0]


async def all_over(goose: McpAgent) -> Result:
    """Wait until all runs are over, and list them all: who waits is given those that were not over when it came."""
    await goose.query("runs", wait_s=30)
    return await goose.query("runs")


# Sessions.


async def test_the_humans_session_is_adopted_and_shared_by_two_agents(
    jupyter: Server, page: Rest, own_notebook: Notebook
) -> None:
    path = await own_notebook(["value = 41", "value + 1"])
    (session,) = await page.sessions(path)
    async with mcp_agent_on(jupyter) as goose, mcp_agent_on(jupyter, name="Cursor") as cursor:
        await goose.setup(path)
        await cursor.setup(path)
        await goose.run(cells=["#1"])
        result = await cursor.run(cells=["#2"])
        assert "[result]\n42" in result.body
        assert [each["id"] for each in await page.sessions(path)] == [session["id"]]
        assert {kernel_of(goose).kernel_id, kernel_of(cursor).kernel_id} == {session["kernel"]["id"]}
        assert "Goose" in result.since  # another agent's doings are told, too


async def test_a_kernel_is_started_where_the_human_has_none(
    mcp_agent: McpAgent, jupyter: Server, page: Rest, new_notebook: Callable[..., str]
) -> None:
    path = new_notebook(["1 + 1"])
    assert re.search("^kernel: (idle|starting)", (await mcp_agent.setup(path)).text, re.M)
    (session,) = await page.sessions(path)
    assert "[result]\n2" in (await mcp_agent.run(cells="all")).body
    await mcp_agent.setup(path)  # twice is harmless
    await mcp_agent.ok("setup_notebook", action="leave")
    assert [each["id"] for each in await page.sessions(path)] == [session["id"]]  # the kernel stays


async def test_two_notebooks_have_two_kernels(mcp_agent: McpAgent, own_notebook: Notebook) -> None:
    one, two = await own_notebook(["name = 'one'", "name"]), await own_notebook(["name = 'two'", "name"])
    await mcp_agent.setup(one)
    await mcp_agent.setup(two)
    for path in (one, two):
        await mcp_agent.run(notebook_path=path, cells=["#1"])
    for path, value in ((one, "'one'"), (two, "'two'")):
        assert f"[result]\n{value}" in (await mcp_agent.run(notebook_path=path, cells=["#2"])).body
    ambiguous = await mcp_agent.refused("execute_notebook_code", cells=["#2"])
    assert one in ambiguous.text
    assert two in ambiguous.text


async def test_a_kernel_that_the_human_changed_is_followed(
    mcp_agent: McpAgent, jupyter: Server, page: Rest, own_notebook: Notebook
) -> None:
    path = await own_notebook(["x = 1", "x"])
    await mcp_agent.setup(path)
    await mcp_agent.run(cells=["#1"])
    (session,) = await page.sessions(path)
    gone = anyio.Event()
    kernel = kernel_of(mcp_agent)
    kernel.on_life(lambda _event: gone.set())
    changed = await page.send("PATCH", f"api/sessions/{session['id']}", json={"kernel": {"name": "python3"}})
    with anyio.fail_after(DEADLINE_S):
        await gone.wait()
    result = await mcp_agent.run(cells=["#2"])
    assert "error NameError" in result.body
    assert kernel_of(mcp_agent).kernel_id == changed["kernel"]["id"]
    assert "all variables are gone" in result.since


# Outputs.


async def test_outputs_are_streamed_and_the_count_comes_with_idle(
    mcp_agent: McpAgent, jupyter: Server, own_notebook: Notebook, gate: Gate
) -> None:
    path = await own_notebook(["print('漢 one')\n" + gate.code + "print('two 😀')\n7 * 6"])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        transactions: list[list[Any]] = []

        def note(events: list[Any]) -> None:
            transactions.append([dict(event.keys) for event in events if hasattr(event, "keys")])

        subscription = ada.notebook.ycells.observe_deep(note)
        result = await mcp_agent.run(cells=["#1"], wait_s=0)
        assert state_of(result.body) == "running"
        assert "still running, not failed" in result.body
        await ada.wait_for(lambda: running(ada, 0) and printed(ada, 0) == "漢 one\n")
        assert cell(ada, 0)["execution_count"] is None
        assert "[*]" in (await mcp_agent.query()).body
        gate.open()
        await ada.wait_for(lambda: not running(ada, 0))
        ada.notebook.ycells.unobserve(subscription)
        ended = [keys for keys in transactions if any("execution_count" in each for each in keys)][-1]
        (last,) = (each for each in ended if "execution_state" in each)
        assert last["execution_state"]["newValue"] == "idle"
        assert last["execution_count"]["newValue"] == 1
        stream, value = cell(ada, 0)["outputs"]
        assert (stream["name"], str(stream["text"])) == ("stdout", "漢 one\ntwo 😀\n")
        assert (value["output_type"], value["data"]["text/plain"]) == ("execute_result", "42")
        assert "transient" not in value
        waited = await mcp_agent.query("runs", wait_s=30)
        assert "[1] ok" in waited.body
        await mcp_agent.ok("setup_notebook", action="save")


async def test_a_chain_stops_at_the_first_error(mcp_agent: McpAgent, jupyter: Server, own_notebook: Notebook) -> None:
    path = await own_notebook(["a = 1", "1 / 0", "a = 3", "a"])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        result = await mcp_agent.run(cells="all")
        assert [state_of(result.body, at) for at in range(4)] == ["ok", "error", "aborted", "aborted"]
        assert "ZeroDivisionError" in result.body
        assert "not run:" in result.body
        await ada.wait_for(lambda: cell(ada, 1)["execution_count"] == 2)
        assert [cell(ada, at)["execution_count"] for at in (2, 3)] == [None, None]
        result = await mcp_agent.run(cells=["#2:#4"], stop_on_error=False)
        assert [state_of(result.body, at) for at in range(3)] == ["error", "ok", "ok"]
        assert "[result]\n3" in result.body
        order = await mcp_agent.run(cells=["#4", "#1"])  # in the order given
        assert "[result]\n3" in order.body


async def test_edits_and_then_the_cells_that_they_touched(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    path = await notebook(["x = 1", "print('not run')", ("markdown", "# a")])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        result = await mcp_agent.run(
            edits=[
                {"op": "replace", "cell": "#1", "old": "1", "new": "'漢'"},
                {"op": "write", "cell": "#3", "source": "# b"},
                {"op": "insert", "source": "print(x * 2)", "after": "#1"},
            ]
        )
        assert "漢漢" in result.body
        assert "not run" not in result.body
        assert [state_of(result.body, at) for at in range(2)] == ["ok", "ok"]
        assert result.body.count("\nrun r") == 2
        await ada.wait_for(lambda: printed(ada, 1) == "漢漢\n" and not running(ada, 1))
        refused = await mcp_agent.refused(
            "execute_notebook_code", edits=[{"op": "replace", "cell": "#1", "old": "none", "new": ""}], cells=["#1"]
        )
        assert "Nothing was written." in refused.text
        only_text = await mcp_agent.run(edits=[{"op": "write", "cell": "#3", "source": "# c"}])
        assert "nothing to run" in only_text.body


async def test_what_cannot_be_run_is_refused(mcp_agent: McpAgent, notebook: Notebook) -> None:
    await mcp_agent.setup(await notebook(["a = 1", ("markdown", "# text")]))
    assert "markdown cell" in (await mcp_agent.refused("execute_notebook_code", cells=["#1", "#2"])).text
    assert "Nothing was run." in (await mcp_agent.refused("execute_notebook_code")).text
    both = await mcp_agent.refused("execute_notebook_code", code="1", cells=["#1"])
    assert "Nothing was done." in both.text
    assert "no runs" in (await mcp_agent.query("runs")).body


async def test_a_queued_cell_keeps_its_old_outputs_until_its_turn(
    mcp_agent: McpAgent, jupyter: Server, own_notebook: Notebook, gate: Gate
) -> None:
    path = await own_notebook(["1", "print('old')"])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        await mcp_agent.run(cells=["#2"])
        await mcp_agent.edit({"op": "write", "cell": "#1", "source": "print('on')\n" + gate.code})
        await mcp_agent.run(cells="all", wait_s=0)
        await ada.wait_for(lambda: printed(ada, 0) == "on\n")
        await fence(mcp_agent, ada)
        assert (printed(ada, 1), cell(ada, 1)["execution_count"], running(ada, 1)) == ("old\n", 1, False)
        gate.open()
        await ada.wait_for(lambda: cell(ada, 1)["execution_count"] == 3)


async def test_a_run_outlives_its_call(
    mcp_agent: McpAgent, jupyter: Server, own_notebook: Notebook, gate: Gate
) -> None:
    path = await own_notebook([gate.code + "print('漢')", "print('next')"])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        result = await mcp_agent.run(cells="all", wait_s=0)
        assert [state_of(result.body, at) for at in range(2)] == ["running", "queued"]
        await mcp_agent.edit({"op": "insert", "source": "edited meanwhile"})
        gate.open()
        await ada.wait_for(lambda: printed(ada, 1) == "next\n" and not running(ada, 1))
        assert printed(ada, 0) == "漢\n"
        done = await all_over(mcp_agent)
        assert [state_of(done.body, at) for at in range(2)] == ["ok", "ok"]
        assert done.since == ""  # own runs are never told as somebody's doings


async def test_a_cancelled_call_interrupts_what_it_started(
    mcp_agent: McpAgent, jupyter: Server, own_notebook: Notebook, gate: Gate
) -> None:
    path = await own_notebook(["print('on')\n" + gate.code, "print('never')"])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: mcp_agent.run(cells="all", wait_s=600))
            await ada.wait_for(lambda: printed(ada, 0) == "on\n")
            tasks.cancel_scope.cancel()
        await ada.wait_for(lambda: not running(ada, 0))
        assert cell(ada, 0)["outputs"][-1]["ename"] == "KeyboardInterrupt"
        done = await all_over(mcp_agent)
        assert [state_of(done.body, at) for at in range(2)] == ["error", "aborted"]
        assert cell(ada, 1)["execution_count"] is None


# Code aside.


async def test_code_aside_leaves_no_trace_but_its_names(
    mcp_agent: McpAgent, jupyter: Server, page: Rest, own_notebook: Notebook
) -> None:
    path = await own_notebook(["40 + 2"])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        await mcp_agent.run(cells=["#1"])
        await ada.wait_for(lambda: cell(ada, 0)["execution_count"] == 1)
        before = ada.document()
        async with page_on(jupyter, page, path) as mine:
            expressions = {
                "count": "get_ipython().execution_count",
                "last": "_",
                "inputs": "In",
                "outputs": "Out",
                "history": "list(get_ipython().history_manager.get_range())",
            }
            trace = await mine.values(**expressions)
            assert (trace["count"], trace["last"]) == ("2", "42")
            result = await mcp_agent.run(code="kept = '漢😀'\nprint('aside')\nkept * 2")
            assert result.body.splitlines()[0].startswith("run r2 aside [ ] ok ")
            assert "[stdout]\naside\n[result]\n'漢😀漢😀'" in result.body
            figure = await mcp_agent.run(code="import matplotlib.pyplot as plt\nplt.plot([1, 3, 2]);")
            assert [mime for mime, _ in figure.images] == ["image/png"]
            failed = await mcp_agent.run(code="print('first')\n1 / 0")
            assert state_of(failed.body) == "error"
            assert "ZeroDivisionError" in failed.body
            raised = await mcp_agent.run(code="raise ValueError('漢')\n2")
            assert (state_of(raised.body), "error ValueError: 漢" in raised.body) == ("error", True)
            broken = await mcp_agent.run(code="1 +")
            assert (state_of(broken.body), "SyntaxError" in broken.body) == ("error", True)
            nothing = await mcp_agent.run(code="None")
            assert "no output" in nothing.body
            assert await mine.values(**expressions) == trace
            assert await mine.values(kept="kept") == {"kept": "'漢😀'"}
        await fence(mcp_agent, ada)
        assert ada.document()["cells"][:-1] == before["cells"]


# The human meanwhile.


async def test_a_cell_that_is_deleted_while_it_runs_ends_quietly(
    mcp_agent: McpAgent, jupyter: Server, own_notebook: Notebook, gate: Gate
) -> None:
    path = await own_notebook(["print('on')\n" + gate.code + "print('end')", "print('next')"])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        await mcp_agent.run(cells="all", wait_s=0)
        await ada.wait_for(lambda: printed(ada, 0) == "on\n")
        await ada.delete_cell(0)
        await mcp_agent.sees(ada)
        gate.open()
        done = await all_over(mcp_agent)
        assert [state_of(done.body, at) for at in range(2)] == ["ok", "ok"]
        assert "on\nend\n" in done.body
        assert "the cell was deleted while it ran" in done.body
        await ada.wait_for(lambda: printed(ada, 0) == "next\n" and not running(ada, 0))
        assert len(ada.sources()) == 1


async def test_a_cell_that_is_made_markdown_while_it_runs_is_a_plain_markdown_cell(
    mcp_agent: McpAgent, jupyter: Server, own_notebook: Notebook, gate: Gate
) -> None:
    """A count, or a state, in a markdown cell is what no page has, and what none would take out again."""
    path = await own_notebook(["print('on')\n" + gate.code + "print('end')"])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        await mcp_agent.run(cells="all", wait_s=0)
        await ada.wait_for(lambda: printed(ada, 0) == "on\n")
        plain = {"id": ada.ids()[0], "cell_type": "markdown", "metadata": {}, "source": ada.source(0)}
        with ada.notebook.ydoc.transaction():  # as a page does it
            del ada.notebook.ycells[0]
            ada.notebook.ycells.insert(0, ada.notebook.create_ycell(dict(plain)))
        await mcp_agent.hears(lambda: mcp_agent.peer().view.cells[0].type == "markdown")
        gate.open()
        done = await all_over(mcp_agent)
        assert state_of(done.body) == "ok"
        assert "the cell was made markdown while it ran; its outputs are in this answer only" in done.body
        assert "on\nend\n" in done.body
        await mcp_agent.edit({"op": "insert", "source": "behind it"})  # all that came before it is here then
        await ada.wait_for(lambda: len(ada.ids()) == 2)
        assert {key: value for key, value in cell(ada, 0).items() if value != {}} == {
            key: value for key, value in plain.items() if value != {}
        }


async def test_a_cell_that_is_moved_while_it_runs_keeps_getting_its_outputs(
    mcp_agent: McpAgent, jupyter: Server, own_notebook: Notebook, gate: Gate
) -> None:
    path = await own_notebook(["print('on')\n" + gate.code + "print('end')", "other"])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        await mcp_agent.run(cells=["#1"], wait_s=0)
        await ada.wait_for(lambda: printed(ada, 0) == "on\n")
        await ada.move_cell(0, 1)
        assert not running(ada, 1)  # Yjs cannot move: this is another cell with the same id
        await ada.wait_for(lambda: running(ada, 1) and printed(ada, 1) == "on\n")
        gate.open()
        await ada.wait_for(lambda: cell(ada, 1)["execution_count"] == 1)
        assert (printed(ada, 1), running(ada, 1)) == ("on\nend\n", False)
        assert len(cell(ada, 1)["outputs"]) == 1
        assert "ok" in (await mcp_agent.query("runs", wait_s=30)).body


async def test_a_cell_that_is_edited_while_it_runs_is_told(
    mcp_agent: McpAgent, jupyter: Server, own_notebook: Notebook, gate: Gate
) -> None:
    path = await own_notebook([gate.code + "print('end')"])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        await mcp_agent.run(cells=["#1"], wait_s=0)
        await ada.type(0, "  # 漢😀")
        await mcp_agent.sees(ada)
        gate.open()
        done = await mcp_agent.query("runs", wait_s=30)
        assert "the cell's text was changed while it ran" in done.body
        await ada.wait_for(lambda: printed(ada, 0) == "end\n" and not running(ada, 0))
        assert ada.source(0).endswith("  # 漢😀")


async def test_outputs_that_the_human_clears_while_it_runs_stay_cleared(
    mcp_agent: McpAgent, jupyter: Server, own_notebook: Notebook, gate: Gate
) -> None:
    path = await own_notebook(["print('before')\n" + gate.code + "print('after')"])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        await mcp_agent.run(cells=["#1"], wait_s=0)
        await ada.wait_for(lambda: printed(ada, 0) == "before\n")
        refused = await mcp_agent.edit_refused({"op": "clear", "cells": ["#1"]})
        assert "is running" in refused.text
        ada.notebook.ycells[0]["outputs"].clear()
        cleared = mcp_agent.peer().view.cells[0].id
        await mcp_agent.hears(lambda: not mcp_agent.peer().outputs(cleared))
        gate.open()
        await ada.wait_for(lambda: not running(ada, 0))
        assert printed(ada, 0) == "after\n"
        assert "its outputs were cleared while it ran" in (await mcp_agent.query("runs")).body


async def test_a_busy_kernel_is_told_on_opening(
    mcp_agent: McpAgent, jupyter: Server, page: Rest, own_notebook: Notebook, gate: Gate
) -> None:
    path = await own_notebook(["1"])
    async with page_on(jupyter, page, path) as mine, mcp_agent_on(jupyter) as first:
        await first.setup(path)
        human_run = mine.run(gate.code)
        await until_foreign(first)
        opened = await mcp_agent.setup(path)  # it has not seen that code begin
        assert "kernel: starting, or busy with what began before you came" in opened.text
        assert "kernel: busy with code of ada" in (await first.setup(path)).text
        queued = await mcp_agent.run(cells=["#1"], wait_s=0)
        assert state_of(queued.body) == "queued"
        gate.open()
        assert await mine.ends(human_run) == "ok"
        assert "[result]\n1" in (await mcp_agent.query("runs", wait_s=30)).body


async def test_what_began_before_the_agent_came_is_not_said_to_be_the_only_humans(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    path = await notebook(["1"])
    async with Human.join_server(jupyter, path):
        await mcp_agent.setup(path)
        await mcp_agent.hears(lambda: any(not peer.is_agent for peer in mcp_agent.peer().peers))
        assert mcp_agent.peer().who_runs(ForeignRun("1", "x", None, 0.0)) == "Ada"
        assert mcp_agent.peer().who_runs(ForeignRun("", None, None, 0.0)) == "somebody before you (or its own start)"


async def test_the_agents_cells_wait_for_the_humans_code_and_are_never_interrupted_with_it(
    mcp_agent: McpAgent, jupyter: Server, page: Rest, own_notebook: Notebook, gate: Gate
) -> None:
    path = await own_notebook(["mine", "x = 'agent'\nx", "1"])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        async with page_on(jupyter, page, path) as mine:
            human_run = mine.run(gate.code + "x = 'human'")
            await until_foreign(mcp_agent)
            result = await mcp_agent.run(cells=["#2", "#3"], wait_s=0)
            assert [state_of(result.body, at) for at in range(2)] == ["queued", "queued"]
            assert "waits until the code of Ada has ended" in result.body
            assert not running(ada, 1)
            # An interrupt takes back what is queued, and touches nothing of the human's.
            dropped = await mcp_agent.run(action="interrupt")
            assert [state_of(dropped.body, at) for at in range(2)] == ["aborted", "aborted"]
            refused = await mcp_agent.refused("execute_notebook_code", action="restart")
            assert "running code of Ada" in refused.text
            await mcp_agent.run(cells=["#2"], wait_s=0)
            gate.open()
            assert await mine.ends(human_run) == "ok"
            assert "[result]\n'agent'" in (await mcp_agent.query("runs", wait_s=30)).body
            nothing = await mcp_agent.run(action="interrupt")
            assert "nothing was interrupted" in nothing.body


async def test_two_agents_wait_for_each_other_and_interrupt_only_themselves(
    mcp_agent: McpAgent, jupyter: Server, own_notebook: Notebook, gate: Gate
) -> None:
    path = await own_notebook([gate.code + "x = 'goose'", "x"])
    async with Human.join_server(jupyter, path) as ada, mcp_agent_on(jupyter, name="Cursor") as cursor:
        await mcp_agent.setup(path)
        await cursor.setup(path)
        await mcp_agent.run(cells=["#1"], wait_s=0)
        await until_foreign(cursor)
        await cursor.hears(lambda: cursor.peer().view.cells[0].running)
        queued = await cursor.run(cells=["#2"], wait_s=0)
        assert state_of(queued.body) == "queued"
        assert "waits until the code of Goose (cell " in queued.body
        refused = await cursor.refused("execute_notebook_code", cells=["#1"])
        assert "is being run by Goose" in refused.text
        dropped = await cursor.run(action="interrupt")
        assert state_of(dropped.body) == "aborted"
        await cursor.run(cells=["#2"], wait_s=0)
        gate.open()
        assert state_of((await mcp_agent.query("runs", wait_s=30)).body) == "ok"
        assert "[result]\n'goose'" in (await cursor.query("runs", wait_s=30)).body
        await ada.wait_for(lambda: cell(ada, 1)["execution_count"] == 2)


async def test_an_interrupt_stops_the_agents_own_run(
    mcp_agent: McpAgent, jupyter: Server, own_notebook: Notebook, gate: Gate
) -> None:
    path = await own_notebook(["print('on')\n" + gate.code, "2"])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        await mcp_agent.run(cells="all", wait_s=0)
        await ada.wait_for(lambda: printed(ada, 0) == "on\n")
        result = await mcp_agent.run(action="interrupt")
        assert [state_of(result.body, at) for at in range(2)] == ["error", "aborted"]
        assert "KeyboardInterrupt" in result.body
        await ada.wait_for(lambda: not running(ada, 0))
        assert cell(ada, 0)["execution_count"] == 1


async def test_a_cell_that_the_human_is_running_is_not_run_again(
    mcp_agent: McpAgent, jupyter: Server, page: Rest, own_notebook: Notebook, gate: Gate
) -> None:
    path = await own_notebook([gate.code + "y = 1", "2"])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        async with page_on(jupyter, page, path) as mine:
            await ada.mark_running(0, True)
            human_run = mine.run(ada.source(0))
            await until_foreign(mcp_agent)
            await mcp_agent.hears(lambda: mcp_agent.peer().view.cells[0].running)
            refused = await mcp_agent.refused("execute_notebook_code", cells=["#2", "#1"])
            short = ada.ids()[0][:4]
            assert f"is being run by Ada (cell {short}) right now. Nothing was run." in refused.text
            gate.open()
            assert await mine.ends(human_run) == "ok"
            await ada.mark_running(0, False, 1)
            await mcp_agent.hears(lambda: not mcp_agent.peer().view.cells[0].running)
            assert state_of((await mcp_agent.run(cells=["#1"])).body) == "ok"


async def test_a_cell_left_at_running_by_a_closed_page_can_be_run(
    mcp_agent: McpAgent, jupyter: Server, own_notebook: Notebook
) -> None:
    path = await own_notebook(["5"])
    async with Human.join_server(jupyter, path) as ada:
        await ada.mark_running(0, True)
    await mcp_agent.setup(path)
    assert "[*]" in (await mcp_agent.query()).body
    assert "[result]\n5" in (await mcp_agent.run(cells=["#1"])).body


async def test_whoever_runs_the_agents_cell_anew_owns_its_outputs(
    mcp_agent: McpAgent, jupyter: Server, own_notebook: Notebook, gate: Gate
) -> None:
    path = await own_notebook(["print('on')\n" + gate.code + "print('end')"])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        await mcp_agent.run(cells=["#1"], wait_s=0)
        await ada.wait_for(lambda: printed(ada, 0) == "on\n")
        with ada.notebook.ydoc.transaction():  # JupyterLab does not block a second run
            ada.notebook.ycells[0]["outputs"].clear()
            ada.notebook.ycells[0]["execution_state"] = "idle"
        await ada.mark_running(0, True)
        mine = mcp_agent.peer().view.cells[0].id
        await mcp_agent.hears(lambda: not mcp_agent.peer().outputs(mine))
        gate.open()
        done = await mcp_agent.query("runs", wait_s=30)
        assert "somebody else ran the cell meanwhile" in done.body
        await fence(mcp_agent, ada)
        assert (printed(ada, 0), running(ada, 0)) == ("", True)


async def test_a_queued_run_of_a_cell_that_the_human_runs_first_is_written_when_its_turn_comes(
    mcp_agent: McpAgent, jupyter: Server, page: Rest, own_notebook: Notebook, gate: Gate
) -> None:
    path = await own_notebook(["print('漢')"])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        async with page_on(jupyter, page, path) as mine:
            other = mine.run(gate.code)
            await until_foreign(mcp_agent)
            await mcp_agent.run(cells=["#1"], wait_s=0)
            await ada.mark_running(0, True)  # behind the code that runs already
            human_run = mine.run(ada.source(0))
            await mcp_agent.hears(lambda: mcp_agent.peer().view.cells[0].running)
            gate.open()
            assert (await mine.ends(other), await mine.ends(human_run)) == ("ok", "ok")
            await ada.mark_running(0, False, 2)
        assert "ok" in (await mcp_agent.query("runs", wait_s=30)).body
        await ada.wait_for(lambda: printed(ada, 0) == "漢\n" and not running(ada, 0))
        assert cell(ada, 0)["execution_count"] == 3


# Input, death, restart.


async def test_input_is_asked_for_and_answered(mcp_agent: McpAgent, jupyter: Server, own_notebook: Notebook) -> None:
    path = await own_notebook(["name = input('who? ')\nprint('hello', name)", "print(name)"])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        asked = await mcp_agent.run(cells=["#1"], wait_s=600)  # returns as soon as the kernel asks
        assert "it asks for input: who?" in asked.body
        assert 'action="reply"' in asked.body
        behind = await mcp_agent.run(cells=["#2"], wait_s=600)
        assert state_of(behind.body) == "queued"
        assert "r1" in behind.body
        assert 'action="reply"' in behind.body
        answered = await mcp_agent.run(action="reply", reply="漢 Ada 😀")
        assert "hello 漢 Ada 😀" in answered.body
        await ada.wait_for(lambda: printed(ada, 1) == "漢 Ada 😀\n" and not running(ada, 1))
        nobody = await mcp_agent.run(action="reply", reply="x")
        assert "nothing was sent" in nobody.body
        await mcp_agent.run(cells=["#1"], wait_s=600)
        interrupted = await mcp_agent.run(action="interrupt")
        assert state_of(interrupted.body) == "error"
        await ada.wait_for(lambda: not running(ada, 0))


async def test_of_many_runs_the_one_that_failed_is_shown(mcp_agent: McpAgent, own_notebook: Notebook) -> None:
    path = await own_notebook(["'漢' * 50"] * 150 + ["1 / 0"] + ["2"] * 150)
    await mcp_agent.setup(path)
    result = await mcp_agent.run(cells="all", wait_s=600)
    assert "ZeroDivisionError" in result.body
    assert "run r151 " in result.body
    assert "144 more ok" in result.body
    assert "144 more aborted" in result.body
    result = await mcp_agent.run(cells="#152:", wait_s=600)
    assert "144 more ok" in result.body


async def test_a_kernel_that_dies_leaves_no_cell_running_and_the_next_result_says_what_is_lost(
    mcp_agent: McpAgent, jupyter: Server, own_notebook: Notebook
) -> None:
    path = await own_notebook(["x = 1", "print('last words', flush=True)\nimport os; os._exit(1)", "x"])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        result = await mcp_agent.run(cells="all")
        assert [state_of(result.body, at) for at in range(3)] == ["ok", "died", "aborted"]
        assert "its variables are gone" in result.body
        assert "all variables are gone" in result.since
        await fence(mcp_agent, ada)
        assert not any(running(ada, at) for at in range(3))
        assert [cell(ada, at)["execution_count"] for at in range(3)] == [1, 2, None]
        after = await mcp_agent.run(cells=["#3"])  # on the kernel's successor
        assert "error NameError" in after.body
        assert after.since == ""


async def test_a_restart_says_what_is_lost(mcp_agent: McpAgent, jupyter: Server, own_notebook: Notebook) -> None:
    path = await own_notebook(["x = 1", "x"])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        await mcp_agent.run(cells=["#1"])
        result = await mcp_agent.run(action="restart")
        assert "all variables, imports and definitions are gone" in result.body
        assert result.since == ""
        assert "error NameError" in (await mcp_agent.run(cells=["#2"])).body
        await ada.wait_for(lambda: not running(ada, 1) and cell(ada, 1)["execution_count"] == 1)


async def test_a_restart_by_the_human_is_told(
    mcp_agent: McpAgent, jupyter: Server, page: Rest, own_notebook: Notebook
) -> None:
    path = await own_notebook(["x"])
    await mcp_agent.setup(path)
    kernel = kernel_of(mcp_agent)
    gone = anyio.Event()
    kernel.on_life(lambda _event: gone.set())
    await page.send("POST", f"api/kernels/{kernel_of(mcp_agent).kernel_id}/restart")
    with anyio.fail_after(DEADLINE_S):
        await gone.wait()
    assert "the kernel was restarted: all variables are gone" in (await mcp_agent.query()).since
    assert (await mcp_agent.query()).since == ""
