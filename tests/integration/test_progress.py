"""While a call waits, the client's human is told the last line of output."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio

from collab_agent.config import Server
from collab_agent.testing import Human

from .conftest import DEADLINE_S, McpAgent, Notebook, Result, result_of

WAITS = "import pathlib, time\ndef wait(name):\n    while not pathlib.Path(name).exists(): time.sleep(0.005)\n"


class Listener:
    """An MCP client that listens to the progress of its calls."""

    def __init__(self, agent: McpAgent) -> None:
        self._agent = agent
        self._changed = anyio.Event()
        self.told: list[tuple[float, str]] = []
        self.results: list[Result] = []
        self.seconds = 0.0

    async def call(self, tool: str, **arguments: Any) -> None:
        began = anyio.current_time()
        answer = await self._agent.client.call_tool(tool, arguments, progress_callback=self._listen)
        self.seconds = anyio.current_time() - began
        self.results.append(result_of(answer))

    async def _listen(self, progress: float, total: float | None, message: str | None) -> None:
        assert total is None
        assert message is not None
        self.told.append((progress, message))
        self._changed.set()
        self._changed = anyio.Event()

    async def hears(self, message: str) -> None:
        """Wait until it is told this."""
        await self._until(lambda: any(told == message for _, told in self.told))

    async def _until(self, reached: Callable[[], bool]) -> None:
        with anyio.fail_after(DEADLINE_S):
            while not reached():
                await self._changed.wait()

    def assert_growing(self) -> None:
        """MCP: the progress value must increase with each notification."""
        values = [value for value, _ in self.told]
        assert values == sorted(set(values))


async def test_the_last_line_of_output_is_reported_while_a_call_waits(
    mcp_agent: McpAgent, own_notebook: Notebook, tmp_path: Path
) -> None:
    path = await own_notebook(
        [
            f"{WAITS}wait({str(tmp_path / '0')!r})",
            f"print('Epoch 1\\n\\x1b[32mEpoch 2\\x1b[0m\\n')\nwait({str(tmp_path / '1')!r})\n"
            f"print('10 %\\r20 %', end='')\nwait({str(tmp_path / '2')!r})\n"
            f"display({{'text/latex': '$x$', 'text/plain': '<x>'}}, raw=True)\nwait({str(tmp_path / '3')!r})",
        ]
    )
    await mcp_agent.setup(path)
    first, second = (
        mcp_agent.peer().seen.short(cell.id, mcp_agent.peer().view) for cell in mcp_agent.peer().view.cells
    )
    client = Listener(mcp_agent)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: client.call("execute_notebook_code", cells="all", wait_s=600))
        await client.hears(f"{first}, 1 of 2: running, no output yet")
        (tmp_path / "0").touch()
        await client.hears(f"{second}, 2 of 2: Epoch 2")
        (tmp_path / "1").touch()
        await client.hears(f"{second}, 2 of 2: 20 %")
        (tmp_path / "2").touch()
        await client.hears(f"{second}, 2 of 2: text/latex: $x$")
        (tmp_path / "3").touch()
    assert not client.results[0].is_error
    client.assert_growing()


async def test_reports_come_at_most_twice_a_second(mcp_agent: McpAgent, own_notebook: Notebook, tmp_path: Path) -> None:
    busy = (
        f"import pathlib\nn = 0\nwhile not pathlib.Path({str(tmp_path / 'go')!r}).exists():\n    n += 1\n    print(n)"
    )
    await mcp_agent.setup(await own_notebook([busy]))
    client = Listener(mcp_agent)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: client.call("execute_notebook_code", cells="all", wait_s=600))
        await client._until(lambda: len(client.told) >= 3)
        (tmp_path / "go").touch()
    assert 3 <= len(client.told) <= 2 * client.seconds
    client.assert_growing()


async def test_waiting_for_runs_and_for_what_follows_a_reply_is_reported_too(
    mcp_agent: McpAgent, jupyter: Server, own_notebook: Notebook, tmp_path: Path
) -> None:
    path = await own_notebook(
        [f"{WAITS}print(input('name? '))\nwait({str(tmp_path / '1')!r})\nprint('later')\nwait({str(tmp_path / '2')!r})"]
    )
    async with Human.join_server(jupyter, path):
        await mcp_agent.setup(path)
        name = mcp_agent.peer().seen.short(mcp_agent.peer().view.cells[0].id, mcp_agent.peer().view)
        asked = await mcp_agent.run(cells="all", wait_s=600)
        assert "asks for input" in asked.body
        answering, waiting = Listener(mcp_agent), Listener(mcp_agent)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: answering.call("execute_notebook_code", action="reply", reply="Ada", wait_s=600))
            await answering.hears(f"{name}: Ada")
            tasks.start_soon(lambda: waiting.call("query_notebook", query="runs", wait_s=600))
            (tmp_path / "1").touch()
            await answering.hears(f"{name}: later")
            await waiting.hears(f"{name}: later")
            (tmp_path / "2").touch()
        for client in (answering, waiting):
            assert " ok " in client.results[0].body
            client.assert_growing()
