"""Deeds at random, by seed: which there are, how often each is done, and one session of so many operations."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

import anyio

from collab_agent.errors import CellNotFound

from . import calls, people, suggesting
from .clock import LeapingLoop, repeatable
from .session import Session, session

Deed = Callable[[Session], Awaitable[None]]

DEEDS: Mapping[Deed, float] = {
    people.type_marks: 30.0,
    people.type_others: 6.0,
    people.erase: 3.0,
    people.insert: 1.5,
    people.delete: 0.5,
    people.move: 1.0,
    people.run: 0.7,
    people.caret: 3.0,
    people.come_or_go: 0.3,
    people.hold: 1.5,
    people.release: 2.0,
    people.cut: 0.5,
    people.rest: 10.0,
    people.restart: 0.15,
    people.kill_kernel: 0.15,
    Session.barrier: 0.6,
    calls.edit: 12.0,
    calls.structure: 4.0,
    calls.back: 3.0,
    calls.run: 2.0,
    calls.interrupt: 0.3,
    suggesting.suggest: 1.0,
    suggesting.decide: 1.0,
}
"""Each with its weight."""


async def do(at: Session, deed: Deed) -> None:
    """One deed, and whatever has failed meanwhile."""
    with suppress(CellNotFound):  # a human's cell went while they typed: a page has no caret there any more
        await deed(at)
    if at.failure is not None:
        raise at.failure


async def play(seed: int, operations: int) -> Counter[str]:
    """One session of at least so many operations; what was done.  ``AssertionError`` names seed and operation."""
    rng = random.Random(seed)
    deeds, weights = zip(*DEEDS.items(), strict=True)
    async with session(seed, rng) as at:
        name = "the start"
        try:
            while at.operations < operations:
                deed = rng.choices(deeds, weights)[0]
                name = deed.__name__
                await do(at, deed)
            name = "the end"
            await at.barrier()
        except Exception as exc:
            raise AssertionError(f"seed {seed}, operation {at.operations} ({name}): {exc!r}") from exc
        return at.done


def run(seed: int, operations: int) -> Counter[str]:
    """``play`` on a loop of its own, whose clock leaps, with all ids made from the seed."""
    with repeatable(seed):
        return anyio.run(play, seed, operations, backend_options={"loop_factory": LeapingLoop})
