"""Every message of the protocol, from a real kernel into the document that the human sees."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from collab_agent.config import Limits, Server
from collab_agent.testing import Human

from .conftest import DEADLINE_S, McpAgent, Notebook, Rest, fence, mcp_agent_on
from .test_runs import Gate, cell, kernel_of, page_on, printed, running, state_of


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "go")


def shown(human: Human, at: int) -> list[Any]:
    """A cell's outputs in brief: a stream as (name, text), an error as its name, else the plain text."""
    brief: list[Any] = []
    for output in cell(human, at)["outputs"]:
        match output["output_type"]:
            case "stream":
                brief.append((output["name"], str(output["text"])))
            case "error":
                brief.append(output["ename"])
            case _:
                brief.append(output["data"]["text/plain"])
    return brief


# Replies.


async def test_code_that_is_proposed_becomes_a_new_cell_below(
    mcp_agent: McpAgent, jupyter: Server, own_notebook: Notebook
) -> None:
    path = await own_notebook(["get_ipython().set_next_input('x = \"漢😀\"')", "last = 1"])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        result = await mcp_agent.run(cells=["#1"])
        await ada.wait_for(lambda: len(ada.sources()) == 3 and not running(ada, 0))
        assert ada.sources()[1:] == ['x = "漢😀"', "last = 1"]
        assert f"a new cell below, {ada.ids()[1][:4]}" in result.body
        assert result.since == ""
        aside = await mcp_agent.run(code="get_ipython().set_next_input('y = 1')")
        assert "it proposes code for a new cell, which was not inserted:\ny = 1" in aside.body
        await fence(mcp_agent, ada)
        assert len(ada.sources()) == 4


async def test_code_that_replaces_the_cell_does_so_unless_somebody_changed_it(
    mcp_agent: McpAgent, jupyter: Server, own_notebook: Notebook, gate: Gate
) -> None:
    replacing = "get_ipython().set_next_input('loaded = 1', replace=True)"
    path = await own_notebook([replacing, gate.code + replacing])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        before = ada.ids()
        result = await mcp_agent.run(cells=["#1"])
        await ada.wait_for(lambda: ada.source(0) == "loaded = 1")
        assert "it replaced the cell's own text" in result.body
        assert ada.ids() == before
        await mcp_agent.run(cells=["#2"], wait_s=0)
        await ada.type(1, "  # mine")
        await mcp_agent.sees(ada)
        gate.open()
        done = await mcp_agent.query("runs", wait_s=30)
        await ada.wait_for(lambda: len(ada.sources()) == 3)
        assert ada.source(1).endswith("  # mine")
        assert ada.source(2) == "loaded = 1"
        assert "the cell itself was changed meanwhile" in done.body


async def test_a_pager_is_an_output(mcp_agent: McpAgent, jupyter: Server, own_notebook: Notebook) -> None:
    path = await own_notebook(['def f():\n    "Doc 漢."\nf?'])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        assert "Doc 漢." in (await mcp_agent.run(cells=["#1"])).body
        await ada.wait_for(lambda: cell(ada, 0)["execution_count"] == 1)
        (output,) = cell(ada, 0)["outputs"]
        assert output["output_type"] == "display_data"
        assert "Doc 漢." in output["data"]["text/plain"]
        assert "Doc 漢." in (await mcp_agent.run(code="f?")).body


# Displays, clearing, streams, errors.


