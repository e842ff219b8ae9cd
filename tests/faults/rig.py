"""The fault rig: one agent behind a wire, one human who types throughout, and what can befall them.

A ``Fault`` strikes at a ``Phase`` of the agent's life.  The human's page has a connection of its own, so that what
breaks for the agent alone does not break for them; where the server itself dies, the page joins again by itself.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import anyio
import httpx2

from collab_agent.config import Limits
from collab_agent.room.protocol import Changed, Event
from collab_agent.testing import Human, human_channel
from tests.integration.conftest import McpAgent, Rest, Result, mcp_agent_on

from .conftest import MortalLab
from .wire import Wire, wire_to

Phase = Literal["joining", "idle", "mid-edit", "mid-run", "leaving"]
PHASES: tuple[Phase, ...] = ("joining", "idle", "mid-edit", "mid-run", "leaving")

BRISK = Limits(
    typed_out_s=0,
    line_quiet_s=0,
    rest_s=3,
    open_s=3,
    ping_s=0.5,
    pong_s=1.5,
    join_s=3,
    echo_s=0.2,
    ack_s=2,
    probe_s=0.7,
    mute_s=1,
    save_s=5,
    kernel_open_s=4,
    kernel_quiet_s=0.7,
    kernel_alive_s=1.5,
    kernel_watch_s=0.2,
)
"""The watchdogs' clocks, short."""
BOUND_S = 30.0
"""Within this every call ends; how soon it does with the usual clocks is arithmetic (``test_clocks``)."""
RECOVER_S = 60.0
AGAIN_S = 0.2
"""How soon an impatient model calls again."""
WAIT_S = 3.0
LINES = 15
SLOW = f"import time\nfor i in range({LINES}):\n    print('line', i, flush=True)\n    time.sleep(0.1)"
HERS = "hers = ''"


class Kernels:
    """The kernels of a server, as processes."""

    @staticmethod
    def process(kernel_id: str) -> int:
        """The process id of a kernel, which is started with its connection file's name."""
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdigit() and f"kernel-{kernel_id}.json".encode() in (entry / "cmdline").read_bytes():
                    return int(entry.name)
        raise LookupError(kernel_id)


