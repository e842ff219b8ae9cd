"""The seam between the room's protocol and the network: frames in, frames out.

A ``Channel`` is one connection to one room.  The real one is a websocket; ``collab_agent.testing`` has one in memory.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Protocol

import anyio

from ..config import DEFAULT_LIMITS, Limits
from ..errors import (
    CollabAgentError,
    CollaborationMissing,
    NotebookNotFound,
    NotebookUnreadable,
    RoomClosed,
    Unauthorized,
    Unreachable,
)

if TYPE_CHECKING:
    from ..websocket import FastConnection


class ChannelClosed(Exception):
    """The other side, or the network, has ended the connection; ``error`` says what that means."""

    def __init__(self, error: CollabAgentError) -> None:
        super().__init__(error.message)
        self.error = error


class Channel(Protocol):
    """One connection to a room.  Both methods raise ``ChannelClosed`` once it is over."""

    async def send(self, frame: bytes) -> None:
        """Send one frame."""

    async def receive(self) -> bytes:
        """Wait for the next frame."""

    @property
    def received(self) -> int:
        """How many bytes have come, also of a frame that is not there in full."""


Connect = Callable[[], AbstractAsyncContextManager[Channel]]
"""Opens a new connection to the same room; raises a ``CollabAgentError`` where that cannot be."""


@asynccontextmanager
async def websocket_channel(
    url: str, headers: Mapping[str, str], limits: Limits = DEFAULT_LIMITS, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Channel]:
    """A room's websocket.  ``url`` never holds the token: the server logs URLs; ``headers`` do."""
    from websockets.exceptions import InvalidHandshake, InvalidStatus

    from ..websocket import open_websocket

    try:
        connection = await open_websocket(url, headers, limits, open_s=limits.open_s, tls=tls)
    except InvalidStatus as exc:
        raise _refused(exc.response.status_code) from None
    except (InvalidHandshake, OSError, TimeoutError) as exc:
        raise Unreachable(
            f"The collaboration room does not answer ({type(exc).__name__}).",
            "Is the Jupyter server still running? `collab-agent doctor` tells.",
        ) from None
    try:
        yield _WebsocketChannel(connection)
    finally:
        with anyio.CancelScope(shield=True):  # bounded by CLOSE_S; else a cancelled caller leaves the socket open
            await connection.close()


class _WebsocketChannel:
    def __init__(self, connection: FastConnection) -> None:
        self._connection = connection

    async def send(self, frame: bytes) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            await self._connection.send(frame)
        except ConnectionClosed as exc:
            raise ChannelClosed(_closed(exc)) from None

    async def receive(self) -> bytes:
        from websockets.exceptions import ConnectionClosed

        try:
            frame = await self._connection.recv()
        except ConnectionClosed as exc:
            raise ChannelClosed(_closed(exc)) from None
        return frame.encode() if isinstance(frame, str) else frame

    @property
    def received(self) -> int:
        return self._connection.received


def _refused(status: int) -> CollabAgentError:
    if status in (401, 403):
        return Unauthorized(
            "The server refuses the token for the collaboration room.",
            "Check --token-file or JUPYTER_TOKEN; `collab-agent doctor` tests them.",
        )
    if status == 404:
        return CollaborationMissing(
            "The server has no collaboration rooms.",
            "In the server's environment: pip install 'jupyter-collaboration>=5', then restart it.",
        )
    return Unreachable(f"The server answered {status} instead of opening the collaboration room.", "Try again.")


def _closed(exc: object) -> CollabAgentError:
    """What a close code means (``facts/rtc.md``, section 2)."""
    received = getattr(exc, "rcvd", None)
    code = getattr(received, "code", 1006)
    if code == 4404:
        return NotebookNotFound("The server says that the notebook's file is gone.", "Check the path.")
    if code == 4400:
        return NotebookUnreadable("The server cannot read the file as a notebook.", "Repair the file first.")
    return RoomClosed(f"The connection to the notebook's room was lost (close code {code}).", "It is being restored.")
