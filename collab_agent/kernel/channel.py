"""The websocket to a kernel's channels: how it is opened and reopened.

A cut socket is reopened under the *same* session id: the server then replays what was missed, if no other client was
connected meanwhile, and at least routes later replies here.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal
from urllib.parse import quote, urlencode

import anyio
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException

from ..config import Limits, Server
from ..errors import KernelSilent, NoKernel, RemoteProtocolError, ServerError, ServerRefused, Unauthorized, Unreachable
from ..tls import context_for, untrusted
from ..websocket import FastConnection, open_websocket
from . import legacy, wire
from .messages import MessageFactory
from .wire import SUBPROTOCOL, Message

_log = logging.getLogger(__name__)


async def open_connection(server: Server, kernel_id: str, session_id: str, limits: Limits) -> FastConnection:
    """Connect to the channels of a kernel under a session id, which no other socket may use at the same time.

    Before it accepts, the server waits for an idle kernel's first answer: ``KernelSilent`` where that does not come.

    ``NoKernel``: the server knows no such kernel.  ``Unauthorized``, ``Unreachable``, ``ServerRefused``: as named.
    """
    base = "ws" + server.url.removeprefix("http").rstrip("/")
    url = f"{base}/api/kernels/{quote(kernel_id)}/channels?{urlencode({'session_id': session_id})}"
    headers = {"Authorization": f"token {server.token}"} if server.token else {}
    try:
        tls = context_for(server)
        connection = await open_websocket(
            url, headers, limits, open_s=limits.kernel_open_s, subprotocols=[SUBPROTOCOL], tls=tls
        )
    except InvalidStatus as error:
        raise _refusal(error.response.status_code, server, kernel_id) from None
    except (InvalidHandshake, WebSocketException) as error:
        raise ServerRefused(f"{server.url} does not open the channels of kernel {kernel_id}: {error}") from error
    except TimeoutError:
        raise KernelSilent(
            f"The kernel's channels did not open within {limits.kernel_open_s:g} s: it is still starting, or it is "
            "stopped or stuck, or the server is.",
            'Call again in a few seconds; if that does not help, execute_notebook_code(action="restart") ends it.',
        ) from None
    except OSError as error:
        raise untrusted(server, error) or Unreachable(
            f"{server.url} does not answer: {error}", "Is the Jupyter server running? Try `collab-agent doctor`."
        ) from error
    return connection


def _refusal(status: int, server: Server, kernel_id: str) -> NoKernel | Unauthorized | ServerRefused:
    if status == 404:
        return NoKernel(
            f"{server.url} has no kernel {kernel_id}", "Call setup_notebook again: it takes or starts a kernel."
        )
    if status in (401, 403):
        return Unauthorized(f"{server.url} refuses the token", "Try `collab-agent doctor`.")
    return ServerRefused(f"{server.url} answers {status} for the channels of kernel {kernel_id}")


class Link:
    """A websocket that comes back; frames sent while it is away, or held, wait.

    ``delays``: seconds before each attempt to reopen it.
    """

    def __init__(
        self, server: Server, kernel_id: str, messages: MessageFactory, delays: Sequence[float], limits: Limits
    ) -> None:
        self._server = server
        self._limits = limits
        self._kernel_id = kernel_id
        self._messages = messages
        self._delays = delays
        self._connection: FastConnection | None = None
        self._backlog: deque[bytes] = deque()
        self._held = False
        self._is_legacy = False

    @property
    def name(self) -> Literal["websocket"]:
        return "websocket"

    @property
    def messages(self) -> MessageFactory:
        return self._messages

    @property
    def held(self) -> bool:
        return self._held

    @property
    def connection(self) -> FastConnection | None:
        """The open socket; None while there is none."""
        return self._connection

    async def open(self) -> None:
        """Connect, and send what waits; errors as ``open_connection``."""
        self._connection = await open_connection(self._server, self._kernel_id, self._messages.session_id, self._limits)
        self._is_legacy = self._connection.subprotocol is None  # as of a server whose kernels a gateway runs
        self._flush()

    def send(self, frame: bytes) -> None:
        """Send without an ``await``, or keep for the next connection; in order."""
        self._backlog.append(frame)
        self._flush()

    def send_past(self, frame: bytes) -> None:
        """Send before all that waits or is held, or not at all."""
        if self._connection is not None:
            self._connection.send_now(self._spoken(frame))

    def ask_process(self) -> None:
        """Ask, past all that waits, for what tells which process of the kernel answers."""
        self.send_past(self._messages.request("shell", "kernel_info_request", {})[1])

    def hold(self) -> None:
        """Let everything wait until ``release``."""
        self._held = True

    def release(self) -> None:
        self._held = False
        self._flush()

    def _flush(self) -> None:
        connection = self._connection
        while connection and self._backlog and not self._held and connection.send_now(self._spoken(self._backlog[0])):
            self._backlog.popleft()

    def _spoken(self, frame: bytes) -> bytes | str:
        """A v1 frame in the dialect of this connection."""
        return legacy.encode(frame) if self._is_legacy else frame

    def decode(self, frame: str | bytes) -> Message:
        """The message in a frame of this connection.  ``RemoteProtocolError``: the frame is broken."""
        if self._is_legacy:
            return legacy.decode(frame)
        if isinstance(frame, str):
            raise RemoteProtocolError("a kernel frame is text where v1 frames are binary")
        return wire.decode(frame)

    def drop_waiting(self) -> None:
        self._backlog.clear()

    async def run(self, received: Callable[[str | bytes], None], lost: Callable[[], None]) -> None:
        """Pass on every frame of this connection; return, after a call of ``lost``, when it is cut."""
        assert self._connection is not None
        with contextlib.suppress(ConnectionClosed):
            async for frame in self._connection:
                received(frame)
        self._connection = None
        lost()

    async def reopen(self) -> str:
        """Connect again; empty, or why that is impossible for good, to complete the sentence "the kernel …"."""
        for delay in self._delays:
            await anyio.sleep(delay)
            try:
                await self.open()
            except NoKernel:
                return "was shut down while the connection was away"
            except Unauthorized:
                return "cannot be reached any more: the server refuses the token"
            except (ServerError, KernelSilent) as error:
                _log.info("reconnecting to kernel %s: %s", self._kernel_id, error.message)
            else:
                return ""
        return "cannot be reached any more: the server does not answer"

    async def aclose(self) -> None:
        """Close the socket, within a second; twice is harmless."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with anyio.CancelScope(shield=True):  # bounded by the connection's own close_timeout
                await connection.close()
