"""When the agent puts back what the room no longer holds, and when it does not.  The room is one in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from jupyter_ydoc import YNotebook

from collab_agent.config import Identity, Limits
from collab_agent.errors import CollabAgentError, InvalidEdit
from collab_agent.peer import NotebookPeer
from collab_agent.policy import Policy
from collab_agent.room.protocol import Synced
from collab_agent.testing import Human, InProcessRoom, RoomHost


class Pairing:
    """An agent and Ada in a room whose server can be said to have restarted."""

    def __init__(self, room: InProcessRoom, host: RoomHost, peer: NotebookPeer, ada: Human) -> None:
        self.room, self.host, self.peer, self.ada = room, host, peer, ada

    async def back_to(self, file: dict[str, Any], process: str, meanwhile: Callable[[], object] = lambda: None) -> None:
        """All lose the room, which is as the file was when they come back, but for what was done ``meanwhile``."""
        joined = anyio.Event()
        unsubscribe = self.peer.observe(lambda event: joined.set() if isinstance(event, Synced) else None)
        self.host.process = process
        self.room.cut()
        self.room.notebook.set(file)
        meanwhile()
        with anyio.fail_after(10):
            await joined.wait()
        unsubscribe()

    async def peer_has(self, *texts: str) -> None:
        """Wait until the agent has these texts."""
        heard = anyio.Event()
        unsubscribe = self.peer.observe(lambda _event: heard.set())
        with anyio.fail_after(10):
            while [cell.source for cell in self.peer.view.cells] != list(texts):
                await heard.wait()
                heard = anyio.Event()
        unsubscribe()

    async def both_have(self, *texts: str) -> None:
        """Wait until the room and Ada have these texts."""
        with anyio.fail_after(10):
            await self.room.wait_for(lambda: self.room.sources() == list(texts))
            await self.ada.wait_for(lambda: self.ada.sources() == list(texts))


@pytest.fixture
async def pairing(anyio_backend: str) -> AsyncIterator[Pairing]:
    """The agent has seen both cells."""
    async with paired() as made:
        yield made


@asynccontextmanager
async def paired(policy: Policy | None = None, limits: Limits | None = None) -> AsyncIterator[Pairing]:
    async with InProcessRoom(["a = 1\n", "b = 2\n"]) as room, Human.join(room.connect, "Ada") as ada:
        host = RoomHost(room)
        host.process = "first"
        peer = NotebookPeer(host, "notebook.ipynb", Identity.named("Goose"), limits, policy=policy)
        async with anyio.create_task_group() as tasks:
            await tasks.start(peer.run)
            for cell in peer.view.cells:
                peer.seen.show(cell)
            yield Pairing(room, host, peer, ada)
            tasks.cancel_scope.cancel()


EDIT = {"op": "replace", "cell": "first", "old": "a = 1", "new": "a = agent"}


async def test_a_confirmed_edit_is_put_back_after_a_restart_and_told_once(pairing: Pairing) -> None:
    file = pairing.room.document()
    await pairing.peer.edit([EDIT])
    await pairing.back_to(file, "second")
    await pairing.both_have("a = agent\n", "b = 2\n")
    told = pairing.peer.journal.losses.tell()
    assert told.startswith("the server restarted: your edit of ")
    assert told.endswith(", which it had lost, is in again")
    assert pairing.peer.journal.losses.tell() == ""
    assert pairing.peer.take_changes() == []
    await pairing.back_to(file, "third")  # before that was saved
    await pairing.both_have("a = agent\n", "b = 2\n")


async def test_what_is_different_after_a_mere_cut_is_others_doing(pairing: Pairing) -> None:
    file = pairing.room.document()
    await pairing.peer.edit([EDIT])
    await pairing.back_to(file, "first")
    assert [cell.source for cell in pairing.peer.view.cells] == ["a = 1\n", "b = 2\n"]
    assert pairing.peer.journal.losses.tell() == ""
    assert [change.edited for change in pairing.peer.take_changes()] == [True]


async def test_a_room_that_was_made_anew_while_nobody_was_in_it_is_no_mere_cut(pairing: Pairing) -> None:
    file = pairing.room.document()
    await pairing.peer.edit([EDIT])
    await pairing.ada.type(1, "c = 3\n")
    await pairing.peer_has("a = agent\n", "b = 2\nc = 3\n")
    anew = YNotebook()  # the server's, which begins with where the file is
    anew.path = pairing.room.notebook.path or ""
    pairing.room.notebook.ydoc.apply_update(anew.ydoc.get_update())
    await pairing.back_to(file, "first")
    await pairing.both_have("a = agent\n", "b = 2\n")
    told = pairing.peer.journal.losses.tell()
    assert told.startswith("the server opened the notebook anew: your edit of ")
    assert "lost: what Ada had written in " in told


async def test_what_another_program_wrote_while_the_agent_was_away_is_told_as_such(pairing: Pairing) -> None:
    await pairing.peer.save()
    pairing.room.notebook.hash = "of what was saved"
    await pairing.peer_has("a = 1\n", "b = 2\n")
    file = pairing.room.document()
    await pairing.peer.edit([EDIT])
    await pairing.ada.type(1, "c = 3\n")
    await pairing.peer_has("a = agent\n", "b = 2\nc = 3\n")
    await pairing.back_to(file, "first")  # which takes the hash out
    await pairing.both_have("a = agent\n", "b = 2\n")
    told = pairing.peer.journal.losses.tell()
    assert told.startswith("another program wrote the file: your edit of ")
    assert "lost: what Ada had written in " in told


class Unread(RoomHost):
    """A file that takes long to read."""

    async def on_disk(self) -> tuple[dict[str, Any], str]:
        """Not yet."""
        await anyio.sleep_forever()
        raise AssertionError


@pytest.mark.parametrize("saved", [True, False])
async def test_what_another_program_takes_out_before_the_file_was_read_was_on_disk_if_all_was(saved: bool) -> None:
    async with InProcessRoom(["a = 1\n", "b = 2\n"]) as room, Human.join(room.connect, "Ada") as ada:
        host = Unread(room)
        room.notebook.dirty, room.notebook.hash = not saved, "of what was saved"
        peer = NotebookPeer(host, "notebook.ipynb", Identity.named("Goose"))
        async with anyio.create_task_group() as tasks:
            await tasks.start(peer.run)
            pairing = Pairing(room, host, peer, ada)
            await pairing.peer_has("a = 1\n", "b = 2\n")
            file = room.document()
            del file["cells"][1]
            room.notebook.set(file)
            await pairing.peer_has("a = 1\n")
            assert ("lost: the cell" in peer.journal.losses.tell()) is not saved
            tasks.cancel_scope.cancel()


async def test_what_was_saved_is_not_put_back(pairing: Pairing) -> None:
    file = pairing.room.document()
    await pairing.peer.edit([EDIT])
    await pairing.peer.save()
    await pairing.back_to(file, "second")
    assert [cell.source for cell in pairing.peer.view.cells] == ["a = 1\n", "b = 2\n"]
    assert "lost: what you had written in " in pairing.peer.journal.losses.tell()


async def test_an_undo_is_an_edit_and_is_put_back(pairing: Pairing) -> None:
    await pairing.peer.edit([EDIT])
    await pairing.peer.save()
    file = pairing.room.document()
    await pairing.peer.edit([{"op": "undo"}])
    await pairing.back_to(file, "second")
    await pairing.both_have("a = 1\n", "b = 2\n")


async def test_what_a_human_typed_is_restored_over_what_was_typed_since(pairing: Pairing) -> None:
    file = pairing.room.document()
    await pairing.ada.type(0, "c = 3\n")
    await pairing.ada.delete_cell(1)
    heard = await pairing.ada.insert_cell(1, "d = 4")
    await pairing.peer_has("a = 1\nc = 3\n", "d = 4")
    await pairing.peer.edit([{"op": "insert", "source": "mine"}])
    with pytest.raises(InvalidEdit, match="nothing is known to be lost"):
        await pairing.peer.edit([{"op": "restore"}])
    await pairing.back_to(file, "second")
    await pairing.both_have("a = 1\n", "mine", "b = 2\n")
    await pairing.ada.type(0, "# since\n", at=0)
    await pairing.peer_has("# since\na = 1\n", "mine", "b = 2\n")
    told = pairing.peer.journal.losses.tell()
    assert "lost: what Ada had written in " in told
    with pytest.raises(InvalidEdit, match="nothing is lost of"):
        await pairing.peer.edit([{"op": "restore", "cells": "last"}])
    await pairing.peer.edit([{"op": "restore", "cells": [heard[:4], "first"]}])
    assert set(pairing.room.sources()) == {"# since\na = 1\nc = 3\n", "d = 4", "mine", "b = 2\n"}
    assert len(pairing.room.sources()) == 4


async def test_what_a_human_typed_at_a_new_page_before_the_agent_was_back_stays_beside_what_is_restored() -> None:
    async with paired(limits=Limits(line_quiet_s=0)) as pairing:
        file = pairing.room.document()

        def reload() -> None:
            page = YNotebook()
            page.ydoc.apply_update(pairing.room.notebook.ydoc.get_update())
            text = page.ycells[0]["source"]
            text.insert(len(str(text)), "# new page\n")
            pairing.room.notebook.ydoc.apply_update(page.ydoc.get_update())

        await pairing.ada.type(0, "c = 3\n")
        await pairing.peer_has("a = 1\nc = 3\n", "b = 2\n")
        await pairing.back_to(file, "second", reload)
        await pairing.both_have("a = 1\n# new page\n", "b = 2\n")
        await pairing.peer.edit([{"op": "restore", "force": True}])
        await pairing.both_have("a = 1\nc = 3\n# new page\n", "b = 2\n")


async def test_an_agent_that_may_not_write_puts_nothing_back() -> None:
    async with paired(Policy(read_only=True)) as pairing:
        file = pairing.room.document()
        await pairing.ada.type(0, "c = 3\n")
        with anyio.fail_after(10):
            await pairing.room.wait_for(lambda: "c = 3" in pairing.room.sources()[0])
        await pairing.back_to(file, "second")
        assert "lost: " in pairing.peer.journal.losses.tell()
        with pytest.raises(CollabAgentError):
            await pairing.peer.edit([{"op": "restore"}])
        assert [cell.source for cell in pairing.peer.view.cells] == ["a = 1\n", "b = 2\n"]
