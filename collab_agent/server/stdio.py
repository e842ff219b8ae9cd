"""Serving MCP on stdio, in the handshake era, with a clean end on EOF and on every signal.

Under the stateless era some clients send no cancellation, so that a cell would run on after Ctrl-C
(``facts/mcp.md``, section 1).

Nothing can interrupt a thread that waits in a read of stdin, and Python waits for its threads at the end.  The SDK's
own reader is such a thread: with stdin open, a signal would end nothing until the client speaks again.  So stdin is
read here, by a thread that the process may leave behind.
"""

from __future__ import annotations

import asyncio
import math
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import cast

import anyio
from mcp.server.runner import serve_loop
from mcp.server.stdio import stdio_server

from ..agent import Agent, FindServer, agent
from ..audit import AuditLog
from ..config import Settings
from ..ending import in_time
from .app import build_server

_CHUNK = 65_536


async def serve_stdio(settings: Settings, find_server: FindServer, log: AuditLog | None = None) -> None:
    """Serve one client until it leaves or a signal comes; then leave every notebook, in time.

    The calls that are waiting at that moment are cancelled, so that their runs are interrupted: a headless Goose 1.52.0
    that is stopped by Ctrl-C says so by EOF and SIGTERM, and more often than not by nothing else.
    """
    async with in_time() as ending, ending.answering_for(agent(settings, find_server, log)) as served:
        # The SDK only iterates over what it is given as stdin.
        stdin = cast("anyio.AsyncFile[str]", _Lines(_claim_stdin(), ending.begin))
        with ending.scope:
            await _serve(served, stdin)
        ending.begin()


async def _serve(served: Agent, stdin: anyio.AsyncFile[str]) -> None:
    async with stdio_server(stdin=stdin) as (read, write):
        server = build_server(served)
        await serve_loop(server, read, write, lifespan_state={}, init_options=server.create_initialization_options())


def _claim_stdin() -> int:
    """Take the wire off descriptor 0, so that no child process reads what is ours; returns where it is now."""
    wire = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return wire


class _Lines:
    """The lines that come in on a descriptor, as an asynchronous iterator that can be cancelled."""

    def __init__(self, fd: int, on_end: Callable[[], object]) -> None:
        self._on_end = on_end
        self._send, self._lines = anyio.create_memory_object_stream[str](math.inf)
        loop = asyncio.get_running_loop()
        arguments = (fd, lambda line: loop.call_soon_threadsafe(self._take, line))
        threading.Thread(target=_read_lines, args=arguments, name="stdin", daemon=True).start()

    def _take(self, line: bytes | None) -> None:
        if line is None:
            self._on_end()
            self._send.close()
            return
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            self._send.send_nowait(line.decode("utf-8", "replace"))

    def __aiter__(self) -> _Lines:
        return self

    async def __anext__(self) -> str:
        try:
            return await self._lines.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None


def _read_lines(fd: int, deliver: Callable[[bytes | None], object]) -> None:
    """Deliver each line, then None; runs in a thread.  ``os.read`` takes no lock that the end of Python wants."""
    parts: list[bytes] = []
    with suppress(RuntimeError):  # the loop has ended
        with suppress(OSError):
            while chunk := os.read(fd, _CHUNK):
                head, *lines = chunk.split(b"\n")
                parts.append(head)
                for line in lines:
                    deliver(b"".join(parts))
                    parts = [line]
        if any(parts):
            deliver(b"".join(parts))
        deliver(None)
