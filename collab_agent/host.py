"""What a notebook peer needs from outside: a way into the room, a kernel, and the file read back.

``Host`` is the seam: ``JupyterHost`` is a Jupyter server, ``collab_agent.testing`` has one in memory.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

from anyio.abc import TaskStatus

from .config import Limits
from .errors import NotebookNotFound
from .jupyter.api import JupyterApi
from .nameplate import Nameplate
from .room.channel import Channel, websocket_channel
from .room.presence import State, global_state, peer_view
from .room.protocol import Event, PeersChanged, Synced
from .room.provider import RoomProvider

if TYPE_CHECKING:
    from .kernel.client import KernelClient

GLOBAL_ROOM = "JupyterLab:globalAwareness"
"""The room whose awareness feeds the collaborators panel (``facts/rtc.md``, section 2)."""
ADOPT_S = 4.0
"""How long to wait for the session of a human who is in the notebook: their page never adopts a later one."""


class Host(Protocol):
    """The outside of one notebook."""

    @property
    def process(self) -> str:
        """The server process that the last connection led to, by an id that no other has; empty: not known."""

    def connect(self) -> AbstractAsyncContextManager[Channel]:
        """A new connection to the notebook's room; a ``CollabAgentError`` where the notebook cannot be joined."""

    async def where(self) -> str:
        """Where the notebook is now, as the server knows it: it may have been renamed.  Empty where it is no file."""

    async def kernel_id(self, kernel: str | None, *, human_here: bool) -> str:
        """The kernel of the human's session; one is started where there is none."""

    async def lost_kernel(self, kernel_id: str) -> str:
        """How the notebook came to have this kernel no more, completing "the kernel …"; empty while it has it."""

    def kernel_client(self, kernel_id: str) -> AbstractAsyncContextManager[KernelClient]:
        """A client of that kernel."""

    async def interrupt(self, kernel_id: str) -> None:
        """Interrupt whatever the kernel runs."""

    async def restart(self, kernel_id: str) -> None:
        """Restart the kernel."""

    async def read_back(self) -> dict[str, Any]:
        """The notebook as the file on disk holds it now, as the server reads it."""

    async def on_disk(self) -> tuple[dict[str, Any], str]:
        """As ``read_back``, without the server's help where the file is on this machine; and the file's SHA-256.

        Empty where that is not known.
        """

    async def modified(self) -> str:
        """When the file was last written, in the server's words."""


class Named(Protocol):
    """Who has a name, which may change: an ``Identity`` or a ``Nameplate``."""

    @property
    def name(self) -> str:
        """The name, as it is now."""


