"""A kernel's own ZMQ sockets, on the same machine: nothing is dropped there.

The server's websocket drops output above 1000 messages or 1 MB a second for good; these sockets do not.  A message on
them is ``ids… | <IDS|MSG> | signature | header | parent | metadata | content | buffers…``: the same parts as in a
v1 frame, signed (Jupyter messaging, "The Wire Protocol").

A kernel answers nothing at all to a wrong signature, a socket connects to a port where nobody listens, and a
subscription takes its time.  So the sockets are used only after the kernel has answered a request on them, and an
iopub message that the request caused has come.  It goes to the control channel, which a busy kernel answers, too.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

import anyio
from anyio.to_thread import run_sync

from ..config import Server
from ..errors import RemoteProtocolError
from .connection_file import Connection, find_connection
from .messages import MessageFactory
from .wire import Channel, Message, message_of, parts_of

DELIMITER = b"<IDS|MSG>"
# How long the kernel may take to be heard on its sockets, and how often it is asked: the subscription may come late.
_VERIFY_S, _ASK_S = 2.0, 0.1
# zmq.asyncio does not yield while messages are waiting: how many to take before others have their turn.
_BURST = 20

_log = logging.getLogger(__name__)


class DirectLink:
    """The sockets of one kernel process, under a session id of their own.  Made by ``open_direct``."""

    def __init__(self, connection: Connection, messages: MessageFactory, context: Any) -> None:
        self._connection = connection
        self._messages = messages
        self._sockets = {
            channel: _socket(context, channel, address, messages.session_id.encode())
            for channel, address in connection.addresses.items()
        }

    @property
    def name(self) -> Literal["zmq"]:
        return "zmq"

    @property
    def messages(self) -> MessageFactory:
        return self._messages

    def send(self, frame: bytes) -> None:
        """See ``Route``.  The sockets buffer without bound."""
        channel, parts = parts_of(frame)
        self._sockets[channel].send_multipart([DELIMITER, self._sign(parts), *parts])

    async def run(self, received: Callable[[Message], None]) -> None:
        """Pass on every message, until cancelled."""
        async with anyio.create_task_group() as tasks:
            for channel in self._sockets:
                tasks.start_soon(self._receive, channel, received)

    async def _receive(self, channel: Channel, received: Callable[[Message], None]) -> None:
        socket = self._sockets[channel]
        while True:
            for _ in range(_BURST):
                message = self._read(channel, await socket.recv_multipart())
                if message is not None:
                    received(message)
            await anyio.lowlevel.checkpoint()

    def _read(self, channel: Channel, frames: list[bytes]) -> Message | None:
        if DELIMITER not in frames:
            return None
        signature, *parts = frames[frames.index(DELIMITER) + 1 :] or [b""]
        if not hmac.compare_digest(signature, self._sign(parts)):
            _log.warning("a message with a wrong signature was skipped")
            return None
        try:
            return message_of(channel, parts)
        except RemoteProtocolError as error:
            _log.warning("a message was skipped: %s", error.message)
            return None

    def _sign(self, parts: Sequence[bytes]) -> bytes:
        made = hmac.new(self._connection.key, digestmod=self._connection.digest)
        for part in parts[:4]:
            made.update(part)
        return made.hexdigest().encode()


def _socket(context: Any, channel: Channel, address: str, identity: bytes) -> Any:
    import zmq

    socket = context.socket(zmq.SUB if channel == "iopub" else zmq.DEALER)
    socket.linger = 0
    socket.set_hwm(0)  # without it, ZMQ drops what we do not read in time
    if channel == "iopub":
        socket.setsockopt(zmq.SUBSCRIBE, b"")
    else:
        socket.setsockopt(zmq.IDENTITY, identity)  # how an input request finds the sender of the cell
    socket.connect(address)
    return socket


class _Verifier:
    """Asks the kernel until it is heard on both ways: the reply, and what the request causes on iopub."""

    def __init__(self, link: DirectLink) -> None:
        self._link = link
        self._heard: set[Channel] = set()
        self._both = anyio.Event()

    def receive(self, message: Message) -> None:
        if message.parent_session == self._link.messages.session_id:
            self._heard.add(message.channel)
            if self._heard >= {"control", "iopub"}:
                self._both.set()

    async def verify(self) -> bool:
        with anyio.move_on_after(_VERIFY_S):
            while not self._both.is_set():
                self._link.send(self._link.messages.request("control", "kernel_info_request", {})[1])
                with anyio.move_on_after(_ASK_S):
                    await self._both.wait()
        return self._both.is_set()


@asynccontextmanager
async def open_direct(
    server: Server, kernel_id: str, username: str, received: Callable[[Message, DirectLink], None]
) -> AsyncIterator[DirectLink | None]:
    """The kernel's own sockets, proved to work, each message passed to ``received``; None where that is impossible."""
    connection = await run_sync(find_connection, server, kernel_id)
    if connection is None:
        yield None
        return
    messages = await MessageFactory.create(username)
    context = await run_sync(_context)
    try:
        link = _made(connection, messages, context)
        if link is None:
            yield None
            return
        async with anyio.create_task_group() as tasks:
            verifier = _Verifier(link)

            def receive(message: Message) -> None:
                verifier.receive(message)
                received(message, link)

            tasks.start_soon(link.run, receive)
            yield link if await verifier.verify() else None
            tasks.cancel_scope.cancel()
    finally:
        context.destroy(linger=0)


def _context() -> Any:
    import zmq.asyncio

    return zmq.asyncio.Context()


def _made(connection: Connection, messages: MessageFactory, context: Any) -> DirectLink | None:
    import zmq

    try:
        return DirectLink(connection, messages, context)
    except (zmq.ZMQError, RuntimeError) as error:  # an address that ZMQ refuses, an event loop that it cannot use
        _log.info("a kernel cannot be reached by ZMQ: %s", error)
        return None
