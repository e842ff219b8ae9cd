"""The kernel of one notebook: taken from the human's session or started, held open, and missed when it goes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

import anyio
from anyio.abc import TaskGroup, TaskStatus

from .config import Limits
from .errors import CollabAgentError, KernelError, KernelSilent, NoKernel
from .host import Host

if TYPE_CHECKING:
    from .kernel.client import KernelClient
    from .kernel.wire import Message


_ASK_S = 0.5
"""After so long without its channels the server is asked whether it has the kernel still."""


class Runs(Protocol):
    """What is run on the kernel."""

    @property
    def busy(self) -> bool:
        """Whether a run is in progress, or to be."""

    async def wait_busy(self) -> None:
        """Return when one is."""


class KernelHolder:
    """Holds at most one connected kernel client, in the notebook's task group."""

    def __init__(self, host: Host, limits: Limits) -> None:
        self._host = host
        self._limits = limits
        self.silence = ""
        """How it comes that nothing is heard of a run, to complete "the kernel …"; empty where all is well."""
        self.on_silence: Callable[[], None] = lambda: None
        """Is called when ``silence`` has changed."""
        self.on_others: Callable[[Message], None] = lambda _message: None
        """Is called for each iopub message that no execution of ours has caused."""
        self._id: str | None = None
        self._client: KernelClient | None = None
        self._done = anyio.Event()
        self._lost = ""
        self._restarting = False
        self._deaths = 0
        self._asked: float | None = None
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
                await self._until_reachable(self._client)
            if self._client is not None and self._client.gone is None:
                return self._client
            self._done.set()
            self._client = None
            self._id = await self._host.kernel_id(kernel, human_here=human_here)
            await tasks.start(self._hold, self._id)
            return self.live()

    async def _until_reachable(self, client: KernelClient) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._notice_loss, client)
            with anyio.move_on_after(self._limits.kernel_open_s) as waiting:
                await client.wait_reachable()
            tasks.cancel_scope.cancel()
        if waiting.cancelled_caught:
            raise KernelSilent(
                "The connection to the kernel is away, and is being restored. Nothing was run.",
                "Call again in a few seconds; `collab-agent doctor` tells whether the server is there.",
            )

    async def _notice_loss(self, client: KernelClient) -> None:
        """Ask whether the kernel went with a server that is there again: its socket may find that out much later."""
        await anyio.sleep(_ASK_S)
        with suppress(CollabAgentError):
            if self._id is not None and (reason := await self._host.lost_kernel(self._id)):
                self._lost = f"the kernel {reason}: all variables are gone"
                with anyio.CancelScope(shield=True):
                    await client.aclose(reason)

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

    async def watch(self, runs: Runs) -> None:
        """While a run is in progress, notice that a kernel is gone or stuck that says nothing; until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch_session, runs)
            tasks.start_soon(self._watch_pulse, runs)

    async def _watch_session(self, runs: Runs) -> None:
        """The websocket stays open, and silent, when a kernel is changed, deleted or culled (``facts/kernel.md``)."""
        while True:
            await runs.wait_busy()
            await anyio.sleep(self._limits.kernel_watch_s)
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

    async def _watch_pulse(self, runs: Runs) -> None:
        """A kernel whose process was stopped says nothing, and the server says that it is idle."""
        limits = self._limits
        while True:
            await runs.wait_busy()
            self._asked = None
            while runs.busy:
                client, now = self._client, anyio.current_time()
                if (
                    client is None
                    or client.gone is not None
                    or now - client.heard < limits.kernel_quiet_s
                    or (self._asked is not None and client.heard > self._asked)
                ):
                    self._asked = None
                    self._tell("")
                elif self._asked is None:
                    self._asked = now
                    client.ask_for_life()
                elif now - self._asked >= limits.kernel_alive_s:
                    self._tell(_silence(client, now - self._asked))
                await anyio.sleep(limits.kernel_watch_s)
            self._tell("")

    def _tell(self, silence: str) -> None:
        changed, self.silence = bool(silence) != bool(self.silence), silence
        if changed:
            self.on_silence()

    async def interrupt(self) -> None:
        """Interrupt whatever the kernel runs: whose it is must have been checked."""
        if self._id is None:
            raise KernelError("There is no kernel to interrupt.")
        await self._host.interrupt(self._id)

    async def restart(self) -> None:
        """Restart the kernel: that nobody else's code runs must have been checked."""
        if self._id is None:
            raise KernelError("There is no kernel to restart.")
        client, deaths = self._client, self._deaths
        self._restarting = True
        try:
            await self._host.restart(self._id)
            if client is not None and self._deaths == deaths:
                client.was_restarted()
        finally:
            self._restarting = False
        self._asked = None
        self._tell("")

    def take_notice(self) -> str:
        """Why the kernel's variables are gone; each notice is given once."""
        notice, self._lost = self._lost, ""
        return notice

    def _on_life(self, event: Any) -> None:
        reason = getattr(event, "reason", None)
        self._deaths += bool(reason)
        if reason and not self._restarting:
            self._lost = f"the kernel {reason}: all variables are gone"


def _silence(client: KernelClient, seconds: float) -> str:
    """What can be said of a kernel of which nothing was heard for so long, to complete "the kernel …"."""
    if not client.connected and client.route == "websocket":
        return (
            "cannot be reached: the connection to it is away, and is being restored; the run goes on there. "
            'query_notebook(query="runs", wait_s=60) waits for it'
        )
    if not client.answers_while_busy:
        return ""
    return (
        f"has not answered for {seconds:.0f} s: its process was stopped, or it is stuck in code that lets nothing else "
        "through, or the server in between is. The run goes on when it does; "
        'query_notebook(query="runs", wait_s=60) waits for it, execute_notebook_code(action="interrupt") may free it, '
        'action="restart" ends it'
    )
