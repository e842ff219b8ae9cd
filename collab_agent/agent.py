"""The open notebooks of one agent, and the server that they are on.

An ``Agent`` connects to nothing until the first notebook is opened: an MCP client that only starts us pays nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from time import time
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import anyio
from anyio.abc import TaskGroup, TaskStatus

from .audit import Audit, AuditLog
from .config import Identity, Server, Settings
from .errors import CollabAgentError, NotebookNotFound, TargetError, sole_cause

if TYPE_CHECKING:
    from .host import Panel
    from .jupyter.api import JupyterApi
    from .nameplate import Nameplate
    from .peer import NotebookPeer
    from .suggestions import Suggestions

FindServer = Callable[[AsyncExitStack], Awaitable[Server]]
"""Finds the Jupyter server, or starts one whose end goes onto the stack."""


LEAST_SECRET = 8
"""Characters."""


@dataclass(frozen=True, slots=True)
class Principal:
    """On whose behalf an agent works, where several clients are served.  ``secrets`` must not leave the process."""

    known: Mapping[str, str] = field(default_factory=dict)
    """Session and owner, as the audit log names them."""
    secrets: tuple[str, ...] = field(default=(), repr=False)


class Agent:
    """One agent on one Jupyter server.  Made by ``agent``; its tasks end with that block."""

    def __init__(
        self,
        settings: Settings,
        find_server: FindServer,
        tasks: TaskGroup,
        stack: AsyncExitStack,
        log: AuditLog | None,
        principal: Principal,
    ) -> None:
        self.settings = settings
        self._principal = principal
        self.audit = Audit(log, lambda: {"client": self.client_name, **principal.known}, self.scrub)
        self.client_name = "Agent"
        """What the MCP client calls itself; the display name where the settings name none."""
        self.unsaved: list[str] = []
        """What of its work in notebooks that it has left is not known to be on disk, a clause for each."""
        self._find_server = find_server
        self._tasks = tasks
        self._stack = stack
        self._lock = anyio.Lock()
        self._api: JupyterApi | None = None
        self._nameplate: Nameplate | None = None
        self._panel: _Open[Panel] | None = None
        self._panel_lock = anyio.Lock()
        self._open: list[_Open[NotebookPeer]] = []
        self._turns: dict[str, anyio.Lock] = {}
        self._suggestions: dict[NotebookPeer, Suggestions] = {}

    @property
    def nameplate(self) -> Nameplate:
        """How this agent appears on the page: in all notebooks under the same name, for its whole life if it can be."""
        if self._nameplate is None:
            import secrets

            from .nameplate import Nameplate

            name = self.settings.name or self.client_name
            identity = Identity.named(name, f"collab-agent-{secrets.token_hex(4)}")
            if label := self.settings.policy.label:
                identity = replace(identity, name=f"{identity.name} ({label})")
            self._nameplate = Nameplate(replace(identity, since=time()))
        return self._nameplate

    def scrub(self, text: str) -> str:
        """A text that leaves this process, without the server's token and the secrets of our own clients."""
        server = None if self._api is None else self._api.server
        for secret in (*self._principal.secrets, *([server.token] if server is not None else [])):
            if len(secret) >= LEAST_SECRET:  # a shorter one may stand anywhere, and hides nothing
                text = text.replace(secret, "…")
        return text

    async def api(self) -> JupyterApi:
        """The server's REST interface; finds or starts the server on first use."""
        async with self._lock:
            return await self._connected()

    async def _connected(self) -> JupyterApi:
        if self._api is None:
            from .jupyter.api import JupyterApi

            server = await self._find_server(self._stack)
            self._api = await self._stack.enter_async_context(JupyterApi(server, limits=self.settings.limits))
        return self._api

    async def open(self, path: str, kernel: str | None = None) -> NotebookPeer:
        """Join a notebook's room, and its kernel; makes the notebook if it is missing.  Twice is harmless."""
        from .jupyter.address import normalise_path
        from .jupyter.neighbours import refuse_elsewhere, refuse_orphan

        path = normalise_path(path)
        self.settings.policy.check_path(path)
        api = await self.api()
        async with self._turn(path):
            found = await self._find(api, path)
            if found is not None:
                await found.rejoin()
                return found
            await refuse_elsewhere(api, path)
            await refuse_orphan(api, path)
            made = not self.settings.policy.read_only and await api.create_notebook(path, kernel)
            if not made and (found := await self._renamed_to(path)) is not None:
                return found
            peer = self._new_peer(api, path)
            if made:
                peer.people.first_here()
            opened = _Open(peer)
            await self._start(opened)
            self._open.append(opened)
            try:
                await self._show(api)
            except BaseException:
                self._open.remove(opened)
                await opened.close()
                raise
            return peer

    async def _find(self, api: JupyterApi, path: str) -> NotebookPeer | None:
        """The open notebook that is at ``path``; its old name must neither lead to it nor make a new notebook."""
        for peer in self.peers:
            if peer.path == path:
                with suppress(CollabAgentError):
                    await peer.whereabouts.locate()  # another notebook may be there by now
        if found := self._at(path):
            return found
        if any(path in peer.whereabouts.former for peer in self.peers):
            try:
                await api.check_notebook(path)
            except NotebookNotFound:
                raise self._not_open(path) from None
        return None

    async def _renamed_to(self, path: str) -> NotebookPeer | None:
        """The open notebook that is at ``path`` as the server knows it: a room tells its renaming a second later."""
        for peer in self.peers:
            await peer.whereabouts.locate()
        return self._at(path)

    def _new_peer(self, api: JupyterApi, path: str) -> NotebookPeer:
        from .host import JupyterHost
        from .peer import NotebookPeer

        settings = self.settings
        peer = NotebookPeer(
            JupyterHost(api, path, self.nameplate),
            path,
            self.nameplate,
            settings.limits,
            trust_outputs=settings.trust_outputs,
            policy=settings.policy,
            mark_cells=settings.mark_cells,
            audit=self.audit,
        )
        peer.whereabouts.on_moved = lambda old, new: (
            self._panel.what.moved(old, new) if self._panel is not None else None
        )
        return peer

    async def leave(self, path: str | None) -> str:
        """Leave a notebook's room, and wait until we are gone from it; returns its path.  The kernel stays.

        What was called before is done first; what is called from now on finds it closed.
        """
        peer = self.get(path)
        async with peer.lock, self._turn(peer.path):
            opened = next((each for each in self._open if each.what is peer), None)
            if opened is not None:
                self._open.remove(opened)
                self._suggestions.pop(peer, None)
                try:
                    await opened.close()
                finally:
                    await self._show()
        return peer.path

    def _turn(self, path: str) -> anyio.Lock:
        """Whoever opens or leaves a notebook waits for others who do, and for nobody who is at another one."""
        return self._turns.setdefault(path, anyio.Lock())

    async def _show(self, api: JupyterApi | None = None) -> None:
        """Have the panel list what is open; the last one takes our entry with it."""
        from .host import Panel

        async with self._panel_lock:
            paths = [opened.what.path for opened in reversed(self._open)]
            if self._panel is None and paths and api is not None:
                panel = _Open(Panel(api, self.nameplate, self.settings.limits))
                panel.what.on_text = self._opened_as_text
                await self._start(panel)
                self._panel = panel
            if self._panel is not None and paths:
                self._panel.what.show(paths)
            elif self._panel is not None:
                panel, self._panel = self._panel, None
                await panel.close()

    def _opened_as_text(self, path: str, who: str) -> None:
        """Somebody's page shows the file of a notebook in a text editor."""
        if (peer := self._at(path)) is not None:
            peer.journal.disk.opened_as_text(who)

    def get(self, path: str | None) -> NotebookPeer:
        """The open notebook at ``path``, or the only one that is open; ``TargetError`` otherwise."""
        from .jupyter.address import normalise_path

        if path is not None:
            path = normalise_path(path)
            found = self._at(path)
            if found is None:
                raise self._not_open(path)
            return found
        if len(self._open) == 1:
            return self._open[0].what
        raise TargetError(
            f"Which notebook? {self._listing()}",
            "Name it as notebook_path." if self._open else 'Call setup_notebook("NAME.ipynb") first.',
        )

    def _at(self, path: str) -> NotebookPeer | None:
        return next((peer for peer in self.peers if peer.path == path), None)

    def _not_open(self, path: str) -> TargetError:
        now = next((peer.path for peer in self.peers if path in peer.whereabouts.former), None)
        if now is None:
            return TargetError(f"{path!r} is not open. {self._listing()}", f'Call setup_notebook("{path}") first.')
        return TargetError(
            f"The notebook that was {path!r} is {now!r} now: somebody has renamed it. Nothing was done.",
            f'Call again with notebook_path="{now}"; it is open.',
        )

    def suggestions(self, peer: NotebookPeer) -> Suggestions:
        """The suggestions for a notebook that is open."""
        from .shelf import Shelf
        from .suggestions import Suggestions

        assert self._api is not None
        if peer not in self._suggestions:
            shelf = Shelf(self._api, lambda: peer.path, self.settings.limits)
            self._suggestions[peer] = Suggestions(peer, shelf)
        return self._suggestions[peer]

    @property
    def peers(self) -> list[NotebookPeer]:
        """The open notebooks, in the order of opening."""
        return [opened.what for opened in self._open]

    @property
    def open_paths(self) -> list[str]:
        """Where the open notebooks are now."""
        return [peer.path for peer in self.peers]

    def _listing(self) -> str:
        return f"Open: {', '.join(self.open_paths)}." if self._open else "No notebook is open."

    async def _start(self, what: _Open[Any]) -> None:
        """Be in something from now on; its failure to start is the caller's, a later end is nobody's."""

        async def guarded(*, task_status: TaskStatus[None]) -> None:
            started = _Started(task_status)
            try:
                await what.run(task_status=started)
            except (CollabAgentError, BaseExceptionGroup) as exc:
                if not started.done:
                    raise sole_cause(exc) from None

        await self._tasks.start(guarded)
        what.keep()

    async def aclose(self) -> None:
        """Leave everything at once; own runs go on in their kernels, unless they are to be interrupted."""
        opened = list(self._open)
        if self.settings.interrupt_on_exit:
            async with anyio.create_task_group() as tasks:
                for each in opened:
                    tasks.start_soon(each.what.stop_runs)
        async with anyio.create_task_group() as tasks:
            for each in opened:
                tasks.start_soon(self._part_from, each)
            if self._panel is not None:
                tasks.start_soon(self._panel.close)

    async def _part_from(self, opened: _Open[NotebookPeer]) -> None:
        await opened.close()
        if opened in self._open:
            self._open.remove(opened)
        if calls := opened.what.journal.unsaved():
            self.unsaved.append(f"{opened.what.path} ({calls} of the agent's calls)")


