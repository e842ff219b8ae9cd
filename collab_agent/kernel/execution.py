"""The life of one ``execute_request``.

    queued --busy--> running --reply and idle--> ok | error
       |                |
       |                +--the kernel went away, or the end was lost--> died
       +--reply "aborted"--> aborted

The kernel sends the reply on the shell channel and everything else on iopub.  The two channels are not ordered
against each other, so a request is over only when **both** the reply and the ``idle`` status with its id were seen
(Jupyter messaging, "Request-Reply").  Three exceptions:

- ``aborted`` (the kernel threw its queue away after somebody's error or interrupt): nothing was run, no output can
  follow, and older kernels send no ``idle``: the reply is the end.
- After a gap in the connection the ``idle`` may be lost for good, so the reply is the end.  That even the reply is lost
  is for the caller to find out: ``EndLost``.
- The kernel died, was restarted or was shut down: no reply will ever come: ``KernelGone``.

Output that comes after the end (a thread that still prints) is the router's business; here it changes nothing.

No I/O and no clock: the caller passes the time, in monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..notebook.as_nbformat import count_of
from .wire import Message

State = Literal["queued", "running", "ok", "error", "aborted", "died"]


@dataclass(frozen=True, slots=True)
class KernelGone:
    """The kernel process that had our requests is no more.

    ``reason`` completes the sentence "the kernel …".  ``final``: no other process takes its place under this id.
    """

    reason: str
    final: bool = False


@dataclass(frozen=True, slots=True)
class ConnectionGap:
    """The connection was away for a while: output may be missing."""


@dataclass(frozen=True, slots=True)
class EndLost:
    """The kernel is past this request: if its reply has not come by now, it fell into a gap or was never made."""


Received = Message | KernelGone | ConnectionGap | EndLost
"""What can happen to a request."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """The kernel waits for a line of input.  ``request`` is the ``input_request``, which the answer names."""

    text: str
    password: bool
    request: Message

    def echo(self, answer: str) -> dict[str, str]:
        """What people are to see of it once it is answered, as the content of a ``stream``: as JupyterLab does."""
        return {"name": "stdin", "text": f"{self.text}{'········' if self.password else answer}\n"}


@dataclass(slots=True)
class Execution:
    """One ``execute_request`` and what is known of it.  Times are the caller's monotonic seconds."""

    msg_id: str
    code: str
    sent: float
    state: State = "queued"
    started: float | None = None
    """When the kernel took the request up."""
    ended: float | None = None
    execution_count: int | None = None
    executed_code: str | None = None
    """The code as the kernel says that it got it (``execute_input``)."""
    reply: Mapping[str, Any] | None = None
    """The content of the ``execute_reply``."""
    idle: bool = False
    gap: bool = False
    """Whether the connection was away meanwhile, so that output may be missing."""
    error_name: str = ""
    error_value: str = ""
    prompt: Prompt | None = None
    reason: str = ""
    """Why it died; completes the sentence "the kernel …"."""
    end_lost: bool = False
    """Whether only its end was lost: the kernel, and its variables, are still there."""

    @property
    def over(self) -> bool:
        return self.ended is not None

    def receive(self, event: Received, now: float) -> None:
        """Take in what happened at ``now``.  Messages of other requests must not be passed; late ones may."""
        if self.over:
            return
        if isinstance(event, Message):
            self._receive_message(event, now)
        elif isinstance(event, KernelGone):
            self._end("died", now, event.reason)
        elif isinstance(event, ConnectionGap):
            self.gap = True
            self._settle(now)
        elif self.reply is None:  # with the reply seen, the idle is only late
            self._lose_end(now)

    def _lose_end(self, now: float) -> None:
        if self.idle or self.error_name:
            self._end("error" if self.error_name else "ok", now)
        else:
            self.end_lost = True
            self._end("died", now, "lost it, or ended it while the connection was away")

    def answered(self) -> None:
        """The prompt was answered."""
        self.prompt = None

    def _receive_message(self, message: Message, now: float) -> None:
        content = message.content
        match message.msg_type:
            case "status":
                self._receive_status(content.get("execution_state"), now)
            case "execute_input":
                self._start(now)
                self.executed_code = str(content.get("code", ""))
                self._count(content)
            case "error":
                self._fail(content)
            case "input_request":
                text, password = str(content.get("prompt", "")), bool(content.get("password"))
                self.prompt = Prompt(text, password, message)
            case "execute_reply":
                self._receive_reply(content, now)

    def _receive_status(self, status: object, now: float) -> None:
        if status == "busy":
            self._start(now)
        elif status == "idle":
            self.idle = True
            self._settle(now)

    def _receive_reply(self, content: Mapping[str, Any], now: float) -> None:
        self.reply = content
        self.prompt = None
        self._count(content)
        if content.get("status") == "error":
            self._fail(content)
        self._settle(now)

    def _start(self, now: float) -> None:
        if self.state == "queued":
            self.state, self.started = "running", now

    def _count(self, content: Mapping[str, Any]) -> None:
        count = count_of(content)
        if count is not None:
            self.execution_count = count

    def _fail(self, content: Mapping[str, Any]) -> None:
        self.error_name = str(content.get("ename") or "Error")
        self.error_value = str(content.get("evalue") or "")

    def _settle(self, now: float) -> None:
        """End if both halves of the end are there, or all that can still come."""
        if self.reply is None:
            return
        status = self.reply.get("status")
        if status in ("aborted", "abort"):  # "abort": messaging protocol before 5.1
            self._end("aborted", now)
        elif self.idle or self.gap:
            self._end("error" if status == "error" else "ok", now)

    def _end(self, state: State, now: float, reason: str = "") -> None:
        self.state, self.ended, self.reason, self.prompt = state, now, reason, None
