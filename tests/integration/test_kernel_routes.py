"""The two routes to a kernel, side by side, on a real server: nothing is dropped on the kernel's own sockets."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from collab_agent.config import Server
from collab_agent.kernel import routes
from collab_agent.kernel.client import KernelClient
from collab_agent.kernel.execution import ConnectionGap, Execution, Received
from collab_agent.kernel.observer import KernelBack
from collab_agent.kernel.wire import Message

from .conftest import DEADLINE_S, Notebook, Rest, mcp_agent_on

FIVE_MB = "import sys\nfor i in range(50): print(f'{i:02}' + 'x' * 99_997, flush=True)"
MANY_LINES = "for i in range(10_000): print(i, flush=True)"


@dataclass
class Run:
    """An execution and what it received."""

    client: KernelClient
    code: str
    events: list[Received] = field(default_factory=list)
    changed: anyio.Event = field(default_factory=anyio.Event)

    def __post_init__(self) -> None:
        self.msg_id = self.client.send_execute(self.code, on_message=self._receive)

    @property
    def execution(self) -> Execution:
        return self.client.execution(self.msg_id)

    @property
    def messages(self) -> list[Message]:
        return [event for event in self.events if isinstance(event, Message)]

    @property
    def text(self) -> str:
        return "".join(message.content["text"] for message in self.messages if message.msg_type == "stream")

    def _receive(self, event: Received) -> None:
        self.events.append(event)
        self.changed.set()
        self.changed = anyio.Event()

    async def until(self, reached: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
        with anyio.fail_after(deadline_s):
            while not reached():
                await self.changed.wait()

    async def ends(self, deadline_s: float = DEADLINE_S) -> Execution:
        await self.until(lambda: self.execution.over, deadline_s)
        return self.execution

    async def prints(self, text: str) -> None:
        await self.until(lambda: text in self.text)


async def run(client: KernelClient, code: str, deadline_s: float = DEADLINE_S) -> Run:
    run = Run(client, code)
    await run.ends(deadline_s)
    return run


@pytest.fixture
def far_server(jupyter: Server) -> Server:
    """The server as one on another machine: there is nothing but its websocket."""
    return replace(jupyter, runtime_dir=None)


@asynccontextmanager
async def direct(server: Server, kernel_id: str) -> AsyncIterator[KernelClient]:
    """A client that uses the kernel's own sockets."""
    async with KernelClient.connect(server, kernel_id) as client:
        await settles(client, "zmq")
        yield client


async def settles(client: KernelClient, route: str) -> None:
    with anyio.fail_after(DEADLINE_S):
        assert await client.route_settled() == route


@pytest.fixture
async def own_kernel(page: Rest) -> AsyncIterator[str]:
    """A kernel that the test may destroy."""
    kernel_id = await page.start_kernel()
    yield kernel_id
    await page.client.delete(f"api/kernels/{kernel_id}")


@pytest.fixture
def gate(tmp_path: Path) -> Any:
    """``gate.code`` runs until ``gate.open()``."""

    class Gate:
        code = (
            f"import os, time\nprint('waiting', flush=True)\n"
            f"while not os.path.exists({str(tmp_path / 'gate')!r}): time.sleep(0.005)\n"
        )

        @staticmethod
        def open() -> None:
            (tmp_path / "gate").touch()

    return Gate


# Nothing is dropped.


async def test_five_megabytes_of_output_arrive_whole(jupyter: Server, shared_kernel: str) -> None:
    async with direct(jupyter, shared_kernel) as client:
        loud = await run(client, FIVE_MB)
        assert loud.execution.state == "ok"
        assert loud.text == "".join(f"{i:02}{'x' * 99_997}\n" for i in range(50))


async def test_ten_thousand_lines_arrive_whole(jupyter: Server, shared_kernel: str) -> None:
    async with direct(jupyter, shared_kernel) as client:
        loud = await run(client, MANY_LINES, deadline_s=180)  # the kernel takes a while to print them
        assert loud.text == "".join(f"{i}\n" for i in range(10_000))


async def test_a_big_picture_and_its_buffers_arrive(jupyter: Server, shared_kernel: str) -> None:
    code = "display({'image/png': 'QUJD' * 1_250_000}, raw=True)"
    async with direct(jupyter, shared_kernel) as client:
        shown = await run(client, code)
        [picture] = [m for m in shown.messages if m.msg_type == "display_data"]
        assert picture.content["data"]["image/png"] == "QUJD" * 1_250_000


