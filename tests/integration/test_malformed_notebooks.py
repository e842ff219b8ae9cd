"""Files that are no good notebooks, on the real server: opened and worked in, or refused before any room is opened."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from collab_agent.config import Limits, Server
from collab_agent.testing import Human
from tests.conftest import notebook_json

from .conftest import DEADLINE_S, McpAgent, Rest, mcp_agent_on

Change = Callable[[dict[str, Any]], None]
OUTPUT = {"output_type": "stream", "name": "stdout", "text": "out\n"}


def whole() -> dict[str, Any]:
    made = notebook_json(["a = 1", ("markdown", "# T"), "b = 2"])
    made["cells"][0]["outputs"] = [dict(OUTPUT)]
    return made


def minor(number: int) -> Change:
    def change(made: dict[str, Any]) -> None:
        made["nbformat_minor"] = number
        for cell in made["cells"] if number < 5 else ():
            del cell["id"]

    return change


def no_ids(made: dict[str, Any]) -> None:
    for cell in made["cells"]:
        del cell["id"]


def same_ids(made: dict[str, Any]) -> None:
    for cell in made["cells"]:
        cell["id"] = "twice"


def odd_ids(made: dict[str, Any]) -> None:
    for cell, cell_id in zip(made["cells"], ["x" * 200, "é😀 \\ \"'", ""], strict=True):
        cell["id"] = cell_id


def source_as_list(made: dict[str, Any]) -> None:
    made["cells"][0]["source"] = ["a = 1", "", "\n", "# and\n"]


def huge_metadata(made: dict[str, Any]) -> None:
    made["metadata"]["huge"] = {"x" * 1_000: ["y" * 1_000] * 2_000}
    made["cells"][0]["metadata"]["huge"] = "z" * 1_000_000


def nul(made: dict[str, Any]) -> None:
    made["cells"][0]["source"] = "a = '\0'"
    made["cells"][0]["outputs"][0]["text"] = "\0\x1b[31m\0"


def unknown_fields(made: dict[str, Any]) -> None:
    made["cells"][0] |= {"color": "red", "collapsed": None}
    made["new"] = [1, {"two": 3.5}]


def many_cells(made: dict[str, Any]) -> None:
    made["cells"] = notebook_json([f"x = {n}" for n in range(600)])["cells"]


def no_cells(made: dict[str, Any]) -> None:
    made["cells"] = []


OPENED: dict[str, Change] = {
    **{f"4.{number}": minor(number) for number in range(6)},
    "no ids": no_ids,
    "one id for all": same_ids,
    "odd ids": odd_ids,
    "source as list": source_as_list,
    "huge metadata": huge_metadata,
    "NUL": nul,
    "unknown fields": unknown_fields,
    "many cells": many_cells,
    "no cells": no_cells,
}


def put(server: Server, name: str, content: object) -> str:
    """The file, exactly so."""
    path = f"malformed-{name.replace(' ', '-')}.ipynb"
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    Path(str(server.root_dir), path).write_bytes(data)
    return path


def held(server: Server, path: str) -> bytes:
    return Path(str(server.root_dir), path).read_bytes()


async def room_opened(page: Rest, path: str) -> bool:
    """Whether the server has ever indexed this file for a room."""
    return (await page.client.get("api/fileid/id", params={"path": path})).status_code == 200


@pytest.mark.parametrize("name", OPENED)
async def test_it_is_opened_and_nothing_of_it_is_spoilt(
    jupyter: Server, mcp_agent: McpAgent, page: Rest, shared_kernel: str, name: str
) -> None:
    """The agent reads and adds a cell; the file then holds that, and all that it held before."""
    content = whole()
    OPENED[name](content)
    path = put(jupyter, name, content)
    sources = ["".join(cell["source"]) for cell in content["cells"]]
    await page.open_session(path, shared_kernel)
    async with Human.join_server(jupyter, path) as ada:
        opened = await mcp_agent.setup(path)
        assert f"{path}: {len(sources) or 'no'} cell" in opened.text or not sources, opened.text
        await mcp_agent.query("cells", limit=50)
        await mcp_agent.query("outputs")
        await mcp_agent.edit({"op": "insert", "source": "ours", "type": "raw"})
        await ada.wait_for(lambda: ada.sources()[-1] == "ours", DEADLINE_S)
        await mcp_agent.ok("setup_notebook", action="save")
        await mcp_agent.ok("setup_notebook", action="leave")
    found = json.loads(held(jupyter, path))
    kept = ["".join(cell["source"]) for cell in found["cells"]]
    assert [text for text in kept if text] == [*(text for text in sources if text), "ours"]
    assert found["nbformat_minor"] >= content["nbformat_minor"]
    ids = [cell.get("id") for cell in found["cells"]]
    assert found["nbformat_minor"] < 5 or len(set(ids)) == len(ids), ids


def surrogate() -> bytes:
    return json.dumps(whole()).replace("# T", "\\ud800").encode()


def with_(**fields: Any) -> dict[str, Any]:
    return whole() | fields


def cell_with(**fields: Any) -> dict[str, Any]:
    made = whole()
    made["cells"][0] |= fields
    return made


def cell_without(field: str) -> dict[str, Any]:
    made = whole()
    del made["cells"][0][field]
    return made


ODD: dict[str, object] = {
    "empty": b"",
    "no JSON": b"{",
    "no UTF-8": b"\xff\xfe{}",
    "a list": [],
    "null": None,
    "an empty object": {},
    "nested": b"[" * 100_000,
    "v3": {"nbformat": 3, "nbformat_minor": 0, "metadata": {"name": ""}, "worksheets": [{"cells": [], "metadata": {}}]},
    "v3 with a cell": {
        "nbformat": 3,
        "nbformat_minor": 0,
        "metadata": {"name": ""},
        "worksheets": [
            {"cells": [{"cell_type": "code", "input": "a", "language": "python", "outputs": [], "metadata": {}}]}
        ],
    },
    "v5": with_(nbformat=5),
    "nbformat as text": with_(nbformat="4"),
    "no minor": {key: value for key, value in whole().items() if key != "nbformat_minor"},
    "minor as text": with_(nbformat_minor="5"),
    "minor 99": with_(nbformat_minor=99),
    "cells as object": with_(cells={}),
    "cells as null": with_(cells=None),
    "a cell that is text": with_(cells=["a"]),
    "a cell that is null": with_(cells=[None]),
    "metadata as list": with_(metadata=[]),
    "kernelspec as text": with_(metadata={"kernelspec": "python"}),
    "no cell type": cell_without("cell_type"),
    "no source": cell_without("source"),
    "no outputs": cell_without("outputs"),
    "no cell metadata": cell_without("metadata"),
    "an unknown cell type": cell_with(cell_type="heading"),
    "cell type as number": cell_with(cell_type=3),
    "source as number": cell_with(source=3),
    "source as list of numbers": cell_with(source=[1, 2]),
    "source as null": cell_with(source=None),
    "id as number": cell_with(id=3),
    "outputs as object": cell_with(outputs={}),
    "outputs as null": cell_with(outputs=None),
    "an output that is text": cell_with(outputs=["a"]),
    "an output without type": cell_with(outputs=[{}]),
    "stream text as number": cell_with(outputs=[OUTPUT | {"text": 3}]),
    "stream without text": cell_with(outputs=[{"output_type": "stream", "name": "stdout"}]),
    "data as list": cell_with(outputs=[{"output_type": "display_data", "data": [], "metadata": {}}]),
    "count as text": cell_with(execution_count="1"),
    "count beyond floats": cell_with(execution_count=10**400),
    "NaN": cell_with(execution_count=float("nan")),
    "a lone surrogate": surrogate(),
    "cell metadata as text": cell_with(metadata="a"),
}


REFUSED = [
    *("empty", "no JSON", "no UTF-8", "a list", "null", "an empty object", "nested", "v5", "nbformat as text"),
    *("minor as text", "cells as object", "cells as null", "a cell that is text", "a cell that is null"),
    *("metadata as list", "no cell type", "no source", "no cell metadata", "cell type as number", "source as number"),
    *("source as list of numbers", "outputs as null", "an output that is text", "stream text as number"),
    *("data as list", "count beyond floats", "a lone surrogate", "cell metadata as text", "outputs as object"),
]


@pytest.mark.parametrize("name", ODD)
async def test_it_is_opened_or_refused_in_plain_words(
    jupyter: Server, page: Rest, shared_kernel: str, name: str
) -> None:
    """Refused: before a room is opened, and the file is left as it is.  Opened: it can be read, edited and saved.

    Where the server, in saving, makes something else of it than the room holds, "saved" is not said.
    """
    path = put(jupyter, name, ODD[name])
    before = held(jupyter, path)
    await page.open_session(path, shared_kernel)
    async with mcp_agent_on(jupyter, limits=Limits(save_s=1, typed_out_s=0)) as agent:
        answer = await agent.call("setup_notebook", notebook_path=path)
        assert answer.is_error == (name in REFUSED), answer.text
        if answer.is_error:
            assert "bug of collab-agent" not in answer.text
            assert path in answer.text
            assert "left as it is" in answer.text.replace("It was", "it was"), answer.text
            assert not await room_opened(page, path), "no room may be opened for it"
            assert held(jupyter, path) == before
            return
        for query in ("outline", "cells", "outputs"):
            await agent.query(query)
        await agent.edit({"op": "insert", "source": "ours", "type": "raw"})
        saved = await agent.call("setup_notebook", action="save")
        assert "bug of collab-agent" not in saved.text
        await agent.ok("setup_notebook", action="leave")


async def test_a_server_elsewhere_is_held_to_the_same(jupyter: Server, page: Rest) -> None:
    """Its root folder is not on this machine, so that it is asked for the notebook."""
    for name in ("no source", "no cell type", "a lone surrogate", "v5"):
        path = put(jupyter, f"far {name}", ODD[name])
        async with mcp_agent_on(replace(jupyter, root_dir=None)) as agent:
            refused = await agent.refused("setup_notebook", notebook_path=path)
            assert path in refused.text
            assert not await room_opened(page, path)