@dataclass
class Scene:
    """What a fault befalls.  ``results``: what the agent was answered, in order."""

    lab: MortalLab
    wire: Wire
    agent: McpAgent
    ada: Human
    rest: Rest
    path: str
    session: str
    kernel: str
    results: list[Result] = field(default_factory=list)
    confirmed: list[str] = field(default_factory=list)
    unsure: list[str] = field(default_factory=list)
    known: set[str] = field(default_factory=set)
    """The characters of the human's that the agent has had before it."""
    stopped: list[int] = field(default_factory=list)
    """Processes that are not to stay stopped."""
    undo: ExitStack = field(default_factory=ExitStack)
    """What ends the fault."""

    async def call(self, tool: str, **arguments: Any) -> Result:
        """Call a tool: it ends in good time, and an error says what to do next and is none of ours."""
        with anyio.fail_after(BOUND_S):
            result = await self.agent.call(tool, **arguments)
        self.results.append(result)
        if result.is_error:
            assert "bug of collab-agent" not in result.text, result.text
            assert len(result.text.splitlines()) > 1, f"no hint: {result.text}"
        return result

    async def setup(self) -> Result:
        """Open the notebook."""
        result = await self.call("setup_notebook", notebook_path=self.path)
        if not result.is_error:
            self.agent.peer().observe(self._note)
        return result

    async def opened(self) -> None:
        """Open the notebook, before anything breaks: the clocks are short, and the machine may be busy."""
        with anyio.fail_after(RECOVER_S):
            while (await self.setup()).is_error:
                pass

    async def insert(self) -> Result:
        """Insert a cell whose text is there only once."""
        text = f"agent_{len(self.confirmed) + len(self.unsure)} = 1"
        result = await self.call("modify_notebook_cells", edits=[{"op": "insert", "source": text}])
        if not result.is_error:
            self.confirmed.append(text)
        elif "Nothing was written" not in result.text:
            self.unsure.append(text)
        return result

    async def run_slow(self) -> Result:
        """Run the cell that prints for a while."""
        return await self.call("execute_notebook_code", cells=["#2"], wait_s=WAIT_S)

    async def leave(self) -> Result:
        """Leave the notebook: the agent watches no more over what is not on disk then, its own or another's."""
        result = await self.call("setup_notebook", notebook_path=self.path, action="leave")
        self.known.clear()
        if "not known to be on disk" in result.text:
            self.unsure, self.confirmed = [*self.unsure, *self.confirmed], []
        return result

    def _note(self, event: Event) -> None:
        if isinstance(event, Changed):
            with suppress(Exception):
                self.known.update("".join(cell.source for cell in self.agent.peer().view.cells))

    def printed(self) -> list[str]:
        """The lines that the slow cell shows in the human's page."""
        outputs = self.ada.document()["cells"][1].get("outputs", [])
        text = "".join("".join(output.get("text", "")) for output in outputs)
        return [line for line in text.splitlines() if line.startswith("line ")]

    async def type_throughout(self) -> None:
        """Ada types into her own cell, whatever happens; until cancelled."""
        while True:
            await self.ada.type_marks(0, 1, pause=0.03)

    # Afterwards.

    async def recover(self) -> None:
        """Call again until all works: open, edit, run."""
        with anyio.fail_after(RECOVER_S):
            for work in (self.setup, self.insert, self._runs):
                while True:
                    if not (await work()).is_error:
                        break
                    await anyio.sleep(AGAIN_S)

    async def _runs(self) -> Result:
        result = await self.call("execute_notebook_code", code="6 * 7", wait_s=WAIT_S)
        return result if "42" in result.text else Result(result.text, (), is_error=True)

    async def agree(self) -> None:
        """Everybody has the same: agent, human, a newcomer and the file; nothing is doubled, nothing is lost."""
        ada, agent = self.ada, self.agent
        await agent.hears(lambda: _same(agent, ada), self.path)
        if ada.lost():
            restored = await self.call("modify_notebook_cells", edits=[{"op": "restore", "force": True}])
            assert not restored.is_error or not set(ada.lost()) & self.known, (ada.lost(), ada.sources(), restored.text)
            await ada.wait_for(lambda: not set(ada.lost()) & self.known, BOUND_S)
        await ada.wait_for(lambda: not any(_running(ada)), BOUND_S)
        assert not set(ada.lost()) & self.known, (ada.lost(), ada.sources())
        await agent.hears(lambda: _same(agent, ada), self.path)
        saved = await self.call("setup_notebook", notebook_path=self.path, action="save")
        assert not saved.is_error, saved.text
        async with Human.join_server(self.lab.server, self.path, "Fresh", autosave=False) as fresh:
            sources, ids = fresh.sources(), fresh.ids()
            assert sources == ada.sources() == [cell.source for cell in agent.peer().view.cells]
            assert ids == ada.ids() == [cell.id for cell in agent.peer().view.cells]
            on_disk = self.lab.on_disk(self.path)
            assert [(cell["id"], cell["source"]) for cell in on_disk] == list(zip(ids, sources, strict=True))
            # What waits for something that never came would leave one replica behind the others.
            await self._all_have_all(fresh)
        assert len(set(ids)) == len(ids), ids
        everything = "\n".join(sources)
        assert [mark for mark, times in Counter(ada.source(0)).items() if times > 1 and ord(mark) >= 0x4E00] == []
        counts = {text: everything.count(text) for text in self.confirmed}
        assert counts == dict.fromkeys(self.confirmed, 1), (counts, sources)
        assert all(everything.count(text) <= 1 for text in self.unsure)

    async def _all_have_all(self, fresh: Human) -> None:
        """Wait until all replicas have the same clocks: the server notes down the save in the document, too."""

        def clocks() -> list[Mapping[int, int]]:
            docs = [human.notebook.ydoc.get_state() for human in (self.ada, fresh)]
            return [_clocks(vector) for vector in (*docs, self.agent.peer()._room.replica.state_vector())]

        with anyio.fail_after(BOUND_S):
            while True:
                if all(each == clocks()[0] for each in clocks()):
                    return
                await anyio.sleep(AGAIN_S)


def _same(agent: McpAgent, ada: Human) -> bool:
    try:
        return [(cell.id, cell.source) for cell in agent.peer().view.cells] == list(
            zip(ada.ids(), ada.sources(), strict=True)
        )
    except Exception:
        return False  # the room is away for the moment


def _running(ada: Human) -> list[bool]:
    return [cell.get("execution_state") == "running" for cell in ada.notebook.ycells]


def _clocks(vector: bytes) -> Mapping[int, int]:
    from collab_agent.room.codec import state_vector

    return {client: clock for client, clock in state_vector(vector).items() if clock}


# Faults.

Act = Callable[[Scene], Awaitable[None]]


async def _nothing(_scene: Scene) -> None:
    return None


def _on_wire(act: Callable[[Wire], None]) -> Act:
    async def strike(scene: Scene) -> None:
        act(scene.wire)

    return strike


async def _mend_wire(scene: Scene) -> None:
    scene.wire.mend()


