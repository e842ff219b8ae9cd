"""A kernel's client: requests out, every message to the request that caused it.

The client is one of many on the kernel: the human's page is another, and every one of them receives every iopub
message.  Replies and input requests come to their sender only.  The parts are elsewhere: frames in ``wire``, the life
of a request in ``execution``, who gets which message in ``dispatch``, what others do in ``observer``, the server's
websocket in ``channel``, the kernel's own sockets in ``direct``, and which of the two is used in ``routes``.

Three rules:

- ``send_execute`` does not ``await``: whoever reads a cell's source can send exactly that text.
- The shell channel is a queue, so that the answer to a ``kernel_info_request`` (the *marker*) proves that the kernel is
  past everything sent before it.  It is sent after each connect, and to each new kernel process: what was sent before
  and has no reply by then never gets one, and what others had begun before has ended.  Until it is answered the kernel
  is busy with something that we did not see begin.
- From the end of one kernel process until its successor is heard, requests wait here: the old process would lose them,
  and the new one's first output would be lost.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import anyio

from ..config import DEFAULT_LIMITS, Limits, Server
from ..errors import KernelError, RemoteProtocolError, sole_cause
from .channel import Link
from .dispatch import Dispatcher, Marker, OnMessage, call, died
from .execution import ConnectionGap, Execution, KernelGone
from .messages import MessageFactory
from .observer import Event, ForeignRun, ForeignRunEnded, ForeignRunStarted, KernelBack, Observer
from .routes import Route, RouteName, Routes
from .wire import Channel, Message

_log = logging.getLogger(__name__)

ForeignListener = Callable[[ForeignRunStarted | ForeignRunEnded], None]
LifeListener = Callable[[KernelGone | KernelBack | ConnectionGap], None]

# For some ten minutes: the kernel goes on without us, and a machine that was asleep finds it again.
RECONNECT_DELAYS_S = (0.05, 0.2, 0.5, 1.0, 2.0, *[4.0] * 150)
# How long connecting waits for the marker's answer: an idle kernel takes some 10 ms, a busy one says nothing.
_MARKER_S = 1.0
# When a new kernel process is asked to make itself heard, because its first words can be lost.
_NUDGE_S, _NUDGE_MAX_S = 0.5, 8.0


class KernelClient:
    """One client of one kernel.  Made by ``connect``; used from one event loop, by any number of tasks."""

    def __init__(self, kernel_id: str, link: Link) -> None:
        self.kernel_id = kernel_id
        self._link = link
        self._routes = Routes(link)
        self._observer = Observer(self._routes.sessions)
        self._dispatcher = Dispatcher()
        self._marker: Marker | None = None
        self._gone: KernelGone | None = None
        self._closed = False
        self._implementation = ""
        self.heard = self.now()
        """When anything last came from the kernel, or from the server in its name."""
        self._changed = anyio.Event()
        self._scope = anyio.CancelScope()
        self._on_foreign: list[ForeignListener] = []
        self._on_life: list[LifeListener] = []

    @classmethod
    @contextlib.asynccontextmanager
    async def connect(
        cls,
        server: Server,
        kernel_id: str,
        *,
        username: str = "collab-agent",
        reconnect_delays: Sequence[float] = RECONNECT_DELAYS_S,
        limits: Limits = DEFAULT_LIMITS,
    ) -> AsyncIterator[KernelClient]:
        """A connected client; leaving closes it.  Errors as ``channel.open_connection``.

        ``reconnect_delays``: seconds before each attempt to reopen a cut socket; then the kernel counts as gone.
        """
        messages = await MessageFactory.create(username)
        link = Link(server, kernel_id, messages, reconnect_delays, limits)
        await link.open()
        client = cls(kernel_id, link)
        try:
            async with anyio.create_task_group() as tasks:
                client._mark()
                tasks.start_soon(client._receive_all)
                tasks.start_soon(client._nudge)
                tasks.start_soon(client._go_direct, server)
                try:
                    with anyio.move_on_after(_MARKER_S):
                        while client._marker is not None:
                            await client._changed.wait()
                    yield client
                finally:
                    await client.aclose()
                    tasks.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            raise sole_cause(group) from None

    @property
    def session_id(self) -> str:
        """The session in the headers of this client's requests."""
        return self._routes.active.messages.session_id

    @property
    def route(self) -> RouteName:
        """Where the next request goes: over the server's ``websocket``, or by ``zmq``, where no output is dropped."""
        return self._routes.active.name

    async def route_settled(self) -> RouteName:
        """The route, once it is known whether this process can be reached by ZMQ."""
        while not self._routes.settled and self._gone is None:
            await self._changed.wait()
        return self.route

    @property
    def gone(self) -> KernelGone | None:
        """Why nothing can be sent any more; None while the kernel, or its successor, is there."""
        return self._gone

    @property
    def connected(self) -> bool:
        """Whether the socket is open; while it is not, what is sent over it waits for it."""
        return self._link.connection is not None

    async def wait_reachable(self) -> None:
        """Return when requests go out at once, or never will."""
        while not self.connected and not self._routes.direct and self._gone is None:
            await self._changed.wait()

    def ask_for_life(self) -> None:
        """Ask for a sign of life; ``heard`` tells whether one has come."""
        self._routes.ask_for_life()

    def was_restarted(self) -> None:
        """It was, and has said nothing: a process that was stopped is killed without a word."""
        self._announce(self._observer.gone("was restarted"))

    @property
    def answers_while_busy(self) -> bool:
        """Whether silence means that something is wrong: nothing has come at all, or it is known to be ipykernel."""
        return self._implementation in ("", "ipython")

    @property
    def foreign_busy(self) -> ForeignRun | None:
        """Somebody else's run that is in progress: the one that began first."""
        if self._observer.foreign is None and self._marker is not None and not self._dispatcher.pending:
            return ForeignRun("", None, None, self._marker.sent)
        return self._observer.foreign

    @staticmethod
    def now() -> float:
        """The clock of all times here: the event loop's, in seconds."""
        return anyio.current_time()

    async def wait_idle(self, quiet_s: float = 0.05) -> None:
        """Return when no foreign run has been in progress for ``quiet_s``: pages leave milliseconds between cells."""
        while self._is_foreign_busy():
            await self._changed.wait()
            with anyio.move_on_after(quiet_s):
                while not self._is_foreign_busy():
                    await self._changed.wait()

    def _is_foreign_busy(self) -> bool:
        return self.foreign_busy is not None

    def on_foreign(self, listener: ForeignListener) -> Callable[[], None]:
        """Call ``listener`` whenever a visible foreign run starts or ends; the result unsubscribes it."""
        self._on_foreign.append(listener)
        return lambda: self._on_foreign.remove(listener)

    def on_life(self, listener: LifeListener) -> Callable[[], None]:
        """Call ``listener`` when the kernel goes or is back, or after a gap; the result unsubscribes it."""
        self._on_life.append(listener)
        return lambda: self._on_life.remove(listener)

    def on_others(self, listener: Callable[[Message], None]) -> None:
        """Call ``listener`` for each iopub message that no execution of this client has caused."""
        self._dispatcher.on_others(listener)

    def sign_as(self, username: str) -> None:
        """What others see in the headers of requests from now on."""
        self._routes.sign_as(username)

    def send(self, channel: Channel, msg_type: str, content: Mapping[str, Any]) -> None:
        """Send a message that has no reply.  ``KernelDied``: there is no kernel."""
        self._check()
        route = self._routes.active
        route.send(route.messages.request(channel, msg_type, content)[1])

    def send_execute(
        self,
        code: str,
        *,
        cell_id: str | None = None,
        silent: bool = False,
        store_history: bool = True,
        user_expressions: Mapping[str, str] | None = None,
        on_message: OnMessage,
        allow_stdin: bool = True,
        subshell_id: str | None = None,
    ) -> str:
        """Send an ``execute_request`` now and return its id; nothing is awaited.  ``KernelDied``: there is no kernel.

        ``on_message`` is called for each message that the request causes, also after its end, and for
        ``KernelGone``, ``ConnectionGap`` and ``EndLost``; ``execution(msg_id)`` has then taken it in already.
        ``stop_on_error`` is always false: an error of ours must not throw away the human's queued cells.
        """
        self._check()
        msg_id, frame = self._routes.active.messages.execute_request(
            code,
            cell_id=cell_id,
            silent=silent,
            store_history=store_history,
            user_expressions=user_expressions,
            allow_stdin=allow_stdin,
            subshell_id=subshell_id,
        )
        self._dispatcher.add(Execution(msg_id, code, self.now()), on_message)
        self._routes.active.send(frame)
        return msg_id

    def execution(self, msg_id: str) -> Execution:
        """The life of the request that ``send_execute`` answered with this id."""
        return self._dispatcher.execution(msg_id)

    def forget(self, msg_id: str) -> None:
        """Stop routing to this request; for one that is over and whose late output nobody wants."""
        self._dispatcher.forget(msg_id)

    def send_input_reply(self, value: str, msg_id: str | None = None) -> None:
        """Answer the kernel's ``input()``: of that request, or of the one that asks.  ``KernelError``: none does."""
        execution = self._dispatcher.asking(msg_id)
        if execution is None or execution.prompt is None:
            raise KernelError("the kernel does not ask this agent for input")
        self._check()
        self._routes.active.send(self._routes.active.messages.input_reply(execution.prompt.request, value))
        execution.answered()

    async def request(
        self,
        channel: Channel,
        msg_type: str,
        content: Mapping[str, Any] | None = None,
        timeout: float = 5.0,
        *,
        subshell_id: str | None = None,
    ) -> Message:
        """Send a shell or control request and return its reply.

        ``KernelError``: no reply within ``timeout`` seconds.  ``KernelDied``: there is no kernel, or it went away.
        """
        self._check()
        msg_id, frame = self._routes.active.messages.request(channel, msg_type, content or {}, subshell_id=subshell_id)
        request = self._dispatcher.add_request(msg_id, channel)
        self._routes.active.send(frame)
        try:
            return await request.answer(msg_type, timeout)
        finally:
            self._dispatcher.forget(msg_id)

    async def aclose(self, reason: str = "was left by this agent") -> None:
        """Close the socket; what is pending counts as lost.  Twice is harmless."""
        if self._closed:
            return
        self._closed = True
        self._scope.cancel()
        self._observer.gone(reason, final=True)
        self._lose(KernelGone(reason, final=True))
        self._wake()
        await self._link.aclose()

    def _check(self) -> None:
        if self._gone is not None:
            raise died(self._gone)

    def _mark(self) -> None:
        """Begin to find out what the kernel is past, on a fresh connection or with a new process."""
        if self._link.held:
            return
        msg_id, frame = self._routes.active.messages.request("shell", "kernel_info_request", {})
        self._marker = Marker(msg_id, self.now(), self._dispatcher.pending)
        self._routes.active.send(frame)
        self._wake()

    async def _receive_all(self) -> None:
        """Receive until the client is closed or the kernel is gone for good; reopen a cut socket."""
        with self._scope:
            while True:
                await self._link.run(self._receive, lambda: self._announce([ConnectionGap()]))
                reason = await self._link.reopen()
                if reason:
                    self._announce(self._observer.gone(reason, final=True))
                    return
                if self._routes.direct or self._link.held:  # the answer tells which process it is
                    self._link.ask_process()
                else:
                    self._mark()
                self._wake()

    async def _nudge(self) -> None:
        """While the kernel is away, ask again and again for a sign of life."""
        while True:
            while not self._link.held:
                await self._changed.wait()
            delay = _NUDGE_S
            while self._link.held:
                with anyio.move_on_after(delay):
                    await self._until_released()
                delay = min(2 * delay, _NUDGE_MAX_S)
                if self._link.held and self._gone is None:
                    self._link.ask_process()

    async def _until_released(self) -> None:
        while self._link.held:
            await self._changed.wait()

    def _receive(self, frame: str | bytes) -> None:
        try:
            message = self._link.decode(frame)
        except RemoteProtocolError as error:
            _log.warning("a message of kernel %s was skipped: %s", self.kernel_id, error.message)
            self._announce([ConnectionGap()])
            return
        self._take(message, self._link)

    def _take(self, message: Message, source: Route) -> None:
        """Take in a message; every iopub message comes on both routes."""
        self.heard = self.now()
        if message.msg_type == "kernel_info_reply":
            self._implementation = str(message.content.get("implementation", "?")).lower()
        self._announce(self._observer.receive(message, self.now(), process=source is self._link))
        if self._routes.counts(message, source):
            self._dispatcher.receive(message, self.now())
        if self._marker is not None and message.parent_id == self._marker.msg_id and message.channel == "shell":
            self._pass_marker(self._marker)
        self._switch()

    async def _go_direct(self, server: Server) -> None:
        """Try to reach the own sockets of each process of the kernel, one after the other."""
        while True:
            await self._until_released()
            await self._routes.hold_direct(server, self.kernel_id, self._take, self._switch, self._until_free)

    async def _until_free(self) -> None:
        while self._is_foreign_busy() or self._dispatcher.pending:
            await self._changed.wait()

    def _switch(self) -> None:
        """Send by ZMQ from now on, if that is possible and nothing of ours is in progress."""
        if not self._dispatcher.pending and not self._link.held:
            self._routes.switch()
        self._wake()

    def _pass_marker(self, marker: Marker) -> None:
        self._marker = None
        self._dispatcher.past(marker.before, self.now())
        self._announce(self._observer.forget_before(marker.sent))

    def _announce(self, events: Sequence[Event | ConnectionGap]) -> None:
        """Tell everybody whom the events concern."""
        for event in events:
            match event:
                case ForeignRunStarted() | ForeignRunEnded():
                    for on_foreign in list(self._on_foreign):
                        call(on_foreign, event)
                    continue
                case KernelGone():
                    self._lose(event)
                case KernelBack():
                    self._gone = None
                    self._link.release()
                    self._mark()
                case ConnectionGap() if not self._routes.direct:
                    self._dispatcher.gap(self.now())
            for on_life in list(self._on_life):
                call(on_life, event)
        self._wake()

    def _lose(self, gone: KernelGone) -> None:
        """Nothing that was sent will be answered."""
        self._gone = gone if gone.final else None
        self._marker = None
        self._routes.lose_process()
        self._link.drop_waiting()
        self._link.hold()
        self._dispatcher.gone(gone, self.now())

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
