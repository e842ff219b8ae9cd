"""How fast the demo goes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tempo:
    """Seconds, but ``keys_between``: how many keystrokes the agent lets the human press between two calls."""

    key_s: float
    step_s: float
    act_s: float
    keys_between: int
    deadline_s: float


FAST = Tempo(key_s=0.015, step_s=0.0, act_s=0.0, keys_between=6, deadline_s=240.0)
"""For a check: as fast as the two can, but never one after the other."""
WATCHED = Tempo(key_s=0.11, step_s=0.9, act_s=2.0, keys_between=6, deadline_s=600.0)
"""For eyes: a human's pace."""
