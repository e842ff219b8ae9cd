"""Four programs that let a model work in a notebook: how each is installed, started and called, and what it answers.

Each is used as its own README says: by cell id where it has ids, the narrowest edit that it offers, and what it was
shown before where it only takes whole sources.  Read off the tool lists that they give over MCP, and off ``nb --help``.
Nothing here talks to anybody: an adapter turns a step into a ``Request``, and takes the text of the answer apart.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

READ_ALL = 1_000
"""More cells than any notebook of the benchmark has."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell as the model knows it: its id, its index from 0, and its source as it was last read."""

    id: str
    index: int
    source: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """One step: an MCP tool and its arguments, or a program's argument list."""

    tool: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    argv: Sequence[str] = ()

    def text(self) -> str:
        """What a model writes to ask for it."""
        if self.argv:
            return "nb " + " ".join(self.argv)
        return self.tool + json.dumps(self.arguments, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Program:
    """What is installed, into an environment of its own, and what is started there."""

    name: str
    packages: tuple[str, ...]
    command: str
    """The executable in the environment; empty: the one of this Python."""
    shown: str
    """The distribution whose version is told."""


class Adapter(Protocol):
    """The steps of a session; None where a program has no such thing."""

    program: Program

    def env(self, url: str, token: str) -> dict[str, str]:
        """Where the server is, told as the README says."""

    def open(self, path: str, url: str) -> Request | None:
        """Begin to work in a notebook."""

    def leave(self, path: str) -> Request | None:
        """End it."""

    def overview(self, path: str) -> Request:
        """A line per cell, or what comes nearest."""

    def read_all(self, path: str) -> Request:
        """All sources in full."""

    def read(self, path: str, cell: Cell) -> Request:
        """One source in full."""

    def source(self, answer: str) -> str:
        """The source in the answer to ``read``; empty where edits do not need it."""

    def insert(self, path: str, after: Cell, source: str, kind: str = "code") -> Request:
        """A new cell below another one, not run."""

    def edit(self, path: str, cell: Cell, old: str, new: str) -> Request:
        """Replace a text that occurs once in a cell."""

    def run(self, path: str, cell: Cell) -> Request:
        """Run a cell, and wait for its end."""


class CollabAgent:
    """This project."""

    program = Program("collab-agent", (), "", "collab-agent")

    def env(self, url: str, token: str) -> dict[str, str]:
        return {"JUPYTER_URL": url, "JUPYTER_TOKEN": token}

    def open(self, path: str, url: str) -> Request:
        return Request("setup_notebook", {"notebook_path": path})

    def leave(self, path: str) -> Request:
        return Request("setup_notebook", {"notebook_path": path, "action": "leave"})

    def overview(self, path: str) -> Request:
        return Request("query_notebook", {"limit": READ_ALL})

    def read_all(self, path: str) -> Request:
        return Request("query_notebook", {"query": "cells", "limit": READ_ALL})

    def read(self, path: str, cell: Cell) -> Request:
        return Request("query_notebook", {"query": "cells", "cells": [cell.id]})

    def source(self, answer: str) -> str:
        return "\n".join(re.findall(r"^ *\d+│(.*)$", answer, re.MULTILINE))

    def insert(self, path: str, after: Cell, source: str, kind: str = "code") -> Request:
        edit = {"op": "insert", "type": kind, "source": source, "after": after.id}
        return Request("modify_notebook_cells", {"edits": [edit]})

    def edit(self, path: str, cell: Cell, old: str, new: str) -> Request:
        edit = {"op": "replace", "cell": cell.id, "old": old, "new": new}
        return Request("modify_notebook_cells", {"edits": [edit]})

    def run(self, path: str, cell: Cell) -> Request:
        return Request("execute_notebook_code", {"cells": [cell.id]})


class JupyterMcpServer:
    """Datalayer's: joins the room for each call."""

    program = Program("jupyter-mcp-server", ("jupyter-mcp-server==2.2.4",), "jupyter-mcp-server", "jupyter-mcp-server")

    def env(self, url: str, token: str) -> dict[str, str]:
        return {"JUPYTER_URL": url.rstrip("/"), "JUPYTER_TOKEN": token, "ALLOW_IMG_OUTPUT": "true"}

    def open(self, path: str, url: str) -> Request:
        return Request("use_notebook", {"notebook_name": path, "notebook_path": path})

    def leave(self, path: str) -> Request:
        return Request("unuse_notebook", {"notebook_name": path})

    def overview(self, path: str) -> Request:
        return Request("read_notebook", {"notebook_name": path, "response_format": "brief", "limit": 0})

    def read_all(self, path: str) -> Request:
        return Request("read_notebook", {"notebook_name": path, "response_format": "detailed", "limit": 0})

    def read(self, path: str, cell: Cell) -> Request:
        return Request("read_cell", {"cell_id": cell.id})

    def source(self, answer: str) -> str:
        return answer.partition("=====\n")[2]

    def insert(self, path: str, after: Cell, source: str, kind: str = "code") -> Request:
        arguments = {"cell_index": after.index + 1, "cell_type": kind, "cell_source": source}
        return Request("insert_cell", arguments)

    def edit(self, path: str, cell: Cell, old: str, new: str) -> Request:
        return Request("edit_cell_source", {"cell_id": cell.id, "old_string": old, "new_string": new})

    def run(self, path: str, cell: Cell) -> Request:
        return Request("execute_cell", {"cell_id": cell.id})


class McpJupyter:
    """Block's: reads and writes the file through the contents API.

    It was published for mcp 1 and jupyter-kernel-client 0.x, and says so in no upper bound: with what pip takes today
    it ends with an ImportError.
    """

    program = Program(
        "mcp-jupyter", ("mcp-jupyter==2.0.2", "mcp<2", "jupyter-kernel-client<1"), "mcp-jupyter", "mcp-jupyter"
    )

    def env(self, url: str, token: str) -> dict[str, str]:
        return {"TOKEN": token}

    def open(self, path: str, url: str) -> Request:
        return Request("setup_notebook", {"notebook_path": path, "server_url": url.rstrip("/")})

    def leave(self, path: str) -> None:
        return None

    def overview(self, path: str) -> Request:
        return self.read_all(path)

    def read_all(self, path: str) -> Request:
        return Request("query_notebook", {"notebook_path": path, "query_type": "view_source"})

    def read(self, path: str, cell: Cell) -> Request:
        arguments = {"notebook_path": path, "query_type": "view_source", "position_index": cell.index}
        return Request("query_notebook", arguments)

    def source(self, answer: str) -> str:
        return str(json.loads(answer)["source"])

    def insert(self, path: str, after: Cell, source: str, kind: str = "code") -> Request:
        operation = "add_code" if kind == "code" else "add_markdown"
        return self._modify(path, operation, after.index + 1, source)

    def edit(self, path: str, cell: Cell, old: str, new: str) -> Request:
        return self._modify(path, "edit_code", cell.index, cell.source.replace(old, new))

    def _modify(self, path: str, operation: str, index: int, content: str) -> Request:
        arguments = {"notebook_path": path, "operation": operation, "cell_content": content, "position_index": index}
        return Request("modify_notebook_cells", arguments | {"execute": False})

    def run(self, path: str, cell: Cell) -> Request:
        arguments = {"notebook_path": path, "execution_type": "execute_cell", "position_index": cell.index}
        return Request("execute_notebook_code", arguments)


class Nb:
    """Project Jupyter's ``nb``: a program per call, connected to the server once (``nb connect``)."""

    program = Program("nb (pynb-cli)", ("pynb-cli==0.0.10",), "nb", "pynb-cli")
    help = ((), ("read",), ("cell", "add"), ("cell", "update"), ("cell", "delete"), ("execute",), ("search",))
    """What a model reads in place of tool definitions: ``--help`` of these."""

    def env(self, url: str, token: str) -> dict[str, str]:
        return {}

    def open(self, path: str, url: str) -> None:
        return None

    def leave(self, path: str) -> None:
        return None

    def overview(self, path: str) -> Request:
        return self.read_all(path)

    def read_all(self, path: str) -> Request:
        return Request(argv=("read", path))

    def read(self, path: str, cell: Cell) -> Request:
        return Request(argv=("read", path, "--cell", cell.id))

    def source(self, answer: str) -> str:
        found = re.search(r"^@@cell [^\n]*\n```\w*\n(.*?)\n?^```$", answer, re.MULTILINE | re.DOTALL)
        return "" if found is None else found[1]

    def insert(self, path: str, after: Cell, source: str, kind: str = "code") -> Request:
        return Request(argv=("cell", "add", path, "--type", kind, "--source", source, "--after", after.id))

    def edit(self, path: str, cell: Cell, old: str, new: str) -> Request:
        return Request(argv=("cell", "update", path, "--cell", cell.id, "--source", cell.source.replace(old, new)))

    def run(self, path: str, cell: Cell) -> Request:
        return Request(argv=("execute", path, "--cell", cell.id))


ALL: tuple[Adapter, ...] = (CollabAgent(), JupyterMcpServer(), McpJupyter(), Nb())
