"""Keeps one room joined: connects, syncs, writes, and starts afresh after every loss.

Rules (``facts/faults.md``):

* Every connection gets a fresh replica.  A kept one would resurrect what the server has reverted.
* While the room is away nothing is queued: writing raises ``RoomClosed`` and the caller decides.
* A write is over when the room has echoed it, or has answered a question that was sent after it.
* A room that does not answer is joined afresh; one that passes nothing on is asked again and again (``watch.py``).
* On leaving, ``null`` is published first, or our ghost stays on the page for half a minute.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable

import anyio
from anyio.abc import TaskStatus

from ..config import Limits
from ..errors import CollabAgentError, LocalProtocolError, RemoteProtocolError, RoomClosed, SaveFailed, SyncTimeout
from ..notebook.batches import DropDoubled, Part
from ..notebook.steps import Step
from .backoff import Backoff
from .channel import Channel, ChannelClosed, Connect
from .positions import ItemId
from .presence import State
from .protocol import Acknowledged, Changed, Conflict, Event, Lost, RoomProtocol, SaveAnswered, Synced
from .replica import RemoteChange, Replica, Written
from .twins import Twins, needless_of
from .watch import Verdict, Watch

_log = logging.getLogger(__name__)

TICK_S = 1.0
LEAVE_S = 1.0
LEAST_BYTES = 1_000
"""What a room that is being joined must hand over in ``Limits.join_s``: more than answers to pings."""
_UPDATE, _ANSWER = b"\0\2", b"\0\1"

Plan = Callable[[Replica], Iterable[Step]]
"""Reads the replica and says what to write; runs in one go with the writing, without an ``await``."""


class RoomProvider:
    """One room.  ``run`` keeps it joined; the rest is for whoever works in it.

    ``on_event`` hears of everything that the protocol tells, after it has happened; ``Synced`` means that ``replica``
    is a new one.
    """

    def __init__(self, connect: Connect, on_event: Callable[[Event], None], limits: Limits) -> None:
        self._connect = connect
        self._on_event = on_event
        self._limits = limits
        self._protocol: RoomProtocol | None = None
        self._failure: CollabAgentError | None = None
        self._state: State | None = None
        self._ghost: tuple[int, int] | None = None
        self._torn: dict[str, list[ItemId]] = {}
        self.twins = Twins()
        self._pending = anyio.Event()
        self._acks: dict[int, anyio.Event] = {}
        self._saves: dict[int, tuple[anyio.Event, list[str]]] = {}
        self._joined = 0
        self._backoff = Backoff()
        self._joined_now = anyio.Event()
        self._life: anyio.CancelScope | None = None
        self._broken: CollabAgentError | None = None
        self._watch = Watch(limits, 0.0)
        self._rearm = anyio.Event()
        self._was_mute = self._told = False
        self.mute = False
        """Whether the room answers but passes nothing on, also after it was joined afresh."""

    @property
    def connected(self) -> bool:
        """Whether the replica is in step with the room."""
        return self._protocol is not None

    @property
    def protocol(self) -> RoomProtocol:
        """The live connection; ``RoomClosed`` while the room is away."""
        if self._protocol is None:
            raise RoomClosed.because(self._failure)
        return self._protocol

    @property
    def replica(self) -> Replica:
        """The current replica; ``RoomClosed`` while the room is away."""
        return self.protocol.replica

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Keep the room joined until cancelled; ready when first synced.  The first failure is the caller's."""
        while True:
            began = anyio.current_time()
            try:
                async with self._connect() as channel:
                    await self._serve(channel, task_status)
            except ChannelClosed as exc:
                self._failure = exc.error
            except CollabAgentError as exc:
                self._failure = exc
            if not self._joined and self._failure is not None:
                raise self._failure
            await self._backoff.pause(anyio.current_time() - began)

    async def _serve(self, channel: Channel, task_status: TaskStatus[None]) -> None:
        """Drive one connection until it breaks; raises what broke it."""
        protocol = RoomProtocol(Replica())
        self._life = life = anyio.CancelScope()
        self._broken = None
        unsent: deque[bytes] = deque()
        failure: Exception | None = None
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._send, channel, protocol, unsent)
                try:
                    await self._join(channel, protocol)
                    tasks.start_soon(self._tick, protocol)
                    tasks.start_soon(self._guard, protocol)
                    if self._joined == 1:
                        task_status.started()
                    with life:
                        while True:
                            await self._receive(channel, protocol)
                    failure = self._broken
                except (ChannelClosed, CollabAgentError) as exc:
                    failure = exc
                except Exception as exc:
                    _log.exception("what came from the room could not be taken in")
                    failure = LocalProtocolError(
                        f"collab-agent failed at what came from the room ({type(exc).__name__})."
                    )
                self._lose(protocol)
                tasks.cancel_scope.cancel()
        finally:
            self._lose(protocol)
            if failure is not None:
                unsent.clear()  # what the room has not got, it must not get from a replica that is to be thrown away
                protocol.frames_to_send()
            await self._part(channel, protocol, unsent)
            protocol.replica.close()
        if failure is not None:
            raise failure

    async def _join(self, channel: Channel, protocol: RoomProtocol) -> None:
        """Receive until the replica is in step; ``SyncTimeout`` where nothing comes, or not all of it in good time."""
        limits = self._limits
        with anyio.move_on_after(limits.join_most_s):
            while True:
                before = channel.received
                with anyio.move_on_after(limits.join_s):
                    while self._protocol is not protocol:
                        await self._receive(channel, protocol)
                    return
                if channel.received - before < LEAST_BYTES:
                    break
        raise SyncTimeout(
            f"The room did not hand over the notebook within {limits.join_s:g} s.",
            "The server is busy, stopped or shutting down: call again; `collab-agent doctor` tells more.",
        )

    async def _guard(self, protocol: RoomProtocol) -> None:
        """Ask the room where it is too quiet, and give the connection up where it is of no use."""
        while True:
            self._rearm = anyio.Event()
            with anyio.move_on_after(self._watch.due(anyio.current_time()) - anyio.current_time()):
                await self._rearm.wait()
            match self._watch.verdict(anyio.current_time()):
                case Verdict.ASK:
                    self._watch.asked(anyio.current_time())
                    protocol.ask()
                    self._wake()
                case Verdict.REJOIN:
                    silent = f"The room has not answered for {self._limits.ack_s:g} s."
                    self._give_up(SyncTimeout(silent, "It is being joined afresh."))
                case Verdict.MUTE:
                    self.mute = self._was_mute
                    if not self._was_mute:
                        self._was_mute = True
                        mute = "The room has stopped passing on what is edited."
                        self._give_up(SyncTimeout(mute, "It is being joined afresh."))

    def _give_up(self, why: CollabAgentError) -> None:
        """End this connection, with its replica."""
        self._broken = why
        if self._life is not None:
            self._life.cancel()

    async def _receive(self, channel: Channel, protocol: RoomProtocol) -> None:
        frame = await channel.receive()
        joined = self._protocol is protocol
        events = protocol.receive(frame, anyio.current_time())
        for event in self._note(frame[:2], events, anyio.current_time()) if joined else events:
            self._handle(event, protocol)
        self._wake()

    def _note(self, kind: bytes, events: list[Event], now: float) -> list[Event]:
        """Tell the watch what has come; returns the events without those that say nothing new."""
        if kind == _UPDATE:
            self._watch.updated(now)
            self.mute = self._was_mute = False
        elif kind == _ANSWER:  # it always holds all deletions
            events = [event for event in events if not isinstance(event, Changed) or _is_news(event.change)]
            self._watch.answered(now, news=any(isinstance(event, Changed) for event in events))
        for event in events:
            if isinstance(event, Acknowledged):
                self._watch.acknowledged(event.number, now, by_answer=kind == _ANSWER)
        self._rearm.set()
        return events

    def _handle(self, event: Event, protocol: RoomProtocol) -> None:
        match event:
            case Synced():
                self._protocol = protocol
                self._watch = Watch(self._limits, anyio.current_time())
                self._failure = None
                self._joined += 1
                self._joined_now.set()
                self._backoff.over()
                if self._ghost is not None:
                    protocol.withdraw(*self._ghost)
                if self._state is not None:
                    protocol.publish(self._state, anyio.current_time())
                self._mend(protocol)
            case Acknowledged(number):
                for earlier in [n for n in self._acks if n <= number]:
                    self._acks.pop(earlier).set()
            case SaveAnswered(request, status):
                if request in self._saves:
                    done, answer = self._saves.pop(request)
                    answer.append(status)
                    done.set()
            case Conflict():
                raise RemoteProtocolError(
                    "The server's history of the notebook is no longer ours.", "It is joined afresh: call again."
                )
        self._on_event(event)

    def _mend(self, protocol: RoomProtocol) -> None:
        """Drop what a lost connection has left twice of a cell that we were rebuilding."""
        torn, self._torn = self._torn, {}
        needless = {cell: needless_of(protocol.replica.copies(cell, texts)) for cell, texts in torn.items()}
        protocol.write([DropDoubled(cell, out) for cell, out in needless.items() if out])

    def _drop_twins(self, protocol: RoomProtocol) -> None:
        if steps := self.twins.drop(protocol.replica, protocol.presence.others, anyio.current_time()):
            self._write(protocol, steps)

    async def _send(self, channel: Channel, protocol: RoomProtocol, unsent: deque[bytes]) -> None:
        """The only sender: frames leave in the order in which they were made; ``unsent`` holds what has not left."""
        try:
            while True:
                self._pending = anyio.Event()
                unsent.extend(protocol.frames_to_send())
                while unsent:
                    await channel.send(unsent[0])
                    unsent.popleft()
                if not protocol.has_frames:
                    await self._pending.wait()
        except ChannelClosed:
            return  # the receiving side hears of it too, and says why

    async def _tick(self, protocol: RoomProtocol) -> None:
        while True:
            await anyio.sleep(TICK_S)
            for event in protocol.tick(anyio.current_time()):
                self._on_event(event)
            if self._protocol is protocol:
                self._drop_twins(protocol)
            self._wake()

    def _lose(self, protocol: RoomProtocol) -> None:
        """From now on nobody writes here, and nobody waits for an answer that cannot come."""
        if self._protocol is not protocol:
            return
        self._protocol = None
        self._joined_now = anyio.Event()
        self._ghost = (protocol.replica.client_id, protocol.presence.clock + 2)
        self._torn |= protocol.torn
        for waiting in [*self._acks.values(), *(done for done, _ in self._saves.values())]:
            waiting.set()
        self._acks.clear()
        self._saves.clear()
        self._on_event(Lost())

    async def _part(self, channel: Channel, protocol: RoomProtocol, unsent: Iterable[bytes]) -> None:
        """Leave visibly, whatever the reason."""
        if protocol.presence.clock:
            protocol.publish(None, anyio.current_time())
        with anyio.move_on_after(LEAVE_S, shield=True):
            try:
                for frame in [*unsent, *protocol.frames_to_send()]:
                    await channel.send(frame)
            except ChannelClosed:
                return

    def _wake(self) -> None:
        self._pending.set()

    # For whoever works in the room.

    def take_notice(self) -> str:
        """What is wrong with the room, as long as it is; each notice is given once."""
        told, self._told = self._told, self.mute
        if told or not self.mute:
            return ""
        return (
            "the server has stopped passing on what is edited in this notebook: the people here see your edits, and "
            "each other's, only when they reload the page, and you get theirs some seconds late. Tell them: only a "
            "restart of the server mends it, after a save"
        )

    def set_state(self, state: State) -> None:
        """Publish who and where we are, now and after every rejoin."""
        self._state = state
        if self._protocol is not None:
            self._protocol.publish(state, anyio.current_time())
            self._wake()

    def vanish(self) -> None:
        """Say at once that we leave: what is still to be done before we have may take long."""
        self._state = None
        if self._protocol is not None:
            self._protocol.publish(None, anyio.current_time())
            self._wake()

    async def wait_joined(self) -> None:
        """Return when the room is joined; at once if it is."""
        await self._joined_now.wait()

    async def rejoin(self) -> None:
        """Where the room is away, try to join it at once; return when that has come to something."""
        if self._protocol is None:
            await self._backoff.now()

    def write_soon(self, steps: Iterable[Step]) -> Written:
        """Write without waiting for the echo: for a run's outputs, where the next write follows anyway."""
        return self._write(self.protocol, steps)[0]

    def _write(self, protocol: RoomProtocol, steps: Iterable[Part]) -> tuple[Written, int]:
        """Write into the document, or give up this connection with its replica: the room has got nothing then."""
        self.twins.note(steps := list(steps), protocol.replica.client_id, anyio.current_time())
        try:
            written, number = protocol.write(steps)
        except LocalProtocolError as exc:
            self._give_up(exc)
            raise
        if written.update is not None:
            # What only deletes has no echo where others have deleted it, too.
            self._watch.wrote(number, anyio.current_time(), echoed=isinstance(written.key, tuple))
            self._rearm.set()
        self._wake()
        return written, number

    async def write(self, plan: Plan) -> Written:
        """Read, decide and write in one transaction, then wait until the room has it."""
        protocol = self.protocol
        written, number = self._write(protocol, plan(protocol.replica))
        if written.update is None:
            return written
        acknowledged = self._acks[number] = anyio.Event()
        # An echo can be missing after concurrent deletions; the answer to what ``_guard`` asks then cannot.
        with anyio.move_on_after(self._limits.echo_s + self._limits.ack_s):
            await acknowledged.wait()
        if self._protocol is not protocol or not acknowledged.is_set():
            if self._acks.get(number) is acknowledged:  # the next connection counts from 1 again
                del self._acks[number]
            raise SyncTimeout(
                "The edit was sent, but the room has not confirmed it: it may or may not be in the notebook, which is "
                "being joined afresh.",
                'Look before you repeat it: query_notebook(query="cells").',
            )
        return written

    async def request_save(self) -> str:
        """Ask the server to write the file; its word (``success``, ``skipped``, ``failed``) is no proof."""
        protocol = self.protocol
        number = protocol.request_save()
        waiting = self._saves[number] = (anyio.Event(), [])
        done, answer = waiting
        self._wake()
        with anyio.move_on_after(self._limits.save_s):
            await done.wait()
        if self._saves.get(number) is waiting:
            del self._saves[number]
        if not answer:
            raise SaveFailed(
                "The server did not answer the request to save.", "The room still has all edits: try again."
            )
        return answer[0]


def _is_news(change: RemoteChange) -> bool:
    """Whether an update has changed anything at all."""
    return bool(change.clients or change.cells or change.deleted or change.moved or change.state)