async def test_what_the_server_dropped_is_said_to_be_missing(far_server: Server, own_notebook: Notebook) -> None:
    # Five megabytes of one line that is written over and over: what is kept is small, and the notice stays in sight.
    overwritten = "for i in range(50): print('x' * 99_999, end='\\r', flush=True)"
    path = await own_notebook([FIVE_MB, overwritten, "print('quiet')"])
    async with mcp_agent_on(far_server) as agent:
        await agent.setup(path)
        for cell in ("#1", "#2"):
            result = await agent.run(cells=[cell])
            assert "the server dropped output that came too fast: what is shown is incomplete" in result.body
        assert "rate exceeded" in (await agent.query("outputs", cells=["#2"], pattern="rate exceeded")).body
        assert "incomplete" not in (await agent.run(cells=["#3"])).body


async def test_nothing_is_missing_where_the_kernel_is_reached_directly(jupyter: Server, own_notebook: Notebook) -> None:
    path = await own_notebook([FIVE_MB])
    async with mcp_agent_on(jupyter) as agent:
        await agent.setup(path)
        kernel = agent.peer().kernel
        assert kernel is not None
        await settles(kernel, "zmq")
        result = await agent.run(cells=["#1"])
        assert "incomplete" not in result.body
        assert "rate exceeded" not in result.body


# The websocket beside it.


async def test_the_kernel_counts_as_connected_and_the_server_keeps_nothing_back(
    jupyter: Server, own_kernel: str, page: Rest
) -> None:
    async with direct(jupyter, own_kernel) as client:
        await run(client, "1")
        assert (await page.send("GET", f"api/kernels/{own_kernel}"))["connections"] == 1
    # What the server had kept back for want of a websocket, the next client would get.
    async with KernelClient.connect(replace(jupyter, runtime_dir=None), own_kernel) as later:
        assert (await run(later, "2")).execution.state == "ok"


async def test_each_message_is_taken_once(jupyter: Server, shared_kernel: str, far_server: Server) -> None:
    async with direct(jupyter, shared_kernel) as client, KernelClient.connect(far_server, shared_kernel) as human:
        told: list[object] = []
        client.on_foreign(told.append)
        theirs = await run(human, "print('theirs')")
        ours = await run(client, "print('ours')")
        await run(human, "1")
        await run(client, "2")  # behind it: what it caused has come on both routes by now, or is of no account
        assert ours.text == "ours\n"
        assert theirs.text == "theirs\n"
        assert [type(event).__name__ for event in told] == ["ForeignRunStarted", "ForeignRunEnded"] * 2


