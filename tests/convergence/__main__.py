"""``python -m tests.convergence SEED OPERATIONS [PROCESSES]``: sessions of a thousand operations each, from a seed on.

Prints what was done.  What fails prints its own seed; ``python -m tests.convergence SEED 1000`` repeats just that
session, to the last byte.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from .machine import run

SESSION = 1_000
"""Operations in one room: a document that grows for longer costs more for each, and tells no more."""

TOLD = 50
"""After so many sessions it says how far it is."""


def one(seed: int) -> tuple[Counter[str], str]:
    """One session: what was done, and what failed."""
    try:
        return run(seed, SESSION), ""
    except Exception as exc:  # whatever it is, it is told with its seed, and the others go on
        return Counter(), f"{exc} ({type(exc).__name__}; seed {seed})"


def main(first: int, operations: int, processes: int = 1) -> int:
    """So many operations, in as many sessions as that takes; 1 if any failed."""
    began, done, failed, number = time.monotonic(), Counter[str](), list[str](), 0
    seeds = range(first, first + -(-operations // SESSION))
    with ProcessPoolExecutor(processes) as pool:
        for what, failure in pool.map(one, seeds):
            done += what
            if failure:
                failed.append(failure)
                print(failure, flush=True)
            if (number := number + 1) % TOLD == 0:
                print(f"{done.total():>9}  operations so far, {time.monotonic() - began:.0f} s", flush=True)
    for what, times in sorted(done.items()):
        print(f"{times:>9}  {what}")
    seconds = time.monotonic() - began
    print(f"{done.total():>9}  operations in {len(seeds) - len(failed)} sessions, seeds {seeds[0]} to {seeds[-1]}")
    print(f"{seconds:>9.0f}  seconds; {len(failed)} sessions failed")
    return min(len(failed), 1)


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets of strings is part of what a seed repeats
        os.execve(sys.executable, sys.orig_argv, {**os.environ, "PYTHONHASHSEED": "0"})
    sys.exit(main(*map(int, sys.argv[1:])))
