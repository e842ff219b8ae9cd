from __future__ import annotations

from typing import Any

import pytest

from collab_agent.kernel.execution import ConnectionGap, EndLost, Execution, KernelGone, Received
from collab_agent.kernel.wire import Channel, Message

BUSY, IDLE = ("iopub", "status", {"execution_state": "busy"}), ("iopub", "status", {"execution_state": "idle"})
OK = ("shell", "execute_reply", {"status": "ok", "execution_count": 7})
ERROR = ("shell", "execute_reply", {"status": "error", "execution_count": 7, "ename": "KeyError", "evalue": "'a'"})


def message(channel: Channel, msg_type: str, content: dict[str, Any]) -> Message:
    parent = {"msg_id": "request", "msg_type": "execute_request", "session": "ours"}
    return Message(channel, {"msg_id": "m", "msg_type": msg_type, "session": "kernel"}, parent, {}, content)


def life(*events: Received | tuple[Any, ...]) -> Execution:
    """An execution sent at 0, which then receives one event a second."""
    execution = Execution("request", "d['a']", sent=0.0)
    for second, event in enumerate(events, 1):
        execution.receive(message(*event) if isinstance(event, tuple) else event, float(second))
    return execution


def test_it_is_queued_until_the_kernel_takes_it_up() -> None:
    assert life().state == "queued"
    assert life().started is None
    running = life(BUSY)
    assert (running.state, running.started, running.over) == ("running", 1.0, False)


def test_the_kernel_says_what_it_runs() -> None:
    execution = life(BUSY, ("iopub", "execute_input", {"code": "d['b']", "execution_count": 7}))
    assert (execution.executed_code, execution.execution_count) == ("d['b']", 7)


@pytest.mark.parametrize("end", [(OK, IDLE), (IDLE, OK)])
def test_it_is_over_only_on_reply_and_idle(end: tuple[Any, Any]) -> None:
    half, whole = life(BUSY, end[0]), life(BUSY, *end)
    assert (half.state, half.over) == ("running", False)
    assert (whole.state, whole.ended, whole.execution_count) == ("ok", 3.0, 7)


def test_an_error_has_a_name() -> None:
    execution = life(BUSY, ERROR, IDLE)
    assert (execution.state, execution.error_name, execution.error_value) == ("error", "KeyError", "'a'")


def test_aborted_is_over_without_idle_and_was_never_started() -> None:
    execution = life(("shell", "execute_reply", {"status": "aborted"}))
    assert (execution.state, execution.ended, execution.started) == ("aborted", 1.0, None)


def test_a_prompt_waits_until_it_is_answered_or_the_run_ends() -> None:
    asks = ("stdin", "input_request", {"prompt": "name? ", "password": False})
    execution = life(BUSY, asks)
    assert execution.prompt is not None
    assert execution.prompt.text == "name? "
    execution.answered()
    assert execution.prompt is None
    assert life(BUSY, asks, ERROR).prompt is None
    assert life(BUSY, asks, KernelGone("died")).prompt is None


@pytest.mark.parametrize("before", [(), (BUSY,), (BUSY, OK), (BUSY, IDLE)])
def test_a_kernel_that_went_away_ends_it(before: tuple[Any, ...]) -> None:
    execution = life(*before, KernelGone("was restarted"))
    assert (execution.state, execution.reason, execution.over) == ("died", "was restarted", True)


@pytest.mark.parametrize("late", [BUSY, ERROR, KernelGone("died"), ConnectionGap(), EndLost()])
def test_nothing_changes_after_the_end(late: Any) -> None:
    assert life(BUSY, OK, IDLE, late) == life(BUSY, OK, IDLE)


@pytest.mark.parametrize("events", [(BUSY, ConnectionGap(), OK), (BUSY, OK, ConnectionGap())])
def test_after_a_gap_the_reply_is_the_end_for_the_idle_may_be_lost(events: tuple[Any, ...]) -> None:
    execution = life(*events)
    assert (execution.state, execution.gap, execution.over) == ("ok", True, True)


def test_a_lost_reply_is_guessed_only_where_iopub_told_the_end() -> None:
    error = ("iopub", "error", {"ename": "ValueError", "evalue": "", "traceback": []})
    assert life(BUSY, ConnectionGap(), IDLE, EndLost()).state == "ok"
    assert life(BUSY, error, ConnectionGap(), EndLost()).state == "error"
    assert life(BUSY, ConnectionGap(), EndLost()).state == "died"


def test_an_idle_that_is_only_late_is_not_a_lost_end() -> None:
    assert life(BUSY, OK, EndLost()).state == "running"
    assert life(BUSY, OK, EndLost(), IDLE).state == "ok"
