"""The room's protocol without I/O: frames in, events and frames out.

The theory (y-protocols ``PROTOCOL.md``, and ``facts/rtc.md`` for what Jupyter adds).  After connecting, the server
asks with a sync step 1 what we have; we answer with step 2, ask with our own step 1, and are *synced* when its step 2
has been applied.  From then on updates flow both ways.  The server echoes our own updates back to us: an echo is the
acknowledgement that the room has the edit.  Where the echo does not come, a sync step 1 asks for it: the server
handles a connection's frames in order, so its step 2 follows everything that was sent before.

States::

    CONNECTING --first sync step 1 of the server--> SYNCING --step 2--> SYNCED --anything broken--> CLOSED

Rules: nothing of ours is sent before SYNCED (the Doc is fresh and empty until then); a frame that breaks the protocol
closes it for good, with ``RemoteProtocolError`` and nothing else; whoever drives it then starts afresh with a new
replica.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

from ..errors import LocalProtocolError, RemoteProtocolError
from ..notebook.batches import DropDoubled, Part, batches
from .codec import Reader, UpdateKey, update_key, var_bytes, var_uint, whole
from .positions import ItemId
from .presence import Presence, PresenceChange, State, encode
from .replica import RemoteChange, Replica, Written

_log = logging.getLogger(__name__)

SYNC, AWARENESS, RAW = 0, 1, 2
STEP1, STEP2, UPDATE = 0, 1, 2
PANIC = "PanicException"
"""What pycrdt raises beside ``Exception``; it cannot be imported."""
EMPTY_UPDATE = b"\x00\x00"


class Phase(Enum):
    """Where the protocol is."""

    CONNECTING = auto()
    SYNCING = auto()
    SYNCED = auto()
    CLOSED = auto()


@dataclass(frozen=True, slots=True)
class Synced:
    """The replica now holds what the room holds."""


@dataclass(frozen=True, slots=True)
class Changed:
    """Somebody else changed the document."""

    change: RemoteChange


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The room has this update of ours, and every one before it."""

    number: int


@dataclass(frozen=True, slots=True)
class PeersChanged:
    """Somebody came, moved or went."""

    change: PresenceChange


@dataclass(frozen=True, slots=True)
class SaveAnswered:
    """The server's word on a RAW save: ``success``, ``skipped`` or ``failed``.  Not to be believed without a look."""

    request: int
    status: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """The server could not merge: this replica's history is not the room's.  Join afresh."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection is away; it is being restored, or the room was left."""


Event = Lost | Synced | Changed | Acknowledged | PeersChanged | SaveAnswered | Conflict