async def test_a_display_is_updated_by_whoever_does_it(
    mcp_agent: McpAgent, jupyter: Server, page: Rest, own_notebook: Notebook
) -> None:
    make = "from IPython.display import display\nh = display('one', display_id='d漢')"
    path = await own_notebook([make, "h.update('two')\nprint('side')", "other = display('again', display_id='d漢')"])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        await mcp_agent.run(cells=["#1"])
        await ada.wait_for(lambda: shown(ada, 0) == ["'one'"] and not running(ada, 0))
        assert "transient" not in cell(ada, 0)["outputs"][0]
        await mcp_agent.run(cells=["#2"])  # from another cell
        await ada.wait_for(lambda: shown(ada, 0) == ["'two'"] and shown(ada, 1) == [("stdout", "side\n")])
        await mcp_agent.run(code="h.update('three')")  # from code aside
        await ada.wait_for(lambda: shown(ada, 0) == ["'three'"])
        async with page_on(jupyter, page, path) as mine:
            assert await mine.ends(mine.run("h.update('four')")) == "ok"  # from the human's
        await ada.wait_for(lambda: shown(ada, 0) == ["'four'"])
        async with mcp_agent_on(jupyter, name="cursor") as cursor:
            await cursor.setup(path)
            await cursor.run(code="h.update('five')")  # from another agent
            await ada.wait_for(lambda: shown(ada, 0) == ["'five'"])
        await mcp_agent.run(cells=["#3"])  # the same display in a second cell
        await mcp_agent.run(code="h.update('six')")
        await ada.wait_for(lambda: shown(ada, 0) == shown(ada, 2) == ["'six'"])
        await ada.wait_for(lambda: not any(running(ada, at) for at in range(3)))


async def test_what_a_run_updates_elsewhere_is_there_when_it_has_ended(jupyter: Server, notebook: Notebook) -> None:
    path = await notebook(["h = display('one', display_id=True)", "h.update('two')"])
    async with mcp_agent_on(jupyter, limits=Limits(flush_s=3_600)) as goose:
        await goose.setup(path)
        await goose.run(cells="all")
        assert "'two'" in (await goose.query("outputs", cells=["#1"])).body
        await goose.run(code="h.update('three')")
        assert "'three'" in (await goose.query("outputs", cells=["#1"])).body


async def test_outputs_are_cleared_at_once_or_with_the_next_one(
    mcp_agent: McpAgent, jupyter: Server, own_notebook: Notebook, gate: Gate
) -> None:
    path = await own_notebook(
        [
            "from IPython.display import clear_output\nprint('a')\nclear_output()\n" + gate.code,
            "print('b')\nclear_output(wait=True)\n" + gate.code + "print('c')",
        ]
    )
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        gate.open()
        await mcp_agent.run(cells=["#1"])
        await ada.wait_for(lambda: cell(ada, 0)["execution_count"] == 1)
        assert shown(ada, 0) == []
        gate.file.unlink()
        await mcp_agent.run(cells=["#2"], wait_s=0)
        await ada.wait_for(lambda: printed(ada, 1) == "b\n")
        await fence(mcp_agent, ada)
        assert shown(ada, 1) == [("stdout", "b\n")]
        gate.open()
        await ada.wait_for(lambda: shown(ada, 1) == [("stdout", "c\n")] and not running(ada, 1))


async def test_streams_with_returns_and_backspaces_beside_each_other(
    mcp_agent: McpAgent, jupyter: Server, own_notebook: Notebook
) -> None:
    bar = "import sys\nfor n in range(101):\n    print(f'\\r漢 {n}%', end='', flush=True)\nprint()\n"
    path = await own_notebook([bar + "print('abc\\b\\bX')\nprint('bad', file=sys.stderr)\nprint('end')"])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        result = await mcp_agent.run(cells=["#1"])
        assert "\r" not in result.text
        assert "漢 99%" not in result.text
        await ada.wait_for(lambda: cell(ada, 0)["execution_count"] == 1)
        text = "".join(str(part["text"]) for part in cell(ada, 0)["outputs"] if part["name"] == "stdout")
        assert text.startswith("漢 100%\naX")
        assert text.endswith("end\n")
        assert ("stderr", "bad\n") in shown(ada, 0)


