"""What a kernel's iopub traffic says about others: whose code runs, and whether the kernel process still lives.

Every client of a kernel receives every iopub message.  Two things are read off them here.

**Foreign runs.**  Somebody else's ``execute_request`` is in progress from the ``busy`` to the ``idle`` status whose
parent it is.  Other requests (completion, inspection, ``debug_request``, ``comm_*``, ``kernel_info_request``) make
the kernel busy too, but they are not code that a human waits for.  A *visible* run is one that the kernel announced
with ``execute_input``: silent ones, which extensions send, count as busy but are not told to listeners.

**The process.**  A kernel signs its headers with a session id that it makes at its start.  A restart by REST brings
``shutdown_reply`` and then another session id; a crash brings ``status: restarting`` or ``dead``, made by the server
in *our* session's name; a final shutdown brings ``shutdown_reply`` and then silence.  Some kernels (IRkernel) repeat
their parent's session id instead of making one: such headers say nothing about the process, ``status: starting`` does.
The new process counts as being there when it was heard on **iopub**: the server reconnects each channel by itself, and
iopub often after shell, so that a request sent earlier can lose all its output (ipykernel: one restart in eight).

No I/O and no clock here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, replace

from ..notebook.as_nbformat import count_of
from .execution import KernelGone
from .wire import Message

MOST_REMEMBERED = 1000
"""Of how many foreign runs it is remembered that they ended: one route can be that many behind the other."""


@dataclass(frozen=True, slots=True)
class ForeignRun:
    """Code of somebody else that is in progress.  ``since``: when this client saw it begin, monotonic seconds.

    ``code`` is None for a silent run, or one that began before this client was connected; its ``msg_id`` is then
    empty.
    """

    msg_id: str
    code: str | None
    execution_count: int | None
    since: float
    username: str = ""


@dataclass(frozen=True, slots=True)
class ForeignRunStarted:
    """The kernel took up somebody else's visible run."""

    run: ForeignRun


@dataclass(frozen=True, slots=True)
class ForeignRunEnded:
    """It ended: with the error of that name, or because the kernel ``died``, or well."""

    run: ForeignRun
    error_name: str = ""
    died: bool = False


@dataclass(frozen=True, slots=True)
class KernelBack:
    """A new kernel process is heard under the same kernel id; all variables are gone."""


Event = ForeignRunStarted | ForeignRunEnded | KernelGone | KernelBack


def is_rate_limit_notice(message: Message, session_id: str) -> bool:
    """Whether the server tells this session's client that it drops output (above 1000 messages or 1 MB a second).

    The server writes the notice as a stderr stream of the run, but in the client's own session: that, and not the
    text alone, tells it from a cell that prints the same words.
    """
    text = message.content.get("text")
    return (
        message.msg_type == "stream"
        and message.session == session_id
        and isinstance(text, str)
        and text.startswith("IOPub ")
        and "rate exceeded" in text
    )


class Observer:
    """Fed with every message that one client receives; ``own`` holds that client's session ids, which may grow."""

    def __init__(self, own: Collection[str]) -> None:
        self._own = own
        self._foreign: dict[str, ForeignRun] = {}
        self._errors: dict[str, str] = {}
        self._ended: deque[str] = deque(maxlen=MOST_REMEMBERED)
        self._kernel_session: str | None = None
        self._lost_session: str | None = None
        self._away = False
        self._final = False

    @property
    def foreign(self) -> ForeignRun | None:
        """The foreign run that has been in progress longest."""
        return next(iter(self._foreign.values()), None)

    def receive(self, message: Message, now: float, *, process: bool = True) -> list[Event]:
        """What this message tells, in order; ``now`` in monotonic seconds.

        Messages may come on two routes, each in order, but not ordered against each other: whatever is heard first
        counts, and its echo on the other route does not.  Only one route is asked about the ``process`` and its
        successor; that a process goes away may be heard on both.
        """
        events = self._watch_process(message) if process else []
        if message.channel == "iopub":
            if process:
                events += self._watch_status(message)
            elif message.msg_type == "shutdown_reply":
                if self._kernel_session is None and message.session != message.parent_session:
                    self._kernel_session = message.session  # the other route may be far behind
                events += self._watch_status(message)
            if message.parent_type == "execute_request" and message.parent_session not in self._own:
                events += self._watch_foreign(message, now)
        return events

    def forget_before(self, moment: float) -> list[Event]:
        """The kernel is known to be past everything that it took up before ``moment``."""
        passed = [run for run in self._foreign.values() if run.since < moment]
        return [event for run in passed for event in self._end(run)]

    def gone(self, reason: str, *, final: bool = False) -> list[Event]:
        """The kernel is known, from elsewhere perhaps, to have gone away.  Told once for each process."""
        ended = [event for run in list(self._foreign.values()) for event in self._end(run, died=True)]
        if self._final or (self._away and not final):
            return ended
        self._final = final
        if not self._away:
            self._away, self._lost_session = True, self._kernel_session
        return [KernelGone(reason, final), *ended]

    def _watch_process(self, message: Message) -> list[Event]:
        session = message.session
        if session in ("", message.parent_session) or session in self._own:
            return []
        events = self.gone("was restarted") if self._kernel_session not in (None, session) else []
        self._kernel_session = session
        if message.channel == "iopub" and session != self._lost_session:
            events += self._back()
        return events

    def _watch_status(self, message: Message) -> list[Event]:
        if message.msg_type == "shutdown_reply":
            if message.content.get("restart"):
                return self.gone("was restarted")
            return self.gone("was shut down", final=True)
        if message.msg_type != "status":
            return []
        match message.content.get("execution_state"):
            case "restarting":
                return self.gone("died and is being restarted")
            case "dead":
                return self.gone("died and could not be restarted", final=True)
            case "starting":
                named = self._away or self._kernel_session is not None
                return [*([] if named else self.gone("was restarted")), *self._back()]
        return []

    def _back(self) -> list[Event]:
        back: list[Event] = [KernelBack()] if self._away else []
        self._away = False
        return back

    def _watch_foreign(self, message: Message, now: float) -> list[Event]:
        key, content = message.parent_id, message.content
        match message.msg_type, content.get("execution_state"):
            case "status", "busy" if key not in self._foreign and key not in self._ended:
                user = message.parent_header.get("username")
                self._foreign[key] = ForeignRun(key, None, None, now, user if isinstance(user, str) else "")
            case "status", "idle" if key in self._foreign:
                return self._end(self._foreign[key])
            case "execute_input", _ if key in self._foreign and self._foreign[key].code is None:
                run = replace(
                    self._foreign[key],
                    code=str(content.get("code", "")),
                    execution_count=count_of(content),
                )
                self._foreign[key] = run
                return [ForeignRunStarted(run)]
            case "error", _ if key in self._foreign:
                self._errors[key] = str(content.get("ename") or "Error")
        return []

    def _end(self, run: ForeignRun, *, died: bool = False) -> list[Event]:
        del self._foreign[run.msg_id]
        self._ended.append(run.msg_id)
        error = self._errors.pop(run.msg_id, "")
        return [] if run.code is None else [ForeignRunEnded(run, error, died)]
