"""An in-process room as the outside of one notebook: no kernel, and the room itself for a disk."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any, Never

from ..errors import NoKernel
from ..room.channel import Channel
from .room import InProcessRoom


class RoomHost:
    """What ``NotebookPeer.joined`` needs to join an ``InProcessRoom``; running code raises ``NoKernel``."""

    def __init__(self, room: InProcessRoom) -> None:
        self._room = room
        self._saves = 0
        self._file = room.document()
        self.process = ""
        """To be changed by a test in which the room's server is said to have restarted."""

    def connect(self) -> AbstractAsyncContextManager[Channel]:
        """A new connection to the room."""
        return self._room.connect()

    async def where(self) -> str:
        """In no file."""
        return ""

    async def kernel_id(self, kernel: str | None, *, human_here: bool) -> str:
        """There is none."""
        return _no_kernel()

    async def lost_kernel(self, kernel_id: str) -> str:
        """There is none to lose."""
        return ""

    def kernel_client(self, kernel_id: str) -> AbstractAsyncContextManager[Any]:
        """There is none."""
        return _no_kernel()

    async def interrupt(self, kernel_id: str) -> None:
        """There is nothing to interrupt."""
        _no_kernel()

    async def restart(self, kernel_id: str) -> None:
        """There is nothing to restart."""
        _no_kernel()

    async def read_back(self) -> dict[str, Any]:
        """What a file would hold."""
        return self._room.document()

    async def on_disk(self) -> tuple[dict[str, Any], str]:
        """What it held when the room was last asked to save."""
        if self._saves != len(self._room.saves):
            self._saves, self._file = len(self._room.saves), self._room.document()
        return self._file, ""

    async def modified(self) -> str:
        """How often the room was asked to save."""
        return str(len(self._room.saves))


def _no_kernel() -> Never:
    raise NoKernel("A room in this process has no kernel.", "Run code on a real server.")
