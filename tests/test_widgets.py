"""What goes into Output widgets, and what the kernel is told of it."""

from __future__ import annotations

from typing import Any

import pytest

from collab_agent.widgets import OutputWidgets

RUN = "our request"


def opened(comm: str = "w", **state: Any) -> tuple[str, dict[str, Any]]:
    state = {"_model_name": "OutputModel", "msg_id": "", "outputs": [], **state}
    return "comm_open", {"comm_id": comm, "target_name": "jupyter.widget", "data": {"state": state}}


def updated(comm: str = "w", method: str = "update", **state: Any) -> tuple[str, dict[str, Any]]:
    return "comm_msg", {"comm_id": comm, "data": {"method": method, "state": state}}


def text(text: str) -> tuple[str, dict[str, Any]]:
    return "stream", {"name": "stdout", "text": text}


def stream(text: str) -> dict[str, Any]:
    return {"output_type": "stream", "name": "stdout", "text": text}


def told(widgets: OutputWidgets) -> dict[str, Any]:
    """Widget -> the outputs that the kernel is told."""
    return {comm: data["state"]["outputs"] for comm, data in widgets.take_updates()}


def test_outputs_go_into_the_widget_between_entering_and_leaving_it() -> None:
    widgets = OutputWidgets()
    assert not widgets.divert(RUN, *opened())
    assert not widgets.divert(RUN, *text("before"))
    widgets.divert(RUN, *updated(msg_id=RUN))
    assert widgets.divert(RUN, *text("in"))
    assert not widgets.divert("another request", *text("elsewhere"))
    assert widgets.divert(RUN, *text("side 漢"))
    widgets.divert(RUN, *updated(msg_id=""))
    assert not widgets.divert(RUN, *text("after"))
    assert told(widgets) == {"w": [stream("inside 漢")]}
    assert not widgets.waiting
    assert widgets.take_updates() == []


def test_the_innermost_widget_gets_it_and_then_the_outer_one_again() -> None:
    widgets = OutputWidgets()
    for comm in ("outer", "inner"):
        widgets.divert(RUN, *opened(comm))
        widgets.divert(RUN, *updated(comm, msg_id=RUN))
    widgets.divert(RUN, *text("i"))
    widgets.divert(RUN, *updated("inner", msg_id=""))
    widgets.divert(RUN, *text("o"))
    assert told(widgets) == {"outer": [stream("o")], "inner": [stream("i")]}


def test_clearing_inside_clears_the_widget() -> None:
    widgets = OutputWidgets()
    widgets.divert(RUN, *opened(msg_id=RUN))
    widgets.divert(RUN, *text("old"))
    widgets.divert(RUN, "clear_output", {"wait": True})
    widgets.divert(RUN, *text("new"))
    assert told(widgets) == {"w": [stream("new")]}


def test_what_a_page_put_in_is_kept() -> None:
    widgets = OutputWidgets()
    widgets.note(*opened())
    widgets.note(*updated(method="echo_update", outputs=[stream("the page's\n")]))
    widgets.divert(RUN, *updated(msg_id=RUN))
    widgets.divert(RUN, *text("ours\n"))
    assert told(widgets) == {"w": [stream("the page's\nours\n")]}
    widgets.divert(RUN, *text("later\n"))
    widgets.note(*updated(method="echo_update", outputs=[stream("the page's\nours\n")]), own=True)  # the echo of ours
    assert told(widgets) == {"w": [stream("the page's\nours\nlater\n")]}


def test_of_an_unknown_widget_the_state_is_asked_for_first() -> None:
    widgets = OutputWidgets()
    widgets.divert(RUN, *updated(msg_id=RUN))
    assert widgets.divert(RUN, *text("ours\n"))
    assert widgets.take_updates() == [("w", {"method": "request_state"})]
    assert widgets.take_updates() == []
    widgets.note(*updated(msg_id="", outputs=[stream("older\n")]), own=True)
    assert told(widgets) == {"w": [stream("older\nours\n")]}


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("comm_open", {}),
        ("comm_open", {"comm_id": 1, "data": None}),
        ("comm_open", {"comm_id": "w", "data": {"state": {"_model_name": "OutputModel", "outputs": 3, "msg_id": []}}}),
        ("comm_msg", {"comm_id": "w", "data": {"method": "update", "state": {"msg_id": RUN, "outputs": [1, {}]}}}),
        ("comm_msg", {"comm_id": "w", "data": []}),
        ("comm_close", {"comm_id": "never"}),
    ],
)
def test_garbage_raises_nothing(kind: str, content: dict[str, Any]) -> None:
    widgets = OutputWidgets()
    widgets.divert(RUN, kind, content)
    widgets.divert(RUN, *text("x"))
    widgets.take_updates()
    widgets.clear()
    assert not widgets.waiting
