"""The library's way in: one notebook, without MCP."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from .config import Identity, Limits
from .errors import sole_cause
from .host import JupyterHost, Panel
from .jupyter.address import normalise_path
from .jupyter.api import JupyterApi
from .jupyter.discovery import configured
from .peer import NotebookPeer


@asynccontextmanager
async def joined(
    url: str, token: str, path: str, name: str, *, mark_cells: bool = False
) -> AsyncIterator[NotebookPeer]:
    """See ``collab_agent.join``."""
    path = normalise_path(path)
    identity = Identity.named(name, f"collab-agent-{secrets.token_hex(4)}")
    try:
        async with JupyterApi(configured(url, token)) as api, anyio.create_task_group() as tasks:
            panel = Panel(api, identity, Limits())
            host = JupyterHost(api, path, identity)
            async with NotebookPeer.joined(host, path, identity, mark_cells=mark_cells) as peer:
                panel.opened(path)
                await tasks.start(panel.run)
                yield peer
            tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise sole_cause(group) from None
