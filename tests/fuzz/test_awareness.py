"""What a peer in the room says of itself is a claim and may be anything: no call of ours fails by it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from hypothesis import example, given
from hypothesis import strategies as st
from pycrdt import write_message

from collab_agent.config import Identity
from collab_agent.notebook.render import outline
from collab_agent.peer import NotebookPeer
from collab_agent.room.codec import var_bytes, var_uint
from collab_agent.room.presence import AGENT_KEY, LAST_CLOCK, OWN_CLOCKS, REVIEW_KEY
from collab_agent.room.protocol import Lost
from collab_agent.server import others
from collab_agent.testing import Human, InProcessRoom, RoomHost

from .odd import as_json, fuzz, nearly, numbers, record, texts

items = st.none() | record(client=numbers, clock=numbers)
positions = record(type=items, tname=st.none(), item=items, assoc=st.sampled_from([-1, 0]))
cursors = st.lists(
    nearly(record(anchor=positions, head=positions, primary=st.booleans(), empty=st.booleans())), max_size=3
)
users = record(username=texts, name=texts, display_name=texts, initials=texts, color=texts, avatar_url=texts)
states = record(
    user=users,
    cursors=cursors,
    autosave=st.booleans(),
    current=texts,
    documents=st.lists(texts, max_size=2),
    **{
        AGENT_KEY: record(since=numbers),
        REVIEW_KEY: record(
            name=texts,
            open=st.lists(texts, max_size=2),
            merged=st.lists(texts, max_size=2),
            dropped=st.lists(texts, max_size=2),
        ),
    },
)
clients = st.sampled_from([0, 1, 5, 2**32 - 1, 2**53, 2**64 - 1])
clocks = st.sampled_from([0, 1, 2, 3, 2**31, 2**32, 2**53 - 1, 2**63, 2**64 - 1])


def announcement(client: int, clock: int, state: bytes) -> bytes:
    return b"\1" + write_message(var_uint(1) + var_uint(client) + var_uint(clock) + var_bytes(state))


class Joined:
    """An agent in a room in which Ada types, and a peer who says what it likes."""

    def __init__(self, room: InProcessRoom, peer: NotebookPeer, ada: Human) -> None:
        self.room, self.peer, self.ada = room, peer, ada
        self.lost = 0
        peer.observe(self._hear)

    def _hear(self, event: Any) -> None:
        self.lost += isinstance(event, Lost)

    def say(self, frame: bytes) -> None:
        """To the agent, as the server hands on whatever claims to be awareness; Ada came first."""
        for channel in self.room.channels[1:]:
            channel.deliver(frame)

    async def hears(self) -> None:
        """Wait until something reaches the agent."""
        heard = anyio.Event()
        unsubscribe = self.peer.observe(lambda _event: heard.set())
        await heard.wait()
        unsubscribe()

    async def works(self) -> None:
        """The agent is still in the room, reads, tells who is here, and writes what all then have."""
        await self.peer.edit([{"op": "insert", "source": "ours", "type": "raw", "after": "last"}])
        with anyio.fail_after(10):
            await self.ada.wait_for(lambda: "ours" in self.ada.sources())
            await self.room.wait_for(lambda: self.room.sources() == self.ada.sources())
            while [cell.source for cell in self.peer.view.cells] != self.room.sources():
                await self.hears()
        text = "\n".join([*others.people(self.peer), others.since(self.peer, 1000)])
        text += outline(self.peer.view, self.peer.outputs, self.peer.seen, budget=4000)
        text.encode()
        assert "Traceback" not in text
        assert len(text) < 20_000


@asynccontextmanager
async def pairing() -> AsyncIterator[Joined]:
    async with (
        InProcessRoom(["a = 1\n", "b = é😀\n"]) as room,
        Human.join(room.connect, "Ada") as ada,
        NotebookPeer.joined(RoomHost(room), "notebook.ipynb", Identity.named("Goose")) as peer,
    ):
        yield Joined(room, peer, ada)


@given(st.lists(st.tuples(clients, clocks, nearly(states)), min_size=1, max_size=3))
@example([(5, 1, {AGENT_KEY: {"since": 10**400}, "user": {"name": "Goose"}})])
@fuzz(40)
async def test_no_state_of_a_peer_puts_us_off(said: list[tuple[int, int, Any]]) -> None:
    async with pairing() as joined:
        for client, clock, state in said:
            joined.say(announcement(client, clock, as_json(state)))
        await joined.works()
        assert joined.lost == 0


@given(st.binary(max_size=40) | st.sampled_from([b"[" * 3_000, b'{"a":' * 2000, b"nul", b"\xff", b"9" * 5000]), clocks)
@fuzz(40)
async def test_what_is_no_state_at_all_is_passed_over(state: bytes, clock: int) -> None:
    """The server hands awareness on before it looks at it: whoever sends garbage must not throw anybody out."""
    async with pairing() as joined:
        joined.say(announcement(5, clock, state))
        joined.say(b"\1" + write_message(state))
        joined.say(b"\1" + state)
        await joined.works()
        assert joined.lost == 0


@given(clocks, nearly(states))
@fuzz(40)
async def test_our_own_client_id_stays_ours(clock: int, state: Any) -> None:
    """Somebody else says something, or that we have left, in our name."""
    async with pairing() as joined:
        us = joined.peer._room.replica.client_id
        joined.say(announcement(us, clock, as_json(state)))
        joined.say(announcement(us, clock, b"null"))
        if LAST_CLOCK - OWN_CLOCKS < clock <= LAST_CLOCK:
            await joined.room.wait_for(lambda: joined.room.attempts == 3)  # Ada, the agent, and the agent again
            await joined.peer._room.wait_joined()
        await joined.works()
        us = joined.peer._room.replica.client_id
        with anyio.fail_after(10):
            await joined.ada.wait_for(lambda: joined.ada.peers().get(us, {}).get("user", {}).get("name") == "Goose")
        assert joined.peer._room.protocol.presence.clock <= LAST_CLOCK, "no page could read it"
