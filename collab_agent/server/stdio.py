"""Serving MCP on stdio, in the handshake era, with a clean end on EOF and on every signal.

Under the stateless era some clients send no cancellation, so that a cell would run on after Ctrl-C
(``facts/mcp.md``, section 1).  Clients say good-bye by EOF and SIGTERM at once, and SIGTERM twice: the handler stays
installed until our presence is gone from the page.
"""

from __future__ import annotations

import signal

import anyio
from mcp.server.runner import serve_loop
from mcp.server.stdio import stdio_server

from ..agent import FindServer, agent
from ..config import Settings
from .app import build_server


async def serve_stdio(settings: Settings, find_server: FindServer) -> None:
    """Serve one client until it leaves or a signal comes; then leave every notebook."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyio.create_task_group() as tasks:

            async def stop_on_signal() -> None:
                async for _ in signals:
                    tasks.cancel_scope.cancel()

            tasks.start_soon(stop_on_signal)
            async with agent(settings, find_server) as served, stdio_server() as (read, write):
                server = build_server(served)
                await serve_loop(
                    server,
                    read,
                    write,
                    lifespan_state={},
                    init_options=server.create_initialization_options(),
                )
            tasks.cancel_scope.cancel()