class _Started:
    """A task status that remembers whether it was given."""

    def __init__(self, task_status: TaskStatus[None]) -> None:
        self._task_status = task_status
        self.done = False

    def started(self, value: None = None) -> None:
        """See ``anyio.abc.TaskStatus``."""
        self.done = True
        self._task_status.started(value)


class _Runs(Protocol):
    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Be in it until cancelled; ready when joined."""


_T = TypeVar("_T", bound=_Runs)


class _Open(Generic[_T]):
    """Something that we are in, a notebook or the panel, and the scope that it lives in."""

    def __init__(self, what: _T) -> None:
        self.what = what
        self._scope = anyio.CancelScope()
        self._closed = anyio.Event()

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Be in it until ``close``."""
        try:
            with self._scope:
                await self.what.run(task_status=task_status)
        finally:
            self._closed.set()

    def keep(self) -> None:
        """From now on only ``close`` ends it, whoever else is cancelled: it has to leave in order."""
        self._scope.shield = True

    async def close(self) -> None:
        """Leave, and wait until we have."""
        self._scope.cancel()
        await self._closed.wait()


@asynccontextmanager
async def agent(
    settings: Settings,
    find_server: FindServer,
    log: AuditLog | None = None,
    principal: Principal | None = None,
) -> AsyncIterator[Agent]:
    """An agent that leaves all its notebooks, visibly, when the block ends."""
    async with AsyncExitStack() as stack:
        try:
            async with anyio.create_task_group() as tasks:
                made = Agent(settings, find_server, tasks, stack, log, principal or Principal())
                try:
                    yield made
                finally:
                    with anyio.CancelScope(shield=True):
                        await made.aclose()
                    tasks.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            raise sole_cause(group) from None