async def test_the_route_does_not_change_in_the_midst_of_a_run(
    jupyter: Server, shared_kernel: str, gate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    proceed, opened = anyio.Event(), anyio.Event()
    open_direct = routes.open_direct

    @asynccontextmanager
    async def open_later(*arguments: Any) -> AsyncIterator[Any]:
        await proceed.wait()
        async with open_direct(*arguments) as link:
            assert link is not None
            opened.set()
            yield link

    monkeypatch.setattr(routes, "open_direct", open_later)
    async with KernelClient.connect(jupyter, shared_kernel) as client:
        during = Run(client, gate.code + "name = input('name? ')\nprint('hello', name)")
        await during.prints("waiting")
        proceed.set()
        with anyio.fail_after(DEADLINE_S):
            await opened.wait()
        assert client.route == "websocket"
        gate.open()
        await during.until(lambda: during.execution.prompt is not None)
        client.send_input_reply("Ada")
        assert (await during.ends()).state == "ok"
        assert during.text == "waiting\nhello Ada\n"
        await settles(client, "zmq")
        assert (await run(client, "print('direct')")).text == "direct\n"


async def test_a_cut_websocket_does_not_touch_a_run(jupyter: Server, shared_kernel: str, gate: Any) -> None:
    async with direct(jupyter, shared_kernel) as client:
        gap = anyio.Event()
        client.on_life(lambda event: gap.set() if event == ConnectionGap() else None)
        during = Run(client, gate.code)
        await during.prints("waiting")
        connection = client._link.connection
        assert connection is not None
        connection.transport.abort()
        with anyio.fail_after(DEADLINE_S):
            await gap.wait()
        gate.open()
        assert (await during.ends()).state == "ok"
        assert not during.execution.gap
        with anyio.fail_after(DEADLINE_S):
            while not client.connected:
                await anyio.lowlevel.checkpoint()
        assert client.route == "zmq"


async def test_a_restart_that_fell_into_the_gap_is_found_out(
    jupyter: Server, own_kernel: str, page: Rest, gate: Any
) -> None:
    async with direct(jupyter, own_kernel) as client:
        proceed, back = anyio.Event(), anyio.Event()
        client.on_life(lambda event: back.set() if event == KernelBack() else None)
        reopen = client._link.open

        async def open_later() -> None:
            await proceed.wait()
            await reopen()

        client._link.open = open_later  # type: ignore[method-assign]
        during = Run(client, gate.code)
        await during.prints("waiting")
        connection = client._link.connection
        assert connection is not None
        connection.transport.abort()
        await page.send("POST", f"api/kernels/{own_kernel}/restart")
        proceed.set()
        assert (await during.ends()).state == "died"
        with anyio.fail_after(DEADLINE_S):
            await back.wait()
        await settles(client, "zmq")
        assert (await run(client, "print('new')")).text == "new\n"


# The process comes and goes.


@pytest.mark.parametrize("end", ["restart", "crash"])
async def test_the_successors_sockets_are_used(jupyter: Server, own_kernel: str, page: Rest, end: str) -> None:
    async with direct(jupyter, own_kernel) as client:
        back = anyio.Event()
        client.on_life(lambda event: back.set() if event == KernelBack() else None)
        if end == "restart":
            await page.send("POST", f"api/kernels/{own_kernel}/restart")
        else:
            assert (await run(client, "import os; os._exit(1)")).execution.state == "died"
        with anyio.fail_after(DEADLINE_S):
            await back.wait()
        await settles(client, "zmq")
        assert len((await run(client, FIVE_MB)).text) == 5_000_000


async def test_a_kernel_that_takes_anothers_place_is_reached_directly(
    jupyter: Server, new_notebook: Any, page: Rest
) -> None:
    session = await page.open_session(new_notebook(["1"]))
    async with direct(jupyter, session["kernel"]["id"]) as first:
        pending = Run(first, "input()")
        await pending.until(lambda: pending.execution.prompt is not None)
        changed = await page.send("PATCH", f"api/sessions/{session['id']}", json={"kernel": {"name": "python3"}})
        assert changed["kernel"]["id"] != session["kernel"]["id"]
        assert (await pending.ends()).state == "died"
        async with direct(jupyter, changed["kernel"]["id"]) as second:
            assert (await run(second, "print(1)")).text == "1\n"


async def test_a_run_is_interrupted_and_the_next_one_runs(jupyter: Server, shared_kernel: str, page: Rest) -> None:
    async with direct(jupyter, shared_kernel) as client:
        endless = Run(client, "print('on', flush=True)\nwhile True: pass")
        await endless.prints("on")
        await page.send("POST", f"api/kernels/{shared_kernel}/interrupt")
        assert (await endless.ends()).error_name == "KeyboardInterrupt"
        assert (await run(client, "1")).execution.state == "ok"


@pytest.mark.parametrize("near", [True, False], ids=["zmq", "websocket"])
async def test_displays_and_what_threads_print_late(
    jupyter: Server, far_server: Server, shared_kernel: str, near: bool
) -> None:
    code = """
import threading
shown = display('one', display_id='d')
go = threading.Event()
def late():
    go.wait(); print('late'); shown.update('two')
threading.Thread(target=late).start()
"""
    async with KernelClient.connect(jupyter if near else far_server, shared_kernel) as client:
        await settles(client, "zmq" if near else "websocket")
        first = await run(client, code)
        assert [m.content["transient"] for m in first.messages if m.msg_type == "display_data"] == [{"display_id": "d"}]
        second = await run(client, "go.set()")
        # Whose cell a thread's output belongs to is the kernel's business, and differs between its versions.
        await first.until(lambda: first.text + second.text == "late\n")
        await first.until(lambda: "update_display_data" in {m.msg_type for m in [*first.messages, *second.messages]})


# What cannot be used is not.


@pytest.mark.parametrize("flaw", ["wrong key", "readable by others", "nobody listens"])
async def test_a_connection_file_that_is_of_no_use_is_passed_over(
    jupyter: Server, shared_kernel: str, tmp_path: Path, flaw: str
) -> None:
    assert jupyter.runtime_dir is not None
    name = f"kernel-{shared_kernel}.json"
    info = json.loads((jupyter.runtime_dir / name).read_text())
    if flaw == "wrong key":
        info["key"] += "x"
    if flaw == "nobody listens":
        info.update({f"{channel}_port": 9 for channel in ("shell", "control", "iopub", "stdin")})
    file = tmp_path / name
    file.touch(0o640 if flaw == "readable by others" else 0o600)
    file.write_text(json.dumps(info))
    async with KernelClient.connect(replace(jupyter, runtime_dir=tmp_path), shared_kernel) as client:
        await settles(client, "websocket")
        assert (await run(client, "print(1)")).text == "1\n"
