"""The random machine for as long as CI has time; ``python -m tests.convergence SEED DEEDS`` for longer."""

from __future__ import annotations

import pytest

from .machine import run


@pytest.mark.parametrize("seed", range(1, 5))
async def test_everybody_agrees_and_no_keystroke_is_lost_or_doubled(seed: int) -> None:
    done = await run(seed, 300)

    assert done["agent edited"] > 15
    assert done["type"] > 50
