"""Each watchdog seen to fire on a real server: with short clocks, behind a wire, and what the model is told."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import replace

import anyio
import httpx2
import pytest
from websockets.asyncio.client import connect

from collab_agent.errors import RoomClosed
from collab_agent.room.protocol import Event, Lost, Synced
from collab_agent.testing import Human
from tests.integration.conftest import DEADLINE_S, McpAgent, mcp_agent_on

from .conftest import MortalLab
from .rig import BRISK, LINES, Kernels, Scene
from .stage import scene_on
from .wire import wire_to

BIG = 900_000
SLOW_LINE = 300_000.0


class Heard:
    """Waits for an event of the agent's room."""

    def __init__(self, agent: McpAgent, kind: type[Event]) -> None:
        self._came = anyio.Event()
        self._kind = kind
        self._unsubscribe = agent.peer().observe(self._note)

    def _note(self, event: Event) -> None:
        if isinstance(event, self._kind):
            self._came.set()

    async def wait(self) -> None:
        """Return when it has come."""
        with anyio.fail_after(DEADLINE_S):
            await self._came.wait()
        self._unsubscribe()


async def test_a_half_open_socket_is_noticed_and_the_room_joined_afresh(mortal: MortalLab) -> None:
    """Nobody edits and nothing is asked: only pings can tell."""
    path = mortal.notebook(["x = 1"])
    limits = replace(BRISK, probe_s=600)
    async with wire_to(mortal.server) as wire, mcp_agent_on(wire.server, limits=limits) as agent:
        await agent.setup(path)
        lost = Heard(agent, Lost)
        wire.stall()
        await lost.wait()
        refused = await agent.edit_refused({"op": "insert", "source": "lost"})
        assert "connection to the notebook's room is away" in refused.text
        joined = Heard(agent, Synced)
        wire.mend()
        await joined.wait()
        await agent.edit({"op": "insert", "source": "y = 2"})


async def test_a_large_notebook_is_joined_on_a_slow_line_whatever_the_clocks_say(mortal: MortalLab) -> None:
    """The pong stands behind the notebook, which takes longer than a ping may: but it comes."""
    path = mortal.notebook(["x" * BIG])
    assert BRISK.ping_s + BRISK.pong_s < BIG / SLOW_LINE
    async with wire_to(mortal.server) as wire, mcp_agent_on(wire.server, limits=BRISK) as agent:
        wire.throttle(SLOW_LINE, ["down"])
        assert "1 cell" in (await agent.setup(path)).text


async def test_a_room_that_passes_nothing_on_is_told_and_edits_still_arrive(mortal: MortalLab) -> None:
    """Opening a missing file makes the server's rooms mute (rtc facts, section 1)."""
    path = mortal.notebook(["x = 1"])
    try:
        async with (
            mcp_agent_on(mortal.server, limits=BRISK) as agent,
            Human.join_server(mortal.server, path, autosave=False) as ada,
        ):
            await agent.setup(path)
            await make_mute(mortal)
            await ada.type(0, "  # hers")
            await agent.hears(lambda: in_step(agent, "  # hers"))
            with anyio.fail_after(DEADLINE_S):
                told = ""
                while "only a restart" not in told:
                    edits = [{"op": "insert", "source": "y = 2"}]
                    told = (await agent.call("modify_notebook_cells", edits=edits)).since
            assert "only a restart of the server mends it" in told
            await agent.edit({"op": "insert", "source": "z = 3"})
            async with Human.join_server(mortal.server, path, "Fresh", autosave=False) as fresh:
                assert fresh.sources()[0] == "x = 1  # hers"
                assert fresh.sources()[-1] == "z = 3"
    finally:
        await mortal.end()
        await mortal.start()


def in_step(agent: McpAgent, text: str) -> bool:
    with suppress(RoomClosed):
        return any(text in cell.source for cell in agent.peer().view.cells)
    return False


