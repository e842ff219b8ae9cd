"""Notebooks in nbformat's terms: made for a test, and compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

CellSpec = str | tuple[str, str] | Mapping[str, Any]
"""A code cell's source, a pair (cell type, source), or a whole cell in nbformat's terms."""


def notebook_of(cells: Sequence[CellSpec]) -> dict[str, Any]:
    """An nbformat 4.5 notebook of these cells; ids that are not given follow from the index."""
    kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"kernelspec": kernelspec},
        "cells": [_cell_of(spec, index) for index, spec in enumerate(cells)],
    }


def _cell_of(spec: CellSpec, index: int) -> dict[str, Any]:
    if isinstance(spec, str):
        spec = ("code", spec)
    given = dict(spec) if isinstance(spec, Mapping) else {"cell_type": spec[0], "source": spec[1]}
    cell: dict[str, Any] = {"id": hashlib.sha256(b"%d" % index).hexdigest()[:8], "metadata": {}}
    if given["cell_type"] == "code":
        cell |= {"outputs": [], "execution_count": None}
    return cell | given


def converged(*documents: Any) -> bool:
    """Whether all hold the same cells: notebooks in nbformat's terms (of a file too), or what has a ``document()``."""
    return len({json.dumps([_plain(cell) for cell in _cells(each)], sort_keys=True) for each in documents}) <= 1


def _cells(document: Any) -> list[Any]:
    found = document if isinstance(document, Mapping) else document.document()
    return list(found["cells"])


def _plain(value: Any) -> Any:
    """As nbformat has it in memory: a file splits texts into lines, and Yjs counts in floats."""
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items() if key != "trusted"}  # never in a file
    if isinstance(value, list | tuple):
        if all(isinstance(part, str) for part in value) and all(part.endswith("\n") for part in value[:-1]):
            return "".join(value)
        return [_plain(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
