"""Forks of a collaboration room: copies of its document, kept by the server until somebody deletes them.

Read off jupyter_server_ydoc 3.0.4 and tried (``docs/suggestions.md``): a fork lives in the server's memory only, has
no file, and outlives everybody in it and in the room; whoever joins one that is gone gets an empty room instead.
"""

from __future__ import annotations

from dataclasses import dataclass

from collab_agent.errors import CollaborationMissing, RoomClosed
from collab_agent.jupyter.address import quote_path
from collab_agent.jupyter.models import text_of
from collab_agent.jupyter.rest import Rest

_UPDATE = "Where the server is installed, run: pip install -U 'jupyter-collaboration>=5,<6' and restart it."


@dataclass(frozen=True, slots=True)
class Fork:
    """A fork of a room; ``id`` is the name of its own room."""

    id: str
    title: str
    description: str


class ForksApi:
    """The part of ``JupyterApi`` that is about forks."""

    _rest: Rest

    async def forks(self, room_id: str) -> tuple[Fork, ...]:
        """The forks of a room, oldest first."""
        answer = await self._rest.request("GET", _url(room_id), accept=(404, 405))
        if not answer.is_success:
            raise self._no_forks()
        found = self._rest.object(answer)
        return tuple(
            Fork(fork, str(info.get("title", "")), str(info.get("description", "")))
            for fork, info in found.items()
            if isinstance(info, dict)
        )

    async def create_fork(self, room_id: str, title: str, description: str) -> str:
        """Copy a room's document as it is now; returns the id of the copy's room.

        The copy is not kept in step with the room: the server would go on doing so after its end.
        """
        body = {"synchronize": False, "title": title, "description": description}
        answer = await self._rest.request("PUT", _url(room_id), json_body=body, accept=(404, 405))
        if answer.is_success:
            return text_of(self._rest.object(answer), "fork_roomid")
        if b"room not found" in answer.content:
            raise RoomClosed("The server has closed the notebook's room meanwhile. Nothing was written.", "Call again.")
        raise self._no_forks()

    async def delete_fork(self, fork_id: str) -> bool:
        """Delete a fork, and merge nothing; whether it was there.  Of two who delete it at once, one gets True."""
        answer = await self._rest.request("DELETE", _url(fork_id), query={"merge": "false"}, accept=(404,))
        return answer.is_success

    async def file_id(self, path: str) -> str | None:
        """The id under which the server has indexed a file; None for one that nobody has opened in a room yet."""
        answer = await self._rest.request("GET", "api/fileid/id", query={"path": path}, accept=(404,))
        return None if answer.status_code == 404 else text_of(self._rest.object(answer), "id")

    def _no_forks(self) -> CollaborationMissing:
        return CollaborationMissing(
            f"{self._rest.url} has no forks of rooms, which suggestions are kept in. Nothing was written.", _UPDATE
        )


def _url(room_id: str) -> str:
    return "api/collaboration/fork/" + quote_path(room_id)
