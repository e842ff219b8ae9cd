"""collab_agent: an AI assistant as a real-time collaboration peer in a JupyterLab notebook.

    async with collab_agent.join(url, token, "nb.ipynb", name="Helper") as notebook:
        await notebook.edit([{"op": "insert", "source": "1 + 1"}])

Importing this package costs nothing: everything is imported when it is first used.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from .errors import CollabAgentError

if TYPE_CHECKING:
    from os import PathLike

    from .peer import NotebookPeer

__all__ = ["CollabAgentError", "join"]


def join(
    url: str,
    token: str,
    path: str,
    *,
    name: str = "Agent",
    mark_cells: bool = False,
    ca_file: str | PathLike[str] | None = None,
) -> AbstractAsyncContextManager[NotebookPeer]:
    """Join a notebook of a running Jupyter server as a peer called ``name``; leaving the block leaves the room.

    ``path`` is relative to the server's root; the notebook must exist.  ``mark_cells``: cells that the peer makes or
    changes say so in their metadata.  ``ca_file``: the authority (PEM) of the server's certificate, if the system does
    not know it.  Raises a ``CollabAgentError`` where it cannot be joined.
    """
    from .library import joined

    return joined(url, token, path, name, mark_cells=mark_cells, ca_file=ca_file)
