"""Time that leaps, and chance that repeats: a session in one process then runs as fast as it can, and always the same.

Everything in a session waits for frames in memory or for the event loop's clock.  So, whenever nobody has anything to
do, the clock leaps to the next moment at which somebody has: limits are the product's own, and nobody waits for them.
Where nobody has anything to do *ever*, somebody waits for what cannot come: that is an error, not a hang.

The ids of Yjs clients decide who stands left of whom, and the ids of cells and messages are keys; all of them, and the
time by which pycrdt renews awareness, are made from the seed and the clock.  What is left to chance is the order of
Python's sets of strings, which ``PYTHONHASHSEED`` fixes.
"""

from __future__ import annotations

import asyncio
import os
import random
import selectors
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pycrdt

TURN_S = 1e-6
"""What one turn of the loop takes: a clock that stands still would be news to everybody."""


class NothingLeft(AssertionError):
    """Nothing can happen any more, and somebody still waits."""


class _Leaping(selectors.DefaultSelector):
    """A selector that waits for no time: it lets it pass."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise NothingLeft("Nothing is left to happen, and somebody still waits: a call hangs.")
        self.now += max(timeout, 0.0) + TURN_S
        return super().select(0)


class LeapingLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock leaps to the next moment at which there is something to do."""

    def __init__(self) -> None:
        self._leaping = _Leaping()
        super().__init__(self._leaping)

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._leaping.now


@contextmanager
def repeatable(seed: int) -> Iterator[None]:
    """Within the block all ids follow from ``seed``, and pycrdt's clock is the running loop's."""
    ids = random.Random(f"ids of {seed}")
    made = pycrdt.Doc.__init__

    def make(doc: Any, *args: Any, client_id: int | None = None, **options: Any) -> None:
        made(doc, *args, client_id=ids.getrandbits(32) | 1 if client_id is None else client_id, **options)

    def now() -> float:
        return asyncio.get_running_loop().time()

    with (
        patch.object(pycrdt.Doc, "__init__", make),
        patch.object(os, "urandom", ids.randbytes),  # of which ``uuid4`` is made
        patch("pycrdt._awareness.time", now),
    ):
        yield
