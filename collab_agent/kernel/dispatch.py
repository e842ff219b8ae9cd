"""Every message to the request that caused it, by ``parent_header.msg_id``.

Executions stay known after their end, because a thread may print later.  No I/O and no clock here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TypeVar

import anyio

from ..errors import KernelDied, KernelError
from .execution import ConnectionGap, EndLost, Execution, KernelGone, Received
from .wire import Channel, Message

_log = logging.getLogger(__name__)

T = TypeVar("T")
OnMessage = Callable[[Received], None]


@dataclass(slots=True)
class Request:
    """A request whose caller waits for the one reply: ``done`` comes with either ``reply`` or ``gone``."""

    channel: Channel
    done: anyio.Event = field(default_factory=anyio.Event)
    reply: Message | None = None
    gone: KernelGone | None = None

    async def answer(self, msg_type: str, timeout: float) -> Message:
        """The reply.  ``KernelError``: none within ``timeout`` seconds.  ``KernelDied``: the kernel went away."""
        with anyio.move_on_after(timeout):
            await self.done.wait()
        if self.reply is not None:
            return self.reply
        if self.gone is not None:
            raise died(self.gone)
        raise KernelError(
            f"the kernel did not answer {msg_type} within {timeout:g} s",
            "It is busy or stuck: query_notebook(query='runs') says what runs.",
        )


def died(gone: KernelGone) -> KernelDied:
    """The error for whoever needs the kernel that has gone away."""
    return KernelDied(f"the kernel {gone.reason}", "Call setup_notebook again: it takes or starts a kernel.")


@dataclass(frozen=True, slots=True)
class Marker:
    """A ``kernel_info_request`` whose answer proves that the kernel is past all that was sent before it."""

    msg_id: str
    sent: float
    before: frozenset[str]
    """Our executions that were pending when it was sent."""


@dataclass(slots=True)
class _Route:
    execution: Execution
    on_message: OnMessage


class Dispatcher:
    """The executions and requests of one client."""

    def __init__(self) -> None:
        self._routes: dict[str, _Route] = {}
        self._pending: dict[str, _Route] = {}
        self._requests: dict[str, Request] = {}
        self._on_others: list[Callable[[Message], None]] = []

    @property
    def pending(self) -> frozenset[str]:
        """The ids of our executions that are not over."""
        return frozenset(self._pending)

    def add(self, execution: Execution, on_message: OnMessage) -> None:
        self._routes[execution.msg_id] = self._pending[execution.msg_id] = _Route(execution, on_message)

    def execution(self, msg_id: str) -> Execution:
        """The execution with this id; ``KeyError`` if there is none, or it was forgotten."""
        return self._routes[msg_id].execution

    def asking(self, msg_id: str | None) -> Execution | None:
        """The execution that waits for input: that one, or any if ``msg_id`` is None."""
        found = (r.execution for r in self._pending.values() if r.execution.prompt is not None)
        return next((execution for execution in found if msg_id in (None, execution.msg_id)), None)

    def add_request(self, msg_id: str, channel: Channel) -> Request:
        request = self._requests[msg_id] = Request(channel)
        return request

    def forget(self, msg_id: str) -> None:
        """Route nothing more to this id."""
        for table in (self._routes, self._pending, self._requests):
            table.pop(msg_id, None)

    def on_others(self, listener: Callable[[Message], None]) -> None:
        """Call ``listener`` for each iopub message that no execution of ours has caused."""
        self._on_others.append(listener)

    def receive(self, message: Message, now: float) -> None:
        route = self._routes.get(message.parent_id)
        request = self._requests.get(message.parent_id)
        if route is not None:
            self._tell(route, message, now)
        elif request is not None and request.channel == message.channel and message.msg_type.endswith("_reply"):
            request.reply = message
            request.done.set()
        elif message.channel == "iopub":
            for listener in self._on_others:
                call(listener, message)

    def gap(self, now: float) -> None:
        """The connection was away: everything pending may miss something."""
        for route in list(self._pending.values()):
            self._tell(route, ConnectionGap(), now)

    def past(self, msg_ids: Collection[str], now: float) -> None:
        """The kernel has answered these, or never will."""
        for route in [route for msg_id, route in self._pending.items() if msg_id in msg_ids]:
            self._tell(route, EndLost(), now)

    def gone(self, gone: KernelGone, now: float) -> None:
        """Nothing that was sent will be answered."""
        for request in self._requests.values():
            request.gone = gone
            request.done.set()
        for route in list(self._pending.values()):
            self._tell(route, gone, now)

    def _tell(self, route: _Route, event: Received, now: float) -> None:
        route.execution.receive(event, now)
        if route.execution.over:
            self._pending.pop(route.execution.msg_id, None)
        call(route.on_message, event)


def call(listener: Callable[[T], None], event: T) -> None:
    """Call a listener whose bug must not end the connection that all runs share: it is logged."""
    try:
        listener(event)
    except Exception:
        _log.exception("a listener of the kernel client failed")
