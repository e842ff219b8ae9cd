"""A kernel may say anything on any channel: a run still ends, and what enters the notebook is a notebook's.

The kernel is a real websocket that speaks the real subprotocol and answers each request with what hypothesis likes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from collab_agent.config import Identity, Server
from collab_agent.errors import CollabAgentError
from collab_agent.kernel.client import KernelClient
from collab_agent.kernel.wire import SUBPROTOCOL, decode
from collab_agent.peer import NotebookPeer
from collab_agent.server import others, reports
from collab_agent.testing import Human, InProcessRoom, RoomHost

from .odd import as_json, fuzz, nearly, numbers, record, texts, values

bundles = st.dictionaries(
    st.sampled_from(["text/plain", "text/html", "image/png", "application/json", "text/latex", "", "é"]) | texts,
    nearly(st.one_of(texts, st.lists(texts, max_size=2))),
    max_size=3,
)
transients = record(display_id=st.sampled_from(["a", "b"]))
states = st.sampled_from(["busy", "idle", "starting", "restarting", "dead"])
CONTENTS = {
    "stream": record(name=st.sampled_from(["stdout", "stderr"]), text=texts),
    "display_data": record(data=bundles, metadata=bundles, transient=transients),
    "update_display_data": record(data=bundles, metadata=bundles, transient=transients),
    "execute_result": record(data=bundles, metadata=bundles, execution_count=numbers, transient=transients),
    "error": record(ename=texts, evalue=texts, traceback=st.lists(texts, max_size=2)),
    "clear_output": record(wait=st.booleans()),
    "status": record(execution_state=states),
    "execute_input": record(code=texts, execution_count=numbers),
    "execute_reply": record(
        status=st.sampled_from(["ok", "error", "aborted"]),
        execution_count=numbers,
        ename=texts,
        evalue=texts,
        user_expressions=st.dictionaries(texts, nearly(record(status=st.just("ok"), data=bundles)), max_size=2),
        payload=st.lists(
            nearly(
                record(
                    source=st.sampled_from(["page", "set_next_input"]), text=texts, data=bundles, replace=st.booleans()
                )
            ),
            max_size=2,
        ),
    ),
    "input_request": record(prompt=texts, password=st.booleans()),
    "comm_open": record(
        comm_id=st.just("c"),
        data=record(
            state=record(_model_name=st.just("OutputModel"), msg_id=texts, outputs=st.lists(values, max_size=2))
        ),
    ),
    "comm_msg": record(
        comm_id=st.just("c"),
        data=record(
            method=st.sampled_from(["update", "echo_update"]),
            state=record(msg_id=texts, outputs=st.lists(nearly(record(output_type=texts, text=texts)), max_size=2)),
        ),
    ),
    "comm_close": record(comm_id=st.just("c")),
    "shutdown_reply": record(restart=st.booleans()),
    "kernel_info_reply": record(supported_features=st.lists(texts, max_size=1)),
}
CHANNELS = ["iopub", "shell", "stdin", "control", "nowhere", ""]


@st.composite
def messages(draw: st.DrawFn) -> tuple[str, Any, Any, Any, Any]:
    """Channel, header, parent (None: the request's header), metadata, content."""
    kind = draw(st.sampled_from(sorted(CONTENTS)))
    channel = draw(st.sampled_from(["iopub"] * 4 + CHANNELS))
    header = draw(nearly(st.builds(lambda more: {"msg_id": "m", "msg_type": kind, "session": "k"} | more, record())))
    parent = draw(st.none() | st.none() | nearly(record(msg_id=texts, session=texts, msg_type=texts, username=texts)))
    return channel, header, parent, draw(nearly(st.just({}))), draw(nearly(CONTENTS[kind]))


def frame_of(channel: str, parts: Sequence[bytes]) -> bytes:
    """A v1 frame; written here anew, for ours would refuse to write these."""
    all_parts = [channel.encode(), *parts]
    offsets = [8 * (len(all_parts) + 2)]
    for part in all_parts:
        offsets.append(offsets[-1] + len(part))
    return struct.pack(f"<{1 + len(offsets)}Q", len(offsets), *offsets) + b"".join(all_parts)


class Kernel:
    """Says ``said`` upon each ``execute_request``, and then that it is done."""

    def __init__(self, said: Sequence[Any]) -> None:
        self.said = said

    async def talk(self, socket: ServerConnection) -> None:
        try:
            async for frame in socket:
                assert isinstance(frame, bytes)
                request = decode(frame)
                if request.msg_type == "execute_request":
                    for each in self.said:
                        await socket.send(each if isinstance(each, str | bytes) else self._frame(each, request.header))
                    reply: dict[str, Any] = {"status": "ok", "execution_count": 7, "user_expressions": {}}
                    await self._say(socket, "shell", "execute_reply", reply, request.header)
                elif request.msg_type == "kernel_info_request":
                    await self._say(socket, "shell", "kernel_info_reply", {}, request.header)
                else:
                    continue
                await self._say(socket, "iopub", "status", {"execution_state": "idle"}, request.header)
        except ConnectionClosed:
            return

    async def _say(self, socket: ServerConnection, channel: str, kind: str, content: Any, parent: Any) -> None:
        header = {"msg_id": "x", "msg_type": kind, "session": "k"}
        await socket.send(self._frame((channel, header, None, {}, content), parent))

    def _frame(self, message: Any, request: Any) -> bytes:
        channel, header, parent, metadata, content = message
        parts = (header, request if parent is None else parent, metadata, content)
        return frame_of(channel, [*map(as_json, parts), b"\0\xff"])


class KernelHost(RoomHost):
    """A room, and a kernel on a websocket."""

    def __init__(self, room: InProcessRoom, server: Server) -> None:
        super().__init__(room)
        self._server = server

    async def kernel_id(self, kernel: str | None, *, human_here: bool) -> str:
        return "k"

    def kernel_client(self, kernel_id: str) -> AbstractAsyncContextManager[KernelClient]:
        return KernelClient.connect(self._server, kernel_id, reconnect_delays=(0.0, 0.0))

    async def interrupt(self, kernel_id: str) -> None:
        return None


@asynccontextmanager
async def talking(said: Sequence[Any]) -> AsyncIterator[tuple[InProcessRoom, Human, NotebookPeer]]:
    async with serve(
        Kernel(said).talk, "127.0.0.1", 0, subprotocols=[Subprotocol(SUBPROTOCOL)], compression=None
    ) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        async with (
            InProcessRoom(["1", "2"]) as room,
            Human.join(room.connect, "Ada") as ada,
            NotebookPeer.joined(
                KernelHost(room, Server(f"http://127.0.0.1:{port}/", "")), "n.ipynb", Identity.named("Goose")
            ) as peer,
        ):
            yield room, ada, peer


async def over(peer: NotebookPeer, runs: Sequence[Any]) -> None:
    """Wait for the end; whatever asks for input meanwhile gets an answer."""
    with anyio.fail_after(20):
        while not all(run.over for run in runs):
            await peer.runs.wait(runs, 20)
            if peer.runs.asking is not None:
                peer.runs.reply("\ud800 answer")


def assert_a_notebook(document: dict[str, Any]) -> None:
    """What would be on disk: nbformat's own checks, and plain JSON in UTF-8."""
    text = json.dumps(document, allow_nan=False)
    text.encode()
    made = nbformat.from_dict(
        json.loads(text, parse_float=lambda digits: int(float(digits)) if float(digits).is_integer() else float(digits))
    )
    for cell in made.cells:
        cell.metadata.pop("trusted", None)
        cell.pop("execution_state", None)
    nbformat.validate(made)


broken_frames = (
    st.binary(max_size=80)
    | st.text(max_size=5)
    | st.builds(frame_of, st.sampled_from(CHANNELS), st.lists(st.binary(max_size=9), max_size=6))
)


@given(st.lists(st.one_of(messages(), messages(), messages(), broken_frames), min_size=1, max_size=6))
@fuzz(60)
async def test_a_run_ends_and_leaves_a_notebook(caplog: pytest.LogCaptureFixture, said: list[Any]) -> None:
    async with talking(said) as (room, ada, peer):
        await peer.ensure_kernel()
        runs = [*await peer.run_cells([cell.id for cell in peer.view.cells], stop_on_error=False)]
        runs.append(await peer.run_aside("3"))
        await over(peer, runs)
        shown = reports.runs(peer, runs, anyio.current_time(), 6_000, 4)
        shown.text.encode()
        assert len(shown.text) <= 6_000
        others.since(peer, 600).encode()
        try:
            await peer.edit([{"op": "insert", "source": "ours", "type": "raw", "after": "last"}])
        except CollabAgentError as error:
            raise AssertionError(f"the room was lost: {error}") from error
        await ada.wait_for(lambda: "ours" in ada.sources())
        assert_a_notebook(room.document())
        assert all(not cell.running for cell in peer.view.cells)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
