"""Others who have the file of a notebook open, when the agent comes.

Other Jupyter servers of this user: two of them eat each other's edits.

Each server takes over whatever the other one writes, over what its own people have not saved yet (``facts/faults.md``:
20 of 20 edits of a human lost).  They are known by the ``jpserver-*.json`` in the runtime folder; each is asked, with
the token of its own file, for its sessions, which a page has for every notebook that it shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import anyio.to_thread

from collab_agent.config import Server
from collab_agent.errors import CollabAgentError, NotebookElsewhere, NotebookNotFound
from collab_agent.jupyter.address import same_server
from collab_agent.jupyter.api import JupyterApi
from collab_agent.jupyter.discovery import running_servers
from collab_agent.jupyter.models import Session

ASK_S = 3.0


async def refuse_elsewhere(api: JupyterApi, path: str) -> None:
    """``NotebookElsewhere`` where another running server of this user has the file of this notebook open.

    A server that has a session of the one we use is the same one, behind a proxy or a tunnel.
    """
    holders = await anyio.to_thread.run_sync(_holders, api.server, path)
    ours = {session.id for session in await api.sessions()} if holders else set()
    for other, name in holders:
        theirs = await _sessions(other)
        if any(session.path == name for session in theirs) and not any(session.id in ours for session in theirs):
            raise NotebookElsewhere(
                f"{path!r} is open on another Jupyter server of this user, too: {other.url} (root folder "
                f"{other.root_dir}). Two servers overwrite each other's file, and what people type is lost. It was not "
                "opened.",
                "Ask the human to close it on one of them and to shut its kernel down there; then call again.",
            )


async def refuse_orphan(api: JupyterApi, path: str) -> None:
    """``NotebookNotFound`` where another program has taken away the file of a notebook that somebody may have open.

    A file made anew would be the room's, and the server would put it over all that its people have.
    """
    if not any(session.path == path for session in await api.sessions()) or await api.exists(path):
        return
    if await api.has_id(path):
        raise NotebookNotFound(
            f"{path!r} is not there any more: another program has moved or deleted the file, and somebody may have the "
            "notebook open, for its kernel runs. It was not made anew: the empty notebook would take the place of what "
            "they have before them.",
            "Ask the human to put the file back; where nobody has it open, they shut its kernel down, or you choose "
            "another path.",
        )


def _holders(server: Server, path: str) -> Sequence[tuple[Server, str]]:
    """The other servers under whose root folder the file is, and its path there."""
    if server.root_dir is None or server.runtime_dir is None:
        return []  # not on this machine, as far as is known
    file = Path(server.root_dir, path).resolve()
    found = []
    for candidate in running_servers(server.runtime_dir):
        other = candidate.server
        if other.root_dir is not None and not same_server(other.url, server.url):
            root = Path(other.root_dir).resolve()
            if file.is_relative_to(root):
                found.append((other, file.relative_to(root).as_posix()))
    return found


async def _sessions(server: Server) -> Sequence[Session]:
    """A server's sessions; none where it does not answer."""
    with suppress(CollabAgentError):
        async with JupyterApi(server, timeout_s=ASK_S) as api:
            return await api.sessions()
    return []
