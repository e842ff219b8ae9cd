"""Sets a scene: a server, a notebook, a human who types, an agent; and judges how it ended."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import anyio
import httpx2

from tests.integration.conftest import Rest, mcp_agent_on

from .conftest import MortalLab
from .judgement import agree
from .page import Page
from .rig import BOUND_S, PLAIN, Scene, Scenery
from .wire import wire_to


@asynccontextmanager
async def lab_for(scenery: Scenery, mortal: MortalLab, folder: Path) -> AsyncIterator[MortalLab]:
    """The server that a scenery wants: ``mortal``, or one of its own, whose folders are made in ``folder``."""
    if not scenery.config and scenery.disk_mb is None:
        yield mortal
        return
    config, root = folder / "config", folder / "root"
    for each in (config, root):
        each.mkdir()
    (config / "jupyter_server_config.json").write_text(json.dumps(scenery.config), "utf-8")
    env = {**mortal.env, "JUPYTER_CONFIG_DIR": str(config)}
    if scenery.disk_mb is not None:
        size = f"size={scenery.disk_mb}m"
        await anyio.run_process(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(root)])
    try:
        async with MortalLab.running(root, env, folder / "lab.log") as lab:
            yield lab
    finally:
        if scenery.disk_mb is not None:
            with anyio.CancelScope(shield=True):
                await anyio.run_process(["umount", "-l", str(root)])


@asynccontextmanager
async def scene_on(lab: MortalLab, scenery: Scenery = PLAIN, *, direct: bool = False) -> AsyncIterator[Scene]:
    """A notebook with a kernel, a human who is there and types, and an agent that has not opened it yet.

    ``direct``: the agent is not behind the wire, and may reach the kernel by ZMQ.
    """
    path = scenery.notebook(lab)
    headers = {"Authorization": f"token {lab.server.token}"}
    before = asyncio.all_tasks()
    async with (
        httpx2.AsyncClient(base_url=lab.server.url, headers=headers, trust_env=False, timeout=60) as client,
        wire_to(lab.server) as wire,
        wire_to(lab.server) as her_wire,
        anyio.create_task_group() as pages,
    ):
        page = Page(her_wire.server, path, pages)
        await page.open()
        rest = Rest(client)
        session = await rest.open_session(path)
        server = replace(lab.server, runtime_dir=lab.runtime_dir) if direct else wire.server
        async with mcp_agent_on(server, limits=scenery.limits) as agent:
            ids = session["id"], session["kernel"]["id"]
            scene = Scene(lab, wire, her_wire, agent, page, rest, path, *ids, scenery)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(scene.type_throughout)
                try:
                    yield scene
                finally:
                    tasks.cancel_scope.cancel()
                    _undo(scene)
            await agree(scene)
        await page.close()
        with suppress(httpx2.HTTPError):
            for each in await rest.send("GET", "api/sessions"):
                await rest.send("DELETE", f"api/sessions/{each['id']}")
    with anyio.fail_after(BOUND_S):
        while left := {task for task in asyncio.all_tasks() - before if not task.done()}:
            await asyncio.wait(left)


def _undo(scene: Scene) -> None:
    """End what the fault has begun, also where the test has failed."""
    scene.undo.close()
    for wire in (scene.wire, scene.her_wire):
        wire.mend()
    for pid in scene.stopped:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
