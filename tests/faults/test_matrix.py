"""Each fault at each phase, with a human typing throughout: afterwards all agree, and nothing is lost or doubled.

The usual run takes each fault once and each phase several times; ``--every-fault`` takes all of them, and ``--seed``
moves the moment at which they strike.
"""

from __future__ import annotations

import logging
import random

import anyio
import pytest

from .conftest import MortalLab
from .file_faults import FILE_FAULTS
from .rig import BOUND_S, FAULTS, LINES, PHASES, WAIT_S, Fault, Phase, Scene, scene_on

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
]
EVERY = {**FAULTS, **FILE_FAULTS}
JITTER_S = 0.6


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """All of them, or each fault once."""
    every = [(fault, phase) for fault in EVERY for phase in PHASES]
    cases = every if metafunc.config.getoption("--every-fault") else USUAL
    metafunc.parametrize(("fault", "phase"), cases, ids=[f"{fault}, {phase}" for fault, phase in cases])


async def test_whatever_breaks_and_when_it_ends_well(
    mortal: MortalLab, fault: str, phase: Phase, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    seed = request.config.getoption("--seed")
    late = 0.0 if seed is None else random.Random(f"{seed} {fault} {phase}").uniform(0, JITTER_S)
    async with scene_on(mortal) as scene:
        try:
            await play(scene, EVERY[fault], phase, late)
        finally:
            await EVERY[fault].mend(scene)
        await scene.recover()
        if phase == "mid-run":
            await run_has_ended(scene, EVERY[fault])
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
    result = await scene.call("query_notebook", query="runs", wait_s=WAIT_S)
    line = next(line for line in result.text.splitlines() if line.startswith("run r1 "))
    assert any(f" {state} " in line for state in ("ok", "died", "aborted")), result.text
    shown = scene.printed()
    numbers = [int(line.split()[1]) for line in shown]
    assert numbers == sorted(set(numbers)), shown
    if not fault.kernel:
        assert " ok " in line or "its variables are there" in result.text, result.text
        assert len(numbers) == LINES or "may be missing" in result.text or "cleared" in result.text, (
            shown,
            result.text,
        )
