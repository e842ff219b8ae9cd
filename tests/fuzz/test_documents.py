"""A room may hold anything: every call answers with text or an error of ours, and nothing is written wrong.

Whatever Yjs can hold stands where cells, their fields and the notebook's own are expected, before the agent comes and
while it is there.  The tools are whole, with a kernel in this process; the clock leaps, so nobody waits.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

import anyio
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pycrdt import Array, Map, Text

from collab_agent.agent import Agent, _Open, agent
from collab_agent.config import Identity, Server, Settings
from collab_agent.errors import CollabAgentError
from collab_agent.jupyter.api import JupyterApi
from collab_agent.peer import NotebookPeer
from collab_agent.server.schema import EXECUTE, MODIFY, QUERY, SETUP
from collab_agent.server.tools import Tools
from collab_agent.testing import InProcessRoom
from tests.convergence.clock import LeapingLoop, repeatable
from tests.convergence.kernel import Kernel, KernelHost

from .odd import Values, fuzz

NOWHERE = Server("http://127.0.0.1:9/", "no-token-at-all")
MOST_CHARS = 12_000
RUN_S = 5.0
"""Longer than any run takes."""
DEADLINE_S = 600.0
"""On the clock that leaps."""
GOOD = {"id": "good", "cell_type": "code", "source": "x = 1", "metadata": {}, "outputs": [], "execution_count": None}


@dataclass(frozen=True)
class Build:
    """Makes a value of a shared document, each time anew: a shared type may be put into a document only once."""

    kind: Literal["plain", "deep", "text", "array", "map"]
    value: Any

    def __call__(self) -> Any:
        match self.kind:
            case "deep":
                return nested(self.value)
            case "text":
                return Text(self.value)
            case "array":
                return Array([part() for part in self.value])
            case "map":
                return Map({key: build() for key, build in self.value.items()})
        return self.value


def nested(depth: int) -> Any:
    value: Any = "deep"
    for level in range(depth):
        value = [value] if level % 2 else {"deep": value}
    return value


words = st.one_of(
    st.sampled_from(["", "\0", "é😀", "\r\n", "x" * 9_000, "\x1b[31m", "\u202e\u200b", "```", "</cell>", "good", "a"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
)
plain: Values = st.one_of(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | words,
    st.recursive(words, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3)),
)


def a_text(text: str) -> Build:
    return Build("text", text)


def an_array(parts: list[Build]) -> Build:
    return Build("array", parts)


def a_map(fields: dict[str, Build]) -> Build:
    return Build("map", fields)


def as_it_is(value: Any) -> Build:
    return Build("plain", value)


builds: st.SearchStrategy[Build] = st.recursive(
    st.builds(as_it_is, plain) | st.builds(a_text, words) | st.sampled_from([Build("deep", 90), Build("deep", 500)]),
    lambda inner: (
        st.builds(an_array, st.lists(inner, max_size=3)) | st.builds(a_map, st.dictionaries(words, inner, max_size=3))
    ),
    max_leaves=5,
)


def mostly(expected: st.SearchStrategy[Build]) -> st.SearchStrategy[Build]:
    return st.one_of(expected, expected, expected, builds)


@st.composite
def shared(draw: st.DrawFn, **fields: st.SearchStrategy[Build]) -> Build:
    """A map in which up to two fields are missing, or hold anything, and the others are as they should be."""
    made = {key: draw(field) for key, field in fields.items()}
    for key in draw(st.lists(st.sampled_from(sorted(fields)), max_size=2)):
        if draw(st.booleans()):
            made[key] = draw(builds)
        else:
            made.pop(key, None)
    return a_map(made)


def values(*these: Any) -> st.SearchStrategy[Build]:
    return st.builds(as_it_is, st.sampled_from(these))


outputs = shared(
    output_type=values("stream", "display_data", "execute_result", "error", "update_display_data"),
    name=values("stdout", "stderr"),
    text=st.builds(a_text, words),
    data=values({"text/plain": "1"}, {"image/png": "no picture"}, {"text/html": 5.0, "a/b": None}, {"": [nested(50)]}),
    metadata=values({}, {"collapsed": 3.0}),
    execution_count=values(1.0, None),
    ename=values("E"),
    evalue=values("v"),
    traceback=values(["a", 1.0, None]),
)
cells = shared(
    id=values("a", "b", "c", "d", "d", "good"),
    cell_type=values("code", "code", "markdown", "raw"),
    source=st.builds(a_text, words | st.sampled_from(["a = 1\nb = 2", "b = 2"])),
    outputs=st.builds(an_array, st.lists(mostly(outputs), max_size=3)),
    metadata=st.builds(a_map, st.dictionaries(words, builds, max_size=2)),
    attachments=values({"a.png": {"image/png": "no picture"}}, {}),
    execution_count=values(1.0, None, 2.5),
    execution_state=values("idle", "running"),
)
documents = st.lists(mostly(cells), min_size=2, max_size=5)
roots = st.lists(
    st.tuples(
        st.sampled_from([("state", "path"), ("state", "hash"), ("state", "dirty"), ("state", "document_id"),
                         ("meta", "metadata"), ("meta", "nbformat"), ("meta", "nbformat_minor")]),
        builds,
    ),
    max_size=2,
)  # fmt: skip
REBUILDING = st.sampled_from(["delete", "move", "merge"])
refs = st.sampled_from(["#1", "#2", "#3", "#4", "a", "b", "c", "good", "last"])
places = st.fixed_dictionaries({}, optional={"after": refs}) | st.fixed_dictionaries({}, optional={"before": refs})
edits = st.builds(
    lambda fields, place: fields | (place if fields["op"] in ("insert", "move") else {}),
    st.one_of(
        st.fixed_dictionaries({"op": st.just("insert"), "source": words}),
        st.fixed_dictionaries({"op": st.just("write"), "cell": refs, "source": words}),
        st.fixed_dictionaries({"op": st.just("replace"), "cell": refs, "old": st.just("b = 2"), "new": words}),
        st.fixed_dictionaries({"op": st.just("retype"), "cell": refs, "type": st.sampled_from(["code", "markdown"])}),
        st.fixed_dictionaries({"op": st.just("split"), "cell": refs, "line": st.just(2)}),
        st.fixed_dictionaries({"op": REBUILDING, "cell": refs, "force": st.just(True)}),
        st.fixed_dictionaries({"op": st.just("clear"), "cells": st.lists(refs, min_size=1, max_size=2)}),
        st.fixed_dictionaries({"op": st.sampled_from(["undo", "redo", "restore"])}),
    ),
    places,
)
batches = edits.map(lambda each: [each]) | st.lists(edits, min_size=1, max_size=2)
KINDS = ["outline", "cells", "outputs", "search", "changes", "people", "variables", "inspect", "runs", "suggestions"]
calls = st.one_of(
    st.tuples(st.just(QUERY), st.fixed_dictionaries({"query": st.sampled_from(KINDS)}, optional={"cells": refs})),
    st.tuples(
        st.just(MODIFY),
        st.fixed_dictionaries({"edits": batches}),
    ),
    st.tuples(st.just(EXECUTE), st.fixed_dictionaries({"cells": st.lists(refs, min_size=1, max_size=2)})),
    st.tuples(st.just(SETUP), st.just({"action": "save"})),
)


class FileHost(KernelHost):
    """The file stays what it was: a server does not write what it cannot read."""

    async def read_back(self) -> dict[str, Any]:
        """What the notebook was when it was a notebook."""
        return self._file

    async def on_disk(self) -> tuple[dict[str, Any], str]:
        """The same."""
        return self._file, ""


@asynccontextmanager
async def tools_in(host: FileHost, kernel: Kernel) -> AsyncIterator[tuple[Tools, Agent]]:
    """The tools of an agent that has this room open; the server that it believes in is nowhere."""

    async def find_server(_stack: object) -> Server:
        return NOWHERE

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(kernel.work)
        async with JupyterApi(NOWHERE) as api, agent(Settings(), find_server) as inner:
            inner._api = api
            peer = NotebookPeer(host, "notebook.ipynb", Identity.named("Goose"))
            opened = _Open(peer)
            await inner._start(opened)
            inner._open.append(opened)
            yield Tools(inner), inner
        tasks.cancel_scope.cancel()


def held(room: InProcessRoom) -> list[str]:
    """All that stands in the array of cells, as text: NaN equals nothing."""
    return list(map(_as_text, room.notebook.ycells))


def _as_text(value: Any) -> str:
    try:
        return (
            f"text {value}"
            if isinstance(value, Text)
            else repr(value.to_py() if isinstance(value, Map | Array) else value)
        )
    except RecursionError:
        return "too deep for Python"


def put(room: InProcessRoom, cells_: list[Build], roots_: list[tuple[tuple[str, str], Build]]) -> None:
    """Somebody writes it, past all rules."""
    with room.notebook.ydoc.transaction():
        for build in cells_:
            room.notebook.ycells.append(build())
        for (root, key), build in roots_:
            room.notebook.ydoc.get(root, type=Map)[key] = build()


async def play(before: Any, during: Any, roots_: Any, called: Any) -> None:
    async with InProcessRoom([GOOD]) as room:
        kernel = Kernel(Random(0))
        host = FileHost(room, kernel, "Goose")
        put(room, before, roots_)
        async with tools_in(host, kernel) as (tools, inner):
            peer = inner.peers[0]
            for number, (tool, given) in enumerate([(QUERY, {"query": "cells"}), *called, (QUERY, {"query": "cells"})]):
                if number == 2:
                    put(room, during, roots_)
                was, all_of_it = held(room), room.notebook.ydoc.get_update()
                with anyio.fail_after(DEADLINE_S):
                    said, failed = await call(tools, tool, given)
                    await anyio.sleep(RUN_S)
                assert 0 < len(said) < MOST_CHARS, (tool.name, given)
                assert "bug of collab-agent" not in said
                if failed or tool in (QUERY, SETUP):
                    assert room.notebook.ydoc.get_update() == all_of_it, (tool.name, given, said)
                else:
                    untouched(was, held(room), given, said)
            await works(room, tools, peer)


async def call(tools: Tools, tool: Any, given: dict[str, Any]) -> tuple[str, bool]:
    try:
        return (await tools.call(tool, given)).text, False
    except CollabAgentError as error:
        return str(error), True


def untouched(was: list[str], now: list[str], given: dict[str, Any], said: str) -> None:
    """What is no cell stays as it was, whatever is done around it."""
    strange = [each for each in was if not each.startswith("{")]
    assert [each for each in now if not each.startswith("{")] == strange, (given, said)


async def works(room: InProcessRoom, tools: Tools, peer: NotebookPeer) -> None:
    """None of it has left the agent unable to work: it writes, and everybody has just that."""
    was = held(room)
    said, failed = await call(tools, MODIFY, {"edits": [{"op": "insert", "source": "still here"}]})
    assert not failed, said
    assert [each for each in held(room) if "still here" not in each] == was
    await room.wait_for(lambda: "still here" in held(room)[-1])
    assert peer.view.cells[-1].source == "still here"


TWINS = [a_map({"id": as_it_is("b"), "cell_type": as_it_is("code"), "source": a_text("b = 2")})] * 2
NO_TEXT = [a_map({"id": as_it_is("b"), "cell_type": as_it_is("code"), "source": as_it_is("b = 2")})]
STRANGE = [as_it_is(None), as_it_is(5.0), as_it_is("cell"), a_text("text"), an_array([]), Build("deep", 500)]


@given(documents, documents, roots, st.lists(calls, min_size=2, max_size=4))
@example(STRANGE, TWINS, [], [(MODIFY, {"edits": [{"op": "move", "cell": "good", "after": "last"}]})] * 3)
@example(NO_TEXT, [], [], [(MODIFY, {"edits": [{"op": "write", "cell": "b", "source": "c"}]})] * 2)
@example(NO_TEXT, [], [], [(MODIFY, {"edits": [{"op": "merge", "cell": "b"}]})] * 2)
@example([*TWINS, *NO_TEXT], [], [], [(MODIFY, {"edits": [{"op": "merge", "cell": "good"}]})] * 2)
@fuzz(80)
def test_every_call_ends_well_and_nothing_is_written_wrong(
    caplog: pytest.LogCaptureFixture, before: Any, during: Any, roots: Any, calls: Any
) -> None:
    with repeatable(0):
        anyio.run(play, before, during, roots, calls, backend_options={"loop_factory": LeapingLoop})
    assert not [entry for entry in caplog.records if entry.levelname == "ERROR"]
