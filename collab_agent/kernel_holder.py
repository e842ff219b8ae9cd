"""The kernel of one notebook: taken from the human's session or started, held open, and missed when it goes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import TaskGroup, TaskStatus

from .errors import CollabAgentError, KernelError, NoKernel
from .host import Host

if TYPE_CHECKING:
    from .kernel.client import KernelClient
    from .kernel.wire import Message

WATCH_S = 1.0
"""How often the server is asked, while a run is in progress, whether the notebook still has this kernel."""


class KernelHolder:
    """Holds at most one connected kernel client, in the notebook's task group."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.on_others: Callable[[Message], None] = lambda _message: None
        """Is called for each iopub message that no execution of ours has caused."""
        self._id: str | None = None
        self._client: KernelClient | None = None
        self._done = anyio.Event()
        self._lost = ""
        self._restarting = False
        self._lock = anyio.Lock()

    @property
    def client(self) -> KernelClient | None:
        """The connected client, if any."""
        return self._client

    def live(self) -> KernelClient:
        """The connected client; ``NoKernel`` where there is none."""
        if self._client is None:
            raise NoKernel("There is no kernel for this notebook.", "Call setup_notebook: it takes or starts one.")
        return self._client

    async def ensure(self, tasks: TaskGroup, kernel: str | None, *, human_here: bool) -> KernelClient:
        """The kernel of the human's session, connected; one is started where there is none."""
        async with self._lock:
            if self._client is not None and self._client.gone is None:
                return self._client
            self._done.set()
            self._client = None
            self._id = await self._host.kernel_id(kernel, human_here=human_here)
            await tasks.start(self._hold, self._id)
            return self.live()

    async def _hold(self, kernel_id: str, *, task_status: TaskStatus[None]) -> None:
        done = self._done = anyio.Event()
        async with self._host.kernel_client(kernel_id) as client:
            self._client = client
            unsubscribe = client.on_life(self._on_life)
            client.on_others(self.on_others)
            try:
                task_status.started()
                await done.wait()
            finally:
                unsubscribe()
                if self._client is client:
                    self._client = None

    async def watch(self, busy: Callable[[], Awaitable[None]]) -> None:
        """While a run is in progress, notice that the kernel is gone where it says nothing; until cancelled.

        The websocket stays open, and is silent, when the kernel is changed, deleted or culled (``facts/kernel.md``).
        ``busy`` returns when a run is in progress.
        """
        while True:
            await busy()
            await anyio.sleep(WATCH_S)
            client, kernel_id = self._client, self._id
            if client is None or kernel_id is None or client.gone is not None:
                continue
            try:
                reason = await self._host.lost_kernel(kernel_id)
            except CollabAgentError:
                continue  # the server is away: that is for the connections to find out
            if reason and client.gone is None:
                self._lost = f"the kernel {reason}: all variables are gone"
                await client.aclose(reason)

    async def interrupt(self) -> None:
        """Interrupt whatever the kernel runs: whose it is must have been checked."""
        if self._id is None:
            raise KernelError("There is no kernel to interrupt.")
        await self._host.interrupt(self._id)

    async def restart(self) -> None:
        """Restart the kernel: that nobody else's code runs must have been checked."""
        if self._id is None:
            raise KernelError("There is no kernel to restart.")
        self._restarting = True
        try:
            await self._host.restart(self._id)
        finally:
            self._restarting = False

    def take_notice(self) -> str:
        """Why the kernel's variables are gone; each notice is given once."""
        notice, self._lost = self._lost, ""
        return notice

    def _on_life(self, event: Any) -> None:
        reason = getattr(event, "reason", None)
        if reason and not self._restarting:
            self._lost = f"the kernel {reason}: all variables are gone"
