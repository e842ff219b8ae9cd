"""A server's REST answers may be anything: every call ends in a value or in an error of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream
from hypothesis import example, given
from hypothesis import strategies as st

from collab_agent.config import Server
from collab_agent.errors import CollabAgentError
from collab_agent.jupyter.api import JupyterApi

from .odd import as_json, fuzz, nearly, numbers, record, texts, values

NESTED = b"[" * 3_000
kernels = record(id=texts, name=texts, execution_state=texts, connections=numbers, last_activity=texts)
sessions = record(id=texts, path=texts, name=texts, type=st.just("notebook"), kernel=kernels)
specs = record(name=texts, spec=record(display_name=texts, language=texts, argv=st.lists(texts, max_size=1)))
cells = record(cell_type=st.sampled_from(["code", "markdown"]), source=texts, metadata=st.just({}), id=texts)
notebooks = record(nbformat=st.just(4), nbformat_minor=numbers, metadata=st.just({}), cells=st.lists(cells, max_size=2))
kinds = st.sampled_from(["directory", "notebook"])
entries = record(path=texts, name=texts, type=kinds, size=numbers, last_modified=texts)
contents = record(
    type=st.sampled_from(["notebook", "directory", "file"]),
    content=st.one_of(notebooks, st.lists(nearly(entries), max_size=2)),
    hash=texts,
    last_modified=texts,
    path=texts,
    writable=st.booleans(),
)
others = record(
    version=texts,
    fileId=texts,
    sessionId=texts,
    format=texts,
    type=texts,
    path=texts,
    id=texts,
    fork_roomid=texts,
    title=texts,
    description=texts,
    default=texts,
    kernelspecs=st.dictionaries(texts, nearly(specs), max_size=2),
    message=texts,
)
bodies = st.one_of(
    st.one_of(contents, others, st.lists(nearly(sessions), max_size=2), values).map(as_json),
    st.sampled_from([b"", b"<!DOCTYPE html><html><body>login</body></html>", b"{", b"\xff\xfe", NESTED, b"null"]),
    st.binary(max_size=20),
)
STATUSES = ["200 OK", "200 OK", "200 OK", "201 Created", "204 No Content", "400 Bad Request", "404 Not Found"]
STATUSES += ["405 Method Not Allowed", "500 Internal Server Error", "501 Not Implemented", "302 Found", "418 Teapot"]
answers = st.lists(st.tuples(st.sampled_from(STATUSES), bodies), min_size=1, max_size=4)

CALLS: dict[str, Callable[[JupyterApi], Awaitable[Any]]] = {
    "version": lambda api: api.version(),
    "has_collaboration": lambda api: api.has_collaboration(),
    "kernelspecs": lambda api: api.kernelspecs(),
    "check_notebook": lambda api: api.check_notebook("a.ipynb"),
    "read_notebook": lambda api: api.read_notebook("a.ipynb"),
    "notebook_on_disk": lambda api: api.notebook_on_disk("a.ipynb"),
    "modified": lambda api: api.modified("a.ipynb"),
    "file_sha": lambda api: api.file_sha("a.ipynb"),
    "exists": lambda api: api.exists("a.ipynb"),
    "create_notebook": lambda api: api.create_notebook("b/a.ipynb"),
    "contents_listing": lambda api: api.contents_listing("", folders=3),
    "sessions": lambda api: api.sessions(),
    "ensure_session": lambda api: api.ensure_session("a.ipynb"),
    "has_kernel": lambda api: api.has_kernel("k"),
    "interrupt": lambda api: api.interrupt("k"),
    "restart": lambda api: api.restart("k"),
    "open_session_rtc": lambda api: api.open_session_rtc("a.ipynb"),
    "path_of": lambda api: api.path_of("id"),
    "file_id": lambda api: api.file_id("a.ipynb"),
    "forks": lambda api: api.forks("room"),
    "create_fork": lambda api: api.create_fork("room", "title", "description"),
    "delete_fork": lambda api: api.delete_fork("fork"),
}


@asynccontextmanager
async def saying(said: list[tuple[str, bytes]]) -> AsyncIterator[str]:
    """A server that gives these answers, one after the other and again; its URL."""
    number = 0

    async def answer(stream: SocketStream) -> None:
        nonlocal number
        async with stream:
            await stream.receive()
            status, body = said[number % len(said)]
            number += 1
            body = b"" if status.startswith("204") else body
            head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nLocation: /x\r\nConnection: close\r\n\r\n"
            await stream.send(head.encode() + body)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, answer)
        yield f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}/"
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("name", CALLS)
@given(answers)
@example([("200 OK", NESTED)])
@example([("500 Internal Server Error", NESTED)])
@fuzz(12)
async def test_a_call_ends_in_a_value_or_in_an_error_of_ours(name: str, said: list[tuple[str, bytes]]) -> None:
    async with saying(said) as url, JupyterApi(Server(url, "token")) as api:
        try:
            with anyio.fail_after(20):
                await CALLS[name](api)
        except CollabAgentError as error:
            str(error).encode()
