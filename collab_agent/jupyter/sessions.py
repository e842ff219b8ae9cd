"""Sessions and kernels, as the server's REST interface sees them."""

from __future__ import annotations

import anyio

from collab_agent.errors import NoKernel
from collab_agent.jupyter.address import quote_path
from collab_agent.jupyter.contents import ContentsApi
from collab_agent.jupyter.models import Session, best_session, session_of

_POLL_S = 0.25


class SessionsApi(ContentsApi):
    """The part of ``JupyterApi`` that is about sessions and kernels."""

    async def sessions(self) -> tuple[Session, ...]:
        """All sessions of the server, in its order."""
        answer = await self._rest.request("GET", "api/sessions")
        return tuple(session_of(item) for item in self._rest.array(answer))

    async def start_session(self, path: str, kernel_name: str) -> Session:
        """The session of ``path``, started if it has none; JupyterLab adopts it when the human opens the page."""
        body = {
            "path": path,
            "name": path.rpartition("/")[2],
            "type": "notebook",
            "kernel": {"name": kernel_name},
        }
        answer = await self._slow.request("POST", "api/sessions", json_body=body, accept=(501,))
        if answer.status_code == 501:
            (await self.kernelspecs()).pick(kernel_name)
            raise NoKernel(
                f"The server cannot start kernel {kernel_name!r}: {self._rest.said(answer)}.",
                "Name another kernelspec as `kernel`, or see the server's log.",
            )
        return session_of(self._rest.object(answer))

    async def delete_session(self, session_id: str) -> None:
        """End a session *and its kernel*; harmless if it has ended already."""
        await self._rest.request("DELETE", f"api/sessions/{quote_path(session_id)}", accept=(404, 410))

    async def ensure_session(self, path: str, kernel: str | None = None, *, wait_s: float = 0.0) -> Session:
        """The session that the human has for ``path``; else, after ``wait_s`` seconds for one to come, a new one.

        Wait where a human has the notebook open: a page without a kernel never adopts a session that came after
        it, but starts a second.  On duplicates the one with connections is taken and our own unused one is ended.
        ``kernel`` None: the server's default; it matters only where a session is started.
        """
        deadline = anyio.current_time() + wait_s
        while not (there := best_session(await self.sessions(), path)):
            if anyio.current_time() >= deadline:
                break
            await anyio.sleep(_POLL_S)
        if there:
            return there
        ours = await self.start_session(path, (await self.kernelspecs()).pick(kernel).name)
        now = await self.sessions()
        chosen = best_session(now, path) or ours
        if chosen.id != ours.id and any(s.id == ours.id and not s.kernel.connections for s in now):
            await self.delete_session(ours.id)
        return chosen

    async def has_kernel(self, kernel_id: str) -> bool:
        """Whether the server still has this kernel."""
        return (await self._rest.request("GET", f"api/kernels/{quote_path(kernel_id)}", accept=(404,))).is_success

    async def interrupt(self, kernel_id: str) -> None:
        """Interrupt whatever the kernel is running, whoever's it is.  Raises NoKernel if it is gone."""
        await self._kernel_action(kernel_id, "interrupt")

    async def restart(self, kernel_id: str) -> None:
        """Restart the kernel under the same id.  Raises NoKernel if it is gone."""
        await self._kernel_action(kernel_id, "restart")

    async def _kernel_action(self, kernel_id: str, action: str) -> None:
        url = f"api/kernels/{quote_path(kernel_id)}"
        answer = await self._slow.request("POST", f"{url}/{action}", accept=(404, 500))
        if answer.is_success:
            return
        # A restart of a kernel that is gone is answered with 500, so the status alone does not tell.
        if answer.status_code == 500 and (await self._rest.request("GET", url, accept=(404,))).is_success:
            raise self._slow.refusal("POST", f"{url}/{action}", answer)
        raise NoKernel(
            f"Kernel {kernel_id[:8]} is gone; {action} had nothing to work on.",
            "Call setup_notebook to take or start a kernel.",
        )
