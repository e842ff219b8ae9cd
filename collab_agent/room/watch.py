"""Whether a room that is joined still answers, and still passes on what is edited in it; no I/O and no clock.

The theory.  A room has two halves that can fail apart: a connection's own, which answers its questions (sync step 1)
in order, and the broadcast, which passes updates on to everybody, their author included.  So:

* A question that stays unanswered: the connection is of no use.  Join afresh.
* An own update whose echo stays away: ask.  The answer acknowledges it, and also tells what else was missed.
* No update for a while: ask, for nobody may have done anything, or nothing is passed on.
* An answer that brings what no update had brought, and still none does: the room is *mute*.

An answer may overtake an update by some milliseconds; an update that comes after it proves that the room is not mute.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto

from ..config import Limits


class Verdict(Enum):
    """What is to be done."""

    ASK = auto()
    """Ask the room what it has."""
    REJOIN = auto()
    """The room does not answer."""
    MUTE = auto()
    """The room answers, but passes nothing on."""


class Watch:
    """Fed with what one connection sends and receives, from the moment it is in step.  Times: monotonic seconds."""

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._quiet_since = now
        self._asked: deque[float] = deque()
        self._unacknowledged: dict[int, tuple[float, bool]] = {}
        self._owed: float | None = None

    def wrote(self, number: int, now: float, *, echoed: bool) -> None:
        """An update of ours goes out.  ``echoed``: it inserts something, so that the room is sure to pass it on."""
        self._unacknowledged[number] = (now, echoed)

    def asked(self, now: float) -> None:
        """A sync step 1 goes out."""
        self._asked.append(now)

    def updated(self, now: float) -> None:
        """The room has passed on an update, ours or another's."""
        self._quiet_since = now
        self._owed = None

    def answered(self, now: float, *, news: bool) -> None:
        """A sync step 2 has come; ``news``: with something that no update had brought."""
        self._quiet_since = now
        if self._asked:
            self._asked.popleft()
        if news:
            self._owe(now)

    def acknowledged(self, number: int, now: float, *, by_answer: bool) -> None:
        """The room has this update of ours and all before it; ``by_answer``: that was not its echo."""
        for earlier in [each for each in self._unacknowledged if each <= number]:
            _, echoed = self._unacknowledged.pop(earlier)
            if by_answer and echoed:
                self._owe(now)

    def verdict(self, now: float) -> Verdict | None:
        """What is to be done now, if anything."""
        limits = self._limits
        if self._asked:
            return Verdict.REJOIN if now - self._asked[0] >= limits.ack_s else None
        if self._owed is not None and now - self._owed >= limits.mute_s:
            self._owed = None
            return Verdict.MUTE
        oldest = min((at for at, _ in self._unacknowledged.values()), default=now)
        if now - oldest >= limits.echo_s or now - self._quiet_since >= limits.probe_s:
            return Verdict.ASK
        return None

    def due(self, now: float) -> float:
        """When ``verdict`` is to be asked next, at the latest."""
        limits = self._limits
        moments = [self._quiet_since + limits.probe_s]
        if self._asked:
            moments = [self._asked[0] + limits.ack_s]
        if self._owed is not None:
            moments.append(self._owed + limits.mute_s)
        moments += [at + limits.echo_s for at, _ in self._unacknowledged.values() if not self._asked]
        return max(min(moments), now)

    def _owe(self, now: float) -> None:
        if self._owed is None:
            self._owed = now
