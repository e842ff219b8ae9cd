"""Saving, beside a server that is writing the file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from collab_agent.config import Identity, Limits
from collab_agent.errors import NotebookNotFound, NotebookUnreadable, SaveFailed
from collab_agent.peer import NotebookPeer
from collab_agent.testing import InProcessRoom
from collab_agent.testing.host import RoomHost


class Writing(RoomHost):
    """A disk on which the file is empty so many times, as at the moment when a server writes it."""

    def __init__(self, room: InProcessRoom, times: int) -> None:
        super().__init__(room)
        self.times = times

    async def read_back(self) -> dict[str, Any]:
        self.times -= 1
        if self.times >= 0:
            raise NotebookUnreadable("'notebook.ipynb' cannot be read: NotJSONError.")
        return await super().read_back()


async def test_a_file_that_is_just_being_written_is_read_again() -> None:
    async with InProcessRoom(["a = 1"]) as room:
        host = Writing(room, 2)
        async with NotebookPeer.joined(host, "notebook.ipynb", Identity.named("Goose")) as peer:
            await peer.save()
            assert host.times == -1


async def test_a_file_that_stays_unreadable_is_not_said_to_be_saved() -> None:
    async with InProcessRoom(["a = 1"]) as room:
        host, limits = Writing(room, 1_000), Limits(save_s=0.3)
        async with NotebookPeer.joined(host, "notebook.ipynb", Identity.named("Goose"), limits) as peer:
            with pytest.raises(SaveFailed):
                await peer.save()


class Older(RoomHost):
    """A disk that has the cells, and not yet the last line of an output."""

    def __init__(self, room: InProcessRoom, times: int) -> None:
        super().__init__(room)
        self.times = times

    async def read_back(self) -> dict[str, Any]:
        found = await super().read_back()
        self.times -= 1
        if self.times >= 0:
            found["cells"][0]["outputs"][0]["text"] = "one\n"
        return found


async def test_a_file_without_the_last_line_of_an_output_is_not_said_to_hold_it() -> None:
    async with InProcessRoom(["a = 1"]) as room:
        host = Older(room, 2)
        async with NotebookPeer.joined(host, "notebook.ipynb", Identity.named("Goose")) as peer:
            output = {"output_type": "stream", "name": "stdout", "text": "one\ntwo\n"}
            room.notebook.set_cell(0, room.notebook.get_cell(0) | {"outputs": [output]})
            heard = anyio.Event()
            peer.observe(lambda _event: heard.set())
            with anyio.fail_after(5):
                while not peer.outputs(peer.view.cells[0].id):
                    await heard.wait()
                    heard = anyio.Event()
            await peer.save()
            assert host.times == -1


class Overwritten(RoomHost):
    """A disk on which another program writes, while the notebook is saved, what it held at first."""

    def __init__(self, room: InProcessRoom) -> None:
        super().__init__(room)
        self._others: dict[str, Any] | None = room.document()
        self.read: list[list[str]] = []
        self.noticed = anyio.Event()

    async def read_back(self) -> dict[str, Any]:
        found, self._others = self._others, None
        if found is None:
            found = await super().read_back()
        else:
            self._room.notebook.set(found)
            self._room.notebook.dirty = False
            await self.noticed.wait()
        self.read.append([cell["source"] for cell in found["cells"]])
        return found


async def test_what_another_program_wrote_meanwhile_is_not_taken_for_what_was_to_be_saved() -> None:
    async with InProcessRoom(["a = 1"]) as room:
        host = Overwritten(room)
        async with NotebookPeer.joined(host, "notebook.ipynb", Identity.named("Goose")) as peer:
            await peer.edit([{"op": "insert", "source": "mine"}])
            peer.journal.disk.on_overwritten = _and_then(peer.journal.disk.on_overwritten, host.noticed.set)
            await peer.save()
            assert host.read[0] == ["a = 1"]
            assert host.read[-1] == ["a = 1", "mine"]


def _and_then(first: Callable[[int], None], then: Callable[[], None]) -> Callable[[int], None]:
    def both(moment: int) -> None:
        first(moment)
        then()

    return both


class Gone(RoomHost):
    """A file that was moved away."""

    async def read_back(self) -> dict[str, Any]:
        raise NotebookNotFound("The server has no 'notebook.ipynb'.", "")


async def test_a_file_that_is_gone_is_said_to_be_gone() -> None:
    async with (
        InProcessRoom(["a = 1"]) as room,
        NotebookPeer.joined(Gone(room), "notebook.ipynb", Identity.named("Goose")) as peer,
    ):
        with pytest.raises(SaveFailed, match="Not on disk: the notebook's file was moved or deleted"):
            await peer.save()
