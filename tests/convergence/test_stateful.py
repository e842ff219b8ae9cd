"""The same deeds as Hypothesis draws them: what fails is cut down to the fewest deeds, which it prints."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from . import calls, people, suggesting
from .clock import LeapingLoop, repeatable
from .machine import Deed, do
from .session import Session, session

T = TypeVar("T")


class Drawn:
    """Decisions that Hypothesis takes, and takes back."""

    def __init__(self) -> None:
        self.data: st.DataObject | None = None

    def randint(self, a: int, b: int, /) -> int:
        """From ``a`` to ``b``, inclusive."""
        assert self.data is not None, "only while a rule runs"
        return int(self.data.draw(st.integers(a, b)))

    def random(self) -> float:
        """From 0 to below 1."""
        return self.randint(0, 99) / 100

    def choice(self, seq: Sequence[T], /) -> T:
        """One of these."""
        return seq[self.randint(0, len(seq) - 1)]

    def sample(self, population: Sequence[T], k: int) -> list[T]:
        """``k`` of these."""
        pool = list(population)
        return [pool.pop(self.randint(0, len(pool) - 1)) for _ in range(k)]


def _rule_of(deed: Deed) -> Callable[[Any, st.DataObject], None]:
    def act(machine: Rooms, data: st.DataObject) -> None:
        machine.act(deed, data)

    act.__name__ = deed.__name__
    return rule(data=st.data())(act)


class Rooms(RuleBasedStateMachine):
    """A room with humans, agents, a kernel and a server that restarts."""

    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()
        self._loop = LeapingLoop()
        self._stack.callback(self._loop.close)
        self._chance = Drawn()
        self._at: Session | None = None

    @initialize(seed=st.integers(0, 3))
    def begin(self, seed: int) -> None:
        """Everybody comes."""
        self._stack.enter_context(repeatable(seed))
        self._over = asyncio.Event()
        begun = asyncio.Event()

        async def stay() -> None:
            async with session(seed, self._chance) as self._at:
                begun.set()
                await self._over.wait()

        self._staying = self._loop.create_task(stay())
        self._run(begun.wait())

    def act(self, deed: Deed, data: st.DataObject) -> None:
        """One deed, decided by ``data``."""
        assert self._at is not None
        self._chance.data = data
        self._run(do(self._at, deed))

    def teardown(self) -> None:
        """All must hold at the end, too, and everybody goes."""
        try:
            if self._at is not None:
                self._run(self._at.barrier())
        finally:
            if self._at is not None:
                self._over.set()
                self._loop.run_until_complete(self._staying)
            self._stack.close()

    def _run(self, coroutine: Coroutine[Any, Any, object]) -> None:
        self._loop.run_until_complete(coroutine)

    types_marks = _rule_of(people.type_marks)
    types_others = _rule_of(people.type_others)
    erases = _rule_of(people.erase)
    inserts = _rule_of(people.insert)
    deletes = _rule_of(people.delete)
    moves = _rule_of(people.move)
    runs = _rule_of(people.run)
    clicks = _rule_of(people.caret)
    comes_or_goes = _rule_of(people.come_or_go)
    falls_silent = _rule_of(people.hold)
    speaks_again = _rule_of(people.release)
    breaks = _rule_of(people.cut)
    rests = _rule_of(people.rest)
    restarts = _rule_of(people.restart)
    settles = _rule_of(Session.barrier)
    agent_edits = _rule_of(calls.edit)
    agent_rebuilds = _rule_of(calls.structure)
    agent_goes_back = _rule_of(calls.back)
    agent_runs = _rule_of(calls.run)
    agent_interrupts = _rule_of(calls.interrupt)
    kernel_dies = _rule_of(people.kill_kernel)
    agent_suggests = _rule_of(suggesting.suggest)
    human_decides = _rule_of(suggesting.decide)


TestRooms = Rooms.TestCase
TestRooms.settings = settings(
    max_examples=20, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
