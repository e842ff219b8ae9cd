"""The Jupyter server's REST interface: contents, sessions, kernels, and the door to the collaboration rooms.

``JupyterApi`` is one server's; all its paths are normalised ones (``normalise_path``).  Nothing here retries.
"""

from __future__ import annotations

import ssl
from types import TracebackType
from typing import Self

from collab_agent.config import DEFAULT_LIMITS, Limits, Server
from collab_agent.errors import CollaborationMissing, NotebookNotFound
from collab_agent.jupyter.address import normalise_path, quote_path
from collab_agent.jupyter.forks import ForksApi
from collab_agent.jupyter.models import (
    DocumentSession,
    KernelInfo,
    KernelSpec,
    KernelSpecs,
    Listing,
    NotebookFile,
    ServerStatus,
    Session,
    text_of,
)
from collab_agent.jupyter.pages import Pages, pages_of
from collab_agent.jupyter.rest import PatientRest, Rest
from collab_agent.jupyter.sessions import SessionsApi
from collab_agent.tls import context_for

__all__ = [
    "DocumentSession",
    "JupyterApi",
    "KernelInfo",
    "KernelSpec",
    "KernelSpecs",
    "Listing",
    "NotebookFile",
    "ServerStatus",
    "Session",
    "normalise_path",
]

INSTALL_COLLABORATION = "pip install 'jupyter-collaboration>=5,<6'"


class JupyterApi(SessionsApi, ForksApi):
    """One Jupyter server's REST interface.  Use it as an async context manager, or call ``aclose``."""

    def __init__(self, server: Server, *, limits: Limits = DEFAULT_LIMITS, timeout_s: float | None = None) -> None:
        self.limits = limits
        self._rest = Rest(server, timeout_s=limits.rest_s if timeout_s is None else timeout_s)
        self._slow = PatientRest(self._rest, timeout_s=limits.patient_s)
        self.url = self._rest.url
        """The base URL, with a trailing slash; safe to show."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._rest.aclose()
        await self._slow.aclose()

    @property
    def server(self) -> Server:
        """The server that this client talks to."""
        return self._rest.server

    @property
    def headers(self) -> dict[str, str]:
        """The header that authenticates a websocket.  It holds the token: keep it out of logs."""
        return self._rest.headers

    @property
    def tls(self) -> ssl.SSLContext | None:
        """What verifies the server's websockets; None without TLS."""
        return context_for(self.server)

    def ws_url(self, path_and_query: str) -> str:
        """The websocket address of a path (quoted, relative to the base URL), ``ws`` for http, ``wss`` for https."""
        return "ws" + self.url.removeprefix("http") + path_and_query.lstrip("/")

    async def version(self) -> str:
        """The version of jupyter_server.  Needs no token."""
        answer = self._rest.object(await self._rest.request("GET", "api"))
        return text_of(answer, "version")

    async def status(self) -> ServerStatus:
        """The server's state; proves that the token is accepted."""
        answer = self._rest.object(await self._rest.request("GET", "api/status"))
        return ServerStatus(
            await self.version(),
            text_of(answer, "started"),
            int(answer.get("kernels", 0)),
            int(answer.get("connections", 0)),
        )

    async def shutdown(self) -> None:
        """End the server and its kernels."""
        await self._rest.request("POST", "api/shutdown")

    async def has_collaboration(self) -> bool:
        """Whether jupyter-collaboration answers.  A GET on its PUT-only route says so (405) and changes nothing."""
        answer = await self._rest.request("GET", "api/collaboration/session/-", accept=(404, 405))
        return answer.status_code == 405

    async def collaboration_version(self) -> str | None:
        """The version of jupyter-collaboration, read from its page extension; None if that is not there."""
        return await self.extension_version("@jupyter/collaboration-extension")

    async def extension_version(self, name: str) -> str | None:
        """The version of a page extension, by its npm name; None if that is not there."""
        answer = await self._rest.request("GET", f"lab/extensions/{name}/package.json", accept=(404,))
        return None if answer.status_code == 404 else text_of(self._rest.object(answer), "version")

    async def pages(self) -> Pages | None:
        """What the server tells its pages; None where it has none of JupyterLab's."""
        answer = await self._rest.request("GET", "lab", accept=(404,))
        return pages_of(answer.text) if answer.is_success else None

    async def path_of(self, file_id: str) -> str | None:
        """Where the file with this id of a room is now, renamed or not; None where the server cannot say."""
        answer = await self._rest.request("GET", "api/fileid/path", query={"id": file_id}, accept=(404,))
        return None if answer.status_code == 404 else text_of(self._rest.object(answer), "path")

    async def has_id(self, path: str) -> bool:
        """Whether the server's list of files has this path: it is that of a room; one that was deleted through the
        server's API is taken off, one that another program took away is not.
        """
        answer = await self._rest.request("GET", "api/fileid/id", query={"path": path}, accept=(404,))
        return answer.status_code != 404 and text_of(self._rest.object(answer), "id") is not None

    async def open_session_rtc(self, path: str) -> DocumentSession:
        """The room of a notebook.  Call ``check_notebook`` first: for a missing path the server answers, too.

        Raises CollaborationMissing if the server runs without jupyter-collaboration.
        """
        url = "api/collaboration/session/" + quote_path(path)
        answer = await self._rest.request("PUT", url, json_body={"format": "json", "type": "notebook"}, accept=(404,))
        if answer.status_code == 404:
            if await self.has_collaboration():
                raise NotebookNotFound(f"The server cannot index {path!r}.", "Check that the file exists.")
            raise CollaborationMissing(
                f"{self.url} runs without jupyter-collaboration, so there is no room to join.",
                f"Where the server is installed, run: {INSTALL_COLLABORATION} and restart it. If it is installed, "
                "`collab-agent doctor` says what keeps it off.",
            )
        model = self._rest.object(answer)
        file_id = text_of(model, "fileId")
        room_id = f"{text_of(model, 'format')}:{text_of(model, 'type')}:{file_id}"
        return DocumentSession(file_id, text_of(model, "sessionId"), room_id)
