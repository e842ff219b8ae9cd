"""The two routes to a kernel, and which of them requests take.

The server's websocket is always there: only it tells what becomes of the kernel's process, and as long as it is open
the kernel is not culled, and the server keeps no output back for a client to come.  But it drops output above a rate.
So where the kernel's own ZMQ sockets can be reached, requests take those, as soon as nothing of ours is in progress:
never in the midst of a run.  They serve one process; when it goes away, requests take the websocket until the
successor's sockets are proved to work.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, Protocol

import anyio

from ..config import Server
from .channel import Link
from .direct import DirectLink, open_direct
from .messages import MessageFactory
from .wire import Message

RouteName = Literal["websocket", "zmq"]


class Route(Protocol):
    """A way to a kernel, under a session id that no other way uses: replies come to the socket that last used it."""

    @property
    def name(self) -> RouteName:
        """What it rides on."""

    @property
    def messages(self) -> MessageFactory:
        """Makes the requests of its session."""

    def send(self, frame: bytes) -> None:
        """Send a v1 frame of its session, or keep it until it can be sent; nothing is awaited."""


class Routes:
    """The websocket, and the sockets of the process that lives now, where they can be reached."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._direct: DirectLink | None = None
        self._scope = anyio.CancelScope()
        self.active: Route = link
        """Where requests go."""
        self.settled = False
        """Whether it is known if the process that lives now can be reached directly, and requests go there if so."""
        self.sessions = {link.messages.session_id}
        """All that were ever ours."""

    @property
    def direct(self) -> bool:
        """Whether requests take the kernel's own sockets."""
        return self.active is not self._link

    def counts(self, message: Message, source: Route) -> bool:
        """Whether a message is to be taken from this route: iopub messages come on both.

        What a request of ours causes is taken from the request's own route, all else from the one in use.
        """
        if message.parent_session in self.sessions:
            return message.parent_session == source.messages.session_id
        return source is self.active

    def switch(self) -> None:
        """Send directly from now on, if that is possible (yet)."""
        if self._direct is not None:
            self.active, self.settled = self._direct, True

    def ask_for_life(self) -> None:
        """Ask for a sign of life where requests go now, if anything can be sent there.

        On the control channel, which ipykernel serves while it runs code.
        """
        frame = self.active.messages.request("control", "kernel_info_request", {})[1]
        if self.direct:
            self.active.send(frame)
        else:
            self._link.send_past(frame)

    def sign_as(self, username: str) -> None:
        """What others see in the headers of requests from now on."""
        for route in (self._link, self._direct):
            if route is not None:
                route.messages.username = username

    def lose_process(self) -> None:
        """The kernel's process has gone away, and its sockets with it."""
        self.active, self._direct, self.settled = self._link, None, False
        self._scope.cancel()

    async def hold_direct(
        self,
        server: Server,
        kernel_id: str,
        received: Callable[[Message, Route], None],
        changed: Callable[[], None],
        until_free: Callable[[], Awaitable[None]],
    ) -> None:
        """Try to reach the sockets of the process that lives now, and receive from them until it goes away.

        ``changed`` is called when it is known whether they can be reached.  Some kernels answer nothing while they
        are busy: they get a second chance when they are free.
        """
        with anyio.CancelScope() as self._scope:
            for _ in range(2):
                async with open_direct(server, kernel_id, self._link.messages.username, received) as direct:
                    if direct is not None:
                        direct.messages.username = self._link.messages.username
                        self.sessions.add(direct.messages.session_id)
                        self._direct = direct
                        changed()
                        await anyio.sleep_forever()
                self.settled = True
                changed()
                await until_free()
            await anyio.sleep_forever()