class JupyterHost:
    """One notebook of a Jupyter server.  ``path`` is normalised and relative to the server's root.

    Once the notebook was joined it is that file, whatever it is called: by its old path another one might be found.
    """

    def __init__(self, api: JupyterApi, path: str, identity: Named) -> None:
        self._api = api
        self._path = path
        self._file_id: str | None = None
        self._identity = identity
        self._process = ""

    @property
    def process(self) -> str:
        """See ``Host``.  The server makes a session id per process, not per client (read: ``SERVER_SESSION``)."""
        return self._process

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Channel]:
        """Check first, then ask for a session, then open the socket.

        A room for a path that does not exist would stop every open room of the server from broadcasting.
        """
        path = await self.where()
        await self._api.check_notebook(path)
        session = await self._api.open_session_rtc(path)
        # A server that was started anew may have lost its list of ids; one that was not means another file.
        if self._file_id not in (None, session.file_id) and self._process == session.session_id:
            raise NotebookNotFound(
                f"The notebook that was open as {path!r} is gone, and another one is there now.",
                f'Leave it, setup_notebook("{path}", action="leave"), and open the other one.',
            )
        self._file_id, self._process = session.file_id, session.session_id
        url = self._api.ws_url(f"api/collaboration/room/{session.room_id}?sessionId={session.session_id}")
        async with websocket_channel(url, self._api.headers, self._api.limits, tls=self._api.tls) as channel:
            yield channel

    async def where(self) -> str:
        """See ``Host``."""
        if self._file_id is not None:
            self._path = await self._api.path_of(self._file_id) or self._path
        return self._path

    async def kernel_id(self, kernel: str | None, *, human_here: bool) -> str:
        """See ``Host``."""
        session = await self._api.ensure_session(self._path, kernel, wait_s=ADOPT_S if human_here else 0.0)
        return session.kernel.id

    async def lost_kernel(self, kernel_id: str) -> str:
        """See ``Host``."""
        sessions = await self._api.sessions()
        here = [session.kernel.id for session in sessions if session.path == self._path]
        if kernel_id in here:
            return ""
        if here:
            return "was replaced by another one"
        gone = all(session.kernel.id != kernel_id for session in sessions) and not await self._api.has_kernel(kernel_id)
        return "was shut down" if gone else ""

    def kernel_client(self, kernel_id: str) -> AbstractAsyncContextManager[KernelClient]:
        """See ``Host``."""
        from .kernel.client import KernelClient

        return KernelClient.connect(self._api.server, kernel_id, username=self._identity.name, limits=self._api.limits)

    async def interrupt(self, kernel_id: str) -> None:
        """See ``Host``."""
        await self._api.interrupt(kernel_id)

    async def restart(self, kernel_id: str) -> None:
        """See ``Host``."""
        await self._api.restart(kernel_id)

    async def read_back(self) -> dict[str, Any]:
        """See ``Host``."""
        return await self._api.read_notebook(await self.where())

    async def on_disk(self) -> tuple[dict[str, Any], str]:
        """See ``Host``."""
        return await self._api.notebook_on_disk(await self.where())

    async def modified(self) -> str:
        """See ``Host``."""
        return await self._api.modified(self._path)


def editor_of(client: int, state: State) -> tuple[str, str] | None:
    """The path of the file that somebody has before them in a text editor, and their name: by their global state."""
    current = state.get("current")
    if not isinstance(current, str) or not current.startswith("editor:"):
        return None
    who = peer_view(client, state, lambda _cursor: (None, None, None)).name
    return current.removeprefix("editor:").removeprefix("RTC:"), who


class Panel:
    """Our entry in JupyterLab's collaborators panel: one per server, for all notebooks that we have open."""

    def __init__(self, api: JupyterApi, nameplate: Nameplate, limits: Limits) -> None:
        self._api = api
        self._nameplate = nameplate
        self._documents: list[str] = []
        self.on_text: Callable[[str, str], None] = lambda _path, _who: None
        """Is called with the path of a file that somebody has before them in a text editor, and their name."""
        self._room = RoomProvider(self._connect, self._on_event, limits)

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Stay in the global room until cancelled."""
        self._publish()
        with self._nameplate.read_by(self._publish):
            await self._room.run(task_status=task_status)

    def show(self, paths: Sequence[str]) -> None:
        """We have these notebooks open, and work in the first."""
        self._documents = list(paths)
        self._publish()

    def moved(self, old: str, new: str) -> None:
        """A notebook that we have open is called otherwise now."""
        self.show([new if path == old else path for path in self._documents])

    def _publish(self) -> None:
        current = self._documents[0] if self._documents else None
        self._room.set_state(global_state(self._nameplate.identity, sorted(self._documents), current))

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Synced | PeersChanged) and self._room.connected:
            others = self._room.protocol.presence.others
            self._nameplate.meet(others.values())
            for client, state in others.items():
                if (editor := editor_of(client, state)) is not None:
                    self.on_text(*editor)

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[Channel]:
        # Not quoted: the server takes the name as it stands in the URL, so that %3A would be a room of our own.
        url = self._api.ws_url(f"api/collaboration/room/{GLOBAL_ROOM}")
        async with websocket_channel(url, self._api.headers, self._api.limits, tls=self._api.tls) as channel:
            yield channel
