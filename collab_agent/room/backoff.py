"""When a room that is away is tried again: later and later, or as soon as somebody asks."""

from __future__ import annotations

import anyio

BACKOFF_S = (0.05, 0.2, 0.5, 1.0, 2.0, 5.0)


class Backoff:
    """The pauses between attempts to join."""

    def __init__(self) -> None:
        self._attempt = -1
        self._asked = anyio.Event()
        self._over = anyio.Event()

    async def pause(self, lasted_s: float) -> None:
        """Wait after an attempt that ended after so long.

        A room that lets us in only to throw us out, as after a conflict, must not be stormed.
        """
        self.over()
        self._attempt = 0 if lasted_s > BACKOFF_S[-1] else self._attempt + 1
        self._asked = anyio.Event()
        with anyio.move_on_after(BACKOFF_S[min(self._attempt, len(BACKOFF_S) - 1)]):
            await self._asked.wait()

    def over(self) -> None:
        """An attempt has ended, well or not."""
        self._over.set()
        self._over = anyio.Event()

    async def now(self) -> None:
        """Have it tried at once, or wait for the attempt that is under way, until that is over."""
        over = self._over
        self._asked.set()
        await over.wait()
