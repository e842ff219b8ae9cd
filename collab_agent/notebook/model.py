"""Frozen snapshots of a notebook and of the people in it.

Everything here is plain data: no Doc, no socket.  A snapshot shares the unchanged cells with the one before,
so that taking one is cheap and comparing two is mostly a comparison of identities.

Outputs are not part of a ``CellView``: they can be tens of megabytes.  ``CellView.outputs_version`` grows
whenever they change, and whoever needs them asks an ``OutputSource`` for the cell's id.

All positions in texts are in characters (Python string indices) unless a name says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

CellType = Literal["code", "markdown", "raw"]


@dataclass(frozen=True, slots=True)
class OutputView:
    """One output of a code cell, in nbformat's terms.

    ``kind`` is nbformat's ``output_type``.  ``name`` and ``text`` belong to streams, ``data`` (MIME bundle) and
    ``metadata`` to ``display_data`` and ``execute_result``, ``ename``, ``evalue`` and ``traceback`` to errors.
    """

    kind: str
    name: str = ""
    text: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    execution_count: int | None = None
    ename: str = ""
    evalue: str = ""
    traceback: tuple[str, ...] = ()


OutputSource = Callable[[str], Sequence[OutputView]]
"""Gives the outputs of the cell with this id; an empty sequence for a cell without."""


@dataclass(frozen=True, slots=True)
class CellView:
    """One cell.  ``source`` is the whole text; ``running`` is what draws ``[*]`` on the page."""

    id: str
    type: CellType
    source: str
    execution_count: int | None = None
    running: bool = False
    outputs_version: int = 0
    editable: bool = field(default=True, compare=False)
    """False where a peer has put something there that is no text: then ``source`` can be read, but not edited."""


@dataclass(frozen=True, slots=True)
class NotebookView:
    """The notebook at one moment: ``cells`` in page order, and the kernel's language (may be empty)."""

    cells: tuple[CellView, ...]
    path: str = ""
    language: str = ""


@dataclass(frozen=True, slots=True)
class PeerView:
    """Somebody in the room.  What a peer says of itself is a claim, not an identity.

    ``cell_id`` is the cell that holds the caret; ``anchor`` and ``head`` are character positions in its source,
    None where the position is not known.  Two pages of one human are two peers with the same ``username``.
    """

    client_id: int
    name: str
    is_agent: bool = False
    is_self: bool = False
    cell_id: str | None = None
    anchor: int | None = None
    head: int | None = None
    username: str = ""
