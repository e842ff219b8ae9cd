"""The kernel client against a real server and real kernels."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from textwrap import dedent
from typing import Any

import anyio
import httpx2
import pytest

from collab_agent.config import Server
from collab_agent.errors import KernelDied, KernelError, NoKernel, Unauthorized, Unreachable
from collab_agent.kernel.client import KernelClient
from collab_agent.kernel.execution import ConnectionGap, Execution, KernelGone, Received
from collab_agent.kernel.observer import ForeignRunEnded, ForeignRunStarted, KernelBack, is_rate_limit_notice
from collab_agent.kernel.wire import Message

DEADLINE_S = 60.0

Connect = Callable[..., AbstractAsyncContextManager[KernelClient]]


@dataclass
class Recorder:
    """Everything that one execution received, and an event for the next thing."""

    events: list[Received] = field(default_factory=list)
    changed: anyio.Event = field(default_factory=anyio.Event)

    def __call__(self, event: Received) -> None:
        self.events.append(event)
        self.changed.set()
        self.changed = anyio.Event()

    @property
    def messages(self) -> list[Message]:
        return [event for event in self.events if isinstance(event, Message)]

    def text(self, name: str = "stdout") -> str:
        contents = [m.content for m in self.messages if m.msg_type == "stream"]
        return "".join(content["text"] for content in contents if content["name"] == name)

    async def until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            await self.changed.wait()


@dataclass
class Run:
    """An execution and what it received."""

    execution: Execution
    seen: Recorder

    async def ends(self) -> Execution:
        with anyio.fail_after(DEADLINE_S):
            await self.seen.until(lambda: self.execution.over)
        return self.execution

    async def reaches(self, reached: Callable[[Execution], bool]) -> Execution:
        with anyio.fail_after(DEADLINE_S):
            await self.seen.until(lambda: reached(self.execution))
        return self.execution

    async def prints(self, text: str) -> None:
        with anyio.fail_after(DEADLINE_S):
            await self.seen.until(lambda: text in self.seen.text())


def send(client: KernelClient, code: str, **options: Any) -> Run:
    seen = Recorder()
    msg_id = client.send_execute(code, on_message=seen, **options)
    return Run(client.execution(msg_id), seen)


async def run(client: KernelClient, code: str, **options: Any) -> Run:
    run = send(client, code, **options)
    await run.ends()
    return run


@pytest.fixture(scope="module")
async def rest(jupyter: Server) -> AsyncIterator[httpx2.AsyncClient]:
    headers = {"Authorization": f"token {jupyter.token}"}
    async with httpx2.AsyncClient(base_url=jupyter.url, headers=headers, trust_env=False, timeout=60) as client:
        yield client


async def start_kernel(rest: httpx2.AsyncClient) -> str:
    response = await rest.post("api/kernels", json={"name": "python3"})
    response.raise_for_status()
    return str(response.json()["id"])


@pytest.fixture(scope="module")
async def shared_kernel(rest: httpx2.AsyncClient) -> AsyncIterator[str]:
    """A kernel that no test destroys."""
    kernel_id = await start_kernel(rest)
    yield kernel_id
    await rest.delete(f"api/kernels/{kernel_id}")


@pytest.fixture
async def own_kernel(rest: httpx2.AsyncClient) -> AsyncIterator[str]:
    """A kernel that the test may destroy."""
    kernel_id = await start_kernel(rest)
    yield kernel_id
    await rest.delete(f"api/kernels/{kernel_id}")


@pytest.fixture
def far_server(jupyter: Server) -> Server:
    """The server as one on another machine: there is nothing but its websocket."""
    return replace(jupyter, runtime_dir=None)


@pytest.fixture(params=["websocket", "zmq"])
def connect(request: pytest.FixtureRequest, jupyter: Server, far_server: Server) -> Connect:
    """``async with connect(kernel_id) as client``: once for each route to the kernel."""

    @asynccontextmanager
    async def connected(kernel_id: str, **options: Any) -> AsyncIterator[KernelClient]:
        server = jupyter if request.param == "zmq" else far_server
        async with KernelClient.connect(server, kernel_id, **options) as client:
            await takes(client, request.param)
            yield client

    return connected


async def takes(client: KernelClient, route: str) -> None:
    """Wait for the choice of the route, and insist on it."""
    with anyio.fail_after(DEADLINE_S):
        assert await client.route_settled() == route


@pytest.fixture
async def client(connect: Connect, shared_kernel: str) -> AsyncIterator[KernelClient]:
    """A client on the shared kernel, once for each route."""
    async with connect(shared_kernel) as client:
        yield client


@pytest.fixture
async def far_client(far_server: Server, shared_kernel: str) -> AsyncIterator[KernelClient]:
    """A client on the shared kernel that has nothing but the websocket."""
    async with KernelClient.connect(far_server, shared_kernel) as client:
        yield client


@pytest.fixture
async def human(far_server: Server, shared_kernel: str) -> AsyncIterator[KernelClient]:
    """A second client on the shared kernel, with a session of its own; on the websocket, as a page."""
    async with KernelClient.connect(far_server, shared_kernel, username="human") as client:
        yield client


# In a kernel: wait until the test creates a file, so that the test decides how long a cell takes.
WAIT_FOR_FILE = "import os, time\nprint('waiting', flush=True)\nwhile not os.path.exists({path!r}): time.sleep(0.005)"


@pytest.fixture
def gate(tmp_path: Any) -> Any:
    """``gate.code`` runs until ``gate.open()``."""

    class Gate:
        code = WAIT_FOR_FILE.format(path=str(tmp_path / "gate"))

        @staticmethod
        def open() -> None:
            (tmp_path / "gate").touch()

    return Gate


async def test_one_plus_one(client: KernelClient) -> None:
    one = await run(client, "1+1", cell_id="abcd")
    assert one.execution.state == "ok"
    assert one.execution.executed_code == "1+1"
    [result] = [m for m in one.seen.messages if m.msg_type == "execute_result"]
    assert result.content["data"]["text/plain"] == "2"
    assert result.content["execution_count"] == one.execution.execution_count
    assert one.execution.ended is not None
    assert one.execution.started is not None
    assert one.execution.sent <= one.execution.started <= one.execution.ended


async def test_the_request_names_its_cell_and_does_not_stop_others(client: KernelClient) -> None:
    code = "p = get_ipython().kernel.get_parent(); p['metadata']['cellId'], p['content']['stop_on_error']"
    one = await run(client, code, cell_id="abcd")
    [result] = [m for m in one.seen.messages if m.msg_type == "execute_result"]
    assert result.content["data"]["text/plain"] == "('abcd', False)"


async def test_streams_and_an_error(client: KernelClient) -> None:
    one = await run(client, "import sys\nprint('out')\nprint('err', file=sys.stderr)\n1/0")
    assert (one.seen.text(), one.seen.text("stderr")) == ("out\n", "err\n")
    execution = one.execution
    assert (execution.state, execution.error_name, execution.error_value) == (
        "error",
        "ZeroDivisionError",
        "division by zero",
    )


async def test_a_silent_request_answers_with_expressions_and_leaves_no_trace(client: KernelClient) -> None:
    before = (await run(client, "x = 41")).execution.execution_count
    silent = await run(client, "", silent=True, user_expressions={"y": "x + 1"})
    assert silent.execution.reply is not None
    assert silent.execution.reply["user_expressions"]["y"]["data"]["text/plain"] == "42"
    after = (await run(client, "x")).execution.execution_count
    assert before is not None
    assert after == before + 1


async def test_two_executions_on_one_client_get_their_own_messages(client: KernelClient) -> None:
    # A task of the first cell prints while the second cell runs, so that their messages interleave.
    begin = """
        import asyncio
        go, done = asyncio.Event(), asyncio.Event()
        async def late():
            await go.wait(); print('first, late'); done.set()
        task = asyncio.ensure_future(late())
        print('first')
    """
    first = send(client, dedent(begin))
    second = send(client, "print('second')\ngo.set(); await done.wait()\nprint('second, end')")
    await second.ends()
    await first.prints("late")
    assert first.seen.text() == "first\nfirst, late\n"
    assert second.seen.text() == "second\nsecond, end\n"
    order = [m.msg_type for m in first.seen.messages]
    late = [m.content.get("text") == "first, late\n" for m in first.seen.messages].index(True)
    assert late > order.index("execute_reply")


async def test_sending_does_not_await(client: KernelClient) -> None:
    before = client.now()
    run = send(client, "1")  # a plain function: no other task can run between reading and sending
    assert run.execution.sent >= before
    await run.ends()


async def test_a_foreign_cell_is_seen_and_waited_for(client: KernelClient, human: KernelClient, gate: Any) -> None:
    told: list[ForeignRunStarted | ForeignRunEnded] = []
    unsubscribe = client.on_foreign(told.append)
    await client.wait_idle()
    theirs = send(human, gate.code)
    await theirs.prints("waiting")
    with anyio.fail_after(DEADLINE_S):
        while client.foreign_busy is None or client.foreign_busy.code is None:
            await anyio.lowlevel.checkpoint()
    busy = client.foreign_busy
    assert (busy.code, busy.msg_id, busy.username) == (gate.code, theirs.execution.msg_id, "human")
    assert human.foreign_busy is None

    woke_at: list[bool] = []

    async def wait() -> None:
        await client.wait_idle()
        woke_at.append(client.foreign_busy is None)

    with anyio.fail_after(DEADLINE_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await client.request("control", "kernel_info_request")  # a round trip: the waiter had its chance
            assert woke_at == []
            gate.open()
    assert woke_at == [True]
    assert told == [ForeignRunStarted(busy), ForeignRunEnded(busy)]
    unsubscribe()


async def test_a_cell_that_ran_before_we_came_is_waited_for(
    connect: Connect, shared_kernel: str, human: KernelClient, gate: Any
) -> None:
    await send(human, gate.code).prints("waiting")
    async with connect(shared_kernel) as late:
        assert late.foreign_busy is not None
        assert late.foreign_busy.code is None
        gate.open()
        with anyio.fail_after(DEADLINE_S):
            await late.wait_idle()


async def test_inspecting_does_not_make_the_kernel_foreign_busy(client: KernelClient, human: KernelClient) -> None:
    seen: list[object] = []
    with anyio.fail_after(DEADLINE_S):
        async with anyio.create_task_group() as tasks:

            async def watch() -> None:
                while True:
                    await client._changed.wait()
                    seen.append(client.foreign_busy)

            tasks.start_soon(watch)
            for _ in range(5):
                await human.request("shell", "complete_request", {"code": "pri", "cursor_pos": 3})
            await run(client, "1")
            tasks.cancel_scope.cancel()
    assert seen
    assert set(seen) == {None}


async def test_our_error_does_not_abort_the_humans_queued_cell(
    client: KernelClient, human: KernelClient, gate: Any
) -> None:
    ours = send(client, gate.code + "\n1/0")
    await ours.prints("waiting")
    theirs = send(human, "print('mine')")
    # The answer on the control channel proves that the server has passed the human's request on.
    await human.request("control", "kernel_info_request")
    gate.open()
    assert (await ours.ends()).state == "error"
    assert (await theirs.ends()).state == "ok"


async def test_input(client: KernelClient) -> None:
    asks = send(client, "name = input('name? ')\nprint('hello', name)")
    execution = await asks.reaches(lambda execution: execution.prompt is not None)
    assert execution.prompt is not None
    assert (execution.prompt.text, execution.prompt.password) == ("name? ", False)
    client.send_input_reply("Ada")
    assert (await asks.ends()).state == "ok"
    assert asks.seen.text() == "hello Ada\n"
    with pytest.raises(KernelError, match="does not ask"):
        client.send_input_reply("again")


async def test_requests_are_answered(client: KernelClient) -> None:
    info = await client.request("shell", "kernel_info_request")
    assert info.content["implementation"] == "ipython"
    content = {"code": "len", "cursor_pos": 3, "detail_level": 0}
    assert (await client.request("shell", "inspect_request", content)).content["found"]


async def test_a_request_to_a_busy_kernel_times_out_but_a_subshell_answers(client: KernelClient, gate: Any) -> None:
    busy = send(client, gate.code)
    await busy.prints("waiting")
    with pytest.raises(KernelError, match="did not answer"):
        await client.request("shell", "kernel_info_request", {}, 0.05)
    subshell = (await client.request("control", "create_subshell_request")).content["subshell_id"]
    aside = await run(client, "", silent=True, user_expressions={"x": "6*7"}, subshell_id=subshell)
    assert aside.execution.reply is not None
    assert aside.execution.reply["user_expressions"]["x"]["data"]["text/plain"] == "42"
    await client.request("control", "delete_subshell_request", {"subshell_id": subshell})
    gate.open()
    await busy.ends()


async def test_a_listeners_bug_does_not_stop_the_client(client: KernelClient) -> None:
    def broken(event: Received) -> None:
        raise RuntimeError("a bug")

    client.send_execute("1", on_message=broken)
    assert (await run(client, "2")).execution.state == "ok"


async def test_dropped_output_is_noticed(far_client: KernelClient) -> None:
    loud = await run(far_client, "for i in range(8): print('x' * 1_000_000, flush=True)")
    assert any(is_rate_limit_notice(m, far_client.session_id) for m in loud.seen.messages)
    quiet = await run(far_client, "import sys; print('IOPub message rate exceeded.', file=sys.stderr)")
    assert not any(is_rate_limit_notice(m, far_client.session_id) for m in quiet.seen.messages)


async def test_a_kernel_that_dies_ends_what_is_pending(connect: Connect, own_kernel: str) -> None:
    async with connect(own_kernel) as client:
        back = anyio.Event()
        client.on_life(lambda event: back.set() if event == KernelBack() else None)
        dies = send(client, "import os; os._exit(1)")
        queued = send(client, "1")
        assert (await dies.ends()).state == "died"
        assert (await queued.ends()).state == "died"
        assert "died" in dies.execution.reason
        with anyio.fail_after(DEADLINE_S):
            await back.wait()
        assert (await run(client, "1+1")).execution.state == "ok"


async def test_a_restart_ends_what_is_pending(
    connect: Connect, own_kernel: str, rest: httpx2.AsyncClient, gate: Any
) -> None:
    async with connect(own_kernel) as client:
        pending = send(client, gate.code)
        await pending.prints("waiting")
        (await rest.post(f"api/kernels/{own_kernel}/restart")).raise_for_status()
        assert (await pending.ends()).state == "died"
        assert pending.execution.reason == "was restarted"
        assert KernelGone("was restarted") in pending.seen.events
        assert (await run(client, "1+1")).execution.state == "ok"


async def test_what_is_sent_in_the_midst_of_a_restart_waits_for_the_new_kernel(
    connect: Connect, own_kernel: str, rest: httpx2.AsyncClient
) -> None:
    async with connect(own_kernel) as client:
        runs: list[Run] = []
        client.on_life(lambda event: runs.append(send(client, "print('heard')")))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(rest.post, f"api/kernels/{own_kernel}/restart")
            with anyio.fail_after(DEADLINE_S):
                while len(runs) < 2:  # when the old process goes, and when the new one is there
                    await client._changed.wait()
        for run in runs:
            assert (await run.ends()).state == "ok"
            assert run.seen.text() == "heard\n"


async def test_a_new_kernel_whose_first_words_are_lost_is_asked_to_speak_again(
    jupyter: Server, own_kernel: str, rest: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with KernelClient.connect(jupyter, own_kernel) as client:
        receive = client._receive

        def lossy(frame: bytes) -> None:
            if b'"starting"' not in frame:
                receive(frame)

        # The reader holds the bound method already: cut, so that it takes the lossy one.
        monkeypatch.setattr(client, "_receive", lossy)
        cut(client)
        await run(client, "1")
        (await rest.post(f"api/kernels/{own_kernel}/restart")).raise_for_status()
        assert (await run(client, "1+1")).execution.state == "ok"


async def test_a_deleted_kernel_ends_what_is_pending_and_takes_nothing_more(
    connect: Connect, own_kernel: str, rest: httpx2.AsyncClient, gate: Any
) -> None:
    async with connect(own_kernel) as client:
        # The server interrupts a kernel before it ends it; what the kernel says to that could come first.
        pending = send(client, f"import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n{gate.code}")
        await pending.prints("waiting")
        (await rest.delete(f"api/kernels/{own_kernel}")).raise_for_status()
        assert (await pending.ends()).state == "died"
        with pytest.raises(KernelDied, match="was shut down"):
            send(client, "1")
        with pytest.raises(KernelDied):
            await client.request("shell", "kernel_info_request")


def cut(client: KernelClient) -> None:
    """Reset the client's TCP connection, as a broken network does."""
    connection = client._link.connection
    assert connection is not None
    connection.transport.abort()