class RoomProtocol:
    """One connection to one room, for one replica."""

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self.presence = Presence(replica.client_id)
        self.phase = Phase.CONNECTING
        self._outgoing: list[bytes] = []
        self._unacknowledged: dict[int, UpdateKey] = {}
        self._drops: dict[int, frozenset[str]] = {}
        self._sent = 0
        self._asked: list[int] = []
        self._saves = 0

    # Out.

    def frames_to_send(self) -> list[bytes]:
        """The frames that are to be sent now, in order; each is given once."""
        frames, self._outgoing = self._outgoing, []
        return frames

    @property
    def has_frames(self) -> bool:
        """Whether anything waits to be sent."""
        return bool(self._outgoing)

    def write(self, steps: Iterable[Part]) -> tuple[Written, int]:
        """Write steps into the document and queue the updates, as few as pages can follow (``batches``).

        Returns what all of them inserted, and the number that ``Acknowledged`` will name.  Whatever goes wrong in
        between, the room gets all or nothing: the replica, which is half changed then, is to be thrown away.
        """
        if self.phase is not Phase.SYNCED:
            raise LocalProtocolError("The replica is not in step with the room.")
        queued = len(self._outgoing)
        try:
            return self._write(steps)
        except BaseException as exc:
            del self._outgoing[queued:]
            self.phase = Phase.CLOSED
            if not isinstance(exc, Exception) and type(exc).__name__ != PANIC:
                raise
            raise LocalProtocolError(
                f"Nothing was written: collab-agent failed at it ({type(exc).__name__}), a bug of its own.",
                "The notebook is joined afresh: look at it, and do it in another way.",
            ) from exc

    def _write(self, steps: Iterable[Part]) -> tuple[Written, int]:
        last = Written(None, None, ())
        for batch in batches(steps):
            written = self.replica.write(batch)
            if written.update is not None:
                self._sent += 1
                self._unacknowledged[self._sent] = written.key
                if dropped := frozenset(part.cell for part in batch if isinstance(part, DropDoubled)):
                    self._drops[self._sent] = dropped
                self._send_sync(UPDATE, written.update)
                last = Written(written.update, written.key, last.inserted)
            last = Written(last.update, last.key, last.inserted + written.inserted)
        return last, self._sent

    @property
    def torn(self) -> dict[str, list[ItemId]]:
        """The cells that we were rebuilding: the room may have the double, and not yet that the first is gone.

        With the ids of the texts of both: the server may have given one of them another id meanwhile.
        """
        torn = frozenset[str]().union(*self._drops.values())
        return {cell: texts for cell, texts in self.replica.dropped.items() if cell in torn}

    def ask(self) -> None:
        """Ask with a sync step 1: its answer acknowledges all that was sent before."""
        if self.phase is Phase.SYNCED:
            self._asked.append(self._sent)
            self._send_sync(STEP1, self.replica.state_vector())

    def publish(self, state: State | None, now: float) -> None:
        """Say who and where we are (None: that we leave)."""
        self._outgoing.append(bytes([AWARENESS]) + var_bytes(self.presence.publish(state, now)))

    def withdraw(self, client_id: int, clock: int) -> None:
        """Say that a client of ours on an earlier connection is gone, or its ghost stays for 30 s."""
        self._outgoing.append(bytes([AWARENESS]) + var_bytes(encode([(client_id, clock, None)])))

    def tick(self, now: float) -> list[Event]:
        """Renew our state when it is due, and forget who is gone; call every second or so."""
        if self.presence.due(now):
            self._outgoing.append(bytes([AWARENESS]) + var_bytes(self.presence.renew(now)))
        change = self.presence.expire(now)
        return [PeersChanged(change)] if change.removed else []

    def request_save(self) -> int:
        """Ask the server to write the file; returns the number that ``SaveAnswered`` will name."""
        self._saves += 1
        self._outgoing.append(bytes([RAW]) + var_bytes(b"save") + var_uint(self._saves))
        return self._saves

    # In.

    def receive(self, frame: bytes, now: float) -> list[Event]:
        """Handle one frame.  ``RemoteProtocolError``: the connection and the replica are to be thrown away."""
        if self.phase is Phase.CLOSED:
            raise LocalProtocolError("The connection is closed.")
        try:
            return self._receive(frame, now)
        except RemoteProtocolError:
            self.phase = Phase.CLOSED
            raise

    def _receive(self, frame: bytes, now: float) -> list[Event]:
        reader = Reader(frame)
        kind = reader.var_uint()
        if kind == SYNC:
            return self._receive_sync(reader.var_uint(), reader.var_bytes())
        if kind == AWARENESS:
            change = self._hear(reader, now)
            if change.spoiled:
                raise RemoteProtocolError("Somebody in the room speaks in our name.", "It is joined afresh.")
            if change.must_publish:
                self._outgoing.append(bytes([AWARENESS]) + var_bytes(self.presence.renew(now)))
            return [PeersChanged(change)] if change.added or change.updated or change.removed else []
        if kind == RAW:
            return _receive_raw(reader.var_string())
        return []  # later protocol versions may add kinds; y-websocket ignores what it does not know

    def _hear(self, reader: Reader, now: float) -> PresenceChange:
        """What a peer says of itself.  The server hands it on unread, so that garbage is a peer's, not the room's."""
        try:
            return self.presence.apply(reader.var_bytes(), now)
        except RemoteProtocolError as exc:
            _log.info("what a peer said of itself was passed over: %s", exc.message)
            return PresenceChange()

    def _receive_sync(self, kind: int, payload: bytes) -> list[Event]:
        if kind == STEP1:
            self._send_sync(STEP2, self.replica.update_since(payload))
            if self.phase is Phase.CONNECTING:
                self.phase = Phase.SYNCING
                self._send_sync(STEP1, self.replica.state_vector())
            return []
        if kind not in (STEP2, UPDATE):
            raise RemoteProtocolError(f"The room sent a sync message of kind {kind}.")
        events: list[Event] = []
        if payload != EMPTY_UPDATE:
            events += self._apply(payload, own_possible=kind == UPDATE)
        if kind == STEP2:
            events += self._answered()
        return events

    def _apply(self, update: bytes, *, own_possible: bool) -> list[Event]:
        key = update_key(update)
        if own_possible and key is not None and key in self._unacknowledged.values():
            return [self._acknowledge(max(n for n, k in self._unacknowledged.items() if k == key))]
        change = self.replica.apply(update)
        if self.phase is not Phase.SYNCED:
            return []  # what was there before us is nobody's doing
        if change.gap and own_possible:  # a step 2 that leaves a gap is all that the room has
            self.ask()
        return [Changed(change)]

    def _answered(self) -> list[Event]:
        if self.phase is Phase.SYNCING:
            self.phase = Phase.SYNCED
            return [Synced()]
        return [self._acknowledge(self._asked.pop(0))] if self._asked else []

    def _acknowledge(self, number: int) -> Event:
        for earlier in [n for n in self._unacknowledged if n <= number]:
            del self._unacknowledged[earlier]
            self._drops.pop(earlier, None)
        return Acknowledged(number)

    def _send_sync(self, kind: int, payload: bytes) -> None:
        self._outgoing.append(bytes([SYNC, kind]) + var_bytes(payload))


def _receive_raw(text: str) -> list[Event]:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise RemoteProtocolError("The server sent a message that is not JSON.") from exc
    if not isinstance(message, dict):
        return []
    if message.get("type") == "save":
        number = whole(message.get("responseTo"))
        return [] if number is None else [SaveAnswered(number, str(message.get("status", "")))]
    return [Conflict()] if message.get("type") == "conflict" else []
