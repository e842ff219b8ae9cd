"""What befalls the notebook's file, its disk, its room and the store of updates: the faults that are not the wire's.

Another program does it at one moment of the agent's life (``rig.Phase``), while a human types who has autosave off.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import anyio

from collab_agent.room.codec import var_bytes, var_uint
from collab_agent.testing import Human

from .conftest import STORE, MortalLab
from .faults import Fault, mend_wires, server_again
from .rig import AGAIN_S, BOUND_S, Scene
from .test_overwritten import text, write

WRITERS = "w = 'another program'"
DROPPED = " deleted"
"""What the server says of a room."""
RAW_SAVE = b"\2" + var_bytes(b"save") + var_uint(1)


async def _edit(scene: Scene) -> None:
    """As `git checkout`: everything that is not on disk goes; what the writer meant stays."""
    write(scene.lab, scene.path, text(2, WRITERS))
    with anyio.fail_after(BOUND_S):
        while WRITERS not in scene.ada.sources():
            await anyio.sleep(AGAIN_S)
            if WRITERS not in scene.lab.sources_on_disk(scene.path):  # the server was just writing, over it
                write(scene.lab, scene.path, text(2, WRITERS))
    await _came(scene)


async def _edit_meanwhile(scene: Scene) -> None:
    """The agent has no connection while another program writes."""
    scene.wire.cut()
    await _edit(scene)


async def _second_server(scene: Scene) -> None:
    """Somebody has the notebook open on another server, too, and saves it there."""
    lab = scene.lab
    async with (
        MortalLab.running(lab.root, lab.env, lab.log.with_suffix(".second")) as second,
        Human.join_server(second.server, scene.path, "Bob", autosave=False) as bob,
    ):
        await bob.insert_cell(3, WRITERS)
        with anyio.fail_after(BOUND_S):
            while WRITERS not in lab.sources_on_disk(scene.path):
                save(bob)
                await anyio.sleep(AGAIN_S)
        await _came(scene)


async def _came(scene: Scene) -> None:
    """The human has what the writer wrote: so it stays, but where the agent cannot know that it was meant.

    One that is just joining may have read the file only after the write: what stood there before then looks like what
    was never saved, and who restores everything, as the judgement does, gets it back in its place.
    """
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


async def _delete(scene: Scene) -> None:
    """As `rm`, by somebody who then has the file from a backup again."""
    file = scene.lab.root / scene.path
    kept = file.read_bytes()
    file.unlink()
    scene.undo.callback(lambda: file.write_bytes(kept))


async def _delete_for_good(scene: Scene) -> None:
    """As the page's file browser."""
    await scene.rest.send("DELETE", f"api/contents/{scene.path}")
    scene.gone = True


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
                save(scene.ada)
                await anyio.sleep(AGAIN_S)
            else:
                return


async def _lock_store(scene: Scene) -> None:
    """As a backup does."""
    store = sqlite3.connect(scene.lab.root / STORE, timeout=BOUND_S)
    scene.undo.callback(store.close)
    store.execute("BEGIN EXCLUSIVE")


async def _lose_store(scene: Scene) -> None:
    """The server dies, and what it had stored is gone."""
    await scene.lab.end()
    scene.lab.forget_all()


async def _lose_store_and_write(scene: Scene) -> None:
    """And the file is another then: a page that kept its document would never be at one with the room again."""
    await scene.page.close()
    await _lose_store(scene)
    write(scene.lab, scene.path, text(2, WRITERS))
    scene.unsure.append(WRITERS)


async def _all_anew(scene: Scene) -> None:
    await server_again(scene)
    await scene.page.open()


async def _lose_live_store(scene: Scene) -> None:
    """Another program deletes it under the server, which writes into what no longer has a name."""
    scene.lab.forget_all()


async def _drop_room(scene: Scene) -> None:
    """Everybody is away for so long that the server drops the room, as when all laptops sleep."""
    said = scene.lab.log.read_text("utf-8").count(DROPPED)
    for wire in (scene.wire, scene.her_wire):
        wire.cut()
        await anyio.sleep(AGAIN_S)  # of two connections that end in one moment neither is the last to the server
    with anyio.fail_after(BOUND_S):
        while True:  # nobody tells when a log has a line
            if scene.lab.log.read_text("utf-8").count(DROPPED) > said:
                return
            await anyio.sleep(AGAIN_S)


async def _fill_disk(scene: Scene) -> None:
    scene.undo.callback(fill(scene.lab.root).unlink)


async def _undo(scene: Scene) -> None:
    scene.undo.close()


def fill(folder: Path) -> Path:
    """Leave nothing free on the disk of a folder; the file to be deleted when there is to be room again."""
    filler = folder / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as out:
        while True:
            out.write(bytes(4_096))
    return filler


def save(human: Human) -> None:
    """Have a page ask for a save."""
    human._emit(RAW_SAVE)


FILE_FAULTS: Mapping[str, Fault] = {
    "file edited": Fault(_edit),
    "file edited while the agent is cut off": Fault(_edit_meanwhile, mend_wires),
    "file saved by a second server": Fault(_second_server),
    "file renamed": Fault(_rename),
    "file moved away": Fault(_move_away, _undo),
    "file deleted": Fault(_delete, _undo),
    "file deleted for good": Fault(_delete_for_good),
    "file cut short": Fault(_cut_short, _save_from_the_page),
    "store locked": Fault(_lock_store, _undo),
    "store deleted": Fault(_lose_store, server_again, server=True, kernel=True),
    "store deleted, file edited": Fault(_lose_store_and_write, _all_anew, server=True, kernel=True),
    "store deleted under the server": Fault(_lose_live_store, server_again, server=True, kernel=True),
}
ROOM_DROPPED = Fault(_drop_room, mend_wires)
"""Needs a server that does so soon."""
DISK_FULL = Fault(_fill_disk, _undo)
"""Needs a small disk."""
