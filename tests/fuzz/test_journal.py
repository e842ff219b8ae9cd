"""The journal meets anything: after a restart, or another program's write, room and file hold whatever they hold.

The agent has edited a room that holds anything, and is told so; then the server goes back to an earlier notebook, with
whatever others have made of it.  What the agent puts back stands there at most once, what it does not put back is told,
and what others have made is left as it is.
"""

from __future__ import annotations

from random import Random
from typing import Any

import anyio
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mcp_types import Tool
from pycrdt import Map

from collab_agent.errors import NotebookUnreadable
from collab_agent.jupyter.contents import is_notebook
from collab_agent.server.schema import MODIFY, QUERY, SETUP
from collab_agent.testing import InProcessRoom
from tests.convergence.clock import LeapingLoop, repeatable
from tests.convergence.kernel import Kernel

from .odd import fuzz, nearly, record, texts, values
from .test_documents import (
    DEADLINE_S,
    GOOD,
    MOST_CHARS,
    NO_TEXT,
    RUN_S,
    STRANGE,
    TWINS,
    Build,
    FileHost,
    a_map,
    a_text,
    an_array,
    as_it_is,
    call,
    documents,
    held,
    put,
    tools_in,
    untouched,
    works,
)

OURS = ("y = 1", "z = 1")
EDITS: list[dict[str, Any]] = [
    {"edits": [{"op": "write", "cell": "good", "source": OURS[0]}]},
    {"edits": [{"op": "insert", "source": OURS[1]}]},
]
WHOLE = a_map(
    {key: an_array([]) if key == "outputs" else as_it_is(value) for key, value in GOOD.items()}
    | {"source": a_text("x = 1"), "metadata": a_map({})}
)
A_TEXT = a_map({"id": as_it_is("b"), "cell_type": as_it_is("code"), "source": a_text("long lost")})
OUTLINE: Any = (QUERY, {"query": "outline"})
AFTERWARDS: dict[str, list[tuple[Tool, dict[str, Any]]]] = {
    "look": [(QUERY, {"query": "changes"}), (QUERY, {"query": "cells"}), (SETUP, {"action": "save"})],
    "restore": [(MODIFY, {"edits": [{"op": "restore", "force": True}]})],
    "undo": [(MODIFY, {"edits": [{"op": "undo", "steps": 2}]})],
    "leave": [(SETUP, {"action": "leave"})],
}
on_disk = record(
    id=st.sampled_from(["good", "a", "b"]) | texts,
    cell_type=st.sampled_from(["code", "markdown"]),
    source=texts | st.lists(texts, max_size=2),
    outputs=st.lists(values, max_size=2),
    execution_count=values,
    metadata=values,
)
files = record(
    nbformat=st.just(4),
    metadata=st.just({}),
    cells=st.lists(on_disk, max_size=4) | st.lists(nearly(on_disk), max_size=2),
)


class Server(FileHost):
    """A server that can die, and whose file another program may write: any JSON."""

    async def read_back(self) -> dict[str, Any]:
        """As the real one: what is no notebook is an error."""
        if not is_notebook(self._file):
            raise NotebookUnreadable("It is no notebook.")
        return self._file

    async def on_disk(self) -> tuple[dict[str, Any], str]:
        """The same."""
        return await self.read_back(), ""

    def dies(self, into: InProcessRoom) -> None:
        """The process dies, and another one has this room."""
        self.process = f"{self.process}'"
        self._room.cut()
        self._room = into

    def writes(self, file: Any) -> None:
        """Somebody writes the file."""
        self._file = file


def earlier(room: InProcessRoom, others: list[Build]) -> None:
    """The room goes back to the notebook that it was, with whatever others have made of it."""
    state = room.notebook.ydoc.get("state", type=Map)
    with room.notebook.ydoc.transaction():
        if "hash" in state:
            del state["hash"]
        del room.notebook.ycells[:]
        put(room, [WHOLE, *others], [])
    state["dirty"] = False


async def play(before: list[Build], after: list[Build], file: Any, fault: str, then: str) -> None:
    async with InProcessRoom([GOOD]) as first, InProcessRoom([GOOD]) as second:
        first.notebook.ydoc.get("state", type=Map)["hash"] = "h"
        kernel = Kernel(Random(0))
        host = Server(first, kernel, "Goose")
        put(first, before, [])
        async with tools_in(host, kernel) as (tools, inner):
            peer = inner.peers[0]
            await call(tools, QUERY, {"query": "cells", "cells": "#1"})
            made = [text for edit, text in zip(EDITS, OURS, strict=True) if not (await call(tools, MODIFY, edit))[1]]
            host.writes(file)
            room = second if fault == "reborn" else first
            if fault != "overwritten":
                host.dies(room)
            earlier(room, after)
            strange = held(room)
            with anyio.fail_after(DEADLINE_S):
                await peer._room.wait_joined()
                await anyio.sleep(RUN_S)
                assert_only_ours_is_new(strange, held(room))
                said = [(await call(tools, *OUTLINE))[0]]
                for text in made:
                    there = "\n".join(held(room)).count(text)
                    assert there == 1 or (not there and "lost" in said[0]), (text, there, said)
                if fault == "reborn":  # the page of somebody who has kept their document comes back
                    room.notebook.ydoc.apply_update(first.notebook.ydoc.get_update())
                    await anyio.sleep(RUN_S)
                was = held(room)
                said += [(await call(tools, *each))[0] for each in AFTERWARDS[then]]
            untouched(was, held(room), {}, said[-1])
            assert all(0 < len(each) < MOST_CHARS and "bug of collab-agent" not in each for each in said), said
            if inner.peers:
                await works(room, tools, peer)


def assert_only_ours_is_new(was: list[str], now: list[str]) -> None:
    """What stands there is what others have made, in their order, but for what holds our texts."""
    left = iter(was)
    theirs = [each for each in now if not any(text in each for text in OURS)]
    assert all(each in left for each in theirs), (was, now)
    assert len(was) - len(theirs) <= 1, (was, now)


@given(
    documents, documents, files, st.sampled_from(["died", "reborn", "overwritten"]), st.sampled_from(list(AFTERWARDS))
)
@example(STRANGE, TWINS, {"nbformat": 4, "metadata": {}, "cells": [None]}, "died", "restore")
@example(TWINS, STRANGE, [], "overwritten", "undo")
@example([A_TEXT], NO_TEXT, {}, "died", "restore")
@fuzz(60)
def test_what_is_put_back_stands_there_once_and_the_rest_is_told(
    caplog: pytest.LogCaptureFixture, before: Any, after: Any, file: Any, fault: str, then: str
) -> None:
    with repeatable(0):
        anyio.run(play, before, after, file, fault, then, backend_options={"loop_factory": LeapingLoop})
    assert not [entry for entry in caplog.records if entry.levelname == "ERROR"]
