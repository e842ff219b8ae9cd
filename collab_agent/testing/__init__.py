"""Try a merge or a fault without a server: a room in this process, and a human who types by script.

    async with InProcessRoom(["x = 1"]) as room, Human.join(room.connect, "Ada") as ada:
        await ada.type(0, "00", at=5)
        await room.wait_for(lambda: room.sources() == ["x = 100"])

``InProcessRoom`` is pycrdt-websocket's own ``YRoom``, the one inside jupyter-collaboration, on connections in memory
that can be cut, held back and robbed of their echoes.  ``Human`` is a second opinion: a Yjs peer that shares no
protocol code with ``collab_agent.room``, and does on the wire what a JupyterLab page does, be it in such a room or on a
real server.
"""

from __future__ import annotations

from .documents import CellSpec, converged, notebook_of
from .host import RoomHost
from .human import Human
from .room import InProcessChannel, InProcessRoom
from .server import human_channel

__all__ = [
    "CellSpec",
    "Human",
    "InProcessChannel",
    "InProcessRoom",
    "RoomHost",
    "converged",
    "human_channel",
    "notebook_of",
]
