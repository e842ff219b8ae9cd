"""The websockets to the Jupyter server: opened with the token in a header, kept fast, bound to one origin.

The server leaves Nagle's algorithm on, so that the second of two small messages waits until the first was
acknowledged, and the client's TCP delays acknowledgements by up to 40 ms.  ``TCP_QUICKACK``, re-armed whenever data
came in, acknowledges at once: it takes ``1+1`` from some 48 ms to some 8 ms, and the echo of an edit that follows
another frame from some 43 ms to some 2 ms (Linux; elsewhere the option is missing).
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.protocol import State
from websockets.typing import Subprotocol

from .config import Limits

CLOSE_S = 1.0


class FastConnection(ClientConnection):
    """A websocket that acknowledges at once, can send without an ``await``, and notices a silent other side."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.received = 0
        """How many bytes have come."""
        self._heard = self.loop.time()
        self._came = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self._acknowledge_now()
        self.received += len(data)
        self._heard = self.loop.time()
        self._came.set()
        super().data_received(data)

    async def keepalive(self) -> None:
        """Ping where nothing comes, and give the connection up if still nothing does.

        Any byte is a sign of life: on a slow line the pong stands behind a notebook of many megabytes.
        """
        assert self.ping_interval is not None
        while True:
            quiet = self.loop.time() - self._heard
            if quiet < self.ping_interval:
                await asyncio.sleep(self.ping_interval - quiet)
                continue
            self._came.clear()
            await self.ping()
            try:
                async with asyncio.timeout(self.ping_timeout):
                    await self._came.wait()
            except TimeoutError:
                self.transport.abort()  # nobody is there to agree to the end
                return

    def _acknowledge_now(self) -> None:
        raw = self.transport.get_extra_info("socket")
        if raw is None or not hasattr(socket, "TCP_QUICKACK"):
            return
        try:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        except OSError:
            # No TCP socket (a Unix socket), or it is closed by now: only the speed is lost.
            return

    def send_now(self, frame: bytes | str) -> bool:
        """Hand ``frame`` to the transport before returning; False if the connection is not open.

        The transport buffers without bound.  True does not say that the frame arrives.
        """
        if self.protocol.state is not State.OPEN or self.transport.is_closing():
            return False
        if isinstance(frame, str):
            self.protocol.send_text(frame.encode())
        else:
            self.protocol.send_binary(frame)
        self.send_data()
        return True


class _Direct(connect):
    """Follows no redirect: the token belongs to one origin."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


async def open_websocket(
    url: str,
    headers: Mapping[str, str],
    limits: Limits,
    *,
    open_s: float,
    subprotocols: Sequence[str] = (),
    tls: ssl.SSLContext | None = None,
) -> FastConnection:
    """Connect; raises what ``websockets.connect`` raises.  ``url`` must not hold the token: servers log URLs.

    ``tls`` verifies a ``wss`` address; None: the system's authorities do.
    """
    loopback = urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")
    connection = await _Direct(
        url,
        subprotocols=[Subprotocol(name) for name in subprotocols] or None,
        additional_headers=dict(headers),
        create_connection=FastConnection,
        # The library logs all headers, and so the token, where debugging is on for its own logger.
        logger=logging.Logger("collab_agent.websocket", logging.WARNING),
        compression=None,
        max_size=None,
        ping_interval=limits.ping_s,
        ping_timeout=limits.pong_s,
        open_timeout=open_s,
        close_timeout=CLOSE_S,
        proxy=None if loopback else True,
        ssl=(tls or True) if url.startswith("wss:") else None,
    )
    assert isinstance(connection, FastConnection)
    return connection