async def test_output_after_idle_lands_in_the_cell_that_began_it(
    mcp_agent: McpAgent, jupyter: Server, own_notebook: Notebook, gate: Gate
) -> None:
    wait = f"pathlib.Path({str(gate.file)!r}).exists()"
    thread = (
        "import pathlib, threading, time\nfrom IPython.display import display\ndef late():\n"
        f"    while not {wait}: time.sleep(0.01)\n    print('from a thread')\n"
        "threading.Thread(target=late).start()\nprint('now')"
    )
    task = (
        "import asyncio\nasync def later():\n"
        f"    while not {wait}: await asyncio.sleep(0.01)\n    print('from a task')\n    display('漢')\n"
        "task = asyncio.create_task(later())"
    )
    path = await own_notebook([thread, task, "'other'"])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        # ipykernel 7 gives a thread's output to the request that began last, a task's to the one that began it.
        assert "now" in (await mcp_agent.run(cells=["#1"])).body
        await mcp_agent.query("inspect", pattern="late")  # a request, but no code of anybody's
        await ada.wait_for(lambda: shown(ada, 0) == [("stdout", "now\n")] and not running(ada, 0))
        gate.open()
        await ada.wait_for(lambda: shown(ada, 0) == [("stdout", "now\nfrom a thread\n")])
        gate.file.unlink()
        result = await mcp_agent.run(cells=["#2", "#3"])
        assert [state_of(result.body, at) for at in range(2)] == ["ok", "ok"]
        await ada.wait_for(lambda: cell(ada, 2)["execution_count"] == 3)
        assert shown(ada, 1) == []
        gate.open()
        await ada.wait_for(lambda: shown(ada, 1) == [("stdout", "from a task\n"), "'漢'"])
        assert shown(ada, 2) == ["'other'"]
        assert not any(running(ada, at) for at in range(3))


async def test_an_error_has_its_colours_on_the_page_only(
    mcp_agent: McpAgent, jupyter: Server, own_notebook: Notebook
) -> None:
    path = await own_notebook(["def f():\n    return 1 / 0\nf()"])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        result = await mcp_agent.run(cells=["#1"])
        assert "error ZeroDivisionError: division by zero" in result.body
        await ada.wait_for(lambda: cell(ada, 0)["execution_count"] == 1)
        (error,) = cell(ada, 0)["outputs"]
        assert "\x1b[" in "".join(error["traceback"])


async def test_what_was_answered_to_input_is_seen_but_a_password(
    mcp_agent: McpAgent, jupyter: Server, own_notebook: Notebook
) -> None:
    path = await own_notebook(
        [
            "print('on')\nname = input('who? ')\nprint('hello', name)",
            "import getpass\nlength = len(getpass.getpass('Password: '))",
        ]
    )
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        await mcp_agent.run(cells=["#1"], wait_s=600)
        answered = await mcp_agent.run(action="reply", reply="漢 Ada 😀")
        assert "who? 漢 Ada 😀" in answered.body
        await ada.wait_for(lambda: cell(ada, 0)["execution_count"] == 1)
        # JupyterLab gives it a stream of its own, "so it does not get combined with stdout".
        assert shown(ada, 0) == [("stdout", "on\n"), ("stdin", "who? 漢 Ada 😀\n"), ("stdout", "hello 漢 Ada 😀\n")]
        asked = await mcp_agent.run(cells=["#2"], wait_s=600)
        assert "asks for input: Password:" in asked.body
        answered = await mcp_agent.run(action="reply", reply="hunter2")
        assert "hunter2" not in answered.text
        await ada.wait_for(lambda: cell(ada, 1)["execution_count"] == 2)
        assert shown(ada, 1) == [("stdin", "Password: ········\n")]
        assert "\n7" in (await mcp_agent.run(code="length")).body
        await mcp_agent.ok("setup_notebook", action="save")


# The kernel goes while the agent's cell runs.


async def _restart(page: Rest, _path: str, kernel: str) -> None:
    await page.send("POST", f"api/kernels/{kernel}/restart")


async def _replace(page: Rest, path: str, _kernel: str) -> None:
    (session,) = await page.sessions(path)
    await page.send("PATCH", f"api/sessions/{session['id']}", json={"kernel": {"name": "python3"}})


async def _delete_session(page: Rest, path: str, _kernel: str) -> None:
    (session,) = await page.sessions(path)
    await page.send("DELETE", f"api/sessions/{session['id']}")


async def _delete_kernel(page: Rest, _path: str, kernel: str) -> None:
    await page.send("DELETE", f"api/kernels/{kernel}")  # what culling does, too


