"""What befalls the notebook's file and the store of updates: the faults of the matrix that are not the wire's.

Another program does it at one moment of the agent's life (``rig.Phase``), while a human types who has autosave off.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping

import anyio

from collab_agent.room.codec import var_bytes, var_uint

from .conftest import STORE
from .rig import AGAIN_S, BOUND_S, Fault, Scene
from .test_overwritten import text, write

WRITERS = "w = 'another program'"
RAW_SAVE = b"\2" + var_bytes(b"save") + var_uint(1)


async def _edit(scene: Scene) -> None:
    """As `git checkout`: everything that is not on disk goes; what the writer meant stays."""
    write(scene.lab, scene.path, text(2, WRITERS))
    # An agent that is just joining may have read the file only after this: what stood there before then looks like what
    # was never saved, and who restores everything, as ``agree`` does, gets it back in its place.
    (scene.confirmed if scene.agent.agent.peers else scene.unsure).append(WRITERS)
    await scene.ada.wait_for(lambda: WRITERS in scene.ada.sources(), BOUND_S)


async def _rename(scene: Scene) -> None:
    """As the page's file browser."""
    old, scene.path = scene.path, f"new-{scene.path}"
    await scene.rest.send("PATCH", f"api/contents/{old}", json={"path": scene.path})


async def _move_away(scene: Scene) -> None:
    file = scene.lab.root / scene.path
    away = file.with_suffix(".away")
    os.replace(file, away)
    scene.undo.callback(lambda: os.replace(away, file))


async def _cut_short(scene: Scene) -> None:
    file = scene.lab.root / scene.path
    file.write_bytes(file.read_bytes()[:40])


async def _save_from_the_page(scene: Scene) -> None:
    """Ada saves until her notebook is whole again: the server keeps a room whose file it cannot read."""
    with anyio.fail_after(BOUND_S):
        while True:  # nobody tells when a file is whole
            try:
                scene.lab.on_disk(scene.path)
            except (json.JSONDecodeError, KeyError):
                scene.ada._emit(RAW_SAVE)
                await anyio.sleep(AGAIN_S)
            else:
                return


async def _lock_store(scene: Scene) -> None:
    """As a backup does."""
    store = sqlite3.connect(scene.lab.root / STORE, timeout=BOUND_S)
    scene.undo.callback(store.close)
    store.execute("BEGIN EXCLUSIVE")


async def _undo(scene: Scene) -> None:
    scene.undo.close()


FILE_FAULTS: Mapping[str, Fault] = {
    "file edited": Fault(_edit),
    "file renamed": Fault(_rename),
    "file moved away": Fault(_move_away, _undo),
    "file cut short": Fault(_cut_short, _save_from_the_page),
    "store locked": Fault(_lock_store, _undo),
}