async def make_mute(lab: MortalLab) -> None:
    """Open a room for a file that does not exist."""
    headers = {"Authorization": f"token {lab.server.token}"}
    async with httpx2.AsyncClient(base_url=lab.server.url, headers=headers, trust_env=False) as client:
        body = {"format": "json", "type": "notebook"}
        room = (await client.put("api/collaboration/session/missing.ipynb", json=body)).json()
    address = f"ws{lab.server.url.removeprefix('http')}api/collaboration/room/"
    address += f"{room['format']}:{room['type']}:{room['fileId']}?sessionId={room['sessionId']}"
    async with connect(address, additional_headers=headers, proxy=None) as socket:
        with anyio.fail_after(DEADLINE_S):
            await socket.wait_closed()


async def test_who_waits_for_a_kernel_that_was_stopped_is_told_and_the_run_goes_on_with_it(mortal: MortalLab) -> None:
    async with scene_on(mortal) as scene:
        await scene.opened()
        async with anyio.create_task_group() as tasks:

            async def stop() -> None:
                await scene.ada.wait_for(lambda: len(scene.printed()) > 1, DEADLINE_S)
                stop_kernel(scene)

            tasks.start_soon(stop)
            result = await scene.call("execute_notebook_code", cells=["#2"], wait_s=600)
        assert " running " in result.text.splitlines()[0]
        assert "the kernel has not answered for" in result.text
        assert 'action="restart" ends it' in result.text

        os.kill(scene.stopped[0], signal.SIGCONT)
        ended = await scene.call("query_notebook", query="runs", wait_s=600)
        assert " ok " in ended.text.splitlines()[0], ended.text
        assert len(scene.printed()) == LINES


async def test_a_run_is_told_of_while_all_connections_are_away_and_found_again(mortal: MortalLab) -> None:
    async with scene_on(mortal) as scene:
        await scene.opened()
        async with anyio.create_task_group() as tasks:

            async def cut() -> None:
                await scene.ada.wait_for(lambda: len(scene.printed()) > 1, DEADLINE_S)
                scene.wire.cut()

            tasks.start_soon(cut)
            result = await scene.call("execute_notebook_code", cells=["#2"], wait_s=600)
        assert not result.is_error, result.text
        assert " running " in result.text.splitlines()[0]
        assert "cannot be reached: the connection to it is away" in result.text
        assert "the connection to the notebook's room is away" in result.text

        scene.wire.mend()
        await scene.recover()
        ended = await scene.call("query_notebook", query="runs", wait_s=600)
        assert " ok " in ended.text.splitlines()[0], ended.text
        if "outputs may be missing" not in ended.text:  # what was on the line when it was cut is gone, and told
            await scene.ada.wait_for(lambda: len(scene.printed()) == LINES, DEADLINE_S)


@pytest.mark.parametrize("direct", [False, True], ids=["websocket", "zmq"])
async def test_a_kernel_that_was_stopped_before_anything_was_asked_of_it_can_be_restarted(
    mortal: MortalLab, direct: bool
) -> None:
    async with scene_on(mortal, direct=direct) as scene:
        await scene.opened()
        stop_kernel(scene)
        result = await scene.call("execute_notebook_code", cells=["#3"], wait_s=600)
        assert "the kernel has not answered for" in result.text
        restarted = await scene.call("execute_notebook_code", action="restart")
        assert not restarted.is_error, restarted.text
        result = await scene.call("execute_notebook_code", cells=["#3"], wait_s=DEADLINE_S)
        assert " ok " in result.text.splitlines()[0], result.text


async def test_a_kernel_that_does_not_answer_when_the_agent_comes_holds_nothing_up(mortal: MortalLab) -> None:
    async with scene_on(mortal) as scene:
        stop_kernel(scene)
        opened = await scene.setup()
        assert "channels did not open within" in opened.text
        assert not (await scene.insert()).is_error
        refused = await scene.call("execute_notebook_code", cells=["#3"])
        assert refused.is_error
        assert "Call again in a few seconds" in refused.text
        assert not (await scene.call("execute_notebook_code", action="restart")).is_error
        await scene.recover()


def stop_kernel(scene: Scene) -> None:
    pid = Kernels.process(scene.kernel)
    scene.stopped.append(pid)
    os.kill(pid, signal.SIGSTOP)
