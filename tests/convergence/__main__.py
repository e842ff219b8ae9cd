"""``python -m tests.convergence SEED DEEDS``: one long session; prints what was done."""

from __future__ import annotations

import sys

import anyio

from .machine import run

if __name__ == "__main__":
    seed, deeds = (int(argument) for argument in sys.argv[1:])
    for what, times in sorted(anyio.run(run, seed, deeds).items()):
        print(f"{times:>9}  {what}")
