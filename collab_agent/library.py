"""The library's way in: one notebook, without MCP."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from os import PathLike, fspath
from time import time

import anyio

from .config import Identity, Limits
from .errors import sole_cause
from .host import JupyterHost, Panel
from .jupyter.address import normalise_path
from .jupyter.api import JupyterApi
from .jupyter.discovery import configured
from .nameplate import Nameplate
from .peer import NotebookPeer


@asynccontextmanager
async def joined(
    url: str,
    token: str,
    path: str,
    name: str,
    *,
    mark_cells: bool = False,
    ca_file: str | PathLike[str] | None = None,
) -> AsyncIterator[NotebookPeer]:
    """See ``collab_agent.join``."""
    path = normalise_path(path)
    nameplate = Nameplate(replace(Identity.named(name, f"collab-agent-{secrets.token_hex(4)}"), since=time()))
    server = replace(configured(url, token), ca_file=None if ca_file is None else fspath(ca_file))
    try:
        async with JupyterApi(server) as api, anyio.create_task_group() as tasks:
            panel = Panel(api, nameplate, Limits())
            host = JupyterHost(api, path, nameplate)
            async with NotebookPeer.joined(host, path, nameplate, mark_cells=mark_cells) as peer:
                panel.show([path])
                await tasks.start(panel.run)
                yield peer
            tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise sole_cause(group) from None
