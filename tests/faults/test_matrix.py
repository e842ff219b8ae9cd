"""Each fault at each phase, with a human typing throughout: afterwards all agree, and nothing is lost or doubled.

Some faults strike a second time where there is more to lose: without cell ids on disk, and in a notebook that is loaded
piece by piece.  The usual run takes a choice of them, each phase several times; ``--every-fault`` takes
all, and ``--seed`` moves the moment at which they strike.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from pathlib import Path

import anyio
import pytest

from .conftest import MortalLab
from .faults import FAULTS, Fault
from .file_faults import DISK_FULL, FILE_FAULTS, ROOM_DROPPED
from .rig import (
    BOUND_S,
    FORMAT_4_4,
    LINES,
    PHASES,
    PIECE_BY_PIECE,
    PLAIN,
    SMALL_DISK,
    SOON_DROPPED,
    WAIT_S,
    Phase,
    Scene,
    Scenery,
)
from .stage import lab_for, scene_on

USUAL = [
    ("cut", "mid-run"),
    ("reset", "mid-edit"),
    ("stalled", "idle"),
    ("stalled up", "mid-edit"),
    ("stalled down", "joining"),
    ("delayed", "joining"),
    ("throttled", "mid-run"),
    ("half closed up", "leaving"),
    ("half closed down", "mid-run"),
    ("cut", "leaving"),
    ("kernel killed", "mid-run"),
    ("kernel stopped", "mid-run"),
    ("kernel restarted", "idle"),
    ("kernel replaced", "mid-run"),
    ("kernel shut down", "idle"),
    ("server stopped", "mid-edit"),
    ("server killed", "mid-edit"),
    ("server hangs in shutdown", "mid-run"),
    ("file edited", "mid-edit"),
    ("file renamed", "leaving"),
    ("file moved away", "mid-run"),
    ("file cut short", "joining"),
    ("store locked", "idle"),
    ("store deleted", "mid-run"),
    ("file deleted for good", "mid-edit"),
    ("file saved by a second server", "idle"),
    ("disk full", "mid-edit"),
    ("room dropped", "idle"),
    ("server killed, nbformat 4.4", "mid-edit"),
    ("cut, piece by piece", "mid-run"),
]
COMBINED = {
    "nbformat 4.4": (FORMAT_4_4, ["cut", "server killed", "file edited", "store deleted, file edited"]),
    "piece by piece": (PIECE_BY_PIECE, ["cut"]),
}
EVERYWHERE = {**FAULTS, **FILE_FAULTS}
EVERY: Mapping[str, tuple[Fault, Scenery]] = {
    **{name: (fault, PLAIN) for name, fault in EVERYWHERE.items()},
    "room dropped": (ROOM_DROPPED, SOON_DROPPED),
    "disk full": (DISK_FULL, SMALL_DISK),
    **{
        f"{name}, {called}": (EVERYWHERE[name], scenery)
        for called, (scenery, names) in COMBINED.items()
        for name in names
    },
}
JITTER_S = 0.6


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """All of them, or each fault once."""
    every = [(fault, phase) for fault in EVERY for phase in PHASES]
    cases = every if metafunc.config.getoption("--every-fault") else USUAL
    metafunc.parametrize(("name", "phase"), cases, ids=[f"{fault}, {phase}" for fault, phase in cases])


async def test_whatever_breaks_and_when_it_ends_well(
    mortal: MortalLab,
    name: str,
    phase: Phase,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    request: pytest.FixtureRequest,
) -> None:
    seed = request.config.getoption("--seed")
    late = 0.0 if seed is None else random.Random(f"{seed} {name} {phase}").uniform(0, JITTER_S)
    fault, scenery = EVERY[name]
    async with lab_for(scenery, mortal, tmp_path) as lab, scene_on(lab, scenery) as scene:
        try:
            await play(scene, fault, phase, late)
        finally:
            await fault.mend(scene)
        await scene.recover()
        if phase == "mid-run":
            await run_has_ended(scene, fault)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


async def play(scene: Scene, fault: Fault, phase: Phase, late: float) -> None:
    """Have the fault strike at this phase, and call on as a model would; every call ends."""

    async def strike() -> None:
        if late:
            await anyio.sleep(late)
        await fault.strike(scene)

    if phase != "joining":
        await scene.opened()
        await scene.insert()
    scene.wire.forget()
    async with anyio.create_task_group() as tasks:
        match phase:
            case "joining":
                tasks.start_soon(scene.setup)
                await scene.wire.passed(b"/api/collaboration/room/json")
            case "mid-edit":
                tasks.start_soon(scene.insert)
                await scene.wire.passed()
            case "mid-run":
                tasks.start_soon(scene.run_slow)
                await scene.ada.wait_for(lambda: len(scene.printed()) > 1, BOUND_S)
            case "leaving":
                tasks.start_soon(scene.leave)
                await scene.wire.passed()
        await strike()
    if phase not in ("joining", "leaving"):
        await scene.call("query_notebook")
        await scene.insert()
        await scene.call("query_notebook", query="runs", wait_s=WAIT_S)


async def run_has_ended(scene: Scene, fault: Fault) -> None:
    """The run has a named end, and shows each line at most once, in order; all of them if nothing was away."""
    await scene.ada.wait_for(lambda: scene.confirmed[-1] in scene.ada.sources(), BOUND_S)  # and so all before it
    result = await scene.call("query_notebook", query="runs", wait_s=WAIT_S)
    line = next(line for line in result.text.splitlines() if line.startswith("run r1 "))
    assert any(f" {state} " in line for state in ("ok", "died", "aborted")), result.text
    shown = scene.printed()
    numbers = [int(line.split()[1]) for line in shown]
    assert numbers == sorted(set(numbers)), shown
    if not fault.kernel and scene.has_ids:  # else a cell that the file has another text for is another cell
        assert " ok " in line or "its variables are there" in result.text, result.text
        told = ("may be missing" in result.text, "cleared" in result.text, "the outputs of" in scene.told)
        assert len(numbers) == LINES or any(told), (shown, result.text)
