"""Saving, beside a server that is writing the file."""

from __future__ import annotations

from typing import Any

import pytest

from collab_agent.config import Identity, Limits
from collab_agent.errors import NotebookUnreadable, SaveFailed
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
