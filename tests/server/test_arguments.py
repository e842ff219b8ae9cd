"""Arguments are checked by hand: what is wrong, what is right, and that nothing was done."""

from __future__ import annotations

import re
from typing import Any

import pytest

from collab_agent.errors import InvalidEdit
from collab_agent.server.arguments import Arguments
from collab_agent.server.schema import EXECUTE, MODIFY, QUERY, SETUP, TOOLS, properties


def test_good_arguments_pass_through() -> None:
    given = {"query": "cells", "cells": "a1f9", "offset": 3, "limit": 2.0, "wait_s": 1, "pattern": None}
    arguments = Arguments(QUERY, given)
    assert arguments.choice("query") == "cells"
    assert arguments.refs("cells") == ["a1f9"]
    assert (arguments.integer("offset", 0), arguments.integer("limit", 1)) == (3, 2)
    assert arguments.number("wait_s", 0) == 1.0
    assert arguments.text("pattern") is None


def test_what_is_left_out_has_its_default() -> None:
    assert Arguments(QUERY, {}).choice("query") == "outline"
    assert Arguments(SETUP, {"action": None}).choice("action") == "open"
    assert Arguments(EXECUTE, {}).flag("stop_on_error", True) is True
    assert Arguments(EXECUTE, {}).refs("cells") is None


@pytest.mark.parametrize(
    ("getter", "args", "value"),
    [
        ("choice", ("query",), "everything"),
        ("text", ("pattern",), 3),
        ("number", ("wait_s", 0), -1),
        ("number", ("wait_s", 0), 10_000_000),
        ("number", ("wait_s", 0), True),
        ("number", ("wait_s", 0), "soon"),
        ("integer", ("offset", 0), -1),
        ("integer", ("offset", 0), 1.5),
        ("refs", ("cells",), [1]),
        ("refs", ("cells",), 7),
    ],
)
def test_wrong_values_are_named(getter: str, args: tuple[Any, ...], value: Any) -> None:
    arguments = Arguments(QUERY, {args[0]: value})
    with pytest.raises(InvalidEdit, match=rf"query_notebook: {args[0]} must be .* Nothing was done\."):
        getattr(arguments, getter)(*args)


def test_unknown_arguments_list_the_known_ones() -> None:
    with pytest.raises(InvalidEdit, match=r"'server_url'[^\n]*\nIt takes notebook_path, action, kernel"):
        Arguments(SETUP, {"server_url": "http://evil"})
    with pytest.raises(InvalidEdit, match=re.escape("modify_notebook_cells does not take 'edit'")):
        Arguments(MODIFY, {"edit": []})


def test_no_tool_takes_a_servers_address_and_all_have_annotations_and_no_structured_output() -> None:
    assert [tool.name for tool in TOOLS] == [
        "setup_notebook",
        "query_notebook",
        "modify_notebook_cells",
        "execute_notebook_code",
    ]
    for tool in TOOLS:
        assert not {"url", "server", "token", "server_url"} & properties(tool).keys()
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint is (tool is QUERY)
        assert tool.output_schema is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 1.5, True, "1", [1]])
def test_what_is_no_whole_number_is_refused(value: object) -> None:
    """Found by fuzzing: JSON as Python reads it has numbers that no integer can be."""
    with pytest.raises(InvalidEdit, match="offset must be a whole number"):
        Arguments(QUERY, {"offset": value}).integer("offset", 0)
