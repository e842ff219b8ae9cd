from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collab_agent.kernel.execution import KernelGone
from collab_agent.kernel.observer import (
    Event,
    ForeignRunEnded,
    ForeignRunStarted,
    KernelBack,
    Observer,
    is_rate_limit_notice,
)
from collab_agent.kernel.wire import Message

_ids = count()


def iopub(
    msg_type: str, content: dict[str, Any], parent: tuple[str, str] | None = None, session: str = "kernel-1"
) -> Message:
    """An iopub message; ``parent`` is (session, request type), and the session names the request too."""
    header = {"msg_id": f"m{next(_ids)}", "msg_type": msg_type, "session": session}
    parent_header = {} if parent is None else {"msg_id": parent[0], "msg_type": parent[1], "session": parent[0]}
    return Message("iopub", header, parent_header, {}, content)


def status(state: str, parent: tuple[str, str] | None = None, session: str = "kernel-1") -> Message:
    return iopub("status", {"execution_state": state}, parent, session)


HUMAN, OURS = ("human", "execute_request"), ("ours", "execute_request")
INPUT = iopub("execute_input", {"code": "fit()", "execution_count": 3}, HUMAN)


def observe(observer: Observer, *messages: Message) -> list[Event]:
    return [event for message in messages for event in observer.receive(message, 1.0)]


def test_a_foreign_run_is_in_progress_from_busy_to_idle() -> None:
    observer = Observer({"ours"})
    assert observe(observer, status("busy", HUMAN)) == []
    assert observer.foreign is not None
    assert observer.foreign.code is None
    [started] = observe(observer, INPUT)
    assert isinstance(started, ForeignRunStarted)
    assert (started.run.code, started.run.execution_count, started.run.since) == ("fit()", 3, 1.0)
    assert observer.foreign == started.run
    assert observe(observer, status("idle", HUMAN)) == [ForeignRunEnded(started.run)]
    assert observer.foreign is None


def test_a_foreign_run_ends_with_the_name_of_its_error() -> None:
    error = iopub("error", {"ename": "KeyError"}, HUMAN)
    *_, ended = observe(Observer({"ours"}), status("busy", HUMAN), INPUT, error, status("idle", HUMAN))
    assert isinstance(ended, ForeignRunEnded)
    assert ended.error_name == "KeyError"


def test_a_silent_foreign_run_is_busy_but_not_told() -> None:
    observer = Observer({"ours"})
    assert observe(observer, status("busy", HUMAN)) == []
    assert observer.foreign is not None
    assert observe(observer, status("idle", HUMAN)) == []
    assert observer.foreign is None


@pytest.mark.parametrize("request_type", ["comm_msg", "debug_request", "kernel_info_request", "complete_request"])
def test_only_code_makes_the_kernel_foreign_busy(request_type: str) -> None:
    observer = Observer({"ours"})
    observe(observer, status("busy", ("human", request_type)))
    assert observer.foreign is None


def test_our_own_code_is_not_foreign() -> None:
    observer = Observer({"ours"})
    observe(observer, status("busy", OURS))
    assert observer.foreign is None


def test_what_the_kernel_is_past_has_ended() -> None:
    observer = Observer({"ours"})
    observe(observer, status("busy", HUMAN), INPUT)
    assert observer.forget_before(1.0) == []
    assert len(observer.forget_before(1.5)) == 1
    assert observer.foreign is None


def test_a_restart_is_told_once_and_then_the_kernel_is_back() -> None:
    observer = Observer({"ours"})
    observe(observer, status("busy", HUMAN), INPUT)
    gone, ended = observe(observer, iopub("shutdown_reply", {"restart": True}, ("server", "shutdown_request")))
    assert gone == KernelGone("was restarted")
    assert isinstance(ended, ForeignRunEnded)
    assert ended.died
    assert observe(observer, status("starting", session="kernel-2"), status("idle", session="kernel-2")) == [
        KernelBack()
    ]


def test_another_kernel_session_is_a_restart_whatever_came_before() -> None:
    events = observe(Observer({"ours"}), status("idle", HUMAN), status("busy", HUMAN, session="kernel-2"))
    assert events == [KernelGone("was restarted"), KernelBack()]


