"""A room may send anything: what cannot be read ends the connection, and a fresh one has the room's notebook.

The agent's side is a whole ``NotebookPeer``; a human types before, between and after.
"""

from __future__ import annotations

from contextlib import suppress

import anyio
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jupyter_ydoc import YNotebook
from pycrdt import Doc, write_message

from collab_agent.errors import CollabAgentError
from collab_agent.notebook import render
from collab_agent.notebook.render import outline
from collab_agent.room.codec import var_bytes, var_uint
from collab_agent.room.protocol import Synced
from collab_agent.testing import notebook_of

from .odd import as_json, fuzz, record, texts, values
from .test_awareness import Joined, pairing

HUGE = b"\xff\xff\xff\xff\x0f"


def stranger() -> list[bytes]:
    """Updates of a document that is another one: they leave gaps, and name parents that are not there."""
    notebook = YNotebook(Doc(client_id=7))
    notebook.set(notebook_of(["x = é😀", ("markdown", "# T")]))
    updates: list[bytes] = []
    subscription = notebook.ydoc.observe(lambda event: updates.append(event.update))
    notebook.ycells[0]["source"].insert(2, "é😀")
    notebook.ycells[0]["outputs"].append({"output_type": "error", "traceback": ["a", 1.5, None, True]})
    del notebook.ycells[1]
    notebook.ydoc.unobserve(subscription)
    return updates


UPDATES = stranger()
CRASHERS = [
    b"\1\0\7\0\0",  # a client without structs: pycrdt panics
    b"\1\0\7\x08\1\2\1a|",
    HUGE,  # lengths that no memory holds
    b"\1" + HUGE + b"\7\0",
    b"\1\1\7\0\x08\1\1a\1\x75" + HUGE,
    b"\1\1\7\0\x08\1\5cells\1" + b"\x75\1" * 3_000 + b"\x7e\0",  # a cell that is a list in a list in a list …
    b"\1\1\7\0\x08\1\5cells" + HUGE + b"\x7e",
    b"\1\1\7\0\0" + HUGE + b"\0",
    b"\0\1\7\1\0" + HUGE,
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    payload = bytearray(draw(st.sampled_from(UPDATES)))
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(payload)))
        payload[start : start + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return bytes(payload)


payloads = st.one_of(mutated(), st.sampled_from([*CRASHERS, *UPDATES]), st.binary(max_size=40))
raw = record(type=st.sampled_from(["save", "conflict"]), responseTo=st.integers(0, 3), status=texts)
HEADS = [b"", b"\0\2", b"\1", b"\2", b"\3", b"\0\7"]
frames = st.one_of(
    st.builds(lambda kind, payload: bytes([0, kind]) + write_message(payload), st.integers(0, 2), payloads),
    st.builds(lambda said: b"\2" + write_message(as_json(said)), raw | values),
    st.builds(lambda head, rest: head + rest, st.sampled_from(HEADS), st.binary(max_size=20)),
    st.sampled_from([head + HUGE + b"\x01" for head in (b"\0\0", b"\0\1", b"\0\2", b"\1", b"\2")]),
    st.just(b"\1" + write_message(var_uint(2**40) + var_uint(1) + var_bytes(b"{}"))),
)


@given(st.lists(frames, min_size=1, max_size=3))
@example([b"\0\2" + write_message(payload) for payload in CRASHERS[:3]])
@fuzz(60)
async def test_the_agent_comes_back_with_the_rooms_notebook(
    caplog: pytest.LogCaptureFixture, said: list[bytes]
) -> None:
    async with pairing() as joined:
        await joined.ada.type(0, "before ", 0)
        channel = joined.room.channels[-1]
        for frame in said:
            channel.deliver(frame)
        await joined.ada.type(1, "after ", 0)
        while channel.waiting and joined.room.channels[-1] is channel:
            await anyio.lowlevel.checkpoint()
        look(joined)
        await start_afresh(joined)
        await joined.works()
        assert joined.room.sources() == ["before a = 1\n", "after b = é😀\n", "ours"], "nothing else was written"
    assert not [entry for entry in caplog.records if entry.levelname == "ERROR"]


def look(joined: Joined) -> None:
    """Whatever the agent's replica holds now can be shown, or the room is away."""
    with suppress(CollabAgentError):
        outline(joined.peer.view, joined.peer.outputs, joined.peer.seen, budget=4000).encode()
        render.cells(joined.peer.view, [], joined.peer.outputs, joined.peer.seen, budget=4000).encode()


async def start_afresh(joined: Joined) -> None:
    """What a validly mutated update has put into the agent's replica alone is gone with that replica."""
    again = anyio.Event()
    joined.peer.observe(lambda event: again.set() if isinstance(event, Synced) else None)
    joined.room.channels[-1].cut()
    with anyio.fail_after(20):
        await again.wait()