async def test_a_cut_socket_comes_back_and_the_reply_is_kept(far_client: KernelClient, gate: Any) -> None:
    during = send(far_client, gate.code + "\nprint('end')\n6*7")
    await during.prints("waiting")
    cut(far_client)
    with anyio.fail_after(DEADLINE_S):
        await during.seen.until(lambda: ConnectionGap() in during.seen.events)
    queued = send(far_client, "print('sent while away')")
    assert not far_client.connected
    gate.open()
    execution = await during.ends()
    assert (execution.state, execution.gap) == ("ok", True)
    assert execution.reply is not None
    assert execution.reply["status"] == "ok"
    assert (await queued.ends()).state == "ok"
    assert queued.seen.text() == "sent while away\n"
    assert not queued.execution.gap


async def test_an_end_that_fell_into_the_gap_is_found_out(
    far_client: KernelClient, human: KernelClient, gate: Any
) -> None:
    # With a human connected the server keeps nothing for us: the reply is lost for good.
    during = send(far_client, gate.code)
    await during.prints("waiting")
    far_client._link._delays = (0.0,)
    proceed = anyio.Event()
    reopen = far_client._link.open

    async def open_later() -> None:
        await proceed.wait()
        await reopen()

    far_client._link.open = open_later  # type: ignore[method-assign]
    cut(far_client)
    gate.open()
    await run(human, "1")  # behind our cell in the kernel's queue: ours has ended
    assert not during.execution.over
    proceed.set()
    execution = await during.ends()
    assert (execution.state, execution.gap) == ("died", True)
    assert "away" in execution.reason
    assert (await run(far_client, "1+1")).execution.state == "ok"