def _signal_kernel(number: signal.Signals) -> Act:
    async def strike(scene: Scene) -> None:
        pid = Kernels.process(scene.kernel)
        scene.stopped.append(pid)
        os.kill(pid, number)

    return strike


async def _server_dies(scene: Scene) -> None:
    await scene.lab.die(signal.SIGKILL)


async def _server_hangs_in_shutdown(scene: Scene) -> None:
    scene.lab.signal(signal.SIGTERM)


async def _server_again(scene: Scene) -> None:
    await scene.lab.end()
    await scene.lab.start()


def _signal_server(number: signal.Signals) -> Act:
    async def strike(scene: Scene) -> None:
        scene.lab.signal(number)

    return strike


async def _restart_kernel(scene: Scene) -> None:
    await scene.rest.send("POST", f"api/kernels/{scene.kernel}/restart")


async def _replace_kernel(scene: Scene) -> None:
    body = {"kernel": {"name": "python3", "id": None}}
    await scene.rest.send("PATCH", f"api/sessions/{scene.session}", json=body)


async def _end_kernel(scene: Scene) -> None:
    await scene.rest.send("DELETE", f"api/sessions/{scene.session}")


@dataclass(frozen=True)
class Fault:
    """Something that breaks.  ``server``: the server, and all that is not on disk, goes with it."""

    strike: Act
    mend: Act = _nothing
    server: bool = False
    kernel: bool = False
    """The kernel's process, and what it was running, goes with it."""


FAULTS: Mapping[str, Fault] = {
    "cut": Fault(_on_wire(Wire.cut), _mend_wire),
    "reset": Fault(_on_wire(Wire.reset)),
    "stalled": Fault(_on_wire(Wire.stall), _mend_wire),
    "stalled up": Fault(_on_wire(lambda wire: wire.stall(["up"])), _mend_wire),
    "stalled down": Fault(_on_wire(lambda wire: wire.stall(["down"])), _mend_wire),
    "delayed": Fault(_on_wire(lambda wire: wire.delay(0.5)), _mend_wire),
    "throttled": Fault(_on_wire(lambda wire: wire.throttle(8_000)), _mend_wire),
    "half closed up": Fault(_on_wire(lambda wire: wire.half_close("up"))),
    "half closed down": Fault(_on_wire(lambda wire: wire.half_close("down"))),
    "server killed": Fault(_server_dies, _server_again, server=True, kernel=True),
    "server hangs in shutdown": Fault(_server_hangs_in_shutdown, _server_again, server=True, kernel=True),
    "server stopped": Fault(_signal_server(signal.SIGSTOP), _signal_server(signal.SIGCONT)),
    "kernel killed": Fault(_signal_kernel(signal.SIGKILL), kernel=True),
    "kernel stopped": Fault(_signal_kernel(signal.SIGSTOP), _signal_kernel(signal.SIGCONT)),
    "kernel restarted": Fault(_restart_kernel, kernel=True),
    "kernel replaced": Fault(_replace_kernel, kernel=True),
    "kernel shut down": Fault(_end_kernel, kernel=True),
}


@asynccontextmanager
async def scene_on(lab: MortalLab, *, direct: bool = False) -> AsyncIterator[Scene]:
    """A notebook with a kernel, a human who is there and types, and an agent that has not opened it yet.

    ``direct``: the agent is not behind the wire, and may reach the kernel by ZMQ.
    """
    path = lab.notebook([HERS, SLOW, "x = 1"])
    headers = {"Authorization": f"token {lab.server.token}"}
    before = asyncio.all_tasks()
    async with (
        httpx2.AsyncClient(base_url=lab.server.url, headers=headers, trust_env=False, timeout=60) as client,
        wire_to(lab.server) as wire,
        Human.join(lambda: human_channel(lab.server, path), "Ada", autosave=False) as ada,
    ):
        rest = Rest(client)
        session = await rest.open_session(path)
        server = replace(lab.server, runtime_dir=lab.runtime_dir) if direct else wire.server
        async with mcp_agent_on(server, limits=BRISK) as agent:
            scene = Scene(lab, wire, agent, ada, rest, path, session["id"], session["kernel"]["id"])
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(scene.type_throughout)
                try:
                    yield scene
                finally:
                    tasks.cancel_scope.cancel()
                    scene.undo.close()
                    for pid in scene.stopped:
                        with suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGCONT)
            await scene.agree()
        with suppress(httpx2.HTTPError):
            for each in [*await rest.sessions(path), *await rest.sessions(scene.path)]:
                await rest.send("DELETE", f"api/sessions/{each['id']}")
    with anyio.fail_after(BOUND_S):
        while left := {task for task in asyncio.all_tasks() - before if not task.done()}:
            await asyncio.wait(left)
