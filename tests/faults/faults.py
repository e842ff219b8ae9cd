"""What breaks of itself: the wire between agent and server, the human's own line, the server, the kernel.

What befalls the notebook's file and the server's store is in ``file_faults.py``.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from .rig import Kernels, Scene
from .wire import Wire

Act = Callable[[Scene], Awaitable[None]]


async def nothing(_scene: Scene) -> None:
    """Nothing needs to be mended, or nothing can."""


@dataclass(frozen=True)
class Fault:
    """Something that breaks.  ``server``: the server, and all that is not on disk, goes with it."""

    strike: Act
    mend: Act = nothing
    server: bool = False
    kernel: bool = False
    """The kernel's process, and what it was running, goes with it."""


def _on_wire(act: Callable[[Wire], None]) -> Act:
    async def strike(scene: Scene) -> None:
        act(scene.wire)

    return strike


async def _cut_her_line(scene: Scene) -> None:
    """The human's laptop sleeps, or rather she types on without a line."""
    scene.her_wire.cut()


async def mend_wires(scene: Scene) -> None:
    """Let everything pass again, the agent's and the human's."""
    for wire in (scene.wire, scene.her_wire):
        wire.mend()


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


async def server_again(scene: Scene) -> None:
    """Start the server anew."""
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


FAULTS: Mapping[str, Fault] = {
    "cut": Fault(_on_wire(Wire.cut), mend_wires),
    "reset": Fault(_on_wire(Wire.reset)),
    "stalled": Fault(_on_wire(Wire.stall), mend_wires),
    "stalled up": Fault(_on_wire(lambda wire: wire.stall(["up"])), mend_wires),
    "stalled down": Fault(_on_wire(lambda wire: wire.stall(["down"])), mend_wires),
    "delayed": Fault(_on_wire(lambda wire: wire.delay(0.5)), mend_wires),
    "throttled": Fault(_on_wire(lambda wire: wire.throttle(8_000)), mend_wires),
    "half closed up": Fault(_on_wire(lambda wire: wire.half_close("up"))),
    "half closed down": Fault(_on_wire(lambda wire: wire.half_close("down"))),
    "human cut off": Fault(_cut_her_line, mend_wires),
    "server killed": Fault(_server_dies, server_again, server=True, kernel=True),
    "server hangs in shutdown": Fault(_server_hangs_in_shutdown, server_again, server=True, kernel=True),
    "server stopped": Fault(_signal_server(signal.SIGSTOP), _signal_server(signal.SIGCONT)),
    "kernel killed": Fault(_signal_kernel(signal.SIGKILL), kernel=True),
    "kernel stopped": Fault(_signal_kernel(signal.SIGSTOP), _signal_kernel(signal.SIGCONT)),
    "kernel restarted": Fault(_restart_kernel, kernel=True),
    "kernel replaced": Fault(_replace_kernel, kernel=True),
    "kernel shut down": Fault(_end_kernel, kernel=True),
}