def is_stopped(process: str) -> bool:
    """Whether this process is halted by a signal."""
    return Path("/proc", process, "stat").read_text().rpartition(") ")[2].startswith("T")


LOSSES = [_restart, _replace, _delete_session, _delete_kernel]


@pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: lose.__name__.strip("_"))
async def test_a_kernel_that_goes_while_a_cell_runs_is_told_and_the_next_run_has_a_new_one(
    mcp_agent: McpAgent,
    jupyter: Server,
    page: Rest,
    own_notebook: Notebook,
    gate: Gate,
    lose: Callable[[Rest, str, str], Awaitable[None]],
) -> None:
    path = await own_notebook(["kept = 1\nprint('on')\n" + gate.code, "2", "kept"])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        await mcp_agent.run(cells=["#1", "#2"], wait_s=0)
        await ada.wait_for(lambda: printed(ada, 0) == "on\n")
        before = kernel_of(mcp_agent).kernel_id
        await lose(page, path, before)
        done = await mcp_agent.query("runs", wait_s=DEADLINE_S)
        assert [state_of(done.body, at) for at in range(2)] == ["died", "aborted"]
        assert "its variables are gone" in done.body
        assert "all variables are gone" in done.since
        await ada.wait_for(lambda: not any(running(ada, at) for at in range(3)))
        after = await mcp_agent.run(cells=["#3"])
        assert "error NameError" in after.body
        (session,) = await page.sessions(path)
        assert kernel_of(mcp_agent).kernel_id == session["kernel"]["id"]
        assert after.since == ""


async def test_a_kernel_that_goes_in_silence_is_missed(
    mcp_agent: McpAgent, jupyter: Server, page: Rest, own_notebook: Notebook, gate: Gate
) -> None:
    stuck = f"import os, signal\nprint(os.getpid())\n{gate.code}os.kill(os.getpid(), signal.SIGSTOP)"
    path = await own_notebook([stuck, "'new'"])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        await mcp_agent.run(cells=["#1"], wait_s=0)
        await ada.wait_for(lambda: printed(ada, 0).endswith("\n"))
        gate.open()
        with anyio.fail_after(DEADLINE_S):
            while not is_stopped(printed(ada, 0).strip()):
                await anyio.lowlevel.checkpoint()  # nobody tells
        await _delete_session(page, path, "")  # the server waits for an answer, and kills it at last
        done = await mcp_agent.query("runs", wait_s=DEADLINE_S)
        assert state_of(done.body) == "died"
        assert "the kernel was shut down: all variables are gone" in done.since
        await ada.wait_for(lambda: not running(ada, 0))
        assert "'new'" in (await mcp_agent.run(cells=["#2"])).body


# Trust.


async def test_cells_that_the_agent_makes_are_trusted_and_no_others(
    mcp_agent: McpAgent, jupyter: Server, notebook: Notebook
) -> None:
    path = await notebook(["1"])
    async with Human.join_server(jupyter, path) as ada:
        await mcp_agent.setup(path)
        await mcp_agent.edit({"op": "insert", "source": "2"}, {"op": "insert", "source": "#", "type": "markdown"})
        await ada.wait_for(lambda: len(ada.sources()) == 3)
        assert [bool(cell(ada, at)["metadata"].get("trusted")) for at in range(3)] == [False, True, False]
        await mcp_agent.ok("setup_notebook", action="save")
    assert jupyter.root_dir is not None
    assert "trusted" not in (Path(jupyter.root_dir) / path).read_text("utf-8")


async def test_trust_can_be_turned_off(jupyter: Server, notebook: Notebook) -> None:
    path = await notebook(["1"])
    async with Human.join_server(jupyter, path) as ada, mcp_agent_on(jupyter, trust_outputs=False) as goose:
        await goose.setup(path)
        await goose.edit({"op": "insert", "source": "2"})
        await ada.wait_for(lambda: len(ada.sources()) == 2)
        assert "trusted" not in cell(ada, 1)["metadata"]