def test_a_new_process_is_back_only_when_iopub_brings_it() -> None:
    observer = Observer({"ours"})
    observe(observer, status("idle", HUMAN), iopub("shutdown_reply", {"restart": True}))
    assert observe(observer, iopub("error", {}, HUMAN)) == []  # the old process' last words
    reply = replace(iopub("kernel_info_reply", {}, OURS, session="kernel-2"), channel="shell")
    assert observe(observer, reply) == []
    assert observe(observer, status("busy", OURS, session="kernel-2")) == [KernelBack()]


def test_a_nameless_kernel_that_starts_was_restarted() -> None:
    observer = Observer({"ours"})
    observe(observer, status("busy", HUMAN, session="human"))
    assert observe(observer, status("starting", session="")) == [KernelGone("was restarted"), KernelBack()]


def test_the_servers_own_messages_are_in_our_session_and_no_restart() -> None:
    observer = Observer({"ours"})
    assert observe(observer, status("idle", HUMAN), iopub("stream", {}, HUMAN, session="ours")) == []


def test_a_kernel_that_repeats_its_parents_session_is_not_restarted_by_that() -> None:
    messages = [status("busy", parent, session=parent[0]) for parent in (HUMAN, ("other", "execute_request"), HUMAN)]
    assert observe(Observer({"ours"}), *messages) == []


def test_a_crash_is_told_by_the_server() -> None:
    observer = Observer({"ours"})
    observe(observer, status("idle", HUMAN))
    assert observe(observer, status("restarting", session="ours")) == [KernelGone("died and is being restarted")]
    assert observe(observer, status("starting", session="kernel-2")) == [KernelBack()]
    [dead] = observe(observer, status("dead", session="ours"))
    assert isinstance(dead, KernelGone)
    assert dead.final


def test_a_shut_down_kernel_is_gone_for_good() -> None:
    [gone] = observe(Observer({"ours"}), iopub("shutdown_reply", {"restart": False}, ("server", "shutdown_request")))
    assert gone == KernelGone("was shut down", final=True)


def test_an_end_that_another_route_tells_first_is_told_once() -> None:
    observer = Observer({"ours"})
    end = iopub("shutdown_reply", {"restart": True}, ("server", "shutdown_request"))
    assert observer.receive(end, 1.0, process=False) == [KernelGone("was restarted")]
    # The other route was so far behind that it had not heard of that process at all.
    assert observe(observer, status("idle", HUMAN), status("busy", ("server", "shutdown_request")), end) == []
    assert observe(observer, status("starting", session="kernel-2")) == [KernelBack()]
    final = iopub("shutdown_reply", {"restart": False}, ("server", "shutdown_request"), session="kernel-2")
    assert observer.receive(final, 1.0, process=False) == [KernelGone("was shut down", final=True)]
    assert observe(observer, final) == []


def test_only_one_route_is_asked_for_the_next_process() -> None:
    assert Observer({"ours"}).receive(status("starting", session="kernel-2"), 1.0, process=False) == []


def test_the_runs_of_all_our_sessions_are_ours() -> None:
    observer = Observer({"ours", "ours too"})
    observe(observer, status("busy", OURS), status("busy", ("ours too", "execute_request")))
    assert observer.foreign is None


@given(st.data())
def test_a_foreign_run_is_told_once_however_two_routes_interleave(data: st.DataObject) -> None:
    error = iopub("error", {"ename": "KeyError"}, HUMAN)
    told = [status("busy", HUMAN), INPUT, error, status("idle", HUMAN)]
    observer, events = Observer({"ours"}), []
    waiting = {True: list(told), False: list(told)}
    while any(waiting.values()):
        route = data.draw(st.sampled_from([route for route, rest in waiting.items() if rest]))
        events += observer.receive(waiting[route].pop(0), 1.0, process=route)
        heard = max(len(told) - len(rest) for rest in waiting.values())
        assert (observer.foreign is not None) == (0 < heard < len(told))
    started, ended = events
    assert isinstance(started, ForeignRunStarted)
    assert ended == ForeignRunEnded(started.run, "KeyError")


def test_a_rate_limit_notice_is_a_stderr_stream_in_our_own_session() -> None:
    content = {"name": "stderr", "text": "IOPub message rate exceeded.\nThe Jupyter server will temporarily stop"}
    assert is_rate_limit_notice(iopub("stream", content, OURS, session="ours"), "ours")
    assert not is_rate_limit_notice(iopub("stream", content, OURS), "ours")
    assert not is_rate_limit_notice(iopub("stream", {"name": "stderr", "text": "x"}, OURS, session="ours"), "ours")