async def test_a_kernel_that_is_gone_after_the_cut_ends_what_is_pending(
    far_server: Server, own_kernel: str, rest: httpx2.AsyncClient, gate: Any
) -> None:
    async with KernelClient.connect(far_server, own_kernel) as client:
        pending = send(client, gate.code)
        await pending.prints("waiting")
        connection = client._link.connection
        assert connection is not None
        connection.transport.pause_reading()  # so that the shutdown_reply is not what tells it
        (await rest.delete(f"api/kernels/{own_kernel}")).raise_for_status()
        cut(client)
        assert (await pending.ends()).state == "died"
        assert pending.execution.reason == "was shut down while the connection was away"
        with pytest.raises(KernelDied, match="while the connection was away"):
            send(client, "1")


async def test_a_server_that_does_not_come_back_ends_what_is_pending(connect: Connect, own_kernel: str) -> None:
    async with connect(own_kernel, reconnect_delays=()) as client:
        pending = send(client, "input()")
        await pending.reaches(lambda execution: execution.prompt is not None)
        cut(client)
        assert (await pending.ends()).state == "died"


async def test_closing_twice_is_harmless_and_ends_what_is_pending(connect: Connect, own_kernel: str) -> None:
    async with connect(own_kernel) as client:
        pending = send(client, "input()")
        await client.aclose()
        await client.aclose()
        assert pending.execution.state == "died"
        with pytest.raises(KernelDied, match="left"):
            send(client, "1")


async def test_the_callers_own_error_comes_through_unwrapped(jupyter: Server, shared_kernel: str) -> None:
    with pytest.raises(KeyError):
        async with KernelClient.connect(jupyter, shared_kernel):
            raise KeyError("the caller's")


async def test_what_cannot_be_joined_says_why(jupyter: Server, shared_kernel: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = replace(jupyter, url=f"http://127.0.0.1:{free.getsockname()[1]}/")
        stranger = replace(jupyter, token="wrong")
        for server, kernel_id, error in [
            (jupyter, "00000000-0000-0000-0000-000000000000", NoKernel),
            (stranger, shared_kernel, Unauthorized),
            (nobody, shared_kernel, Unreachable),
        ]:
            async with AsyncExitStack() as stack:
                with pytest.raises(error) as caught:
                    await stack.enter_async_context(KernelClient.connect(server, kernel_id))
                assert server.token not in str(caught.value)


def test_importing_the_client_does_not_import_jupyter_client() -> None:
    code = "import sys, collab_agent.kernel.client; sys.exit('jupyter_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
