"""What a reply asks of whoever sent the request."""

from __future__ import annotations

from typing import Any

import pytest

from collab_agent.notebook.model import CellView, NotebookView
from collab_agent.notebook.payload import NextInput, Page, payloads, place
from collab_agent.notebook.splice import apply
from collab_agent.notebook.steps import InsertCell, SpliceSource

VIEW = NotebookView((CellView("a", "code", "%load x.py"), CellView("b", "markdown", "# 漢")))


@pytest.mark.parametrize(
    "reply", [None, {}, {"payload": None}, {"payload": [1, {}, {"source": "page"}, {"source": "set_next_input"}]}]
)
def test_what_is_not_as_the_protocol_says_is_left_out(reply: dict[str, Any] | None) -> None:
    assert payloads(reply) == ()


def test_pages_come_first_and_the_last_next_input_counts() -> None:
    listed = [
        {"source": "set_next_input", "text": "1", "replace": True},
        {"source": "page", "data": {"text/plain": "漢"}, "start": 0},
        {"source": "set_next_input", "text": "2", "replace": False},
        {"source": "ask_exit"},
    ]
    assert payloads({"payload": listed}) == (Page({"text/plain": "漢"}), NextInput("2"))


def test_a_new_cell_stands_below_the_one_that_ran() -> None:
    step = place(NextInput("x = 1"), VIEW, "a", "%load x.py", "new", trusted=True)
    assert step == InsertCell("new", 1, "code", "x = 1", True)


def test_the_text_that_ran_is_replaced_in_place_and_only_that() -> None:
    step = place(NextInput("# %load x.py\nx = '漢😀'", replace=True), VIEW, "a", "%load x.py", "new", trusted=False)
    assert isinstance(step, SpliceSource)
    assert apply("%load x.py", step.splices) == "# %load x.py\nx = '漢😀'"
    below = place(NextInput("x", replace=True), VIEW, "a", "%load other.py", "new", trusted=False)
    assert below == InsertCell("new", 1, "code", "x")


def test_a_cell_that_is_gone_gets_nothing() -> None:
    assert place(NextInput("x"), VIEW, "gone", "", "new", trusted=False) is None
