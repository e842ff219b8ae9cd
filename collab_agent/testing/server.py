"""The way into a real server's room, written without ``collab_agent.jupyter`` and ``collab_agent.room``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote

import anyio
import httpx2
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from ..config import Server
from ..errors import NotebookNotFound, RoomClosed, ServerRefused, Unreachable
from ..room.channel import ChannelClosed


class _Socket:
    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self.received = 0

    async def send(self, frame: bytes) -> None:
        try:
            await self._connection.send(frame)
        except ConnectionClosed as exc:
            raise ChannelClosed(_lost(exc)) from None

    async def receive(self) -> bytes:
        try:
            frame = await self._connection.recv(decode=False)
        except ConnectionClosed as exc:
            raise ChannelClosed(_lost(exc)) from None
        self.received += len(frame)
        return frame


def _lost(exc: ConnectionClosed) -> RoomClosed:
    code = 1006 if exc.rcvd is None else exc.rcvd.code
    return RoomClosed(f"The human's connection to the room was lost (close code {code}).")


@asynccontextmanager
async def human_channel(server: Server, path: str) -> AsyncIterator[_Socket]:
    """A connection to the room of a notebook that exists on ``server``."""
    headers = {"Authorization": f"token {server.token}"}
    base = server.url.rstrip("/")
    try:
        async with httpx2.AsyncClient(headers=headers, trust_env=False, timeout=30) as client:
            found = await client.get(f"{base}/api/contents/{quote(path)}", params={"content": "0"})
            if found.status_code == 404:  # a session for a missing file would stop every open room
                raise NotebookNotFound(f"There is no {path!r} on the server.")
            answer = await client.put(
                f"{base}/api/collaboration/session/{quote(path)}", json={"format": "json", "type": "notebook"}
            )
        if not answer.is_success:
            raise ServerRefused(f"The server answered {answer.status_code} to the session of {path!r}.")
        room = answer.json()
        address = f"ws{base.removeprefix('http')}/api/collaboration/room/"
        address += f"{room['format']}:{room['type']}:{room['fileId']}?sessionId={room['sessionId']}"
        connection = await connect(
            address, additional_headers=headers, max_size=None, compression=None, close_timeout=1, proxy=None
        )
    except (httpx2.HTTPError, WebSocketException, OSError, TimeoutError) as exc:
        raise Unreachable(f"The human cannot reach the room ({type(exc).__name__}).") from None
    try:
        yield _Socket(connection)
    finally:
        with anyio.CancelScope(shield=True):  # bounded by close_timeout
            await connection.close()
