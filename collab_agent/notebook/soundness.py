"""Whether the server can make a room of a file's JSON; told before it is asked to, for it opens a broken one.

What is checked is what was seen to break jupyter-collaboration 5.0.4 although its server reads such a file: the room
then stays silent, or throws out everybody who comes (``tests/integration/test_malformed_notebooks.py``).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any


def unsound(content: Any) -> str:
    """What of an nbformat 4 notebook no room can hold, as a clause; empty where it can.  Total, for any JSON."""
    if not isinstance(content, Mapping):
        return "it is no object"
    if not isinstance(content.get("nbformat_minor"), int | None):
        return "nbformat_minor is no number"
    if not isinstance(content.get("metadata"), Mapping):
        return "metadata is no object"
    cells = content.get("cells")
    if not isinstance(cells, list):
        return "cells is no list"
    problems = (_cell(cell, f"cells[{number}]") for number, cell in enumerate(cells))
    return next((problem for problem in problems if problem), "")


def _cell(cell: Any, where: str) -> str:
    if not isinstance(cell, Mapping):
        return f"{where} is no object"
    if not isinstance(cell.get("cell_type"), str):
        return f"{where} has no cell_type"
    if "source" not in cell or not _is_text(cell["source"]):
        return f"{where} has no source that is text"
    if not isinstance(cell.get("metadata"), Mapping):
        return f"{where} has no metadata that is an object"
    outputs = cell.get("outputs", [])
    if not isinstance(outputs, list):
        return f"the outputs of {where} are no list"
    problems = (_output(output, f"outputs[{number}] of {where}") for number, output in enumerate(outputs))
    return next((problem for problem in problems if problem), "")


def _output(output: Any, where: str) -> str:
    if not isinstance(output, Mapping):
        return f"{where} is no object"
    if not _is_text(output.get("text")):
        return f"{where} has no text that is text"
    if not isinstance(output.get("data"), Mapping | None):
        return f"{where} has no data that is an object"
    return ""


def _is_text(value: Any) -> bool:
    return (
        value is None or isinstance(value, str) or (isinstance(value, list) and all(isinstance(v, str) for v in value))
    )


def unwritable(content: Any) -> str:
    """What in a JSON value no shared document can hold, as a clause; empty where it can.  Looks at every value."""
    for value in _values(content):
        if isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError:
                return "it holds half of a character (a lone surrogate)"
        elif isinstance(value, int) and not -sys.float_info.max <= value <= sys.float_info.max:
            return "it holds a number that is too large for any float"
    return ""


def _values(content: Any) -> Iterator[Any]:
    """All values and keys inside, however deep."""
    waiting = [content]
    while waiting:
        value = waiting.pop()
        yield value
        if isinstance(value, Mapping):
            waiting += value.keys()
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
